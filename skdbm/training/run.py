"""A training as one object: stages of epochs, taken one by one.

A run holds all that must survive between two epochs: the machine in training with its
chains and generators, stage and epoch, records, stopping, attempts at a rate.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sklearn.exceptions import ConvergenceWarning

from .. import ops
from .._typing import Indices, Record
from .._warnings import warn
from ..encodings.rows import EncodedRows
from ..machine import DeepBoltzmannMachine
from .epoch import Epoch
from .optimizers import falling_rate
from .order import Order
from .pretraining import WAYS, Greedy, Growth, Stage
from .record import DivergenceError
from .row_chains import MOST_BYTES, RowChains
from .state import Options, State
from .stopping import EarlyStopping

#: Where training diverges or fails with the automatic learning rate it begins anew, so
#: often, each time with the rate divided by so much.
SLOWER_ATTEMPTS, SLOWER_BY = 3, 4

#: Share of the joint epochs after which it is known at last whether chains are slow.
TRIAL = 0.25

#: Share of the joint epochs, the last ones, that learn from all rows, those included
#: that were held out to learn the strength of the penalty from.
ALL_ROWS = 1 / 3


@dataclass(frozen=True)
class Pace:
    """The first learning rate, and the epochs: joint ones, and of each stage before."""

    learning_rate: float
    n_epochs: int
    n_pretraining_epochs: int


class Run:
    """Stages of pretraining, if any, and then the training of all layers together.

    Each call of `advance` is an epoch, until `done`. `seeds` has a seed for "visible",
    "order", "chains", "pretraining" and "carrying"; every attempt at a rate draws the
    same. A copy of a `state` that is given goes on in place of a new one. Rows that are
    `held_out`, by index, tell how strong the penalty has to be, and are learned from in
    the end. If chains turn out slow, the run begins again at the `slow_pace`, if there
    is one. `records` has the records of the joint training, and `begun_again` says why
    the run is not at its first attempt.
    """

    state: State
    stage: Stage
    records: list[Record]
    epoch: Epoch | None
    epochs_left: int

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        source: EncodedRows,
        options: Options,
        *,
        n_chains: int,
        pace: Pace,
        seeds: Mapping[str, ops.SeedSequence],
        slow_pace: Pace | None = None,
        n_slower_attempts: int = 0,
        pretraining: str | None = None,
        stopping: EarlyStopping | None = None,
        held_out: Indices | None = None,
        state: State | None = None,
    ) -> None:
        self.machine, self.source, self.options = machine, source, options
        self.n_chains, self.seeds = n_chains, seeds
        self.slow_pace, self.attempts_left = slow_pace, n_slower_attempts
        self.pretraining, self.stopping, self.given_state = pretraining, stopping, state
        self.held_out = () if held_out is None else held_out
        self._begin(pace)
        if state is not None:  # what it knows of its chains
            self._slow_down()

    def _begin(self, pace: Pace, why: str = "") -> None:
        """Stand before the first epoch, all generators as they are seeded."""
        self.pace, self.begun_again = pace, why
        seeds = {name: ops.seed_sequence(seed) for name, seed in self.seeds.items()}
        self.source.rng = ops.generator(seeds["visible"])
        self.order_rng = ops.generator(seeds["order"])
        self.stage_seed, self.joint_seed = seeds["pretraining"], seeds["chains"]
        self.ahead: Greedy | Growth | None = None
        if self.pretraining is not None:
            carry = ops.generator(seeds["carrying"])
            self.ahead = WAYS[self.pretraining](self.machine, self.source, carry)
        self.stages_left = 0 if self.ahead is None else self.ahead.n_stages
        if self.stopping is not None:
            self.stopping.begin()
        self.records, self.n_done, self.epoch = [], 0, None
        self.n_epochs = pace.n_epochs + self.stages_left * pace.n_pretraining_epochs
        self._enter()

    def _enter(self) -> None:
        """Prepare the next stage."""
        if self.ahead is not None and self.stages_left:
            self.stage = self.ahead.begin()
            seed = self.stage_seed.spawn(1)[0]
            self.epochs_left = self.pace.n_pretraining_epochs
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
        limit = MOST_BYTES if self.source.is_in_pieces else math.inf
        self.row_chains = RowChains(len(self.source), limit)
        self.state.penalty.n_rows = len(self.stage.source)
        self.first_step = self.state.n_steps
        self.n_updates = self._count_updates()

    def _count_updates(self) -> int:
        """Updates of all epochs of the stage."""
        of_all, of_others = self._updates_of_epochs()
        if self.stages_left:
            return self.pace.n_pretraining_epochs * of_others
        n_late = self.n_all_epochs
        return n_late * of_all + (self.n_joint_epochs - n_late) * of_others

    def _updates_of_epochs(self) -> tuple[int, int]:
        """Updates of an epoch on all rows, and of one without those held out."""
        n_rows = len(self.source)
        rows = n_rows, n_rows - len(self.held_out)
        of_all, of_others = (-(-n // self.options.batch_size) for n in rows)
        return of_all, of_others

    @property
    def n_all_epochs(self) -> int:
        """Joint epochs, the last ones, that learn from all rows."""
        if not len(self.held_out):
            return 0
        return math.ceil(ALL_ROWS * self.n_joint_epochs)

    def _slow_down(self) -> bool:
        """Begin again at the slow pace, if chains are slow; whether they are."""
        # What they tell is noisy: it takes small steps, and many, to average out.
        if self.slow_pace is None or not self.slow:
            return False
        rate = min(self.learning_rate, self.slow_pace.learning_rate)
        pace, self.slow_pace = replace(self.slow_pace, learning_rate=rate), None
        self._begin(pace, "chains are slow")
        return True

    @property
    def learning_rate(self) -> float:
        """The first learning rate."""
        return self.pace.learning_rate

    @property
    def n_joint_epochs(self) -> int:
        """Epochs of the joint training."""
        return self.pace.n_epochs

    @property
    def n_updates_done(self) -> int:
        """Updates of the stage that are behind."""
        return self.state.n_steps - self.first_step

    @property
    def slow(self) -> bool:
        """Whether chains are slow."""
        return self.state.mixing.slow

    @property
    def done(self) -> bool:
        """Whether the last epoch is over."""
        return not self.epochs_left and not self.stages_left

    def advance(
        self, team: ops.Workers, after_update: Callable[[], None] | None = None
    ) -> Record | None:
        """Train to the end of an epoch: its record, or None if training begins again.

        It begins again where it diverges and where chains turn out slow; an epoch that
        was left goes on.
        """
        if self.epoch is None:
            self.epoch = Epoch(
                self.state,
                self.stage.source,
                self._order(),
                self.options,
                self.row_chains,
            )
        try:
            record = self.epoch.train(self._rate, team, after_update)
        except DivergenceError:
            if not self.begin_again("diverged"):
                raise
            return None
        self.epoch = None
        self.n_done += 1
        self.epochs_left -= 1
        if not self.stages_left:
            self.records.append(record)
            trial_over = len(self.records) == math.ceil(TRIAL * self.n_joint_epochs)
            if trial_over and self.epochs_left and self._slow_down():
                return None
            if self._has_to_stop(record, team):
                self.epochs_left = 0
        elif not self.epochs_left and not self.stage.falling and self._slow_down():
            return None
        if not self.epochs_left:
            self._leave()
        return record

    def _unseen(self) -> Indices:
        """Rows that the next epoch leaves out, which the penalty learns from."""
        learns_all = not self.stages_left and self.epochs_left <= self.n_all_epochs
        return self.held_out[:0] if learns_all else self.held_out

    def _order(self) -> Order:
        """Order of the rows in the next epoch."""
        return Order(self.source, self._unseen(), self.order_rng)

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

    def begin_again(self, why: str) -> bool:
        """Begin again with a smaller rate, if there are attempts left."""
        if not self.attempts_left:
            return False
        self.attempts_left -= 1
        slower = float(f"{self.learning_rate / SLOWER_BY:.2g}")
        warn(
            f"Training {why} with the automatic learning rate of "
            f"{self.learning_rate:.2g} and begins again with {slower:g}; "
            f"learning_rate_init={slower:g} saves what it took. Columns that determine "
            "each other, and hidden layers far wider than the data, need small rates.",
            ConvergenceWarning,
        )
        self._begin(replace(self.pace, learning_rate=slower), f"training {why}")
        return True
