"""Fitted estimators in files: the same results, no pickle, for versions to come."""

import pathlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from dateutil.tz import gettz, tzoffset
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_selector
from sklearn.exceptions import NotFittedError

from skdbm import DBMSampler, DBMTransformer, _files
from skdbm._saving import FORMAT, FORMAT_VERSION
from skdbm.columns import of_polars
from skdbm.likelihood.log_partition import LogPartition
from skdbm.units import Categorical

from ._estimators import QUICK, assert_same_machine, small

FILES = pathlib.Path(__file__).parent / "files"


def through_file(estimator, folder):
    """Save an estimator, and load it."""
    estimator.save(folder / "estimator.npz")
    return type(estimator).load(folder / "estimator.npz")


def frame(n_rows=60):
    """A table of several kinds."""
    rng = np.random.default_rng(0)
    days = pd.to_datetime(["2020-01-01", "2020-02-01"]).tz_localize("Europe/Berlin")
    return pd.DataFrame(
        {
            "real": rng.random(n_rows),
            "letter": rng.choice(["x", "y", "z"], n_rows),
            "declared": pd.Categorical(rng.choice([3, 4], n_rows), [3, 4, 5]),
            "day": days[rng.integers(2, size=n_rows)],
            "on": rng.random(n_rows) < 0.3,
        }
    )


VISIBLE = [
    ("gaussian", ["real"]),
    ("categorical", ["letter", "declared", "day"]),
    ("bernoulli", slice(4, 5)),
]


def assert_same_results(one, other, X):
    assert one.get_params(deep=False).keys() == other.get_params(deep=False).keys()
    assert repr(one) == repr(other)
    assert_same_machine(one, other)
    assert one.history_.keys() == other.history_.keys()
    for key, values in one.history_.items():
        assert_array_equal(values, other.history_[key])
        assert {type(value) for value in values} == {
            type(value) for value in other.history_[key]
        }
    assert (one.n_iter_, one.n_features_in_) == (other.n_iter_, other.n_features_in_)
    assert_array_equal(one.score_samples(X), other.score_samples(X))
    names = [getattr(e, "feature_names_in_", None) for e in (one, other)]
    assert_array_equal(*names)
    if isinstance(one, DBMTransformer):
        assert_array_equal(one.get_feature_names_out(), other.get_feature_names_out())
        features = [np.asarray(estimator.transform(X)) for estimator in (one, other)]
        assert_array_equal(*features)
    else:
        drawn = [estimator.sample(9, **QUICK) for estimator in (one, other)]
        assert type(drawn[0]) is type(drawn[1])
        assert_array_equal(*map(np.asarray, drawn))
        if isinstance(drawn[0], pd.DataFrame):
            assert list(drawn[0].dtypes) == list(drawn[1].dtypes)
        assert hasattr(one, "log_partition_") == hasattr(other, "log_partition_")


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_a_loaded_estimator_does_the_same(cls, tmp_path, output):
    X = frame()
    model = small(cls, visible=VISIBLE).set_output(transform=output).fit(X)
    assert_same_results(model, through_file(model, tmp_path), X)


@pytest.mark.parametrize(
    ("params", "X"),
    [
        ({}, np.eye(8).repeat(4, 0)),
        ({"visible": "counts"}, np.arange(80).reshape(10, 8) % 7),
        ({"visible": "categorical"}, np.array([["a", "b"], ["b", "a"]] * 9)),
        ({"hidden": [Categorical([3, 3]), Categorical([2, 2])]}, np.eye(8)),
        ({"visible": "gaussian", "early_stopping": True}, np.eye(8).repeat(9, 0)),
        ({"hidden_layer_sizes": np.array([5])}, np.eye(8)),
    ],
    ids=["binary", "counts", "strings", "hidden", "gaussian", "an array of sizes"],
)
@pytest.mark.filterwarnings("ignore:early_stopping did not")
def test_all_kinds_of_columns_and_parameters(params, X, cls, tmp_path):
    model = small(cls, **params).fit(X)
    assert_same_results(model, through_file(model, tmp_path), X)


def test_log_z_is_not_estimated_again(tmp_path, monkeypatch):
    X = np.random.default_rng(0).integers(2, size=(40, 30)).astype(float)
    model = small(DBMSampler, hidden_layer_sizes=(30, 30)).fit(X)
    monkeypatch.setattr(LogPartition, "_anneal", None)
    loaded = through_file(model, tmp_path)
    assert loaded.log_partition_ == model.log_partition_
    assert loaded.log_partition_std_ == model.log_partition_std_ > 0
    assert_array_equal(loaded.score_samples(X), model.score_samples(X))
    assert loaded._kept_log_partition.least == model._kept_log_partition.least


