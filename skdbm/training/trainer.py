"""The loop: batches, both phases, update, monitoring.

Stochastic maximum likelihood for deep Boltzmann machines [1]_: the data term from
mean field, the model term from persistent Gibbs chains, the gradient centred.

.. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines",
   AISTATS 2009.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .. import inference, ops, sampling
from .._typing import (
    BoolArray,
    FloatArray,
    Indices,
    IntArray,
    ProgressLike,
    Record,
    Rng,
    SizedSource,
    Source,
)
from .._typing import Rows as RowsOfData
from ..machine import DeepBoltzmannMachine
from ..units import UnitType
from . import optimizers
from .statistics import Statistics, chain_phase, data_phase

#: Largest weight that training may reach, in nats. A coupling of 100 already decides
#: a unit with odds of e^100.
LARGEST_WEIGHT = 100.0

#: Rows of a weight matrix are updated in slices of about this many elements, so that
#: a slice stays in the cache from its gradient to its last use.
SLICE_SIZE = 2**17

#: Share of the newest batch in the moving averages that serve as offsets.
OFFSET_RATE = 0.01

#: Batches of an epoch that are monitored; all of them would cost a tenth more time.
MONITORED_BATCHES = 10

#: A hidden unit whose mean over the data is nearer than this to its least or largest
#: state is dead: it says next to nothing about a row.
DEAD_MARGIN = 0.001

#: Share of the learning rate for what the visible units learn about their encoding,
#: whose gradient is of order one whatever the columns.
ENCODING_RATE = 0.1

#: Threads pay from so many multiplications a batch on.
THREADED_WORK = 2e7


class DivergenceError(FloatingPointError):
    """Training has diverged: a weight or bias is NaN or far too large.

    See Also
    --------
    Trainer.check : Raises it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm import DBMTransformer
    >>> from skdbm.training.trainer import DivergenceError
    >>> try:
    ...     DBMTransformer(learning_rate_init=90.0, max_iter=9).fit(np.eye(9))
    ... except DivergenceError:
    ...     print("too fast")
    too fast
    """


@dataclass(frozen=True)
class Options:
    """What the update of one batch depends on; the names are the estimators'.

    Parameters
    ----------
    batch_size : int
        Most rows of data in a batch.
    momentum : float
        Share of the velocity of the weights that stays from update to update.
    alpha : float
        Strength of the L2 penalty (weight decay); biases are free of it.
    n_gibbs_steps : int
        Gibbs sweeps of every chain between two updates, at least 1.
    n_mean_field_steps : int
        Most mean-field sweeps of a batch, at least 1.
    mean_field_tol : float
        Mean field ends when a sweep changes no mean of the first hidden layer by as
        much; 0 means that all sweeps are made.
    n_posterior_gibbs_steps : int, default=0
        Gibbs sweeps over the hidden layers of every row that follow mean field.

    See Also
    --------
    Trainer : Takes them.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from skdbm.training.trainer import Options
    >>> options = Options(
    ...     batch_size=50,
    ...     momentum=0.9,
    ...     alpha=1e-4,
    ...     n_gibbs_steps=2,
    ...     n_mean_field_steps=10,
    ...     mean_field_tol=1e-4,
    ... )
    >>> replace(options, batch_size=100).batch_size
    100
    """

    batch_size: int
    momentum: float
    alpha: float
    n_gibbs_steps: int
    n_mean_field_steps: int
    mean_field_tol: float
    n_posterior_gibbs_steps: int = 0


class Trainer:
    """A machine in training, with all that must survive from batch to batch.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        Start of the training; it is copied.
    n_chains : int
        Number of persistent chains.
    options : Options
        How to train.
    seed : numpy.random.SeedSequence
        Seed of the chains. Every block of chains draws from a stream of its own, so
        that the result does not depend on the number of threads.
    chains : sequence of ndarrays of shape (n_chains, n_l), default=None
        States of the lowest layers to begin with, where chains of a smaller machine go
        on; layers that are left out, or all of them, are drawn from their biases.

    Attributes
    ----------
    machine : DeepBoltzmannMachine
        The machine after the last update.
    average : DeepBoltzmannMachine
        Average of the parameters over the last part of the run, the newest ones not yet
        among them; see `snapshot`.
    velocity : DeepBoltzmannMachine
        Velocity of every weight and bias.
    offsets : list of L + 1 ndarrays of shape (n_l,)
        Moving averages of the data-phase means, which centre the gradient.
    learned : tuple of 3 ndarrays of shape (n_learned,), or None
        What the visible units learn about their encoding: values, average and
        velocity. None if there is nothing to learn.
    options : Options
        How to train.
    n_steps : int
        Number of updates done.
    chains : list of L + 1 ndarrays of shape (n_chains, n_l)
        States of the persistent chains.
    streams : list of numpy.random.Generator
        Sources of the draws, one for each block of chains.
    row_rng : numpy.random.Generator
        For drawing visible states, where the source of rows asks for it.
    posterior_streams : list of numpy.random.Generator
        For the Gibbs sweeps over hidden layers of rows of data: one for each block of
        rows in the largest batch so far, after one that seeds them.

    See Also
    --------
    train : Runs a trainer over several epochs.
    skdbm.training.statistics.Statistics : Makes the gradient.

    Notes
    -----
    Pickles and copies leave the working memory out; it is made anew when needed.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.training import workers
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.trainer import Options, Rows, Trainer
    >>> machine = DeepBoltzmannMachine(
    ...     weights=[np.full((4, 2), 0.01)], biases=[np.zeros(4), np.zeros(2)]
    ... )
    >>> options = Options(
    ...     batch_size=2,
    ...     momentum=0.9,
    ...     alpha=1e-4,
    ...     n_gibbs_steps=2,
    ...     n_mean_field_steps=10,
    ...     mean_field_tol=1e-4,
    ... )
    >>> trainer = Trainer(machine, 10, options, np.random.SeedSequence(0))
    >>> rows = Rows(np.eye(4), machine.units[0])
    >>> with workers(n_jobs=1) as team:
    ...     n_sweeps, converged = trainer.step(rows, [0, 3], 0.1, team)
    >>> n_sweeps, converged, trainer.n_steps
    (1, True, 1)
    >>> trainer.snapshot(np.float32)
    <DeepBoltzmannMachine 4-2, Bernoulli(), float32>
    """

    machine: DeepBoltzmannMachine
    average: DeepBoltzmannMachine
    velocity: DeepBoltzmannMachine
    offsets: list[FloatArray]
    learned: tuple[FloatArray, FloatArray, FloatArray] | None
    options: Options
    n_steps: int
    chains: list[FloatArray]
    streams: list[Rng]
    row_rng: Rng
    posterior_streams: list[Rng]
    _statistics: Statistics | None

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        n_chains: int,
        options: Options,
        seed: np.random.SeedSequence,
        chains: Sequence[FloatArray] | None = None,
    ) -> None:
        self.restart_from(machine)
        self.offsets = [
            unit.mean(bias[None])[0]
            for unit, bias in zip(machine.units, machine.biases, strict=True)
        ]
        self.options = options
        self.n_steps = 0
        first, rows, *seeds = seed.spawn(
            2 + len(ops.row_blocks(n_chains, ops.TRAINING_ROWS))
        )
        self.chains = sampling.initial_states(machine, n_chains, ops.generator(first))
        for state, known in zip(self.chains, chains or (), strict=False):
            np.copyto(state, known)
        self.streams = [ops.generator(seed) for seed in seeds]
        self.row_rng = ops.generator(rows)
        self.posterior_streams = [ops.generator(seed.spawn(1)[0])]
        self._statistics = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_statistics": None}

    def configure(self, options: Options) -> None:
        """Change how the next batches are trained on.

        It lets go of the working memory, too, whose size depends on `batch_size`.

        Parameters
        ----------
        options : Options
            How to train.
        """
        self.options = options
        self._statistics = None

    def restart_from(self, machine: DeepBoltzmannMachine) -> None:
        """Go on from a machine that was learned earlier, at rest.

        Parameters
        ----------
        machine : DeepBoltzmannMachine
            The machine; it is copied.
        """
        self.machine = _copy(machine)
        self.average = _copy(machine)
        self.velocity = _copy(machine, fill=0)
        learned = machine.units[0].learned
        # What the visible units learn about their encoding: values, average, velocity.
        self.learned = learned, learned.copy(), np.zeros_like(learned)
        if not learned.size:
            self.learned = None

    def snapshot(self, dtype: npt.DTypeLike) -> DeepBoltzmannMachine:
        """Copy the averaged machine: what the training has come to so far.

        Parameters
        ----------
        dtype : dtype
            Dtype of the copy, float32 or float64.

        Returns
        -------
        DeepBoltzmannMachine
            The copy, of the machine itself before the first update.
        """
        if not self.n_steps:
            return _copy(self.machine).astype(dtype)
        result, rate = _copy(self.average), optimizers.average_rate(self.n_steps)
        for average, newest in (
            *zip(result.weights, self.machine.weights, strict=True),
            *zip(result.biases, self.machine.biases, strict=True),
        ):
            optimizers.average_step(average, newest, rate, np.empty_like(average))
        result = result.astype(dtype)
        if self.learned is None:
            return result
        visible = self.machine.units[0].with_learned(self.learned[1])
        return result.with_units([visible, *self.machine.units[1:]])

    def step(
        self,
        source: Source,
        indices: Indices,
        learning_rate: float,
        team: ops.Workers,
    ) -> tuple[int, bool]:
        """Update the machine by one batch.

        Parameters
        ----------
        source : object with ``fill(indices, out, learned)``
            Rows of the visible layer, for example `Rows`.
        indices : sequence of int
            Numbers of the rows of the batch, at least one and at most `batch_size`.
        learning_rate : float
            Learning rate of the update.
        team : what `skdbm.training.workers` gives
            Threads that share the work.

        Returns
        -------
        n_sweeps : int
            Mean-field sweeps taken, the most of all blocks of rows.
        converged : bool
            Whether mean field reached `mean_field_tol` in all of them.
        """
        n_rows = len(indices)
        statistics = self._room()
        data = statistics.data_rows(slice(0, n_rows))
        visible = statistics.left[0][data]
        source.fill(indices, visible, None if self.learned is None else self.learned[0])
        missing = inference.missing_entries(visible)
        if missing is not None:
            visible[...] = inference.fill_missing(self.machine, visible, missing)
        mean_field = self._measure(statistics, n_rows, team, missing)
        self._learn_encoding(statistics, n_rows, learning_rate, missing)
        self._update(statistics, n_rows, learning_rate, team)
        return mean_field

    def _room(self) -> Statistics:
        if self._statistics is None:
            self._statistics = Statistics(
                self.machine.layer_sizes,
                len(self.chains[0]),
                self.options.batch_size,
                self.machine.dtype,
            )
        return self._statistics

    def _measure(
        self,
        statistics: Statistics,
        n_rows: int,
        team: ops.Workers,
        missing: BoolArray | None,
    ) -> tuple[int, bool]:
        """Run both phases over threads; what `step` returns."""
        machine, options, n_chains = self.machine, self.options, statistics.n_chains
        totals = machine.units[0].totals(
            statistics.left[0][statistics.data_rows(slice(0, n_rows))]
        )
        mean_field: list[tuple[int, bool]] = []

        def data_task(block: slice, rng: Rng) -> None:
            rows = statistics.data_rows(block)
            mean_field.append(
                data_phase(
                    machine,
                    statistics,
                    rows,
                    n_sweeps=options.n_mean_field_steps,
                    tol=options.mean_field_tol,
                    missing=None if missing is None else missing[block],
                    n_gibbs_sweeps=options.n_posterior_gibbs_steps,
                    rng=rng,
                )
            )
            statistics.centre(rows, self.offsets, 1 / n_rows)

        def chain_task(rows: slice, rng: Rng) -> None:
            # Both phases have to see the same totals, or their difference would be in
            # the gradient. In order of size, so that the total of a chain hardly
            # changes from batch to batch: what it remembers belongs to its total.
            own: IntArray | None = None
            if totals is not None:
                places = (2 * np.arange(n_chains) + 1) * n_rows // (2 * n_chains)
                own = np.sort(totals)[places][rows]
            chain_phase(
                machine.with_totals(own),
                statistics,
                self.chains,
                rows,
                rng,
                n_sweeps=options.n_gibbs_steps,
            )
            statistics.centre(rows, self.offsets, -1 / n_chains)

        data_blocks = ops.row_blocks(n_rows, ops.TRAINING_ROWS)
        chain_blocks = ops.row_blocks(n_chains, ops.TRAINING_ROWS)
        seeding, *streams = self.posterior_streams
        for _ in data_blocks[len(streams) :]:
            streams.append(ops.generator(int(seeding.integers(2**63))))
        self.posterior_streams = [seeding, *streams]
        tasks = [
            partial(data_task, block, rng)
            for block, rng in zip(data_blocks, streams, strict=False)
        ]
        tasks += [
            partial(chain_task, block, rng)
            for block, rng in zip(chain_blocks, self.streams, strict=True)
        ]
        # Whoever is done early takes over what the update does not need gradients for.
        team.run([*tasks, *self._preparations(statistics)])
        statistics.close(self.offsets, n_rows)
        n_sweeps, converged = zip(*mean_field, strict=True)
        return max(n_sweeps), all(converged)

    def _learn_encoding(
        self,
        statistics: Statistics,
        n_rows: int,
        learning_rate: float,
        missing: BoolArray | None,
    ) -> None:
        """Move what the visible units learn about their encoding."""
        if self.learned is None:
            return
        machine, (values, average, velocity) = self.machine, self.learned
        data = statistics.phase(statistics.data_rows(slice(0, n_rows)))
        known = None if missing is None else ~missing
        field = machine.field(0, data)
        scratch = np.empty_like(values)
        optimizers.brake(
            velocity, values, momentum=self.options.momentum, decay=0.0, scratch=scratch
        )
        optimizers.accelerate(
            values,
            velocity,
            machine.units[0].learned_gradient(data[0], field, known),
            learning_rate=ENCODING_RATE * learning_rate,
            scratch=scratch,
        )
        if not np.isfinite(values).all():
            self._diverged(np.nan)
        visible = machine.units[0].with_learned(values)
        self.machine = machine.with_units([visible, *machine.units[1:]])
        values[:] = visible.learned  # moved into its bounds
        rate = optimizers.average_rate(self.n_steps + 1)
        optimizers.average_step(average, values, rate, scratch)

    def _slices(self) -> list[tuple[int, slice]]:
        """Slices of the rows of every weight matrix, with the matrix's number."""
        return [
            (layer, rows)
            for layer, weight in enumerate(self.machine.weights)
            for rows in ops.row_blocks(
                len(weight), max(1, SLICE_SIZE // weight.shape[1])
            )
        ]

    def _preparations(self, statistics: Statistics) -> list[Callable[[], None]]:
        """Make the tasks of an update that come before its gradient is known.

        They take what the last update came to into the average, and slow the velocity.
        """
        machine, velocity, average = self.machine, self.velocity, self.average
        # Before the first update the average is the machine, and stays.
        rate = optimizers.average_rate(max(1, self.n_steps))

        def prepare(
            parameter: FloatArray,
            speed: FloatArray,
            mean: FloatArray,
            decay: float,
            scratch: FloatArray,
        ) -> None:
            optimizers.average_step(mean, parameter, rate, scratch)
            optimizers.brake(
                speed,
                parameter,
                momentum=self.options.momentum,
                decay=decay,
                scratch=scratch,
            )

        def weight_task(layer: int, rows: slice) -> None:
            prepare(
                machine.weights[layer][rows],
                velocity.weights[layer][rows],
                average.weights[layer][rows],
                self.options.alpha,
                statistics.weight_scratch[layer][rows],
            )

        def bias_task() -> None:
            for bias, speed, mean in zip(
                machine.biases, velocity.biases, average.biases, strict=True
            ):
                prepare(bias, speed, mean, 0.0, np.empty_like(bias))

        return [bias_task, *(partial(weight_task, *piece) for piece in self._slices())]

    def _update(
        self,
        statistics: Statistics,
        n_rows: int,
        learning_rate: float,
        team: ops.Workers,
    ) -> None:
        """Compute the gradient, and move the machine and the offsets."""
        machine, velocity = self.machine, self.velocity
        self.n_steps += 1
        shares = [unit.rate_factor for unit in machine.units]

        def weight_task(layer: int, rows: slice) -> None:
            optimizers.accelerate(
                machine.weights[layer][rows],
                velocity.weights[layer][rows],
                statistics.weight_gradient(layer, rows, n_rows),
                learning_rate=shares[layer] * shares[layer + 1] * learning_rate,
                scratch=statistics.weight_scratch[layer][rows],
            )

        def bias_task() -> None:
            gradients = statistics.bias_gradients(self.offsets, n_rows)
            for layer, gradient in enumerate(gradients):
                optimizers.accelerate(
                    machine.biases[layer],
                    velocity.biases[layer],
                    gradient,
                    learning_rate=shares[layer] * learning_rate,
                    scratch=np.empty_like(gradient),
                )
            # At first, the mean of all batches.
            rate = max(OFFSET_RATE, 1 / self.n_steps)
            means = statistics.data_means(n_rows)
            for offset, mean in zip(self.offsets, means, strict=True):
                offset += rate * (mean - offset)

        tasks = [partial(weight_task, *piece) for piece in self._slices()]
        team.run([bias_task, *tasks])

    def work(self) -> int:
        """Estimate the multiplications of one batch.

        Every sweep, of mean field or of Gibbs sampling, multiplies each row by each
        matrix twice, once for either direction.

        Returns
        -------
        int
            The number, as if mean field took all its sweeps.
        """
        options, weights = self.options, self.machine.weights
        sweeps = options.n_mean_field_steps + options.n_posterior_gibbs_steps
        rows = options.batch_size * sweeps
        rows += len(self.chains[0]) * options.n_gibbs_steps
        return 2 * rows * sum(weight.size for weight in weights)

    def epoch(
        self,
        source: Source,
        batches: Sequence[Indices],
        learning_rate_of: Callable[[int], float],
        team: ops.Workers,
    ) -> Record:
        """Train on the batches of one epoch.

        Parameters
        ----------
        source : object with ``fill(indices, out, learned)``
            Rows of the visible layer, for example `Rows`.
        batches : sequence of sequences of int
            Numbers of the rows of each batch, at least one batch.
        learning_rate_of : callable
            Gets the number of updates done, `n_steps`; returns the learning rate of
            the next one.
        team : what `skdbm.training.workers` gives
            Threads that share the work.

        Returns
        -------
        dict
            Record of the epoch: "reconstruction_error" (mean squared difference of
            visible states and their means given the first hidden layer) and
            "energy_gap" (mean energy of the data minus that of the chains, nats), both
            from at most 10 of the batches; "chain_autocorrelation"
            (correlation of the visible states of the chains at two of these batches
            that follow each other, see Notes); "mean_field_sweeps" and "unconverged"
            (mean over the batches, and share of those that did not reach
            `mean_field_tol`); "dead_units" (one share a hidden layer, of the units
            whose mean over about the last hundred batches is within 0.001 of
            the least or largest state); "weight_norms" (one Frobenius norm a matrix),
            "learning_rate" (that of the last update) and "seconds".

        Raises
        ------
        DivergenceError
            If training has diverged.

        Notes
        -----
        The autocorrelation is that of all chains and visible units together, every
        unit centred by its mean over the chains, and the mean over the epoch. From one
        state to the other there is a tenth of the batches, rounded up, each with
        `n_gibbs_steps` sweeps. Chains that stand still have 1, those that forget all
        in between 0 within about 1 / sqrt(n_chains); for counts more, since a chain
        hardly changes its total. It is NaN for a single batch, and for chains that are
        all alike.
        """
        start = time.perf_counter()
        every = -(-len(batches) // MONITORED_BATCHES)
        if self.work() < THREADED_WORK:
            team = ops.Workers(1)
        mean_field, monitored, visible = [], [], None
        # A diverging run overflows before the check at the end of the epoch says so.
        with np.errstate(over="ignore", invalid="ignore"):
            for number, indices in enumerate(batches):
                rate = learning_rate_of(self.n_steps)
                mean_field.append(self.step(source, indices, rate, team))
                if number % every == 0:
                    visible, *values = self._monitor(len(indices), visible, team)
                    monitored.append(values)
            self.check()
        sweeps, converged = zip(*mean_field, strict=True)
        errors, gaps, correlations = zip(*monitored, strict=True)
        return {
            "reconstruction_error": float(np.mean(errors)),
            "energy_gap": float(np.mean(gaps)),
            "chain_autocorrelation": float(np.mean(correlations[1:] or np.nan)),
            "mean_field_sweeps": float(np.mean(sweeps)),
            "unconverged": 1 - float(np.mean(converged)),
            "dead_units": self._dead_units(),
            "weight_norms": tuple(
                float(np.linalg.norm(weight)) for weight in self.machine.weights
            ),
            "learning_rate": float(rate),
            "seconds": time.perf_counter() - start,
        }

    def _monitor(
        self, n_rows: int, before: FloatArray | None, team: ops.Workers
    ) -> tuple[FloatArray, float, float, float]:
        """Measure the batch just seen: what follows the first result is recorded.

        The first one are the centred visible states of the chains, the next `before`.
        """
        statistics, machine = self._room(), self.machine
        data = statistics.phase(statistics.data_rows(slice(0, n_rows)))
        chains = statistics.phase(slice(0, statistics.n_chains))
        measured: dict[str, float] = {}

        def reconstruct() -> None:
            means = machine.units[0].mean(machine.field(0, data))
            error = np.mean((means - data[0]) ** 2, dtype=np.float64)
            measured["error"] = float(error)

        def energy(phase: str, states: list[FloatArray]) -> None:
            energies = machine.energy(states, dtype=machine.dtype)
            measured[phase] = float(energies.mean())

        phases = {"data": data, "chains": chains}
        team.run([reconstruct, *(partial(energy, *item) for item in phases.items())])
        visible = chains[0] - chains[0].mean(axis=0)
        correlation = np.nan if before is None else _correlation(before, visible)
        gap = measured["data"] - measured["chains"]
        return visible, measured["error"], gap, correlation

    def _dead_units(self) -> tuple[float, ...]:
        """Share of the units of each hidden layer that are always off or always on."""
        shares = []
        for offset, unit in zip(self.offsets[1:], self.machine.units[1:], strict=True):
            mean = offset / getattr(unit, "n_trials", 1)
            shares.append(np.mean((mean < DEAD_MARGIN) | (mean > 1 - DEAD_MARGIN)))
        return tuple(map(float, shares))

    def check(self) -> None:
        """Raise an error if training has diverged.

        Raises
        ------
        DivergenceError
            If a weight or bias is NaN, or a weight has reached 100, or a bias exceeds
            the sum of the weights of its unit by as much.
        """
        weights = [np.abs(weight) for weight in self.machine.weights]
        # A bias that many small weights add up against is as it should be.
        sums = [np.zeros_like(bias) for bias in self.machine.biases]
        with np.errstate(over="ignore", invalid="ignore"):
            for layer, weight in enumerate(weights):
                sums[layer] += weight.sum(axis=1)
                sums[layer + 1] += weight.sum(axis=0)
            excess = [
                np.abs(bias) - most
                for bias, most in zip(self.machine.biases, sums, strict=True)
            ]
        largest = np.max([np.max(array) for array in (*weights, *excess)])
        if not largest < LARGEST_WEIGHT:  # NaN fails this too
            self._diverged(largest)

    def _diverged(self, largest: float) -> NoReturn:
        """Say that training has diverged."""
        raise DivergenceError(
            "Training diverged: the largest weight, or bias beyond the weights, is "
            f"{largest:.3g} after {self.n_steps} updates (at most "
            f"{LARGEST_WEIGHT:g} is sensible). "
            "Lower learning_rate_init or momentum, or raise alpha, n_chains or "
            "n_gibbs_steps."
        )


class Rows:
    """Rows of the training data as visible states of a machine.

    Parameters
    ----------
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
        The data, values of the columns; NaN where missing.
    unit : UnitType
        Unit type of the visible layer.
    rng : numpy.random.Generator, default=None
        If given, states are drawn anew from their means at each presentation.

    See Also
    --------
    skdbm.training.pretraining.EncodedRows : Rows of a hidden layer.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.training.trainer import Rows
    >>> from skdbm.units import Bernoulli
    >>> rows = Rows(np.array([[0.0, 1.0], [0.5, 0.5]]), Bernoulli())
    >>> len(rows)
    2
    >>> out = np.empty((1, 2))
    >>> rows.fill([1], out)
    >>> out
    array([[0.5, 0.5]])
    >>> rng = np.random.default_rng(0)
    >>> Rows(rows.X, Bernoulli(), rng).fill([1], out)  # a half is a coin now
    >>> bool(np.isin(out, [0, 1]).all())
    True
    """

    def __init__(self, X: RowsOfData, unit: UnitType, rng: Rng | None = None) -> None:
        self.X, self.unit, self.rng = X, unit, rng

    def __len__(self) -> int:
        n_rows: int = self.X.shape[0]
        return n_rows

    def fill(
        self, indices: Indices, out: FloatArray, learned: FloatArray | None = None
    ) -> None:
        """Write the states of some rows into `out`, NaN where missing.

        Parameters
        ----------
        indices : sequence of int of length n_rows
            Numbers of the rows, from 0; they are not checked.
        out : ndarray of shape (n_rows, n_units)
            Where the states go, converted to its dtype.
        learned : ndarray of shape (n_learned,), default=None
            Learned parameters of the encoding, where the unit type has some.
        """
        unit = self.unit if learned is None else self.unit.with_learned(learned)
        rows = self.X[indices]
        unit.encode(rows if isinstance(rows, np.ndarray) else rows.toarray(), out=out)
        if self.rng is not None:
            missing = inference.missing_entries(out)
            unit.sample_of_mean(out, self.rng, out=out)
            if missing is not None:
                out[missing] = np.nan


def _copy(
    machine: DeepBoltzmannMachine, fill: float | None = None
) -> DeepBoltzmannMachine:
    """Copy a machine, writable and in C order, or make one of the same shape."""

    def one(array: FloatArray) -> FloatArray:
        copied = np.array(array, order="C")
        if fill is not None:
            copied.fill(fill)
        return copied

    return DeepBoltzmannMachine(
        [one(weight) for weight in machine.weights],
        [one(bias) for bias in machine.biases],
        machine.units,
    )


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two arrays that have been centred; NaN if one has no variance."""
    products = [
        np.mean(a * b, dtype=np.float64)
        for a, b in ((one, other), (one, one), (other, other))
    ]
    correlation: float = products[0] / np.sqrt(products[1] * products[2])
    return correlation


def batches_of(order: Indices, batch_size: int) -> list[Indices]:
    """Split an order of rows into batches; the last one may be short.

    Parameters
    ----------
    order : sequence of int
        Numbers of the rows in the order in which they are presented.
    batch_size : int
        Rows of one batch.

    Returns
    -------
    list of sequences of int
        The batches, slices of `order`.

    See Also
    --------
    Trainer.epoch : Trains on them.

    Examples
    --------
    >>> from skdbm.training.trainer import batches_of
    >>> batches_of([3, 0, 4, 1, 2], 2)
    [[3, 0], [4, 1], [2]]
    """
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def train(
    trainer: Trainer,
    source: SizedSource,
    *,
    n_epochs: int,
    learning_rate_init: float,
    schedule: optimizers.Schedule,
    rng: Rng,
    team: ops.Workers,
    progress: ProgressLike,
) -> None:
    """Train for some epochs, each over all rows in a new order.

    An interrupt (Ctrl-C) ends the training and is noted in `progress.interrupted`;
    what was learned stays. If it is noted there already, as by an interrupt in
    pretraining, there is no training at all.

    Parameters
    ----------
    trainer : Trainer
        What is trained; changed in place.
    source : object with ``len`` and ``fill(indices, out, learned)``
        Rows of the visible layer, for example `Rows`.
    n_epochs : int
        Most epochs.
    learning_rate_init : float
        The first learning rate.
    schedule : {"linear", "constant"}
        How the learning rate goes on; "linear" reaches its end after `n_epochs`,
        whatever the trainer did before.
    rng : numpy.random.Generator
        Source of the order of the rows.
    team : what `skdbm.training.workers` gives
        Threads that share the work.
    progress : object with ``begin()``, ``end(record)`` and ``interrupted``
        Follows the training: `begin` is called before each epoch and `end` after it,
        with the record of `Trainer.epoch`. Training ends early when `end` returns
        True.

    Raises
    ------
    DivergenceError
        If training diverges.

    See Also
    --------
    Trainer.epoch : One epoch, and what is in its record.
    skdbm.training.optimizers.learning_rates : The schedules.
    skdbm.training.pretraining.grow : Where the start may come from.

    Examples
    --------
    Two kinds of rows become likelier than they were under a machine that knows
    nothing, where each of the 16 states has the log-likelihood -log 16 = -2.77.

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from skdbm.training import workers
    >>> from skdbm.likelihood import exact_log_likelihood
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.trainer import Options, Rows, Trainer, train
    >>> X = np.repeat([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], 20, axis=0)
    >>> rng = np.random.default_rng(0)
    >>> machine = DeepBoltzmannMachine(
    ...     [rng.normal(0, 0.01, (4, 2))], [np.zeros(4), np.zeros(2)]
    ... )
    >>> options = Options(
    ...     batch_size=10,
    ...     momentum=0.9,
    ...     alpha=1e-4,
    ...     n_gibbs_steps=2,
    ...     n_mean_field_steps=10,
    ...     mean_field_tol=1e-4,
    ... )
    >>> trainer = Trainer(machine, 50, options, np.random.SeedSequence(0))
    >>> progress = SimpleNamespace(
    ...     interrupted=False, begin=lambda: None, end=lambda record: False
    ... )
    >>> with workers(n_jobs=1) as team:
    ...     train(
    ...         trainer,
    ...         Rows(X, machine.units[0]),
    ...         n_epochs=50,
    ...         learning_rate_init=0.1,
    ...         schedule="linear",
    ...         rng=rng,
    ...         team=team,
    ...         progress=progress,
    ...     )
    >>> trainer.n_steps  # 50 epochs of 4 batches
    200
    >>> trained = trainer.snapshot(np.float64)
    >>> bool(exact_log_likelihood(trained, X).mean() > -1.5)
    True
    """
    batch_size = trainer.options.batch_size
    n_batches = -(-len(source) // batch_size)
    rate = optimizers.learning_rates(schedule, learning_rate_init, n_epochs * n_batches)
    start = trainer.n_steps
    try:
        for _ in range(0 if progress.interrupted else n_epochs):
            progress.begin()
            batches = batches_of(rng.permutation(len(source)), batch_size)
            record = trainer.epoch(source, batches, lambda n: rate(n - start), team)
            if progress.end(record):
                break
    except KeyboardInterrupt:
        progress.interrupted = True
