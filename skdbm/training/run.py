"""A training as one object: stages of epochs, taken one by one.

A run holds all that must survive between two epochs: the machine in training with its
chains and generators, stage and epoch, records, stopping, attempts at a rate.
"""

from collections.abc import Callable, Mapping, Sequence

from sklearn.exceptions import ConvergenceWarning

from .. import ops
from .._typing import Indices, Record, Source
from .._warnings import warn
from ..encodings.rows import EncodedRows
from ..machine import DeepBoltzmannMachine
from .optimizers import falling_rate
from .pretraining import WAYS, Greedy, Growth, Stage
from .record import DivergenceError, EpochRecord, check
from .state import Options, State
from .stopping import EarlyStopping
from .update import update, work

#: Where training diverges with the automatic learning rate it begins anew, so often,
#: each time with the rate divided by so much.
SLOWER_ATTEMPTS, SLOWER_BY = 3, 4

#: Threads pay from so many multiplications an update on.
THREADED_WORK = 2e7


class Run:
    """Stages of pretraining, if any, and then the training of all layers together.

    Each call of `advance` is an epoch, until `done`. `seeds` has a seed for "visible",
    "order", "chains", "pretraining" and "carrying"; every attempt at a rate draws the
    same. A copy of a `state` that is given goes on in place of a new one. `records` has
    the records of the joint training.
    """

    state: State
    stage: Stage
    records: list[Record]
    epochs_left: int

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        source: EncodedRows,
        options: Options,
        *,
        n_chains: int,
        n_epochs: int,
        learning_rate: float,
        seeds: Mapping[str, ops.SeedSequence],
        n_slower_attempts: int = 0,
        pretraining: str | None = None,
        n_pretraining_epochs: int = 0,
        stopping: EarlyStopping | None = None,
        state: State | None = None,
    ) -> None:
        self.machine, self.source, self.options = machine, source, options
        self.n_chains, self.n_joint_epochs = n_chains, n_epochs
        self.learning_rate, self.seeds = learning_rate, seeds
        self.attempts_left = n_slower_attempts
        self.pretraining, self.n_pretraining_epochs = pretraining, n_pretraining_epochs
        self.stopping, self.given_state = stopping, state
        self._begin()
        self.n_epochs = n_epochs + self.stages_left * n_pretraining_epochs

    def _begin(self) -> None:
        """Stand before the first epoch, all generators as they are seeded."""
        seeds = {name: ops.seed_sequence(seed) for name, seed in self.seeds.items()}
        self.source.rng = ops.generator(seeds["visible"])
        self.order = ops.generator(seeds["order"])
        self.stage_seed, self.joint_seed = seeds["pretraining"], seeds["chains"]
        self.ahead: Greedy | Growth | None = None
        if self.pretraining is not None:
            carry = ops.generator(seeds["carrying"])
            self.ahead = WAYS[self.pretraining](self.machine, self.source, carry)
        self.stages_left = 0 if self.ahead is None else self.ahead.n_stages
        if self.stopping is not None:
            self.stopping.begin()
        self.records, self.n_done = [], 0
        self._enter()

    def _enter(self) -> None:
        """Prepare the next stage."""
        if self.ahead is not None and self.stages_left:
            self.stage = self.ahead.begin()
            seed = self.stage_seed.spawn(1)[0]
            self.epochs_left = self.n_pretraining_epochs
        else:
            start = (self.machine, None) if self.ahead is None else self.ahead.result()
            self.stage = Stage("training", start[0], self.source, start[1])
            seed, self.epochs_left = self.joint_seed, self.n_joint_epochs
        if self.given_state is not None:
            self.state = self.given_state.copy()
            self.state.n_averaged = 0  # the average leans on this run alone
        else:
            machine, chains = self.stage.machine, self.stage.chains
            self.state = State(machine, self.n_chains, seed, chains)
        n_batches = -(-len(self.stage.source) // self.options.batch_size)
        self.first_step = self.state.n_steps
        self.n_updates = self.epochs_left * n_batches

    @property
    def done(self) -> bool:
        """Whether the last epoch is over."""
        return not self.epochs_left and not self.stages_left

    def advance(self, team: ops.Workers) -> Record | None:
        """Train for an epoch: its record, or None if training begins again, slower."""
        order = self.order.permutation(len(self.stage.source))
        batches = batches_of(order, self.options.batch_size)
        try:
            record = epoch(
                self.state, self.stage.source, batches, self._rate, self.options, team
            )
        except DivergenceError:
            if not self.attempts_left:
                raise
            self._begin_slower()
            return None
        self.n_done += 1
        self.epochs_left -= 1
        if not self.stages_left:
            self.records.append(record)
            if self._has_to_stop(record, team):
                self.epochs_left = 0
        if not self.epochs_left:
            self._leave()
        return record

    def end(self, stage: Stage) -> None:
        """End a stage before its last epoch, if it is not over yet."""
        if stage is self.stage and self.epochs_left:
            self.epochs_left = 0
            self._leave()

    def _leave(self) -> None:
        """Hand a trained stage of pretraining over, and enter the next."""
        if self.ahead is not None and self.stages_left:
            self.ahead.end(self.state.snapshot(), self.state.chains)
            self.stages_left -= 1
            self._enter()

    def finish(self) -> State:
        """Give the state in which training has ended, with the best machine."""
        if self.stopping is not None and self.stopping.best_machine is not None:
            self.state.restart_from(self.stopping.best_machine)
        self.state.let_go()
        return self.state

    def _has_to_stop(self, record: Record, team: ops.Workers) -> bool:
        """Let held-out rows judge the epoch."""
        if self.stopping is None:
            return False
        last = not self.epochs_left
        return self.stopping.judge(record, self.state, team.n_threads, last=last)

    def _rate(self, n_steps: int) -> float:
        """Learning rate after so many updates of the state."""
        if not self.stage.falling:
            return self.learning_rate
        return falling_rate(
            self.learning_rate, n_steps - self.first_step, self.n_updates
        )

    def _begin_slower(self) -> None:
        """Begin again with a smaller rate."""
        self.attempts_left -= 1
        slower = float(f"{self.learning_rate / SLOWER_BY:.2g}")
        warn(
            "Training diverged with the automatic learning rate of "
            f"{self.learning_rate:.2g} and begins again with {slower:g}; "
            f"learning_rate_init={slower:g} saves what it took. Columns that determine "
            "each other, and hidden layers far wider than the data, need small rates.",
            ConvergenceWarning,
        )
        self.learning_rate = slower
        self._begin()


def epoch(
    state: State,
    source: Source,
    batches: Sequence[Indices],
    rate_of: Callable[[int], float],
    options: Options,
    team: ops.Workers,
) -> Record:
    """Train on batches of rows, at the rate that `rate_of` gives for updates done."""
    if work(state, options) < THREADED_WORK:
        team = ops.Workers(1)
    gathered = EpochRecord(state, options, len(batches))
    # A diverging run overflows before the check at the end of the epoch says so.
    with ops.errstate(over="ignore", invalid="ignore"):
        for indices in batches:
            visible = source.read(indices, state.machine.encoding)
            rate = rate_of(state.n_steps)
            outcome = update(state, visible, options, rate, team)
            gathered.add(outcome, len(indices), team)
        check(state)
    return gathered.close(rate)


def batches_of(order: Indices, batch_size: int) -> list[Indices]:
    """Split an order of rows into batches; the last one may be short."""
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
