"""Counts of words: one group of units whose number of draws is that of the row."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray, IntArray, Rows
from .contract import UnitType
from .multinomial import Multinomial


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
        Total of a row where none is given, as for samples drawn without data.

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

    def __init__(self, n_words: int | None = None, typical_total: int = 1) -> None:
        object.__setattr__(self, "typical_total", int(typical_total))
        object.__setattr__(self, "n_trials", self.typical_total)
        object.__setattr__(self, "sizes", None if n_words is None else (n_words,))
        if n_words is not None:
            self.__post_init__()

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            One: `automatic_rate` knows the totals.
        """
        return 1.0

    def automatic_rate(self, n_columns: int, n_above: int) -> float:
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

    def __repr__(self) -> str:
        if not self.sizes:
            return "Counts()"
        return f"Counts(n_words={self.sizes[0]}, typical_total={self.typical_total})"

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of what a count can be.

        Returns
        -------
        tuple of float
            Zero and infinity.
        """
        return (0, np.inf)

    def tied_copies(self, n_copies: int) -> "Counts":
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

    def n_states(self, n_units: int) -> float:
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

    def check(self, values: FloatArray) -> None:
        """Check that counts are whole numbers.

        Parameters
        ----------
        values : ndarray
            Counts, of a sparse matrix those that are stored.

        Raises
        ------
        ValueError
            If a count is not a whole number.
        """
        wrong = values[values != np.floor(values)].ravel()
        if len(wrong):
            raise ValueError(
                f"Count columns hold whole numbers; got {wrong[0]:g}. Pass word counts "
                "as CountVectorizer makes them, not their tf-idf weights."
            )

    def fit(self, X: Rows) -> "Counts":
        """Take the number of words and the mean total.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Counts.

        Returns
        -------
        Counts
            The unit type for these columns.
        """
        typical = int(np.round(self.totals(X).mean())) if X.shape[0] else 1
        return Counts(X.shape[1], max(1, typical))

    def totals(self, states: Rows) -> IntArray:
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
        totals: IntArray = np.rint(sums).astype(np.int64)
        return totals

    def with_totals(self, totals: int | IntArray | None) -> UnitType:
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

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the parameters.
        """
        n_words = self.sizes[0] if self.sizes else None
        total = self.typical_total
        return {"type": "Counts", "n_words": n_words, "typical_total": total}
