"""Log Z followed from one machine to the next, as they come in training."""

from functools import partial

import numpy as np

from .. import ops
from .._typing import FloatArray, Rng, Seed
from ..machine import DeepBoltzmannMachine
from .annealing import (
    AnnealedLogPartition,
    _annealed_with_states,
    _kept_and_summed,
    _resampled,
    _seed_sequence,
    _warn_if_low,
)

#: A step may spread the log-weights by so much (standard deviation over the chains):
#: some dozens of steps to a machine early in training.
STEP_SPREAD = 0.02

#: The longest step, which all are in the end: chains need some sweeps to forget what
#: resampling has given them in common.
LONGEST_STEP = 1 / 20

#: Log Z is annealed anew where the way from the last machine takes more steps than
#: this share of `n_temperatures`: a step costs more than one of annealing.
LONGEST_WAY = 0.5

#: It is also annealed anew when the standard error has grown by this factor, over that
#: of the annealing or this value for a single chain, whichever is larger.
LARGEST_GROWTH = 2.0
SMALLEST_ERROR = 0.2


class FollowedLogPartition:
    """Estimate log Z of machines that are close to the ones before.

    The first machine is annealed. From then on the chains move from the last machine A
    to the next one B, through the machines with the parameters (1 - t) A + t B, and
    log Z changes by the logarithm of their mean importance weight: a sequential Monte
    Carlo sampler [1]_ along the course of training [2]_. The step of t adapts to the
    spread of the weights; so machines that have hardly changed cost some 20 sweeps of
    the chains, and those too far away are annealed anew.

    Parameters
    ----------
    n_chains : int, default=100
        Number of chains, at least 2.
    n_temperatures : int, default=1000
        Number of steps of an annealing; half as many at most lead from machine to
        machine, so with fewer than 40 every machine is annealed.
    random_state : None, int or numpy.random.SeedSequence, default=None
        Seed of all draws; None means fresh entropy.

    Attributes
    ----------
    log_partition : float
        The estimate of log Z of the last machine, in nats.
    standard_error : float
        Its standard error, in nats: that of the last annealing and of all ways since.
    n_steps : int
        Number of steps from the machine before to the last one; 0 if it was annealed.
    states : list of L + 1 ndarrays of shape (n_chains, n_l)
        Where the chains are, resampled by their weights: samples of the last machine.

    See Also
    --------
    annealed_log_partition : The estimate for a single machine.
    skdbm.training.stopping.EarlyStopping : Judges the machines of a training.

    Notes
    -----
    The estimate of Z is unbiased, up to the adaptation of the steps, however many
    machines there are. Errors of all ways since the last annealing add up, so log Z is
    annealed anew, too, when the standard error has doubled. It is that of chains that
    have forgotten at each machine how they were resampled at the last one; slow chains
    have more. Differences of successive machines are more precise than either value.

    As in annealing, the parity of layers with more units is summed out. What it adds
    to the log-weight in a step is the integral of its derivative by t, which a
    two-point Radau rule gives to third order.

    References
    ----------
    .. [1] P. Del Moral, A. Doucet and A. Jasra, "Sequential Monte Carlo samplers",
       Journal of the Royal Statistical Society B 68, 2006.
    .. [2] G. Desjardins, A. Courville and Y. Bengio, "On tracking the partition
       function", NIPS 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import FollowedLogPartition, exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> followed = FollowedLogPartition(random_state=0)
    >>> for coupling in (1.0, 1.1, 1.2):
    ...     machine = DeepBoltzmannMachine(
    ...         [coupling * np.eye(4)], [np.zeros(4), np.zeros(4)]
    ...     )
    ...     log_partition, standard_error = followed.update(machine)
    >>> error = log_partition - exact_log_partition(machine)
    >>> bool(abs(error) < 5 * standard_error)
    True
    """

    log_partition: float
    standard_error: float
    n_steps: int
    states: list[FloatArray]

    def __init__(
        self,
        *,
        n_chains: int = 100,
        n_temperatures: int = 1000,
        random_state: Seed = None,
    ) -> None:
        self.n_chains, self.n_temperatures = n_chains, n_temperatures
        self._seed = _seed_sequence(random_state)
        self._machine: DeepBoltzmannMachine | None = None
        self._first_error = 0.0

    def update(
        self, machine: DeepBoltzmannMachine, *, n_jobs: int | None = None
    ) -> tuple[float, float]:
        """Go on to another machine.

        Parameters
        ----------
        machine : DeepBoltzmannMachine
            The machine, with the layers of the one before and units of the same kinds
            and totals. It must not be changed afterwards.
        n_jobs : int, default=None
            Threads; None means as many as the BLAS library would use here. The result
            is the same for every number.

        Returns
        -------
        log_partition : float
            The estimate of log Z, in nats.
        standard_error : float
            Its standard error, in nats.

        Raises
        ------
        ValueError
            If the layers have other sizes than those of the machine before.

        Warns
        -----
        ConvergenceWarning
            If the machine was annealed and few chains carry the estimate.
        """
        # Rounding to float32 is far below the standard error, and twice as fast.
        machine = machine.astype(np.float32)
        seed = self._seed.spawn(1)[0]
        before = self._machine
        if before is None or not self._follow(before, machine, seed, n_jobs):
            self._anneal(machine, seed, n_jobs)
        self._machine = machine
        return self.log_partition, self.standard_error

    def _anneal(
        self,
        machine: DeepBoltzmannMachine,
        seed: np.random.SeedSequence,
        n_jobs: int | None,
    ) -> None:
        """Begin anew with this machine."""
        first, second = seed.spawn(2)
        result, states = _annealed_with_states(
            machine, self.n_chains, self.n_temperatures, None, first, n_jobs
        )
        _warn_if_low(result)
        self.log_partition, self.n_steps = result.log_partition, 0
        self.standard_error = self._first_error = result.standard_error
        self.states = _resampled(states, result.log_weights, len(states[0]), second)

    def _follow(
        self,
        before: DeepBoltzmannMachine,
        machine: DeepBoltzmannMachine,
        seed: np.random.SeedSequence,
        n_jobs: int | None,
    ) -> bool:
        """Lead the chains to this machine; whether it was near enough."""
        first, second = seed.spawn(2)
        states = [state.copy() for state in self.states]
        most = max(1, int(LONGEST_WAY * self.n_temperatures))
        with ops.workers(n_jobs) as team:
            arrived = _Way(before, machine)(states, most, first, team)
        if arrived is None:
            return False
        log_weights, n_steps = arrived
        ratio = AnnealedLogPartition.from_log_weights(log_weights, np.array([0.0, 1.0]))
        error = float(np.hypot(self.standard_error, ratio.standard_error))
        least = SMALLEST_ERROR / np.sqrt(self.n_chains)
        if error > LARGEST_GROWTH * max(self._first_error, least):
            return False
        self.log_partition += ratio.log_partition
        self.standard_error, self.n_steps = error, n_steps
        self.states = _resampled(states, log_weights, len(states[0]), second)
        return True


