"""Update rule, learning rates and the averaging of the weights."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass
class Adam:
    """Steps that moments of the gradient scale, parameter by parameter [1]_.

    .. [1] D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    first: list[FloatArray]
    second: list[FloatArray]
    n_steps: int = 0

    #: Shares of the moments that stay, and what keeps steps finite.
    STAY = 0.9, 0.999
    LEAST = 1e-8

    @classmethod
    def of(cls, parameters: Sequence[FloatArray]) -> "Adam":
        """Begin with moments of zero."""
        first, second = ([ops.zeros_like(p) for p in parameters] for _ in range(2))
        return cls(first, second)

    def descend(
        self,
        parameters: Sequence[FloatArray],
        gradients: Sequence[FloatArray],
        learning_rate: float,
        team: ops.Workers,
    ) -> None:
        """Move parameters in place against their gradients, which are overwritten."""
        self.n_steps += 1
        one, two = (1 - stay**self.n_steps for stay in self.STAY)

        def step(
            parameter: FloatArray, g: FloatArray, m: FloatArray, v: FloatArray
        ) -> None:
            m += (1 - self.STAY[0]) * (g - m)
            ops.square(g, out=g)
            v += (1 - self.STAY[1]) * (g - v)
            ops.sqrt(v / two, out=g)
            g += self.LEAST
            parameter -= learning_rate / one * m / g

        team.map(step, parameters, gradients, self.first, self.second)
