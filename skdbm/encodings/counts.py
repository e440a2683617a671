"""Columns of counts."""

import math
from dataclasses import dataclass

from .. import ops
from .._typing import FloatArray, Rows
from ..units import ReplicatedSoftmax
from .contract import Encoding

#: Largest total of a row: up to here float32 holds all whole numbers.
LARGEST_TOTAL = 2**24


@dataclass(frozen=True, eq=False)
class Counts(Encoding):
    """Counts of words in texts, each row given its total.

    Parameters
    ----------
    n_words : int, default=None
        Number of columns, one for each word of the vocabulary; None until `fit`.
    typical_total : int, default=1
        Total of a row where none is given, as for samples drawn without data.

    Raises
    ------
    ValueError
        If there is no word.

    See Also
    --------
    skdbm.units.ReplicatedSoftmax : Their units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import Counts
    >>> Counts().fit(np.array([[2.0, 0.0, 1.0], [5.0, 0.0, 0.0]]))
    Counts(n_words=3, typical_total=4)
    """

    n_words: int | None = None
    typical_total: int = 1

    may_be_missing = False  # the total would be missing, too
    accepts_sparse = True
    holds_codes = True

    def __post_init__(self) -> None:
        if self.n_words is not None:
            object.__setattr__(self, "n_words", self.unit.sizes[0])
        object.__setattr__(self, "typical_total", int(self.typical_total))

    @property
    def unit(self) -> ReplicatedSoftmax:
        """Counts that share a total."""
        if self.n_words is None:
            raise ValueError("The number of words of Counts is not known before fit.")
        return ReplicatedSoftmax(self.n_words, self.typical_total)

    @property
    def bounds(self) -> tuple[float, float]:
        """Zero and infinity."""
        return (0, math.inf)

    @property
    def rate_factor(self) -> float:
        """One: how large totals are is in the learning rate."""
        return 1.0

    def learning_rate(self, states: FloatArray, n_above: int) -> float:
        """Give 0.8 over the typical total, less where columns are many."""
        # Totals may vary much from row to row, which no coupling has to explain.
        return float(min(0.1, 6.4 / max(states.shape[1], 8 * self.typical_total)))

    def check(self, values: FloatArray) -> None:
        """Check that counts are whole numbers."""
        wrong = values[values != ops.floor(values)].ravel()
        if len(wrong):
            raise ValueError(
                f"Count columns hold whole numbers; got {wrong[0]:g}. Pass word counts "
                "as CountVectorizer makes them, not their tf-idf weights."
            )

    def fit(self, X: Rows) -> "Counts":
        """Take the number of words and the mean total."""
        totals = ops.asarray(X.sum(axis=1)).ravel()
        if len(totals) and totals.max() > LARGEST_TOTAL:
            raise ValueError(
                f"Row {totals.argmax()} of counts has a total of {totals.max():g}; at "
                f"most {LARGEST_TOTAL} is expected, since training runs in float32. "
                "Divide all counts by a number and round them."
            )
        typical = round(float(X.sum()) / X.shape[0]) if X.shape[0] else 1
        return Counts(X.shape[1], max(1, typical))
