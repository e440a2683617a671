"""Log Z followed from one machine to the next, as they come in training.

The first machine is annealed. From then on chains move from the last machine to the
next one: a sequential Monte Carlo sampler (Del Moral, Doucet and Jasra, Journal of the
Royal Statistical Society B 68, 2006) along the course of training (Desjardins,
Courville and Bengio, NIPS 2011). The estimate of Z is unbiased, up to the adaptation
of the steps, however many machines there are; errors of all ways since the last
annealing add up. They are those of chains that have forgotten at each machine how they
were resampled at the last one; slow chains have more. Differences of successive
machines are more precise than either value.
"""

import math

from .. import ops
from .._typing import FloatArray, Seed
from ..machine import DeepBoltzmannMachine
from .annealing import anneal, summary
from .path import AdaptiveSteps, Path, carry, resampled

#: A step may spread the log-weights by so much (standard deviation over the chains):
#: some dozens of steps to a machine early in training.
STEP_SPREAD = 0.02

#: The longest step, which all are in the end: chains need some sweeps to forget what
#: resampling has given them in common.
LONGEST_STEP = 1 / 20

#: Log Z is annealed anew where the way from the last machine takes more steps than
#: this share of `n_temperatures`: a step costs more than one of annealing.
LONGEST_WAY = 0.5

#: It is also annealed anew when the standard error has grown by this factor, over that
#: of the annealing or this value for a single chain, whichever is larger.
LARGEST_GROWTH = 2.0
SMALLEST_ERROR = 0.2


class FollowedLogPartition:
    """Log Z of machines of which each is close to the one before.

    `n_steps` led from the machine before to the last one, 0 if it was annealed;
    `states` are where the chains are, resampled: samples of the last machine.
    """

    log_partition: float
    standard_error: float
    n_steps: int
    states: list[FloatArray]

    def __init__(
        self,
        *,
        n_chains: int = 100,
        n_temperatures: int = 1000,
        random_state: Seed = None,
    ) -> None:
        self.n_chains, self.n_temperatures = n_chains, n_temperatures
        self._seed = ops.seed_sequence(random_state)
        self._machine: DeepBoltzmannMachine | None = None
        self._first_error = 0.0

    def update(
        self, machine: DeepBoltzmannMachine, *, n_jobs: int | None = None
    ) -> tuple[float, float]:
        """Go on to a machine, which must not change; log Z and its standard error."""
        # Rounding to float32 is far below the standard error, and twice as fast.
        machine = machine.astype(ops.float32)
        seed = self._seed.spawn(1)[0]
        before = self._machine
        if before is None or not self._follow(Path(before, machine), seed, n_jobs):
            self._anneal(machine, seed, n_jobs)
        self._machine = machine
        return self.log_partition, self.standard_error

    def _anneal(
        self, machine: DeepBoltzmannMachine, seed: ops.SeedSequence, n_jobs: int | None
    ) -> None:
        """Begin anew with this machine."""
        first, second = seed.spawn(2)
        result, states = anneal(
            machine, self.n_chains, self.n_temperatures, first, n_jobs
        )
        self.log_partition, self.n_steps = result.log_partition, 0
        self.standard_error = self._first_error = result.standard_error
        self.states = resampled(states, result.log_weights, self.n_chains, second)

    def _follow(self, path: Path, seed: ops.SeedSequence, n_jobs: int | None) -> bool:
        """Lead the chains along a path; whether its end was near enough."""
        first, second = seed.spawn(2)
        states = [state.copy() for state in self.states]
        most = max(1, int(LONGEST_WAY * self.n_temperatures))
        steps = AdaptiveSteps(STEP_SPREAD, LONGEST_STEP, most)
        with ops.workers(n_jobs) as team:
            journey = carry(path, steps, states, first, team)
        if journey.n_steps > most:
            return False
        ends = ops.array([0.0, 1.0])
        ratio = summary(journey.log_weights, ends)
        error = math.hypot(self.standard_error, ratio.standard_error)
        least = SMALLEST_ERROR / math.sqrt(self.n_chains)
        if error > LARGEST_GROWTH * max(self._first_error, least):
            return False
        self.log_partition += ratio.log_partition
        self.standard_error, self.n_steps = error, journey.n_steps
        self.states = resampled(states, journey.log_weights, self.n_chains, second)
        return True
