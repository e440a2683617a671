"""Mean field: machine and evidence to posterior means of everything else.

The posterior of what is not known is approximated by independent units, whose means
solve

    m_l = A'(b_l + m_{l-1} W_{l-1} + m_{l+1} W_l^T),    m = s where s is known,

found by updating the even layers given the odd ones and the other way round. Layers
of one parity do not interact, so every half sweep raises the variational bound.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sklearn.exceptions import ConvergenceWarning

from .. import ops
from .._typing import BoolArray, FloatArray, IntArray, Rows, States
from .._warnings import warn
from ..encodings.rows import EncodedRows
from ..evidence import Completions, Conditional, Evidence, filled
from ..machine import DeepBoltzmannMachine

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
        Means of every hidden layer; states where they are known.
    n_sweeps : ndarray of int of shape (n_rows,)
        Sweeps that each row took.
    converged : ndarray of bool of shape (n_rows,)
        Whether the last sweep of the row changed no mean by `tol` or more.
    visible : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
        The visible states, with means where they were missing.
    missing : ndarray of bool of shape (n_rows, n_0), or None
        Which visible states were missing, or known together only; None if none was.

    See Also
    --------
    mean_field : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.inference import mean_field
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> mean_field(machine, np.array([[0.0, 1.0]])).converged
    array([ True])
    """

    means: list[FloatArray]
    n_sweeps: IntArray
    converged: BoolArray
    visible: Rows
    missing: BoolArray | None


def mean_field(
    machine: DeepBoltzmannMachine,
    X: Rows | Evidence,
    *,
    tol: float = 1e-4,
    max_iter: int = 500,
    n_jobs: int | None = None,
) -> MeanField:
    """Compute the mean-field means of all units given what is known.

    The start is one pass outwards from what is known, in which a layer that lacks one
    of its inputs counts the other one twice [1]_. Each row stops by itself, at the
    first sweep that changes none of its means by `tol` or more, so its result does not
    depend on the rows beside it.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    X : {ndarray, CSR matrix or array} of shape (n_rows, n_0), or Evidence
        Visible states, NaN where missing; or what is known of any layers.
    tol : float, default=1e-4
        Largest change of a mean in the last sweep of a converged row. Trained MNIST
        machines reach 1e-4 after 10 to 40 sweeps, 1e-9 after 90 to 250.
    max_iter : int, default=500
        Most sweeps.
    n_jobs : int, default=None
        Threads; None means as many as BLAS would use here. It changes no result.

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

    References
    ----------
    .. [1] R. Salakhutdinov and H. Larochelle, "Efficient learning of deep Boltzmann
       machines", AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.evidence import Evidence
    >>> from skdbm.inference import mean_field
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine([np.eye(2)] * 2, [np.zeros(2)] * 3)
    >>> states = np.array([[0.0, 1.0]])
    >>> mean_field(machine, states, tol=1e-8).means[0].round(4)
    array([[0.659 , 0.8455]])
    >>> # The other way, visible means given the first hidden layer:
    >>> mean_field(machine, Evidence({1: (states, None)})).visible.round(4)
    array([[0.5   , 0.7311]])
    """
    evidence = X if isinstance(X, Evidence) else Evidence.of_rows(X)
    parts = map_posterior(
        machine,
        evidence,
        lambda block, part, start: part,
        tol=tol,
        max_iter=max_iter,
        n_jobs=n_jobs,
    )
    return _joined(evidence, parts)


