"""What an epoch writes down, and how a training that goes wrong is found."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .. import ops
from .._typing import FloatArray, Record
from ..machine import DeepBoltzmannMachine
from .mixing import correlation
from .state import Options, State

History = Mapping[str, list[Any]]

#: Batches of an epoch that are monitored; all of them would cost a tenth more time.
MONITORED_BATCHES = 10

#: A hidden unit whose mean varies by less than this from row to row (standard
#: deviation) is dead: it says next to nothing about a row, wherever its mean lies.
DEAD_SPREAD = 0.01

#: Largest weight that training may reach, in nats. A coupling of 100 already decides
#: a unit with odds of e^100.
LARGEST_WEIGHT = 100.0

#: Largest field of hidden units at the means of their neighbours, root mean square of a
#: layer. Sound layers have fields below 25. Where all units of two layers pull each
#: other along, fields grow to hundreds while each weight looks harmless; units stand
#: still, and the visible layer is modelled by what is left of them.
LARGEST_FIELD = 100.0


class DivergenceError(FloatingPointError):
    """Training has diverged: a weight or bias is NaN or far too large."""


class EpochRecord:
    """Gather the record of one epoch, batch by batch."""

    def __init__(self, state: State, options: Options, n_batches: int) -> None:
        self.state, self.options = state, options
        self.every = -(-n_batches // MONITORED_BATCHES)
        self.start = time.perf_counter()
        self.mean_field: list[tuple[int, bool]] = []
        self.errors: list[float] = []
        self.gaps: list[float] = []
        self.correlations: list[float] = []
        self.acceptances: list[float] = []
        self.effective: list[float] = []
        self.renewed_before = state.mixing.n_renewed
        self.visible: FloatArray | None = None
        sizes = state.machine.layer_sizes[1:]
        self.sums = [(ops.zeros(size), ops.zeros(size)) for size in sizes]
        self.n_rows = 0

    def __getstate__(self) -> dict[str, Any]:
        # A clock tells nothing after a new start of the computer.
        return vars(self) | {"start": time.perf_counter() - self.start}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"start": time.perf_counter() - state["start"]})

    def add(self, outcome: tuple[int, bool], n_rows: int, team: ops.Workers) -> None:
        """Note how mean field went in a batch; of one in a tenth, look at more."""
        if len(self.mean_field) % self.every == 0:
            self._monitor(n_rows, team)
        self.mean_field.append(outcome)

    def _monitor(self, n_rows: int, team: ops.Workers) -> None:
        """Measure the batch just seen."""
        options, machine = self.options, self.state.machine
        space = self.state.workspace(options.batch_size)
        data = space.phase(space.data_rows(slice(0, n_rows)))
        chains = space.phase(slice(0, space.n_chains))
        # The data phase leaves means, but draws in even layers after Gibbs sweeps.
        drawn = options.n_posterior_gibbs_steps > 0
        means = team.map(
            lambda layer: (
                _means(machine, data, layer)
                if layer == 0 or (drawn and layer % 2 == 0)
                else data[layer]
            ),
            range(machine.n_layers),
        )
        energies = team.map(
            lambda states: machine.energy(states, dtype=machine.dtype), [data, chains]
        )
        self.errors.append(float(ops.mean((means[0] - data[0]) ** 2, dtype=float)))
        self.gaps.append(
            float(energies[0].mean() - self.state.mixing.shares @ energies[1])
        )
        ladder = self.state.mixing.ladder
        if ladder is not None:
            self.acceptances.append(float(1 - ladder.rejections.max()))
        self.effective.append(self.state.mixing.effective_share)
        for (total, squares), mean in zip(self.sums, means[1:], strict=True):
            total += mean.sum(axis=0, dtype=float)
            squares += ops.square(mean, dtype=float).sum(axis=0)
        self.n_rows += n_rows
        visible = chains[0] - chains[0].mean(axis=0)
        if self.visible is not None:
            self.correlations.append(correlation(self.visible, visible))
        self.visible = visible

    def close(self, learning_rate: float) -> Record:
        """Give the record of the epoch, whose last learning rate is given."""
        ladder = self.state.mixing.ladder
        sweeps, converged = zip(*self.mean_field, strict=True)
        norms = [float(ops.norm(weight)) for weight in self.state.machine.weights]
        return {
            "reconstruction_error": float(ops.mean(self.errors)),
            "energy_gap": float(ops.mean(self.gaps)),
            "chain_autocorrelation": float(ops.mean(self.correlations or [math.nan])),
            "effective_chains": float(ops.mean(self.effective)),
            "least_acceptance": float(ops.mean(self.acceptances or [math.nan])),
            "rungs": len(ladder.stops) if ladder is not None else 0,
            "renewals": self.state.mixing.n_renewed - self.renewed_before,
            "mean_field_sweeps": float(ops.mean(sweeps)),
            "unconverged": 1 - float(ops.mean(converged)),
            "dead_units": tuple(self._dead(*sums) for sums in self.sums),
            "weight_norms": tuple(norms),
            "learning_rate": float(learning_rate),
            "seconds": time.perf_counter() - self.start,
        }

    def _dead(self, total: FloatArray, squares: FloatArray) -> float:
        """Share of the units of a layer that hardly vary over the rows."""
        variance = squares / self.n_rows - (total / self.n_rows) ** 2
        return float(ops.mean(variance < DEAD_SPREAD**2))


def _means(
    machine: DeepBoltzmannMachine, states: list[FloatArray], layer: int
) -> FloatArray:
    """Means of a layer given its neighbours, of visible units with the rows' totals."""
    totals = machine.units[0].totals(states[0]) if layer == 0 else None
    unit = machine.with_totals(totals).units[layer]
    return unit.mean(machine.field(layer, states))


