"""The monitor keeps the record of every epoch of every fit, and knows which it was."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skdbm import DBMSampler, DBMTransformer
from skdbm.callback import TrainingMonitor

from ._estimators import Watcher, assert_same_machine, small

#: What a row says of its place; all else is the record.
PLACE = ["run", "fit", "stage", "epoch"]

#: Stages of a fit of `small` with their epochs, and those of greedy pretraining.
STAGES = ["pretraining layer 1"] * 3 + ["training"] * 3
PAIRS = ["pretraining pair 1"] * 3 + ["pretraining pair 2"] * 3 + ["training"] * 3

GRID = {"alpha": [0.0, 0.5], "hidden_layer_sizes": [4, (5, 3)]}


@pytest.fixture
def monitor():
    return TrainingMonitor()


def assert_is_history(rows, history):
    """Rows are a record, but for the time, which is that of another fit."""
    rows = [row for row in rows if row["stage"] == "training"]
    assert all(row.keys() - PLACE == history.keys() for row in rows)
    for key in history.keys() - {"seconds"}:
        assert_array_equal([row[key] for row in rows], history[key])


def by_fit(rows):
    """Rows of each fit, by its run and path."""
    fits = {}
    for row in rows:
        fits.setdefault((row["run"], row["fit"]), []).append(row)
    return fits


# One estimator


@pytest.mark.parametrize("early_stopping", [True, False])
def test_record_is_the_history(cls, X, monitor, early_stopping):
    params = {"max_iter": 6, "pretraining": None}
    if early_stopping:  # after the second evaluation
        params |= {"early_stopping": True, "evaluate_every": 2, "tol": 1e3}
    estimator = small(cls, n_iter_no_change=2, **params).set_callbacks(monitor).fit(X)
    rows = monitor.to_dicts()
    assert len(rows) == estimator.n_iter_ == (4 if early_stopping else 6)
    assert ("validation_score" in rows[0]) == ("overfitting" in rows[0])
    assert ("overfitting" in rows[0]) == early_stopping
    assert_is_history(rows, estimator.history_)
    assert [row["seconds"] for row in rows] == estimator.history_["seconds"]


@pytest.mark.parametrize(
    ("pretraining", "stages"), [("grow", STAGES), ("greedy", PAIRS)]
)
def test_pretraining_is_recorded_by_its_stages(cls, X, monitor, pretraining, stages):
    estimator = small(cls, pretraining=pretraining).set_callbacks(monitor).fit(X)
    rows = monitor.to_dicts()
    assert [row["stage"] for row in rows] == stages
    n_epochs = len(stages)
    assert [row["epoch"] for row in rows] == list(range(1, n_epochs + 1))
    assert {(row["run"], row["fit"]) for row in rows} == {(0, (0,))}
    assert [len(row["weight_norms"]) for row in rows] == [1] * (n_epochs - 3) + [2] * 3
    assert_is_history(rows, estimator.history_)


@pytest.mark.parametrize(("pretraining", "falls"), [("grow", False), ("greedy", True)])
def test_rate_falls_at_the_end_of_what_is_not_gone_on_with(
    cls, X, monitor, pretraining, falls
):
    small(cls, pretraining=pretraining).set_callbacks(monitor).fit(X)
    rates = [row["learning_rate"] for row in monitor.to_dicts()]
    assert (rates[2] < rates[0] / 2) == falls
    assert (rates[2] == rates[0]) != falls
    assert rates[-1] < rates[-3] / 2


def test_training_is_that_without_a_monitor(cls, X, monitor):
    plain, watched = small(cls).fit(X), small(cls).set_callbacks(monitor).fit(X)
    assert_same_machine(watched, plain)
    assert vars(watched).keys() - vars(plain).keys() == {"_skl_callbacks"}


def test_what_another_callback_adds_is_recorded(cls, X, monitor):
    def add(record, fitted):
        record["gap_squared"] = record["energy_gap"] ** 2

    estimator = small(cls).set_callbacks(Watcher(add), monitor).fit(X)
    assert_is_history(monitor.to_dicts(), estimator.history_)
    assert "gap_squared" in estimator.history_


@pytest.mark.parametrize(("every", "epochs"), [(2, [2, 4, 6]), (6, [6]), (7, [])])
def test_every(X, every, epochs):
    monitor = TrainingMonitor(every=every)
    small(DBMTransformer).set_callbacks(monitor).fit(X)
    assert [row["epoch"] for row in monitor.to_dicts()] == epochs


@pytest.mark.parametrize("every", [0, 1.5, "all", None, True])
def test_every_is_checked(every):
    with pytest.raises(ValueError, match=f"every={every!r}; a positive integer"):
        TrainingMonitor(every=every)


def test_nothing_is_recorded_before_a_fit(monitor):
    assert monitor.to_dicts() == []
    assert monitor.to_pandas().empty


def test_repeated_fits_and_clones_are_runs(cls, X, monitor):
    estimator = small(cls, warm_start=True).set_callbacks(monitor)
    history = estimator.fit(X).fit(X).history_
    clone(estimator).fit(X)
    other = small(cls, random_state=1).set_callbacks(monitor).fit(X)
    fits = by_fit(monitor.to_dicts())
    assert list(fits) == [(run, (0,)) for run in range(4)]
    assert [len(rows) for rows in fits.values()] == [6, 3, 6, 6]  # warm: no pretraining
    first, second, third, fourth = fits.values()
    assert_is_history(first + second, history)
    assert_is_history(first, {key: values[:3] for key, values in history.items()})
    assert_is_history(third, {key: values[:3] for key, values in history.items()})
    assert_is_history(fourth, other.history_)


def test_epochs_before_an_error_are_kept(cls, X, monitor):
    seen = []

    def fail(record, fitted):
        seen.append(record)
        if len(seen) == 2:
            raise RuntimeError("enough")

    estimator = small(cls).set_callbacks(Watcher(fail), monitor)
    with pytest.raises(RuntimeError, match="enough"):
        estimator.fit(X)
    estimator.set_callbacks(monitor).fit(X)
    failed, fitted = by_fit(monitor.to_dicts()).values()
    assert [row["stage"] for row in failed] == STAGES[:4]
    assert_is_history(fitted, estimator.history_)


# Around it


def test_pipeline(X, kinds, monitor):
    dbm = small(DBMTransformer).set_callbacks(monitor)
    model = make_pipeline(MinMaxScaler(clip=True), dbm, LogisticRegression())
    model.fit(7 * X - 3, kinds)
    rows = monitor.to_dicts()
    assert {(row["run"], row["fit"]) for row in rows} == {(0, (0, 1))}  # the second
    assert [row["stage"] for row in rows] == STAGES
    assert_is_history(rows, model[1].history_)


def test_inside_what_has_no_callbacks(X, monitor):
    dbm = small(DBMTransformer).set_callbacks(monitor)
    columns = ColumnTransformer([("dbm", dbm, slice(0, 5))]).fit(X)
    assert_is_history(monitor.to_dicts(), columns.named_transformers_["dbm"].history_)


def assert_has_all_fits(rows, search, X):
    """Every candidate and fold, and the fit at the end, is there and in its place."""
    fits = by_fit(rows)
    folds = list(search.cv.split(X))
    candidates = search.cv_results_["params"]
    n_fits = len(candidates) * len(folds)
    assert list(fits) == [*((0, (0, 0, k)) for k in range(n_fits)), (0, (0, 1))]
    for (_, path), rows in list(fits.items())[:-1]:
        candidate, fold = divmod(path[-1], len(folds))
        alone = clone(search.estimator).set_callbacks()
        alone.set_params(**candidates[candidate]).fit(X[folds[fold][0]])
        assert_is_history(rows, alone.history_)
        n_stages = 1 if np.size(alone.hidden_layer_sizes) == 1 else 2
        assert [row["epoch"] for row in rows] == list(range(1, 1 + 3 * n_stages))
    assert_is_history(fits[0, (0, 1)], search.best_estimator_.history_)


class Folds:
    """Three folds, always the same."""

    def split(self, X, y=None, groups=None):
        rows = np.arange(len(X))
        return [(rows[rows % 3 != fold], rows[rows % 3 == fold]) for fold in range(3)]

    def get_n_splits(self, X=None, y=None, groups=None):
        return 3


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_search(cls, X, monitor, backend):
    dbm = small(cls).set_callbacks(monitor)
    n_jobs = 1 if backend == "sequential" else 2
    with joblib.parallel_backend(backend):
        search = GridSearchCV(dbm, GRID, cv=Folds(), n_jobs=n_jobs).fit(X)
    assert_has_all_fits(monitor.to_dicts(), search, X)


def test_search_over_a_pipeline(X, kinds, monitor):
    dbm = small(DBMTransformer).set_callbacks(monitor)
    model = make_pipeline(MinMaxScaler(), dbm, LogisticRegression())
    grid = {"dbmtransformer__alpha": [0.0, 0.5]}
    GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, kinds)
    fits = by_fit(monitor.to_dicts())
    assert list(fits) == [*((0, (0, 0, k, 1)) for k in range(4)), (0, (0, 1, 1))]
    assert [len(rows) for rows in fits.values()] == [len(STAGES)] * 5


def test_search_with_a_candidate_that_fails(X, monitor):
    dbm = small(DBMSampler, max_iter=4, pretraining=None).set_callbacks(monitor)
    search = GridSearchCV(dbm, {"learning_rate_init": [500.0, 0.01]}, cv=2)
    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.warns(FitFailedWarning, match="2 fits failed"),
    ):
        search.fit(X)
    fits = by_fit(monitor.to_dicts())
    n_epochs = {path: len(rows) for (_, path), rows in fits.items()}
    assert n_epochs.get((0, 0, 0), 0) < 4
    assert n_epochs[0, 0, 2] == n_epochs[0, 0, 3] == n_epochs[0, 1] == 4


def test_halving_search(cls, X, monitor):
    HalvingGridSearchCV(
        small(cls, pretraining=None).set_callbacks(monitor),
        {"alpha": [0.0, 0.5]},
        resource="max_iter",
        min_resources=1,
        max_resources=2,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(X)
    fits = by_fit(monitor.to_dicts())
    n_epochs = {path: len(rows) for (_, path), rows in fits.items()}
    assert n_epochs == {
        **{(0, 0, 0, k): 1 for k in range(4)},
        **{(0, 0, 1, k): 2 for k in range(2)},
        (0, 1): 2,
    }


def test_cross_validation_has_a_run_for_each_fold(cls, X, monitor):
    dbm = small(cls).set_callbacks(monitor)
    result = cross_validate(
        dbm, X, cv=Folds(), scoring=lambda *_: 0.0, return_estimator=True
    )
    fits = by_fit(monitor.to_dicts())
    assert list(fits) == [(run, (0,)) for run in range(3)]
    for rows, estimator in zip(fits.values(), result["estimator"], strict=True):
        assert_is_history(rows, estimator.history_)


def test_monitor_belongs_on_the_dbm(X, monitor):
    search = GridSearchCV(small(DBMSampler), GRID).set_callbacks(monitor)
    with pytest.raises(
        TypeError, match=r"on a GridSearchCV, .* on the estimator of skdbm"
    ):
        search.fit(X)
    assert monitor.to_dicts() == []


def test_beside_a_scoring_monitor(cls, X, monitor):
    scores = ScoringMonitor(scoring={"one": lambda estimator, X, y: 1.0})
    estimator = small(cls).set_callbacks(scores, monitor).fit(X, np.zeros(len(X)))
    assert_is_history(monitor.to_dicts(), estimator.history_)
    logged = [row["one"] for row in scores.get_logs().data if "one" in row]
    assert set(logged) == {1.0}


# Files and frames


def test_pickle_takes_the_records_along(cls, X, monitor):
    estimator = small(cls).set_callbacks(monitor)
    pickle.loads(pickle.dumps(estimator)).fit(X)
    assert monitor.to_dicts() == []
    loaded, copied = pickle.loads(pickle.dumps((estimator.fit(X), monitor)))
    rows = monitor.to_dicts()
    assert str(copied.to_dicts()) == str(rows)  # as NaN is not itself
    loaded.fit(X)
    assert len(copied.to_dicts()) == 2 * len(rows)
    assert len(monitor.to_dicts()) == len(rows)


LOADED = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    estimator, monitor, X = pickle.load(file)
estimator.fit(X)
print(len(monitor.to_dicts()))
"""


def test_pickle_goes_on_in_another_process(X, monitor, tmp_path):
    estimator = small(DBMTransformer).set_callbacks(monitor).fit(X)
    (tmp_path / "fitted").write_bytes(pickle.dumps((estimator, monitor, X)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADED, tmp_path / "fitted"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() in (["6"], ["12"]), done.stderr


def test_pandas(cls, X, monitor):
    params = {"early_stopping": True, "n_iter_no_change": 1, "tol": 1e3}
    estimator = small(cls, evaluate_every=1, **params)
    estimator.set_callbacks(monitor).fit(X)
    frame = monitor.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns[:4]) == PLACE
    training = frame[frame["stage"] == "training"]
    for key, values in estimator.history_.items():
        assert list(training[key]) == values or np.isnan(values).all()
    before = frame[frame["stage"] != "training"]
    assert before["validation_score"].isna().all()


def test_pandas_is_missed_clearly(X, monitor, monkeypatch):
    small(DBMTransformer).set_callbacks(monitor).fit(X)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas; install"):
        monitor.to_pandas()
    assert len(monitor.to_dicts()) == len(STAGES)
