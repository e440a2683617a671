"""Groups of units that share a number of draws."""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from .. import ops
from .._typing import BoolArray, FloatArray, IntArray, Rng
from .contract import UnitType

#: Draws for each unit of a group beyond which the units are counted one by one.
DRAWN_ONE_BY_ONE = 10


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
    Counts : One group whose number of draws differs from row to row.

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
        if np.min(self.n_trials) < 0 or not np.issubdtype(
            np.asarray(self.n_trials).dtype, np.integer
        ):
            raise ValueError(
                f"n_trials={self.n_trials!r}; a non-negative integer is expected."
            )
        if np.ndim(self.n_trials) == 0:
            object.__setattr__(self, "n_trials", int(self.n_trials))

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest state.

        Returns
        -------
        tuple of int
            Zero and the number of trials, the largest one if rows differ.
        """
        return (0, int(np.max(self.n_trials)))

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            One over the number of draws.
        """
        return float(1 / max(1, np.max(self.n_trials)))

    @property
    def _starts(self) -> IntArray:
        """Index of the first unit of each group."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    def _trials(self) -> int | IntArray:
        """Draws of each group: a number, or a column of one number a row."""
        trials = self.n_trials
        return trials if isinstance(trials, int) else np.asarray(trials)[:, None]

    def _spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Repeat values of groups for each of their units."""
        return np.repeat(values, self.sizes, axis=1)

    def _exponentials(
        self, field: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Largest field of each group, exp(x - largest), and its sums."""
        largest = np.maximum.reduceat(field, self._starts, axis=1)
        terms = np.subtract(field, self._spread(largest))
        np.exp(terms, out=terms)
        return largest, terms, np.add.reduceat(terms, self._starts, axis=1)

    def _sum_of_groups(self, values: FloatArray, where: BoolArray | None) -> FloatArray:
        """Sum values of groups over each row, or over groups that are wanted."""
        wanted = None if where is None else where[:, self._starts]
        return ops.row_sum(values, wanted)

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute n log sum exp(x) of every group, summed over each row.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        where : ndarray of bool of the same shape, default=None
            The units to sum over, in whole groups; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """
        largest, _, sums = self._exponentials(np.asarray(field, dtype=np.float64))
        return self._sum_of_groups(self._trials() * (largest + np.log(sums)), where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute n softmax(x) in every group.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        out : ndarray of the same shape, default=None
            Where the result goes; `field` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The means.
        """
        _, terms, sums = self._exponentials(field)
        factor = (self._trials() / sums).astype(field.dtype)
        means: FloatArray = np.multiply(terms, self._spread(factor), out=out)
        return means

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw the counts of every group.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        rng : numpy.random.Generator
            Source of the draws.
        out : ndarray of the same shape, default=None
            Where the result goes; `field` itself is allowed.
        scratch : ndarray of the same shape, default=None
            Not used.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, in the dtype of `field`.
        """
        _, terms, sums = self._exponentials(field)
        if np.max(self.n_trials) > DRAWN_ONE_BY_ONE * min(self.sizes):
            counts = self._counts(terms, sums, rng)
        else:
            counts = self._draws(terms, sums, rng)
        if out is None:
            return counts.astype(field.dtype)
        np.copyto(out, counts, casting="unsafe")
        return out

    def _counts(self, terms: FloatArray, sums: FloatArray, rng: Rng) -> IntArray:
        """Draw the counts of every group, unit by unit: for many draws."""
        trials = np.broadcast_to(self._trials(), sums.shape)
        parts = np.split(terms.astype(np.float64), self._starts[1:], axis=1)
        return np.hstack(
            [
                rng.multinomial(trials[:, i], part / part.sum(axis=1, keepdims=True))
                for i, part in enumerate(parts)
            ]
        )

    def _draws(self, terms: FloatArray, sums: FloatArray, rng: Rng) -> IntArray:
        """Draw the unit of every single draw, and count."""
        # Each group of each row is an interval of length 1 on one long line, cut in
        # proportion to the probabilities; a draw is a point of the interval.
        shares = np.divide(terms, self._spread(sums), dtype=np.float64)
        ends = np.cumsum(shares, out=shares.reshape(-1))
        n_rows, n_groups = sums.shape
        trials = np.broadcast_to(self._trials(), (n_rows, n_groups)).ravel()
        group = np.repeat(np.arange(n_rows * n_groups), trials)
        points = np.searchsorted(ends, group + rng.random(len(group)), side="right")
        # Rounding of the line must not carry a point into the neighbour's interval.
        first = (np.arange(n_rows)[:, None] * terms.shape[1] + self._starts).ravel()
        last = first + np.tile(self.sizes, n_rows) - 1
        points = np.clip(points, first[group], last[group])
        return np.bincount(points, minlength=terms.size).reshape(terms.shape)

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: x = log(m / n); any constant may be added to a group.

        Parameters
        ----------
        mean : ndarray of shape (..., n_units)
            Positive means with the sum n in each group.

        Returns
        -------
        ndarray of the same shape
            The fields.
        """
        field: FloatArray = np.log(mean) - np.log(self._trials())
        return field

    def bias_of_data(self, mean: FloatArray, n_rows: int) -> FloatArray:
        """Give the logarithms of the shares, as if one more row had equal ones.

        Parameters
        ----------
        mean : ndarray of shape (n_units,)
            Means of the states.
        n_rows : int
            Number of rows they were taken from.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """
        total = np.repeat(np.add.reduceat(mean, self._starts), self.sizes)
        total = np.where(total > 0, total, 1.0)
        even = 1 / np.repeat(self.sizes, self.sizes)
        bias: FloatArray = np.log((mean / total * n_rows + even) / (n_rows + 1))
        return bias

    def resting_bias(self, n_units: int, activity: float) -> FloatArray:
        """Give equal biases: no unit of a group is off when all are.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.
        activity : float
            Not used.

        Returns
        -------
        ndarray of shape (n_units,)
            Zeros.
        """
        return np.zeros(n_units)

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -sum m log(m / n), summed over each row.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means m.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies relative to exp(-base(s)), in nats, float64.
        """
        n = self._trials()
        share = np.asarray(mean, dtype=np.float64) / np.maximum(n, 1)
        return -ops.row_sum(n * ops.xlogx(share), where)

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -log(n! / prod s!) of every group, summed over each row.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            The states; their sums in the groups are taken for n.
        where : ndarray of bool of the same shape, default=None
            The units to sum over, in whole groups; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, float64.
        """
        states = np.asarray(states, dtype=np.float64)
        totals = np.add.reduceat(states, self._starts, axis=1)
        ways = self._sum_of_groups(gammaln(totals + 1), where)
        return ops.row_sum(gammaln(states + 1), where) - ways

    def tied_copies(self, n_copies: int) -> UnitType:
        """Give the unit type of the sum of `n_copies` groups of one field.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        UnitType
            Groups with `n_copies` times as many trials.
        """
        if n_copies == 1:
            return self
        return Multinomial(self.sizes, self.n_trials * n_copies)

    def n_states(self, n_units: int) -> float:
        """Count the joint states: (n + k - 1 choose n) for a group of k units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int or float
            The exact number; infinity if the number of trials is not one for all rows.
        """
        n = self.n_trials
        if not isinstance(n, int):
            return np.inf
        return math.prod(math.comb(n + size - 1, n) for size in self.sizes)

    def states(self, index: IntArray, n_units: int, dtype: npt.DTypeLike) -> FloatArray:
        """List joint states by their number, the first group running fastest.

        Parameters
        ----------
        index : ndarray of int of shape (n_rows,)
            Numbers from 0 to ``n_states(n_units) - 1``.
        n_units : int
            Number of units in the layer.
        dtype : dtype
            Floating dtype of the result.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            One joint state a row.
        """
        index, groups = np.asarray(index), []
        for size in self.sizes:
            table = _compositions(int(self.n_trials), size)
            groups.append(table[index % len(table)])
            index = index // len(table)
        return np.hstack(groups).astype(dtype)

    def check_width(self, n_units: int) -> None:
        """Check that a layer may have so many units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Raises
        ------
        ValueError
            If the sizes of the groups have another sum.
        """
        if sum(self.sizes) != n_units:
            raise ValueError(
                f"The layer has {n_units} units, and the groups of {self!r} "
                f"{sum(self.sizes)} together."
            )

    def check(self, values: FloatArray) -> None:
        """Check that the counts of each group have the sum n.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_units)
            Counts; NaN for all units of a group that is missing.

        Raises
        ------
        ValueError
            If a group has another sum, or is missing in part.
        """
        totals = np.add.reduceat(values, self._starts, axis=1)
        gaps = np.add.reduceat(np.isnan(values), self._starts, axis=1)
        whole = (gaps == 0) | (gaps == self.sizes)
        if not whole.all() or np.any(totals[gaps == 0] != self.n_trials):
            raise ValueError(
                f"The columns of {self!r} hold groups of counts with the sum "
                f"{self.n_trials}, or missing as a whole; got other groups."
            )

    def width(self, n_columns: int) -> int:
        """Count the units that stand for some columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        int
            The sum of the sizes.
        """
        return sum(self.sizes)


@lru_cache(maxsize=32)
def _compositions(total: int, size: int) -> IntArray:
    """All ways to write a total as a sum of `size` counts, one a row."""
    # Bars between stars: each choice of positions of the bars is one way.
    bars = np.array(list(combinations(range(total + size - 1), size - 1)), dtype=int)
    bars = bars.reshape(math.comb(total + size - 1, size - 1), size - 1)
    edges = np.pad(bars, ((0, 0), (1, 0)), constant_values=-1)
    edges = np.pad(edges, ((0, 0), (0, 1)), constant_values=total + size - 1)
    return np.diff(edges, axis=1) - 1
