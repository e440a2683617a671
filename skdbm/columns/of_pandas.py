"""Columns of pandas: Series, whose dtypes are told in plain data and made again."""

import warnings

import numpy as np

from . import vectors


def column(frame, index):
    """Give one column of a frame."""
    return frame.iloc[:, index]


def missing(series):
    """Find what is missing."""
    if series.dtype == np.dtype(object):
        return vectors.missing(series.to_numpy())
    result = series.isna().to_numpy(dtype=bool)
    if series.dtype.kind == "f" and not result.all():  # dtypes with NA hold NaN, too
        result = result | np.isnan(_floats(series))
    return result


def numbers(series):
    """Give the numbers in float64, NaN where missing; an error if they are none."""
    if _is_category(series.dtype):
        categories = series.dtype.categories.to_series()
        values = np.append(numbers(categories), np.nan)
        return values[series.cat.codes.to_numpy()]  # the code -1 is what is missing
    if series.dtype.kind in "biuf":
        return _floats(series)
    if series.dtype.kind == "O":
        return vectors.numbers(vectors.of_objects(objects(series)))
    raise ValueError(f"its dtype is {series.dtype}")


def _floats(series):
    if hasattr(series, "sparse"):
        series = series.sparse.to_dense()
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def objects(series):
    """List the values as objects."""
    if hasattr(series, "sparse"):
        series = series.sparse.to_dense()
    return series.tolist()


def declared(series):
    """List the categories that the dtype declares; None if it does not."""
    return series.dtype.categories.tolist() if _is_category(series.dtype) else None


def _is_category(dtype):
    return getattr(dtype, "name", None) == "category"


def form(series):
    """Describe the dtype in plain data."""
    dtype, name = series.dtype, str(series.dtype)
    result = {"library": "pandas", "name": name, "kind": "object"}
    if dtype == np.dtype(object):
        return result | vectors.object_form(series.to_numpy())
    if dtype.kind in "biuf":
        result["kind"] = _of_numpy(dtype).str
    if _is_category(dtype):
        return result | {
            "values": dtype.categories.tolist(),
            "ordered": bool(dtype.ordered),
            "of": form(dtype.categories.to_series()),
        }
    if hasattr(dtype, "pyarrow_dtype"):
        return result | _arrow_form(dtype.pyarrow_dtype)
    if hasattr(dtype, "fill_value"):  # of sparse columns
        return result | {"fill": np.asarray(dtype.fill_value).item()}
    if name == "string":
        result["name"] = f"string[{dtype.storage}]"
    return result


def _arrow_form(arrow):
    """Describe a type of Arrow; names of those with parameters cannot be read again."""
    import pyarrow

    schema = pyarrow.schema([("", arrow)]).serialize().to_pybytes()
    if not hasattr(arrow, "scale"):
        return {"arrow": schema}
    scale = {"precision": arrow.precision, "scale": arrow.scale}
    return {"arrow": schema, "python": "Decimal", **scale}


def _of_numpy(dtype):
    """Dtype of numpy for the numbers of a dtype of pandas."""
    return np.dtype(getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype)))


def _dtype(form):
    """Make the dtype that a form describes."""
    import pandas

    if "values" in form:
        values = vectors.of_objects(form["values"])
        categories = pandas.Series(values, dtype=_dtype(form["of"]))
        return pandas.CategoricalDtype(categories, ordered=form["ordered"])
    if "arrow" in form:
        import pyarrow

        schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(form["arrow"]))
        return pandas.ArrowDtype(schema.field(0).type)
    if "fill" in form:
        return pandas.SparseDtype(np.dtype(form["kind"]), form["fill"])
    return pandas.api.types.pandas_dtype(form["name"])


def made(vector, form):
    """Make a Series of a vector of numpy, with the dtype of a form."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what does not fit is found by comparing
        return pandas.Series(vector, dtype=_dtype(form))


def inferred(values):
    """Make a column of objects of one type."""
    import pandas

    return pandas.Series(vectors.of_objects(values))


def take(series, indices):
    """Choose places of a column."""
    return series.iloc[indices].reset_index(drop=True)


def join(series):
    """Put columns of one dtype behind one another."""
    import pandas

    return pandas.concat(series, ignore_index=True)


def plain(series):
    """Give a vector of numpy, of numbers where it can."""
    if series.dtype.kind in "biuf" and not missing(series).any():
        return np.asarray(series.to_numpy(dtype=_of_numpy(series.dtype)))
    return vectors.of_objects(objects(series))


def frame(vectors_, names, index):
    """Put columns, of pandas or numpy, into a DataFrame."""
    import pandas

    columns = [pandas.Series(vector) for vector in vectors_]
    if index is not None:
        columns = [column.set_axis(index) for column in columns]
    result = pandas.concat(columns, axis=1)
    result.columns = names
    return result
