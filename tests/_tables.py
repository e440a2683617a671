"""Tables drawn at random: every kind of column in every container that has it."""

import datetime
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse

DAY, SECOND = datetime.timedelta(days=1), datetime.timedelta(seconds=1)
START = datetime.datetime(2019, 12, 31, 22, 30, 0, 7)

#: Values of categories, by a name; real columns and bits are drawn.
VALUES = {
    "words": ["b", "a", "", "ä", "None", "nan"],
    "codes": [3, 0, -7, 100],
    "large": [2**53 + 1, 2**53 + 2, -(2**62) - 1],
    "real": [0.1, -2.5, 1e300, 1 / 3],
    "bits": [False, True],
    "times": [START + i * 40 * DAY + i * SECOND for i in range(4)],
    "dates": [(START + i * 40 * DAY).date() for i in range(4)],
    "hours": [(START + i * 3600 * SECOND).time() for i in range(3)],
    "spans": [i * DAY + i * SECOND for i in range(3)],
    "decimals": [Decimal("1.25"), Decimal("-0.50"), Decimal("30.00")],
    "bytes": [b"x", b"y", b""],
    "pairs": [(1, "x"), (0, "y"), (1, "w")],
    "intervals": list(pd.interval_range(0, 3)),
    "periods": list(pd.period_range("2020-01", periods=3, freq="M")),
}


#: Not in every supported version.
INT128 = getattr(pl, "Int128", pl.Int32)


def arrow(dtype):
    return pd.ArrowDtype(dtype)


def category(name, ordered=False):
    """Declare the categories in an order of their own, and one that no row has."""
    values = VALUES[name]
    return pd.CategoricalDtype(values[::-1], ordered=ordered)


INTEGERS = ["int8", "uint8", "int16", "int64", "uint64", "Int8", "Int64", "UInt32"]
REALS = ["float32", "float64", "Float32", "Float64"]
OF_ARROW = ["bool[pyarrow]", "int16[pyarrow]", "int64[pyarrow]", "double[pyarrow]"]
OF_ARROW += ["float[pyarrow]"]
SPARSE = ["Sparse[int64]", "Sparse[float64]"]
NUMBERS = [*INTEGERS, *REALS, *OF_ARROW, *SPARSE, object]

