"""Missing visible states: summed out, filled by mean field, drawn given the rest."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import softmax

from skdbm import DBMSampler, DBMTransformer, Likelihood, ops
from skdbm.encodings import Probabilities, Real, States
from skdbm.encodings.rows import EncodedRows
from skdbm.evidence import Conditional, Evidence, filled
from skdbm.inference import mean_field
from skdbm.inference.mean_field import posterior
from skdbm.inference.second_order import second_order_fields
from skdbm.likelihood import (
    bound,
    exact_log_likelihood,
    exact_log_partition,
    exact_samples,
    importance_weighted_log_likelihood,
)
from skdbm.likelihood.bounds import unnormalised_bound
from skdbm.machine import DeepBoltzmannMachine
from skdbm.ops import generator
from skdbm.sampling import (
    annealing,
    conditional_means,
    gibbs_sweeps,
    initial_states,
    path,
)
from skdbm.sampling.annealing import base_of, chains_given
from skdbm.sampling.path import GivenSteps, Path, carry
from skdbm.training.pretraining import CarriedRows, TiedRows
from skdbm.training.update import ENCODING_RATE
from skdbm.units import Bernoulli, Gaussian

from ._copies import independent_estimates
from ._reference import (
    VISIBLE,
    block_slices,
    block_terms,
    block_width,
    largest_error,
    typed_model,
)
from ._trained import step, trainer_of

nan = np.nan
KINDS = [kind for kind in VISIBLE if kind != "counts"]
SHALLOW = {kind: typed_model(kind, (3,)) for kind in KINDS}
DEEP = {f"{kind}, deep": typed_model(kind, (3, 2), 1) for kind in KINDS}
MODELS = (
    SHALLOW
    | DEEP
    | {
        "gaussian, three hidden layers": typed_model("gaussian", (3, 2, 2), 2),
        "mixed, hidden groups": typed_model("mixed", ("groups", 2), 3),
    }
)
each_seed = pytest.mark.parametrize("seed", range(3))


def over(models):
    """Run a test for each of these models."""
    return pytest.mark.parametrize("model", models.values(), ids=models.keys())


def incomplete(model, n_rows, seed=0, share=0.4):
    """Rows of the model with gaps, whole blocks of units; the first has nothing."""
    rng = np.random.default_rng(seed)
    X = model.sample(n_rows, rng)[0]
    gaps = rng.random((n_rows, len(model.blocks[0]))) < share
    gaps[0], gaps[1], gaps[2, 0] = True, False, True
    X[np.repeat(gaps, [block_width(b) for b in model.blocks[0]], axis=1)] = nan
    return X


# Likelihood


@over(MODELS)
def test_log_likelihood_is_the_sum_over_the_completions(model):
    X = incomplete(model, 20)
    result = exact_log_likelihood(model.machine(), X)
    assert_allclose(result, model.log_likelihood(X), atol=1e-11)
    assert_allclose(result[0], 0, atol=1e-11)  # nothing is certain


@over({name: m for name, m in MODELS.items() if not m.is_real.any()})
def test_completions_of_a_row_have_its_probability_together(model):
    states = np.unique(model.distribution.states[0], axis=0)
    for row in incomplete(model, 6)[1:]:
        agree = np.all((states == row) | np.isnan(row), axis=1)
        log_p = exact_log_likelihood(model.machine(), states[agree])
        whole = exact_log_likelihood(model.machine(), row[None])
        assert_allclose(np.logaddexp.reduce(log_p), whole[0], atol=1e-11)


def test_density_of_a_row_with_a_gap_is_the_integral_over_it():
    machine = typed_model("gaussian", (3, 2)).machine()
    row, step = np.array([0.3, nan, -1.0]), 0.1
    values = np.arange(-12, 12, step)
    X = np.tile(row, (len(values), 1))
    X[:, 1] = values
    integral = np.log(np.exp(exact_log_likelihood(machine, X)).sum() * step)
    assert_allclose(exact_log_likelihood(machine, row[None])[0], integral, rtol=1e-9)


@over(MODELS)
def test_bound_of_incomplete_rows_is_below_the_log_likelihood(model):
    X = incomplete(model, 30)
    lower = bound(model.machine(), X, model.distribution.log_partition, tol=1e-9)
    gap = model.log_likelihood(X) - lower
    assert np.all(gap > -1e-9)
    assert np.any(gap > 1e-4)
    if len(model.biases) == 2:
        assert_allclose(gap[1], 0, atol=1e-9)  # the row without gaps


@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_bound_of_incomplete_rows_is_tight_for_weak_couplings(kind, hidden):
    """The divergence of mean field is of second order in the couplings' squares."""
    gaps = []
    for scale in (0.02, 0.04):
        model = typed_model(kind, hidden, scale=scale)
        X = incomplete(model, 10)
        lower = bound(model.machine(), X, model.distribution.log_partition, tol=1e-12)
        gaps.append(np.max(model.log_likelihood(X) - lower))
    assert gaps[0] < 3e-3
    assert 3 < gaps[1] / gaps[0] < 5


