"""Estimators that are quick to fit, rows for them, and what they have learned."""

import numpy as np
from numpy.testing import assert_array_equal

from skdbm import DBMSampler, DBMTransformer, Likelihood, Pretraining

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
    "random_state": 0,
}
#: Schedule of samples that are quick to draw.
QUICK = {"burn_in": 5}

#: Fields of `Likelihood`, by the names that `settings` takes.
LIKELIHOOD = {
    "n_annealing_chains": "n_chains",
    "n_importance_samples": "n_importance_samples",
    "mean_field_tol": "mean_field_tol",
    "mean_field_max_iter": "mean_field_max_iter",
}


def settings(**params):
    """Hyper-parameters, fields of value objects among them put into these."""
    fields = {
        field: params.pop(name) for name, field in LIKELIHOOD.items() if name in params
    }
    if fields:
        params["likelihood"] = Likelihood(**fields)
    max_iter = params.pop("pretraining_max_iter", None)
    method = params.get("pretraining", "grow")
    if max_iter is not None and isinstance(method, str):
        params["pretraining"] = Pretraining(method, max_iter=max_iter)
    return params


def small(cls, **params):
    """Make an estimator that is quick to fit."""
    return cls(**settings(**(SMALL | params)))


def wrapped(cls, machine, **params):
    """Wrap a machine by an estimator that is quick to go on with."""
    params = SMALL | {"hidden_layer_sizes": machine.layer_sizes[1:]} | params
    return cls.from_machine(machine, **settings(**params))


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


class Watcher:
    """Call a function with the record and a fitted estimator, epoch after epoch."""

    def __init__(self, function):
        self.function = function

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name != "training":
            return None
        return self.function(context.record, fitted_estimator)
