"""Machines that shards train in rounds, on clusters of processes and without."""

import importlib
import itertools
import os
import pickle
import signal
import sys
import time

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV

import skdbm
from skdbm import (
    DBMSampler,
    DBMTransformer,
    DeepBoltzmannMachine,
    Likelihood,
    Pretraining,
    ops,
)
from skdbm.callback import Checkpoint, TrainingMonitor
from skdbm.evidence import NOTHING
from skdbm.likelihood import exact_log_likelihood
from skdbm.sampling import path
from skdbm.training import mixing, shards, start
from skdbm.training.record import DivergenceError

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

from skdbm.dask import DaskDBMSampler, DaskDBMTransformer  # noqa: E402
from skdbm.dask._run import Parts, planned  # noqa: E402
from skdbm.dask._team import Cluster, alone  # noqa: E402

from ._estimators import two_kinds  # noqa: E402
from .test_documentation import ROOT  # noqa: E402

SETTINGS = {"hidden_layer_sizes": (4, 3), "max_iter": 4, "random_state": 0}
SETTINGS |= {"n_chains": 20, "batch_size": 10, "n_jobs": 1}


def arrays(estimator):
    """All parameters of a trained machine."""
    return [*estimator.machine_.weights, *estimator.machine_.biases]


def same(one, other):
    """Whether two estimators have the same machine, bit for bit."""
    pairs = zip(arrays(one), arrays(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def without_seconds(history):
    return {key: repr(values) for key, values in history.items() if key != "seconds"}


class Once:
    """A callback that calls a function after an epoch, once."""

    def __init__(self, function, epoch):
        self.function, self.epoch, self.n_called = function, epoch, 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_id == self.epoch and not self.n_called:
            self.n_called += 1
            return self.function()
        return None


@pytest.fixture(scope="module")
def client():
    """A cluster in this process."""
    with Client(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as client:
        yield client


@pytest.fixture(scope="module")
def processes():
    """A cluster of processes, of which there is one until a test asks for more."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


def scaled(cluster, n_workers):
    """A client of the cluster, which has so many workers by then."""
    client, deadline = Client(cluster), time.monotonic() + 60
    cluster.scale(n_workers)
    while len(client.nthreads()) != n_workers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return client


# Rounds, without a cluster


def begun(parts, estimator):
    """Runs of shards before the first round."""
    numbers = estimator._read_training(np.concatenate(parts), reset=True)
    plan, held_out, _ = planned(estimator, numbers, [len(part) for part in parts])
    cases = enumerate(zip(parts, held_out, strict=True))
    return [plan.begin(part, shard, some) for shard, (part, some) in cases]


def rounds(parts, estimator, n_updates):
    """Train by rounds in this process; the runs and the machine."""
    runs, agreement = begun(parts, estimator), None
    while not runs[0].done:
        pairs = [
            shards.train_round(agreement, run, part, n_updates)
            for run, part in zip(runs, parts, strict=True)
        ]
        runs = [run for _, run in pairs]
        assert len({(run.n_done, run.state.n_steps) for run in runs}) == 1  # in step
        agreement = shards.averaged([proposal for proposal, _ in pairs])
    return runs, shards.joined(runs, agreement).snapshot()


def real(n_rows=60):
    return np.random.default_rng(0).normal(size=(n_rows, 5)).cumsum(axis=1)


def with_gaps():
    X = two_kinds()
    X[::7, 2] = np.nan
    return X


KINDS = {
    "bernoulli": (two_kinds, {}),
    "one layer": (two_kinds, {"hidden_layer_sizes": 5}),
    "greedy": (two_kinds, {"pretraining": "greedy"}),
    "no penalty learned": (two_kinds, {"alpha": 0.1}),
    "missing": (with_gaps, {"allow_missing": True}),
    "gaussian": (real, {"visible": "gaussian"}),
    "counts": (lambda: two_kinds().round(), {"visible": "counts"}),
    "slow chains": (two_kinds, {"max_iter": 8}),
}


@pytest.mark.parametrize("n_updates", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_one_shard_is_a_training_without_shards(kind, n_updates, monkeypatch):
    rows, params = KINDS[kind]
    X, params = rows(), SETTINGS | params
    if kind == "slow chains":  # all chains are, by this measure, and get weights
        monkeypatch.setattr(mixing, "SLOW", -1.0)
    _, machine = rounds([X], DBMTransformer(**params), n_updates)
    local = DBMTransformer(**params).fit(X)
    for a, b in zip([*machine.weights, *machine.biases], arrays(local), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        machine.encoding.learned, local.machine_.encoding.learned
    )


def test_rounds_change_nothing_that_they_get():
    parts = [two_kinds()[:40], two_kinds()[40:]]
    runs = begun(parts, DBMTransformer(**SETTINGS))
    agreement, run = shards.train_round(None, runs[0], parts[0], 100)
    assert run.epoch is None  # a clock would run on
    before = pickle.dumps((agreement, run))
    results = [
        shards.train_round(agreement, run, parts[0], 2),
        shards.train_round(*pickle.loads(before), parts[0], 2),
    ]
    assert pickle.dumps((agreement, run)) == before
    for one, other in zip(*(result[0].arrays for result in results), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(*(r[1].state.chains for r in results), strict=True):
        np.testing.assert_array_equal(one, other)
    assert results[0][1].source.X is None


def test_a_round_of_one_update_follows_the_mean_gradient():
    parts = [two_kinds()[:20], two_kinds()[20:]]
    runs = begun(parts, DBMTransformer(**SETTINGS))
    rate, start = runs[0].learning_rate, runs[0].state.machine
    proposals = [
        shards.train_round(None, run, part, 1)[0]
        for run, part in zip(runs, parts, strict=True)
    ]
    after = shards.averaged(proposals).arrays
    n = len(start.weights) + len(start.biases)
    pairs = list(zip(proposals, parts, strict=True))
    gradients = [
        sum(len(part) / 64 * p.arrays[n + i] for p, part in pairs) for i in range(n)
    ]
    for old, new, gradient in zip(
        [*start.weights, *start.biases], after, gradients, strict=False
    ):
        # The velocity of the first update is its gradient.
        np.testing.assert_allclose(new, old + rate * gradient, atol=1e-6)
        assert not np.array_equal(new, old)


@pytest.mark.parametrize("n_updates", [1, 10])
def test_shards_count_by_their_rows(n_updates):
    # Nine tenths of the rows are of one kind, and those of one shard. Were shards to
    # count alike, half of what the machine draws would be: this is the gap.
    kinds = np.array([[1.0, 1, 0, 0], [0.0, 0, 1, 1]])
    parts = [np.repeat(kinds[:1], 180, axis=0), np.repeat(kinds[1:], 20, axis=0)]
    estimator = DBMTransformer(
        **SETTINGS | {"hidden_layer_sizes": 3, "max_iter": 25, "batch_size": 20}
    )
    _, machine = rounds(parts, estimator, n_updates)
    states = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    shares = np.exp(exact_log_likelihood(machine, states))
    assert abs(shares @ states[:, 0] - 0.9) < 0.2


@pytest.mark.parametrize("slow", [False, True])
def test_slow_chains_slow_all_shards_down_alike(monkeypatch, slow):
    monkeypatch.setattr(mixing, "SLOW", -1.0 if slow else 1.0)
    parts = [two_kinds()[:40], two_kinds()[40:]]
    estimator = DBMTransformer(**SETTINGS | {"max_iter": None})
    monkeypatch.setattr(start, "n_epochs", lambda *_: 10)
    monkeypatch.setattr(start, "n_slow_epochs", lambda *_: 16)
    runs = begun(parts, estimator)
    assert runs[0].n_joint_epochs == 10
    runs, _ = rounds(parts, estimator, 3)  # which checks that they are in step
    assert {run.n_joint_epochs for run in runs} == {16 if slow else 10}
    assert {run.n_done for run in runs} == {16 + 6 if slow else 10 + 4}


def test_shards_have_streams_of_their_own():
    part = two_kinds()[:32]
    one, other = begun([part, part], DBMTransformer(**SETTINGS))
    assert not np.array_equal(one.state.chains[0], other.state.chains[0])
    orders = one._order().take(32), other._order().take(32)
    assert not np.array_equal(*orders)
    assert [run.state.penalty.n_rows for run in (one, other)] == [64, 64]


def test_smaller_shards_present_their_rows_more_often():
    small, large = begun([two_kinds()[:7], two_kinds()[7:]], DBMTransformer(**SETTINGS))
    order, size = small._order(), small.options.batch_size
    assert len(order) == large.n_batches * size > 7
    batches = [order.take(size).tolist() for _ in range(large.n_batches)]
    assert all(len(set(batch)) == size for batch in batches)
    assert set().union(*batches) == set(range(7))
    n_rows = len(large._order())
    assert len(np.unique(large._order().take(n_rows))) == n_rows


def test_all_shards_see_the_same_chains_slow():
    parts = [two_kinds()[:40], two_kinds()[40:]]
    [run, _] = begun(parts, DBMTransformer(**SETTINGS))
    agreement, run = shards.train_round(None, run, parts[0], 1)
    for correlation in (0.0, 1.0):
        agreement.numbers[-1] = correlation
        shards.adopt(run, agreement)
        assert run.slow == bool(correlation)


def test_weights_of_chains_hear_of_an_average(monkeypatch):
    monkeypatch.setattr(mixing, "SLOW", -1.0)
    parts = [two_kinds()[:40], two_kinds()[40:]]
    runs = begun(parts, DBMTransformer(**SETTINGS))
    _, run = shards.train_round(None, runs[0], parts[0], 2)
    agreed, _ = shards.train_round(None, runs[1], parts[1], 2)
    state = run.state
    own, shares = state.machine.map(np.copy), state.mixing.shares
    shards.adopt(run, agreed)
    ratios = state.mixing.shares / shares
    expected = np.exp(own.energy(state.chains) - state.machine.energy(state.chains))
    np.testing.assert_allclose(ratios / ratios.sum(), expected / expected.sum(), 1e-4)
    assert np.ptp(ratios) > 1e-3


def test_the_reference_lists_the_estimators():
    text = (ROOT / "doc/api.rst").read_text(encoding="utf-8")
    assert all(f"~skdbm.dask.{name}\n" in text for name in skdbm.dask.__all__)


def test_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("skdbm.dask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install \"skdbm\[dask\]\""):
        importlib.import_module("skdbm.dask")


def test_averages_are_by_rows_and_in_order():
    def part(n_rows, value):
        array = np.full(3, value, np.float32)
        return shards.Agreement(n_rows, [array], np.array([value]))

    result = shards.averaged([part(1, 4.0), part(3, 8.0)])
    assert result.n_rows == 4
    np.testing.assert_array_equal(result.arrays[0], np.full(3, 7.0, np.float32))
    assert result.numbers == 7.0
    for n in range(1, 40):
        places = [i for group in shards.groups(n) for i in range(n)[group]]
        assert places == list(range(n))
        assert all(g.stop - g.start <= shards.FAN_IN for g in shards.groups(n))


# On a cluster in this process


def collection(X, *lengths):
    """A dask array with blocks of so many rows."""
    return da.from_array(X, chunks=(lengths or -1, -1))


@pytest.mark.cluster
@pytest.mark.parametrize("cls", [DaskDBMTransformer, DaskDBMSampler])
def test_one_partition_gives_the_local_estimator(client, cls):
    X, local = two_kinds(), cls._local_class(**SETTINGS)
    local.fit(X)
    distributed = cls(**SETTINGS, client=client, updates_per_round=3)
    distributed.fit(collection(X))
    assert same(distributed, local)
    assert without_seconds(distributed.history_) == without_seconds(local.history_)
    assert distributed.n_iter_ == local.n_iter_
    assert distributed.score(X) == local.score(X)
    if cls is DaskDBMSampler:
        assert distributed.log_partition_ == local.log_partition_
        np.testing.assert_array_equal(
            distributed.sample(5, random_state=1), local.sample(5, random_state=1)
        )


@pytest.mark.cluster
def test_partitions_without_rows_do_not_count(client):
    X = two_kinds()
    one = DaskDBMTransformer(**SETTINGS).fit(collection(X, 0, 40, 0, 0, 24, 0))
    other = DaskDBMTransformer(**SETTINGS).fit(collection(X, 40, 24))
    assert same(one, other)
    lazy = collection(X, 0, 40, 0, 24)
    features = one.transform(lazy)
    assert features.shape == (64, 7)
    assert features.chunks[0] == (40, 24)
    np.testing.assert_array_equal(features.compute(), one.transform(X))
    scores = one.score_samples(lazy, n_importance_samples=3).compute()
    expected = one.score_samples(X, n_importance_samples=3)
    np.testing.assert_array_equal(scores, expected)
    assert one.score(lazy) == pytest.approx(one.score(X))


@pytest.mark.cluster
def test_partitions_of_very_unequal_length(client):
    X = two_kinds(200)
    fitted = DaskDBMTransformer(**SETTINGS).fit(collection(X, 1, 180, 3, 16))
    again = DaskDBMTransformer(**SETTINGS).fit(collection(X, 1, 180, 3, 16))
    assert same(fitted, again)
    assert all(np.isfinite(array).all() for array in arrays(fitted))


@pytest.mark.cluster
def test_frames(client):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "colour": pd.Categorical(rng.choice(["red", "blue"], 40)),
            "width": rng.normal(size=40),
        }
    )
    visible = [("categorical", ["colour"]), ("gaussian", ["width"])]
    params = SETTINGS | {"visible": visible}
    local = DBMSampler(**params).fit(table)
    frame = dd.from_pandas(table, npartitions=1)
    distributed = DaskDBMSampler(**params).fit(frame)
    assert same(distributed, local)
    assert distributed.feature_names_in_.tolist() == ["colour", "width"]
    frame = dd.from_pandas(table, npartitions=3)
    scores = distributed.score_samples(frame)
    np.testing.assert_array_equal(scores.compute(), local.score_samples(table))
    transformer = DaskDBMTransformer(**params).fit(frame)
    features = transformer.transform(frame)
    np.testing.assert_array_equal(features.compute(), transformer.transform(table))
    assert set(transformer.to_local().inverse_transform(features.compute())[:, 0]) <= {
        "red",
        "blue",
    }


@pytest.mark.cluster
def test_what_is_brought_here_is_evenly_spread(client, monkeypatch):
    monkeypatch.setattr("skdbm.dask._run.SAMPLE_ROWS", 10)
    X = np.arange(64.0)[:, None]
    sample = Parts(client, collection(X, 5, 0, 1, 30, 28)).sample()
    assert len(np.unique(sample)) == 10
    assert np.all(np.diff(sample[:, 0]) > 0)
    assert len(set((sample % 7).ravel())) > 3  # rows may come in turns
    many = Parts(client, collection(np.arange(40.0)[:, None], 33, 7))
    monkeypatch.setattr("skdbm.dask._run.SAMPLE_ROWS", 40)
    np.testing.assert_array_equal(many.sample().ravel(), np.arange(40))
    fitted = DaskDBMTransformer(**SETTINGS).fit(collection(two_kinds(), 20, 44))
    assert fitted.n_iter_ == SETTINGS["max_iter"]


@pytest.mark.cluster
def test_categories_are_known_if_declared(client, monkeypatch):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    monkeypatch.setattr("skdbm.dask._run.SAMPLE_ROWS", 4)
    values = ["red", "blue"] * 20 + ["green"]  # the last is none of the sample
    table = pd.DataFrame({"colour": pd.Categorical(values)})
    dbm = DaskDBMSampler(**SETTINGS | {"visible": "categorical"})
    fitted = dbm.fit(dd.from_pandas(table, npartitions=2))
    assert fitted.machine_.layer_sizes[0] == 3
    plain = dd.from_pandas(table.astype({"colour": object}), npartitions=2)
    with pytest.raises(ValueError, match=r"'colour'.*'green'"):
        clone(dbm).fit(plain)


@pytest.mark.cluster
def test_dtypes_of_features(client):
    X = two_kinds().astype(np.float32)
    fitted = DaskDBMTransformer(**SETTINGS).fit(collection(X, 32, 32))
    assert fitted.transform(collection(X)).dtype == np.float32
    assert fitted.transform(collection(X)).compute().dtype == np.float32
    assert fitted.transform(collection(X.astype(int))).dtype == np.float64


@pytest.mark.cluster
def test_to_local_clone_pickle_and_file(client, tmp_path):
    X = two_kinds()
    sampler = DaskDBMSampler(**SETTINGS, client=client)
    with pytest.raises(NotFittedError):
        sampler.to_local()
    assert clone(sampler).client is client
    assert sampler.client is client
    sampler.fit(collection(X, 32, 32))
    assert sampler.client_ is client
    local = sampler.to_local()
    assert type(local) is DBMSampler
    assert same(local, sampler)
    assert local.score(X) == sampler.score(X)
    pickled = pickle.loads(pickle.dumps(sampler))
    assert pickled.client is None
    assert pickled.score(X) == sampler.score(X)
    sampler.save(tmp_path / "sampler.npz")
    assert DBMSampler.load(tmp_path / "sampler.npz").score(X) == sampler.score(X)
    assert "DaskDBMSampler" in sampler._repr_html_()
    local.partial_fit(X)  # and on with chunks
    assert not hasattr(sampler, "partial_fit")
    with pytest.raises(AttributeError, match="to_local"):
        sampler.partial_fit(X)


@pytest.mark.cluster
def test_callbacks_see_every_epoch_and_end_a_stage(client):
    monitor, end = TrainingMonitor(), Once(lambda: True, 1)
    dbm = DaskDBMTransformer(**SETTINGS | {"pretraining": Pretraining(max_iter=5)})
    dbm.set_callbacks(monitor, end).fit(collection(two_kinds(), 32, 32))
    stages = [row["stage"] for row in monitor.to_dicts()]
    assert stages == ["pretraining layer 1"] * 2 + ["training"] * 4


@pytest.mark.cluster
def test_slow_chains_begin_again_and_so_does_divergence_then(client, monkeypatch):
    X, paces = two_kinds(), []
    advance = shards.ShardRun.advance

    def diverging(run, *args):
        if run.pace not in paces:
            paces.append(run.pace)
        if len(paces) == 2 and run.n_done == 2:
            raise DivergenceError("Training diverged")
        return advance(run, *args)

    monkeypatch.setattr(mixing, "SLOW", -1.0)
    monkeypatch.setattr(start, "n_epochs", lambda *_: 4)
    monkeypatch.setattr(start, "n_slow_epochs", lambda *_: 6)
    monkeypatch.setattr(shards.ShardRun, "advance", diverging)
    given = SETTINGS | {"max_iter": None}
    with pytest.warns(ConvergenceWarning, match="begins again"):
        found = DaskDBMTransformer(**given).fit(collection(X, 40, 24))
    monkeypatch.setattr(shards.ShardRun, "advance", advance)
    quick, slow, slower = paces
    assert (quick.n_epochs, slow.n_epochs, slower.n_epochs) == (4, 6, 6)
    assert slow.learning_rate == quick.learning_rate / 2
    assert slower.learning_rate == pytest.approx(slow.learning_rate / 4, rel=0.05)
    assert found.n_iter_ == len(found.history_["learning_rate"]) == 6
    given |= {"learning_rate_init": slower.learning_rate, "max_iter": 6}
    assert same(found, DaskDBMTransformer(**given).fit(collection(X, 40, 24)))


@pytest.mark.cluster
def test_divergence(client):
    dbm = DaskDBMTransformer(**SETTINGS | {"learning_rate_init": 1e4})
    with pytest.raises(FloatingPointError, match="diverged"):
        dbm.fit(collection(two_kinds(), 32, 32))
    assert not hasattr(dbm, "machine_")


@pytest.mark.cluster
def test_divergence_with_the_automatic_rate_begins_again(client, monkeypatch):
    advance, rates = shards.ShardRun.advance, set()

    def diverging(run, *args):
        rates.add(run.learning_rate)
        if run.learning_rate == max(rates) and run.n_done == 2:
            raise DivergenceError("Training diverged")
        return advance(run, *args)

    X = collection(two_kinds(), 40, 24)
    monkeypatch.setattr(shards.ShardRun, "advance", diverging)
    with pytest.warns(ConvergenceWarning, match="begins again"):
        slower = DaskDBMTransformer(**SETTINGS).fit(X)
    monkeypatch.undo()
    assert len(rates) == 2
    given = SETTINGS | {"learning_rate_init": min(rates)}
    assert same(slower, DaskDBMTransformer(**given).fit(X))


@pytest.mark.cluster
def test_an_interrupt_leaves_what_was_learned(client):
    def interrupt():
        raise KeyboardInterrupt

    dbm = DaskDBMTransformer(**SETTINGS | {"pretraining": None})
    dbm.set_callbacks(Once(interrupt, 1))
    with pytest.raises(KeyboardInterrupt, match="after 2 of 4 epochs"):
        dbm.fit(collection(two_kinds(), 32, 32))
    assert dbm.n_iter_ == 2
    assert dbm.transform(two_kinds()).shape == (64, 7)


@pytest.mark.cluster
def test_bad_input_is_an_error_before_any_work(client, monkeypatch):
    X = two_kinds()
    monkeypatch.setattr(
        "skdbm.dask._run.DaskRun.advance", lambda *_: pytest.fail("there was work")
    )
    good, dbm = collection(X, 40, 24), DaskDBMTransformer(**SETTINGS)
    with pytest.raises(TypeError, match=r"ndarray.*from_array.*DBMTransformer"):
        dbm.fit(X)
    with pytest.raises(ValueError, match="3 dimensions"):
        dbm.fit(da.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="no rows in its 2 partitions"):
        dbm.fit(collection(X[:0], 0, 0))
    late = np.concatenate([X, X])
    late[-1, -1] = -1
    with pytest.raises(ValueError, match="Negative values"):
        dbm.fit(collection(late, 64, 64))
    late[-1, -1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        dbm.fit(collection(late, 64, 64))
    for name in ("early_stopping", "warm_start"):
        with pytest.raises(ValueError, match=f"{name}=True.*DBMTransformer"):
            clone(dbm).set_params(**{name: True}).fit(good)
    with pytest.raises(ValueError, match="updates_per_round"):
        clone(dbm).set_params(updates_per_round=0).fit(good)
    with pytest.raises(ValueError, match="Checkpoint"):
        clone(dbm).set_callbacks(Checkpoint("nowhere.npz")).fit(good)


@pytest.mark.cluster
def test_a_cluster_without_workers_says_so():
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        pytest.raises(RuntimeError, match="no workers"),
    ):
        DaskDBMTransformer(**SETTINGS, client=client).fit(collection(two_kinds()))


def test_without_a_client(monkeypatch):
    def none():
        raise ValueError("No clients found")

    monkeypatch.setattr("skdbm.dask._collections.default_client", none)
    dbm = DaskDBMTransformer(**SETTINGS)
    with pytest.raises(ValueError, match="client="):
        dbm.fit(collection(two_kinds()))
    wrapped = DaskDBMTransformer.from_machine(
        DBMTransformer(**SETTINGS).fit(two_kinds()).machine_
    )
    assert "DaskDBMTransformer" in wrapped._repr_html_()


@pytest.mark.cluster
def test_grid_search_over_workers(client):
    X = two_kinds()
    grid = {"hidden_layer_sizes": [2, (3, 2)]}
    search = GridSearchCV(DBMSampler(**SETTINGS), grid, cv=2)
    expected = clone(search).fit(X).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        search.fit(X)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)


@pytest.mark.usefixtures("narrow_blocks")
@pytest.mark.cluster
def test_chains_for_log_z_are_on_the_workers(client, monkeypatch):
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.2, (24, 22)), rng.normal(0, 0.2, (22, 5))]
    machine = DeepBoltzmannMachine(weights, [np.zeros(n) for n in (24, 22, 5)])
    settings = {"likelihood": Likelihood(n_chains=70), "random_state": 0}
    local = DBMSampler.from_machine(machine, **settings)
    asked, spread = [], Cluster.spread

    def noted(self, function, *pieces):
        asked.append(len(pieces[0]))
        return spread(self, function, *pieces)

    monkeypatch.setattr(Cluster, "spread", noted)
    sampler = DaskDBMSampler.from_machine(machine, **settings, client=client)
    assert sampler.log_partition_ == local.log_partition_
    np.testing.assert_array_equal(sampler.sample(9), local.sample(9))
    assert sum(asked) >= 2 * 8  # populations, besides the pilots


def test_a_task_of_chains_may_be_done_again():
    rng = np.random.default_rng(0)
    machine = DeepBoltzmannMachine([rng.normal(size=(6, 5))], [np.zeros(6), np.ones(5)])
    states = [rng.integers(0, 2, (40, size)) * 1.0 for size in (6, 5)]
    before = [state.copy() for state in states]
    steps, way = path.GivenSteps([0.0, 0.5, 1.0]), path.Path(base_of(machine), machine)
    first, again = (
        alone(path._carry_block, way, steps, 20, states, NOTHING, ops.generator(1))
        for _ in range(2)
    )
    for one, other in zip(before, states, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[2][0], again[2][0])


def base_of(machine):
    return machine.uncoupled([np.zeros_like(bias) for bias in machine.biases])


@pytest.mark.cluster
def test_log_z_of_counts_is_annealed_once(client, monkeypatch):
    X = np.random.default_rng(0).poisson(2.0, (40, 5)) + 1.0
    params = {"visible": "counts", "likelihood": Likelihood(n_chains=2)}
    dbm = DaskDBMTransformer(**SETTINGS | params).fit(collection(X, 20, 20))
    expected = dbm.to_local().score_samples(X)
    module = importlib.import_module("skdbm.likelihood.log_partition")
    calls, anneal = [], module.annealed_with_chains
    monkeypatch.setattr(
        module,
        "annealed_with_chains",
        lambda *args, **more: calls.append(args) or anneal(*args, **more),
    )
    scores = dbm.score_samples(collection(X, 10, 10, 0, 20))
    n_calls = len(calls)
    np.testing.assert_array_equal(scores.compute(), expected)
    assert len(calls) == n_calls


@pytest.mark.cluster
def test_calls_that_are_wrong_are_errors_at_once(client):
    X = two_kinds()
    dbm = DaskDBMSampler(**SETTINGS).fit(collection(X))
    lazy = collection(X[:, 1:], 32, 32)
    with pytest.raises(ValueError, match=r"X has \d features"):
        dbm.score_samples(lazy)
    with pytest.raises(ValueError, match=r"X has \d features"):
        DaskDBMTransformer.from_machine(dbm.machine_).transform(lazy)
    with pytest.raises(ValueError, match="n_importance_samples=-1"):
        dbm.score_samples(collection(X), n_importance_samples=-1)


@pytest.mark.cluster
def test_a_client_that_is_closed():
    client = Client(n_workers=1, processes=False, dashboard_address=":0")
    dbm = DaskDBMSampler(**SETTINGS, client=client).fit(collection(two_kinds()))
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        dbm.fit(collection(two_kinds()))
    assert dbm.set_params(likelihood=Likelihood(n_chains=3)).score(two_kinds()) < 0


@pytest.mark.cluster
def test_dask_ml(client):
    wrappers = pytest.importorskip("dask_ml.wrappers")
    X = two_kinds()
    lazy = collection(X, 40, 24)
    everywhere = wrappers.ParallelPostFit(DBMTransformer(**SETTINGS)).fit(X)
    np.testing.assert_array_equal(
        everywhere.transform(lazy).compute(), everywhere.estimator.transform(X)
    )
    chunked = wrappers.Incremental(DBMTransformer(**SETTINGS), shuffle_blocks=False)
    chunked.fit(lazy)
    local = DBMTransformer(**SETTINGS).partial_fit(X[:40]).partial_fit(X[40:])
    assert same(chunked.estimator_, local)


# On a cluster of processes


@pytest.mark.cluster
def test_the_number_of_workers_does_not_matter(processes):
    X, fitted = grey(), []
    for n_workers in (1, 3):
        with scaled(processes, n_workers) as client:
            dbm = DaskDBMSampler(**SETTINGS, client=client, updates_per_round=2)
            fitted.append(dbm.fit(collection(X, 30, 5, 40, 25)))
    assert same(*fitted)
    assert fitted[0].log_partition_ == fitted[1].log_partition_


@pytest.mark.cluster
def test_a_worker_that_is_killed_changes_nothing(processes, monkeypatch):
    X = collection(grey(), 30, 5, 40, 25)
    # The client has kept something by then, and what follows is computed again.
    monkeypatch.setattr("skdbm.dask._run.KEPT_ROUNDS", 5)
    with scaled(processes, 2) as client:
        dbm = DaskDBMTransformer(**SETTINGS, client=client, updates_per_round=2)
        undisturbed = clone(dbm).fit(X)
        before = set(client.nthreads())
        killer = Once(lambda: kill_one(client), 3)
        disturbed = clone(dbm).set_callbacks(killer).fit(X)
        assert killer.n_called
        assert before - set(client.nthreads())
    assert same(disturbed, undisturbed)
    assert without_seconds(disturbed.history_) == without_seconds(undisturbed.history_)


@pytest.mark.cluster
def test_scattered_rows_that_die_with_their_worker_are_missed(processes):
    with scaled(processes, 2) as client:
        address, _ = client.nthreads()
        parts = client.scatter(
            [two_kinds(40), two_kinds(30, seed=1)], workers=[address], hash=False
        )
        X = da.concatenate(
            [
                da.from_delayed(dask.delayed(part), (n, 8), float)
                for part, n in zip(parts, (40, 30), strict=True)
            ]
        )
        killer = Once(lambda: kill(client, address), 1)
        dbm = DaskDBMTransformer(**SETTINGS, client=client).set_callbacks(killer)
        with pytest.raises(RuntimeError, match=r"Rows were lost.*from_delayed"):
            dbm.fit(X)
        assert killer.n_called
        assert not hasattr(dbm, "machine_")


def grey():
    """Rows of which states are drawn anew: random streams count at every update."""
    return 0.1 + 0.8 * two_kinds(100)


def kill_one(client):
    """Kill the worker that holds most."""
    held = client.has_what()
    kill(client, max(held, key=lambda address: len(held[address])))


def kill(client, address):
    """Kill a worker, and wait until the scheduler has heard of it."""
    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
    while address in client.nthreads():
        time.sleep(0.01)