def map_posterior(
    machine: DeepBoltzmannMachine,
    X: Any,
    function: Callable[[Evidence, MeanField, int], _Result],
    *,
    tol: float,
    max_iter: int,
    n_jobs: int | None = None,
) -> list[_Result]:
    """Call ``function(evidence, mean_field, start)`` on blocks of rows over threads."""
    # X is Evidence, or gives some, or visible states, for a slice of rows.
    if not isinstance(X, (Evidence, EncodedRows, Completions)):
        X = ops.rows(X)
    n_rows = X.n_rows if hasattr(X, "n_rows") else X.shape[0]

    def solve(block: slice) -> tuple[_Result, int]:
        rows = X[block]
        evidence = rows if isinstance(rows, Evidence) else Evidence.of_rows(rows)
        part = posterior(machine, evidence, tol=tol, max_iter=max_iter)
        n_failed = int(ops.count_nonzero(~part.converged))
        return function(evidence, part, block.start), n_failed

    with ops.workers(n_jobs) as team:
        solved = team.map(solve, ops.row_blocks(n_rows, ops.INFERENCE_ROWS))
    n_failed = sum(n for _, n in solved)
    if n_failed:
        warn(
            f"Mean field: {n_failed} of {n_rows} rows did not converge to tol={tol:g} "
            f"within {max_iter} sweeps. Raise max_iter or tol (of estimators: "
            "mean_field_max_iter and mean_field_tol of their Likelihood).",
            ConvergenceWarning,
        )
    return [result for result, _ in solved]


def posterior(
    machine: DeepBoltzmannMachine, evidence: Evidence, *, tol: float, max_iter: int
) -> MeanField:
    """Run mean field in one block of rows, without a warning of any."""
    # Rows of which nothing is missing go by themselves: they have fewer free layers.
    complete = ops.ones(evidence.n_rows, bool)
    for _, known in evidence.layers.values():
        complete &= True if known is None else known.all(axis=1)
    if complete.all() or not complete.any():
        return _solve(machine, evidence, tol, max_iter)
    halves = [
        _solve(machine, evidence[rows], tol, max_iter) for rows in (complete, ~complete)
    ]
    return _joined(evidence, halves, ops.argsort(ops.argsort(~complete, kind="stable")))


def _joined(
    evidence: Evidence, parts: Sequence[MeanField], order: Any = slice(None)
) -> MeanField:
    """Put blocks of rows one after the other, and take the rows in this order."""

    def join(arrays: Iterable[Any]) -> Any:
        return ops.concatenate(list(arrays))[order]

    missing = _missing(evidence, (evidence.n_rows, parts[0].visible.shape[1]))
    visible = (
        evidence.layers[0][0]
        if missing is None
        else join(ops.dense(part.visible) for part in parts)
    )
    return MeanField(
        [join(layer) for layer in zip(*(part.means for part in parts), strict=True)],
        join(part.n_sweeps for part in parts),
        join(part.converged for part in parts),
        visible,
        missing,
    )


def _solve(
    machine: DeepBoltzmannMachine, evidence: Evidence, tol: float, max_iter: int
) -> MeanField:
    """Run mean field over rows that are treated alike."""
    given, n_rows = Conditional(machine, evidence), evidence.n_rows
    states: dict[int, Any] = {
        layer: ops.zeros((n_rows, machine.layer_sizes[layer]), machine.dtype)
        for layer in given.free
    }
    states |= filled(machine, evidence)
    scratch = {layer: ops.empty_like(state) for layer, state in states.items()}
    if any(given.inputs.values()):
        start(given, states, scratch)
        means, n_sweeps, converged = _settle(given, states, scratch, tol, max_iter)
    else:  # what is free is independent given the rest: the posterior is exact
        sweep(given, states, given.free, scratch)
        means, n_sweeps = states, ops.ones(n_rows, int)
        converged = ops.ones(n_rows, bool)
    means |= {layer: given.known[layer][0] for layer in {*given.known} - {*means}}
    hidden = [ops.dense(means[layer]) for layer in range(1, machine.n_layers)]
    missing = _missing(evidence, means[0].shape)
    return MeanField(hidden, n_sweeps, converged, means[0], missing)


def _missing(evidence: Evidence, shape: tuple[int, int]) -> BoolArray | None:
    """Which visible states are missing; all of them if the evidence has none."""
    return evidence.missing(0) if 0 in evidence.layers else ops.ones(shape, bool)


