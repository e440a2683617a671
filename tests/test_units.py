"""Unit types against sums over their states and finite differences."""

import copy
import itertools
import json
import pickle
from dataclasses import dataclass
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import logsumexp
from scipy.stats import norm

from skdbm import ops
from skdbm.ops import random
from skdbm.training.start import free_bias
from skdbm.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Gaussian,
    Mixed,
    Multinomial,
    ReplicatedSoftmax,
    UnitType,
    from_spec,
)

from ._reference import (
    block_moments,
    block_slices,
    block_terms,
    block_width,
    largest_error,
)

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
    bias = free_bias(unit, mean, n_rows)
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
    assert tied.n_copies == len(convolved) - 1
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
    with pytest.raises(
        ValueError, match=r"Unknown UnitType.*Bernoulli.*import the module"
    ):
        from_spec(spec)


@pytest.mark.parametrize("n_trials", [0, -1, 2.5, "2", None])
def test_binomial_refuses_what_is_no_number_of_trials(n_trials):
    with pytest.raises(ValueError, match="n_trials"):
        Binomial(n_trials)


def test_the_contract_has_no_instances():
    with pytest.raises(TypeError, match="abstract"):
        UnitType()


# ---------------------------------------------------------------------------
# Real values, groups that share draws, and layers of several types
# ---------------------------------------------------------------------------

MIXED = Mixed([(Gaussian(), 1), (Categorical((3,)), 3), (Bernoulli(), 2)])
THREE_REAL = [("normal", 1)] * 3
REAL_GROUP_BITS = [("normal", 1), ("group", 3, 1), ("count", 1), ("count", 1)]

#: Unit types, and the blocks of which their layers are made.
TYPES = {
    "gaussian": (Gaussian(), THREE_REAL),
    "gaussian, two copies": (Gaussian().tied_copies(2), [("normal", 2)] * 3),
    "multinomial": (Multinomial((3, 1, 2), 3), [("group", k, 3) for k in (3, 1, 2)]),
    "categorical": (Categorical((3, 2, 1)), [("group", k, 1) for k in (3, 2, 1)]),
    "categorical, two copies": (
        Categorical((3, 2)).tied_copies(2),
        [("group", 3, 2), ("group", 2, 2)],
    ),
    "counts": (ReplicatedSoftmax(4, typical_total=3), [("group", 4, 3)]),
    "counts of one word": (ReplicatedSoftmax(3), [("group", 3, 1)]),
    "counts, two copies": (ReplicatedSoftmax(3, 2).tied_copies(2), [("group", 3, 4)]),
    "mixed": (MIXED, REAL_GROUP_BITS),
    "mixed, two copies": (
        MIXED.tied_copies(2),
        [("normal", 2), ("group", 3, 2), ("count", 2), ("count", 2)],
    ),
}
each_type = pytest.mark.parametrize(
    ("unit", "blocks"), TYPES.values(), ids=TYPES.keys()
)
DISCRETE = {
    name: case for name, case in TYPES.items() if all(b[0] != "normal" for b in case[1])
}
each_discrete_type = pytest.mark.parametrize(
    ("unit", "blocks"), DISCRETE.values(), ids=DISCRETE.keys()
)


def expected(blocks, field):
    """Log-partitions of every row and block, and means of every unit."""
    totals = np.zeros((len(field), len(blocks)))
    means = np.zeros(field.shape)
    for j, (block, units) in enumerate(zip(blocks, block_slices(blocks), strict=True)):
        for i, row in enumerate(field):
            totals[i, j], means[i, units], _ = block_moments(block, row[units])
    return totals, means


def some_fields(blocks, n_rows=4, seed=0):
    width = sum(map(block_width, blocks))
    return np.random.default_rng(seed).normal(0, 1.2, (n_rows, width))


def some_mask(blocks, n_rows, seed=0):
    """A mask of whole blocks, another one in each row, and that of the blocks."""
    wanted = np.random.default_rng(seed).random((n_rows, len(blocks))) < 0.5
    return np.repeat(wanted, [block_width(block) for block in blocks], axis=1), wanted


@each_type
def test_log_partition_of_a_type_is_the_sum_or_integral_over_its_states(unit, blocks):
    field = some_fields(blocks)
    totals, _ = expected(blocks, field)
    assert_allclose(unit.log_partition(field), totals.sum(axis=1), rtol=1e-10)


