"""Evidence on any layers against enumeration and against a plain iteration."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdbm import ops
from skdbm.evidence import Conditional, Evidence, filled
from skdbm.inference import mean_field
from skdbm.inference.mean_field import start
from skdbm.inference.second_order import second_order_fields
from skdbm.likelihood import bound, importance_weighted_log_likelihood
from skdbm.machine import DeepBoltzmannMachine
from skdbm.sampling import conditional_means, gibbs_sweeps, initial_states
from skdbm.units import Bernoulli, Binomial, ReplicatedSoftmax

from ._copies import independent_estimates
from ._reference import Model, formula_model, random_model, typed_model, worst_moment

ALL = slice(None)

#: Widths of the layers, and which columns of which layers are known.
CASES = [
    ((4, 3), {0: ALL}),
    ((4, 3), {1: ALL}),
    ((4, 3), {0: [0, 2]}),
    ((4, 3), {0: [1], 1: [0, 2]}),
    ((4, 3, 2), {1: ALL}),
    ((4, 3, 2), {2: ALL}),
    ((4, 3, 2), {1: [1]}),
    ((4, 3, 2), {0: ALL, 2: ALL}),
    ((4, 3, 2), {0: [0, 1, 2], 1: [2], 2: [0]}),
    ((3, 3, 3, 2), {2: ALL}),
    ((3, 3, 3, 2), {1: ALL, 3: [0]}),
    ((3, 3, 3, 2), {0: [1], 3: ALL}),
    ((3, 3, 3, 2), {0: [1, 2], 1: [0], 2: [0, 2], 3: [1]}),
]
each_case = pytest.mark.parametrize(("sizes", "columns"), CASES, ids=str)
each_seed = pytest.mark.parametrize("seed", range(3))


def evidence_on(model, columns, n_rows, seed=0):
    """Every second row has other values, and knows the rest of a part of a layer.

    Also the distributions of these two kinds of rows.
    """
    drawn = model.distribution.sample(2, np.random.default_rng(seed))
    layers, conditionals = {}, [model.distribution] * 2
    for layer, which in columns.items():
        known = np.zeros((2, model.sizes[layer]), bool)
        known[0, which] = True
        known[1] = known[0] if which == ALL else ~known[0]
        for i in (0, 1):
            values = drawn[layer][i, known[i]]
            conditionals[i] = conditionals[i].given(layer, values, known[i])
        index = np.arange(n_rows) % 2
        states = np.where(known, drawn[layer], np.nan)[index]
        layers[layer] = states, known[index]
    return Evidence(layers), conditionals


def settle(model, evidence):
    """Mean field by plain iteration over the rows, layer by layer, from one half."""
    states = [np.full((evidence.n_rows, size), 0.5) for size in model.sizes]
    for _ in range(2000):
        before = [state.copy() for state in states]
        for layer, bias in enumerate(model.biases):
            x = np.tile(bias, (evidence.n_rows, 1))
            if layer:
                x += states[layer - 1] @ model.weights[layer - 1]
            if layer + 1 < len(states):
                x += states[layer + 1] @ model.weights[layer].T
            states[layer] = model.n_trials[layer] / (1 + np.exp(-x))
            if layer in evidence.layers:
                given, known = evidence.layers[layer]
                known = np.ones(given.shape, bool) if known is None else known
                states[layer] = np.where(known, given, states[layer])
        if all(
            np.abs(a - b).max() < 1e-15 for a, b in zip(states, before, strict=True)
        ):
            break
    return states


# Evidence itself


def test_a_mask_without_gaps_is_no_mask():
    states, known = np.eye(3), np.array([[True] * 3, [True, False, True], [True] * 3])
    evidence = Evidence({2: (states, known)})
    assert_array_equal(evidence.missing(2), ~known)
    assert evidence.n_rows == 3
    assert evidence[[0, 2]].missing(2) is None
    assert_array_equal(evidence[1:].missing(2), ~known[1:])
    assert Evidence({0: (states, np.ones((3, 3), bool))}).missing(0) is None


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({0: (np.eye(3), None), 1: (np.eye(2), None)}, "numbers of rows"),
        ({0: (np.eye(3), np.ones((3, 2), bool))}, r"\(3, 3\).*\(3, 2\)"),
        ({0: (sparse.csr_array(np.eye(2)), np.eye(2) > 0)}, "Sparse"),
    ],
)
def test_evidence_that_contradicts_itself_is_an_error(layers, message):
    with pytest.raises(ValueError, match=message):
        Evidence(layers)


@pytest.mark.parametrize("layer", [-1, 1, 3])
def test_evidence_that_does_not_fit_the_machine_is_an_error(layer):
    machine = formula_model((4, 3, 2)).machine()
    with pytest.raises(ValueError, match=rf"layer {layer} has 4 columns"):
        mean_field(machine, Evidence({layer: (np.zeros((2, 4)), None)}))


# Fields


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given_as", [np.float32, np.float64])
@each_case
def test_fields_are_those_of_the_machine(sizes, columns, dtype, given_as):
    model = random_model(sizes, 0)
    machine, rng = model.machine(dtype), np.random.default_rng(0)
    evidence, _ = evidence_on(model, columns, 7)
    evidence = Evidence(
        {k: (s.astype(given_as), m) for k, (s, m) in evidence.layers.items()}
    )
    states = [rng.random((7, size)).astype(dtype) for size in sizes]
    room = {k: np.full((7, size), np.nan, dtype) for k, size in enumerate(sizes)}
    plain, roomy = Conditional(machine, evidence), Conditional(machine, evidence, room)
    for layer in plain.known:
        plain.hold(layer, states)
    rows = np.array([5, 0, 2])
    part = [state[rows] for state in states]
    for layer in plain.free:
        wanted = machine.field(layer, states)
        out, scratch = np.full((2, *states[layer].shape), np.nan, dtype)
        for given in (plain, roomy):
            assert_allclose(given.field(layer, states), wanted, atol=2e-6)
            assert given.field(layer, states, out, scratch) is out
            assert_allclose(out, wanted, atol=2e-6)
            assert given.fixed[layer].dtype == dtype
        cut = plain.map_rows(lambda array: array[rows])
        assert_allclose(
            np.broadcast_to(cut.field(layer, part), wanted[rows].shape),
            wanted[rows],
            atol=2e-6,
        )
    assert plain.free == sorted(plain.free, key=lambda k: (k % 2, k))


def test_columns_that_no_row_lacks_are_multiplied_once():
    machine, rng = formula_model((6, 5, 4)).machine(), np.random.default_rng(0)
    known = rng.random((9, 6)) < 0.5
    known[:, [1, 4]], known[0, [0, 2, 3, 5]] = True, False
    given = Conditional(machine, Evidence({0: (rng.random((9, 6)), known)}))
    (layer, columns, weight), (above, *_) = given.inputs[1]
    assert (layer, above) == (0, 2)
    assert_array_equal(columns, [0, 2, 3, 5])
    assert weight.shape == (4, 5)
    states = given.known[0][0]
    fixed = states[:, [1, 4]] @ machine.weights[0][[1, 4]] + machine.biases[1]
    assert_allclose(given.fixed[1], fixed, atol=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_with_a_part_of_the_top_layer(container, dtype):
    model = formula_model((4, 3, 2))
    X, rng = np.random.default_rng(0).integers(0, 2, (700, 4)) * 1.0, None
    known = np.arange(1400).reshape(700, 2) % 3 > 0
    top = (np.ones((700, 2)), known)
    both = [Evidence({0: (rows, None), 2: top}) for rows in (container(X), X)]
    machine = model.machine(dtype)
    left, right = (mean_field(machine, evidence) for evidence in both)
    for a, b in zip(left.means, right.means, strict=True):
        assert a.dtype == dtype
        assert_allclose(a, b, atol=1e-6)
    assert sparse.issparse(left.visible)
    left, right = (bound(machine, evidence, 0.0) for evidence in both)
    assert_allclose(left, right, atol=1e-5)
    rng = [initial_states(machine, 700, 0) for _ in both]
    for states, evidence in zip(rng, both, strict=True):
        gibbs_sweeps(machine, states, 3, evidence=evidence, random_state=0)
        assert_array_equal(states[0], X)
    assert_array_equal(rng[0][1], rng[1][1])


# Mean field


def test_the_start_goes_outwards_and_doubles_what_stands_for_both_sides():
    model = random_model((3, 4, 3, 4, 3), 0)
    machine, rng = model.machine(), np.random.default_rng(0)
    w, b, sizes = model.weights, model.biases, model.sizes

    def started(known):
        states = {k: np.zeros((2, n)) for k, n in enumerate(sizes)} | known
        given = Conditional(machine, Evidence({k: (s, None) for k, s in known.items()}))
        start(given, states, {k: s.copy() for k, s in states.items()})
        return states

    def mean(x):
        return 1 / (1 + np.exp(-x))

    s = started({0: rng.random((2, 3))})
    assert_allclose(s[1], mean(2 * s[0] @ w[0] + b[1]))
    assert_allclose(s[2], mean(2 * s[1] @ w[1] + b[2]))
    assert_allclose(s[3], mean(2 * s[2] @ w[2] + b[3]))
    assert_array_equal(s[4], 0)  # the first sweep begins with it
    s = started({2: rng.random((2, 3))})
    assert_allclose(s[1], mean(2 * s[2] @ w[1].T + b[1]))
    assert_allclose(s[3], mean(2 * s[2] @ w[2] + b[3]))
    s = started({3: rng.random((2, 4))})
    assert_allclose(s[2], mean(2 * s[3] @ w[2].T + b[2]))
    assert_allclose(s[1], mean(2 * s[2] @ w[1].T + b[1]))
    s = started({0: rng.random((2, 3)), 3: rng.random((2, 4))})
    assert_allclose(s[1], mean(2 * s[0] @ w[0] + b[1]))
    assert_allclose(s[2], mean(s[1] @ w[1] + s[3] @ w[2].T + b[2]))
    s = started({1: rng.random((2, 4)), 3: rng.random((2, 4))})
    assert_allclose(s[2], mean(s[1] @ w[1] + s[3] @ w[2].T + b[2]))


def test_an_odd_top_layer_is_started_by_its_only_input():
    model = random_model((3, 4), 0)
    X = np.eye(3)
    states = {1: np.zeros((3, 4))}
    given = Conditional(model.machine(), Evidence.of_rows(X))
    start(given, states, {1: np.zeros((3, 4))})
    wanted = 1 / (1 + np.exp(-X @ model.weights[0] - model.biases[1]))
    assert_allclose(states[1], wanted)


@each_seed
@each_case
def test_means_given_any_evidence_solve_the_equations(sizes, columns, seed):
    """Couplings are weak enough for a single solution."""
    model = random_model(sizes, seed, scale=0.6)
    evidence, _ = evidence_on(model, columns, 5, seed)
    q = mean_field(model.machine(), evidence, tol=1e-13, max_iter=5000)
    assert q.converged.all()
    for ours, wanted in zip(
        [q.visible, *q.means], settle(model, evidence), strict=True
    ):
        assert_allclose(ours, wanted, atol=1e-11)
    missing = np.ones(q.visible.shape, bool)
    if 0 in columns:
        missing = evidence.missing(0)
    assert_array_equal(q.missing, missing)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_case
def test_a_row_does_not_depend_on_the_others_whatever_they_know(sizes, columns, dtype):
    model, rng = random_model(sizes, 0), np.random.default_rng(0)
    machine, n_rows = model.machine(dtype), 1300
    layers = {}
    for layer in columns:
        states = rng.integers(0, 2, (n_rows, sizes[layer])).astype(float)
        known = rng.random(states.shape) < rng.choice([0.2, 0.8, 1], (n_rows, 1))
        layers[layer] = states, known
    evidence, tol = Evidence(layers), 1e-6 if dtype == np.float64 else 1e-4
    one, two = (mean_field(machine, evidence, tol=tol, n_jobs=n) for n in (1, 2))
    for rows in (rng.permutation(n_rows)[:600], np.array([7])):
        part = mean_field(machine, evidence[rows], tol=tol)
        # Rounding may move the last change of a row across `tol`.
        same = part.n_sweeps == one.n_sweeps[rows]
        assert np.mean(same) > (0.98 if dtype == np.float32 else 0.9999)
        for left, right in zip(
            [part.visible, *part.means], [one.visible, *one.means], strict=True
        ):
            atol = 1e-7 if dtype == np.float64 else 1e-6
            assert_allclose(left[same], right[rows][same], rtol=0, atol=atol)
    for left, right in zip(
        [one.visible, *one.means], [two.visible, *two.means], strict=True
    ):
        assert left.tobytes() == right.tobytes()
    assert {means.dtype for means in one.means} == {np.dtype(dtype)}


@each_case
def test_evidence_is_left_alone(sizes, columns):
    """In blocks in which all rows lack something, and rows close up."""
    model, rng = random_model(sizes, 0), np.random.default_rng(0)
    layers = {layer: rng.integers(0, 2, (700, sizes[layer])) * 1.0 for layer in columns}
    masks = {layer: rng.random(rows.shape) < 0.5 for layer, rows in layers.items()}
    before = [array.copy() for array in (*layers.values(), *masks.values())]
    evidence = Evidence({layer: (layers[layer], masks[layer]) for layer in columns})
    mean_field(model.machine(), evidence)
    bound(model.machine(), evidence, 0.0)
    states = initial_states(model.machine(), 700, 0)
    gibbs_sweeps(model.machine(), states, 2, evidence=evidence)
    after = (*layers.values(), *masks.values())
    for old, new in zip(before, after, strict=True):
        assert_array_equal(old, new)


@each_case
def test_second_order_fields_given_any_evidence(sizes, columns):
    """Half the couplings: at most an eighth of the error, a quarter in mean field."""
    errors, strong = [], random_model(sizes, 0, n_trials=(2,) * len(sizes))
    for share in (0.02, 0.01):
        weights = [share * weight for weight in strong.weights]
        weak = Model(weights, strong.biases, strong.n_trials)
        evidence, conditionals = evidence_on(weak, columns, 2)
        machine = weak.machine()
        q = mean_field(machine, evidence, tol=1e-14, max_iter=5000)
        given, means = Conditional(machine, evidence), [q.visible, *q.means]
        fields = second_order_fields(given, means, n_sweeps=100)
        second = {k: machine.units[k].mean(x) for k, x in fields.items()}
        assert sorted(fields) == sorted(given.free)
        gaps = []
        for layer, mean in second.items():
            given.hold(layer, second)
            exact = [c.moments(layer)[0] for c in conditionals]
            gaps.append([np.abs(m - exact).max() for m in (means[layer], mean)])
        errors.append(np.max(gaps, axis=0))
    if any(given.inputs.values()):
        first, second = np.divide(*errors)
        assert first > 3.3
        assert second > 6 or errors[0][1] < 1e-9
        assert errors[0][1] < errors[0][0] / 3
    else:
        assert np.max(errors) < 1e-12


# Sampling

N_CHAINS, N_SWEEPS = 8000, 40


@each_seed
@each_case
def test_chains_given_any_evidence_have_the_conditional_moments(sizes, columns, seed):
    model = formula_model(sizes)
    evidence, conditionals = evidence_on(model, columns, 2 * N_CHAINS, seed)
    machine = model.machine(np.float32)
    states = initial_states(machine, 2 * N_CHAINS, seed)
    gibbs_sweeps(machine, states, N_SWEEPS, evidence=evidence, random_state=seed)
    for i, conditional in enumerate(conditionals):
        part = [state[i::2] for state in states]
        assert worst_moment(model, conditional, part, n_layers=1) < 1
        assert worst_moment(model, conditional, part, n_layers=2) < 1


@each_case
def test_what_is_known_is_put_into_the_states_before_the_first_sweep(sizes, columns):
    model = formula_model(sizes)
    evidence, _ = evidence_on(model, columns, 9)
    states = initial_states(model.machine(), 9, 0)
    gibbs_sweeps(model.machine(), states, 0, evidence=evidence)
    for layer, (given, known) in evidence.layers.items():
        known = np.ones(given.shape, bool) if known is None else known
        assert_array_equal(states[layer][known], given[known])


@each_seed
@pytest.mark.parametrize(
    "columns", [{1: ALL}, {2: ALL}, {0: [0], 1: [1], 2: [0]}], ids=str
)
def test_conditional_means_given_any_evidence(columns, seed):
    model, n_chains = formula_model((4, 3, 2)), 2000
    evidence, conditionals = evidence_on(model, columns, 2 * n_chains, seed)
    states = initial_states(model.machine(), 2 * n_chains, seed)
    means = conditional_means(
        model.machine(), states, evidence, burn_in=30, n_sweeps=5, random_state=seed
    )
    assert means.dtype == np.float64
    for i, conditional in enumerate(conditionals):
        part = means[i::2]
        error = 6 * part.std(axis=0, ddof=1) / np.sqrt(n_chains) + 1e-9
        assert np.all(np.abs(part.mean(axis=0) - conditional.moments(0)[0]) < error)


def test_conditional_means_of_visible_states_that_are_known():
    X = np.eye(4)
    machine = formula_model((4, 3, 2)).machine()
    states = initial_states(machine, 4, 0)
    means = conditional_means(
        machine, states, Evidence.of_rows(X), burn_in=1, n_sweeps=2, random_state=0
    )
    assert_array_equal(means, X)


@each_seed
def test_groups_are_known_as_a_whole_on_every_layer(seed):
    """One group of the visible layer, and one of two hidden groups of three units."""
    model, n_chains = typed_model("categorical", ("groups", 2), 3), 8000
    distribution = model.distribution
    groups = {0: slice(0, 3), 1: slice(3, 6)}
    drawn, layers = distribution.sample(1, np.random.default_rng(seed)), {}
    for layer, units in groups.items():
        values = drawn[layer][0, units]
        distribution = distribution.given(layer, values, units)
        states = np.full((n_chains, len(model.biases[layer])), np.nan)
        states[:, units] = values
        layers[layer] = states, ~np.isnan(states)
    machine = model.machine(np.float32)
    states = initial_states(machine, n_chains, seed)
    gibbs_sweeps(machine, states, 40, evidence=Evidence(layers), random_state=seed)
    for layer, state in enumerate(states):
        mean, std = distribution.moments(layer)
        error = 6.5 * std / np.sqrt(n_chains) + 1e-3
        assert np.all(np.abs(state.mean(axis=0) - mean) < error)
    start_, rest = filled(machine, Evidence(layers))[1][0], machine.units[1]
    assert_allclose(start_[:3], rest.mean(machine.biases[1][None])[0, :3])


def test_units_that_share_a_total_are_known_all_or_none():
    machine = DeepBoltzmannMachine(
        [np.zeros((3, 2))],
        [np.zeros(3), np.zeros(2)],
        [ReplicatedSoftmax(3, 4), Bernoulli()],
    )
    X = np.array([[2.0, 1.0, 1.0], [0.0, 0.0, 7.0]])
    states = [X.copy(), np.zeros((2, 2))]
    evidence = Evidence({0: (X, X > 0)})
    with pytest.raises(ValueError, match="share a total"):
        gibbs_sweeps(machine, states, 1, evidence=evidence, random_state=0)
    gibbs_sweeps(machine, states, 3, evidence=Evidence.of_rows(X), random_state=0)
    assert_array_equal(states[0], X)
    evidence = Evidence({1: (np.ones((2, 2)), None)})
    gibbs_sweeps(machine, states, 3, evidence=evidence, random_state=0)
    assert_array_equal(states[0].sum(axis=1), [4, 7])


@pytest.mark.usefixtures("narrow_blocks")
@pytest.mark.parametrize(
    "seed", [lambda: 3, lambda: np.random.SeedSequence(3), lambda: ops.generator(3)]
)
def test_one_seed_gives_one_result_on_any_number_of_threads(seed):
    model = formula_model((4, 3, 2))
    machine = model.machine(np.float32)
    evidence, _ = evidence_on(model, {0: [1], 2: ALL}, 700)
    results = []
    for n_jobs in (1, 2, 3):
        states = initial_states(machine, 700, 0)
        settings = {"evidence": evidence, "random_state": seed(), "n_jobs": n_jobs}
        gibbs_sweeps(machine, states, 4, **settings)
        means = conditional_means(machine, states, burn_in=1, n_sweeps=2, **settings)
        results.append([*states, means])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


def test_a_generator_gives_other_draws_each_time():
    machine, rng = formula_model((4, 3, 2)).machine(), np.random.default_rng(0)
    runs = [initial_states(machine, 50, 0) for _ in range(2)]
    for states in runs:
        gibbs_sweeps(machine, states, 1, random_state=rng)
    assert np.any(runs[0][0] != runs[1][0])


# Likelihood


@each_case
def test_bound_given_any_evidence_is_that_of_independent_units(sizes, columns):
    model = random_model(sizes, 1)
    machine, log_z = model.machine(), model.distribution.log_partition
    evidence, conditionals = evidence_on(model, columns, 2, seed=1)
    lower = bound(machine, evidence, log_z, tol=1e-12, max_iter=5000)
    q = mean_field(machine, evidence, tol=1e-12, max_iter=5000)
    for i, conditional in enumerate(conditionals):
        log_q = np.zeros(len(conditional.log_weights))
        for layer, means in enumerate([q.visible, *q.means]):
            state, open_ = conditional.states[layer], np.ones(sizes[layer], bool)
            if layer in columns:
                known = evidence.layers[layer][1]
                open_ = 0 * open_ > 0 if known is None else ~known[i]
            p = means[i][open_]
            log_q += np.log(np.where(state[:, open_] > 0, p, 1 - p)).sum(axis=1)
        assert_allclose(np.exp(log_q).sum(), 1)
        wanted = np.exp(log_q) @ (conditional.log_weights - log_q) - log_z
        assert_allclose(lower[i], wanted, atol=1e-9)
        assert lower[i] <= conditional.log_partition - log_z + 1e-12


@pytest.mark.parametrize("n_trials", [(1, 1, 1), (2, 3, 2)])
def test_bound_of_known_counts_has_their_base_measure(n_trials):
    """With everything known, or all but one layer, it is log p itself."""
    model = random_model((2, 2, 2), 0, n_trials=n_trials)
    log_z = model.distribution.log_partition
    states = [s[::7] for s in model.distribution.states]
    for free in (None, 0, 1, 2):
        layers = {k: (s, None) for k, s in enumerate(states) if k != free}
        lower = bound(model.machine(), Evidence(layers), log_z)
        for i, value in enumerate(lower):
            conditional = model.distribution
            for layer, (rows, _) in layers.items():
                conditional = conditional.given(layer, rows[i])
            assert_allclose(value, conditional.log_partition - log_z, atol=1e-10)


@each_seed
@each_case
def test_importance_weights_given_any_evidence_average_to_its_probability(
    sizes, columns, seed
):
    n_rows, model = 1500, random_model(sizes, seed, n_trials=(2, 1, 2, 1)[: len(sizes)])
    evidence, conditionals = evidence_on(model, columns, 2 * n_rows, seed)
    log_weights = independent_estimates(
        model.machine(), evidence, model.distribution.log_partition, 4, seed
    )
    for i, conditional in enumerate(conditionals):
        exact = conditional.log_partition - model.distribution.log_partition
        weights = np.exp(log_weights[i::2] - exact)
        error = 7 * weights.std() / np.sqrt(n_rows) + 1e-9
        assert abs(weights.mean() - 1) < error


@each_case
def test_importance_samples_given_any_evidence_follow_from_the_row_alone(
    sizes, columns
):
    model = random_model(sizes, 0, 2, n_trials=(2, 1, 2, 1)[: len(sizes)])
    evidence, _ = evidence_on(model, columns, 20)
    # A row that knows whole layers beside one that does not, of other values each.
    rng = np.random.default_rng(0)
    layers = {}
    for layer, (states, known) in evidence.layers.items():
        values = rng.integers(0, 1 + model.n_trials[layer], states.shape)
        known = np.ones_like(values, bool) if known is None else known.copy()
        known[::3] = True
        layers[layer] = np.where(known, values, np.nan), known

    def estimate(evidence):
        return importance_weighted_log_likelihood(
            model.machine(), evidence, 0.0, n_importance_samples=20, random_state=0
        )

    evidence = Evidence(layers)
    first = estimate(evidence)
    one_by_one = [estimate(evidence[[row]])[0] for row in range(20)]
    assert_allclose(one_by_one, first, rtol=1e-9, atol=1e-9)


def test_units_with_several_trials_know_parts_of_layers():
    model = random_model((2, 2, 2), 0, n_trials=(2, 3, 2))
    assert isinstance(model.machine().units[1], Binomial)
    evidence, conditionals = evidence_on(model, {0: [0], 1: [1], 2: [0]}, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = importance_weighted_log_likelihood(
            model.machine(), evidence, 0.0, n_importance_samples=4000, random_state=0
        )
    exact = [conditional.log_partition for conditional in conditionals]
    assert_allclose(value, exact, atol=0.1)
