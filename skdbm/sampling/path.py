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
from typing import TypeAlias

from .. import ops
from .._typing import FloatArray, IntArray, Rng, Seed
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

#: The derivative of every log-weight by t, at a t.
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


class Ladder:
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

    `spread` is a standard deviation over the chains of a block. Radau's rule with two
    nodes needs the slope at the start of a step, which is known by then, and another.
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
        step = self.spread / max(float(first.std()), self.spread / self.longest)
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
    schedule: Ladder | AdaptiveSteps,
    states: Sequence[FloatArray],
    seed: ops.SeedSequence,
    team: ops.Workers,
    *,
    population: int | None = None,
) -> Journey:
    """Carry chains along a path; `states` are overwritten by where they end.

    With a `population`, so many chains each are one: they are drawn anew by weight, and
    all get the mean weight, whenever their effective sample size falls below half. The
    mean weight of a population stays unbiased, whatever becomes of the chains, if the
    steps were known before.
    """

    def carry_block(block: slice, rng: Rng) -> tuple[FloatArray, list[float]]:
        chains = _Chains(path, [state[block] for state in states])
        log_weights = ops.zeros(len(chains.states[0]))
        stops = [schedule.start]
        for number in range(schedule.most):
            chains.look()
            there, slope = schedule.step(
                number, stops[-1], chains.slope, chains.steepest
            )
            log_weights += (there - stops[-1]) * slope
            if population and effective_share(log_weights) < RESAMPLED_BELOW:
                chains.draw_anew(log_weights, rng)
            chains.sweep(there, rng)
            stops.append(there)
            if there == schedule.end:
                break
        else:
            stops.append(math.nan)  # not arrived
        return log_weights, stops

    most = population or ops.ANNEALING_ROWS
    blocks = ops.row_blocks(len(states[0]), most)
    if population:
        blocks = [slice(i, i + most) for i in range(0, len(states[0]), most)]
    parts = team.map(carry_block, blocks, ops.streams(seed, len(blocks)))
    log_weights, stops = zip(*parts, strict=True)
    return Journey(
        ops.concatenate(log_weights),
        max(map(len, stops)) - 1,
        stops[0],
    )


class _Chains:
    """A block of chains on a path, with room for the fields of their layers."""

    def __init__(self, path: Path, states: list[FloatArray]) -> None:
        self.path, self.states = path, states
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

    def _field(self, layer: int, t: float, out: FloatArray) -> FloatArray:
        """Field of a layer under the machine at t: before + t change."""
        ops.multiply(self.change[layer], t, out=out)
        out += self.before[layer]
        return out

    def slope(self, t: float) -> FloatArray:
        """Derivative of the log-weights by t: s db of the kept, y A'(x + t y) else."""
        total = self.of_kept.copy()
        for layer in self.path.summed:
            mean = self._field(layer, t, self.scratch[layer])
            self.path.units[layer].mean(mean, out=mean)
            ops.multiply(self.change[layer], mean, out=mean)
            total += ops.row_sum(mean)
        return total

    def draw_anew(self, log_weights: FloatArray, rng: Rng) -> None:
        """Repeat or drop chains by weight; all weights become their mean."""
        chosen = _chosen(log_weights, len(log_weights), rng)
        for layer in self.path.kept:  # the others are drawn next
            self.states[layer][...] = self.states[layer][chosen]
        for layer in self.path.summed:
            for fields in (self.before, self.change):
                if len(fields[layer]) > 1:
                    fields[layer][...] = fields[layer][chosen]
        log_weights[...] = ops.log_mean_exp(log_weights)

    def sweep(self, t: float, rng: Rng) -> None:
        """One Gibbs sweep under the machine at t; the layers summed out are known."""
        for layers in (self.path.summed, self.path.kept):
            for layer in layers:
                if layers is self.path.kept:
                    self._look_at(layer)
                field = self._field(layer, t, self.states[layer])
                self.path.units[layer].sample(
                    field, rng, out=field, scratch=self.scratch[layer]
                )


def resampled(
    states: Sequence[FloatArray],
    log_weights: FloatArray,
    n_samples: int,
    seed: Seed | Rng,
) -> list[FloatArray]:
    """Repeat or drop chains in proportion to their weights."""
    chosen = _chosen(log_weights, n_samples, ops.generator(seed))
    return [state[chosen] for state in states]


def _chosen(log_weights: FloatArray, n_samples: int, rng: Rng) -> IntArray:
    """Draw chains in proportion to their weights (systematic resampling)."""
    weights = ops.exp(log_weights - log_weights.max())
    edges = ops.cumsum(weights)
    places = (ops.arange(n_samples) + rng.random()) / n_samples
    chosen = ops.searchsorted(edges / edges[-1], places, side="right")
    return ops.minimum(chosen, len(weights) - 1)


def effective_share(log_weights: FloatArray) -> float:
    """Effective sample size over the number of chains, 1 for equal weights."""
    weights = ops.exp(log_weights - log_weights.max())
    return float(weights.mean() ** 2 / ops.mean(weights**2))
