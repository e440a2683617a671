"""Training on shards of the rows, which agree on one machine after every round.

In a round every shard makes the same number of updates with batches of its own rows,
and then the shards' parameters are averaged by their numbers of rows [1]_, [2]_. With
one update in a round this is the gradient of all shards' batches: updates are linear in
the gradients, so that the average of the machines that shards have stepped to is where
the average of their gradients leads. More updates in a round exchange less, and let
shards drift apart meanwhile.

A round is a pure function of what the shards agree on, of the run of the shard with its
chains and random streams, and of its rows. So whoever computes it, and how often, the
result is the same.

.. [1] B. McMahan, E. Moore, D. Ramage, S. Hampson and B. Agüera y Arcas,
   "Communication-efficient learning of deep networks from decentralized data", AISTATS
   2017.
.. [2] S. Stich, "Local SGD converges fast and communicates little", ICLR 2019.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from .. import ops
from .._typing import FloatArray, Indices, Record, Rows
from ..encodings.rows import EncodedRows
from ..machine import DeepBoltzmannMachine
from . import start
from .order import Order
from .run import ALL_ROWS, Run
from .state import Options, State

#: Key of the random streams of all shards but the first, which has those of a training
#: without shards.
OF_A_SHARD = 2**30

#: What is not averaged of the records of shards.
JOINED_BY: dict[str, Callable[[list[Any]], Any]] = {
    "seconds": max,
    "least_acceptance": min,
    "renewals": sum,
    "rungs": max,
}

#: Most agreements that are averaged at once.
FAN_IN = 8


class Paused(Exception):
    """A round is over in the middle of an epoch."""


class Passes(Order):
    """So many rows, in passes over those of an order; no batch has a row twice."""

    def __init__(self, order: Order, n_rows: int) -> None:
        super().__init__(order.source, order.left_out, order.rng)
        self.n_rows = n_rows

    def __len__(self) -> int:
        return self.n_rows

    def take(self, n_rows: int) -> Indices:
        """Give the next rows; what a pass has left of a batch does not come."""
        if len(self.rows) < n_rows:
            self.n_begun, self.rows = 0, self.rows[:0]
        return super().take(n_rows)


class ShardRun(Run):
    """A run on the rows of one shard, in step with the runs on the others.

    An epoch has as many updates on every shard as the largest needs to present each of
    its rows once, `updates` on all rows and on those not held out; a smaller shard
    presents its rows more often. The penalty counts all `n_total` rows. `slow_chains`
    is whether the chains of all shards are slow on average, `record` that of the last
    epoch.
    """

    record: Record | None

    def __init__(
        self,
        *args: Any,
        updates: tuple[int, int],
        holding_out: bool,
        n_total: int,
        **settings: Any,
    ) -> None:
        self.updates, self.holding_out, self.n_total = updates, holding_out, n_total
        self.slow_chains, self.record = False, None
        super().__init__(*args, **settings)

    def _enter(self) -> None:
        super()._enter()
        self.state.penalty.n_rows = self.n_total

    def _updates_of_epochs(self) -> tuple[int, int]:
        return self.updates

    @property
    def n_all_epochs(self) -> int:
        """Joint epochs, the last ones, that learn from all rows, on every shard."""
        return math.ceil(ALL_ROWS * self.n_joint_epochs) if self.holding_out else 0

    @property
    def alone(self) -> bool:
        """Whether there are no other shards."""
        return len(self.source) == self.n_total

    @property
    def slow(self) -> bool:
        """Whether chains are slow, as all shards see it at the start of a round."""
        return super().slow if self.alone else self.slow_chains

    @property
    def n_batches(self) -> int:
        """Updates of the epoch that comes next."""
        on_all = not self.stages_left and self.epochs_left <= self.n_all_epochs
        return self.updates[0 if on_all else 1]

    def _order(self) -> Order:
        """Order of the rows in the next epoch, as often as it takes."""
        n_batches, size = self.n_batches, self.options.batch_size
        order = super()._order()
        if -(-len(order) // size) == n_batches:
            return order
        return Passes(order, n_batches * size)

    def advance_by(self, n_updates: int, team: ops.Workers) -> None:
        """Make so many updates, or those that are left of the epoch."""
        left = iter(range(n_updates - 1, -1, -1))

        def pause() -> None:
            epoch = self.epoch
            if not next(left) and epoch and epoch.n_done < epoch.n_batches:
                raise Paused

        with suppress(Paused):
            self.record = self.advance(team, pause)


@dataclass(frozen=True)
class Plan:
    """What the runs of all shards begin with.

    `settings` are arguments of `Run`, seeds and epochs among them; `sizes` the numbers
    of rows of the shards, and of those that are held out.
    """

    machine: DeepBoltzmannMachine
    options: Options
    settings: Mapping[str, Any]
    sizes: Sequence[tuple[int, int]]

    def begin(
        self,
        X: Rows,
        shard: int = 0,
        held_out: Indices | None = None,
        **more: Any,
    ) -> ShardRun:
        """Make the run of a shard, which keeps no rows; `more` are arguments of it."""
        rows = EncodedRows(self.machine.encoding, X, start.TRAINING_DTYPE)
        # A batch holds no row twice.
        n_others = len(rows) - (0 if held_out is None else len(held_out))
        size = min(self.options.batch_size, n_others)
        seeds = {
            name: of_shard(seed, shard) for name, seed in self.settings["seeds"].items()
        }
        run = ShardRun(
            self.machine,
            rows,
            replace(self.options, batch_size=size),
            held_out=held_out,
            updates=self.updates,
            holding_out=any(n_held_out for _, n_held_out in self.sizes),
            n_total=sum(n for n, _ in self.sizes),
            **{**self.settings, "seeds": seeds, **more},
        )
        return at_rest(run)

    @property
    def updates(self) -> tuple[int, int]:
        """Updates of an epoch on all rows, and of one without those held out."""
        size = self.options.batch_size
        of_all = max(n for n, _ in self.sizes)
        of_others = max(n - n_held_out for n, n_held_out in self.sizes)
        return -(-of_all // size), -(-of_others // size)


def of_shard(seed: ops.SeedSequence, shard: int) -> ops.SeedSequence:
    """Seed of a stream of a shard."""
    if not shard:
        return seed
    key = (*seed.spawn_key, OF_A_SHARD, shard)
    return ops.SeedSequence(seed.entropy, spawn_key=key)


@dataclass(frozen=True)
class Agreement:
    """Parameters and their velocity, offsets, penalty: what is averaged, by rows.

    `arrays` stand as `arrays_of` lists them; `numbers` are the strengths of the
    penalty, its excess, and how correlated chains are.
    """

    n_rows: int
    arrays: list[FloatArray]
    numbers: FloatArray


def arrays_of(state: State) -> list[FloatArray]:
    """List the arrays of a machine in training that shards agree on."""
    machines = state.machine, state.velocity
    arrays = [a for machine in machines for a in (*machine.weights, *machine.biases)]
    arrays += [*state.offsets, *state.penalty.variances]
    if state.learned is not None:
        arrays += [state.learned.values, state.learned.velocity]
    return arrays


def proposed(run: ShardRun) -> Agreement:
    """What a shard has come to."""
    state = run.state
    penalty, correlation = state.penalty, state.mixing.correlation
    numbers = ops.array([*penalty.strengths, penalty.excess, correlation])
    return Agreement(len(run.source), arrays_of(state), numbers)


def averaged(parts: Sequence[Agreement]) -> Agreement:
    """Average by rows, in the order that is given."""
    n_rows = sum(part.n_rows for part in parts)
    shares = [part.n_rows / n_rows for part in parts]
    arrays = [
        mean(same, shares) for same in zip(*(p.arrays for p in parts), strict=True)
    ]
    return Agreement(n_rows, arrays, mean([part.numbers for part in parts], shares))


def mean(arrays: Sequence[FloatArray], shares: Sequence[float]) -> FloatArray:
    """Weighted mean of arrays, in their dtype; one array alone stays as it is."""
    total = ops.zeros(arrays[0].shape)
    with ops.errstate(over="ignore", invalid="ignore"):  # what diverges is found later
        for array, share in zip(arrays, shares, strict=True):
            total += share * array.astype(ops.float64)
        return total.astype(arrays[0].dtype)


def groups(n_parts: int) -> list[slice]:
    """Neighbours that are averaged together, so that no one gets all parts at once."""
    n_groups = -(-n_parts // FAN_IN)
    edges = [round(n_parts * i / n_groups) for i in range(n_groups + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def adopt(run: ShardRun, agreement: Agreement) -> None:
    """Go on from what all shards agree on."""
    state = run.state
    slow = state.mixing.slow and not run.alone
    before = energies(state) if slow else None
    for own, agreed in zip(arrays_of(state), agreement.arrays, strict=True):
        own[...] = agreed
    if state.learned is not None:
        encoding = state.machine.encoding.with_learned(state.learned.values)
        state.machine = state.machine.with_encoding(encoding)
    if before is not None:  # weights of chains have to hear of this step, too
        state.mixing.weigh(before - energies(state))
    *strengths, excess, correlation = agreement.numbers.tolist()
    state.penalty.strengths, state.penalty.excess = strengths, excess
    run.slow_chains = state.mixing.is_slow(correlation)


def energies(state: State) -> FloatArray:
    """Energies of the states of the chains, in nats."""
    return state.machine.energy(state.chains, dtype=state.machine.dtype)


def at_rest(run: ShardRun) -> ShardRun:
    """Take from a run what it gets anew in every round: rows, working memory."""
    run.source.X = None
    run.state.let_go()
    return run


def train_round(
    agreement: Agreement | None, run: ShardRun, X: Rows, n_updates: int
) -> tuple[Agreement, ShardRun]:
    """Go on from an agreement by so many updates, or to the end of the epoch.

    Gives what the shard proposes, and its run. Nothing that is passed changes, and the
    same arguments give the same result, bit for bit. Without an agreement, as before
    the first round, the run goes on from what it is.
    """
    # The first machine is read only.
    run = copy.deepcopy(run, {id(run.machine): run.machine})
    with ops.workers(1) as team:  # more threads of BLAS round otherwise
        if agreement is not None:
            adopt(run, agreement)
        if not run.done:
            run.source.X = X
            run.advance_by(n_updates, team)
    return proposed(run), at_rest(run)


def end_stage(agreement: Agreement | None, run: ShardRun) -> tuple[Agreement, ShardRun]:
    """End the stage of a run before its last epoch; as `train_round` otherwise."""
    run = copy.deepcopy(run, {id(run.machine): run.machine})
    with ops.workers(1):
        if agreement is not None:
            adopt(run, agreement)
        run.end(run.stage)
    return proposed(run), at_rest(run)


def joined(runs: Sequence[ShardRun], agreement: Agreement) -> State:
    """Give the state in which training has ended, with the chains of the first shard.

    The averaged weights never act on the training: so shards need not agree on them
    before the end.
    """
    run = copy.deepcopy(runs[0])
    adopt(run, agreement)
    states = [run.state for run in runs]
    shares = [len(run.source) / runs[0].n_total for run in runs]

    def mean_of(*arrays: FloatArray) -> FloatArray:
        return mean(arrays, shares)

    averages = [state.average for state in states]
    run.state.average = averages[0].map(mean_of, *averages[1:])
    if run.state.learned is not None:
        learned = [s.learned.average for s in states if s.learned is not None]
        run.state.learned.average = mean_of(*learned)
    run.state.let_go()
    return run.state


def joined_records(records: Sequence[Record], shares: Sequence[float]) -> Record:
    """Average the records of an epoch; the slowest shard took the seconds.

    What is not known of a shard, NaN, does not count.
    """
    result: Record = {}
    for key in records[0]:
        values = [record[key] for record in records]
        if key in JOINED_BY:
            known = [value for value in values if not math.isnan(value)]
            result[key] = JOINED_BY[key](known) if known else math.nan
        elif isinstance(values[0], tuple):
            result[key] = tuple(
                float(x) for x in mean([ops.array(v) for v in values], shares)
            )
        elif len(set(values)) == 1:
            result[key] = values[0]
        else:
            result[key] = float(mean([ops.array(float(v)) for v in values], shares))
    return result
