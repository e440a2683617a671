"""Columns as vectors of numpy: what is missing, what is a number, what is nearest.

A form says in plain data what a column can hold: its ``kind``, the name of a dtype of
numpy or "object", beside what its library has to know. Of objects ``python`` names the
type where they are numbers, and ``values`` lists those of a column that declares them.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from numbers import Real

import numpy as np
from sklearn.utils._missing import is_pandas_na

#: Types of objects that are numbers, by name.
_TYPES = {
    "bool": (bool, np.bool_),
    "int": (int, np.integer),
    "float": (float, np.floating),
    "Decimal": (Decimal,),
}


def is_missing(value):
    """Whether a value is None, NaN, NaT, pandas.NA or Decimal("NaN")."""
    if value is None or is_pandas_na(value):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    unequal = isinstance(value, (float, np.generic, datetime, timedelta))
    return unequal and bool(value != value)


def missing(vector):
    """Find what is missing."""
    if vector.dtype.kind in "fc":
        return np.isnan(vector)
    if vector.dtype.kind in "mM":
        return np.isnat(vector)
    if vector.dtype.kind == "O":
        return np.fromiter(map(is_missing, vector.tolist()), bool, len(vector))
    return np.zeros(len(vector), bool)


def numbers(vector):
    """Give the numbers in float64, NaN where missing; an error if they are none."""
    kind = vector.dtype.kind
    if kind in "biuf":
        return vector.astype(np.float64)
    if kind != "O":
        raise ValueError(f"its dtype is {vector.dtype}")
    gaps = missing(vector)
    known = vector[~gaps].tolist()
    for value in known:
        if isinstance(value, str):
            raise ValueError(f"could not convert string to float: {value!r}")
        if not isinstance(value, (Real, Decimal, np.bool_)):
            raise TypeError(
                "argument must be a string or a real number, not "
                f"{type(value).__name__!r}"
            )
    result = np.full(len(vector), np.nan)
    result[~gaps] = list(map(float, known))
    return result


def objects(vector):
    """List the values as objects of Python, or of numpy where it has no such."""
    return list(vector) if vector.dtype.kind in "mM" else vector.tolist()


def of_objects(values):
    """Make a vector of objects, whatever they are."""
    return np.fromiter(values, object)


def declared(vector):
    """List the categories that the dtype declares: none does."""


def form(vector):
    """Describe what a vector can hold."""
    if vector.dtype.kind != "O":
        return {"library": "numpy", "kind": vector.dtype.str}
    return {"library": "numpy", **object_form(vector)}


def object_form(vector):
    """Describe what a vector of objects can hold: the numbers of one type, or all."""
    types = {type(value) for value in vector[~missing(vector)].tolist()}
    names = {
        next((name for name, type_ in _TYPES.items() if issubclass(cls, type_)), None)
        for cls in types
    }
    if len(names) > 1 and names <= {"bool", "int", "float"}:
        names = {"float"}
    return {"kind": "object", "python": names.pop() if len(names) == 1 else None}


def joint_form(form, other):
    """Form of a column that has both; a ValueError if its dtypes are of two kinds."""
    if form == other:
        return form
    if _is_plain(form) and _is_plain(other) and form.keys() == other.keys():
        dtype = np.promote_types(form["kind"], other["kind"])
        name = {"name": dtype.name} if "name" in form else {}
        return form | name | {"kind": dtype.str}
    if form["library"] == other["library"] and (is_bare(form) or is_bare(other)):
        bare = form if is_bare(form) else other
        types = {python_of(form), python_of(other)} - {None}  # of what is known
        if len(types) > 1:
            types = {"float"} if types <= {"bool", "int", "float"} else set()
        return bare | {"python": types.pop() if types else None}
    if _are_texts(form, other):
        return form | {"kind": np.promote_types(form["kind"], other["kind"]).str}
    values = form.get("values", []), other.get("values", [])
    if form | {"values": values} == other | {"values": values, "ordered": False}:
        return form | {"values": list(dict.fromkeys(values[0] + values[1]))}
    names = (one.get("name", one["kind"]) for one in (other, form))
    raise ValueError(" after ".join(names))


def _are_texts(form, other):
    """Whether two forms are of strings of numpy, of whatever lengths."""
    kinds = {one["kind"].lstrip("<>|=")[0] for one in (form, other)}
    return "name" not in form and kinds in ({"U"}, {"S"})


def _is_plain(form):
    """Whether a form says no more than the dtype of numpy."""
    known = is_numeric(form) and form.keys() <= {"library", "kind", "name"}
    return known and form.get("name") in (None, np.dtype(form["kind"]).name)


def python_of(form):
    """Name the type of objects that are numbers as a column of some form has them."""
    if is_numeric(form):
        kinds = {"b": "bool", "i": "int", "u": "int", "f": "float"}
        return kinds[np.dtype(form["kind"]).kind]
    return form.get("python")


def plain_form(form):
    """Form of a vector of numpy for the values of a column of another library."""
    return {"library": "numpy"} | {
        key: value
        for key, value in form.items()
        if key in ("kind", "python", "values", "precision", "scale")
    }


def is_bare(form):
    """Whether the dtype says nothing of what a column holds."""
    names = ("object", "Object", "Null", "null[pyarrow]")
    return form["kind"] == "object" and form.get("name", "object") in names


def is_real(form):
    """Whether a column holds real numbers, up to their precision."""
    return form["kind"] != "object" and np.dtype(form["kind"]).kind == "f"


def is_numeric(form):
    """Whether numbers of one dtype of numpy are held."""
    return form["kind"] != "object" and np.dtype(form["kind"]).kind in "biuf"


def nearest(values, form):
    """Turn real numbers into the nearest ones that a column of some form can hold."""
    if "values" in form:
        allowed = numbers(of_objects(form["values"]))
        order = np.argsort(allowed)
        between = (allowed[order][1:] + allowed[order][:-1]) / 2
        places = order[np.searchsorted(between, values)]
        return of_objects([form["values"][place] for place in places])
    if is_numeric(form):
        return _nearest_of_dtype(values, np.dtype(form["kind"]))
    name = form.get("python")
    if name == "bool":
        return of_objects((values >= 0.5).tolist())
    if name == "int":
        return of_objects(map(round, values.tolist()))
    if name == "Decimal":
        return of_objects(_decimal(value, form) for value in values.tolist())
    return values if name is None else of_objects(values.tolist())


def _nearest_of_dtype(values, dtype):
    """Round to the dtype, and stay within its range."""
    if dtype.kind == "b":
        return (values >= 0.5).astype(dtype)
    if dtype.kind == "f":
        highest = np.finfo(dtype).max
        return np.clip(values, -highest, highest).astype(dtype)
    range_, rounded = np.iinfo(dtype), np.rint(values)
    # The ends of 64 bits are no floats, and a float beyond them has no integer.
    over, under = rounded >= float(range_.max), rounded <= float(range_.min)
    result = np.where(over | under, 0, rounded).astype(dtype)
    result[over], result[under] = range_.max, range_.min
    return result


def _decimal(value, form):
    """Round to the places of a column of decimals, and stay within its digits."""
    if "scale" not in form:
        return Decimal(repr(value))
    highest = 10 ** (form["precision"] or 38) - 1
    whole = round(Decimal(repr(value)).scaleb(form["scale"]))
    return Decimal(max(-highest, min(highest, whole))).scaleb(-form["scale"])


def made(vector, form):
    """Give a vector the dtype of a form."""
    return vector.astype(form["kind"])


def inferred(values):
    """Make a column of objects of one type."""
    return of_objects(values)


def take(vector, indices):
    """Choose places of a vector."""
    return vector[indices]


def join(vectors):
    """Put vectors of one form behind one another."""
    return np.concatenate(vectors, dtype=vectors[0].dtype)  # in its order of bytes


def plain(vector):
    """Give the vector itself."""
    return vector


def matrix(vectors, names, *, narrow=False):
    """Put vectors side by side, in a dtype that holds all of them, or as objects.

    What came as lists is made narrow: where it can, it gets the dtype of its values.
    """
    if narrow:
        vectors = [_narrowed(vector) for vector in vectors]
    dtypes = {vector.dtype for vector in vectors}
    if len(dtypes) == 1:
        return np.column_stack(vectors).astype(dtypes.pop(), copy=False)
    if all(dtype.kind in "biuf" for dtype in dtypes):
        result = np.column_stack(vectors)
        lost = _first_lost(vectors, result)
        if lost is None:
            return result
        if not narrow:
            index, value = lost
            raise ValueError(
                f"Column {names[index]!r} holds {value}, which an array of "
                f"{result.dtype} does not hold exactly beside the other columns; ask "
                "for a DataFrame by set_output(transform='pandas')."
            )
    return np.stack([of_objects(objects(vector)) for vector in vectors], axis=1)


def _first_lost(vectors, array):
    """Find an integer that an array does not hold exactly: its column and itself."""
    for i, vector in enumerate(vectors):
        if vector.dtype.kind in "iu" and array.dtype.kind == "f":
            pairs = zip(vector.tolist(), array[:, i].tolist(), strict=True)
            for value, kept in pairs:
                if value != kept:
                    return i, value
    return None


def _narrowed(vector):
    """Give objects that are numbers of one type their dtype."""
    if vector.dtype.kind != "O" or object_form(vector)["python"] in (None, "Decimal"):
        return vector
    values = vector.tolist()
    narrow = np.array(values)
    return (
        narrow if narrow.dtype.kind in "biuf" and narrow.tolist() == values else vector
    )
