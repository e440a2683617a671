"""Persistent chains that stand for all of the machine, though they hardly move.

Where data fall into clusters, Gibbs chains stay in the mode in which they are: the
shares of the modes among them are wrong, modes without a chain grow unseen, and the
gradient is biased. Three remedies:

- *Weights.* A step of the training changes the probability of each chain's state by a
  known factor. With the product of these factors as weights, chains stand for the
  machine as it is now, and answer to a step at once, before they have moved [1]_: so
  the noise of few chains does not add up from step to step. Of their weights they
  forget what they forget of where they were: next to nothing of the mode that a chain
  is in, soon what differs within a mode.
- *Exchange* with a ladder of machines down to independent units. Its cost follows from
  how slow the chains are.
- *Reseeding.* What the ladder does not reach may be reached on another path. Where a
  short annealing finds more than the ladder knows of, its ends become chains. Every
  other path begins near the rows that are likeliest by now: where the mode of a few has
  grown beyond all others, it can be out of reach from everywhere else.

.. [1] D. Carbone, M. Hua, S. Coste and E. Vanden-Eijnden, "Efficient training of
   energy-based models using Jarzynski equality", NeurIPS 2023.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from .._typing import FloatArray, Rng
from ..evidence import Evidence
from ..likelihood.centres import means_of_likeliest
from ..machine import DeepBoltzmannMachine
from ..sampling.annealing import base_of, fresh_chains
from ..sampling.path import effective_share
from ..sampling.tempering import COLUMNS, Ladder

#: Chains are compared with what they were so many updates before, and the share of the
#: newest correlation in its moving average.
LAG, NEWEST = 25, 0.2

#: From this correlation on chains are slow, and get weights; of fewer chains than so
#: many, from as much more as there is more chance in it.
SLOW, MANY = 0.02, 100

#: Log-weights are shrunk by this factor, as often as it takes, where fewer than this
#: share of the chains count: fewer chains are more noise in the gradient than weights
#: that are a little too even.
LEAST_EFFECTIVE, SHRUNK = 0.6, 0.8

#: Sweeps of exchanges, over those of updates and the correlation; at least and at most.
#: Chains that all are in one mode, and are free in there, do not look slow: so there
#: are some exchanges always.
EFFORT, LEAST_EFFORT, MOST_EFFORT = 4.0, 0.02, 1.0

#: Sweeps of annealing, over those of updates, and chains that are annealed at a time:
#: a few, so that there is another look soon.
LOOKING_EFFORT, ANNEALED = 0.05, 10

#: By how much log Z of the annealing has to be above that of the ladder, in nats: what
#: is less may be noise, and chains that stand for nothing harm.
SURPRISE = 0.5


class Mixing:
    """How slow the chains are, their weights, the ladder, what exchanges may cost.

    `correlation` is that of the visible states with those `LAG` updates before, over
    the chains; `budget` and `looking_budget`, in sweeps of a chain, are what updates
    have earned and exchanges and annealing have not spent. `n_renewed` counts chains
    that came up the ladder from independent units, or were annealed.
    """

    def __init__(self, n_chains: int, rng: Rng) -> None:
        self.rng, self.n_updates = rng, 0
        self.log_weights = ops.zeros(n_chains)
        self.correlation, self.budget, self.looking_budget = 0.0, 0.0, 0.0
        self.before: FloatArray | None = None
        self.ladder: Ladder | None = None
        self.n_renewed, self.n_looks = 0, 0

    def copy(self) -> "Mixing":
        """Copy what changes."""
        result = copy.copy(self)
        result.rng, result.log_weights = ops.copied(self.rng), self.log_weights.copy()
        result.ladder = None if self.ladder is None else self.ladder.copy()
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
        return self.is_slow(self.correlation)

    def is_slow(self, correlation: float) -> bool:
        """Whether chains of such a correlation need weights: chance is 1 / sqrt(n)."""
        return correlation > SLOW * math.sqrt(max(1, MANY / len(self.log_weights)))

    def weigh(self, changes: FloatArray) -> None:
        """Add what a step has changed in log p* of the chains' states."""
        self.log_weights += changes
        if not ops.isfinite(self.log_weights).all():  # the training has run away
            self.log_weights[...] = 0.0
        self.log_weights -= ops.log_mean_exp(self.log_weights)
        while self.effective_share < LEAST_EFFECTIVE:
            self.log_weights *= SHRUNK
            self.log_weights -= ops.log_mean_exp(self.log_weights)

    def look(self, visible: FloatArray, n_sweeps: float) -> None:
        """Note the sweeps of an update; now and then, how slow chains are."""
        effort = min(max(EFFORT * self.correlation, LEAST_EFFORT), MOST_EFFORT)
        self.budget += effort * n_sweeps
        self.looking_budget += LOOKING_EFFORT * n_sweeps
        if self.n_updates % LAG == 0:
            centred = visible - visible.mean(axis=0)
            if self.before is not None:
                newest = max(0.0, correlation(self.before, centred))  # 0 for NaN
                self.correlation += NEWEST * (newest - self.correlation)
            if self.slow and self.before is not None:
                left = remembered(self.log_weights, self.before, centred)
                self.log_weights[...] = left
            else:
                self.log_weights[...] = 0.0
            self.before = centred
        self.n_updates += 1

    def mix(
        self,
        machine: DeepBoltzmannMachine,
        means: Sequence[FloatArray],
        chains: Sequence[FloatArray],
        rows: FloatArray,
        team: ops.Workers,
    ) -> None:
        """Exchange and reseed, as far as there is a budget; chains are changed.

        `means` are those of all layers, `rows` some visible states of the data.
        """
        if len(self.log_weights) < COLUMNS:
            return
        while self.budget > 0:
            if self.ladder is None:
                rng = ops.generator(int(self.rng.integers(2**63)))
                self.ladder = Ladder(machine, rng)
            self.n_renewed += self.ladder.exchange(
                machine, means, chains, self.log_weights, team
            )
            self.budget -= self.ladder.n_chains
        if self.looking_budget > 0 and self.ladder is not None:
            base = self._base(machine, means, rows)
            fresh, log_partition, n_sweeps = fresh_chains(
                machine, base, ANNEALED, self.rng
            )
            self.looking_budget -= n_sweeps
            self._reseed(chains, fresh, log_partition - self.ladder.log_partition)

    def _base(
        self,
        machine: DeepBoltzmannMachine,
        means: Sequence[FloatArray],
        rows: FloatArray,
    ) -> DeepBoltzmannMachine:
        """Where annealing begins: in turn near the likeliest rows, and broadly.

        Broadly is anywhere between even chances and the means, where the ladder begins.
        """
        self.n_looks += 1
        if self.n_looks % 2:
            likeliest = means_of_likeliest(machine, Evidence.of_rows(rows))
            return base_of(machine, likeliest, 1.0)
        return base_of(machine, means, float(self.rng.random()))

    def _reseed(
        self,
        chains: Sequence[FloatArray],
        fresh: Sequence[FloatArray],
        surprise: float,
    ) -> None:
        """Replace chains by such as are not known, in the share that they hold."""
        if not surprise > SURPRISE:  # NaN where training has run away
            return
        n_unknown = round((1 - math.exp(SURPRISE - surprise)) * len(fresh[0]))
        places = self.rng.permutation(len(chains[0]))[:n_unknown]
        for chain, new in zip(chains, fresh, strict=True):
            chain[places] = new[: len(places)]
        self.log_weights[places] = 0.0
        self.n_renewed += len(places)


def remembered(
    log_weights: FloatArray, before: FloatArray, now: FloatArray
) -> FloatArray:
    """What is left of the weights of chains that were in one place, now in another.

    Along each principal direction of the chains, of the part of the log-weights that
    follows it, the share by which the chains are correlated there with what they were.
    """
    inner: FloatArray = (now @ now.T).astype(float)
    if not ops.isfinite(inner).all():  # the training has run away
        return ops.zeros(len(log_weights))
    # Of n chains, as vectors of n numbers: where they stand along each direction.
    _, places = ops.eigh(inner)
    earlier = before @ (now.T @ places)
    lengths = ops.maximum(ops.norm(earlier, axis=0), ops.finfo(float).tiny)
    shares = ops.clip((earlier * places).sum(axis=0) / lengths, 0, 1)
    left: FloatArray = places @ (shares * (log_weights @ places))
    return left


def correlation(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two arrays that have been centred; NaN if one has no variance."""
    products: list[Any] = [
        float(ops.mean(a * b, dtype=float))
        for a, b in ((one, other), (one, one), (other, other))
    ]
    variance = products[1] * products[2]
    return products[0] / variance**0.5 if variance else math.nan