@over({name: m for name, m in MODELS.items() if not m.is_real.any()})
def test_bound_lacks_the_divergence_from_the_posterior_of_what_is_missing(model):
    X, machine = incomplete(model, 12), model.machine()
    lower = bound(machine, X, model.distribution.log_partition, tol=1e-12)
    q = mean_field(machine, X, tol=1e-12)
    for i, row in enumerate(X):
        posterior_ = model.given(row)
        log_q = np.zeros(len(posterior_.log_weights))
        for layer, means in enumerate([q.visible, *q.means]):
            blocks = model.blocks[layer]
            for block, units in zip(blocks, block_slices(blocks), strict=True):
                if layer == 0 and not np.isnan(row[units]).any():
                    continue
                state, n = posterior_.states[layer][:, units], block[-1]
                share = means[i, units] / n
                if block[0] == "count":
                    state = np.hstack([state, n - state])
                    share = np.append(share, 1 - share)
                ways = _log_ways(state)
                log_q += ways + state @ np.log(share)
        assert_allclose(np.exp(log_q).sum(), 1)
        gap = np.sum(np.exp(log_q) * (log_q - np.log(posterior_.probability)))
        assert_allclose(model.log_likelihood(row[None])[0] - lower[i], gap, atol=1e-8)


def _log_ways(state):
    """Log of n! / prod s! of every row, by sums of logarithms."""

    def log_factorial(n):
        return np.array([np.log(np.arange(1, int(k) + 1)).sum() for k in n])

    total = log_factorial(state.sum(axis=1))
    return total - sum(log_factorial(column) for column in state.T)


@each_seed
@over(MODELS)
def test_importance_weights_of_incomplete_rows_average_to_their_probability(
    model, seed
):
    n_rows, row = 1500, incomplete(model, 3, seed)[2]
    log_weights = independent_estimates(
        model.machine(),
        np.tile(row, (n_rows, 1)),
        model.distribution.log_partition,
        4,
        seed,
    )
    weights = np.exp(log_weights - model.log_likelihood(row[None])[0])
    assert abs(weights.mean() - 1) < 7 * weights.std() / np.sqrt(n_rows) + 1e-9


@over(MODELS)
def test_importance_weighting_of_incomplete_rows_converges(model):
    X, n = incomplete(model, 20), 3000
    machine, log_z = model.machine(), model.distribution.log_partition
    exact = model.log_likelihood(X)
    estimate = importance_weighted_log_likelihood(
        machine, X, log_z, n_importance_samples=n, random_state=0
    )
    single = independent_estimates(machine, np.repeat(X, 100, axis=0), log_z, 1, 1)
    # Weights may have long tails, so that their own spread does not bound the error.
    assert np.max(np.abs(estimate - exact)) < 0.2
    single = np.abs(single.reshape(len(X), 100) - exact[:, None]).mean(axis=1)
    assert np.mean(np.abs(estimate - exact)) < np.mean(single) / 5


# Mean field


def solve(model, X):
    """Mean field by plain iteration, unit by unit, until nothing moves."""
    states = [
        np.repeat(_means(blocks, bias[None]), len(X), axis=0)
        for blocks, bias in zip(model.blocks, model.biases, strict=True)
    ]
    states[0] = np.where(np.isnan(X), states[0], X)
    for _ in range(200):
        before = [state.copy() for state in states]
        for layer, blocks in enumerate(model.blocks):
            if layer == 0 and not np.isnan(X).any():
                continue
            field = fields(model, states, layer)
            new = _means(blocks, field)
            states[layer] = np.where(np.isnan(X), new, X) if layer == 0 else new
        if all(
            np.max(np.abs(a - b)) < 1e-13 for a, b in zip(states, before, strict=True)
        ):
            break
    return states


def fields(model, states, layer):
    """Fields of a layer given the others."""
    field = np.tile(model.biases[layer], (len(states[0]), 1))
    if layer:
        field += states[layer - 1] @ model.weights[layer - 1]
    if layer < len(model.weights):
        field += states[layer + 1] @ model.weights[layer].T
    return field


