"""What surrounds an estimator: files, pipelines, frames, callbacks, threads."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

import skdbm
from skdbm import DBMSampler, DBMTransformer, Likelihood, Pretraining
from skdbm.encodings import Probabilities

from ._estimators import QUICK, assert_same_machine, small, two_kinds

COLUMNS = [f"pixel{i}" for i in range(8)]


@pytest.fixture
def fitted(cls, X):
    return small(cls).fit(X)


def results_of(estimator, X):
    """All that a fitted estimator says about rows."""
    if isinstance(estimator, DBMSampler):
        return [estimator.score_samples(X), estimator.sample(15, **QUICK)]
    features = estimator.transform(X)
    return [estimator.score_samples(X), features, estimator.inverse_transform(features)]


def assert_same_results(one, other, X):
    for a, b in zip(results_of(one, X), results_of(other, X), strict=True):
        assert_array_equal(a, b)


# Files


@pytest.fixture
def going_on(cls, X):
    """An estimator whose training is meant to go on."""
    return small(cls, warm_start=True).fit(X)


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickle(going_on, X, protocol):
    loaded = pickle.loads(pickle.dumps(going_on, protocol))
    assert joblib.hash(vars(loaded)) == joblib.hash(vars(going_on))
    assert_same_results(loaded, going_on, X)


def test_pickles_are_small_unless_training_is_meant_to_go_on(cls, X):
    fitted = small(cls, hidden_layer_sizes=(300, 300)).fit(X)
    machine, small_one = len(pickle.dumps(fitted.machine_)), pickle.dumps(fitted)
    assert len(small_one) < 1.05 * machine
    loaded = pickle.loads(small_one)
    assert_same_results(loaded, fitted, X)
    loaded.partial_fit(X)  # goes on from the machine
    # Weights, their average, and the velocity.
    assert len(pickle.dumps(loaded)) > 3 * machine
    assert len(pickle.dumps(fitted.set_params(warm_start=True))) > 3 * machine
    assert (
        len(pickle.dumps(fitted.set_params(warm_start=False).fit(X))) < 1.05 * machine
    )


def test_pickle_of_an_unfitted_estimator(cls, X):
    loaded = pickle.loads(pickle.dumps(small(cls)))
    assert_same_machine(loaded.fit(X), small(cls).fit(X))


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_joblib(going_on, X, tmp_path, mmap_mode):
    joblib.dump(going_on, tmp_path / "estimator.joblib")
    loaded = joblib.load(tmp_path / "estimator.joblib", mmap_mode=mmap_mode)
    assert loaded.machine_.weights[0].flags.writeable == (mmap_mode is None)
    assert_same_results(loaded, going_on, X)
    assert_same_machine(loaded.partial_fit(X), going_on.partial_fit(X))


def test_pickle_records_the_version(fitted, X):
    state = fitted.__getstate__()
    strings = {name: value for name, value in state.items() if isinstance(value, str)}
    names = [name for name in strings if strings[name] == skdbm.__version__]
    assert len(names) == 1, "the version is not recorded"
    stranger = type(fitted)()
    with pytest.warns(UserWarning, match=r"0\.0\.0"):
        stranger.__setstate__(state | dict.fromkeys(names, "0.0.0"))
    assert_same_results(stranger, fitted, X)


def test_skops_needs_to_trust_this_package_alone(going_on, X, tmp_path):
    skops.io.dump(going_on, tmp_path / "estimator.skops")
    named = skops.io.get_untrusted_types(file=tmp_path / "estimator.skops")
    assert all(name.startswith("skdbm.") for name in named), named
    loaded = skops.io.load(tmp_path / "estimator.skops", trusted=named)
    assert_same_results(loaded, going_on, X)
    assert_same_machine(loaded.partial_fit(X), going_on.partial_fit(X))


# Data that does not fit into memory


def chunks_of(path, n_rows):
    """Read a file of rows piece by piece, as a frame each."""
    with pd.read_csv(path, chunksize=n_rows) as reader:
        yield from reader


@pytest.mark.parametrize("n_rows", [10, 30])
def test_out_of_core(cls, X, tmp_path, n_rows):
    pd.DataFrame(X, columns=COLUMNS).to_csv(tmp_path / "rows.csv", index=False)
    estimator, whole = small(cls), small(cls)
    for _ in range(2):
        for chunk in chunks_of(tmp_path / "rows.csv", n_rows):
            estimator.partial_fit(chunk)
        whole.partial_fit(X)
    assert estimator.n_iter_ == 2 * -(-len(X) // n_rows)
    assert_same_machine(estimator, whole)
    frame = pd.DataFrame(X, columns=COLUMNS)
    assert_array_equal(estimator.score_samples(frame), whole.score_samples(X))


# Pipelines


def test_pipeline(X, kinds):
    model = make_pipeline(
        MinMaxScaler(clip=True), small(DBMTransformer), LogisticRegression()
    ).fit(7 * X - 3, kinds)
    features = small(DBMTransformer).fit(X).transform(X)
    expected = LogisticRegression().fit(features, kinds).predict_proba(features)
    assert_allclose(model.predict_proba(7 * X - 3), expected, rtol=1e-6)


def test_pipeline_with_memory(X, kinds, tmp_path, capsys):
    steps = [
        ("features", small(DBMTransformer, verbose=1)),
        ("y", LogisticRegression()),
    ]
    first = Pipeline(steps, memory=str(tmp_path)).fit(X, kinds)
    assert "epoch" in capsys.readouterr().out
    second = Pipeline(steps, memory=str(tmp_path)).fit(X, kinds)
    assert "epoch" not in capsys.readouterr().out  # taken from the cache
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_sampler_at_the_end_of_a_pipeline(X):
    scaled = 7 * X - 3
    pipe = make_pipeline(MinMaxScaler(clip=True), small(DBMSampler)).fit(scaled)
    rows = pipe[:-1].inverse_transform(pipe[-1].sample(20, **QUICK))
    assert set(np.unique(rows)) == {-3, 4}
    assert_allclose(pipe.score(scaled), small(DBMSampler).fit(X).score(X))
    assert_allclose(pipe.score_samples(scaled).mean(), pipe.score(scaled))


def test_feature_union(X):
    low = small(DBMTransformer, feature_layers=1)
    high = small(DBMTransformer, feature_layers="last")
    union = FeatureUnion([("low", low), ("high", high)]).fit(X)
    assert_array_equal(union.transform(X), small(DBMTransformer).fit_transform(X))
    names = union.get_feature_names_out()
    assert names[0] == "low__dbmtransformer_h1_0"
    assert names[-1] == "high__dbmtransformer_h2_3"


def test_column_transformer(X):
    frame = pd.DataFrame(X, columns=COLUMNS).assign(other=np.arange(len(X)))
    columns = ColumnTransformer(
        [("dbm", small(DBMTransformer), COLUMNS)], remainder="passthrough"
    ).fit(frame)
    out = columns.transform(frame)
    assert_array_equal(out[:, :-1], small(DBMTransformer).fit_transform(X))
    assert_array_equal(out[:, -1], frame["other"])
    assert columns.get_feature_names_out()[-1] == "remainder__other"


# Searches


GRID = {"learning_rate_init": [0.02, 0.05], "hidden_layer_sizes": [4, (5, 3)]}


@pytest.fixture
def serial(cls, X):
    return GridSearchCV(small(cls), GRID, cv=3).fit(X)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_in_parallel_is_like_a_serial_one(cls, X, serial, backend):
    with joblib.parallel_backend(backend, n_jobs=2):
        parallel = GridSearchCV(small(cls), GRID, cv=3, n_jobs=2).fit(X)
    scores = serial.cv_results_["mean_test_score"]
    assert len(set(scores)) == len(scores)
    assert_array_equal(parallel.cv_results_["mean_test_score"], scores)
    assert_same_machine(parallel.best_estimator_, serial.best_estimator_)


def test_grid_search_picks_the_likelier_model(cls, X, serial):
    best = serial.best_estimator_
    params = best.get_params()
    assert all(params[name] == serial.best_params_[name] for name in GRID)
    assert_same_machine(best, clone(best).fit(X))
    assert serial.score(X) == best.score(X)
    assert serial.best_score_ == max(serial.cv_results_["mean_test_score"])


def test_halving_search_over_epochs(cls, X):
    search = HalvingGridSearchCV(
        small(cls),
        {"alpha": [0.0, 0.5, 0.8]},
        resource="max_iter",
        min_resources=1,
        max_resources=4,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(X)
    assert list(search.cv_results_["n_resources"]) == [1, 1, 1, 2, 2]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.n_iter_ == 2


def test_randomized_search(cls, X):
    search = RandomizedSearchCV(
        small(cls), GRID, n_iter=3, cv=2, random_state=0, error_score="raise"
    ).fit(X)
    assert len(search.cv_results_["params"]) == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_search_over_fields_of_value_objects(cls, X):
    """As a search does it: clones whose parameters are set, scored on held-out rows."""
    estimator = small(cls, max_iter=10)
    before = joblib.hash(estimator.get_params())
    grid = {
        "likelihood__n_importance_samples": [0, 5],
        "pretraining__max_iter": [1, 6],
    }
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X)
    assert joblib.hash(estimator.get_params()) == before
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 4
    for params, score in zip(search.cv_results_["params"], scores, strict=True):
        likelihood = clone(estimator.likelihood).set_params(
            n_importance_samples=params["likelihood__n_importance_samples"]
        )
        pretraining = Pretraining("grow", max_iter=params["pretraining__max_iter"])
        alone = clone(estimator).set_params(
            likelihood=likelihood, pretraining=pretraining
        )
        assert score == np.mean(cross_val_score(alone, X, cv=2))
    best = search.best_estimator_
    assert best.pretraining.max_iter == search.best_params_["pretraining__max_iter"]


def test_search_over_fields_of_nothing_says_what_to_pass(cls, X):
    grid = {"likelihood__n_importance_samples": [0, 5]}
    search = GridSearchCV(cls(max_iter=1), grid, cv=2, error_score="raise")
    advice = r"likelihood=skdbm\.Likelihood\(n_importance_samples=0\)"
    with pytest.raises(ValueError, match=advice):
        search.fit(X)


def test_search_over_value_objects(cls, X):
    grid = {"pretraining": ["greedy", Pretraining("grow", max_iter=2), None]}
    estimator = small(cls, max_iter=10, likelihood=Likelihood())
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 3


class Sizes:
    """Draw the sizes of one to three layers, each no larger than the one below."""

    def rvs(self, random_state):
        n_layers = random_state.randint(1, 4)
        return tuple(sorted(random_state.randint(2, 9, n_layers).tolist())[::-1])


def test_randomized_search_over_the_sizes_of_every_layer(cls, X):
    search = RandomizedSearchCV(
        small(cls),
        {"hidden_layer_sizes": Sizes()},
        n_iter=6,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(X)
    tried = [params["hidden_layer_sizes"] for params in search.cv_results_["params"]]
    assert {len(sizes) for sizes in tried} == {1, 2, 3}
    assert len(set(search.cv_results_["mean_test_score"])) == len(set(tried))
    best = search.best_estimator_.machine_.layer_sizes
    assert best == (X.shape[1], *search.best_params_["hidden_layer_sizes"])


def test_cross_val_score(cls, X):
    scores = cross_val_score(small(cls), X, cv=2)
    folds = [X[:32], X[32:]]
    expected = [
        small(cls).fit(train).score(held_out)
        for held_out, train in zip(folds, reversed(folds), strict=True)
    ]
    assert_array_equal(scores, expected)


def test_search_inside_a_pipeline(X, kinds):
    model = make_pipeline(small(DBMTransformer), LogisticRegression())
    grid = {"dbmtransformer__feature_layers": ["last", "all", 1]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, kinds)
    n_features = [len(coef) for coef in search.best_estimator_[-1].coef_]
    assert n_features[0] == search.best_estimator_[0].transform(X).shape[1]


# Frames


@pytest.mark.parametrize(
    ("library", "Frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
)
@pytest.mark.parametrize("configured", ["locally", "globally"])
def test_set_output(X, library, Frame, configured):
    transformer = small(DBMTransformer).fit(X)
    expected = transformer.transform(X)
    if configured == "locally":
        out = transformer.set_output(transform=library).transform(X)
    else:
        with sklearn.config_context(transform_output=library):
            out = transformer.transform(X)
    assert isinstance(out, Frame)
    assert list(out.columns) == [
        *(f"dbmtransformer_h1_{unit}" for unit in range(6)),
        *(f"dbmtransformer_h2_{unit}" for unit in range(4)),
    ]
    assert_array_equal(out.to_numpy(), expected)


@pytest.mark.parametrize(
    "frame_of", [pd.DataFrame, lambda X, columns: pl.DataFrame(X, schema=columns)]
)
def test_column_names_are_checked(cls, X, frame_of):
    estimator = small(cls).fit(frame_of(X, columns=COLUMNS))
    assert list(estimator.feature_names_in_) == COLUMNS
    assert_same_machine(estimator, small(cls).fit(X))
    assert np.isfinite(estimator.score(frame_of(X, columns=COLUMNS)))
    reordered = frame_of(X, columns=COLUMNS[::-1])
    for call in (estimator.score, estimator.partial_fit):
        with pytest.raises(ValueError, match="feature names should match"):
            call(reordered)
    with pytest.warns(UserWarning, match="valid feature names"):
        estimator.score(X)


def test_names_asked_for_must_be_those_of_fit(X):
    transformer = small(DBMTransformer).fit(pd.DataFrame(X, columns=COLUMNS))
    assert len(transformer.get_feature_names_out(COLUMNS)) == 10
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        transformer.get_feature_names_out(COLUMNS[::-1])


def test_frozen_estimator(X):
    transformer = small(DBMTransformer).fit(X)
    frozen = FrozenEstimator(transformer)
    digest = joblib.hash(vars(transformer))
    assert clone(frozen) is frozen
    model = make_pipeline(frozen, MinMaxScaler()).fit(1 - X)
    assert model[0].estimator is transformer
    assert joblib.hash(vars(transformer)) == digest
    assert_array_equal(frozen.transform(X), transformer.transform(X))


# Callbacks


class Recorder:
    """Note what a fit tells its callbacks; ask it to stop after some epochs."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events, self.ended, self.fitted = [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append("begin")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.events.append("end")
        self.ended.append(context)
        self.fitted.append(fitted_estimator)
        names = [ended.task_name for ended in self.ended]
        return names.count("training") == self.stop_after


