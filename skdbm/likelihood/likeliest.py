"""Where among some rows a machine has most of its probability."""

from .. import ops
from .._typing import FloatArray
from ..evidence import Conditional, Evidence
from ..inference.mean_field import posterior
from ..machine import DeepBoltzmannMachine
from .bounds import unnormalised_bound

#: Mean-field sweeps of the rows: a rough bound tells the modes apart.
SWEEPS = 5


def means_of_likeliest(
    machine: DeepBoltzmannMachine, evidence: Evidence
) -> list[FloatArray]:
    """Means of all layers over rows that count by their p*.

    Where the mode of a few has grown beyond all others, it is these rows that count;
    else others, which further paths come by as well.
    """
    given = posterior(machine, evidence, tol=0, max_iter=SWEEPS)
    layers = [ops.dense(given.visible), *given.means]
    log_weights = unnormalised_bound(Conditional(machine, evidence), layers)
    shares = ops.exp(log_weights - log_weights.max())
    shares /= shares.sum()
    return [shares.astype(layer.dtype) @ layer for layer in layers]
