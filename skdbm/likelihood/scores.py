"""The score of rows in the units of their columns."""

from .._typing import FloatArray, Rows
from ..encodings.rows import EncodedRows
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
    """Bound or estimate of log p of every row of `X`, a density for real columns."""
    rows = EncodedRows(machine.encoding, X, machine.dtype)
    tol, max_iter = likelihood.mean_field_tol, likelihood.mean_field_max_iter
    if n_importance_samples is None:
        n_importance_samples = likelihood.n_importance_samples
    if n_importance_samples:
        scores = importance_weighted_log_likelihood(
            machine,
            rows,
            log_partition,
            n_importance_samples=n_importance_samples,
            random_state=seed,
            tol=tol,
            max_iter=max_iter,
            n_jobs=n_jobs,
        )
    else:
        scores = bound(
            machine, rows, log_partition, tol=tol, max_iter=max_iter, n_jobs=n_jobs
        )
    return scores + machine.encoding.log_jacobian(X)