@each_type
def test_mean_of_a_type_is_the_one_over_its_states(unit, blocks):
    field = some_fields(blocks)
    _, means = expected(blocks, field)
    assert_allclose(unit.mean(field), means, atol=1e-9)


@each_type
def test_derivatives_of_the_log_partition_are_mean_and_variance(unit, blocks):
    x, h = some_fields(blocks, 1)[0], 1e-3
    for block, units in zip(blocks, block_slices(blocks), strict=True):
        _, mean, second = block_moments(block, x[units])
        for place, i in enumerate(range(units.start, units.stop)):
            steps = np.tile(x, (3, 1))
            steps[:, i] += [-h, 0, h]
            below, at, above = unit.log_partition(steps)
            variance = second[place, place] - mean[place] ** 2
            # Truncation is A''' h^2 / 6 and A'''' h^2 / 12, rounding 1e-15 A / h^2.
            assert_allclose((above - below) / (2 * h), mean[place], atol=3e-6)
            assert_allclose((above - 2 * at + below) / h**2, variance, atol=3e-6)


@each_type
def test_reaction_is_the_variance_and_its_slope_or_nothing_for_groups(unit, blocks):
    field, h = some_fields(blocks), 1e-4
    variance, slope = unit.reaction(unit.mean(field))
    (before, after), steps = (
        [unit.reaction(unit.mean(field + step))[0] for step in (-h, h)],
        unit.mean(field + h) - unit.mean(field - h),
    )
    for block, units in zip(blocks, block_slices(blocks), strict=True):
        if block[0] == "group":
            assert_array_equal(variance[:, units], 0)
            assert_array_equal(slope[:, units], 0)
            continue
        for x, own in zip(field[:, units], variance[:, units], strict=True):
            _, mean, second = block_moments(block, x)
            assert_allclose(own, second[0] - mean**2, rtol=1e-6)
        change = (after - before)[:, units] / steps[:, units]
        assert_allclose(slope[:, units], change, atol=1e-6)


@each_type
def test_gradients_are_carried_back_from_means_to_fields(unit, blocks):
    field, h = some_fields(blocks), 1e-5
    gradient = np.random.default_rng(1).normal(size=field.shape)
    result = unit.mean_vjp(unit.mean(field), gradient)
    for i in range(field.shape[1]):
        ends = []
        for step in (h, -h):
            moved = field.copy()
            moved[:, i] += step
            ends.append((gradient * unit.mean(moved)).sum(axis=1))
        # Truncation is the third derivative times h^2 / 6, rounding 1e-16 / h.
        assert_allclose(result[:, i], (ends[0] - ends[1]) / (2 * h), atol=1e-8)


@each_seed
@each_dtype
@each_type
def test_draws_of_a_type_have_the_moments_of_its_states(unit, blocks, dtype, seed):
    x, n_draws = some_fields(blocks, 1, seed)[0].astype(dtype), 20_000
    draws = unit.sample(np.tile(x, (n_draws, 1)), np.random.default_rng(seed))
    assert draws.dtype == dtype
    draws = draws.astype(np.float64)
    for block, units in zip(blocks, block_slices(blocks), strict=True):
        states, log_weights = block_terms(block)
        p = np.exp(states @ x[units].astype(np.float64) + log_weights)
        p /= p.sum()
        for power in (
            lambda s: s,
            lambda s: (s[:, :, None] * s[:, None]).reshape(len(s), -1),
        ):
            values, drawn = power(states), power(draws[:, units])
            mean = p @ values
            std = np.sqrt(np.maximum(p @ (values - mean) ** 2, 0))
            error = np.abs(drawn.mean(axis=0) - mean)
            span = max(5, np.max(np.abs(drawn)))
            # The second term is the rounding of float32 fields of sums of draws.
            assert np.all(error < largest_error(std, n_draws, span) + 1e-5)


