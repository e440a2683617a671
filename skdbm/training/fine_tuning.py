"""Fine-tuning: the network that is mean field, unrolled, learns which class rows have.

What the network says near rows, at the place where it changes most, is to be what it
says of them [3]_. Without such perturbations rows come as training presents them, drawn
anew where they hold probabilities. Rows without a label learn what the averaged network
says of them, undrawn, which knows more than the newest one does [1]_, [2]_.

.. [1] D. Lee, "Pseudo-label", ICML workshop on challenges in representation learning,
   2013.
.. [2] A. Tarvainen and H. Valpola, "Mean teachers are better role models", NIPS 2017.
.. [3] T. Miyato, S. Maeda, M. Koyama and S. Ishii, "Virtual adversarial training", IEEE
   Transactions on Pattern Analysis and Machine Intelligence 41 (8), 2019.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import ops
from .._typing import BoolArray, FloatArray, IntArray, Rng, Seed
from ..encodings.rows import EncodedRows
from ..inference.recognition import Recognition, Tape, complete
from ..machine import DeepBoltzmannMachine
from ..settings import FineTuning
from ..units import Gaussian, Mixed
from .optimizers import Adam, average_rate, average_step, falling_rate

#: Batches of rows with a label, and of those without, are so large that a pass over the
#: rows has about so many of them, within a range.
BATCHES, BATCH_BETWEEN = 400, (50, 200)

#: The automatic number of passes over the rows, and the least number of updates.
EPOCHS, LEAST_UPDATES = 40, 1000

#: About so many rows tell how far rows are from their mean.
SPREAD_ROWS = 2000

#: How many nudges make up the distance at which classes shall be the same.
NUDGES = 20

#: Probabilities less than this one are taken for it when losses are told.
LEAST = 1e-30

#: Shares of the updates after which rows without a label begin to count, and count like
#: the others: at first nobody knows what to teach them.
RAMP = 0.15, 0.5


@dataclass(frozen=True)
class Lesson:
    """Some rows, the codes of the classes they are taught, and how much each counts.

    The first ones have a label.
    """

    rows: FloatArray
    codes: IntArray
    shares: FloatArray
    n_labeled: int


def fine_tune(
    machine: DeepBoltzmannMachine,
    X: FloatArray,
    n_classes: int,
    settings: FineTuning,
    seed: Seed,
    n_jobs: int | None = None,
    report: Callable[[int, int, float], None] | None = None,
) -> tuple[DeepBoltzmannMachine, list[float]]:
    """Make the machine of which the network tells classes; with the loss of each epoch.

    The last column of the rows has the codes of their classes, NaN for none. `report`
    hears of the end of every epoch: its number, how many there are, its loss.
    """
    # What labels mean is learned anew: where few are known the machine may have taken
    # them for something else.
    start = machine.map(ops.array)
    start.means = start.centres = None  # those of the machine that was
    start.weights[0][-n_classes:], start.biases[0][-n_classes:] = 0, 0
    newest, average = (Recognition(start.map(ops.array), n_classes) for _ in range(2))
    first = [*start.weights, *start.biases]
    seeds = ops.seed_sequence(seed).spawn(2)
    moved = _are_discrete(machine)[:-n_classes] & (settings.perturbation > 0)
    school = _School(machine, X, average, seeds[0], is_drawn=not moved.any())
    rng, adam = ops.generator(seeds[1]), Adam.of(newest.parameters)
    distance = settings.perturbation * school.spread(moved)
    losses: list[float] = []
    of_epoch: list[float] = []
    n_epochs = settings.max_iter or school.n_epochs
    n_updates = n_epochs * school.n_batches
    with ops.workers(n_jobs) as team:
        for step in range(n_updates):
            lesson = school.lesson(step / n_updates, team)
            masks = _masks(machine, len(lesson.rows), settings.dropout, rng)
            nudges = _nudges(lesson.rows, moved, distance, rng)
            surprise, gradients = gradient(newest, lesson, masks, team, nudges)
            pull = [settings.alpha / len(X)] * len(gradients)
            team.map(_pull, gradients, newest.parameters, first, pull)
            rate = falling_rate(settings.learning_rate_init, step, n_updates)
            adam.descend(newest.parameters, gradients, rate, team)
            shares = [average_rate(step + 1)] * len(gradients)
            arrays = average.parameters, newest.parameters
            team.map(average_step, *arrays, shares, gradients)
            of_epoch.append(float(surprise[: lesson.n_labeled].mean()))
            if len(of_epoch) == school.n_batches:
                losses.append(sum(of_epoch) / len(of_epoch))
                of_epoch.clear()
                if report is not None:
                    report(len(losses), n_epochs, losses[-1])
    return average.machine, losses


def gradient(
    network: Recognition,
    lesson: Lesson,
    masks: dict[int, FloatArray],
    team: ops.Workers,
    nudges: FloatArray | None = None,
) -> tuple[FloatArray, list[FloatArray]]:
    """-log p(class) of every row; gradients of its sum, as rows count.

    With nudges, small steps from the rows, what is summed has the divergence of the
    classes at the worst place so far away, too.
    """

    def of_block(block: slice) -> tuple[FloatArray, list[FloatArray]]:
        mask = {layer: values[block] for layer, values in masks.items()}
        shares = lesson.shares[block, None]
        tape = network.forward(lesson.rows[block], mask)
        said = tape.steps[-1].mean
        slope = said.copy()
        right = ops.arange(len(slope)), lesson.codes[block]
        surprise = -ops.log(ops.maximum(slope[right], LEAST))
        slope[right] -= 1
        gradients = network.backward(tape, slope * shares)
        if nudges is not None:
            tape = _away(network, tape, mask, nudges[block])
            slope = tape.steps[-1].mean - said
            _add(gradients, network.backward(tape, slope * shares))
        return surprise, gradients

    blocks = ops.row_blocks(len(lesson.rows), ops.TRAINING_ROWS)
    surprise, parts = zip(*team.map(of_block, blocks), strict=True)
    first, *others = parts
    for part in others:  # in one order, whichever thread was first
        _add(first, part)
    return ops.concatenate(surprise), first


def _add(totals: list[FloatArray], parts: list[FloatArray]) -> None:
    """Add arrays to others, in place."""
    for total, part in zip(totals, parts, strict=True):
        total += part


def _away(
    network: Recognition,
    tape: Tape,
    masks: dict[int, FloatArray],
    nudges: FloatArray,
) -> Tape:
    """Rows NUDGES times as far away as these nudges, where other classes are said.

    Units that no nudge has moved stay as they are. The Kullback-Leibler divergence of
    the classes near a row is a quadratic form; its slope at a random place near the
    row, one step of the power method, points in about the direction in which it grows
    fastest.
    """
    near = network.forward(tape.rows + nudges, masks)
    slope = near.steps[-1].mean - tape.steps[-1].mean
    direction = ops.where(nudges == 0, 0, network.by_rows(near, slope))
    # Squares of very small numbers are zero; where a class is certain, all numbers are.
    largest = ops.abs(direction).max(axis=1, keepdims=True)
    direction /= ops.maximum(largest, LEAST)
    length = ops.maximum(ops.norm(direction, axis=1, keepdims=True), LEAST)
    direction *= NUDGES * ops.norm(nudges, axis=1, keepdims=True) / length
    return network.forward(tape.rows + direction, masks)


def _pull(
    gradient: FloatArray, value: FloatArray, first: FloatArray, strength: float
) -> None:
    """Add the gradient of strength |w - first|^2 / 2, in place."""
    gradient += strength * (value - first)


class _School:
    """Draws rows with labels and without, in turn, and says what they are taught."""

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        X: FloatArray,
        teacher: Recognition,
        seed: Seed,
        is_drawn: bool,
    ) -> None:
        seeds = ops.seed_sequence(seed).spawn(3)
        draws, of_some, of_others = map(ops.generator, seeds)
        self.plain = EncodedRows(machine.encoding, X, machine.dtype)
        drawn = EncodedRows(machine.encoding, X, machine.dtype, draws)
        self.presented = drawn if is_drawn else self.plain
        self.machine, self.codes, self.teacher = machine, X[:, -1], teacher
        has_none = ops.isnan(self.codes)
        with_label, without = ops.flatnonzero(~has_none), ops.flatnonzero(has_none)
        n_rows = max(len(with_label), len(without))
        size = min(max(BATCH_BETWEEN[0], n_rows // BATCHES), BATCH_BETWEEN[1])
        self.labeled = _batches(with_label, size, of_some)
        self.others = _batches(without, size, of_others)
        self.n_batches = -(-n_rows // size)

    @property
    def n_epochs(self) -> int:
        """The automatic number of passes over the rows with a label, or without."""
        return max(EPOCHS, -(-LEAST_UPDATES // self.n_batches))

    def lesson(self, done: float, team: ops.Workers) -> Lesson:
        """Draw the next rows, when so much of the training is done."""
        some, others = next(self.labeled), next(self.others)
        codes = self.codes[some].astype(int)
        shares = ops.full(len(some), 1 / len(some), self.machine.dtype)
        counts = min(max(0.0, (done - RAMP[0]) / (RAMP[1] - RAMP[0])), 1.0)
        if not len(others) or not counts:
            return Lesson(self._read(self.presented, some), codes, shares, len(some))
        clean = self._read(self.plain, others)
        parts = [
            clean[block] for block in ops.row_blocks(len(clean), ops.TRAINING_ROWS)
        ]
        said = team.map(self.teacher.log_probabilities, parts)
        taught = ops.concatenate(said).argmax(axis=1)
        more = ops.full(len(others), counts / len(others), self.machine.dtype)
        return Lesson(
            self._read(self.presented, ops.concatenate([some, others])),
            ops.concatenate([codes, taught]),
            ops.concatenate([shares, more]),
            len(some),
        )

    def spread(self, units: BoolArray) -> float:
        """Distance of rows from their mean in some units, as a root mean square."""
        n_rows = len(self.codes)
        some = ops.arange(0, n_rows, max(1, n_rows // SPREAD_ROWS))
        return float(ops.sqrt(self._read(self.plain, some)[:, units].var(axis=0).sum()))

    def _read(self, rows: EncodedRows, indices: IntArray) -> FloatArray:
        """States of some rows, but for the labels."""
        return complete(self.machine, rows.read(indices), self.teacher.n_classes)


def _batches(rows: IntArray, size: int, rng: Rng) -> Iterator[IntArray]:
    """Give rows batch by batch, for ever, in a new order each time; of none, none."""
    while True:
        order = rng.permutation(rows)
        for block in ops.row_blocks(len(rows), size):
            yield order[block]


def _are_discrete(machine: DeepBoltzmannMachine) -> BoolArray:
    """Which visible units have no real values."""
    visible = machine.units[0]
    assert isinstance(visible, Mixed)  # labels are beside the others
    are_real = ops.zeros(machine.layer_sizes[0], bool)
    for unit, units in visible.slices:
        are_real[units] = isinstance(unit, Gaussian)
    return ~are_real


def _nudges(
    rows: FloatArray, moved: BoolArray, distance: float, rng: Rng
) -> FloatArray | None:
    """Draw a direction among some units for every row, of the length of a nudge."""
    if not distance:
        return None
    nudges = rng.standard_normal(rows.shape, rows.dtype) * moved
    nudges *= distance / NUDGES / ops.norm(nudges, axis=1, keepdims=True)
    return nudges


def _masks(
    machine: DeepBoltzmannMachine, n_rows: int, dropout: float, rng: Rng
) -> dict[int, FloatArray]:
    """Draw which hidden units are left out, and scale the others up."""
    if not dropout:
        return {}
    return {
        layer: (rng.random((n_rows, size), ops.float32) >= dropout).astype(
            machine.dtype
        )
        / machine.dtype.type(1 - dropout)
        for layer, size in enumerate(machine.layer_sizes)
        if layer
    }
