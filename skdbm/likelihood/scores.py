"""The score of rows in the units of their columns."""

from typing import Any

from .._typing import FloatArray, Rows
from ..encodings.rows import DrawnRows
from ..machine import DeepBoltzmannMachine
from ..settings import Likelihood
from .bounds import bound, importance_weighted_log_likelihood


def log_likelihood(
    machine: DeepBoltzmannMachine,
    X: Rows,
    log_partition: float | FloatArray,
    likelihood: Likelihood,
    seed: int,
    *,
    n_importance_samples: int | None = None,
    n_jobs: int | None = None,
) -> FloatArray:
    """Bound or estimate of log p of every row of `X`, a density for real columns.

    Where values are probabilities of states it is that of states drawn with them: log p
    is defined for states alone, and the formula for it falls at values between them.
    """
    rows = DrawnRows(machine.encoding, X, machine.dtype, seed)
    settings: dict[str, Any] = {
        "tol": likelihood.mean_field_tol,
        "max_iter": likelihood.mean_field_max_iter,
        "n_jobs": n_jobs,
    }
    if n_importance_samples is None:
        n_importance_samples = likelihood.n_importance_samples
    if n_importance_samples:
        settings |= {"n_importance_samples": n_importance_samples, "random_state": seed}
        scores = importance_weighted_log_likelihood(
            machine, rows, log_partition, **settings
        )
    else:
        scores = bound(machine, rows, log_partition, **settings)
    return scores + machine.encoding.log_jacobian(X)
