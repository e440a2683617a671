"""Fine-tuning: the network that is mean field, unrolled, learns which class rows have.

Rows come as training presents them, drawn anew where they hold probabilities. Rows
without a label learn what the averaged network says of them, undrawn: of a row as it is
it knows more than the newest one does of a drawn row, and that is what it teaches
[1]_, [2]_.

.. [1] D. Lee, "Pseudo-label", ICML workshop on challenges in representation learning,
   2013.
.. [2] A. Tarvainen and H. Valpola, "Mean teachers are better role models", NIPS 2017.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .. import ops
from .._typing import FloatArray, IntArray, Rng, Seed
from ..encodings.rows import EncodedRows
from ..inference.recognition import Recognition, complete
from ..machine import DeepBoltzmannMachine
from ..settings import FineTuning
from .optimizers import Adam, average_rate, average_step, falling_rate

#: Rows of a batch that have a label; and so many of those that have none.
BATCH = 50

#: The automatic number of passes over the rows, and the least number of updates.
EPOCHS, LEAST_UPDATES = 40, 2000

#: Shares of the updates after which rows without a label begin to count, and count like
#: the others: at first nobody knows what to teach them.
RAMP = 0.15, 0.5

#: Most rows of one block of a batch.
BLOCK_ROWS = 64


@dataclass(frozen=True)
class Lesson:
    """Some rows, the codes of the classes they are taught, and how much each counts."""

    rows: FloatArray
    codes: IntArray
    shares: FloatArray


def fine_tune(
    machine: DeepBoltzmannMachine,
    X: FloatArray,
    n_classes: int,
    settings: FineTuning,
    seed: Seed,
    n_jobs: int | None = None,
) -> DeepBoltzmannMachine:
    """Make the machine of which a network of few sweeps tells the classes of rows.

    The last column of the rows has the codes of their classes, NaN for none.
    """
    size = n_classes, settings.n_sweeps
    newest, average = (Recognition(machine.map(ops.array), *size) for _ in range(2))
    seeds = ops.seed_sequence(seed).spawn(2)
    school, rng = _School(machine, X, average, seeds[0]), ops.generator(seeds[1])
    n_updates, adam = school.n_updates(settings.max_iter), Adam.of(newest.parameters)
    with ops.workers(n_jobs) as team:
        for step in range(n_updates):
            lesson = school.lesson(step / n_updates)
            masks = _masks(machine, len(lesson.rows), settings.dropout, rng)
            gradients = gradient(newest, lesson, masks, team)
            rate = falling_rate(settings.learning_rate_init, step, n_updates)
            adam.descend(newest.parameters, gradients, rate, team)
            pairs = zip(average.parameters, newest.parameters, gradients, strict=True)
            for mean, value, room in pairs:
                average_step(mean, value, average_rate(step + 1), room)
    return average.machine


def gradient(
    network: Recognition,
    lesson: Lesson,
    masks: dict[int, FloatArray],
    team: ops.Workers,
) -> list[FloatArray]:
    """Gradients of the mean of -log p(class), in the order of the parameters."""

    def of_block(block: slice) -> list[FloatArray]:
        mask = {layer: values[block] for layer, values in masks.items()}
        tape = network.forward(lesson.rows[block], mask)
        slope = tape.steps[-1].mean.copy()
        slope[ops.arange(len(slope)), lesson.codes[block]] -= 1
        slope *= lesson.shares[block, None]
        return network.backward(tape, slope)

    first, *others = team.map(of_block, ops.row_blocks(len(lesson.rows), BLOCK_ROWS))
    for parts in others:  # in one order, whichever thread was first
        for total, part in zip(first, parts, strict=True):
            total += part
    return first


class _School:
    """Draws rows with labels and without, in turn, and says what they are taught."""

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        X: FloatArray,
        teacher: Recognition,
        seed: Seed,
    ) -> None:
        seeds = ops.seed_sequence(seed).spawn(3)
        draws, of_some, of_others = map(ops.generator, seeds)
        self.drawn = EncodedRows(machine.encoding, X, machine.dtype, draws)
        self.plain = EncodedRows(machine.encoding, X, machine.dtype)
        self.machine, self.codes, self.teacher = machine, X[:, -1], teacher
        has_none = ops.isnan(self.codes)
        self.labeled = _batches(ops.flatnonzero(~has_none), of_some)
        self.others = _batches(ops.flatnonzero(has_none), of_others)
        n_others = int(ops.count_nonzero(has_none))
        self.n_rows = max(n_others, len(X) - n_others)

    def n_updates(self, n_epochs: int | None) -> int:
        """Updates of so many passes over the rows with a label, or those without."""
        n_batches = -(-self.n_rows // BATCH)
        automatic = max(EPOCHS, -(-LEAST_UPDATES // n_batches))
        return (n_epochs or automatic) * n_batches

    def lesson(self, done: float) -> Lesson:
        """Draw the next rows, when so much of the training is done."""
        some, others = next(self.labeled), next(self.others)
        codes = self.codes[some].astype(int)
        shares = ops.full(len(some), 1 / len(some), self.drawn.dtype)
        counts = min(max(0.0, (done - RAMP[0]) / (RAMP[1] - RAMP[0])), 1.0)
        if not len(others) or not counts:
            return Lesson(self._read(self.drawn, some), codes, shares)
        clean = self._read(self.plain, others)
        taught = self.teacher.log_probabilities(clean).argmax(axis=1)
        more = ops.full(len(others), counts / len(others), self.drawn.dtype)
        return Lesson(
            self._read(self.drawn, ops.concatenate([some, others])),
            ops.concatenate([codes, taught]),
            ops.concatenate([shares, more]),
        )

    def _read(self, rows: EncodedRows, indices: IntArray) -> FloatArray:
        """States of some rows, but for the labels."""
        return complete(self.machine, rows.read(indices), self.teacher.n_classes)


def _batches(rows: IntArray, rng: Rng) -> Iterator[IntArray]:
    """Give rows batch by batch, for ever, in a new order each time; of none, none."""
    while True:
        order = rng.permutation(rows)
        for block in ops.row_blocks(len(rows), BATCH):
            yield order[block]


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
