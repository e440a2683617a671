"""What is known of units together, none of which is known by itself.

Units that vary with several columns, as those of real columns that have been whitened,
are not known where one of the columns is missing; yet what is known of the others
leaves fewer directions open. With s standard normal but for their field,

    s = p + P (s - p),

where p is any point that agrees with what is known and P projects onto what is open.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import ops
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray, Rows

_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Ties:
    """Directions in which rows of some Gaussian units are open.

    `units` are the columns of a layer, `pattern` of shape (n_rows,) says which of the
    projections `open`, of shape (n_patterns, n_units, n_units), holds for a row, and
    `n_closed`, of shape (n_patterns,), how many directions it leaves known. Rows whose
    units are known one by one have the identity.
    """

    units: slice
    pattern: IntArray
    open: FloatArray
    n_closed: IntArray

    def __getitem__(self, rows: Any) -> "Ties":
        return self.map(lambda pattern: pattern[rows])

    def map(self, function: Callable[[Any], Any]) -> "Ties":
        """Map what has an entry for each row."""
        return replace(self, pattern=function(self.pattern))

    def astype(self, dtype: DTypeLike) -> "Ties":
        """Give the projections in another dtype."""
        return replace(self, open=self.open.astype(dtype, copy=False))

    def shifted(self, n_units: int) -> "Ties":
        """Give the same for units that stand so many columns further to the right."""
        start, stop = self.units.start + n_units, self.units.stop + n_units
        return replace(self, units=slice(start, stop))

    @property
    def tied(self) -> BoolArray:
        """In which rows something is known."""
        result: BoolArray = self.n_closed[self.pattern] > 0
        return result

    def projected(self, vectors: FloatArray) -> FloatArray:
        """P x of every row."""
        result: FloatArray = ops.matmul(self.open[self.pattern], vectors[..., None])
        return result[..., 0]

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
        """-log(2 pi) / 2 for every direction that is known."""
        return -_LOG_TWO_PI / 2 * self.n_closed[self.pattern]

    @property
    def variances(self) -> FloatArray:
        """Variance that is left to every unit, (n_rows, n_units)."""
        diagonals: FloatArray = ops.einsum("pii->pi", self.open)
        return diagonals[self.pattern]


class PartlyKnown(NamedTuple):
    """States of rows with gaps, which of them are known, and ties of the others."""

    states: FloatArray
    known: BoolArray
    ties: tuple[Ties, ...]


def states_of(rows: Rows | PartlyKnown) -> Rows:
    """States alone, NaN where nothing is known; of tied units some that agree."""
    return rows.states if isinstance(rows, PartlyKnown) else rows


def given_the_others(
    precision: FloatArray, open_columns: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Covariance of some columns given the others, and log-determinant of its inverse.

    Of shapes (n_patterns, n, n), zero but for the open columns, and (n_patterns,).
    """
    outer = open_columns[:, :, None] & open_columns[:, None, :]
    identity = ops.eye(len(precision))
    # With ones on the diagonal for the others all patterns have one size.
    padded = ops.where(outer, precision, 0) + identity * ~open_columns[:, None, :]
    return ops.where(outer, ops.inv(padded), 0), ops.slogdet(padded)[1]
