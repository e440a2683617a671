"""The loop: batches, both phases, update, monitoring.

Stochastic maximum likelihood for deep Boltzmann machines [1]_: the data term from
mean field, the model term from persistent Gibbs chains, the gradient centred.

.. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009.
"""

import time
from dataclasses import dataclass

import numpy as np

from .. import _blocks, sampling
from ..machine import DeepBoltzmannMachine
from . import optimizers
from .statistics import Statistics, chain_phase, data_phase

#: Largest weight that training may reach, in nats. A coupling of 100 already decides
#: a unit with odds of e^100.
LARGEST_WEIGHT = 100.0

#: Rows of a weight matrix are updated in slices of about this many elements, so that
#: a slice stays in the cache from its gradient to its update.
SLICE_SIZE = 2**17

#: Share of the newest batch in the moving averages that serve as offsets.
OFFSET_RATE = 0.01

#: Batches of an epoch that are monitored; all of them would cost a tenth more time.
MONITORED_BATCHES = 10

#: Threads pay from so many multiplications a batch on.
THREADED_WORK = 2e7


@dataclass(frozen=True)
class Options:
    """What the update of one batch depends on; the names are the estimators'."""

    batch_size: int
    momentum: float
    alpha: float
    n_gibbs_steps: int
    n_mean_field_steps: int
    mean_field_tol: float


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
        Seed of the chains.
    """

    def __init__(self, machine, n_chains, options, seed):
        self.machine = _copy(machine)
        self.average = _copy(machine)
        self.velocity = _copy(machine, fill=0)
        # The start has the data means in its visible biases.
        self.offsets = [
            unit.mean(bias)
            for unit, bias in zip(machine.units, machine.biases, strict=True)
        ]
        self.options = options
        self.n_steps = 0
        first, *seeds = seed.spawn(
            1 + len(_blocks.row_blocks(n_chains, _blocks.TRAINING_ROWS))
        )
        self.chains = sampling.initial_states(
            machine, n_chains, sampling.generator(first)
        )
        self.streams = [sampling.generator(seed) for seed in seeds]
        self._statistics = None

    def __getstate__(self):
        return self.__dict__ | {"_statistics": None}

    def configure(self, options):
        """Change how the next batches are trained on."""
        self.options = options
        self._statistics = None

    def snapshot(self, dtype):
        """Copy the averaged machine: what the training has come to so far."""
        average = self.average if self.n_steps else self.machine
        return _copy(average).astype(dtype)

    def step(self, source, indices, learning_rate, team):
        """Update the machine by one batch; mean-field sweeps taken."""
        n_rows = len(indices)
        statistics = self._room()
        data = statistics.data_rows(slice(0, n_rows))
        source.fill(indices, statistics.left[0][data])
        n_sweeps = self._measure(statistics, n_rows, team)
        self._update(statistics, n_rows, learning_rate, team)
        for offset, mean in zip(
            self.offsets, statistics.data_means(n_rows), strict=True
        ):
            offset += OFFSET_RATE * (mean - offset)
        return n_sweeps

    def _room(self):
        if self._statistics is None:
            self._statistics = Statistics(
                self.machine.layer_sizes,
                len(self.chains[0]),
                self.options.batch_size,
                self.machine.dtype,
            )
        return self._statistics

    def _measure(self, statistics, n_rows, team):
        """Run both phases over threads."""
        machine, options, n_chains = self.machine, self.options, statistics.n_chains
        sweeps = []

        def data_task(block):
            rows = statistics.data_rows(block)
            sweeps.append(
                data_phase(
                    machine,
                    statistics,
                    rows,
                    n_sweeps=options.n_mean_field_steps,
                    tol=options.mean_field_tol,
                )
            )
            statistics.centre(rows, self.offsets, 1 / n_rows)

        def chain_task(rows, rng):
            chain_phase(
                machine,
                statistics,
                self.chains,
                rows,
                rng,
                n_sweeps=options.n_gibbs_steps,
            )
            statistics.centre(rows, self.offsets, -1 / n_chains)

        data_blocks = _blocks.row_blocks(n_rows, _blocks.TRAINING_ROWS)
        chain_blocks = _blocks.row_blocks(n_chains, _blocks.TRAINING_ROWS)
        tasks = [lambda b=block: data_task(b) for block in data_blocks]
        tasks += [
            lambda b=block, r=rng: chain_task(b, r)
            for block, rng in zip(chain_blocks, self.streams, strict=True)
        ]
        team.run(tasks)
        statistics.close(self.offsets, n_rows)
        return max(sweeps)

    def _update(self, statistics, n_rows, learning_rate, team):
        """Compute the gradient and move machine, velocity and average."""
        machine, velocity, average = self.machine, self.velocity, self.average
        options = self.options
        averages = self.n_steps % optimizers.AVERAGE_EVERY == 0
        rate = optimizers.average_rate(1 + self.n_steps // optimizers.AVERAGE_EVERY)
        self.n_steps += 1

        def move(parameter, speed, mean, gradient, decay, scratch):
            optimizers.momentum_step(
                parameter,
                speed,
                gradient,
                learning_rate=learning_rate,
                momentum=options.momentum,
                decay=decay,
                scratch=scratch,
            )
            if averages:
                optimizers.average_step(mean, parameter, rate, scratch)

        def weight_task(layer, rows):
            weight = machine.weights[layer]
            move(
                weight[rows],
                velocity.weights[layer][rows],
                average.weights[layer][rows],
                statistics.weight_gradient(layer, rows, n_rows),
                options.alpha,
                statistics.weight_scratch[layer][rows],
            )

        def bias_task():
            gradients = statistics.bias_gradients(self.offsets, n_rows)
            for layer, gradient in enumerate(gradients):
                move(
                    machine.biases[layer],
                    velocity.biases[layer],
                    average.biases[layer],
                    gradient,
                    0.0,
                    np.empty_like(gradient),
                )

        tasks = [
            lambda la=layer, r=rows: weight_task(la, r)
            for layer, weight in enumerate(machine.weights)
            for rows in _blocks.row_blocks(
                len(weight), max(1, SLICE_SIZE // weight.shape[1])
            )
        ]
        team.run([bias_task, *tasks])

    def work(self):
        """Estimate the multiplications of one batch."""
        options, weights = self.options, self.machine.weights
        rows = options.batch_size * options.n_mean_field_steps
        rows += len(self.chains[0]) * options.n_gibbs_steps
        return 2 * rows * sum(weight.size for weight in weights)

    def epoch(self, source, batches, learning_rate_of, team):
        """Train on the batches of one epoch; the record of the epoch."""
        start = time.perf_counter()
        every = max(1, len(batches) // MONITORED_BATCHES)
        sweeps, monitored = [], []
        for number, indices in enumerate(batches):
            rate = learning_rate_of(self.n_steps)
            sweeps.append(self.step(source, indices, rate, team))
            if number % every == 0:
                monitored.append(self._monitor(len(indices)))
        self.check()
        errors, gaps = zip(*monitored, strict=True)
        return {
            "reconstruction_error": float(np.mean(errors)),
            "energy_gap": float(np.mean(gaps)),
            "mean_field_sweeps": float(np.mean(sweeps)),
            "weight_norms": tuple(
                float(np.linalg.norm(weight)) for weight in self.machine.weights
            ),
            "learning_rate": float(rate),
            "seconds": time.perf_counter() - start,
        }

    def _monitor(self, n_rows):
        """Reconstruction error and energy gap of the batch just seen."""
        statistics = self._room()
        data = statistics.phase(statistics.data_rows(slice(0, n_rows)))
        chains = statistics.phase(slice(0, statistics.n_chains))
        means = self.machine.units[0].mean(self.machine.field(0, data))
        error = np.mean((means - data[0]) ** 2, dtype=np.float64)
        gap = self.machine.energy(data).mean() - self.machine.energy(chains).mean()
        return error, gap

    def check(self):
        """Raise an error if training has diverged."""
        largest = max(float(np.max(np.abs(w))) for w in self.machine.weights)
        if not largest < LARGEST_WEIGHT:  # NaN fails this too
            raise FloatingPointError(
                f"Training diverged: the largest weight is {largest:.3g} after "
                f"{self.n_steps} updates (at most {LARGEST_WEIGHT:g} is sensible). "
                "Lower learning_rate_init or momentum, or raise alpha, n_chains or "
                "n_gibbs_steps."
            )


class Rows:
    """Rows of the training data as visible states of a machine.

    Parameters
    ----------
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
        The data, states or means of the visible units.
    unit : UnitType
        Unit type of the visible layer.
    rng : numpy.random.Generator or None
        If given, states are drawn anew from their means at each presentation.
    """

    def __init__(self, X, unit, rng=None):
        self.X, self.unit, self.rng = X, unit, rng

    def __len__(self):
        return self.X.shape[0]

    def fill(self, indices, out):
        """Write some rows into `out`."""
        if not isinstance(self.X, np.ndarray):
            out[...] = self.X[indices].toarray()
        elif self.X.dtype == out.dtype:
            np.take(self.X, indices, axis=0, out=out, mode="clip")
        else:
            out[...] = self.X[indices]
        if self.rng is not None:
            self.unit.sample_of_mean(out, self.rng, out=out)


def _copy(machine, fill=None):
    """Copy a machine, writable and in C order, or make one of the same shape."""

    def one(array):
        copied = np.array(array, order="C")
        if fill is not None:
            copied.fill(fill)
        return copied

    return DeepBoltzmannMachine(
        [one(weight) for weight in machine.weights],
        [one(bias) for bias in machine.biases],
        machine.units,
    )


def batches_of(order, batch_size):
    """Split an order of rows into batches; the last one may be short."""
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def train(
    trainer, source, *, n_epochs, learning_rate_init, schedule, rng, team, progress
):
    """Train for some epochs, each over all rows in a new order.

    `progress.begin()` is called before each epoch and `progress.end(record)` after
    it; training ends early when the latter returns True. An interrupt (Ctrl-C) ends
    it too and is noted in `progress.interrupted`; what was learned stays.
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