def _means(blocks, field):
    """Means of a layer in every row."""
    parts = zip(blocks, block_slices(blocks), strict=True)
    return np.hstack(
        [
            field[:, units]
            if block[0] == "normal"
            else _block_means(block, field[:, units])
            for block, units in parts
        ]
    )


def _block_means(block, field):
    """Means of a block of discrete units in every row, by its states one by one."""
    states, log_ways = block_terms(block)
    p = softmax(field @ states.T + log_ways, axis=1)
    return p @ states


@over(MODELS)
def test_means_of_incomplete_rows_solve_the_equations_of_mean_field(model):
    X = incomplete(model, 20)
    q = mean_field(model.machine(), X, tol=1e-13, max_iter=2000)
    assert q.converged.all()
    assert_array_equal(q.missing, np.isnan(X))
    known = ~np.isnan(X)
    assert_array_equal(q.visible[known], X[known])
    states = [q.visible, *q.means]
    for layer, blocks in enumerate(model.blocks):
        wanted = _means(blocks, fields(model, states, layer))
        where = ~known if layer == 0 else np.ones(wanted.shape, bool)
        assert_allclose(states[layer][where], wanted[where], atol=1e-11)


@each_seed
@over({name: MODELS[name] for name in ("bernoulli", "mixed, deep")})
def test_means_of_an_incomplete_row_do_not_depend_on_the_others(model, seed):
    machine, X = model.machine(), incomplete(model, 1300, seed)
    everything = mean_field(machine, X, tol=1e-6)
    rng = np.random.default_rng(seed)
    gaps = np.isnan(X).any(axis=1)
    for rows in (
        rng.permutation(len(X)),
        rng.permutation(len(X))[:600],
        np.array([0]),
        np.flatnonzero(gaps),
        np.flatnonzero(~gaps),
    ):
        part = mean_field(machine, X[rows], tol=1e-6)
        assert_array_equal(part.n_sweeps, everything.n_sweeps[rows])
        assert_allclose(part.visible, everything.visible[rows], rtol=0, atol=1e-12)
        for left, right in zip(part.means, everything.means, strict=True):
            assert_allclose(left, right[rows], rtol=0, atol=1e-12)


@over({name: MODELS[name] for name in ("bernoulli", "mixed, deep")})
def test_number_of_threads_does_not_change_incomplete_rows(model):
    X = incomplete(model, 1300)
    one, two = (mean_field(model.machine(), X, n_jobs=n) for n in (1, 2))
    for left, right in zip(
        [one.visible, *one.means], [two.visible, *two.means], strict=True
    ):
        assert left.tobytes() == right.tobytes()


@over(SHALLOW)
def test_every_sweep_over_incomplete_rows_raises_the_bound(model):
    X, machine = incomplete(model, 20), model.machine()
    values = []
    for n in range(1, 12):
        q = posterior(machine, Evidence.of_rows(X), tol=0, max_iter=n)
        given = Conditional(machine, Evidence.of_rows(X))
        values.append(unnormalised_bound(given, [q.visible, *q.means]))
    assert np.all(np.diff(values, axis=0) > -1e-10)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_corrected_means_of_incomplete_rows_are_right_to_second_order(kind):
    """Half the couplings: at most an eighth of the error, a quarter in mean field."""
    X, errors = incomplete(typed_model(kind, (3, 2)), 8), []
    missing = np.isnan(X)
    for scale in (0.02, 0.01):
        model = typed_model(kind, (3, 2), scale=scale)
        machine, posteriors = model.machine(), [model.given(row) for row in X]
        exact = [
            np.array([p.probability @ p.states[layer] for p in posteriors])
            for layer in range(3)
        ]
        q = mean_field(machine, X, tol=1e-14, max_iter=1000)
        first = [q.visible, *q.means]
        given = Conditional(machine, Evidence.of_rows(X))
        fields = second_order_fields(given, first, n_sweeps=100)
        second = [machine.units[layer].mean(fields[layer]) for layer in range(3)]
        second[0] = np.where(missing, second[0], X)
        errors.append(
            [
                max(np.abs(a - b).max() for a, b in zip(means, exact, strict=True))
                for means in (first, second)
            ]
        )
    first, second = np.divide(*errors)
    assert 3.5 < first < 4.5
    assert second > 7


