"""What people do to estimators: edits, changes of mind, unusual arguments."""

import copy
import multiprocessing
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdbm import DBMSampler, DBMTransformer
from skdbm.encodings import Categories, Probabilities
from skdbm.inference import mean_field
from skdbm.likelihood import (
    bound,
    exact_log_likelihood,
    importance_weighted_log_likelihood,
)
from skdbm.machine import DeepBoltzmannMachine
from skdbm.units import Binomial

from ._estimators import small

# Edits of a fitted machine


def edit_in_place(fitted):
    fitted.machine_.weights[0][:2] += 1


def edit_a_bias(fitted):
    fitted.machine_.biases[-1][0] -= 2


def exchange_an_array(fitted):
    fitted.machine_.weights[1] = fitted.machine_.weights[1] * 3


def exchange_the_machine(fitted):
    fitted.machine_ = fitted.machine_.map(lambda array: array / 2)


EDITS = [edit_in_place, edit_a_bias, exchange_an_array, exchange_the_machine]


@pytest.mark.parametrize("edit", EDITS)
def test_scores_follow_a_machine_that_was_edited(cls, X, edit):
    fitted = small(cls).fit(X)
    before = fitted.score_samples(X)
    assert_array_equal(fitted.score_samples(X), before)
    edit(fitted)
    fresh = cls.from_machine(
        copy.deepcopy(fitted.machine_), likelihood=fitted.likelihood, random_state=0
    )
    fresh._annealing_seed = fitted._annealing_seed
    wanted = fresh.score_samples(X)
    assert np.all(wanted != before)
    assert_array_equal(fitted.score_samples(X), wanted)
    if cls is DBMSampler:
        assert not hasattr(fitted, "log_partition_")
        assert_array_equal(
            fitted.sample(5, random_state=1), fresh.sample(5, random_state=1)
        )


def test_scores_of_a_machine_follow_the_arrays_it_was_made_of(X):
    weights, biases = [np.ones((8, 2))], [np.zeros(8), np.zeros(2)]
    machine = DeepBoltzmannMachine(weights, biases)
    fitted = DBMSampler.from_machine(machine)
    fitted.score(X)
    machine.weights[0][0] = -1
    wanted = DBMSampler.from_machine(copy.deepcopy(machine)).score_samples(X)
    assert_array_equal(fitted.score_samples(X), wanted)


# Changes of mind

GROUPS = [("gaussian", [0, 1, 2]), ("bernoulli", [3, 4, 5, 6, 7])]
CHANGES = {
    "kind": ("bernoulli", "gaussian"),
    "kinds": (GROUPS, "bernoulli"),
    "columns": (GROUPS, [("gaussian", [0]), ("bernoulli", slice(1, None))]),
    "order": (GROUPS, [("bernoulli", [0, 1, 2]), ("gaussian", slice(3, None))]),
    "states": ("bernoulli", Probabilities(redraw=False)),
    "unknown": ("categorical", Categories(handle_unknown="missing")),
    "draws": (Binomial(2), Binomial(3)),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_does_not_go_on_with_other_columns(cls, X, before, after, method):
    fitted = small(cls, visible=before, warm_start=True).fit(X)
    scores = fitted.score_samples(X)
    fitted.set_params(visible=after)
    with pytest.raises(ValueError, match="contradicts the machine"):
        getattr(fitted, method)(X)
    assert_array_equal(fitted.score_samples(X), scores)
    if isinstance(after, Probabilities):  # is no matter of the machine
        wrapped = cls.from_machine(fitted.machine_, visible=after)
        assert wrapped.machine_.encoding == after
    else:
        with pytest.raises(ValueError, match="contradicts the machine"):
            cls.from_machine(fitted.machine_, visible=after)
    fitted.set_params(warm_start=False).fit(X)


def test_training_goes_on_with_the_same_columns_in_other_words(cls, X):
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    words = [
        [("gaussian", list("abc")), ("bernoulli", list("defgh"))],
        [("gaussian", slice("a", "c")), ("bernoulli", slice(3, None))],
        [("bernoulli", lambda X: list("defgh")), ("gaussian", lambda X: [0, 1, 2])],
    ]
    fitted = small(cls, visible=GROUPS).fit(frame)
    for visible in words:
        fitted.set_params(visible=visible).partial_fit(frame)
        wrapped = cls.from_machine(fitted.machine_, visible=visible, n_chains=10)
        with pytest.warns(UserWarning, match="feature names"):
            wrapped.partial_fit(frame)
    assert len(fitted.history_["seconds"]) == 3 + 3


@pytest.mark.parametrize(
    "params",
    [{"n_jobs": "all"}, {"likelihood": 3}, {"random_state": "x"}, {"verbose": "no"}],
    ids=str,
)
def test_parameters_are_checked_when_they_are_used(X, params):
    fitted = small(DBMSampler).fit(X).set_params(**params)
    [name] = params
    for use in (
        lambda: fitted.sample(2),
        lambda: fitted.sample(2, given=X),
        lambda: fitted.impute(X),
        lambda: fitted.score(X),
        lambda: fitted.score_samples(X),
    ):
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            use()


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("sample", {"n_samples": 0}),
        ("sample", {"burn_in": -5}),
        ("impute", {"n_chains": 0}),
        ("impute", {"burn_in": -5}),
        ("impute", {"n_sweeps": 0}),
        ("impute", {"n_sweeps": 1.5}),
    ],
    ids=str,
)
def test_arguments_are_checked_when_they_are_used(X, method, arguments):
    fitted = small(DBMSampler).fit(X)
    [name] = arguments
    more = {"X": X} if method == "impute" else {}
    with pytest.raises(ValueError, match=f"{name}="):
        getattr(fitted, method)(**more, **arguments)


