"""Real columns that vary together: the normal distribution, and what couplings add."""

import itertools
import re
import tracemalloc
import warnings

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm, yeojohnson, yeojohnson_llf
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMSampler, DBMTransformer
from skdbm._fitting import shortfall
from skdbm.encodings import Real
from skdbm.encodings.covariance import (
    COST,
    LEAST_SHRINKAGE,
    MOST_SHRINKAGE,
    likeliest_normal,
    normal_of,
)
from skdbm.encodings.power import LEAST_GAIN, TRIALS, PowerTransform, likeliest_powers
from skdbm.encodings.rows import EncodedRows
from skdbm.encodings.ties import PartlyKnown, spans
from skdbm.evidence import Evidence
from skdbm.inference import mean_field
from skdbm.likelihood import (
    bound,
    exact_log_likelihood,
    exact_log_partition,
    importance_weighted_log_likelihood,
)
from skdbm.machine import DeepBoltzmannMachine
from skdbm.training.penalty import NEWEST, Penalty
from skdbm.training.start import initial_machine
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


def test_importance_samples_of_rows_with_gaps_follow_from_what_is_known():
    """Not from rows beside them, nor are they those of all other rows with gaps."""
    X = with_gaps(correlated(20, 4, 0), 0)
    machine = machine_of(X, (3, 2), 0)

    def estimate(rows):
        return importance_weighted_log_likelihood(
            machine,
            evidence_of(machine, rows),
            0.0,
            n_importance_samples=1,
            random_state=0,
        )

    errors = estimate(X) - exact_log_likelihood(machine, evidence_of(machine, X))
    assert_allclose([estimate(row[None])[0] for row in X], estimate(X), rtol=1e-6)
    assert len(np.unique(np.round(errors, 6))) > 15


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
        rounded = 1e-9 * np.outer(C.diagonal(), C.diagonal()) ** 0.5
        scale = np.outer(std, std) + rounded
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


def rows_in_training(gaps, seed):
    """A machine, rows, and what an encoding has to know to learn from them."""
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
    rows = PartlyKnown(states, evidence.layers[0][1], evidence.ties)
    return machine, X, (rows, field)


def slope_of_log_density(machine, X, direction, h=1e-5):
    """Slope of the log-density of every row along a change of the sharpening."""
    encoding, ends = machine.encoding, []
    for change in (-h, h):
        learned = encoding.learned + change * direction.ravel()
        moved = machine.with_encoding(encoding.with_learned(learned))
        ends.append(Mixture(moved).log_density(X))
    return (ends[1] - ends[0]) / (2 * h)


@each_seed
@pytest.mark.parametrize("gaps", [False, True])
def test_learned_gradient_is_the_slope_of_the_log_likelihood(gaps, seed):
    """The natural gradient by the sharpening S is the plain one times S^T S."""
    machine, X, known = rows_in_training(gaps, seed)
    encoding = machine.encoding
    gradient = encoding.learned_gradient(*known)
    gradient = gradient.reshape(3, 3) * encoding._largest_variance
    slopes = [slope_of_log_density(machine, X, one).mean() for one in np.eye(9)]
    S = encoding.sharpening
    wanted = np.reshape(slopes, (3, 3)) @ S.T @ S
    assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


@each_seed
@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_unexplained_is_how_scaling_changes_the_log_likelihood(gaps, seed):
    """By n (1 - u) for a row with n values known; times c where c times as much is."""
    machine, X, known = rows_in_training(gaps, seed)
    encoding = machine.encoding
    n_known = (~np.isnan(X)).sum(axis=1)
    assert (n_known == 0).any() == gaps
    found = encoding.unexplained(*known)
    slopes = slope_of_log_density(machine, X, encoding.sharpening)
    assert_allclose(n_known * (1 - found), slopes, rtol=1e-5, atol=1e-6)
    gradient = encoding.learned_gradient(*known, inflation=1.7).reshape(3, 3)
    along = np.trace(gradient @ np.linalg.inv(encoding.sharpening))
    wanted = np.mean(n_known * (1 - 1.7 * found)) / encoding._largest_variance
    assert_allclose(along, wanted, rtol=1e-9)


