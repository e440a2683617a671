"""What `fit` saw of the columns, and the way back to values like those."""

from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np

from .. import _validation
from ..encodings import Categories, Encoding, Mixed, Probabilities
from . import vectors
from .plain import packed, unpacked
from .tables import LIBRARIES, Table, assembled
from .visible import resolve

#: What to do with a column that does not hold numbers.
_ADVICE = (
    " Strings and other values are categories: name their columns in visible, for "
    "example visible=[('categorical', ['colour']), ('bernoulli', ['round'])], or "
    "encode them first."
)


@dataclass
class Columns:
    """What `fit` saw: the encoding, values of categories, names and dtypes."""

    #: As `visible` describes it, not fitted; but the categories are counted.
    encoding: Encoding
    #: Values of every categorical column, by its index; codes are their places.
    categories: dict = field(default_factory=dict)
    #: What columns can hold: one form for all of an array of numbers, or a list.
    forms: dict | list = field(default_factory=dict)
    #: Names of the columns of a DataFrame.
    names: list | None = None
    #: Whether the rows were lists.
    narrow: bool = False
    #: The parameter `visible` that the encoding came from.
    visible: object = None

    def __getstate__(self):
        told = ("categories", "forms", "names")
        return vars(self) | {name: packed(vars(self)[name]) for name in told}

    def __setstate__(self, state):
        told = ("categories", "forms", "names")
        vars(self).update(state | {name: unpacked(state[name]) for name in told})

    @classmethod
    def of(cls, visible, X, data):
        """Resolve the parameter `visible` for the columns of `X`, and of a table."""
        columns = cls(resolve(visible, X), visible=visible)
        if not isinstance(data, Table):
            columns.forms = vectors.form(np.empty(0, data.dtype))
            return columns
        columns.narrow = data.narrow
        if data.names is None and X.dtype != np.dtype(object):
            columns.forms = data.form(0)
        else:
            columns.forms = [_named_form(data, i) for i in range(X.shape[1])]
            columns.names = None if data.names is None else list(data.names)
        for index, part in enumerate(columns._parts(X.shape[1])):
            if part.is_categorical:
                columns.categories[index] = _categories(data, index)
        columns.encoding = columns._counted(X.shape[1])
        return columns

    @classmethod
    def of_encoding(cls, encoding, n_columns, dtype, visible):
        """Make columns for a fitted encoding; categories are their codes."""
        forms = vectors.form(np.empty(0, dtype))
        columns = cls(encoding, forms=forms, visible=visible)
        for part, places in encoding.columns(n_columns):
            if part.is_categorical:
                indices = np.arange(n_columns)[places].tolist()
                for index, size in zip(indices, part.sizes, strict=True):
                    columns.categories[index] = list(range(size))
        return columns

    def check_categories(self):
        """Raise an error for a column of categories that has none."""
        for index, values in self.categories.items():
            if not values:
                raise ValueError(
                    f"Column {self.name(index)!r} has no value at all; drop it, or "
                    "give rows that have one."
                )

    def joined(self, other, n_columns):
        """Make the columns of the rows that these, and others, were seen in."""
        if self.names != other.names:
            raise ValueError(
                f"A chunk has the columns {other.names}, and those before it have "
                f"{self.names}; all chunks need the same columns, in one order."
            )
        pairs = zip(self._parts(n_columns), other._parts(n_columns), strict=True)
        for index, (part, its) in enumerate(pairs):
            if type(part) is not type(its):
                raise ValueError(
                    f"visible={self.visible!r} takes column {self.name(index)!r} for "
                    f"{part!r} in some chunks and for {its!r} in others; name columns, "
                    "or give all chunks the same dtypes."
                )
        result = replace(self, categories=dict(self.categories))
        for index, values in other.categories.items():
            seen = self.categories[index]
            if values != seen:
                both = _sorted([*seen, *values], self.name(index))
                result.categories[index] = both
        if self._is_uniform and other._is_uniform:
            result.forms = self._joint_form(other, 0)
        else:
            result.forms = [self._joint_form(other, i) for i in range(n_columns)]
        result.encoding = result._counted(n_columns)
        return result

    def _joint_form(self, other, index):
        """Form of a column that holds what it holds here, and there."""
        try:
            return vectors.joint_form(self._form(index), other._form(index))
        except ValueError as error:
            raise ValueError(
                f"Column {self.name(index)!r} is of another dtype in one chunk than in "
                f"those before it ({error}); give all of them the same."
            ) from error

    def _counted(self, n_columns):
        """Give the encoding with the numbers of categories."""
        parts = []
        for part, columns in self.encoding.columns(n_columns):
            if isinstance(part, Categories):
                indices = np.arange(n_columns)[columns].tolist()
                sizes = [max(1, len(self.categories[i])) for i in indices]
                part = Categories(sizes, part.handle_unknown)
            parts.append((part, columns))
        if not self.categories:
            return self.encoding
        return Mixed(parts) if isinstance(self.encoding, Mixed) else parts[0][0]

    def _parts(self, n_columns):
        """List the encoding of every column."""
        parts = [None] * n_columns
        for part, columns in self.encoding.columns(n_columns):
            for index in np.arange(n_columns)[columns].tolist():
                parts[index] = part
        return parts

    def name(self, index):
        """Name of a column, or its number."""
        return int(index) if self.names is None else self.names[index]

    @property
    def _is_uniform(self):
        """Whether the columns were those of an array of numbers."""
        return isinstance(self.forms, dict)

    def _form(self, index):
        """What a column can hold."""
        return self.forms if self._is_uniform else self.forms[index]

    def numbers(self, table, *, name, allow_missing, may_be_missing):
        """Turn columns, some of which hold categories, into a matrix of numbers."""
        gaps = [table.tools.missing(column) for column in table.columns]
        if not allow_missing:  # before a category that nobody knows is one more error
            holey = [table.name(i) for i, gap in enumerate(gaps) if gap.any()]
            _validation.check_gaps(holey, name, may_be_missing)
        single = {str(column.dtype).lower() for column in table.columns} == {"float32"}
        dtype = np.float32 if single else np.float64
        result = np.empty((len(gaps[0]), len(gaps)), dtype)
        parts = zip(self._parts(len(gaps)), gaps, strict=True)
        for index, (part, gap) in enumerate(parts):
            if part.is_categorical:
                codes = self._codes(table, index, gap, part.handle_unknown)
                result[:, index] = codes
            else:
                result[:, index] = _floats(table, index, gap)
        return result

    def _codes(self, table, index, gaps, handle_unknown):
        """Places of values among the categories of a column; NaN where missing."""
        categories = self.categories[index]
        place = {value: code for code, value in enumerate(categories)}
        values = table.tools.objects(table.columns[index])
        # No loop of Python's: looking values up runs in C.
        try:
            found = map(place.get, values, repeat(np.nan))
            codes = np.fromiter(found, np.float64, len(values))
        except TypeError as error:
            raise _unsorted(table.name(index), error) from error
        strange = np.flatnonzero(np.isnan(codes) & ~gaps)
        if handle_unknown == "error" and len(strange):
            raise ValueError(
                f"Column {table.name(index)!r} holds the category "
                f"{values[strange[0]]!r}, which fit did not see (known are "
                f"{_listed(categories)}). Pass "
                "skdbm.encodings.Categories(handle_unknown='missing') in visible "
                "to treat such values as missing."
            )
        codes[gaps] = np.nan
        return codes

    def samples(self, numbers, container="default"):
        """Turn a matrix of drawn numbers into what `fit` saw, dtypes and all."""
        if container == "default" and not self.categories and self._is_uniform:
            return vectors.nearest(numbers, self.forms)
        return self._assembled(numbers, container)

    def means(self, numbers, container="default", index=None):
        """Turn means into what `fit` saw; means of integers are real numbers."""
        if not self.categories and container == "default":
            return numbers
        return self._assembled(numbers, container, index=index, means=True)

    def _assembled(self, numbers, container, *, index=None, means=False):
        """Put columns made of numbers into a container."""
        # The dtypes of one library mean nothing to another one.
        of_container = self._form(0)["library"] == container
        tools = LIBRARIES[container if of_container else "numpy"]
        columns = []
        for i, part in enumerate(self._parts(numbers.shape[1])):
            form, column = self._form(i), numbers[:, i]
            if not (means and not part.is_categorical and not vectors.is_real(form)):
                form = form if of_container else vectors.plain_form(form)
                column = self._column(i, part, column, form, tools)
            columns.append(column)
        return assembled(columns, container, self.names, index, narrow=self.narrow)

    def _column(self, index, part, numbers, form, tools):
        """Make a column of numbers; a ValueError if its dtype does not hold them."""
        if part.is_categorical:
            codes, places = np.unique(numbers.astype(int), return_inverse=True)
            categories = [self.categories[index][code] for code in codes.tolist()]
            return tools.take(_exact(categories, form, tools), places)
        if not isinstance(part, Probabilities):  # means of integers are integers
            seen = vectors.nearest(numbers, vectors.plain_form(self._form(index)))
            numbers = vectors.numbers(seen)
        return tools.made(vectors.nearest(numbers, form), form)

    def completed(self, data, numbers, gaps, container="default"):
        """Put numbers into the gaps of data, of which the rest stays as it is."""
        if not isinstance(data, Table):
            data = Table.of(data)
        parts, columns = self._parts(len(data.columns)), list(data.columns)
        for i in np.flatnonzero(gaps.any(axis=0)).tolist():
            columns[i] = self._filled(data, i, parts[i], numbers[:, i], gaps[:, i])
        names = self.names if data.names is None else data.names
        return assembled(columns, container, names, data.index, narrow=data.narrow)

    def _filled(self, table, index, part, numbers, gaps):
        """Fill the gaps of a column, in a dtype that holds what is known exactly."""
        tools, column, own = table.tools, table.columns[index], table.form(index)
        known = np.flatnonzero(~gaps)
        order = np.argsort(np.argsort(gaps, kind="stable"))
        values = tools.objects(tools.take(column, known))
        for form in self._candidates(table, index, own, part, numbers[gaps], values):
            try:
                drawn = self._column(index, part, numbers[gaps], form, tools)
                if form == own:
                    rest = tools.take(column, known)
                else:
                    rest = _exact(values, form, tools)
            except (ValueError, TypeError, OverflowError):
                continue
            return tools.take(tools.join([rest, drawn]), order)
        raise ValueError(
            f"Column {table.name(index)!r} holds {_listed(values)}, and no dtype holds "
            "both that and what is drawn; give it the dtype that it had in fit."
        )

    def _candidates(self, table, index, own, part, numbers, known):
        """Yield forms of a column with gaps, the one to prefer first."""
        seen, plain = self._form(index), vectors.plain_form(self._form(index))
        own_says = not vectors.is_bare(own)
        if own_says:
            yield own
        if seen["library"] == table.library:
            yield seen
        if not own_says and known:
            # Where the dtype says nothing the type of what is known has to do.
            if own.get("python") != "Decimal":
                own = own | {"python": vectors.python_of(seen)}
            yield own
        # What the library makes of the values, if they are of one type.
        drawn = vectors.objects(self._column(index, part, numbers, plain, vectors))
        values = known + drawn
        if len({type(value) for value in values}) == 1:
            yield table.tools.form(table.tools.inferred(values))


