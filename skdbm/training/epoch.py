"""One pass over rows, batch by batch, which can stop between two and go on later."""

from collections.abc import Callable

from .. import ops
from .._typing import Record, Source
from . import penalty
from .order import Order
from .record import EpochRecord, check
from .row_chains import RowChains
from .state import Options, State
from .update import update, work

#: Threads pay from so many multiplications an update on. With fewer, two threads are
#: slower than one.
THREADED_WORK = 1e8


class Epoch:
    """Updates by batches of rows, in an order, each row once.

    Rows may have chains that go on from epoch to epoch. From rows that the order leaves
    out the penalty learns how strong it has to be. `n_done` updates are behind.
    """

    def __init__(
        self,
        state: State,
        source: Source,
        order: Order,
        options: Options,
        row_chains: RowChains | None = None,
    ) -> None:
        self.state, self.options = state, options
        self.source, self.order, self.row_chains = source, order, row_chains
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
        indices = self.order.take(size)
        visible = self.source.read(indices, state.machine.encoding)
        held_out = self.order.left_out
        if len(held_out) and state.n_steps % penalty.EVERY == 0:
            some = state.penalty.rng.choice(held_out, penalty.COMPARED)
            others = self.source.read(some, state.machine.encoding)
            state.penalty.learn(
                state.machine, state.offsets, visible, others, len(held_out)
            )
        visit = None if self.row_chains is None else (self.row_chains, indices)
        outcome = update(state, visible, self.options, rate, team, visit)
        self.record.add(outcome, len(indices), team)
        self.n_done += 1