@pytest.mark.parametrize(
    ("pretraining", "n_epochs"), [("grow", 6), ("greedy", 9), (None, 3)]
)
def test_callback_sees_one_leaf_task_an_epoch(cls, X, pretraining, n_epochs):
    recorder = Recorder()
    estimator = small(cls, pretraining=pretraining).set_callbacks(recorder).fit(X)
    assert recorder.events == [
        "setup",
        "begin",
        *["begin", "end"] * n_epochs,
        "end",
        "teardown",
    ]
    *epochs, root = recorder.ended
    assert root.parent is None
    assert root.max_subtasks == n_epochs
    assert all(epoch.parent is root for epoch in epochs)
    assert [epoch.max_subtasks for epoch in epochs] == [0] * n_epochs
    assert [epoch.task_id for epoch in epochs] == list(range(n_epochs))
    names = [epoch.task_name for epoch in epochs]
    assert names[-3:] == ["training"] * 3
    assert all("pretraining" in name for name in names[:-3])
    assert_same_machine(estimator, small(cls, pretraining=pretraining).fit(X))


def test_callback_stops_training(cls, X):
    recorder = Recorder(stop_after=2)
    estimator = small(cls, max_iter=20).set_callbacks(recorder).fit(X)
    assert estimator.n_iter_ == 2
    assert np.isfinite(estimator.score(X))
    assert recorder.events[-1] == "teardown"


