"""Machines of every visible type against sums and integrals over all states."""

import importlib
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from skdbm import DBMSampler, ops, units
from skdbm.encodings import Categories, Counts, Mixed, Probabilities, Real
from skdbm.evidence import Evidence
from skdbm.inference import mean_field
from skdbm.likelihood import (
    annealed_log_partition,
    bound,
    exact,
    exact_log_likelihood,
    exact_log_partition,
    exact_samples,
    log_partition,
)
from skdbm.likelihood.exact import prefers_exact
from skdbm.machine import DeepBoltzmannMachine
from skdbm.ops import generator
from skdbm.sampling import gibbs_sweeps, initial_states
from skdbm.sampling.annealing import BASES, anneal, base_of, means_of
from skdbm.units import (
    Bernoulli,
    Gaussian,
    ReplicatedSoftmax,
)

from ._copies import independent_estimates
from ._reference import VISIBLE, TypedModel, block_terms, largest_error, typed_model
from ._trained import step, trainer_of

N_CHAINS, N_SWEEPS = 10_000, 40

#: The module; the package has a function of the same name.
LOG_PARTITION = importlib.import_module("skdbm.likelihood.log_partition")

SHALLOW = {kind: typed_model(kind, (3,)) for kind in VISIBLE}
MODELS = (
    SHALLOW
    | {f"{kind}, deep": typed_model(kind, (3, 2), 1) for kind in VISIBLE}
    | {
        "gaussian, three hidden layers": typed_model("gaussian", (3, 2, 2), 2),
        "mixed, hidden groups": typed_model("mixed", ("groups",), 3),
        "categorical, hidden groups above": typed_model(
            "categorical", (3, "groups"), 4
        ),
        "counts, hidden groups below": typed_model("counts", ("groups", 2), 5),
    }
)
DEEP = {name: model for name, model in MODELS.items() if len(model.biases) > 2}

each_seed = pytest.mark.parametrize("seed", range(3))


def over(models):
    """Run a test for each of these models."""
    return pytest.mark.parametrize("model", models.values(), ids=models.keys())


def rows_of(model, n_rows, seed=0):
    """Visible rows drawn from the model itself."""
    return model.sample(n_rows, np.random.default_rng(seed))[0]


# Exact answers


@over(MODELS)
def test_log_partition_is_the_sum_over_all_states(model):
    wanted = model.distribution.log_partition
    assert_allclose(exact_log_partition(model.machine()), wanted, rtol=1e-12)


@over(MODELS)
def test_log_likelihood_is_that_of_the_sum_over_hidden_states(model):
    X = rows_of(model, 12)
    wanted = model.log_likelihood(X)
    assert_allclose(exact_log_likelihood(model.machine(), X), wanted, atol=1e-11)


@over({name: m for name, m in MODELS.items() if not m.is_real.any()})
def test_probabilities_of_all_visible_rows_sum_to_one(model):
    tables = [block_terms(block)[0] for block in model.blocks[0]]
    X = np.array([np.concatenate(rows) for rows in itertools.product(*tables)])
    assert_allclose(np.exp(exact_log_likelihood(model.machine(), X)).sum(), 1)


@pytest.mark.parametrize("sizes", [(1, 3), (2, 3), (1, 3, 2)], ids=str)
def test_density_of_real_columns_integrates_to_one(sizes):
    rng, n_columns = np.random.default_rng(0), sizes[0]
    matrix = np.eye(n_columns) + rng.normal(0, 0.2, (n_columns, n_columns))
    encoding = Real(rng.normal(size=n_columns), matrix)
    machine = DeepBoltzmannMachine(
        [rng.normal(0, 0.7, shape) for shape in itertools.pairwise(sizes)],
        [rng.normal(0, 0.5, size) for size in sizes],
        [Gaussian(), *[Bernoulli()] * (len(sizes) - 1)],
        encoding,
    )
    step = 0.25  # a trapezoidal rule, exact to rounding for such smooth densities
    X = np.array(list(itertools.product(np.arange(-24, 24, step), repeat=n_columns)))
    if len(sizes) == 2:
        log_p = bound(machine, encoding.encode(X), exact_log_partition(machine))
    else:
        log_p = exact_log_likelihood(machine, encoding.encode(X))
    density = np.exp(log_p + encoding.log_jacobian(X))
    assert_allclose(density.sum() * step**n_columns, 1, rtol=1e-6)


