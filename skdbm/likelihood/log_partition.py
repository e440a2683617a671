"""Log Z of a machine, and samples of it, by enumeration where that is cheap."""

import bisect
import math
from typing import Any, TypeAlias

from .. import ops
from .._typing import FloatArray, IntArray, Rng, Seed
from ..machine import DeepBoltzmannMachine
from ..sampling.path import places_by_weight
from .annealing import annealed_with_chains, warn_if_uncertain
from .exact import (
    exact_log_partition,
    exact_log_partitions,
    prefers_exact,
    samples_of,
    state_probabilities,
)

#: Threads, or what stands in their place.
_Jobs: TypeAlias = int | ops.Workers | None

#: Totals at which log Z of counts is annealed: half powers of two, as integers.
_ANNEALED_TOTALS = sorted({round(2 ** (i / 2)) for i in range(80)})


def log_partition(
    machine: DeepBoltzmannMachine,
    *,
    n_chains: int = 50,
    totals: IntArray | None = None,
    random_state: Seed = None,
    n_jobs: int | None = None,
) -> tuple[float | FloatArray, float | FloatArray]:
    """Compute log Z and its standard error, by enumeration where that is cheap.

    Where it takes more than a few seconds, log Z is annealed, in float32. For counts
    that is done at totals half a power of two apart, as far as they are needed. In
    between, what a word adds on average to the log Z of free hidden units is
    interpolated by a cubic in the logarithm of the total, so that the value of a row
    does not depend on other rows.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    n_chains : int, default=50
        Chains of each population of the annealed estimate.
    totals : ndarray of int of shape (n_rows,), default=None
        What `UnitType.totals` of the visible units gives for the rows in question:
        the totals of counts, on each of which Z depends.
    random_state : None, int or SeedSequence, default=None
        Seed of the annealed estimate; None means fresh entropy.
    n_jobs : int, default=None
        Threads; None means as many as BLAS would use here. It changes no result.

    Returns
    -------
    log_partition : float or ndarray of shape (n_rows,)
        Log Z in nats, one value for all rows if there are no totals.
    standard_error : float or ndarray of shape (n_rows,)
        Its standard error in nats; 0 for an enumerated value.

    Warns
    -----
    ConvergenceWarning
        If the standard error of the annealed estimate is above half a nat.

    See Also
    --------
    exact_log_partition : Enumeration.
    annealed_log_partition : Sequential Monte Carlo, and what its error means.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> log_partition(DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)]))
    (3.4873..., 0.0)
    """
    seed = ops.seed_sequence(random_state)
    kept = LogPartition(machine, n_chains, seed)
    return kept.of(totals, n_jobs=n_jobs)


