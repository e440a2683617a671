"""Where a machine may have its modes: centres of groups of rows, and the likeliest.

Chains that are annealed from all over may come by a mode too seldom, or not at all;
those that begin near it stay there.
"""

from collections.abc import Sequence

from scipy.cluster.vq import vq
from sklearn.cluster import kmeans_plusplus

from .. import ops
from .._typing import FloatArray
from ..evidence import Conditional, Evidence
from ..inference.mean_field import posterior
from ..machine import DeepBoltzmannMachine
from .bounds import unnormalised_bound

#: Mean-field sweeps of the rows: rough means will do, and a rough bound tells the modes
#: apart.
SWEEPS = 5

#: Most groups, the least rows for each of them, and the steps to find them.
GROUPS, ROWS_PER_GROUP, STEPS = 10, 20, 10


def centres_of_rows(
    machine: DeepBoltzmannMachine, evidence: Evidence
) -> list[FloatArray]:
    """Means of all layers over groups of rows, and last over the likeliest."""
    layers = _layers(machine, evidence)
    groups, likeliest = centres_of_states(layers), _likeliest(machine, evidence, layers)
    return [
        ops.concatenate([group, mean[None]])
        for group, mean in zip(groups, likeliest, strict=True)
    ]


def centres_of_states(
    layers: Sequence[FloatArray],
    most: int = GROUPS,
    known: FloatArray | None = None,
) -> list[FloatArray]:
    """Means of all layers over groups of states whose visible units are alike.

    By k-means, of distinct states alone: groups shall be where they are, be it by few.
    Beside `known` centres of visible units groups are of states unlike these.
    """
    distinct, first = ops.unique(layers[0], axis=0, return_index=True)
    n_groups, far = min(most, max(1, len(distinct) // ROWS_PER_GROUP)), None
    if known is None:
        known = distinct[:0]
    else:  # seeds are far from each other, and by these weights from the known
        known = known.astype(distinct.dtype)
        far = vq(distinct, known)[1] ** 2 + ops.finfo(known.dtype).tiny
    centres, _ = kmeans_plusplus(distinct, n_groups, sample_weight=far, random_state=0)
    for _ in range(STEPS):
        groups = vq(distinct, ops.concatenate([known, centres]))[0] - len(known)
        # A group that all have left is none.
        members = [groups == group for group in ops.unique(groups[groups >= 0])]
        if not members:
            return [layer[:0] for layer in layers]
        centres = ops.stack([distinct[some].mean(axis=0) for some in members])
    return [
        ops.stack([layer[first[some]].mean(axis=0) for some in members])
        for layer in layers
    ]


def means_of_likeliest(
    machine: DeepBoltzmannMachine, evidence: Evidence
) -> list[FloatArray]:
    """Means of all layers over rows that count by their p*.

    Where the mode of a few has grown beyond all others, it is these rows that count.
    """
    return _likeliest(machine, evidence, _layers(machine, evidence))


def _layers(machine: DeepBoltzmannMachine, evidence: Evidence) -> list[FloatArray]:
    """Means of all layers given the rows."""
    given = posterior(machine, evidence, tol=0, max_iter=SWEEPS)
    return [ops.dense(given.visible), *given.means]


def _likeliest(
    machine: DeepBoltzmannMachine, evidence: Evidence, layers: Sequence[FloatArray]
) -> list[FloatArray]:
    """Mean of each layer, where rows count by their p*."""
    log_weights = unnormalised_bound(Conditional(machine, evidence), layers)
    shares = ops.exp(log_weights - log_weights.max())
    shares /= shares.sum()
    return [shares.astype(layer.dtype) @ layer for layer in layers]
