"""Real columns that vary together: the normal distribution, and what couplings add."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skdbm import DBMSampler
from skdbm.encodings import Real
from skdbm.encodings.covariance import normal_of
from skdbm.encodings.rows import EncodedRows
from skdbm.evidence import Evidence
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
    return Evidence.of_rows(EncodedRows(machine.encoding, X, np.float64)[:])


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
