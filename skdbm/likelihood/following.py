"""Log Z followed from one machine to the next, as they come in training.

The first machine is annealed. From then on chains move from the last machine to the
next one: a sequential Monte Carlo sampler (Del Moral, Doucet and Jasra, Journal of the
Royal Statistical Society B 68, 2006) along the course of training (Desjardins,
Courville and Bengio, NIPS 2011). The estimate of Z is unbiased, up to the adaptation
of the steps, however many machines there are; errors of all ways since the last
annealing add up. Differences of successive machines are more precise than either value.

Chains that follow cannot enter a mode that has grown without them. So each machine is
annealed as well, with few chains; where they find more, the machine is annealed anew.
"""

import math

from .. import ops
from .._typing import FloatArray, Seed
from ..machine import DeepBoltzmannMachine
from ..sampling.path import AdaptiveSteps, Path, carry, resampled
from .annealing import SPREADS, annealed_with_chains, jackknife, warn_if_uncertain

#: Chains that follow, and those of a population that looks for more.
FOLLOWING_CHAINS, LOOKING_CHAINS = 100, 25

#: A step may spread the log-weights by so much (standard deviation over the chains):
#: some dozens of steps to a machine early in training.
STEP_SPREAD = 0.02

#: The longest step, which all are in the end: chains need some sweeps to forget what
#: resampling has given them in common.
LONGEST_STEP = 1 / 20

#: Log Z is annealed anew where the way from the last machine takes more steps.
MOST_STEPS = 500

#: It is also annealed anew when the standard error has grown by this factor, over that
#: of the annealing or this value for a single chain, whichever is larger.
LARGEST_GROWTH = 5.0
SMALLEST_ERROR = 0.2

#: How many standard errors more the lookout has to find.
SURPRISE = 2.0


class FollowedLogPartition:
    """Log Z of machines of which each is close to the one before.

    `n_steps` led from the machine before to the last one, 0 if it was annealed;
    `states` are where the chains are, resampled: samples of the last machine.
    """

    log_partition: float
    standard_error: float
    n_steps: int
    states: list[FloatArray]

    def __init__(self, *, n_chains: int = 50, random_state: Seed = None) -> None:
        self.n_chains = n_chains
        self._seed = ops.seed_sequence(random_state)
        self._machine: DeepBoltzmannMachine | None = None
        self._first_error = 0.0

    def update(
        self, machine: DeepBoltzmannMachine, *, n_jobs: int | None = None
    ) -> tuple[float, float]:
        """Go on to a machine, which must not change; log Z and its standard error."""
        # Rounding to float32 is far below the standard error, and twice as fast.
        machine = machine.astype(ops.float32)
        first, second, third = self._seed.spawn(3)
        before = self._machine
        if (
            before is None
            or not self._follow(Path(before, machine), first, n_jobs)
            or self._misses_some(machine, second, n_jobs)
        ):
            self._anneal(machine, third, n_jobs)
        self._machine = machine
        return self.log_partition, self.standard_error

    def _anneal(
        self, machine: DeepBoltzmannMachine, seed: ops.SeedSequence, n_jobs: int | None
    ) -> None:
        """Begin anew with this machine."""
        result, states = annealed_with_chains(machine, self.n_chains, seed, n_jobs)
        self.log_partition, self.n_steps = result.log_partition, 0
        self.standard_error = self._first_error = result.standard_error
        warn_if_uncertain(self.log_partition, self.standard_error)
        # Neighbours are copies of one chain.
        places = ops.arange(FOLLOWING_CHAINS) * len(states[0]) // FOLLOWING_CHAINS
        self.states = [state[places] for state in states]

    def _misses_some(
        self, machine: DeepBoltzmannMachine, seed: ops.SeedSequence, n_jobs: int | None
    ) -> bool:
        """Whether a short annealing finds more than the chains that follow."""
        found, _ = annealed_with_chains(
            machine, LOOKING_CHAINS, seed, n_jobs, spreads=SPREADS[1:2]
        )
        error = math.hypot(found.standard_error, self.standard_error)
        return found.log_partition - self.log_partition > SURPRISE * error

    def _follow(self, path: Path, seed: ops.SeedSequence, n_jobs: int | None) -> bool:
        """Lead the chains along a path; whether its end was near enough."""
        first, second = seed.spawn(2)
        states = [state.copy() for state in self.states]
        steps = AdaptiveSteps(STEP_SPREAD, LONGEST_STEP, MOST_STEPS)
        with ops.workers(n_jobs) as team:
            journey = carry(path, steps, states, first, team)
        if journey.n_steps > MOST_STEPS:
            return False
        ratio, its_error = jackknife(journey.log_weights)
        # Shares of modes that chains cannot leave err alike on every way.
        error = self.standard_error + its_error
        least = SMALLEST_ERROR / math.sqrt(len(states[0]))
        if error > LARGEST_GROWTH * max(self._first_error, least):
            return False
        self.log_partition += ratio
        self.standard_error, self.n_steps = error, journey.n_steps
        n_chains = len(states[0])
        self.states = resampled(states, journey.log_weights, n_chains, second)
        return True
