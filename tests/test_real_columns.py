"""Real columns that vary together: the normal distribution, and what couplings add."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from skdbm import DBMSampler, DBMTransformer
from skdbm.encodings import Real
from skdbm.encodings.covariance import LEAST_SHRINKAGE, normal_of
from skdbm.encodings.rows import EncodedRows
from skdbm.evidence import Evidence
from skdbm.inference import mean_field
from skdbm.likelihood import (
    bound,
    exact_log_likelihood,
    exact_log_partition,
    importance_weighted_log_likelihood,
)
from skdbm.machine import DeepBoltzmannMachine
from skdbm.units import Bernoulli

from ._reference import joint_states

nan = np.nan

each_seed = pytest.mark.parametrize("seed", range(3))


def correlated(n_rows, n_columns, seed):
    """Rows of columns that vary together, on scales of their own."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(n_columns, n_columns)) + np.eye(n_columns)
    scales = 10.0 ** rng.uniform(-1, 2, n_columns)
    return (rng.normal(size=(n_rows, n_columns)) @ mix + rng.normal()) * scales


def with_gaps(X, seed, share=0.3):
    """Rows of which values are missing, in all of the first, in none of the second."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random(X.shape) < share, nan, X)
    X[0], X[1] = nan, np.nan_to_num(X[1], nan=1.0)
    return X


class Mixture:
    """The distribution of real columns of a machine, as a mixture of normal ones.

    One component for each state of the hidden layers, written out without skdbm: with
    s = M (v - loc) and x the field of the visible units it is N(loc + M^-1 x, C), of
    weight exp(x^2 / 2 + ...).
    """

    def __init__(self, machine):
        M, self.loc = machine.encoding.matrix, machine.encoding.loc
        inverse = np.linalg.inv(M)
        self.covariance = inverse @ inverse.T
        sizes = machine.layer_sizes[1:]
        states = joint_states([1] * sum(sizes))
        self.hidden = np.split(states, np.cumsum(sizes)[:-1], axis=1)
        field = machine.biases[0] + self.hidden[0] @ machine.weights[0].T
        self.means = self.loc + field @ inverse.T
        logs = np.sum(field**2, axis=1) / 2
        for bias, state in zip(machine.biases[1:], self.hidden, strict=True):
            logs += state @ bias
        for weight, (below, above) in zip(
            machine.weights[1:], itertools.pairwise(self.hidden), strict=True
        ):
            logs += np.sum(below @ weight * above, axis=1)
        self.log_weights = logs - logsumexp(logs)

    def posterior(self, row):
        """Log joint density of what is known of a row and every component."""
        known = ~np.isnan(row)
        if not known.any():
            return self.log_weights
        inside = np.ix_(known, known)
        return self.log_weights + [
            multivariate_normal(mean[known], self.covariance[inside]).logpdf(row[known])
            for mean in self.means
        ]

    def log_density(self, X):
        """Log-density of what is known of every row."""
        return np.array([logsumexp(self.posterior(row)) for row in X])

    def conditional_mean(self, row):
        """Mean of a row given what is known of it."""
        known, logs = ~np.isnan(row), self.posterior(row)
        p = np.exp(logs - logsumexp(logs))
        C = self.covariance
        gain = C[:, known] @ np.linalg.inv(C[np.ix_(known, known)])
        means = self.means + (row[known] - self.means[:, known]) @ gain.T
        return p @ means


def machine_of(X, hidden, seed, scale=0.7, sharpen=True):
    """A machine with couplings, around the encoding of some rows."""
    rng = np.random.default_rng(seed)
    encoding = Real().fit(X)
    n = X.shape[1]
    if sharpen:
        moved = np.eye(n) * 1.5 + rng.normal(0, 0.2, (n, n))
        encoding = encoding.with_learned(moved.ravel())
    sizes = (n, *hidden)
    return DeepBoltzmannMachine(
        [rng.normal(0, scale, shape) for shape in itertools.pairwise(sizes)],
        [rng.normal(0, 0.5, size) for size in sizes],
        [encoding.unit, *[Bernoulli()] * len(hidden)],
        encoding,
    )


def evidence_of(machine, X):
    """Rows as the machine gets them."""
    return Evidence.of_columns(X, machine.encoding)


def normal_machine(X, hidden=(2,)):
    """A machine without couplings."""
    machine = machine_of(X, hidden, 0, 0.0, sharpen=False)
    return machine.map(np.zeros_like)


# Without couplings


@each_seed
@pytest.mark.parametrize("gaps", [False, True])
def test_a_machine_without_couplings_is_the_normal_distribution(gaps, seed):
    X = correlated(60, 4, seed)
    X = with_gaps(X, seed) if gaps else X
    sampler = DBMSampler.from_machine(normal_machine(X), allow_missing=True)
    normal = normal_of(X)
    covariance = normal.shrunk * normal.spread * normal.spread[:, None]
    wanted = []
    for row in X:
        known = ~np.isnan(row)
        part = (
            multivariate_normal(
                normal.loc[known],
                covariance[np.ix_(known, known)],
                allow_singular=False,
            )
            if known.any()
            else None
        )
        wanted.append(0.0 if part is None else part.logpdf(row[known]))
    assert_allclose(sampler.score_samples(X), wanted, rtol=1e-9, atol=1e-9)


@each_seed
def test_its_imputations_are_the_conditional_means(seed):
    X = correlated(60, 4, seed)
    holed = with_gaps(X, seed)
    machine = normal_machine(X)
    sampler = DBMSampler.from_machine(machine, random_state=0)
    filled = sampler.impute(holed, n_chains=1, burn_in=0, n_sweeps=1)
    mixture = Mixture(machine)
    wanted = np.array([mixture.conditional_mean(row) for row in holed])
    assert_array_equal(filled[~np.isnan(holed)], holed[~np.isnan(holed)])
    assert_allclose(filled / X.std(axis=0), wanted / X.std(axis=0), atol=1e-8)


# With couplings


SHAPES = pytest.mark.parametrize("hidden", [(3,), (3, 2)], ids=str)


@each_seed
@SHAPES
def test_log_likelihoods_are_those_of_the_mixture(hidden, seed):
    X = with_gaps(correlated(40, 4, seed), seed)
    machine = machine_of(X, hidden, seed)
    evidence, wanted = evidence_of(machine, X), Mixture(machine).log_density(X)
    jacobian = machine.encoding.log_jacobian(X)
    log_p = exact_log_likelihood(machine, evidence) + jacobian
    assert_allclose(log_p, wanted, rtol=1e-9, atol=1e-9)
    log_z = exact_log_partition(machine)
    lower = bound(machine, evidence, log_z, tol=1e-9) + jacobian
    assert np.all(lower < wanted + 1e-9)
    if len(hidden) == 1:
        complete = ~np.isnan(X).any(axis=1)
        assert_allclose(lower[complete], wanted[complete], rtol=1e-9)
    estimate = jacobian + importance_weighted_log_likelihood(
        machine, evidence, log_z, n_importance_samples=4000, random_state=seed
    )
    assert_allclose(estimate, wanted, atol=0.1)
    assert abs(np.mean(estimate - wanted)) < 0.02


@each_seed
@SHAPES
@pytest.mark.parametrize("burn_in", [0, 20])
def test_completions_have_the_conditional_moments(burn_in, hidden, seed):
    X = with_gaps(correlated(12, 3, seed), seed, 0.5)
    machine = machine_of(X, hidden, seed)
    mixture, n_chains = Mixture(machine), 4000
    sampler = DBMSampler.from_machine(machine, allow_missing=True, random_state=seed)
    holed = X[2:5]
    drawn = sampler.sample(n_chains, given=holed, burn_in=burn_in)
    drawn = drawn.reshape(len(holed), n_chains, -1)
    for row, rows in zip(holed, drawn, strict=True):
        known = ~np.isnan(row)
        assert_array_equal(rows[:, known], np.tile(row[known], (n_chains, 1)))
        p = np.exp(mixture.posterior(row) - logsumexp(mixture.posterior(row)))
        mean = mixture.conditional_mean(row)
        C, inside = mixture.covariance, np.ix_(known, known)
        gain = C[:, known] @ np.linalg.inv(C[inside])
        means = mixture.means + (row[known] - mixture.means[:, known]) @ gain.T
        covariance = C - gain @ C[known] + (means - mean).T * p @ (means - mean)
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        error = np.abs(rows.mean(axis=0) - mean)
        assert np.all(error <= 6 * std / np.sqrt(n_chains) + 1e-9)
        scale = np.outer(std, std) + 1e-12
        off = (np.cov(rows.T) - covariance) / scale
        # The variance of a product is at most that of a square, three for a normal one.
        assert np.abs(off).max() < 6 * np.sqrt(4 / n_chains)


@each_seed
def test_mean_field_of_rows_with_gaps_is_a_fixed_point(seed):
    """Of all rows, whether others in their block have gaps or not."""
    X = with_gaps(correlated(30, 4, seed), seed)
    machine = machine_of(X, (3, 2), seed, 0.4)
    result = mean_field(machine, evidence_of(machine, X), tol=1e-10)
    visible, first, second = result.visible, *result.means
    M, loc = machine.encoding.matrix, machine.encoding.loc
    values = loc + visible @ np.linalg.inv(M).T
    known = ~np.isnan(X)
    assert_allclose((values - np.nan_to_num(X))[known] / X[1].std(), 0, atol=1e-7)
    field = machine.biases[0] + first @ machine.weights[0].T
    precision = M.T @ M
    for row, v, x in zip(known, values, field, strict=True):
        # Stationary in the missing columns: M_m (x - M (v - loc)) = 0.
        assert_allclose((M.T @ x - precision @ (v - loc))[~row] / M.max(), 0, atol=1e-6)
    wanted = 1 / (1 + np.exp(-machine.field(1, [visible, first, second])))
    assert_allclose(first, wanted, atol=1e-6)
    for i in range(len(X)):
        alone = mean_field(machine, evidence_of(machine, X[[i]]), tol=1e-10)
        assert_allclose(alone.means[1][0], second[i], atol=1e-7)


# Training


@each_seed
@pytest.mark.parametrize("gaps", [False, True])
def test_learned_gradient_is_the_slope_of_the_log_likelihood(gaps, seed):
    """The natural gradient by the sharpening S is the plain one times S^T S."""
    X = correlated(6, 3, seed)
    machine = machine_of(X, (3,), seed)
    if gaps:  # with one state of the hidden layer its posterior is exact
        X = with_gaps(X, seed)
        machine.weights[0][...] = np.outer(machine.weights[0][:, 0], [1, 0, 0])
        machine.biases[1][...] = 40.0
    evidence = evidence_of(machine, X)
    states = mean_field(machine, evidence, tol=1e-12).visible
    hidden = 1 / (1 + np.exp(-machine.field(1, [states, None])))
    field = machine.field(0, [None, hidden])
    encoding = machine.encoding
    known = evidence.layers[0][1]
    gradient = encoding.learned_gradient(states, field, known, evidence.ties)
    gradient = gradient.reshape(3, 3) * encoding._largest_variance
    h, slopes = 1e-5, np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        ends = []
        for change in (-h, h):
            learned = encoding.learned
            learned[3 * i + j] += change
            moved = machine.with_encoding(encoding.with_learned(learned))
            ends.append(Mixture(moved).log_density(X).mean())
        slopes[i, j] = (ends[1] - ends[0]) / (2 * h)
    S = encoding.sharpening
    assert_allclose(gradient, slopes @ S.T @ S, rtol=1e-5, atol=1e-6)


@each_seed
def test_training_presents_rows_whose_covariance_is_shrunk(seed):
    X = with_gaps(correlated(30, 3, seed), seed, 0.0)
    encoding = Real().fit(X[2:])
    assert encoding.shrinkage > LEAST_SHRINKAGE
    rng, n = np.random.default_rng(seed), 20_000
    rows = EncodedRows(encoding, X[2:], np.float64, rng)
    drawn = rows.read(np.tile(np.arange(len(X) - 2), n // 20))
    # Of unit variance by the shrunk covariance, which whitens.
    second = drawn.T @ drawn / len(drawn)
    assert_allclose(second, np.eye(3), atol=6 * np.sqrt(2 / len(drawn)))


@each_seed
def test_rows_with_gaps_are_drawn_so_that_known_values_vary_alike(seed):
    X = correlated(30, 3, seed)
    encoding = Real().fit(X)
    row = X[0].copy()
    row[1] = nan
    known = ~np.isnan(row)
    rows = EncodedRows(encoding, row[None], np.float64, np.random.default_rng(seed))
    drawn = Evidence.of_rows(rows.read(np.zeros(20_000, int)))
    values = encoding.decode(drawn.layers[0][0])[:, known]
    a = encoding.shrinkage
    wanted = encoding.loc + np.sqrt(1 - a) * (row - encoding.loc)
    std = np.sqrt(a) * encoding.spread[known]
    assert np.all(np.abs(values.mean(0) - wanted[known]) < 6 * std / np.sqrt(20_000))
    assert_allclose(np.cov(values.T), np.diag(std**2), atol=0.06 * (std**2).max())


# The normal distribution that is fitted


def test_the_normal_distribution_of_complete_rows_is_shrunk_as_it_predicts_best():
    """By leaving out every row in turn, one by one."""
    X = correlated(25, 4, 0)
    normal = normal_of(X)
    assert_allclose(normal.loc, X.mean(axis=0))
    assert_allclose(normal.correlation, np.corrcoef(X.T), atol=1e-12)
    Y = (X - X.mean(axis=0)) / X.std(axis=0)

    def left_out(a):
        total = 0.0
        for i in range(len(Y)):
            rest = np.delete(Y, i, axis=0)
            covariance = (1 - a) * np.cov(rest.T, bias=True) + a * np.eye(4)
            total += multivariate_normal(rest.mean(axis=0), covariance).logpdf(Y[i])
        return total

    trials = np.geomspace(LEAST_SHRINKAGE, 1.0, 50)
    assert normal.shrinkage == trials[np.argmax([left_out(a) for a in trials])]
    assert LEAST_SHRINKAGE < normal.shrinkage < 0.5


@each_seed
def test_rows_with_gaps_give_the_most_likely_normal_distribution(seed):
    """No change of mean or covariance makes what is known likelier."""
    X = with_gaps(correlated(400, 3, seed), seed, 0.2)
    normal = normal_of(X)
    scale = normal.spread

    def log_density(loc, covariance):
        total = 0.0
        for row in X:
            known = ~np.isnan(row)
            if known.any():
                part = covariance[np.ix_(known, known)]
                total += multivariate_normal(loc[known], part).logpdf(row[known])
        return total / len(X)

    best = log_density(normal.loc, normal.correlation * np.outer(scale, scale))
    rng = np.random.default_rng(seed)
    for _ in range(10):
        size = 0.1
        root = np.eye(3) + size * rng.normal(size=(3, 3))
        moved = root @ normal.correlation @ root.T * np.outer(scale, scale)
        shift = size * rng.normal(size=3) * scale
        assert log_density(normal.loc + shift, moved) < best


def test_one_row_and_equal_columns_have_normal_distributions_too():
    one = normal_of(np.array([[3.0, -1.0]]))
    assert_allclose(one.shrunk, np.eye(2))
    equal = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 3, axis=1)
    variances = np.linalg.eigvalsh(normal_of(equal).shrunk)
    assert variances[0] == pytest.approx(LEAST_SHRINKAGE)
    assert np.isfinite(Real().fit(equal).matrix).all()


# Estimators


def test_tables_of_several_kinds_learn_from_rows_with_gaps(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=300)
    X = correlated(300, 3, 0)
    X = np.column_stack([X + 0.5 * kind[:, None] * X.std(axis=0), kind])
    holed = with_gaps(X, 0, 0.2)
    visible = [("gaussian", [0, 1, 2]), ("categorical", [3])]
    settings = {"hidden_layer_sizes": (4, 3), "allow_missing": True, "max_iter": 20}
    sampler = DBMSampler(visible=visible, random_state=0, **settings).fit(holed)
    machine = sampler.machine_
    real = machine.encoding.parts[0][0]
    assert np.abs(real.sharpening - np.eye(3)).max() > 1e-3
    filled = sampler.impute(holed, burn_in=20, n_sweeps=20)
    assert_array_equal(filled[~np.isnan(holed)], holed[~np.isnan(holed)])
    hidden = np.isnan(holed[:, :3])
    off = (filled - X)[:, :3] / X[:, :3].std(axis=0)
    means = (np.nanmean(holed, axis=0) - X)[:, :3] / X[:, :3].std(axis=0)
    assert np.mean(off[hidden] ** 2) < 0.7 * np.mean(means[hidden] ** 2)
    scores = sampler.score_samples(holed)
    one_by_one = [sampler.score_samples(row[None])[0] for row in holed[:5]]
    assert_allclose(scores[:5], one_by_one, atol=1e-4)
    machine.save(tmp_path / "machine.npz")
    again = DBMSampler.from_machine(
        DeepBoltzmannMachine.load(tmp_path / "machine.npz"), allow_missing=True
    )
    assert again.machine_.encoding == machine.encoding
    rows = Evidence.of_columns(holed, machine.encoding)
    means = mean_field(again.machine_, rows).means[0]
    transformer = DBMTransformer.from_machine(
        machine, feature_layers=[1], allow_missing=True
    )
    assert_allclose(transformer.transform(holed), means, atol=1e-3)


def test_chunks_go_on_with_the_matrix_of_the_first():
    X = with_gaps(correlated(120, 3, 0), 0)
    sampler = DBMSampler(
        visible="gaussian", hidden_layer_sizes=2, allow_missing=True, random_state=0
    )
    sampler.partial_fit(X[:60])
    first = sampler.machine_.encoding
    second = sampler.partial_fit(X[60:]).machine_.encoding
    assert_array_equal(second.whitening, first.whitening)
    assert np.abs(second.sharpening - first.sharpening).max() > 0


def test_machines_begin_where_the_normal_distribution_ends():
    """Better than it on data of two kinds, as good on normal data."""
    rng = np.random.default_rng(0)
    n, kinds = 1200, np.arange(1200) % 2
    normal = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4))
    settings = {"hidden_layer_sizes": 4, "max_iter": 200, "random_state": 0}
    gains = []
    for X in (normal, normal + 5 * np.outer(kinds, rng.normal(size=4))):
        sampler = DBMSampler(visible="gaussian", **settings).fit(X[:600])
        gains.append(sampler.score(X[600:]) - LedoitWolf().fit(X[:600]).score(X[600:]))
    assert -0.1 < gains[0] < 0.1
    assert gains[1] > 0.5
