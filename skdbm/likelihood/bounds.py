"""The likelihood of rows given log Z: a bound and an importance-weighted estimate."""

from collections.abc import Sequence

import numpy as np

from .. import ops
from .._typing import BoolArray, FloatArray, Rng, Rows, Seed
from ..inference import MeanField, map_posterior, second_order_fields
from ..machine import DeepBoltzmannMachine
from ..ops import generator


def bound(
    machine: DeepBoltzmannMachine,
    X: Rows,
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
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states. Those that are missing, NaN, are summed out: the bound is one
        of log p of the states that are known.
    log_partition : float or ndarray of shape (n_rows,)
        Log Z of the machine in nats, as `log_partition` gives it; an error of it moves
        all rows alike. Units that share a total have one for each row.
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
    importance_weighted_log_likelihood : A tighter estimate, at the cost of sampling.

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
    >>> bool(0 < gap[0] < 0.05)
    True
    """
    parts = map_posterior(
        machine,
        X,
        lambda rows, part, _: unnormalised_bound(
            machine, part.visible, part.means, missing=part.missing
        ),
        tol=tol,
        max_iter=max_iter,
        n_jobs=n_jobs,
    )
    return np.concatenate(parts) - log_partition


def unnormalised_bound(
    machine: DeepBoltzmannMachine,
    X: Rows,
    means: Sequence[FloatArray],
    *,
    missing: BoolArray | None = None,
) -> FloatArray:
    """Compute E_q[-E(v, h)] + H(q) of every row, the bound without log Z.

    The odd hidden layers are summed out given the means of the even ones, which is
    one more half sweep of mean field; so it is a bound for any means.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states, or means of them where they are missing.
    means : list of L ndarrays of shape (n_rows, n_l)
        Means of the hidden layers.
    missing : ndarray of bool of shape (n_rows, n_0), default=None
        Which visible states are missing; None means none.

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
    total = _visible_term(machine, X, missing)
    if missing is not None:
        total += machine.units[0].entropy(X, where=missing)
    for layer in range(2, machine.n_layers, 2):
        total += states[layer].astype(np.float64) @ machine.biases[layer]
        total += machine.units[layer].entropy(states[layer])
    for layer in range(1, machine.n_layers, 2):
        total += machine.units[layer].log_partition(machine.field(layer, states))
    return total


def importance_weighted_log_likelihood(
    machine: DeepBoltzmannMachine,
    X: Rows,
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
    [1]_. The odd hidden layers are summed out; only the even ones are drawn, from
    independent units with the fields of mean field corrected to second order. So even
    a single sample gives a tighter bound than mean field, unless couplings are so
    strong that the correction fails.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states.
    log_partition : float or ndarray of shape (n_rows,)
        Log Z of the machine in nats, or one for each row.
    n_importance_samples : int, default=100
        Samples of the posterior for each row.
    random_state : None, int or numpy.random.SeedSequence, default=None
        Seed of the samples.
    tol : float, default=1e-4
        Tolerance of mean field.
    max_iter : int, default=500
        Most sweeps of mean field.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    ndarray of shape (n_rows,)
        The estimates in nats, float64. With one hidden layer they are exact for rows of
        which nothing is missing.

    Warns
    -----
    ConvergenceWarning
        If mean field did not converge; the estimate holds nevertheless.

    See Also
    --------
    bound : The deterministic lower bound.
    skdbm.inference.second_order_fields : The correction.

    References
    ----------
    .. [1] Y. Burda, R. Grosse and R. Salakhutdinov, "Importance weighted
       autoencoders", ICLR 2016, theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.likelihood import exact_log_likelihood, exact_log_partition
    >>> from skdbm.likelihood import importance_weighted_log_likelihood
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine(
    ...     [np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2), np.zeros(2)]
    ... )
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
    if not isinstance(random_state, np.random.SeedSequence):
        random_state = np.random.SeedSequence(random_state)
    seeds = random_state.generate_state(2, np.uint64)

    def estimate(rows: Rows, part: MeanField, start: int) -> FloatArray:
        # A stream for each block of rows, told apart by where the block starts.
        rng = generator(np.random.SeedSequence([*map(int, seeds), start]))
        return _importance_weighted(machine, part, n_importance_samples, rng)

    parts = map_posterior(
        machine, X, estimate, tol=tol, max_iter=max_iter, n_jobs=n_jobs
    )
    return np.concatenate(parts) - log_partition


def _importance_weighted(
    machine: DeepBoltzmannMachine, part: MeanField, n_samples: int, rng: Rng
) -> FloatArray:
    """Log mean importance weight of every row of a block."""
    machine = machine.astype(np.float64)
    visible, missing = part.visible.astype(np.float64), part.missing
    states = [visible, *(mean.astype(np.float64) for mean in part.means)]
    even = range(0 if missing is not None else 2, machine.n_layers, 2)
    if not even:
        return unnormalised_bound(machine, visible, states[1:])
    corrected = second_order_fields(machine, states, missing=missing)
    fields = {layer: corrected[layer] for layer in even}
    drawn = {layer: missing if layer == 0 else None for layer in even}
    proposal = {
        layer: machine.units[layer].log_partition(field, where=drawn[layer])
        for layer, field in fields.items()
    }
    known = _visible_term(machine, visible, missing, missing_bias=False)
    constant = None if missing is not None else visible @ machine.weights[0]
    constant = None if constant is None else constant + machine.biases[1]
    total = np.full(visible.shape[0], -np.inf)
    for _ in range(n_samples):
        log_weight = known.copy()
        for layer in even:
            unit, field = machine.units[layer], fields[layer]
            draw = unit.sample(field, rng)
            # log p* - log q of the layer; its base measure is in both and cancels
            tilt = draw * (machine.biases[layer] - field)
            log_weight += ops.row_sum(tilt, drawn[layer]) + proposal[layer]
            if missing is not None and layer == 0:
                draw = np.where(missing, draw, visible)
            states[layer] = draw
        for layer in range(1, machine.n_layers, 2):
            field = machine.field(
                layer, states, constant=constant if layer == 1 else None
            )
            log_weight += machine.units[layer].log_partition(field)
        np.logaddexp(total, log_weight, out=total)
    return total - float(np.log(n_samples))


def _visible_term(
    machine: DeepBoltzmannMachine,
    rows: Rows,
    missing: BoolArray | None,
    missing_bias: bool = True,
) -> FloatArray:
    """Compute v b_0 - base(v) of every row, in float64.

    Of visible states that are missing there is no base(v), and on demand no bias.
    """
    dense = rows if isinstance(rows, np.ndarray) else rows.toarray()
    terms = dense.astype(np.float64) * machine.biases[0].astype(np.float64)
    known = None if missing is None else ~missing
    weighted = ops.row_sum(terms, None if missing_bias else known)
    return weighted - machine.units[0].base(dense, where=known)
