"""Likelihood: enumeration, sequential Monte Carlo, bounds of log p(v).

All quantities are natural logarithms (nats), summed in float64.
"""

from .annealing import (
    AnnealedLogPartition,
    annealed_log_partition,
)
from .bounds import bound, importance_weighted_log_likelihood
from .exact import exact_log_likelihood, exact_log_partition, exact_samples
from .log_partition import log_partition

__all__ = [
    "AnnealedLogPartition",
    "annealed_log_partition",
    "bound",
    "exact_log_likelihood",
    "exact_log_partition",
    "exact_samples",
    "importance_weighted_log_likelihood",
    "log_partition",
]