def test_callback_gets_a_working_estimator(cls, X):
    recorder = Recorder()
    estimator = small(cls, pretraining=None).set_callbacks(recorder).fit(X)
    *epochs, last = recorder.fitted
    assert [fitted.n_iter_ for fitted in epochs] == [1, 2, 3]
    for fitted in (*epochs, last):
        check_is_fitted(fitted)
        for result in results_of(fitted, X):
            assert np.isfinite(result).all()
    scores = [fitted.score(X) for fitted in recorder.fitted]
    assert scores[-1] == scores[-2] == estimator.score(X)
    assert len(set(scores)) == 3


def test_callback_of_a_refit_gets_the_new_model(cls, X):
    recorder = Recorder()
    estimator = small(cls, pretraining=None, learning_rate_init=0.2).fit(X)
    estimator.set_callbacks(recorder).fit(X[:9])
    for fitted in recorder.fitted:
        fresh = cls.from_machine(fitted.machine_)
        # Draws of an estimate have the seed of the fit; the bound has none.
        bounds = [m.score_samples(X, n_importance_samples=0) for m in (fitted, fresh)]
        assert_allclose(*bounds)


def test_callbacks_follow_a_fit_that_begins_again(cls, X, monkeypatch):
    monkeypatch.setattr(Probabilities, "learning_rate", lambda *arguments: 50.0)
    recorder = Recorder()
    estimator = small(cls, learning_rate_init="auto", pretraining=None, max_iter=50)
    estimator.set_callbacks(ProgressBar(), recorder)
    with pytest.warns(ConvergenceWarning, match="begins again"):
        estimator.fit(X)
    assert recorder.events[-1] == "teardown"
    assert len(recorder.fitted) >= estimator.n_iter_ == 50


