"""Columns of polars: Series, whose dtypes are told in plain data and made again."""

import numpy as np

from . import vectors


def column(frame, index):
    """Give one column of a frame."""
    return frame.to_series(int(index))


def missing(series):
    """Find what is missing."""
    if str(series.dtype) == "Object":
        return vectors.missing(vectors.of_objects(series.to_list()))
    result = series.is_null()
    if series.dtype.is_float():
        result = result | series.is_nan().fill_null(True)
    return result.to_numpy().astype(bool)


def numbers(series):
    """Give the numbers in float64, NaN where missing; an error if they are none."""
    dtype = series.dtype
    if dtype.is_numeric() or str(dtype) in ("Boolean", "Null"):
        import polars

        floats = series.cast(polars.Float64)
        return np.array(floats.fill_null(float("nan")).to_numpy())
    if str(dtype) in ("Object", "String", "Enum", "Categorical"):
        return vectors.numbers(vectors.of_objects(series.to_list()))
    raise ValueError(f"its dtype is {dtype}")


def objects(series):
    """List the values as objects; times in nanoseconds as numpy has them."""
    if getattr(series.dtype, "time_unit", None) == "ns":
        unit = "M8[ns]" if hasattr(series.dtype, "time_zone") else "m8[ns]"
        no_time = np.iinfo(np.int64).min
        counts = series.to_physical().fill_null(no_time).to_list()
        return list(np.array(counts, dtype=np.int64).view(unit))
    return series.to_list()


def declared(series):
    """List the categories that the dtype declares; None if it does not."""
    if series.dtype.base_type().__name__ != "Enum":
        return None
    return series.dtype.categories.to_list()


def form(series):
    """Describe the dtype in plain data."""
    dtype = series.dtype
    name = dtype.base_type().__name__
    result = {"library": "polars", "name": name, "kind": "object"}
    if name == "Object":
        return result | vectors.object_form(vectors.of_objects(series.to_list()))
    if name in ("Int128", "UInt128"):
        return result | {"python": "int"}
    if name == "Decimal":
        scale = {"precision": dtype.precision, "scale": dtype.scale}
        return result | {"python": "Decimal"} | scale
    if name == "Boolean":
        return result | {"kind": np.dtype(bool).str}
    if dtype.is_numeric():
        return result | {"kind": np.dtype(name.lower()).str}
    if name == "Enum":
        return result | {"values": dtype.categories.to_list()}
    if name in ("Datetime", "Duration"):
        zone = getattr(dtype, "time_zone", None)
        return result | {"unit": dtype.time_unit, "zone": zone}
    if name in ("List", "Array", "Struct"):
        raise ValueError(f"its dtype is {dtype}")
    return result


def _dtype(form):
    """Make the dtype that a form describes."""
    import polars

    dtype = getattr(polars, form["name"])
    if not (isinstance(dtype, type) and issubclass(dtype, polars.DataType)):
        raise ValueError(f"{form['name']!r} is no dtype of polars")
    if "scale" in form:
        return dtype(form["precision"], form["scale"])
    if "values" in form:
        return dtype(form["values"])
    if "unit" in form:
        zone = {} if form["name"] == "Duration" else {"time_zone": form["zone"]}
        return dtype(form["unit"], **zone)
    return dtype


def made(vector, form):
    """Make a Series of a vector of numpy, with the dtype of a form."""
    import polars

    dtype = _dtype(form)
    if form.get("unit") == "ns":
        times = vector.astype("M8[ns]" if form["name"] == "Datetime" else "m8[ns]")
        return polars.Series(times.astype(np.int64)).cast(dtype)
    values = vector.tolist() if vector.dtype.kind == "O" else vector
    try:
        return polars.Series(values, dtype=dtype, strict=True)
    except Exception as error:  # polars has errors of its own
        raise ValueError(str(error)) from error


def inferred(values):
    """Make a column of objects of one type."""
    import polars

    return polars.Series(values)


def take(series, indices):
    """Choose places of a column."""
    if str(series.dtype) == "Object":
        import polars

        values = series.to_list()
        return polars.Series([values[i] for i in indices], dtype=polars.Object)
    return series.gather(indices)


def join(series):
    """Put columns of one dtype behind one another."""
    import polars

    return polars.concat(series)


def plain(series):
    """Give a vector of numpy, of numbers where it can."""
    dtype = form(series)["kind"]
    if dtype != "object" and not missing(series).any():
        return series.to_numpy().astype(dtype)
    return vectors.of_objects(objects(series))


def frame(vectors_, names, index):
    """Put columns, of polars or numpy, into a DataFrame."""
    import polars

    columns = [
        vector
        if isinstance(vector, polars.Series)
        else polars.Series(vector.tolist() if vector.dtype.kind == "O" else vector)
        for vector in vectors_
    ]
    names = [str(name) for name in names]  # pandas has others
    return polars.DataFrame(
        [column.alias(name) for column, name in zip(columns, names, strict=True)]
    )