def test_missing_entries_are_none_where_nothing_is_missing():
    assert ops.missing(np.zeros((3, 2))) is None
    assert ops.missing(np.zeros((0, 2))) is None
    assert ops.missing(sparse.csr_array(np.eye(2))) is None
    assert_array_equal(ops.missing(np.array([[0, nan]])), [[False, True]])


@over(SHALLOW)
def test_gaps_are_filled_with_the_means_of_free_units(model):
    X = incomplete(model, 10)
    states = filled(model.machine(), Evidence.of_rows(X))
    free = _means(model.blocks[0], model.biases[0][None])
    assert_allclose(states[0], np.where(np.isnan(X), free, X), atol=1e-12)


def test_incomplete_rows_are_left_alone():
    model = SHALLOW["mixed"]
    X = incomplete(model, 10)
    given = X.copy()
    mean_field(model.machine(), X)
    bound(model.machine(), X, 0.0)
    assert_array_equal(X, given)


# Training


def centred(states, offsets):
    """What each row adds to the centred gradient: weights, then biases, flat."""
    parts = [state - offset for state, offset in zip(states, offsets, strict=True)]
    weights = [np.einsum("ri,rj->rij", *pair) for pair in pairwise(parts)]
    biases = [state.copy() for state in states]
    for layer, weight in enumerate(weights):
        biases[layer] -= weight @ offsets[layer + 1]
        biases[layer + 1] -= np.einsum("rij,i->rj", weight, offsets[layer])
    return np.hstack([term.reshape(len(term), -1) for term in (*weights, *biases)])


def gradient_step(model, X, rate=1e-6, encoding=None):
    """The change of all parameters by one plain step, over their learning rates."""
    machine = model.machine()
    machine = machine.with_encoding(encoding or machine.encoding)
    options = {"batch_size": max(50, len(X)), "n_mean_field_steps": 2000}
    trainer = trainer_of(machine, mean_field_tol=1e-14, **options)

    def flat():
        machine = trainer.machine
        return np.concatenate([a.ravel() for a in (*machine.weights, *machine.biases)])

    before, shares = flat(), [1 / unit.n_copies for unit in trainer.machine.units]
    shares[0] = trainer.machine.encoding.rate_factor
    of_weights = [np.prod(pair) for pair in pairwise(shares)]
    arrays = (*trainer.machine.weights, *trainer.machine.biases)
    rates = np.repeat([*of_weights, *shares], [array.size for array in arrays]) * rate
    offsets = [offset.copy() for offset in trainer.offsets]
    step(trainer, X, rate)
    return (flat() - before) / rates, offsets, trainer


@pytest.mark.parametrize("n_rows", [12, 300])  # in one block, and in several
@over(MODELS)
def test_gradient_of_incomplete_rows_takes_the_means_of_mean_field(model, n_rows):
    """The chains of both steps are the same, so that their difference drops out."""
    X = incomplete(model, n_rows)
    complete = model.sample(n_rows, np.random.default_rng(9))[0]
    with_gaps, offsets, _ = gradient_step(model, X)
    without, _, _ = gradient_step(model, complete)
    wanted = centred(solve(model, X), offsets).mean(axis=0)
    wanted -= centred(solve(model, complete), offsets).mean(axis=0)
    assert_allclose(with_gaps - without, wanted, atol=2e-8)


def test_scales_learn_from_the_values_that_are_known():
    model = typed_model("gaussian", (3, 2))
    encoding = Real(np.zeros(3), np.ones(3))
    X, rate = incomplete(model, 12), 1e-4
    _, _, trainer = gradient_step(model, X, rate, encoding)
    visible, hidden, _ = solve(model, X)
    field = model.biases[0] + hidden @ model.weights[0].T
    known = ~np.isnan(X).any(axis=1)  # of the others nothing is known, without ties
    second = (visible - field)[known].T @ visible[known] / len(X)
    wanted = known.mean() * np.eye(3) - second
    moved = trainer.learned.values.reshape(3, 3) - np.eye(3)
    assert_allclose(moved, ENCODING_RATE * rate * wanted, atol=1e-12)


def test_gaps_stay_gaps_where_states_are_drawn_from_their_means():
    X = np.array([[0.5, nan, 0.2], [nan, nan, 1.0]])
    indices = np.tile([1, 0], 100)
    rows = EncodedRows(Probabilities(), X, np.float64, np.random.default_rng(0))
    out = rows.read(indices)
    assert_array_equal(np.isnan(out), np.isnan(X)[indices])
    assert set(out[~np.isnan(out)]) == {0.0, 1.0}


