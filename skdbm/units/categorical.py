"""Columns of categories, and hidden variables with several values."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray, Rows
from .multinomial import Multinomial


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

    #: Values of columns are categories.
    is_categorical = True
    holds_codes = True

    def __init__(self, sizes: tuple[int, ...] | None = None) -> None:
        object.__setattr__(self, "n_trials", 1)
        object.__setattr__(self, "sizes", sizes)
        if sizes is not None:
            self.__post_init__()

    def __repr__(self) -> str:
        return "Categorical()" if not self.sizes else f"Categorical({self.sizes})"

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of what a code can be.

        Returns
        -------
        tuple of float
            Zero and infinity; what a code must not exceed differs between columns.
        """
        return (0, np.inf)

    def check(self, values: FloatArray) -> None:
        """Accept any codes; `encode` knows how many there are.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Codes.
        """

    def fit(self, X: Rows) -> "Categorical":
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

    def n_columns(self, n_units: int) -> int:
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

    def encode(self, X: Rows, out: FloatArray | None = None) -> FloatArray:
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

    def decode(self, states: FloatArray) -> FloatArray:
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
        columns = [part.argmax(axis=1) for part in parts]
        codes: FloatArray = np.stack(columns, axis=1).astype(states.dtype)
        return codes

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the sizes.
        """
        sizes = list(self.sizes) if self.sizes else None
        return {"type": "Categorical", "sizes": sizes}