def test_callbacks_are_torn_down_after_an_error(cls, X):
    recorder = Recorder()
    estimator = small(cls, learning_rate_init=50.0, max_iter=50)
    with pytest.raises(FloatingPointError, match="diverged"):
        estimator.set_callbacks(recorder).fit(X)
    assert recorder.events[-1] == "teardown"
    assert estimator.set_params(learning_rate_init=0.01).fit(X) is estimator


def test_callbacks_leave_nothing_behind(cls, X):
    plain = small(cls).fit(X)
    watched = small(cls).set_callbacks(Recorder()).fit(X)
    assert vars(watched).keys() - vars(plain).keys() == {"_skl_callbacks"}


def test_progress_bar(cls, X, capsys):
    estimator = small(cls).set_callbacks(ProgressBar()).fit(X)
    out = capsys.readouterr().out
    assert f"{cls.__name__} - fit" in out
    assert "100%" in out
    assert np.isfinite(estimator.score(X))


def test_progress_bar_of_a_stopped_training_completes(cls, X, capsys):
    small(cls, max_iter=20).set_callbacks(ProgressBar(), Recorder(stop_after=1)).fit(X)
    assert "100%" in capsys.readouterr().out


def test_progress_bar_in_a_pipeline(X, kinds, capsys):
    model = make_pipeline(small(DBMTransformer), LogisticRegression())
    model.set_callbacks(ProgressBar()).fit(X, kinds)
    out = capsys.readouterr().out
    assert "Pipeline - fit" in out
    assert "DBMTransformer - fit" in out