def test_new_rows_are_as_far_off_their_fields_as_the_machine_expects(monkeypatch):
    """Few rows of many columns are learned by heart without what held-out ones tell."""

    def far_off(seed):
        rng = np.random.default_rng(seed)
        kinds = 2 * rng.normal(size=(3, 12))
        X = kinds[rng.integers(3, size=2080)] + rng.normal(size=(2080, 12))
        settings = {"hidden_layer_sizes": 60, "max_iter": 300, "random_state": seed}
        machine = DBMTransformer(visible="gaussian", **settings).fit(X[:80]).machine_
        rows = EncodedRows(machine.encoding, X[80:], np.float64, rng)[:]
        given = mean_field(machine, rows)
        field = machine.field(0, [given.visible, *given.means])
        return machine.encoding.unexplained(PartlyKnown(rows), field).mean()

    found = np.mean([far_off(seed) for seed in range(2)])
    monkeypatch.setattr(Penalty, "inflation", lambda *arguments: 1.0)
    by_heart = np.mean([far_off(seed) for seed in range(2)])
    assert abs(found - 1) < (by_heart - 1) / 2


@each_seed
def test_held_out_rows_are_compared_with_others_as_far_out(seed):
    """By a regression of how far off their fields rows are."""
    X = correlated(60, 4, seed)
    machine = machine_of(X, (3,), seed)
    penalty = Penalty(machine, np.random.default_rng(0))
    X[40:] += 0.5 * X.std(axis=0)
    parts = [EncodedRows(machine.encoding, part, float)[:] for part in (X[:40], X[40:])]
    penalty.learn(machine, [np.zeros(4), np.zeros(3)], *parts, 20)
    off, far = [], []
    for part, states in zip((X[:40], X[40:]), parts, strict=True):
        hidden = 1 / (1 + np.exp(-states @ machine.weights[0] - machine.biases[1]))
        field = machine.biases[0] + hidden @ machine.weights[0].T
        off.append(np.mean((states - field) * states, axis=1))
        whitened = (part - machine.encoding.loc) @ machine.encoding.whitening.T
        far.append(np.mean(whitened**2, axis=1))
    kinds = np.repeat([0.0, 1.0], [40, 20])
    design = np.column_stack([np.ones(60), kinds, np.concatenate(far)])
    more = np.linalg.lstsq(design, np.concatenate(off), rcond=None)[0][1]
    assert penalty.excess == pytest.approx(NEWEST * more / off[0].mean(), rel=1e-6)
    penalty.excess = 0.3
    assert penalty.inflation(None) == pytest.approx(1.3)
    assert penalty.inflation(2.0) == 1
    penalty.excess = -0.3
    assert penalty.inflation(None) == 1


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

    trials = np.geomspace(LEAST_SHRINKAGE, MOST_SHRINKAGE, 50)
    scores = np.array([left_out(a) for a in trials]) / len(Y)
    assert normal.shrinkage == trials[(scores - COST * trials).argmax()]
    assert LEAST_SHRINKAGE < normal.shrinkage < MOST_SHRINKAGE


@each_seed
@pytest.mark.parametrize(("n_rows", "n_columns"), [(50, 1), (1000, 3), (2000, 10)])
def test_columns_that_are_not_correlated_are_hardly_shrunk(n_rows, n_columns, seed):
    """Such as principal components; all of it would gain at most 0.02 nats."""
    X = np.random.default_rng(seed).normal(size=(n_rows, n_columns))
    assert normal_of(X).shrinkage < 0.05


