"""Exact answers for small machines, by enumeration of the layers of one parity."""

import math
from collections.abc import Iterator
from typing import Any

from .. import ops
from .._typing import ArrayLike, FloatArray, IntArray, Seed
from ..evidence import Conditional, Evidence
from ..machine import DeepBoltzmannMachine

#: Most joint states that are summed one by one.
MAX_STATES = 2**25

#: `log_partition` and the estimators prefer enumeration to annealing up to so many
#: terms, and up to so many terms times units to sum out: a few seconds.
PREFER_EXACT_STATES = 2**20
PREFER_EXACT_WORK = 2**26

_STATES_PER_CHUNK = 2**14


def exact_log_partition(machine: DeepBoltzmannMachine) -> float:
    """Compute log Z by enumerating the smaller parity of layers.

    The layers of one parity (even or odd) are enumerated; the others are independent
    given them and summed, or integrated, in closed form. With n binary units in the
    smaller parity the sum has 2^n terms; without couplings there is only one. Of units
    that share a total, as counts do, Z depends on the total: ask for that of
    ``machine.with_totals(total)``.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.

    Returns
    -------
    float
        Log Z; a ValueError says if both parities have more than 2**25 joint states.

    See Also
    --------
    annealed_log_partition : An estimate for machines of any size.

    Examples
    --------
    >>> from skdbm.likelihood import exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([[[0.0, 0.0]] * 3], [[0.0] * 3, [0.0] * 2])
    >>> round(exact_log_partition(machine), 6)  # 5 log 2
    3.465736
    """
    return _log_sum(machine.astype(ops.float64))


def exact_log_likelihood(
    machine: DeepBoltzmannMachine, X: ArrayLike | Evidence
) -> FloatArray:
    """Compute log p(v) of every row by enumeration.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : ndarray of shape (n_rows, n_0), or Evidence
        Visible states. Those that are missing, NaN, are summed out. Or what is known of
        the visible layer.

    Returns
    -------
    ndarray of shape (n_rows,)
        Log-likelihoods in nats, float64; of units that share a total, given it.

    See Also
    --------
    bound : A lower bound for machines of any size, given log Z.

    Examples
    --------
    >>> from skdbm.likelihood import exact_log_likelihood
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([[[0.0, 0.0]] * 3], [[0.0] * 3, [0.0] * 2])
    >>> exact_log_likelihood(machine, [[1.0, 1.0, 1.0]]).round(6)  # -3 log 2
    array([-2.079442])
    """
    machine = machine.astype(ops.float64)
    if not isinstance(X, Evidence):
        X = Evidence.of_rows(ops.dense(ops.rows(X)).astype(ops.float64))
    visible: Any = X.layers[0][0]
    if visible.shape[1] != machine.layer_sizes[0]:
        raise ValueError(
            f"X has {visible.shape[1]} columns; the machine has "
            f"{machine.layer_sizes[0]} visible units."
        )
    rows = (X[i : i + 1] for i in range(X.n_rows))
    result: FloatArray = ops.array([_log_sum_given(machine, row) for row in rows])
    totals = machine.units[0].totals(visible)
    if totals is None:
        return result - exact_log_partition(machine)
    return result - exact_log_partitions(machine, totals)


def exact_samples(
    machine: DeepBoltzmannMachine, n_samples: int, *, random_state: Seed = None
) -> list[FloatArray]:
    """Draw independent joint states of all layers, by enumeration.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    n_samples : int
        Number of joint states.
    random_state : None, int or SeedSequence, default=None
        Seed of the draws.

    Returns
    -------
    list of L + 1 ndarrays of shape (n_samples, n_l)
        States of every layer, in the dtype of the machine. A ValueError says if both
        parities have more than 2**20 joint states, whose probabilities are held.

    See Also
    --------
    skdbm.sampling.gibbs_sweeps : Approximate samples of machines of any size.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_samples
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([9 * np.eye(2)], [np.zeros(2), np.full(2, -4.5)])
    >>> v, h = exact_samples(machine, 1000, random_state=0)
    >>> bool(np.mean(v == h) > 0.95)
    True
    """
    return samples_of(machine, state_probabilities(machine), n_samples, random_state)


def n_exact_terms(machine: DeepBoltzmannMachine) -> float:
    """Count the terms of the exact sum: the joint states of the smaller parity."""
    return _enumerated(machine)[1]


def prefers_exact(machine: DeepBoltzmannMachine) -> bool:
    """Decide whether enumeration is cheap enough to be preferred to annealing."""
    kept, n_terms = _enumerated(machine)
    sizes = machine.layer_sizes
    n_summed = sum(sizes) - sum(sizes[layer] for layer in kept)
    return n_terms <= PREFER_EXACT_STATES and n_terms * n_summed <= PREFER_EXACT_WORK


def exact_log_partitions(machine: DeepBoltzmannMachine, totals: IntArray) -> FloatArray:
    """Log Z of rows with these totals of the visible units, in one enumeration."""
    machine = machine.astype(ops.float64)
    # A(x) of such units is the total times that of a total of one.
    distinct, where = ops.unique(totals, return_inverse=True)
    one, none = (_log_terms(machine.with_totals(total), parity=1) for total in (1, 0))
    sums = ops.full(len(distinct), -math.inf)
    for of_one, of_none in zip(one, none, strict=True):
        for i, total in enumerate(distinct):
            terms = of_none + total * (of_one - of_none)
            sums[i] = ops.logaddexp(sums[i], ops.logsumexp(terms))
    return sums[where]


