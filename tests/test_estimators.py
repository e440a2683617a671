"""What both estimators promise: parameters, training, scores, features, samples."""

import contextlib
import copy
import inspect
import itertools
import pickle
import re
import tracemalloc
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import check_random_state

from skdbm import (
    DBMSampler,
    DBMTransformer,
    DeepBoltzmannMachine,
    _progress,
    likelihood,
)
from skdbm._base import BaseDBM
from skdbm._validation import check_bounds
from skdbm.inference import mean_field
from skdbm.training import trainer
from skdbm.units import Bernoulli

from ._estimators import (
    CLASSES,
    SMALL,
    assert_same_machine,
    parameters,
    small,
    two_kinds,
)

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


@pytest.fixture(scope="module")
def trained():
    """One of each class, well trained on `two_kinds`; not to be changed."""
    return {cls: small(cls, **LONGER).fit(two_kinds()) for cls in CLASSES}


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
    assert transformer.keys() ^ sampler.keys() == {"feature_layers", "burn_in", "thin"}
    shared = transformer.keys() & sampler.keys()
    assert all(transformer[name] == sampler[name] for name in shared)


def test_clone_has_the_parameters_and_nothing_learned(fitted):
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert vars(copied).keys() == fitted.get_params().keys()


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
    assert estimator.machine_.dtype == np.float64


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
    sampler = DBMSampler.from_machine(transformer.machine_, random_state=0, burn_in=9)
    again = DBMTransformer.from_machine(sampler.machine_)
    assert again.machine_ is sampler.machine_ is transformer.machine_
    assert sampler.burn_in == 9
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
    weights, _, hidden = parameters(transformer)
    assert_allclose(transformer.transform(X), expit(X @ weights + hidden), rtol=1e-10)


def test_transform_solves_the_mean_field_equations(transformer, X):
    exact = clone(transformer).set_params(mean_field_tol=1e-12)
    exact = DBMTransformer.from_machine(transformer.machine_, **exact.get_params())
    m1, m2 = np.split(exact.transform(X), [6], axis=1)
    (w0, w1), (_, b1, b2) = exact.machine_.weights, exact.machine_.biases
    assert_allclose(m1, expit(X @ w0 + m2 @ w1.T + b1), atol=1e-9)
    assert_allclose(m2, expit(m1 @ w1 + b2), atol=1e-9)
    # the customary tolerance bounds the change of a sweep, not the error
    assert_allclose(transformer.transform(X), exact.transform(X), atol=0.01)


def test_transform_is_deterministic(transformer, X):
    assert_array_equal(transformer.transform(X), transformer.transform(X.copy()))


def test_transform_of_a_row_does_not_depend_on_its_neighbours(digits):
    rng = np.random.default_rng(0)
    machine = DeepBoltzmannMachine(
        [rng.normal(0, 0.3, (64, 16)), rng.normal(0, 1, (16, 8))],
        [np.zeros(64), np.zeros(16), np.zeros(8)],
    )
    transformer = DBMTransformer.from_machine(machine)
    n_sweeps = mean_field(machine, digits).n_sweeps
    assert n_sweeps.min() + 5 < n_sweeps.max()  # rows take the time that they need
    features = transformer.transform(digits)
    order = rng.permutation(len(digits))
    shuffled = transformer.transform(digits[order])
    assert_allclose(shuffled, features[order], rtol=0, atol=1e-7)
    assert_allclose(transformer.transform(digits[:7]), features[:7], rtol=0, atol=1e-7)
    single = np.vstack([transformer.transform(row[None]) for row in digits[:50]])
    assert_allclose(single, features[:50], rtol=0, atol=1e-7)


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
    chosen = DBMTransformer.from_machine(
        transformer.machine_, feature_layers=feature_layers
    )
    features = chosen.transform(X)
    first = features[:, 4:] if feature_layers == [2, 1] else features[:, :6]
    expected = expit(first @ chosen.machine_.weights[0].T + chosen.machine_.biases[0])
    assert_allclose(chosen.inverse_transform(features), expected, rtol=1e-10)


def test_inverse_transform_knows_more_than_the_column_means(transformer, X):
    means = transformer.inverse_transform(transformer.transform(X))
    assert means.shape == X.shape
    assert np.mean((means - X) ** 2) < 0.8 * np.mean((X.mean(axis=0) - X) ** 2)


