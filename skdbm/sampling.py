"""Gibbs sweeps: even layers given the odd ones, then odd given even.

The layers form a chain, so those of one parity are independent given the other
parity and are drawn together exactly. (Drawing all layers at once from the previous
states leaves every layer's own means right and every pair of neighbours wrong.)
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from . import ops
from ._typing import BoolArray, Columns, FloatArray, Rng
from .machine import DeepBoltzmannMachine

_States = TypeVar("_States", bound=Sequence[FloatArray])


def initial_states(
    machine: DeepBoltzmannMachine, n_rows: int, rng: Rng
) -> list[FloatArray]:
    """Draw every layer by itself from its biases, as if all weights were zero.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    n_rows : int
        Number of chains.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    list of L + 1 ndarrays of shape (n_rows, n_l)
        States of every layer.

    See Also
    --------
    gibbs_sweeps : Moves such states towards the machine's distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import initial_states
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> [s.shape for s in initial_states(machine, 5, np.random.default_rng(0))]
    [(5, 2), (5, 2)]
    """
    return [
        unit.sample(np.tile(bias, (n_rows, 1)), rng)
        for unit, bias in zip(machine.units, machine.biases, strict=True)
    ]


def gibbs_sweeps(
    machine: DeepBoltzmannMachine,
    states: _States,
    n_sweeps: int,
    rng: Rng,
    *,
    clamped_layers: Collection[int] = (),
    clamped_columns: Columns | None = None,
) -> _States:
    """Advance Gibbs chains in place by whole sweeps.

    One sweep draws the even layers given the odd ones, then the odd layers given the
    even ones. What is clamped keeps its state, so that the chains tend to the
    machine's distribution given it.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_rows, n_l)
        States of every layer, one chain a row; overwritten.
    n_sweeps : int
        Number of sweeps.
    rng : numpy.random.Generator
        Source of the draws.
    clamped_layers : collection of int, default=()
        Layers that keep their states.
    clamped_columns : index into the visible columns, default=None
        Visible units that keep their states: a boolean mask, indices or a slice, or a
        boolean mask of shape (n_rows, n_0), another one for each row. Groups of units,
        as of a category, are clamped as a whole.

    Returns
    -------
    list of ndarray
        The argument `states`.

    See Also
    --------
    chains : Many chains over threads.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import gibbs_sweeps, initial_states
    >>> machine = DeepBoltzmannMachine([9 * np.eye(2)], [np.zeros(2), np.full(2, -4)])
    >>> rng = np.random.default_rng(0)
    >>> states = initial_states(machine, 1000, rng)
    >>> v, h = gibbs_sweeps(machine, states, 10, rng)
    >>> bool(np.mean(v == h) > 0.9)  # strong couplings make them agree
    True
    """
    scratch = [np.empty_like(state) for state in states]
    totals = machine.units[0].totals(states[0])
    if totals is not None and clamped_columns is not None:
        raise ValueError(
            f"{machine.units[0]!r} units share a total; they can only be clamped all "
            "together, by clamped_layers=[0]."
        )
    machine = machine.with_totals(totals)
    clamped = _mask(clamped_columns, states[0].shape)
    kept = None if clamped is None else states[0].copy()
    for _ in range(n_sweeps):
        for parity in (0, 1):
            draw_parity(machine, states, parity, rng, scratch, clamped_layers)
            if parity == 0 and kept is not None:
                np.copyto(states[0], kept, where=clamped)
    return states


def _mask(columns: Columns | None, shape: tuple[int, ...]) -> BoolArray | None:
    """Turn an index of visible columns into a mask; a mask for each row stays."""
    if columns is None:
        return None
    if not isinstance(columns, slice) and np.ndim(columns) == 2:
        return np.asarray(columns)
    mask = np.zeros((1, shape[1]), bool)
    mask[:, columns] = True
    return mask


def draw_parity(
    machine: DeepBoltzmannMachine,
    states: Sequence[FloatArray],
    parity: int,
    rng: Rng,
    scratch: Sequence[FloatArray],
    clamped_layers: Collection[int] = (),
    constant: FloatArray | None = None,
) -> None:
    """Draw all layers of one parity in place, given the other parity.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_rows, n_l)
        States of every layer; those of the parity are overwritten.
    parity : int
        0 for the even layers, the visible one among them, 1 for the odd ones.
    rng : numpy.random.Generator
        Source of the draws.
    scratch : list of L + 1 ndarrays of shape (n_rows, n_l)
        Room for intermediate values.
    clamped_layers : collection of int, default=()
        Layers that keep their states.
    constant : ndarray of shape (n_rows, n_1), default=None
        The part of the first hidden layer's field that is fixed, b_1 + v W_0, if the
        visible layer is.

    See Also
    --------
    gibbs_sweeps : Whole sweeps.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import draw_parity
    >>> machine = DeepBoltzmannMachine([99 * np.eye(2)], [np.zeros(2), np.full(2, -9)])
    >>> states, scratch = [np.eye(2), np.zeros((2, 2))], [np.zeros((2, 2))] * 2
    >>> draw_parity(machine, states, 1, np.random.default_rng(0), scratch)
    >>> states[1]
    array([[1., 0.],
           [0., 1.]])
    """
    for layer in range(parity, machine.n_layers, 2):
        if layer in clamped_layers:
            continue
        field = machine.field(
            layer,
            states,
            constant=constant if layer == 1 else None,
            out=states[layer],
            scratch=scratch[layer],
        )
        machine.units[layer].sample(field, rng, out=field, scratch=scratch[layer])


def chains(
    machine: DeepBoltzmannMachine,
    states: _States,
    n_sweeps: int,
    seed: np.random.SeedSequence,
    *,
    clamped_columns: Columns | None = None,
    n_jobs: int | None = None,
) -> _States:
    """Advance many chains in place, in blocks of rows over threads.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_rows, n_l)
        States of every layer, one chain a row; overwritten.
    n_sweeps : int
        Number of sweeps.
    seed : numpy.random.SeedSequence
        Every block of chains draws from a stream of its own spawned from it.
    clamped_columns : index into the visible columns, default=None
        Visible units that keep their states, as in `gibbs_sweeps`.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    list of ndarray
        The argument `states`.

    See Also
    --------
    gibbs_sweeps : What is done to a block.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import chains, initial_states
    >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> states = initial_states(machine, 300, np.random.default_rng(0))
    >>> v, h = chains(machine, states, 10, np.random.SeedSequence(0))
    >>> v.shape
    (300, 2)
    """
    blocks = ops.row_blocks(len(states[0]), ops.TRAINING_ROWS)
    streams = [ops.generator(child) for child in seed.spawn(len(blocks))]
    mask = _mask(clamped_columns, states[0].shape)
    by_row = None if mask is None else np.broadcast_to(mask, states[0].shape)

    def advance(block: slice, rng: Rng) -> None:
        clamped = None if by_row is None else by_row[block]
        part = [state[block] for state in states]
        gibbs_sweeps(machine, part, n_sweeps, rng, clamped_columns=clamped)

    with ops.workers(n_jobs) as team:
        team.run(
            [
                partial(advance, block, rng)
                for block, rng in zip(blocks, streams, strict=True)
            ]
        )
    return states


def conditional_means(
    machine: DeepBoltzmannMachine,
    states: Sequence[FloatArray],
    known: BoolArray,
    *,
    burn_in: int,
    n_sweeps: int,
    seed: np.random.SeedSequence,
    n_jobs: int | None = None,
) -> FloatArray:
    """Average the means of the visible units over Gibbs sweeps given known ones.

    The mean given the hidden units replaces the draw in the average, which has the
    same expectation and less variance.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_rows, n_l)
        States of every layer, one chain a row; overwritten.
    known : ndarray of bool of shape (n_rows, n_0)
        Visible states that are clamped.
    burn_in : int
        Sweeps before the average begins.
    n_sweeps : int
        Sweeps that are averaged, at least 1.
    seed : numpy.random.SeedSequence
        Every block of chains draws from a stream of its own spawned from it.
    n_jobs : int, default=None
        Threads; None means as many as the BLAS library would use here. The result is
        the same for every number.

    Returns
    -------
    ndarray of shape (n_rows, n_0)
        Averages, float64, with the known states where they are known.

    See Also
    --------
    chains : Draws instead of averages.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import conditional_means
    >>> machine = DeepBoltzmannMachine([[[9.0], [9.0]]], [[-4.5, -4.5], [-9.0]])
    >>> states = [np.array([[1.0, 0.0]]), np.zeros((1, 1))]
    >>> known = np.array([[True, False]])
    >>> seed = np.random.SeedSequence(0)
    >>> means = conditional_means(
    ...     machine, states, known, burn_in=100, n_sweeps=1000, seed=seed
    ... )
    >>> bool(means[0, 1] > 0.4)
    True
    """
    blocks = ops.row_blocks(len(states[0]), ops.TRAINING_ROWS)
    streams = [ops.generator(child) for child in seed.spawn(len(blocks))]
    total = np.zeros(states[0].shape)

    def advance(block: slice, rng: Rng) -> None:
        part = [state[block] for state in states]
        clamped = known[block]
        gibbs_sweeps(machine, part, burn_in, rng, clamped_columns=clamped)
        for _ in range(n_sweeps):
            gibbs_sweeps(machine, part, 1, rng, clamped_columns=clamped)
            total[block] += machine.units[0].mean(machine.field(0, part))

    with ops.workers(n_jobs) as team:
        team.run(
            [
                partial(advance, block, rng)
                for block, rng in zip(blocks, streams, strict=True)
            ]
        )
    return np.where(known, states[0], total / n_sweeps)