@each_seed
@each_dtype
@each_discrete_type
def test_every_state_of_a_group_is_drawn_with_its_probability(
    unit, blocks, dtype, seed
):
    x, n_draws = some_fields(blocks, 1, seed)[0], 20_000
    draws = unit.sample(
        np.tile(x.astype(dtype), (n_draws, 1)), np.random.default_rng(seed)
    )
    for block, units in zip(blocks, block_slices(blocks), strict=True):
        states, log_weights = block_terms(block)
        p = np.exp(states @ x[units] + log_weights)
        p /= p.sum()
        frequency = np.array(
            [np.mean(np.all(draws[:, units] == state, axis=1)) for state in states]
        )
        assert_allclose(frequency.sum(), 1)  # nothing but these states
        bound = largest_error(np.sqrt(p * (1 - p)), n_draws) + 1e-6
        assert np.all(np.abs(frequency - p) < bound)


@each_seed
@each_type
def test_blocks_and_rows_are_drawn_independently(unit, blocks, seed):
    n_rows = 20_000
    x = some_fields(blocks, 1)[0]
    draws = unit.sample(np.tile(x, (n_rows, 1)), np.random.default_rng(seed))
    _, means = expected(blocks, x[None])
    spread = draws - means
    deviation = spread.std(axis=0)
    firsts = [units.start for units in block_slices(blocks)]
    pairs = [
        (spread[:, i], spread[:, j], i, j) for i in firsts for j in firsts if i < j
    ]
    pairs += [(spread[::2, i], spread[1::2, i], i, i) for i in firsts]
    for left, right, i, j in pairs:
        bound = largest_error(deviation[i] * deviation[j], len(left), 16)
        assert abs(np.mean(left * right)) < bound + 1e-12


@each_type
def test_entropy_of_a_type_is_log_partition_less_field_times_mean(unit, blocks):
    field = some_fields(blocks)
    totals, means = expected(blocks, field)
    entropy = unit.entropy(unit.mean(field))
    assert entropy.dtype == np.float64
    assert_allclose(entropy, totals.sum(axis=1) - np.sum(field * means, axis=1))


@each_discrete_type
def test_probabilities_of_all_states_of_a_group_come_from_the_base(unit, blocks):
    field = some_fields(blocks, 1)
    start = np.zeros((1, 0))
    for block in blocks:  # all joint states, block by block
        table, _ = block_terms(block)
        start = np.hstack(
            [np.repeat(start, len(table), 0), np.tile(table, (len(start), 1))]
        )
    log_p = start @ field[0] - unit.base(start) - unit.log_partition(field)
    assert_allclose(np.exp(log_p).sum(), 1)
    by_block = [block_terms(block) for block in blocks]
    for row, value in zip(start[::7], log_p[::7], strict=True):
        wanted = 0.0
        for (states, weights), units in zip(
            by_block, block_slices(blocks), strict=True
        ):
            terms = states @ field[0, units] + weights
            this = np.flatnonzero((states == row[units]).all(axis=1))[0]
            wanted += terms[this] - logsumexp(terms)
        assert_allclose(value, wanted, atol=1e-12)


@pytest.mark.parametrize("n_copies", [1, 2, 3])
def test_density_of_gaussian_units_is_normal(n_copies):
    unit, x = Gaussian().tied_copies(n_copies), np.array([[0.3], [-2.0]])
    states = np.linspace(-9, 9, 7)
    for field in x:
        log_p = (
            states * field
            - unit.base(states[:, None])
            - unit.log_partition(field[None])
        )
        expected = norm.logpdf(states, n_copies * field, np.sqrt(n_copies))
        assert_allclose(log_p, expected, rtol=1e-12)


@each_type
def test_field_of_mean_gives_the_mean_back(unit, blocks):
    mean = unit.mean(some_fields(blocks))
    assert_allclose(unit.mean(unit.field_of_mean(mean)), mean, rtol=1e-10)
    assert_allclose(unit.field_of_mean(mean[0]), unit.field_of_mean(mean)[0])


@each_type
def test_masks_choose_the_blocks_that_are_summed(unit, blocks):
    field = some_fields(blocks, 6)
    mask, wanted = some_mask(blocks, 6)
    totals, means = expected(blocks, field)
    assert_allclose(
        unit.log_partition(field, mask), np.sum(totals * wanted, axis=1), atol=1e-12
    )
    entropy = np.sum(totals * wanted, axis=1) - np.sum(field * means * mask, axis=1)
    assert_allclose(unit.entropy(unit.mean(field), mask), entropy, atol=1e-9)
    draws = unit.sample(field, np.random.default_rng(0))
    apart = np.zeros(6)
    for j, units in enumerate(block_slices(blocks)):
        others = np.zeros(mask.shape, bool)
        others[:, units] = True
        apart += wanted[:, j] * unit.base(draws, others)
    assert_allclose(unit.base(draws, mask), apart, atol=1e-12)
    assert_allclose(unit.base(draws, np.ones_like(mask)), unit.base(draws))


