"""Log Z that is followed from machine to machine, against enumeration."""

import copy
import warnings
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMTransformer, ops
from skdbm._base import BaseDBM
from skdbm.likelihood import FollowedLogPartition, following

from ._reference import random_model, typed_model, worst_moment

each_seed = pytest.mark.parametrize("seed", range(3))


def moved(model, seed, scale=0.2):
    """Change the parameters of a model at random; a new one."""
    rng = np.random.default_rng([seed, 1])
    other = copy.copy(model)
    vars(other).pop("distribution", None)  # what was cached
    for name in ("weights", "biases"):
        arrays = getattr(model, name)
        setattr(other, name, [a + rng.normal(0, scale, a.shape) for a in arrays])
    return other


def lead(before, after, n_chains, seed):
    """Lead exact samples of one model to the other; log-weights, resampled states."""
    source = getattr(before, "sample", before.distribution.sample)
    states = source(n_chains, np.random.default_rng([seed, 2]))
    states = [state.astype(np.float32) for state in states]
    way = following._Way(before.machine(np.float32), after.machine(np.float32))
    first, second = np.random.SeedSequence(seed).spawn(2)
    with ops.workers(1) as team:
        log_weights, _ = way(states, 1000, first, team)
    return log_weights, following._resampled(
        states, log_weights, len(log_weights), second
    )


def check_ratio(log_weights, before, after):
    """Check that the mean weight is Z of `after` over Z of `before`: 6.5 errors."""
    n = len(log_weights)
    exact = after.distribution.log_partition - before.distribution.log_partition
    weights = np.exp(log_weights - exact)
    assert weights.std() > 0.001  # they do differ
    assert abs(weights.mean() - 1) < 6.5 * weights.std(ddof=1) / np.sqrt(n)


@each_seed
@pytest.mark.parametrize("hidden", [(3,), (2, 3), ("groups",), (3, "groups")])
@pytest.mark.parametrize(
    "visible",
    ["bernoulli", "gaussian", "categorical", "counts", "multinomial", "mixed"],
)
def test_way_between_machines_of_every_unit_type(visible, hidden, seed):
    before = typed_model(visible, hidden, seed, scale=0.4)
    after = moved(before, seed)
    log_weights, states = lead(before, after, 3000, seed)
    check_ratio(log_weights, before, after)
    # With weights that are nearly even, resampled states are as good as independent.
    share = np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)) / 3000
    assert share > 0.8
    assert after.worst_moment(states) < 1


@each_seed
@pytest.mark.parametrize(
    ("sizes", "n_trials"),
    [((5, 4), None), ((3, 7), None), ((2, 5, 3), None), ((3, 3, 2, 2), (1, 2, 1, 3))],
)
def test_way_between_machines_of_binomial_units(sizes, n_trials, seed):
    before = random_model(sizes, seed, 0.7, n_trials)
    after = moved(before, seed, 0.3)
    log_weights, states = lead(before, after, 3000, seed)
    check_ratio(log_weights, before, after)
    for n_layers in (1, 2):
        assert worst_moment(after, after.distribution, states, n_layers) < 1


@each_seed
def test_followed_values_scatter_about_the_exact_ones(seed):
    """Five machines after the one that is annealed, 20 times."""
    errors, expected = [], []
    for i in range(20):
        model = random_model((5, 4, 3), [seed, i])
        followed = FollowedLogPartition(n_temperatures=200, random_state=100 * seed + i)
        for step in range(6):
            value, error = followed.update(model.machine(), n_jobs=1)
            last, model = model, moved(model, step, 0.05)
        assert followed.n_steps > 0
        errors.append(value - last.distribution.log_partition)
        expected.append(error)
    # Student's distribution with 19 degrees of freedom, once in 1e7 times.
    spread = np.std(errors, ddof=1)
    assert abs(np.mean(errors)) < 8 * spread / np.sqrt(20) + 0.002
    assert spread < 3 * np.mean(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_machine_has_the_same_value(dtype):
    model = random_model((5, 4, 3), 0)
    followed = FollowedLogPartition(n_temperatures=50, random_state=0)
    first = followed.update(model.machine(dtype), n_jobs=1)
    states = followed.states
    assert followed.update(model.machine(dtype), n_jobs=1) == first
    assert followed.n_steps == 20
    assert any(np.any(a != b) for a, b in zip(states, followed.states, strict=True))


def test_even_weights_leave_all_chains():
    states = [np.arange(7.0)[:, None]]
    for seed in range(20):
        seed = np.random.SeedSequence(seed)
        [chosen] = following._resampled(states, np.full(7, 3.0), 7, seed)
        assert_array_equal(chosen, states[0])


def test_resampling_follows_the_weights():
    states = [np.arange(4.0)[:, None]]
    weights = np.array([0.0, 2.0, 1.0, 1.0]) / 4
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights) + 1000
    [chosen] = following._resampled(
        states, log_weights, len(log_weights), np.random.SeedSequence(0)
    )
    assert_array_equal(chosen[:, 0], [1, 1, 2, 3])


