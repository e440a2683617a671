"""Likelihood: exact by enumeration, annealed importance sampling, variational bound.

All quantities are natural logarithms (nats), summed in float64.
"""

import threading
import weakref
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import logsumexp

from . import _arrays, _blocks
from .inference import map_posterior
from .sampling import generator

#: Most joint states that are summed one by one.
MAX_STATES = 2**25

#: Up to so many joint states `log_partition` prefers enumeration to annealing.
PREFER_EXACT_STATES = 2**20

_STATES_PER_CHUNK = 2**14


def exact_log_partition(machine):
    """Compute log Z by enumerating the smaller parity of layers.

    The layers of one parity (even or odd) are enumerated; the others are independent
    given them and summed in closed form. With n binary units in the smaller parity
    the sum has 2^n terms.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.

    Returns
    -------
    float
        The natural logarithm of the partition function.

    Raises
    ------
    ValueError
        If both parities have more than `MAX_STATES` joint states.

    See Also
    --------
    annealed_log_partition : An estimate for machines of any size.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((3, 2))], [np.zeros(3), np.zeros(2)])
    >>> round(exact_log_partition(machine), 6)  # 5 log 2
    3.465736
    """
    machine = machine.astype(np.float64)
    return _enumerate(machine.units, machine.weights, machine.biases)


def exact_log_likelihood(machine, X):
    """Compute log p(v) of every row by enumeration.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : ndarray of shape (n_rows, n_0)
        Visible states.

    Returns
    -------
    ndarray of shape (n_rows,)
        Log-likelihoods in nats, float64.

    Raises
    ------
    ValueError
        If there are more than `MAX_STATES` joint states to sum.

    See Also
    --------
    bound : A lower bound for machines of any size, given log Z.

    Notes
    -----
    Given v the hidden layers are a machine of their own, with the first biases moved
    by v W_0; its log-partition is what p(v) needs.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_log_likelihood
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((3, 2))], [np.zeros(3), np.zeros(2)])
    >>> exact_log_likelihood(machine, np.ones((1, 3))).round(6)  # -3 log 2
    array([-2.079442])
    """
    machine = machine.astype(np.float64)
    X = np.asarray(X, dtype=np.float64)
    result = X @ machine.biases[0] - machine.units[0].base(X)
    for row, constant in enumerate(X @ machine.weights[0] + machine.biases[1]):
        result[row] += _enumerate(
            machine.units[1:], machine.weights[1:], [constant, *machine.biases[2:]]
        )
    return result - exact_log_partition(machine)


def _enumerate(units, weights, biases):
    """Sum exp(-E) over all states of a chain of layers, in the log domain."""
    n_layers = len(units)
    counts = [unit.n_states(len(b)) for unit, b in zip(units, biases, strict=True)]
    totals = [np.prod([1, *counts[p::2]], dtype=object) for p in (0, 1)]
    kept = int(totals[1] < totals[0])
    if totals[kept] > MAX_STATES:
        raise ValueError(
            f"Exact enumeration needs {float(totals[kept]):.3g} terms for layers of "
            f"{[len(b) for b in biases]} units; at most {MAX_STATES} are summed. Use "
            "annealed_log_partition."
        )
    parts = []
    for start in range(0, totals[kept], _STATES_PER_CHUNK):
        index = np.arange(start, min(start + _STATES_PER_CHUNK, totals[kept]))
        log_terms = np.zeros(len(index))
        states = {}
        for layer in range(kept, n_layers, 2):
            size = len(biases[layer])
            state = units[layer].states(index % counts[layer], size, np.float64)
            index = index // counts[layer]
            log_terms += state @ biases[layer] - units[layer].base(state)
            states[layer] = state
        for layer in range(1 - kept, n_layers, 2):
            field = np.tile(biases[layer], (len(log_terms), 1))
            if layer > 0:
                field += states[layer - 1] @ weights[layer - 1]
            if layer + 1 < n_layers:
                field += states[layer + 1] @ weights[layer].T
            log_terms += units[layer].log_partition(field)
        parts.append(logsumexp(log_terms))
    return float(logsumexp(parts))


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
    log_weights: np.ndarray
    temperatures: np.ndarray


