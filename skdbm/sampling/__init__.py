"""Sampling: Gibbs chains of a machine, and of a machine given evidence."""

from .gibbs import conditional_means, gibbs_sweeps, initial_states

__all__ = ["conditional_means", "gibbs_sweeps", "initial_states"]