@each_type
@pytest.mark.parametrize("n_copies", [1, 2, 3])
def test_log_partition_of_tied_copies_is_so_many_times_that_of_one(
    unit, blocks, n_copies
):
    field, tied = some_fields(blocks), unit.tied_copies(n_copies)
    assert_allclose(tied.log_partition(field), n_copies * unit.log_partition(field))
    assert_allclose(tied.mean(field), n_copies * unit.mean(field))
    if n_copies == 1:
        assert tied == unit
        assert type(tied) is type(unit)


@each_discrete_type
def test_base_of_tied_copies_is_a_convolution(unit, blocks):
    tied = unit.tied_copies(2)
    for block, units in zip(blocks, block_slices(blocks), strict=True):
        states, log_weights = block_terms(block)
        ways = {}
        for one, a in zip(states, log_weights, strict=True):
            for other, b in zip(states, log_weights, strict=True):
                both = tuple(one + other)
                ways[both] = ways.get(both, 0.0) + np.exp(a + b)
        rows = np.zeros((len(ways), sum(map(block_width, blocks))))
        rows[:, units] = list(ways)
        mask = np.zeros(rows.shape, bool)
        mask[:, units] = True
        assert_allclose(np.exp(-tied.base(rows, mask)), list(ways.values()))


def test_base_of_two_gaussian_copies_is_a_convolution():
    states, grid = np.linspace(-5, 5, 11), np.linspace(-20, 20, 4001)
    other = states[:, None] - grid
    ways = np.exp(-(grid**2) / 2 - other**2 / 2).sum(axis=1) * (grid[1] - grid[0])
    assert_allclose(np.exp(-Gaussian(n_copies=2).base(states[:, None])), ways)


@each_type
def test_tied_copies_of_a_type_are_drawn_as_sums(unit, blocks):
    field, n_draws = some_fields(blocks, 1), 20_000
    rows = np.tile(field, (n_draws, 1))
    rng = np.random.default_rng(0)
    tied = unit.tied_copies(3).sample(rows, rng)
    apart = sum(unit.sample(rows, rng) for _ in range(3))
    spread = np.hypot(tied.std(axis=0), apart.std(axis=0))
    error = np.abs(tied.mean(axis=0) - apart.mean(axis=0))
    assert np.all(error <= 6 * spread / np.sqrt(n_draws))
    # The variance of a variance of n draws is (kurtosis - 1) var^2 / n; kurtosis < 10.
    ratio = (tied.var(axis=0) + 1e-9) / (apart.var(axis=0) + 1e-9)
    assert np.all(np.abs(ratio - 1) < 6 * np.sqrt(2 * 9 / n_draws))


@pytest.mark.parametrize("where", ["out", "scratch", "both", "aliased", "view"])
@each_dtype
@each_type
def test_buffers_do_not_change_the_draws_of_a_type(unit, blocks, dtype, where):
    field = some_fields(blocks, 30).astype(dtype)
    given, room = field.copy(), np.full_like(field, np.nan)
    expected = unit.sample(field, np.random.default_rng(1))
    assert_array_equal(field, given)
    wide = np.full((30, 2 * field.shape[1]), np.nan, dtype)
    buffers = {
        "out": {"out": np.full_like(field, np.nan)},
        "scratch": {"scratch": room},
        "both": {"out": np.full_like(field, np.nan), "scratch": room},
        "aliased": {"out": given, "scratch": room},
        "view": {"out": wide[:, : field.shape[1]]},
    }[where]
    draws = unit.sample(given, np.random.default_rng(1), **buffers)
    assert_array_equal(draws, expected)
    assert draws.dtype == dtype
    if "out" in buffers:
        assert draws is buffers["out"]


@each_dtype
@each_type
def test_buffers_do_not_change_the_means_of_a_type(unit, blocks, dtype):
    field = some_fields(blocks, 30).astype(dtype)
    given = field.copy()
    expected = unit.mean(field)
    assert expected.dtype == dtype
    assert_array_equal(field, given)
    other = np.full_like(field, np.nan)
    assert unit.mean(field, out=other) is other
    assert_array_equal(other, expected)
    assert unit.mean(given, out=given) is given
    assert_array_equal(given, expected)