def test_columns_that_are_not_correlated_are_learned_from_all_the_same():
    """A single one beside categories: shrinkage may not make noise of it."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, size=300)
    X = np.column_stack([4.0 * kinds + rng.normal(size=300), kinds])
    sampler = DBMSampler(
        visible=[("gaussian", [0]), ("categorical", [1])],
        hidden_layer_sizes=6,
        max_iter=200,
        random_state=0,
    ).fit(X)
    drawn = sampler.sample(3000)
    for kind in range(3):
        # Of hundreds of rows, whose deviations training has not quite learned.
        values = drawn[drawn[:, 1] == kind, 0]
        assert abs(values.mean() - 4 * kind) < 1
        assert values.std() < 2.7  # of all rows it is 3.4


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


def two_kinds():
    """Normal rows, and the same with every other one moved away."""
    rng = np.random.default_rng(0)
    n, kinds = 1200, np.arange(1200) % 2
    normal = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4))
    return normal, normal + 5 * np.outer(kinds, rng.normal(size=4))


def gain(X, seed, **settings):
    """Held-out log-density of a machine, less that of the normal distribution."""
    settings = {"hidden_layer_sizes": 4, "max_iter": 100} | settings
    sampler = DBMSampler(visible="gaussian", random_state=seed, **settings).fit(X[:600])
    return sampler.score(X[600:]) - LedoitWolf().fit(X[:600]).score(X[600:])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_machines_begin_where_the_normal_distribution_ends(seed):
    """Of the 0.97 nats that a mixture of two gains."""
    assert gain(two_kinds()[1], seed, max_iter=200) > 0.85


@each_seed
def test_machines_of_normal_rows_stay_with_the_normal_distribution(seed):
    assert -0.1 < gain(two_kinds()[0], seed) < 0.1


@each_seed
@pytest.mark.parametrize("sizes", [(4,), (20,), (20, 10)], ids=str)
def test_short_training_is_not_worse_than_the_normal_distribution(sizes, seed):
    """It begins there; and no fit, however short, warns of a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X in two_kinds():
            found = gain(X, seed, max_iter=1, hidden_layer_sizes=sizes)
            assert found > -0.15
        few = correlated(10, 5, seed)
        settings = {"hidden_layer_sizes": sizes, "max_iter": 2, "random_state": seed}
        DBMSampler(visible="gaussian", **settings).fit(few)


@each_seed
@pytest.mark.parametrize(("n_columns", "n_hidden"), [(5, 3), (3, 3), (2, 8)])
def test_first_machine_has_the_means_and_the_covariance_of_the_data(
    n_columns, n_hidden, seed
):
    """To second order in the weights, which alone would add a fifth."""
    X = correlated(100, n_columns, seed)
    rows = EncodedRows(Real().fit(X), X, np.float64)
    hidden = [(Bernoulli(), n_hidden)]
    machine = initial_machine(rows, hidden, np.random.default_rng(seed))
    mixture, normal = Mixture(machine.astype(np.float64)), normal_of(X)
    p = np.exp(mixture.log_weights)
    means = (mixture.means - normal.loc) / normal.spread
    assert_allclose(p @ means, 0, atol=0.02)
    off = means - p @ means
    spread = normal.spread * normal.spread[:, None]
    covariance = mixture.covariance / spread + (off.T * p) @ off
    assert_allclose(covariance, normal.shrunk, atol=0.05)
    assert_allclose(p @ mixture.hidden[0], 0.3, atol=0.05)
    assert np.linalg.norm(machine.weights[0].T @ machine.weights[0], 2) > 0.9


# Columns that are bent


def test_powers_are_those_of_scipy():
    x = np.concatenate([np.linspace(-4, 4, 101), [-1e3, 1e3]])
    for power in TRIALS:
        transform = PowerTransform(np.zeros(1), np.ones(1), np.full(1, power))
        assert_allclose(transform.forward(x), yeojohnson(x, power), rtol=1e-12)
        assert_allclose(transform.inverse(yeojohnson(x, power)), x, rtol=1e-9)


def long_tails(n_rows=400):
    """Columns with a long tail above, one below, and none."""
    z = np.random.default_rng(0).normal(size=(n_rows, 3))
    return np.column_stack([np.exp(z[:, 0]), -(z[:, 1] ** 2), z[:, 2]])


@pytest.mark.parametrize("gaps", [False, True])
def test_columns_are_bent_as_makes_them_likeliest(gaps):
    x = long_tails()
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    if gaps:
        x = with_gaps(x, 0, 0.3)
    columns = [column[~np.isnan(column)] for column in x.T]
    scores = np.array([[yeojohnson_llf(p, c) for c in columns] for p in TRIALS])
    wanted = TRIALS[scores.argmax(axis=0)]
    found = likeliest_powers(x)
    assert_allclose(found[:2], wanted[:2])
    assert wanted[0] < 0.5 < 1.5 < wanted[1]
    assert scores[:, 2].max() - scores[10, 2] < LEAST_GAIN
    assert found[2] == 1


