"""Annealed importance sampling: log Z with an error bar, from both sides."""

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn.exceptions import ConvergenceWarning

from .. import ops, sampling
from .._typing import FloatArray, IntArray, Rng, Seed
from .._warnings import warn
from ..machine import DeepBoltzmannMachine
from ..units import UnitType
from .exact import (
    _kept_probabilities,
    _samples_of,
    exact_log_partition,
    exact_log_partitions,
    exact_samples,
    prefers_exact,
)

_Result = TypeVar("_Result")

#: The pilot runs that space the temperatures.
PILOT_RUNS, PILOT_TEMPERATURES, PILOT_CHAINS = 2, 200, 32

#: From so many temperatures on, one point of the integrand a step is enough.
MIDPOINT_TEMPERATURES = 5000

#: Share of the chains below which the effective sample size is called low.
LOW_SAMPLE_SIZE = 0.1


@dataclass(frozen=True)
class AnnealedLogPartition:
    """Result of `annealed_log_partition`.

    Parameters
    ----------
    log_partition : float
        The estimate of log Z, in nats.
    standard_error : float
        Its standard error, in nats, from the spread of the weights (delta method).
    effective_sample_size : float
        How many equally weighted chains would be as good; much less than the number
        of chains says that the temperatures are too few.
    log_weights : ndarray of shape (n_chains,)
        Log importance weights; log Z is the log of the mean weight.
    temperatures : ndarray
        The inverse temperatures, from 0 to 1.

    See Also
    --------
    annealed_log_partition : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import annealed_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((3, 2))], [np.zeros(3), np.zeros(2)])
    >>> result = annealed_log_partition(machine, n_temperatures=10, random_state=0)
    >>> round(result.log_partition, 6), result.standard_error
    (3.465736, 0.0)
    """

    log_partition: float
    standard_error: float
    effective_sample_size: float
    log_weights: FloatArray
    temperatures: FloatArray

    @classmethod
    def from_log_weights(
        cls, log_weights: FloatArray, temperatures: FloatArray, *, reverse: bool = False
    ) -> "AnnealedLogPartition":
        """Summarise log-weights whose mean weight is Z, or 1 / Z of a reverse run.

        Parameters
        ----------
        log_weights : ndarray of shape (n_chains,)
            Log importance weights.
        temperatures : ndarray
            The inverse temperatures.
        reverse : bool, default=False
            Whether the mean weight is 1 / Z.

        Returns
        -------
        AnnealedLogPartition
            Estimate, standard error, effective sample size.
        """
        weights = np.exp(log_weights - log_weights.max())
        estimate = ops.log_mean_exp(log_weights)
        return cls(
            log_partition=-estimate if reverse else estimate,
            standard_error=float(
                weights.std(ddof=1) / (np.sqrt(len(weights)) * weights.mean())
            ),
            effective_sample_size=float(weights.sum() ** 2 / np.sum(weights**2)),
            log_weights=log_weights,
            temperatures=temperatures,
        )


@dataclass(frozen=True)
class Bracket:
    """Result of `annealing_bracket`: log Z from both sides.

    Parameters
    ----------
    forward : AnnealedLogPartition
        From independent units to the machine; low on average.
    reverse : AnnealedLogPartition
        From the machine to independent units; high on average where it began with
        exact samples.
    exact : bool
        Whether the reverse run began with exact samples. Then the two estimates
        bracket log Z on average. Otherwise it began with the states in which the
        forward chains ended, moved on by Gibbs sweeps, and the gap is a consistency
        estimate, not a bound: modes that no chain has visited are missing on both
        sides.

    See Also
    --------
    annealing_bracket : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import annealing_bracket
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((3, 2))], [np.zeros(3), np.zeros(2)])
    >>> annealing_bracket(machine, n_temperatures=10, random_state=0).gap
    0.0
    """

    forward: AnnealedLogPartition
    reverse: AnnealedLogPartition
    exact: bool

    @property
    def gap(self) -> float:
        """Reverse minus forward estimate.

        Returns
        -------
        float
            The gap in nats.
        """
        return self.reverse.log_partition - self.forward.log_partition

    @property
    def gap_standard_error(self) -> float:
        """Standard error of the gap.

        Returns
        -------
        float
            The standard error in nats.
        """
        return float(np.hypot(self.forward.standard_error, self.reverse.standard_error))