@each_dtype
@pytest.mark.parametrize("size", [1e3, 1e30])
@each_discrete_type
def test_groups_saturate_without_overflow(unit, blocks, dtype, size):
    field = np.where(some_fields(blocks, 50) > 0, size, -size).astype(dtype)
    with np.errstate(under="ignore"):
        mean = unit.mean(field)
        assert np.isfinite(mean).all()
        assert np.isfinite(unit.entropy(mean)).all()
        assert np.isfinite(unit.log_partition(field)).all()
        draws = unit.sample(field, np.random.default_rng(0))
    assert np.all(draws[mean == 0] == 0)
    for block, units in zip(blocks, block_slices(blocks), strict=True):
        n = block[-1]
        assert_allclose(mean[:, units].sum(axis=1), n, rtol=1e-6)
        assert_array_equal(draws[:, units].sum(axis=1), n)


@each_dtype
@pytest.mark.parametrize(
    ("unit", "blocks"),
    [
        (Multinomial((3, 1, 2), 3), [("group", k, 3) for k in (3, 1, 2)]),
        (Multinomial((2, 2), 0), [("group", 2, 0)] * 2),
        (Categorical((3, 2, 1)), [("group", k, 1) for k in (3, 2, 1)]),
        (
            Mixed([(Categorical((3,)), 3), (Binomial(2), 2)]),
            [("group", 3, 1), ("count", 2), ("count", 2)],
        ),
    ],
    ids=["multinomial", "no draws", "categorical", "mixed"],
)
def test_states_of_groups_are_listed_once(unit, blocks, dtype):
    width = sum(map(block_width, blocks))
    tables = [block_terms(block)[0] for block in blocks]
    wanted = {tuple(np.concatenate(rows)) for rows in itertools.product(*tables)}
    n_states = unit.n_states(width)
    assert n_states == len(wanted)
    states = unit.states(np.arange(n_states), width, dtype)
    assert states.dtype == dtype
    assert len(states) == len(wanted)
    assert set(map(tuple, states.tolist())) == wanted
    index = np.random.default_rng(0).integers(n_states, size=9)
    assert_array_equal(unit.states(index, width, dtype), states[index])


@pytest.mark.parametrize(
    ("unit", "width"),
    [
        (Gaussian(), 1100),
        (ReplicatedSoftmax(1100), 1100),
        (Mixed([(Bernoulli(), 1100), (Gaussian(), 1)]), 1101),
        (Mixed([(Gaussian(), 1), (Bernoulli(), 1100)]), 1101),
    ],
    ids=repr,
)
def test_number_of_states_that_cannot_be_listed_is_infinite(unit, width):
    assert unit.n_states(width) == np.inf


def test_number_of_states_of_groups_is_exact_beyond_machine_integers():
    unit = Mixed([(Bernoulli(), 100), (Categorical((3,) * 100), 300)])
    assert unit.n_states(400) == 2**100 * 3**100
    assert Multinomial((50,), 100).n_states(50) == comb(149, 100)


def test_states_of_gaussian_units_cannot_be_listed():
    with pytest.raises(TypeError, match="cannot be enumerated"):
        Gaussian().states(np.arange(3), 1, np.float64)


@each_dtype
def test_each_row_may_have_its_own_number_of_draws(dtype):
    totals = np.array([0, 1, 7, 2, 300])
    field = np.random.default_rng(0).normal(0, 1, (5, 4)).astype(dtype)
    unit = ReplicatedSoftmax(4, 2).with_totals(totals)
    together = unit.log_partition(field), unit.mean(field)
    draws = unit.sample(field, np.random.default_rng(0))
    assert_array_equal(draws.sum(axis=1), totals)
    assert_array_equal(unit.totals(draws), None)
    assert_array_equal(ReplicatedSoftmax(4).totals(draws), totals)
    for i, total in enumerate(totals):
        alone = Multinomial((4,), int(total))
        row = field[i : i + 1]
        assert_allclose(together[0][i], alone.log_partition(row)[0], rtol=1e-12)
        assert_allclose(together[1][i], alone.mean(row)[0], rtol=1e-6)
        assert_allclose(
            unit.entropy(together[1])[i], alone.entropy(alone.mean(row))[0], rtol=1e-6
        )