@each_seed
@pytest.mark.parametrize("copies", [1, 2])
def test_pretraining_carries_incomplete_rows_up_by_mean_field(copies, seed):
    model = typed_model("mixed", (3,))
    machine = model.machine()
    visible = machine.units[0].tied_copies(copies)
    pair = DeepBoltzmannMachine(machine.weights, machine.biases, [visible, Bernoulli()])
    row, n_rows = incomplete(model, 3)[2], 5000
    rows = EncodedRows(States(machine.units[0]), row[None], np.float64)
    rng = np.random.default_rng(seed)
    carried = CarriedRows(TiedRows(rows, copies), pair, Bernoulli(), rng)
    drawn = carried.read(np.zeros(n_rows, int))
    states = np.where(np.isnan(row), 0.0, copies * row)
    for _ in range(10):
        hidden = 1 / (1 + np.exp(-(model.biases[1] + states @ model.weights[0])))
        field = model.biases[0] + model.weights[0] @ hidden
        free = copies * _means(model.blocks[0], field[None])[0]
        states = np.where(np.isnan(row), free, copies * row)
    p = 1 / (1 + np.exp(-(model.biases[1] + states @ model.weights[0])))
    error = np.abs(drawn.mean(axis=0) - p)
    # Ten sweeps of the package and these ten start from other means.
    assert np.all(error < largest_error(np.sqrt(p * (1 - p)), n_rows) + 1e-3)


def test_rows_on_the_way_up_keep_their_gaps_for_the_first_pair():
    rows = EncodedRows(Probabilities(), np.array([[1.0, nan], [0.0, 1.0]]), np.float64)
    assert_array_equal(TiedRows(rows, 2).read([1, 0]), [[0.0, 2.0], [2.0, nan]])


#: Training of small machines, long enough to be near the maximum.
FIT = {
    "hidden_layer_sizes": (2,),
    "max_iter": 30,
    "batch_size": 50,
    "learning_rate_init": 0.1,
    "n_chains": 100,
    "n_gibbs_steps": 2,
    "alpha": 0.0,
    "random_state": 0,
    "n_jobs": 1,
}


def informative(kind):
    """A machine whose hidden units can be told from a part of the columns."""
    rng = np.random.default_rng(3)
    size, scale, unit = {
        "bernoulli": (12, 2.0, Bernoulli()),
        "gaussian": (8, 1.2, Gaussian()),
    }[kind]
    weight = scale * rng.choice([-1, 1], size=(size, 2))
    biases = [-weight.sum(axis=1) / 2, np.zeros(2)]
    # Hidden biases that make the states of the hidden units about equally likely.
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    free = unit.log_partition(biases[0] + states @ weight.T)
    biases[1] = -np.array([free @ [-1, -1, 1, 1], free @ [-1, 1, -1, 1]]) / 2
    return DeepBoltzmannMachine([weight], biases, [unit, Bernoulli()])


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_training_on_incomplete_rows_is_nearly_as_good_as_on_complete_ones(kind):
    truth = informative(kind)
    X = truth.encoding.decode(exact_samples(truth, 1600, random_state=0)[0])
    train, held_out = X[:1000], X[1000:]
    gaps = np.random.default_rng(1).random(train.shape) < 0.3
    holey = np.where(gaps, nan, train)
    center = np.nanmean(holey, axis=0)
    imputed = np.where(gaps, center, holey)
    rows = {"complete": train, "incomplete": holey, "imputed": imputed}
    scores = {}
    for name, data in rows.items():
        estimator = DBMSampler(
            visible=kind, allow_missing=name == "incomplete", **FIT
        ).fit(data)
        encoding = estimator.machine_.encoding
        scores[name] = exact_log_likelihood(
            estimator.machine_, encoding.encode(held_out)
        ) + encoding.log_jacobian(held_out)

    def differ(one, other):
        difference = scores[one] - scores[other]
        return difference.mean(), difference.std() / np.sqrt(len(difference))

    gain, error = differ("incomplete", "imputed")
    assert gain > 4 * error
    # Three tenths of the values are gone. The fit of about 30 parameters to 1000 rows
    # costs 30 / 2000 nats, and half as much again without them; the rest is room for
    # what mean field and the noise of the chains cost.
    loss, error = differ("complete", "incomplete")
    assert loss < 0.05 + 3 * error
    assert loss < gain / 2


# What estimators make of incomplete rows

SMALL = {
    "hidden_layer_sizes": (5, 3),
    "max_iter": 3,
    "batch_size": 20,
    "n_chains": 10,
    "likelihood": Likelihood(n_chains=10),
    "random_state": 0,
}