def test_inverse_transform_given_the_last_hidden_layer(transformer, X):
    last = DBMTransformer.from_machine(
        transformer.machine_, feature_layers="last", mean_field_tol=1e-12
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


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_score_of_a_row_does_not_depend_on_its_neighbours(fitted, X, dtype, rtol):
    X = X.astype(dtype)
    one_by_one = [fitted.score(row[None]) for row in X]
    assert_allclose(one_by_one, fitted.score_samples(X), rtol=rtol)


def test_score_of_one_hidden_layer_is_the_log_likelihood(cls, X):
    estimator = small(cls, hidden_layer_sizes=6).fit(X)
    scores = estimator.score_samples(X)
    assert_allclose(scores, enumerated_log_likelihood(estimator.machine_, X))
    assert_allclose(scores, likelihood.exact_log_likelihood(estimator.machine_, X))


def test_score_of_two_hidden_layers_is_a_lower_bound(fitted, X):
    gap = enumerated_log_likelihood(fitted.machine_, X) - fitted.score_samples(X)
    assert gap.min() > -1e-9
    assert gap.mean() < 1  # the bound is of some use
    assert logsumexp(fitted.score_samples(all_states(8))) < 0  # probabilities


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
    scores = estimator.score_samples(X, n_importance_samples=3)
    assert_allclose(scores, enumerated_log_likelihood(estimator.machine_, X))


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
    lower = fitted.score_samples(X)
    estimate = fitted.score_samples(X, n_importance_samples=5)
    other = copy.deepcopy(fitted).set_params(n_importance_samples=5)
    assert_array_equal(other.score_samples(X), estimate)
    assert other.score(X) == estimate.mean()
    assert_array_equal(other.score_samples(X, n_importance_samples=0), lower)


def test_score_beats_independent_columns(fitted, X):
    p = X.mean(axis=0)
    independent = np.mean(X @ np.log(p) + (1 - X) @ np.log1p(-p))
    assert fitted.score(X) > independent + 0.5


@pytest.mark.usefixtures("annealed")
def test_annealed_score_draws_nothing_new(cls, X):
    estimator = small(cls).fit(X)
    other = small(cls).fit(X)
    with unchanged(estimator):
        score = estimator.score(X)
        assert estimator.score(X) == score
    assert pickle.loads(pickle.dumps(estimator)).score(X) == score
    assert copy.deepcopy(estimator).score(X) == score
    assert other.score(X) == score


@pytest.mark.usefixtures("annealed")
def test_annealed_score_without_a_seed_repeats(cls, X):
    estimator = small(cls, random_state=None).fit(X)
    score = estimator.score(X)
    assert pickle.loads(pickle.dumps(estimator)).score(X) == score
    wrapped = cls.from_machine(estimator.machine_, n_temperatures=20)
    assert pickle.loads(pickle.dumps(wrapped)).score(X) == wrapped.score(X)


def test_score_draws_nothing_from_the_global_generator(cls, X):
    shared = check_random_state(None)
    before = joblib.hash(shared.get_state())
    small(cls).fit(X).score(X)
    assert joblib.hash(shared.get_state()) == before


# Log Z of the sampler


def test_enumerated_log_partition(sampler):
    expected = enumerated_log_partition(sampler.machine_)
    assert_allclose(sampler.log_partition_, expected, rtol=1e-10)
    assert sampler.log_partition_std_ == 0


@pytest.mark.usefixtures("annealed")
def test_annealed_log_partition(X):
    sampler = small(DBMSampler, n_annealing_chains=200, n_temperatures=200).fit(X)
    assert 0 < sampler.log_partition_std_ < 0.5
    error = sampler.log_partition_ - enumerated_log_partition(sampler.machine_)
    assert abs(error) < 6 * sampler.log_partition_std_


def test_sampler_scores_with_its_log_partition(sampler, X):
    shifted = copy.copy(sampler)
    shifted.log_partition_ += 1
    assert_allclose(shifted.score_samples(X), sampler.score_samples(X) - 1)


def test_partial_fit_removes_the_log_partition(X):
    sampler = small(DBMSampler).fit(X)
    sampler.partial_fit(X)
    assert not hasattr(sampler, "log_partition_")
    assert not hasattr(sampler, "log_partition_std_")
    gap = enumerated_log_likelihood(sampler.machine_, X) - sampler.score_samples(X)
    assert -1e-9 < gap.min() < gap.max() < 1


# Samples


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_are_rows_like_those_of_fit(X, dtype):
    sampler = small(DBMSampler).fit(X.astype(dtype))
    rows = sampler.sample(33)  # more than there are chains
    assert rows.shape == (33, 8)
    assert rows.dtype == dtype
    assert set(np.unique(rows)) == {0, 1}
    assert sampler.sample().shape == (1, 8)
    assert sampler.sample(np.int64(2)).shape == (2, 8)


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, 2.0, "3", None, True])
def test_number_of_samples_must_be_a_positive_integer(sampler, n_samples):
    with pytest.raises(ValueError, match=r"n_samples=.*positive integer"):
        sampler.sample(n_samples)


