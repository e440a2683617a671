"""A fit that was killed goes on from its checkpoint, to the same bits."""

import errno
import json
import multiprocessing
import os
import pickle
import signal
import warnings
from contextlib import suppress
from itertools import count
from unittest.mock import Mock

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdbm import (
    DBMSampler,
    DBMTransformer,
    Pretraining,
    _checkpoint,
    _files,
)
from skdbm._checkpoint import CLASSES, FORMAT, FORMAT_VERSION, Lock
from skdbm._trees import Reader, Writer
from skdbm.callback import Checkpoint, TrainingMonitor
from skdbm.encodings import Probabilities
from skdbm.likelihood import annealing
from skdbm.pieces import Pieces
from skdbm.training import epoch as epochs
from skdbm.training import mixing
from skdbm.training.record import DivergenceError
from skdbm.training.run import Run
from skdbm.training.stopping import HeldOut

#: Small, but with all that a training may have: stages, chains that exchange states and
#: are annealed, row chains, a learned penalty, held-out rows whose log Z is annealed.
SMALL = {
    "hidden_layer_sizes": (30, 25),
    "max_iter": 4,
    "batch_size": 20,
    "n_chains": 30,
    "random_state": 0,
}
STOPPING = {"early_stopping": True, "evaluate_every": 2}


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def kill(monkeypatch):
    """Make training end without a warning after so many more updates."""
    original = epochs.update

    def after(n_updates):
        done = count()

        def killed(*args):
            if next(done) >= n_updates:
                raise Killed
            return original(*args)

        monkeypatch.setattr(epochs, "update", killed)

    return after


def fit_in_pieces(make, X, path, kill, n_updates):
    """Fit, killed every so many updates, by a new estimator each time; kills."""
    n_kills = 0
    while True:
        kill(n_updates)
        estimator = make(checkpoint=Checkpoint(path, seconds=0))
        with suppress(Killed):
            return fitted(estimator, X), n_kills
        n_kills += 1
        assert path.exists()


