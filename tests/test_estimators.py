"""What both estimators promise: parameters, training, scores, features, samples."""

import contextlib
import copy
import importlib
import inspect
import io
import itertools
import os
import pickle
import re
import sys
import tracemalloc
from types import SimpleNamespace
from unittest.mock import Mock

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import check_random_state

from skdbm import (
    DBMSampler,
    DBMTransformer,
    DeepBoltzmannMachine,
    Likelihood,
    Pretraining,
    _fitting,
    _progress,
    likelihood,
    ops,
    sampling,
)
from skdbm._validation import TrainingInterrupted, check_bounds
from skdbm.encodings import Counts, Mixed, Probabilities, States
from skdbm.encodings.rows import EncodedRows
from skdbm.inference import mean_field
from skdbm.likelihood.log_partition import LogPartition
from skdbm.training import epoch as epochs
from skdbm.training import start
from skdbm.training.state import State
from skdbm.training.workspace import Workspace
from skdbm.units import Bernoulli, Binomial, Categorical, ReplicatedSoftmax

from ._estimators import (
    CLASSES,
    QUICK,
    SMALL,
    Watcher,
    assert_same_machine,
    parameters,
    settings,
    small,
    two_kinds,
    wrapped,
)
from ._reference import random_model

#: Enough training for the two kinds of rows that `two_kinds` makes.
LONGER = {
    "max_iter": 100,
    "pretraining_max_iter": 20,
    "learning_rate_init": 0.1,
    "n_chains": 50,
}


def all_states(n_units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n_units)))


def unnormalised(machine, X):
    """Sum exp(-E) over the hidden states of every row, one or two hidden layers."""
    first, *second = machine.weights
    h = all_states(first.shape[1])
    exponents = (X @ first + machine.biases[1]) @ h.T
    if second:
        exponents += np.logaddexp(0, h @ second[0] + machine.biases[2]).sum(axis=1)
    return X @ machine.biases[0] + logsumexp(exponents, axis=1)


def enumerated_log_partition(machine):
    machine = machine.astype(np.float64)
    return logsumexp(unnormalised(machine, all_states(machine.layer_sizes[0])))


def enumerated_log_likelihood(machine, X):
    machine = machine.astype(np.float64)
    return unnormalised(machine, X) - enumerated_log_partition(machine)


def same_machine(one, other):
    return all(map(np.array_equal, parameters(one), parameters(other)))


@contextlib.contextmanager
def unchanged(estimator):
    before = joblib.hash(vars(estimator))
    yield
    assert joblib.hash(vars(estimator)) == before


def in_double(estimator, **params):
    """Wrap the machine of an estimator once more, to compute in float64."""
    own = estimator.get_params(deep=False)
    return type(estimator).from_machine(
        estimator.machine_.astype("float64"), **(own | params)
    )


@pytest.fixture(scope="module")
def trained():
    """One of each class, well trained on `two_kinds`; not to be changed.

    A transformer finds out log Z when a score is first asked for, and keeps it.
    """
    estimators = {cls: small(cls, **LONGER).fit(two_kinds()) for cls in CLASSES}
    for estimator in estimators.values():
        estimator.score(two_kinds())
    return estimators


@pytest.fixture
def fitted(cls, trained):
    return trained[cls]


@pytest.fixture
def transformer(trained):
    return trained[DBMTransformer]


@pytest.fixture
def sampler(trained):
    return trained[DBMSampler]


@pytest.fixture(scope="module")
def digits():
    return MinMaxScaler(clip=True).fit_transform(load_digits().data)


@pytest.fixture
def annealed(monkeypatch):
    """Estimate log Z by annealing even where enumeration is cheap."""
    monkeypatch.setattr(likelihood.exact, "PREFER_EXACT_STATES", 0)


# Construction


def test_parameters_are_keyword_only(cls):
    kinds = {p.kind for p in inspect.signature(cls).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="positional"):
        cls((6, 4))


def test_constructor_only_assigns(cls):
    given = {name: object() for name in inspect.signature(cls).parameters}
    stored = vars(cls(**given))
    assert stored.keys() == given.keys()
    assert all(stored[name] is value for name, value in given.items())


def test_defaults_are_valid_and_immutable(cls):
    estimator = cls()
    estimator._validate_params()
    assert isinstance(estimator.hidden_layer_sizes, tuple)
    hash(tuple(estimator.get_params().values()))


def test_both_classes_share_their_parameters():
    transformer, sampler = (cls().get_params() for cls in CLASSES)
    assert transformer.keys() ^ sampler.keys() == {"feature_layers"}
    shared = transformer.keys() & sampler.keys()
    assert all(transformer[name] == sampler[name] for name in shared)


def test_parameters_can_be_taken_in_at_a_glance(cls):
    assert len(inspect.signature(cls).parameters) <= 24
    for value_object in (Likelihood, Pretraining):
        assert len(inspect.signature(value_object).parameters) <= 10


def test_clone_has_the_parameters_and_nothing_learned(fitted):
    copied = clone(fitted)
    own = fitted.get_params(deep=False)
    assert joblib.hash(copied.get_params()) == joblib.hash(fitted.get_params())
    assert vars(copied).keys() == own.keys()
    assert copied.likelihood is not fitted.likelihood


def test_fit_leaves_parameters_untouched(cls, X):
    estimator = small(cls, hidden_layer_sizes=[6, 4], batch_size=1000)
    before = estimator.get_params()
    digest = joblib.hash(before)
    assert estimator.fit(X) is estimator
    after = estimator.get_params()
    assert all(after[name] is before[name] for name in before)
    assert joblib.hash(after) == digest


@pytest.mark.parametrize("sizes", [5, (5,), [5], np.array([5]), np.int64(5)])
def test_one_hidden_layer_can_be_an_integer(cls, X, sizes):
    estimator = small(cls, hidden_layer_sizes=sizes).fit(X)
    assert estimator.machine_.layer_sizes == (8, 5)
    assert_same_machine(estimator, small(cls, hidden_layer_sizes=(5,)).fit(X))


@pytest.mark.parametrize("sizes", [(), (5, 0), (5, -1), (5, 2.5), 0])
def test_hidden_layer_sizes_must_be_positive_integers(cls, X, sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        small(cls, hidden_layer_sizes=sizes).fit(X)


def test_fitted_attributes(cls, X):
    estimator = small(cls).fit(X)
    assert isinstance(estimator.machine_, DeepBoltzmannMachine)
    assert estimator.machine_.layer_sizes == (8, 6, 4)
    assert estimator.n_features_in_ == 8
    assert estimator.n_iter_ == 3
    assert estimator.machine_.dtype == np.float32


# Value objects


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("likelihood", "n_chains", 5),
        ("likelihood", "n_importance_samples", 5),
        ("likelihood", "mean_field_tol", 0.5),
        ("pretraining", "max_iter", 5),
    ],
)
def test_fields_of_what_was_not_passed_cannot_be_set(cls, name, field, value):
    estimator = cls()
    message = rf"{name}__{field} cannot .* pass {name}=skdbm.{name.title()}\({field}=5"
    message = message.replace("=5", f"={value}")
    before = joblib.hash(estimator.get_params())
    for values in ({}, {"alpha": 0.5}):
        with pytest.raises(ValueError, match=message):
            estimator.set_params(**values, **{f"{name}__{field}": value})
        assert joblib.hash(estimator.get_params()) == before


def test_fields_of_what_was_passed_can_be_set(cls):
    estimator = cls(likelihood=Likelihood(), pretraining=Pretraining("grow"))
    estimator.set_params(likelihood__n_importance_samples=5, pretraining__max_iter=7)
    assert estimator.likelihood.get_params() == (
        Likelihood(n_importance_samples=5).get_params()
    )
    assert estimator.pretraining.get_params() == {"method": "grow", "max_iter": 7}
    with pytest.raises(ValueError, match="Invalid parameter 'burn_in'"):
        estimator.set_params(likelihood__burn_in=5)
    with pytest.raises(ValueError, match="Invalid parameter 'momentum'"):
        estimator.set_params(momentum=0.5)


def test_an_object_and_its_fields_can_be_set_at_once(cls):
    estimator = cls()
    estimator.set_params(
        likelihood__n_chains=5, likelihood=Likelihood(n_importance_samples=7)
    )
    assert estimator.likelihood.get_params() == (
        Likelihood(n_chains=5, n_importance_samples=7).get_params()
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"likelihood": Likelihood(n_chains=1)}, "'n_chains' parameter of Likelihood"),
        (
            {"likelihood": Likelihood(n_chains=9.5)},
            "'n_chains' parameter of Likelihood",
        ),
        (
            {"likelihood": Likelihood(n_importance_samples=-1)},
            "'n_importance_samples' parameter of Likelihood",
        ),
        (
            {"likelihood": Likelihood(mean_field_tol=-1e-9)},
            "'mean_field_tol' parameter of Likelihood",
        ),
        (
            {"likelihood": Likelihood(mean_field_max_iter=0)},
            "'mean_field_max_iter' parameter of Likelihood",
        ),
        ({"likelihood": "exact"}, "'likelihood' parameter"),
        ({"likelihood": Likelihood}, "'likelihood' parameter"),
        ({"pretraining": Pretraining("dig")}, "'method' parameter of Pretraining"),
        (
            {"pretraining": Pretraining(max_iter=0)},
            "'max_iter' parameter of Pretraining",
        ),
        ({"pretraining": "dig"}, "'pretraining' parameter"),
        ({"pretraining": Likelihood()}, "'pretraining' parameter"),
    ],
)
def test_value_objects_are_checked(cls, X, given, message):
    estimator = small(cls).set_params(**given)
    for method in (estimator.fit, estimator.partial_fit):
        with unchanged(estimator), pytest.raises(ValueError, match=message):
            method(X)


def test_fit_leaves_value_objects_untouched(cls, X):
    estimator = small(cls)
    objects = estimator.likelihood, estimator.pretraining
    digest = joblib.hash(objects)
    estimator.fit(X)
    assert (estimator.likelihood, estimator.pretraining) == objects  # the same ones
    assert joblib.hash(objects) == digest


def test_no_value_object_stands_for_the_default_ones(cls, X):
    plain = small(cls).set_params(likelihood=None, pretraining="grow").fit(X)
    passed = small(cls).set_params(likelihood=Likelihood(), pretraining=Pretraining())
    assert_same_machine(plain, passed.fit(X))
    assert_array_equal(plain.score_samples(X), passed.score_samples(X))