def check(state: State) -> None:
    """Raise an error if training has diverged."""
    machine = state.machine
    weights = [ops.abs(weight) for weight in machine.weights]
    # A bias may be what many small weights, or large states, add up against.
    sums = [ops.zeros_like(bias) for bias in machine.biases]
    with ops.errstate(over="ignore", invalid="ignore"):
        for layer, weight in enumerate(weights):
            sums[layer] += weight.sum(axis=1)
            sums[layer + 1] += ops.maximum(1, state.offsets[layer]) @ weight
        excess = [
            ops.abs(bias) - most
            for bias, most in zip(machine.biases, sums, strict=True)
        ]
    largest = ops.max([ops.max(array) for array in (*weights, *excess)])
    means = [offset[None] for offset in state.offsets]
    with ops.errstate(over="ignore", invalid="ignore"):
        fields = [machine.field(layer, means) for layer in range(1, machine.n_layers)]
        largest_field = ops.max([ops.sqrt(ops.mean(ops.square(x))) for x in fields])
    if state.learned is not None and not ops.isfinite(state.learned.values).all():
        largest = math.nan
    if not largest < LARGEST_WEIGHT:  # NaN fails this too
        _diverged(
            "the largest weight, or bias beyond the weights, is "
            f"{largest:.3g} (at most {LARGEST_WEIGHT:g} is sensible)",
            state.n_steps,
        )
    if not largest_field < LARGEST_FIELD:
        _diverged(
            "fields of a hidden layer are around "
            f"{largest_field:.3g} (at most {LARGEST_FIELD:g} is sensible): its units "
            "and their neighbours have pulled each other along",
            state.n_steps,
        )


def _diverged(sign: str, n_steps: int) -> NoReturn:
    """Say that training has diverged."""
    raise DivergenceError(
        f"Training diverged: after {n_steps} updates {sign}. Lower learning_rate_init, "
        "or raise alpha, n_chains or n_gibbs_steps."
    )


def appended(history: History, records: Sequence[Record]) -> History:
    """Add the records of epochs to a history of lists, without changing it."""
    keys = dict.fromkeys([*history, *(key for record in records for key in record)])
    n_before = max((len(values) for values in history.values()), default=0)
    return {
        key: list(history.get(key, [math.nan] * n_before))
        + [record.get(key, math.nan) for record in records]
        for key in keys
    }
