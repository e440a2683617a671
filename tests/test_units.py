"""Unit types against sums over their states and finite differences."""

import json
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdbm.units import Bernoulli, Binomial, UnitType, from_spec

from ._reference import largest_error

UNITS = [Bernoulli(), Binomial(1), Binomial(2), Binomial(5)]
DTYPES = [np.float32, np.float64]

each_unit = pytest.mark.parametrize("unit", UNITS, ids=repr)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_seed = pytest.mark.parametrize("seed", range(3))


def log_partition(unit, x):
    """Log-partition A of a vector of fields, each a row by itself."""
    return unit.log_partition(np.asarray(x)[:, None])


def probabilities(unit, x):
    """Probabilities of the states 0 ... n at a vector of fields, one row a field."""
    n = unit.n_trials
    log_weights = np.outer(x, range(n + 1)) + np.log([comb(n, k) for k in range(n + 1)])
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@each_unit
def test_log_partition_is_the_log_of_the_sum_over_states(unit):
    x = np.linspace(-30, 30, 61)
    total = sum(
        comb(unit.n_trials, k) * np.exp(k * x) for k in range(unit.n_trials + 1)
    )
    # log(total) is off by one rounding of a total near 1, hence the absolute part.
    assert_allclose(log_partition(unit, x), np.log(total), rtol=1e-13, atol=1e-15)


@each_unit
def test_base_makes_the_sum_over_states_the_log_partition(unit):
    x = np.linspace(-10, 10, 21)
    states = np.arange(unit.n_trials + 1.0)
    terms = np.outer(x, states) - unit.base(states[:, None])
    assert_allclose(np.log(np.exp(terms).sum(axis=1)), log_partition(unit, x))


@each_unit
def test_mean_is_the_first_derivative_of_the_log_partition(unit):
    x, h = np.linspace(-12, 12, 49), 1e-5
    slope = (log_partition(unit, x + h) - log_partition(unit, x - h)) / (2 * h)
    # Truncation A''' h^2 / 6 < 1e-11 n, rounding of A <= 60 by 1e-14 over 2 h.
    assert_allclose(unit.mean(x[:, None])[:, 0], slope, rtol=0, atol=5e-9)


@each_seed
@each_dtype
@each_unit
def test_samples_have_mean_and_variance_of_the_derivatives(unit, dtype, seed):
    x, h, n_draws = np.array([-4.0, -1.0, 0.0, 0.3, 2.5]), 1e-3, 20_000
    below, at, above = (log_partition(unit, x + step) for step in (-h, 0, h))
    mean, variance = (above - below) / (2 * h), (above - 2 * at + below) / h**2
    draws = unit.sample(
        np.tile(x.astype(dtype), (n_draws, 1)), np.random.default_rng(seed)
    )
    assert draws.dtype == dtype
    draws = draws.astype(np.float64)
    span = unit.n_trials
    # Both differences are off by A''' h^2 / 6 and A'''' h^2 / 12, below 1e-6.
    assert np.all(
        np.abs(draws.mean(axis=0) - mean)
        < largest_error(np.sqrt(variance), n_draws, span) + 1e-6
    )
    deviations = np.arange(span + 1) - mean[:, None]
    fourth = np.sum(probabilities(unit, x) * deviations**4, axis=1)
    assert np.all(
        np.abs(np.mean((draws - mean) ** 2, axis=0) - variance)
        < largest_error(np.sqrt(fourth - variance**2), n_draws, span**2) + 1e-5
    )


@each_seed
@each_dtype
@each_unit
def test_every_state_is_drawn_with_its_probability(unit, dtype, seed):
    x, n_draws = np.array([-3.0, -0.7, 0.0, 1.1, 4.0]), 20_000
    draws = unit.sample(
        np.tile(x.astype(dtype), (n_draws, 1)), np.random.default_rng(seed)
    )
    frequencies = np.mean(draws[:, :, None] == np.arange(unit.n_trials + 1), axis=0)
    assert_allclose(frequencies.sum(axis=1), 1)  # nothing but the states 0 ... n
    p = probabilities(unit, x)
    assert np.all(
        np.abs(frequencies - p) < largest_error(np.sqrt(p * (1 - p)), n_draws)
    )