def annealed_log_partition(
    machine: DeepBoltzmannMachine,
    *,
    n_chains: int = 100,
    n_temperatures: int = 1000,
    base: FloatArray | None = None,
    random_state: Seed = None,
    n_jobs: int | None = None,
) -> AnnealedLogPartition:
    """Estimate log Z by annealed importance sampling (AIS).

    Chains move from independent units (inverse temperature 0) to the machine (1)
    through `n_temperatures` steps, and collect importance weights on the way [1]_,
    [2]_. The parity of layers with more units is summed out exactly. The steps are
    spaced so that each is equally difficult: two short pilot runs measure how much the
    derivative of the log-weight spreads, and how slowly, along the way [3]_.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    n_chains : int, default=100
        Number of chains. The standard error falls with its square root.
    n_temperatures : int, default=1000
        Number of steps from 0 to 1. Too few make the estimate low on average, hence
        likelihoods too high.
    base : ndarray of shape (n_0,), default=None
        Visible biases of the independent start, such as the logits of the data means.
        None means the machine's own.
    random_state : None, int or numpy.random.SeedSequence, default=None
        Seed of all draws; None means fresh entropy.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    AnnealedLogPartition
        Estimate, standard error, effective sample size, log-weights.

    See Also
    --------
    exact_log_partition : Enumeration, for small machines.

    Notes
    -----
    With F the field of a summed-out layer and c its base bias, the log-weight grows
    by the integral over the inverse temperature t of (F - c) A'(c + t (F - c)), which
    a two-point Gauss rule gives to fifth order (from 5,000 temperatures on the midpoint
    is as good, and taken). Differences of two float32 sums of A
    would be biased by their rounding, and raw exponentials would overflow.

    References
    ----------
    .. [1] R. M. Neal, "Annealed importance sampling", Statistics and Computing 11,
       2001.
    .. [2] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
       section 4.1.
    .. [3] D. A. Sivak and G. E. Crooks, "Thermodynamic metrics and optimal paths",
       Physical Review Letters 108, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import annealed_log_partition, exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(4)], [np.zeros(4), np.zeros(4)])
    >>> result = annealed_log_partition(machine, random_state=0)
    >>> error = result.log_partition - exact_log_partition(machine)
    >>> bool(abs(error) < 5 * result.standard_error)
    True
    """
    return _annealed_with_states(
        machine, n_chains, n_temperatures, base, random_state, n_jobs
    )[0]


def _annealed_with_states(
    machine: DeepBoltzmannMachine,
    n_chains: int,
    n_temperatures: int,
    base: FloatArray | None,
    random_state: Seed,
    n_jobs: int | None,
) -> tuple[AnnealedLogPartition, list[FloatArray]]:
    """Give the result of `annealed_log_partition`, and where the chains ended."""
    run, ladder, seed = _prepare(
        machine, n_chains, n_temperatures, base, random_state, n_jobs
    )
    states = run.initial_states(n_chains, seed)
    with ops.workers(n_jobs) as team:
        log_weights = run(ladder, states, seed, team)
    result = AnnealedLogPartition.from_log_weights(
        log_weights + run.log_partition_of_base(), ladder
    )
    return result, states