def test_densities_of_bent_columns_integrate_to_one():
    X = long_tails()[:, :1]
    sampler = DBMSampler(
        visible="gaussian", hidden_layer_sizes=3, max_iter=20, random_state=0
    ).fit(X)
    assert sampler.machine_.encoding.power_transform.power < 0.5
    values = np.concatenate([-np.geomspace(1e3, 1e-6, 20_001), [0.0]])
    values = np.concatenate([values, np.geomspace(1e-6, 1e3, 20_001)])
    density = np.exp(sampler.score_samples(values[:, None]))
    assert trapezoid(density, values) == pytest.approx(1, abs=1e-3)
    # Of the normal distribution with these moments 0.23 is below zero.
    assert sampler.score(X) > norm.logpdf(X, X.mean(), X.std()).mean() + 0.4
    assert np.mean(sampler.sample(2000) < 0) < 0.1


def test_log_density_of_the_normal_distribution_is_that_of_rows_left_out():
    """Up to a constant, with and without bends."""
    X = long_tails(60) @ [[1.0, 0.2, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]
    found, wanted = [], []
    for fitted in (normal_of(X), likeliest_normal(X)):
        transform = fitted.transform
        t = X if transform is None else transform.forward(X)
        slopes = 0 if transform is None else transform.log_slopes(X).sum(axis=1)
        total = 0.0
        for i in range(len(t)):
            rest = np.delete(t, i, axis=0)
            a, scale = fitted.shrinkage, fitted.spread
            covariance = (1 - a) * np.cov(rest.T, bias=True) + a * np.diag(scale**2)
            total += multivariate_normal(rest.mean(axis=0), covariance).logpdf(t[i])
        found.append(fitted.log_density)
        wanted.append((total + np.sum(slopes)) / len(t))
    assert found[1] > found[0] + 0.1
    assert found[1] - found[0] == pytest.approx(wanted[1] - wanted[0], abs=1e-6)


def test_columns_that_follow_each_other_are_not_bent_apart():
    """Each by itself would be likelier bent, but not all together."""
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(400, 1)) * [1, -1, 1] + 0.1 * rng.normal(size=(400, 3))
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    assert (likeliest_powers(x) != 1).all()
    assert likeliest_normal(X).transform is None
    assert Real().fit(X).power_transform is None


def test_bent_columns_with_gaps_are_filled_within_their_range():
    """Of log-normal columns that follow each other: no value below zero."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 1)) + 0.3 * rng.normal(size=(600, 3))
    X = np.exp(z)
    sampler = DBMSampler(
        visible="gaussian",
        allow_missing=True,
        hidden_layer_sizes=4,
        max_iter=40,
        random_state=0,
    ).fit(with_gaps(X[:500], 0, 0.2))
    encoding = sampler.machine_.encoding
    assert (encoding.power_transform.power < 0.5).all()
    holey = X[500:].copy()
    holey[:, 0] = np.nan
    filled = sampler.impute(holey)
    assert_array_equal(filled[:, 1:], X[500:, 1:])
    # Given the two others, log x varies by 0.36, which is half as much as z does.
    assert np.std(np.log(filled[:, 0].clip(1e-3)) - z[500:, 0]) < 0.45


def test_a_machine_that_is_worse_than_the_normal_distribution_is_told():
    X = two_kinds()[0][:300]
    machine = machine_of(X, (2,), 0, 2.0)
    sampler = DBMSampler.from_machine(machine, random_state=0)
    said = float(re.search(r"are (\S+) nats less", shortfall(sampler, X))[1])
    normal = normal_of(X)
    covariance = normal.shrunk * normal.spread * normal.spread[:, None]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, *X.shape)) * np.sqrt(normal.shrinkage) * normal.spread
    rows = normal.loc + np.sqrt(1 - normal.shrinkage) * (X - normal.loc) + noise
    plain = multivariate_normal(normal.loc, covariance).logpdf(rows)
    losses = plain - sampler.score_samples(rows.reshape(-1, 4)).reshape(plain.shape)
    # What one draw of the noise changes, the rows being given.
    error = losses.mean(axis=1).std()
    assert said == pytest.approx(losses.mean(), abs=6 * error + 0.02)
    assert said > 0.5


# Tables that are hard


def hard_tables():
    """Tables in which the covariance has no inverse, or numbers are rounded."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    return {
        "collinear": np.column_stack([X, X[:, 0] + X[:, 1], X[:, 2]]),
        "constant": np.column_stack([X, np.full(60, 3.0), np.full(60, 0.1)]),
        "wide": rng.normal(size=(12, 3)) @ rng.normal(size=(3, 30)),
        "float32": (1e4 + X).astype(np.float32),
        "offsets": 1e9 + X,
        "scales": X * [1e-100, 1, 1e8, 1e100],
    }


