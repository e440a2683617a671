"""Tables as people have them: nothing that is known is lost or changed."""

import datetime
import io
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import skops.io
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.model_selection import cross_val_score

from skdbm import DBMSampler, DBMTransformer
from skdbm.encodings import Categories

SMALL = {"hidden_layer_sizes": 3, "max_iter": 2, "random_state": 0}
#: What one call of `impute` needs of chains where only containers matter.
SHORT = {"n_chains": 2, "burn_in": 2, "n_sweeps": 2}
nan = np.nan


def sampler(visible, container="pandas", **params):
    return DBMSampler(visible=visible, **(SMALL | params)).set_output(
        transform=container
    )


def bits(n_rows=12, n_columns=3, seed=0):
    return np.random.default_rng(seed).integers(2, size=(n_rows, n_columns)) * 1.0


# The index


INDICES = {
    "numbers": np.arange(12) * 10 + 5,
    "names": list("lkjihgfedcba"),
    "twice the same": [1, 1, 2] * 4,
    "times": pd.date_range("2020-01-01", periods=12, freq="h", tz="UTC"),
    "pairs": pd.MultiIndex.from_product([["x", "y"], range(6)], names=["a", "b"]),
}
each_index = pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)


@each_index
@pytest.mark.parametrize("dtype", ["float64", "Float64", "float32"])
def test_imputed_rows_keep_their_index(index, dtype):
    frame = pd.DataFrame(bits(), columns=list("abc"), index=index, dtype=dtype)
    fitted = sampler("bernoulli").fit(frame)
    holey = frame.copy()
    holey.iloc[::2, 1] = nan if dtype != "Float64" else pd.NA
    filled = fitted.impute(holey, **SHORT)
    pd.testing.assert_index_equal(filled.index, frame.index)
    if frame.index.is_unique:
        pd.testing.assert_frame_equal(holey.fillna(filled), filled)
        assert not holey.fillna(filled).isna().any(axis=None)
    drawn = fitted.sample(2, given=holey, burn_in=2)
    pd.testing.assert_index_equal(drawn.index, frame.index.repeat(2))
    assert_array_equal(drawn["a"], np.repeat(frame["a"].to_numpy(), 2))
    fitted.set_output(transform="default")
    assert_array_equal(fitted.impute(holey, **SHORT), filled.to_numpy())


@each_index
def test_inverted_features_keep_their_index(index):
    frame = pd.DataFrame(bits(), columns=list("abc"), index=index)
    fitted = DBMTransformer(**SMALL).fit(frame).set_output(transform="pandas")
    features = fitted.transform(frame)
    back = fitted.inverse_transform(features)
    pd.testing.assert_index_equal(back.index, frame.index)
    assert list(back.columns) == list("abc")


def test_names_of_any_type_stay():
    for names in ([("x", 1), ("x", 2), ("y", 1)], [3, 1, 2]):
        frame = pd.DataFrame(bits(), columns=names)
        fitted = sampler("bernoulli").fit(frame)
        assert list(fitted.sample(2).columns) == names
        assert list(fitted.impute(frame, **SHORT).columns) == names


# Known values and dtypes


def test_categories_that_are_numbers_may_be_real_columns():
    frame = pd.DataFrame({"n": pd.Categorical([1, 2, 3] * 9), "w": range(27)})
    fitted = sampler("gaussian").fit(frame)
    drawn = fitted.sample(200)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert set(drawn["n"]) == {1, 2, 3}
    holey = frame.copy()
    holey.loc[[2, 9], "n"] = None
    filled = fitted.impute(holey, **SHORT)
    assert list(filled.dtypes) == list(frame.dtypes)
    known = holey["n"].notna()
    assert_array_equal(filled["n"][known], frame["n"][known])
    assert set(filled["n"]) == {1, 2, 3}


BIG = 2**53 + 1

KNOWN = {
    "beyond the range": ("bernoulli", [0.0, 1.0, 0.5], [0.0, 1 + 1e-12, -0.0]),
    "far beyond it": ("bernoulli", [0.0, 1.0, 0.5], [7.25, -3.5, 0.1]),
    "large integers": ("gaussian", [BIG, BIG + 2, BIG + 4], [BIG, BIG + 4, BIG + 10]),
}


