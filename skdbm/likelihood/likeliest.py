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
    """Means of all layers over rows that count half alike, and half by their p*.

    Rows that come with the probability of the machine are all of the first half that
    counts; where the mode of a few has grown beyond all others, these are the second.
    """
    given = posterior(machine, evidence, tol=0, max_iter=SWEEPS)
    layers = [ops.dense(given.visible), *given.means]
    log_weights = unnormalised_bound(Conditional(machine, evidence), layers)
    weights = ops.exp(log_weights - log_weights.max())
    shares = (weights / weights.sum() + 1 / len(weights)) / 2
    return [shares.astype(layer.dtype) @ layer for layer in layers]