@pytest.mark.parametrize("pretraining", ["greedy", "grow"])
def test_pretraining_takes_a_third_of_the_epochs(cls, X, pretraining):
    params = {"max_iter": 11}
    named = small(cls, **params).set_params(pretraining=pretraining).fit(X)
    told = small(cls, pretraining=Pretraining(pretraining, max_iter=4), **params)
    other = small(cls, pretraining=Pretraining(pretraining, max_iter=3), **params)
    assert_same_machine(named, told.fit(X))
    assert not same_machine(named, other.fit(X))


# Reading a fitted estimator changes nothing in it


@pytest.mark.parametrize(
    ("cls", "read"),
    [
        (cls, read)
        for cls, methods in {
            DBMTransformer: ["transform", "inverse_transform", "names"],
            DBMSampler: ["sample", "sample_seeded"],
        }.items()
        for read in [*methods, "score", "score_samples", "html", "clone", "pickle"]
    ],
)
def test_reading_changes_nothing(fitted, read, X):
    actions = {
        "transform": lambda: fitted.transform(X),
        "inverse_transform": lambda: fitted.inverse_transform(np.full((3, 10), 0.5)),
        "names": lambda: fitted.get_feature_names_out(),
        "sample": lambda: fitted.sample(30),
        "sample_seeded": lambda: fitted.sample(3, random_state=1),
        "score": lambda: fitted.score(X),
        "score_samples": lambda: fitted.score_samples(X),
        "html": lambda: fitted._repr_html_(),
        "clone": lambda: clone(fitted),
        "pickle": lambda: pickle.dumps(fitted),
    }
    with unchanged(fitted):
        actions[read]()


def test_unfitted_estimators_say_so(X):
    transformer, sampler = (small(cls) for cls in CLASSES)
    for call in (
        lambda: transformer.transform(X),
        lambda: transformer.inverse_transform(X),
        lambda: transformer.get_feature_names_out(),
        lambda: transformer.score(X),
        lambda: sampler.sample(),
        lambda: sampler.score_samples(X),
    ):
        with pytest.raises(NotFittedError, match="not fitted"):
            call()


# from_machine


def test_machine_goes_to_the_other_class_and_back(transformer, X):
    sampler = DBMSampler.from_machine(transformer.machine_, random_state=0, alpha=0.5)
    again = DBMTransformer.from_machine(sampler.machine_)
    assert again.machine_ is sampler.machine_ is transformer.machine_
    assert sampler.alpha == 0.5
    assert sampler.n_features_in_ == again.n_features_in_ == 8
    assert sampler.hidden_layer_sizes == again.hidden_layer_sizes == (6, 4)
    assert_array_equal(again.transform(X), transformer.transform(X))
    assert_array_equal(sampler.score_samples(X), transformer.score_samples(X))
    assert sampler.sample(3).shape == (3, 8)
    log_partition = enumerated_log_partition(transformer.machine_)
    assert_allclose(sampler.log_partition_, log_partition, rtol=1e-10)


@pytest.mark.parametrize("sizes", [(6,), (4, 6), 6, (6, 4, 1)])
def test_from_machine_refuses_other_layers(cls, transformer, sizes):
    with pytest.raises(ValueError, match="contradicts"):
        cls.from_machine(transformer.machine_, hidden_layer_sizes=sizes)


@pytest.mark.parametrize("sizes", [(6, 4), [6, 4]])
def test_from_machine_accepts_the_same_layers(cls, transformer, sizes):
    estimator = cls.from_machine(transformer.machine_, hidden_layer_sizes=sizes)
    assert estimator.hidden_layer_sizes is sizes


def test_from_machine_refuses_other_objects(cls, transformer):
    with pytest.raises(ValueError, match="a DeepBoltzmannMachine is expected"):
        cls.from_machine(transformer)


def test_from_machine_checks_the_parameters(cls, transformer):
    with pytest.raises(ValueError, match="'n_chains' parameter"):
        cls.from_machine(transformer.machine_, n_chains=0)


# Features


def test_transform_of_one_hidden_layer_is_the_posterior(X):
    transformer = small(DBMTransformer, hidden_layer_sizes=6).fit(X)
    X = X * 0.7  # not a number of float32
    assert_allclose(transformer.transform(X), posterior_means(transformer, X), 1e-5)
    double = in_double(transformer)
    assert_allclose(double.transform(X), posterior_means(transformer, X), rtol=1e-10)


def posterior_means(estimator, X):
    """Means of a single hidden layer, in float64."""
    weights, _, hidden = parameters(in_double(estimator))
    return expit(X @ weights + hidden)


def test_transform_solves_the_mean_field_equations(transformer, X):
    exact = in_double(transformer, likelihood=Likelihood(mean_field_tol=1e-12))
    m1, m2 = np.split(exact.transform(X), [6], axis=1)
    (w0, w1), (_, b1, b2) = exact.machine_.weights, exact.machine_.biases
    assert_allclose(m1, expit(X @ w0 + m2 @ w1.T + b1), atol=1e-9)
    assert_allclose(m2, expit(m1 @ w1 + b2), atol=1e-9)
    # the customary tolerance bounds the change of a sweep, not the error
    assert_allclose(transformer.transform(X), exact.transform(X), atol=0.01)


def test_transform_is_deterministic(transformer, X):
    assert_array_equal(transformer.transform(X), transformer.transform(X.copy()))


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-6), ("float64", 1e-7)])
def test_transform_of_a_row_does_not_depend_on_its_neighbours(digits, dtype, atol):
    rng = np.random.default_rng(0)
    machine = DeepBoltzmannMachine(
        [rng.normal(0, 0.3, (64, 16)), rng.normal(0, 1, (16, 8))],
        [np.zeros(64), np.zeros(16), np.zeros(8)],
    ).astype(dtype)
    transformer = DBMTransformer.from_machine(machine)
    n_sweeps = mean_field(machine, digits).n_sweeps
    assert n_sweeps.min() + 5 < n_sweeps.max()  # rows take the time that they need
    features = transformer.transform(digits)
    order = rng.permutation(len(digits))
    shuffled = transformer.transform(digits[order])
    assert_allclose(shuffled, features[order], rtol=0, atol=atol)
    assert_allclose(transformer.transform(digits[:7]), features[:7], rtol=0, atol=atol)
    single = np.vstack([transformer.transform(row[None]) for row in digits[:50]])
    assert_allclose(single, features[:50], rtol=0, atol=atol)


LAYERS = [
    ("all", [1, 2]),
    ("last", [2]),
    (1, [1]),
    (2, [2]),
    (-1, [2]),
    (-2, [1]),
    ([2, 1], [2, 1]),
    ((1,), [1]),
    (np.array([-1]), [2]),
]


@pytest.mark.parametrize(("feature_layers", "layers"), LAYERS)
def test_feature_layers(transformer, X, feature_layers, layers):
    everything = dict(
        zip([1, 2], np.split(transformer.transform(X), [6], axis=1), strict=True)
    )
    chosen = DBMTransformer.from_machine(
        transformer.machine_, feature_layers=feature_layers
    )
    assert_array_equal(
        chosen.transform(X), np.hstack([everything[layer] for layer in layers])
    )
    assert list(chosen.get_feature_names_out()) == [
        f"dbmtransformer_h{layer}_{unit}"
        for layer in layers
        for unit in range({1: 6, 2: 4}[layer])
    ]
    assert chosen.get_feature_names_out().dtype == object


@pytest.mark.parametrize("feature_layers", [0, 3, -3, [], [1, 0], [1.5]])
def test_feature_layers_that_do_not_exist(transformer, X, feature_layers):
    changed = copy.copy(transformer).set_params(feature_layers=feature_layers)
    for call in (
        changed.transform,
        changed.inverse_transform,
        lambda _: changed.get_feature_names_out(),
        clone(changed).fit,  # at once, not after hours of training
    ):
        with pytest.raises(ValueError, match="feature_layers"):
            call(X)


@pytest.mark.parametrize("feature_layers", [[1, 1], [2, -1]])
def test_feature_layers_that_repeat(X, feature_layers):
    with pytest.raises(ValueError, match="feature_layers"):
        small(DBMTransformer, feature_layers=feature_layers).fit(X)


@pytest.mark.parametrize("feature_layers", ["first", 1.5, None])
def test_feature_layers_of_the_wrong_kind(X, feature_layers):
    with pytest.raises(ValueError, match="'feature_layers' parameter"):
        small(DBMTransformer, feature_layers=feature_layers).fit(X)


# Back from the features


@pytest.mark.parametrize("feature_layers", [1, "all", [2, 1]])
def test_inverse_transform_given_the_first_hidden_layer(transformer, X, feature_layers):
    chosen = in_double(transformer, feature_layers=feature_layers)
    features = chosen.transform(X)
    first = features[:, 4:] if feature_layers == [2, 1] else features[:, :6]
    expected = expit(first @ chosen.machine_.weights[0].T + chosen.machine_.biases[0])
    assert_allclose(chosen.inverse_transform(features), expected, rtol=1e-10)
    single = DBMTransformer.from_machine(
        transformer.machine_, feature_layers=feature_layers
    )
    assert_allclose(single.inverse_transform(features), expected, rtol=1e-5)


def test_inverse_transform_knows_more_than_the_column_means(transformer, X):
    means = transformer.inverse_transform(transformer.transform(X))
    assert means.shape == X.shape
    assert np.mean((means - X) ** 2) < 0.8 * np.mean((X.mean(axis=0) - X) ** 2)


def test_inverse_transform_given_the_last_hidden_layer(transformer, X):
    last = in_double(
        transformer, feature_layers="last", likelihood=Likelihood(mean_field_tol=1e-12)
    )
    top = last.transform(X)
    v = last.inverse_transform(top)
    (w0, w1), (b0, b1, _) = last.machine_.weights, last.machine_.biases
    between = expit(v @ w0 + top @ w1.T + b1)
    assert_allclose(v, expit(between @ w0.T + b0), atol=1e-9)


@pytest.mark.parametrize(("feature_layers", "n"), [("all", 10), ("last", 4), (1, 6)])
def test_inverse_transform_counts_the_columns(transformer, feature_layers, n):
    chosen = DBMTransformer.from_machine(
        transformer.machine_, feature_layers=feature_layers
    )
    assert chosen.inverse_transform(np.zeros((2, n))).shape == (2, 8)
    with pytest.raises(ValueError, match=f"{n} are expected"):
        chosen.inverse_transform(np.zeros((2, n + 1)))


# The score


