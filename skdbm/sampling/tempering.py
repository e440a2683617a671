"""Replica exchange between independent units and a machine, as it learns.

Where data fall into clusters, Gibbs chains stay in the mode in which they are. A ladder
of machines leads from independent units, whose chains are drawn anew at every sweep, to
the machine itself; neighbours on it exchange states so that the distribution of each
stays what it is (parallel tempering [1]_ [2]_). States that come up from the lowest
rung have forgotten all.

All rungs share the couplings, so one product serves all of them, and the fields that an
exchange needs are those of the next sweep. The parity of layers with more units is
summed out. Rungs stand where exchanges are rejected equally often, and their number
follows from the sum of the rejections, the barrier of the path [3]_.

.. [1] G. Desjardins, A. Courville, Y. Bengio, P. Vincent and O. Delalleau, "Tempered
   Markov chain Monte Carlo for training of restricted Boltzmann machines", AISTATS
   2010.
.. [2] K. Cho, T. Raiko and A. Ilin, "Parallel tempering is efficient for learning
   restricted Boltzmann machines", IJCNN 2010.
.. [3] S. Syed, A. Bouchard-Cote, G. Deligiannidis and A. Doucet, "Non-reversible
   parallel tempering", Journal of the Royal Statistical Society B 84, 2022.
"""

import copy
import math
from collections.abc import Sequence

from .. import ops
from .._typing import FloatArray, IntArray, Rng
from ..evidence import NOTHING
from ..machine import DeepBoltzmannMachine
from .annealing import base_of, log_partition_of_base
from .gibbs import initial_states
from .path import Chains, Path

#: Chains on every rung.
COLUMNS = 20

#: Rungs, over the barrier; at least and at most.
RUNGS_PER_BARRIER = 2.5
LEAST_RUNGS, MOST_RUNGS = 3, 64

#: Exchanges after which rungs are spaced anew, and the share of the newest in what is
#: known of rejections and of log Z.
SPACED_EVERY, NEWEST = 50, 0.05

#: Added to every rejection where rungs are spaced: no two stand in one place.
LEAST_REJECTION = 1e-3