def test_samples_repeat_with_an_integer_seed(sampler):
    rows = sampler.sample(30)
    assert_array_equal(sampler.sample(30), rows)
    assert_array_equal(sampler.sample(30, random_state=sampler.random_state), rows)
    other = sampler.random_state + 1
    assert not np.array_equal(sampler.sample(30, random_state=other), rows)


def test_samples_advance_a_random_state(sampler):
    rng = np.random.RandomState(3)
    first, second = (sampler.sample(30, random_state=rng) for _ in range(2))
    assert not np.array_equal(first, second)
    assert_array_equal(sampler.sample(30, random_state=3), first)
    own = copy.copy(sampler).set_params(random_state=np.random.RandomState(3))
    assert_array_equal(own.sample(30), first)
    assert_array_equal(own.sample(30), second)


def test_samples_without_a_seed_differ(sampler):
    free = copy.copy(sampler).set_params(random_state=None)
    assert not np.array_equal(free.sample(30), free.sample(30))


def test_chains_move_between_their_samples(sampler):
    chains = copy.copy(sampler).set_params(n_chains=20, burn_in=0, thin=1)
    first, second = np.split(chains.sample(40), 2)
    assert not np.array_equal(first, second)
    apart = copy.copy(chains).set_params(burn_in=1)
    assert not np.array_equal(apart.sample(20), first)


def test_samples_do_not_depend_on_n_jobs(sampler):
    one = copy.copy(sampler).set_params(n_jobs=1, n_chains=300)
    two = copy.copy(sampler).set_params(n_jobs=2, n_chains=300)
    assert_array_equal(one.sample(700), two.sample(700))


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
    # half of the samples are second ones of their chains
    sampler = DBMSampler.from_machine(machine, n_chains=n // 2, burn_in=100, thin=50)
    rows = sampler.sample(n)
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
        machine, n_chains=n, n_annealing_chains=n, burn_in=1, random_state=seed
    )
    # Annealed chains of even weights are as good as independent ones; half are allowed.
    error = 6 * np.sqrt(2 * share * (1 - share) / n)
    assert error < 0.1
    assert abs(sampler.sample(n)[:, 0].mean() - share) < error


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
    assert whole.machine_.dtype == dtype


@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize("start", ["unfitted", "fit", "from_machine", "partial_fit"])
def test_partial_fit_goes_on_from_any_start(cls, X, start, binarize):
    estimator = small(cls, binarize=binarize)
    if start == "from_machine":
        machine = small(cls).fit(X).machine_
        estimator = cls.from_machine(machine, **estimator.get_params())
    elif start != "unfitted":
        getattr(estimator, start)(X)
    n_before = getattr(estimator, "n_iter_", 0)
    for n_done, n_rows in enumerate([1, 11, 10, 7], start=1):
        assert estimator.partial_fit(X[:n_rows]).n_iter_ == n_before + n_done
    before = copy.copy(estimator)
    assert not same_machine(before, estimator.partial_fit(X))
    assert np.isfinite(estimator.score(X))
    assert estimator.machine_.dtype == np.float64


@pytest.mark.parametrize("start", ["fit", "from_machine", "partial_fit"])
def test_partial_fit_goes_on_after_unpickling(cls, X, start):
    estimator = small(cls)
    if start == "from_machine":
        machine = small(cls).fit(X).machine_
        estimator = cls.from_machine(machine, **estimator.get_params())
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


@pytest.mark.parametrize("bad", [np.ones((3, 7)), np.full((3, 8), np.nan)])
def test_partial_fit_that_fails_changes_nothing(fitted, bad):
    with (
        unchanged(fitted),
        pytest.raises(ValueError, match=r"features|NaN"),
    ):
        fitted.partial_fit(bad)