def annealed_log_partition(
    machine,
    *,
    n_chains=100,
    n_temperatures=1000,
    base=None,
    random_state=None,
    n_jobs=None,
):
    """Estimate log Z by annealed importance sampling (AIS).

    Chains move from independent units (inverse temperature 0) to the machine (1)
    through `n_temperatures` steps, and collect importance weights on the way [1]_,
    [2]_. The parity of layers with more units is summed out exactly. The steps are
    spaced so that each is equally difficult: a short pilot run measures the standard
    deviation of the derivative of the log-weight along the way.

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
    a two-point Gauss rule gives to fifth order. Differences of two float32 sums of A
    would be biased by their rounding, and raw exponentials would overflow.

    References
    ----------
    .. [1] R. M. Neal, "Annealed importance sampling", Statistics and Computing 11,
       2001.
    .. [2] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
       section 4.1.

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
    if n_chains < 2 or n_temperatures < 1:
        raise ValueError(
            f"Got n_chains={n_chains} and n_temperatures={n_temperatures}; at least 2 "
            "chains (for a standard error) and 1 temperature are needed."
        )
    if not isinstance(random_state, np.random.SeedSequence):
        random_state = np.random.SeedSequence(random_state)
    pilot_seed, seed = np.random.SeedSequence(
        random_state.entropy, spawn_key=random_state.spawn_key
    ).spawn(2)
    start = [np.asarray(bias) for bias in machine.biases]
    if base is not None:
        start[0] = np.asarray(base, dtype=machine.dtype)
    run = _AnnealingRun(machine, start)
    with _blocks.workers(n_jobs) as team:
        ladder = np.linspace(0, 1, max(2, min(200, n_temperatures)) + 1)
        _, slopes = run(ladder, min(n_chains, 32), pilot_seed, team)
        ladder = _even_ladder(ladder, slopes.std(axis=1), n_temperatures)
        log_weights, _ = run(ladder, n_chains, seed, team)
    log_weights += run.log_partition_of_base()
    weights = np.exp(log_weights - log_weights.max())
    return AnnealedLogPartition(
        log_partition=_arrays.log_mean_exp(log_weights),
        standard_error=float(
            weights.std(ddof=1) / (np.sqrt(n_chains) * weights.mean())
        ),
        effective_sample_size=float(weights.sum() ** 2 / np.sum(weights**2)),
        log_weights=log_weights,
        temperatures=ladder,
    )


def _even_ladder(ladder, spread, n_steps):
    """Space inverse temperatures evenly in the integral of the log-weight's spread.

    The variance that a step adds to the log-weight is the squared spread of its
    slope times the squared step, and the sum is least when all are equal.
    """
    spread = np.maximum(spread, 0.1 * spread.mean())
    if not np.any(spread > 0):
        return np.linspace(0, 1, n_steps + 1)
    length = np.concatenate([[0.0], np.cumsum(spread * np.diff(ladder))])
    return np.interp(np.linspace(0, length[-1], n_steps + 1), length, ladder)


class _AnnealingRun:
    """Anneal blocks of chains from independent units to a machine."""

    #: Nodes of the two-point Gauss rule on [0, 1].
    NODES = (0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12))

    def __init__(self, machine, start):
        self.machine = machine
        self.start = start  # biases of the independent units at inverse temperature 0
        sizes = [sum(machine.layer_sizes[parity::2]) for parity in (0, 1)]
        self.kept = range(int(sizes[1] <= sizes[0]), machine.n_layers, 2)
        self.summed = range(int(sizes[1] > sizes[0]), machine.n_layers, 2)

    def log_partition_of_base(self):
        """Log Z of the independent units, in closed form."""
        return sum(
            float(unit.log_partition(np.asarray(bias, dtype=np.float64)[None])[0])
            for unit, bias in zip(self.machine.units, self.start, strict=True)
        )

    def __call__(self, ladder, n_chains, seed, team):
        """Run the chains; log-weights, and their slopes at the start of each step."""
        blocks = _blocks.row_blocks(n_chains, _blocks.ANNEALING_ROWS)
        log_weights = np.zeros(n_chains)
        slopes = np.zeros((len(ladder) - 1, n_chains))
        streams = [generator(child) for child in seed.spawn(len(blocks))]
        tasks = [
            lambda b=block, r=rng: self._anneal(ladder, log_weights[b], slopes[:, b], r)
            for block, rng in zip(blocks, streams, strict=True)
        ]
        team.run(tasks)
        return log_weights, slopes

    def _anneal(self, ladder, log_weights, slopes, rng):
        """Carry one block of chains from the first to the last temperature."""
        machine, start, n_rows = self.machine, self.start, len(log_weights)
        room = [np.empty((n_rows, n), machine.dtype) for n in machine.layer_sizes]
        scratch = [np.empty_like(array) for array in room]
        states = [np.empty_like(array) for array in room]
        for layer in self.kept:
            states[layer][...] = start[layer]
            machine.units[layer].sample(
                states[layer], rng, out=states[layer], scratch=scratch[layer]
            )
        tilt = {layer: machine.biases[layer] - start[layer] for layer in self.kept}
        tilted = {layer: bool(np.any(tilt[layer])) for layer in self.kept}
        for i, (cold, hot) in enumerate(pairwise(ladder)):
            step = hot - cold
            slope = np.zeros(n_rows)
            for layer in self.kept:
                if tilted[layer]:
                    slope += states[layer] @ tilt[layer]
            for layer in self.summed:
                # room: how the field changes with the inverse temperature
                change = machine.field(
                    layer, states, out=room[layer], scratch=scratch[layer]
                )
                change -= start[layer]
                for node in self.NODES:
                    field = self._tempered(layer, cold + node * step, scratch, room)
                    mean = machine.units[layer].mean(field, out=field)
                    slope += 0.5 * np.einsum("ij,ij->i", change, mean)
            slopes[i] = slope
            log_weights += step * slope
            if i + 1 < len(ladder) - 1:
                self._transition(hot, states, room, scratch, rng)

    def _tempered(self, layer, temperature, out, change):
        """Field at an inverse temperature: start + temperature * change."""
        field = np.multiply(change[layer], temperature, out=out[layer])
        field += self.start[layer]
        return field

    def _transition(self, temperature, states, room, scratch, rng):
        """One Gibbs sweep at an inverse temperature; `room` holds the changes."""
        machine = self.machine
        for layer in self.summed:
            field = self._tempered(layer, temperature, states, room)
            machine.units[layer].sample(field, rng, out=field, scratch=scratch[layer])
        for layer in self.kept:
            change = machine.field(
                layer, states, out=room[layer], scratch=scratch[layer]
            )
            change -= self.start[layer]
            field = self._tempered(layer, temperature, states, room)
            machine.units[layer].sample(field, rng, out=field, scratch=scratch[layer])


_memo = weakref.WeakKeyDictionary()
_memo_lock = threading.Lock()


def log_partition(machine, *, n_chains, n_temperatures, base, seed, n_jobs=None):
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
    base : ndarray of shape (n_0,) or None
        Visible biases of the independent start of the annealed estimate.
    seed : int
        Seed of the annealed estimate.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here.

    Returns
    -------
    log_partition : float
        Log Z in nats.
    standard_error : float
        Its standard error in nats; 0 for an enumerated value.

    See Also
    --------
    exact_log_partition : Enumeration.
    annealed_log_partition : Annealed importance sampling.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> log_partition(machine, n_chains=9, n_temperatures=9, base=None, seed=0)
    (3.4875..., 0.0)
    """
    with _memo_lock:
        known = _memo.setdefault(machine, {})
    key = (n_chains, n_temperatures, seed, None if base is None else base.tobytes())
    if key not in known:
        if _n_exact_terms(machine) <= PREFER_EXACT_STATES:
            known[key] = (exact_log_partition(machine), 0.0)
        else:
            result = annealed_log_partition(
                machine,
                n_chains=n_chains,
                n_temperatures=n_temperatures,
                base=base,
                random_state=seed,
                n_jobs=n_jobs,
            )
            known[key] = (result.log_partition, result.standard_error)
    return known[key]