def fitted(estimator, X):
    """Fit, whatever the warnings of so short a training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X)


def assert_same_fit(one, other):
    """Compare all that a fit leaves, but for seconds."""
    for name in ("weights", "biases", "means", "centres"):
        pairs = [getattr(e.machine_, name) or () for e in (one, other)]
        for a, b in zip(*pairs, strict=True):
            assert_array_equal(a, b)
    assert one.machine_.encoding == other.machine_.encoding
    assert list(one.history_) == list(other.history_)
    for key in set(one.history_) - {"seconds"}:
        assert_array_equal(one.history_[key], other.history_[key], key)
    if isinstance(one, DBMSampler) and one.visible != "counts":
        assert one.log_partition_ == other.log_partition_
        assert_array_equal(one.sample(20), other.sample(20))
    # What a continued training needs is the same, too.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for estimator in (one, other):
            estimator.set_callbacks().set_params(warm_start=True, max_iter=1)
            estimator.fit(TABLES[estimator._table]())
    for a, b in zip(one.machine_.weights, other.machine_.weights, strict=True):
        assert_array_equal(a, b)


def binary():
    return (np.random.default_rng(0).random((90, 12)) < 0.4).astype(float)


def greys():
    return np.random.default_rng(0).random((90, 12))


def with_gaps():
    X = np.random.default_rng(0).normal(size=(90, 12))
    X[np.random.default_rng(1).random(X.shape) < 0.2] = np.nan
    return X


def words():
    return sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (90, 12)))


def mixed():
    rng = np.random.default_rng(0)
    return np.column_stack([rng.normal(size=(90, 4)), rng.integers(3, size=(90, 5))])


def in_pieces():
    return Pieces(binary(), block_rows=3)


def gaps_in_pieces():
    return Pieces(with_gaps(), block_rows=4)


TABLES = {
    function.__name__: function
    for function in (binary, greys, with_gaps, words, mixed, in_pieces, gaps_in_pieces)
}
KINDS = [("gaussian", slice(0, 4)), ("categorical", slice(4, 9))]
CASES = {
    "grow": ("greys", DBMSampler, STOPPING),
    "learned penalty": ("binary", DBMSampler, {}),
    "three layers": ("binary", DBMTransformer, {"hidden_layer_sizes": (6, 5, 4)}),
    "greedy": ("greys", DBMTransformer, {"pretraining": Pretraining("greedy")}),
    "greedy with gaps": (
        "with_gaps",
        DBMTransformer,
        {"pretraining": "greedy", "visible": "gaussian", "allow_missing": True},
    ),
    "one layer": ("binary", DBMSampler, {"hidden_layer_sizes": 25} | STOPPING),
    "gaps": ("with_gaps", DBMSampler, {"visible": "gaussian", "allow_missing": True}),
    "counts": ("words", DBMSampler, {"visible": "counts"}),
    "mixed": ("mixed", DBMSampler, {"visible": KINDS}),
    "in pieces": ("in_pieces", DBMSampler, STOPPING),
    "gaps in pieces": (
        "gaps_in_pieces",
        DBMTransformer,
        {"pretraining": "greedy", "visible": "gaussian", "allow_missing": True},
    ),
}


def with_checkpoint(estimator, table, checkpoint):
    """Set the path of a checkpoint, or one, if there is to be any."""
    estimator._table = table
    if checkpoint is None:
        return estimator
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    return estimator.set_callbacks(checkpoint)


def of_case(name):
    """How to make the estimator of a case, and its rows."""
    table, cls, params = CASES[name]

    def make(checkpoint=None, **more):
        return with_checkpoint(cls(**(SMALL | params | more)), table, checkpoint)

    return make, TABLES[table]()


@pytest.mark.parametrize("name", CASES)
def test_a_killed_fit_goes_on_to_the_same_bits(name, tmp_path, kill):
    make, X = of_case(name)
    kill(10**9)
    whole = fitted(make(), X)
    pieces, n_kills = fit_in_pieces(make, X, tmp_path / "fit.npz", kill, 7)
    assert n_kills > 1
    assert not os.listdir(tmp_path)
    kill(10**9)
    assert_same_fit(whole, pieces)


def test_a_fit_that_goes_on_from_another_one_does_so_after_a_kill(tmp_path, kill):
    make, X = of_case("learned penalty")
    path = tmp_path / "fit.npz"
    kill(10**9)
    whole, pieces = (fitted(make(warm_start=True), X) for _ in range(2))
    whole.fit(X)
    pieces.set_callbacks(Checkpoint(path, seconds=0))
    kill(7)
    with pytest.raises(Killed):
        pieces.fit(X)
    assert pieces.n_iter_ == 4
    kill(10**9)
    assert pieces.fit(X).n_iter_ == 8
    assert_same_fit(whole, pieces)


@pytest.mark.parametrize("seed", [None, np.random.RandomState])
def test_seeds_that_are_drawn_stay_those_of_the_fit(seed, tmp_path, kill):
    make, X = of_case("learned penalty")
    rngs = [seed(3) if seed else None for _ in range(2)]
    first, second = (
        make(random_state=rng, checkpoint=Checkpoint(tmp_path / "fit.npz", seconds=0))
        for rng in rngs
    )
    kill(10**9)
    whole = fitted(make(random_state=seed(3) if seed else 0), X)
    kill(7)
    with pytest.raises(Killed):
        first.fit(X)
    kill(10**9)
    fitted(second, X)
    if seed:
        first_rng, second_rng = rngs
        assert first_rng.random_sample() == second_rng.random_sample()
        assert_same_fit(*(e.set_params(random_state=0) for e in (second, whole)))
    else:  # the weights of the first attempt have gone on
        assert second.n_iter_ == 4


def test_a_slower_attempt_goes_on_as_such(tmp_path, kill, monkeypatch):
    make, X = of_case("learned penalty")
    rate = make().fit(X).history_["learning_rate"][0]

    def diverge_in_the_second_epoch():
        effects = [None, DivergenceError("for the test"), *[None] * 9]
        monkeypatch.setattr(epochs, "check", Mock(side_effect=effects))

    diverge_in_the_second_epoch()
    with pytest.warns(ConvergenceWarning, match="begins again"):
        whole = make().fit(X)
    assert whole.history_["learning_rate"][0] < rate / 2
    diverge_in_the_second_epoch()
    pieces, n_kills = fit_in_pieces(make, X, tmp_path / "fit.npz", kill, 14)
    assert n_kills > 1
    kill(10**9)
    assert_array_equal(whole.machine_.weights[0], pieces.machine_.weights[0])


def test_a_training_that_slows_down_goes_on_as_such(tmp_path, kill, monkeypatch):
    make, X = of_case("learned penalty")
    monkeypatch.setattr(mixing, "SLOW", -1.0)  # all chains are
    begun = []
    begin = Run._begin
    monkeypatch.setattr(Run, "_begin", lambda *args: begun.append(begin(*args)))
    kill(10**9)
    whole = fitted(make(), X)
    assert len(begun) == 2
    pieces, n_kills = fit_in_pieces(make, X, tmp_path / "fit.npz", kill, 11)
    assert n_kills > 2
    kill(10**9)
    assert_same_fit(whole, pieces)


# Errors


@pytest.fixture
def half_done(tmp_path, kill):
    """An estimator whose fit was killed, its rows, and its checkpoint."""
    make, X = of_case("learned penalty")
    path = tmp_path / "fit.npz"
    kill(7)
    with pytest.raises(Killed):
        make(checkpoint=Checkpoint(path, seconds=0)).fit(X)
    kill(10**9)
    return make, X, path


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_iter": 5}, "max_iter was 4, is 5"),
        ({"hidden_layer_sizes": 7}, r"hidden_layer_sizes was \(30, 25\), is 7"),
        ({"visible": "gaussian"}, "visible was .*Probabilities.*, is .*Real"),
        ({"random_state": 1, "alpha": 0.1}, "alpha was 'auto', is 0.1; random_state"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_an_error(half_done, params, message):
    make, X, path = half_done
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"of another training: {message}"):
        make(checkpoint=path, **params).fit(X)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["fit.npz"]


def test_a_checkpoint_of_other_data_or_another_class_is_an_error(half_done):
    make, X, path = half_done
    other = X.copy()
    other[-1, -1] = 1 - other[-1, -1]
    for rows in (other, X[:-1], X.astype(np.float32)):
        with pytest.raises(ValueError, match=r"another training: the data differs\."):
            make(checkpoint=path).fit(rows)
    with pytest.raises(ValueError, match="estimator was DBMSampler, is DBMTransformer"):
        DBMTransformer(**SMALL).set_callbacks(Checkpoint(path)).fit(X)


def test_what_changes_no_result_may_be_another(half_done):
    make, X, path = half_done
    estimator = make(n_jobs=2, verbose=0, checkpoint=Checkpoint(path, seconds=7))
    assert_same_fit(estimator.fit(X), make().fit(X))


def test_a_damaged_or_foreign_file_is_an_error_and_stays(half_done):
    make, X, path = half_done
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 255
    for damaged in (b"", b"a, b\n1, 2\n", whole[:-50], bytes(middle)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a file of skdbm"):
            make(checkpoint=path).fit(X)
        assert path.read_bytes() == damaged
    make().fit(X).machine_.save(path)
    with pytest.raises(ValueError, match=r"holds 'skdbm\.DeepBoltzmannMachine'"):
        make(checkpoint=path).fit(X)


def _changed(tree, rng):
    """Change one place of a description of objects."""
    places = []

    def walk(node):
        if isinstance(node, dict | list):
            entries = node.items() if isinstance(node, dict) else enumerate(node)
            for key, entry in entries:
                places.append((node, key))
                walk(entry)

    walk(tree)
    node, key = places[rng.integers(len(places))]
    node[key] = [7, "Popen", {"object": "Popen"}, None][rng.integers(4)]


def test_files_with_other_contents_are_an_error_or_read(half_done):
    """Whatever stands in the header, only our classes are made of it."""
    make, X, path = half_done
    header, arrays = _files.read(path, FORMAT, FORMAT_VERSION)
    text, rng = json.dumps(header), np.random.default_rng(0)
    n_errors = 0
    for _ in range(300):
        changed = json.loads(text)
        _changed(changed["run"], rng)
        try:
            Reader(CLASSES, arrays, {"rows": X}).read(changed["run"])
        except (KeyError, TypeError, ValueError):
            n_errors += 1
    assert n_errors > 30
    for key in ("identity", "seeds", "run"):
        _files.write(path, header | {key: None}, arrays)
        with pytest.raises(ValueError, match="damaged"):
            make(checkpoint=path).fit(X)


def test_a_newer_format_is_an_error(half_done):
    make, X, path = half_done
    header, arrays = _files.read(path, FORMAT, FORMAT_VERSION)
    _files.write(path, header | {"version": FORMAT_VERSION + 1}, arrays)
    with pytest.raises(ValueError, match="Install a newer skdbm"):
        make(checkpoint=path).fit(X)


def test_a_full_disk_costs_a_warning_and_no_training(half_done, monkeypatch):
    make, X, path = half_done
    before = path.read_bytes()
    kept = []

    def full(*args, **kwargs):
        kept.append(path.read_bytes() == before)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    estimator = make(checkpoint=Checkpoint(path, seconds=0))
    with pytest.warns(UserWarning, match="could not be written .*No space left"):
        estimator.fit(X)
    assert len(kept) > 5
    assert all(kept)
    monkeypatch.undo()
    assert not os.listdir(path.parent)
    assert_same_fit(estimator, make().fit(X))


def test_two_fits_on_one_path_are_an_error(half_done):
    make, X, path = half_done
    lock = Lock(f"{path}.lock")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="checkpoint of a fit that is running"):
        make(checkpoint=path).fit(X)
    assert path.read_bytes() == before
    lock.release()
    make(checkpoint=path).fit(X)
    assert not path.exists()


def test_a_folder_that_is_not_there_is_an_error_before_any_work(tmp_path, kill):
    make, X = of_case("learned penalty")
    kill(0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make(checkpoint=tmp_path / "nowhere" / "fit.npz").fit(X)


def test_a_training_that_diverges_leaves_no_file(tmp_path):
    make, X = of_case("learned penalty")
    estimator = make(checkpoint=Checkpoint(tmp_path / "f.npz", seconds=0))
    with pytest.raises(FloatingPointError):
        estimator.set_params(learning_rate_init=1e30).fit(X)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("seconds", [-1, "1", None, True])
def test_invalid_intervals_are_errors(seconds):
    with pytest.raises(ValueError, match="a number from 0 on is expected"):
        Checkpoint("fit.npz", seconds=seconds)


def test_a_checkpoint_is_set_on_the_machine_itself(tmp_path):
    make, X = of_case("learned penalty")
    pipeline = make_pipeline(FunctionTransformer(), make())
    with pytest.raises(TypeError, match="set it on the estimator of skdbm inside"):
        pipeline.set_callbacks(Checkpoint(tmp_path / "fit.npz")).fit(X)


def test_the_end_of_a_fit_does_not_need_the_files(tmp_path):
    """Somebody may have removed them, or moved on to another folder."""
    make, X = of_case("learned penalty")

    class Removing(TrainingMonitor):
        def on_fit_task_end(self, *args, **kwargs):
            for name in os.listdir(tmp_path):
                (tmp_path / name).unlink()

    estimator = make().set_callbacks(Checkpoint(tmp_path / "fit.npz"), Removing())
    assert_same_fit(estimator.fit(X), make().fit(X))
    assert not os.listdir(tmp_path)


def test_equal_fits_at_a_time_have_files_of_their_own(tmp_path):
    """As those of a search over what comes after the machine in a pipeline."""
    X = TABLES["binary"]()
    dbm = DBMTransformer(**SMALL).set_callbacks(Checkpoint(tmp_path, seconds=0))
    pipeline = make_pipeline(dbm, LogisticRegression())
    grid = {"logisticregression__C": [0.1, 1.0, 10.0]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise")
    with parallel_config("threading"):
        search.fit(X, X[:, 0])
    assert not os.listdir(tmp_path)


def test_what_equal_fits_have_left_is_taken_up(tmp_path, kill):
    make, X = of_case("learned penalty")
    kill(7)
    estimator = make(checkpoint=Checkpoint(tmp_path, seconds=0))
    with pytest.raises(Killed):
        estimator.fit(X)
    [name] = os.listdir(tmp_path)
    (tmp_path / name).rename(tmp_path / name.replace("-0", "-3"))
    kill(10**9)
    assert_same_fit(estimator.fit(X), make().fit(X))
    assert not os.listdir(tmp_path)


def test_what_cannot_be_kept_is_said_before_any_work(tmp_path, kill):
    class Own(Probabilities):
        def spec(self):
            return super().spec() | {"more": object()}

    kill(0)
    X = TABLES["binary"]()
    checkpoint = Checkpoint(tmp_path / "fit.npz")
    with pytest.raises(TypeError, match="object objects cannot be written"):
        DBMSampler(visible=Own(), **SMALL).set_callbacks(checkpoint).fit(X)


def test_errors_that_are_no_divergence_leave_the_checkpoint(tmp_path):
    make, X = of_case("learned penalty")

    class Failing(TrainingMonitor):
        def on_fit_task_end(self, *args, **kwargs):
            raise FloatingPointError("for the test")

    path = tmp_path / "fit.npz"
    with pytest.raises(FloatingPointError, match="for the test"):
        make().set_callbacks(Checkpoint(path), Failing()).fit(X)
    assert os.listdir(tmp_path) == ["fit.npz"]


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    make, X = of_case("learned penalty")

    def none(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(_checkpoint.fcntl, "flock", none)
    with pytest.warns(UserWarning, match=r"has no locks .*not implemented"):
        make(checkpoint=tmp_path / "fit.npz").fit(X)


def test_one_checkpoint_is_expected(tmp_path):
    make, X = of_case("learned penalty")
    two = [Checkpoint(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(ValueError, match="There are 2 Checkpoints"):
        make().set_callbacks(*two).fit(X)
    with pytest.raises(ValueError, match="path is empty"):
        Checkpoint("")


def test_unknown_objects_are_not_written():
    with pytest.raises(TypeError, match="Mock objects cannot be written"):
        Writer(CLASSES).write([Mock()])


def test_fits_of_a_search_have_files_of_their_own_in_a_folder(tmp_path):
    make, X = of_case("learned penalty")
    grid, found = {"alpha": [0.1, 0.2]}, []
    for checkpoint in (None, Checkpoint(tmp_path, seconds=0)):
        estimator = make(checkpoint=checkpoint, hidden_layer_sizes=(6, 5))
        search = GridSearchCV(estimator, grid, cv=2, n_jobs=2)
        with parallel_config("threading"):
            found.append(search.fit(X).cv_results_["mean_test_score"])
    assert_array_equal(*found)
    assert not os.listdir(tmp_path)


# Processes that are killed


def _kill(*_):
    """End this process as the system does that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_at(place, name, n_calls):
    """Make this process die in a call of a function, after so many others."""
    original, done = getattr(place, name), count()

    def called(*args, **kwargs):
        if next(done) >= n_calls:
            _kill()
        return original(*args, **kwargs)

    setattr(place, name, called)