@pytest.mark.parametrize("total", [0, 1, 2, 5])
@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_probabilities_of_counts_sum_to_one_for_every_total(hidden, total):
    machine = typed_model("counts", hidden).machine()
    X = block_terms(("group", 4, total))[0]
    assert_allclose(np.exp(exact_log_likelihood(machine, X)).sum(), 1)


def test_log_likelihood_of_rows_of_several_totals():
    model = SHALLOW["counts"]
    X, wanted = [], []
    for total in (3, 0, 1, 4, 3):
        other = TypedModel([[("group", 4, total)], [("count", 1)] * 3], None, 0)
        other.weights, other.biases = model.weights, model.biases
        rows = block_terms(("group", 4, total))[0][-3:]
        X.append(rows)
        wanted.append(other.log_likelihood(rows))
    result = exact_log_likelihood(model.machine(), np.concatenate(X))
    assert_allclose(result, np.concatenate(wanted), atol=1e-12)


@each_seed
@over(MODELS)
def test_exact_samples_have_the_moments_of_the_states(model, seed):
    machine = model.machine()
    if isinstance(machine.units[0], ReplicatedSoftmax):
        machine = machine.with_totals(3)
    states = exact_samples(machine, N_CHAINS, random_state=seed)
    assert model.worst_moment(states) < 1


def test_enumeration_next_to_a_thousand_bits_and_real_values():
    sizes = (2, 3, 1100)
    machine = DeepBoltzmannMachine(
        [np.zeros(shape) for shape in itertools.pairwise(sizes)],
        [np.zeros(size) for size in sizes],
        [Gaussian(), Bernoulli(), Bernoulli()],
    )
    assert prefers_exact(machine)
    wanted = np.log(2 * np.pi) + 1103 * np.log(2)
    assert_allclose(exact_log_partition(machine), wanted)


# Annealing


@each_seed
@over(MODELS)
def test_annealing_meets_the_exact_value(model, seed):
    machine = model.machine(np.float32)
    result = annealed_log_partition(machine, n_chains=100, random_state=seed)
    # Log of a mean is low by half a squared standard error.
    error = result.log_partition - model.distribution.log_partition
    bound_ = 6 * result.standard_error + result.standard_error**2 + 1e-4
    assert abs(error) < bound_
    assert result.standard_error < 0.1


@each_seed
@pytest.mark.parametrize("share", BASES)
@over(MODELS)
def test_mean_weights_of_populations_are_right_on_average(model, share, seed):
    """Populations of so few chains that they are drawn anew and err by a lot.

    Steps follow from the pilot run, whatever it has come to, so each of the seeds is a
    test of its own.
    """
    machine = model.machine()
    first, second = np.random.SeedSequence(seed).spawn(2)
    base = base_of(machine, means_of(machine, first), share)
    with ops.workers(1) as team:
        run = anneal(machine, base, 200, 5, second, team)
    weights = np.exp(run.log_populations - model.distribution.log_partition)
    assert weights.std() > 0.001
    assert abs(weights.mean() - 1) < 6.5 * weights.std(ddof=1) / np.sqrt(200)


@over(MODELS)
def test_annealed_chains_by_weight_are_samples(model):
    """Chains of one population have ancestors in common, so many draw one each."""
    machine = model.machine()
    first, second = np.random.SeedSequence(0).spawn(2)
    base = base_of(machine, means_of(machine, first), 1.0)
    with ops.workers(1) as team:
        run = anneal(machine, base, 1000, 10, second, team)
    assert model.worst_moment([state[::2] for state in run.states]) < 1


def counts_machine(seed=0):
    rng = np.random.default_rng(seed)
    return DeepBoltzmannMachine(
        [rng.normal(0, 0.4, (6, 5))],
        [rng.normal(0, 1, 6), rng.normal(0, 1, 5)],
        [ReplicatedSoftmax(6, 10), Bernoulli()],
    )


