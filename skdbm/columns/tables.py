"""Rows of data as columns of the library that they came in."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from .. import _validation
from . import of_pandas, of_polars, vectors

#: What is known of the columns of each library.
LIBRARIES = {"numpy": vectors, "pandas": of_pandas, "polars": of_polars}


@dataclass(frozen=True)
class Table:
    """Columns, with their names, and the index where there is one."""

    library: str
    columns: list
    names: Any = None
    index: Any = None
    #: Whether the rows were lists, whose values have types and no dtypes.
    narrow: bool = False

    @classmethod
    def of(cls, X, *, narrow=False):
        """Take a frame apart, or an array."""
        if hasattr(X, "iloc"):
            name, names, index = "pandas", X.columns, X.index
        elif _validation.is_frame(X):
            name, names, index = "polars", X.columns, None
        else:
            X = X.toarray() if sparse.issparse(X) else X
            return cls("numpy", list(X.T), narrow=narrow)
        column = LIBRARIES[name].column
        columns = [column(X, i) for i in range(X.shape[1])]
        return cls(name, columns, names, index)

    @property
    def tools(self):
        """What is known of columns of this library."""
        return LIBRARIES[self.library]

    def name(self, index):
        """Name of a column, or its number."""
        return index if self.names is None else self.names[index]

    def form(self, index):
        """What a column can hold, in plain data."""
        return self.tools.form(self.columns[index])

    def numbers(self, index, advice=""):
        """A column as numbers, NaN where missing; an error if it has none."""
        try:
            return self.tools.numbers(self.columns[index])
        except (TypeError, ValueError, OverflowError) as error:
            raise self.unsuited(index, error, advice) from error

    def unsuited(self, index, error, advice=""):
        """An error for a column that does not hold numbers."""
        kind = TypeError if isinstance(error, TypeError) else ValueError
        name = self.name(index)
        return kind(f"Column {name!r} does not hold numbers: {error}.{advice}")


def numbers(X):
    """Give rows in any container as an array of numbers, NaN where missing."""
    if sparse.issparse(X):
        return X.toarray()
    if not _validation.is_frame(X):
        X = np.asarray(listed(X)[0])
        if X.dtype.kind in "biuf":
            return X
    table = Table.of(X)
    return np.column_stack([table.numbers(i) for i in range(len(table.columns))])


def repeated(data, n):
    """Repeat every row of a table or an array."""
    if n == 1:
        return data
    if not isinstance(data, Table):
        return np.repeat(data.toarray() if sparse.issparse(data) else data, n, axis=0)
    rows = np.repeat(np.arange(len(data.columns[0])), n)
    index = None if data.index is None else data.index[rows]
    columns = [data.tools.take(column, rows) for column in data.columns]
    return replace(data, columns=columns, index=index)


def is_sparse(X):
    """Whether all columns of a frame are sparse ones of pandas."""
    dtypes = getattr(X, "dtypes", ())
    return hasattr(X, "iloc") and all(hasattr(dtype, "fill_value") for dtype in dtypes)


def is_matrix(X):
    """Whether data are an array of numpy, or a sparse one."""
    return isinstance(X, np.ndarray) or sparse.issparse(X)


def listed(X):
    """Turn rows that are lists into an array, of objects where types differ.

    A dtype for all would change them: numbers beside text become text, and integers
    beside real numbers are rounded.
    """
    if isinstance(X, np.ma.MaskedArray):
        X = np.where(np.ma.getmaskarray(X), None, X.data.astype(object))
        return X, True
    if not isinstance(X, (list, tuple)):
        return X, False
    try:
        array = np.asarray(X)
        mixed = array.dtype.kind in "USO"
        if array.dtype.kind == "f":
            mixed = bool((np.abs(array) >= 2**53).any())
        return np.array(X, dtype=object) if mixed else array, True
    except TypeError:  # no dtype for all
        return np.array(X, dtype=object), True
    except ValueError:  # of different lengths, which validation will say
        return X, True


def assembled(columns, container, names, index=None, *, narrow=False):
    """Put columns of any library into a container, an array or a frame."""
    if container == "default":
        plain = [_plain(column) for column in columns]
        names = range(len(columns)) if names is None else names
        return vectors.matrix(plain, names, narrow=narrow)
    columns = [c if _library(c) == container else _plain(c) for c in columns]
    names = [f"x{i}" for i in range(len(columns))] if names is None else names
    return LIBRARIES[container].frame(columns, names, index)


def _library(column):
    """Name of the library of a column."""
    return type(column).__module__.partition(".")[0]


def _plain(column):
    """A column as a vector of numpy."""
    return LIBRARIES[_library(column)].plain(column)