class Ladder:
    """Chains on the rungs below a machine, and how the rungs are spaced.

    `stops` run from 0, the independent units, to 1, the machine; `states` hold
    `COLUMNS` chains for every stop but the last, rung by rung. `fresh` tells which of
    them have been on the lowest rung since they last were chains of the machine, and
    `log_weights` are those that came with the others from there.
    `rejections` and `log_ratios`, of Z from each stop to the next, are moving averages.
    """

    def __init__(self, machine: DeepBoltzmannMachine, rng: Rng) -> None:
        self.rng, self.n_exchanges = rng, 0
        self.stops = ops.linspace(0, 1, LEAST_RUNGS)
        self.rejections = ops.full(LEAST_RUNGS - 1, 0.5)
        self.log_ratios = ops.zeros(LEAST_RUNGS - 1)
        self.states = initial_states(machine, COLUMNS * (LEAST_RUNGS - 1), rng)
        self.fresh = ops.zeros(len(self.states[0]), dtype=bool)
        self.log_partition = math.nan
        self.log_weights = ops.zeros(len(self.fresh))

    def copy(self) -> "Ladder":
        """Copy what changes."""
        result = copy.copy(self)
        result.rng, result.fresh = ops.copied(self.rng), self.fresh.copy()
        result.states = [state.copy() for state in self.states]
        result.rejections = self.rejections.copy()
        result.log_ratios = self.log_ratios.copy()
        result.log_weights = self.log_weights.copy()
        return result

    @property
    def n_chains(self) -> int:
        """Chains that an exchange sweeps, those of the machine included."""
        return COLUMNS * len(self.stops)

    def exchange(
        self,
        machine: DeepBoltzmannMachine,
        means: Sequence[FloatArray],
        chains: Sequence[FloatArray],
        log_weights: FloatArray,
        team: ops.Workers,
    ) -> int:
        """Exchange states of neighbours, then sweep; how many new ones reached the top.

        Some `chains` of the machine, at least `COLUMNS`, take part, and are changed.
        Their weights go with the states; those that come from the lowest rung have 1.
        """
        top = self.rng.permutation(len(chains[0]))[:COLUMNS]
        states = [
            ops.concatenate([below, own[top]])
            for below, own in zip(self.states, chains, strict=True)
        ]
        base = base_of(machine, means, 1.0)
        path = Path(base, machine)
        blocks = ops.row_blocks(self.n_chains, ops.TRAINING_ROWS)
        parts = [
            Chains(path, [state[block] for state in states], None, NOTHING)
            for block in blocks
        ]
        rungs: IntArray = ops.repeat(ops.arange(len(self.stops)), COLUMNS)
        partners = self._partners()
        stops = self.stops.astype(states[0].dtype)[:, None]

        def gains(part: Chains, block: slice) -> FloatArray:
            part.look()
            own, other = stops[rungs[block]], stops[partners[rungs[block]]]
            return part.log_density(other) - part.log_density(own)

        gain = ops.concatenate(team.map(gains, parts, blocks)).reshape(-1, COLUMNS)
        # The places stay, and the rungs move: no state has to be copied.
        rungs = self._exchanged(gain, rungs, partners)
        rngs = [ops.generator(int(self.rng.integers(2**63))) for _ in blocks]
        team.map(
            lambda part, block, rng: part.sweep(stops[rungs[block]], rng),
            parts,
            blocks,
            rngs,
        )
        self.n_exchanges += 1
        self.log_partition = self.log_ratios.sum() + log_partition_of_base(base)
        arrived = self._put_back(states, rungs, chains, log_weights, top)
        if self.n_exchanges % SPACED_EVERY == 0:
            self._space()
        return arrived

    def _partners(self) -> IntArray:
        """The rung with which each exchanges: every other pair, in turn."""
        partners = ops.arange(len(self.stops))
        for rung in range(self.n_exchanges % 2, len(self.stops) - 1, 2):
            partners[[rung, rung + 1]] = rung + 1, rung
        return partners

    def _exchanged(
        self, gain: FloatArray, rungs: IntArray, partners: IntArray
    ) -> IntArray:
        """Rung of every chain after the exchange; `gain` is log p at the partner's.

        The ratio of Z is by the geometric bridge between neighbours.
        """
        rungs = rungs.reshape(gain.shape).copy()
        newest = max(NEWEST, 1 / (self.n_exchanges // 2 + 1))
        for rung in ops.flatnonzero(partners > ops.arange(len(partners))):
            up, down = gain[rung], gain[rung + 1]
            accept = ops.exp(ops.minimum(up + down, 0))
            yes = self.rng.random(COLUMNS) < accept
            rungs[rung, yes], rungs[rung + 1, yes] = rung + 1, rung
            ratio = ops.log_mean_exp(up / 2) - ops.log_mean_exp(down / 2)
            self.rejections[rung] += newest * (
                1 - accept.mean() - self.rejections[rung]
            )
            self.log_ratios[rung] += newest * (ratio - self.log_ratios[rung])
        return rungs.ravel()

    def _put_back(
        self,
        states: Sequence[FloatArray],
        rungs: IntArray,
        chains: Sequence[FloatArray],
        log_weights: FloatArray,
        top: IntArray,
    ) -> int:
        """Sort states by rung, the highest into the chains; how many are fresh."""
        places = ops.argsort(rungs, kind="stable")
        below, above = places[:-COLUMNS], places[-COLUMNS:]
        for own, chain, state in zip(self.states, chains, states, strict=True):
            own[...], chain[top] = state[below], state[above]
        fresh = ops.concatenate([self.fresh, ops.zeros(COLUMNS, dtype=bool)])
        self.fresh = fresh[below]
        self.fresh[:COLUMNS] = True
        weights = ops.concatenate([self.log_weights, log_weights[top]])
        self.log_weights, log_weights[top] = weights[below], weights[above]
        self.log_weights[:COLUMNS] = 0.0
        return int(fresh[above].sum())

    def _space(self) -> None:
        """Place as many rungs as the barrier asks for, with equal rejections."""
        before = self.stops
        log_z, barrier = (
            ops.concatenate([[0.0], ops.cumsum(parts)])
            for parts in (self.log_ratios, self.rejections + LEAST_REJECTION)
        )
        n_rungs = math.ceil(RUNGS_PER_BARRIER * barrier[-1]) + 1
        n_rungs = min(max(n_rungs, LEAST_RUNGS), MOST_RUNGS)
        wanted = ops.linspace(0, barrier[-1], n_rungs)
        self.stops = stops = ops.interp(wanted, barrier, before)
        # Each rung goes on with the chains of the nearest old one.
        distances = ops.abs(stops[:-1, None] - before[:-1])
        places = COLUMNS * distances.argmin(axis=1)[:, None] + ops.arange(COLUMNS)
        self.states = [state[places.ravel()] for state in self.states]
        self.fresh = self.fresh[places.ravel()]
        self.log_weights = self.log_weights[places.ravel()]
        self.rejections = ops.full(n_rungs - 1, barrier[-1] / (n_rungs - 1))
        self.log_ratios = ops.diff(ops.interp(stops, before, log_z))
