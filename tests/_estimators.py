"""Estimators that are quick to fit, rows for them, and what they have learned."""

import numpy as np
from numpy.testing import assert_array_equal

from skdbm import DBMSampler, DBMTransformer

CLASSES = [DBMTransformer, DBMSampler]
SMALL = {
    "hidden_layer_sizes": (6, 4),
    "max_iter": 3,
    "batch_size": 10,
    "learning_rate_init": 0.02,
    "n_chains": 10,
    "n_gibbs_steps": 2,
    "n_mean_field_steps": 3,
    "n_posterior_gibbs_steps": 1,
    "pretraining_max_iter": 3,
    "n_annealing_chains": 20,
    "n_temperatures": 50,
    "random_state": 0,
}
SMALL_SAMPLER = {"burn_in": 5, "thin": 2}


def small(cls, **params):
    """Make an estimator that is quick to fit."""
    own = SMALL_SAMPLER if cls is DBMSampler else {}
    return cls(**(SMALL | own | params))


def two_kinds(n_rows=64, n_columns=8, seed=0):
    """Make binary rows of two kinds, left half on or right half on, a tenth flipped."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=(n_rows, 1))
    clean = (np.arange(n_columns) < n_columns // 2) == kind
    return (clean ^ (rng.random(clean.shape) < 0.1)).astype(float)


def parameters(estimator):
    """Weights and biases of a fitted estimator."""
    return [*estimator.machine_.weights, *estimator.machine_.biases]


def assert_same_machine(one, other):
    for a, b in zip(parameters(one), parameters(other), strict=True):
        assert_array_equal(a, b)
