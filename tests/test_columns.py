"""Columns as users see them: frames, categories, several kinds, gaps to be filled."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import gammaln
from sklearn.base import clone
from sklearn.compose import make_column_selector
from sklearn.datasets import load_digits

from skdbm import DBMSampler, DBMTransformer, Likelihood
from skdbm.encodings import (
    Categories,
    Mixed,
    Probabilities,
    Real,
    States,
    real,
)
from skdbm.encodings.covariance import likeliest_normal
from skdbm.likelihood import exact_log_likelihood
from skdbm.machine import DeepBoltzmannMachine
from skdbm.units import Bernoulli, Binomial, Categorical, ReplicatedSoftmax

from ._reference import largest_error, typed_model

CLASSES = [DBMSampler, DBMTransformer]
SMALL = {
    "hidden_layer_sizes": (4, 3),
    "max_iter": 2,
    "batch_size": 16,
    "n_chains": 10,
    "likelihood": Likelihood(n_chains=10),
    "random_state": 0,
}
nan = np.nan

#: What the columns of `table` hold.
VISIBLE = [
    ("gaussian", ["height", "year"]),
    ("bernoulli", ["flag", "share"]),
    ("categorical", ["job", "code", "size"]),
]
SIZES = ["S", "M", "L"]


def visible_with(handle_unknown):
    """`VISIBLE` with another way to handle categories that fit did not see."""
    *numbers, (_, names) = VISIBLE
    return [*numbers, (Categories(handle_unknown=handle_unknown), names)]


def table(n_rows=64, seed=0):
    """Columns of every kind, as a dictionary of lists."""
    rng = np.random.default_rng(seed)
    return {
        "height": (1.7 + 0.1 * rng.normal(size=n_rows)).tolist(),
        "job": rng.choice(["cook", "poet", "smith"], n_rows).tolist(),
        "flag": (rng.random(n_rows) < 0.3).tolist(),
        "year": rng.integers(1950, 2000, n_rows).tolist(),
        "code": rng.choice([-3, 7, 40], n_rows).tolist(),
        "share": rng.random(n_rows).tolist(),
        "size": rng.choice(SIZES, n_rows).tolist(),
    }


def pandas_frame(seed=0):
    frame = pd.DataFrame(table(seed=seed))
    return frame.astype({"size": pd.CategoricalDtype(SIZES), "year": "int32"})


def nullable_frame(seed=0):
    dtypes = {
        "height": "Float64",
        "job": "string",
        "flag": "boolean",
        "year": "Int64",
        "code": "Int64",
    }
    return pandas_frame(seed).astype(dtypes)


def polars_frame(seed=0):
    schema = {"year": pl.Int32, "size": pl.Enum(SIZES)}
    return pl.DataFrame(table(seed=seed), schema_overrides=schema)


FRAMES = {"pandas": pandas_frame, "nullable": nullable_frame, "polars": polars_frame}
each_frame = pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())
each_class = pytest.mark.parametrize("cls", CLASSES)


def library(frame):
    return "polars" if isinstance(frame, pl.DataFrame) else "pandas"


def small(cls, **params):
    return cls(**(SMALL | params))


def rows_of(frame):
    """The rows as tuples of plain values."""
    if isinstance(frame, pl.DataFrame):
        return frame.rows()
    return list(frame.astype(object).itertuples(index=False, name=None))


def plain_array(frame):
    """The frame as an array of objects."""
    return np.array(rows_of(frame), dtype=object)


def assert_same_machine(one, other, *, encodings=True):
    for left, right in zip(
        [*one.weights, *one.biases], [*other.weights, *other.biases], strict=True
    ):
        assert left.tobytes() == right.tobytes()
    assert one.units == other.units
    assert not encodings or one.encoding == other.encoding


def check_like(result, frame):
    """Whether a frame has the columns of another one, and values that may be there."""
    assert type(result) is type(frame)
    assert list(result.columns) == list(frame.columns)
    known = {name: set(table()[name]) for name in ("job", "code", "size")}
    for name, values in known.items():
        assert set(result[name].to_numpy()) <= values


# Frames in and out


@each_frame
def test_samples_are_frames_like_the_one_of_fit(make):
    frame = make()
    sampler = small(DBMSampler, visible=VISIBLE).fit(frame)
    assert sampler.set_output(transform=library(frame)) is sampler
    result = sampler.sample(20)
    check_like(result, frame)
    assert len(result) == 20
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        assert result[name].dtype == dtype
    assert len(set(np.asarray(result["height"]))) == 20


@each_frame
def test_samples_are_arrays_by_default(make):
    sampler = small(DBMSampler, visible=VISIBLE).fit(make())
    array = sampler.sample(20)
    assert isinstance(array, np.ndarray)
    assert array.dtype == object
    framed = sampler.set_output(transform="pandas").sample(20)
    assert_array_equal(plain_array(framed.astype(object)), array)
    again = sampler.set_output(transform="default").sample(20)
    assert_array_equal(again, array)
    assert_array_equal(sampler.set_output().sample(20), array)


@each_frame
def test_inverse_transform_gives_frames_like_the_one_of_fit(make):
    frame = make()
    transformer = small(DBMTransformer, visible=VISIBLE).fit(frame)
    features = transformer.transform(frame)
    result = transformer.set_output(transform=library(frame)).inverse_transform(
        features
    )
    check_like(result, frame)
    assert result["job"].dtype == frame["job"].dtype
    assert result["size"].dtype == frame["size"].dtype


@each_frame
def test_imputed_frames_keep_what_is_known_and_its_dtypes(make):
    frame = make()
    sampler = small(DBMSampler, visible=VISIBLE).fit(frame)
    sampler.set_output(transform=library(frame))
    assert rows_of(sampler.impute(frame)) == rows_of(frame)
    rng = np.random.default_rng(0)
    gaps = rng.random(frame.shape) < 0.3
    holey = with_gaps(frame, gaps)
    result = sampler.impute(holey)
    check_like(result, frame)
    for i, (filled, known) in enumerate(
        zip(rows_of(result), rows_of(frame), strict=True)
    ):
        for j, (one, other) in enumerate(zip(filled, known, strict=True)):
            assert one is not None
            if not gaps[i, j]:
                assert one == other
    for name in ("job", "size", "code", "height"):
        assert result[name].dtype == frame[name].dtype


def with_gaps(frame, gaps):
    """The frame without some of its values."""
    if library(frame) == "polars":
        values = np.where(gaps, None, plain_array(frame)).T.tolist()
        return pl.DataFrame(values, schema=frame.schema)
    wide = frame.copy()
    for name, gap in zip(frame.columns, gaps.T, strict=True):
        if wide[name].dtype in (np.dtype(bool), np.dtype("int32"), np.dtype("int64")):
            wide[name] = wide[name].astype(object)
        wide.loc[gap, name] = None
    return wide


@pytest.mark.parametrize("container", ["pandas", "polars"])
@each_frame
def test_output_may_be_of_the_other_library(make, container):
    sampler = small(DBMSampler, visible=VISIBLE).fit(make())
    result = sampler.set_output(transform=container).sample(9)
    assert library(result) == container
    assert list(result.columns) == list(table())
    assert set(result["job"]) <= {"cook", "poet", "smith"}


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_without_names_number_their_columns(container):
    X = pandas_frame()[["flag", "share"]].to_numpy(dtype=float)
    sampler = small(DBMSampler).fit(X).set_output(transform=container)
    assert list(sampler.sample(2).columns) == ["x0", "x1"]
    sampler.fit(pd.DataFrame(X))
    names = list(sampler.sample(2).columns)
    assert names == ([0, 1] if container == "pandas" else ["0", "1"])


def test_whole_numbers_stay_whole_where_they_can():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "bit": rng.integers(2, size=64),
            "real": rng.normal(size=64),
            "yes": rng.random(64) < 0.5,
        }
    )
    visible = [("bernoulli", ["bit", "yes"]), ("gaussian", ["real"])]
    sampler = (
        small(DBMSampler, visible=visible).fit(frame).set_output(transform="pandas")
    )
    assert list(sampler.sample(9).dtypes) == list(frame.dtypes)
    holey = frame.astype({"bit": "float64"})
    holey.loc[:5, "bit"] = nan
    filled = sampler.impute(holey)
    assert filled["bit"].dtype == float  # means are no bits
    assert filled["yes"].dtype == bool


@each_frame
def test_frames_and_arrays_of_their_values_give_one_model(make):
    frame = make()
    names = list(frame.columns)
    places = [(kind, [names.index(n) for n in chosen]) for kind, chosen in VISIBLE]
    for cls in CLASSES:
        one = small(cls, visible=VISIBLE).fit(frame)
        other = small(cls, visible=places).fit(plain_array(frame))
        assert_same_machine(one.machine_, other.machine_)
        scores = other.score_samples(plain_array(frame))
        assert_array_equal(one.score_samples(frame), scores)


def test_frames_of_another_library_give_one_model():
    models = [
        small(DBMSampler, visible=VISIBLE).fit(make()) for make in FRAMES.values()
    ]
    for other in models[1:]:
        assert_same_machine(models[0].machine_, other.machine_)


# Which columns


SELECTIONS = {
    "names": (["a", "b"], ["c", "d"]),
    "indices": ([0, 1], [2, 3]),
    "negative indices": ([-4, -3], [-2, -1]),
    "slices": (slice(0, 2), slice(2, None)),
    "slices of names": (slice("a", "b"), slice("c", "d")),
    "masks": ([True, True, False, False], np.array([False, False, True, True])),
    "selectors": (
        make_column_selector(pattern="[ab]"),
        make_column_selector(dtype_include=object),
    ),
    "functions": (lambda X: ["a", "b"], lambda X: [2, 3]),
}


@pytest.mark.parametrize(("first", "second"), SELECTIONS.values(), ids=SELECTIONS)
def test_columns_are_chosen_in_any_way(first, second):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    frame["c"], frame["d"] = rng.choice(["x", "y"], (2, 40)).astype(object)
    frame[["c", "d"]] = frame[["c", "d"]].astype(object)
    visible = [("gaussian", first), ("categorical", second)]
    result = small(DBMSampler, visible=visible).fit(frame)
    names = [("gaussian", ["a", "b"]), ("categorical", ["c", "d"])]
    assert_same_machine(
        result.machine_, small(DBMSampler, visible=names).fit(frame).machine_
    )


def test_one_name_chooses_one_column():
    frame = pandas_frame()[["height", "flag"]]
    visible = [("gaussian", "height"), ("bernoulli", "flag")]
    machine = small(DBMSampler, visible=visible).fit(frame).machine_
    assert [(part, list(c)) for part, c in machine.encoding.parts][1] == (
        Probabilities(),
        [1],
    )


def test_order_of_the_columns_is_that_of_the_data():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [rng.random(50) < 0.5, rng.normal(100, 1, 50), rng.integers(5, 8, 50)]
    )
    visible = [("categorical", [2]), ("gaussian", [1]), ("bernoulli", [0])]
    samples = small(DBMSampler, visible=visible).fit(X).sample(30)
    assert set(samples[:, 0]) <= {0, 1}
    assert np.all(np.abs(samples[:, 1] - 100) < 20)
    assert set(samples[:, 2]) <= {5, 6, 7}


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        ([("gaussian", [0, 1]), ("bernoulli", [1, 2])], "Column 1 is in two groups"),
        ([("gaussian", [0]), ("bernoulli", [2])], r"Columns \[1\] are in no group"),
        ([("gaussian", [0, 3]), ("bernoulli", [1, 2])], "3|range|bounds"),
        ([("gauss", slice(None))], "kind 'gauss'"),
        ("gauss", "kind 'gauss'"),
        (["gaussian"], "pairs of a kind and columns"),
        ([("gaussian", [0], [1])], "pairs of a kind and columns"),
        ([("counts", [0, 1]), ("bernoulli", [2])], "share a total"),
        ([("gaussian", ["a"]), ("bernoulli", [1, 2])], "column"),
    ],
    ids=str,
)
def test_columns_that_cannot_be_told_are_an_error(visible, message):
    X = np.random.default_rng(0).integers(2, size=(20, 3)).astype(float)
    estimator = small(DBMSampler, visible=visible)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X)
    assert not hasattr(estimator, "machine_")


def test_left_over_columns_are_named():
    with pytest.raises(ValueError, match=r"\['job', 'code', 'size'\] are in no group"):
        small(DBMSampler, visible=VISIBLE[:2]).fit(pandas_frame())


@each_class
def test_columns_of_several_kinds_are_not_sparse(cls):
    X = sparse.csr_array((np.random.default_rng(0).random((20, 4)) < 0.4).astype(float))
    visible = [("bernoulli", [1, 0]), ("bernoulli", [2, 3])]
    for kinds in (visible, "gaussian", "categorical"):
        with pytest.raises(TypeError, match="dense data is required"):
            small(cls, visible=kinds).fit(X)


# Categories


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "c"],
        [1, 2, 3],
        [-1.5, 0.0, 1e9],
        [False, True],
        [0, 1, 2],
        [np.float32(0.5), np.float32(2)],
        [pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01")],
    ],
    ids=str,
)
def test_categories_may_be_any_values_that_can_be_sorted(values):
    rng = np.random.default_rng(0)
    codes = rng.integers(len(values), size=(40, 2))
    X = np.array(values, dtype=object)[codes]
    sampler = small(DBMSampler, visible="categorical").fit(X)
    assert sampler.machine_.units[0] == Categorical((len(values),) * 2)
    assert set(sampler.sample(50).ravel().tolist()) <= set(values)
    wanted = small(DBMSampler, visible="categorical").fit(codes.astype(float))
    assert_same_machine(sampler.machine_, wanted.machine_)


def test_codes_are_the_places_of_the_sorted_categories():
    X = np.array([["pear"], ["fig"], ["pear"], ["apple"]], dtype=object)
    sampler = small(DBMSampler, visible="categorical", hidden_layer_sizes=2).fit(X)
    machine = sampler.machine_
    log_p = exact_log_likelihood(machine, np.eye(3))
    scores = sampler.score_samples(
        np.array([["apple"], ["fig"], ["pear"]], dtype=object)
    )
    assert_allclose(scores, log_p, atol=1e-6)
    assert_allclose(np.exp(scores).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("gap", [None, nan, pd.NA, float("nan"), np.float32("nan")])
def test_gaps_of_any_sort_are_the_same(gap):
    frame = pandas_frame().astype(object)
    holey, plain = frame.copy(), frame.copy()
    for name in frame.columns:
        rows = np.random.default_rng(len(name)).random(len(frame)) < 0.2
        holey[name] = [gap if r else v for r, v in zip(rows, frame[name], strict=True)]
        plain[name] = [nan if r else v for r, v in zip(rows, frame[name], strict=True)]
    holey = holey.astype(object)
    fits = [
        small(DBMTransformer, visible=VISIBLE, allow_missing=True).fit(X)
        for X in (holey, plain)
    ]
    assert_same_machine(fits[0].machine_, fits[1].machine_)
    assert_array_equal(fits[0].transform(holey), fits[1].transform(plain))


@each_class
@each_frame
def test_gaps_are_an_error_without_allow_missing(make, cls):
    frame = make()
    gaps = np.zeros(frame.shape, bool)
    fitted = {
        u: small(cls, visible=visible_with(u)).fit(frame) for u in ("error", "missing")
    }
    for column, name in enumerate(frame.columns):
        gaps[:], gaps[3, column] = False, True
        holey = with_gaps(frame, gaps)
        for estimator in fitted.values():
            with pytest.raises(
                ValueError, match=rf"missing values in columns \['{name}'\]"
            ):
                estimator.score(holey)
        with pytest.raises(ValueError, match="contains NaN"):
            small(cls, visible=VISIBLE).fit(holey)


@pytest.mark.parametrize("as_frame", [False, True])
def test_strings_without_a_kind_are_an_error_that_says_how(as_frame):
    X = np.array([["red", 1], ["blue", 0]], dtype=object)
    X = pd.DataFrame(X, columns=["colour", "round"]) if as_frame else X
    for cls in CLASSES:
        with pytest.raises(ValueError, match=r"'red'.*visible=\[\('categorical'"):
            small(cls).fit(X)


def test_unseen_categories_are_an_error_or_missing():
    frame = pandas_frame()
    strange = frame.copy()
    strange.loc[4, "job"] = "astronaut"
    holey = frame.copy()
    holey.loc[4, "job"] = None
    strict = small(DBMSampler, visible=VISIBLE).fit(frame)
    with pytest.raises(ValueError, match=r"'astronaut', which fit did not see.*'cook'"):
        strict.score(strange)
    lenient = small(DBMSampler, visible=visible_with("missing")).fit(frame)
    assert_same_machine(strict.machine_, lenient.machine_, encodings=False)
    both = small(DBMSampler, visible=VISIBLE, allow_missing=True).fit(frame)
    assert_array_equal(lenient.score_samples(strange), both.score_samples(holey))
    with pytest.raises(ValueError, match="'astronaut'"):
        both.score(strange)
    filled = lenient.set_output(transform="pandas").impute(strange)
    assert filled.loc[4, "job"] in {"cook", "poet", "smith"}


def test_unseen_categories_of_one_column_alone_may_be_missing():
    visible = [
        *VISIBLE[:2],
        ("categorical", ["code", "size"]),
        (Categories(handle_unknown="missing"), ["job"]),
    ]
    frame = pandas_frame()
    sampler = small(DBMSampler, visible=visible).fit(frame)
    for column, value, known in (("job", "astronaut", True), ("code", 9, False)):
        strange = frame.copy()
        strange.loc[4, column] = value
        if known:
            assert np.isfinite(sampler.score(strange))
        else:
            with pytest.raises(ValueError, match=r"9, which fit did not see"):
                sampler.score(strange)


def test_training_goes_on_where_unseen_categories_are_missing():
    frame = pandas_frame()
    strange, holey = frame.copy(), frame.copy()
    strange.loc[4, "job"], holey.loc[4, "job"] = "astronaut", None
    visible = visible_with("missing")
    one, other = (
        small(DBMSampler, visible=visible, allow_missing=True).partial_fit(frame)
        for _ in range(2)
    )
    assert_same_machine(
        one.partial_fit(strange).machine_, other.partial_fit(holey).machine_
    )


def test_training_goes_on_with_known_categories_only():
    frame = pandas_frame()
    estimator = small(DBMSampler, visible=VISIBLE)
    estimator.partial_fit(frame)
    estimator.partial_fit(frame[frame["job"] != "poet"])
    strange = frame.copy()
    strange.loc[4, "job"] = "astronaut"
    with pytest.raises(ValueError, match="'astronaut'"):
        estimator.partial_fit(strange)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"job": [1, "two"] * 32}, "cannot be sorted"),
        ({"height": ["tall"] * 64}, "Column 'height' does not hold numbers"),
        ({"height": [np.inf] * 64}, "infinity, in column 'height'"),
        ({"job": [None] * 64}, "Column 'job' has no value"),
        ({"share": [-1.0] * 64}, "Negative values"),
    ],
    ids=str,
)
def test_values_that_do_not_suit_their_column_are_an_error(change, message):
    frame = pd.DataFrame(table() | change)
    with pytest.raises(ValueError, match=message):
        small(DBMSampler, visible=VISIBLE, allow_missing=True).fit(frame)


# Estimators with these types

SEVERAL = {
    # Such numbers have means and deviations without rounding.
    "gaussian": ("gaussian", lambda rng: rng.integers(-9, 9, (64, 4)) * 1.0),
    "categorical": ("categorical", lambda rng: rng.integers(3, size=(64, 4)) * 1.0),
    "counts": ("counts", lambda rng: rng.poisson(1.5, (64, 4)) * 1.0),
    "mixed": (
        [("gaussian", [0]), ("categorical", [3]), ("bernoulli", [1, 2])],
        lambda rng: rng.integers(2, size=(64, 4)) * 1.0,
    ),
    "encoding": (
        Mixed([(Real(), [2, 3]), (Probabilities(), [0, 1])]),
        lambda rng: rng.integers(5, size=(64, 4)) / 4,
    ),
    "unit type": (Binomial(2), lambda rng: rng.integers(3, size=(64, 4)) * 1.0),
    "unit type among others": (
        [(Binomial(2), [0, 3]), ("gaussian", [1, 2])],
        lambda rng: rng.integers(3, size=(64, 4)) * 1.0,
    ),
}
each_visible = pytest.mark.parametrize(
    ("visible", "make"), SEVERAL.values(), ids=SEVERAL.keys()
)


@each_class
@each_visible
def test_pickled_estimators_do_the_same(visible, make, cls):
    X = make(np.random.default_rng(0))
    fitted = small(cls, visible=visible, warm_start=True).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    if cls is DBMSampler:
        assert_array_equal(again.sample(5), fitted.sample(5))
    assert_same_machine(fitted.partial_fit(X).machine_, again.partial_fit(X).machine_)


@each_class
@each_visible
def test_clones_learn_the_same(visible, make, cls):
    X = make(np.random.default_rng(0))
    fitted = small(cls, visible=visible).fit(X)
    copied = clone(fitted)
    assert not hasattr(copied, "machine_")
    assert_same_machine(copied.fit(X).machine_, fitted.machine_)
    again = cls().set_params(**fitted.get_params())
    assert_same_machine(again.fit(X).machine_, fitted.machine_)


@each_class
@each_visible
def test_estimators_around_a_machine_know_its_columns(visible, make, cls):
    X = make(np.random.default_rng(0))
    if isinstance(visible, list) and ("categorical", [3]) in visible:
        X[:, 3] = np.sort(X[:, 3]) % 2  # codes are the categories
    fitted = small(DBMTransformer, visible=visible).fit(X)
    wrapped = cls.from_machine(fitted.machine_, random_state=0)
    assert wrapped.n_features_in_ == 4
    assert_allclose(wrapped.score_samples(X), fitted.score_samples(X), rtol=1e-6)
    if cls is DBMSampler:
        assert wrapped.sample(3).shape == (3, 4)
    else:
        assert_array_equal(wrapped.transform(X), fitted.transform(X))
        features = wrapped.transform(X)
        assert wrapped.inverse_transform(features).shape == X.shape
    repr(wrapped)
    clone(wrapped).set_params(
        **{k: v for k, v in SMALL.items() if k != "hidden_layer_sizes"}
    ).fit(X)


@each_class
@each_visible
def test_chunks_of_whole_batches_are_like_one_chunk(visible, make, cls, monkeypatch):
    X = make(np.random.default_rng(0))
    X = np.vstack([X, X])  # the first chunk decides how columns are encoded
    # The more rows, the less shrinkage: let both be of the first half.
    monkeypatch.setattr(real, "likeliest_normal", lambda X: likeliest_normal(X[:64]))
    params = {"visible": visible, "batch_size": 64, "learning_rate_init": 0.05}
    one, two = (small(cls, **params) for _ in range(2))
    one.partial_fit(X)
    two.partial_fit(X[:64]).partial_fit(X[64:])
    assert_same_machine(one.machine_, two.machine_)


@each_visible
def test_float32_columns_are_scored_in_float32(visible, make):
    X = make(np.random.default_rng(0)).astype(np.float32)
    fitted = small(DBMTransformer, visible=visible).fit(X)
    assert fitted.machine_.dtype == np.float32
    assert fitted.transform(X).dtype == np.float32
    assert_allclose(fitted.score_samples(X), fitted.score_samples(X * 1.0), rtol=1e-4)
    assert_allclose(
        fitted.score_samples(X), fitted.score_samples(X.astype(np.float64)), atol=1e-3
    )


def test_score_of_real_columns_is_a_density_of_their_own_values():
    rng = np.random.default_rng(0)
    X = rng.normal(100, 5, (200, 1)) + rng.choice([-20, 20], (200, 1))
    sampler = small(DBMSampler, visible="gaussian", hidden_layer_sizes=3).fit(X)
    grid = np.arange(-100, 300, 0.5)
    assert_allclose(
        np.exp(sampler.score_samples(grid[:, None])).sum() * 0.5, 1, rtol=1e-4
    )
    # In other units of length all densities change by the factor.
    other = clone(sampler).fit(X / 10)
    assert_allclose(
        other.score_samples(X / 10), sampler.score_samples(X) + np.log(10), atol=1e-3
    )


# Counts


def words(n_rows=64, seed=0):
    return np.random.default_rng(seed).poisson([3.0, 1.0, 0.5, 2.0, 0.2], (n_rows, 5))


@each_class
def test_sparse_and_dense_counts_give_one_model(cls):
    """Bit for bit: the mean of 64 rows is exact, and batches are made dense."""
    X = words().astype(np.float64)
    dense = small(cls, visible="counts").fit(X)
    machine = dense.machine_.astype(np.float64)
    exact = cls.from_machine(machine, likelihood=SMALL["likelihood"], random_state=0)
    for container in (
        sparse.csr_array,
        sparse.csr_matrix,
        sparse.csc_array,
        sparse.coo_array,
    ):
        loose = small(cls, visible="counts").fit(container(X))
        assert_same_machine(loose.machine_, dense.machine_)
        # Sparse products sum in another order.
        for read in (exact.score_samples, exact.perplexity):
            assert_allclose(read(container(X)), read(X), rtol=1e-12)
        for read in (loose.score_samples, loose.perplexity):  # in float32
            assert_allclose(read(container(X)), read(X), rtol=1e-6)


def brute_perplexity(machine, X):
    """exp(-sum log p(w_1 ... w_N | N) / sum N), by sums over the hidden states."""
    weight, (bias, hidden_bias) = machine.weights[0], machine.biases
    log_p = 0.0
    for row in X:
        log_joint, log_all = [], []
        for h in np.indices([2] * len(hidden_bias)).reshape(len(hidden_bias), -1).T:
            field = bias + weight @ h
            log_joint.append(h @ hidden_bias + row @ field)
            log_all.append(h @ hidden_bias + row.sum() * np.logaddexp.reduce(field))
        log_p += np.logaddexp.reduce(log_joint) - np.logaddexp.reduce(log_all)
    return np.exp(-log_p / X.sum())


def test_perplexity_is_that_of_the_words_in_their_order():
    X = words().astype(np.float64)
    X[3] = 0
    sampler = small(DBMSampler, visible="counts", hidden_layer_sizes=3).fit(X)
    wanted = brute_perplexity(sampler.machine_.astype(np.float64), X)
    assert_allclose(sampler.perplexity(X), wanted, rtol=1e-6)
    ways = gammaln(X.sum(axis=1) + 1) - gammaln(X + 1).sum(axis=1)
    scores = sampler.score_samples(X)
    assert_allclose(np.exp(-(scores - ways).sum() / X.sum()), wanted, rtol=1e-6)


def test_perplexity_of_equally_likely_words_is_their_number():
    machine = DeepBoltzmannMachine(
        [np.zeros((7, 2))],
        [np.zeros(7), np.zeros(2)],
        [ReplicatedSoftmax(7), Bernoulli()],
    )
    X = np.random.default_rng(0).poisson(1.0, (9, 7))
    assert_allclose(DBMSampler.from_machine(machine).perplexity(X), 7)


@each_class
def test_perplexity_of_frames_does_not_warn(cls):
    frame = pd.DataFrame(words(), columns=list("abcde"))
    fitted = small(cls, visible="counts").fit(frame)
    wanted = small(cls, visible="counts").fit(frame.to_numpy())
    assert fitted.perplexity(frame) == wanted.perplexity(frame.to_numpy())


def test_perplexity_is_about_words():
    X = words().astype(np.float64)
    assert not hasattr(small(DBMSampler, visible="gaussian").fit(X), "perplexity")
    with pytest.raises(ValueError, match="rows that have some"):
        small(DBMSampler, visible="counts").fit(X).perplexity(np.zeros((2, 5)))


def test_counts_are_whole_and_not_filled():
    X = words().astype(np.float64)
    with pytest.raises(ValueError, match=r"whole numbers; got 0\.5"):
        small(DBMSampler, visible="counts").fit(X / 2 + 0.5 * (X == 0))
    sampler = small(DBMSampler, visible="counts").fit(X)
    for fill in (lambda: sampler.sample(given=X), lambda: sampler.impute(X)):
        with pytest.raises(ValueError, match="share a total"):
            fill()


# Samples given what is known


MIXED = typed_model("mixed", (3, 2), 1)
ENCODING = Mixed(
    [
        (Real(), [1]),
        (Categories((3,)), [0]),
        (Probabilities(), [3]),
        (States(Binomial(2)), [2]),
    ]
)
#: Rows as the units of MIXED see them: a real unit, a group of three, a bit, 0 to 2.
KNOWN = np.array(
    [
        [nan, 0.0, 1.0, 0.0, nan, 2.0],
        [0.7, nan, nan, nan, 1.0, nan],
        [nan, nan, nan, nan, nan, 0.0],
    ]
)


def mixed_sampler(**params):
    settings = {"random_state": 0} | params
    machine = MIXED.machine().with_encoding(ENCODING)
    return DBMSampler.from_machine(machine, **settings)


def columns_of(states):
    """States of the units of MIXED as columns: category, real, 0 to 2, bit."""
    code = np.where(np.isnan(states[:, 1]), nan, states[:, 1:4] @ [0.0, 1.0, 2.0])
    return np.column_stack([code, states[:, 0], states[:, 5], states[:, 4]])


@pytest.mark.parametrize("seed", range(3))
def test_samples_given_known_values_have_the_conditional_frequencies(seed):
    n, given = 4000, columns_of(KNOWN)
    drawn = mixed_sampler().sample(n, given=given, burn_in=40, random_state=seed)
    assert drawn.shape == (3 * n, 4)
    for i, row in enumerate(KNOWN):
        mine = drawn[i * n : (i + 1) * n]
        known = ~np.isnan(given[i])
        assert_array_equal(mine[:, known], np.tile(given[i, known], (n, 1)))
        states = np.column_stack(
            [mine[:, 1], *(mine[:, 0] == k for k in range(3)), mine[:, 3], mine[:, 2]]
        )
        distribution = MIXED.given(row)
        wanted = distribution.probability @ distribution.states[0]
        square = distribution.probability @ MIXED.squares(distribution)[0]
        std = np.sqrt(np.maximum(square - wanted**2, 0))
        # Training and sampling run in float32, which moves known real values a little.
        error = np.abs(states.mean(axis=0) - wanted)
        assert np.all(error < largest_error(std, n, 4) + 1e-6)
        pairs = states[:, 1:4].T @ states[:, 4:] / n
        first = distribution.states[0]
        exact = (first[:, 1:4] * distribution.probability[:, None]).T @ first[:, 4:]
        assert np.all(np.abs(pairs - exact) < largest_error(1.0, n, 2))


def test_samples_given_rows_come_in_the_order_of_the_rows():
    X = np.arange(1500.0)[:, None] / 1500 * [1.0, nan]
    machine = DeepBoltzmannMachine([np.ones((2, 1))], [np.zeros(2), np.zeros(1)])
    sampler = DBMSampler.from_machine(machine, random_state=0)
    result = sampler.sample(4, given=X, burn_in=1)
    assert_array_equal(result[:, 0], np.repeat(X[:, 0], 4))
    assert set(result[:, 1]) == {0.0, 1.0}


def test_known_values_stay_bit_by_bit():
    rng = np.random.default_rng(0)
    X = rng.normal(1e6, 1, (64, 3))
    sampler = small(DBMSampler, visible="gaussian").fit(X)
    holey = np.where(rng.random(X.shape) < 0.3, nan, X)
    known = ~np.isnan(holey)
    for filled in (sampler.sample(given=holey), sampler.impute(holey)):
        assert filled[known].tobytes() == X[known].tobytes()
        assert np.all(np.abs(filled[~known] - 1e6) < 20)


@pytest.mark.usefixtures("narrow_blocks")
def test_conditional_samples_depend_on_the_seed_alone():
    given = columns_of(KNOWN)
    one, two = mixed_sampler(n_jobs=1), mixed_sampler(n_jobs=2)
    assert_array_equal(one.sample(50, given=given), two.sample(50, given=given))
    assert_array_equal(one.impute(given), two.impute(given))
    other = one.sample(50, given=given, random_state=1)
    assert np.any(other != one.sample(50, given=given))


def test_imputed_values_are_conditional_means_and_most_probable_categories():
    given = columns_of(KNOWN)
    filled = mixed_sampler().impute(given, n_chains=500)
    for i, row in enumerate(KNOWN):
        distribution = MIXED.given(row)
        means = distribution.probability @ distribution.states[0]
        known = ~np.isnan(given[i])
        assert_array_equal(filled[i, known], given[i, known])
        # 500 chains of 20 sweeps, of which at least one in five is independent.
        error = 6 * 1.5 / np.sqrt(500 * 4)
        for column, unit in ((1, 0), (2, 5), (3, 4)):
            if not known[column]:
                assert abs(filled[i, column] - means[unit]) < error
        if not known[0]:
            first, second = np.sort(means[1:4])[[-1, -2]]
            assert first - second > 2 * error / 1.5 or first - second > 0.05
            assert filled[i, 0] == np.argmax(means[1:4])


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_numbers_of_samples_and_chains_are_positive_integers(n):
    given = columns_of(KNOWN)
    with pytest.raises(ValueError, match="n_samples"):
        mixed_sampler().sample(n, given=given)
    with pytest.raises(ValueError, match="n_chains"):
        mixed_sampler().impute(given, n_chains=n)


@pytest.mark.parametrize("seed", range(2))
def test_imputation_of_digits_beats_the_column_means(seed):
    X = load_digits().data / 16
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    train, test = X[order[:600]], X[order[600:800]]
    sampler = DBMSampler(
        hidden_layer_sizes=(32,),
        max_iter=40,
        likelihood=Likelihood(n_chains=2),
        random_state=seed,
        n_jobs=1,
    ).fit(train)
    gaps = rng.random(test.shape) < 0.3
    holey = np.where(gaps, nan, test)
    filled = sampler.impute(holey, n_chains=3, burn_in=20, n_sweeps=10)
    error = np.mean((filled - test)[gaps] ** 2)
    plain = np.mean((train.mean(axis=0) - test)[gaps] ** 2)
    assert error < 0.75 * plain


@each_class
def test_counts_are_whole_numbers_whenever_they_come(cls):
    X = np.array([[1.0, 2.0], [0.0, 3.0]])
    fitted = small(cls, visible="counts").fit(X)
    for method in (fitted.fit, fitted.partial_fit, fitted.score_samples):
        with pytest.raises(ValueError, match="whole numbers; got"):
            method(X + 0.5)


def test_tags_of_a_mixed_encoding_are_those_of_its_parts():
    encoding = Mixed([(Probabilities(), [0]), (Categories(), [1])])
    tags = DBMTransformer(visible=encoding).__sklearn_tags__().input_tags
    by_list = DBMTransformer(visible=[("bernoulli", [0]), ("categorical", [1])])
    assert tags == by_list.__sklearn_tags__().input_tags