def reverse_annealed_log_partition(
    machine: DeepBoltzmannMachine,
    states: Sequence[FloatArray],
    *,
    n_temperatures: int = 1000,
    base: FloatArray | None = None,
    random_state: Seed = None,
    n_jobs: int | None = None,
) -> AnnealedLogPartition:
    """Estimate log Z by annealing from the machine back to independent units.

    The mean importance weight is an unbiased estimate of 1 / Z if the chains begin in
    exact samples of the machine; then the estimate of log Z is high on average, where
    the forward run is low, and the two bracket log Z [1]_. From chains that have not
    reached the machine's distribution it is no bound.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_chains, n_l)
        Samples of the machine to begin with, such as `exact_samples` gives.
    n_temperatures : int, default=1000
        Number of steps from 1 to 0.
    base : ndarray of shape (n_0,), default=None
        Visible biases of the independent units; None means the machine's own.
    random_state : None, int or numpy.random.SeedSequence, default=None
        Seed of all draws; None means fresh entropy.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    AnnealedLogPartition
        Estimate, standard error, effective sample size, log-weights (of 1 / Z).

    Raises
    ------
    ValueError
        If there are fewer than 2 chains or no temperature, or the states do not fit
        the machine.

    See Also
    --------
    annealing_bracket : Both directions and their gap.

    References
    ----------
    .. [1] Y. Burda, R. Grosse and R. Salakhutdinov, "Accurate and conservative
       estimates of MRF log-likelihood using reverse annealing", AISTATS 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_log_partition, exact_samples
    >>> from skdbm.likelihood import reverse_annealed_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(4)], [np.zeros(4), np.zeros(4)])
    >>> states = exact_samples(machine, 100, random_state=0)
    >>> result = reverse_annealed_log_partition(machine, states, random_state=0)
    >>> error = result.log_partition - exact_log_partition(machine)
    >>> bool(abs(error) < 5 * result.standard_error)
    True
    """
    shapes = [np.shape(state) for state in states]
    if shapes != [(len(states[0]), size) for size in machine.layer_sizes]:
        raise ValueError(
            f"Got states of shapes {shapes}; expected one array for each layer, with "
            f"widths {machine.layer_sizes} and as many rows each as there are chains."
        )
    run, ladder, seed = _prepare(
        machine, len(states[0]), n_temperatures, base, random_state, n_jobs
    )
    states = [np.array(state, dtype=machine.dtype) for state in states]
    with ops.workers(n_jobs) as team:
        log_weights = run(ladder[::-1], states, seed, team)
    return AnnealedLogPartition.from_log_weights(
        log_weights - run.log_partition_of_base(), ladder, reverse=True
    )


def annealing_bracket(
    machine: DeepBoltzmannMachine,
    *,
    n_chains: int = 100,
    n_temperatures: int = 1000,
    n_sweeps: int = 1000,
    base: FloatArray | None = None,
    random_state: Seed = None,
    n_jobs: int | None = None,
) -> Bracket:
    """Estimate log Z from both sides, and report the gap.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    n_chains : int, default=100
        Number of chains in each direction.
    n_temperatures : int, default=1000
        Number of steps in each direction.
    n_sweeps : int, default=1000
        Gibbs sweeps from the end of the forward run to the start of the reverse run,
        where exact samples cannot be had.
    base : ndarray of shape (n_0,), default=None
        Visible biases of the independent units; None means the machine's own.
    random_state : None, int or numpy.random.SeedSequence, default=None
        Seed of all draws; None means fresh entropy.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    Bracket
        Both estimates, their gap, and whether the reverse run began with exact
        samples.

    See Also
    --------
    annealed_log_partition : The forward run alone.
    reverse_annealed_log_partition : The reverse run from given states.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import annealing_bracket
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(4)], [np.zeros(4), np.zeros(4)])
    >>> bracket = annealing_bracket(machine, random_state=0)
    >>> bracket.exact, bool(abs(bracket.gap) < 5 * bracket.gap_standard_error)
    (True, True)
    """
    first, second, third = _seed_sequence(random_state).spawn(3)
    run, ladder, seed = _prepare(machine, n_chains, n_temperatures, base, first, n_jobs)
    exact = prefers_exact(machine)
    states = run.initial_states(n_chains, seed)
    with ops.workers(n_jobs) as team:
        log_weights = run(ladder, states, seed, team)
    forward = AnnealedLogPartition.from_log_weights(
        log_weights + run.log_partition_of_base(), ladder
    )
    if exact:
        states = exact_samples(machine, n_chains, random_state=second)
    else:
        # The weighted states stand for the machine; the sweeps make them differ.
        states = _resampled(states, log_weights, n_chains, second)
        sampling.chains(machine, states, n_sweeps, second, n_jobs=n_jobs)
    with ops.workers(n_jobs) as team:
        log_weights = run(ladder[::-1], states, third, team)
    reverse = AnnealedLogPartition.from_log_weights(
        log_weights - run.log_partition_of_base(), ladder, reverse=True
    )
    return Bracket(forward, reverse, exact)