def test_score_is_the_mean_of_score_samples(fitted, X):
    scores = fitted.score_samples(X)
    assert scores.shape == (len(X),)
    assert scores.dtype == np.float64
    assert type(fitted.score(X)) is float
    assert_allclose(fitted.score(X), scores.mean(), rtol=1e-12)
    assert fitted.score(X, np.zeros(len(X))) == fitted.score(X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_score_of_a_row_does_not_depend_on_its_neighbours(fitted, X, dtype):
    X = X.astype(dtype)
    for estimator, rtol in ((fitted, 1e-6), (in_double(fitted), 1e-9)):
        one_by_one = [estimator.score(row[None]) for row in X]
        assert_allclose(one_by_one, estimator.score_samples(X), rtol=rtol)


def test_score_of_one_hidden_layer_is_the_log_likelihood(cls, X):
    estimator = small(cls, hidden_layer_sizes=6).fit(X)
    expected = enumerated_log_likelihood(estimator.machine_, X)
    assert_allclose(estimator.score_samples(X), expected, rtol=1e-5)
    scores = in_double(estimator).score_samples(X)
    assert_allclose(scores, expected)
    assert_allclose(scores, likelihood.exact_log_likelihood(estimator.machine_, X))


@pytest.mark.parametrize("seed", range(3))
def test_score_of_probabilities_is_that_of_states_drawn_with_them(cls, X, seed):
    model = cls(hidden_layer_sizes=3, max_iter=3, random_state=seed).fit(X)
    means, n_rows = np.linspace(0.1, 0.9, X.shape[1]), 5000
    # Rows that differ by a hair, for each row is drawn by what is in it.
    hair = np.random.default_rng(seed).uniform(-0.01, 0.01, (n_rows, len(means)))
    scores = model.score_samples(means + hair)
    states = np.array(list(itertools.product([0.0, 1.0], repeat=len(means))))
    probability = np.prod(np.where(states, means, 1 - means), axis=1)
    exact = model.score_samples(states)
    # Every score is one of a row of zeros and ones.
    assert np.abs(scores[:, None] - exact).min(axis=1).max() < 1e-4
    mean = probability @ exact
    spread = np.sqrt(probability @ (exact - mean) ** 2)
    # Noise of 0.01 in the means is even and has no part in the average.
    assert abs(scores.mean() - mean) < 5 * spread / np.sqrt(n_rows)


def test_score_of_probabilities_is_always_the_same(cls, X):
    grey = np.random.default_rng(1).random((20, X.shape[1])).round(2)
    grey[3, 2] = np.nan
    settings = {"hidden_layer_sizes": (3, 2), "max_iter": 3, "random_state": 0}
    model = cls(**settings, allow_missing=True).fit(X)
    scores, kept = model.score_samples(grey), grey.copy()
    assert_array_equal(grey, kept)
    one_by_one = [model.score_samples(row[None])[0] for row in grey]
    assert_allclose(scores, one_by_one, rtol=1e-6)
    assert_allclose(scores[::-1], model.score_samples(grey[::-1]), rtol=1e-6)
    known = np.delete(grey, 3, axis=0)
    given = sparse.csr_array(known)
    assert_allclose(model.score_samples(given), np.delete(scores, 3), rtol=1e-6)
    as_they_are = cls.from_machine(model.machine_, allow_missing=True)
    as_they_are.machine_ = model.machine_.with_encoding(Probabilities(redraw=False))
    assert not np.allclose(as_they_are.score_samples(grey), scores)


def test_score_without_draws_is_a_lower_bound(fitted, X):
    exact = enumerated_log_likelihood(fitted.machine_, X)
    for estimator, rounding in ((fitted, 1e-5), (in_double(fitted), 1e-9)):
        gap = exact - estimator.score_samples(X, n_importance_samples=0)
        assert gap.min() > -rounding
        assert gap.mean() < 1  # the bound is of some use
        lower = estimator.score_samples(all_states(8), n_importance_samples=0)
        assert logsumexp(lower) < 0  # probabilities


def test_score_is_exact_where_the_hidden_layers_do_not_interact(cls, X):
    rng = np.random.default_rng(0)
    machine = DeepBoltzmannMachine(
        [rng.normal(size=(8, 6)), np.zeros((6, 4))],
        [rng.normal(size=size) for size in (8, 6, 4)],
    )
    scores = cls.from_machine(machine).score_samples(X)
    assert_allclose(scores, enumerated_log_likelihood(machine, X))


def test_importance_weighted_score_of_one_hidden_layer_is_exact(cls, X):
    estimator = small(cls, hidden_layer_sizes=6).fit(X)
    exact = enumerated_log_likelihood(estimator.machine_, X)
    for one, rtol in ((estimator, 1e-5), (in_double(estimator), 1e-7)):
        scores = one.score_samples(X, n_importance_samples=3)
        assert_allclose(scores, exact, rtol=rtol)


def test_importance_weighted_score_draws_nothing_new(fitted, X):
    with unchanged(fitted):
        scores = fitted.score_samples(X, n_importance_samples=3)
        assert_array_equal(fitted.score_samples(X, n_importance_samples=3), scores)
    assert not np.array_equal(scores, fitted.score_samples(X))
    for wrong in (-1, 2.0, True):
        expected = f"n_importance_samples={wrong}; .*least 0"
        with pytest.raises(ValueError, match=expected):
            fitted.score_samples(X, n_importance_samples=wrong)


def test_scores_are_made_of_the_samples_that_the_estimator_asks_for(fitted, X):
    assert fitted.likelihood.n_importance_samples == 10
    default = fitted.score_samples(X, n_importance_samples=10)
    assert_array_equal(fitted.score_samples(X), default)
    lower = fitted.score_samples(X, n_importance_samples=0)
    estimate = fitted.score_samples(X, n_importance_samples=5)
    other = copy.deepcopy(fitted).set_params(likelihood__n_importance_samples=5)
    assert_array_equal(other.score_samples(X), estimate)
    assert other.score(X) == estimate.mean()
    assert_array_equal(other.score_samples(X, n_importance_samples=0), lower)


@pytest.mark.parametrize("scale", [2, 3])
def test_score_prefers_an_upper_layer_that_is_of_use(cls, scale):
    """As the likelihood does. The bound would do without: mean field is too simple."""
    machine = random_model((6, 5, 4), 4, scale).machine()
    counts = np.exp(likelihood.exact_log_likelihood(machine, all_states(6))) * 1000
    X = np.repeat(all_states(6), counts.round().astype(int), axis=0)
    # What is left without the layer, its mean field added to the biases.
    upper = likelihood.exact_samples(machine, 5000, random_state=0)[2].mean(axis=0)
    hidden_biases = machine.biases[1] + machine.weights[1] @ upper
    stump = DeepBoltzmannMachine(
        [machine.weights[0]], [machine.biases[0], hidden_biases]
    )
    exact = [likelihood.exact_log_likelihood(m, X).mean() for m in (machine, stump)]
    assert exact[0] > exact[1]
    deep, one = (wrapped(cls, m) for m in (machine, stump))
    assert deep.score(X) > one.score(X)
    assert deep.score(X) == pytest.approx(exact[0], abs=0.02)
    bounds = Likelihood(n_importance_samples=0)
    deep, one = (m.set_params(likelihood=bounds) for m in (deep, one))
    assert deep.score(X) < one.score(X)


def test_score_beats_independent_columns(fitted, X):
    p = X.mean(axis=0)
    independent = np.mean(X @ np.log(p) + (1 - X) @ np.log1p(-p))
    assert fitted.score(X) > independent + 0.5


@pytest.mark.usefixtures("annealed")
def test_annealed_score_draws_nothing_new(cls, X):
    estimator = small(cls).fit(X)
    other = small(cls).fit(X)
    score = estimator.score(X)  # log Z is known from here on, and kept
    with unchanged(estimator):
        assert estimator.score(X) == score
    assert pickle.loads(pickle.dumps(estimator)).score(X) == score
    assert copy.deepcopy(estimator).score(X) == score
    assert other.score(X) == score


@pytest.mark.usefixtures("annealed")
def test_annealed_score_without_a_seed_repeats(cls, X):
    estimator = small(cls, random_state=None).fit(X)
    score = estimator.score(X)
    assert pickle.loads(pickle.dumps(estimator)).score(X) == score
    other = wrapped(cls, estimator.machine_, n_annealing_chains=9, random_state=None)
    assert pickle.loads(pickle.dumps(other)).score(X) == other.score(X)


def test_score_draws_nothing_from_the_global_generator(cls, X):
    shared = check_random_state(None)
    before = joblib.hash(shared.get_state())
    small(cls).fit(X).score(X)
    assert joblib.hash(shared.get_state()) == before


@pytest.mark.parametrize(
    ("visible", "has"),
    [
        ("counts", True),
        (Counts(), True),
        (ReplicatedSoftmax(8), True),
        ("bernoulli", False),
        ("categorical", False),
        (Binomial(3), False),
        ([("gaussian", slice(0, 4)), ("bernoulli", slice(4, 8))], False),
        ("unheard of", False),
    ],
    ids=str,
)
def test_perplexity_is_there_where_columns_are_counts(cls, X, visible, has):
    estimator = small(cls, visible=visible)
    assert hasattr(estimator, "perplexity") == has
    if has:
        assert estimator.fit(X).perplexity(X) >= 1
        assert hasattr(cls.from_machine(estimator.machine_), "perplexity")
    else:
        with pytest.raises(AttributeError, match="no attribute 'perplexity'"):
            estimator.perplexity(X)


# Log Z of the sampler


def test_enumerated_log_partition(sampler):
    expected = enumerated_log_partition(sampler.machine_)
    assert_allclose(sampler.log_partition_, expected, rtol=1e-10)
    assert sampler.log_partition_std_ == 0


@pytest.mark.usefixtures("annealed")
def test_annealed_log_partition(X):
    sampler = small(DBMSampler, n_annealing_chains=200).fit(X)
    assert 0 < sampler.log_partition_std_ < 0.5
    error = sampler.log_partition_ - enumerated_log_partition(sampler.machine_)
    assert abs(error) < 6 * sampler.log_partition_std_


@pytest.mark.usefixtures("annealed")
def test_sampler_scores_with_its_log_partition(X):
    sampler = small(DBMSampler, hidden_layer_sizes=6, n_annealing_chains=2).fit(X)
    free_energies = unnormalised(sampler.machine_.astype("float64"), X)
    expected = free_energies - sampler.log_partition_
    assert_allclose(sampler.score_samples(X), expected, rtol=1e-5)
    log_partition = enumerated_log_partition(sampler.machine_)
    assert abs(sampler.log_partition_ - log_partition) > 0.001  # it is an estimate


@pytest.mark.usefixtures("annealed")
def test_log_partition_is_that_of_the_likelihood_as_it_is_now(cls, X):
    estimator = small(cls).fit(X)
    score = estimator.score(X)
    estimator.set_params(likelihood__n_chains=30)
    changed = estimator.score(X)
    assert changed != score
    assert changed == wrapped(cls, estimator.machine_, n_annealing_chains=30).score(X)
    estimator.set_params(likelihood__n_chains=SMALL["n_annealing_chains"])
    assert estimator.score(X) == score


@pytest.mark.usefixtures("annealed")
def test_log_partition_is_estimated_once(cls, X, monkeypatch):
    calls, original = [], LogPartition._anneal

    def noted(self, *args):
        calls.append(args)
        return original(self, *args)

    monkeypatch.setattr(LogPartition, "_anneal", noted)
    estimator = small(cls).fit(X)
    for _ in range(3):
        estimator.score(X)
    assert len(calls) == 1


def test_partial_fit_removes_the_log_partition(X):
    sampler = small(DBMSampler).fit(X)
    sampler.partial_fit(X)
    assert not hasattr(sampler, "log_partition_")
    assert not hasattr(sampler, "log_partition_std_")
    lower = sampler.score_samples(X, n_importance_samples=0)
    gap = enumerated_log_likelihood(sampler.machine_, X) - lower
    assert -1e-9 < gap.min() < gap.max() < 1


# Samples


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_are_rows_like_those_of_fit(X, dtype):
    sampler = small(DBMSampler).fit(X.astype(dtype))
    rows = sampler.sample(33, **QUICK)
    assert rows.shape == (33, 8)
    assert rows.dtype == dtype
    assert set(np.unique(rows)) == {0, 1}
    assert sampler.sample().shape == (1, 8)
    assert sampler.sample(np.int64(2)).shape == (2, 8)
    double = DBMSampler.from_machine(sampler.machine_.astype("float64"))
    assert double.sample().dtype == np.float64


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, 2.0, "3", None, True])
def test_number_of_samples_must_be_a_positive_integer(sampler, n_samples):
    with pytest.raises(ValueError, match=r"n_samples=.*positive integer"):
        sampler.sample(n_samples)


