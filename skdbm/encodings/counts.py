"""Columns of counts."""

import math
from dataclasses import dataclass, field

from .. import ops
from .._typing import FloatArray, Rng, Rows
from ..units import ReplicatedSoftmax
from .contract import Encoding

#: Largest total of a row: up to here float32 holds all whole numbers.
LARGEST_TOTAL = 2**24

#: Length of a row of counts, as a vector, up to which training presents all its words,
#: and the share of that up to which it presents words of longer ones. Weights of order
#: one give hidden units fields of that size: those of long rows leave no doubt, and
#: chains stay where they are for ever.
LARGEST_LENGTH, PRESENTED = 100.0, 0.3

#: The automatic learning rate, times the variance of all words given the totals.
RATE = 4.0


@dataclass(frozen=True, eq=False)
class Counts(Encoding):
    """Counts of words in texts, each row given its total.

    Parameters
    ----------
    n_words : int, default=None
        Number of columns, one for each word of the vocabulary; None until `fit`.
    typical_total : int, default=1
        Total of a row where none is given, as for samples drawn without data.
    longest : int, default=None
        Total of a row beyond which training presents a part of its words, each time
        another one, of up to 0.3 times as many; None means all words of every row.

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
    longest: int | None = field(default=None, repr=False)

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
        """Give 4 over the sum of the variances of words given the totals, at most 0.1.

        How much totals vary is no matter: no coupling has to explain that.
        """
        totals, words = states.sum(axis=1, dtype=float), states.sum(axis=0, dtype=float)
        expected = ops.outer(totals, words / max(1.0, float(words.sum())))
        variance = float(ops.square(states - expected).sum()) / len(states)
        # Words of another chunk may vary as those of Poisson do at least.
        return min(0.1, RATE / max(1.0, variance, float(totals.mean())))

    def check(self, values: FloatArray) -> None:
        """Check that counts are whole numbers."""
        wrong = values[values != ops.floor(values)].ravel()
        if len(wrong):
            raise ValueError(
                f"Count columns hold whole numbers; got {wrong[0]:g}. Pass word counts "
                "as CountVectorizer makes them, not their tf-idf weights."
            )

    def fit(self, X: Rows) -> "Counts":
        """Take the number of words, the mean total, and how long rows may be."""
        n_rows, n_filled, total, largest = 0, 0, 0.0, 0.0
        for totals in ops.row_sums(X):
            if totals.max() > LARGEST_TOTAL:
                raise ValueError(
                    f"Row {n_rows + totals.argmax()} of counts has a total of "
                    f"{totals.max():g}; at most {LARGEST_TOTAL} is expected, since "
                    "training runs in float32. Divide all counts by a number and round "
                    "them."
                )
            n_rows += len(totals)
            n_filled += int(ops.count_nonzero(totals))
            total += float(totals.sum())
            largest = max(largest, float(totals.max()))
        typical = round(total / n_rows) if n_rows else 1
        longest = _longest(X, n_filled)
        beyond = longest if largest > longest else None
        return Counts(X.shape[1], max(1, typical), beyond)

    def draw(
        self, states: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Draw words of every row that has more than `longest`."""
        totals = states.sum(axis=1, dtype=float)
        most = math.inf if self.longest is None else self.longest
        beyond = ops.flatnonzero(totals > most)
        if not len(beyond):
            return super().draw(states, rng, out)
        out = ops.empty_like(states) if out is None else out
        ops.copyto(out, states)
        # Each word stays or goes by itself: those that stay are any words of the row.
        # How many differs: from equal totals nothing is learned of what totals change.
        most_drawn = PRESENTED * most * rng.random((len(beyond), 1))
        shares = most_drawn / totals[beyond, None]
        out[beyond] = rng.binomial(states[beyond].astype(ops.int64), shares)
        return out


def _longest(X: Rows, n_filled: int) -> int:
    """Total up to which rows with such shares of the words are not too long."""

    def squares(rows: FloatArray) -> FloatArray:
        shares: FloatArray = rows / ops.maximum(1, rows.sum(axis=1, keepdims=True))
        return ops.square(shares)

    # Empty rows have no shares.
    square = float(ops.column_means(X, squares).sum()) * X.shape[0] / max(1, n_filled)
    return max(1, round(LARGEST_LENGTH / square**0.5)) if n_filled else 1
