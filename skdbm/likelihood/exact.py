"""Exact answers for small machines, by enumeration.

The layers of one parity (even or odd) are enumerated; the others are independent given
them and are summed, or drawn, in closed form.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from .._typing import FloatArray, IntArray, Seed
from ..machine import DeepBoltzmannMachine
from ..ops import generator
from ..units import UnitType

#: Most joint states that are summed one by one.
MAX_STATES = 2**25

#: `log_partition` and the estimators prefer enumeration to annealing up to so many
#: terms, and up to so many terms times units to sum out: a few seconds.
PREFER_EXACT_STATES = 2**20
PREFER_EXACT_WORK = 2**26

_STATES_PER_CHUNK = 2**14

#: States of some layers, by their index.
_LayerStates: TypeAlias = Mapping[int, FloatArray]


def n_exact_terms(machine: DeepBoltzmannMachine) -> float:
    """Count the terms of the exact sum: the joint states of the smaller parity.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.

    Returns
    -------
    int
        Number of terms.

    See Also
    --------
    exact_log_partition : The sum.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import n_exact_terms
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((5, 3))], [np.zeros(5), np.zeros(3)])
    >>> n_exact_terms(machine)
    8
    """
    return _smaller_parity(machine.units, machine.biases)[1]


def prefers_exact(machine: DeepBoltzmannMachine) -> bool:
    """Decide whether enumeration is cheap enough to be preferred to annealing.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.

    Returns
    -------
    bool
        Whether the exact sum has at most 2**20 terms, `PREFER_EXACT_STATES`, and these
        times the units to sum out are at most 2**26.

    See Also
    --------
    n_exact_terms : The number of terms.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import prefers_exact
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.zeros((5, 3))], [np.zeros(5), np.zeros(3)])
    >>> prefers_exact(machine)
    True
    """
    kept, n_terms = _smaller_parity(machine.units, machine.biases)
    n_summed = sum(machine.layer_sizes[1 - kept :: 2])
    return n_terms <= PREFER_EXACT_STATES and n_terms * n_summed <= PREFER_EXACT_WORK


def exact_log_partition(machine: DeepBoltzmannMachine) -> float:
    """Compute log Z by enumerating the smaller parity of layers.

    The layers of one parity (even or odd) are enumerated; the others are independent
    given them and summed, or integrated, in closed form. With n binary units in the
    smaller parity the sum has 2^n terms. Of units that share a total, as counts do,
    Z depends on the total: ask for that of ``machine.with_totals(total)``.

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
        If both parities have more than 2**25 joint states, `MAX_STATES`.

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