class _Way:
    """The way of chains from one machine to another of the same layers."""

    def __init__(
        self, before: DeepBoltzmannMachine, after: DeepBoltzmannMachine
    ) -> None:
        if before.layer_sizes != after.layer_sizes:
            raise ValueError(
                f"The machine has layers of {after.layer_sizes} units and the one "
                f"before {before.layer_sizes}; only machines of the same layers can be "
                "followed."
            )
        self.before = before.with_units(after.units)  # encodings may differ, Z does not
        self.change = type(after)(
            [b - a for a, b in zip(before.weights, after.weights, strict=True)],
            [b - a for a, b in zip(before.biases, after.biases, strict=True)],
            after.units,
        )
        self.kept, self.summed = _kept_and_summed(after)

    def __call__(
        self,
        states: list[FloatArray],
        most: int,
        seed: np.random.SeedSequence,
        team: ops.Workers,
    ) -> tuple[FloatArray, int] | None:
        """Lead the chains along; their log-weights, and the number of steps.

        `states` are overwritten by where the chains end. None if a block of chains has
        not arrived after `most` steps. Every block chooses its own steps.
        """
        blocks = ops.row_blocks(len(states[0]), ops.ANNEALING_ROWS)
        log_weights, steps = np.zeros(len(states[0])), [0] * len(blocks)

        def lead(i: int, block: slice, rng: Rng) -> None:
            steps[i] = self._lead(
                [state[block] for state in states], log_weights[block], most, rng
            )

        streams = [ops.generator(child) for child in seed.spawn(len(blocks))]
        team.run(
            [
                partial(lead, i, block, rng)
                for i, (block, rng) in enumerate(zip(blocks, streams, strict=True))
            ]
        )
        return None if max(steps) > most else (log_weights, max(steps))

    def _lead(
        self, states: list[FloatArray], log_weights: FloatArray, most: int, rng: Rng
    ) -> int:
        """Lead one block of chains along; the number of steps, above `most` if lost."""
        fields, changes, scratch = (
            [np.empty_like(s) for s in states] for _ in range(3)
        )
        tilt = {k: self.change.biases[k].astype(np.float64) for k in self.kept}
        n_chains, t = len(log_weights), 0.0
        for n_steps in range(1, most + 1):
            for layer in self.summed:
                self._look(layer, states, fields, changes, scratch)
            fixed = sum((states[k] @ tilt[k] for k in self.kept), np.zeros(n_chains))
            here = fixed + self._slope(t, fields, changes, scratch)
            step = STEP_SPREAD / max(float(here.std()), STEP_SPREAD / LONGEST_STEP)
            step = min(step, 1 - t)
            # Radau's rule with two nodes, of which one is the slope that is known.
            there = fixed + self._slope(t + 2 / 3 * step, fields, changes, scratch)
            log_weights += step / 4 * (here + 3 * there)
            t = 1.0 if step == 1 - t else t + step
            self._sweep(t, states, fields, changes, scratch, rng)
            if t == 1:
                return n_steps
        return most + 1

    def _look(
        self,
        layer: int,
        states: list[FloatArray],
        fields: list[FloatArray],
        changes: list[FloatArray],
        scratch: list[FloatArray],
    ) -> None:
        """Compute the field of a layer under the first machine, and its change."""
        for machine, out in ((self.before, fields), (self.change, changes)):
            machine.field(layer, states, out=out[layer], scratch=scratch[layer])

    def _between(
        self,
        layer: int,
        t: float,
        fields: list[FloatArray],
        changes: list[FloatArray],
        out: FloatArray,
    ) -> FloatArray:
        """Field of a layer under the machine at t."""
        np.multiply(changes[layer], changes[layer].dtype.type(t), out=out)
        out += fields[layer]
        return out

    def _slope(
        self,
        t: float,
        fields: list[FloatArray],
        changes: list[FloatArray],
        scratch: list[FloatArray],
    ) -> FloatArray:
        """Derivative by t of what the summed-out layers add to the log-weights."""
        total = np.zeros(len(fields[0]))
        for layer in self.summed:
            mean = self._between(layer, t, fields, changes, scratch[layer])
            self.change.units[layer].mean(mean, out=mean)
            np.multiply(changes[layer], mean, out=mean)
            total += ops.row_sum(mean)
        return total

    def _sweep(
        self,
        t: float,
        states: list[FloatArray],
        fields: list[FloatArray],
        changes: list[FloatArray],
        scratch: list[FloatArray],
        rng: Rng,
    ) -> None:
        """One Gibbs sweep under the machine at t; the summed-out layers are seen."""
        for layers in (self.summed, self.kept):
            for layer in layers:
                if layers is self.kept:
                    self._look(layer, states, fields, changes, scratch)
                field = self._between(layer, t, fields, changes, states[layer])
                self.change.units[layer].sample(
                    field, rng, out=field, scratch=scratch[layer]
                )
