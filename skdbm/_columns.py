"""Columns of data as a user sees them, and as numbers that unit types encode.

A unit type turns numbers into states. What comes before is the same for all of them:
which columns belong to which unit type, categories as codes, gaps as NaN, and the way
back to an array or DataFrame like the one that `fit` saw.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from . import _validation, ops
from .units import Bernoulli, Categorical, Counts, Gaussian, Mixed, UnitType

#: Unit types of visible layers by the names that `visible` takes.
KINDS = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "categorical": Categorical,
    "counts": Counts,
}


@dataclass
class Columns:
    """What `fit` saw: the unit type, values of categories, names and dtypes.

    Parameters
    ----------
    unit : UnitType
        Unit type of the visible layer, not fitted.
    categories : dict of int to ndarray
        Values of every categorical column, by its index; codes are their places.
    frame : dict of str to dtype, default=None
        Names and dtypes of the columns of the DataFrame that `fit` saw.
    """

    unit: UnitType
    categories: dict = field(default_factory=dict)
    frame: dict | None = None

    @classmethod
    def of(cls, visible, X):
        """Resolve the parameter `visible` for the columns of `X`."""
        unit = resolve(visible, X)
        frame = (
            dict(zip(X.columns, X.dtypes, strict=True))
            if _validation.is_frame(X)
            else None
        )
        columns = cls(unit, frame=frame)
        for kind, indices in unit.columns(X.shape[1]):
            if kind.is_categorical:
                for index in np.arange(X.shape[1])[indices]:
                    values = _column(X, index)
                    columns.categories[int(index)] = _categories(values, index)
        return columns

    @classmethod
    def of_unit(cls, unit, n_columns):
        """Make columns for a fitted unit type; categories are their codes."""
        columns = cls(unit)
        for kind, indices in unit.columns(n_columns):
            if kind.is_categorical:
                places = np.arange(n_columns)[indices]
                for index, size in zip(places, kind.sizes, strict=True):
                    columns.categories[int(index)] = np.arange(size)
        return columns

    def numbers(self, X, *, name, allow_missing, may_be_missing, unknown="error"):
        """Turn columns, some of which hold categories, into a matrix of numbers."""
        n_rows, n_columns = X.shape
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        result = np.empty((n_rows, n_columns), dtype)
        if not allow_missing:  # before a category that nobody knows is one more error
            gaps = [i for i in range(n_columns) if _is_missing(_column(X, i)).any()]
            _validation.check_gaps(gaps, name, may_be_missing)
        for index in range(n_columns):
            if index in self.categories:
                result[:, index] = self._codes(_column(X, index), index, unknown)
            else:
                result[:, index] = _floats(X, index)
        return result

    def _codes(self, values, index, unknown):
        """Places of values among the categories of a column; NaN where missing."""
        categories = self.categories[index]
        place = {value: code for code, value in enumerate(categories.tolist())}
        missing = _is_missing(values)
        codes = np.array(
            [
                np.nan if gap else place.get(value, -1)
                for value, gap in zip(values.tolist(), missing, strict=True)
            ],
            dtype=np.float64,
        )
        if np.any(codes == -1) and unknown == "error":
            strange = values[codes == -1][0]
            raise ValueError(
                f"Column {index} holds the category {strange!r}, which fit did not see "
                f"(known are {_listed(categories)}). Set handle_unknown='missing' to "
                "treat such values as missing."
            )
        return np.where(codes == -1, np.nan, codes)

    def values(self, numbers, container="default"):
        """Turn a matrix of numbers back into what `fit` saw."""
        if not self.categories and container == "default":
            return numbers
        columns = [
            self.categories[i][column.astype(int)] if i in self.categories else column
            for i, column in enumerate(numbers.T)
        ]
        if container != "default":
            return self._framed(columns, container)
        kinds = {column.dtype.kind for column in columns}
        if kinds <= set("iufb"):
            return np.column_stack(columns).astype(numbers.dtype)
        result = np.empty(numbers.shape, dtype=object)
        for i, column in enumerate(columns):
            result[:, i] = column
        return result

    def _framed(self, columns, container):
        """Put columns into a DataFrame, with the dtypes that `fit` saw where it can."""
        module = __import__(container)
        names = self.frame or [f"x{i}" for i in range(len(columns))]
        if container == "polars":
            names = map(str, names)  # pandas has others
        frame = module.DataFrame(dict(zip(names, columns, strict=True)))
        for name, dtype in (self.frame or {}).items():
            # The dtypes of one library mean nothing to the other.
            of_polars = type(dtype).__module__.startswith("polars")
            if of_polars == (container == "polars"):
                frame = _cast(frame, name, dtype, container)
        return frame


def resolve(visible, X):
    """Make the unit type that the parameter `visible` describes, for columns of `X`."""
    if isinstance(visible, UnitType):
        return visible
    if isinstance(visible, str):
        return _kind(visible)()
    n_columns, parts, taken = X.shape[1], [], {}
    for entry in visible:
        kind, key = _entry(entry)
        indices = _validation.column_indices(X, key)
        for index in indices:
            if index in taken:
                raise ValueError(
                    f"Column {index} is in two groups of visible={visible!r}; every "
                    "column belongs to one."
                )
            taken[index] = kind
        if len(indices):
            unit = kind if isinstance(kind, UnitType) else _kind(kind)()
            parts.append((unit, indices))
    left = sorted(set(range(n_columns)) - set(taken))
    if left:
        names = [X.columns[i] for i in left] if _validation.is_frame(X) else left
        raise ValueError(
            f"Columns {names} are in no group of visible={visible!r}; add them to one, "
            "or drop them before."
        )
    return Mixed(parts)


def _entry(entry):
    """Check one group of the parameter `visible`."""
    if isinstance(entry, (tuple, list)) and len(entry) == 2:
        return entry
    raise ValueError(
        f"visible has the entry {entry!r}; pairs of a kind and columns are expected, "
        "such as ('gaussian', ['age', 'height'])."
    )


def _kind(name):
    """Find a unit type by its name."""
    if name in KINDS:
        return KINDS[name]
    raise ValueError(
        f"visible names the kind {name!r}; one of {sorted(KINDS)}, or a "
        "skdbm.units.UnitType, is expected."
    )


def _column(X, index):
    """One column as a vector of objects or numbers."""
    if hasattr(X, "iloc"):
        return X.iloc[:, index].to_numpy(dtype=object)
    if _validation.is_frame(X):
        return X[:, int(index)].to_numpy(allow_copy=True).astype(object)
    return X[:, index]


def _is_missing(values):
    """Which values are None, NaN or pandas.NA."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), bool)
    return np.array([_validation.is_missing(value) for value in values], dtype=bool)


