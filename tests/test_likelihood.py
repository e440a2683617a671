"""Exact, annealed and bounded likelihoods against brute force and the table."""

import importlib
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import binom, chi2, t
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skdbm import ops
from skdbm.evidence import Conditional, Evidence
from skdbm.inference import mean_field
from skdbm.likelihood import (
    annealed_log_partition,
    annealing,
    bound,
    exact,
    exact_log_likelihood,
    exact_log_partition,
    exact_samples,
    importance_weighted_log_likelihood,
    log_partition,
)
from skdbm.likelihood.annealing import LEAST_ERROR, jackknife, summary
from skdbm.likelihood.bounds import least_log_partition, unnormalised_bound
from skdbm.likelihood.exact import n_exact_terms, prefers_exact
from skdbm.likelihood.log_partition import LogPartition
from skdbm.machine import DeepBoltzmannMachine
from skdbm.sampling import annealing as annealed_chains
from skdbm.sampling import path
from skdbm.sampling.annealing import BASES, anneal, base_of, log_shares, means_of
from skdbm.units import Bernoulli, ReplicatedSoftmax

from ._copies import independent_estimates
from ._reference import (
    TABLE,
    Model,
    formula_model,
    joint_states,
    random_model,
    uncoupled_model,
    worst_moment,
)

MODELS = [
    random_model((5, 4), 0),
    random_model((3, 7), 1),
    random_model((4, 3, 2), 2),
    random_model((2, 6, 3), 3),
    random_model((4, 3, 3, 2), 4),
    random_model((2, 3, 2, 2, 3), 5),
    random_model((3, 2), 6, n_trials=(1, 3)),
    random_model((3, 2, 2), 7, n_trials=(2, 1, 2)),
    random_model((2, 2, 2, 2), 8, n_trials=(1, 2, 1, 3)),
    random_model((3, 2), 9, n_trials=(3, 2)),
    random_model((2, 3, 2), 10, n_trials=(2, 3, 1)),
]

#: Sizes of the machines on which annealing meets enumeration: 1 to 3 hidden layers,
#: the visible parity the smaller one or the larger one.
SIZES = [(4, 3), (3, 8), (6, 5), (4, 3, 2), (2, 7, 3), (6, 5, 4), (3, 2, 4, 3)]
SCALES = [0.1, 0.5, 1.0, 2.0, 3.0]

each_seed = pytest.mark.parametrize("seed", range(3))
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def over(models):
    """Run a test for each of these models."""
    return pytest.mark.parametrize(
        "model",
        models,
        ids=lambda m: f"{'-'.join(map(str, m.sizes))}, trials {m.n_trials}",
    )


def copies(model, n_copies):
    """Join independent copies of a model to one, with `n_copies` times its log Z."""
    return Model(
        [np.kron(np.eye(n_copies), weight) for weight in model.weights],
        [np.tile(bias, n_copies) for bias in model.biases],
    )


def z_score(result, expected):
    """Error of an annealed estimate in standard errors."""
    return (result.log_partition - expected) / result.standard_error


# Enumeration


@pytest.mark.parametrize("sizes", TABLE)
def test_the_reference_reproduces_the_table(sizes):
    model = formula_model(sizes)
    distribution = model.distribution
    values = (
        distribution.log_partition,
        model.log_likelihood(1),
        model.log_likelihood(0),
        distribution.moments(0)[0][0],
        distribution.moments(0, 1)[0][0],
        distribution.moments(1, 2)[0][0],
    )
    assert_allclose(values, TABLE[sizes], rtol=0, atol=5.1e-11)


@pytest.mark.parametrize("sizes", TABLE)
def test_exact_values_are_those_of_the_table(sizes):
    machine = formula_model(sizes).machine()
    ones_and_zeros = np.repeat([[1.0], [0.0]], sizes[0], axis=1)
    assert_allclose(exact_log_partition(machine), TABLE[sizes][0], rtol=0, atol=5.1e-11)
    assert_allclose(
        exact_log_likelihood(machine, ones_and_zeros),
        TABLE[sizes][1:3],
        rtol=0,
        atol=5.1e-11,
    )


@over(MODELS)
def test_exact_log_partition_sums_all_states(model):
    assert_allclose(
        exact_log_partition(model.machine()),
        model.distribution.log_partition,
        rtol=1e-13,
    )


@over(MODELS)
def test_exact_log_likelihood_sums_all_hidden_states(model):
    X = model.visible_states()
    result = exact_log_likelihood(model.machine(), X)
    assert result.dtype == np.float64
    assert_allclose(result, [model.log_likelihood(row) for row in X], rtol=1e-12)
    assert_allclose(np.exp(result).sum(), 1)


@over(MODELS)
def test_exact_values_of_a_float32_machine_are_computed_in_float64(model):
    machine = model.machine(np.float32)
    rounded = Model(machine.weights, machine.biases, model.n_trials)
    X = model.visible_states()
    assert_allclose(
        exact_log_partition(machine), rounded.distribution.log_partition, rtol=1e-13
    )
    assert_allclose(
        exact_log_likelihood(machine, X.astype(np.float32)),
        [rounded.log_likelihood(row) for row in X],
        rtol=1e-12,
    )


@pytest.mark.parametrize("sizes", [(30, 1), (1, 40), (20, 3, 25), (3, 30, 2, 20)])
def test_only_the_smaller_parity_is_enumerated(sizes):
    model = uncoupled_model(sizes, 0)
    machine = model.machine()
    expected = sum(np.logaddexp(0, bias).sum() for bias in model.biases)
    assert_allclose(exact_log_partition(machine), expected, rtol=1e-12)
    assert n_exact_terms(machine) == 2 ** min(sum(sizes[::2]), sum(sizes[1::2]))


def test_enumeration_in_several_chunks():
    small = random_model((4, 3, 2), 0)
    machine = copies(small, 5).machine()  # 2^15 terms
    expected = 5 * small.distribution.log_partition
    assert_allclose(exact_log_partition(machine), expected, rtol=1e-13)


