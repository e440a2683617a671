"""Log Z by sequential Monte Carlo, with an error that can be believed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sklearn.exceptions import ConvergenceWarning

from .. import ops
from .._typing import BoolArray, FloatArray, Seed
from .._warnings import warn
from ..machine import DeepBoltzmannMachine
from ..sampling.annealing import (
    BASES,
    KEPT_CHAINS,
    Annealed,
    anneal,
    base_of,
    fresh_chains,
    means_of,
)
from ..sampling.path import resampled

#: Populations on each path in a round of annealing, the most rounds, and the standard
#: error (nats) with which there is no further one.
N_POPULATIONS, MOST_ROUNDS, GOOD_ERROR = 8, 4, 0.1

#: Chains from the likeliest rows that look for more than was found, and by how much of
#: Z, in nats, what they find may be less than that and still be worth a closer look.
LOOKING_CHAINS, WORTH_A_LOOK = 100, 3.0

#: A mode reaches as far from its centre as this share of its states; where others have
#: less than this share of it there, they have missed it.
REACH, MISSED_BELOW = 0.95, 0.5

#: Least standard error, in nats: so small a mode may be missed by all chains.
LEAST_ERROR = 0.02

#: Paths disagree if their estimates differ by more than so many standard errors.
DISAGREEMENT = 4.0

#: Probability with which the lower bound may fail.
BOUND_FAILS = 0.05

#: Standard error (nats) from which an estimate is called unreliable.
LARGE_ERROR = 0.5


@dataclass(frozen=True)
class AnnealedLogPartition:
    """Result of `annealed_log_partition`.

    Parameters
    ----------
    log_partition : float
        The estimate of log Z, in nats.
    standard_error : float
        Its standard error, in nats: two of them are a 95 % interval.
    lower_bound : float
        Log Z is at least this, in nats, with a probability of 95 %.
    log_populations : ndarray of shape (n_paths, n_populations)
        The estimate of log Z by each population.
    n_steps : tuple of int
        Number of steps of each path.
    of_likeliest : float
        The estimate of log Z from near the rows that are likeliest under the machine,
        in nats; NaN if there seemed to be no more than the paths had found.

    See Also
    --------
    annealed_log_partition : Computes it.

    Examples
    --------
    >>> from skdbm.likelihood import annealed_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([[[0.0, 0.0]] * 3], [[0.0] * 3, [0.0] * 2])
    >>> result = annealed_log_partition(machine, random_state=0)
    >>> round(result.log_partition, 3), result.log_populations.shape
    (3.466, (2, 8))
    """

    log_partition: float
    standard_error: float
    lower_bound: float
    log_populations: FloatArray
    n_steps: tuple[int, ...]
    of_likeliest: float = math.nan


def annealed_log_partition(
    machine: DeepBoltzmannMachine,
    *,
    n_chains: int = 400,
    random_state: Seed = None,
    n_jobs: int | None = None,
) -> AnnealedLogPartition:
    """Estimate log Z by sequential Monte Carlo in populations, on two paths.

    Chains move from independent units, whose Z is known, to the machine, and collect
    importance weights on the way [1]_; a population in which few of them count is drawn
    anew by weight [2]_. Independent units with the means of all layers have the
    shortest path; on a second path, chains begin with half their logits, are more
    spread, and find modes that the first may miss. On each path a pilot run spaces the
    steps, and there are eight populations, or up to four times as many until the
    standard error is below 0.1 nats. From near the rows that are likeliest under a
    trained machine, some chains look for more; where they find it, eight populations
    follow them.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine. If it has no `means`, those of some chains stand in for them.
    n_chains : int, default=400
        Chains of a population. Work and precision grow with them.
    random_state : None, int or SeedSequence, default=None
        Seed of all draws; None means fresh entropy.
    n_jobs : int, default=None
        Threads; None means as many as BLAS would use here. It changes no result.

    Returns
    -------
    AnnealedLogPartition
        Estimate, standard error, lower bound, and what they are made of.

    Warns
    -----
    ConvergenceWarning
        If the standard error is above half a nat.

    See Also
    --------
    exact_log_partition : Enumeration, for small machines.
    log_partition : Enumeration where it is cheap, and else this estimate.

    Notes
    -----
    The estimate is the log of the mean over all populations. Its standard error is that
    of the jackknife over populations, scaled by a quantile of Student's distribution,
    and at least half of what the two paths differ by. Where they differ by more than
    four standard errors, the larger value counts, since a path that misses a mode errs
    to the low side, and the error is their whole difference. The likeliest rows are one
    more path where more is found from there, or a mode in which the samples of the
    others are less than half as often as its Z asks for: the mode of a few rows can
    hold much of Z, and be out of reach from everywhere else. Then its Z is added, and
    the error is at least what that changes. The lower bound is the least population
    less ln(80) over their number, by Markov's inequality: four looks, after each round,
    may fail in 1.25 % of the cases each. No sampler can tell what it has never seen: a
    mode that lies far from all paths is missing in all of these numbers.

    References
    ----------
    .. [1] R. M. Neal, "Annealed importance sampling", Statistics and Computing 11,
       2001.
    .. [2] P. Del Moral, A. Doucet and A. Jasra, "Sequential Monte Carlo samplers",
       Journal of the Royal Statistical Society B 68, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import annealed_log_partition, exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(4)], [np.zeros(4), np.zeros(4)])
    >>> result = annealed_log_partition(machine, random_state=0)
    >>> error = result.log_partition - exact_log_partition(machine)
    >>> bool(abs(error) < 3 * result.standard_error)
    True
    """
    result, _ = annealed_with_chains(machine, n_chains, random_state, n_jobs)
    warn_if_uncertain(result.log_partition, result.standard_error)
    return result


def annealed_with_chains(
    machine: DeepBoltzmannMachine,
    n_chains: int,
    random_state: Seed,
    n_jobs: int | ops.Workers | None,
    *,
    most_rounds: int = MOST_ROUNDS,
) -> tuple[AnnealedLogPartition, list[FloatArray]]:
    """Estimate log Z; also samples of the machine, chains drawn by their weights."""
    if n_chains < 2:
        raise ValueError(f"Got n_chains={n_chains}; at least 2 chains are needed.")
    # Rounding to float32 is far below the standard error, and twice as fast.
    machine = machine.astype(ops.float32)
    spawned = ops.seed_sequence(random_state).spawn(2 + most_rounds + 1)
    first, last, *seeds, near = spawned
    runs: list[list[Annealed]] = [[] for _ in BASES]
    with ops.workers(n_jobs) as team:
        means = means_of(machine, first, team.n_threads)
        bases = [base_of(machine, means, share) for share in BASES]
        for seed in seeds:
            for found, base, own in zip(
                runs, bases, seed.spawn(len(bases)), strict=True
            ):
                found.append(anneal(machine, base, N_POPULATIONS, n_chains, own, team))
            result = summary(
                ops.stack(
                    [ops.concatenate([r.log_populations for r in f]) for f in runs]
                ),
                tuple(found[0].n_steps for found in runs),
            )
            if result.standard_error < GOOD_ERROR:
                break
        every = [run for found in runs for run in found]
        samples = _drawn_of(every, [1 / len(every)] * len(every), last)
        more = _near_likeliest(machine, result, samples, n_chains, near, team)
        if more is None:
            return result, samples
        share = float(in_reach(samples, more.states).mean())
        result, counts = with_likeliest(result, more.log_populations, share)
        if counts:  # and what the others have there does not
            shares = [1 / len(every)] * len(every) + [1.0]
            samples = _drawn_of([*every, more], shares, last, more.states)
    return result, samples


def _drawn_of(
    runs: Sequence[Annealed],
    shares: Sequence[float],
    seed: Seed,
    leave_out: Sequence[FloatArray] | None = None,
) -> list[FloatArray]:
    """Draw chains of runs by a share of the Z that each found.

    Those of all runs but the last that are within the reach of a mode may be left out.
    """
    log_weights = []
    for run, share in zip(runs, shares, strict=True):
        level = math.log(share) + ops.log_mean_exp(run.log_populations)
        weights = ops.full(len(run.states[0]), level)
        if leave_out is not None and run is not runs[-1]:
            weights[in_reach(run.states, leave_out)] = -math.inf
        log_weights.append(weights)
    states = [ops.concatenate(s) for s in zip(*(r.states for r in runs), strict=True)]
    n_kept = min(KEPT_CHAINS, sum(map(len, log_weights)))
    return resampled(states, ops.concatenate(log_weights), n_kept, seed)


def _near_likeliest(
    machine: DeepBoltzmannMachine,
    found: AnnealedLogPartition,
    samples: Sequence[FloatArray],
    n_chains: int,
    seed: ops.SeedSequence,
    team: ops.Workers,
) -> Annealed | None:
    """Populations from near the likeliest rows, if some chains find more from there.

    That is more than all paths have found, or a mode that their samples have missed.
    """
    if machine.likeliest is None:
        return None
    looking, further = seed.spawn(2)
    base = base_of(machine, machine.likeliest, 1.0)
    states, seen, _ = fresh_chains(machine, base, LOOKING_CHAINS, looking)
    less = found.log_partition - seen
    if not less < WORTH_A_LOOK:
        return None
    if less >= 0 and not is_missed(in_reach(samples, states).mean(), less):
        return None
    return anneal(machine, base, N_POPULATIONS, n_chains, further, team)


def in_reach(states: Sequence[FloatArray], mode: Sequence[FloatArray]) -> BoolArray:
    """Which states are as near to the centre of a mode as most of its own."""
    n_own = len(mode[0])
    centres = [state.mean(axis=0) for state in mode]

    def distances(some: Sequence[FloatArray], scale: float) -> FloatArray:
        total: FloatArray = ops.zeros(len(some[0]))
        for state, centre in zip(some, centres, strict=True):
            total += scale**2 * ops.square(state - centre).sum(axis=1)
        return total

    # Of its own states each is nearer to the centre for being in it.
    own = distances(mode, n_own / (n_own - 1))
    reach = ops.sort(own)[math.ceil(REACH * n_own) - 1]
    within: BoolArray = distances(states, 1.0) <= reach
    return within


def is_missed(share: float, less: float) -> bool:
    """Whether samples have missed a mode: so few are in its reach, for its part of Z.

    That is `less` nats below the Z that comes with the samples.
    """
    return share < MISSED_BELOW * REACH * math.exp(-max(0.0, less))


def warn_if_uncertain(log_partition: float, standard_error: float) -> None:
    """Say that log Z is too uncertain to compare likelihoods by, if it is."""
    if standard_error > LARGE_ERROR:
        warn(
            f"Log Z = {log_partition:.2f} has a standard error of "
            f"{standard_error:.2f} nats, too much to compare likelihoods by: chains "
            "hardly reach some modes, and different ways to them disagree. More "
            "n_chains (of an estimator: of its Likelihood) help; a machine that was "
            "trained with a larger alpha or a smaller learning_rate_init is easier.",
            ConvergenceWarning,
        )


def summary(
    log_populations: FloatArray, n_steps: tuple[int, ...]
) -> AnnealedLogPartition:
    """Log Z, its standard error and a lower bound from the populations of all paths."""
    value, error = jackknife(log_populations.ravel())
    paths = [jackknife(populations) for populations in log_populations]
    value, error = _agreed(value, error, paths)
    count, level = log_populations.size, BOUND_FAILS / MOST_ROUNDS
    return AnnealedLogPartition(
        log_partition=value,
        standard_error=max(error, LEAST_ERROR),
        lower_bound=float(log_populations.min()) + math.log(level) / count,
        log_populations=log_populations,
        n_steps=n_steps,
    )


def with_likeliest(
    result: AnnealedLogPartition, log_populations: FloatArray, share: float
) -> tuple[AnnealedLogPartition, bool]:
    """Take populations from the likeliest rows in; whether they count.

    They do if they find more, and as a mode besides the others if the samples of these,
    of which a share is in its reach, have missed it.
    """
    value, error = before = result.log_partition, result.standard_error
    mode = jackknife(log_populations)
    counts = is_missed(share, value - mode[0])
    if counts:
        rest = value + math.log1p(-share)
        value = float(ops.logaddexp(rest, mode[0]))
        weights = math.exp(rest - value), math.exp(mode[0] - value)
        error = math.hypot(weights[0] * error, weights[1] * mode[1])
        error = max(error, value - before[0])
    elif mode[0] > value:
        value, error = _agreed(value, error, [before, mode])
        counts = value == mode[0]
    likeliest = replace(
        result, log_partition=value, standard_error=error, of_likeliest=mode[0]
    )
    return likeliest, counts


def _agreed(
    value: float, error: float, paths: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Log Z and its standard error in the light of what each path has come to."""
    (low, low_error), *_, (high, high_error) = sorted(paths)
    gap = high - low
    if gap > DISAGREEMENT * math.hypot(low_error, high_error):
        return high, max(high_error, gap)
    return value, max(error, gap / 2)


def jackknife(log_values: FloatArray) -> tuple[float, float]:
    """Log of the mean, and its standard error: two of them are a 95 % interval."""
    count, top = len(log_values), float(log_values.max())
    values = ops.exp(log_values - top)
    # Without the only population that counts there may be next to nothing left.
    without = ops.log(ops.maximum(values.sum() - values, 1e-300) / (count - 1))
    spread = math.sqrt((count - 1) * float(ops.mean((without - without.mean()) ** 2)))
    scale = float(ops.student_quantile(count - 1, 0.975)) / 2
    return top + math.log(float(values.mean())), scale * spread
