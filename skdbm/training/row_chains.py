"""Persistent Gibbs chains of the rows, each given its row.

The posterior of a row changes little from one visit of the training to the next. So the
chain that samples it goes on where its last visit left it, as the chains of the machine
do, and a sweep or two follow what many from a new start would have to reach [1]_. Mean
field is where a chain begins.

.. [1] R. Neal, "Connectionist learning of belief networks", Artificial Intelligence 56,
   1992.
"""

from typing import Any

from .. import ops
from .._typing import Indices, States
from ..evidence import Conditional
from ..machine import DeepBoltzmannMachine
from ..units import Bernoulli


class RowChains:
    """Even layers of the states in which the chains of the rows were left.

    Binary hidden units take a bit each, so that all chains are small beside the rows.
    The visible layer is kept from the first row on that lacks some of it.
    """

    def __init__(self, n_rows: int) -> None:
        self.begun = ops.zeros(n_rows, dtype=bool)
        self.kept: dict[int, Any] = {}

    def make_room(self, machine: DeepBoltzmannMachine, with_gaps: bool) -> None:
        """Make arrays for the layers that are to be kept, if they are not there yet."""
        for layer in range(0 if with_gaps else 2, machine.n_layers, 2):
            if layer not in self.kept:
                n_rows, size = len(self.begun), machine.layer_sizes[layer]
                if _is_binary(machine, layer):
                    self.kept[layer] = ops.zeros((n_rows, -(-size // 8)), ops.uint8)
                else:
                    self.kept[layer] = ops.full((n_rows, size), ops.nan, machine.dtype)

    def recall(self, rows: Indices, given: Conditional, states: States) -> None:
        """Bring back the states of those of the rows whose chains have begun."""
        begun = self.begun[rows]
        for layer, kept in self.kept.items():
            if layer not in given.free:
                continue
            values, known = kept[rows], begun[:, None]
            if _is_binary(given.machine, layer):
                values = ops.unpackbits(values, axis=1, count=states[layer].shape[1])
            else:  # room is made for visible states when some are first missing
                known = known & ~ops.isnan(values)
            ops.copyto(states[layer], values, where=known)
            given.hold(layer, states)

    def keep(self, rows: Indices, given: Conditional, states: States) -> None:
        """Keep the states of the rows."""
        for layer, kept in self.kept.items():
            if layer in given.free:
                binary = _is_binary(given.machine, layer)
                values = states[layer]
                kept[rows] = ops.packbits(values > 0, axis=1) if binary else values
        self.begun[rows] = True


def _is_binary(machine: DeepBoltzmannMachine, layer: int) -> bool:
    """Whether a layer is hidden and binary: a bit is enough for a unit."""
    return layer > 0 and isinstance(machine.units[layer], Bernoulli)
