"""A machine in training: all that must survive from update to update."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import ops, sampling
from .._typing import FloatArray, Rng
from ..machine import DeepBoltzmannMachine
from . import optimizers
from .mixing import Mixing
from .penalty import Penalty
from .workspace import Workspace


@dataclass(frozen=True)
class Options:
    """What an update depends on; the names are the estimators'."""

    batch_size: int
    alpha: float | None  # strength of the penalty; None: what is learned
    n_gibbs_steps: int
    n_mean_field_steps: int
    n_posterior_gibbs_steps: int = 0
    mix_chains: bool = True  # not a parameter: tests and benchmarks compare
    mean_field_tol: float = 1e-4
    momentum: float = optimizers.MOMENTUM


@dataclass
class Learned:
    """What training learns of the encoding: values, their average and velocity."""

    values: FloatArray
    average: FloatArray
    velocity: FloatArray


class State:
    """A machine in training, with its chains, generators, average and velocity.

    `machine` has the parameters after the last update, `average` those of the last
    part of the run, the newest not yet among them (see `snapshot`), and `offsets` the
    moving averages of the data-phase means, which centre the gradient. `penalty` pulls
    on the weights, `mixing` keeps the `chains` right. Each block of them draws from
    one of `streams`, each block of rows from one of `posterior_streams` after the
    first, which seeds them: so results do not depend on the number of threads.
    `row_rng` is for rows that are drawn anew.
    """

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        n_chains: int,
        seed: ops.SeedSequence,
        chains: Sequence[FloatArray] | None = None,
    ) -> None:
        blocks = ops.row_blocks(n_chains, ops.TRAINING_ROWS)
        first, rows, *own = ops.streams(seed, 2 + len(blocks))
        self.posterior_streams = ops.streams(seed, 1)
        self.mixing = Mixing(n_chains, *ops.streams(seed, 1))
        self.penalty = Penalty(machine, *ops.streams(seed, 1))
        self.restart_from(machine)
        self.offsets = [
            unit.mean(bias[None])[0]
            for unit, bias in zip(machine.units, machine.biases, strict=True)
        ]
        self.n_steps = 0
        self.chunk_rate: float | None = None  # the automatic one of `partial_fit`
        self.chains = sampling.initial_states(machine, n_chains, first)
        for state, known in zip(self.chains, chains or (), strict=False):
            ops.copyto(state, known)  # chains of a smaller machine go on
        self.streams, self.row_rng = own, rows
        self._workspace: Workspace | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_workspace": None}

    def restart_from(self, machine: DeepBoltzmannMachine) -> None:
        """Go on from a machine that was learned earlier, at rest."""
        self.machine, self.average = machine.map(_copied), machine.map(_copied)
        self.velocity = machine.map(lambda array: ops.zeros(array.shape, array.dtype))
        values = machine.encoding.learned
        learned = Learned(values, values.copy(), ops.zeros_like(values))
        self.learned = learned if values.size else None
        self.n_averaged = 0
        self.mixing.log_weights[...] = 0.0

    def copy(self) -> "State":
        """Copy all but the working memory: only one of the two may go on."""
        result = copy.copy(self)
        result._workspace = self._workspace
        result.machine = self.machine.map(_copied)
        result.average = self.average.map(_copied)
        result.velocity = self.velocity.map(_copied)
        result.offsets = [offset.copy() for offset in self.offsets]
        result.chains = [state.copy() for state in self.chains]
        result.streams = [ops.copied(rng) for rng in self.streams]
        result.posterior_streams = [ops.copied(rng) for rng in self.posterior_streams]
        result.mixing = self.mixing.copy()
        result.penalty = self.penalty.copy()
        result.row_rng = ops.copied(self.row_rng)
        result.learned = copy.deepcopy(self.learned)
        return result

    def snapshot(self) -> DeepBoltzmannMachine:
        """Copy the averaged machine: what the training has come to so far."""
        if not self.n_averaged:
            result = self.machine.map(_copied)
            result.means = [offset.copy() for offset in self.offsets]
            return result
        rate = optimizers.average_rate(self.n_averaged)

        def newest_taken_in(average: FloatArray, newest: FloatArray) -> FloatArray:
            result = average.copy()
            optimizers.average_step(result, newest, rate, ops.empty_like(result))
            return result

        result = self.average.map(newest_taken_in, self.machine)
        result.means = [offset.copy() for offset in self.offsets]
        if self.learned is None:
            return result
        encoding = self.machine.encoding.with_learned(self.learned.average)
        return result.with_encoding(encoding)

    def workspace(self, batch_size: int) -> Workspace:
        """Give the working memory for batches of at most so many rows."""
        if self._workspace is None or self._workspace.n_data != batch_size:
            self._workspace = Workspace(
                self.machine.layer_sizes,
                len(self.chains[0]),
                batch_size,
                self.machine.dtype,
            )
        return self._workspace

    def let_go(self) -> None:
        """Drop the working memory; it is made anew when needed."""
        self._workspace = None

    def streams_for(self, n_blocks: int) -> list[Rng]:
        """Generators of the posterior sweeps of so many blocks of rows."""
        seeding, *streams = self.posterior_streams
        for _ in range(n_blocks - len(streams)):
            streams.append(ops.generator(int(seeding.integers(2**63))))
        self.posterior_streams = [seeding, *streams]
        return streams[:n_blocks]


def _copied(array: FloatArray) -> FloatArray:
    """Copy an array, writable and in C order."""
    return array.copy(order="C")