def _seed_sequence(random_state: Seed) -> np.random.SeedSequence:
    """Make a fresh seed sequence, so that spawning does not change the caller's."""
    if isinstance(random_state, np.random.SeedSequence):
        return np.random.SeedSequence(
            random_state.entropy, spawn_key=random_state.spawn_key
        )
    return np.random.SeedSequence(random_state)


def _prepare(
    machine: DeepBoltzmannMachine,
    n_chains: int,
    n_temperatures: int,
    base: FloatArray | None,
    random_state: Seed,
    n_jobs: int | None,
) -> tuple["_AnnealingRun", FloatArray, np.random.SeedSequence]:
    """Check the arguments; the run, its temperatures, and a seed for the chains."""
    if n_chains < 2 or n_temperatures < 1:
        raise ValueError(
            f"Got n_chains={n_chains} and n_temperatures={n_temperatures}; at least 2 "
            "chains (for a standard error) and 1 temperature are needed."
        )
    start = list(machine.biases)
    if base is not None:
        start[0] = np.asarray(base, dtype=machine.dtype)
        if start[0].shape != machine.biases[0].shape:
            raise ValueError(
                f"base has shape {start[0].shape}; {machine.biases[0].shape} is "
                "expected, a bias for each visible unit."
            )
        if not np.isfinite(start[0]).all():
            raise ValueError("base holds NaN or infinite values.")
    pilot_seed, seed = _seed_sequence(random_state).spawn(2)
    run = _AnnealingRun(machine, start)
    with ops.workers(n_jobs) as team:
        ladder = _fitted_ladder(run, n_temperatures, pilot_seed, team)
    return run, ladder, seed


def _fitted_ladder(
    run: "_AnnealingRun",
    n_steps: int,
    seed: np.random.SeedSequence,
    team: ops.Workers,
) -> FloatArray:
    """Space the inverse temperatures by what short pilot runs measure."""
    n_pilot = max(2, min(PILOT_TEMPERATURES, n_steps))
    ladder: FloatArray = np.linspace(0, 1, n_pilot + 1)
    for n_next in [n_pilot] * (PILOT_RUNS - 1) + [n_steps]:
        slopes = np.zeros((n_pilot, PILOT_CHAINS))
        run(ladder, run.initial_states(PILOT_CHAINS, seed), seed, team, slopes)
        ladder = _even_ladder(ladder, np.sqrt(_friction(slopes)), n_next)
    return ladder


def _friction(slopes: FloatArray) -> FloatArray:
    """Estimate how much work a unit of inverse temperature dissipates, step by step.

    It is the variance of the log-weight's slope over the chains, times its relaxation
    time (Sivak and Crooks, "Thermodynamic metrics and optimal paths", Physical Review
    Letters 108, 2012): the sum of its autocovariances, here over a tenth of the run to
    either side. Where chains are slow, steps have to be smaller than the variance
    alone would have them.
    """
    n_steps = len(slopes)
    spread = slopes - slopes.mean(axis=1, keepdims=True)
    window = n_steps // 10
    total = np.zeros(n_steps)
    n_lags = np.zeros(n_steps)
    for lag in range(-window, window + 1):
        here = slice(max(0, -lag), n_steps - max(0, lag))
        there = slice(max(0, lag), n_steps - max(0, -lag))
        total[here] += np.mean(spread[here] * spread[there], axis=1)
        n_lags[here] += 1
    friction: FloatArray = uniform_filter1d(
        total * (2 * window + 1) / n_lags, window // 2 + 1
    )
    return np.maximum(friction, 0)


