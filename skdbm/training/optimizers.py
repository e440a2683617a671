"""Update rules, learning-rate schedules and the averaging of the weights."""

import numpy as np

#: The average is refreshed every so many updates: often enough for a smooth average
#: of thousands of updates, seldom enough to cost nothing.
AVERAGE_EVERY = 5

#: Exponent of the polynomial-decay average. With 8, half of its mass lies on the
#: last 7 % of the updates and nine tenths on the last quarter.
AVERAGE_EXPONENT = 8


def momentum_step(
    parameter, velocity, gradient, *, learning_rate, momentum, decay, scratch
):
    """Ascend in place: v <- momentum v + g - decay w; w <- w + learning_rate v.

    The velocity is free of the learning rate, so that a constant gradient g tends to
    the speed learning_rate g / (1 - momentum) and a decaying rate acts at once.
    """
    if decay:
        np.multiply(parameter, decay, out=scratch)
        gradient -= scratch
    velocity *= momentum
    velocity += gradient
    np.multiply(velocity, learning_rate, out=scratch)
    parameter += scratch


def average_rate(n_averaged):
    """Weight of the newest value in the polynomial-decay average.

    It needs no horizon: at any time the average leans on the last part of the run so
    far (Shamir and Zhang, "Stochastic gradient descent for non-smooth optimization",
    ICML 2013, section 4). `n_averaged` counts the values, the newest included.
    """
    return (AVERAGE_EXPONENT + 1) / (AVERAGE_EXPONENT + n_averaged)


def average_step(average, parameter, rate, scratch):
    """Move the average in place: a <- a + rate (w - a)."""
    np.subtract(parameter, average, out=scratch)
    scratch *= rate
    average += scratch


def learning_rates(schedule, initial, n_steps, floor=0.01):
    """Give the learning rate as a function of the number of updates done.

    "linear" falls to `floor` times the initial rate at `n_steps` updates, so that the
    noise of the persistent chains dies out; "constant" does not fall.
    """
    if schedule == "constant":
        return lambda step: initial
    return lambda step: initial * max(floor, 1.0 - step / n_steps)