def log_partition_of_counts(machine, total):
    """Sum over the hidden states: exp(h c) (sum_i exp(b_i + W_i h))^total."""
    (weight,), (bias, hidden_bias) = machine.weights, machine.biases
    terms = [
        hidden_bias @ h + total * np.log(np.exp(bias + weight @ h).sum())
        for h in np.indices([2] * len(hidden_bias)).reshape(len(hidden_bias), -1).T
    ]
    return np.logaddexp.reduce(terms)


TOTALS = np.array([7, 0, 1, 2, 7, 13, 150, 3, 37, 1000])


def test_log_partition_of_counts_is_enumerated_for_every_total():
    machine = counts_machine()
    values, errors = log_partition(machine, n_chains=2, random_state=0, totals=TOTALS)
    wanted = [log_partition_of_counts(machine, total) for total in TOTALS]
    assert_allclose(values, wanted, rtol=1e-12)
    assert_array_equal(errors, 0)


def test_log_partition_of_counts_is_interpolated_where_it_is_annealed(
    monkeypatch,
):
    monkeypatch.setattr(exact, "PREFER_EXACT_STATES", 0)
    machine, totals = counts_machine(), TOTALS[TOTALS < 10]
    values, errors = log_partition(machine, n_chains=50, random_state=0, totals=totals)
    wanted = [log_partition_of_counts(machine, total) for total in totals]
    assert np.all(np.abs(values - wanted) < 6 * errors + 0.02)
    assert np.all((errors > 0) | (totals == 0))


def test_interpolation_is_a_cubic_in_the_logarithm_of_the_total(monkeypatch):
    monkeypatch.setattr(exact, "PREFER_EXACT_STATES", 0)
    machine = counts_machine()

    def enumerated(of_total, *args):
        total = of_total.units[0].n_trials
        result = SimpleNamespace(
            log_partition=log_partition_of_counts(machine, total),
            standard_error=0.0,
        )
        return result, []

    monkeypatch.setattr(LOG_PARTITION, "annealed_with_chains", enumerated)
    values, _ = log_partition(machine, n_chains=9, random_state=0, totals=TOTALS)
    wanted = [log_partition_of_counts(machine, total) for total in TOTALS]
    assert_allclose(values, wanted, atol=0.02)
    # 13 lies between 11 and 16, with 8 and 23 around them.
    nodes = np.array([8, 11, 16, 23])
    free = [
        total * np.logaddexp.reduce(machine.biases[0])
        + np.logaddexp(0, machine.biases[1]).sum()
        for total in (*nodes, 13)
    ]
    heights = [log_partition_of_counts(machine, total) for total in nodes]
    per_word = (np.array(heights) - free[:4]) / nodes
    cubic = np.polynomial.Polynomial.fit(np.log(nodes), per_word, 3)
    assert_allclose(values[5], free[4] + 13 * cubic(np.log(13)), rtol=1e-9)


def test_log_partition_of_a_total_does_not_depend_on_the_other_totals(monkeypatch):
    monkeypatch.setattr(exact, "PREFER_EXACT_STATES", 0)
    settings = {"n_chains": 20, "random_state": 0}
    totals = np.array([5, 2, 7])
    together = log_partition(counts_machine(), totals=totals, **settings)
    for i in range(3):
        alone = log_partition(counts_machine(), totals=totals[i : i + 1], **settings)
        assert together[0][i] == alone[0][0]
        assert together[1][i] == alone[1][0]


# Bounds and estimates


@over(SHALLOW)
def test_bound_of_one_hidden_layer_is_exact(model):
    X = rows_of(model, 30)
    lower = bound(model.machine(), X, model.distribution.log_partition)
    assert_allclose(lower, model.log_likelihood(X), atol=1e-11)


def divergence(model, row, means):
    """KL of independent hidden units of these means from the posterior, by sums."""
    posterior = model.given(row)
    log_q = np.zeros(len(posterior.log_weights))
    for layer, mean in enumerate(means, start=1):
        start = 0
        for block in model.blocks[layer]:
            width = block[1] if block[0] == "group" else 1
            state = posterior.states[layer][:, start : start + width]
            p = mean[start : start + width]
            if block[0] == "group":
                log_q += state @ np.log(p)
            else:
                log_q += np.log(np.where(state == 1, p, 1 - p))[:, 0]
            start += width
    return np.sum(np.exp(log_q) * (log_q - np.log(posterior.probability)))