@each_seed
def test_machines_far_away_are_annealed(seed):
    followed = FollowedLogPartition(n_temperatures=100, random_state=seed)
    followed.update(random_model((6, 5, 4), seed).machine(), n_jobs=1)
    far = random_model((6, 5, 4), seed + 10, scale=1.5)
    value, error = followed.update(far.machine(), n_jobs=1)
    assert followed.n_steps == 0
    assert abs(value - far.distribution.log_partition) < 8 * error


def test_errors_that_have_grown_are_annealed_away():
    """The same way there and back over and over: its errors add up."""
    followed = FollowedLogPartition(n_temperatures=1000, random_state=0)
    model = random_model((6, 5, 4), 0)
    machines = [model.machine(), moved(model, 0, 0.1).machine()]
    steps, errors = [], []
    for i in range(200):
        _, error = followed.update(machines[i % 2], n_jobs=1)
        steps.append(followed.n_steps)
        errors.append(error)
        if i and not followed.n_steps:
            break
    assert steps[0] == steps[-1] == 0 < min(steps[1:-1])
    assert np.all(np.diff(errors[:-1]) > 0)
    assert max(errors) <= 2 * max(errors[0], 0.02)


def test_followed_values_depend_on_the_seed_alone():
    models = [random_model((6, 5, 4), 0)]
    models += [moved(models[0], 0, 0.05)]

    def values(seed, n_jobs):
        followed = FollowedLogPartition(n_temperatures=200, random_state=seed)
        return [followed.update(m.machine(), n_jobs=n_jobs) for m in models]

    sequence = np.random.SeedSequence(7)
    assert values(7, 1) == values(7, 2) == values(sequence, 1) == values(sequence, 1)
    assert values(7, 1)[1] != values(8, 1)[1]


def test_other_layers_cannot_be_followed():
    followed = FollowedLogPartition(n_temperatures=5, random_state=0)
    machine, other = (random_model(sizes, 0).machine() for sizes in ((5, 4), (5, 3)))
    first = followed.update(machine)
    with pytest.raises(ValueError, match=r"\(5, 3\) units and the one before \(5, 4\)"):
        followed.update(other)
    followed.n_temperatures = 50
    assert followed.update(machine) == first  # as if nothing had been asked


# Early stopping


def watched_fit(**params):
    """Fit a machine too large to enumerate; the estimator, and its machines."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(2, size=(100, 1)) == np.arange(24) % 2
    X = (kinds ^ (rng.random((100, 24)) < 0.2)).astype(float)
    machines = []
    settings = {
        "hidden_layer_sizes": 24,
        "max_iter": 8,
        "batch_size": 10,
        "early_stopping": True,
        "evaluate_every": 1,
        "n_iter_no_change": 99,
        "n_temperatures": 300,
        "random_state": 0,
        "n_jobs": 1,
        "monitor": lambda record, machine: machines.append(machine()),
    }
    estimator = DBMTransformer(**(settings | params))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "early_stopping did not", ConvergenceWarning)
        estimator.fit(X)
    return estimator, machines


@pytest.fixture
def annealings(monkeypatch):
    """Count how often log Z is annealed anew while it is followed."""
    counted = Mock(wraps=following._annealed_with_states)
    monkeypatch.setattr(following, "_annealed_with_states", counted)
    return counted


def test_early_stopping_follows_log_partition(annealings, monkeypatch):
    held_out, original = [], BaseDBM._hold_out

    def noted(self, X, seed):
        held_out.append(original(self, X, seed))
        return held_out[-1]

    monkeypatch.setattr(BaseDBM, "_hold_out", noted)
    estimator, machines = watched_fit()
    assert 1 <= annealings.call_count < 8
    [(_, (validation, _))] = held_out
    for machine, found in zip(
        machines, estimator.history_["validation_score"], strict=True
    ):
        fresh = DBMTransformer.from_machine(machine, random_state=1, n_jobs=1)
        _, error = fresh._log_partition()
        combined = np.hypot(error, 2 * max(error, 0.03))
        assert abs(fresh.score(validation) - found) < 7 * combined


def test_early_stopping_does_not_depend_on_threads():
    one, two = (
        watched_fit(n_jobs=n_jobs)[0].history_["validation_score"] for n_jobs in (1, 2)
    )
    assert np.isfinite(one).all()
    assert_array_equal(one, two)


@pytest.mark.parametrize(
    "params", [{"visible": "counts"}, {"hidden_layer_sizes": 4}], ids=str
)
def test_counts_and_small_machines_are_not_followed(params, annealings):
    estimator, _ = watched_fit(max_iter=2, n_temperatures=20, **params)
    assert np.isfinite(estimator.history_["validation_score"]).all()
    assert not annealings.called