@pytest.mark.filterwarnings("ignore:.*clips:sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize(("visible", "seen", "new"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("make", [pd.Series, pl.Series, np.array, list])
def test_known_values_stay_as_they_are(visible, seen, new, make):
    container = {pd.Series: "pandas", pl.Series: "polars"}.get(make, "default")
    if container == "default":
        seen, new = (make([[v, v] for v in values]) for values in (seen, new))
    else:
        library = {pd.Series: pd, pl.Series: pl}[make]
        seen, new = (library.DataFrame({"a": v, "b": v}) for v in (seen, new))
    fitted = sampler(visible, container).fit(seen)
    for result in (fitted.impute(new, **SHORT), fitted.sample(1, given=new, burn_in=2)):
        if container == "default":
            assert result.tobytes() == np.array(new).tobytes()
        else:
            assert type(result) is type(new)
            assert result.equals(new)


def test_known_values_stay_after_a_fit_in_float32():
    X = np.random.default_rng(0).normal(size=(20, 2))
    fitted = sampler("gaussian", "default").fit(X.astype(np.float32))
    holey = np.where(bits(20, 2) == 1, nan, X)
    filled = fitted.impute(holey, **SHORT)
    known = ~np.isnan(holey)
    assert filled.dtype == np.float64
    assert filled[known].tobytes() == X[known].tobytes()
    assert fitted.sample(3).dtype == np.float32


def test_large_integers_stay_beside_gaps():
    frame = pd.DataFrame({"n": [BIG, BIG + 2, BIG + 8] * 4, "w": np.arange(12.0)})
    fitted = sampler("gaussian", allow_missing=True).fit(frame)
    holey = frame.astype({"n": "Int64"})
    holey.loc[1, "n"] = pd.NA
    filled = fitted.impute(holey, **SHORT)
    assert filled["n"].dtype == "Int64"
    assert filled["n"].drop(1).tolist() == frame["n"].drop(1).tolist()
    fitted.set_output(transform="default")
    with pytest.raises(ValueError, match=rf"Column 'n' holds {BIG}.*set_output"):
        fitted.impute(frame, **SHORT)


DTYPES = ["uint8", "int16", "int64", "bool", "float32", "float64", "Int8", "UInt16"]
DTYPES += ["Int64", "boolean", "Float32", "int32[pyarrow]", "double[pyarrow]"]
DTYPES += ["bool[pyarrow]", "Sparse[int64]", "Sparse[float64]"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("visible", ["gaussian", "bernoulli"])
def test_dtypes_of_pandas_stay(dtype, visible):
    frame = pd.DataFrame(bits(40, 2), columns=["a", "b"]).astype({"b": dtype})
    fitted = sampler(visible).fit(frame)
    drawn = fitted.sample(30)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert not drawn.isna().any(axis=None)
    assert drawn["b"].astype(float).between(-9, 10).all()
    back = (
        DBMTransformer(visible=visible, **SMALL)
        .fit(frame)
        .set_output(transform="pandas")
        .inverse_transform(bits(5, 3))
    )
    assert back["b"].dtype.kind == "f"
    pd.testing.assert_frame_equal(fitted.impute(frame, **SHORT), frame)


@pytest.mark.parametrize(
    "dtype",
    [
        pl.UInt8,
        pl.Int64,
        getattr(pl, "Int128", pl.Int32),  # not in every supported version
        pl.Boolean,
        pl.Float32,
        pl.Float64,
        pl.Decimal(10, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("visible", ["gaussian", "bernoulli"])
def test_dtypes_of_polars_stay(dtype, visible):
    frame = pl.DataFrame({"a": bits(40)[:, 0], "b": bits(40)[:, 1]})
    frame = frame.with_columns(pl.col("b").cast(dtype))
    fitted = sampler(visible, "polars").fit(frame)
    assert fitted.sample(30).schema == frame.schema
    holey = frame.with_columns(b=pl.Series([None, *frame["b"][1:]], dtype=dtype))
    filled = fitted.impute(holey, **SHORT)
    assert filled.schema == frame.schema
    assert filled["b"][1:].equals(frame["b"][1:])
    assert filled["b"].null_count() == 0


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("Int8", -128, 127)]
)
def test_drawn_integers_stay_within_their_dtype(dtype, low, high):
    values = [low, high] * 20
    frame = pd.DataFrame({"a": values, "b": values}).astype({"a": dtype})
    drawn = sampler("gaussian").fit(frame).sample(300)
    assert drawn["a"].dtype == dtype
    assert (drawn["a"].min(), drawn["a"].max()) == (low, high)
    assert drawn["b"].min() < low
    assert drawn["b"].dtype == "int64"


def test_real_columns_of_integers_are_filled_with_integers():
    frame = pd.DataFrame({"year": [1950, 1960, 1971] * 9, "w": np.arange(27.0)})
    fitted = sampler("gaussian").fit(frame)
    holey = frame.copy()
    holey.loc[3, "year"] = nan  # which makes a column of float64
    filled = fitted.impute(holey, **SHORT)
    assert filled["year"].dtype == "float64"
    assert filled.loc[3, "year"] % 1 == 0
    assert 1900 < filled.loc[3, "year"] < 2000


def test_integers_in_objects_are_filled_with_integers():
    frame = pd.DataFrame({"year": [1950, 1960, 1971] * 9, "w": np.arange(27.0)})
    fitted = sampler("gaussian").fit(frame)
    holey = frame.astype(object)
    holey.loc[3, "year"] = None
    filled = fitted.impute(holey, **SHORT)
    assert filled["year"].dtype == "int64"
    again = sampler("gaussian", allow_missing=True).fit(holey)
    filled = again.impute(holey, **SHORT)
    assert {type(value) for value in filled["year"]} == {int}


DATES = {
    "dates": [datetime.date(2020, 1, 1), datetime.date(2021, 5, 3)],
    "times": [datetime.datetime(2020, 1, 1, 3), datetime.datetime(2021, 5, 3)],
    "spans": [datetime.timedelta(1), datetime.timedelta(0, 7, 3)],
    "words": ["a", "b"],
    "decimals": [Decimal("1.50"), Decimal("2.25")],
    "switches": [True, False],
}


@pytest.mark.parametrize("values", DATES.values(), ids=DATES)
@pytest.mark.parametrize("library", [pd, pl])
def test_categories_come_back_in_their_dtype(values, library):
    frame = library.DataFrame({"a": values * 9, "b": bits(18)[:, 0]})
    visible = [("categorical", ["a"]), ("bernoulli", ["b"])]
    container = library.__name__
    fitted = sampler(visible, container).fit(frame)
    drawn = fitted.sample(30)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert set(drawn["a"].to_list()) == set(values)
    holey = library.DataFrame({"a": [None, *frame["a"].to_list()[1:]], "b": frame["b"]})
    filled = fitted.impute(holey, **SHORT)
    assert list(filled.dtypes) == list(frame.dtypes)
    assert filled["a"].to_list()[1:] == frame["a"].to_list()[1:]
    assert filled["a"].to_list()[0] in values


TYPED = {
    "nanoseconds": pl.Series([1, 2] * 9, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")),
    "spans": pl.Series([1, 2] * 9, dtype=pl.Int64).cast(pl.Duration("ns")),
    "hours": pl.Series([datetime.time(3), datetime.time(5)] * 9),
    "enum": pl.Series(["b", "a"] * 9, dtype=pl.Enum(["b", "a", "c"])),
    "categorical": pl.Series(["b", "a"] * 9, dtype=pl.Categorical),
    "zones": pd.Series(pd.date_range("2020", periods=2, tz="Europe/Berlin").repeat(9)),
    "months": pd.Series(pd.period_range("2020-01", periods=2, freq="M").repeat(9)),
    "cut": pd.Series(pd.cut([1, 2, 3] * 6, 2)),
    "ordered": pd.Series(pd.Categorical(["b", "a"] * 9, ["b", "a", "c"], ordered=True)),
    "string": pd.Series(["b", "a"] * 9, dtype="string"),
    "arrow": pd.Series(["b", "a"] * 9, dtype="string[pyarrow]"),
    "arrow dates": pd.Series(DATES["dates"] * 9, dtype="date32[day][pyarrow]"),
    "arrow spans": pd.Series(DATES["spans"] * 9, dtype="duration[us][pyarrow]"),
    "sparse": pd.Series([1, 0] * 9, dtype="Sparse[int64]"),
}


@pytest.mark.parametrize("column", TYPED.values(), ids=TYPED)
def test_types_of_categories_stay(column):
    library = pl if isinstance(column, pl.Series) else pd
    frame = library.DataFrame({"a": column, "b": bits(18)[:, 0]})
    visible = [("categorical", ["a"]), ("bernoulli", ["b"])]
    fitted = sampler(visible, library.__name__).fit(frame)
    drawn = fitted.sample(30)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert set(drawn["a"].to_list()) <= set(TYPED_VALUES(column))
    if library is pl:
        first = pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise(pl.col("a"))
        holey = frame.with_columns(a=first)
    else:
        holey = frame.copy()
        holey["a"] = frame["a"].where(frame.index > 0, None)
    filled = fitted.impute(holey, **SHORT)
    if "Sparse" not in str(column.dtype):  # a gap has no place among sparse integers
        assert list(filled.dtypes) == list(frame.dtypes)
    assert filled["a"].to_list()[1:] == frame["a"].to_list()[1:]
    assert filled["a"].to_list()[0] in TYPED_VALUES(column)


def TYPED_VALUES(column):
    """All values that a column may have."""
    categories = getattr(column.dtype, "categories", None)
    known = set(column.to_list())
    listed = hasattr(categories, "to_list")
    return known | (set(categories.to_list()) if listed else set())


def test_where_no_dtype_holds_both_the_column_is_named():
    frame = pl.DataFrame({"a": ["x", "y"] * 9, "b": [1.0, 2.0] * 9})
    fitted = sampler([("categorical", ["a"]), ("gaussian", ["b"])]).fit(frame)
    other = pd.DataFrame({"a": pd.Categorical([None, "y"], ["y"]), "b": [1.0, 2.0]})
    fitted.machine_.biases[0][:1] = 50  # "x" is all but certain
    assert fitted.impute(other, **SHORT)["a"].tolist() == ["x", "y"]
    words = pd.DataFrame({"a": [1.0, 2.5] * 9, "b": [0.5, 1.0] * 9})
    fitted = sampler([("categorical", ["a"]), ("gaussian", ["b"])]).fit(words)
    fitted.machine_.biases[0][1] = 50  # 2.5 is all but certain
    other = pl.DataFrame({"a": [None, 1], "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match="Column 'a' holds 1, and no dtype"):
        fitted.impute(other, **SHORT)


# Files


def frame_with(column, names=("a", "b")):
    library = pl if isinstance(column, pl.Series) else pd
    return library.DataFrame({names[0]: column, names[1]: bits(18)[:, 0]})


FILED = {
    **TYPED,
    "words": pd.Series(["b", "a"] * 9),
    "objects": pd.Series(["b", "a"] * 9, dtype=object),
    "decimals": pd.Series([Decimal("1.50"), Decimal("2")] * 9, dtype=object),
    "pairs": pd.Series([(1, "x"), (2, "y")] * 9, dtype=object),
    "spans of pandas": pd.Series(pd.to_timedelta([1, 2] * 9, unit="h")),
    "moments": pd.Series(pd.to_datetime([1, 2] * 9, unit="ns")),
    "times of polars": pl.Series(DATES["times"] * 9),
    "zoned": pl.Series(DATES["times"] * 9).dt.replace_time_zone("Europe/Berlin"),
    "offset": pd.Series(
        pd.to_datetime(["2020-01-01 00:00+01:00", "2021-01-01 00:00+01:00"] * 9)
    ),
    "decimals of polars": pl.Series(DATES["decimals"] * 9),
    "arrow decimals": pd.Series(
        DATES["decimals"] * 9, dtype=pd.ArrowDtype(pa.decimal128(10, 2))
    ),
    "times of numpy": pd.Series(
        [np.datetime64(1, "s"), np.datetime64(2, "s")] * 9, dtype=object
    ),
}


class PlainUnpickler(pickle.Unpickler):
    """Loads what needs no more than this package, numpy and what every pickle may."""

    def find_class(self, module, name):
        assert module.partition(".")[0] in ("skdbm", "numpy", "builtins", "copyreg")
        return super().find_class(module, name)


@pytest.mark.parametrize("column", FILED.values(), ids=FILED)
@pytest.mark.parametrize("way", ["pickle", "skops"])
def test_files_of_tables_are_plain(column, way, tmp_path):
    frame = frame_with(column)
    visible = [("categorical", ["a"]), ("bernoulli", ["b"])]
    fitted = sampler(visible, type(frame).__module__.partition(".")[0]).fit(frame)
    if way == "pickle":
        loaded = PlainUnpickler(io.BytesIO(pickle.dumps(fitted))).load()
    else:
        skops.io.dump(fitted, tmp_path / "fitted.skops")
        named = skops.io.get_untrusted_types(file=tmp_path / "fitted.skops")
        assert all(name.startswith("skdbm.") for name in named)
        loaded = skops.io.load(tmp_path / "fitted.skops", trusted=named)
    assert loaded._columns == fitted._columns
    assert loaded.sample(20).equals(fitted.sample(20))
    assert list(loaded.sample(2).dtypes) == list(frame.dtypes)
    assert_array_equal(loaded.score_samples(frame), fitted.score_samples(frame))


@pytest.mark.parametrize(
    "names",
    [[("x", 1), ("x", 2)], [3, 1], list(pd.date_range("2020", periods=2, tz="UTC"))],
    ids=str,
)
def test_files_of_names_are_plain(names, tmp_path):
    frame = pd.DataFrame(bits(18, 2), columns=names)
    fitted = sampler("bernoulli").fit(frame)
    skops.io.dump(fitted, tmp_path / "fitted.skops")
    named = skops.io.get_untrusted_types(file=tmp_path / "fitted.skops")
    assert all(name.startswith("skdbm.") for name in named)
    loaded = skops.io.load(tmp_path / "fitted.skops", trusted=named)
    pd.testing.assert_frame_equal(loaded.sample(3), fitted.sample(3))


# What is missing


GAPS = {
    "None": None,
    "nan": nan,
    "NA": pd.NA,
    "NaT": pd.NaT,
    "decimal": Decimal("NaN"),
    "numpy": np.float32("nan"),
    "no time": np.datetime64("NaT"),
}
KINDS = {
    "words": (["a", "b"], "categorical"),
    "times": (list(pd.to_datetime(["2020-01-01", "2020-02-01"])), "categorical"),
    "codes": ([3, 7], "categorical"),
    "decimals": ([Decimal("0.5"), Decimal("1")], "gaussian"),
    "real": ([0.5, 1.0], "gaussian"),
    "whole": ([0, 1], "bernoulli"),
    "switches": ([False, True], "bernoulli"),
}


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize(("values", "visible"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("as_frame", [True, False])
def test_a_gap_is_a_gap_in_every_column(gap, values, visible, as_frame):
    plain = np.empty((12, 2), dtype=object)
    plain[:] = np.array([values[0], values[1], *values * 5], dtype=object)[:, None]
    holey = plain.copy()
    holey[3, 0] = gap
    make = pd.DataFrame if as_frame else np.array
    with pytest.raises(ValueError, match="missing values"):
        DBMTransformer(visible=visible, **SMALL).fit(make(holey, dtype=object))
    fitted = sampler(visible, "default", allow_missing=True).fit(
        make(holey, dtype=object)
    )
    n_units = 4 if visible == "categorical" else 2
    assert fitted.machine_.layer_sizes[0] == n_units
    assert set(fitted.sample(9)[:, 1]) - set(values) == set() or visible == "gaussian"
    filled = fitted.impute(make(holey, dtype=object), **SHORT)
    known = np.ones(holey.shape, bool)
    known[3, 0] = False
    assert_array_equal(filled[known], plain[known])
    assert type(filled[3, 0]) is type(values[0])
    if visible != "gaussian":
        assert filled[3, 0] in values


@pytest.mark.parametrize("dtype", [object, "category", "datetime64[ns]"])
def test_missing_times_are_no_category(dtype):
    times = pd.to_datetime(["2020-01-01", None, "2021-06-01"] * 6)
    frame = pd.DataFrame({"t": times.astype(dtype), "u": times[::-1]})
    fitted = sampler("categorical", allow_missing=True).fit(frame)
    assert fitted.machine_.layer_sizes[0] == 4
    filled = fitted.impute(frame, **SHORT)
    assert not filled.isna().any(axis=None)
    assert list(filled.dtypes) == list(frame.dtypes)
    assert set(filled["t"]) == set(times.dropna())


@pytest.mark.parametrize("visible", ["gaussian", "categorical"])
def test_holes_of_categories_of_integers_are_missing(visible):
    column = pd.Categorical([1, None, 3] * 6)
    frame = pd.DataFrame({"n": column, "m": column})
    with pytest.raises(ValueError, match=r"missing values in columns \['n', 'm'\]"):
        sampler(visible).fit(frame)
    fitted = sampler(visible, allow_missing=True).fit(frame)
    filled = fitted.impute(frame, **SHORT)
    assert set(filled["n"]) <= {1, 3}
    assert list(filled.dtypes) == list(frame.dtypes)


def test_masked_entries_are_missing():
    X = bits(20, 3)
    mask = np.zeros(X.shape, bool)
    mask[4, 1] = True
    masked = np.ma.array(X, mask=mask)
    with pytest.raises(ValueError, match="missing values"):
        DBMTransformer(**SMALL).fit(masked)
    fitted = sampler("bernoulli", "default").fit(X)
    filled = fitted.impute(masked, **SHORT)
    assert_array_equal(filled[~mask], X[~mask])
    assert filled.dtype == np.float64
    assert 0 < filled[4, 1] < 1


def test_nan_in_nullable_floats_of_arrow_is_missing():
    column = pd.Series([0.0, 1.0, 2.0] * 4, dtype="double[pyarrow]")
    frame = pl.DataFrame({"a": [0.0, nan, None, 1.0] * 3, "b": [1.0, 2.0] * 6})
    for holey in (frame, pd.DataFrame({"a": column / column, "b": column})):
        with pytest.raises(ValueError, match="missing values in columns \\['a'\\]"):
            sampler("gaussian").fit(holey)


# Lists and objects


def test_lists_are_read_column_by_column():
    rows = [["red", 1.0], ["blue", 2.0]] * 9
    visible = [("categorical", [0]), ("gaussian", [1])]
    fitted = sampler(visible, "default").fit(rows)
    frame = pd.DataFrame(rows, columns=["c", "x"])
    named = sampler([("categorical", ["c"]), ("gaussian", ["x"])]).fit(frame)
    assert_array_equal(fitted.score_samples(rows), named.score_samples(frame))
    drawn = fitted.sample(20)
    assert {type(value) for value in drawn[:, 0]} == {str}
    assert {type(value) for value in drawn[:, 1]} == {float}
    filled = fitted.impute([["red", nan], [None, 2.0]], **SHORT)
    assert filled[0, 0] == "red"
    assert filled[1, 0] in ("red", "blue")
    assert filled[1, 1] == 2.0


@pytest.mark.parametrize("gap", [nan, None])
def test_a_gap_in_words_is_no_word(gap):
    rows = [["red", 1.0], ["blue", 2.0], [gap, 1.5]] * 9
    visible = [("categorical", [0]), ("gaussian", [1])]
    fitted = sampler(visible, "default", allow_missing=True).fit(rows)
    assert fitted.machine_.layer_sizes[0] == 3
    assert set(fitted.sample(50)[:, 0]) == {"red", "blue"}


def test_integers_in_lists_are_not_rounded():
    rows = [[BIG, 0.5], [BIG + 2, 1.5]] * 9
    fitted = sampler("gaussian", "default").fit(rows)
    assert fitted.impute(rows, **SHORT).tolist() == rows
    mixed = [[BIG, 0.5], [2.0**53 + 2, 1.5]] * 9
    assert fitted.impute(mixed, **SHORT).tolist() == mixed
    filled = fitted.set_output(transform="pandas").impute(rows, **SHORT)
    assert filled["x0"].tolist() == [BIG, BIG + 2] * 9


def test_means_beside_large_integers_of_lists_are_objects():
    rows = [[0, BIG], [1, BIG + 2]] * 9
    visible = [("bernoulli", [0]), ("categorical", [1])]
    fitted = DBMTransformer(visible=visible, **SMALL).fit(rows)
    means = fitted.inverse_transform(fitted.transform(rows))
    assert set(means[:, 1]) <= {BIG, BIG + 2}
    assert all(0 < mean < 1 for mean in means[:, 0])
    fitted.fit(np.array(rows))
    with pytest.raises(ValueError, match=r"Column 1 holds .* set_output"):
        fitted.inverse_transform(fitted.transform(rows))


@pytest.mark.parametrize("make", [list, np.array, sparse.csr_array])
def test_arrays_keep_their_dtype(make):
    X = make(bits(20, 3).astype(int).tolist())
    fitted = sampler("bernoulli", "default").fit(X)
    assert fitted.sample(4).dtype == np.int64
    assert fitted.impute(X, **SHORT).dtype == np.int64
    floats = sampler("bernoulli", "default").fit(bits(20, 3))
    assert_array_equal(fitted.sample(4), floats.sample(4))


def test_unknown_categories_that_are_missing_are_filled():
    visible = Categories(handle_unknown="missing")
    frame = pd.DataFrame({"a": ["x", "y"] * 9, "b": ["p", "q"] * 9})
    fitted = sampler(visible).fit(frame)
    filled = fitted.impute(pd.DataFrame({"a": ["z"], "b": ["p"]}), **SHORT)
    assert filled.loc[0, "a"] in ("x", "y")
    assert filled.loc[0, "b"] == "p"


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, None])
@pytest.mark.parametrize("as_library", [pd.DataFrame, pl.DataFrame, np.array])
@pytest.mark.filterwarnings("ignore:X .* feature names")
def test_columns_without_a_value_are_filled_as_in_fit(make, as_library):
    table = {"h": [1.5, 2.5, 4.0] * 6, "n": [1, 2, 9] * 6, "s": ["x", "y", "z"] * 6}
    visible = [("gaussian", [0, 1]), ("categorical", [2])]
    data = np.array(list(table.values()), dtype=object).T
    fitted = sampler(visible, "default").fit(make(table) if make else data)
    if as_library is np.array:
        given = np.array([[nan, 3.0, nan]])
    else:
        given = as_library({"h": [None], "n": [3.0], "s": [None]})
    container = "default" if as_library is np.array else as_library.__module__
    container = container.partition(".")[0]
    for result in (
        fitted.set_output(transform=container).impute(given, **SHORT),
        fitted.sample(2, given=given, burn_in=2),
    ):
        h, n, s = np.asarray(result)[0]
        assert type(h) is float
        assert n == 3.0
        assert s in ("x", "y", "z")


# Categories that are declared, and those that nobody has seen

DECLARED = {
    "pandas": lambda values: pd.Series(pd.Categorical(values, ["z", "a", "b"])),
    "polars": lambda values: pl.Series(values, dtype=pl.Enum(["z", "a", "b"])),
    "integers": lambda values: pd.Series(
        pd.Categorical(["zab".index(v) for v in values], [2, 0, 1])
    ),
}


@pytest.mark.parametrize("make", DECLARED.values(), ids=DECLARED)
def test_declared_categories_are_known(make):
    seen, others = make(["a", "b"] * 9), make(["a", "z"] * 9)
    container = "polars" if isinstance(seen, pl.Series) else "pandas"
    visible = [("categorical", ["a"]), ("bernoulli", ["b"])]
    first = sampler(visible, container).partial_fit(frame_with(seen))
    assert first.machine_.layer_sizes[0] == 4
    first.partial_fit(frame_with(others))
    fitted = sampler(visible, container).fit(frame_with(seen))
    assert np.isfinite(fitted.score_samples(frame_with(others))).all()
    fitted.machine_.biases[0][2] = 50  # the last one, which no row had
    value = sorted(TYPED_VALUES(seen))[2]
    assert set(fitted.sample(9)["a"]) == {value}


def test_folds_without_a_rare_category_have_a_score():
    column = pd.Series(pd.Categorical(["rare", *["a", "b"] * 10]))
    frame = pd.DataFrame({"a": column, "b": bits(21)[:, 0]})
    for part, dtype in ((Categories(), "category"), (Categories(None, "missing"), str)):
        visible = [(part, ["a"]), ("bernoulli", ["b"])]
        scores = cross_val_score(
            DBMSampler(visible=visible, **SMALL), frame.astype({"a": dtype}), cv=3
        )
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("allow_missing", [True, False])
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_training_takes_unknown_categories_as_it_was_told(allow_missing, method):
    frame = pd.DataFrame({"a": ["x", "y"] * 9, "b": ["p", "q"] * 9})
    strange, holey = frame.copy(), frame.copy()
    strange.loc[3, "a"], holey.loc[3, "a"] = "z", None
    visible = Categories(handle_unknown="missing")
    one, two = (
        sampler(visible, allow_missing=allow, warm_start=True).fit(frame)
        for allow in (allow_missing, True)
    )
    getattr(one, method)(strange)
    getattr(two, method)(holey)
    assert_array_equal(one.machine_.weights[0], two.machine_.weights[0])
    strict = sampler("categorical", warm_start=True).fit(frame)
    with pytest.raises(ValueError, match=r"Column 'a' holds the category 'z'.*Pass"):
        getattr(strict, method)(strange)
