"""Log Z by sequential Monte Carlo, with an error that can be believed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.exceptions import ConvergenceWarning

from .. import ops
from .._typing import FloatArray, Seed
from .._warnings import warn
from ..machine import DeepBoltzmannMachine
from ..sampling.annealing import (
    BASES,
    Annealed,
    anneal,
    base_of,
    log_shares,
    means_of,
)
from ..sampling.path import resampled
from .centres import centres_of_states

#: Populations on each path in a round of annealing, by how much their log-weights
#: spread in a step of each round, and the standard error (nats) with which there is no
#: further one. For the same time, shorter steps help more than further populations:
#: chains then find modes in the shares that these have. The first round is there for
#: the second to be compared with.
N_POPULATIONS, SPREADS, GOOD_ERROR = 16, (1.0, 0.3, 0.1, 0.03), 0.1

#: Most groups of states unlike the centres, near which paths begin in the next round.
MORE_GROUPS = 3

#: Most chains that are kept as samples.
KEPT_CHAINS = 2000

#: Least standard error, in nats: so small a mode may be missed by all chains.
LEAST_ERROR = 0.01

#: A path disagrees if it finds more than all do by more than so many standard errors.
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
    log_populations : ndarray of shape (n_populations,)
        Estimates of log Z that are independent of each other, by a population of each
        path.
    log_paths : ndarray of shape (n_paths, n_populations)
        The estimate by every population of every path alone: the first two are those
        from the means. A path from near a group of states hardly leaves it.
    n_steps : tuple of int
        Number of steps of each path.

    See Also
    --------
    annealed_log_partition : Computes it.

    Examples
    --------
    >>> from skdbm.likelihood import annealed_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([[[0.0, 0.0]] * 3], [[0.0] * 3, [0.0] * 2])
    >>> result = annealed_log_partition(machine, random_state=0)
    >>> round(result.log_partition, 1), result.log_populations.shape
    (3.5, (16,))
    """

    log_partition: float
    standard_error: float
    lower_bound: float
    log_populations: FloatArray
    log_paths: FloatArray
    n_steps: tuple[int, ...]


