"""The likelihood of rows given log Z: a bound and an importance-weighted estimate."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import ops
from .._typing import FloatArray, Rng, Rows, Seed, States
from ..evidence import Conditional, Evidence
from ..inference.mean_field import MeanField, map_posterior, posterior
from ..inference.second_order import second_order_fields
from ..machine import DeepBoltzmannMachine
from ..units import UnitType

#: Draws of a row that are made by one call, and kept until they are weighed.
DRAWS_AT_ONCE = 16

#: Most rows that are summed for a lower bound of log Z, and most of their entries.
MOST_SUMMED, MOST_ENTRIES = 5000, 10**7


def bound(
    machine: DeepBoltzmannMachine,
    X: Rows | Evidence,
    log_partition: float | FloatArray,
    *,
    tol: float = 1e-4,
    max_iter: int = 500,
    n_jobs: int | None = None,
) -> FloatArray:
    """Compute the variational lower bound of log p(v) of every row.

    log p(v) >= E_q[-E(v, h)] + H(q) - log Z, with q the mean-field posterior. With one
    hidden layer and nothing missing the posterior factorises, and the bound is log p(v)
    itself.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0), or Evidence
        Visible states, NaN where missing; or what is known of any layers. What is
        missing is summed out: the bound is one of log p of what is known.
    log_partition : float or ndarray of shape (n_rows,)
        Log Z of the machine in nats, as `log_partition` gives it; an error of it moves
        all rows alike. Units that share a total have one for each row.
    tol, max_iter, n_jobs : optional
        As for `skdbm.inference.mean_field`.

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
    importance_weighted_log_likelihood : A tighter estimate, at the cost of sampling.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import bound, exact_log_likelihood, exact_log_partition
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)] * 2, [np.zeros(2)] * 3)
    >>> X = np.array([[0.0, 1.0]])
    >>> lower = bound(machine, X, exact_log_partition(machine))
    >>> gap = exact_log_likelihood(machine, X) - lower
    >>> bool(0 < gap[0] < 0.05)
    True
    """
    parts = map_posterior(
        machine,
        X,
        lambda evidence, part, _: unnormalised_bound(
            Conditional(machine, evidence), states_of_all(machine, part)
        ),
        tol=tol,
        max_iter=max_iter,
        n_jobs=n_jobs,
    )
    return ops.concatenate(parts) - log_partition


def importance_weighted_log_likelihood(
    machine: DeepBoltzmannMachine,
    X: Rows | Evidence,
    log_partition: float | FloatArray,
    *,
    n_importance_samples: int = 100,
    random_state: Seed = None,
    tol: float = 1e-4,
    max_iter: int = 500,
    n_jobs: int | None = None,
) -> FloatArray:
    """Estimate log p(v) of every row from samples of an approximate posterior.

    log p(v) is about log mean_k p*(v, h_k) / q(h_k) - log Z. The expectation of the
    estimate is a lower bound of log p(v) for any number of samples, and rises with it
    (Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016,
    theorem 1). The odd hidden layers are summed out; only the even ones are drawn, from
    independent units with the fields of mean field corrected to second order. So even
    a single sample gives a tighter bound than mean field, unless couplings are so
    strong that the correction fails.

    What is drawn for a row follows from the seed and from what is known of the row, to
    three decimals. So its estimate does not depend on the rows beside it, equal rows
    have equal estimates, and machines are compared by the same random numbers. The same
    ones for all rows would do that, too, but tie the errors of rows together, so that
    they do not average out.

    Parameters
    ----------
    machine, X, log_partition : required
        As for `bound`.
    n_importance_samples : int, default=100
        Samples of the posterior for each row.
    random_state : None, int or SeedSequence, default=None
        Seed of the samples; they are the same for any number of threads.
    tol, max_iter, n_jobs : optional
        As for `skdbm.inference.mean_field`.

    Returns
    -------
    ndarray of shape (n_rows,)
        The estimates in nats, float64; exact with one hidden layer and nothing missing.
        They hold even if a ConvergenceWarning says that mean field did not converge.

    Warns
    -----
    ConvergenceWarning
        If mean field did not converge; the estimate holds nevertheless.

    See Also
    --------
    bound : The deterministic lower bound.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_log_likelihood, exact_log_partition
    >>> from skdbm.likelihood import importance_weighted_log_likelihood
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)] * 2, [np.zeros(2)] * 3)
    >>> X = np.array([[0.0, 1.0]])
    >>> estimate = importance_weighted_log_likelihood(
    ...     machine, X, exact_log_partition(machine), random_state=0
    ... )
    >>> bool(np.abs(estimate - exact_log_likelihood(machine, X)) < 0.02)
    True
    """
    if n_importance_samples < 1:
        raise ValueError(
            f"n_importance_samples={n_importance_samples}; at least 1 is needed."
        )
    seed = ops.seed_sequence(random_state)

    def estimate(evidence: Evidence, part: MeanField, start: int) -> FloatArray:
        streams = partial(streams_of, seed, content_of(evidence))
        return importance_weighted(
            machine, evidence, part, n_importance_samples, streams
        )

    parts = map_posterior(
        machine, X, estimate, tol=tol, max_iter=max_iter, n_jobs=n_jobs
    )
    return ops.concatenate(parts) - log_partition


def least_log_partition(
    machine: DeepBoltzmannMachine, rows: Rows, *, n_jobs: int | None = None
) -> float:
    """Log of the summed p* of distinct discrete rows: log Z is at least that."""
    unit, n_units = machine.units[0], machine.layer_sizes[0]
    some = rows[slice(0, min(MOST_SUMMED, MOST_ENTRIES // n_units))]
    if unit.n_states(n_units) == math.inf or unit.totals(some) is not None:
        return -math.inf
    states = ops.dense(some)
    states = ops.unique(states[(states == ops.floor(states)).all(axis=1)], axis=0)
    if not len(states):
        return -math.inf

    def summed(block: slice) -> FloatArray:
        evidence = Evidence.of_rows(states[block].astype(machine.dtype))
        # It is a bound for any means; a few sweeps are enough.
        part = posterior(machine, evidence, tol=1e-2, max_iter=20)
        return unnormalised_bound(
            Conditional(machine, evidence), states_of_all(machine, part)
        )

    with ops.workers(n_jobs) as team:
        parts = team.map(summed, ops.row_blocks(len(states), ops.INFERENCE_ROWS))
    return float(ops.logsumexp(ops.concatenate(parts)))


def importance_weighted(
    machine: DeepBoltzmannMachine,
    evidence: Evidence,
    part: MeanField,
    n_samples: int,
    streams: Callable[[int], Sequence[Rng]],
) -> FloatArray:
    """Log mean importance weight of every row of a block, as estimated without log Z.

    `streams` gives the generators of the rows for a layer: a layer has its own, since
    for some rows it may be known, and then nothing of it is drawn.
    """
    given = Conditional(machine, evidence)
    even = [layer for layer in given.free if layer % 2 == 0]
    if not even:  # nothing is left to draw
        return unnormalised_bound(given, states_of_all(machine, part))
    machine = machine.astype(ops.float64)
    given, states = Conditional(machine, evidence), states_of_all(machine, part)
    fields = second_order_fields(given, states)
    known = _known_terms(given, states)
    for layer in even:
        known += machine.units[layer].log_partition(fields[layer], _open(given, layer))
        known += given.tied_density(layer, fields[layer])
    rngs = {layer: streams(layer) for layer in even}
    total = ops.full(len(known), -math.inf)
    for start in range(0, n_samples, DRAWS_AT_ONCE):
        n_draws = min(DRAWS_AT_ONCE, n_samples - start)
        draws = {
            layer: _draws(machine.units[layer], fields[layer], rngs[layer], n_draws)
            for layer in even
        }
        for k in range(n_draws):
            log_weight = ops.array(known)
            for layer in even:
                states[layer] = draws[layer][k]
                given.hold(layer, states)
                # log p* - log q of the layer; its base measure is in both and cancels
                tilt = states[layer] * (machine.biases[layer] - fields[layer])
                log_weight += ops.row_sum(tilt, _open(given, layer))
            log_weight += _odd_terms(given, states)
            ops.logaddexp(total, log_weight, out=total)
    return total - math.log(n_samples)


def _draws(
    unit: UnitType, fields: FloatArray, rngs: Sequence[Rng], n_draws: int
) -> FloatArray:
    """Draw every row some times by a generator of its own: (n_draws, *fields.shape)."""
    draws = ops.empty((n_draws, *fields.shape))
    for row, rng in enumerate(rngs):
        copies = ops.repeat(fields[row : row + 1], n_draws, axis=0)
        draws[:, row] = unit.sample(copies, rng)
    return draws


def streams_of(
    seed: ops.SeedSequence, content: FloatArray, layer: int
) -> Sequence[Rng]:
    """Generators of rows for the draws of a layer, by what is known of each."""
    key = (*seed.spawn_key, layer)
    of_layer = ops.SeedSequence(seed.entropy, spawn_key=key)
    return ops.streams_of_rows(of_layer, content)


def content_of(evidence: Evidence) -> FloatArray:
    """What is known of every row, layer by layer, NaN for what is not."""
    layers = {
        layer: ops.dense(states) if known is None else ops.where(known, states, ops.nan)
        for layer, (states, known) in sorted(evidence.layers.items())
    }
    for tie in evidence.ties:
        closed = tie.closed(evidence.layers[0][0])
        ops.copyto(layers[0][:, tie.units], closed, where=tie.tied[:, None])
    return ops.hstack(list(layers.values()))


def unnormalised_bound(given: Conditional, states: States) -> FloatArray:
    """Compute E_q[-E] + H(q) of every row, the bound without log Z, at these means."""
    # What is open in odd layers is summed out given the means of the even ones, which
    # is one more half sweep of mean field; so it is a bound for any means.
    biases, units = given.machine.biases, given.machine.units
    total = _known_terms(given, states) + _odd_terms(given, states)
    for layer in given.free:
        if layer % 2 == 0:
            mean, where = states[layer], _open(given, layer)
            open_means = mean if where is None else ops.where(where, mean, 0)
            total += open_means.astype(ops.float64) @ biases[layer]
            total += units[layer].entropy(mean, where) + given.tied_entropy(layer)
    return total


def states_of_all(machine: DeepBoltzmannMachine, part: MeanField) -> list[Any]:
    """Means of all layers in the dtype of the machine."""
    arrays = (part.visible, *part.means)
    return [array.astype(machine.dtype, copy=False) for array in arrays]


def _open(given: Conditional, layer: int) -> Any:
    """Which units of a free layer are not known; None for all of them."""
    _, known = given.known.get(layer, (None, None))
    return None if known is None else ~known


def _known_terms(given: Conditional, states: States) -> FloatArray:
    """Sum s b - base(s) over the known units of even layers, - base(s) of odd ones."""
    biases, total = given.machine.biases, ops.zeros(states[0].shape[0])
    for layer, (_, known) in given.known.items():
        state = ops.dense(states[layer])
        total -= given.machine.units[layer].base(state, known)
        if layer % 2 == 0:
            total += ops.row_sum(state.astype(ops.float64) * biases[layer], known)
    return total


def _odd_terms(given: Conditional, states: States) -> FloatArray:
    """Sum A(x) over the open units of odd layers, and s x over the known ones."""
    machine, total = given.machine, ops.zeros(states[0].shape[0])
    for layer in range(1, machine.n_layers, 2):
        is_free = layer in given.free
        field = (given if is_free else machine).field(layer, states)
        if is_free:
            total += machine.units[layer].log_partition(field, _open(given, layer))
        if layer in given.known:
            total += ops.row_sum(
                states[layer].astype(ops.float64) * field, given.known[layer][1]
            )
    return total