# warm_start


def test_warm_start_goes_on(cls, X):
    estimator = small(cls, warm_start=True, learning_rate="constant", momentum=0).fit(X)
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
    estimator = cls.from_machine(
        transformer.machine_,
        **SMALL | {"warm_start": True, "learning_rate_init": 1e-9},
    ).fit(X)
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


# The record


def test_history(cls, X):
    estimator = small(cls).fit(X)
    assert set(estimator.history_) == {
        "reconstruction_error",
        "energy_gap",
        "chain_autocorrelation",
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
    assert min(sweeps) >= 1
    assert max(sweeps) <= SMALL["n_mean_field_steps"]
    assert {len(shares) for shares in estimator.history_["dead_units"]} == {2}
    assert np.max(np.abs(estimator.history_["chain_autocorrelation"])) < 1


def test_learning_rate_schedules(cls, X):
    constant = small(cls, learning_rate="constant").fit(X).history_["learning_rate"]
    assert constant == [0.02] * 3
    linear = small(cls).fit(X).history_["learning_rate"]
    assert 0.02 > linear[0] > linear[1] > linear[2] > 0
    assert linear[2] < 0.1 * 0.02


# Early stopping


@pytest.fixture
def held_out(monkeypatch):
    """Note how rows are split for early stopping: pairs of training and held-out."""
    splits, original = [], BaseDBM._hold_out

    def noted(self, X, seed):
        splits.append(original(self, X, seed))
        return splits[-1]

    monkeypatch.setattr(BaseDBM, "_hold_out", noted)
    return splits


@pytest.mark.parametrize("n_importance_samples", [0, 5])
@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
def test_early_stopping_keeps_the_best_machine(cls, held_out, X, n_importance_samples):
    estimator = small(
        cls,
        max_iter=12,
        learning_rate="constant",
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
    checked = check_bounds(X, Bernoulli(), "rows", training=True)
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
        cls,
        max_iter=9,
        visible=visible,
        early_stopping=True,
        evaluate_every=2,
        monitor=lambda record, machine: machines.append(machine()),
    ).fit(X)
    [(_, (validation, sample))] = held_out
    scored = [cls.from_machine(machine, **SMALL) for machine in machines]
    expected = [one.score(sample) - one.score(validation) for one in scored]
    evaluated = np.isin(np.arange(1, 10), [2, 4, 6, 8, 9])
    found = np.array(estimator.history_["overfitting"])
    assert_allclose(found[evaluated], np.array(expected)[evaluated], atol=1e-4)
    assert np.isnan(found[~evaluated]).all()


@pytest.mark.filterwarnings("ignore:early_stopping did not end:")
def test_log_partition_cancels_in_overfitting(cls, X, monkeypatch):
    watched = {"hidden_layer_sizes": 6, "early_stopping": True, "evaluate_every": 1}
    exact = small(cls, **watched).fit(X).history_
    monkeypatch.setattr(likelihood, "log_partition", lambda *_, **__: (1e3, 0.0))
    wrong = small(cls, **watched).fit(X).history_
    assert max(wrong["validation_score"]) < -900 < min(exact["validation_score"])
    assert_allclose(wrong["overfitting"], exact["overfitting"], atol=1e-10)


# The monitor


def stop_at_once(record, machine):
    return True


def divide_by_zero(record, machine):
    return 1 / 0


def test_monitor_sees_every_epoch_of_the_joint_training(cls, X):
    seen = []

    def monitor(record, machine):
        seen.append((copy.deepcopy(record), machine()))
        for array in (*machine().weights, *machine().biases):
            array.flags.writeable = True
            array[:] = np.nan  # a copy; training does not notice

    estimator = small(cls, monitor=monitor).fit(X)
    assert len(seen) == 3  # and none in pretraining
    for epoch, (record, _) in enumerate(seen):
        assert record == {key: row[epoch] for key, row in estimator.history_.items()}
    for a, b in zip(seen[-1][1].weights, estimator.machine_.weights, strict=True):
        assert_array_equal(a, b)
        assert a.dtype == X.dtype
    assert_same_machine(estimator, small(cls).fit(X))


def test_monitor_ends_the_training(cls, X):
    machines = []

    def monitor(record, machine):
        machines.append(machine())
        return len(machines) == 2

    estimator = small(cls, max_iter=20, monitor=monitor).fit(X)
    assert estimator.n_iter_ == len(estimator.history_["seconds"]) == 2
    assert_same_machine(estimator, SimpleNamespace(machine_=machines[-1]))
    assert np.isfinite(estimator.score(X))


def test_monitor_adds_to_the_record(cls, X):
    scores = iter([0.5, 0.25, 0.125])

    def monitor(record, machine):
        record["own"] = next(scores)

    estimator = small(cls, monitor=monitor).fit(X)
    assert estimator.history_["own"] == [0.5, 0.25, 0.125]


def test_monitor_that_does_not_ask_costs_no_copy(cls, X, monkeypatch):
    copies, original = [], trainer.Trainer.snapshot

    def noted(self, dtype):
        copies.append(dtype)
        return original(self, dtype)

    monkeypatch.setattr(trainer.Trainer, "snapshot", noted)
    small(cls, pretraining=None, monitor=lambda record, machine: None).fit(X)
    assert len(copies) == 1


def test_monitor_with_early_stopping_keeps_the_best_machine(cls, X, held_out):
    epochs = itertools.count(1)
    estimator = small(
        cls,
        max_iter=20,
        learning_rate_init=0.3,  # the score goes up and down
        early_stopping=True,
        evaluate_every=1,
        n_iter_no_change=20,
        tol=0,
        monitor=lambda record, machine: next(epochs) == 8,
    ).fit(X)
    scores = estimator.history_["validation_score"]
    assert len(scores) == 8
    assert_allclose(estimator.score(held_out[0][1][0]), max(scores), rtol=1e-4)


def test_monitor_is_a_parameter(cls, X):
    estimator = small(cls, max_iter=20, monitor=stop_at_once)
    for other in (clone(estimator), pickle.loads(pickle.dumps(estimator))):
        assert other.get_params()["monitor"] is stop_at_once
        assert "stop_at_once" in repr(other)
        assert other.fit(X).n_iter_ == 1
    assert estimator.partial_fit(X).partial_fit(X).n_iter_ == 2  # not watched
    with pytest.raises(ValueError, match="'monitor' parameter"):
        small(cls, monitor="energy_gap").fit(X)


def test_error_in_a_monitor_leaves_the_estimator_as_it_was(cls, X):
    estimator = small(cls).fit(X).set_params(monitor=divide_by_zero)
    with unchanged(estimator), pytest.raises(ZeroDivisionError):
        estimator.fit(X)


# Interrupts


@pytest.fixture
def interrupt(monkeypatch):
    """Make training raise KeyboardInterrupt after some epochs."""

    def after(n_epochs):
        original, done = trainer.Trainer.epoch, []

        def epoch(self, *args, **kwargs):
            if len(done) == n_epochs:
                raise KeyboardInterrupt
            done.append(None)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(trainer.Trainer, "epoch", epoch)

    return after


@pytest.mark.parametrize("n_epochs", [0, 1, 4, 6, 8])
def test_interrupt_leaves_a_usable_model(cls, X, interrupt, monkeypatch, n_epochs):
    interrupt(n_epochs)  # three epochs for each pair of layers, three for all
    estimator = small(cls)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        estimator.fit(X)
    n_joint = max(0, n_epochs - 6)
    assert estimator.n_iter_ == n_joint
    assert len(estimator.history_.get("seconds", [])) == n_joint
    monkeypatch.undo()
    exact = enumerated_log_likelihood(estimator.machine_, X)
    assert np.all(estimator.score_samples(X) < exact + 1e-9)
    assert estimator.partial_fit(X).n_iter_ == n_joint + 1


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
    with pytest.warns(RuntimeWarning, match="7 of 20 epochs"):
        estimator.fit(X)
    best = np.nanmax(estimator.history_["validation_score"])
    assert_allclose(estimator.score(held_out[0][1][0]), best, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*interrupted:RuntimeWarning")
def test_interrupt_of_log_partition_leaves_no_stale_one(X, monkeypatch):
    sampler = small(DBMSampler).fit(X)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(likelihood, "log_partition", interrupted)
        sampler.set_params(learning_rate_init=0.2).fit(X)
    gap = enumerated_log_likelihood(sampler.machine_, X) - sampler.score_samples(X)
    assert -1e-9 < gap.min() < gap.max() < 1


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
        with pytest.raises(ValueError, match="'momentum' parameter"):
            estimator.set_params(momentum=1.5).fit(X)


REASONS = ["divergence", "bad X", "negative X", "bad parameter"]


@pytest.mark.parametrize("reason", REASONS)
def test_estimator_is_not_fitted_after_a_failure(cls, X, reason):
    estimator = small(cls)
    _fails(estimator, X, reason)
    with pytest.raises(NotFittedError, match="not fitted"):
        estimator.score(X)
    assert vars(estimator).keys() == estimator.get_params().keys()


@pytest.mark.parametrize("reason", REASONS)
def test_fitted_estimator_survives_a_failure(cls, X, reason):
    estimator = small(cls).fit(X)
    params, learned = estimator.get_params(), joblib.hash(vars(estimator))
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
        monkeypatch.setattr(Bernoulli, "automatic_rate", lambda *arguments: rate)

    return set_rate


@pytest.mark.parametrize("pretraining", [None, "greedy"])
def test_automatic_rate_that_diverges_is_lowered(
    cls, X, pretraining, set_automatic_rate
):
    """Which rates diverge, and what the next one gives, fits with that rate say."""
    settings = {"max_iter": 50, "pretraining_max_iter": 50, "pretraining": pretraining}
    rates, works = [50.0], None
    while works is None:
        try:
            works = small(cls, learning_rate_init=rates[-1], **settings).fit(X)
        except FloatingPointError:
            rates.append(float(f"{rates[-1] / 4:.2g}"))
    assert 1 < len(rates) < 5
    set_automatic_rate(50.0)
    estimator = small(cls, learning_rate_init="auto", **settings)
    with pytest.warns(ConvergenceWarning, match="begins again") as caught:
        estimator.fit(X)
    advised = [
        re.search(r"learning_rate_init=(\S+) saves", str(w.message)) for w in caught
    ]
    assert [float(found[1]) for found in advised] == rates[1:]
    assert estimator.n_iter_ == works.n_iter_ == 50
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


def test_sparse_rows_with_early_stopping_and_binarize(cls, X):
    options = {
        "early_stopping": True,
        "evaluate_every": 1,
        "n_iter_no_change": 1,
        "tol": 1e6,
        "binarize": True,
    }
    X = X * 0.75
    dense = small(cls, **options).fit(X)
    assert_same_machine(small(cls, **options).fit(sparse.csr_array(X)), dense)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype_of_fit", [np.float32, np.float64])
def test_dtypes_are_kept(X, dtype_of_fit, dtype):
    transformer = small(DBMTransformer, hidden_layer_sizes=6)
    transformer.fit(X.astype(dtype_of_fit))
    assert {array.dtype for array in parameters(transformer)} == {
        np.dtype(dtype_of_fit)
    }
    features = transformer.transform(X.astype(dtype))
    assert features.dtype == dtype
    assert transformer.inverse_transform(features).dtype == dtype
    assert_allclose(features, transformer.transform(X), atol=1e-5)
    assert transformer.score_samples(X.astype(dtype)).dtype == np.float64
    assert_allclose(transformer.score(X.astype(dtype)), transformer.score(X), rtol=1e-5)


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
    assert estimator.machine_.dtype == np.float64
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


def test_binarize_draws_states_of_grey_values(cls, X):
    grey = 0.2 + 0.6 * X
    estimator = small(cls, binarize=True).fit(grey)
    assert_same_machine(estimator, small(cls, binarize=True).fit(grey))
    assert not same_machine(estimator, small(cls, binarize=False).fit(grey))
    # for zeros and ones there is nothing to draw
    assert_same_machine(small(cls, binarize=True).fit(X), small(cls).fit(X))


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
        "5:20",
        "4:40",
        "4:00",
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


def test_nothing_is_printed_by_default(cls, X, capsys):
    small(cls).fit(X).score(X)
    assert capsys.readouterr() == ("", "")


# Threads and seeds


def test_results_do_not_depend_on_n_jobs(cls, digits, monkeypatch):
    monkeypatch.setattr(trainer, "THREADED_WORK", 0, raising=False)
    monkeypatch.setattr(likelihood.exact, "PREFER_EXACT_STATES", 0)
    one, two = (
        small(
            cls,
            hidden_layer_sizes=(24, 16),
            batch_size=300,
            n_chains=300,
            n_annealing_chains=130,
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