@pytest.mark.parametrize(
    ("method", "name", "wrong", "message"),
    [
        ("sample", "burn_in", -1, "an integer of at least 0"),
        ("sample", "burn_in", 1.0, "an integer of at least 0"),
        ("impute", "n_chains", 0, "a positive integer"),
        ("impute", "burn_in", -1, "an integer of at least 0"),
        ("impute", "n_sweeps", 0, "a positive integer"),
        ("impute", "n_sweeps", None, "a positive integer"),
    ],
)
def test_schedule_of_chains_is_checked(sampler, X, method, name, wrong, message):
    given = X if method == "impute" else 3
    with pytest.raises(ValueError, match=f"{name}={wrong}; {message}"):
        getattr(sampler, method)(given, **{name: wrong})


def test_samples_repeat_with_an_integer_seed(sampler):
    rows = sampler.sample(30, **QUICK)
    assert_array_equal(sampler.sample(30, **QUICK), rows)
    same = sampler.sample(30, random_state=sampler.random_state, **QUICK)
    assert_array_equal(same, rows)
    other = sampler.sample(30, random_state=sampler.random_state + 1, **QUICK)
    assert not np.array_equal(other, rows)


def test_samples_advance_a_random_state(sampler):
    rng = np.random.RandomState(3)
    first, second = (sampler.sample(30, random_state=rng, **QUICK) for _ in range(2))
    assert not np.array_equal(first, second)
    assert_array_equal(sampler.sample(30, random_state=3, **QUICK), first)
    own = copy.copy(sampler).set_params(random_state=np.random.RandomState(3))
    assert_array_equal(own.sample(30, **QUICK), first)
    assert_array_equal(own.sample(30, **QUICK), second)


def test_samples_without_a_seed_differ(sampler):
    free = copy.copy(sampler).set_params(random_state=None)
    assert not np.array_equal(free.sample(30, **QUICK), free.sample(30, **QUICK))


def test_chains_move_before_their_samples(sampler):
    first = sampler.sample(20, burn_in=0)
    assert not np.array_equal(sampler.sample(20, burn_in=1), first)


def test_chains_sweep_as_often_as_they_are_told(sampler, monkeypatch):
    """Whatever is left to the defaults, or asked for in place of them."""
    sweeps, original = [], sampling.gibbs_sweeps

    def noted(machine, states, n_sweeps, **kwargs):
        sweeps.append(n_sweeps)
        return original(machine, states, n_sweeps, **kwargs)

    monkeypatch.setattr(sampling, "gibbs_sweeps", noted)
    for asked, expected in (
        ({}, [100]),
        ({"burn_in": 7}, [7]),
        ({"burn_in": 0}, [0]),
    ):
        sweeps.clear()
        sampler.sample(5, **asked)
        assert sweeps == expected
    sweeps.clear()
    gaps = np.full((1, 8), np.nan)
    sampler.sample(2, given=gaps, burn_in=9)
    sampler.sample(2, given=gaps)
    assert sweeps == [9, 100]


@pytest.mark.parametrize("annealing", [False, True])
def test_the_chains_of_the_training_play_no_part_in_samples(
    sampler, monkeypatch, annealing
):
    if annealing:
        monkeypatch.setattr(likelihood.exact, "PREFER_EXACT_STATES", 0)
    trained = copy.deepcopy(sampler.set_params(warm_start=True))
    sampler.set_params(warm_start=False)
    rows = trained.sample(30, **QUICK)
    for state in trained._state.chains:
        state[:] = 1
    assert_array_equal(copy.deepcopy(trained).sample(30, **QUICK), rows)
    again = pickle.loads(pickle.dumps(trained))
    assert_array_equal(again.sample(30, **QUICK), rows)


@pytest.mark.parametrize("burn_in", [0, 100])
def test_imputing_chains_begin_where_the_probability_is(burn_in):
    """Not with one of the two kinds of rows, as mean field does."""
    sign = np.repeat([1, -1], 3)
    machine = DeepBoltzmannMachine(
        [0.8 * np.outer(sign, sign)], [np.minimum(0, 0.1 * sign) - 0.2, np.zeros(6)]
    )
    sampler = DBMSampler.from_machine(machine, random_state=0)
    gaps = np.full((1, 6), np.nan)
    p = np.exp(enumerated_log_likelihood(machine, all_states(6)))
    exact = p @ all_states(6)
    means = sampler.impute(gaps, n_chains=2000, burn_in=burn_in, n_sweeps=1)[0]
    # Means of 2000 independent chains; that they are means makes the error smaller.
    error = 6 * np.sqrt(exact * (1 - exact) / 2000)
    assert np.all(np.abs(means - exact) < error)


@pytest.mark.usefixtures("narrow_blocks")
def test_samples_do_not_depend_on_n_jobs(sampler):
    one = copy.copy(sampler).set_params(n_jobs=1)
    two = copy.copy(sampler).set_params(n_jobs=2)
    assert_array_equal(one.sample(700, **QUICK), two.sample(700, **QUICK))


def test_samples_have_the_moments_of_the_machine():
    rng = np.random.default_rng(5)
    machine = DeepBoltzmannMachine(
        [rng.normal(0, 0.7, shape) for shape in [(6, 5), (5, 4)]],
        [rng.normal(0, 0.5, size) for size in (6, 5, 4)],
    )
    v = all_states(6)
    p = np.exp(enumerated_log_likelihood(machine, v))
    moments = (p[:, None] * v).T @ v
    n = 4000
    rows = DBMSampler.from_machine(machine).sample(n)
    error = rows.T @ rows / n - moments
    assert np.all(np.abs(error) < 6 * np.sqrt(moments * (1 - moments) / n))


