"""Persistent chains that stand for all of the machine, though they hardly move.

Where data fall into clusters, Gibbs chains stay in the mode in which they are: the
shares of the modes among them are wrong, modes without a chain grow unseen, and the
gradient is biased. Two remedies, whose cost follows from how slow the chains are:

- *Weights.* A step of the training changes the probability of each chain's state by a
  known factor. With the product of these factors as weights, chains that were samples
  of an early machine stay samples of the present one, whether they move or not [1]_.
  Where the chains move by themselves, all weights are equal.
- *Renewal.* Now and then some chains give way to new ones, annealed from independent
  units on two paths: they find modes in which no chain is.

.. [1] D. Carbone, M. Hua, S. Coste and E. Vanden-Eijnden, "Efficient training of
   energy-based models using Jarzynski equality", NeurIPS 2023.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from .._typing import FloatArray, Rng
from ..machine import DeepBoltzmannMachine
from ..sampling.annealing import fresh_chains
from ..sampling.path import effective_share, resampled

#: Chains are compared with what they were so many updates before, and the share of the
#: newest correlation in its moving average.
LAG, NEWEST = 25, 0.2

#: From this correlation on, chains are slow, and get weights.
SLOW = 0.02

#: Sweeps for renewal, over those of updates and the correlation; at least and at most.
#: Chains that all are in one mode, and are free in there, do not look slow: so some are
#: renewed always.
EFFORT, LEAST_EFFORT, MOST_EFFORT = 4.0, 0.02, 1.0

#: Chains annealed on each path at a renewal, and those that give way, as shares of all
#: chains. Those that stay remember modes which new ones may miss.
ANNEALED, RENEWED = 0.5, 0.5

#: Variances of the changes of log-weights, summed over the updates from one renewal to
#: the next, beyond which their level is not trusted.
LARGEST_DRIFT = 0.5

#: Chains are drawn anew by weight where fewer than this share of them count; not before
#: that: a light chain can become heavy again, one that was dropped cannot.
LEAST_EFFECTIVE = 0.3


class Renewal:
    """Log-weights of the chains, how slow they are, and what renewal may still cost.

    `correlation` is that of the visible states with those `LAG` updates before, over
    the chains; `budget`, in sweeps of a chain, is what updates have earned and renewals
    have not spent.
    """

    def __init__(self, n_chains: int, rng: Rng) -> None:
        self.rng = rng
        self.log_weights = ops.zeros(n_chains)
        self.correlation, self.budget = 0.0, 0.0
        self.drift = math.inf  # variances of the changes since a renewal, summed
        self.n_renewals, self.n_updates = 0, 0
        self.before: FloatArray | None = None

    def copy(self) -> "Renewal":
        """Copy what changes."""
        result = copy.copy(self)
        result.rng, result.log_weights = ops.copied(self.rng), self.log_weights.copy()
        return result

    @property
    def shares(self) -> FloatArray:
        """Weights of the chains, which sum to one."""
        weights: FloatArray = ops.exp(self.log_weights - self.log_weights.max())
        weights /= weights.sum()
        return weights

    @property
    def effective_share(self) -> float:
        """Effective sample size of the weighted chains, over their number."""
        return float(effective_share(self.log_weights))

    @property
    def slow(self) -> bool:
        """Whether chains need weights."""
        return self.correlation > SLOW

    def look(self, visible: FloatArray, n_sweeps: float) -> None:
        """Note the sweeps of an update; now and then, how slow chains are."""
        effort = min(max(EFFORT * self.correlation, LEAST_EFFORT), MOST_EFFORT)
        self.budget += effort * n_sweeps
        if self.n_updates % LAG == 0:
            centred = visible - visible.mean(axis=0)
            if self.before is not None:
                newest = max(0.0, correlation(self.before, centred))  # 0 for NaN
                self.correlation += NEWEST * (newest - self.correlation)
            self.before = centred
            if not self.slow:
                self.log_weights[...], self.drift = 0.0, math.inf
        self.n_updates += 1

    def weigh(self, changes: FloatArray, chains: Sequence[FloatArray]) -> None:
        """Add what a step has changed in log p* of the chains' states."""
        self.log_weights += changes
        self.drift += float(changes.var())
        if not ops.isfinite(self.log_weights).all():  # the training has run away
            self.log_weights[...], self.drift = 0.0, math.inf
        if self.effective_share < LEAST_EFFECTIVE:
            drawn = resampled(chains, self.log_weights, len(changes), self.rng)
            for state, new in zip(chains, drawn, strict=True):
                state[...] = new
            self.log_weights[...] = ops.log_mean_exp(self.log_weights)

    def renew(
        self,
        machine: DeepBoltzmannMachine,
        means: Sequence[FloatArray],
        chains: Sequence[FloatArray],
        team: ops.Workers,
    ) -> None:
        """Replace some chains, if there is a budget."""
        if self.budget <= 0:
            return
        n = len(self.log_weights)
        places = self.rng.permutation(n)[: math.ceil(RENEWED * n)]
        n_annealed = math.ceil(ANNEALED * n) + 1
        fresh, level, n_sweeps = fresh_chains(
            machine, means, n_annealed, len(places), self.rng, team
        )
        self.budget -= n_sweeps
        if not math.isfinite(level):  # the training has run away
            return
        for state, new in zip(chains, fresh, strict=True):
            state[places] = new
        # Weights are those of the unnormalised probability. So a mode that is found
        # once in ten renewals counts for as much as it holds. But after large steps
        # the old ones have come to be noise; then all count alike on average.
        if self.drift > LARGEST_DRIFT:
            self.log_weights += level - ops.log_mean_exp(self.log_weights)
        self.log_weights[places] = level
        self.drift = 0.0 if self.slow else math.inf
        self.n_renewals += 1


def correlation(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two arrays that have been centred; NaN if one has no variance."""
    products: list[Any] = [
        float(ops.mean(a * b, dtype=float))
        for a, b in ((one, other), (one, one), (other, other))
    ]
    variance = products[1] * products[2]
    return products[0] / variance**0.5 if variance else math.nan
