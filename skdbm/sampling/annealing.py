"""Populations of chains, annealed from independent units to a machine.

Sequential Monte Carlo [1]_: chains move along a path of machines, and a population is
drawn anew by weight where a few chains have come to carry all of it. The mean weight of
a population is an unbiased estimate of Z, and its chains, by weight, are samples.

Where the path begins decides what is found. Kinds of states that only a few chains
reach early on are lost later, whatever the number of steps. So there are several paths:
from independent units with the means of *all* layers, from broader ones, here with half
the logits, and from near groups of states. Every path gives all of Z on average, and
each comes to some states often and to others hardly ever. So each counts in the states
that are rather like its beginning: with the shares r_k(s) of its independent units in
the density of all, Z is the sum of the mean weights times r_k, whatever the paths.

.. [1] P. Del Moral, A. Doucet and A. Jasra, "Sequential Monte Carlo samplers", Journal
   of the Royal Statistical Society B 68, 2006.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .. import ops
from .._typing import FloatArray, Rng, Seed
from ..evidence import Evidence
from ..machine import DeepBoltzmannMachine
from .gibbs import gibbs_sweeps, initial_states
from .path import AdaptiveSteps, GivenSteps, Path, carry, resampled

#: The independent units where paths begin: shares of the logits of the means.
BASES = (1.0, 0.5)

#: Share of even means that is mixed into those of a base, so that logits are finite.
EVEN_SHARE = 1e-3

#: Largest spread of the log-weights (standard deviation) from one step to the next, and
#: the longest step and the most there may be.
STEP_SPREAD, LONGEST_STEP, MOST_STEPS = 0.3, 0.1, 5000

#: Least chains of a population that is given what is known of a row, and the spread of
#: their log-weights from one step to the next: many chains help more than short steps.
LEAST_CHAINS, SPREAD_GIVEN = 48, 0.7

#: Chains of the pilot run that spaces the steps.
PILOT_CHAINS = 100

#: Chains and sweeps that give the means of a machine which does not know them.
MEAN_CHAINS, MEAN_SWEEPS = 100, 200


@dataclass(frozen=True)
class Annealed:
    """Populations that were annealed on one path.

    `log_weights` are of shape (n_populations, n_chains), and the mean of the weights of
    a population is an estimate of Z; `states` are those of all chains.
    """

    log_weights: FloatArray
    states: list[FloatArray]
    n_steps: int

    @property
    def log_populations(self) -> FloatArray:
        """The estimate of log Z by each population."""
        return ops.log_mean_exps(self.log_weights)


def means_of(
    machine: DeepBoltzmannMachine, seed: Seed, n_jobs: int | None = None
) -> Sequence[FloatArray]:
    """Means of all layers: those of the training, or of chains from coin flips."""
    if machine.means is not None:
        return machine.means
    even = machine.uncoupled([ops.zeros_like(bias) for bias in machine.biases])
    first, second = ops.seed_sequence(seed).spawn(2)
    states = initial_states(even, MEAN_CHAINS, first)
    gibbs_sweeps(machine, states, MEAN_SWEEPS, random_state=second, n_jobs=n_jobs)
    return [state.mean(axis=0) for state in states]


def base_of(
    machine: DeepBoltzmannMachine, means: Sequence[FloatArray], share: float
) -> DeepBoltzmannMachine:
    """Independent units with a share of the logits of these means."""
    biases = []
    for unit, mean in zip(machine.units, means, strict=True):
        even = unit.mean(ops.zeros((1, len(mean))))[0]
        mean = (1 - EVEN_SHARE) * mean.astype(ops.float64) + EVEN_SHARE * even
        # Rows without a word have means of zero, and any bias will do.
        with ops.errstate(divide="ignore", invalid="ignore"):
            field = share * unit.field_of_mean(mean)
        biases.append(ops.where(ops.isfinite(field), field, 0).astype(machine.dtype))
    return machine.uncoupled(biases)


def log_partition_of_base(base: DeepBoltzmannMachine) -> float:
    """Log Z of independent units."""
    return sum(
        float(unit.log_partition(bias[None].astype(ops.float64))[0])
        for unit, bias in zip(base.units, base.biases, strict=True)
    )


def anneal(
    machine: DeepBoltzmannMachine,
    base: DeepBoltzmannMachine,
    n_populations: int,
    n_chains: int,
    seed: ops.SeedSequence,
    team: ops.Workers,
    spread: float = STEP_SPREAD,
) -> Annealed:
    """Anneal populations, with steps that a pilot run has spaced.

    In each its log-weights `spread` by so much. The pilot run counts for nothing else:
    steps that adapt to the chains which are weighed bias their weights.
    """
    first, second, third, fourth = seed.spawn(4)
    path = Path(base, machine)
    pilot = initial_states(base, PILOT_CHAINS, first)
    longest = LONGEST_STEP * spread / STEP_SPREAD
    steps = AdaptiveSteps(spread, longest, MOST_STEPS)
    stops = carry(path, steps, pilot, second, team, population=PILOT_CHAINS).stops
    if stops[-1] != 1.0:  # more steps than there may be
        stops = ops.linspace(0, 1, MOST_STEPS + 1).tolist()
    states = initial_states(base, n_populations * n_chains, third)
    run = carry(path, GivenSteps(stops), states, fourth, team, population=n_chains)
    log_weights = run.log_weights.reshape(n_populations, -1)
    return Annealed(log_weights + log_partition_of_base(base), states, run.n_steps)


def log_shares(
    bases: Sequence[DeepBoltzmannMachine], states: Sequence[FloatArray]
) -> FloatArray:
    """Log of the share that each base has in the density of all: (n_bases, n_rows)."""
    log_densities = ops.stack(
        [
            sum(state @ bias for state, bias in zip(states, base.biases, strict=True))
            - log_partition_of_base(base)
            for base in bases
        ]
    ).astype(ops.float64)
    shares: FloatArray = log_densities - ops.logsumexp(log_densities, axis=0)
    return shares


def fresh_chains(
    machine: DeepBoltzmannMachine,
    base: DeepBoltzmannMachine,
    n_chains: int,
    rng: Seed | Rng,
) -> tuple[list[FloatArray], float, int]:
    """Draw states of a machine by annealing one population.

    Steps adapt to the chains themselves, which hardly matters for samples. Gives the
    states, the estimate of log Z that comes with them, NaN if chains have not arrived,
    and how many sweeps of a chain they took.
    """
    first, second, last = ops.seed_sequence(rng).spawn(3)
    states = initial_states(base, n_chains, first)
    steps = AdaptiveSteps(STEP_SPREAD, LONGEST_STEP, MOST_STEPS)
    alone, path = ops.Workers(1), Path(base, machine)
    run = carry(path, steps, states, second, alone, population=n_chains)
    if run.n_steps > MOST_STEPS:  # not arrived
        return states, math.nan, n_chains * run.n_steps
    drawn = resampled(states, run.log_weights, n_chains, last)
    log_partition = ops.log_mean_exp(run.log_weights) + log_partition_of_base(base)
    return drawn, log_partition, n_chains * run.n_steps


def chains_given(
    machine: DeepBoltzmannMachine,
    means: Sequence[FloatArray],
    evidence: Evidence,
    n_wanted: int,
    seed: ops.SeedSequence,
    team: ops.Workers,
) -> list[FloatArray]:
    """Draw states given what is known, so many for each row, one row after the other.

    Each row has a population of its own, which knows from the start what is known. Its
    path begins broadly: where modes are open, more of them have forerunners there.
    """
    first, second, last = seed.spawn(3)
    n_chains = max(n_wanted, LEAST_CHAINS)
    of_chains = evidence[ops.repeat(ops.arange(evidence.n_rows), n_chains)]
    base = base_of(machine, means, BASES[-1])
    states = initial_states(base, of_chains.n_rows, first)
    for layer, state in enumerate(states):
        of_chains.hold(layer, state)
    steps = AdaptiveSteps(SPREAD_GIVEN, LONGEST_STEP, MOST_STEPS)
    run = carry(
        Path(base, machine),
        steps,
        states,
        second,
        team,
        population=n_chains,
        evidence=of_chains,
    )
    return resampled(states, run.log_weights.reshape(-1, n_chains), n_wanted, last)