@pytest.mark.parametrize("sizes", [(3,), (3, 4), (2, 3, 2)])
def test_without_couplings_exact_values_are_closed_forms(sizes):
    """As those of zero couplings, which are enumerated."""
    coupled = uncoupled_model((*sizes, 1)[: max(2, len(sizes))], 0)
    machine = DeepBoltzmannMachine([], coupled.biases[: len(sizes)])
    expected = sum(np.logaddexp(0, bias).sum() for bias in machine.biases)
    assert_allclose(exact_log_partition(machine), expected, rtol=1e-14)
    assert n_exact_terms(machine) == 1
    X = coupled.visible_states()
    X[-1, 0] = np.nan
    assert_allclose(
        exact_log_likelihood(machine, X),
        exact_log_likelihood(coupled.machine(), X),
        rtol=1e-12,
    )
    if len(sizes) > 1:
        assert_allclose(exact_log_partition(coupled.machine()), expected, rtol=1e-14)
        states = exact_samples(machine, 20_000, random_state=0)
        assert worst_moment(coupled, coupled.distribution, states, n_layers=2) < 1


def test_closed_forms_of_any_number_of_units():
    machine = DeepBoltzmannMachine([], [np.zeros(3000), np.zeros(2000)])
    assert prefers_exact(machine)
    assert_allclose(exact_log_partition(machine), 5000 * np.log(2))
    assert {len(s) for s in exact_samples(machine, 7, random_state=0)} == {7}


@pytest.mark.parametrize("sizes", [(26, 26), (13, 30, 13), (20,) * 4, (1100,) * 2])
def test_machines_too_large_to_enumerate_are_refused(sizes):
    machine = uncoupled_model(sizes, 0).machine()
    with pytest.raises(ValueError, match=r"terms .* annealed_log_partition"):
        exact_log_partition(machine)
    with pytest.raises(ValueError, match=r"terms .* annealed_log_partition"):
        exact_log_likelihood(machine, np.zeros((1, sizes[0])))
    with pytest.raises(ValueError, match=r"Exact sampling .* probabilities"):
        exact_samples(machine, 1)


@pytest.mark.parametrize("size", [1000, 1e5])
def test_enumeration_of_enormous_weights_stays_finite(size):
    model = random_model((4, 3, 2), 0, scale=size)
    X = model.visible_states()
    expected = model.distribution.log_partition
    assert abs(expected) > 700  # exp would overflow
    assert_allclose(exact_log_partition(model.machine()), expected, rtol=1e-13)
    assert_allclose(
        exact_log_likelihood(model.machine(), X),
        [model.log_likelihood(row) for row in X],
        rtol=1e-12,
        atol=1e-9,
    )


@each_seed
@over(MODELS)
def test_exact_samples_have_the_enumerated_moments(model, seed):
    states = exact_samples(model.machine(), 20_000, random_state=seed)
    assert [state.shape for state in states] == [(20_000, n) for n in model.sizes]
    assert worst_moment(model, model.distribution, states, n_layers=1) < 1
    assert worst_moment(model, model.distribution, states, n_layers=2) < 1


@each_seed
def test_exact_samples_of_a_machine_with_isolated_modes(seed):
    """Where a Gibbs chain would stay for ever in the mode it began in."""
    model = Model([np.full((6, 5), 4.0)], [np.full(6, -10.0), np.full(5, -12.1)])
    states = exact_samples(model.machine(), 20_000, random_state=seed)
    both = model.distribution.moments(0, 1)[0]
    assert np.all((both > 0.1) & (both < 0.9))
    assert worst_moment(model, model.distribution, states, n_layers=2) < 1


@each_dtype
def test_exact_samples_depend_on_the_seed_alone(dtype):
    machine = random_model((4, 3, 2), 0).machine(dtype)
    one, two, other = (
        np.hstack(exact_samples(machine, 200, random_state=seed)) for seed in (0, 0, 1)
    )
    assert one.dtype == dtype
    assert_array_equal(one, two)
    assert np.any(one != other)


# The bound


@each_seed
@pytest.mark.parametrize("max_iter", [1, 500])
@pytest.mark.parametrize("scale", [0.3, 1, 3, 10])
def test_bound_is_never_above_the_likelihood(scale, max_iter, seed):
    """For converged means and others, since it is a bound for any means."""
    for i, sizes in enumerate(
        [(5, 4), (4, 3, 2), (3, 5, 4), (4, 3, 3, 2), (2, 2, 3, 2, 2)]
    ):
        n_trials = None if i % 2 else (1, 2, 1, 2, 1)[: len(sizes)]
        model = random_model(sizes, seed, scale, n_trials)
        X = model.visible_states()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            lower = bound(
                model.machine(), X, model.distribution.log_partition, max_iter=max_iter
            )
        exact = np.array([model.log_likelihood(row) for row in X])
        assert lower.dtype == np.float64
        assert np.all(lower <= exact + 1e-12 * (1 + np.abs(exact)) + 1e-11 * scale)
        if len(sizes) > 2 and scale == 1 and max_iter > 1:
            assert np.any(lower < exact - 1e-3)  # and is no likelihood in disguise


@over([model for model in MODELS if len(model.sizes) == 2])
def test_bound_with_one_hidden_layer_is_the_likelihood(model):
    X = model.visible_states()
    assert_allclose(
        bound(model.machine(), X, model.distribution.log_partition),
        [model.log_likelihood(row) for row in X],
        rtol=1e-12,
    )


@over(MODELS)
def test_bound_is_expected_energy_and_entropy_of_the_means(model):
    X = model.visible_states()
    means = mean_field(model.machine(), X, tol=1e-9).means
    lower = bound(model.machine(), X, 2.5, tol=1e-9)
    expected = [
        model.unnormalised_bound(row, [layer[i] for layer in means]) - 2.5
        for i, row in enumerate(X)
    ]
    # The bound is stationary in the means: off by the square of their tolerance.
    assert_allclose(lower, expected, rtol=1e-12, atol=1e-12)