def test_progress_bar_in_a_search(cls, X, capsys):
    search = GridSearchCV(
        small(cls), {"alpha": [0.0, 0.5]}, cv=2, n_jobs=1, error_score="raise"
    )
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X)
    out = capsys.readouterr().out
    assert "GridSearchCV - fit" in out
    assert f"{cls.__name__} - fit" in out


def score_of(estimator, X, y):
    return estimator.score(X)


def test_scoring_monitor(cls, X):
    monitor = ScoringMonitor(scoring={"bound": score_of})
    recorder = Recorder()
    estimator = small(cls, pretraining=None).set_callbacks(monitor, recorder)
    estimator.fit(X, np.zeros(len(X)))
    rows = monitor.get_logs().data
    by_task = {row["task_id_path"]: row["bound"] for row in rows}
    tasks = [(0, 0), (0, 1), (0, 2), (0,)]  # three epochs and the whole
    scores = [fitted.score(X) for fitted in recorder.fitted]
    assert by_task == dict(zip(tasks, scores, strict=True))


def test_scoring_monitor_without_targets(cls, X):
    monitor = ScoringMonitor(scoring={"bound": score_of})
    estimator = small(cls).set_callbacks(monitor).fit(X)
    assert_same_machine(estimator, small(cls).fit(X))


