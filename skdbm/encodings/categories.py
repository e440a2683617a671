"""Columns of categories."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import ops
from .._typing import FloatArray, Rows
from ..units import Categorical
from .contract import Encoding


@dataclass(frozen=True, eq=False, repr=False)
class Categories(Encoding):
    """One of several values: codes 0, 1, ..., k - 1 become groups of k units.

    Estimators turn any values that can be sorted, strings for example, into codes.

    Parameters
    ----------
    sizes : sequence of int, default=None
        Number of categories k of each column, positive; None until `fit`.
    handle_unknown : {"error", "missing"}, default="error"
        What a category that `fit` did not see is to an estimator: an error, or a
        missing value.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or `handle_unknown` something else.

    See Also
    --------
    skdbm.units.Categorical : Their units.
    Probabilities : A single unit for two categories, of which one is "off".

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import Categories
    >>> encoding = Categories(sizes=(3, 2))
    >>> encoding.encode(np.array([[2.0, 0.0], [0.0, np.nan]]))
    array([[ 0.,  0.,  1.,  1.,  0.],
           [ 1.,  0.,  0., nan, nan]])
    >>> encoding.decode(np.array([[0.1, 0.2, 0.7, 0.6, 0.4]]))  # the most probable ones
    array([[2., 0.]])
    """

    sizes: tuple[int, ...] | None = None
    handle_unknown: str = "error"

    holds_codes = True
    is_categorical = True

    def __init__(
        self, sizes: Sequence[int] | None = None, handle_unknown: str = "error"
    ) -> None:
        if handle_unknown not in ("error", "missing"):
            raise ValueError(
                f"handle_unknown={handle_unknown!r}; 'error' or 'missing' is expected."
            )
        sizes = None if sizes is None else Categorical(sizes).sizes
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "handle_unknown", handle_unknown)

    def __repr__(self) -> str:
        sizes = "" if self.sizes is None else f"sizes={self.sizes}"
        if self.handle_unknown == "error":
            return f"Categories({sizes})"
        return f"Categories({sizes + ', ' * bool(sizes)}handle_unknown='missing')"

    @cached_property
    def unit(self) -> Categorical:
        """Groups of units, one for each column."""
        if self.sizes is None:
            raise ValueError("The sizes of Categories are not known before fit.")
        return Categorical(self.sizes)

    @property
    def bounds(self) -> tuple[float, float]:
        """Zero and infinity; `encode` knows how many codes there are."""
        return (0, math.inf)

    def fit(self, X: Rows) -> "Categories":
        """Count the categories of every column, from the largest code, if need be."""
        if self.sizes is not None:
            return self
        largest = ops.where(ops.isnan(X), 0, X).max(axis=0, initial=0)
        return Categories(largest.astype(int) + 1, self.handle_unknown)

    def width(self, n_columns: int) -> int:
        """Sum the sizes."""
        return sum(self.unit.sizes)

    def n_columns(self, n_units: int) -> int:
        """Count the groups."""
        return len(self.unit.sizes)

    def encode(self, X: Rows, out: FloatArray | None = None) -> FloatArray:
        """Turn codes into groups of which one unit is on."""
        sizes = ops.array(self.unit.sizes)
        starts = ops.cumsum(sizes) - sizes
        missing = ops.isnan(X)
        codes = ops.where(missing, 0, X)
        if ops.any((codes < 0) | (codes >= sizes) | (codes != ops.floor(codes))):
            raise ValueError(
                "Codes of categorical columns must be integers from 0 to "
                f"{self.unit.sizes} (exclusive); got values from {codes.min():g} to "
                f"{codes.max():g}."
            )
        if out is None:
            out = ops.empty((len(X), self.width(X.shape[1])), X.dtype)
        out[...] = 0
        out[ops.arange(len(X))[:, None], codes.astype(int) + starts] = 1
        if missing.any():
            out[ops.repeat(missing, sizes, axis=1)] = ops.nan
        return out

    def decode(self, states: FloatArray) -> FloatArray:
        """Give the code of the unit with the largest state or mean in each group."""
        parts = ops.split(states, ops.cumsum(self.unit.sizes)[:-1], axis=1)
        codes = ops.stack([part.argmax(axis=1) for part in parts], axis=1)
        return codes.astype(states.dtype)

    def spec(self) -> dict[str, Any]:
        """Give the sizes and what unknown categories are."""
        sizes = None if self.sizes is None else list(self.sizes)
        return {
            "type": "Categories",
            "sizes": sizes,
            "handle_unknown": self.handle_unknown,
        }