def test_estimators_of_chunks_and_of_machines(cls, X, tmp_path):
    chunks = small(cls).partial_fit(X).partial_fit(X)
    wrapped = cls.from_machine(chunks.machine_, random_state=0)
    for model in (chunks, wrapped):
        assert_same_results(model, through_file(model, tmp_path), X)


def test_training_goes_on_from_the_machine(cls, X, tmp_path):
    model = small(cls).fit(X)
    machine = through_file(model, tmp_path).partial_fit(X).machine_
    assert not np.array_equal(machine.weights[0], model.machine_.weights[0])
    model = through_file(model, tmp_path).set_params(warm_start=True, max_iter=2)
    assert model.fit(X).n_iter_ == 5


def test_an_edited_machine_is_saved_as_it_is(X, tmp_path):
    model = small(DBMSampler).fit(X)
    model.machine_.weights[0][:] = 0.1
    loaded = through_file(model, tmp_path)
    assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def test_what_means_nothing_elsewhere_is_left_out(tmp_path):
    X = frame().drop(columns="day")
    numbers = make_column_selector(dtype_include=float)
    others = make_column_selector(dtype_exclude=float)
    model = small(
        DBMSampler,
        visible=[("gaussian", numbers), ("categorical", others)],
        random_state=np.random.RandomState(0),
    ).fit(X)
    loaded = through_file(model, tmp_path)
    assert loaded.random_state is None
    assert_array_equal(loaded.score_samples(X), model.score_samples(X))
    drawn = [estimator.sample(5, random_state=0) for estimator in (loaded, model)]
    assert_array_equal(*drawn)


# Errors


def test_what_is_not_fitted_is_not_saved(cls, tmp_path):
    with pytest.raises(NotFittedError):
        cls().save(tmp_path / "estimator.npz")


def test_a_file_of_another_class_is_an_error(X, tmp_path):
    small(DBMSampler).fit(X).save(tmp_path / "sampler.npz")
    with pytest.raises(ValueError, match=r"holds a DBMSampler; read it by DBMSampler"):
        DBMTransformer.load(tmp_path / "sampler.npz")
    with pytest.raises(ValueError, match=r"holds a DBMSampler"):
        type("DBMSampler2", (DBMSampler,), {}).load(tmp_path / "sampler.npz")


def test_damaged_and_foreign_files_are_errors(X, tmp_path):
    path, model = tmp_path / "estimator.npz", small(DBMSampler).fit(X)
    model.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"a,b", whole[:-40], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"not a file of skdbm\.Estimator"):
            DBMSampler.load(path)
    model.machine_.save(path)
    with pytest.raises(ValueError, match=r"holds 'skdbm\.DeepBoltzmannMachine'"):
        DBMSampler.load(path)
    path.write_bytes(whole)
    header, arrays = _files.read(path, FORMAT, FORMAT_VERSION)
    for key in ("class", "content", "machine"):
        _files.write(path, {k: v for k, v in header.items() if k != key}, arrays)
        with pytest.raises(ValueError, match=f"damaged.*{key}"):
            DBMSampler.load(path)
    name = next(name for name in arrays if name.startswith("weights"))
    _files.write(path, header, arrays | {name: arrays[name][:-1]})
    with pytest.raises(ValueError, match=r"damaged.*weights"):
        DBMSampler.load(path)
    _files.write(path, header | {"version": FORMAT_VERSION + 1}, arrays)
    with pytest.raises(ValueError, match="Install a newer skdbm"):
        DBMSampler.load(path)


@pytest.mark.parametrize("key", ["params", "columns", "optional", "seeds", "history"])
def test_contents_that_make_no_estimator_are_errors(key, X, tmp_path):
    path = tmp_path / "estimator.npz"
    small(DBMSampler).fit(X).save(path)
    header, arrays = _files.read(path, FORMAT, FORMAT_VERSION)
    [pair] = [pair for pair in header["content"]["dict"] if pair[0] == key]
    for value in (7, None, {"list": []}, {"new": 1, "object": "Popen", "state": {}}):
        pair[1] = value
        _files.write(path, header, arrays)
        with pytest.raises(ValueError, match="is damaged"):
            DBMSampler.load(path)