def columns_with_gaps(n_rows=60, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [
            rng.normal(3, 2, n_rows),
            rng.integers(3, size=n_rows),
            rng.random((n_rows, 2)) < 0.4,
        ]
    )
    X[rng.random(X.shape) < 0.2] = nan
    X[:3] = [[0.0, 1, 0, 1], [1.0, 2, 1, 0], [nan, 0, nan, 1]]
    return X


VISIBLE_PARAMETERS = [
    ("gaussian", slice(0, 4)),
    ("bernoulli", slice(2, 4)),
    ("categorical", slice(1, 2)),
    (
        [("gaussian", [0]), ("categorical", [1]), ("bernoulli", [2, 3])],
        slice(0, 4),
    ),
]
each_visible = pytest.mark.parametrize(
    ("visible", "columns"), VISIBLE_PARAMETERS, ids=lambda v: str(v)[:20]
)


@each_visible
def test_estimators_score_and_transform_incomplete_rows(visible, columns):
    X = columns_with_gaps()[:, columns]
    transformer = DBMTransformer(visible=visible, allow_missing=True, **SMALL).fit(X)
    machine = transformer.machine_
    q = mean_field(machine, Evidence.of_columns(X, machine.encoding))
    assert_array_equal(transformer.transform(X), np.hstack(q.means))
    log_p = exact_log_likelihood(machine, Evidence.of_columns(X, machine.encoding))
    log_p += machine.encoding.log_jacobian(X)
    scores = transformer.score_samples(X, n_importance_samples=0)
    assert np.all(scores <= log_p + 1e-6)
    assert np.all(scores > log_p - 0.5)
    estimate = transformer.score_samples(X, n_importance_samples=300)
    assert_allclose(estimate, log_p, atol=0.1)