def _exact(values, form, tools):
    """Make a column of objects; a ValueError if its dtype would change them."""
    column = tools.made(vectors.of_objects(values), form)
    if tools.missing(column).any() or tools.objects(column) != values:
        raise ValueError(f"{form} does not hold {values}")
    return column


def _named_form(table, index):
    """Describe a column of training data."""
    try:
        return table.form(index)
    except ValueError as error:
        raise table.unsuited(index, error, _ADVICE) from error


def _floats(table, index, gaps):
    """A numeric column as floats, NaN where missing."""
    result = table.numbers(index, _ADVICE)
    result = np.where(gaps, np.nan, result)
    if np.isinf(result).any():
        raise ValueError(f"Input X contains infinity, in column {table.name(index)!r}.")
    return result


def _categories(table, index):
    """Sorted values of a column: those that its dtype declares, or that it has."""
    tools, column = table.tools, table.columns[index]
    declared = tools.declared(column)
    if declared:
        try:
            return sorted(declared)
        except TypeError:
            return declared
    gaps = tools.missing(column)
    present = tools.objects(tools.take(column, np.flatnonzero(~gaps)))
    return _sorted(present, table.name(index))


def _sorted(values, name):
    """Sort the categories of a column, each once."""
    try:
        return sorted(set(values))
    except TypeError as error:
        raise _unsorted(name, error) from error


def _unsorted(name, error):
    """An error for a column whose values are no categories."""
    return ValueError(
        f"Column {name!r} holds values that cannot be sorted ({error}); "
        "give it one type of values."
    )


def _listed(values):
    shown = ", ".join(map(repr, values[:10]))
    return shown + (", ..." if len(values) > 10 else "")
