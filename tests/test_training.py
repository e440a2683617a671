"""Training: gradients, update rule, pretraining, and what comes out of it all.

The gradients are checked against enumeration or against an implementation written
plainly in here; whether machines learn, by their exact likelihood.
"""

import pickle
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMTransformer, Likelihood, Pretraining, ops
from skdbm.callback import TrainingMonitor
from skdbm.encodings import Probabilities, Real, States
from skdbm.encodings.rows import EncodedRows
from skdbm.evidence import Conditional, Evidence
from skdbm.likelihood import exact_log_likelihood
from skdbm.machine import DeepBoltzmannMachine
from skdbm.ops import generator
from skdbm.training import epoch as epochs
from skdbm.training import mixing, optimizers, record, start, update
from skdbm.training.epoch import Epoch
from skdbm.training.order import Order
from skdbm.training.pretraining import Greedy, Growth
from skdbm.training.row_chains import RowChains
from skdbm.training.stopping import EarlyStopping
from skdbm.units import Bernoulli, Binomial, ReplicatedSoftmax

from ._reference import Model, formula_model, joint_states, largest_error
from ._trained import TEAM, settled, step, trainer_of

SEEDS = [0, 1, 2]
FORMULA_SIZES = [(4, 3), (4, 3, 2), (4, 3, 2, 2)]

#: Hyper-parameters of small fits, all that matter, so that no default does.
EXPLICIT = {
    "batch_size": 20,
    "learning_rate_init": 0.1,
    "alpha": 0.0,
    "n_chains": 50,
    "n_gibbs_steps": 1,
    "n_mean_field_steps": 10,
    "n_posterior_gibbs_steps": 0,
    "likelihood": Likelihood(mean_field_tol=1e-3),
    "n_jobs": 1,
}


def flat(machine):
    """All weights, then all biases of a machine, as one vector."""
    arrays = [*machine.weights, *machine.biases]
    return np.concatenate([array.ravel() for array in arrays])


def gradient(trained, X):
    """The gradient that one batch gives, from a tiny step along it."""
    before = flat(trained.machine)
    step(trained, X, 1e-6)
    return (flat(trained.machine) - before) / 1e-6


def centred_terms(states, offsets):
    """What each row of states adds to the centred gradient, flat, one row each.

    dW_l = (s_l - a_l)(s_{l+1} - a_{l+1})^T and
    db_l = s_l - dW_l a_{l+1} - dW_{l-1}^T a_{l-1}.
    """
    centred = [state - offset for state, offset in zip(states, offsets, strict=True)]
    weights = [np.einsum("ri,rj->rij", *pair) for pair in pairwise(centred)]
    biases = [state.copy() for state in states]
    for layer, weight in enumerate(weights):
        biases[layer] -= np.einsum("rij,j->ri", weight, offsets[layer + 1])
        biases[layer + 1] -= np.einsum("rij,i->rj", weight, offsets[layer])
    return np.hstack([term.reshape(len(term), -1) for term in (*weights, *biases)])


def with_mean_field(model, visible):
    """Visible states and converged mean-field means of binary hidden layers."""
    states = [visible, *(np.full((len(visible), n), 0.5) for n in model.sizes[1:])]
    for _ in range(500):
        for layer in range(1, len(states)):
            field = model.biases[layer] + states[layer - 1] @ model.weights[layer - 1]
            if layer + 1 < len(states):
                field = field + states[layer + 1] @ model.weights[layer].T
            states[layer] = expit(field)
    return states


def expectation(terms, probability, n_draws):
    """Mean of the rows of terms, and a bound of the error of a mean of draws."""
    mean = probability @ terms
    deviation = terms - mean
    std = np.sqrt(probability @ deviation**2)
    return mean, largest_error(std, n_draws, np.abs(deviation).max(axis=0))


def saturated_machine(sizes, signs, rng):
    """Make a machine whose units are all but certain: on or off by their signs."""
    weights = [rng.normal(0, 0.3, shape) for shape in pairwise(sizes)]
    return DeepBoltzmannMachine(weights, [60.0 * sign for sign in signs])


def copies(arrays):
    """Copy every array of a list."""
    return [array.copy() for array in arrays]


