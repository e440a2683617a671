"""Columns of data as a user sees them, and as numbers that encodings take.

An encoding turns numbers into states. What comes before is the same for all of them:
which columns belong to which encoding, categories as codes, gaps as NaN, and the way
back to an array or DataFrame like the one that `fit` saw.
"""

from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from . import _validation
from .encodings import Categories, Counts, Encoding, Mixed, Probabilities, Real, States
from .units import UnitType

#: Encodings by the names that `visible` takes.
KINDS = {
    "bernoulli": Probabilities,
    "gaussian": Real,
    "categorical": Categories,
    "counts": Counts,
}


@dataclass
class Columns:
    """What `fit` saw: the encoding, values of categories, names and dtypes."""

    #: As `visible` describes it, not fitted.
    encoding: Encoding
    #: Values of every categorical column, by its index; codes are their places.
    categories: dict = field(default_factory=dict)
    #: Names and dtypes of the columns of a DataFrame.
    frame: dict | None = None

    @classmethod
    def of(cls, visible, X):
        """Resolve the parameter `visible` for the columns of `X`."""
        encoding = resolve(visible, X)
        frame = (
            dict(zip(X.columns, X.dtypes, strict=True))
            if _validation.is_frame(X)
            else None
        )
        columns = cls(encoding, frame=frame)
        for _, indices in columns._categorical(X.shape[1]):
            for index in indices:
                columns.categories[index] = _categories(_column(X, index), index)
        return columns

    @classmethod
    def of_encoding(cls, encoding, n_columns):
        """Make columns for a fitted encoding; categories are their codes."""
        columns = cls(encoding)
        for part, indices in columns._categorical(n_columns):
            for index, size in zip(indices, part.sizes, strict=True):
                columns.categories[index] = np.arange(size)
        return columns

    def _categorical(self, n_columns):
        """Encodings of categories with the indices of their columns."""
        return [
            (part, np.arange(n_columns)[indices].tolist())
            for part, indices in self.encoding.columns(n_columns)
            if part.is_categorical
        ]

    def numbers(self, X, *, name, allow_missing, may_be_missing):
        """Turn columns, some of which hold categories, into a matrix of numbers."""
        n_rows, n_columns = X.shape
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        result = np.empty((n_rows, n_columns), dtype)
        if not allow_missing:  # before a category that nobody knows is one more error
            gaps = [i for i in range(n_columns) if _is_missing(_column(X, i)).any()]
            _validation.check_gaps(gaps, name, may_be_missing)
        codes = {
            index: self._codes(_column(X, index), index, part.handle_unknown)
            for part, indices in self._categorical(n_columns)
            for index in indices
        }
        for index in range(n_columns):
            known = codes.get(index)
            result[:, index] = _floats(X, index) if known is None else known
        return result

    def _codes(self, values, index, handle_unknown):
        """Places of values among the categories of a column; NaN where missing."""
        categories = self.categories[index]
        place = {value: code for code, value in enumerate(categories.tolist())}
        # No loop of Python's: looking values up runs in C.
        found = map(place.get, values.tolist(), repeat(np.nan))
        codes = np.fromiter(found, np.float64, len(values))
        if handle_unknown == "error":
            others = values[np.isnan(codes)]
            for strange in others[~_is_missing(others)][:1]:
                raise ValueError(
                    f"Column {index} holds the category {strange!r}, which fit did not "
                    f"see (known are {_listed(categories)}). Pass "
                    "skdbm.encodings.Categories(handle_unknown='missing') in visible "
                    "to treat such values as missing."
                )
        return codes

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
    """Make the encoding that the parameter `visible` describes, for columns of `X`."""
    if _is_whole(visible):
        return _of_width(_kind(visible), X.shape[1])
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
            parts.append((_kind(kind), indices))
    left = sorted(set(range(n_columns)) - set(taken))
    if left:
        names = [X.columns[i] for i in left] if _validation.is_frame(X) else left
        raise ValueError(
            f"Columns {names} are in no group of visible={visible!r}; add them to one, "
            "or drop them before."
        )
    return Mixed(parts)


def _of_width(encoding, n_columns):
    """Check that an encoding is made for so many columns."""
    if isinstance(encoding, Mixed) and encoding.n_columns(0) != n_columns:
        raise ValueError(
            f"visible={encoding!r} is made for {encoding.n_columns(0)} columns, and X "
            f"has {n_columns}."
        )
    for part, columns in encoding.columns(n_columns):
        if isinstance(part, States):
            part.unit.check_width(len(np.arange(n_columns)[columns]))
    return encoding


def kind_of(visible):
    """Class of the encoding that the parameter `visible` describes."""
    return type(_kind(visible)) if _is_whole(visible) else Mixed


def _entry(entry):
    """Check one group of the parameter `visible`."""
    if isinstance(entry, (tuple, list)) and len(entry) == 2:
        return entry
    raise ValueError(
        f"visible has the entry {entry!r}; pairs of a kind and columns are expected, "
        "such as ('gaussian', ['age', 'height'])."
    )


def _is_whole(visible):
    """Whether `visible` is about all columns, not a list of groups."""
    return isinstance(visible, (str, Encoding, UnitType))


def _kind(kind):
    """Make the encoding that a name, an encoding or a unit type stands for."""
    if isinstance(kind, Encoding):
        return kind
    if isinstance(kind, UnitType):
        return States(kind)
    if isinstance(kind, str) and kind in KINDS:
        return KINDS[kind]()
    raise ValueError(
        f"visible names the kind {kind!r}; one of {sorted(KINDS)}, a "
        "skdbm.encodings.Encoding or a skdbm.units.UnitType is expected."
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
    values = values.tolist()
    gaps = {value for value in set(values) if _validation.is_missing(value)}
    return np.fromiter(map(gaps.__contains__, values), bool, len(values))


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


def prototypes(visible):
    """Encodings that the parameter `visible` names, whatever the columns."""
    entries = [(visible, None)] if _is_whole(visible) else map(_entry, visible)
    return [part for kind, _ in entries for part, _ in _kind(kind).columns(1)]


def accepts_sparse(visible):
    """Whether data may be sparse; where columns are taken apart they may not."""
    if isinstance(visible, str):
        return KINDS.get(visible, Probabilities).accepts_sparse  # fit rejects others
    return _is_whole(visible) and _kind(visible).accepts_sparse


def read(estimator, X, columns, *, training, allow_missing):
    """Validate data and turn them into numbers; what is known of columns, or found."""
    visible, name, reset = estimator.visible, type(estimator).__name__, columns is None
    kinds = prototypes(visible)
    if allow_missing is None:
        allow_missing = estimator.allow_missing
    may_be_missing = all(kind.may_be_missing for kind in kinds)
    missing = {
        "allow_missing": allow_missing and may_be_missing,
        "may_be_missing": may_be_missing,
    }
    categorical = any(kind.is_categorical for kind in kinds)
    seen, is_frame = X, _validation.is_frame(X)
    if reset and is_frame:
        resolve(visible, X)  # says which columns are left over, before others
    X = _validation.check_container(
        estimator,
        X,
        reset=reset,
        categorical=categorical,
        sparse_too=accepts_sparse(visible),
        **missing,
    )
    if reset:
        columns = Columns.of(visible, seen if is_frame else X)
    if categorical:
        X = columns.numbers(X, name=name, **missing)
    X = _validation.check_bounds(X, columns.encoding, name, training=training)
    return X, columns