@over(DEEP)
def test_bound_lacks_the_divergence_of_mean_field_from_the_posterior(model):
    X = rows_of(model, 8)
    machine = model.machine()
    lower = bound(machine, X, model.distribution.log_partition, tol=1e-12)
    q = mean_field(machine, X, tol=1e-12)
    gaps = [
        divergence(model, row, [mean[i] for mean in q.means]) for i, row in enumerate(X)
    ]
    assert_allclose(model.log_likelihood(X) - lower, gaps, atol=1e-9)
    assert min(gaps) > 1e-6


@each_seed
@over(DEEP)
def test_importance_weights_average_to_the_probability(model, seed):
    n_rows, row = 2000, rows_of(model, 1, seed)[0]
    log_weights = independent_estimates(
        model.machine(),
        np.tile(row, (n_rows, 1)),
        model.distribution.log_partition,
        5,
        seed,
    )
    weights = np.exp(log_weights - model.log_likelihood(row[None])[0])
    assert abs(weights.mean() - 1) < 7 * weights.std() / np.sqrt(n_rows) + 1e-9


@over({name: m for name, m in MODELS.items() if name.startswith("counts")})
def test_bound_of_counts_takes_the_log_partition_of_every_row(model):
    machine = model.machine()
    X = np.vstack([block_terms(("group", 4, total))[0][:4] for total in (1, 2, 5)])
    totals = machine.units[0].totals(X)
    log_z, _ = log_partition(machine, n_chains=2, random_state=0, totals=totals)
    gap = exact_log_likelihood(machine, X) - bound(machine, X, log_z, tol=1e-9)
    assert np.all(gap > -1e-9)
    assert np.all(gap < 0.3)


# Sampling


