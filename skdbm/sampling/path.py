"""Chains on the path from one machine to another, and their importance weights.

On the path are the machines with the parameters (1 - t) before + t after. Chains that
Gibbs sweeps carry along it from t = 0 to 1 collect log-weights, and their mean weight
is Z of the machine after over Z of the one before; from 1 to 0 it is the inverse.
Annealing is the path from independent units.

The parity of layers with more units is summed out. With x the field of such a layer
before and y its change, the log-weight grows by the integral of y A'(x + t y) by t,
which a rule of few nodes gives to a high order. Differences of two float32 sums of A
would be biased by their rounding, and raw exponentials would overflow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from .. import ops
from .._typing import FloatArray, IntArray, Rng, Seed
from ..evidence import NOTHING, Evidence
from ..machine import DeepBoltzmannMachine

#: From so many steps on, one node a step is enough.
MIDPOINT_STEPS = 5000

#: Adaptive steps change no field that is summed out by more than this: beyond, rules of
#: few nodes are too coarse, whatever the chains have in common.
LARGEST_CHANGE = 2.0

#: What is left of a path to its end, if it is no more than this, is no step of its own.
ROUNDING = 1e-9

#: A population is drawn anew where its effective sample size is below this share.
RESAMPLED_BELOW = 0.5

#: The derivative of every log-weight by t, at a t; a row for each population.
_Slope: TypeAlias = Callable[[float], FloatArray]


class Path:
    """The machines with the parameters (1 - t) before + t after.

    `before` may lack the couplings that `after` has.
    """

    def __init__(
        self, before: DeepBoltzmannMachine, after: DeepBoltzmannMachine
    ) -> None:
        if before.layer_sizes != after.layer_sizes:
            raise ValueError(
                f"The machine has layers of {after.layer_sizes} units and the one "
                f"before {before.layer_sizes}; only machines of the same layers can be "
                "followed."
            )
        self.units = after.units  # encodings may differ, Z does not
        self.before = before
        weights, biases = (
            [b - a for a, b in zip(one, other, strict=True)] if one else other
            for one, other in (
                (before.weights, after.weights),
                (before.biases, after.biases),
            )
        )
        self.change = DeepBoltzmannMachine(weights, biases, after.units)
        # The layers that chains keep, and those of more units, which are summed out.
        sizes = [sum(after.layer_sizes[parity::2]) for parity in (0, 1)]
        fewer = int(sizes[1] <= sizes[0])
        self.kept = range(fewer, after.n_layers, 2)
        self.summed = range(1 - fewer, after.n_layers, 2)


class GivenSteps:
    """Given stops; Gauss' rule with two nodes, or one where steps are short."""

    def __init__(self, stops: Sequence[float]) -> None:
        self.stops, self.most = stops, len(stops) - 1
        self.start, self.end = stops[0], stops[-1]

    def step(
        self, number: int, here: float, slope: _Slope, steepest: float = 0.0
    ) -> tuple[float, FloatArray]:
        """Next stop, and the mean slope at the nodes."""
        there = self.stops[number + 1]
        middle, half = (here + there) / 2, (there - here) / 2
        if self.most >= MIDPOINT_STEPS:
            return there, slope(middle)
        node = half / math.sqrt(3)
        return there, (slope(middle - node) + slope(middle + node)) / 2


@dataclass(frozen=True)
class AdaptiveSteps:
    """Steps from 0 to 1 over which log-weights spread by so much, as far as known.

    `spread` is the largest standard deviation in a population of a block. Radau's rule
    with two nodes needs the slope at the start of a step, which is known by then, and
    another.
    """

    spread: float
    longest: float
    most: int
    start: float = 0.0
    end: float = 1.0

    def step(
        self, number: int, here: float, slope: _Slope, steepest: float = 0.0
    ) -> tuple[float, FloatArray]:
        """Next stop, and the mean slope by Radau's rule."""
        first = slope(here)
        widest = float(first.std(axis=-1).max())
        step = self.spread / max(widest, self.spread / self.longest)
        step = min(step, LARGEST_CHANGE / max(steepest, LARGEST_CHANGE))
        left = self.end - here
        there = self.end if step > left - ROUNDING else here + step
        step = there - here
        return there, (first + 3 * slope(here + 2 / 3 * step)) / 4