def test_polars_is_asked_for_dtypes_alone(tmp_path):
    form = {"library": "polars", "name": "read_csv", "kind": "object"}
    column = {"values": ["/etc/hosts"]}
    with pytest.raises(ValueError, match="'read_csv' is no dtype of polars"):
        of_polars.made(np.array(["a"], dtype=object), form | column)


def test_categories_of_strange_types_are_an_error_of_save(tmp_path):
    X = np.array([[uuid.UUID(int=1)], [uuid.UUID(int=2)]] * 9, dtype=object)
    model = small(DBMSampler, visible="categorical").fit(X)
    with pytest.raises(TypeError, match="a type that files do not know: UUID objects"):
        model.save(tmp_path / "estimator.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("zone", [tzoffset("foo", 7200), gettz("Europe/Berlin")])
def test_times_of_zones_without_a_name_stay_the_same_moments(zone, tmp_path):
    days = [datetime(2020, month, 1, tzinfo=zone) for month in (1, 2)]
    for values in (days, list(map(pd.Timestamp, days))):
        X = pd.DataFrame({"day": pd.Series(values * 9, dtype=object)})
        model = small(DBMSampler, visible="categorical").fit(X)
        loaded = through_file(model, tmp_path)
        assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def test_parameters_of_other_containers(X, tmp_path):
    sizes = np.array([6, 4], dtype=object)
    part = slice(np.int64(0), np.int64(4))
    for visible in ("bernoulli", [("bernoulli", part), ("gaussian", slice(4, None))]):
        model = small(DBMSampler, visible=visible).set_params(hidden_layer_sizes=sizes)
        model.fit(X)
        loaded = through_file(model, tmp_path)
        assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def test_saves_at_a_time_are_whole(X, tmp_path):
    model, path = small(DBMSampler).fit(X), tmp_path / "estimator.npz"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: model.save(path), range(40)))
    assert_array_equal(DBMSampler.load(path).score_samples(X), model.score_samples(X))
    assert list(tmp_path.iterdir()) == [path]


# Files of versions to come: those in `files` were written by skdbm 0.1.0. Never write
# them anew; what they hold has to be read for ever.


def test_a_sampler_of_version_1():
    model = DBMSampler.load(FILES / "sampler_1.npz")
    X = pd.DataFrame(
        {
            "real": [0.25, 0.75],
            "letter": ["x", "z"],
            "declared": pd.Categorical([3, 4], [3, 4, 5]),
            "day": pd.to_datetime(["2020-01-01", "2020-02-01"]).tz_localize(
                "Europe/Berlin"
            ),
            "on": [True, False],
        }
    )
    assert (model.n_iter_, model.hidden_layer_sizes) == (3, (6, 4))
    assert model.likelihood.n_chains == 20
    expected = [-4.454536248740165, -2.544236058270339]
    assert_allclose(model.score_samples(X), expected, rtol=1e-5)
    assert list(model.sample(2).dtypes) == list(X.dtypes)


def test_a_transformer_of_version_1():
    model = DBMTransformer.load(FILES / "transformer_1.npz")
    counts = np.arange(16).reshape(2, 8) % 7
    expected = [0.435876, 0.468835, 0.095289, 0.508018, 0.118044, 0.373938]
    assert_allclose(model.transform(counts)[0], expected, atol=1e-5)
    expected = [-13.51272574786625, -13.313487932499347]
    assert_allclose(model.score_samples(counts), expected, rtol=1e-5)


def test_a_sampler_of_chunks_of_polars_of_version_1():
    model = DBMSampler.load(FILES / "chunks_1.npz")
    kinds = pl.Series(["a", "b"], dtype=pl.Enum(["a", "b", "c"]))
    prices = [Decimal("1.50"), Decimal("2.25")]
    X = pl.DataFrame({"price": prices, "kind": kinds, "on": [True, False]})
    expected = [-1.833907031485864, -1.897131237989107]
    assert_allclose(model.score_samples(X), expected, rtol=1e-5)
    drawn = model.sample(3)
    assert drawn.columns == X.columns
    assert drawn["kind"].dtype == kinds.dtype
    assert not hasattr(model, "log_partition_")


@pytest.mark.parametrize("name", ["sampler_1", "transformer_1", "chunks_1"])
def test_files_hold_no_objects(name):
    with np.load(FILES / f"{name}.npz", allow_pickle=False) as archive:
        assert not any(archive[part].dtype.hasobject for part in archive.files)
