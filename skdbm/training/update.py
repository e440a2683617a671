"""One update: both phases, the gradient, the step.

Stochastic maximum likelihood for deep Boltzmann machines [1]_: both terms from
persistent Gibbs chains, of the rows and of the machine, or the data term from mean
field alone; the gradient centred.

.. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import ops
from .._typing import FloatArray, Indices, IntArray, Rng, States
from ..encodings.ties import PartlyKnown
from ..evidence import Conditional, Evidence, filled
from ..inference.mean_field import start, sweep
from ..machine import DeepBoltzmannMachine
from ..sampling.gibbs import draw
from .optimizers import accelerate, average_rate, average_step
from .row_chains import RowChains
from .state import Options, State

#: Rows of a weight matrix are updated in slices of about this many elements, so that
#: a slice stays in the cache from its gradient to its last use.
SLICE_SIZE = 2**17

#: Share of the newest batch in the moving averages that serve as offsets.
OFFSET_RATE = 0.01

#: Share of the learning rate for what is learned about the encoding, whose gradient is
#: of order one whatever the columns.
ENCODING_RATE = 0.1


def update(
    state: State,
    visible: FloatArray | PartlyKnown,
    options: Options,
    learning_rate: float,
    team: ops.Workers,
    visit: tuple[RowChains, Indices] | None = None,
) -> tuple[int, bool]:
    """Learn from one batch of visible states, NaN where missing.

    `visit` has chains of rows, and which rows these are: without it, the chain of every
    row begins anew. Gives the most mean-field sweeps that a block of rows took, and
    whether all reached the tolerance.
    """
    batch = Batch(state, visible, options, learning_rate, visit)
    batch.mix_chains(team)
    # The phases. Whoever is done early takes over what needs no gradient.
    of_rows = batch.data_phases()
    of_chains = batch.chain_phases()
    slowing = [batch.slow_biases, *batch.over_parameters(batch.slow_weights)]
    mean_field = team.map(_call, [*of_rows, *of_chains, *slowing])[: len(of_rows)]
    # The gradient and the step.
    state.n_steps += 1
    state.n_averaged += 1
    batch.learn_encoding()
    batch.space.close(state.offsets, batch.n_rows)
    team.map(_call, [batch.step_biases, *batch.over_parameters(batch.step_weights)])
    n_sweeps, converged = zip(*mean_field, strict=True)
    batch.look_at_chains(max(n_sweeps), team)
    return max(n_sweeps), all(converged)


def work(state: State, options: Options) -> int:
    """Multiplications of an update, as if mean field took all its sweeps.

    Every sweep multiplies each row by each matrix twice, once for either direction.
    """
    sweeps = options.n_mean_field_steps + options.n_posterior_gibbs_steps
    rows = options.batch_size * sweeps + len(state.chains[0]) * options.n_gibbs_steps
    return 2 * rows * sum(weight.size for weight in state.machine.weights)


class Batch:
    """What is done with one batch of rows, in pieces that threads can share."""

    def __init__(
        self,
        state: State,
        visible: FloatArray | PartlyKnown,
        options: Options,
        learning_rate: float,
        visit: tuple[RowChains, Indices] | None = None,
    ) -> None:
        self.state, self.options, self.learning_rate = state, options, learning_rate
        self.evidence = Evidence.of_rows(visible)
        self.n_rows, self.n_chains = self.evidence.n_rows, len(state.chains[0])
        self.space = state.workspace(options.batch_size)
        self.data = self.space.data_rows(slice(0, self.n_rows))
        if visit is None or not options.n_posterior_gibbs_steps:  # all begins anew
            visit = RowChains(self.n_rows), ops.arange(self.n_rows)
        self.row_chains, self.indices = visit[0], ops.asarray(visit[1])
        has_gaps = self.evidence.missing(0) is not None
        self.row_chains.make_room(state.machine, has_gaps)
        complete: Any = self.evidence.layers[0][0]
        without_gaps = filled(state.machine, self.evidence).get(0, complete)
        ops.copyto(self.space.left[0][self.data], without_gaps)
        hidden = [1 / unit.n_copies for unit in state.machine.units[1:]]
        #: Share of the learning rate of every layer: the more variance, the less.
        self.shares = [state.machine.encoding.rate_factor, *hidden]
        #: What the penalty adds to the biases below and above each matrix, by slice.
        self.pulls: dict[tuple[int, int], tuple[slice, FloatArray, FloatArray]] = {}
        if not state.n_steps:
            self.suit_totals()

    def suit_totals(self) -> None:
        """Scale the first offsets, those of a typical total, to the rows' totals."""
        totals, offset = self.totals_of_chains(), self.state.offsets[0]
        if totals is not None:
            offset *= totals.mean() / offset.sum()

    def mix_chains(self, team: ops.Workers) -> None:
        """Let chains mix, as much as they need and the last updates have earned."""
        state = self.state
        rows = self.space.left[0][self.data]
        state.mixing.mix(state.machine, state.offsets, state.chains, rows, team)
        self.of_chains = state.mixing.shares.astype(self.space.left[0].dtype)

    def look_at_chains(self, n_mean_field_sweeps: int, team: ops.Workers) -> None:
        """Take the step just made into the weights, if the chains are slow."""
        state, options = self.state, self.options
        # Rows of different totals are not samples of one distribution.
        if options.mix_chains and self.totals_of_chains() is None:
            # Where chains of rows go on, the means at their end count as a sweep.
            of_rows = max(1, n_mean_field_sweeps) + options.n_posterior_gibbs_steps
            n_sweeps = self.n_chains * options.n_gibbs_steps + self.n_rows * of_rows
            state.mixing.look(state.chains[0], n_sweeps)
            if state.mixing.slow:
                blocks = ops.row_blocks(self.n_chains, ops.TRAINING_ROWS)
                parts = team.map(self.tilt_of_step, blocks)
                state.mixing.weigh(self.learning_rate * ops.concatenate(parts))

    def tilt_of_step(self, rows: slice) -> FloatArray:
        """Change of the log-probability of some chains' states, over the rate."""
        # The energy is bilinear in neighbours: shares of layers may scale their states.
        pairs = zip(self.shares, self.state.chains, strict=True)
        states, velocity = [share * x[rows] for share, x in pairs], self.state.velocity
        energy = velocity.energy(states, dtype=states[0].dtype)
        bases = zip(velocity.units, states, strict=True)
        return sum(unit.base(state) for unit, state in bases) - energy

    def data_phases(self) -> list[Callable[[], tuple[int, bool]]]:
        """The data phase of every block of rows."""
        blocks = ops.row_blocks(self.n_rows, ops.TRAINING_ROWS)
        streams = self.state.streams_for(len(blocks))
        pairs = zip(blocks, streams, strict=True)
        return [partial(self.data_phase, block, rng) for block, rng in pairs]

    def chain_phases(self) -> list[Callable[[], None]]:
        """The model phase of every block of chains."""
        blocks = ops.row_blocks(self.n_chains, ops.TRAINING_ROWS)
        totals = self.totals_of_chains()
        pairs = zip(blocks, self.state.streams, strict=True)
        return [partial(self.chain_phase, block, rng, totals) for block, rng in pairs]

    def data_phase(self, block: slice, rng: Rng) -> tuple[int, bool]:
        """Settle what some rows leave open: by mean field, then by Gibbs sweeps.

        Where chains of the rows have begun, these go on in place of mean field.
        """
        space, rows = self.space, self.space.data_rows(block)
        states, scratch = space.phase(rows), [room[rows] for room in space.scratch]
        evidence, room = self.evidence[block], {1: space.fixed[rows]}
        given = Conditional(self.state.machine, evidence, room)
        if given.free == [1]:  # there the start is the posterior
            start(given, states, scratch)
            outcome = 1, True
        else:
            chains, indices = self.row_chains, self.indices[block]
            outcome = 0, True
            if not chains.begun[indices].all():
                outcome = self._mean_field(given, states, scratch, rows)
            chains.recall(indices, given, states)
            self._posterior_sweeps(given, states, scratch, rng)
            chains.keep(indices, given, states)
        space.centre(rows, self.state.offsets, 1 / self.n_rows)
        return outcome

    def _mean_field(
        self, given: Conditional, states: States, scratch: States, rows: slice
    ) -> tuple[int, bool]:
        """Sweep until the first hidden layer changes by less than the tolerance.

        All rows of a block stop at once: an approximate posterior is good enough for a
        gradient.
        """
        tol, before = self.options.mean_field_tol, self.space.right[1][rows]  # free yet
        start(given, states, scratch)
        for n_done in range(1, self.options.n_mean_field_steps + 1):
            if tol:
                ops.copyto(before, states[1])
            sweep(given, states, given.free, scratch)
            if tol:
                ops.subtract(before, states[1], out=before)
                if max(before.max(), -before.min()) < tol:
                    return n_done, True
        return n_done, False

    def _posterior_sweeps(
        self, given: Conditional, states: States, scratch: States, rng: Rng
    ) -> None:
        """Bring in by Gibbs sweeps that units of one row are correlated.

        The first is from a draw of the odd layers given the even ones, or their means.
        As in the model phase, the odd layers enter by their means given the even ones.
        """
        even, odd = _parities(given.free)
        for _ in range(self.options.n_posterior_gibbs_steps):
            draw(given, states, odd, rng, scratch)
            draw(given, states, even, rng, scratch)
        if self.options.n_posterior_gibbs_steps:
            sweep(given, states, odd, scratch)

    def chain_phase(self, rows: slice, rng: Rng, totals: IntArray | None) -> None:
        """Advance some chains by Gibbs sweeps and measure them."""
        machine = self.state.machine.with_totals(
            None if totals is None else totals[rows]
        )
        given, measured = Conditional(machine), self.space.phase(rows)
        states = [chain[rows] for chain in self.state.chains]
        scratch = [room[rows] for room in self.space.scratch]
        even, odd = _parities(given.free)
        draw(given, states, even, rng, scratch)
        for _ in range(self.options.n_gibbs_steps - 1):
            draw(given, states, odd, rng, scratch)
            draw(given, states, even, rng, scratch)
        for layer in even:
            ops.copyto(measured[layer], states[layer])
        # Odd layers are independent given the even ones: with their means in place of
        # draws every pair of neighbours keeps its expectation and loses variance.
        for layer in odd:
            unit = machine.units[layer]
            field = given.field(layer, states, states[layer], scratch[layer])
            unit.mean(field, out=measured[layer])
            unit.sample(field, rng, out=field, scratch=scratch[layer])
        self.space.centre(rows, self.state.offsets, -self.of_chains[rows, None])

    def totals_of_chains(self) -> IntArray | None:
        """Totals of the rows, if they have some, spread over the chains by size."""
        totals = self.state.machine.units[0].totals(self.space.left[0][self.data])
        if totals is None:
            return None
        # Both phases see the same totals, or their difference would be in the gradient.
        # By size, that of a chain hardly changes: what it remembers belongs to it.
        places = (
            (2 * ops.arange(self.n_chains) + 1) * self.n_rows // (2 * self.n_chains)
        )
        spread: IntArray = ops.sort(totals)[places]
        return spread

    def over_parameters(
        self, function: Callable[[int, slice], None]
    ) -> list[Callable[[], None]]:
        """Apply a function to slices of rows of every weight matrix."""
        return [
            partial(function, layer, rows)
            for layer, weight in enumerate(self.state.machine.weights)
            for rows in ops.row_blocks(
                len(weight), max(1, SLICE_SIZE // weight.shape[1])
            )
        ]

    def slow_weights(self, layer: int, rows: slice) -> None:
        """Take the newest weights into the average, slow their velocity, and pull."""
        scratch = self.space.weight_scratch[layer][rows]
        arrays = [machine.weights[layer][rows] for machine in self._machines()]
        self._slow(arrays, scratch)
        scale = self.state.penalty.scale(layer, self.options.alpha)
        if scale:
            weight, offsets = self.state.machine.weights[layer], self.state.offsets
            self.state.penalty.pull(weight, layer, rows, scale, scratch)
            arrays[2][...] -= scratch
            below, above = scratch @ offsets[layer + 1], offsets[layer][rows] @ scratch
            self.pulls[layer, rows.start] = rows, below, above

    def slow_biases(self) -> None:
        """Take the newest biases into the average, and slow their velocity."""
        biases = zip(*(machine.biases for machine in self._machines()), strict=True)
        for arrays in biases:
            self._slow(arrays, ops.empty_like(arrays[0]))

    def _machines(self) -> tuple[DeepBoltzmannMachine, ...]:
        """The machine, its average and its velocity."""
        return self.state.machine, self.state.average, self.state.velocity

    def _slow(self, arrays: Sequence[FloatArray], scratch: FloatArray) -> None:
        """What is done to a parameter before its gradient is known."""
        parameter, average, velocity = arrays
        # Before the first update the average is the machine, and stays.
        rate = average_rate(max(1, self.state.n_averaged))
        average_step(average, parameter, rate, scratch)
        velocity *= self.options.momentum

    def step_weights(self, layer: int, rows: slice) -> None:
        """Move some rows of a weight matrix along their gradient."""
        accelerate(
            self.state.machine.weights[layer][rows],
            self.state.velocity.weights[layer][rows],
            self.space.weight_gradient(layer, rows, self.n_rows),
            self.shares[layer] * self.shares[layer + 1] * self.learning_rate,
            self.space.weight_scratch[layer][rows],
        )

    def step_biases(self) -> None:
        """Move the biases along their gradients, and then the offsets."""
        state = self.state
        gradients = self.space.bias_gradients(
            state.offsets, self.n_rows, self.of_chains
        )
        # In one order, whichever thread was first: sums of floats depend on it.
        for layer, first in sorted(self.pulls):
            rows, below, above = self.pulls[layer, first]
            gradients[layer][rows] += below
            gradients[layer + 1] += above
        for layer, gradient in enumerate(gradients):
            bias, velocity = state.machine.biases[layer], state.velocity.biases[layer]
            rate = self.shares[layer] * self.learning_rate
            accelerate(bias, velocity, gradient, rate, ops.empty_like(gradient))
        rate = max(OFFSET_RATE, 1 / state.n_steps)  # at first, the mean of all batches
        state.penalty.look(self.space.phase(self.data), state.offsets, rate)
        means = self.space.data_means(self.n_rows)
        for offset, mean in zip(state.offsets, means, strict=True):
            offset += rate * (mean - offset)

    def learn_encoding(self) -> None:
        """Move what is learned about the encoding, by the rows of the data alone."""
        learned, machine = self.state.learned, self.state.machine
        if learned is None:
            return
        data = self.space.phase(self.data)
        rows = PartlyKnown(data[0], self.evidence.layers[0][1], self.evidence.ties)
        inflation = self.state.penalty.inflation(self.options.alpha)
        field = machine.field(0, data)
        gradient = machine.encoding.learned_gradient(rows, field, inflation)
        scratch, rate = ops.empty_like(gradient), ENCODING_RATE * self.learning_rate
        learned.velocity *= self.options.momentum
        accelerate(learned.values, learned.velocity, gradient, rate, scratch)
        encoding = machine.encoding.with_learned(learned.values)
        self.state.machine = machine.with_encoding(encoding)
        learned.values[...] = encoding.learned  # moved into its bounds
        rate = average_rate(self.state.n_averaged)
        average_step(learned.average, learned.values, rate, scratch)


def _parities(layers: list[int]) -> tuple[list[int], list[int]]:
    """Even layers, and odd ones."""
    even = [layer for layer in layers if layer % 2 == 0]
    return even, [layer for layer in layers if layer % 2]


def _call(task: Callable[[], Any]) -> Any:
    """Do a task."""
    return task()