@each_seed
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over(MODELS)
def test_gibbs_sampling_has_the_moments_of_the_states(model, dtype, seed):
    machine, rng = model.machine(dtype), generator(seed)
    states = initial_states(machine, N_CHAINS // 2, rng)
    gibbs_sweeps(machine, states, N_SWEEPS, random_state=rng)
    assert {state.dtype for state in states} == {np.dtype(dtype)}
    assert model.worst_moment(states) < 1


@each_seed
def test_units_of_a_mixed_layer_are_drawn_given_the_rest(seed):
    """Frequencies of the discrete units, and moments of the real one, given h."""
    model = SHALLOW["mixed"]
    machine, rng = model.machine(), generator(seed)
    h = np.array([1.0, 0.0, 1.0])
    states = [np.zeros((N_CHAINS, 6)), np.tile(h, (N_CHAINS, 1))]
    evidence = Evidence({1: (states[1].copy(), None)})
    gibbs_sweeps(machine, states, 1, evidence=evidence, random_state=rng)
    field = model.biases[0] + model.weights[0] @ h
    v = states[0]
    softmax = np.exp(field[1:4]) / np.exp(field[1:4]).sum()
    p, q = expit(field[4]), expit(field[5])
    wanted = np.array([field[0], *softmax, p, 2 * q])
    std = np.sqrt([1, *(softmax * (1 - softmax)), p * (1 - p), 2 * q * (1 - q)])
    assert np.all(np.abs(v.mean(axis=0) - wanted) < largest_error(std, N_CHAINS, 5))
    correlation = np.corrcoef(v.T)[[0, 0, 0, 1, 1, 4], [1, 4, 5, 4, 5, 5]]
    assert np.all(np.abs(correlation) < 6 / np.sqrt(N_CHAINS))
    assert abs(v[:, 0].var() - 1) < 6 * np.sqrt(2 / N_CHAINS)


@each_seed
def test_gibbs_sampling_keeps_the_total_of_every_row(seed):
    machine = typed_model("counts", (3, 2)).machine(np.float32)
    rng = generator(seed)
    states = initial_states(machine, 50, rng)
    assert_array_equal(states[0].sum(axis=1), 3)
    totals = np.arange(50)
    states[0][:] = 0
    states[0][:, 1] = totals
    gibbs_sweeps(machine, states, 7, random_state=rng)
    assert_array_equal(states[0].sum(axis=1), totals)
    assert np.any(states[0][:, 0] > 0)


def test_samples_of_counts_have_the_typical_total():
    sampler = DBMSampler.from_machine(counts_machine(), random_state=0)
    assert_array_equal(sampler.sample(30, burn_in=5).sum(axis=1), 10)


# Training


def recovered(kind):
    """A machine with couplings of moderate size, and the parameter `visible`."""
    rng = np.random.default_rng(1)
    mixed = [
        (Real([3.0, 0.0], [1.0, 0.5]), [0, 1]),
        (Categories((3,)), [2]),
        (Probabilities(), [3, 4]),
    ]
    encoding, size, visible = {
        "bernoulli": (Probabilities(), 6, "bernoulli"),
        "gaussian": (Real([10.0, 0, -1, 2], [0.5, 2.0, 1, 1]), 4, "gaussian"),
        "categorical": (Categories((3, 3, 2)), 8, "categorical"),
        "counts": (Counts(6, 20), 6, "counts"),
        "mixed": (
            Mixed(mixed),
            7,
            [("gaussian", [0, 1]), ("categorical", [2]), ("bernoulli", [3, 4])],
        ),
    }[kind]
    scale = 0.5 if kind == "counts" else 1.0
    weight = rng.normal(0, scale, (size, 3))
    biases = [rng.normal(0, 0.5, size), rng.normal(0, 0.5, 3)]
    layers = [encoding.unit, Bernoulli()]
    return DeepBoltzmannMachine([weight], biases, layers, encoding), visible


def samples_of(machine, n_rows, seed):
    """Exact samples; of counts, with totals that vary widely."""
    if not isinstance(machine.units[0], ReplicatedSoftmax):
        return exact_samples(machine, n_rows, random_state=seed)[0]
    totals = np.random.default_rng(seed).poisson(20, n_rows)
    X = np.zeros((n_rows, machine.layer_sizes[0]))
    for total in np.unique(totals):
        rows, of_total = totals == total, machine.with_totals(int(total))
        key = np.random.SeedSequence([seed, int(total)])
        X[rows] = exact_samples(of_total, rows.sum(), random_state=key)[0]
    return X


@pytest.mark.parametrize(
    "kind", ["bernoulli", "gaussian", "categorical", "counts", "mixed"]
)
def test_training_recovers_the_machine_that_made_the_data(kind):
    truth, visible = recovered(kind)
    n_rows = 1000
    X = truth.encoding.decode(samples_of(truth, 2 * n_rows, 0))
    estimator = DBMSampler(
        hidden_layer_sizes=(3,),
        visible=visible,
        max_iter=75,
        batch_size=100,
        learning_rate_init=0.1,
        n_chains=100,
        n_gibbs_steps=2,
        alpha=0.0,
        random_state=0,
        n_jobs=1,
    ).fit(X[:n_rows])
    held_out = X[n_rows:]

    def log_p(machine):
        encoding = machine.encoding
        logs = exact_log_likelihood(machine, encoding.encode(held_out))
        return logs + encoding.log_jacobian(held_out)

    loss = log_p(truth) - log_p(estimator.machine_)
    n_parameters = sum(a.size for a in (*truth.weights, *truth.biases))
    n_parameters += len(truth.encoding.learned)
    # Maximum likelihood loses half a parameter a row on average; twice that on top is
    # for the noise of the chains and an optimum that is not quite reached.
    slack = 3 * n_parameters / (2 * n_rows)
    assert loss.mean() < 4 * loss.std() / np.sqrt(n_rows) + slack


def counts_trainer(machine, n_chains, batch_size):
    options = {"n_mean_field_steps": 1, "mean_field_tol": 0.0}
    return trainer_of(machine, n_chains, batch_size=batch_size, **options)


@pytest.mark.parametrize("n_chains", [3, 50, 60, 200])
def test_chains_have_the_totals_of_the_batch(n_chains):
    machine, rng = counts_machine(), np.random.default_rng(0)
    trainer = counts_trainer(machine, n_chains, 50)
    X = rng.poisson(rng.gamma(2, 2, (50, 1)), (50, 6)).astype(float)
    step(trainer, X, 0.0)
    drawn, totals = np.sort(trainer.chains[0].sum(axis=1)), np.sort(X.sum(axis=1))
    if n_chains % 50 == 0:
        assert_array_equal(drawn, np.repeat(totals, n_chains // 50))
    else:
        # No quantile of the two is further apart than one chain and one row.
        for low, high in ((drawn, totals), (totals, drawn)):
            shares = np.searchsorted(low, high, side="right") / len(low)
            ends = np.searchsorted(high, high, side="right") / len(high)
            assert np.all(np.abs(shares - ends) <= 1 / n_chains + 1 / 50)


@pytest.mark.parametrize("seed", range(2))
def test_chains_of_varying_totals_tend_to_the_distribution_of_their_totals(seed):
    """A sweep between batches is not enough to forget the total of the last one."""
    rng = np.random.default_rng(seed)
    weight, hidden_bias = 2.0, -22.0
    machine = DeepBoltzmannMachine(
        [np.array([[weight], [0.0], [0.0]])],
        [np.zeros(3), np.array([hidden_bias])],
        [ReplicatedSoftmax(3, 10), Bernoulli()],
    )
    X = np.zeros((2000, 3))
    X[:, 0] = rng.choice([17, 23], len(X))
    trainer = counts_trainer(machine, 2000, 100)
    for _ in range(15):
        for batch in np.split(rng.permutation(len(X)), 20):
            step(trainer, X[batch], 0.0)
    totals, h = trainer.chains[0].sum(axis=1), trainer.chains[1][:, 0]
    for total in (17, 23):
        # The words summed out: log p(h = 1) - log p(h = 0).
        logit = total * np.log((np.exp(weight) + 2) / 3) + hidden_bias
        # Chains near the border between the totals change sides now and then.
        assert abs(h[totals == total].mean() - expit(logit)) < 0.2


# Files


@over(MODELS)
def test_machines_of_every_type_survive_files(model, tmp_path):
    machine = model.machine(np.float32)
    machine.save(tmp_path / "machine.npz")
    again = DeepBoltzmannMachine.load(tmp_path / "machine.npz")
    assert again.units == machine.units
    for one, other in zip(
        [*machine.weights, *machine.biases],
        [*again.weights, *again.biases],
        strict=True,
    ):
        assert one.tobytes() == other.tobytes()
    assert exact_log_partition(again) == exact_log_partition(machine)


def test_learned_location_and_scale_survive_files(tmp_path):
    real = Real([0.1, 1e9], [[1 / 3, 1e-7], [0.1, 7.0]], shrinkage=1 / 7)
    real = real.with_learned(np.array([1 / 3, 1e-7, 1e-9, 1.1]))
    mixed = Mixed([(real, [2, 0]), (Categories((3,)), [1])])
    machine = DeepBoltzmannMachine(
        [np.eye(5, 2)], [np.zeros(5), np.zeros(2)], [mixed.unit, Bernoulli()], mixed
    )
    machine.save(tmp_path / "machine.npz")
    again = DeepBoltzmannMachine.load(tmp_path / "machine.npz").encoding
    assert again == mixed
    assert again.parts[0][0].matrix.tobytes() == real.matrix.tobytes()


@over(MODELS)
def test_energy_is_that_of_the_states(model):
    """Differences of -E are those of log p; the constant is log Z."""
    states = model.sample(5, np.random.default_rng(0))
    machine = model.machine()
    log_p = -machine.energy(states) - model.distribution.log_partition
    total = np.zeros(5)
    for i in range(5):
        posterior = model.given(states[0][i])
        match = [
            np.all(layer == state[i], axis=1)
            for layer, state in zip(posterior.states[1:], states[1:], strict=True)
        ]
        total[i] = posterior.log_weights[np.all(match, axis=0)][0]
    assert_allclose(log_p, total - model.distribution.log_partition, atol=1e-11)


@pytest.mark.parametrize(
    "unit", [Gaussian(), ReplicatedSoftmax(2), units.Mixed([(Bernoulli(), 2)])]
)
def test_visible_types_cannot_be_hidden(unit):
    with pytest.raises(ValueError, match="can only be visible"):
        DeepBoltzmannMachine([np.eye(2)], [np.zeros(2)] * 2, [Bernoulli(), unit])