@each_seed
def test_draws_of_rows_with_their_own_totals_have_their_means(seed):
    n_rows, rng = 5000, np.random.default_rng(seed)
    totals = np.tile([0, 1, 5, 40], n_rows)
    p = np.array([0.1, 0.2, 0.7])
    draws = (
        ReplicatedSoftmax(3)
        .with_totals(totals)
        .sample(np.tile(np.log(p), (4 * n_rows, 1)), rng)
    )
    for total in (0, 1, 5, 40):
        drawn = draws[totals == total]
        error = np.abs(drawn.mean(axis=0) - total * p)
        bound = largest_error(np.sqrt(total * p * (1 - p)), n_rows, max(total, 1))
        assert np.all(error <= bound * (total > 0))


def test_totals_are_shared_by_counts_alone():
    X = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    assert_array_equal(ReplicatedSoftmax(3).totals(X), [3, 0])
    assert_array_equal(ReplicatedSoftmax(3).totals(sparse.csr_array(X)), [3, 0])
    for unit in (Gaussian(), Bernoulli(), Categorical((3,)), MIXED):
        assert unit.totals(X) is None
        assert unit.with_totals([3, 0]) is unit
    assert ReplicatedSoftmax(3, 5).with_totals(None) == ReplicatedSoftmax(3, 5)


@each_type
def test_bias_of_data_gives_free_units_the_means_of_the_data(unit, blocks):
    mean, n_rows = unit.mean(some_fields(blocks, 1))[0], 10**9
    bias = free_bias(unit, mean, n_rows)
    assert_allclose(unit.mean(bias[None])[0], mean, rtol=1e-7, atol=1e-7)


def test_hidden_groups_rest_with_equal_shares():
    unit = Categorical((3, 2))
    bias = unit.field_of_mean(np.full(5, 0.02))
    assert_allclose(unit.mean(bias[None])[0], [1 / 3] * 3 + [1 / 2] * 2)


def test_bias_of_data_is_finite_where_a_category_was_not_seen():
    unit = Categorical((3, 2))
    bias = free_bias(unit, np.array([0.0, 1.0, 0.0, 0.0, 0.0]), 8)
    # One more row of equal shares: (0 + 1/3) / 9 and (8 + 1/3) / 9.
    assert_allclose(np.exp(bias[:3]), np.array([1 / 3, 8 + 1 / 3, 1 / 3]) / 9)
    assert bias[3] == bias[4]  # of a column without any value


@each_type
def test_spec_of_a_type_survives_json(unit, blocks):
    again = from_spec(json.loads(json.dumps(unit.spec())))
    assert again == unit
    assert type(again) is type(unit)
    assert hash(again) == hash(unit)
    field = some_fields(blocks)
    assert_array_equal(again.log_partition(field), unit.log_partition(field))


@each_type
def test_types_survive_pickling_and_copies(unit, blocks):
    for again in (pickle.loads(pickle.dumps(unit)), copy.deepcopy(unit)):
        assert again == unit
        assert again.spec() == unit.spec()


@pytest.mark.parametrize("n", [np.int64(3), np.uint8(3)])
def test_numbers_of_trials_may_be_numpy_integers(n):
    for unit in (
        Binomial(n),
        Multinomial((2, np.int64(2)), n),
        ReplicatedSoftmax(n, n),
    ):
        assert from_spec(json.loads(json.dumps(unit.spec()))) == unit


def test_types_are_told_apart():
    units = [unit for unit, _ in TYPES.values()]
    for i, one in enumerate(units):
        for j, other in enumerate(units):
            assert (one == other) == (i == j)
    assert Categorical((2, 3)) != Multinomial((2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multinomial(()), "sizes"),
        (lambda: Multinomial((3, 0)), "sizes"),
        (lambda: Multinomial((3,), -1), "n_trials"),
        (lambda: Multinomial((3,), 1.5), "n_trials"),
        (lambda: Multinomial((3,), np.array([1, -1])), "n_trials"),
        (lambda: Categorical((0,)), "sizes"),
        (lambda: ReplicatedSoftmax(0), "sizes"),
        (lambda: Mixed([]), "at least one part"),
        (lambda: Mixed([(Bernoulli(), 1), (Gaussian(), 0)]), "each of some units"),
        (lambda: Mixed([(Categorical((3,)), 2)]), "layer has 2 units"),
        (lambda: Mixed([(Bernoulli(), 1), (ReplicatedSoftmax(1), 1)]), "share a total"),
    ],
)
def test_parameters_that_make_no_unit_type(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("unit", "width"),
    [(Categorical((2, 2)), 3), (MIXED, 7), (ReplicatedSoftmax(3), 4)],
    ids=repr,
)
def test_layers_of_another_width_are_refused(unit, width):
    unit.check_width({MIXED: 6}.get(unit, 4 if width == 3 else 3))
    with pytest.raises(ValueError, match=f"layer has {width} units"):
        unit.check_width(width)


