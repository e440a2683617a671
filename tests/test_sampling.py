"""Gibbs sampling against enumerated moments, of single layers and of pairs."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdbm.evidence import Conditional, Evidence
from skdbm.machine import DeepBoltzmannMachine
from skdbm.ops import generator
from skdbm.sampling import gibbs_sweeps, initial_states
from skdbm.sampling.gibbs import draw

from ._reference import Model, formula_model, largest_error, random_model, worst_moment

N_CHAINS, N_SWEEPS = 20_000, 50

MODELS = [
    formula_model((4, 3, 2)),
    formula_model((5, 4, 3, 2)),
    formula_model((6, 5, 4)),
    random_model((3, 2, 2), 0, scale=0.7, n_trials=(2, 1, 3)),
]

each_seed = pytest.mark.parametrize("seed", range(3))
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def over(models):
    """Run a test for each of these models."""
    return pytest.mark.parametrize(
        "model",
        models,
        ids=lambda m: f"{'-'.join(map(str, m.sizes))}, trials {m.n_trials}",
    )


def sampled(model, seed, dtype=np.float32, evidence=None):
    """Independent chains that have forgotten their start but for 1e-11 of it."""
    machine, rng = model.machine(dtype), generator(seed)
    states = initial_states(machine, N_CHAINS, rng)
    return gibbs_sweeps(machine, states, N_SWEEPS, evidence=evidence, random_state=rng)


def all_at_once(model, seed):
    """Sample as one must not: all layers from the previous states of all layers."""
    machine, rng = model.machine(np.float32), generator(seed)
    states = initial_states(machine, N_CHAINS, rng)
    for _ in range(N_SWEEPS):
        states = [
            unit.sample(machine.field(layer, states), rng)
            for layer, unit in enumerate(machine.units)
        ]
    return states


@each_seed
@over(MODELS)
def test_first_and_second_moments(model, seed):
    states = sampled(model, seed)
    assert worst_moment(model, model.distribution, states, n_layers=1) < 1
    assert worst_moment(model, model.distribution, states, n_layers=2) < 1


@each_seed
@over(MODELS[:2])
def test_first_and_second_moments_in_float64(model, seed):
    states = sampled(model, seed, dtype=np.float64)
    assert {state.dtype for state in states} == {np.dtype(np.float64)}
    assert worst_moment(model, model.distribution, states, n_layers=1) < 1
    assert worst_moment(model, model.distribution, states, n_layers=2) < 1


@each_seed
@over(MODELS[:2])
def test_second_moments_expose_a_sampler_of_all_layers_at_once(model, seed):
    """Its layers are right one by one, so that first moments could not tell."""
    states = all_at_once(model, seed)
    assert worst_moment(model, model.distribution, states, n_layers=1) < 1
    assert worst_moment(model, model.distribution, states, n_layers=2) > 3


@pytest.mark.usefixtures("narrow_blocks")
@each_seed
@over(MODELS[:2])
def test_chains_over_threads_have_the_right_moments(model, seed):
    """Blocks of chains that shared a stream would be far from independent."""
    machine = model.machine(np.float32)
    states = initial_states(machine, N_CHAINS, generator(seed))
    result = gibbs_sweeps(machine, states, 25, random_state=seed, n_jobs=2)
    assert result is states
    assert worst_moment(model, model.distribution, states, n_layers=1) < 1
    assert worst_moment(model, model.distribution, states, n_layers=2) < 1


@each_seed
@over(MODELS)
def test_initial_states_are_independent_units(model, seed):
    alone = Model([0 * w for w in model.weights], model.biases, model.n_trials)
    states = initial_states(model.machine(), N_CHAINS, generator(seed))
    assert worst_moment(model, alone.distribution, states, n_layers=1) < 1
    assert worst_moment(model, alone.distribution, states, n_layers=2) < 1


@each_seed
@over(MODELS)
def test_a_sweep_draws_even_layers_first(model, seed):
    """One sweep from a fixed state: even layers given its odd ones."""
    machine, rng = model.machine(), generator(seed)
    states = [np.tile(np.arange(size) % 2.0, (N_CHAINS, 1)) for size in model.sizes]
    conditional = model.distribution
    for layer in range(1, len(model.sizes), 2):
        conditional = conditional.given(layer, states[layer][0])
    gibbs_sweeps(machine, states, 1, random_state=rng)
    for layer in range(0, len(model.sizes), 2):
        mean, std = conditional.moments(layer)
        error = np.abs(states[layer].mean(axis=0) - mean)
        assert np.all(error < largest_error(std, N_CHAINS, model.n_trials[layer]))


@each_seed
@pytest.mark.parametrize("parity", [0, 1])
@over(MODELS)
def test_draws_of_a_parity_leave_the_other_layers(model, parity, seed):
    machine, rng = model.machine(), generator(seed)
    states = initial_states(machine, 200, rng)
    before = [state.copy() for state in states]
    layers, scratch = range(parity, len(states), 2), [s.copy() for s in states]
    draw(Conditional(machine), states, layers, rng, scratch)
    for layer, (old, new) in enumerate(zip(before, states, strict=True)):
        assert np.array_equal(old, new) == (layer % 2 != parity)


@each_seed
@pytest.mark.parametrize(
    "columns",
    [
        np.array([True, False, True, False]),
        [0, 2],
        slice(0, 3, 2),
        slice(1, None),
        [3],
    ],
    ids=repr,
)
def test_clamped_columns_give_the_conditional_distribution(columns, seed):
    model = formula_model((4, 3, 2))
    values = np.array([1.0, 0.0, 0.0, 1.0])[columns]
    rows = np.full((N_CHAINS, 4), np.nan)
    rows[:, columns] = values
    states = sampled(model, seed, evidence=Evidence.of_rows(rows))
    assert np.all(states[0][:, columns] == values)
    conditional = model.distribution.given(0, values, columns)
    assert worst_moment(model, conditional, states, n_layers=1) < 1
    assert worst_moment(model, conditional, states, n_layers=2) < 1


@each_seed
@pytest.mark.parametrize(
    "held", [(0,), (1,), (2,), (3,), (0, 2), (0, 3), (1, 3)], ids=str
)
def test_clamped_layers_give_the_conditional_distribution(held, seed):
    model, evidence = formula_model((5, 4, 3, 2)), {}
    conditional = model.distribution
    for layer in held:
        values = np.arange(layer, layer + model.sizes[layer]) % 2
        evidence[layer] = np.tile(values, (N_CHAINS, 1)), None
        conditional = conditional.given(layer, values)
    states = sampled(model, seed, evidence=Evidence(evidence))
    assert worst_moment(model, conditional, states, n_layers=1) < 1
    assert worst_moment(model, conditional, states, n_layers=2) < 1


@each_seed
def test_layers_and_columns_clamped_together(seed):
    model = formula_model((4, 3, 2))
    rows = np.tile([np.nan, 1, np.nan, np.nan], (N_CHAINS, 1))
    evidence = {0: (rows, ~np.isnan(rows)), 2: (np.tile([0, 1], (N_CHAINS, 1)), None)}
    states = sampled(model, seed, evidence=Evidence(evidence))
    conditional = model.distribution.given(0, 1, [1]).given(2, [0, 1])
    assert worst_moment(model, conditional, states, n_layers=1) < 1
    assert worst_moment(model, conditional, states, n_layers=2) < 1


def test_each_chain_keeps_its_own_clamped_values():
    machine, rng = formula_model((4, 3, 2)).machine(), generator(0)
    states = initial_states(machine, 500, rng)
    before = [state.copy() for state in states]
    known = np.tile([True, False, False, True], (500, 1))
    evidence = Evidence({0: (before[0], known), 1: (before[1], None)})
    gibbs_sweeps(machine, states, 5, evidence=evidence, random_state=rng)
    assert_array_equal(states[0][:, [0, 3]], before[0][:, [0, 3]])
    assert_array_equal(states[1], before[1])
    assert np.any(states[0][:, [1, 2]] != before[0][:, [1, 2]])
    assert np.any(states[2] != before[2])


@each_dtype
def test_states_are_advanced_in_place(dtype):
    machine, rng = formula_model((5, 4, 3, 2)).machine(dtype), generator(0)
    states = initial_states(machine, 10, rng)
    arrays, before = list(states), [state.copy() for state in states]
    assert gibbs_sweeps(machine, states, 0, random_state=rng) is states
    for state, old in zip(states, before, strict=True):
        assert_array_equal(state, old)
    assert gibbs_sweeps(machine, states, 20, random_state=rng) is states
    for state, array, old in zip(states, arrays, before, strict=True):
        assert state is array
        assert state.dtype == dtype
        assert np.any(state != old)
        assert set(np.unique(state)) <= {0, 1}


@pytest.mark.usefixtures("narrow_blocks")
@each_dtype
@pytest.mark.parametrize("n_rows", [1, 127, 500])
def test_number_of_threads_does_not_change_a_bit(n_rows, dtype):
    model = formula_model((6, 5, 4))
    machine = model.machine(dtype)
    start = initial_states(machine, n_rows, generator(0))
    one, two, other = (
        gibbs_sweeps(
            machine, [s.copy() for s in start], 10, random_state=seed, n_jobs=n_jobs
        )
        for n_jobs, seed in [
            (1, np.random.SeedSequence(5)),
            (2, np.random.SeedSequence(5)),
            (1, np.random.SeedSequence(6)),
        ]
    )
    for left, right in zip(one, two, strict=True):
        assert left.tobytes() == right.tobytes()
    assert any(np.any(a != b) for a, b in zip(one, other, strict=True))


def test_no_two_chains_share_their_draws():
    """From one state; 200 rows of 60 fair bits agree by chance once in 1e14 times."""
    machine = DeepBoltzmannMachine([np.zeros((60, 60))], [np.zeros(60), np.zeros(60)])
    states = [np.zeros((200, 60)), np.zeros((200, 60))]
    for layer in gibbs_sweeps(machine, states, 1, random_state=0):
        assert len(np.unique(layer, axis=0)) == 200


def test_one_seed_makes_one_stream():
    draws = [generator(seed).random(5) for seed in (3, 3, 4)]
    assert_array_equal(draws[0], draws[1])
    assert np.all(draws[0] != draws[2])


@each_dtype
def test_saturated_machines_settle_without_warnings(dtype):
    machine = random_model((6, 5, 4), 0, scale=300).machine(dtype)
    rng = generator(0)
    states = initial_states(machine, 200, rng)
    gibbs_sweeps(machine, states, 20, random_state=rng)
    for state in states:
        assert set(np.unique(state)) <= {0, 1}