@each_seed
@each_dtype
@each_unit
def test_units_of_a_row_are_drawn_independently(unit, dtype, seed):
    n_rows, field = 20_000, 0.4
    draws = unit.sample(
        np.full((n_rows, 3), field, dtype), np.random.default_rng(seed)
    ).astype(np.float64)
    mean = unit.n_trials / (1 + np.exp(-field))
    variance = mean * (1 - mean / unit.n_trials)
    left, right = draws[:, [0, 0, 1]] - mean, draws[:, [1, 2, 2]] - mean
    covariance = np.mean(left * right, axis=0)
    assert np.all(
        np.abs(covariance) < largest_error(variance, n_rows, unit.n_trials**2)
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rare_state", [0, 1])
@each_dtype
def test_rare_states_are_drawn_as_rarely_as_they_should(dtype, rare_state, seed):
    p, n_draws = 1e-4, 2_000_000
    logit = np.log(p / (1 - p))
    field = np.full((n_draws // 100, 100), logit if rare_state else -logit, dtype)
    draws = Bernoulli().sample(field, np.random.default_rng(seed), out=field)
    rare = np.mean(draws == rare_state, dtype=np.float64)
    # A float32 draw has 24 bits, which move p by less than 6e-8.
    assert abs(rare - p) < largest_error(np.sqrt(p), n_draws) + 6e-8


@pytest.mark.parametrize("size", [100.0, 200.0, 1e4, 1e30])
@each_dtype
@each_unit
def test_saturated_units_are_at_the_ends_of_their_range(unit, dtype, size):
    n = unit.n_trials
    field = np.tile(np.array([size, -size], dtype), (5000, 1))
    ends = np.tile([n, 0], (5000, 1))
    with np.errstate(under="ignore"):
        assert_allclose(unit.mean(field), ends, atol=1e-40)
        assert_array_equal(unit.sample(field, np.random.default_rng(0)), ends)
        assert_allclose(unit.log_partition(field), n * size, rtol=1e-7)
        assert_allclose(unit.log_partition(-field[:1, :1]), 0, atol=1e-40)
        assert_allclose(unit.entropy(unit.mean(field)), 0, atol=1e-35)


@each_unit
def test_entropy_of_the_mean_is_log_partition_less_field_times_mean(unit):
    x = np.linspace(-15, 15, 60).reshape(12, 5)  # several units in a row
    mean = unit.mean(x)
    expected = unit.log_partition(x) - np.sum(x * mean, axis=1)
    # 1 - m/n loses up to 1e-16 of 3e-7 where x = 15, and counts 15 times.
    assert_allclose(unit.entropy(mean), expected, rtol=1e-12, atol=1e-13)


@each_unit
def test_entropy_is_that_of_the_enumerated_distribution(unit):
    x = np.linspace(-5, 5, 11)
    p = probabilities(unit, x)
    multiplicity = [comb(unit.n_trials, k) for k in range(unit.n_trials + 1)]
    expected = -np.sum(p * np.log(p / multiplicity), axis=1)
    assert_allclose(unit.entropy(unit.mean(x[:, None])), expected, rtol=1e-12)


@each_unit
def test_entropy_in_float32_equals_float64_at_the_same_means(unit):
    mean = unit.mean(np.linspace(-20, 20, 400, dtype=np.float32).reshape(20, 20))
    p = mean.astype(np.float64) / unit.n_trials
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = -p * np.log(p) - (1 - p) * np.log(1 - p)
    expected = unit.n_trials * np.where((p == 0) | (p == 1), 0, terms).sum(axis=1)
    entropy = unit.entropy(mean)
    assert entropy.dtype == np.float64
    assert_allclose(entropy, expected, rtol=1e-13)


@each_unit
def test_field_of_mean_inverts_mean(unit):
    x = np.linspace(-12, 12, 49)
    # Near the upper end n - m is known to 1e-16 out of n exp(-12).
    assert_allclose(unit.field_of_mean(unit.mean(x[:, None]))[:, 0], x, atol=1e-10)


@each_unit
def test_bias_of_data_adds_one_row_in_the_middle(unit):
    n, n_rows = unit.n_trials, 99
    mean = n * np.array([0.0, 0.2, 0.5, 1.0])  # the ends included
    bias = unit.bias_of_data(mean, n_rows)
    assert_allclose(unit.mean(bias[None])[0], (mean * n_rows + n / 2) / (n_rows + 1))


@pytest.mark.parametrize("n_copies", [1, 2, 3])
@each_unit
def test_tied_copies_are_the_sum_of_independent_units(unit, n_copies):
    tied = unit.tied_copies(n_copies)
    x = np.linspace(-6, 6, 25)
    assert_allclose(log_partition(tied, x), n_copies * log_partition(unit, x))
    single = np.exp(-unit.base(np.arange(unit.n_trials + 1.0)[:, None]))
    convolved = np.array([1.0])
    for _ in range(n_copies):
        convolved = np.convolve(convolved, single)
    assert tied.bounds == (0, len(convolved) - 1)
    states = np.arange(len(convolved), dtype=np.float64)[:, None]
    assert_allclose(np.exp(-tied.base(states)), convolved)


@each_dtype
@each_unit
def test_states_lists_every_joint_state_once(unit, dtype):
    n_units = 4
    n_states = unit.n_states(n_units)
    assert n_states == (unit.n_trials + 1) ** n_units
    states = unit.states(np.arange(n_states), n_units, dtype)
    assert states.dtype == dtype
    assert states.shape == (n_states, n_units)
    assert len(np.unique(states, axis=0)) == n_states
    assert set(np.unique(states)) == set(range(unit.n_trials + 1))
    index = np.random.default_rng(0).integers(n_states, size=20)
    assert_array_equal(unit.states(index, n_units, dtype), states[index])


@each_unit
def test_number_of_states_is_exact_beyond_machine_integers(unit):
    assert unit.n_states(200) == (unit.n_trials + 1) ** 200


@each_unit
def test_base_sums_over_the_units_of_a_row(unit):
    states = unit.states(np.arange(unit.n_states(3)), 3, np.float32)
    multiplicity = [comb(unit.n_trials, k) for k in range(unit.n_trials + 1)]
    expected = -np.log(multiplicity)[states.astype(int)].sum(axis=1)
    base = unit.base(states)
    assert base.dtype == np.float64
    assert_allclose(base, expected, atol=1e-13)


@each_unit
def test_log_partition_of_float32_fields_is_summed_in_float64(unit):
    field = np.random.default_rng(0).normal(0, 3, (2, 300_000)).astype(np.float32)
    result = unit.log_partition(field)
    assert result.dtype == np.float64
    # 3e5 independent roundings of 6e-8; a float32 sum could not be as close.
    expected = unit.n_trials * np.logaddexp(0, field.astype(np.float64)).sum(axis=1)
    assert_allclose(result, expected, rtol=1e-8)


@pytest.mark.parametrize("where", ["out", "scratch", "both", "aliased", "in place"])
@each_dtype
@each_unit
def test_buffers_do_not_change_the_draws(unit, dtype, where):
    field = np.random.default_rng(0).normal(0, 2, (50, 7)).astype(dtype)
    given = field.copy()
    expected = unit.sample(field, np.random.default_rng(1))
    assert_array_equal(field, given)
    other, room = np.full_like(field, np.nan), np.full_like(field, np.nan)
    buffers = {
        "out": {"out": other},
        "scratch": {"scratch": room},
        "both": {"out": other, "scratch": room},
        "aliased": {"out": given, "scratch": room},
        "in place": {"out": given},
    }[where]
    draws = unit.sample(given, np.random.default_rng(1), **buffers)
    assert_array_equal(draws, expected)
    if "out" in buffers:
        assert draws is buffers["out"]
    if buffers.get("out") is not given:
        assert_array_equal(given, field)


@each_dtype
@each_unit
def test_buffers_do_not_change_the_means(unit, dtype):
    field = np.random.default_rng(0).normal(0, 2, (50, 7)).astype(dtype)
    given = field.copy()
    expected = unit.mean(field)
    assert expected.dtype == dtype
    assert_array_equal(field, given)
    other = np.full_like(field, np.nan)
    assert unit.mean(field, out=other) is other
    assert_array_equal(other, expected)
    assert unit.mean(given, out=given) is given
    assert_array_equal(given, expected)


@each_seed
@each_dtype
@each_unit
def test_states_are_drawn_by_their_mean(unit, dtype, seed):
    n, n_draws = unit.n_trials, 20_000
    p = np.array([0.0, 1e-3, 0.3, 0.5, 0.99, 1.0])  # the ends of the range included
    mean = np.tile((n * p).astype(dtype), (n_draws, 1))
    given = mean.copy()
    draws = unit.sample_of_mean(mean, np.random.default_rng(seed))
    assert draws.dtype == dtype
    assert_array_equal(mean, given)
    k = np.arange(n + 1)
    mass = np.array([[comb(n, j) * q**j * (1 - q) ** (n - j) for j in k] for q in p])
    frequencies = np.mean(draws[:, :, None] == k, axis=0)
    assert_allclose(frequencies.sum(axis=1), 1)
    error = np.abs(frequencies - mass)
    assert np.all(error < largest_error(np.sqrt(mass * (1 - mass)), n_draws))
    assert_array_equal(draws[:, [0, -1]], mean[:, [0, -1]])
    out = np.full_like(mean, np.nan)
    for buffer in (out, mean):
        rng = np.random.default_rng(seed)
        assert unit.sample_of_mean(mean, rng, out=buffer) is buffer
        assert_array_equal(buffer, draws)


@each_unit
def test_bounds_are_the_smallest_and_largest_state(unit):
    assert unit.bounds == (0, unit.n_trials)


@each_unit
def test_spec_survives_json(unit):
    again = from_spec(json.loads(json.dumps(unit.spec())))
    assert again == unit
    assert type(again) is type(unit)
    assert hash(again) == hash(unit)


def test_unit_types_are_told_apart():
    assert Bernoulli() == Bernoulli()
    assert Binomial(2) != Binomial(3)
    assert Binomial(2) != Bernoulli()
    assert repr(Bernoulli()) == "Bernoulli()"
    assert repr(Binomial(3)) == "Binomial(n_trials=3)"


def test_unit_types_cannot_be_changed():
    with pytest.raises(AttributeError):
        Binomial(2).n_trials = 3


@pytest.mark.parametrize("spec", [{"type": "Unheard"}, {}, {"n_trials": 2}])
def test_from_spec_refuses_unknown_types(spec):
    with pytest.raises(ValueError, match="Unknown unit type"):
        from_spec(spec)


@pytest.mark.parametrize("n_trials", [0, -1, 2.5, "2", None])
def test_binomial_refuses_what_is_no_number_of_trials(n_trials):
    with pytest.raises(ValueError, match="n_trials"):
        Binomial(n_trials)


def test_the_contract_has_no_instances():
    with pytest.raises(TypeError, match="abstract"):
        UnitType()