@pytest.mark.parametrize("enumerated", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_samples_without_training_begin_in_the_right_proportions(
    monkeypatch, enumerated, seed
):
    """Gibbs chains would stay for long in the kind of state they began with."""
    if not enumerated:
        monkeypatch.setattr(likelihood.exact, "PREFER_EXACT_STATES", 0)
    sign = np.repeat([1, -1], 4)
    machine = DeepBoltzmannMachine(
        [3.0 * np.outer(sign, sign)], [np.minimum(0, 0.3 * sign), np.zeros(8)]
    )
    p = np.exp(enumerated_log_likelihood(machine, all_states(8)))
    share, n = p @ all_states(8)[:, 0], 2000
    sampler = DBMSampler.from_machine(
        machine, n_chains=n, likelihood=Likelihood(n_chains=n), random_state=seed
    )
    # Annealed chains of even weights are as good as independent ones; half are allowed.
    error = 6 * np.sqrt(2 * share * (1 - share) / n)
    assert error < 0.1
    assert abs(sampler.sample(n, burn_in=1)[:, 0].mean() - share) < error


# partial_fit


def test_partial_fit_returns_self(cls, X):
    estimator = small(cls)
    assert estimator.partial_fit(X) is estimator
    assert estimator.partial_fit(X) is estimator
    assert estimator.n_iter_ == 2
    assert {len(values) for values in estimator.history_.values()} == {2}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_of_whole_batches_are_like_one_chunk(cls, dtype):
    X = two_kinds(60).astype(dtype)
    whole = small(cls).partial_fit(X)
    parts = small(cls)
    for chunk in np.split(X, [20, 30]):
        parts.partial_fit(chunk)
    assert_same_machine(whole, parts)
    assert whole.machine_.dtype == np.float32


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("start", ["unfitted", "fit", "from_machine", "partial_fit"])
def test_partial_fit_goes_on_from_any_start(cls, X, start, redraw):
    estimator = small(cls, visible=Probabilities(redraw=redraw))
    if start == "from_machine":
        machine = small(cls).fit(X).machine_
        estimator = cls.from_machine(machine, **estimator.get_params(deep=False))
    elif start != "unfitted":
        getattr(estimator, start)(X)
    n_before = getattr(estimator, "n_iter_", 0)
    for n_done, n_rows in enumerate([1, 11, 10, 7], start=1):
        assert estimator.partial_fit(X[:n_rows]).n_iter_ == n_before + n_done
    before = copy.copy(estimator)
    assert not same_machine(before, estimator.partial_fit(X))
    assert np.isfinite(estimator.score(X))
    assert estimator.machine_.dtype == np.float32


@pytest.mark.parametrize("start", ["fit", "from_machine", "partial_fit"])
def test_partial_fit_goes_on_after_unpickling(cls, X, start):
    estimator = small(cls, warm_start=start == "fit")
    if start == "from_machine":
        machine = small(cls).fit(X).machine_
        estimator = cls.from_machine(machine, **estimator.get_params(deep=False))
    else:
        getattr(estimator, start)(X)
    unpickled = pickle.loads(pickle.dumps(estimator))
    for chunk in (X[:13], X):
        estimator.partial_fit(chunk)
        unpickled.partial_fit(chunk)
    assert_same_machine(estimator, unpickled)


def test_partial_fit_learns(cls, X):
    estimator = small(cls, **LONGER)
    for _ in range(LONGER["max_iter"]):
        estimator.partial_fit(X)
    p = X.mean(axis=0)
    independent = np.mean(X @ np.log(p) + (1 - X) @ np.log1p(-p))
    assert estimator.score(X) > independent + 0.5


def test_partial_fit_leaves_other_estimators_alone(cls, X):
    estimator = small(cls).fit(X)
    shared = copy.copy(estimator)
    with unchanged(estimator):
        shared.partial_fit(X)


def test_partial_fit_keeps_its_learning_rate(cls, X):
    estimator = small(cls, learning_rate_init=0.02)
    for _ in range(3):
        estimator.partial_fit(X)
    assert estimator.history_["learning_rate"] == [0.02] * 3


def test_the_automatic_rate_of_chunks_is_that_of_the_first(cls, X):
    whole = small(cls, learning_rate_init="auto").partial_fit(X)
    chunks = copy.deepcopy(whole).partial_fit(X[:, :1].repeat(X.shape[1], axis=1))
    (rate,) = whole.history_["learning_rate"]
    assert chunks.history_["learning_rate"] == [rate] * 2
    of_fit = Probabilities().learning_rate(X, SMALL["hidden_layer_sizes"][0])
    assert rate == start.SLOW_RATE * of_fit


def test_partial_fit_does_not_copy_the_working_memory(cls, X, monkeypatch):
    """It is as large as the machine, and written anew by every update."""
    made, original = [], Workspace.__init__

    def noted(self, *args):
        made.append(args)
        original(self, *args)

    def copied(self, protocol):
        raise AssertionError("the working memory is copied")

    estimator = small(cls).partial_fit(X)
    room = estimator._state._workspace
    monkeypatch.setattr(Workspace, "__init__", noted)
    monkeypatch.setattr(Workspace, "__reduce_ex__", copied)
    estimator.partial_fit(X)
    assert not made
    assert estimator._state._workspace is room
    assert pickle.loads(pickle.dumps(estimator._state))._workspace is None
    estimator.fit(X)  # no chunks are to come
    assert estimator._state._workspace is None


@pytest.mark.parametrize("bad", [np.ones((3, 7)), np.full((3, 8), np.nan)])
def test_partial_fit_that_fails_changes_nothing(fitted, bad):
    with (
        unchanged(fitted),
        pytest.raises(ValueError, match=r"features|NaN"),
    ):
        fitted.partial_fit(bad)


# warm_start


def test_warm_start_goes_on(cls, X):
    estimator = small(cls, warm_start=True).fit(X)
    first = copy.deepcopy(estimator.history_)
    # With a learning rate of almost nothing the weights must stay where they were.
    estimator.set_params(max_iter=2, learning_rate_init=1e-9).fit(X)
    assert estimator.n_iter_ == 5
    for key, values in estimator.history_.items():
        assert values[:3] == first[key]
        assert len(values) == 5
    norms = estimator.history_["weight_norms"]
    assert_allclose(norms[3:], [norms[2]] * 2, rtol=1e-5)


def test_warm_start_goes_on_from_a_machine(cls, transformer, X):
    slow = {"warm_start": True, "learning_rate_init": 1e-9}
    estimator = wrapped(cls, transformer.machine_, **slow).fit(X)
    assert estimator.n_iter_ == 3
    for new, old in zip(parameters(estimator), parameters(transformer), strict=True):
        assert_allclose(new, old, rtol=1e-5, atol=1e-6)


def test_warm_start_of_an_unfitted_estimator_is_a_fit(cls, X):
    assert_same_machine(small(cls, warm_start=True).fit(X), small(cls).fit(X))


def test_fit_without_warm_start_starts_anew(cls, X):
    again = small(cls).fit(X[:32]).fit(X)
    assert again.n_iter_ == 3
    assert_same_machine(again, small(cls).fit(X))
    assert again.fit(X[:, :5]).n_features_in_ == 5


def test_warm_start_refuses_other_columns(cls, X):
    estimator = small(cls, warm_start=True).fit(X)
    with (
        unchanged(estimator),
        pytest.raises(ValueError, match="expecting 8 features"),
    ):
        estimator.fit(X[:, :5])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_continued_training_refuses_other_layers(cls, X, method):
    estimator = small(cls, warm_start=True).fit(X)
    estimator.set_params(hidden_layer_sizes=(3, 2))
    with (
        unchanged(estimator),
        pytest.raises(ValueError, match="hidden_layer_sizes"),
    ):
        getattr(estimator, method)(X)


def test_average_of_a_warm_start_leans_on_the_new_fit_alone(cls, X):
    estimator = small(cls, warm_start=True, batch_size=1000).fit(X)
    assert not same_machine(estimator, newest(estimator))
    estimator.set_params(max_iter=1, learning_rate_init=0.2).fit(X)
    assert_same_machine(estimator, newest(estimator))  # after a single update
    goes_on = small(cls, warm_start=True, batch_size=1000, learning_rate_init=0.2)
    goes_on.fit(X).partial_fit(X)
    assert not same_machine(goes_on, newest(goes_on))


def newest(estimator):
    """What is like the estimator but for the averaging of the weights."""
    return SimpleNamespace(machine_=estimator._state.machine)


def test_a_warm_start_draws_what_no_fit_before_drew(cls, X, monkeypatch):
    drawn, original = [], _fitting.draw_seeds

    def noted(*args, **kwargs):
        seeds = original(*args, **kwargs)
        drawn.append(
            {name: ops.generator(seed).random() for name, seed in seeds.items()}
        )
        return seeds

    monkeypatch.setattr(_fitting, "draw_seeds", noted)
    estimator = small(cls, warm_start=True)
    for _ in range(3):
        estimator.fit(X)
    again = small(cls, warm_start=True).fit(X)
    values = [value for seeds in drawn[:3] for value in seeds.values()]
    assert len(set(values)) == len(values) == 3 * len(_fitting.STREAMS)
    assert drawn[3] == drawn[0]
    again.fit(X)
    assert drawn[4] == drawn[1]


def test_a_warm_start_takes_rows_in_a_new_order(cls, X, monkeypatch):
    taken, original = [], EncodedRows.read

    def noted(self, indices, *args):
        taken.append(tuple(indices))
        return original(self, indices, *args)

    monkeypatch.setattr(EncodedRows, "read", noted)
    params = {"pretraining": None, "batch_size": 64, "alpha": 0.0}
    small(cls, warm_start=True, **params).fit(X).fit(X)
    # The last check reads all rows as they stand, and is no training.
    orders = [rows for rows in taken if rows != tuple(range(len(X)))]
    assert len(set(orders)) == len(orders) == 6


@pytest.mark.parametrize("seed", ["integer", "instance", None])
@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
def test_held_out_rows_stay_over_warm_starts(cls, held_out, seed):
    X = np.arange(64)[:, None] / 64
    kinds = {"integer": 0, "instance": np.random.RandomState(0), None: None}
    estimator = small(
        cls, warm_start=True, early_stopping=True, tol=1e6, random_state=kinds[seed]
    )
    estimator.fit(X).fit(X).fit(X)
    once_more = clone(estimator).set_params(random_state=1).fit(X)
    assert once_more.n_iter_ > 0
    first, second, third, other = held_out
    for training, parts in (second, third):
        assert_array_equal(training, first[0])
        for rows, expected in zip(parts, first[1], strict=True):
            assert_array_equal(rows, expected)
    assert not np.array_equal(other[0], first[0])


# The record


def test_history(cls, X):
    estimator = small(cls).fit(X)
    assert set(estimator.history_) == {
        "reconstruction_error",
        "energy_gap",
        "chain_autocorrelation",
        "effective_chains",
        "least_acceptance",
        "rungs",
        "renewals",
        "mean_field_sweeps",
        "unconverged",
        "dead_units",
        "weight_norms",
        "learning_rate",
        "seconds",
    }
    assert {len(values) for values in estimator.history_.values()} == {3}
    assert {len(norms) for norms in estimator.history_["weight_norms"]} == {2}
    assert min(estimator.history_["seconds"]) > 0
    assert 0 < min(estimator.history_["reconstruction_error"]) < 1
    sweeps = estimator.history_["mean_field_sweeps"]
    assert 1 <= sweeps[0] <= SMALL["n_mean_field_steps"]
    assert sweeps[1] == 0  # chains of rows go on
    assert {len(shares) for shares in estimator.history_["dead_units"]} == {2}
    assert np.max(np.abs(estimator.history_["chain_autocorrelation"])) < 1
    assert min(estimator.history_["effective_chains"]) > 0
    assert max(estimator.history_["effective_chains"]) <= 1 + 1e-9
    # Ten chains are too few for a ladder.
    assert np.isnan(estimator.history_["least_acceptance"]).all()
    assert estimator.history_["rungs"] == estimator.history_["renewals"] == [0] * 3


@pytest.mark.parametrize(
    ("alpha", "last", "n_updates"),
    [(0.0, [6, 13, 20], 21), ("auto", [5, 11, 18], 19)],  # rows held out at first
)
def test_learning_rate_falls_linearly(cls, X, alpha, last, n_updates):
    rates = small(cls, alpha=alpha).fit(X).history_["learning_rate"]
    assert_allclose(rates, 0.02 * (1 - np.array(last) / n_updates))
    assert rates[2] < 0.1 * 0.02


# Early stopping


@pytest.fixture
def held_out(monkeypatch):
    """Note how rows are split for early stopping: pairs of training and held-out."""
    splits, original = [], _fitting.hold_out

    def noted(estimator, X):
        training, stopping = original(estimator, X)
        splits.append((training, stopping.rows.parts))
        return training, stopping

    monkeypatch.setattr(_fitting, "hold_out", noted)
    return splits


@pytest.mark.parametrize("n_importance_samples", [0, 5])
@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
def test_early_stopping_keeps_the_best_machine(cls, held_out, X, n_importance_samples):
    estimator = small(
        cls,
        max_iter=12,
        learning_rate_init=0.3,  # the score goes up and down
        early_stopping=True,
        validation_fraction=0.25,
        evaluate_every=2,
        n_iter_no_change=12,
        tol=0,
        n_importance_samples=n_importance_samples,
    ).fit(X)
    [(training, (validation, _))] = held_out
    assert validation.shape == (16, 8)
    split = np.vstack([training, validation])
    assert_array_equal(np.sort(split, axis=0), np.sort(X, axis=0))
    scores = estimator.history_["validation_score"]
    assert list(np.isnan(scores)) == [True, False] * 6
    assert_allclose(estimator.score(validation), np.nanmax(scores), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_checking_rows_takes_no_memory_that_grows_with_them(dtype):
    X = np.zeros((2000, 500), dtype)
    tracemalloc.start()
    checked = check_bounds(X, Probabilities(), "rows", training=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert checked is X
    assert peak < X.size / 10  # a tenth of a byte a value


def test_early_stopping_stops(cls, X):
    estimator = small(
        cls,
        max_iter=50,
        early_stopping=True,
        evaluate_every=1,
        n_iter_no_change=2,
        tol=1e6,  # nothing counts as an improvement of the first score
    ).fit(X)
    assert estimator.n_iter_ == 3


def test_early_stopping_evaluates_before_it_stops(cls, X):
    estimator = small(
        cls,
        max_iter=50,
        early_stopping=True,
        evaluate_every=4,
        n_iter_no_change=1,
        tol=1e6,
    ).fit(X)
    assert estimator.n_iter_ == 8  # the second evaluation is the first to judge
    assert np.count_nonzero(np.isfinite(estimator.history_["validation_score"])) == 2


def test_early_stopping_warns_when_it_did_not_stop(cls, X):
    estimator = small(cls, early_stopping=True, evaluate_every=1, n_iter_no_change=50)
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        estimator.fit(X)
    assert estimator.n_iter_ == 3
    assert np.isfinite(estimator.score(X))


def test_early_stopping_needs_rows_to_train_on(cls, X):
    estimator = small(cls, early_stopping=True, validation_fraction=0.9)
    with pytest.raises(ValueError, match=r"validation_fraction=0\.9 of 3 rows"):
        estimator.fit(X[:3])


@pytest.mark.parametrize("fraction", [0.25, 0.75])
@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
def test_training_rows_to_compare_with_are_training_rows(cls, X, fraction, held_out):
    numbers = np.arange(64)[:, None] / 64
    small(cls, early_stopping=True, validation_fraction=fraction, tol=1e6).fit(numbers)
    [(training, (validation, sample))] = held_out
    assert len(np.union1d(training, validation)) == 64
    assert len(np.unique(sample)) == len(sample) == 16
    assert np.isin(sample, training).all()


@pytest.mark.parametrize("visible", ["bernoulli", "counts"])
@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
def test_overfitting_is_the_gap_of_the_scores(cls, X, visible, held_out):
    machines = []
    estimator = small(
        cls, max_iter=9, visible=visible, early_stopping=True, evaluate_every=2
    )
    keep = Watcher(lambda record, fitted: machines.append(fitted.machine_))
    estimator.set_callbacks(keep).fit(X)
    [(_, (validation, sample))] = held_out
    scored = [wrapped(cls, machine) for machine in machines]
    expected = [one.score(sample) - one.score(validation) for one in scored]
    evaluated = np.isin(np.arange(1, 10), [2, 4, 6, 8, 9])
    found = np.array(estimator.history_["overfitting"])
    assert_allclose(found[evaluated], np.array(expected)[evaluated], atol=1e-4)
    assert np.isnan(found[~evaluated]).all()


@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
@pytest.mark.filterwarnings("ignore:Training has failed")
def test_log_partition_cancels_in_overfitting(cls, X, monkeypatch):
    watched = {"hidden_layer_sizes": 6, "early_stopping": True, "evaluate_every": 1}
    exact = small(cls, **watched).fit(X).history_
    monkeypatch.setattr(LogPartition, "of", lambda *_, **__: (1e3, 0.0))
    wrong = small(cls, **watched).fit(X).history_
    assert max(wrong["validation_score"]) < -900 < min(exact["validation_score"])
    assert_allclose(wrong["overfitting"], exact["overfitting"], atol=1e-10)


# Callbacks that watch the training


def test_callback_sees_every_epoch_of_the_joint_training(cls, X):
    seen = []

    def watch(record, fitted):
        seen.append((copy.deepcopy(record), copy.deepcopy(fitted.machine_)))
        for array in parameters(fitted):
            array[:] = np.nan  # a copy; training does not notice

    estimator = small(cls).set_callbacks(Watcher(watch)).fit(X)
    assert len(seen) == 3  # and none in pretraining
    for epoch, (record, _) in enumerate(seen):
        assert record == {key: row[epoch] for key, row in estimator.history_.items()}
    assert_same_machine(estimator, SimpleNamespace(machine_=seen[-1][1]))
    assert_same_machine(estimator, small(cls).fit(X))


def test_callback_ends_the_training(cls, X):
    machines = []

    def watch(record, fitted):
        machines.append(fitted.machine_)
        return len(machines) == 2

    estimator = small(cls, max_iter=20).set_callbacks(Watcher(watch)).fit(X)
    assert estimator.n_iter_ == len(estimator.history_["seconds"]) == 2
    assert_same_machine(estimator, SimpleNamespace(machine_=machines[-1]))
    assert np.isfinite(estimator.score(X))


def test_callback_adds_to_the_record(cls, X):
    scores = iter([0.5, 0.25, 0.125])

    def watch(record, fitted):
        record["own"] = next(scores)

    estimator = small(cls).set_callbacks(Watcher(watch)).fit(X)
    assert estimator.history_["own"] == [0.5, 0.25, 0.125]


class Bystander(Watcher):
    """Do not ask for a fitted estimator."""

    def on_fit_task_end(self, estimator, context):
        self.function()


def test_callback_that_does_not_ask_costs_no_copy(cls, X, monkeypatch):
    copies, original = [], State.snapshot

    def noted(self):
        copies.append(self)
        return original(self)

    monkeypatch.setattr(State, "snapshot", noted)
    epochs = []
    bystander = Bystander(lambda: epochs.append(None))
    small(cls, pretraining=None).set_callbacks(bystander).fit(X)
    assert len(epochs) == 3 + 1
    assert len(copies) == 1


def test_callback_with_early_stopping_keeps_the_best_machine(cls, X, held_out):
    epochs = itertools.count(1)
    estimator = small(
        cls,
        max_iter=20,
        learning_rate_init=0.3,  # the score goes up and down
        early_stopping=True,
        evaluate_every=1,
        n_iter_no_change=20,
        tol=0,
    )
    stop = Watcher(lambda record, fitted: next(epochs) == 8)
    estimator.set_callbacks(stop).fit(X)
    scores = estimator.history_["validation_score"]
    assert len(scores) == 8
    assert_allclose(estimator.score(held_out[0][1][0]), max(scores), rtol=1e-4)


def test_partial_fit_is_not_watched(cls, X):
    seen = []
    watcher = Watcher(lambda record, fitted: seen.append(record) or True)
    estimator = small(cls, max_iter=20).set_callbacks(watcher).fit(X)
    assert estimator.n_iter_ == len(seen) == 1
    assert estimator.partial_fit(X).partial_fit(X).n_iter_ == 3
    assert len(seen) == 1


def divide_by_zero(record, fitted):
    return 1 / 0


def test_error_in_a_callback_leaves_the_estimator_as_it_was(cls, X):
    estimator = small(cls).fit(X).set_callbacks(Watcher(divide_by_zero))
    with unchanged(estimator), pytest.raises(ZeroDivisionError):
        estimator.fit(X)


# Interrupts


@pytest.fixture
def interrupt(monkeypatch):
    """Make training raise KeyboardInterrupt after some epochs, or some updates."""

    def after(n_calls, name="epoch"):
        place = {"epoch": (epochs.Epoch, "train"), "update": (epochs, "update")}[name]
        original, calls = getattr(*place), []

        def called(*args, **kwargs):
            if len(calls) >= n_calls:
                calls.append("interrupted")
                raise KeyboardInterrupt
            calls.append("done")
            return original(*args, **kwargs)

        monkeypatch.setattr(*place, called)
        return calls

    return after


@pytest.mark.parametrize("n_epochs", [0, 1, 3])
def test_interrupt_before_an_epoch_of_the_joint_training(cls, X, interrupt, n_epochs):
    """Three epochs for the lowest layer, three for all."""
    fresh = small(cls)
    before = small(cls).fit(X).set_params(random_state=1)
    for estimator in (fresh, before):
        calls = interrupt(n_epochs)
        with unchanged(estimator), pytest.raises(KeyboardInterrupt) as raised:
            estimator.fit(X)
        assert raised.type is KeyboardInterrupt
        assert calls == ["done"] * n_epochs + ["interrupted"]
        calls.clear()


@pytest.mark.parametrize(
    ("name", "n_calls", "n_joint"),
    [("epoch", 4, 1), ("epoch", 5, 2), ("update", 25, 1), ("update", 36, 2)],
)
def test_interrupt_keeps_what_was_learned(
    cls, X, interrupt, monkeypatch, name, n_calls, n_joint
):
    """Six updates an epoch, and seven of all rows in the last one."""
    interrupt(n_calls, name)
    estimator = small(cls)
    message = f"after {n_joint} of 3 epochs"
    with pytest.raises(TrainingInterrupted, match=message) as raised:
        estimator.fit(X)
    assert isinstance(raised.value, KeyboardInterrupt)
    assert type(raised.value.__cause__) is KeyboardInterrupt
    assert estimator.n_iter_ == n_joint
    assert len(estimator.history_["seconds"]) == n_joint
    monkeypatch.undo()
    exact = enumerated_log_likelihood(estimator.machine_, X)
    lower = estimator.score_samples(X, n_importance_samples=0)
    assert np.all(lower < exact + 1e-5)
    if name == "epoch":
        fitted = small(cls)
        kept = []
        watcher = Watcher(lambda record, fitted: kept.append(fitted) or True)
        if n_joint == 1:
            fitted.set_callbacks(watcher).fit(X)
            assert_same_machine(estimator, kept[0])
    assert estimator.partial_fit(X).n_iter_ == n_joint + 1


def test_interrupt_of_a_warm_start_goes_on_with_the_history(cls, X, interrupt):
    estimator = small(cls, warm_start=True).fit(X)
    interrupt(2)
    with pytest.raises(TrainingInterrupted, match="after 2 of 3 epochs"):
        estimator.fit(X)
    assert estimator.n_iter_ == len(estimator.history_["seconds"]) == 5


@pytest.mark.parametrize("method", ["partial_fit", "score"])
def test_interrupt_of_other_methods_changes_nothing(cls, X, monkeypatch, method):
    estimator = small(cls).fit(X)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "update", interrupted)
    monkeypatch.setattr(LogPartition, "of", interrupted)
    with unchanged(estimator), pytest.raises(KeyboardInterrupt):
        getattr(estimator, method)(X)


def test_interrupt_in_a_callback_keeps_what_was_learned(cls, X):
    seen = []

    def watch(record, fitted):
        seen.append(fitted)
        if len(seen) == 2:
            raise KeyboardInterrupt

    estimator = small(cls).set_callbacks(Watcher(watch))
    with pytest.raises(TrainingInterrupted, match="after 2 of 3 epochs"):
        estimator.fit(X)
    assert_same_machine(estimator, seen[-1])


def test_interrupted_early_stopping_keeps_the_best_machine(cls, X, interrupt, held_out):
    interrupt(7)
    estimator = small(
        cls,
        pretraining=None,
        max_iter=20,
        early_stopping=True,
        evaluate_every=1,
        n_iter_no_change=20,
        tol=0,
    )
    with pytest.raises(TrainingInterrupted, match="after 7 of 20 epochs"):
        estimator.fit(X)
    best = np.nanmax(estimator.history_["validation_score"])
    assert_allclose(estimator.score(held_out[0][1][0]), best, rtol=1e-4)


def test_interrupt_of_log_partition_leaves_no_stale_one(X, monkeypatch):
    sampler = small(DBMSampler).fit(X)
    before = SimpleNamespace(machine_=sampler.machine_)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LogPartition, "of", interrupted)
        with pytest.raises(TrainingInterrupted, match="log Z"):
            sampler.set_params(learning_rate_init=0.2).fit(X)
    assert not same_machine(sampler, before)
    assert sampler.n_iter_ == 3
    assert not hasattr(sampler, "log_partition_")
    assert not hasattr(sampler, "log_partition_std_")
    lower = sampler.score_samples(X, n_importance_samples=0)
    gap = enumerated_log_likelihood(sampler.machine_, X) - lower
    assert -1e-5 < gap.min() < gap.max() < 1


@pytest.mark.parametrize("late", ["least_log_partition", "shortfall"])
def test_interrupt_of_what_follows_training_loses_nothing(late, X, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_fitting, late, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(TrainingInterrupted, match="after 3 of 3 epochs"):
            (sampler := small(DBMSampler)).fit(X)
    assert same_machine(sampler, small(DBMSampler).fit(X))
    assert np.isfinite(sampler.score(X))


@pytest.mark.parametrize("n_epochs", [2, 4, 8])
@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_interrupt_stops_a_search(cls, X, interrupt, n_epochs, error_score):
    """In the first epochs of the first fit, in its joint training, in the second."""
    calls = interrupt(n_epochs)
    search = GridSearchCV(
        small(cls), {"alpha": [0.0, 0.1]}, cv=2, n_jobs=1, error_score=error_score
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(X)
    assert calls == ["done"] * n_epochs + ["interrupted"]
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize("n_epochs", [2, 4])
def test_interrupt_stops_a_pipeline(X, kinds, interrupt, n_epochs):
    interrupt(n_epochs)
    first, last = small(DBMTransformer), LogisticRegression()
    with pytest.raises(KeyboardInterrupt):
        make_pipeline(first, last).fit(X, kinds)
    assert hasattr(first, "machine_") == (n_epochs == 4)
    assert not hasattr(last, "coef_")


# Failures


def _fails(estimator, X, reason):
    """Call `fit` so that it fails."""
    if reason == "divergence":
        diverging = {"learning_rate_init": 50.0, "max_iter": 50}
        with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
            estimator.set_params(**diverging).fit(X)
    elif reason == "bad X":
        with pytest.raises(ValueError, match="NaN"):
            estimator.fit(np.full_like(X, np.nan))
    elif reason == "negative X":
        with pytest.raises(ValueError, match="Negative values"):
            estimator.fit(X - 1)
    else:
        with pytest.raises(ValueError, match="'alpha' parameter"):
            estimator.set_params(alpha=-1.5).fit(X)


REASONS = ["divergence", "bad X", "negative X", "bad parameter"]


@pytest.mark.parametrize("reason", REASONS)
def test_estimator_is_not_fitted_after_a_failure(cls, X, reason):
    estimator = small(cls)
    _fails(estimator, X, reason)
    with pytest.raises(NotFittedError, match="not fitted"):
        estimator.score(X)
    assert vars(estimator).keys() == estimator.get_params(deep=False).keys()


@pytest.mark.parametrize("reason", REASONS)
def test_fitted_estimator_survives_a_failure(cls, X, reason):
    estimator = small(cls).fit(X)
    params = estimator.get_params(deep=False)
    learned = joblib.hash(vars(estimator))
    _fails(estimator, X, reason)
    estimator.set_params(**params)
    assert joblib.hash(vars(estimator)) == learned


def test_divergence_in_pretraining(cls, X):
    estimator = small(cls, learning_rate_init=50.0, pretraining_max_iter=50)
    with pytest.raises(FloatingPointError, match="Training diverged"):
        estimator.fit(X)


@pytest.fixture
def set_automatic_rate(monkeypatch):
    """Make a function that sets what "auto" stands for."""

    def set_rate(rate):
        monkeypatch.setattr(Probabilities, "learning_rate", lambda *arguments: rate)

    return set_rate


@pytest.mark.parametrize("pretraining", [None, "greedy"])
def test_automatic_rate_that_diverges_or_fails_is_lowered(
    cls, X, pretraining, set_automatic_rate
):
    """Which rates do, and what the next one gives, fits with that rate say."""
    longer = {"max_iter": 20, "pretraining_max_iter": 20, "pretraining": pretraining}
    rates, works = [50.0], None
    while works is None:
        try:
            works = small(cls, learning_rate_init=rates[-1], **longer).fit(X)
        except (FloatingPointError, ConvergenceWarning):
            rates.append(float(f"{rates[-1] / 4:.2g}"))
    assert 1 < len(rates) < 5
    set_automatic_rate(50.0)
    estimator = small(cls, learning_rate_init="auto", **longer)
    with pytest.warns(ConvergenceWarning, match="begins again") as caught:
        estimator.fit(X)
    advised = [
        re.search(r"learning_rate_init=(\S+) saves", str(w.message)) for w in caught
    ]
    assert [float(found[1]) for found in advised if found] == rates[1:]
    assert estimator.n_iter_ == works.n_iter_ == 20
    assert_same_machine(estimator, works)


def test_automatic_rate_is_lowered_three_times_at_most(cls, X, set_automatic_rate):
    set_automatic_rate(1e6)
    estimator = small(cls, learning_rate_init="auto")
    with (
        unchanged(estimator),
        pytest.warns(ConvergenceWarning) as caught,
        pytest.raises(FloatingPointError, match="Training diverged"),
    ):
        estimator.fit(X)
    assert len(caught) == 3


def test_divergence_in_partial_fit(cls, X):
    estimator = small(cls).partial_fit(X).set_params(learning_rate_init=1e4)
    with (
        unchanged(estimator),
        pytest.raises(FloatingPointError, match="Training diverged"),
    ):
        estimator.partial_fit(X)


# What the rows may be


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_must_be_finite(fitted, X, value):
    X[3, 2] = value
    for call in (clone(fitted).fit, clone(fitted).partial_fit, fitted.score):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            call(X)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_negative_values_are_no_probabilities(cls, X, container):
    X[3, 2] = -1e-6
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=f"Negative values .* {cls.__name__}"):
            getattr(small(cls), method)(container(X))


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csc_array])
def test_values_above_one_are_clipped_with_one_warning(cls, X, container):
    beyond, clipped = X.copy(), X.copy()
    beyond[3, 2], clipped[3, 2] = 1.5, 1.0
    given = container(beyond)
    digest = joblib.hash(given)
    with pytest.warns(DataConversionWarning, match=r"values .* to 1\.5") as record:
        estimator = small(cls).fit(given)
    assert len(record) == 1
    assert joblib.hash(given) == digest
    assert_same_machine(estimator, small(cls).fit(container(clipped)))
    with pytest.warns(DataConversionWarning, match=r"values .* to 1\.5") as record:
        score = estimator.score(given)
    assert len(record) == 1
    assert score == estimator.score(container(clipped))