@dataclass(frozen=True)
class Journey:
    """What chains bring from a path: log-weights, most steps of a block, stops.

    `n_steps` is above the schedule's `most` if some chains have not arrived. `stops`
    are those of the first block.
    """

    log_weights: FloatArray
    n_steps: int
    stops: list[float]


def carry(
    path: Path,
    schedule: GivenSteps | AdaptiveSteps,
    states: Sequence[FloatArray],
    seed: ops.SeedSequence,
    team: ops.Workers,
    *,
    population: int | None = None,
    evidence: Evidence = NOTHING,
) -> Journey:
    """Carry chains along a path; `states` are overwritten by where they end.

    With a `population`, so many chains each are one: they are drawn anew by weight, and
    all get the mean weight, whenever their effective sample size falls below half. The
    mean weight of a population stays unbiased, whatever becomes of the chains, if the
    steps were known before.

    What is known by `evidence` has to be in `states`, and stays; a population has to
    know the same. The mean weight then is a ratio of probabilities of what is known.
    """

    most = ops.most_chains(sum(path.change.layer_sizes), ops.ANNEALING_ROWS)
    blocks = ops.row_blocks(len(states[0]), most)
    if population:  # a block has whole ones
        most = population * max(1, most // population)
        blocks = [slice(i, i + most) for i in range(0, len(states[0]), most)]
    parts = [[state[block] for state in states] for block in blocks]
    log_weights, stops, ends = zip(
        *team.spread(
            partial(_carry_block, path, schedule, population),
            parts,
            [evidence[block] for block in blocks],
            ops.streams(seed, len(blocks)),
        ),
        strict=True,
    )
    for part, end in zip(parts, ends, strict=True):
        for state, there in zip(part, end, strict=True):
            ops.copyto(state, there)
    return Journey(
        ops.concatenate(log_weights),
        max(map(len, stops)) - 1,
        stops[0],
    )


def _carry_block(
    path: Path,
    schedule: GivenSteps | AdaptiveSteps,
    population: int | None,
    states: list[FloatArray],
    evidence: Evidence,
    rng: Rng,
) -> tuple[FloatArray, list[float], list[FloatArray]]:
    """Carry a block of chains: log-weights, stops, and the states where they end."""
    states = [state.copy() for state in states]  # who asks again gets the same
    chains = Chains(path, states, population, evidence)
    log_weights = ops.zeros(chains.shape)
    stops = [schedule.start]
    for number in range(schedule.most):
        chains.look()
        there, slope = schedule.step(number, stops[-1], chains.slope, chains.steepest)
        log_weights += (there - stops[-1]) * slope
        if population:
            chains.draw_anew(log_weights, rng)
        chains.sweep(there, rng)
        stops.append(there)
        if there == schedule.end:
            break
    else:
        stops.append(math.nan)  # not arrived
    return log_weights.ravel(), stops, states


class Chains:
    """A block of chains on a path, with room for the fields of their layers.

    What is asked for at t is at one t for all chains, or at a column of them.
    """

    def __init__(
        self,
        path: Path,
        states: list[FloatArray],
        population: int | None,
        evidence: Evidence,
    ) -> None:
        self.path, self.states, self.evidence = path, states, evidence
        population = population or len(states[0])
        self.shape = len(states[0]) // population, population
        self.scratch = [ops.empty_like(state) for state in states]
        # Without couplings fields are biases, a row for all chains that never changes.
        self.before, self.change = (
            [ops.empty_like(state) for state in states]
            if machine.weights
            else [bias[None] for bias in machine.biases]
            for machine in (path.before, path.change)
        )
        self.tilts = {
            layer: path.change.biases[layer].astype(ops.float64)
            for layer in path.kept
            if ops.any(path.change.biases[layer] != 0)
        }

    def look(self) -> None:
        """Compute all that the slopes at these states need."""
        self.of_kept = ops.zeros(len(self.states[0]))
        for layer, tilt in self.tilts.items():
            self.of_kept += self.states[layer] @ tilt
        for layer in self.path.summed:
            self._look_at(layer)

    @property
    def steepest(self) -> float:
        """Largest derivative by t of a field that is summed out."""
        return max(
            (float(ops.abs(self.change[layer]).max()) for layer in self.path.summed),
            default=0.0,
        )

    def _look_at(self, layer: int) -> None:
        """Compute the field of a layer before, and its change."""
        for machine, fields in (
            (self.path.before, self.before),
            (self.path.change, self.change),
        ):
            if machine.weights:
                machine.field(
                    layer, self.states, out=fields[layer], scratch=self.scratch[layer]
                )

    def _field(self, layer: int, t: float | FloatArray, out: FloatArray) -> FloatArray:
        """Field of a layer under the machine at t: before + t change."""
        ops.multiply(self.change[layer], t, out=out)
        out += self.before[layer]
        return out

    def slope(self, t: float) -> FloatArray:
        """Derivative of the log-weights by t: s db of the kept, y A'(x + t y) else.

        Where s is known, it stands in the place of its mean A'.
        """
        total = self.of_kept.copy()
        for layer in self.path.summed:
            mean = self._field(layer, t, self.scratch[layer])
            self.path.units[layer].mean(mean, out=mean)
            self.evidence.hold(layer, mean)
            ops.multiply(self.change[layer], mean, out=mean)
            total += ops.row_sum(mean)
        return total.reshape(self.shape)

    def draw_anew(self, log_weights: FloatArray, rng: Rng) -> None:
        """Repeat or drop chains of populations where few count; weights become even."""
        few = ops.flatnonzero(effective_share(log_weights) < RESAMPLED_BELOW)
        if not len(few):
            return
        places = ops.arange(log_weights.size).reshape(self.shape)
        places[few] = places[few, :1] + places_by_weight(
            log_weights[few], self.shape[1], rng
        )
        chosen = places.ravel()
        for layer in self.path.kept:  # the others are drawn next
            self.states[layer][...] = self.states[layer][chosen]
        for layer in self.path.summed:
            for fields in (self.before, self.change):
                if len(fields[layer]) > 1:
                    fields[layer][...] = fields[layer][chosen]
        for number in few:
            log_weights[number] = ops.log_mean_exp(log_weights[number])

    def log_density(self, t: FloatArray) -> FloatArray:
        """Log p* of the kept states at a column of t, less what is the same for all."""
        total = self.of_kept * t[:, 0]
        for layer in self.path.summed:
            field = self._field(layer, t, self.scratch[layer])
            total += self.path.units[layer].log_partition(field)
        return total

    def sweep(self, t: float | FloatArray, rng: Rng) -> None:
        """One Gibbs sweep under the machine at t; the layers summed out are known."""
        for layers in (self.path.summed, self.path.kept):
            for layer in layers:
                if layers is self.path.kept:
                    self._look_at(layer)
                field = self._field(layer, t, self.states[layer])
                self.path.units[layer].sample(
                    field, rng, out=field, scratch=self.scratch[layer]
                )
                self.evidence.hold(layer, field)


def resampled(
    states: Sequence[FloatArray],
    log_weights: FloatArray,
    n_samples: int,
    seed: Seed | Rng,
) -> list[FloatArray]:
    """Repeat or drop chains in proportion to their weights.

    With log-weights of shape (n_populations, n_chains), so many from each population.
    """
    populations = log_weights.reshape(-1, log_weights.shape[-1])
    chosen = places_by_weight(populations, n_samples, ops.generator(seed))
    firsts = populations.shape[1] * ops.arange(len(populations))
    places = (firsts[:, None] + chosen).ravel()
    return [state[places] for state in states]


def places_by_weight(log_weights: FloatArray, n_samples: int, rng: Rng) -> IntArray:
    """Draw chains of each population by weight (systematic resampling)."""
    n_populations, n_chains = log_weights.shape
    weights = ops.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    edges = ops.cumsum(weights, axis=1)
    # All populations are searched at once: each lies between two whole numbers.
    first = ops.arange(n_populations)[:, None]
    places = (ops.arange(n_samples) + rng.random((n_populations, 1))) / n_samples
    edges = first + edges / edges[:, -1:]
    found = ops.searchsorted(edges.ravel(), (first + places).ravel(), side="right")
    found = found.reshape(n_populations, n_samples) - n_chains * first
    chosen: IntArray = ops.minimum(found, n_chains - 1)
    return chosen


def effective_share(log_weights: FloatArray) -> FloatArray:
    """Effective sample size over the number of chains, 1 for equal weights."""
    weights = ops.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    share: FloatArray = weights.mean(axis=-1) ** 2 / ops.mean(weights**2, axis=-1)
    return share
