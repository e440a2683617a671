"""Annealed importance sampling: log Z with an error bar, from both sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.exceptions import ConvergenceWarning

from .. import ops, sampling
from .._typing import FloatArray, Seed
from .._warnings import warn
from ..machine import DeepBoltzmannMachine
from .exact import exact_log_partition, exact_samples, prefers_exact
from .path import Ladder, Path, carry, resampled

#: The pilot runs that space the temperatures.
PILOT_RUNS, PILOT_TEMPERATURES, PILOT_CHAINS = 2, 200, 32

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
    >>> from skdbm.likelihood import annealed_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([[[0.0, 0.0]] * 3], [[0.0] * 3, [0.0] * 2])
    >>> result = annealed_log_partition(machine, n_temperatures=10, random_state=0)
    >>> round(result.log_partition, 6), result.standard_error
    (3.465736, 0.0)
    """

    log_partition: float
    standard_error: float
    effective_sample_size: float
    log_weights: FloatArray
    temperatures: FloatArray


def summary(
    log_weights: FloatArray, temperatures: FloatArray, *, reverse: bool = False
) -> AnnealedLogPartition:
    """Log Z and more from log-weights whose mean weight is Z, or 1 / Z in reverse."""
    weights = ops.exp(log_weights - log_weights.max())
    estimate = ops.log_mean_exp(log_weights)
    error = weights.std(ddof=1) / (math.sqrt(len(weights)) * weights.mean())
    return AnnealedLogPartition(
        log_partition=-estimate if reverse else estimate,
        standard_error=float(error),
        effective_sample_size=float(weights.sum() ** 2 / (weights**2).sum()),
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
        Whether the reverse run began with exact samples; then the two estimates bracket
        log Z on average. Otherwise it began where the forward chains ended, moved on by
        Gibbs sweeps, and the gap is a consistency estimate, not a bound: modes that no
        chain has visited are missing on both sides.

    See Also
    --------
    annealing_bracket : Computes it.

    Examples
    --------
    >>> from skdbm.likelihood import annealing_bracket
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([[[0.0, 0.0]] * 3], [[0.0] * 3, [0.0] * 2])
    >>> annealing_bracket(machine, n_temperatures=10, random_state=0).gap
    0.0
    """

    forward: AnnealedLogPartition
    reverse: AnnealedLogPartition
    exact: bool

    @property
    def gap(self) -> float:
        """Reverse minus forward estimate, in nats."""
        return self.reverse.log_partition - self.forward.log_partition

    @property
    def gap_standard_error(self) -> float:
        """Standard error of the gap, in nats."""
        return math.hypot(self.forward.standard_error, self.reverse.standard_error)


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
    random_state : None, int or SeedSequence, default=None
        Seed of all draws; None means fresh entropy.
    n_jobs : int, default=None
        Threads; None means as many as BLAS would use here. It changes no result.

    Returns
    -------
    AnnealedLogPartition
        Estimate, standard error, effective sample size, log-weights.

    See Also
    --------
    exact_log_partition : Enumeration, for small machines.

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
    run = _Annealing(machine, n_chains, n_temperatures, base, random_state, n_jobs)
    return run.forward()[0]


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
    base, random_state, n_jobs : optional
        As for `annealed_log_partition`.

    Returns
    -------
    AnnealedLogPartition
        Estimate, standard error, effective sample size, log-weights (of 1 / Z).

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
    >>> abs(result.log_partition - exact_log_partition(machine)) < 0.1
    True
    """
    arrays = [ops.array(state, dtype=machine.dtype) for state in states]
    n_chains = len(arrays[0])
    shapes = [state.shape for state in arrays]
    if shapes != [(n_chains, size) for size in machine.layer_sizes]:
        raise ValueError(
            f"Got states of shapes {shapes}; expected one array for each layer, with "
            f"widths {machine.layer_sizes} and as many rows each as there are chains."
        )
    run = _Annealing(machine, n_chains, n_temperatures, base, random_state, n_jobs)
    return run.reverse(arrays, run.seed)


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
    n_chains, n_temperatures : int, default=100 and 1000
        Number of chains, and of steps, in each direction.
    n_sweeps : int, default=1000
        Gibbs sweeps from the end of the forward run to the start of the reverse run,
        where exact samples cannot be had.
    base, random_state, n_jobs : optional
        As for `annealed_log_partition`.

    Returns
    -------
    Bracket
        Both estimates, their gap, and whether exact samples were at hand.

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
    first, second, third = ops.seed_sequence(random_state).spawn(3)
    run = _Annealing(machine, n_chains, n_temperatures, base, first, n_jobs)
    forward, states = run.forward()
    exact = prefers_exact(machine)
    if exact:
        states = exact_samples(machine, n_chains, random_state=second)
    else:
        # The weighted states stand for the machine; the sweeps make them differ.
        states = resampled(states, forward.log_weights, n_chains, second)
        sampling.gibbs_sweeps(
            machine, states, n_sweeps, random_state=second, n_jobs=n_jobs
        )
    return Bracket(forward, run.reverse(states, third), exact)


def anneal(
    machine: DeepBoltzmannMachine,
    n_chains: int,
    n_temperatures: int,
    seed: Seed,
    n_jobs: int | None,
) -> tuple[AnnealedLogPartition, list[FloatArray]]:
    """Anneal in float32, which is enough; the result, and where the chains ended."""
    rounded = machine.astype(ops.float32)
    run = _Annealing(rounded, n_chains, n_temperatures, None, seed, n_jobs)
    result, states = run.forward()
    if result.effective_sample_size < LOW_SAMPLE_SIZE * n_chains:
        warn(
            f"Annealing: the {n_chains} chains are worth "
            f"{result.effective_sample_size:.1f} independent ones, so log Z = "
            f"{result.log_partition:.2f} and its standard error "
            f"{result.standard_error:.2f} are not to be trusted. Raise n_temperatures "
            "(of estimators: that of their Likelihood).",
            ConvergenceWarning,
        )
    return result, states


class _Annealing:
    """The path from independent units to a machine, and its spaced temperatures."""

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        n_chains: int,
        n_temperatures: int,
        base: FloatArray | None,
        random_state: Seed,
        n_jobs: int | None,
    ) -> None:
        if n_chains < 2 or n_temperatures < 1:
            raise ValueError(
                f"Got n_chains={n_chains} and n_temperatures={n_temperatures}; at "
                "least 2 chains (for a standard error) and 1 temperature are needed."
            )
        biases = list(machine.biases)
        if base is not None:
            biases[0] = ops.asarray(base, dtype=machine.dtype)
            if biases[0].shape != machine.biases[0].shape:
                raise ValueError(
                    f"base has shape {biases[0].shape}; {machine.biases[0].shape} is "
                    "expected, a bias for each visible unit."
                )
            if not ops.isfinite(biases[0]).all():
                raise ValueError("base holds NaN or infinite values.")
        self.n_chains, self.n_jobs = n_chains, n_jobs
        self.path = Path(machine.uncoupled(biases), machine)
        self.log_partition_before = exact_log_partition(self.path.before)
        pilot_seed, self.seed = ops.seed_sequence(random_state).spawn(2)
        with ops.workers(n_jobs) as team:
            self.temperatures = _fitted(self.path, n_temperatures, pilot_seed, team)

    def forward(self) -> tuple[AnnealedLogPartition, list[FloatArray]]:
        """Anneal from independent units; the result, and where the chains ended."""
        states = _independent_states(self.path, self.n_chains, self.seed)
        ladder = Ladder(self.temperatures.tolist())
        with ops.workers(self.n_jobs) as team:
            log_weights = carry(self.path, ladder, states, self.seed, team).log_weights
        log_weights += self.log_partition_before
        result = summary(log_weights, self.temperatures)
        return result, states

    def reverse(
        self, states: list[FloatArray], seed: ops.SeedSequence
    ) -> AnnealedLogPartition:
        """Anneal back to independent units; `states` are overwritten."""
        ladder = Ladder(self.temperatures[::-1].tolist())
        with ops.workers(self.n_jobs) as team:
            log_weights = carry(self.path, ladder, states, seed, team).log_weights
        log_weights -= self.log_partition_before
        return summary(log_weights, self.temperatures, reverse=True)


