"""Update rule, learning rates and the averaging of the weights."""

from .. import ops
from .._typing import FloatArray

#: Share of the velocity of every parameter that stays from update to update.
MOMENTUM = 0.9

#: Exponent of the polynomial-decay average. With 8, half of its mass lies on the
#: last 7 % of the updates and nine tenths on the last quarter.
AVERAGE_EXPONENT = 8

#: The last learning rate of a run, as a share of the first.
LAST_RATE = 0.01


def accelerate(
    parameter: FloatArray,
    velocity: FloatArray,
    gradient: FloatArray,
    learning_rate: float,
    scratch: FloatArray,
) -> None:
    """Ascend in place: v <- v + g; w <- w + learning_rate v.

    The velocity is free of the learning rate, so that slowed by `momentum` before every
    step a constant gradient g tends to the speed learning_rate g / (1 - momentum), and
    a decaying rate acts at once.
    """
    velocity += gradient
    ops.multiply(velocity, learning_rate, out=scratch)
    parameter += scratch


def average_rate(n_averaged: int) -> float:
    """Weight of the newest of `n_averaged` values in the polynomial-decay average.

    At any time the average leans on the last part of the run so far (O. Shamir and
    T. Zhang, "Stochastic gradient descent for non-smooth optimization", ICML 2013,
    section 4). The first value has the weight 1 and replaces whatever was there.
    """
    return (AVERAGE_EXPONENT + 1) / (AVERAGE_EXPONENT + n_averaged)


def average_step(
    average: FloatArray, parameter: FloatArray, rate: float, scratch: FloatArray
) -> None:
    """Move an average in place: a <- a + rate (w - a)."""
    ops.subtract(parameter, average, out=scratch)
    scratch *= rate
    average += scratch


def falling_rate(first: float, step: int, n_steps: int) -> float:
    """Learning rate of update `step` of `n_steps`, falling linearly to `LAST_RATE`."""
    return first * max(LAST_RATE, 1.0 - step / n_steps)
