"""Groups of units that share a number of draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any

from .. import ops
from .._typing import Array, BoolArray, DTypeLike, FloatArray, IntArray, Rng, Rows
from .contract import UnitType

#: Draws for each unit of a group beyond which the units are counted one by one.
DRAWN_ONE_BY_ONE = 10

#: Groups of at most so many units are folded place by place, all groups at once.
FOLDED_BY_PLACE = 32


@dataclass(frozen=True, eq=False)
class Multinomial(UnitType):
    """Groups of units; in each, n draws fall on the units with softmax probabilities.

    In a group the states are counts with the sum n, and

        A(x) = n log sum_i exp(x_i),    base(s) = -log(n! / prod_i s_i!).

    Parameters
    ----------
    sizes : tuple of int
        Number of units of each group, in the order of the units.
    n_trials : int or ndarray of int of shape (n_rows,), default=1
        Number of draws n in each group; an array holds one number for each row of the
        fields that the methods will see.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or a number of draws a non-negative one.

    See Also
    --------
    Categorical : The case of a single draw.
    ReplicatedSoftmax : One group whose number of draws differs from row to row.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Multinomial
    >>> Multinomial(sizes=(3, 2), n_trials=6).mean(np.zeros((1, 5)))
    array([[2., 2., 2., 3., 3.]])
    """

    sizes: tuple[int, ...]
    n_trials: int | IntArray = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(
                f"sizes={self.sizes!r}; the number of units of each group is expected, "
                "positive integers."
            )
        trials = ops.asarray(self.n_trials)
        if trials.dtype.kind not in "iu" or trials.min() < 0:
            raise ValueError(
                f"n_trials={self.n_trials!r}; a non-negative integer is expected."
            )
        object.__setattr__(self, "n_trials", trials if trials.ndim else int(trials))

    @property
    def n_copies(self) -> int:
        """Number of draws, the largest one if rows differ."""
        return max(1, int(ops.max(self.n_trials)))

    @cached_property
    def _starts(self) -> IntArray:
        """Index of the first unit of each group."""
        return ops.cumsum([0, *self.sizes[:-1]])

    @cached_property
    def _group(self) -> IntArray:
        """Index of the group of each unit."""
        return ops.repeat(ops.arange(len(self.sizes)), self.sizes)

    @cached_property
    def _places(self) -> tuple[list[IntArray], IntArray]:
        """Units at every place of their groups, large groups first; the way back."""
        sizes = ops.array(self.sizes)
        order = ops.argsort(-sizes, kind="stable")
        starts, sizes = self._starts[order], sizes[order]
        units = [starts[sizes > place] + place for place in range(sizes[0])]
        return units, ops.argsort(order)

    def _fold(self, ufunc: Any, values: FloatArray) -> FloatArray:
        """Reduce each group, to shape (n_rows, n_groups): maximum, add."""
        if max(self.sizes) > FOLDED_BY_PLACE or len(self.sizes) == 1:
            folded: FloatArray = ufunc.reduceat(values, self._starts, axis=1)
            return folded
        (first, *others), back = self._places
        folded = values.take(first, axis=1)
        for units in others:
            part = folded[:, : len(units)]
            ufunc(part, values.take(units, axis=1), out=part)
        return folded.take(back, axis=1)

    def _spread(self, values: Array) -> Array:
        """Repeat values of groups for each of their units."""
        return values.take(self._group, axis=1)

    def _trials(self) -> int | IntArray:
        """Draws of each group: a number, or a column of one number a row."""
        trials = self.n_trials
        return trials if isinstance(trials, int) else trials[:, None]

    def _exponentials(
        self, field: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Largest field of each group, exp(x - largest), and its sums."""
        largest = self._fold(ops.maximum, field)
        terms = ops.subtract(field, self._spread(largest))
        ops.exp(terms, out=terms)
        return largest, terms, self._fold(ops.add, terms)

    def _sum_of_groups(self, values: FloatArray, where: BoolArray | None) -> FloatArray:
        """Sum values of groups over each row, or over groups that are wanted."""
        wanted = None if where is None else where[:, self._starts]
        return ops.row_sum(values, wanted)

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute n log sum exp(x) of every group, summed over each row."""
        largest, _, sums = self._exponentials(ops.asarray(field, dtype=ops.float64))
        return self._sum_of_groups(self._trials() * (largest + ops.log(sums)), where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute n softmax(x) in every group."""
        _, terms, sums = self._exponentials(field)
        factor = (self._trials() / sums).astype(field.dtype)
        means: FloatArray = ops.multiply(terms, self._spread(factor), out=out)
        return means

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw the counts of every group."""
        out = ops.empty_like(field) if out is None else out
        if isinstance(self.n_trials, int) and self.n_trials == 1:
            return self._choice(field, rng, out, scratch)
        _, terms, sums = self._exponentials(field)
        many = ops.max(self.n_trials) > DRAWN_ONE_BY_ONE * min(self.sizes)
        draw: Callable[..., IntArray] = self._counts if many else self._draws
        ops.copyto(out, draw(terms, sums, rng), casting="unsafe")
        return out

    def _choice(
        self, field: FloatArray, rng: Rng, out: FloatArray, scratch: FloatArray | None
    ) -> FloatArray:
        """Turn on the unit with the largest x + Gumbel noise in every group."""
        score = ops.gumbel(rng, ops.empty_like(field) if scratch is None else scratch)
        score += field
        largest = self._spread(self._fold(ops.maximum, score))
        ops.equal(score, largest, out=out)
        if ops.count_nonzero(out) != len(field) * len(self.sizes):
            # Of those that are equal the first one; of numbers that are none, none.
            units = ops.arange(out.shape[1])
            on = self._fold(ops.minimum, ops.where(out, units, len(units)))
            ops.equal(self._spread(on), units, out=out)
        return out

    def _counts(self, terms: FloatArray, sums: FloatArray, rng: Rng) -> IntArray:
        """Draw the counts of every group, unit by unit: for many draws."""
        trials = ops.broadcast_to(self._trials(), sums.shape)
        parts = ops.split(terms.astype(ops.float64), self._starts[1:], axis=1)
        return ops.hstack(
            [
                rng.multinomial(trials[:, i], part / part.sum(axis=1, keepdims=True))
                for i, part in enumerate(parts)
            ]
        )

    def _draws(self, terms: FloatArray, sums: FloatArray, rng: Rng) -> IntArray:
        """Draw the unit of every single draw, and count."""
        # Each group of each row is an interval of length 1 on one long line, cut in
        # proportion to the probabilities; a draw is a point of the interval.
        shares = ops.divide(terms, self._spread(sums), dtype=ops.float64)
        ends = ops.cumsum(shares, out=shares.reshape(-1))
        n_rows, n_groups = sums.shape
        trials = ops.broadcast_to(self._trials(), (n_rows, n_groups)).ravel()
        group = ops.repeat(ops.arange(n_rows * n_groups), trials)
        points = ops.searchsorted(ends, group + rng.random(len(group)), side="right")
        # Rounding of the line must not carry a point into the neighbour's interval.
        first = (ops.arange(n_rows)[:, None] * terms.shape[1] + self._starts).ravel()
        last = first + ops.tile(self.sizes, n_rows) - 1
        points = ops.clip(points, first[group], last[group])
        return ops.bincount(points, minlength=terms.size).reshape(terms.shape)

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: x = log(m / n); any constant may be added to a group."""
        field: FloatArray = ops.log(mean) - ops.log(self._trials())
        return field

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -sum m log(m / n), summed over each row."""
        n = self._trials()
        share = ops.asarray(mean, dtype=ops.float64) / ops.maximum(n, 1)
        return -ops.row_sum(n * ops.xlogx(share), where)

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -log(n! / prod s!), n being the sums of the groups, over each row."""
        states = ops.asarray(states, dtype=ops.float64)
        ways = ops.gammaln(self._fold(ops.add, states) + 1)
        of_units = ops.row_sum(ops.gammaln(states + 1), where)
        return of_units - self._sum_of_groups(ways, where)

    def mean_vjp(self, mean: FloatArray, gradient: FloatArray) -> FloatArray:
        """Compute m (g - sum m g / n), the sum being that over the group."""
        weighted = mean * gradient
        sums = self._fold(ops.add, weighted)
        share = mean / ops.maximum(self._trials(), 1)
        weighted -= share * self._spread(sums)
        return weighted

    def tied_copies(self, n_copies: int) -> UnitType:
        """Give groups with `n_copies` times as many draws."""
        if n_copies == 1:
            return self
        return Multinomial(self.sizes, self.n_trials * n_copies)

    def n_states(self, n_units: int) -> float:
        """Count the joint states: (n + k - 1 choose n) for a group of k units."""
        n = self.n_trials
        if not isinstance(n, int):
            return math.inf
        return math.prod(math.comb(n + size - 1, n) for size in self.sizes)

    def states(self, index: IntArray, n_units: int, dtype: DTypeLike) -> FloatArray:
        """List joint states by their number, the first group running fastest."""
        index, groups = ops.asarray(index), []
        for size in self.sizes:
            table = _compositions(int(self.n_trials), size)
            groups.append(table[index % len(table)])
            index = index // len(table)
        return ops.hstack(groups).astype(dtype)

    def check_width(self, n_units: int) -> None:
        """Check that the groups have so many units together."""
        if sum(self.sizes) != n_units:
            raise ValueError(
                f"The layer has {n_units} units, and the groups of {self!r} "
                f"{sum(self.sizes)} together."
            )

    def spec(self) -> dict[str, Any]:
        """Give the sizes and the numbers of draws."""
        trials = ops.asarray(self.n_trials).tolist()
        return {"type": "Multinomial", "sizes": list(self.sizes), "n_trials": trials}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Categorical(Multinomial):
    """Groups of units of which exactly one is on: variables with several values.

    The case of a single draw, n = 1, of `Multinomial`.

    Parameters
    ----------
    sizes : tuple of int
        Number of values of each variable.

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    See Also
    --------
    Multinomial : Several draws from each group.
    skdbm.encodings.Categories : Columns of categories.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Categorical
    >>> Categorical(sizes=(4, 2)).mean(np.zeros((1, 6)))
    array([[0.25, 0.25, 0.25, 0.25, 0.5 , 0.5 ]])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(tuple(sizes), 1)

    def __repr__(self) -> str:
        return f"Categorical({self.sizes})"

    def spec(self) -> dict[str, Any]:
        """Give the sizes."""
        return {"type": "Categorical", "sizes": list(self.sizes)}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ReplicatedSoftmax(Multinomial):
    """Counts of words in texts: one group, whose number of draws is that of the row.

    The counts of a row are as many draws from one softmax as the row has words in
    all, its total, on which everything is conditioned: p(v | total) is what a score
    is about [1]_. Long rows say more about the hidden units than short ones. A hidden
    bias that grows with the total needs no parameter of its own: adding a constant to
    all weights of a hidden unit leaves the softmax as it is and adds the total times
    the constant to the hidden field.

    Parameters
    ----------
    n_words : int
        Number of units, one for each word of the vocabulary; a ValueError if 0.
    typical_total : int, default=1
        Total of a row where none is given, as for samples drawn without data.

    Raises
    ------
    ValueError
        If there is no word.

    See Also
    --------
    Multinomial : Groups with a known number of draws.
    skdbm.encodings.Counts : Columns of counts.

    References
    ----------
    .. [1] R. Salakhutdinov and G. Hinton, "Replicated softmax: an undirected topic
       model", NIPS 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import ReplicatedSoftmax
    >>> X, unit = np.array([[2.0, 0.0, 1.0], [5.0, 0.0, 0.0]]), ReplicatedSoftmax(3)
    >>> unit.with_totals(unit.totals(X)).mean(np.zeros((2, 3))).round(2)
    array([[1.  , 1.  , 1.  ],
           [1.67, 1.67, 1.67]])
    """

    may_be_hidden = False

    def __init__(self, n_words: int, typical_total: int = 1) -> None:
        super().__init__((n_words,), int(typical_total))

    @property
    def typical_total(self) -> int:
        """Total of a row where none is given."""
        return int(self.n_trials)

    @property
    def n_copies(self) -> int:
        """One: a typical row is the plainest one."""
        return 1

    def __repr__(self) -> str:
        return f"ReplicatedSoftmax({self.sizes[0]}, typical_total={self.n_trials})"

    def tied_copies(self, n_copies: int) -> "ReplicatedSoftmax":
        """Give units whose typical total is `n_copies` times as large."""
        return ReplicatedSoftmax(self.sizes[0], self.typical_total * n_copies)

    def n_states(self, n_units: int) -> float:
        """Give infinity: totals have no end."""
        return math.inf

    def totals(self, states: Rows) -> IntArray:
        """Sum the counts of every row."""
        sums = ops.asarray(states.sum(axis=1, dtype=ops.float64)).ravel()
        totals: IntArray = (sums + 0.5).astype(ops.int64)
        return totals

    def with_totals(self, totals: int | IntArray | None) -> UnitType:
        """Give one group with these numbers of draws; itself if they are None."""
        return self if totals is None else Multinomial(self.sizes, totals)

    def spec(self) -> dict[str, Any]:
        """Give the number of words and the typical total."""
        numbers = {"n_words": self.sizes[0], "typical_total": self.n_trials}
        return {"type": "ReplicatedSoftmax", **numbers}


@lru_cache(maxsize=32)
def _compositions(total: int, size: int) -> IntArray:
    """All ways to write a total as a sum of `size` counts, one a row."""
    # Bars between stars: each choice of positions of the bars is one way.
    last = total + size - 1
    bars = combinations(range(last), size - 1)
    edges = ops.array([(-1, *places, last) for places in bars], dtype=ops.int64)
    return ops.diff(edges, axis=1) - 1
