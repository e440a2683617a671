"""What is known of units together, none of which is known by itself.

Units that vary with several columns, as those of real columns that have been whitened,
are not known where one of the columns is missing; yet what is known of the others
leaves fewer directions open. With s standard normal but for their field,

    s = p + P (s - p),

where p is any point that agrees with what is known and P projects onto what is open:
the span of what the missing columns add to the units, P = B B^T for an orthonormal
basis B of it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import ops
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray, Rows

_LOG_TWO_PI = math.log(2 * math.pi)


class Ties:
    """Directions in which rows of some Gaussian units are open.

    `units` are the columns of a layer, states of which are the columns of data times
    `matrix`, and `gaps`, of shape (n_rows, n_columns), says which of those are missing.
    """

    # Bases take memory: they are made when first asked for, of a block of rows as a
    # rule, and go on to the rows that are taken out after that.

    def __init__(
        self,
        units: slice,
        matrix: FloatArray,
        gaps: BoolArray,
        bases: FloatArray | None = None,
    ) -> None:
        self.units, self.matrix, self.gaps, self._bases = units, matrix, gaps, bases

    def __getitem__(self, rows: Any) -> "Ties":
        return self.map(lambda array: array[rows])

    def map(self, function: Callable[[Any], Any]) -> "Ties":
        """Map what has an entry for each row."""
        bases = None if self._bases is None else function(self._bases)
        return Ties(self.units, self.matrix, function(self.gaps), bases)

    def astype(self, dtype: DTypeLike) -> "Ties":
        """Give the bases, which are made now, in another dtype."""
        bases = self.bases.astype(dtype, copy=False)
        return Ties(self.units, self.matrix, self.gaps, bases)

    def shifted(self, n_units: int) -> "Ties":
        """Give the same for units that stand so many columns further to the right."""
        start, stop = self.units.start + n_units, self.units.stop + n_units
        return Ties(slice(start, stop), self.matrix, self.gaps, self._bases)

    @property
    def bases(self) -> FloatArray:
        """Bases of what is open, (n_rows, n_units, most gaps), zero beyond the gaps."""
        if self._bases is None:
            patterns, which = ops.unique(self.gaps, axis=0, return_inverse=True)
            self._bases = spans(self.matrix, patterns)[0][which.ravel()]
        return self._bases

    @property
    def tied(self) -> BoolArray:
        """In which rows units are known together, rather than one by one."""
        result: BoolArray = (~self.gaps).sum(axis=1) < self.gaps.shape[1]
        return result

    def projected(self, vectors: FloatArray) -> FloatArray:
        """P x of every row."""
        within = ops.matmul(vectors[:, None], self.bases)
        result: FloatArray = ops.matmul(self.bases, within[:, 0, :, None])
        return ops.asarray(result[..., 0])

    def closed(self, points: FloatArray) -> FloatArray:
        """Part of all points that agree with what is known which is the same."""
        block: FloatArray = points[:, self.units]
        return block - self.projected(block)

    def hold(self, states: FloatArray, points: FloatArray) -> None:
        """Move the states of a layer in place to what agrees with what is known."""
        # Of independent draws this makes draws given what is known, and of means means.
        block, points = states[:, self.units], points[:, self.units]
        held = points + self.projected(block - points)
        ops.copyto(block, held, where=self.tied[:, None])

    def log_density(self, field: FloatArray, points: FloatArray) -> FloatArray:
        """Log of the normal density of what is known, given the fields of a layer.

        So much has to be added to A(x), for which all units are free, to sum over the
        states that agree with what is known.
        """
        off = points[:, self.units] - field[:, self.units]
        off -= self.projected(off)
        total: FloatArray = self.log_constant - ops.row_dot(off, off) / 2
        return ops.where(self.tied, total, 0.0)

    @property
    def log_constant(self) -> FloatArray:
        """-log(2 pi) / 2 for every direction that is known of units that are tied."""
        n_known: FloatArray = (~self.gaps).sum(axis=1) * self.tied
        return -_LOG_TWO_PI / 2 * n_known

    @property
    def variances(self) -> FloatArray:
        """Variance that is left to every unit, (n_rows, n_units)."""
        result: FloatArray = ops.square(self.bases).sum(axis=2)
        return result

    @property
    def total_covariance(self) -> FloatArray:
        """Covariance that is left to the units, summed over the rows."""
        vectors: FloatArray = self.bases.swapaxes(1, 2)
        vectors = vectors.reshape(-1, len(self.matrix))
        result: FloatArray = vectors.T @ vectors
        return result


class PartlyKnown(NamedTuple):
    """States of rows, which of them are known, None for all, and ties of the others."""

    states: FloatArray
    known: BoolArray | None = None
    ties: Sequence[Ties] = ()

    def of_units(self, units: slice) -> "PartlyKnown":
        """Take some units, all or none of those that are tied together."""
        known = None if self.known is None else self.known[:, units]
        own = [t for t in self.ties if t.units.start == units.start]
        ties = [t.shifted(-units.start) for t in own]
        return PartlyKnown(self.states[:, units], known, ties)


def states_of(rows: Rows | PartlyKnown) -> Rows:
    """States alone, NaN where nothing is known; of tied units some that agree."""
    return rows.states if isinstance(rows, PartlyKnown) else rows


def spans(matrix: FloatArray, chosen: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal bases of chosen columns of a matrix, and logs of their volumes.

    For each row of `chosen` one; of shapes (n_rows, n, most that are chosen), zero
    beyond those, and (n_rows,).
    """
    first, used = chosen_first(chosen)
    columns = matrix.T[first] * used[..., None]
    bases, triangles = ops.qr(columns.swapaxes(1, 2))
    sizes = ops.where(used, ops.abs(ops.einsum("pii->pi", triangles)), 1.0)
    return bases * used[:, None], ops.log(sizes).sum(axis=1)


def chosen_first(chosen: BoolArray) -> tuple[IntArray, BoolArray]:
    """Indices of what is chosen in every row, and which of them: the rest fills up."""
    n_chosen = chosen.sum(axis=1)
    width = int(n_chosen.max(initial=0))
    used = ops.arange(width) < n_chosen[:, None]
    return ops.argsort(~chosen, axis=1, kind="stable")[:, :width], used
