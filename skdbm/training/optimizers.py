"""Update rules, learning-rate schedules and the averaging of the weights."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from .._typing import FloatArray

#: How the learning rate goes on from its first value.
Schedule: TypeAlias = Literal["linear", "constant"]

#: Exponent of the polynomial-decay average. With 8, half of its mass lies on the
#: last 7 % of the updates and nine tenths on the last quarter.
AVERAGE_EXPONENT = 8


def brake(
    velocity: FloatArray,
    parameter: FloatArray,
    *,
    momentum: float,
    decay: float,
    scratch: FloatArray,
) -> None:
    """Slow a velocity in place: v <- momentum v - decay w.

    It comes before the gradient is known, and before `accelerate`.

    Parameters
    ----------
    velocity : ndarray
        The velocity v of a parameter, zero at the start; overwritten.
    parameter : ndarray of the same shape
        The parameter w, weights or biases or a slice of them.
    momentum : float
        Share of the velocity that stays, at least 0 and less than 1.
    decay : float
        Strength of the L2 penalty, decay / 2 times the sum of squares of w.
    scratch : ndarray of the same shape
        Room for intermediate values, so that nothing is allocated.

    See Also
    --------
    accelerate : The other half of an update.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.training.optimizers import brake
    >>> w, v, scratch = np.full(1, 2.0), np.ones(1), np.empty(1)
    >>> brake(v, w, momentum=0.5, decay=0.1, scratch=scratch)
    >>> v.round(6)
    array([0.3])
    """
    velocity *= momentum
    if decay:
        np.multiply(parameter, decay, out=scratch)
        velocity -= scratch


def accelerate(
    parameter: FloatArray,
    velocity: FloatArray,
    gradient: FloatArray,
    *,
    learning_rate: float,
    scratch: FloatArray,
) -> None:
    """Ascend in place: v <- v + g; w <- w + learning_rate v.

    The velocity is free of the learning rate, so that with `brake` before every step a
    constant gradient g tends to the speed learning_rate g / (1 - momentum), and a
    decaying rate acts at once.

    Parameters
    ----------
    parameter : ndarray
        The parameter w, weights or biases or a slice of them; overwritten.
    velocity : ndarray of the same shape
        Its velocity v, after `brake`; overwritten.
    gradient : ndarray of the same shape
        The direction of ascent g.
    learning_rate : float
        Length of the step in units of the velocity.
    scratch : ndarray of the same shape
        Room for intermediate values, so that nothing is allocated.

    See Also
    --------
    brake : The half that does not need the gradient.
    average_step : What follows every update.
    learning_rates : The learning rate as a function of the updates done.

    Examples
    --------
    With half of the velocity kept, a constant gradient of 1 tends to a speed of 2.

    >>> import numpy as np
    >>> from skdbm.training.optimizers import accelerate, brake
    >>> w, v, scratch = np.zeros(1), np.zeros(1), np.empty(1)
    >>> for _ in range(3):
    ...     brake(v, w, momentum=0.5, decay=0.0, scratch=scratch)
    ...     accelerate(w, v, np.ones(1), learning_rate=1.0, scratch=scratch)
    ...     print(v, w)
    [1.] [1.]
    [1.5] [2.5]
    [1.75] [4.25]
    """
    velocity += gradient
    np.multiply(velocity, learning_rate, out=scratch)
    parameter += scratch


def average_rate(n_averaged: int) -> float:
    """Give the weight of the newest value in the polynomial-decay average.

    It needs no horizon: at any time the average leans on the last part of the run so
    far [1]_.

    Parameters
    ----------
    n_averaged : int
        Number of values averaged, the newest included; at least 1.

    Returns
    -------
    float
        The weight, 1 for the first value, so that it replaces whatever was there.

    See Also
    --------
    average_step : Uses the weight.

    References
    ----------
    .. [1] O. Shamir and T. Zhang, "Stochastic gradient descent for non-smooth
       optimization", ICML 2013, section 4.

    Examples
    --------
    >>> from skdbm.training.optimizers import average_rate
    >>> average_rate(1), average_rate(10), average_rate(82)
    (1.0, 0.5, 0.1)
    """
    return (AVERAGE_EXPONENT + 1) / (AVERAGE_EXPONENT + n_averaged)


def average_step(
    average: FloatArray, parameter: FloatArray, rate: float, scratch: FloatArray
) -> None:
    """Move the average in place: a <- a + rate (w - a).

    Parameters
    ----------
    average : ndarray
        The average a; overwritten.
    parameter : ndarray of the same shape
        The newest value w.
    rate : float
        Weight of the newest value, from `average_rate`.
    scratch : ndarray of the same shape
        Room for intermediate values, so that nothing is allocated.

    See Also
    --------
    average_rate : The weight of the newest value.
    accelerate : Moves the parameter that is averaged.

    Examples
    --------
    The average of 1 to 100 is near the end of the run rather than in the middle.

    >>> import numpy as np
    >>> from skdbm.training.optimizers import average_rate, average_step
    >>> average, scratch = np.zeros(1), np.empty(1)
    >>> for n in range(1, 101):
    ...     average_step(average, np.array([float(n)]), average_rate(n), scratch)
    >>> average.round(6)
    array([90.1])
    """
    np.subtract(parameter, average, out=scratch)
    scratch *= rate
    average += scratch


def learning_rates(
    schedule: Schedule, initial: float, n_steps: int, floor: float = 0.01
) -> Callable[[int], float]:
    """Give the learning rate as a function of the number of updates done.

    "linear" falls to `floor` times the initial rate at `n_steps` updates, so that the
    noise of the persistent chains dies out; "constant" does not fall.

    Parameters
    ----------
    schedule : {"linear", "constant"}
        How the rate goes on from `initial`.
    initial : float
        The rate of the first update.
    n_steps : int
        Number of updates of the whole run.
    floor : float, default=0.01
        Smallest rate of "linear", as a share of `initial`.

    Returns
    -------
    callable
        Gets the number of updates done, 0 before the first one; returns the rate of
        the next update.

    See Also
    --------
    accelerate : The update.

    Examples
    --------
    >>> from skdbm.training.optimizers import learning_rates
    >>> rate = learning_rates("linear", 0.1, n_steps=100)
    >>> [round(rate(n), 6) for n in (0, 50, 100, 200)]
    [0.1, 0.05, 0.001, 0.001]
    """
    if schedule == "constant":
        return lambda step: initial
    return lambda step: initial * max(floor, 1.0 - step / n_steps)
