"""Groups of units that share a number of draws: categories and counts."""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from numbers import Integral

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from .. import _arrays
from .contract import UnitType


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

    sizes: tuple
    n_trials: int = 1

    def __post_init__(self):
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
    def bounds(self):
        """Smallest and largest state.

        Returns
        -------
        tuple of int
            Zero and the number of trials.
        """
        return (0, self.n_trials)

    @property
    def rate_factor(self):
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            One over the number of draws.
        """
        return 1 / max(1, np.max(self.n_trials))

    @property
    def _starts(self):
        """Index of the first unit of each group."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    def _trials(self):
        """Draws of each group: a number, or a column of one number a row."""
        trials = self.n_trials
        return trials if np.ndim(trials) == 0 else np.asarray(trials)[:, None]

    def _spread(self, values):
        """Repeat values of groups for each of their units."""
        return np.repeat(values, self.sizes, axis=1)

    def _exponentials(self, field):
        """Largest field of each group, exp(x - largest), and its sums."""
        largest = np.maximum.reduceat(field, self._starts, axis=1)
        terms = np.subtract(field, self._spread(largest))
        np.exp(terms, out=terms)
        return largest, terms, np.add.reduceat(terms, self._starts, axis=1)

    def _sum_of_groups(self, values, where):
        """Sum values of groups over each row, or over groups that are wanted."""
        wanted = None if where is None else where[:, self._starts]
        return _arrays.row_sum(values, wanted)

    def log_partition(self, field, where=None):
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

    def mean(self, field, out=None):
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
        return np.multiply(terms, self._spread(factor), out=out)

    def sample(self, field, rng, out=None, scratch=None):
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
        # Each group of each row is an interval of length 1 on one long line, cut in
        # proportion to the probabilities; a draw is a point of the interval.
        shares = np.divide(terms, self._spread(sums), dtype=np.float64)
        ends = np.cumsum(shares, out=shares.reshape(-1))
        n_rows, n_groups = sums.shape
        trials = np.broadcast_to(self._trials(), (n_rows, n_groups)).ravel()
        group = np.repeat(np.arange(n_rows * n_groups), trials)
        points = np.searchsorted(ends, group + rng.random(len(group)), side="right")
        # Rounding of the line must not carry a point into the neighbour's interval.
        first = (np.arange(n_rows)[:, None] * field.shape[1] + self._starts).ravel()
        last = first + np.tile(self.sizes, n_rows) - 1
        points = np.clip(points, first[group], last[group])
        counts = np.bincount(points, minlength=field.size).reshape(field.shape)
        if out is None:
            return counts.astype(field.dtype)
        np.copyto(out, counts, casting="unsafe")
        return out

    def field_of_mean(self, mean):
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
        return np.log(mean) - np.log(self._trials())

    def bias_of_data(self, mean, n_rows):
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
        return np.log((mean / total * n_rows + even) / (n_rows + 1))

    def resting_bias(self, n_units, activity):
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

    def entropy(self, mean, where=None):
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
        return -_arrays.row_sum(n * _arrays.xlogx(share), where)

    def base(self, states, where=None):
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
        return _arrays.row_sum(gammaln(states + 1), where) - ways

    def tied_copies(self, n_copies):
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

    def n_states(self, n_units):
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
        if not isinstance(n, Integral):
            return np.inf
        return math.prod(math.comb(n + size - 1, n) for size in self.sizes)

    def states(self, index, n_units, dtype):
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

    def check_width(self, n_units):
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

    def width(self, n_columns):
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
def _compositions(total, size):
    """All ways to write a total as a sum of `size` counts, one a row."""
    # Bars between stars: each choice of positions of the bars is one way.
    bars = np.array(list(combinations(range(total + size - 1), size - 1)), dtype=int)
    bars = bars.reshape(math.comb(total + size - 1, size - 1), size - 1)
    edges = np.pad(bars, ((0, 0), (1, 0)), constant_values=-1)
    edges = np.pad(edges, ((0, 0), (0, 1)), constant_values=total + size - 1)
    return np.diff(edges, axis=1) - 1


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Categorical(Multinomial):
    """Groups of units of which exactly one is on: one group for each category column.

    A column of codes 0, 1, ..., k - 1 becomes a group of k units. In a hidden layer
    a group is a hidden variable with k values.

    Parameters
    ----------
    sizes : tuple of int, default=None
        Number of categories k of each column; None until `fit`.

    See Also
    --------
    Multinomial : Several draws from each group.
    skdbm.units.Bernoulli : A single unit for two categories, of which one is "off".

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Categorical
    >>> unit = Categorical(sizes=(3, 2))
    >>> unit.encode(np.array([[2.0, 0.0], [0.0, np.nan]]))
    array([[ 0.,  0.,  1.,  1.,  0.],
           [ 1.,  0.,  0., nan, nan]])
    >>> unit.decode(np.array([[0.1, 0.2, 0.7, 0.6, 0.4]]))  # the most probable ones
    array([[2., 0.]])
    """

    is_categorical = True
    holds_codes = True

    def __init__(self, sizes=None):
        object.__setattr__(self, "n_trials", 1)
        object.__setattr__(self, "sizes", sizes)
        if sizes is not None:
            self.__post_init__()

    def __repr__(self):
        return "Categorical()" if self.sizes is None else f"Categorical({self.sizes})"

    @property
    def bounds(self):
        """Ends of what a code can be.

        Returns
        -------
        tuple of float
            Zero and infinity; what a code must not exceed differs between columns.
        """
        return (0, np.inf)

    def fit(self, X):
        """Count the categories of every column, from the largest code.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Codes 0, 1, ...; NaN where missing.

        Returns
        -------
        Categorical
            The unit type for these columns.
        """
        largest = np.ma.masked_invalid(np.asarray(X)).max(axis=0).filled(0)
        return Categorical(tuple(int(code) + 1 for code in largest))

    def n_columns(self, n_units):
        """Count the columns for which some units stand.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int
            Number of groups.
        """
        return len(self.sizes)

    def encode(self, X, out=None):
        """Turn codes into groups of which one unit is on.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Codes; NaN where missing.
        out : ndarray of shape (n_rows, n_units), default=None
            Where the states go.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states; NaN for all units of a missing code.

        Raises
        ------
        ValueError
            If a code is not an integer below the number of categories of its column.
        """
        missing = np.isnan(X)
        codes = np.where(missing, 0, X)
        if np.any((codes < 0) | (codes >= self.sizes) | (codes != np.floor(codes))):
            raise ValueError(
                f"Codes of categorical columns must be integers from 0 to {self.sizes} "
                f"(exclusive); got values from {codes.min():g} to {codes.max():g}."
            )
        if out is None:
            out = np.empty((len(X), sum(self.sizes)), X.dtype)
        out[...] = 0
        rows = np.arange(len(X))[:, None]
        out[rows, codes.astype(int) + self._starts] = 1
        if missing.any():
            out[self._spread(missing)] = np.nan
        return out

    def decode(self, states):
        """Give the code of the unit with the largest state or mean in each group.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            States or means.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The codes, in the dtype of `states`.
        """
        parts = np.split(states, self._starts[1:], axis=1)
        codes = [part.argmax(axis=1) for part in parts]
        return np.stack(codes, axis=1).astype(states.dtype)

    def spec(self):
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the sizes.
        """
        sizes = None if self.sizes is None else list(self.sizes)
        return {"type": "Categorical", "sizes": sizes}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Counts(Multinomial):
    """Counts of words in texts: the replicated softmax.

    The counts of a row are as many draws from one softmax as the row has words in
    all, its total, on which everything is conditioned: p(v | total) is what a score
    is about [1]_. Long rows say more about the hidden units than short ones. A hidden
    bias that grows with the total needs no parameter of its own: adding a constant to
    all weights of a hidden unit leaves the softmax as it is and adds the total times
    the constant to the hidden field.

    Parameters
    ----------
    n_words : int, default=None
        Number of units, one for each word of the vocabulary; None until `fit`.
    typical_total : int, default=1
        Total of the rows where nothing says it, as of samples from nothing.

    See Also
    --------
    Multinomial : Groups with a known number of draws.

    References
    ----------
    .. [1] R. Salakhutdinov and G. Hinton, "Replicated softmax: an undirected topic
       model", NIPS 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Counts
    >>> X = np.array([[2.0, 0.0, 1.0], [5.0, 0.0, 0.0]])
    >>> unit = Counts().fit(X)
    >>> unit
    Counts(n_words=3, typical_total=4)
    >>> unit.with_totals(unit.totals(X)).mean(np.zeros((2, 3))).round(2)
    array([[1.  , 1.  , 1.  ],
           [1.67, 1.67, 1.67]])
    """

    typical_total: int = 1

    may_be_hidden = False
    may_be_missing = False  # the total would be missing, too
    accepts_sparse = True
    holds_codes = True

    def __init__(self, n_words=None, typical_total=1):
        object.__setattr__(self, "typical_total", int(typical_total))
        object.__setattr__(self, "n_trials", self.typical_total)
        object.__setattr__(self, "sizes", None if n_words is None else (n_words,))
        if n_words is not None:
            self.__post_init__()

    @property
    def rate_factor(self):
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            One: `automatic_rate` knows the totals.
        """
        return 1.0

    def automatic_rate(self, n_columns, n_above):
        """Give the learning rate that suits visible units of this type untuned.

        The variance of a row grows with its total, that of binary units with their
        number, so eight times the total counts as a number of columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.
        n_above : int
            Number of units in the first hidden layer.

        Returns
        -------
        float
            The rate of so many binary units.
        """
        return super().automatic_rate(max(n_columns, 8 * self.typical_total), n_above)

    def __repr__(self):
        if self.sizes is None:
            return "Counts()"
        return f"Counts(n_words={self.sizes[0]}, typical_total={self.typical_total})"

    @property
    def bounds(self):
        """Ends of what a count can be.

        Returns
        -------
        tuple of float
            Zero and infinity.
        """
        return (0, np.inf)

    def tied_copies(self, n_copies):
        """Give the unit type of the sum of `n_copies` layers of one field.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        Counts
            The same units; their totals, so many times as large, come with the rows.
        """
        return Counts(self.sizes[0], self.typical_total * n_copies)

    def n_states(self, n_units):
        """Count the joint states.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        float
            Infinity, since a total may be any number.
        """
        return np.inf

    def fit(self, X):
        """Take the number of words and the mean total.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Counts.

        Returns
        -------
        Counts
            The unit type for these columns.

        Raises
        ------
        ValueError
            If a value is not an integer.
        """
        values = X.data if sparse.issparse(X) else X
        if np.any(values != np.floor(values)):
            worst = values[values != np.floor(values)].ravel()[0]
            raise ValueError(
                f"Count columns hold whole numbers; got {worst:g}. Pass word counts as "
                "CountVectorizer makes them, not their tf-idf weights."
            )
        typical = int(np.round(self.totals(X).mean())) if X.shape[0] else 1
        return Counts(X.shape[1], max(1, typical))

    def totals(self, states):
        """Sum the counts of every row.

        Parameters
        ----------
        states : {ndarray, CSR matrix or array} of shape (n_rows, n_units)
            Counts.

        Returns
        -------
        ndarray of int of shape (n_rows,)
            The totals.
        """
        sums = np.asarray(states.sum(axis=1, dtype=np.float64)).ravel()
        return np.rint(sums).astype(np.int64)

    def with_totals(self, totals):
        """Give the unit type of rows with known totals.

        Parameters
        ----------
        totals : int, ndarray of shape (n_rows,) or None
            Totals of the rows, or one for all rows; None means `typical_total`.

        Returns
        -------
        UnitType
            A `Multinomial` of one group, which lives as long as one computation.
        """
        return self if totals is None else Multinomial(self.sizes, totals)

    def spec(self):
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the parameters.
        """
        n_words = None if self.sizes is None else self.sizes[0]
        total = self.typical_total
        return {"type": "Counts", "n_words": n_words, "typical_total": total}