def _floats(X, index):
    """A numeric column as floats, NaN where missing."""
    if hasattr(X, "iloc") and X.dtypes.iloc[index].kind in "iufb":
        result = X.iloc[:, index].to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = _column(X, index)
        try:
            result = np.where(_is_missing(values), np.nan, values).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Column {index} does not hold numbers ({error}); list it as "
                "'categorical' in visible."
            ) from error
    if np.isinf(result).any():
        raise ValueError(f"Input X contains infinity, in column {index}.")
    return result


def _categories(values, index):
    """Sorted distinct values of a column, without those that are missing."""
    present = values[~_is_missing(values)]
    if not len(present):
        raise ValueError(
            f"Column {index} has no value at all; drop it, or give rows that have one."
        )
    try:
        return np.array(sorted(set(present.tolist())), dtype=_plain(present.tolist()))
    except TypeError as error:
        raise ValueError(
            f"Column {index} holds values that cannot be sorted ({error}); give it one "
            "type of values."
        ) from error


def _plain(values):
    """A numeric dtype if all values are numbers, else object."""
    return None if all(isinstance(v, (int, float)) for v in values) else object


def _listed(categories):
    shown = ", ".join(repr(value) for value in categories[:10].tolist())
    return shown + (", ..." if len(categories) > 10 else "")


def _cast(frame, name, dtype, container):
    """Give a column its old dtype, unless that would change its values."""
    old = frame[name]
    try:
        new = old.cast(dtype) if container == "polars" else old.astype(dtype)
    except (TypeError, ValueError, ArithmeticError):  # not whole, or out of range
        return frame
    except Exception as error:  # polars has errors of its own
        if container != "polars" or not type(error).__module__.startswith("polars"):
            raise
        return frame
    values, rounded = np.asarray(old), np.asarray(new)
    if rounded.dtype.kind in "iub" and not np.array_equal(values, rounded):
        return frame
    if container == "polars":
        return frame.with_columns(new)
    return frame.astype({name: dtype})


class Encoded:
    """Rows of data as visible states, made of a slice of rows when it is asked for.

    So memory stays flat in the number of rows. Values are encoded before they are cast
    to another dtype: their differences may be far smaller than themselves.
    """

    def __init__(self, unit, X, dtype=None):
        self.unit, self.X, self.dtype = unit, X, X.dtype if dtype is None else dtype
        self.shape = (X.shape[0], unit.width(X.shape[1]))

    def __getitem__(self, rows):
        return self.unit.encode(self.X[rows]).astype(self.dtype, copy=False)


def state_means(unit, X):
    """Mean state of every unit over the rows in which it is known."""
    if sparse.issparse(X):
        return np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    return ops.column_means(Encoded(unit, X))


def prototypes(visible):
    """Unit types that the parameter `visible` names, whatever the columns."""
    if isinstance(visible, (str, UnitType)):
        visible = [(visible, None)]
    kinds = [_entry(entry)[0] for entry in visible]
    units = [kind if isinstance(kind, UnitType) else _kind(kind)() for kind in kinds]
    return [part for unit in units for part, _ in unit.columns(1)]


def accepts_sparse(visible, kinds):
    """Whether data may be sparse; where columns are taken apart they may not."""
    whole = isinstance(visible, (str, UnitType))
    return whole and all(kind.accepts_sparse for kind in kinds)