def annealed_log_partition(
    machine: DeepBoltzmannMachine,
    *,
    n_chains: int = 50,
    random_state: Seed = None,
    n_jobs: int | None = None,
) -> AnnealedLogPartition:
    """Estimate log Z by sequential Monte Carlo in populations, on several paths.

    Chains move from independent units, whose Z is known, to the machine, and collect
    importance weights on the way [1]_; a population in which few of them count is drawn
    anew by weight [2]_. One path begins with the means of all layers, one with half
    their logits, where chains are more spread, and one near each of the `centres` of
    the machine: up to ten groups of the rows that it was trained on, and those that are
    likeliest under it. Each path counts in the states that are rather like its
    beginning. On each a pilot run spaces the steps, and there are 16 populations.
    Rounds with shorter and shorter steps follow each other, until the standard error is
    below 0.1 nats, or the steps a thirtieth of the first. From the second on, paths
    begin also near groups of states that the first two paths came to in the round
    before, and that are unlike all centres.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine. If it has no `means`, or no `centres`, those of some chains stand
        in for them: a first round of two paths finds the centres.
    n_chains : int, default=50
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
    With the densities q_k of the independent units of all paths, and their shares
    r_k = q_k / (q_1 + ... + q_K), Z is the sum over paths of the mean of weight times
    r_k, since each of these is the part of Z that r_k cuts out. So paths that come
    to one mode each find all modes in their shares. The estimate is the log of the mean
    over populations, of which each is the sum over paths. Its standard error is that of
    the jackknife, scaled by a quantile of Student's distribution, and at least half of
    what the round before said otherwise: chains that are too fast miss much of Z, all
    alike. Where a path finds more on its own than all do together, by more than four
    standard errors, its value counts, and the error is the difference. The lower bound
    is the least population less ln(80) over their number, by Markov's inequality: four
    looks, after each round, may fail in 1.25 % of the cases each. No sampler can tell
    what it has never seen: a mode that lies far from all paths is missing in all of
    these numbers.

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
    spreads: Sequence[float] = SPREADS,
) -> tuple[AnnealedLogPartition, list[FloatArray]]:
    """Estimate log Z; also samples of the machine, chains drawn by their weights.

    There is a round for each of the `spreads`, until one is good enough.
    """
    if n_chains < 2:
        raise ValueError(f"Got n_chains={n_chains}; at least 2 chains are needed.")
    # Rounding to float32 is far below the standard error, and twice as fast.
    machine = machine.astype(ops.float32)
    first, last, *seeds = ops.seed_sequence(random_state).spawn(3 + len(spreads))
    centres, before = machine.centres, None
    with ops.workers(n_jobs) as team:
        means = means_of(machine, first, team.n_threads)
        if centres is None:
            found = _Round(machine, means, [], n_chains, spreads[0], seeds[0], team)
            centres = centres_of_states(found.by_broad_paths(last))
        near = [centres]
        for spread, seed in zip(spreads, seeds[1:], strict=True):
            found = _Round(machine, means, near, n_chains, spread, seed, team)
            result = found.summary(before)
            if before is not None and result.standard_error < GOOD_ERROR:
                break
            before, states = result.log_partition, found.by_broad_paths(last)
            near = [centres, centres_of_states(states, MORE_GROUPS, centres[0])]
    return result, found.drawn(last)


class _Round:
    """Populations on all paths: the broad ones, and those from near some centres."""

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        means: Sequence[FloatArray],
        near: Sequence[Sequence[FloatArray]],
        n_chains: int,
        spread: float,
        seed: ops.SeedSequence,
        team: ops.Workers,
    ) -> None:
        bases = [base_of(machine, means, share) for share in BASES]
        for centres in near:
            bases += [base_of(machine, c, 1.0) for c in zip(*centres, strict=True)]
        self.runs = [
            anneal(machine, base, N_POPULATIONS, n_chains, own, team, spread)
            for base, own in zip(bases, seed.spawn(len(bases)), strict=True)
        ]
        #: Log-weights of the chains of each path, times the share of its base.
        self.log_weights = [
            run.log_weights
            + log_shares(bases, run.states)[path].reshape(run.log_weights.shape)
            for path, run in enumerate(self.runs)
        ]

    def summary(self, before: float | None) -> AnnealedLogPartition:
        """Log Z by this round; `before` is that by the round before."""
        return summary(
            ops.stack([ops.log_mean_exps(weights) for weights in self.log_weights]),
            ops.stack([run.log_populations for run in self.runs]),
            tuple(run.n_steps for run in self.runs),
            before,
        )

    def drawn(self, seed: Seed) -> list[FloatArray]:
        """Draw chains of all paths by their weights."""
        return _drawn(self.runs, self.log_weights, seed)

    def by_broad_paths(self, seed: Seed) -> list[FloatArray]:
        """Draw chains of the broad paths, which come to all modes, if seldom."""
        broad = self.runs[: len(BASES)]
        return _drawn(broad, [run.log_weights for run in broad], seed)


def _drawn(
    runs: Sequence[Annealed], log_weights: Sequence[FloatArray], seed: Seed
) -> list[FloatArray]:
    """Draw chains of some paths by weight."""
    weights = ops.concatenate([part.ravel() for part in log_weights])
    states = [ops.concatenate(s) for s in zip(*(r.states for r in runs), strict=True)]
    return resampled(states, weights, min(KEPT_CHAINS, len(weights)), seed)


def warn_if_uncertain(log_partition: float, standard_error: float) -> None:
    """Say that log Z is too uncertain to compare likelihoods by, if it is."""
    if standard_error > LARGE_ERROR:
        warn(
            f"Log Z = {log_partition:.2f} has a standard error of "
            f"{standard_error:.2f} nats, too much to compare likelihoods by: chains "
            "come to the modes in other shares each time. More n_chains (of an "
            "estimator: of its Likelihood) help; a machine that was trained with a "
            "larger alpha or a smaller learning_rate_init is easier.",
            ConvergenceWarning,
        )


def summary(
    log_parts: FloatArray,
    log_paths: FloatArray,
    n_steps: tuple[int, ...],
    before: float | None = None,
) -> AnnealedLogPartition:
    """Log Z, its standard error and a lower bound from the populations of all paths.

    `log_parts` are the parts of Z for which paths count, `log_paths` all that they
    find, both of shape (n_paths, n_populations); `before` is the round before's log Z.
    """
    log_populations = ops.logsumexp(log_parts, axis=0)
    value, error = jackknife(log_populations)
    if before is not None:
        error = max(error, abs(value - before) / 2)
    own, its_error = max(map(jackknife, log_paths))
    if own - value > DISAGREEMENT * math.hypot(error, its_error):
        value, error = own, own - value
    count, level = len(log_populations), BOUND_FAILS / len(SPREADS)
    return AnnealedLogPartition(
        log_partition=value,
        standard_error=max(error, LEAST_ERROR),
        lower_bound=float(log_populations.min()) + math.log(level) / count,
        log_populations=log_populations,
        log_paths=log_paths,
        n_steps=n_steps,
    )


def jackknife(log_values: FloatArray) -> tuple[float, float]:
    """Log of the mean, and its standard error: two of them are a 95 % interval."""
    count, top = len(log_values), float(log_values.max())
    values = ops.exp(log_values - top)
    # Without the only population that counts there may be next to nothing left.
    without = ops.log(ops.maximum(values.sum() - values, 1e-300) / (count - 1))
    spread = math.sqrt((count - 1) * float(ops.mean((without - without.mean()) ** 2)))
    scale = float(ops.student_quantile(count - 1, 0.975)) / 2
    return top + math.log(float(values.mean())), scale * spread