def _independent_states(
    path: Path, n_chains: int, seed: ops.SeedSequence
) -> list[FloatArray]:
    """Draw states of the independent units where annealing begins."""
    [rng] = ops.streams(seed, 1)
    return sampling.initial_states(path.before, n_chains, rng)


def _fitted(
    path: Path, n_steps: int, seed: ops.SeedSequence, team: ops.Workers
) -> FloatArray:
    """Space the inverse temperatures by what short pilot runs measure."""
    n_pilot = max(2, min(PILOT_TEMPERATURES, n_steps))
    temperatures: FloatArray = ops.linspace(0, 1, n_pilot + 1)
    for n_next in [n_pilot] * (PILOT_RUNS - 1) + [n_steps]:
        states = _independent_states(path, PILOT_CHAINS, seed)
        ladder = Ladder(temperatures.tolist())
        pilot = carry(path, ladder, states, seed, team, with_slopes=True)
        difficulty = ops.sqrt(_friction(pilot.slopes))
        temperatures = _even_ladder(temperatures, difficulty, n_next)
    return temperatures


def _friction(slopes: FloatArray) -> FloatArray:
    """Estimate how much work a unit of inverse temperature dissipates, step by step."""
    # It is the variance of the log-weight's slope over the chains, times its relaxation
    # time (Sivak and Crooks, 2012): the sum of its autocovariances, here over a tenth
    # of the run to either side. Where chains are slow, steps have to be smaller.
    n_steps = len(slopes)
    spread = slopes - slopes.mean(axis=1, keepdims=True)
    window = n_steps // 10
    total = ops.zeros(n_steps)
    n_lags = ops.zeros(n_steps)
    for lag in range(-window, window + 1):
        here = slice(max(0, -lag), n_steps - max(0, lag))
        there = slice(max(0, lag), n_steps - max(0, -lag))
        total[here] += ops.mean(spread[here] * spread[there], axis=1)
        n_lags[here] += 1
    friction: FloatArray = ops.uniform_filter1d(
        total * (2 * window + 1) / n_lags, window // 2 + 1
    )
    return ops.maximum(friction, 0)


def _even_ladder(
    ladder: FloatArray, difficulty: FloatArray, n_steps: int
) -> FloatArray:
    """Space inverse temperatures evenly in the integral of the difficulty."""
    difficulty = ops.maximum(difficulty, 0.1 * difficulty.mean())
    if not ops.any(difficulty > 0):
        return ops.linspace(0, 1, n_steps + 1)
    length = ops.concatenate([[0.0], ops.cumsum(difficulty * ops.diff(ladder))])
    return ops.interp(ops.linspace(0, length[-1], n_steps + 1), length, ladder)