def _even_ladder(
    ladder: FloatArray, difficulty: FloatArray, n_steps: int
) -> FloatArray:
    """Space inverse temperatures evenly in the integral of the difficulty."""
    difficulty = np.maximum(difficulty, 0.1 * difficulty.mean())
    if not np.any(difficulty > 0):
        return np.linspace(0, 1, n_steps + 1)
    length = np.concatenate([[0.0], np.cumsum(difficulty * np.diff(ladder))])
    return np.interp(np.linspace(0, length[-1], n_steps + 1), length, ladder)


def _kept_and_summed(machine: DeepBoltzmannMachine) -> tuple[range, range]:
    """Give the layers that chains keep, and those of more units, summed out."""
    sizes = [sum(machine.layer_sizes[parity::2]) for parity in (0, 1)]
    fewer = int(sizes[1] <= sizes[0])
    return range(fewer, machine.n_layers, 2), range(1 - fewer, machine.n_layers, 2)


class _AnnealingRun:
    """Anneal chains between independent units and a machine, in either direction."""

    def __init__(self, machine: DeepBoltzmannMachine, start: list[FloatArray]) -> None:
        self.machine = machine
        self.start = start  # biases of the independent units at inverse temperature 0
        self.kept, self.summed = _kept_and_summed(machine)

    def log_partition_of_base(self) -> float:
        """Log Z of the independent units, in closed form."""
        return _log_partition_of_independent(self.machine.units, self.start)

    def initial_states(
        self, n_chains: int, seed: np.random.SeedSequence
    ) -> list[FloatArray]:
        """Draw states of the independent units."""
        independent = type(self.machine)(
            self.machine.weights, self.start, self.machine.units
        )
        rng = ops.generator(seed.spawn(1)[0])
        return sampling.initial_states(independent, n_chains, rng)

    def __call__(
        self,
        ladder: FloatArray,
        states: list[FloatArray],
        seed: np.random.SeedSequence,
        team: ops.Workers,
        slopes: FloatArray | None = None,
    ) -> FloatArray:
        """Carry the chains along the ladder; their log-weights.

        `states` are overwritten by where the chains end. `slopes`, if given, get the
        derivative of every log-weight in every step.
        """
        n_chains = len(states[0])
        blocks = ops.row_blocks(n_chains, ops.ANNEALING_ROWS)
        log_weights = np.zeros(n_chains)

        def anneal(block: slice, rng: Rng) -> None:
            traced = None if slopes is None else slopes[:, block]
            self._anneal(
                ladder, [s[block] for s in states], log_weights[block], rng, traced
            )

        streams = [ops.generator(child) for child in seed.spawn(len(blocks))]
        team.run(
            [
                partial(anneal, block, rng)
                for block, rng in zip(blocks, streams, strict=True)
            ]
        )
        return log_weights

    def _anneal(
        self,
        ladder: FloatArray,
        states: list[FloatArray],
        log_weights: FloatArray,
        rng: Rng,
        slopes: FloatArray | None,
    ) -> None:
        """Carry one block of chains from the first to the last temperature."""
        machine = self.machine
        change = [np.empty_like(state) for state in states]
        scratch = [np.empty_like(state) for state in states]
        tilt = {
            layer: (machine.biases[layer] - self.start[layer]).astype(np.float64)
            for layer in self.kept
            if np.any(machine.biases[layer] != self.start[layer])
        }
        nodes = _gauss_nodes(len(ladder) - 1)
        for i, (here, there) in enumerate(pairwise(ladder)):
            slope = np.zeros(len(log_weights))
            for layer in tilt:
                slope += states[layer] @ tilt[layer]
            for layer in self.summed:
                slope += self._slope(
                    layer,
                    [here + node * (there - here) for node in nodes],
                    states,
                    change,
                    scratch,
                )
            log_weights += (there - here) * slope
            if slopes is not None:
                slopes[i] = slope
            self._sweep(there, states, change, scratch, rng)

    def _slope(
        self,
        layer: int,
        temperatures: Sequence[float],
        states: list[FloatArray],
        change: list[FloatArray],
        scratch: list[FloatArray],
    ) -> FloatArray:
        """Derivative of the log-weight that a summed-out layer gives, averaged.

        Leaves in `change` how the layer's field changes with the temperature.
        """
        field = self.machine.field(
            layer, states, out=change[layer], scratch=scratch[layer]
        )
        field -= self.start[layer]
        total: FloatArray = np.zeros(len(field))
        for temperature in temperatures:
            mean = self._tempered(layer, temperature, change, scratch[layer])
            self.machine.units[layer].mean(mean, out=mean)
            np.multiply(change[layer], mean, out=mean)
            total += ops.row_sum(mean)
        return total / len(temperatures)

    def _tempered(
        self, layer: int, temperature: float, change: list[FloatArray], out: FloatArray
    ) -> FloatArray:
        """Field at an inverse temperature: start + temperature * change."""
        field = np.multiply(change[layer], change[layer].dtype.type(temperature), out)
        field += self.start[layer]
        return field

    def _sweep(
        self,
        temperature: float,
        states: list[FloatArray],
        change: list[FloatArray],
        scratch: list[FloatArray],
        rng: Rng,
    ) -> None:
        """One Gibbs sweep at an inverse temperature; `_slope` has filled `change`."""
        machine = self.machine
        for layers in (self.summed, self.kept):
            for layer in layers:
                if layers is self.kept:
                    machine.field(
                        layer, states, out=change[layer], scratch=scratch[layer]
                    )
                    change[layer] -= self.start[layer]
                field = self._tempered(layer, temperature, change, states[layer])
                machine.units[layer].sample(
                    field, rng, out=field, scratch=scratch[layer]
                )