#: Where a process dies: in an update, between writing a checkpoint and renaming it,
#: while held-out rows are scored, and in the log Z of the end.
MOMENTS = {
    "update": (epochs, "update"),
    "rename": (_files.os, "replace"),
    "scores": (HeldOut, "scores"),
    "log Z": (annealing, "anneal"),
}
LONG = SMALL | STOPPING | {"max_iter": 12, "n_jobs": 1}


def _fit_and_die(path, moment, n_calls):
    """Fit in a process of its own, which dies; if it does not, leave the result."""
    _killed_at(*MOMENTS[moment], n_calls)
    estimator = DBMSampler(**LONG).set_callbacks(Checkpoint(path, seconds=0))
    fitted(estimator, greys()).set_params(warm_start=True)
    with open(f"{path}.pickle", "wb") as file:
        pickle.dump(estimator, file)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_that_is_killed_again_and_again(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_checkpoint"])
    rng, path, killed = np.random.default_rng(0), tmp_path / "fit.npz", []
    while not os.path.exists(f"{path}.pickle"):
        moment = str(rng.choice([*MOMENTS], p=[0.4, 0.3, 0.15, 0.15]))
        n_calls = int(rng.integers(1, 5 if moment in ("update", "rename") else 2))
        process = context.Process(target=_fit_and_die, args=(path, moment, n_calls))
        process.start()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed.append(moment)
        else:
            assert process.exitcode == 0, killed
    assert len(killed) >= 8, killed
    assert set(killed) == set(MOMENTS)
    assert os.listdir(tmp_path) == ["fit.npz.pickle"]
    with open(f"{path}.pickle", "rb") as file:
        pieces = pickle.load(file)
    whole = fitted(DBMSampler(**LONG), greys())
    whole._table = pieces._table = "greys"
    assert_same_fit(whole, pieces)
