"""Mean field: machine and visible states to posterior means of every hidden layer.

The posterior p(h | v) is approximated by independent units. Their means solve

    m_l = A'(b_l + m_{l-1} W_{l-1} + m_{l+1} W_l^T),    m_0 = v,

found by updating the even layers given the odd ones and the other way round. Layers
of one parity do not interact, so every half sweep raises the variational bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

from . import ops
from ._typing import BoolArray, FloatArray, IntArray, Rows, States
from ._warnings import warn
from .machine import DeepBoltzmannMachine

_Result = TypeVar("_Result")

#: Rows that have stopped leave the active block when there are so many: to wait for
#: more costs sweeps of rows that are done, to go one by one costs copies.
LEAVING_ROWS = 4


@dataclass(frozen=True)
class MeanField:
    """Result of `mean_field`.

    Parameters
    ----------
    means : list of L ndarrays of shape (n_rows, n_l)
        Means of every hidden layer.
    n_sweeps : ndarray of int of shape (n_rows,)
        Sweeps that each row took.
    converged : ndarray of bool of shape (n_rows,)
        Whether the last sweep of the row changed no mean by `tol` or more.
    visible : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        The visible states, with means where they were missing.
    missing : ndarray of bool of shape (n_rows, n_0), or None
        Which visible states were missing; None if none was.

    See Also
    --------
    mean_field : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import mean_field
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> result = mean_field(machine, np.array([[0.0, 1.0]]))
    >>> result.converged
    array([ True])
    """

    means: list[FloatArray]
    n_sweeps: IntArray
    converged: BoolArray
    visible: Rows
    missing: BoolArray | None


def mean_field(
    machine: DeepBoltzmannMachine,
    X: Rows,
    *,
    tol: float = 1e-4,
    max_iter: int = 500,
    n_jobs: int | None = None,
) -> MeanField:
    """Compute the mean-field means of every hidden layer given visible states.

    Each row stops by itself, at the first sweep that changes none of its means by
    `tol` or more; converged rows leave the active block. The result of a row does
    therefore not depend on the rows beside it.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states. Those that are missing, NaN, get means as the hidden units do.
    tol : float, default=1e-4
        Largest change of a mean in the last sweep of a converged row. Trained MNIST
        machines reach 1e-4 after 10 to 40 sweeps, 1e-9 after 90 to 250.
    max_iter : int, default=500
        Most sweeps.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    MeanField
        Means, sweeps taken, and which rows converged.

    Warns
    -----
    ConvergenceWarning
        If rows have not converged after `max_iter` sweeps, with their number.

    See Also
    --------
    skdbm.likelihood.bound : The lower bound of log p(v) that the means give.

    Notes
    -----
    The start is one bottom-up pass in which a layer that lacks the input from above
    counts the input from below twice [1]_.

    References
    ----------
    .. [1] R. Salakhutdinov and H. Larochelle, "Efficient learning of deep Boltzmann
       machines", AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import mean_field
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine(
    ...     [np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2), np.zeros(2)]
    ... )
    >>> result = mean_field(machine, np.array([[0.0, 1.0]]), tol=1e-8)
    >>> result.means[0].round(4)
    array([[0.659 , 0.8455]])
    """
    missing = missing_entries(X)
    parts = map_posterior(
        machine,
        X,
        lambda rows, part, start: part,
        tol=tol,
        max_iter=max_iter,
        n_jobs=n_jobs,
    )
    return MeanField(
        means=[
            np.concatenate(layer)
            for layer in zip(*(p.means for p in parts), strict=True)
        ],
        n_sweeps=np.concatenate([part.n_sweeps for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
        visible=X if missing is None else np.concatenate([p.visible for p in parts]),
        missing=missing,
    )


def missing_entries(X: Rows) -> BoolArray | None:
    """Find the visible states that are missing.

    Parameters
    ----------
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states, NaN where missing; a sparse matrix has none of them.

    Returns
    -------
    ndarray of bool of shape (n_rows, n_0), or None
        Which states are missing; None if none is.

    See Also
    --------
    mean_field : Fills them with means.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import missing_entries
    >>> missing_entries(np.array([[0.0, np.nan]]))
    array([[False,  True]])
    """
    if not isinstance(X, np.ndarray) or not np.isnan(np.min(X, initial=0.0)):
        return None
    return np.isnan(X)


def map_posterior(
    machine: DeepBoltzmannMachine,
    X: Rows,
    function: Callable[[Rows, MeanField, int], _Result],
    *,
    tol: float,
    max_iter: int,
    n_jobs: int | None = None,
) -> list[_Result]:
    """Call ``function(rows, mean_field, start)`` on blocks of rows, over threads.

    Nothing but what `function` returns is kept, so that memory stays flat in the
    number of rows.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states.
    function : callable
        Gets a block of rows of `X`, dense or sparse as `X` is, its `MeanField`, and
        the index of its first row.
    tol : float
        Largest change of a mean in the last sweep of a converged row.
    max_iter : int
        Most sweeps.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here.

    Returns
    -------
    list
        What `function` returned, in the order of the blocks.

    Warns
    -----
    ConvergenceWarning
        If rows have not converged after `max_iter` sweeps, with their number.

    See Also
    --------
    mean_field : Keeps all means of all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import map_posterior
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> parts = map_posterior(
    ...     machine, np.eye(2), lambda rows, q, start: q.means[0], tol=1e-4, max_iter=9
    ... )
    >>> parts[0].round(4)
    array([[0.7311, 0.5   ],
           [0.5   , 0.7311]])
    """
    blocks = ops.row_blocks(X.shape[0], ops.INFERENCE_ROWS)
    results: list[Any] = [None] * len(blocks)
    n_failed = [0] * len(blocks)

    def solve(i: int) -> None:
        rows = X[blocks[i]]
        part = posterior(machine, rows, tol=tol, max_iter=max_iter)
        n_failed[i] = int(np.count_nonzero(~part.converged))
        results[i] = function(rows, part, blocks[i].start)

    with ops.workers(n_jobs) as team:
        team.run([partial(solve, i) for i in range(len(blocks))])
    _warn_if_unconverged(sum(n_failed), X.shape[0], tol, max_iter)
    return results


def bottom_up(
    machine: DeepBoltzmannMachine, states: States, constant: FloatArray
) -> None:
    """Fill the hidden layers of `states` by one pass from below.

    A layer that lacks its input from above counts the input from below twice; the top
    layer lacks none. An even top layer is left out: the first sweep begins with it.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 arrays
        Where the means of the hidden layers go; the visible states are not used.
    constant : ndarray of shape (n_rows, n_1)
        The part of the first hidden layer's field that is fixed, b_1 + v W_0.

    See Also
    --------
    sweep : Improves the means.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import bottom_up
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> states = [None, np.empty((1, 2))]
    >>> bottom_up(machine, states, np.array([[0.0, 1.0]]))
    >>> states[1]
    array([[0.5       , 0.73105858]])
    """
    top = machine.n_layers - 1
    for layer in range(1, machine.n_layers - (top % 2 == 0)):
        field = states[layer]
        bias = machine.biases[layer]
        if layer == 1:
            np.copyto(field, constant)
        else:
            np.matmul(states[layer - 1], machine.weights[layer - 1], out=field)
            field += bias
        if layer < top:
            field *= 2
            field -= bias
        machine.units[layer].mean(field, out=field)


def sweep(
    machine: DeepBoltzmannMachine,
    states: States,
    free: Sequence[int],
    scratch: States,
    constant: FloatArray | None = None,
    held: tuple[BoolArray, FloatArray] | None = None,
) -> None:
    """Update the means of some layers in place, one after the other.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 arrays
        States or means of every layer; only the neighbours of free layers are looked
        at.
    free : sequence of int
        The layers to update, the even ones first.
    scratch : list of L + 1 arrays
        Room for intermediate values, of the shapes of `states`.
    constant : ndarray of shape (n_rows, n_1), default=None
        The part of the first hidden layer's field that is fixed, b_1 + v W_0, if the
        visible layer is.
    held : tuple of two ndarrays of shape (n_rows, n_0), default=None
        Which visible states are known, and visible states that have them, if the
        visible layer is free only where they are not.

    See Also
    --------
    bottom_up : Where the sweeps over the hidden layers start.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import sweep
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> states = [np.array([[0.0, 1.0]]), np.zeros((1, 2))]
    >>> sweep(machine, states, [1], scratch=[None, np.zeros((1, 2))])
    >>> states[1]
    array([[0.5       , 0.73105858]])
    """
    for layer in free:
        field = machine.field(
            layer,
            states,
            constant=constant if layer == 1 else None,
            out=states[layer],
            scratch=scratch[layer],
        )
        machine.units[layer].mean(field, out=field)
        if layer == 0 and held is not None:
            known, given = held
            np.copyto(field, given, where=known)


def hidden_layers(machine: DeepBoltzmannMachine) -> list[int]:
    """List the hidden layers in the order of a sweep, the even ones first.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.

    Returns
    -------
    list of int
        Indices of layers.

    See Also
    --------
    sweep : Takes them as its free layers.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import hidden_layers
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)] * 3, [np.zeros(2)] * 4)
    >>> hidden_layers(machine)
    [2, 1, 3]
    """
    return [*range(2, machine.n_layers, 2), *range(1, machine.n_layers, 2)]


def second_order_fields(
    machine: DeepBoltzmannMachine,
    states: States,
    *,
    missing: BoolArray | None = None,
    n_sweeps: int = 5,
) -> dict[int, FloatArray]:
    """Correct the fields of mean field by what it leaves out to second order.

    The equations of Thouless, Anderson and Palmer (TAP) add to the field of a unit half
    the derivative of its variance by its mean, times the variance that its neighbours
    bring about in its field. The means of independent units with these fields are
    those of the posterior to second order in the couplings, where mean field is right
    to the first [1]_, [2]_. So they are nearer to the posterior, and draws from them
    have more even importance weights.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_rows, n_l)
        Visible states, with means where they are missing, and means of the hidden
        layers to start from, those of mean field. They are left alone.
    missing : ndarray of bool of shape (n_rows, n_0), default=None
        Which visible states are missing; None means none.
    n_sweeps : int, default=5
        Number of sweeps. Nothing bounds these equations as the variational bound does
        mean field, and strong couplings can drive them apart; so every sweep moves
        the fields half the way only. Five leave little to gain on machines trained on
        MNIST.

    Returns
    -------
    dict of int to ndarray of shape (n_rows, n_l)
        Fields of the hidden layers, and of the visible one if states are missing.

    See Also
    --------
    mean_field : Where the sweeps start.
    skdbm.likelihood.importance_weighted_log_likelihood : Draws from such units.

    References
    ----------
    .. [1] T. Plefka, "Convergence condition of the TAP equation for the
       infinite-ranged Ising spin glass model", Journal of Physics A 15, 1982.
    .. [2] M. Gabrié, E. W. Tramel and F. Krzakala, "Training restricted Boltzmann
       machines via the Thouless-Anderson-Palmer free energy", NIPS 2015.

    Examples
    --------
    Two hidden units without biases, one upon the other, have the mean
    (1 + e) / (3 + e) = 0.6503.

    >>> import numpy as np
    >>> from skdbm.inference import mean_field, second_order_fields
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine(
    ...     [np.zeros((1, 1)), np.ones((1, 1))], [np.zeros(1)] * 3
    ... )
    >>> first = mean_field(machine, np.ones((1, 1)), tol=1e-9).means
    >>> first[1].round(4)
    array([[0.659]])
    >>> fields = second_order_fields(machine, [np.ones((1, 1)), *first], n_sweeps=30)
    >>> machine.units[2].mean(fields[2]).round(4)
    array([[0.6491]])
    """
    squared = DeepBoltzmannMachine(
        [np.square(weight) for weight in machine.weights],
        [np.zeros_like(bias) for bias in machine.biases],
    )
    free, fixed, still = hidden_layers(machine), None, None
    if missing is None:  # what comes from the visible layer is fixed, without variance
        fixed = states[0] @ machine.weights[0] + machine.biases[1]
        still = squared.biases[1]
    else:
        free = [0, *free]
    unknown = np.False_ if missing is None else missing
    states = list(states)
    variances: list[Any] = [None] * machine.n_layers
    slopes: list[Any] = [None] * machine.n_layers

    def react(layer: int) -> None:
        variance, slopes[layer] = machine.units[layer].reaction(states[layer])
        variances[layer] = variance if layer else np.where(unknown, variance, 0)

    def field(layer: int) -> FloatArray:
        constant = fixed if layer == 1 else None
        return machine.field(layer, states, constant=constant)

    fields = {layer: field(layer) for layer in free}
    for layer in free:
        react(layer)
    for _ in range(n_sweeps):
        for layer in free:
            constant = still if layer == 1 else None
            noise = squared.field(layer, variances, constant=constant)
            target = field(layer) + slopes[layer] / 2 * noise
            fields[layer] += (target - fields[layer]) / 2
            mean = machine.units[layer].mean(fields[layer])
            states[layer] = mean if layer else np.where(unknown, mean, states[0])
            react(layer)
    return fields


def visible_means(
    machine: DeepBoltzmannMachine,
    given: Mapping[int, FloatArray],
    *,
    tol: float,
    max_iter: int,
    n_jobs: int | None = None,
) -> FloatArray:
    """Compute means of the visible units given means of some hidden layers.

    The lowest of the given layers is held and separates those above it from those
    below; mean field settles the layers below it, the visible one among them.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    given : dict of int to ndarray of shape (n_rows, n_l)
        Means of hidden layers, by their index, 1 being the lowest.
    tol : float
        A row has converged when a sweep changes none of its means by as much.
    max_iter : int
        Most sweeps.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    ndarray of shape (n_rows, n_0)
        Means of the visible units.

    Warns
    -----
    ConvergenceWarning
        If rows have not converged after `max_iter` sweeps, with their number.

    See Also
    --------
    mean_field : The other direction.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import visible_means
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> visible_means(machine, {1: np.array([[0.0, 1.0]])}, tol=1e-4, max_iter=9)
    array([[0.5       , 0.73105858]])
    """
    lowest = min(given)
    blocks = ops.row_blocks(len(given[lowest]), ops.INFERENCE_ROWS)
    parts: list[Any] = [None] * len(blocks)

    def solve(i: int) -> None:
        rows = np.array(given[lowest][blocks[i]])  # a copy, to be overwritten
        parts[i] = _solve_below(machine, lowest, rows, tol, max_iter)

    with ops.workers(n_jobs) as team:
        team.run([partial(solve, i) for i in range(len(blocks))])
    converged = np.concatenate([part[1] for part in parts])
    n_failed = int(np.count_nonzero(~converged))
    _warn_if_unconverged(n_failed, len(converged), tol, max_iter)
    return np.concatenate([part[0] for part in parts])


def _solve_below(
    machine: DeepBoltzmannMachine,
    held: int,
    rows: FloatArray,
    tol: float,
    max_iter: int,
) -> tuple[FloatArray, BoolArray]:
    """Run mean field over the layers below a held one; visible means, convergence."""
    states: list[Any] = [None] * machine.n_layers
    states[held] = rows
    # The start is one pass down, in which a layer that lacks the input from below
    # counts the input from above twice.
    for layer in range(held - 1, -1, -1):
        field = states[layer + 1] @ machine.weights[layer].T
        field *= 1 + (layer > 0)
        field += machine.biases[layer]
        states[layer] = machine.units[layer].mean(field, out=field)
    free = [*range(0, held, 2), *range(1, held, 2)]
    means, _, converged = _settle(machine, states, free, tol=tol, max_iter=max_iter)
    return means[0], converged


def posterior(
    machine: DeepBoltzmannMachine, visible: Rows, *, tol: float, max_iter: int
) -> MeanField:
    """Run mean field over whatever is not known in one block of rows.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    visible : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        Visible states, NaN where missing.
    tol : float
        Largest change of a mean in the last sweep of a converged row.
    max_iter : int
        Most sweeps.

    Returns
    -------
    MeanField
        Means, sweeps taken, and which rows converged; nothing warns of the others.

    See Also
    --------
    mean_field : Takes any number of rows, over threads, and warns.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import posterior
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> q = posterior(machine, np.array([[1.0, np.nan]]), tol=1e-4, max_iter=99)
    >>> q.visible.round(2)
    array([[1.  , 0.66]])
    """
    missing = missing_entries(visible)
    if missing is None:
        return _solve_complete(machine, visible, tol, max_iter)
    incomplete = missing.any(axis=1)
    parts = [
        _solve_complete(machine, visible[~incomplete], tol, max_iter),
        _solve_incomplete(
            machine, visible[incomplete], missing[incomplete], tol, max_iter
        ),
    ]
    order = np.argsort(np.argsort(incomplete, kind="stable"))

    def merge(*halves: npt.NDArray[Any]) -> npt.NDArray[Any]:
        merged: npt.NDArray[Any] = np.concatenate(halves)[order]
        return merged

    return MeanField(
        means=[merge(*pair) for pair in zip(*(p.means for p in parts), strict=True)],
        n_sweeps=merge(*(part.n_sweeps for part in parts)),
        converged=merge(*(part.converged for part in parts)),
        visible=merge(*(part.visible for part in parts)),
        missing=missing,
    )


def _solve_complete(
    machine: DeepBoltzmannMachine, visible: Rows, tol: float, max_iter: int
) -> MeanField:
    """Run mean field over the hidden layers of rows whose visible states are known."""
    constant = visible @ machine.weights[0]
    constant += machine.biases[1]
    n_rows = constant.shape[0]
    states = _start_above(machine, constant)
    if machine.n_layers == 2:  # one hidden layer: the posterior is exact
        once, always = np.ones(n_rows, int), np.ones(n_rows, bool)
        return MeanField(states[1:], once, always, visible, None)
    free = hidden_layers(machine)
    means, n_sweeps, converged = _settle(
        machine, states, free, tol=tol, max_iter=max_iter, constant=constant
    )
    hidden = [means[layer] for layer in sorted(free)]
    return MeanField(hidden, n_sweeps, converged, visible, None)


def _solve_incomplete(
    machine: DeepBoltzmannMachine,
    visible: FloatArray,
    missing: BoolArray,
    tol: float,
    max_iter: int,
) -> MeanField:
    """Run mean field over the hidden layers and the visible states that are missing."""
    visible, known = fill_missing(machine, visible, missing), ~missing
    constant = visible @ machine.weights[0]
    constant += machine.biases[1]
    states = _start_above(machine, constant)
    states[0] = visible.astype(constant.dtype)
    free = [0, *hidden_layers(machine)]
    means, n_sweeps, converged = _settle(
        machine, states, free, tol=tol, max_iter=max_iter, held=(known, visible)
    )
    hidden = [means[layer] for layer in sorted(free)[1:]]
    return MeanField(hidden, n_sweeps, converged, means[0], missing)


def fill_missing(
    machine: DeepBoltzmannMachine, visible: FloatArray, missing: BoolArray
) -> FloatArray:
    """Put the means of free units where visible states are missing: a start.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    visible : ndarray of shape (n_rows, n_0)
        Visible states.
    missing : ndarray of bool of the same shape
        Which of them are missing.

    Returns
    -------
    ndarray of shape (n_rows, n_0)
        The states without gaps.

    See Also
    --------
    missing_entries : Finds the gaps.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import fill_missing
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> fill_missing(machine, np.array([[1.0, np.nan]]), np.array([[False, True]]))
    array([[1. , 0.5]])
    """
    bias = machine.biases[0].astype(visible.dtype)
    return np.where(missing, machine.units[0].mean(bias[None]), visible)


def _start_above(machine: DeepBoltzmannMachine, constant: FloatArray) -> list[Any]:
    """Make states of which the hidden layers come from one pass from below."""
    sizes = machine.layer_sizes[1:]
    states: list[Any] = [None]
    states += [np.zeros((len(constant), size), constant.dtype) for size in sizes]
    bottom_up(machine, states, constant)
    return states


def _settle(
    machine: DeepBoltzmannMachine,
    states: States,
    free: Sequence[int],
    *,
    tol: float,
    max_iter: int,
    constant: FloatArray | None = None,
    held: tuple[BoolArray, FloatArray] | None = None,
) -> tuple[dict[int, FloatArray], IntArray, BoolArray]:
    """Sweep over the free layers until every row has stopped.

    Gives the means of the free layers, the sweeps that each row took, and whether it
    converged. A row is read off at the sweep at which it stops. Rows that have stopped
    leave the active block a few at a time: rows from the end take their places, so all
    arrays that are passed are overwritten.
    """
    states = list(states)
    results = {layer: np.empty_like(states[layer]) for layer in free}
    before = {layer: np.empty_like(states[layer]) for layer in free}
    scratch = [None if state is None else np.empty_like(state) for state in states]
    rows = np.arange(len(states[free[0]]))  # which row stands where in the block
    stopped = np.zeros(len(rows), bool)
    n_sweeps = np.full(len(rows), max_iter)
    converged = np.ones(len(rows), bool)

    def read_off(which: BoolArray) -> None:
        for layer in free:
            results[layer][rows[which]] = states[layer][which]

    for n_done in range(1, max_iter + 1):
        for layer in free:  # the old means stay, the new ones go where older ones were
            states[layer], before[layer] = before[layer], states[layer]
            sweep(machine, states, [layer], scratch, constant, held)
        finished = ~stopped & _settled(states, before, tol)
        read_off(finished)
        n_sweeps[rows[finished]] = n_done
        stopped |= finished
        if stopped.all():
            break
        if np.count_nonzero(stopped) >= LEAVING_ROWS:
            rows = _close_up(rows, stopped)
            if constant is not None:
                constant = _close_up(constant, stopped)
            if held is not None:
                held = _close_up(held[0], stopped), _close_up(held[1], stopped)
            states = [s if s is None else _close_up(s, stopped) for s in states]
            before = {layer: old[: len(rows)] for layer, old in before.items()}
            scratch = [None if room is None else room[: len(rows)] for room in scratch]
            stopped = np.zeros(len(rows), bool)
    read_off(~stopped)
    converged[rows[~stopped]] = False
    return results, n_sweeps, converged


def _close_up(array: npt.NDArray[Any], stopped: BoolArray) -> npt.NDArray[Any]:
    """Put rows from the end where others have stopped; what is left, a view."""
    n_left = np.count_nonzero(~stopped)
    array[np.flatnonzero(stopped[:n_left])] = array[n_left:][~stopped[n_left:]]
    return array[:n_left]


def _settled(states: States, before: Mapping[int, FloatArray], tol: float) -> BoolArray:
    """Say in which rows no mean has changed by `tol` or more; overwrites `before`.

    The narrowest layer first: a row that has changed there is not looked at any more.
    """
    settled = np.ones(len(next(iter(before.values()))), bool)
    for layer, old in sorted(before.items(), key=lambda item: item[1].shape[1]):
        new = states[layer]
        if settled.all():
            change = np.subtract(new, old, out=old)
        else:
            change = new[settled] - old[settled]
        settled[settled] = np.abs(change, out=change).max(axis=1, initial=0) < tol
    return settled


def _warn_if_unconverged(n_failed: int, n_rows: int, tol: float, max_iter: int) -> None:
    """Say how many rows did not converge, if there are any."""
    if n_failed:
        warn(
            f"Mean field: {n_failed} of {n_rows} rows did not converge to tol={tol:g} "
            f"within {max_iter} sweeps. Raise mean_field_max_iter or mean_field_tol.",
            ConvergenceWarning,
        )
