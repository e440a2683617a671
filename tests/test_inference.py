"""Mean field against a plain iteration, its optimality conditions and enumeration."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skdbm.evidence import Conditional, Evidence
from skdbm.inference import mean_field
from skdbm.inference.mean_field import map_posterior
from skdbm.inference.second_order import second_order_fields
from skdbm.likelihood import bound

from ._reference import Model, formula_model, random_model

MODELS = [
    random_model((6, 5), 0),
    random_model((3, 4), 1, n_trials=(1, 3)),
    formula_model((6, 5, 4)),
    formula_model((5, 4, 4, 3)),
    random_model((4, 3, 2, 2, 2), 5, scale=1.5),
    random_model((4, 3, 2), 3, n_trials=(2, 1, 2)),
    random_model((4, 3, 3, 2), 4, scale=0.8, n_trials=(1, 2, 1, 3)),
]
DEEP = [model for model in MODELS if len(model.sizes) > 2]


def over(models):
    """Run a test for each of these models."""
    return pytest.mark.parametrize(
        "model",
        models,
        ids=lambda m: f"{'-'.join(map(str, m.sizes))}, trials {m.n_trials}",
    )


def visible_rows(model, n_rows, seed=0):
    """Draw visible rows, states and means by turns."""
    rng = np.random.default_rng(seed)
    largest, shape = model.n_trials[0], (n_rows, model.sizes[0])
    X = rng.integers(0, largest + 1, shape).astype(np.float64)
    X[1::2] = rng.uniform(0, largest, X[1::2].shape)
    return X


def mean(field, n_trials):
    """Mean of units with this field."""
    return n_trials / (1 + np.exp(-field))


def field(model, layer, states):
    """Field of one layer for a single row."""
    total = model.biases[layer].copy()
    if layer > 0:
        total += model.weights[layer - 1].T @ states[layer - 1]
    if layer + 1 < len(model.sizes):
        total += model.weights[layer] @ states[layer + 1]
    return total


def settle(model, visible, n_rounds=2000):
    """Iterate the mean-field equations of one row, layer by layer, to the end."""
    states = [visible] + [
        np.full(size, n / 2)
        for size, n in zip(model.sizes[1:], model.n_trials[1:], strict=True)
    ]
    for _ in range(n_rounds):
        before = list(states)
        for layer in range(1, len(model.sizes)):
            states[layer] = mean(field(model, layer, states), model.n_trials[layer])
        if (
            max(np.abs(a - b).max() for a, b in zip(states, before, strict=True))
            < 1e-15
        ):
            break
    return states


def after(machine, X, n_sweeps):
    """Means after so many sweeps: no change is below a tolerance of zero."""
    with pytest.warns(ConvergenceWarning):
        return mean_field(machine, X, tol=0, max_iter=n_sweeps).means


@over(DEEP)
def test_means_solve_the_equations_of_mean_field(model):
    """Thirty random starts reach one solution in all these models."""
    X = visible_rows(model, 60)
    result = mean_field(model.machine(), X, tol=1e-13, max_iter=10_000)
    assert result.converged.all()
    expected = [settle(model, row) for row in X]
    assert len(result.means) == len(model.sizes) - 1
    for layer, means in enumerate(result.means, start=1):
        assert_allclose(means, [row[layer] for row in expected], rtol=0, atol=1e-11)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@over(DEEP)
def test_every_row_stops_at_its_first_sweep_of_small_changes(model, tol):
    machine, X = model.machine(), visible_rows(model, 60)
    result = mean_field(machine, X, tol=tol, max_iter=300)
    course = [after(machine, X, n) for n in range(1, result.n_sweeps.max() + 1)]
    for row, n_sweeps in enumerate(result.n_sweeps):
        own = [np.concatenate([layer[row] for layer in means]) for means in course]
        changes = [np.abs(new - old).max() for old, new in pairwise(own)]
        stops = changes[: n_sweeps - 1]  # of the second sweep and later ones
        assert all(change >= tol for change in stops[:-1])
        assert all(change < tol for change in stops[-1:])
        means = np.concatenate([layer[row] for layer in result.means])
        assert_allclose(means, own[n_sweeps - 1], rtol=0, atol=1e-12)


@over(DEEP)
def test_every_sweep_raises_the_bound(model):
    machine, X = model.machine(), visible_rows(model, 8)[::2]  # states only
    course = [after(machine, X, n) for n in range(1, 12)]
    for row, visible in enumerate(X):
        bounds = [
            model.unnormalised_bound(visible, [layer[row] for layer in means])
            for means in course
        ]
        assert np.all(np.diff(bounds) > -1e-12)
        assert bounds[-1] > bounds[0]


@over([model for model in MODELS if len(model.sizes) == 2])
def test_one_hidden_layer_has_the_exact_posterior(model):
    X = model.visible_states()
    result = mean_field(model.machine(), X)
    expected = [model.distribution.given(0, row).moments(1)[0] for row in X]
    assert_allclose(result.means[0], expected, rtol=1e-12)
    assert result.converged.all()


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
@over(DEEP)
def test_converged_means_are_stationary(model, tol):
    """Every layer is the mean of its field, as nearly as the last changes allow.

    Since a layer was updated, its neighbours have moved by less than `tol`: its field
    by `tol` times the sum of its couplings, its mean by at most n / 4 times that.
    """
    X = visible_rows(model, 40, seed=1)
    means = mean_field(model.machine(), X, tol=tol, max_iter=10_000).means
    for row, visible in enumerate(X):
        states = [visible, *(layer[row] for layer in means)]
        for layer in range(1, len(model.sizes)):
            n = model.n_trials[layer]
            couplings = np.zeros(model.sizes[layer])
            if layer > 1:  # the visible layer is held
                couplings += np.abs(model.weights[layer - 1]).sum(axis=0)
            if layer + 1 < len(model.sizes):
                couplings += np.abs(model.weights[layer]).sum(axis=1)
            residual = np.abs(states[layer] - mean(field(model, layer, states), n))
            assert np.all(residual <= n / 4 * tol * couplings + 1e-14)


@over(DEEP)
def test_moving_any_mean_lowers_the_bound(model):
    X = visible_rows(model, 4, seed=2)[::2]  # states only
    means = mean_field(model.machine(), X, tol=1e-11, max_iter=10_000).means
    for row, visible in enumerate(X):
        best = [layer[row] for layer in means]
        top = model.unnormalised_bound(visible, best)
        for layer, n in enumerate(model.n_trials[1:]):
            for unit in range(len(best[layer])):
                m = best[layer][unit]
                for step in (-1e-2 * m, 1e-2 * (n - m)):
                    moved = [m.copy() for m in best]
                    moved[layer][unit] += step
                    assert model.unnormalised_bound(visible, moved) < top


@pytest.mark.parametrize("seed", range(3))
@over(MODELS)
def test_result_of_a_row_does_not_depend_on_the_others(model, seed):
    rng = np.random.default_rng(seed)
    machine, X = model.machine(), visible_rows(model, 1300, seed)  # three blocks
    everything = mean_field(machine, X, tol=1e-6)
    for rows in (
        rng.permutation(len(X)),
        rng.permutation(len(X))[:700],
        rng.permutation(len(X))[:1],
        np.flatnonzero(everything.n_sweeps == everything.n_sweeps.max()),
    ):
        part = mean_field(machine, X[rows], tol=1e-6)
        for left, right in zip(part.means, everything.means, strict=True):
            assert_allclose(left, right[rows], rtol=0, atol=1e-12)
        assert_array_equal(part.n_sweeps, everything.n_sweeps[rows])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over(MODELS)
def test_number_of_threads_does_not_change_a_bit(model, dtype):
    machine, X = model.machine(dtype), visible_rows(model, 1300).astype(dtype)
    one, two = (mean_field(machine, X, n_jobs=n_jobs) for n_jobs in (1, 2))
    for left, right in zip(one.means, two.means, strict=True):
        assert left.dtype == dtype
        assert left.tobytes() == right.tobytes()
    assert_array_equal(one.n_sweeps, two.n_sweeps)


@over(DEEP)
def test_rows_that_did_not_converge_are_counted_and_flagged(model):
    machine, X = model.machine(), visible_rows(model, 1100)
    full = mean_field(machine, X, tol=1e-5)
    assert full.converged.all()
    max_iter = int(full.n_sweeps.min() + full.n_sweeps.max()) // 2
    expected = full.n_sweeps <= max_iter
    n_failed = np.count_nonzero(~expected)
    assert 0 < n_failed < len(X)
    message = rf"{n_failed} of 1100 rows did not converge .* within {max_iter} sweeps"
    with pytest.warns(ConvergenceWarning, match=message) as record:
        result = mean_field(machine, X, tol=1e-5, max_iter=max_iter)
    assert len(record) == 1  # not one for every block
    assert record[0].filename == __file__
    assert_array_equal(result.converged, expected)
    assert_array_equal(result.n_sweeps, np.minimum(full.n_sweeps, max_iter))
    stopped_early = after(machine, X, max_iter)
    for layer, means in enumerate(result.means):
        assert_allclose(means[expected], full.means[layer][expected], atol=1e-12)
        assert_allclose(means[~expected], stopped_early[layer][~expected], atol=1e-12)


def test_one_hidden_layer_never_warns():
    model = random_model((6, 5), 0)
    result = mean_field(model.machine(), visible_rows(model, 10), tol=1e-15, max_iter=1)
    assert result.converged.all()


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@over(MODELS)
def test_sparse_rows_equal_dense_rows(model, container):
    machine, X = model.machine(), visible_rows(model, 1100)
    X[:, ::2] = 0
    dense, sparse = mean_field(machine, X), mean_field(machine, container(X))
    for left, right in zip(sparse.means, dense.means, strict=True):
        assert isinstance(left, np.ndarray)
        assert_allclose(left, right, rtol=0, atol=1e-12)
    assert_array_equal(sparse.n_sweeps, dense.n_sweeps)


@over(MODELS)
def test_float32_is_right_to_its_precision(model):
    X = visible_rows(model, 100).astype(np.float32)
    result = mean_field(model.machine(np.float32), X, tol=1e-5)
    expected = [settle(model, row) for row in X.astype(np.float64)]
    for layer, means in enumerate(result.means, start=1):
        assert means.dtype == np.float32
        # The slowest rows go on by nine tenths of the last change, ten times `tol`.
        assert_allclose(means, [row[layer] for row in expected], rtol=0, atol=2e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_units_stay_finite(dtype):
    model = random_model((6, 5, 4), 0, scale=200)
    X = visible_rows(model, 50).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = mean_field(model.machine(dtype), X).means
    for layer in means:
        assert np.isfinite(layer).all()
        assert layer.min() >= 0
        assert layer.max() <= 1


def test_the_input_is_left_alone():
    model = formula_model((6, 5, 4))
    X = visible_rows(model, 600)
    given = X.copy()
    mean_field(model.machine(), X)
    assert_array_equal(X, given)


def test_map_posterior_gives_blocks_in_order():
    model = formula_model((6, 5, 4))
    machine, X = model.machine(), visible_rows(model, 1100)
    parts = map_posterior(
        machine, X, lambda *block: block, tol=1e-4, max_iter=500, n_jobs=2
    )
    assert len(parts) > 1
    parts = [(evidence.layers[0][0], *rest) for evidence, *rest in parts]
    assert_array_equal(np.concatenate([rows for rows, _, _ in parts]), X)
    whole = mean_field(machine, X)
    for rows, part, start in parts:
        assert_array_equal(rows, X[start : start + len(rows)])
        for means, block in zip(whole.means, part.means, strict=True):
            assert_array_equal(block, means[start : start + len(rows)])


def test_errors_of_the_function_reach_the_caller():
    def fail(*block):
        raise ZeroDivisionError("in a block")

    model = formula_model((6, 5, 4))
    with pytest.raises(ZeroDivisionError, match="in a block"):
        map_posterior(
            model.machine(),
            visible_rows(model, 1100),
            fail,
            tol=1e-4,
            max_iter=500,
            n_jobs=2,
        )


def test_bound_warns_where_it_was_called():
    model = formula_model((6, 5, 4))
    with pytest.warns(ConvergenceWarning, match="of 30 rows") as record:
        bound(model.machine(), visible_rows(model, 30), 0.0, tol=1e-9, max_iter=2)
    assert [warning.filename for warning in record] == [__file__]


# Visible means given hidden ones


def visible_means(machine, given, **settings):
    """Visible means given states or means of whole hidden layers."""
    evidence = Evidence({layer: (rows, None) for layer, rows in given.items()})
    result = mean_field(machine, evidence, **settings)
    for layer, rows in given.items():
        assert_array_equal(result.means[layer - 1], rows)
    assert result.missing.shape == result.visible.shape
    assert result.missing.all()
    return result.visible


@over(MODELS)
def test_visible_means_given_the_lowest_hidden_layer_are_exact(model):
    rng = np.random.default_rng(0)
    hidden = rng.integers(0, model.n_trials[1] + 1, (5, model.sizes[1])).astype(float)
    result = visible_means(model.machine(), {1: hidden}, tol=1e-6, max_iter=100)
    expected = [model.distribution.given(1, row).moments(0)[0] for row in hidden]
    assert_allclose(result, expected, rtol=1e-11)


@pytest.mark.parametrize("extra", [(), (2,), (3,), (2, 3)])
def test_layers_above_the_lowest_hidden_one_change_nothing(extra):
    model, rng = formula_model((5, 4, 4, 3)), np.random.default_rng(0)
    given = {layer: rng.random((6, model.sizes[layer])) for layer in (1, *extra)}
    expected = mean(given[1] @ model.weights[0].T + model.biases[0], 1)
    result = visible_means(model.machine(), given, tol=1e-6, max_iter=100)
    assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("held", [(2,), (3,), (2, 3)])
def test_visible_means_settle_with_the_free_layers(held, seed):
    """Couplings are weak enough for a single solution, found here from one half."""
    model = random_model((5, 4, 4, 3), seed, scale=0.5)
    rng = np.random.default_rng(seed)
    given = {layer: rng.random((6, model.sizes[layer])) for layer in held}
    result = visible_means(model.machine(), given, tol=1e-11, max_iter=10_000)
    for row in range(6):
        states = [np.full(size, 0.5) for size in model.sizes]
        for layer, values in given.items():
            states[layer] = values[row]
        for _ in range(200):
            for layer in set(range(4)) - set(held):
                states[layer] = mean(field(model, layer, states), 1)
        assert_allclose(result[row], states[0], rtol=0, atol=1e-9)


def test_visible_means_of_a_row_do_not_depend_on_the_others():
    model, rng = formula_model((5, 4, 4, 3)), np.random.default_rng(0)
    machine, hidden = model.machine(), rng.random((1100, 4))
    settings = {"tol": 1e-6, "max_iter": 500}
    one, two = (
        visible_means(machine, {2: hidden}, n_jobs=n_jobs, **settings)
        for n_jobs in (1, 2)
    )
    assert one.tobytes() == two.tobytes()
    for rows in (rng.permutation(1100)[:700], [1099]):
        part = visible_means(machine, {2: hidden[rows]}, **settings)
        assert_allclose(part, one[rows], rtol=0, atol=1e-12)


def test_visible_means_warn_with_the_number_of_rows():
    model, rng = formula_model((5, 4, 4, 3)), np.random.default_rng(0)
    given = {2: rng.random((700, 4))}
    with pytest.warns(ConvergenceWarning, match="700 of 700 rows") as record:
        visible_means(model.machine(), given, tol=1e-12, max_iter=1)
    assert [warning.filename for warning in record] == [__file__]


# Second order


def corrected_means(machine, X, n_sweeps=100):
    """Means of mean field, and means of the corrected fields, layer by layer."""
    first = mean_field(machine, X, tol=1e-14, max_iter=10_000).means
    given = Conditional(machine, Evidence.of_rows(X))
    fields = second_order_fields(given, [X, *first], n_sweeps=n_sweeps)
    assert sorted(fields) == [*range(1, machine.n_layers)]
    units = machine.units
    return first, [units[layer].mean(fields[layer]) for layer in sorted(fields)]


@over(DEEP)
def test_corrected_means_are_right_to_second_order_in_the_couplings(model):
    """Half the couplings: at most an eighth of the error, a quarter in mean field."""
    X, errors = visible_rows(model, 6)[::2], []  # states only
    for share in (0.02, 0.01):
        weights = [share * weight for weight in model.weights]
        weak = Model(weights, model.biases, model.n_trials)
        posteriors = [weak.distribution.given(0, row) for row in X]
        both = corrected_means(weak.machine(), X)
        errors.append([])
        for means in both:
            exact = [
                np.array([posterior.moments(layer)[0] for posterior in posteriors])
                for layer in range(1, len(model.sizes))
            ]
            gaps = [np.abs(a - b).max() for a, b in zip(means, exact, strict=True)]
            errors[-1].append(max(gaps))
    first, second = np.divide(*errors)
    assert 3.5 < first < 4.5
    assert second > 7
    assert errors[0][1] < errors[0][0] / 5


@over(DEEP)
def test_corrected_fields_solve_the_equations(model):
    weights = [weight / 2 for weight in model.weights]
    model = Model(weights, model.biases, model.n_trials)
    X = visible_rows(model, 6)
    _, means = corrected_means(model.machine(), X, n_sweeps=500)
    for row, visible in enumerate(X):
        states = [visible, *(layer[row] for layer in means)]
        shares = [s / n for s, n in zip(states, model.n_trials, strict=True)]
        variances = [0 * visible]  # what is known does not vary
        variances += [s * (1 - p) for s, p in zip(states[1:], shares[1:], strict=True)]
        for layer in range(1, len(states)):
            noise = variances[layer - 1] @ model.weights[layer - 1] ** 2
            if layer + 1 < len(states):
                noise = noise + model.weights[layer] ** 2 @ variances[layer + 1]
            x = field(model, layer, states) + (0.5 - shares[layer]) * noise
            expected = mean(x, model.n_trials[layer])
            assert_allclose(states[layer], expected, rtol=0, atol=1e-9)


def test_the_second_order_leaves_its_input_alone():
    machine = formula_model((6, 5, 4)).machine(np.float32)
    X = visible_rows(formula_model((6, 5, 4)), 3).astype(np.float32)
    states = [X, *mean_field(machine, X).means]
    before = [state.copy() for state in states]
    given = Conditional(machine, Evidence.of_rows(X))
    fields = second_order_fields(given, states)
    assert {array.dtype for array in fields.values()} == {np.dtype(np.float32)}
    for old, new in zip(before, states, strict=True):
        assert_array_equal(old, new)
