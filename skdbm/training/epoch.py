"""One pass over rows, batch by batch, which can stop between two and go on later."""

from collections.abc import Callable

from .. import ops
from .._typing import Indices, Record, Source
from . import penalty
from .record import EpochRecord, check
from .row_chains import RowChains
from .state import Options, State
from .update import update, work

#: Threads pay from so many multiplications an update on.
THREADED_WORK = 2e7


class Epoch:
    """Updates by batches of rows, in the given order, each row once.

    Rows may have chains that go on from epoch to epoch. From rows that are held out the
    penalty learns how strong it has to be. `n_done` updates are behind.
    """

    def __init__(
        self,
        state: State,
        source: Source,
        order: Indices,
        options: Options,
        held_out: Indices | None = None,
        row_chains: RowChains | None = None,
    ) -> None:
        self.state, self.options = state, options
        self.source, self.order = source, order
        self.held_out, self.row_chains = held_out, row_chains
        self.n_done, self.n_batches = 0, -(-len(order) // options.batch_size)
        self.record = EpochRecord(state, options, self.n_batches)

    def train(
        self,
        rate_of: Callable[[int], float],
        team: ops.Workers,
        after_update: Callable[[], None] | None = None,
    ) -> Record:
        """Go on to the end, at the rate that `rate_of` gives for updates done."""
        state = self.state
        if work(state, self.options) < THREADED_WORK:
            team = ops.Workers(1)
        # A diverging run overflows before the check at the end of the epoch says so.
        with ops.errstate(over="ignore", invalid="ignore"):
            while self.n_done < self.n_batches:
                self._update(rate_of(state.n_steps), team)
                if after_update is not None:
                    after_update()
            check(state)
        return self.record.close(rate_of(state.n_steps - 1))

    def _update(self, rate: float, team: ops.Workers) -> None:
        """Learn from the next batch."""
        state, size = self.state, self.options.batch_size
        indices = self.order[self.n_done * size : (self.n_done + 1) * size]
        visible = self.source.read(indices, state.machine.encoding)
        if self.held_out is not None and state.n_steps % penalty.EVERY == 0:
            some = state.penalty.rng.choice(self.held_out, penalty.COMPARED)
            others = self.source.read(some, state.machine.encoding)
            state.penalty.learn(state.machine, state.offsets, visible, others)
        visit = None if self.row_chains is None else (self.row_chains, indices)
        outcome = update(state, visible, self.options, rate, team, visit)
        self.record.add(outcome, len(indices), team)
        self.n_done += 1