def state_probabilities(machine: DeepBoltzmannMachine) -> FloatArray:
    """Probabilities of all joint states of the enumerated layers."""
    n_terms = n_exact_terms(machine)
    if n_terms > PREFER_EXACT_STATES:
        raise ValueError(
            f"Exact sampling of layers of {machine.layer_sizes} units needs "
            f"2^{math.log2(n_terms):.0f} probabilities; at most "
            f"{PREFER_EXACT_STATES} are held. Use skdbm.sampling.gibbs_sweeps."
        )
    log_terms = ops.concatenate(list(_log_terms(machine.astype(ops.float64))))
    probabilities: FloatArray = ops.exp(log_terms - ops.logsumexp(log_terms))
    probabilities /= probabilities.sum()
    return probabilities


def samples_of(
    machine: DeepBoltzmannMachine,
    probabilities: FloatArray,
    n_samples: int,
    random_state: Seed,
) -> list[FloatArray]:
    """Draw joint states of all layers, given what `state_probabilities` gives."""
    rng, dtype = ops.generator(random_state), machine.dtype
    machine = machine.astype(ops.float64)
    index = rng.choice(len(probabilities), n_samples, p=probabilities)
    kept, _ = _enumerated(machine)
    states = _states(machine, kept, index)
    for layer in _others(machine, kept):
        field = ops.empty((n_samples, machine.layer_sizes[layer]))
        machine.field(layer, states, out=field)
        states[layer] = machine.units[layer].sample(field, rng)
    return [states[layer].astype(dtype) for layer in range(machine.n_layers)]


def _enumerated(
    machine: DeepBoltzmannMachine, parity: int | None = None
) -> tuple[range, float]:
    """Find the layers of fewer joint states, or of the given parity; their number."""
    if not machine.weights:
        return range(0), 1  # no layer has to be enumerated
    counts = [
        unit.n_states(size)
        for unit, size in zip(machine.units, machine.layer_sizes, strict=True)
    ]
    # An integer may be too large to be multiplied with infinity.
    totals = [
        math.inf if math.inf in part else math.prod(part)
        for part in (counts[0::2], counts[1::2])
    ]
    if parity is None:
        parity = int(totals[1] < totals[0])
    return range(parity, machine.n_layers, 2), totals[parity]


def _others(machine: DeepBoltzmannMachine, kept: range) -> list[int]:
    """List the layers that are summed, or drawn, given those that are kept."""
    return [layer for layer in range(machine.n_layers) if layer not in kept]


def _states(
    machine: DeepBoltzmannMachine, layers: range, index: IntArray
) -> dict[int, FloatArray]:
    """Turn numbers of joint states into states of these layers."""
    states = {}
    for layer in layers:
        unit, size = machine.units[layer], machine.layer_sizes[layer]
        n_states = int(unit.n_states(size))
        states[layer] = unit.states(index % n_states, size, ops.float64)
        index = index // n_states
    return states


def _log_terms(
    machine: DeepBoltzmannMachine,
    *,
    parity: int | None = None,
    row: Evidence | None = None,
) -> Iterator[FloatArray]:
    """Yield log sums over the other layers, or what a row lacks, chunk by chunk."""
    kept, n_terms = _enumerated(machine, parity)
    if n_terms > MAX_STATES:
        raise ValueError(
            f"Exact enumeration needs 2^{math.log2(n_terms):.0f} terms for layers of "
            f"{machine.layer_sizes} units; at most {MAX_STATES} are summed. "
            "Use annealed_log_partition."
        )
    for start in range(0, int(n_terms), _STATES_PER_CHUNK):
        index = ops.arange(start, min(start + _STATES_PER_CHUNK, int(n_terms)))
        states = _states(machine, kept, index)
        log_terms = ops.zeros(len(index))
        for layer, state in states.items():
            log_terms += state @ machine.biases[layer]
            log_terms -= machine.units[layer].base(state)
        for layer in _others(machine, kept):
            unit, field = machine.units[layer], machine.field(layer, states)
            if row is None or layer > 0:
                log_terms += unit.log_partition(field)
                continue
            given, known = row.layers[0]
            missing = row.missing(0)
            visible: Any = given if known is None else ops.where(known, given, 0.0)
            log_terms += field @ visible[0] - unit.base(visible, where=known)
            if missing is not None:
                where = ops.broadcast_to(missing, field.shape)
                log_terms += unit.log_partition(field, where)
            log_terms += Conditional(machine, row).tied_density(0, field)
        yield log_terms


def _log_sum(
    machine: DeepBoltzmannMachine,
    *,
    parity: int | None = None,
    row: Evidence | None = None,
) -> float:
    """Sum exp(-E) over all states, or those of a row, in the log domain."""
    terms = _log_terms(machine, parity=parity, row=row)
    return float(ops.logsumexp([ops.logsumexp(log_terms) for log_terms in terms]))


def _log_sum_given(machine: DeepBoltzmannMachine, evidence: Evidence) -> float:
    """Sum exp(-E) over the hidden layers, and visible states that are missing."""
    if evidence.missing(0) is not None or not machine.weights:
        # The missing states depend on the first hidden layer, which is enumerated.
        return _log_sum(machine, parity=1, row=evidence)
    row: Any = evidence.layers[0][0]
    # Given v the hidden layers are a machine, with the first biases moved by v W_0.
    biases = [(row @ machine.weights[0] + machine.biases[1])[0], *machine.biases[2:]]
    hidden = DeepBoltzmannMachine(machine.weights[1:], biases, machine.units[1:])
    of_visible = row @ machine.biases[0] - machine.units[0].base(row)
    return float(of_visible[0]) + _log_sum(hidden)