def test_held_out_rows_may_leave_the_range_on_both_sides(transformer, X):
    beyond = X + np.where(X > 0.5, 0.25, -0.25)
    with pytest.warns(DataConversionWarning, match=r"from -0\.25 to 1\.25"):
        features = transformer.transform(beyond)
    assert_array_equal(features, transformer.transform(X))


@pytest.mark.parametrize(("dtype", "excess"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_rounding_errors_are_silent(cls, X, dtype, excess):
    rounded = (X + np.where(X > 0.5, excess, -excess)).astype(dtype)
    estimator = small(cls).fit(rounded)
    assert_same_machine(estimator, small(cls).fit(X.astype(dtype)))
    assert estimator.score(rounded) == estimator.score(X.astype(dtype))


def test_scalers(cls, digits):
    train, held_out = digits[:100] * 16, digits[100:200] * 16
    with pytest.raises(ValueError, match="MinMaxScaler"):
        make_pipeline(StandardScaler(), small(cls)).fit(train)
    pipeline = make_pipeline(MinMaxScaler(), small(cls)).fit(train)
    with pytest.warns(DataConversionWarning, match="MinMaxScaler"):
        pipeline.score(held_out)
    assert np.isfinite(
        make_pipeline(MinMaxScaler(clip=True), small(cls)).fit(train).score(held_out)
    )


@pytest.mark.parametrize(
    "container",
    [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.csc_matrix],
)
def test_sparse_rows_are_like_dense_ones(cls, X, container):
    dense = small(cls).fit(X)
    estimator = small(cls).fit(container(X))
    assert_same_machine(estimator, dense)
    assert_allclose(estimator.score_samples(container(X)), dense.score_samples(X))
    if cls is DBMTransformer:
        features = estimator.transform(container(X))
        assert_allclose(features, dense.transform(X), atol=1e-10)
    estimator.partial_fit(container(X))
    assert_same_machine(estimator, dense.partial_fit(X))


def test_sparse_rows_with_early_stopping_and_redrawing(cls, X):
    options = {
        "early_stopping": True,
        "evaluate_every": 1,
        "n_iter_no_change": 1,
        "tol": 1e6,
        "visible": Probabilities(redraw=True),
    }
    X = X * 0.75
    dense = small(cls, **options).fit(X)
    assert_same_machine(small(cls, **options).fit(sparse.csr_array(X)), dense)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype_of_fit", [np.float32, np.float64])
def test_dtypes_are_kept(X, dtype_of_fit, dtype):
    transformer = small(DBMTransformer, hidden_layer_sizes=6)
    transformer.fit(X.astype(dtype_of_fit))
    assert {array.dtype for array in parameters(transformer)} == {np.dtype("float32")}
    features = transformer.transform(X.astype(dtype))
    assert features.dtype == dtype
    assert transformer.inverse_transform(features).dtype == dtype
    assert_allclose(features, transformer.transform(X), atol=1e-5)
    assert transformer.score_samples(X.astype(dtype)).dtype == np.float64
    assert_allclose(transformer.score(X.astype(dtype)), transformer.score(X), rtol=1e-5)
    double = in_double(transformer)
    assert {array.dtype for array in parameters(double)} == {np.dtype("float64")}
    assert double.transform(X.astype(dtype)).dtype == dtype
    assert double.inverse_transform(features).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_machine_in_double_precision_computes_in_it(transformer, X, dtype):
    """What is left of a row in float32 beyond its seven digits is rounding."""
    double, X = in_double(transformer), X.astype(dtype) * 0.75
    exact = double.transform(X.astype(np.float64))
    digits = np.finfo(dtype).eps
    assert_allclose(double.transform(X), exact, rtol=2 * digits, atol=0)
    assert np.abs(transformer.transform(X) - exact).max() > 1e-9


def test_a_machine_in_single_precision_computes_in_it(transformer, X):
    """So rows of float64 that are numbers of float32 give the same to the bit."""
    X = X * 0.75
    features, scores = transformer.transform(X), transformer.score_samples(X)
    single = X.astype(np.float32)
    assert_array_equal(features, transformer.transform(single))
    assert_array_equal(features, features.astype(np.float32))
    assert_array_equal(scores, transformer.score_samples(single))


def test_training_does_not_depend_on_the_dtype(cls, X):
    X = X * 0.75  # exact in float32, and so are the means of 64 rows
    single, double = (small(cls).fit(X.astype(t)) for t in (np.float32, np.float64))
    assert_same_machine(single, double)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_only_memory_maps(cls, X, tmp_path, dtype, order):
    rows = np.asarray(X, dtype=dtype, order=order)
    joblib.dump(rows, tmp_path / "rows.joblib")
    mapped = joblib.load(tmp_path / "rows.joblib", mmap_mode="r")
    assert not mapped.flags.writeable
    estimator = small(cls).fit(mapped).partial_fit(mapped)
    assert_same_machine(estimator, small(cls).fit(rows).partial_fit(rows))
    assert estimator.score(mapped) == estimator.score(rows)
    assert_array_equal(mapped, rows)


@pytest.mark.parametrize("dtype", [int, bool, np.uint8])
def test_integers_and_booleans(cls, X, dtype):
    estimator = small(cls).fit(X.astype(dtype))
    assert_same_machine(estimator, small(cls).fit(X))
    assert estimator.machine_.dtype == np.float32
    assert estimator.score(X.astype(dtype)) == estimator.score(X)


def test_lists(cls, X):
    assert_same_machine(small(cls).fit(X.tolist()), small(cls).fit(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_batch_size_beyond_the_rows(cls, X, method):
    estimator = getattr(small(cls, batch_size=1000), method)(X)
    assert_same_machine(estimator, getattr(small(cls, batch_size=len(X)), method)(X))


def test_a_single_row(cls, X):
    estimator = small(cls).fit(X[:1])
    assert estimator.score(X[:1]) > estimator.score(1 - X[:1])


def test_constant_columns(cls, X):
    X[:, 0], X[:, 1] = 0, 1
    estimator = small(cls).fit(X)
    assert np.isfinite(estimator.score(X))
    assert np.isfinite(estimator.score(1 - X))


def test_states_of_grey_values_are_drawn_anew(cls, X):
    grey, fixed = 0.2 + 0.6 * X, Probabilities(redraw=False)
    estimator = small(cls).fit(grey)
    assert_same_machine(estimator, small(cls).fit(grey))
    assert_same_machine(estimator, small(cls, visible=Probabilities()).fit(grey))
    assert not same_machine(estimator, small(cls, visible=fixed).fit(grey))
    # for zeros and ones there is nothing to draw
    assert_same_machine(small(cls).fit(X), small(cls, visible=fixed).fit(X))


def test_columns_of_states_are_presented_as_they_are(cls, monkeypatch):
    """A one of two trials is no mean of half a success: it stays a one."""
    shown, draw = [], States.draw

    def watched(encoding, states, rng, out=None):
        shown.append(draw(encoding, states, rng, out).copy())
        return shown[-1]

    monkeypatch.setattr(States, "draw", watched)
    small(cls, visible=Binomial(2)).fit(np.ones((30, 4)))
    assert shown
    assert all(np.all(states == 1) for states in shown)


# What is printed


@pytest.mark.parametrize(
    ("pretraining", "n_epochs"), [("grow", 6), ("greedy", 9), (None, 3)]
)
def test_verbose_prints_a_line_an_epoch(cls, X, capsys, pretraining, n_epochs):
    small(cls, pretraining=pretraining, verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == n_epochs
    for number, line in enumerate(lines, start=1):
        assert re.match(rf"\[{cls.__name__}\] .*epoch {number}/{n_epochs}\b", line)
        assert re.search(r"\d+:\d\d left$", line)
    assert sum("pretraining" in line for line in lines) == n_epochs - 3


def test_verbose_tells_the_time_left(cls, X, capsys, monkeypatch):
    clock = itertools.count(step=40)  # an epoch takes 40 seconds
    monkeypatch.setattr(_progress, "time", SimpleNamespace(perf_counter=clock.__next__))
    small(cls, verbose=1).fit(X)
    left = re.findall(r"(\S+) left", capsys.readouterr().out)
    assert left == [
        "3:20",
        "2:40",
        "2:00",
        "1:20",
        "0:40",
        "0:00",
    ]


def test_verbose_prints_the_held_out_score(cls, X, capsys):
    estimator = small(
        cls,
        pretraining=None,
        early_stopping=True,
        evaluate_every=1,
        n_iter_no_change=1,
        tol=1e6,
        verbose=True,
    ).fit(X)
    scores = re.findall(r"validation score (\S+) nats", capsys.readouterr().out)
    expected = estimator.history_["validation_score"]
    assert scores == [f"{score:.2f}" for score in expected]


class Broken:
    """An output whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("output", ["closed", "broken", "full"])
def test_an_output_that_fails_costs_no_training(cls, X, monkeypatch, output):
    lost = io.StringIO()
    lost.close()
    if output == "broken":
        lost = Broken()
    elif output == "full" and os.path.exists("/dev/full"):
        lost = open("/dev/full", "w")  # noqa: SIM115 (closed below)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", lost)
        estimator = small(cls, verbose=1).fit(X)
    with contextlib.suppress(OSError, AttributeError):
        lost.close()
    assert_same_machine(estimator, small(cls).fit(X))
    assert estimator.n_iter_ == 3


def test_nothing_is_printed_by_default(cls, X, capsys):
    small(cls).fit(X).score(X)
    assert capsys.readouterr() == ("", "")


# Threads and seeds


@pytest.mark.usefixtures("narrow_blocks")
def test_results_do_not_depend_on_n_jobs(cls, digits, monkeypatch):
    monkeypatch.setattr(epochs, "THREADED_WORK", 0)
    monkeypatch.setattr(likelihood.exact, "PREFER_EXACT_STATES", 0)
    one, two = (
        small(
            cls,
            hidden_layer_sizes=(24, 16),
            batch_size=300,
            n_chains=300,
            n_annealing_chains=40,
            n_jobs=n_jobs,
        ).fit(digits)
        for n_jobs in (1, 2)
    )
    assert_same_machine(one, two)
    assert_array_equal(one.score_samples(digits), two.score_samples(digits))
    if cls is DBMTransformer:
        assert_array_equal(one.transform(digits), two.transform(digits))


def test_integer_seeds(cls, X):
    estimator = small(cls, random_state=7).fit(X)
    assert_same_machine(estimator, small(cls, random_state=7).fit(X))
    assert_same_machine(
        estimator, small(cls, random_state=np.random.RandomState(7)).fit(X)
    )
    assert not same_machine(estimator, small(cls, random_state=8).fit(X))


def test_random_state_instances_advance(cls, X):
    estimator = small(cls, random_state=np.random.RandomState(7)).fit(X)
    first = copy.copy(estimator)
    assert not same_machine(first, estimator.fit(X))


def test_no_seed_means_another_result(cls, X):
    estimators = [small(cls, random_state=None).fit(X) for _ in range(2)]
    assert not same_machine(*estimators)


# What the parameters say against what there is


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden": Categorical((2, 4))}, "hidden=.* contradicts the machine"),
        ({"visible": "gaussian"}, "visible='gaussian' contradicts the machine"),
    ],
)
def test_kinds_cannot_be_changed_where_training_goes_on(cls, X, params, message):
    fitted = small(cls, hidden_layer_sizes=6, warm_start=True).fit(X)
    fitted.set_params(**params)
    for method in (fitted.fit, fitted.partial_fit):
        with unchanged(fitted), pytest.raises(ValueError, match=message):
            method(X)
    with pytest.raises(ValueError, match=message):
        cls.from_machine(fitted.machine_, **params)


def test_hidden_units_may_be_named_one_by_one(cls, X):
    named = small(cls, hidden=["bernoulli", Categorical((2, 2))]).fit(X)
    units = (Bernoulli(), Categorical((2, 2)))
    assert named.machine_.units[1:] == units
    assert_same_machine(named, small(cls, hidden=units).fit(X))
    with pytest.raises(ValueError, match="one for each"):
        small(cls, hidden=["bernoulli", "gaussian"]).fit(X)


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        (Mixed([(Probabilities(), [0, 1])]), "made for 2 columns, and X has 8"),
        (Categorical((3, 3)), "has 8 units, and the groups"),
        (Mixed([(States(Categorical((3,))), range(8))]), "has 8 units"),
    ],
)
def test_encodings_of_another_width_are_refused(cls, X, visible, message):
    with pytest.raises(ValueError, match=message):
        small(cls, visible=visible).fit(X)


def test_log_z_of_other_settings_is_estimated_once(X, monkeypatch):
    fitted = small(DBMTransformer, hidden_layer_sizes=30).fit(np.hstack([X] * 4))
    rows, calls = np.hstack([X] * 4), []
    module = importlib.import_module("skdbm.likelihood.log_partition")
    original = module.annealed_with_chains
    monkeypatch.setattr(
        module,
        "annealed_with_chains",
        lambda *args: calls.append(args) or original(*args),
    )
    before = fitted.score(rows)
    fitted.set_params(likelihood__n_chains=30)
    with unchanged(fitted):
        assert len({fitted.score(rows) for _ in range(3)}) == 1
    assert len(calls) == 2
    fitted.set_params(likelihood__n_chains=SMALL["n_annealing_chains"])
    assert fitted.score(rows) == before
    assert len(calls) == 2


def test_grey_values_are_redrawn_around_a_machine_made_by_hand(cls, X):
    machine = DeepBoltzmannMachine([np.zeros((8, 2))], [np.zeros(8), np.zeros(2)])
    wrapped = cls.from_machine(
        machine, **settings(**(SMALL | {"hidden_layer_sizes": 2}))
    )
    assert wrapped.visible == "bernoulli"
    assert wrapped.machine_.encoding == Probabilities()