# ---------------------------------------------------------------------------
# The gradient
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_gibbs_steps", [1, 3])
@pytest.mark.parametrize("sizes", FORMULA_SIZES)
def test_gradient_averages_to_the_exact_one(sizes, n_gibbs_steps, seed):
    model = formula_model(sizes)
    rng = np.random.default_rng(seed)
    X = rng.random((7, sizes[0]))
    n_chains = 20_000
    trained = trainer_of(
        model.machine(), n_chains, seed, n_gibbs_steps=n_gibbs_steps, batch_size=9
    )
    for _ in range(24 // n_gibbs_steps):  # the chains forget their start
        step(trained, X, 0.0)
    offsets = copies(trained.offsets)
    data = centred_terms(with_mean_field(model, X), offsets).mean(axis=0)
    terms = centred_terms(model.distribution.states, offsets)
    expected, error = expectation(terms, model.distribution.probability, n_chains)
    assert np.all(np.abs(gradient(trained, X) - (data - expected)) < error)


@pytest.mark.parametrize("mix_chains", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_of_one_hidden_layer_is_that_of_the_likelihood(seed, mix_chains):
    model = formula_model((4, 3))
    X = np.random.default_rng(seed).integers(0, 2, (6, 4)).astype(float)
    n_chains = 50_000
    trained = trainer_of(model.machine(), n_chains, seed, mix_chains=mix_chains)
    for _ in range(24):
        step(trained, X, 0.0)
    below, above = copies(trained.offsets)
    estimate = gradient(trained, X)

    # Undo the centring: from (dW, db) back to the gradients of W and b.
    dW, db0, db1 = np.split(estimate, [12, 16])
    dW = dW.reshape(4, 3)
    db0, db1 = db0 + dW @ above, db1 + dW.T @ below
    dW = dW + np.outer(below, db1) + np.outer(db0, above)

    def log_likelihood(vector):
        weight, *biases = np.split(vector, [12, 16])
        moved = Model([weight.reshape(4, 3)], biases)
        return np.mean([moved.log_likelihood(row) for row in X])

    start = flat(model.machine())
    exact = [
        (log_likelihood(start + nudge) - log_likelihood(start - nudge)) / 2e-5
        for nudge in 1e-5 * np.eye(len(start))
    ]
    zero = [np.zeros(4), np.zeros(3)]
    terms = centred_terms(model.distribution.states, zero)
    _, error = expectation(terms, model.distribution.probability, n_chains)
    # The centred estimate has another variance: allow for the offsets' products too.
    estimate = np.concatenate([dW.ravel(), db0, db1])
    assert np.all(np.abs(estimate - exact) < 2 * error)
    assert np.max(np.abs(exact)) > 10 * np.max(error)  # there was something to find


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("missing", [[], [1, 3]], ids=["complete", "missing"])
@pytest.mark.parametrize("sizes", FORMULA_SIZES)
def test_posterior_sweeps_draw_from_the_posterior(sizes, missing, seed):
    model, n_rows = formula_model(sizes), 20_000
    row = np.random.default_rng(seed).integers(0, 2, sizes[0]).astype(float)
    visible = row.copy()
    visible[missing] = np.nan
    states = settled(model.machine(), visible, n_rows, seed)
    known = np.setdiff1d(np.arange(sizes[0]), missing)
    posterior = model.distribution.given(0, row[known], known)
    offsets = [np.full(size, 0.3) for size in sizes]
    terms = centred_terms(posterior.states, offsets)
    exact, error = expectation(terms, posterior.probability, n_rows)
    found = centred_terms(states, offsets).mean(axis=0)
    assert np.all(np.abs(found - exact) < error + 1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("missing", [[], [1, 3]], ids=["complete", "missing"])
@pytest.mark.parametrize("sizes", FORMULA_SIZES)
def test_chains_of_rows_come_to_the_posterior(sizes, missing, seed):
    """A single sweep a visit, of rows of two kinds in an order that changes."""
    model, n_rows, rng = formula_model(sizes), 20_000, np.random.default_rng(seed)
    kinds = np.array([[0, 1, 0, 1.0], [1, 1, 0, 0.0]])
    kinds[0, missing] = np.nan  # only rows of the first kind lack something
    visible = kinds[np.arange(2 * n_rows) % 2]
    trained = trainer_of(
        model.machine(),
        batch_size=2 * n_rows,
        n_mean_field_steps=1,
        n_posterior_gibbs_steps=1,
    )
    chains, block = RowChains(2 * n_rows), slice(0, 2 * n_rows)
    for visit in range(40):
        order = rng.permutation(2 * n_rows)
        batch = update.Batch(
            trained, visible[order], trained.options, 0.0, (chains, order)
        )
        batch.data_phase(block, generator([seed, visit]))
    space = trained.workspace(2 * n_rows)
    offsets = [np.full(size, 0.3) for size in sizes]
    for kind, row in enumerate(kinds):
        known = np.flatnonzero(~np.isnan(row))
        posterior = model.distribution.given(0, row[known], known)
        terms = centred_terms(posterior.states, offsets)
        exact, error = expectation(terms, posterior.probability, n_rows)
        rows = space.data_rows(block).start + np.flatnonzero(order % 2 == kind)
        found = centred_terms(space.phase(rows), offsets).mean(axis=0)
        assert np.all(np.abs(found - exact) < error + 1e-12)


@pytest.mark.parametrize("unit", [Bernoulli(), Binomial(3)], ids=repr)
def test_chains_of_rows_stay_with_their_rows(unit):
    rng, units = np.random.default_rng(0), [Bernoulli(), unit, unit]
    sizes = (5, 4, 9)
    weights = [rng.normal(0, 1, pair) for pair in pairwise(sizes)]
    machine = DeepBoltzmannMachine(weights, [np.zeros(n) for n in sizes], units)
    visible = rng.integers(0, 2, (6, 5)).astype(float)
    visible[2:4, 1] = np.nan
    states = [rng.integers(0, unit.n_copies + 1, (6, size)) + 0.0 for size in sizes]
    states[0] = np.where(np.isnan(visible), 1.0, visible)
    chains, places = RowChains(9), np.array([8, 0, 3, 5, 1, 7])
    chains.make_room(machine, with_gaps=True)
    first = Conditional(machine, Evidence.of_rows(visible[:4]))
    chains.keep(places[:4], first, [state[:4] for state in states])
    back = [np.full_like(state, 7) for state in states]
    order = np.array([4, 2, 0, 5, 1, 3])
    given = Conditional(machine, Evidence.of_rows(visible[order]))
    chains.recall(places[order], given, back)
    begun = order < 4
    assert_array_equal(back[0][begun], states[0][order][begun])
    assert_array_equal(back[2][begun], states[2][order][begun])
    assert_array_equal(back[2][~begun], 7)
    assert_array_equal(back[1], 7)  # drawn given the others
    assert chains.kept[2].nbytes == (9 * 2 if unit == Bernoulli() else 9 * 9 * 8)


def test_offsets_tend_to_the_means_of_the_data_phase():
    model = formula_model((4, 3, 2))
    X = np.random.default_rng(0).random((7, 4))
    trained = trainer_of(model.machine())
    for _ in range(800):
        step(trained, X, 0.0)
    expected = [means.mean(axis=0) for means in with_mean_field(model, X)]
    for offset, mean in zip(trained.offsets, expected, strict=True):
        assert_allclose(offset, mean, atol=1e-7)


@pytest.mark.parametrize("sizes", FORMULA_SIZES)
@pytest.mark.parametrize("n_most", [1, 2, 50])
def test_mean_field_sweeps_are_capped(sizes, n_most):
    trained = trainer_of(formula_model(sizes).machine(), n_mean_field_steps=n_most)
    n_sweeps, _ = step(trained, np.eye(4), 0.0)
    assert n_sweeps == 1 if len(sizes) == 2 else n_sweeps <= n_most
    precise = trainer_of(formula_model(sizes).machine())
    coarse = trainer_of(formula_model(sizes).machine(), mean_field_tol=1e-3)
    n_precise, converged = step(precise, np.eye(4), 0.0)
    assert step(coarse, np.eye(4), 0.0)[0] <= n_precise < 200
    assert converged


# ---------------------------------------------------------------------------
# Each phase is divided by its own count
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_chains", [1, 3, 20, 300])
@pytest.mark.parametrize("sizes", [(5, 4), (5, 4, 3), (5, 4, 3, 2)])
def test_each_phase_is_divided_by_its_own_count(sizes, n_chains):
    # All chains are in one and the same state, so that nothing is left to chance.
    rng = np.random.default_rng(n_chains)
    signs = [rng.choice([-1, 1], size) for size in sizes]
    trained = trainer_of(saturated_machine(sizes, signs, rng), n_chains, batch_size=200)
    state = [(sign > 0).astype(float)[None] for sign in signs]
    for n_rows in (200, 3, 17, 1, 200):
        X = rng.random((n_rows, sizes[0]))
        for offset in trained.offsets:
            offset[...] = rng.random(offset.shape)
        hidden = [np.repeat(s, n_rows, axis=0) for s in state[1:]]
        data = centred_terms([X, *hidden], trained.offsets)
        chain = centred_terms(state, trained.offsets)
        expected = data.mean(axis=0) - chain[0]
        assert_allclose(gradient(trained, X), expected, atol=1e-7)


@pytest.mark.parametrize("n_chains", [3, 30])
@pytest.mark.parametrize("sizes", FORMULA_SIZES)
def test_data_phase_does_not_depend_on_the_number_of_chains(sizes, n_chains):
    model = formula_model(sizes)
    rng = np.random.default_rng(0)
    offsets = [rng.random(size) for size in sizes]

    def estimate(X):
        trained = trainer_of(model.machine(), n_chains, batch_size=14)
        for ours, offset in zip(trained.offsets, offsets, strict=True):
            ours[...] = offset
        return gradient(trained, X)  # the chains are the same for all data

    def mean_terms(X):
        return centred_terms(with_mean_field(model, X), offsets).mean(axis=0)

    X, other = rng.random((7, sizes[0])), rng.random((2, sizes[0]))
    assert_allclose(estimate(np.tile(X, (2, 1))), estimate(X), atol=1e-8)
    difference = estimate(X) - estimate(other)
    assert_allclose(difference, mean_terms(X) - mean_terms(other), atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n_rows", "n_chains"), [(20_000, 5_000), (5_000, 20_000)])
@pytest.mark.parametrize("sizes", FORMULA_SIZES)
def test_training_on_data_of_the_model_goes_nowhere(sizes, n_rows, n_chains, seed):
    model = formula_model(sizes)
    states, p = model.distribution.states, model.distribution.probability
    rng = np.random.default_rng(seed)
    trained = trainer_of(model.machine(), n_chains, seed, batch_size=20_000)
    drawn = rng.choice(len(p), n_chains, p=p)
    for chain, state in zip(trained.chains, states, strict=True):
        chain[...] = state[drawn]
    X = states[0][rng.choice(len(p), n_rows, p=p)]

    data = centred_terms(with_mean_field(model, states[0]), trained.offsets)
    data_mean, data_error = expectation(data, p, n_rows)
    chains = centred_terms(states, trained.offsets)
    chain_mean, chain_error = expectation(chains, p, n_chains)
    expected = data_mean - chain_mean  # not zero: mean field is no exact posterior
    if len(sizes) == 2:
        assert_allclose(expected, 0, atol=1e-12)  # but for one hidden layer it is
    error = np.abs(gradient(trained, X) - expected)
    assert np.all(error < data_error + chain_error)


# ---------------------------------------------------------------------------
# The update rule
# ---------------------------------------------------------------------------


def pushed_trainer(**options):
    """Train visible biases with the constant gradient -1, the weights with 0.

    The chains stay at ones and the data are zeros; the hidden units are certain.
    """
    rng = np.random.default_rng(0)
    signs = [np.ones(5), np.array([1, -1, 1]), np.array([-1, 1])]
    return trainer_of(saturated_machine((5, 3, 2), signs, rng), **options)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_tends_to_its_terminal_speed(momentum):
    trained = pushed_trainer(momentum=momentum)
    moved = []
    for learning_rate in [0.01] * 200 + [0.001, 0.0]:
        before = trained.machine.biases[0].copy()
        step(trained, np.zeros((4, 5)), learning_rate)
        moved.append(trained.machine.biases[0] - before)
    assert_allclose(moved[0], -0.01, rtol=1e-9)
    assert_allclose(moved[199], -0.01 / (1 - momentum), rtol=1e-6)
    assert_allclose(moved[200], -0.001 / (1 - momentum), rtol=1e-6)  # at once
    assert_array_equal(moved[201], 0)


def test_the_learning_rate_falls():
    rates = [optimizers.falling_rate(0.2, n, 1000) for n in range(1000)]
    assert_allclose(np.take(rates, (0, 250, 500)), [0.2, 0.15, 0.1])
    assert np.all(np.diff(rates) <= 0)
    assert 0 < rates[-1] <= 0.02 * 0.2


@pytest.mark.parametrize("pretraining", [None, "greedy", "grow"])
def test_learning_rates_of_a_fit(pretraining):
    X = np.eye(10)  # one batch an epoch: the record has the rate of every update
    params = EXPLICIT | {"max_iter": 20, "random_state": 0}
    if pretraining is not None:
        pretraining = Pretraining(pretraining, max_iter=7)
    estimator = DBMTransformer(
        hidden_layer_sizes=(4, 3), pretraining=pretraining, **params
    ).fit(X)
    rates = estimator.history_["learning_rate"]
    assert_allclose(rates, 0.1 * (1 - np.arange(20) / 20))


def weighted_mean(values):
    """Average with weights t (t + 1) ... (t + k - 1) for the values t = 1, 2, ..."""
    t = np.arange(1, len(values) + 1, dtype=float)[:, None]
    weights = np.prod(t + np.arange(optimizers.AVERAGE_EXPONENT), axis=1)
    return np.average(values, axis=0, weights=weights)


@pytest.mark.parametrize("n_values", [1, 2, 7, 100])
def test_polynomial_average(n_values):
    values = np.random.default_rng(0).normal(size=(n_values, 3))
    average, scratch = np.full(3, 1e6), np.empty(3)
    for n, value in enumerate(values, start=1):
        optimizers.average_step(average, value, optimizers.average_rate(n), scratch)
    assert_allclose(average, weighted_mean(values), rtol=1e-9)


@pytest.mark.parametrize("n_steps", [1, 2, 43])
def test_snapshot_is_the_average_of_the_machines(n_steps):
    trained = trainer_of(formula_model((4, 3, 2)).machine(), momentum=0.5)
    X = np.random.default_rng(0).random((7, 4))
    assert_array_equal(flat(trained.snapshot()), flat(trained.machine))
    path = []
    for _ in range(n_steps):
        step(trained, X, 0.3)
        path.append(flat(trained.machine))
    expected = weighted_mean(path)
    assert_allclose(flat(trained.snapshot()), expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_average_of_a_constant_is_the_constant(dtype):
    machine = formula_model((4, 3, 2)).machine(dtype)
    trained = trainer_of(machine, momentum=0.9)
    for _ in range(50):
        step(trained, np.eye(4, dtype=dtype), 0.0)
    assert_array_equal(flat(trained.snapshot()), flat(machine))


def test_snapshot_is_a_copy():
    trained = trainer_of(formula_model((4, 3)).machine())
    before = [trained.snapshot()]
    step(trained, np.eye(4), 0.1)
    before.append(trained.snapshot())
    kept = [flat(machine) for machine in before]
    step(trained, np.eye(4), 0.1)
    for _ in range(5):
        step(trained, np.eye(4), 0.1)
    for machine, expected in zip(before, kept, strict=True):
        assert_array_equal(flat(machine), expected)
    assert_array_equal(flat(formula_model((4, 3)).machine()), kept[0])


# ---------------------------------------------------------------------------
# What survives from batch to batch
# ---------------------------------------------------------------------------


def test_training_goes_on_after_pickling():
    X = np.random.default_rng(0).random((300, 4), dtype=np.float32)
    machine = formula_model((4, 3, 2)).machine(np.float32)
    batches = [np.arange(130), np.arange(130, 300), np.arange(9), np.arange(50, 200)]

    def train(trained, batches):
        for indices in batches:
            step(trained, X[indices], 0.1)
        return trained

    options = {"momentum": 0.9, "alpha": 0.01, "n_gibbs_steps": 2, "batch_size": 170}
    original = train(trainer_of(machine, 200, **options), batches)
    restored = pickle.loads(pickle.dumps(original))
    for one in (original, restored):
        train(one, batches * 2)
    assert original.n_steps == restored.n_steps == 3 * len(batches)
    for name in ("machine", "average", "velocity"):
        assert_array_equal(flat(getattr(original, name)), flat(getattr(restored, name)))
    for name in ("chains", "offsets"):
        for a, b in zip(getattr(original, name), getattr(restored, name), strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["weights", "biases"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 101.0, -101.0])
def test_divergence_is_an_error_with_advice(value, kind):
    trained = trainer_of(formula_model((4, 3, 2)).machine())
    for weight in trained.machine.weights:
        weight[...] = 0
    parameter = getattr(trained.machine, kind)[1]
    parameter.flat[0] = 99.0
    record.check(trained)
    parameter.flat[0] = value
    with pytest.raises(FloatingPointError, match=r"diverged.*learning_rate_init"):
        record.check(trained)


def test_a_bias_against_many_weights_has_not_diverged():
    """A long training on images ends with such biases; no weight is above 5."""
    weights, biases = [np.full((300, 2), 0.5)], [np.zeros(300), np.array([0.0, -149])]
    record.check(trainer_of(DeepBoltzmannMachine(weights, biases)))
    biases[1][1] = -251
    with pytest.raises(FloatingPointError, match="beyond the weights, is 101"):
        record.check(trainer_of(DeepBoltzmannMachine(weights, biases)))


def test_layers_that_pull_each_other_along_have_diverged():
    """Each weight looks harmless, but together they decide all units."""
    weights = [np.full((4, 300), 5.0), np.full((300, 300), 0.5)]
    biases = [np.zeros(4), np.full(300, -10.0), np.full(300, -75.0)]
    trained = trainer_of(DeepBoltzmannMachine(weights, biases))
    record.check(trained)  # all layers are about half on, or off
    trained.offsets[2][...] = 1
    with pytest.raises(FloatingPointError, match="fields of a hidden layer"):
        record.check(trained)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("pretraining", [None, "greedy", "grow"])
@pytest.mark.parametrize("learning_rate_init", [1e3, 1e30])
def test_divergence_in_a_fit(learning_rate_init, pretraining, n_jobs, monkeypatch):
    monkeypatch.setattr(epochs, "THREADED_WORK", 0)
    X = np.random.default_rng(0).integers(0, 2, (100, 10)).astype(float)
    params = EXPLICIT | {
        "learning_rate_init": learning_rate_init,
        "pretraining": pretraining,
        "random_state": 0,
        "n_jobs": n_jobs,
    }
    estimator = DBMTransformer(hidden_layer_sizes=(6, 4), max_iter=50, **params)
    with pytest.raises(FloatingPointError, match=r"diverged.*learning_rate_init"):
        estimator.fit(X)
    assert not hasattr(estimator, "machine_")


class Script:
    """Scores given in advance; the machine is the number of the epoch."""

    def __init__(self, scores, **parameters):
        self.given = iter(scores)
        self.evaluated = []
        self.stopping = EarlyStopping(self, **parameters)

    def begin(self):
        """Forget all, as rows that are held out do."""

    def run(self, n_epochs):
        """Play the epochs until training stops; the records."""
        records = []
        for epoch in range(1, n_epochs + 1):
            records.append({"epoch": epoch})
            if self.judge(records[-1], epoch):
                break
        return records

    def judge(self, record, epoch, *, last=False):
        """Play one epoch."""
        self.epoch = epoch
        return self.stopping.judge(record, self, n_jobs=1, last=last)

    def snapshot(self):
        """Stand for a machine in training."""
        self.evaluated.append(self.epoch)
        return self.epoch

    def scores(self, machine, n_jobs):
        """Score the held-out rows and training rows."""
        score = next(self.given)
        return score, score + machine


def test_early_stopping_waits_for_its_patience():
    script = Script([-5, -3, -4, -3.5, -9], every=1, patience=3, tol=0.01)
    records = script.run(9)
    assert len(records) == 5  # the best was the second, then three without progress
    assert [record["validation_score"] for record in records] == [-5, -3, -4, -3.5, -9]
    assert script.stopping.stopped
    assert script.stopping.best_epoch == script.stopping.best_machine == 2
    assert script.stopping.best_score == -3


def test_early_stopping_starts_to_wait_anew_with_each_improvement():
    script = Script([-9, -9, -8, -8, -7, -7, -7], every=1, patience=2, tol=0.1)
    assert len(script.run(20)) == 7
    assert script.stopping.best_machine == 5


def test_early_stopping_ignores_improvements_within_tol():
    script = Script([-5, -4.95, -4.9, -4.86], every=1, patience=3, tol=0.2)
    assert len(script.run(9)) == 4
    assert script.stopping.best_machine == 1


def test_early_stopping_evaluates_now_and_then():
    script = Script([-5, -4, -4.5, -4.2], every=4, patience=6, tol=0.0)
    records = script.run(50)
    assert len(records) == 16  # the best was the eighth, and only evaluations stop
    assert script.evaluated == [4, 8, 12, 16]
    scores = [record["validation_score"] for record in records]
    expected = np.full(16, np.nan)
    expected[3::4] = -5, -4, -4.5, -4.2
    assert_array_equal(scores, expected)
    expected[3::4] = 4, 8, 12, 16
    overfitting = [record["overfitting"] for record in records]
    assert_allclose(overfitting, expected, rtol=1e-12)


def test_early_stopping_with_less_patience_than_evaluations():
    script = Script([-5, -4, -4.5], every=5, patience=1, tol=0.0)
    assert len(script.run(50)) == 15
    assert script.stopping.best_machine == 10


def test_early_stopping_evaluates_the_last_epoch():
    script = Script([-5, -4, -3], every=4, patience=9, tol=0.0)
    script.run(10)
    record = {}
    script.judge(record, 12, last=True)
    assert record == {"validation_score": -3, "overfitting": 12}
    assert script.stopping.best_machine == 12
    assert script.stopping.best_epoch == 11


def test_early_stopping_lets_a_rising_score_rise():
    script = Script(range(100), every=1, patience=1, tol=0.5)
    assert len(script.run(30)) == 30
    assert not script.stopping.stopped
    assert script.stopping.best_machine == 30


# ---------------------------------------------------------------------------
# The record of an epoch
# ---------------------------------------------------------------------------


def epoch_of(trained, X, learning_rate=0.0, **options):
    """The record of an epoch."""
    rows = EncodedRows(trained.machine.encoding, X, trained.machine.dtype)
    options = replace(trained.options, **options)
    one = Epoch(trained, rows, Order(rows), options)
    return one.train(lambda _: learning_rate, TEAM)


@pytest.mark.parametrize("n_batches", [1, 2, 9, 23])
def test_autocorrelation_of_the_chains(n_batches, monkeypatch):
    X = np.random.default_rng(0).integers(0, 2, (n_batches, 4)).astype(float)
    trained = trainer_of(formula_model((4, 3, 2)).machine(), n_chains=30)
    states, original = [], update.update

    def noted(state, *args):
        result = original(state, *args)
        states.append(state.chains[0] - state.chains[0].mean(axis=0))
        return result

    monkeypatch.setattr(epochs, "update", noted)
    record = epoch_of(trained, X, 0.01, batch_size=1)
    pairs = pairwise(states[:: int(np.ceil(n_batches / 10))])
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
    found = record["chain_autocorrelation"]
    if n_batches == 1:
        assert np.isnan(found)
    else:
        assert_allclose(found, np.mean(expected), rtol=1e-10)


@pytest.mark.parametrize("n_gibbs_steps", [1, 3])
@pytest.mark.parametrize("coupling", [0, 4, 8, 60])
def test_autocorrelation_of_pairs_of_units(coupling, n_gibbs_steps):
    half = np.full(4, -coupling / 2)
    machine = DeepBoltzmannMachine([coupling * np.eye(4)], [half, half])
    trained = trainer_of(machine, n_chains=1000, n_gibbs_steps=n_gibbs_steps)
    for chain in trained.chains:  # from where they have their stationary distribution
        chain[:] = np.arange(1000)[:, None] % 2
    record = epoch_of(trained, np.eye(4)[[0] * 10], batch_size=1)
    # The mean of one unit given the other is (1 + tanh(c/4) s) / 2 with s = 1 or -1.
    expected = np.tanh(coupling / 4) ** (2 * n_gibbs_steps)
    assert_allclose(record["chain_autocorrelation"], expected, atol=0.03)


def test_autocorrelation_of_chains_that_are_all_alike_is_nan():
    machine = DeepBoltzmannMachine([np.zeros((4, 2))], [np.full(4, 99.0), np.zeros(2)])
    record = epoch_of(trainer_of(machine), np.eye(4)[[0] * 3], batch_size=1)
    assert np.isnan(record["chain_autocorrelation"])


@pytest.mark.parametrize("unit", [Bernoulli(), Binomial(3)])
def test_dead_units_are_those_that_do_not_vary_over_the_rows(unit):
    """Wherever the mean lies: at 0.4 without weights a unit says nothing of a row."""
    odds = logit([0.0008, 0.4, 0.6, 0.9992, 0.4, 0.0008, 0.4, 0.01])
    weights = [np.zeros((4, 8)), np.zeros((8, 2))]
    weights[0][0, 4:] = 3, 5, 0.01, 9  # the first of these varies, the third hardly
    machine = DeepBoltzmannMachine(
        weights,
        [np.zeros(4), odds, np.array([0.0, 30.0])],
        [Bernoulli(), unit, Bernoulli()],
    )
    record = epoch_of(trainer_of(machine), np.eye(4))
    assert record["dead_units"] == (5 / 8, 1)


def test_unconverged_batches_are_those_that_were_cut_short():
    machine = formula_model((4, 3, 2)).machine()
    X = np.array(list(product([0.0, 1.0], repeat=4)))

    def unconverged(**options):
        return epoch_of(trainer_of(machine, **options), X, batch_size=1)["unconverged"]

    free = trainer_of(machine, mean_field_tol=1e-4)
    needed = np.array(
        [step(free, X[batch], 0.0)[0] for batch in np.arange(16)[:, None]]
    )
    assert 2 < needed.min() < needed.max() < 100
    for n_most in range(1, needed.max() + 1):
        found = unconverged(n_mean_field_steps=n_most, mean_field_tol=1e-4)
        assert_allclose(found, np.mean(needed > n_most), atol=1e-12)
    assert unconverged(n_mean_field_steps=100, mean_field_tol=0) == 1
    exact = trainer_of(formula_model((4, 3)).machine(), n_mean_field_steps=1)
    assert epoch_of(exact, X, batch_size=1)["unconverged"] == 0


# ---------------------------------------------------------------------------
# Rows of the data
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("out_dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "container", [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csr_array]
)
def test_rows_come_out_of_any_container(container, dtype, out_dtype):
    rng = np.random.default_rng(0)
    X = (rng.random((30, 7)) * rng.integers(0, 2, (30, 7))).astype(np.float32)
    rows = EncodedRows(Probabilities(), container(X.astype(dtype)), out_dtype)
    indices = rng.permutation(30)[:11]
    out = rows.read(indices)
    assert out.dtype == out_dtype
    assert_array_equal(out, X[indices])
    assert len(rows) == 30


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_drawn_rows_have_the_grey_values_as_means(container, seed):
    grey = np.array([[0.0, 0.1, 0.5, 0.9, 1.0], [1.0, 1 / 3, 0.0, 0.01, 0.7]])
    X, n_draws = container(grey), 20_000
    rows = EncodedRows(Probabilities(), X, np.float64, generator(seed))
    out = rows.read(np.arange(2 * n_draws) % 2)
    assert set(np.unique(out)) == {0.0, 1.0}
    draws = out.reshape(n_draws, 2, 5)
    error = largest_error(np.sqrt(grey * (1 - grey)), n_draws)
    assert np.all(np.abs(draws.mean(axis=0) - grey) < error)
    certain = (grey == 0) | (grey == 1)
    assert np.all(draws[:, certain] == grey[certain])
    again = rows.read(np.arange(2 * n_draws) % 2)
    assert not np.array_equal(out, again)  # drawn anew at each presentation
    as_they_are = EncodedRows(
        Probabilities(redraw=False), X, np.float64, generator(seed)
    )
    assert_array_equal(as_they_are.read([1, 0]), grey[::-1])


# ---------------------------------------------------------------------------
# Greedy pretraining
# ---------------------------------------------------------------------------

ONE, TWO = Bernoulli(), Binomial(2)


def rows_of(X):
    """Rows whose states are the values."""
    return EncodedRows(States(Bernoulli()), X, np.float64)


@pytest.mark.parametrize(
    ("sizes", "units"),
    [
        ((4, 3), [(ONE, ONE)]),
        ((4, 3, 2), [(TWO, ONE), (ONE, TWO)]),
        ((4, 3, 2, 2), [(TWO, ONE), (TWO, TWO), (ONE, TWO)]),
    ],
)
def test_pretraining_doubles_layers_that_lack_a_neighbour(sizes, units):
    start = formula_model(sizes).machine()
    shift = np.random.default_rng(0).normal(size=(len(units), 3))
    pairs = []

    greedy = Greedy(start, rows_of(np.eye(4)), generator(0))
    for number in range(greedy.n_stages):
        pair = greedy.begin().machine
        assert pair.layer_sizes == sizes[number : number + 2]
        assert_array_equal(pair.weights[0], start.weights[number])
        pairs.append(pair.units)
        moves = iter(shift[number])
        greedy.end(pair.map(lambda array, moves=moves: array + next(moves)), [])
    result, chains = greedy.result()
    assert chains is None
    assert pairs == units
    assert result.units == start.units
    for layer, weight in enumerate(result.weights):
        assert_allclose(weight, start.weights[layer] + shift[layer, 0])
    top = len(sizes) - 1
    for layer, bias in enumerate(result.biases):
        learned = []
        if layer < top:
            learned.append(start.biases[layer] + shift[layer, 1])
        if layer > 0:
            learned.append(start.biases[layer] + shift[layer - 1, 2])
        assert_allclose(bias, np.mean(learned, axis=0))


def carried_means(model, visible):
    """Means of every layer given a visible state, each doubled but the top.

    A layer is drawn from the one below, counted twice unless there is nothing above.
    """
    top = len(model.sizes) - 1
    states, probability = visible[None], np.ones(1)
    means = [visible]
    for layer in range(1, top):
        field = 2 * states @ model.weights[layer - 1] + model.biases[layer]
        drawn = joint_states([1] * model.sizes[layer])
        on = expit(field)[:, None, :]
        given = np.prod(np.where(drawn == 1, on, 1 - on), axis=2)
        states, probability = drawn, probability @ given
        means.append(probability @ states)
    return [mean * (1 + (layer + 1 < top)) for layer, mean in enumerate(means)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", FORMULA_SIZES)
def test_pretraining_carries_samples_up(sizes, seed):
    model = formula_model(sizes)
    visible = np.array([1.0, 0.0, 0.0, 1.0])
    n_draws, drawn = 20_000, []
    start = formula_model(sizes).machine().map(np.zeros_like)
    source = rows_of(np.array([visible, 1 - visible, visible]))
    greedy = Greedy(start, source, generator(seed))
    for number in range(greedy.n_stages):
        stage = greedy.begin()
        assert len(stage.source) == 3
        drawn.append(stage.source.read(np.zeros(n_draws, int), None))
        trained = DeepBoltzmannMachine(  # what training found, other than the start
            [model.weights[number]],
            model.biases[number : number + 2],
            stage.machine.units,
        )
        greedy.end(trained, [])
    for layer, (out, mean) in enumerate(
        zip(drawn, carried_means(model, visible), strict=True)
    ):
        largest = 1 + (layer + 2 < len(sizes))
        assert set(np.unique(out)) <= {0, largest}
        std = np.sqrt(mean * (largest - mean))
        error = largest_error(std, n_draws, largest) if layer else 1e-12
        assert np.all(np.abs(out.mean(axis=0) - mean) < error)


# ---------------------------------------------------------------------------
# Growing
# ---------------------------------------------------------------------------


def with_top_weights(machine, value):
    """Set all weights that lead to the top layer to a value."""
    top = np.full_like(machine.weights[-1], value)
    return DeepBoltzmannMachine(
        [*machine.weights[:-1], top], machine.biases, machine.units
    )


@pytest.mark.parametrize("sizes", [(4, 3, 2), (4, 3, 2, 2)])
def test_growing_trains_the_lowest_layers_with_one_more_each_time(sizes):
    start = formula_model(sizes).machine()
    growth, trained, chains = Growth(start, rows_of(np.eye(4)), None), None, None
    n_hidden = len(sizes) - 1
    assert growth.n_stages == n_hidden - 1
    for n_weights in range(1, n_hidden):
        stage = growth.begin()
        part = stage.machine
        assert part.layer_sizes == sizes[: n_weights + 1]
        assert part.units == start.units[: n_weights + 1]
        assert_array_equal(part.weights[-1], start.weights[n_weights - 1])
        assert_array_equal(part.biases[-1], start.biases[n_weights])
        assert stage.chains is chains
        assert not stage.falling
        if trained is not None:
            for now, then in zip(
                [*part.weights[:-1], *part.biases[:-1]],
                [*trained.weights, *trained.biases],
                strict=True,
            ):
                assert_array_equal(now, then)
        trained = DeepBoltzmannMachine(
            [weight + 1 for weight in part.weights],
            [bias - 1 for bias in part.biases],
            part.units,
        )
        chains = [np.full((5, size), n_weights) for size in part.layer_sizes]
        growth.end(trained, chains)
    grown, chains = growth.result()
    for layer, (weight, initial) in enumerate(
        zip(grown.weights, start.weights, strict=True)
    ):
        assert_array_equal(weight, initial + (n_hidden - 1 - layer))
    assert_array_equal(grown.biases[-1], start.biases[-1])
    assert [chain.shape[1] for chain in chains] == list(sizes[:-1])


@pytest.mark.parametrize("sizes", [(4, 3, 2), (4, 3, 2, 2)])
def test_a_grown_machine_starts_at_what_the_smaller_one_knows(sizes):
    """While the new weights are zero, the distribution of the rows is the same."""
    start = with_top_weights(formula_model(sizes).machine(), 0)
    smaller = formula_model(sizes[:-1]).machine()
    trained = DeepBoltzmannMachine(
        [1.5 * weight for weight in smaller.weights], smaller.biases
    )
    growth = Growth(start, rows_of(np.eye(4)), None)
    for _ in range(growth.n_stages):
        growth.end(trained_part(growth.begin().machine, trained), [])
    grown, _ = growth.result()
    rows = np.array(list(product([0.0, 1.0], repeat=4)))
    assert_allclose(
        exact_log_likelihood(grown, rows), exact_log_likelihood(trained, rows)
    )


def trained_part(part, trained):
    """Take the layers of a part from a trained machine."""
    n = part.n_layers
    return DeepBoltzmannMachine(trained.weights[: n - 1], trained.biases[:n])


def test_chains_go_on_in_the_layers_that_were_there():
    machine = formula_model((4, 3, 2)).machine()
    known = [np.full((6, 4), 1.0), np.full((6, 3), 0.5)]
    trainers = [trainer_of(machine, 6, chains=chains) for chains in (None, known)]
    for chain, other in zip(trainers[1].chains, known, strict=False):
        assert_array_equal(chain, other)
        assert chain is not other
    assert_array_equal(trainers[0].chains[2], trainers[1].chains[2])


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian", "categorical", "counts"])
def test_every_kind_of_columns_grows(visible):
    """The part that is trained first passes on what it learned about the columns."""
    X = np.random.default_rng(0).poisson(1.0, (60, 5)).astype(np.float64)
    X = np.minimum(X, 1) if visible == "bernoulli" else X

    def fit(n_layers, rate=0.01):
        params = EXPLICIT | {"learning_rate_init": rate, "random_state": 0}
        return DBMTransformer(
            hidden_layer_sizes=(4, 3, 2)[:n_layers],
            visible=visible,
            pretraining=Pretraining("grow", max_iter=5),
            max_iter=1,
            **params,
        ).fit(X)

    grown = fit(3).machine_
    assert grown.layer_sizes[1:] == (4, 3, 2)
    if visible == "gaussian":  # their covariance is learned in pretraining, too
        start, once = (fit(1, rate).machine_.encoding.learned for rate in (1e-9, 0.01))
        moved = np.abs(grown.encoding.learned - start).max()
        assert moved > 2 * np.abs(once - start).max() > 0


# ---------------------------------------------------------------------------
# Threads
# ---------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch):
    """Use threads for small work too; how many threads ran how many tasks."""
    seen, original = set(), ops.Workers.map

    def noted(team, function, *pieces):
        results = original(team, function, *pieces)
        seen.add((team.n_threads, len(results)))
        return results

    monkeypatch.setattr(ops.Workers, "map", noted)
    monkeypatch.setattr(epochs, "THREADED_WORK", 0)
    monkeypatch.setattr(update, "SLICE_SIZE", 500)
    return seen


@pytest.mark.parametrize("pretraining", [None, "greedy", "grow"])
@pytest.mark.parametrize("hidden", [(40,), (40, 30), (40, 30, 20)])
def test_one_seed_gives_one_model_for_any_number_of_threads(hidden, pretraining, runs):
    X = load_digits().data[:700] / 16

    def fit(n_jobs):
        params = EXPLICIT | {
            "batch_size": 300,
            "n_chains": 280,
            "pretraining": pretraining and Pretraining(pretraining, max_iter=2),
            "max_iter": 4,
            "n_posterior_gibbs_steps": 2,
            "random_state": 0,
            "n_jobs": n_jobs,
        }
        return DBMTransformer(hidden_layer_sizes=hidden, **params).fit(X)

    one = fit(1)
    assert {n_threads for n_threads, _ in runs} == {1}
    two, three = fit(2), fit(3)
    assert {n for n, n_tasks in runs if n_tasks > 5} == {1, 2, 3}
    for other in (two, three):
        assert_array_equal(flat(one.machine_), flat(other.machine_))
        for a, b in zip(one._state.chains, other._state.chains, strict=True):
            assert_array_equal(a, b)
        error = "reconstruction_error"
        assert one.history_[error] == other.history_[error]


# ---------------------------------------------------------------------------
# What is learned
# ---------------------------------------------------------------------------


def bars_and_stripes():
    """List the 14 images of 3 x 3 pixels made of rows or of columns alone."""
    lines = [np.repeat(line, 3) for line in product([0.0, 1.0], repeat=3)]
    stripes = [line.reshape(3, 3).T.ravel() for line in lines]
    return np.unique([*lines, *stripes], axis=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_bars_and_stripes_are_learned(seed):
    X = bars_and_stripes()
    assert X.shape == (14, 9)
    params = EXPLICIT | {
        "batch_size": 50,
        "learning_rate_init": 0.1,
        "n_chains": 100,
        "n_gibbs_steps": 2,
    }
    estimator = DBMTransformer(
        hidden_layer_sizes=(16, 8),
        max_iter=100,
        pretraining=Pretraining("greedy", max_iter=20),
        random_state=seed,
        **params,
    ).fit(np.tile(X, (50, 1)))
    gap = np.log(14) + exact_log_likelihood(estimator.machine_, X).mean()
    assert -0.2 < gap < 0  # 0 is the entropy of the data


def strokes():
    """Digits as black strokes: binary, most pixels mostly off."""
    X = load_digits().data
    return (X[np.random.default_rng(0).permutation(len(X))[:400]] > 12).astype(float)


def learned_log_likelihood(X, hidden, seed):
    """Train from small random weights; the exact log-likelihood of the rows."""
    rng = np.random.default_rng(seed)
    sizes = (X.shape[1], *hidden)
    start = DeepBoltzmannMachine(
        [rng.normal(0, 0.1, shape) for shape in pairwise(sizes)],
        [logit((X.sum(axis=0) + 0.5) / (len(X) + 1)), *map(np.zeros, hidden)],
    )
    params = EXPLICIT | {"batch_size": 25, "learning_rate_init": 0.05, "alpha": 0.0}
    estimator = DBMTransformer.from_machine(
        start,
        warm_start=True,
        max_iter=20,
        visible=Probabilities(redraw=False),
        random_state=seed,
        **params,
    ).fit(X)
    return exact_log_likelihood(estimator.machine_, X).mean()


@pytest.mark.parametrize("hidden", [(8,), pytest.param((8, 4), marks=pytest.mark.slow)])
def test_training_does_not_care_which_state_is_called_one(hidden):
    X, n_seeds = strokes(), 5
    scores, flipped = (
        np.array([learned_log_likelihood(data, hidden, s) for s in range(n_seeds)])
        for data in (X, 1 - X)
    )
    spread = np.sqrt((scores.var(ddof=1) + flipped.var(ddof=1)) / 2)
    # Five standard errors; the same seeds go the same ways, so it is less. Without
    # the centring of the gradient the difference is 2 nats.
    bound = 5 * spread * np.sqrt(2 / n_seeds)
    assert bound < 1
    assert abs(scores.mean() - flipped.mean()) < bound
    means = X.mean(axis=0).clip(1e-3, 1 - 1e-3)
    independent = np.mean(X @ np.log(means) + (1 - X) @ np.log1p(-means))
    assert min(scores.min(), flipped.min()) > independent + 1.5


@pytest.fixture(scope="module")
def digits():
    """Training and held-out digits, as grey values from 0 to 1."""
    X = load_digits().data / 16
    X = X[np.random.default_rng(0).permutation(len(X))]
    return X[:1200], X[1200:]


ON_DIGITS = Likelihood(n_chains=50, mean_field_tol=1e-3, mean_field_max_iter=2000)


def fit_digits(X, **params):
    """Fit a machine that is quick to train on digits."""
    explicit = EXPLICIT | {
        "hidden_layer_sizes": (64, 32),
        "n_mean_field_steps": 5,
        "likelihood": ON_DIGITS,
    }
    return DBMTransformer(**(explicit | params)).fit(X)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "pretraining",
    [
        pytest.param(None, marks=pytest.mark.slow),
        pytest.param("greedy", marks=pytest.mark.slow),
        "grow",
    ],
)
def test_held_out_digits_become_likelier(digits, pretraining, seed):
    train, held_out = digits
    means = (train.sum(axis=0) + 0.5) / (len(train) + 1)
    independent = np.mean(held_out @ np.log(means) + (1 - held_out) @ np.log1p(-means))
    early, late = (
        fit_digits(
            train,
            max_iter=n,
            pretraining=pretraining and Pretraining(pretraining, max_iter=5),
            random_state=seed,
        ).score(held_out)
        for n in (1, 10)
    )
    assert early + 0.3 < late
    assert independent + 1.5 < late


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.slow), 3])
def trained_on_digits(digits, request):
    """Fit the digits once; couplings above multiplied, so that mean field is slow."""
    trained = fit_digits(
        digits[0],
        max_iter=10,
        pretraining=Pretraining("greedy", max_iter=5),
        random_state=0,
    )
    machine = trained.machine_.astype(np.float64)
    above = [request.param * weight for weight in machine.weights[1:]]
    machine = DeepBoltzmannMachine(
        [machine.weights[0], *above], machine.biases, machine.units
    )
    return DBMTransformer.from_machine(
        machine,
        likelihood=Likelihood(n_chains=50, mean_field_max_iter=5000),
        feature_layers="all",
        random_state=0,
    )


@pytest.mark.filterwarnings("ignore:Annealing")  # log Z may be wrong, but for all alike
@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_transformed_and_scored_each_by_itself(
    digits, trained_on_digits, seed
):
    X = digits[0]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    subset = rng.choice(len(X), 37, replace=False)
    assert len(X) > 2 * ops.INFERENCE_ROWS
    for method in (trained_on_digits.transform, trained_on_digits.score_samples):
        whole = method(X)
        assert whole.dtype == np.float64
        assert_allclose(method(X[order]), whole[order], rtol=0, atol=1e-7)
        assert_allclose(method(X[subset]), whole[subset], rtol=0, atol=1e-7)
        for row in subset[:5]:
            assert_allclose(method(X[[row]]), whole[[row]], rtol=0, atol=1e-7)


# ---------------------------------------------------------------------------
# What is easily wrong, against numbers worked out by hand
# ---------------------------------------------------------------------------


def certain(states):
    """Biases that make units all but certain to be in these states."""
    return 60.0 * (2 * np.array(states, dtype=float) - 1)


@pytest.mark.parametrize("sizes", [(2, 1), (2, 1, 1)])
def test_energy_gap_is_positive_where_the_data_have_higher_energy(sizes):
    """Everything is certain, and the chains are where it is likely: in ones."""
    weights = [np.full(shape, 0.5) for shape in pairwise(sizes)]
    machine = DeepBoltzmannMachine(weights, [certain(np.ones(n)) for n in sizes])
    X = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    chains = [np.ones((4, n)) for n in sizes]
    trained = trainer_of(machine, n_chains=4, chains=chains)
    found = epoch_of(trained, X)["energy_gap"]
    # A visible unit that is off lacks 60 from its bias and 0.5 from its coupling; of
    # the rows one has one of them, one has two, and one has none.
    assert_allclose(found, (60.5 + 2 * 60.5 + 0) / 3, rtol=1e-6)
    alike = epoch_of(trained, np.ones((3, 2)))["energy_gap"]
    assert_allclose(alike, 0, atol=1e-6)


def test_energy_gap_is_negative_where_the_data_have_lower_energy():
    """Data of zeros, where units are on once in a while in the chains."""
    machine = DeepBoltzmannMachine([np.zeros((2, 1))], [np.full(2, -3.0), np.zeros(1)])
    trained = trainer_of(machine, n_chains=4000, seed=1)
    found = epoch_of(trained, np.zeros((3, 2)))["energy_gap"]
    mean = 3 * expit(-3.0)  # what one unit adds to the energy in the chains
    bound = largest_error(3 * np.sqrt(expit(-3.0) * expit(3.0)), 4000, 3.0)
    assert abs(found + 2 * mean) < 2 * bound < mean


def test_reconstruction_error_is_the_mean_squared_difference():
    """Hidden units are certain, so the means of visible units are those of biases."""
    means = np.array([0.2, 0.5, 0.9])
    machine = DeepBoltzmannMachine(
        [np.zeros((3, 2))], [logit(means), certain([1.0, 0.0])]
    )
    X = np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    record = epoch_of(trainer_of(machine), X)
    expected = (0.2**2 + 0.5**2 + 0.1**2 + 0.8**2 + 0.5**2 + 0.9**2) / 6
    assert_allclose(record["reconstruction_error"], expected, rtol=1e-9)


def test_reconstruction_error_of_counts_knows_the_totals_of_the_rows():
    machine = DeepBoltzmannMachine(
        [np.zeros((3, 2))],
        [np.log([0.5, 0.25, 0.25]), certain([1.0, 0.0])],
        [ReplicatedSoftmax(3, typical_total=7), Bernoulli()],
    )
    X = np.array([[4.0, 0.0, 0.0], [0.0, 2.0, 6.0]])
    record = epoch_of(trainer_of(machine), X)
    means = np.array([[2.0, 1.0, 1.0], [4.0, 2.0, 2.0]])  # totals of 4 and of 8
    expected = np.mean((X - means) ** 2)
    assert_allclose(record["reconstruction_error"], expected, rtol=1e-6)


def test_a_restart_is_at_rest():
    """No velocity survives, and the average is that of what comes after."""
    machine = formula_model((4, 3, 2)).machine()
    trained = trainer_of(machine, momentum=0.9)
    for _ in range(5):
        step(trained, np.eye(4), 0.3)
    assert np.abs(flat(trained.velocity)).min() > 0
    trained.restart_from(machine)
    assert_array_equal(flat(trained.velocity), 0)
    assert_array_equal(flat(trained.snapshot()), flat(machine))
    step(trained, np.zeros((4, 4)), 0.3)
    first = flat(trained.machine) - flat(machine)
    assert_allclose(first, 0.3 * flat(trained.velocity), rtol=1e-6, atol=1e-12)
    assert_allclose(flat(trained.snapshot()), flat(trained.machine), rtol=1e-12)
    assert_array_equal(flat(formula_model((4, 3, 2)).machine()), flat(machine))


def real_machine(X, n_hidden=2):
    """A machine of real columns whose weights are zero, encoded as `fit` does it."""
    encoding = Real().fit(X)
    return DeepBoltzmannMachine(
        [np.zeros((X.shape[1], n_hidden))],
        [np.zeros(X.shape[1]), np.zeros(n_hidden)],
        [encoding.unit, Bernoulli()],
        encoding,
    )


def test_a_restart_forgets_how_fast_scales_moved(monkeypatch):
    X = np.random.default_rng(0).normal(size=(50, 3))
    trained = trainer_of(real_machine(X), momentum=0.9)
    monkeypatch.setattr(Real, "learned_gradient", lambda *arguments: np.ones(9))
    for _ in range(3):
        step(trained, X, 0.01)
    assert trained.learned.velocity.min() > 0
    earlier = real_machine(X)
    trained.restart_from(earlier)
    assert_array_equal(trained.learned.velocity, 0)
    assert_array_equal(trained.learned.values, earlier.encoding.learned)
    assert_array_equal(trained.learned.average, earlier.encoding.learned)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_learned_scales_have_momentum(momentum, monkeypatch):
    """With a constant gradient g they move by 0.1 rate g (1, 1 + m, 1 + m + m^2...)."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    trained = trainer_of(real_machine(X), momentum=momentum)
    constant = np.linspace(-1, 1, 9)
    monkeypatch.setattr(Real, "learned_gradient", lambda *arguments: constant)
    path = [trained.learned.values.copy()]
    for _ in range(4):
        step(trained, X, 0.01)
        path.append(trained.learned.values.copy())
    speeds = np.cumsum(momentum ** np.arange(4.0))
    expected = 0.1 * 0.01 * speeds[:, None] * constant
    assert_allclose(np.diff(path, axis=0), expected, rtol=1e-9)
    assert_allclose(trained.machine.encoding.learned, path[-1], rtol=1e-12)


@pytest.mark.parametrize("visible", ["binomial", "real"])
def test_rates_shrink_by_the_variance_at_both_ends(visible):
    """Of a weight by that of both its layers, of a bias by that of its own."""
    rng = np.random.default_rng(0)
    sizes = (4, 3, 2)
    units, encoding = [Binomial(2), Binomial(3), Binomial(5)], None
    shares = [1 / 2, 1 / 3, 1 / 5]
    X = rng.integers(3, size=(20, 4)).astype(float)
    if visible == "real":
        X = rng.normal(size=(20, 4))
        encoding = Real(np.zeros(4), np.ones(4), largest_moment=6.0)
        units[0], shares[0] = encoding.unit, 0.3 / 6
    weights = [rng.normal(0, 0.3, shape) for shape in pairwise(sizes)]
    biases = [rng.normal(0, 0.3, n) for n in sizes]
    machine = DeepBoltzmannMachine(weights, biases, units, encoding)
    trained = trainer_of(machine)
    step(trained, X, 1e-3)
    # After one step from rest the velocity is the gradient itself.
    of_weights = [shares[0] * shares[1], shares[1] * shares[2]]
    now, speed = trained.machine, trained.velocity
    moves = [
        *zip(of_weights, weights, now.weights, speed.weights, strict=True),
        *zip(shares, biases, now.biases, speed.biases, strict=True),
    ]
    assert len(moves) == 5
    for share, old, new, gradient in moves:
        assert np.abs(gradient).max() > 0.01
        assert_allclose(new - old, 1e-3 * share * gradient, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "learning_rate", "expected"),
    [
        (5_000, 50, 0.1, 40),  # 100 batches: 4,000 updates
        (4_400, 50, 0.1, 40),  # 88 batches: 3,520 updates, just enough
        (4_000, 50, 0.1, 44),  # 80 batches: 44 epochs make 3,520 updates
        (2_450, 50, 1.0, 41),  # 49 batches: a fast rate takes 2,000 at least
        (2_950, 50, 0.05, 119),  # a slow one takes 7,000
        (10_000, 50, 0.05, 40),
        (2_950, 50, 1e-9, 136),  # and never more than it takes to come to 8,000
        (500, 50, 0.1, 350),
        (150, 50, 0.1, 1_167),
        (100, 50, 0.1, 1_750),
        (50, 50, 0.1, 2_000),  # 1 batch: 3,500 epochs would be too many
        (1, 50, 0.1, 2_000),
        (150_000, 50, 0.1, 40),  # 3,000 batches: 120,000 updates, just not too many
        (150_001, 50, 0.1, 39),
        (600_000, 50, 0.1, 10),
        (650_000, 50, 0.1, 10),  # 13,000 batches: 9 epochs would be too few
        (60_000_000, 50, 0.1, 10),
        (150_001, 500, 0.1, 40),
    ],
)
def test_automatic_number_of_epochs(n_rows, batch_size, learning_rate, expected):
    assert start.n_epochs(n_rows, batch_size, learning_rate) == expected


def test_a_fit_takes_the_automatic_number_of_epochs():
    params = EXPLICIT | {"n_chains": 2, "n_mean_field_steps": 1}
    estimator = DBMTransformer(hidden_layer_sizes=1, random_state=0, **params)
    assert estimator.fit(np.eye(2)).n_iter_ == 2_000
    assert estimator.set_params(max_iter=7).fit(np.eye(2)).n_iter_ == 7


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize(
    "pretraining", ["grow", pytest.param(None, marks=pytest.mark.slow)]
)
def test_slow_chains_slow_a_training_down(clustered, pretraining, monkeypatch):
    """As if that pace had been given; chains of far clusters are as slow as can be."""
    monkeypatch.setattr(start, "n_epochs", lambda *_: 40)
    monkeypatch.setattr(start, "n_slow_epochs", lambda *_: 60)
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=(200, 1)) if clustered else 0.5
    X = (rng.random((200, 40)) < 0.02 + 0.96 * kind).astype(float)
    params = {"hidden_layer_sizes": (20, 10), "batch_size": 10, "random_state": 0}
    monitor = TrainingMonitor()
    model = DBMTransformer(pretraining=pretraining, **params).set_callbacks(monitor)
    model.fit(X)
    assert model.n_iter_ == (60 if clustered else 40)
    quick = 14 if pretraining else 0  # where it is found out, or after a quarter
    before = 20 if clustered and pretraining else quick
    in_vain = ((quick or 10) - 1) * clustered  # the epoch that tells has no record
    assert len(monitor.to_dicts()) == in_vain + before + model.n_iter_
    rate = 0.5 if clustered else 1.0
    rate *= Probabilities().learning_rate(X, 20)
    given = DBMTransformer(learning_rate_init=rate, pretraining=pretraining, **params)
    given.set_params(max_iter=model.n_iter_).fit(X)
    assert_array_equal(flat(given.machine_), flat(model.machine_))
    # What is given stays as it is.
    monitor = TrainingMonitor()
    given = clone(model).set_params(pretraining=Pretraining(max_iter=5))
    given.set_callbacks(monitor).fit(X)
    stages = [row["stage"] for row in monitor.to_dicts()][-5 - given.n_iter_ :]
    assert stages == ["pretraining layer 1"] * 5 + ["training"] * model.n_iter_
    model.set_params(max_iter=6).fit(X)
    assert model.n_iter_ == 6
    model.set_params(learning_rate_init=0.01).fit(X)
    assert 0.008 < model.history_["learning_rate"][0] < 0.01  # it falls


@pytest.mark.parametrize("n_epochs", [1, 4])
def test_no_epoch_is_in_vain_where_nothing_is_to_find_out(n_epochs, monkeypatch):
    """A training that goes on knows its chains, and after the last epoch it ends."""
    monkeypatch.setattr(mixing, "SLOW", -1.0)
    X, monitor = np.eye(40), TrainingMonitor()
    params = {"hidden_layer_sizes": 4, "max_iter": n_epochs, "random_state": 0}
    model = DBMTransformer(warm_start=True, **params).set_callbacks(monitor).fit(X)
    in_vain = n_epochs > 1
    assert [row["epoch"] for row in monitor.to_dicts()] == [
        1 + in_vain + epoch for epoch in range(n_epochs)
    ]
    model.fit(X)
    again = [row["epoch"] for row in monitor.to_dicts() if row["run"] == 1]
    assert again == [1 + epoch for epoch in range(n_epochs)]


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [
        (5_000, 180),  # 18,000 updates
        (2_000, 450),
        (1_000, 500),  # fewer, since rows would be learned by heart
        (20_000, 100),  # more, since there are rows to learn from
        (20, 2_000),  # as many as where chains are quick
        (60_001, 99),  # 1,201 batches: 120,000 updates
        (10**6, 10),
    ],
)
def test_number_of_epochs_of_slow_chains(n_rows, expected):
    assert start.n_slow_epochs(n_rows, 50, 0.1) == expected


def test_a_slower_attempt_is_a_fit_with_the_slower_rate(monkeypatch):
    """Grey values, which are drawn anew at each presentation, too."""
    X = np.random.default_rng(0).random((60, 8))
    params = EXPLICIT | {"hidden_layer_sizes": (6, 4), "max_iter": 5, "random_state": 0}
    rate, original = 0.04, Epoch.train
    monkeypatch.setattr(start, "n_epochs", lambda *_: 5)
    monkeypatch.setattr(Probabilities, "learning_rate", lambda *_: rate)

    def diverge_first(self, *arguments):
        found, n_matrices = original(self, *arguments), len(self.state.machine.weights)
        if found["learning_rate"] > rate / 2 and n_matrices == 2:
            raise record.DivergenceError("for the test")
        return found

    monkeypatch.setattr(Epoch, "train", diverge_first)
    slower = DBMTransformer(**(params | {"learning_rate_init": "auto"}))
    with pytest.warns(ConvergenceWarning, match="begins again with 0.01"):
        slower.fit(X)
    monkeypatch.setattr(Epoch, "train", original)
    plain = DBMTransformer(**(params | {"learning_rate_init": 0.01})).fit(X)
    assert_array_equal(flat(slower.machine_), flat(plain.machine_))
