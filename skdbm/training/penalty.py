"""A penalty on weights that rows cannot tell from chance, whose strength is learned.

Couplings of independent units come out of n rows with a standard error: the gradient
by W_ij has sd_i sd_j / sqrt(n), with sd the standard deviations of the units over the
rows. So weights are pulled to zero by multiples of that:

    W_ij is pulled by c sd_i sd_j / sqrt(n) sign(W_ij) / (1 + |W_ij|),

the gradient of a penalty by log(1 + |W|) [1]_: weights that are no more than chance
become zero, large ones are left alone. In the centred coordinates of the gradient the
biases follow, so that a pull leaves the means of the units where they are.

The strength c of every matrix is learned from rows that are held out: by how much
along the pull the moments of rows in training exceed theirs, in the same units. Where
held-out rows agree with the others there is next to no penalty. Neither log Z nor the
noise of the chains enters, and no training is repeated. What few held-out rows say is
shrunk by its standard error, as if strengths of tables spread about zero: ten rows are
always the same ten, and their chance would stay.

What is learned of an encoding is kept from chance alike. Real columns come to vary less
given the hidden units than new rows do: the machine learns its rows by heart. So what
rows in training are off their fields counts as many times as it is more for held-out
ones. Few of those may be far out by chance, and then are further off as well: a
regression on how far out rows are without couplings takes that away.

.. [1] E. Candes, M. Wakin and S. Boyd, "Enhancing sparsity by reweighted l1
   minimization", Journal of Fourier Analysis and Applications 14, 2008.
"""

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from .. import ops
from .._typing import FloatArray, Rng
from ..encodings.ties import PartlyKnown
from ..evidence import Evidence
from ..inference.mean_field import posterior
from ..machine import DeepBoltzmannMachine

#: Rows are compared at every so many updates, so many held-out ones of them; share of
#: the newest difference in the strength.
EVERY, COMPARED, NEWEST = 10, 100, 0.02

#: Differences beyond this are noise.
LARGEST = 5.0

#: How strengths, before `Encoding.caution`, spread from table to table: a difference
#: that held-out rows give with such a standard error counts half.
SPREAD = 1 / 3

#: The least strength between the visible units and the first hidden layer: without
#: any, deterministic columns set training swinging.
LEAST = 0.2

#: Mean-field sweeps of the rows that are compared.
SWEEPS = 2