def _log_partition_of_independent(
    units: Sequence[UnitType], biases: Sequence[FloatArray]
) -> float:
    """Log Z of units with these biases and no weights."""
    return sum(
        float(unit.log_partition(np.asarray(bias, dtype=np.float64)[None])[0])
        for unit, bias in zip(units, biases, strict=True)
    )


def _gauss_nodes(n_steps: int) -> tuple[float, ...]:
    """Nodes on [0, 1] of the rule that integrates the slope over a step."""
    if n_steps >= MIDPOINT_TEMPERATURES:
        return (0.5,)
    return (0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12))


def _resampled(
    states: Sequence[FloatArray],
    log_weights: FloatArray,
    n_samples: int,
    seed: np.random.SeedSequence,
) -> list[FloatArray]:
    """Repeat or drop chains in proportion to their weights (systematic resampling)."""
    weights = np.exp(log_weights - log_weights.max())
    edges = np.cumsum(weights)
    places = (np.arange(n_samples) + ops.generator(seed).random()) / n_samples
    chosen = np.searchsorted(edges / edges[-1], places, side="right")
    return [state[np.minimum(chosen, len(weights) - 1)] for state in states]


_memo: weakref.WeakKeyDictionary[DeepBoltzmannMachine, dict[Any, Any]] = (
    weakref.WeakKeyDictionary()
)
_memo_lock = threading.Lock()


def _remembered(
    machine: DeepBoltzmannMachine, key: Any, compute: Callable[[], _Result]
) -> _Result:
    """Compute something of a machine once, as long as the machine lives."""
    with _memo_lock:
        known = _memo.setdefault(machine, {})
    if key not in known:
        known[key] = compute()
    result: _Result = known[key]
    return result