@pytest.mark.filterwarnings("ignore:Columns")
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", hard_tables())
def test_tables_without_an_inverse_covariance(name, gaps, tmp_path):
    X = hard_tables()[name]
    holed = with_gaps(X, 0, 0.2).astype(X.dtype) if gaps else X
    settings = {"visible": "gaussian", "hidden_layer_sizes": (5, 3), "random_state": 0}
    settings |= {"allow_missing": gaps, "max_iter": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        sampler = DBMSampler(**settings).fit(holed)
    assert np.isfinite(sampler.score_samples(holed)).all()
    spread = np.where(X.std(axis=0) > 1e-12, X.std(axis=0), 1.0)
    drawn = sampler.sample(500)
    assert drawn.dtype == X.dtype
    off = (drawn - X.mean(axis=0)) / spread
    assert np.abs(off.mean(axis=0)).max() < 1
    assert off.std(axis=0).max() < 2
    if gaps:
        filled = sampler.impute(holed, n_chains=2, burn_in=5, n_sweeps=5)
        known = ~np.isnan(holed)
        assert_array_equal(filled[known], holed[known])
        assert np.abs((filled - X) / spread).max() < 12
    if name == "collinear" and gaps:
        alone = ~np.isnan(holed[:, 0]) & ~np.isnan(holed[:, 1]) & np.isnan(holed[:, 4])
        error = (filled - X)[alone, 4] / spread[4]
        assert np.sqrt(np.mean(error**2)) < 0.3  # the two others give it
    skops.io.dump(sampler, tmp_path / "sampler.skops")
    trusted = skops.io.get_untrusted_types(file=tmp_path / "sampler.skops")
    again = skops.io.load(tmp_path / "sampler.skops", trusted=trusted)
    assert_array_equal(again.score_samples(holed), sampler.score_samples(holed))
    transformer = DBMTransformer(**settings).fit(holed)
    H = transformer.transform(holed)
    back = transformer.inverse_transform(H)
    assert back.shape == X.shape
    assert np.isfinite(back).all()
    transformer.partial_fit(holed)
    assert np.isfinite(transformer.machine_.encoding.matrix).all()


# Memory


@each_seed
def test_bases_of_chosen_columns_span_them(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(5, 5)) * 10.0 ** rng.integers(-3, 3, 5)
    chosen = rng.random((20, 5)) < 0.5
    chosen[:2] = [[False] * 5, [True] * 5]
    bases, log_volumes = spans(matrix, chosen)
    for which, basis, log_volume in zip(chosen, bases, log_volumes, strict=True):
        part = matrix[:, which]
        projection = part @ np.linalg.pinv(part, rcond=1e-12)
        assert_allclose(basis @ basis.T, projection, atol=1e-8)
        assert_allclose(log_volume, np.linalg.slogdet(part.T @ part)[1] / 2, atol=1e-7)


def test_gaps_take_memory_for_a_block_of_rows_alone():
    n_rows, n_columns = 6000, 60
    X = with_gaps(correlated(n_rows, n_columns, 0), 0, 0.2)
    machine = normal_machine(X[:300])
    sampler = DBMSampler.from_machine(machine, allow_missing=True, random_state=0)
    tracemalloc.start()
    sampler.score_samples(X)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * n_rows * n_columns**2 / 2