def start(given: Conditional, states: States, scratch: States) -> None:
    """Fill layers of which nothing is known by one pass outwards from the others."""
    # A layer that lacks one of its two inputs counts the other one twice. An even layer
    # at an end is left out: the first sweep begins with it.
    machine, reached = given.machine, set(given.known)
    ends = (0, machine.n_layers - 1)

    def distance(layer: int) -> int:
        return min((abs(layer - known) for known in given.known), default=0)

    for layer in sorted(set(range(machine.n_layers)) - reached, key=distance):
        if layer in ends and layer % 2 == 0:
            continue
        field = given.field(layer, states, states[layer], scratch[layer], reached)
        if any(neighbour not in reached for neighbour, _ in machine.neighbours(layer)):
            field *= 2
            field -= machine.biases[layer]
        machine.units[layer].mean(field, out=field)
        reached.add(layer)


def sweep(
    given: Conditional, states: States, layers: Sequence[int], scratch: States
) -> None:
    """Update the means of some free layers in place, one after the other."""
    for layer in layers:
        field = given.field(layer, states, states[layer], scratch[layer])
        given.machine.units[layer].mean(field, out=field)
        given.hold(layer, states)


def _settle(
    given: Conditional,
    states: dict[int, FloatArray],
    scratch: dict[int, FloatArray],
    tol: float,
    max_iter: int,
) -> tuple[dict[int, FloatArray], IntArray, BoolArray]:
    """Sweep until every row has stopped: means, sweeps, and which rows converged."""
    # A row is read off at the sweep at which it stops. Rows that have stopped leave the
    # active block a few at a time: rows from the end take their places.
    given = given.map_rows(ops.array)  # copies, which are overwritten
    results = {layer: ops.empty_like(state) for layer, state in states.items()}
    before = {layer: ops.empty_like(state) for layer, state in states.items()}
    rows = ops.arange(len(states[given.free[0]]))  # which row stands where in the block
    stopped = ops.zeros(len(rows), bool)
    n_sweeps = ops.full(len(rows), max_iter)
    converged = ops.ones(len(rows), bool)

    def read_off(which: BoolArray) -> None:
        for layer, result in results.items():
            result[rows[which]] = states[layer][which]

    for n_done in range(1, max_iter + 1):
        for (
            layer
        ) in given.free:  # the old means stay, new ones go where older ones were
            states[layer], before[layer] = before[layer], states[layer]
            sweep(given, states, [layer], scratch)
        finished = ~stopped & _settled(states, before, tol)
        read_off(finished)
        n_sweeps[rows[finished]] = n_done
        stopped |= finished
        if stopped.all():
            break
        if ops.count_nonzero(stopped) >= LEAVING_ROWS:
            close_up = partial(_close_up, stopped=stopped)
            rows, given = close_up(rows), given.map_rows(close_up)
            for layer in given.free:
                states[layer] = close_up(states[layer])
                before[layer] = before[layer][: len(rows)]
                scratch[layer] = scratch[layer][: len(rows)]
            stopped = ops.zeros(len(rows), bool)
    read_off(~stopped)
    converged[rows[~stopped]] = False
    return results, n_sweeps, converged


def _close_up(array: Any, stopped: BoolArray) -> Any:
    """Put rows from the end where others have stopped; what is left, a view."""
    n_left = ops.count_nonzero(~stopped)
    array[ops.flatnonzero(stopped[:n_left])] = array[n_left:][~stopped[n_left:]]
    return array[:n_left]


def _settled(
    states: Mapping[int, FloatArray], before: Mapping[int, FloatArray], tol: float
) -> BoolArray:
    """Say in which rows no mean has changed by `tol` or more; overwrites `before`."""
    # The narrowest layer first: a row that has changed there is not looked at any more.
    settled = ops.ones(len(next(iter(before.values()))), bool)
    for layer, old in sorted(before.items(), key=lambda item: item[1].shape[1]):
        new = states[layer]
        if settled.all():
            change = ops.subtract(new, old, out=old)
        else:
            change = new[settled] - old[settled]
        settled[settled] = ops.abs(change, out=change).max(axis=1, initial=0) < tol
    return settled