# Threads


def test_concurrent_reads(fitted, X):
    chunks = np.array_split(two_kinds(400, seed=1), 8)
    serial = [results_of(fitted, chunk) for chunk in chunks]
    before = joblib.hash(vars(fitted))
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda chunk: results_of(fitted, chunk), chunks))
    for one, other in zip(serial, parallel, strict=True):
        for a, b in zip(one, other, strict=True):
            assert_array_equal(a, b)
    assert joblib.hash(vars(fitted)) == before


def blas_threads():
    libraries = threadpool_info()
    return {lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"}


AT_THE_START = blas_threads()


class Gate(Recorder):
    """Hold a fit at its first epoch until it may go on."""

    def __init__(self):
        super().__init__()
        self.reached, self.opened = Event(), Event()

    def on_fit_task_begin(self, estimator, context):
        if context.parent is not None and not self.reached.is_set():
            self.blas_threads = blas_threads()
            self.reached.set()
            assert self.opened.wait(20)


def test_concurrent_fits(cls, X):
    seeds = range(6)
    expected = [small(cls, random_state=seed).fit(X) for seed in seeds]
    together = Barrier(len(seeds))

    def fit(seed):
        together.wait(20)
        return small(cls, random_state=seed).fit(X)

    with ThreadPoolExecutor(len(seeds)) as pool:
        fits = list(pool.map(fit, seeds))
        assert blas_threads() == AT_THE_START
    for one, other in zip(fits, expected, strict=True):
        assert_same_machine(one, other)
        assert one.score(X) == other.score(X)


def test_overlapping_fits_restore_the_blas_threads(cls, X):
    first, last = Gate(), Gate()
    with ThreadPoolExecutor(2) as pool:
        started = pool.submit(small(cls).set_callbacks(first).fit, X)
        assert first.reached.wait(20)
        ended_last = pool.submit(small(cls).set_callbacks(last).fit, X)
        assert last.reached.wait(20)
        first.opened.set()
        started.result()
        last.opened.set()
        ended_last.result()
        assert first.blas_threads == last.blas_threads == {1}
        assert blas_threads() == AT_THE_START


def test_every_thread_holds_blas_to_one_thread(cls, X):
    small(cls).fit(X)
    with ThreadPoolExecutor(1) as pool:
        gate = Gate()
        gate.opened.set()
        pool.submit(small(cls).set_callbacks(gate).fit, X).result()
        assert gate.blas_threads == {1}
        assert blas_threads() == AT_THE_START


def test_limits_of_others_still_work_after_a_fit(cls, X):
    small(cls).fit(X)

    def limited():
        with threadpool_limits(1, user_api="blas"):
            return blas_threads()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(limited).result() == {1}


def test_blas_threads_are_restored_after_an_error(cls, X):
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(FloatingPointError, match="diverged"):
            small(cls, learning_rate_init=50.0, max_iter=50).fit(X)
        assert blas_threads() == {2}