# Unusual arguments

CONTAINERS = {
    "list": np.ndarray.tolist,
    "frame": pd.DataFrame,
    "integers": lambda X: X.astype(np.int8),
    "another order of bytes": lambda X: X.astype(">f8"),
    "columns": sparse.csc_array,
    "places": sparse.coo_matrix,
}
OF_ROWS = {
    "mean field": lambda machine, X: mean_field(machine, X).means[0],
    "bound": lambda machine, X: bound(machine, X, 0.0),
    "weighted": lambda machine, X: importance_weighted_log_likelihood(
        machine, X, 0.0, n_importance_samples=2, random_state=0
    ),
    "exact": exact_log_likelihood,
}


@pytest.mark.parametrize("function", OF_ROWS.values(), ids=OF_ROWS)
def test_functions_of_a_machine_take_rows_in_any_container(X, function):
    machine = DeepBoltzmannMachine([np.ones((8, 2)) / 4], [np.zeros(8), np.zeros(2)])
    wanted = function(machine, X * 1.0)
    for make in CONTAINERS.values():
        np.testing.assert_allclose(function(machine, make(X * 1.0)), wanted, rtol=1e-12)
    with pytest.raises(ValueError, match=r"shape \(8,\); rows"):
        function(machine, X[0] * 1.0)
    with pytest.raises(ValueError, match="3 columns"):
        function(machine, X[:, :3] * 1.0)


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", "<f2"])
def test_any_order_of_bytes(cls, X, dtype):
    swapped = X.astype(dtype)
    fitted, wanted = small(cls).fit(swapped), small(cls).fit(X)
    assert_array_equal(fitted.score_samples(swapped), wanted.score_samples(X))
    if cls is DBMSampler:
        filled = fitted.impute(swapped)
        assert filled.dtype == dtype
        assert filled.tobytes() == swapped.tobytes()
        assert fitted.sample(2).dtype == dtype


@pytest.mark.parametrize(
    "size", [np.array(5), np.int8(5), np.array([5]), [5], range(5, 6)]
)
def test_sizes_and_layers_may_be_any_integers(X, size):
    fitted = small(DBMTransformer, hidden_layer_sizes=size).fit(X)
    assert fitted.machine_.layer_sizes == (8, 5)
    fitted.set_params(feature_layers=np.array(1))
    assert fitted.transform(X).shape == (64, 5)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=8\.5"):
        small(DBMTransformer, hidden_layer_sizes=np.array(8.5)).fit(X)


@pytest.mark.parametrize("values", [[(1, 2), (3, 4)], [2**60 + 1, 0.5], [b"a", b"b"]])
def test_categories_may_be_any_objects(values):
    X = np.empty((18, 1), dtype=object)
    X[:, 0] = np.fromiter(values * 9, object)
    sampler = small(DBMSampler, visible="categorical").fit(X)
    drawn = sampler.sample(30)[:, 0].tolist()
    assert set(drawn) == set(values)


@pytest.mark.parametrize(
    ("value", "visible"),
    [([1], "categorical"), ({2}, "categorical"), (2**2000, "gaussian")],
    ids=str,
)
def test_values_that_nothing_can_be_made_of_name_their_column(value, visible):
    frame = pd.DataFrame({"a": [0, 1] * 9, "b": [0, value] * 9}, dtype=object)
    with pytest.raises(ValueError, match=r"Column 'b' (does not hold|holds values)"):
        small(DBMSampler, visible=visible).fit(frame)


def warnings_in_a_pool(X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features = small(DBMTransformer, n_jobs=2).fit(X).transform(X)
    return [str(warning.message) for warning in caught], features


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_in_a_pool_of_processes_do_not_warn(X):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        messages, features = pool.apply(warnings_in_a_pool, (X,))
    assert messages == []
    assert_array_equal(features, small(DBMTransformer).fit(X).transform(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_chains_that_are_far_too_many_are_warned_of(X, monkeypatch, method):
    class Stop(Exception):
        """Ends a fit that would take long."""

    def stop(*args, **kwargs):
        raise Stop

    monkeypatch.setattr("skdbm._fitting.initial_machine", stop)
    estimator = small(DBMTransformer, n_chains=10_000_000)
    with (
        pytest.warns(UserWarning, match="n_chains=10000000.*64 rows"),
        pytest.raises(Stop),
    ):
        getattr(estimator, method)(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_chains_that_no_memory_holds_are_an_error(X, method):
    estimator = small(DBMTransformer, n_chains=10**12)
    with pytest.raises(ValueError, match=r"n_chains=1000000000000 .* GiB of memory"):
        getattr(estimator, method)(X)
    assert not hasattr(estimator, "machine_")