class Penalty:
    """Strength of the pull for each weight matrix, and the variance of all units.

    `n_rows` is the number of rows that the machine learns from, 0 where they come in
    chunks: then the `n_seen` rows of all updates count. `variances` are those over the
    rows, by layer, of means for hidden units. `excess` is by what share held-out rows
    lie further off their fields.
    """

    def __init__(self, machine: DeepBoltzmannMachine, rng: Rng) -> None:
        self.rng, self.n_rows, self.n_seen = rng, 0, 0
        self.strengths = [0.0] * len(machine.weights)
        self.excess = 0.0
        self.variances = [ops.zeros_like(bias) for bias in machine.biases]

    def copy(self) -> "Penalty":
        """Copy what changes."""
        result = copy.copy(self)
        result.rng, result.strengths = ops.copied(self.rng), self.strengths.copy()
        result.variances = [variance.copy() for variance in self.variances]
        return result

    @property
    def spreads(self) -> list[FloatArray]:
        """Standard deviations of the units of every layer."""
        return [ops.sqrt(variance) for variance in self.variances]

    def look(
        self, states: Sequence[FloatArray], offsets: Sequence[FloatArray], rate: float
    ) -> None:
        """Take a batch into the variances, as `rate` of them."""
        for variance, layer, offset in zip(
            self.variances, states, offsets, strict=True
        ):
            newest = ops.mean(ops.square(layer - offset), axis=0)
            variance += rate * (newest - variance)
        self.n_seen += len(states[0])

    def scale(self, layer: int, alpha: float | None) -> float:
        """c / sqrt(n) for a matrix; `alpha` is the strength, None what was learned."""
        least = 0.0 if layer else LEAST
        strength = max(least, self.strengths[layer]) if alpha is None else alpha
        return strength / math.sqrt(max(1, self.n_rows or self.n_seen))

    def inflation(self, alpha: float | None) -> float:
        """How many times what is off the fields counts where the encoding learns."""
        return 1 + max(0.0, self.excess) if alpha is None else 1.0

    def pull(
        self,
        weight: FloatArray,
        layer: int,
        rows: slice,
        scale: float,
        out: FloatArray,
    ) -> None:
        """Pull on some rows of a matrix: scale sd_i sd_j sign(W_ij) / (1 + |W_ij|)."""
        ops.abs(weight[rows], out=out)
        out += 1
        below, above = self.spreads[layer : layer + 2]
        ops.divide(above, out, out=out)
        out *= scale * below[rows, None]
        ops.copysign(out, weight[rows], out=out)

    def learn(
        self,
        machine: DeepBoltzmannMachine,
        offsets: Sequence[FloatArray],
        seen: FloatArray | PartlyKnown,
        held_out: FloatArray | PartlyKnown,
        n_held_out: int,
    ) -> None:
        """Learn the strengths from visible states in training and held-out ones.

        These are some of `n_held_out` rows, which come to be compared one and all.
        """
        pair = [Evidence.of_rows(visible) for visible in (seen, held_out)]
        both = [_layers(machine, evidence) for evidence in pair]
        if machine.encoding.learned.size:
            off, far = zip(
                *map(partial(_off_and_far, machine), pair, both), strict=True
            )
            self.excess = _moved(self.excess, _excess(off, far))
        for layer, weight in enumerate(machine.weights):
            pull = ops.empty_like(weight)
            self.pull(weight, layer, slice(0, len(weight)), 1.0, pull)
            moments = []
            for states in both:
                below, above = (states[k] - offsets[k] for k in (layer, layer + 1))
                moments.append(ops.row_dot(below @ pull, above))
            # In standard errors of chance couplings; nothing, while no unit varies.
            size = float(ops.sum(ops.square(pull), dtype=float)) or math.inf
            seen_ones, others = (math.sqrt(self.n_rows) / size * m for m in moments)
            newest = float(seen_ones.mean() - others.mean())
            newest /= 1 + float(others.var()) / n_held_out / SPREAD**2
            newest *= machine.encoding.caution
            self.strengths[layer] = _moved(self.strengths[layer], newest)


def _layers(machine: DeepBoltzmannMachine, evidence: Evidence) -> list[FloatArray]:
    """Visible states of rows, gaps filled, and the means of the hidden layers."""
    given = posterior(machine, evidence, tol=0, max_iter=SWEEPS)
    return [given.visible, *given.means]


def _off_and_far(
    machine: DeepBoltzmannMachine, evidence: Evidence, states: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """How far rows are off their fields, and how far out they are without couplings."""
    encoding = machine.encoding
    rows = PartlyKnown(states[0], evidence.layers[0][1], evidence.ties)
    off = encoding.unexplained(rows, machine.field(0, states))
    first = encoding.unlearned
    alone: Any = first.encode(encoding.decode(states[0].astype(ops.float64)))
    return off, first.unexplained(PartlyKnown(alone), ops.zeros_like(alone))


def _excess(off: Sequence[FloatArray], far: Sequence[FloatArray]) -> float:
    """By what share the second of two samples is further off, rows as far out given."""
    y, x = (
        ops.concatenate([part - part.mean() for part in parts]) for parts in (off, far)
    )
    variance = float(x @ x)
    slope = float(x @ y) / variance if variance else 0.0
    seen, held_out = (
        float(ops.mean(y - slope * x)) for y, x in zip(off, far, strict=True)
    )
    mean = float(ops.mean(off[0]))
    return (held_out - seen) / mean if mean > 0 else math.nan


def _moved(strength: float, newest: float) -> float:
    """Take the newest difference in, if it is a number."""
    if not math.isfinite(newest):
        return strength
    newest = min(max(newest, -LARGEST), LARGEST)
    return strength + NEWEST * (newest - strength)