def _annealed_once(
    machine: DeepBoltzmannMachine,
    n_chains: int,
    n_temperatures: int,
    seed: int,
    n_jobs: int | None,
) -> tuple[AnnealedLogPartition, list[FloatArray]]:
    """Anneal a machine, or remember how that went, and where the chains ended."""

    def anneal() -> tuple[AnnealedLogPartition, list[FloatArray]]:
        # Rounding to float32 is far below the standard error, and twice as fast.
        rounded = machine.astype(np.float32)
        result, states = _annealed_with_states(
            rounded, n_chains, n_temperatures, None, seed, n_jobs
        )
        _warn_if_low(result)
        return result, states

    return _remembered(machine, (n_chains, n_temperatures, seed), anneal)


def annealed_samples(
    machine: DeepBoltzmannMachine,
    n_samples: int,
    *,
    n_chains: int,
    n_temperatures: int,
    seed: int,
    random_state: np.random.SeedSequence,
    n_jobs: int | None = None,
) -> list[FloatArray]:
    """Draw joint states of all layers in the proportions of the machine.

    Gibbs chains hardly cross from one kind of state to another, and show for long
    what they began with. Annealed chains end where the machine's probability is, once
    they are drawn by their importance weights. They are those that `log_partition`
    has moved for the same settings, or moves now. Small machines are enumerated, and
    the states exact.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine; it must not be changed afterwards.
    n_samples : int
        Number of joint states, in any order. Those that come from one chain are alike.
    n_chains : int
        Chains of the annealing.
    n_temperatures : int
        Temperatures of the annealing.
    seed : int
        Seed of the annealing.
    random_state : numpy.random.SeedSequence
        Seed of the choice among the chains.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here.

    Returns
    -------
    list of L + 1 ndarrays of shape (n_samples, n_l)
        States of every layer.

    Warns
    -----
    ConvergenceWarning
        If few chains carry most of the weight.

    See Also
    --------
    exact_samples : What it gives for small machines.
    skdbm.sampling.chains : Makes states of one chain differ.

    Examples
    --------
    Two kinds of states of which the second, in which all units are on, is e times as
    likely as the first. A machine as small as this is enumerated.

    >>> import numpy as np
    >>> from skdbm.likelihood import annealed_samples
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine(
    ...     [np.full((4, 4), 9.0)], [np.full(4, -18.0), np.full(4, -17.75)]
    ... )
    >>> v, h = annealed_samples(
    ...     machine, 1000, n_chains=9, n_temperatures=9, seed=0,
    ...     random_state=np.random.SeedSequence(0),
    ... )
    >>> bool(0.65 < np.mean(v) < 0.81)
    True
    """
    if prefers_exact(machine):
        probabilities = _remembered(
            machine, "probabilities", lambda: _kept_probabilities(machine)
        )
        return _samples_of(machine, probabilities, n_samples, random_state)
    result, states = _annealed_once(machine, n_chains, n_temperatures, seed, n_jobs)
    choice, order = random_state.spawn(2)
    states = _resampled(states, result.log_weights, n_samples, choice)
    # Samples of one chain would stand side by side.
    places = ops.generator(order).permutation(n_samples)
    return [state[places] for state in states]