class LogPartition:
    """Log Z of one machine: computed when it is first asked for, and kept."""

    # The machine must not be changed. Pickles have the values of the last call of
    # `settle`, so that reading changes nothing in them; everything else comes out the
    # same when it is needed again.

    def __init__(
        self, machine: DeepBoltzmannMachine, n_chains: int, seed: Seed
    ) -> None:
        self.machine = machine
        self.settings = (n_chains, seed)
        self._values: dict[str, tuple[float, float]] = {}  # by the total, as text
        self._settled: dict[str, tuple[float, float]] = {}
        self._others: dict[tuple[Any, ...], LogPartition] = {}
        self._probabilities: FloatArray | None = None
        self._chains: list[FloatArray] | None = None
        self.least = -math.inf  # a lower bound of log Z known from elsewhere

    def at(self, *settings: Any) -> "LogPartition":
        """Log Z of the same machine for other settings, kept as well."""
        if settings == self.settings:
            return self
        other = self._others.setdefault(settings, LogPartition(self.machine, *settings))
        other.least = self.least
        return other

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_values": self._settled, "_probabilities": None, "_chains": None}
        return vars(self) | kept | {"_others": {}}

    def settle(self) -> None:
        """Take what is known by now into pickles."""
        self._settled = dict(self._values)

    def of(
        self, totals: IntArray | None = None, *, n_jobs: _Jobs = None
    ) -> tuple[float | FloatArray, float | FloatArray]:
        """Log Z and its standard error, of shape (n_rows,) if there are totals."""
        if totals is None:
            return self._value(None, n_jobs)
        if prefers_exact(self.machine):
            return exact_log_partitions(self.machine, totals), ops.zeros(len(totals))
        distinct, where = ops.unique(totals, return_inverse=True)
        if distinct.max(initial=0) > _ANNEALED_TOTALS[-1]:
            raise ValueError(
                f"A row of counts has a total of {distinct.max()}; log Z is found up "
                f"to {_ANNEALED_TOTALS[-1]}. Divide the counts by a number and round "
                "them."
            )
        found = [self._interpolated(int(total), n_jobs) for total in distinct]
        values, errors = ops.array(found)[where].T
        return values, errors

    def samples(
        self,
        n_samples: int,
        seed: ops.SeedSequence,
        *,
        n_jobs: _Jobs = None,
    ) -> list[FloatArray]:
        """Draw joint states of all layers: exact ones, or annealed chains by weight."""
        # Gibbs chains hardly cross from one kind of state to another, and show for long
        # what they began with; annealed chains end where the probability is.
        if prefers_exact(self.machine):
            if self._probabilities is None:
                self._probabilities = state_probabilities(self.machine)
            return samples_of(self.machine, self._probabilities, n_samples, seed)
        states = self._chains or self._anneal(None, n_jobs)
        places = _evenly(n_samples, len(states[0]), ops.generator(seed))
        return [state[places] for state in states]

    def _value(self, total: int | None, n_jobs: _Jobs) -> tuple[float, float]:
        """Log Z and its standard error, for one total of the visible units if any."""
        if str(total) not in self._values:
            if total is None and prefers_exact(self.machine):
                self._values[str(None)] = exact_log_partition(self.machine), 0.0
            else:
                self._anneal(total, n_jobs)
        return self._values[str(total)]

    def _anneal(self, total: int | None, n_jobs: _Jobs) -> list[FloatArray]:
        """Anneal, and keep the value; samples of the machine."""
        machine = self.machine.with_totals(total)
        result, states = annealed_with_chains(machine, *self.settings, n_jobs)
        value, error = result.log_partition, result.standard_error
        if total is None:
            lift = max(0.0, self.least - value)
            value, error, self._chains = value + lift, max(error, lift), states
        warn_if_uncertain(value, error)
        self._values[str(total)] = value, error
        return states

    def _interpolated(self, total: int, n_jobs: _Jobs) -> tuple[float, float]:
        """Log Z for a total, and its standard error, from those of totals around it."""
        i = bisect.bisect_left(_ANNEALED_TOTALS, total)
        if total == 0 or _ANNEALED_TOTALS[i] == total:
            return self._value(total, n_jobs)
        first = max(0, i - 2)
        nodes = _ANNEALED_TOTALS[first : first + 4]
        weights = _lagrange(math.log(total), [math.log(node) for node in nodes])
        no_word = self.machine.with_totals(0).uncoupled()
        value, square_error = exact_log_partition(no_word), 0.0
        # What independent units add is the same for every word; so it may stay inside.
        start = value
        for node, weight in zip(nodes, weights, strict=True):
            at_node, error = self._value(node, n_jobs)
            value += total * weight * (at_node - start) / node
            square_error += (total * weight * error / node) ** 2
        return value, math.sqrt(square_error)


def _evenly(n_places: int, n_chains: int, rng: Rng) -> IntArray:
    """Places of chains in no order, of all as often as can be, the rest evenly spaced.

    Chains of one path and population are neighbours: so the shares of kinds of states
    are those among all chains, without the noise of a choice at random.
    """
    times, rest = divmod(n_places, n_chains)
    [some] = places_by_weight(ops.zeros((1, n_chains)), rest, rng)
    every = rng.permutation(n_chains)
    return ops.concatenate([*[every] * times, rng.permutation(some)])


def _lagrange(x: float, nodes: list[float]) -> list[float]:
    """Weights of the values at the nodes in the polynomial through them, at x."""
    return [
        math.prod((x - other) / (node - other) for other in nodes if other != node)
        for node in nodes
    ]
