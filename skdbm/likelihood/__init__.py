"""Likelihood: enumeration, annealed importance sampling, bounds of log p(v).

All quantities are natural logarithms (nats), summed in float64.
"""

from .annealing import (
    AnnealedLogPartition,
    Bracket,
    annealed_log_partition,
    annealed_samples,
    annealing_bracket,
    log_partition,
    reverse_annealed_log_partition,
)
from .bounds import bound, importance_weighted_log_likelihood, unnormalised_bound
from .exact import (
    MAX_STATES,
    PREFER_EXACT_STATES,
    exact_log_likelihood,
    exact_log_partition,
    exact_log_partitions,
    exact_samples,
    n_exact_terms,
    prefers_exact,
)
from .following import FollowedLogPartition

__all__ = [
    "MAX_STATES",
    "PREFER_EXACT_STATES",
    "AnnealedLogPartition",
    "Bracket",
    "FollowedLogPartition",
    "annealed_log_partition",
    "annealed_samples",
    "annealing_bracket",
    "bound",
    "exact_log_likelihood",
    "exact_log_partition",
    "exact_log_partitions",
    "exact_samples",
    "importance_weighted_log_likelihood",
    "log_partition",
    "n_exact_terms",
    "prefers_exact",
    "reverse_annealed_log_partition",
    "unnormalised_bound",
]