def log_partition(
    machine: DeepBoltzmannMachine,
    *,
    n_chains: int,
    n_temperatures: int,
    seed: int,
    n_jobs: int | None = None,
    totals: IntArray | None = None,
) -> tuple[float | FloatArray, float | FloatArray]:
    """Give log Z and its standard error, by enumeration where that is cheap.

    The answer is remembered as long as the machine lives, so that a score asked for
    often is estimated once.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine; it must not be changed afterwards.
    n_chains : int
        Chains of the annealed estimate.
    n_temperatures : int
        Temperatures of the annealed estimate.
    seed : int
        Seed of the annealed estimate.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here.
    totals : ndarray of int of shape (n_rows,), default=None
        What `UnitType.totals` of the visible units gives for the rows in question:
        the totals of counts, on each of which Z depends.

    Returns
    -------
    log_partition : float or ndarray of shape (n_rows,)
        Log Z in nats, one value for all rows if there are no totals.
    standard_error : float or ndarray of shape (n_rows,)
        Its standard error in nats; 0 for an enumerated value.

    See Also
    --------
    exact_log_partition : Enumeration.
    annealed_log_partition : Annealed importance sampling.

    Notes
    -----
    For counts log Z is annealed at totals that are half a power of two apart, as far
    as they are needed. In between, what a word adds on average to the log Z of free
    hidden units is interpolated by a cubic in the logarithm of the total. So the value
    of a row does not depend on other rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> log_partition(machine, n_chains=9, n_temperatures=9, seed=0)
    (3.4873..., 0.0)
    """
    settings = (n_chains, n_temperatures, seed)

    def annealed(of_total: DeepBoltzmannMachine) -> tuple[float, float]:
        result, _ = _annealed_once(of_total, *settings, n_jobs)
        return result.log_partition, result.standard_error

    if prefers_exact(machine):
        if totals is not None:
            return exact_log_partitions(machine, totals), np.zeros(len(totals))
        return _remembered(machine, "exact", lambda: exact_log_partition(machine)), 0.0
    if totals is None:
        return annealed(machine)

    def at(total: int) -> tuple[float, float]:
        # The machine of a total, and with it its chains, does not live on.
        def anneal() -> tuple[float, float]:
            return annealed(machine.with_totals(total))

        return _remembered(machine, (*settings, total), anneal)

    distinct, where = np.unique(totals, return_inverse=True)
    values = [_interpolated(machine, int(total), at) for total in distinct]
    return tuple(np.array(values)[where].T)


#: Totals at which log Z of counts is annealed: half powers of two, as integers.
_ANNEALED_TOTALS = np.unique(np.rint(2 ** (np.arange(80) / 2)).astype(np.int64))


def _interpolated(
    machine: DeepBoltzmannMachine, total: int, at: Callable[[int], tuple[float, float]]
) -> tuple[float, float]:
    """Log Z for a total, and its standard error, from those of totals around it."""
    i = int(np.searchsorted(_ANNEALED_TOTALS, total))
    if total == 0 or _ANNEALED_TOTALS[i] == total:
        return at(total)
    nodes = _ANNEALED_TOTALS[max(0, i - 2) : max(0, i - 2) + 4]
    x, places = np.log(total), np.log(nodes)
    weights = _lagrange(x, places)
    values, errors = np.array([at(int(node)) for node in nodes]).T
    no_word = machine.with_totals(0).units
    start = _log_partition_of_independent(no_word, machine.biases)
    # What independent units add is the same for every word; so it may stay inside.
    per_word = weights @ ((values - start) / nodes)
    error = total * np.sqrt(np.sum((weights * errors / nodes) ** 2))
    return start + total * per_word, error


def _lagrange(x: float, nodes: FloatArray) -> FloatArray:
    """Weights of the values at the nodes in the polynomial through them, at x."""
    others = [np.delete(nodes, i) for i in range(len(nodes))]
    return np.array(
        [np.prod((x - o) / (n - o)) for n, o in zip(nodes, others, strict=True)]
    )


def _warn_if_low(result: AnnealedLogPartition) -> None:
    """Say so if few chains carry the estimate."""
    n_chains = len(result.log_weights)
    if result.effective_sample_size < LOW_SAMPLE_SIZE * n_chains:
        warn(
            f"Annealing: the {n_chains} chains are worth "
            f"{result.effective_sample_size:.1f} independent ones, so log Z = "
            f"{result.log_partition:.2f} and its standard error "
            f"{result.standard_error:.2f} are not to be trusted. Raise n_temperatures.",
            ConvergenceWarning,
        )