# Single draws


@each_dtype
def test_single_draws_never_switch_on_two_units_of_a_group(dtype, monkeypatch):
    """Not even where all noise is the same, or fields are larger than it."""
    unit, rows = Categorical((3, 1, 5)), np.zeros((50, 9), dtype)
    sums = [slice(0, 3), slice(3, 4), slice(4, 9)]
    for field in (rows, rows + dtype(1e30), rows - dtype(1e30)):
        monkeypatch.setattr(ops, "gumbel", lambda rng, out: np.copyto(out, 0) or out)
        tied = unit.sample(field, np.random.default_rng(0))
        monkeypatch.undo()
        for draws in (tied, unit.sample(field, np.random.default_rng(0))):
            assert set(np.unique(draws)) == {0, 1}
            for group in sums:
                assert_array_equal(draws[:, group].sum(axis=1), 1)


@each_seed
def test_rare_units_are_drawn_as_rarely_as_they_should(seed):
    p, n_draws = np.array([1e-4, 3e-3, 0.0, 0.0]), 1_000_000
    p[2:] = (1 - p.sum()) * np.array([0.4, 0.6])
    field = np.tile(np.log(p).astype(np.float32), (n_draws // 50, 50))
    unit = Categorical((4,) * 50)
    draws = unit.sample(field, ops.generator(seed)).reshape(-1, 4)
    error = np.abs(draws.mean(axis=0, dtype=np.float64) - p)
    # Noise in float32 has 24 bits, which move p by less than 6e-8 for each unit.
    assert np.all(error < largest_error(np.sqrt(p * (1 - p)), n_draws) + 3e-7)


@each_seed
@each_dtype
def test_gumbel_noise_has_its_distribution(dtype, seed):
    x, n_draws = np.linspace(-2.5, 9, 24), 200_000
    draws = ops.gumbel(ops.generator(seed), np.empty(n_draws, dtype))
    assert np.isfinite(draws).all()
    p = np.exp(-np.exp(-x))
    below = np.searchsorted(np.sort(draws), x) / n_draws
    bound = largest_error(np.sqrt(p * (1 - p)), n_draws) + 1e-6
    assert np.all(np.abs(below - p) < bound)


def test_gumbel_noise_is_finite_at_the_ends_of_the_draws(monkeypatch):
    for draw in (0.0, 1 - 2.0**-24):
        monkeypatch.setattr(random, "uniform", lambda rng, out, u=draw: out + u)
        noise = ops.gumbel(None, np.zeros(1, np.float32))
        assert np.isfinite(noise).all()


# Unit types of one's own


@dataclass(frozen=True)
class Ternary(Binomial):
    """A unit type that skdbm does not know."""

    n_trials: int = 2


def test_unit_types_of_ones_own_are_found_by_name():
    for unit in (Ternary(2), Mixed([(Ternary(2), 2), (Bernoulli(), 1)])):
        again = from_spec(json.loads(json.dumps(unit.spec())))
        assert again == unit
        assert repr(again) == repr(unit)
    with pytest.raises(ValueError, match=r"'Quaternary'.*Ternary.*import the module"):
        from_spec({"type": "Quaternary"})


@each_type
def test_steps_are_divided_by_the_copies_of_a_unit(unit, blocks):
    copies = {b[-1] for b in blocks} if "Softmax" not in repr(unit) else {1}
    assert unit.n_copies == max(copies)


def test_copies_of_rows_that_differ_are_the_most_of_a_row():
    assert Multinomial((2, 3), np.array([4, 7, 5])).n_copies == 7
    assert Multinomial((2,), 0).n_copies == 1
