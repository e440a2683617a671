"""Where training starts: the first machine, how long and how fast it learns."""

import math
from collections.abc import Sequence
from itertools import pairwise

from .. import ops
from .._typing import FloatArray, Rng
from ..encodings.rows import EncodedRows
from ..machine import DeepBoltzmannMachine
from ..units import Bernoulli, UnitType

#: Training runs in float32 whatever the data: rounding is far below the noise of the
#: chains, and products are twice as fast.
TRAINING_DTYPE = ops.float32

#: Standard deviation of the first weights above the first hidden layer, times the root
#: of the number of units in the layer below, and the first mean of units there; those
#: of the first hidden layer depend on the columns, see `Encoding.initial_weights`.
INITIAL_SCALE, INITIAL_ACTIVITY = 0.3, 0.02

#: The automatic number of epochs, and the range it is moved into: small data needs
#: more epochs, large data fewer.
EPOCHS = 40
EPOCHS_BETWEEN = (10, 2_000)

#: Updates, at most and at least. The least number is what moves weights by a distance,
#: the updates times the automatic learning rate, within a range.
MOST_UPDATES = 120_000
DISTANCE, LEAST_BETWEEN = 350, (2_000, 8_000)

#: Where Gibbs chains are slow, the share of the learning rate, the least number of
#: updates, and the range of epochs for that: few rows would be learned by heart.
SLOW_RATE, SLOW_UPDATES, SLOW_BETWEEN = 0.5, 18_000, (100, 500)


def initial_machine(
    rows: EncodedRows, hidden: Sequence[tuple[UnitType, int]], rng: Rng
) -> DeepBoltzmannMachine:
    """Make the first machine: small random weights, the data means in the biases."""
    units = [rows.encoding.unit, *(unit for unit, _ in hidden)]
    sizes = [rows.shape[1], *(size for _, size in hidden)]
    weights = [rows.encoding.initial_weights(sizes[0], sizes[1], rng)]
    for below, above in pairwise(sizes[1:]):
        weights.append(rng.normal(0, INITIAL_SCALE / below**0.5, (below, above)))
    first = rows.encoding.initial_activity(sizes[1])
    activities = [first, *[INITIAL_ACTIVITY] * (len(hidden) - 1)]
    # A constant in a group of units, of which one is on, changes nothing.
    biases = [free_bias(units[0], rows.column_means(), len(rows))]
    for (unit, n), activity in zip(hidden, activities, strict=True):
        biases.append(unit.field_of_mean(ops.full(n, activity)))
    mean = units[1].mean(biases[1][None])
    variance, slope = units[1].reaction(mean)
    encoding, shift, squares = rows.encoding.balanced(weights[0], mean[0], variance[0])
    biases[0] = biases[0] + shift
    # To second order, which is enough for weights that leave units independent.
    biases[1] = biases[1] - slope[0] / 2 * squares
    machine = DeepBoltzmannMachine(weights, biases, units, encoding)
    return machine.astype(TRAINING_DTYPE)


def independent_machine(rows: EncodedRows) -> DeepBoltzmannMachine:
    """Make the machine without couplings that has the means of the data."""
    unit, n_units = rows.encoding.unit, rows.shape[1]
    bias = free_bias(unit, rows.column_means(), len(rows))
    weights, units = [ops.zeros((n_units, 1))], [unit, Bernoulli()]
    return DeepBoltzmannMachine(weights, [bias, ops.zeros(1)], units, rows.encoding)


def free_bias(unit: UnitType, means: FloatArray, n_rows: int) -> FloatArray:
    """Bias at which free units have the means of the data.

    It is as if there were one more row, with the means of units whose field is zero;
    so a mean at the end of its range gives a finite bias.
    """
    even = unit.mean(ops.zeros((1, len(means))))[0]
    return unit.field_of_mean((means * n_rows + even) / (n_rows + 1))


def n_epochs(n_rows: int, batch_size: int, learning_rate: float) -> int:
    """Give the automatic number of epochs of joint training for rows of such a rate."""
    n_batches = -(-n_rows // batch_size)
    least = math.ceil(_within(DISTANCE / learning_rate, LEAST_BETWEEN) / n_batches)
    return _possible(max(EPOCHS, least), n_batches)


def n_slow_epochs(n_rows: int, batch_size: int, learning_rate: float) -> int:
    """Give the automatic number of epochs where Gibbs chains are slow."""
    n_batches = -(-n_rows // batch_size)
    least = int(_within(SLOW_UPDATES / n_batches, SLOW_BETWEEN))
    return max(_possible(least, n_batches), n_epochs(n_rows, batch_size, learning_rate))


def _possible(n_epochs: int, n_batches: int) -> int:
    """Move a number of epochs of so many updates to where it may be."""
    return int(_within(min(n_epochs, MOST_UPDATES // n_batches), EPOCHS_BETWEEN))


def _within(number: float, bounds: tuple[int, int]) -> float:
    """Move a number into a range."""
    return min(max(number, bounds[0]), bounds[1])