@each_seed
@over(MODELS)
def test_unnormalised_bound_holds_for_any_means(model, seed):
    """It is the bound of the given even means with the best odd ones."""
    rng = np.random.default_rng(seed)
    X = model.visible_states()
    means = [
        rng.uniform(0.02 * n, 0.98 * n, (len(X), size))
        for n, size in zip(model.n_trials[1:], model.sizes[1:], strict=True)
    ]
    given = Conditional(model.machine(), Evidence.of_rows(X))
    result = unnormalised_bound(given, [X, *means])
    for i, row in enumerate(X):
        own = [layer[i] for layer in means]
        assert result[i] <= model.distribution.given(0, row).log_partition + 1e-12
        assert result[i] >= model.unnormalised_bound(row, own) - 1e-12
        states = [row, *own]
        for layer in range(1, len(model.sizes), 2):
            field = model.biases[layer] + states[layer - 1] @ model.weights[layer - 1]
            if layer + 1 < len(model.sizes):
                field += model.weights[layer] @ states[layer + 1]
            own[layer - 1] = model.n_trials[layer] / (1 + np.exp(-field))
        assert_allclose(result[i], model.unnormalised_bound(row, own), rtol=1e-12)


@over(MODELS)
def test_bound_of_a_float32_machine(model):
    X = model.visible_states()
    lower = bound(model.machine(np.float32), X.astype(np.float32), 0.0, tol=1e-5)
    means = mean_field(model.machine(), X, tol=1e-5).means
    expected = [
        model.unnormalised_bound(row, [layer[i] for layer in means])
        for i, row in enumerate(X)
    ]
    assert lower.dtype == np.float64
    assert_allclose(lower, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@over(MODELS)
def test_bound_of_sparse_rows(model, container):
    rng = np.random.default_rng(0)
    X = model.visible_states()
    X = X[rng.integers(len(X), size=1100)]
    assert_allclose(
        bound(model.machine(), container(X), 1.0),
        bound(model.machine(), X, 1.0),
        rtol=1e-12,
        atol=1e-12,
    )


@over(MODELS)
def test_bound_does_not_depend_on_threads(model):
    rng = np.random.default_rng(0)
    X = rng.integers(0, model.n_trials[0] + 1, (1100, model.sizes[0])).astype(float)
    one, two = (bound(model.machine(), X, 1.0, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert one.tobytes() == two.tobytes()


@each_dtype
def test_bound_of_a_saturated_machine(dtype):
    model = random_model((5, 4, 3), 0, scale=100)
    machine = model.machine(dtype)
    rounded = Model(machine.weights, machine.biases)
    X = model.visible_states()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        lower = bound(machine, X.astype(dtype), rounded.distribution.log_partition)
    exact = np.array([rounded.log_likelihood(row) for row in X])
    assert np.isfinite(lower).all()
    # Fields of some hundreds are rounded to 24 bits in float32.
    assert np.all(lower <= exact + 5000 * np.finfo(dtype).eps)


# Annealing


def populations(machine, n_populations, n_chains, seed, share):
    """Anneal populations on one path, from a share of the logits of the means."""
    first, second = np.random.SeedSequence(seed).spawn(2)
    base = base_of(machine, means_of(machine, first), share)
    with ops.workers(1) as team:
        return anneal(machine, base, n_populations, n_chains, second, team)


def with_means(model, dtype=np.float64):
    """The machine of a model that knows the means of its layers."""
    machine = model.machine(dtype)
    machine.means = [
        model.distribution.moments(layer)[0] for layer in range(machine.n_layers)
    ]
    return machine


@each_seed
def test_annealed_estimates_scatter_about_the_exact_value(seed):
    """70 machines, from weak to strong couplings, in units of the standard error.

    Two standard errors are a 95 % interval of Student's distribution, and none is below
    0.01, so z-scores spread less than those of a normal distribution: only that they
    are not more is checked. Their limits are crossed once in 1e7 times.
    """
    rng = np.random.default_rng(seed)
    z = []
    for i in range(70):
        sizes, scale = SIZES[i % len(SIZES)], SCALES[i % len(SCALES)]
        model = random_model(sizes, [seed, i], scale)
        result = annealed_log_partition(
            with_means(model) if i % 2 else model.machine(),
            n_chains=20,
            random_state=int(rng.integers(2**32)),
            n_jobs=1,
        )
        z.append(z_score(result, model.distribution.log_partition))
    z = np.array(z)
    assert abs(z.mean()) < 5.3 / np.sqrt(len(z)) + 0.1
    assert np.mean(z**2) < chi2.ppf(1 - 1e-7, len(z)) / len(z)
    assert np.abs(z).max() < 8


@each_seed
@pytest.mark.parametrize("share", BASES)
@pytest.mark.parametrize("scale", [0.5, 1, 2])
@pytest.mark.parametrize("n_chains", [2, 5, 40])
def test_mean_weights_of_populations_are_right_on_average(n_chains, scale, share, seed):
    """However few chains they have, and however often these were drawn anew."""
    model, n = random_model((6, 5, 4), seed, scale), 1000
    run = populations(model.machine(), n, n_chains, seed, share)
    weights = np.exp(run.log_populations - model.distribution.log_partition)
    assert weights.std() > 0.001
    assert abs(weights.mean() - 1) < 6.5 * weights.std(ddof=1) / np.sqrt(n)


@each_seed
@pytest.mark.parametrize("share", BASES)
@over([model for model in MODELS if max(model.n_trials) > 1])
def test_populations_of_machines_of_binomial_units(model, share, seed):
    run = populations(model.machine(), 500, 10, seed, share)
    weights = np.exp(run.log_populations - model.distribution.log_partition)
    assert abs(weights.mean() - 1) < 6.5 * weights.std(ddof=1) / np.sqrt(500)


@each_seed
@over([model for model in MODELS if max(model.n_trials) > 1])
def test_annealing_machines_of_binomial_units(model, seed):
    result = annealed_log_partition(model.machine(), n_chains=50, random_state=seed)
    assert abs(z_score(result, model.distribution.log_partition)) < 8


def test_the_lower_bound_seldom_fails():
    """At most once in 20 times, but for what chance does to 400 of them."""
    model = random_model((6, 5, 4), 0, 2)
    exact = model.distribution.log_partition
    n_failed = 0
    for share in BASES:
        logs = populations(model.machine(), 1600, 3, 0, share).log_populations
        for part in logs.reshape(200, 2, 4):
            n_failed += summary(part - np.log(2), part, (10,)).lower_bound > exact
    assert n_failed <= binom.ppf(1 - 1e-7, 400, 0.05)


@pytest.mark.parametrize("sizes", [(5, 4), (4, 3, 2), (3, 4, 3, 5)])
@each_dtype
def test_without_couplings_the_estimate_is_near_the_closed_form(sizes, dtype):
    """Where the means are known, nearly all of the way is behind."""
    model = uncoupled_model(sizes, 0, scale=3)
    machine = model.machine(dtype)
    expected = sum(np.logaddexp(0, b.astype(np.float64)).sum() for b in machine.biases)
    machine.means = [1 / (1 + np.exp(-b.astype(np.float64))) for b in machine.biases]
    result = annealed_log_partition(machine, n_chains=50, random_state=0)
    assert abs(z_score(result, expected)) < 6
    assert result.standard_error < 0.02
    assert np.ptp(result.log_paths[0]) < 0.01 < np.ptp(result.log_paths[1])


@pytest.mark.parametrize("n_rounds", [2, 4])
def test_result_is_consistent_with_its_populations(n_rounds, monkeypatch):
    monkeypatch.setattr(annealing, "GOOD_ERROR", 1e9 if n_rounds == 2 else 0)
    rounds = Mock(wraps=summary)
    monkeypatch.setattr(annealing, "summary", rounds)
    machine = with_means(random_model((6, 5, 4), 0, scale=2))
    machine.centres = [np.stack([mean, 1 - mean]) for mean in machine.means]
    result = annealed_log_partition(machine, n_chains=7, random_state=0)
    assert rounds.call_count == n_rounds
    logs = result.log_populations
    assert logs.shape == (16,)  # those of the last round count
    assert logs.dtype == np.float64
    n = logs.size
    assert_allclose(result.log_partition, logsumexp(logs) - np.log(n), rtol=1e-14)
    assert result.lower_bound == pytest.approx(logs.min() - np.log(80) / n)
    without = [logsumexp(np.delete(logs.ravel(), i)) - np.log(n - 1) for i in range(n)]
    spread = np.sqrt((n - 1) * np.var(without)) * t.ppf(0.975, n - 1) / 2
    before = rounds.call_args.args[-1]
    change = abs(result.log_partition - before) / 2
    assert_allclose(result.standard_error, max(spread, change, LEAST_ERROR))
    # Each path alone gives all of Z, too.
    n_paths = len(result.n_steps)
    assert 4 < n_paths <= 4 + annealing.MORE_GROUPS * (n_rounds - 1)
    assert result.log_paths.shape == (n_paths, 16)
    assert_allclose(logsumexp(result.log_paths, axis=1) - np.log(n), before, atol=1)
    assert min(result.n_steps) >= (10 if n_rounds == 2 else 100)


def test_without_centres_groups_of_chains_stand_in(monkeypatch):
    monkeypatch.setattr(annealing, "GOOD_ERROR", 1e9)
    machine = with_means(random_model((6, 5, 4), 0, scale=2))
    result = annealed_log_partition(machine, n_chains=20, random_state=0)
    # Two paths from the means, and one for every 20 of up to 64 distinct rows, twice.
    assert 4 <= len(result.n_steps) <= 8


def test_jackknife_of_even_values_and_of_one_that_carries_all():
    value, error = jackknife(np.full(8, 1000.0))
    assert (value, error) == (1000, 0)
    value, error = jackknife(np.array([5000.0, *[0.0] * 7]))
    assert_allclose(value, 5000 - np.log(8))
    assert error > 100  # nothing is known
    assert np.isfinite(error)


def test_a_path_that_finds_more_than_all_do_counts_with_the_difference():
    noise = np.array([-0.01, 0.0, 0.01, 0.0])
    parts = np.log(0.5) + np.array([10 + noise, 10 + noise])
    for order in ([0, 1], [1, 0]):
        paths = np.array([10 + noise, 12 + noise])[order]
        result = summary(parts, paths, (10, 11))
        assert_allclose(result.log_partition, 12, atol=1e-4)
        assert_allclose(result.standard_error, 2, atol=1e-3)
        assert result.lower_bound < 10
    # Less is what paths near a group of states are expected to find.
    result = summary(parts, np.array([10 + noise, 3 + noise]), (10, 11))
    assert_allclose(result.log_partition, 10, atol=1e-4)
    assert result.standard_error == LEAST_ERROR


@pytest.mark.parametrize(
    ("before", "error"), [(9.0, 0.5), (10.8, 0.4), (None, LEAST_ERROR)]
)
def test_the_error_is_at_least_half_of_what_the_round_before_said_otherwise(
    before, error
):
    logs = np.array([[10.0] * 4, [-1000.0] * 4])
    result = summary(logs, logs, (10, 11), before)
    assert (result.log_partition, result.standard_error) == pytest.approx((10, error))


@each_seed
def test_parts_of_paths_sum_to_all_of_the_partition(seed):
    """Wherever paths begin: on average of many populations of few chains."""
    model, n = random_model((6, 5, 4), seed, 2), 3000
    machine, rng = model.machine(), np.random.default_rng(seed)
    bases = [
        base_of(machine, [rng.random(size) for size in machine.layer_sizes], 1.0)
        for _ in range(3)
    ]
    with ops.workers(1) as team:
        runs = [
            anneal(machine, base, n, 4, np.random.SeedSequence([seed, i]), team)
            for i, base in enumerate(bases)
        ]
    weights = sum(
        np.exp(
            run.log_weights
            + log_shares(bases, run.states)[i].reshape(n, 4)
            - model.distribution.log_partition
        ).mean(axis=1)
        for i, run in enumerate(runs)
    )
    assert abs(weights.mean() - 1) < 6.5 * weights.std(ddof=1) / np.sqrt(n)


def test_shares_of_bases_are_those_of_their_densities():
    model = random_model((3, 2), 0)
    bases = [
        model.machine().uncoupled([np.full(3, b), np.full(2, -b)]) for b in (-1, 0, 2)
    ]
    states = model.distribution.states
    densities = np.array(
        [np.exp(-base.energy(states) - exact_log_partition(base)) for base in bases]
    )
    shares = np.exp(log_shares(bases, states))
    assert_allclose(shares, densities / densities.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("known", [True, False])
def test_both_modes_count_where_chains_cannot_cross(known):
    """All units off, or all on: half of the states are on the far side."""
    n = 16
    machine = DeepBoltzmannMachine(
        [np.full((n, n), 1.0)], [np.full(n, -n / 2), np.full(n, -n / 2)]
    )
    if known:
        machine.means = [np.full(n, 0.5)] * 2
    exact = exact_log_partition(machine)
    result = annealed_log_partition(machine, n_chains=100, random_state=0)
    assert abs(result.log_partition - exact) < 3 * result.standard_error
    assert result.lower_bound < exact


@each_seed
@each_dtype
@pytest.mark.parametrize(
    ("offset", "n_copies"),
    [
        (3, 30),
        pytest.param(300, 10, marks=pytest.mark.slow),
        pytest.param(1, 80, marks=pytest.mark.slow),
    ],
)
def test_log_weights_beyond_the_range_of_exp(n_copies, offset, dtype, seed):
    """Independent copies of a small machine, so that log Z is known."""
    small = random_model((4, 3, 2), 0)
    small.biases = [bias + offset for bias in small.biases]
    rounded = small.machine(np.float32)
    small = Model(rounded.weights, rounded.biases)
    expected = n_copies * small.distribution.log_partition
    assert expected > 710  # no float64 holds Z
    result = annealed_log_partition(
        copies(small, n_copies).machine(dtype), n_chains=50, random_state=seed
    )
    assert np.isfinite(result.log_populations).all()
    error = abs(result.log_partition - expected)
    # A relative rounding of the log-weights, of some thousands, comes on top.
    assert error < 8 * result.standard_error + 10 * np.finfo(np.float32).eps * expected


@each_seed
@each_dtype
def test_annealing_across_hundreds_of_nats(dtype, seed):
    """Biases of 300 that no mean can tell: log-weights grow by thousands."""
    model = random_model((10, 6, 3), seed, scale=0.3)
    model.biases[0] = 300 * np.sign(model.biases[0])
    machine = model.machine(dtype)
    machine.means = [np.full(n, 0.5) for n in machine.layer_sizes]
    result = annealed_log_partition(machine, n_chains=50, random_state=seed)
    assert np.isfinite(result.log_populations).all()
    assert abs(result.log_partition - model.distribution.log_partition) < (
        8 * result.standard_error + 1e-2
    )


@pytest.mark.filterwarnings("ignore:Log Z:sklearn.exceptions.ConvergenceWarning")
@each_dtype
def test_annealing_a_saturated_machine(dtype):
    model = random_model((6, 5, 4), 0, scale=100)
    result = annealed_log_partition(model.machine(dtype), n_chains=50, random_state=0)
    assert np.isfinite(result.log_populations).all()
    assert np.isfinite([result.log_partition, result.standard_error]).all()
    # Z is the mean weight: all weights far above it cannot be.
    assert result.log_partition < model.distribution.log_partition + 5
    assert result.lower_bound < model.distribution.log_partition


@pytest.mark.filterwarnings("ignore:Log Z:sklearn.exceptions.ConvergenceWarning")
def test_more_steps_than_there_may_be(monkeypatch):
    """Even steps take the place of what the pilot run could not finish."""
    monkeypatch.setattr(annealed_chains, "MOST_STEPS", 7)
    model = random_model((6, 5, 4), 0, scale=3)
    result = annealed_log_partition(model.machine(), n_chains=50, random_state=0)
    assert set(result.n_steps) == {7}
    assert abs(z_score(result, model.distribution.log_partition)) < 8


@pytest.mark.usefixtures("narrow_blocks")
@each_dtype
@pytest.mark.parametrize("n_chains", [2, 100, 300])
def test_annealing_does_not_depend_on_threads(n_chains, dtype):
    machine = random_model((6, 5, 4), 0, 2).machine(dtype)
    one, two = (
        annealed_log_partition(
            machine, n_chains=n_chains, random_state=0, n_jobs=n_jobs
        )
        for n_jobs in (1, 2)
    )
    assert one.log_populations.tobytes() == two.log_populations.tobytes()
    assert one.n_steps == two.n_steps
    assert (one.log_partition, one.standard_error, one.lower_bound) == (
        two.log_partition,
        two.standard_error,
        two.lower_bound,
    )
    # No population is run twice.
    assert len(np.unique(one.log_populations)) == one.log_populations.size


def test_one_seed_gives_one_estimate():
    machine = random_model((6, 5, 4), 0).machine()

    def estimate(random_state):
        return annealed_log_partition(
            machine, n_chains=20, random_state=random_state
        ).log_partition

    sequence = np.random.SeedSequence(7)
    first = estimate(7)
    assert [estimate(7), estimate(sequence), estimate(sequence)] == [first] * 3
    assert len({first, estimate(8), estimate(None), estimate(None)}) == 4
    child, other = sequence.spawn(2)
    assert len({first, estimate(child), estimate(other)}) == 3


def test_annealing_leaves_the_global_generator_and_its_input_alone():
    model = random_model((6, 5, 4), 0)
    machine = with_means(model)
    shared = check_random_state(None)
    before = str(shared.get_state())
    annealed_log_partition(machine, n_chains=20, random_state=0)
    assert str(shared.get_state()) == before
    means = [model.distribution.moments(layer)[0] for layer in range(3)]
    for array, given in zip(
        [*machine.weights, *machine.biases, *machine.means],
        [*model.weights, *model.biases, *means],
        strict=True,
    ):
        assert_array_equal(array, given)


@pytest.mark.parametrize("n_chains", [1, 0, -5])
def test_annealing_needs_two_chains(n_chains):
    machine = random_model((6, 5, 4), 0).machine()
    with pytest.raises(ValueError, match=f"n_chains={n_chains};"):
        annealed_log_partition(machine, n_chains=n_chains, random_state=0)


def test_an_uncertain_estimate_comes_with_a_warning(monkeypatch):
    machine = random_model((6, 5, 4), 0).machine()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sure = annealed_log_partition(machine, n_chains=20, random_state=0)
    monkeypatch.setattr(annealing, "LARGE_ERROR", 0.01)
    with pytest.warns(ConvergenceWarning, match="too much to compare .*n_chains"):
        unsure = annealed_log_partition(machine, n_chains=20, random_state=0)
    assert unsure.log_partition == sure.log_partition


# The importance-weighted estimate


@over([model for model in MODELS if len(model.sizes) == 2])
def test_importance_weighting_is_exact_for_one_hidden_layer(model):
    X = model.visible_states()
    estimate = importance_weighted_log_likelihood(
        model.machine(), X, model.distribution.log_partition, n_importance_samples=1
    )
    assert_allclose(estimate, [model.log_likelihood(row) for row in X], rtol=1e-12)


@each_dtype
def test_importance_weighting_draws_nothing_for_one_hidden_layer(dtype, monkeypatch):
    monkeypatch.setattr(ops, "streams_of_rows", Mock(side_effect=AssertionError))
    model = random_model((5, 4), 0)
    machine, X = model.machine(dtype), model.visible_states().astype(dtype)
    estimate = importance_weighted_log_likelihood(machine, X, 0.0)
    assert_array_equal(estimate, bound(machine, X, 0.0))
    X[0, 0] = np.nan
    with pytest.raises(AssertionError):
        importance_weighted_log_likelihood(machine, X, 0.0)


@each_seed
@pytest.mark.parametrize("n_importance_samples", [1, 20])
@over([model for model in MODELS if len(model.sizes) > 2])
def test_importance_weights_are_right_on_average(model, n_importance_samples, seed):
    """The mean weight is p(v), the mean logarithm between the bound and log p(v).

    That it is above the bound is no theorem but true of couplings as strong as these.
    """
    rng, n_rows = np.random.default_rng(seed), 3000
    X = model.visible_states()
    row = X[rng.integers(len(X))]
    log_weights = independent_estimates(
        model.machine(),
        np.tile(row, (n_rows, 1)),
        model.distribution.log_partition,
        n_importance_samples,
        seed,
    )
    exact = model.log_likelihood(row)
    weights = np.exp(log_weights - exact)
    assert abs(weights.mean() - 1) < 7 * weights.std() / np.sqrt(n_rows) + 1e-9
    lower = bound(model.machine(), row[None], model.distribution.log_partition)[0]
    error = 7 * log_weights.std() / np.sqrt(n_rows) + 1e-9
    assert lower - error < log_weights.mean() < exact + error


@each_seed
@over([formula_model((6, 5, 4)), random_model((4, 3, 3, 2), 4, scale=0.8)])
def test_one_corrected_sample_is_a_better_bound_than_means_drawn_from(model, seed):
    """The mean of log p*(v, h) / q(h) with q of mean field, summed, is surpassed."""
    X, n_copies, machine = model.visible_states(), 1000, model.machine()
    log_z = model.distribution.log_partition
    estimate = independent_estimates(
        machine, np.repeat(X, n_copies, axis=0), log_z, 1, seed
    ).reshape(len(X), n_copies)
    means = mean_field(machine, X).means[1]  # only the second hidden layer is drawn
    drawn_from = []
    for row, q in zip(X, means, strict=True):
        posterior = model.distribution.given(0, row)
        states = joint_states([1] * model.sizes[2])
        log_q = states @ np.log(q) + (1 - states) @ np.log1p(-q)
        log_p = [posterior.given(2, state).log_partition for state in states]
        drawn_from.append(np.exp(log_q) @ (log_p - log_q) - log_z)
    gain = estimate.mean(axis=1) - drawn_from
    error = estimate.std(axis=1) / np.sqrt(n_copies)
    assert gain.mean() > 7 * np.linalg.norm(error) / len(X)


@each_seed
def test_more_importance_samples_raise_the_estimate_on_average(seed):
    model, n_copies = random_model((6, 5, 4), 0, 4), 400
    X = np.tile(model.visible_states(), (n_copies, 1))
    estimates = [
        independent_estimates(model.machine(), X, 0.0, n_importance_samples, seed)
        for n_importance_samples in (1, 4, 16)
    ]
    means = np.array(estimates).reshape(3, n_copies, -1).mean(axis=2)
    rise = np.diff(means, axis=0)
    assert np.all(rise.mean(axis=1) > 2 * rise.std(axis=1) / np.sqrt(n_copies))


@each_dtype
def test_importance_weighting_depends_on_the_seed_alone(dtype):
    model = random_model((4, 3, 2), 2)
    machine, rng = model.machine(dtype), np.random.default_rng(0)
    X = rng.integers(0, 2, (1100, 4)).astype(dtype)

    def estimate(X=X, random_state=0, n_jobs=1):
        return importance_weighted_log_likelihood(
            machine,
            X,
            0.0,
            n_importance_samples=3,
            random_state=random_state,
            n_jobs=n_jobs,
        )

    first = estimate()
    assert first.dtype == np.float64
    assert estimate(n_jobs=2).tobytes() == first.tobytes()
    assert estimate(random_state=np.random.SeedSequence(0)).tobytes() == first.tobytes()
    assert_allclose(estimate(X=sp.csr_array(X)), first, rtol=1e-12, atol=1e-12)
    assert np.any(estimate(random_state=1) != first)


def test_estimate_of_a_row_depends_on_the_row_alone():
    model, rng = random_model((6, 5, 4), 0, 2), np.random.default_rng(0)
    machine, X = model.machine(), rng.integers(0, 2, (700, 6)).astype(float)
    assert len(ops.row_blocks(len(X), ops.INFERENCE_ROWS)) == 2
    X[::3][rng.random((234, 6)) < 0.3] = np.nan  # some rows lack something

    def estimate(X):
        return importance_weighted_log_likelihood(
            machine, X, 0.0, n_importance_samples=20, random_state=0
        )

    first = estimate(X)
    order = rng.permutation(len(X))
    assert_allclose(estimate(X[order]), first[order], rtol=1e-9)
    one_by_one = [estimate(row[None])[0] for row in X[:100]]
    assert_allclose(one_by_one, first[:100], rtol=1e-9)
    # Neither the sign of zero nor the rounding of what came before matters.
    assert_allclose(estimate(np.where(X == 0, -0.0, X) + 1e-12), first, rtol=1e-9)


def test_estimates_of_different_rows_err_independently_and_have_the_right_mean():
    """Over the seeds, weights are p(v) on average, and errors of rows do not add up."""
    model, n_seeds = random_model((6, 5, 4), 0, 2), 300
    machine, X = model.machine(), model.visible_states()
    exact = exact_log_likelihood(machine, X)
    log_weights = [
        importance_weighted_log_likelihood(
            machine,
            X,
            model.distribution.log_partition,
            n_importance_samples=2,
            random_state=seed,
        )
        for seed in range(n_seeds)
    ]
    errors = np.exp(np.array(log_weights) - exact) - 1
    standard_error = errors.std(axis=0, ddof=1) / np.sqrt(n_seeds)
    assert np.all(np.abs(errors.mean(axis=0)) < 6 * standard_error + 1e-9)
    # The mean of standardised errors over the rows has the variance 1 / rows.
    together = (errors / errors.std(axis=0)).mean(axis=1)
    ratio = len(X) * together.var(ddof=1)
    assert abs(ratio - 1) < 5 * np.sqrt(2 / n_seeds)


def test_importance_weighting_needs_a_sample():
    machine = random_model((4, 3, 2), 2).machine()
    with pytest.raises(ValueError, match="n_importance_samples=0"):
        importance_weighted_log_likelihood(
            machine, np.zeros((1, 4)), 0.0, n_importance_samples=0
        )


# Log Z that is kept

SETTINGS = {"n_chains": 10}


@over(MODELS)
def test_small_machines_are_enumerated(model):
    value, error = log_partition(model.machine(), **SETTINGS)
    assert_allclose(value, model.distribution.log_partition, rtol=1e-13)
    assert error == 0


@each_seed
def test_large_machines_are_annealed(seed):
    small = random_model((3, 3), seed)
    machine = copies(small, 8).machine()  # 24 units on either side
    value, error = log_partition(machine, n_chains=100, random_state=seed)
    assert error > 0
    assert abs(value - 8 * small.distribution.log_partition) < 8 * error


@pytest.mark.usefixtures("narrow_blocks")
def test_log_partition_depends_on_seed_and_settings():
    machine = random_model((24, 24), 0, scale=0.2).machine()
    settings = SETTINGS | {"random_state": 0}
    first = log_partition(machine, **settings)
    assert log_partition(machine, **settings, n_jobs=2) == first
    others = [{"random_state": 1}, {"n_chains": 11}]
    values = {log_partition(machine, **(settings | other)) for other in others}
    assert len(values | {first}) == 1 + len(others)


def test_log_partition_warns_where_it_is_uncertain(monkeypatch):
    monkeypatch.setattr(annealing, "LARGE_ERROR", 0.01)
    machine = random_model((24, 24), 0, scale=3).machine()
    with pytest.warns(ConvergenceWarning, match="too much to compare .*n_chains"):
        log_partition(machine, n_chains=10, random_state=0)


@pytest.fixture
def annealings(monkeypatch):
    """Count how often a kept log Z is annealed."""
    module = importlib.import_module("skdbm.likelihood.log_partition")
    counted = Mock(wraps=module.annealed_with_chains)
    monkeypatch.setattr(module, "annealed_with_chains", counted)
    return counted


def kept(machine, *, seed=0, **settings):
    """What keeps log Z of a machine."""
    return LogPartition(machine, seed=seed, **(SETTINGS | settings))


def samples(log_z, n_samples=9, seed=0):
    """Samples of all layers side by side."""
    return np.hstack(log_z.samples(n_samples, np.random.SeedSequence(seed)))


def test_chains_are_annealed_once_for_log_z_and_samples(annealings):
    log_z = kept(random_model((24, 24), 0, scale=0.2).machine())
    assert log_z.of() == log_z.of()
    assert_array_equal(samples(log_z), samples(log_z))
    assert np.any(samples(log_z) != samples(log_z, seed=1))
    assert annealings.call_count == 1


def test_totals_are_annealed_once(annealings, monkeypatch):
    monkeypatch.setattr(annealing, "GOOD_ERROR", 1e9)  # as few rounds as there may be
    rng = np.random.default_rng(0)
    machine = DeepBoltzmannMachine(
        [rng.normal(0, 0.1, (30, 24))],
        [rng.normal(0, 1, 30), np.zeros(24)],
        [ReplicatedSoftmax(30, 9), Bernoulli()],
    )
    log_z, totals = kept(machine), np.array([5, 13, 5, 0])
    values = log_z.of(totals)
    n_annealed = annealings.call_count
    assert n_annealed == 8  # 0; 3, 4, 6, 8 around 5; 8, 11, 16, 23 around 13
    log_z.settle()
    again = pickle.loads(pickle.dumps(log_z)).of(totals)
    assert_array_equal(again, values)
    assert annealings.call_count == n_annealed


@pytest.mark.parametrize("sizes", [(24, 24), (8, 7)])
def test_kept_log_z_is_pickled_small_and_comes_out_the_same(sizes, annealings):
    machine = random_model(sizes, 0, scale=0.2).machine()
    log_z = kept(machine, n_chains=30)
    n_bytes = len(pickle.dumps(machine))
    unread = pickle.dumps(log_z)
    value, drawn = log_z.of(), samples(log_z)
    assert pickle.dumps(log_z) == unread  # reading is nothing that shows
    log_z.settle()
    content = pickle.dumps(log_z)
    assert len(content) < n_bytes + 500
    again = pickle.loads(content)
    assert again.settings == log_z.settings == (30, 0)
    n_annealed = annealings.call_count
    assert again.of() == value
    assert annealings.call_count == n_annealed  # the value has stayed
    assert_array_equal(samples(again), drawn)
    assert again.of() == value


def test_one_kept_log_z_can_be_asked_by_several_threads():
    machine = random_model((24, 24), 0, scale=0.2).machine()
    expected = kept(machine).of(n_jobs=1), samples(kept(machine))
    log_z = kept(machine)
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: log_z.of(n_jobs=1), range(16)))
        drawn = list(pool.map(lambda _: samples(log_z), range(16)))
    assert set(values) == {expected[0]}
    for one in drawn:
        assert_array_equal(one, expected[1])


def test_interrupted_annealing_leaves_nothing_behind(monkeypatch):
    machine = random_model((24, 24), 0, scale=0.2).machine()
    log_z, calls = kept(machine), []
    original = path.Chains.sweep

    def interrupted(self, *args):
        calls.append(args)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(path.Chains, "sweep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log_z.of()
    assert log_z.of() == kept(machine).of()


# Samples of kept chains


def two_kinds():
    """A model whose states are of two kinds: the first units on, or the last ones."""
    sign = np.repeat([1, -1], 4)
    return Model([3.0 * np.outer(sign, sign)], [np.minimum(0, 0.3 * sign), np.zeros(8)])


def share_of_first_kind(visible):
    """Share of states of the first kind, of each row of visible states."""
    return visible[:, :4].sum(axis=1) > visible[:, 4:].sum(axis=1)


@each_seed
def test_annealed_samples_have_the_proportions_of_the_machine(monkeypatch, seed):
    """The share of a kind by 20 seeds, by their own spread."""
    monkeypatch.setattr(exact, "PREFER_EXACT_STATES", 0)
    model = two_kinds()
    machine, distribution = model.machine(), model.distribution
    truth = distribution.probability @ share_of_first_kind(distribution.states[0])
    shares = []
    for i in range(20):
        log_z = kept(machine, seed=20 * seed + i, n_chains=50)
        v, h = log_z.samples(1000, np.random.SeedSequence(i))
        assert (v.shape, h.shape) == ((1000, 8), (1000, 8))
        shares.append(share_of_first_kind(v).mean())
    # Seven errors, of Student's distribution: once in 1e6; a ratio has some bias.
    assert abs(np.mean(shares) - truth) < 7 * np.std(shares) / np.sqrt(19) + 0.005
    assert np.std(shares) < 0.05


@each_seed
def test_samples_of_small_machines_are_exact(seed):
    model = two_kinds()
    states = kept(model.machine()).samples(20_000, np.random.SeedSequence(seed))
    assert worst_moment(model, model.distribution, states, n_layers=2) < 1


@pytest.mark.parametrize("n_samples", [7, 100, 1000, 2345])
@each_seed
def test_samples_have_the_shares_that_kinds_have_among_the_chains(n_samples, seed):
    """A choice at random would have a spread of 4.6 among 100 of 1000."""
    log_z = kept(random_model((24, 24), 0, scale=0.2).machine())
    kinds = np.repeat([0, 1, 2], [300, 5, 695])  # chains of one path are neighbours
    log_z._chains = [np.column_stack([kinds, np.arange(1000)])]
    [drawn] = log_z.samples(n_samples, np.random.SeedSequence(seed))
    counts = np.bincount(drawn[:, 0], minlength=3)
    assert np.all(abs(counts - np.array([0.3, 0.005, 0.695]) * n_samples) < 2)
    times = np.bincount(drawn[:, 1], minlength=1000)
    assert times.max() - times.min() <= 1
    if n_samples >= 100:  # and in no order: correlations beyond 5 / sqrt(n) are rare
        order = np.corrcoef(np.arange(n_samples), drawn[:, 1])[0, 1]
        assert abs(order) < 5 / np.sqrt(n_samples)


def test_samples_of_one_chain_do_not_stand_side_by_side():
    """Copies of a heavy chain are neighbours where they are drawn."""
    log_z = kept(random_model((24, 24), 0, scale=0.2).machine())
    n_chains = len(log_z.samples(1, np.random.SeedSequence(0))[0]) and len(
        log_z._chains[0]
    )
    v, _ = log_z.samples(3 * n_chains, np.random.SeedSequence(0))
    rows = [row.tobytes() for row in v]
    assert rows[:n_chains] == rows[n_chains : 2 * n_chains]  # each once, then again
    assert sorted(rows[:n_chains]) == sorted(row.tobytes() for row in log_z._chains[0])
    n_changes = np.count_nonzero(np.any(v[1:] != v[:-1], axis=1))
    assert n_changes > 0.9 * len(v)


def test_a_lower_bound_that_is_known_lifts_log_z(monkeypatch):
    """An estimate below what data alone add up to has missed something."""
    machine = random_model((24, 24), 0, scale=0.2).machine()
    value, error = kept(machine).of()
    lifted = kept(machine)
    lifted.least = value + 0.5
    assert lifted.of() == pytest.approx((value + 0.5, max(error, 0.5)))
    assert lifted.at(20, 0).least == value + 0.5
    lower = kept(machine)
    lower.least = value - 0.5
    assert lower.of() == (value, error)


@each_seed
@over(MODELS)
def test_the_sum_of_distinct_rows_is_a_lower_bound_of_log_z(model, seed):
    machine, rng = model.machine(), np.random.default_rng(seed)
    X = model.visible_states()
    rows = X[rng.integers(len(X), size=len(X))]
    least = least_log_partition(machine, rows)
    log_z = model.distribution.log_partition
    repeated = least_log_partition(machine, np.vstack([rows, rows]))
    assert repeated == pytest.approx(least)  # states count once
    p = sum(np.exp(model.log_likelihood(row)) for row in np.unique(rows, axis=0))
    assert least < log_z + np.log(p) + 1e-9
    assert least_log_partition(machine, X) <= log_z + 1e-9
    if machine.n_layers == 2:  # where the bound of a row is its probability
        assert least == pytest.approx(log_z + np.log(p))
    assert least_log_partition(machine, rows + 0.5) == -np.inf  # no states
    sparse = least_log_partition(machine, sp.csr_array(rows))
    assert sparse == pytest.approx(least)
