"""Persistent Gibbs chains of the rows, each given its row.

The posterior of a row changes little from one visit of the training to the next. So the
chain that samples it goes on where its last visit left it, as the chains of the machine
do, and a sweep or two follow what many from a new start would have to reach [1]_. Mean
field is where a chain begins.

.. [1] R. Neal, "Connectionist learning of belief networks", Artificial Intelligence 56,
   1992.
"""

import math
from typing import Any

from .. import ops
from .._typing import Indices, States
from ..evidence import Conditional
from ..machine import DeepBoltzmannMachine
from ..units import Bernoulli

#: Memory for the chains of all rows, where these are read in pieces.
MOST_BYTES = 2**27


class RowChains:
    """Even layers of the states in which the chains of the rows were left.

    Binary hidden units take a bit each, so that all chains are small beside the rows.
    The visible layer is kept from the first row on that lacks some of it. Of more rows
    than `most_bytes` have room for nothing is kept: where memory has to stay flat, that
    is all right, since so long after its last visit a row finds another machine.
    """

    def __init__(self, n_rows: int, most_bytes: float = math.inf) -> None:
        self.most_bytes = most_bytes
        self.begun = ops.zeros(n_rows, dtype=bool)
        self.kept: dict[int, Any] = {}

    def make_room(self, machine: DeepBoltzmannMachine, with_gaps: bool) -> None:
        """Make arrays for the layers that are to be kept, if they are not there yet."""
        layers = set(range(0 if with_gaps else 2, machine.n_layers, 2))
        n_rows = len(self.begun)
        if n_rows * sum(_bytes(machine, layer) for layer in layers) > self.most_bytes:
            if self.kept:  # those of fewer layers had room
                self.kept, self.begun[...] = {}, False
            return
        for layer in layers - self.kept.keys():
            if _is_binary(machine, layer):
                shape = n_rows, _bytes(machine, layer)
                self.kept[layer] = ops.zeros(shape, ops.uint8)
            else:
                shape = n_rows, machine.layer_sizes[layer]
                self.kept[layer] = ops.full(shape, ops.nan, machine.dtype)

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
        self.begun[rows] = bool(self.kept)


def _bytes(machine: DeepBoltzmannMachine, layer: int) -> int:
    """Bytes that a layer takes for every row."""
    size = machine.layer_sizes[layer]
    return (
        -(-size // 8) if _is_binary(machine, layer) else size * machine.dtype.itemsize
    )


def _is_binary(machine: DeepBoltzmannMachine, layer: int) -> bool:
    """Whether a layer is hidden and binary: a bit is enough for a unit."""
    return layer > 0 and isinstance(machine.units[layer], Bernoulli)