def exact_log_likelihood(machine: DeepBoltzmannMachine, X: npt.ArrayLike) -> FloatArray:
    """Compute log p(v) of every row by enumeration.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : ndarray of shape (n_rows, n_0)
        Visible states. Those that are missing, NaN, are summed out.

    Returns
    -------
    ndarray of shape (n_rows,)
        Log-likelihoods in nats, float64; of units that share a total, given it.

    Raises
    ------
    ValueError
        If there are more than 2**25 joint states to sum, `MAX_STATES`.

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
    result = np.array([_enumerate_given(machine, row[None]) for row in X])
    totals = machine.units[0].totals(X)
    if totals is None:
        return result - exact_log_partition(machine)
    return result - exact_log_partitions(machine, totals)


def exact_log_partitions(machine: DeepBoltzmannMachine, totals: IntArray) -> FloatArray:
    """Compute log Z of rows whose visible units share a total, in one enumeration.

    The log-partition of such units is their total times that of a total of one, so the
    hidden layers are enumerated once for all totals.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    totals : ndarray of int of shape (n_rows,)
        Totals of the rows, as `UnitType.totals` gives them.

    Returns
    -------
    ndarray of shape (n_rows,)
        Log Z in nats, float64.

    Raises
    ------
    ValueError
        If the odd layers have more than 2**25 joint states, `MAX_STATES`.

    See Also
    --------
    exact_log_partition : For a single total, or units without.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_log_partitions
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.units import Bernoulli, Counts
    >>> machine = DeepBoltzmannMachine(
    ...     [np.zeros((3, 1))], [np.zeros(3), np.zeros(1)], [Counts(3), Bernoulli()]
    ... )
    >>> exact_log_partitions(machine, np.array([0, 2])).round(4)  # log 2, log 18
    array([0.6931, 2.8904])
    """
    machine = machine.astype(np.float64)
    units, weights, biases = machine.units, machine.weights, machine.biases
    distinct, where = np.unique(totals, return_inverse=True)
    kept, n_all = _smaller_parity(units, biases, kept=1)
    n_terms = _check_n_terms(n_all, biases)
    one = [units[0].with_totals(1), *units[1:]]
    none = [units[0].with_totals(0), *units[1:]]
    sums = np.full(len(distinct), -np.inf)
    chunks = zip(
        _chunks(one, weights, biases, kept, n_terms),
        _chunks(none, weights, biases, kept, n_terms),
        strict=True,
    )
    for of_one, of_none in chunks:
        for i, total in enumerate(distinct):
            terms = of_none + total * (of_one - of_none)
            sums[i] = np.logaddexp(sums[i], logsumexp(terms))
    return sums[where]


def _enumerate_given(machine: DeepBoltzmannMachine, row: FloatArray) -> float:
    """Sum exp(-E) over the hidden layers, and visible states that are missing."""
    missing = np.isnan(row)
    visible, known = np.where(missing, 0.0, row), ~missing
    unit, bias, weight = machine.units[0], machine.biases[0], machine.weights[0]
    constant = (visible @ weight + machine.biases[1])[0]
    biases = [constant, *machine.biases[2:]]
    of_visible = float((visible @ bias - unit.base(visible, where=known))[0])
    if not missing.any():
        return of_visible + _enumerate(machine.units[1:], machine.weights[1:], biases)

    def sum_over_missing(states: _LayerStates) -> FloatArray:
        field = bias + states[0] @ weight.T
        return unit.log_partition(field, np.broadcast_to(missing, field.shape))

    # The missing states depend on the first hidden layer, which is enumerated.
    return of_visible + _enumerate(
        machine.units[1:], machine.weights[1:], biases, kept=0, more=sum_over_missing
    )


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
    random_state : None, int or numpy.random.SeedSequence, default=None
        Seed of the draws.

    Returns
    -------
    list of L + 1 ndarrays of shape (n_samples, n_l)
        States of every layer, in the dtype of the machine.

    Raises
    ------
    ValueError
        If both parities have more than 2**20 joint states; the
        probabilities of all of them are held in memory.

    See Also
    --------
    skdbm.sampling.chains : Approximate samples of machines of any size.

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
    kept_probabilities = _kept_probabilities(machine)
    return _samples_of(machine, kept_probabilities, n_samples, random_state)


def _kept_probabilities(machine: DeepBoltzmannMachine) -> FloatArray:
    """Compute the probability of every joint state of the smaller parity."""
    kept, n_terms = _smaller_parity(machine.units, machine.biases)
    if n_terms > PREFER_EXACT_STATES:
        raise ValueError(
            f"Exact sampling of layers of {machine.layer_sizes} units needs "
            f"2^{math.log2(n_terms):.0f} probabilities; at most "
            f"{PREFER_EXACT_STATES} are held. Use skdbm.sampling.chains."
        )
    parameters = machine.units, machine.weights, machine.biases
    log_terms = np.concatenate(list(_chunks(*parameters, kept, int(n_terms))))
    probabilities: FloatArray = np.exp(log_terms - logsumexp(log_terms))
    probabilities /= probabilities.sum()
    return probabilities


def _samples_of(
    machine: DeepBoltzmannMachine,
    probabilities: FloatArray,
    n_samples: int,
    random_state: Seed,
) -> list[FloatArray]:
    """Draw joint states of all layers, given what `_kept_probabilities` gives."""
    units, weights, biases = machine.units, machine.weights, machine.biases
    rng = generator(random_state)
    index = rng.choice(len(probabilities), n_samples, p=probabilities)
    kept, _ = _smaller_parity(units, biases)
    states = _kept_states(units, biases, kept, index)
    for layer in range(1 - kept, machine.n_layers, 2):
        field = _field(layer, states, weights, biases, n_samples)
        states[layer] = units[layer].sample(field, rng)
    return [states[layer].astype(machine.dtype) for layer in range(machine.n_layers)]


def _smaller_parity(
    units: Sequence[UnitType], biases: Sequence[FloatArray], kept: int | None = None
) -> tuple[int, float]:
    """Find the parity with fewer joint states, or take the given one; their number."""
    counts = [
        unit.n_states(len(bias)) for unit, bias in zip(units, biases, strict=True)
    ]
    # An integer may be too large to be multiplied with infinity.
    totals = [
        np.inf if np.inf in part else math.prod(part)
        for part in (counts[0::2], counts[1::2])
    ]
    kept = int(totals[1] < totals[0]) if kept is None else kept
    return kept, totals[kept]


def _kept_states(
    units: Sequence[UnitType], biases: Sequence[FloatArray], kept: int, index: IntArray
) -> dict[int, FloatArray]:
    """Turn numbers of joint states into states of the layers of one parity."""
    states = {}
    for layer in range(kept, len(units), 2):
        n_states = int(units[layer].n_states(len(biases[layer])))
        states[layer] = units[layer].states(
            index % n_states, len(biases[layer]), np.float64
        )
        index = index // n_states
    return states


def _field(
    layer: int,
    states: _LayerStates,
    weights: Sequence[FloatArray],
    biases: Sequence[FloatArray],
    n_rows: int,
) -> FloatArray:
    """Field of a layer whose neighbours are known, in float64."""
    field = np.tile(np.asarray(biases[layer], dtype=np.float64), (n_rows, 1))
    if layer > 0:
        field += states[layer - 1] @ weights[layer - 1]
    if layer + 1 < len(biases):
        field += states[layer + 1] @ weights[layer].T
    return field


def _chunks(
    units: Sequence[UnitType],
    weights: Sequence[FloatArray],
    biases: Sequence[FloatArray],
    kept: int,
    n_terms: int,
    more: Callable[[_LayerStates], FloatArray] | None = None,
) -> Iterator[FloatArray]:
    """Yield log sums over the other parity, chunk by chunk of the kept one.

    `more` gives further log-terms for states of the kept layers.
    """
    for start in range(0, n_terms, _STATES_PER_CHUNK):
        index = np.arange(start, min(start + _STATES_PER_CHUNK, n_terms))
        states = _kept_states(units, biases, kept, index)
        log_terms = np.zeros(len(index))
        for layer, state in states.items():
            log_terms += state @ biases[layer] - units[layer].base(state)
        for layer in range(1 - kept, len(units), 2):
            field = _field(layer, states, weights, biases, len(index))
            log_terms += units[layer].log_partition(field)
        yield log_terms if more is None else log_terms + more(states)


def _enumerate(
    units: Sequence[UnitType],
    weights: Sequence[FloatArray],
    biases: Sequence[FloatArray],
    kept: int | None = None,
    more: Callable[[_LayerStates], FloatArray] | None = None,
) -> float:
    """Sum exp(-E) over all states of a chain of layers, in the log domain."""
    kept, n_all = _smaller_parity(units, biases, kept)
    n_terms = _check_n_terms(n_all, biases)
    chunks = _chunks(units, weights, biases, kept, n_terms, more)
    return float(logsumexp([logsumexp(log_terms) for log_terms in chunks]))


def _check_n_terms(n_terms: float, biases: Sequence[FloatArray]) -> int:
    """Give the number of terms, and raise an error if it is too large."""
    if n_terms > MAX_STATES:
        raise ValueError(
            f"Exact enumeration needs 2^{math.log2(n_terms):.0f} terms for layers of "
            f"{[len(bias) for bias in biases]} units; at most {MAX_STATES} are summed. "
            "Use annealed_log_partition."
        )
    return int(n_terms)