def _n_exact_terms(machine):
    """Count the terms of the exact sum: joint states of the smaller parity."""
    counts = [
        unit.n_states(size)
        for unit, size in zip(machine.units, machine.layer_sizes, strict=True)
    ]
    return min(np.prod([1, *counts[parity::2]], dtype=object) for parity in (0, 1))


def bound(machine, X, log_partition, *, tol=1e-4, max_iter=500, n_jobs=None):
    """Compute the variational lower bound of log p(v) of every row.

    log p(v) >= E_q[-E(v, h)] + H(q) - log Z, with q the mean-field posterior. With one
    hidden layer the posterior factorises and the bound is log p(v) itself.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states.
    log_partition : float
        Log Z of the machine in nats; an error of it moves all rows alike.
    tol : float, default=1e-4
        Tolerance of mean field.
    max_iter : int, default=500
        Most sweeps of mean field.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here.

    Returns
    -------
    ndarray of shape (n_rows,)
        The bounds in nats, float64.

    Warns
    -----
    ConvergenceWarning
        If mean field did not converge; the bound holds nevertheless, but is looser.

    See Also
    --------
    exact_log_likelihood : What is bounded, for small machines.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import bound, exact_log_likelihood, exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine(
    ...     [np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2), np.zeros(2)]
    ... )
    >>> X = np.array([[0.0, 1.0]])
    >>> lower = bound(machine, X, exact_log_partition(machine))
    >>> gap = exact_log_likelihood(machine, X) - lower
    >>> bool(0 < gap[0] < 0.02)
    True
    """
    parts = map_posterior(
        machine,
        X,
        lambda rows, part: unnormalised_bound(machine, rows, part.means),
        tol=tol,
        max_iter=max_iter,
        n_jobs=n_jobs,
    )
    return np.concatenate(parts) - log_partition


def unnormalised_bound(machine, X, means):
    """Compute E_q[-E(v, h)] + H(q) of every row, the bound without log Z.

    The odd hidden layers are summed out given the means of the even ones, which is
    one more half sweep of mean field; so it is a bound for any means.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states.
    means : list of L ndarrays of shape (n_rows, n_l)
        Means of the hidden layers.

    Returns
    -------
    ndarray of shape (n_rows,)
        The values in nats, float64.

    See Also
    --------
    bound : The same less log Z.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import unnormalised_bound
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((2, 1))], [np.zeros(2), np.zeros(1)])
    >>> unnormalised_bound(machine, np.ones((1, 2)), [np.zeros((1, 1))]).round(4)
    array([0.6931])
    """
    states = [X, *means]
    dense = X if isinstance(X, np.ndarray) else X.toarray()
    total = dense.astype(np.float64) @ machine.biases[0].astype(np.float64)
    total -= machine.units[0].base(dense)
    for layer in range(2, machine.n_layers, 2):
        total += states[layer].astype(np.float64) @ machine.biases[layer]
        total += machine.units[layer].entropy(states[layer])
    for layer in range(1, machine.n_layers, 2):
        total += machine.units[layer].log_partition(machine.field(layer, states))
    return total