#: Dtypes of pandas by kind of column, with what they are made of.
PANDAS = {
    "bernoulli": [(d, "bits") for d in ["bool", "boolean", *NUMBERS]]
    + [(pd.CategoricalDtype([1, 0]), "bits")],
    "gaussian": [(d, "numbers") for d in NUMBERS]
    + [(object, "decimal numbers"), (arrow(pa.decimal128(12, 3)), "decimal numbers")]
    + [(pd.CategoricalDtype([1, -3, 2, 70]), "few numbers"), ("float64", "far")],
    "categorical": [
        *((d, "words") for d in ("str", object, "string", "string[pyarrow]")),
        *((d, "words") for d in ("string[python]", category("words"))),
        (category("words", ordered=True), "words"),
        *((d, "codes") for d in ("int8", "Int16", "float32", object, "int64[pyarrow]")),
        (category("codes"), "codes"),
        *((d, "large") for d in ("int64", "Int64", "int64[pyarrow]", object)),
        *((d, "real") for d in ("float64", "Float64", object)),
        *((d, "bits") for d in ("bool", "boolean", "bool[pyarrow]", object)),
        *((d, "times") for d in ("datetime64[us]", "datetime64[ns]", object)),
        *((d, "times") for d in ("datetime64[ns, Europe/Berlin]", category("times"))),
        *((arrow(d), "times") for d in (pa.timestamp("us"), pa.timestamp("ns", "UTC"))),
        *((d, "dates") for d in (object, arrow(pa.date32()))),
        *((d, "spans") for d in ("timedelta64[ns]", "timedelta64[s]", object)),
        (arrow(pa.duration("us")), "spans"),
        *((d, "decimals") for d in (object, arrow(pa.decimal128(10, 2)))),
        (object, "bytes"),
        (object, "pairs"),
        (object, "hours"),
        *((d, "intervals") for d in ("interval[int64, right]", category("intervals"))),
        *((d, "periods") for d in ("period[M]", object)),
        ("Sparse[int64]", "codes"),
    ],
}
POLARS = {
    "bernoulli": [
        (d, "bits")
        for d in (pl.Boolean, pl.Int8, pl.UInt64, INT128, pl.Float32, pl.Float64)
    ],
    "gaussian": [
        *((d, "numbers") for d in (pl.Int8, pl.UInt16, pl.Int64, INT128)),
        *((d, "numbers") for d in (pl.Float32, pl.Float64)),
        (pl.Decimal(12, 3), "decimal numbers"),
    ],
    "categorical": [
        *((d, "words") for d in (pl.String, pl.Categorical)),
        (pl.Enum(VALUES["words"]), "words"),
        *((d, "codes") for d in (pl.Int8, pl.Int64, pl.Float32)),
        (pl.Int64, "large"),
        (pl.Float64, "real"),
        (pl.Boolean, "bits"),
        *((pl.Datetime(*d), "times") for d in (("us",), ("ns",), ("us", "UTC"))),
        *((pl.Datetime(*d), "times") for d in (("ms",), ("ns", "Asia/Tokyo"))),
        (pl.Date, "dates"),
        (pl.Time, "hours"),
        *((pl.Duration(d), "spans") for d in ("us", "ns")),
        (pl.Decimal(10, 2), "decimals"),
        (pl.Binary, "bytes"),
    ],
}
#: Of arrays and lists, whose columns have one dtype, or are of objects.
ARRAYS = {
    "bernoulli": [(d, "bits") for d in ("bool", "int64", "float32", "float64", ">f8")],
    "gaussian": [(d, "numbers") for d in ("int16", "int64", "float32", "float64")],
    "categorical": [("int64", "codes"), ("float64", "real"), ("bool", "bits")],
    "objects": [
        ("bernoulli", "bits"),
        ("gaussian", "numbers"),
        ("gaussian", "decimal numbers"),
        *(("categorical", name) for name in ("words", "codes", "real", "bits")),
        *(("categorical", name) for name in ("times", "dates", "decimals")),
        *(("categorical", name) for name in ("large", "bytes")),
    ],
}
INDICES = {
    "range": lambda n: pd.RangeIndex(n),
    "numbers": lambda n: pd.Index(np.arange(n)[::-1] * 10),
    "names": lambda n: pd.Index([f"row {i}" for i in range(n)], name="who"),
    "same": lambda n: pd.Index(np.arange(n) // 2),
    "times": lambda n: pd.date_range("2020", periods=n, freq="h", tz="UTC"),
    "pairs": lambda n: pd.MultiIndex.from_arrays([np.arange(n) % 2, np.arange(n)]),
}
GAPS = [None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")]


@dataclass
class Case:
    """A table to fit, the same one with gaps, and what its columns are."""

    container: str
    visible: list
    complete: object
    holey: object
    gaps: np.ndarray
    dtypes: list = field(default_factory=list)
    #: Whether pandas has rounded large integers to make room for gaps.
    rounded: bool = False


def values_of(name, n_rows, rng, dtype=None):
    """Objects of Python for a column; at least two of them differ."""
    if name in VALUES:
        values = VALUES[name]
        places = rng.integers(len(values), size=n_rows)
        places[:2] = [0, 1]
        return [values[i] for i in places]
    if name == "few numbers":
        return [1, -3, *rng.choice([1, -3, 2, 70], n_rows - 2).tolist()]
    numbers = rng.normal(40, 15, n_rows).clip(1, 99)
    numbers[:2] = [30, 50]
    if name == "far":
        return (numbers * 10.0 ** rng.integers(-30, 30)).tolist()
    if name == "decimal numbers":
        return [Decimal(f"{value:.2f}") for value in numbers]
    if dtype is not None and _is_whole(dtype):
        return [round(value) for value in numbers]
    return numbers.astype(np.float32).tolist()


def _is_whole(dtype):
    """Whether a dtype of numbers holds integers, or bits."""
    return "int" in str(dtype).lower() or "bool" in str(dtype).lower()


def bits_for(dtype, values):
    """Bits as values of a dtype that is not of bits."""
    return values if "bool" in str(dtype).lower() else [int(v) for v in values]


def draw(container, groups, n_rows, index, rng):
    """Make a case of columns, pairs of a kind and a number that chooses their dtype."""
    gaps = rng.random((n_rows, len(groups))) < 0.25
    gaps[:2] = False
    return MAKERS[container](groups, n_rows, gaps, index, rng)


def _names(groups):
    return [f"{kind[:3]} {i}" for i, (kind, _) in enumerate(groups)]


def _visible(kinds, keys):
    """Groups for the parameter `visible`, some with several columns."""
    return [
        (kind, [key for one, key in zip(kinds, keys, strict=True) if one == kind])
        for kind in dict.fromkeys(kinds)
    ]


def _column(table, kind, choice, n_rows, rng):
    dtype, name = table[kind][choice % len(table[kind])]
    values = values_of(name, n_rows, rng, dtype)
    return dtype, bits_for(dtype, values) if kind == "bernoulli" else values


def pandas_case(groups, n_rows, gaps, index, rng):
    rounded = False
    names, dtypes, complete, holey = _names(groups), [], {}, {}
    index = INDICES[index](n_rows)
    for (kind, choice), name, gap in zip(groups, names, gaps.T, strict=True):
        dtype, values = _column(PANDAS, kind, choice, n_rows, rng)
        array = np.fromiter(values, object)
        series = pd.Series(array, dtype=dtype, index=index)
        complete[name] = series
        if dtype is object:
            array = array.copy()
            array[gap] = np.fromiter([GAPS[choice % len(GAPS)]] * gap.sum(), object)
            holey[name] = pd.Series(array, dtype=object, index=index)
        else:
            holey[name] = series.mask(gap) if gap.any() else series
        if dtype == "int64" and values[0] in VALUES["large"]:
            rounded |= gap.any()
        dtypes.append(f"{kind}, {dtype}".replace("<class 'object'>", "object"))
    kinds = [kind for kind, _ in groups]
    complete, holey = (pd.DataFrame(c, index=index) for c in (complete, holey))
    visible = _visible(kinds, names)
    return Case("pandas", visible, complete, holey, gaps, dtypes, rounded)


def polars_case(groups, n_rows, gaps, index, rng):
    names, dtypes, complete, holey = _names(groups), [], {}, {}
    for (kind, choice), name, gap in zip(groups, names, gaps.T, strict=True):
        dtype, values = _column(POLARS, kind, choice, n_rows, rng)
        if getattr(dtype, "time_zone", None):
            values = [value.replace(tzinfo=datetime.UTC) for value in values]
        holes = [None if hole else v for hole, v in zip(gap, values, strict=True)]
        if dtype in (pl.Float32, pl.Float64) and choice % 2:
            holes = [float("nan") if value is None else value for value in holes]
        complete[name] = pl.Series(values, dtype=dtype, strict=False)
        holey[name] = pl.Series(holes, dtype=dtype, strict=False)
        dtypes.append(f"{kind}, {dtype}"[:60])
    kinds = [kind for kind, _ in groups]
    complete, holey = pl.DataFrame(complete), pl.DataFrame(holey)
    return Case("polars", _visible(kinds, names), complete, holey, gaps, dtypes)


def array_case(groups, n_rows, gaps, index, rng):
    kind, choice = groups[0]
    kinds = [kind] * len(groups)
    dtype, values = _column(ARRAYS, kind, choice, n_rows * len(groups), rng)
    complete = np.array(values).astype(dtype).reshape(n_rows, -1)
    complete[0], complete[1] = complete[0, 0], complete[0, 1 % len(groups)]
    complete[1, 0] = values[1]
    if complete.dtype.kind == "f":
        holey = np.where(gaps, np.nan, complete).astype(dtype)
    elif complete.dtype.kind in "iub" and choice % 2:
        holey = np.where(gaps, np.nan, complete)
    else:
        gaps, holey = np.zeros_like(gaps), complete
    visible = kind if choice % 3 else _visible(kinds, list(range(len(groups))))
    return Case("numpy", visible, complete, holey, gaps, [f"{kind}, {dtype}"])


def object_case(groups, n_rows, gaps, index, rng):
    complete, kinds, dtypes = np.empty((n_rows, len(groups)), dtype=object), [], []
    for i, (_, choice) in enumerate(groups):
        kind, name = ARRAYS["objects"][choice % len(ARRAYS["objects"])]
        complete[:, i] = np.fromiter(values_of(name, n_rows, rng), object)
        kinds.append(kind)
        dtypes.append(f"{kind}, objects: {name}")
    holey = complete.copy()
    for i in range(len(groups)):
        gap = GAPS[groups[i][1] % len(GAPS)]
        holey[gaps[:, i], i] = np.fromiter([gap] * gaps[:, i].sum(), object)
    visible = _visible(kinds, list(range(len(groups))))
    return Case("objects", visible, complete, holey, gaps, dtypes)


def list_case(groups, n_rows, gaps, index, rng):
    case = object_case(groups, n_rows, gaps, index, rng)
    case.container = "list"
    case.complete, case.holey = case.complete.tolist(), case.holey.tolist()
    return case


def sparse_case(groups, n_rows, gaps, index, rng):
    dense = rng.integers(2, size=(n_rows, len(groups))).astype(
        ["int8", "float32", "float64", "bool"][groups[0][1] % 4]
    )
    make = [sparse.csr_array, sparse.csc_matrix, sparse.coo_array][groups[0][1] % 3]
    dtypes = [f"bernoulli, {dense.dtype}"]
    X, gaps = make(dense), np.zeros_like(gaps)
    return Case("sparse", "bernoulli", X, X, gaps, dtypes)


MAKERS = {
    "pandas": pandas_case,
    "polars": polars_case,
    "numpy": array_case,
    "objects": object_case,
    "list": list_case,
    "sparse": sparse_case,
}
