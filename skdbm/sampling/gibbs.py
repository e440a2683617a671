"""Gibbs sweeps: even layers given the odd ones, then odd given even.

Layers of one parity are independent given the others and are drawn together exactly.
(Drawn all at once, layers have the right means, and all pairs of neighbours are wrong.)
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from .. import ops
from .._typing import FloatArray, Rng, Seed, States
from ..evidence import NOTHING, Conditional, Evidence
from ..machine import DeepBoltzmannMachine

_Result = TypeVar("_Result")
_States = TypeVar("_States", bound=Sequence[FloatArray])
_Sweeps = Callable[[int], None]  # makes so many sweeps


def initial_states(
    machine: DeepBoltzmannMachine, n_rows: int, random_state: Seed | Rng = None
) -> list[FloatArray]:
    """Draw every layer by itself from its biases, as if all weights were zero.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    n_rows : int
        Number of chains.
    random_state : None, int, SeedSequence or Generator, default=None
        Seed of the draws.

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
    >>> [state.shape for state in initial_states(machine, 5, random_state=0)]
    [(5, 2), (5, 2)]
    """
    rng = ops.generator(random_state)
    return [
        unit.sample(ops.tile(bias, (n_rows, 1)), rng)
        for unit, bias in zip(machine.units, machine.biases, strict=True)
    ]


def gibbs_sweeps(
    machine: DeepBoltzmannMachine,
    states: _States,
    n_sweeps: int,
    *,
    evidence: Evidence | None = None,
    random_state: Seed | Rng = None,
    n_jobs: int | None = None,
) -> _States:
    """Advance Gibbs chains in place by whole sweeps.

    One sweep draws the even layers, then the odd ones, each given the others. What is
    known keeps its state: the chains tend to the machine's distribution given it.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    states : list of L + 1 ndarrays of shape (n_rows, n_l)
        States of every layer, one chain a row; overwritten.
    n_sweeps : int
        Number of sweeps.
    evidence : Evidence, default=None
        What is known of each chain, which is put into `states`; None means nothing.
    random_state : None, int, SeedSequence or Generator, default=None
        Seed of the draws; every block of chains has a stream of its own.
    n_jobs : int, default=None
        Threads; None means as many as BLAS would use here. It changes no result.

    Returns
    -------
    list of ndarray
        The argument `states`. A ValueError says if only a part of visible units that
        share a total is known.

    See Also
    --------
    conditional_means : Averages instead of draws.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.evidence import Evidence
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import gibbs_sweeps, initial_states
    >>> machine = DeepBoltzmannMachine([9 * np.eye(2)], [np.zeros(2), np.full(2, -4)])
    >>> states = initial_states(machine, 1000, random_state=0)
    >>> v, h = gibbs_sweeps(machine, states, 10, random_state=1)
    >>> bool(np.mean(v == h) > 0.9)  # strong couplings make them agree
    True
    >>> evidence = Evidence.of_rows(np.tile([1, np.nan], (1000, 1)))  # the first is on
    >>> v, h = gibbs_sweeps(machine, states, 10, evidence=evidence, random_state=2)
    >>> v[:, 0].mean(), bool(h[:, 0].mean() > 0.9)
    (np.float64(1.0), True)
    """

    _over_blocks(
        machine,
        states,
        evidence or NOTHING,
        random_state,
        n_jobs,
        lambda given, part, sweep: sweep(n_sweeps),
    )
    return states


def conditional_means(
    machine: DeepBoltzmannMachine,
    states: Sequence[FloatArray],
    evidence: Evidence,
    *,
    burn_in: int,
    n_sweeps: int,
    random_state: Seed | Rng = None,
    n_jobs: int | None = None,
) -> FloatArray:
    """Average the means of the visible units over Gibbs sweeps given what is known.

    The mean given the hidden units replaces the draw in the average, which has the
    same expectation and less variance.

    Parameters
    ----------
    machine, states, evidence : see `gibbs_sweeps`
        As for `gibbs_sweeps`.
    burn_in, n_sweeps : int
        Sweeps before the average begins, and those that are averaged, at least 1.
    random_state, n_jobs : see `gibbs_sweeps`
        As for `gibbs_sweeps`.

    Returns
    -------
    ndarray of shape (n_rows, n_0)
        Averages, float64, with the known states where they are known.

    See Also
    --------
    gibbs_sweeps : Draws instead of averages.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.evidence import Evidence
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.sampling import conditional_means
    >>> machine = DeepBoltzmannMachine([[[9.0], [9.0]]], [[-4.5, -4.5], [-9.0]])
    >>> states = [np.array([[1.0, 0.0]]), np.zeros((1, 1))]
    >>> evidence = Evidence.of_rows(np.array([[1.0, np.nan]]))
    >>> means = conditional_means(
    ...     machine, states, evidence, burn_in=100, n_sweeps=1000, random_state=0
    ... )
    >>> bool(means[0, 1] > 0.4)
    True
    """

    def average(
        given: Conditional, part: list[FloatArray], sweep: _Sweeps
    ) -> FloatArray:
        total = ops.zeros(part[0].shape)
        sweep(burn_in)
        for _ in range(n_sweeps if 0 in given.free else 0):
            sweep(1)
            total += given.machine.units[0].mean(given.field(0, part))
        total /= n_sweeps
        given.hold(0, [total])
        return total

    parts = _over_blocks(machine, states, evidence, random_state, n_jobs, average)
    return ops.concatenate(parts)


def draw(
    given: Conditional,
    states: States,
    layers: Collection[int],
    rng: Rng,
    scratch: States,
) -> None:
    """Draw the free ones among these layers in place, given the others."""
    for layer in layers:
        if layer in given.free:
            field = given.field(layer, states, states[layer], scratch[layer])
            unit = given.machine.units[layer]
            unit.sample(field, rng, out=field, scratch=scratch[layer])
            given.hold(layer, states)


def _over_blocks(
    machine: DeepBoltzmannMachine,
    states: Sequence[FloatArray],
    evidence: Evidence,
    random_state: Seed | Rng,
    n_jobs: int | None,
    function: Callable[[Conditional, list[FloatArray], _Sweeps], _Result],
) -> list[_Result]:
    """Call ``function(given, states, sweep)`` on blocks of chains over threads."""
    most = ops.most_chains(sum(machine.layer_sizes), ops.TRAINING_ROWS)
    blocks = ops.row_blocks(len(states[0]), most)
    streams = ops.streams(ops.seed_sequence(random_state), len(blocks))
    partial = 0 in evidence.layers and evidence.missing(0) is not None
    if partial and machine.units[0].totals(states[0]) is not None:
        raise ValueError(
            f"{machine.units[0]!r} units share a total; they can only be known all "
            "together."
        )

    def solve(block: slice, rng: Rng) -> _Result:
        part = [state[block] for state in states]
        totals = machine.units[0].totals(part[0])
        given = Conditional(machine.with_totals(totals), evidence[block])
        for layer in given.known:
            given.hold(layer, part)
        scratch = [ops.empty_like(state) for state in part]

        def sweep(n_sweeps: int) -> None:
            for _ in range(n_sweeps):
                for parity in (0, 1):
                    draw(given, part, range(parity, len(part), 2), rng, scratch)

        return function(given, part, sweep)

    with ops.workers(n_jobs) as team:
        return team.map(solve, blocks, streams)