@each_visible
@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score"])
def test_missing_values_are_an_error_unless_they_are_allowed(visible, columns, method):
    X = columns_with_gaps()[:, columns]
    complete = X[~np.isnan(X).any(axis=1)]
    transformer = DBMTransformer(visible=visible, **SMALL).fit(complete)
    gaps = np.flatnonzero(np.isnan(X).any(axis=0)).tolist()
    with pytest.raises(
        ValueError, match=rf"contains NaN: .* columns \{gaps}.*allow_missing=True"
    ):
        getattr(transformer, method)(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@each_visible
def test_training_goes_on_with_incomplete_rows(visible, columns, method):
    X = columns_with_gaps()[:, columns]
    settings = SMALL | {"allow_missing": True, "visible": visible, "warm_start": True}
    estimator = DBMTransformer(**settings).fit(X)
    before = estimator.machine_
    getattr(estimator, method)(X[:20])
    assert estimator.machine_ is not before
    assert np.isfinite(estimator.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore:early_stopping did not end")
def test_early_stopping_watches_incomplete_rows():
    X = columns_with_gaps(200)
    estimator = DBMSampler(
        visible=VISIBLE_PARAMETERS[-1][0],
        allow_missing=True,
        early_stopping=True,
        evaluate_every=1,
        **(SMALL | {"max_iter": 6}),
    ).fit(X)
    assert np.isfinite(estimator.history_["validation_score"]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_are_kept_with_gaps(dtype):
    X = columns_with_gaps()[:, 2:].astype(dtype)
    transformer = DBMTransformer(allow_missing=True, **SMALL).fit(X)
    assert transformer.transform(X).dtype == dtype
    assert transformer.machine_.dtype == np.float32  # that of training


@pytest.mark.parametrize("cls", [DBMSampler, DBMTransformer])
def test_sparse_matrices_have_no_gaps(cls):
    X = (np.random.default_rng(0).random((30, 4)) < 0.4).astype(float)
    fitted = cls(allow_missing=True, **SMALL).fit(sparse.csr_array(X))
    X[0, 0] = nan
    for method in (cls(allow_missing=True, **SMALL).fit, fitted.score):
        with pytest.raises(ValueError, match="contains NaN"):
            method(sparse.csr_array(X))


@pytest.mark.parametrize("method", ["fit", "score", "perplexity", "sample", "impute"])
def test_counts_cannot_be_missing(method):
    X = np.random.default_rng(0).poisson(2.0, (30, 4)).astype(float)
    sampler = DBMSampler(visible="counts", allow_missing=True, **SMALL).fit(X)
    assert not sampler.__sklearn_tags__().input_tags.allow_nan
    X[0, 0] = nan
    arguments = {"sample": {"given": X}}.get(method, {"X": X})
    with pytest.raises(ValueError, match=r"contains NaN: .* columns \[0\].*cannot be"):
        getattr(sampler, method)(**arguments)


def test_a_column_without_any_value_is_learned_as_free():
    X = columns_with_gaps()
    X[:, 2] = nan
    sampler = DBMSampler(
        visible=[("gaussian", [0, 2]), ("categorical", [1]), ("bernoulli", [3])],
        allow_missing=True,
        **SMALL,
    ).fit(X)
    assert np.isfinite(sampler.score(X))
    X[:, 1] = nan
    with pytest.raises(ValueError, match="Column 1 has no value"):
        sampler.fit(X)


def imputing(**parameters):
    """A sampler of columns with gaps."""
    X = columns_with_gaps(200)
    settings = SMALL | {"visible": VISIBLE_PARAMETERS[-1][0], "allow_missing": True}
    return DBMSampler(**(settings | parameters)).fit(X), X


def completed(sampler, method, X, seed=0, **schedule):
    """What `impute`, or `sample` with `given`, makes of rows with gaps."""
    if method == "sample":
        rows = {"given": X, "burn_in": 3}
    else:
        rows = {"X": X, "burn_in": 3, "n_sweeps": 4}
    return getattr(sampler, method)(random_state=seed, **(rows | schedule))


@pytest.mark.parametrize("method", ["impute", "sample"])
def test_completions_take_the_sweeps_of_burn_in(method):
    sampler, X = imputing()
    before = completed(sampler, method, X, burn_in=0)
    assert_array_equal(completed(sampler, method, X, burn_in=0), before)
    assert np.any(completed(sampler, method, X, burn_in=5) != before)


def test_imputed_means_average_the_sweeps():
    sampler, X = imputing()
    smooth, rough = (
        [completed(sampler, "impute", X, seed, n_sweeps=n)[:, 0] for seed in (0, 1)]
        for n in (200, 1)
    )
    noise = [np.abs(one - other).mean() for one, other in (smooth, rough)]
    assert 0 < noise[0] < noise[1] / 3


@pytest.mark.usefixtures("narrow_blocks")
@pytest.mark.parametrize("method", ["impute", "sample"])
def test_completions_use_all_threads_and_give_one_result(method, monkeypatch):
    """Where BLAS has two threads, unless somebody holds it to one."""
    sampler, X = imputing()
    blas, used = ops.threads._single_threaded_blas, []

    class Noted(ops.Workers):
        def __init__(self, n_threads):
            used.append(n_threads)
            super().__init__(n_threads)

    monkeypatch.setattr(ops.threads, "Workers", Noted)
    monkeypatch.setattr(blas, "n_threads", lambda: 1 if blas._n_users else 2)
    results = []
    for n_jobs in (1, None):
        used.clear()
        results.append(completed(sampler.set_params(n_jobs=n_jobs), method, X))
        assert set(used) == {n_jobs or 2}
    assert_array_equal(*results)


# Sampling given what is known

N_CHAINS, N_SWEEPS = 6000, 40


@each_seed
@over(MODELS)
def test_chains_given_known_states_have_the_conditional_moments(model, seed):
    """Every second chain knows something else."""
    machine, rng = model.machine(), generator(seed)
    X = incomplete(model, 4, seed)[2:]
    rows = np.tile(X, (N_CHAINS, 1))
    start = model.sample(2 * N_CHAINS, np.random.default_rng(seed))
    start[0] = np.where(np.isnan(rows), start[0], rows)
    known = ~np.isnan(rows)
    before = start[0].copy()
    evidence = Evidence.of_rows(rows)
    states = gibbs_sweeps(machine, start, N_SWEEPS, evidence=evidence, random_state=rng)
    assert_array_equal(states[0][known], before[known])
    for i in (0, 1):
        part = [state[i::2] for state in states]
        assert model.worst_moment(part, X[i]) < 1


@pytest.mark.usefixtures("narrow_blocks")
def test_masks_of_rows_are_cut_with_the_blocks_of_chains():
    model = SHALLOW["bernoulli"]
    machine, rng = model.machine(np.float32), np.random.default_rng(0)
    states = [s.astype(np.float32) for s in model.sample(700, rng)]
    known = rng.random((700, 4)) < 0.5
    before = states[0].copy()
    evidence = Evidence({0: (before, known)})
    gibbs_sweeps(machine, states, 9, evidence=evidence, random_state=0)
    assert_array_equal(states[0][known], before[known])
    assert np.any(states[0][~known] != before[~known])


@each_seed
@over(MODELS)
def test_conditional_means_are_those_of_the_enumeration(model, seed):
    X, n_chains, n_sweeps = incomplete(model, 4, seed)[2:], 2000, 5
    rows = np.repeat(X, n_chains, axis=0)
    known = ~np.isnan(rows)
    states = model.sample(len(rows), np.random.default_rng(seed))
    states[0] = np.where(known, rows, states[0])
    means = conditional_means(
        model.machine(),
        states,
        Evidence.of_rows(rows),
        burn_in=30,
        n_sweeps=n_sweeps,
        random_state=seed,
    )
    assert_array_equal(means[known], rows[known])
    for i, row in enumerate(X):
        distribution = model.given(row)
        wanted = distribution.probability @ distribution.states[0]
        drawn = means[i * n_chains : (i + 1) * n_chains]
        error = 6 * drawn.std(axis=0, ddof=1) / np.sqrt(n_chains)
        gap = np.isnan(row)
        assert np.all(np.abs(drawn.mean(axis=0) - wanted)[gap] < error[gap] + 1e-9)


# Annealing given what is known


def even_means(machine):
    """Means of units without fields."""
    return [
        unit.mean(np.zeros((1, n)))[0]
        for unit, n in zip(machine.units, machine.layer_sizes, strict=True)
    ]


@each_seed
@over(MODELS)
def test_annealed_chains_have_the_conditional_moments(model, seed, monkeypatch):
    """A few of a large population, so that draws are all but independent."""
    monkeypatch.setattr(annealing, "LEAST_CHAINS", 10_000)
    machine, n, team = model.machine(), 1000, ops.Workers(1)
    X = incomplete(model, 4, seed)[[0, 2, 3]]
    evidence, seeds = Evidence.of_rows(X), np.random.SeedSequence(seed)
    states = chains_given(machine, even_means(machine), evidence, n, seeds, team)
    rows = np.repeat(X, n, axis=0)
    known = ~np.isnan(rows)
    assert_array_equal(states[0][known], rows[known])
    for row, part in zip(X, range(0, 3 * n, n), strict=True):
        mine = [state[part : part + n] for state in states]
        assert model.worst_moment(mine, row) < 1


@each_seed
@over(MODELS)
def test_weights_given_known_states_are_ratios_of_their_probabilities(
    model, seed, monkeypatch
):
    """On average, if chains are drawn anew within their populations at every step."""
    monkeypatch.setattr(path, "RESAMPLED_BELOW", 1.0)
    machine, n, population = model.machine(), 400, 4
    base = base_of(machine, even_means(machine), 0.5)
    X = incomplete(model, 4, seed)[1:]
    rows = np.tile(np.repeat(X, population, axis=0), (n, 1))  # next to each other
    evidence, states = Evidence.of_rows(rows), initial_states(base, len(rows), seed)
    for layer, state in enumerate(states):
        evidence.hold(layer, state)
    run = carry(
        Path(base, machine),
        GivenSteps(np.linspace(0, 1, 21)),
        states,
        np.random.SeedSequence(seed),
        ops.Workers(1),
        population=population,
        evidence=evidence,
    )
    weightless = [np.zeros_like(weight) for weight in machine.weights]
    before = DeepBoltzmannMachine(weightless, base.biases, machine.units)
    exact = [
        exact_log_likelihood(m, X) + exact_log_partition(m) for m in (machine, before)
    ]
    log_weights = run.log_weights.reshape(n, len(X), population)
    means = np.exp(log_weights - (exact[0] - exact[1])[:, None]).mean(axis=2)
    error = means.std(axis=0, ddof=1) / np.sqrt(n)
    # Two nodes a step integrate the slope to five digits.
    assert np.all(np.abs(means.mean(axis=0) - 1) < 6 * error + 1e-4)


def test_chains_are_annealed_given_hidden_states():
    """Layers next to a known one are independent: mean field is exact."""
    machine, n = typed_model("mixed", (3, 2), 1).machine(), 300
    evidence = Evidence({1: (np.tile([1.0, 0.0, 1.0], (n, 1)), None)})
    states = chains_given(
        machine,
        even_means(machine),
        evidence,
        1,
        np.random.SeedSequence(0),
        ops.Workers(1),
    )
    exact = mean_field(machine, evidence[:1])
    assert_array_equal(states[1], evidence.layers[1][0])
    for layer, mean in ((0, exact.visible), (2, exact.means[1])):
        error = 6 * states[layer].std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(states[layer].mean(axis=0) - mean[0]) < error)
