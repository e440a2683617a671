"""What is known of rows, on any layer, and the machine given it.

Features, imputation, conditional samples, labels and greedy pretraining ask one
question: how the other units are distributed given those whose states are known. That
distribution is again one of layers in a chain, with biases that differ from row to
row: what known units add to the fields of their neighbours is fixed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from . import ops
from ._typing import BoolArray, FloatArray, Rows, States
from .machine import DeepBoltzmannMachine


class Evidence:
    """What is known of some rows.

    Parameters
    ----------
    layers : dict of int to tuple of (states, known)
        For layers of which something is known, by their index: states, an array (of
        the visible layer also a sparse matrix) of shape (n_rows, n_l), and which of
        them are known, an array of bool of that shape. None means all of them.

    See Also
    --------
    skdbm.inference.mean_field : Posterior means given evidence.
    skdbm.sampling.gibbs_sweeps : Samples given evidence.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.evidence import Evidence
    >>> evidence = Evidence.of_rows(np.array([[1.0, np.nan], [0.0, 1.0]]))
    >>> evidence.missing(0)
    array([[False,  True],
           [False, False]])
    >>> evidence[1:].missing(0)  # nothing is missing in the second row
    """

    def __init__(self, layers: Mapping[int, tuple[Rows, BoolArray | None]]) -> None:
        self.layers = {
            layer: (states, None if known is None or known.all() else known)
            for layer, (states, known) in layers.items()
        }

    @classmethod
    def of_rows(cls, rows: Rows) -> "Evidence":
        """Take visible states, in which NaN says what is missing.

        Parameters
        ----------
        rows : {ndarray, CSR matrix or array} of shape (n_rows, n_0)
            Visible states.

        Returns
        -------
        Evidence
            What they say.
        """
        missing = ops.missing(rows)
        return cls({0: (rows, None if missing is None else ~missing)})

    @property
    def n_rows(self) -> int:
        """Number of rows.

        Returns
        -------
        int
            The number.
        """
        states, _ = next(iter(self.layers.values()))
        return int(states.shape[0])

    def __getitem__(self, rows: Any) -> "Evidence":
        return Evidence(
            {
                layer: (states[rows], None if known is None else known[rows])
                for layer, (states, known) in self.layers.items()
            }
        )

    def missing(self, layer: int) -> BoolArray | None:
        """Say which states of a layer are not known.

        Parameters
        ----------
        layer : int
            Index of a layer of which something is known.

        Returns
        -------
        ndarray of bool of shape (n_rows, n_l), or None
            Which states are missing; None if none is.
        """
        known = self.layers[layer][1]
        return None if known is None else ~known


NOTHING = Evidence({})


class Conditional:
    """A machine given evidence, for one block of rows: fields of what is not known.

    `free` lists the layers of which something is unknown, the even ones first, as a
    sweep takes them. `room` holds arrays for the fixed parts of fields, by layer.
    """

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        evidence: Evidence = NOTHING,
        room: Mapping[int, FloatArray] | None = None,
    ) -> None:
        self.machine = machine
        self.known = evidence.layers  # {layer: (states, which of them, None for all)}
        layers = range(machine.n_layers)
        whole = {n for n, (_, known) in self.known.items() if known is None}
        self.free = sorted(set(layers) - whole, key=lambda layer: (layer % 2, layer))
        # Of each layer its open inputs (neighbour, columns or None for all, weights),
        # and the rest of its field, which is fixed: (1, n_l), or one for each row.
        self._inputs: dict[int, list[tuple[int, Any, FloatArray]]] = {}
        self.fixed: dict[int, FloatArray] = {}
        for layer in self.free:
            self.fixed[layer] = machine.biases[layer][None]
            self._inputs[layer] = []
            for neighbour, weight in machine.neighbours(layer):
                self._join(layer, neighbour, weight, (room or {}).get(layer))

    def _join(
        self, layer: int, neighbour: int, weight: FloatArray, out: FloatArray | None
    ) -> None:
        """Split what a neighbour adds to a field into an open and a fixed part."""
        if neighbour not in self.known:
            self._inputs[layer].append((neighbour, None, weight))
            return
        states, known = self.known[neighbour]
        if known is None:
            fixed = ops.product(states, weight, out)
        else:
            # A column that no row lacks adds a fixed part, as a known layer does.
            in_all_rows = known.all(axis=0)
            columns = ops.flatnonzero(~in_all_rows)
            self._inputs[layer].append((neighbour, columns, weight[columns]))
            closed = ops.flatnonzero(in_all_rows)
            fixed = ops.product(states[:, closed], weight[closed], out)
        fixed += self.fixed[layer]
        self.fixed[layer] = fixed

    def field(
        self,
        layer: int,
        states: States,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Field of a free layer; of known neighbours only what is open is looked at."""
        result: FloatArray | None = None
        for neighbour, columns, weight in self._inputs[layer]:
            open_states = states[neighbour]
            if columns is not None:
                open_states = open_states[:, columns]
            if result is None:
                result = ops.product(open_states, weight, out)
            else:
                result += ops.product(open_states, weight, scratch)
        if result is not None:
            result += self.fixed[layer]
            return result
        if out is None:
            return ops.array(self.fixed[layer])
        ops.copyto(out, self.fixed[layer])
        return out

    def hold(self, layer: int, states: States) -> None:
        """Put what is known of a layer back into its states."""
        if layer in self.known:
            given, known = self.known[layer]
            ops.copyto(states[layer], given, where=known)

    def map_rows(self, function: Callable[[Any], Any]) -> "Conditional":
        """Give the conditional of which each array with a row a row is mapped."""
        result = object.__new__(Conditional)
        result.machine, result.free = self.machine, self.free
        result._inputs = self._inputs
        result.known = {
            layer: (function(states), None if known is None else function(known))
            for layer, (states, known) in self.known.items()
            if known is not None  # what is wholly known is in the fixed parts
        }
        result.fixed = {
            layer: function(fixed) if self._differs(layer) else fixed
            for layer, fixed in self.fixed.items()
        }
        return result

    def _differs(self, layer: int) -> bool:
        """Say whether the fixed part of a field differs from row to row."""
        return len(self._inputs[layer]) < len(
            list(self.machine.neighbours(layer))
        ) or any(columns is not None for _, columns, _ in self._inputs[layer])


def filled(machine: DeepBoltzmannMachine, evidence: Evidence) -> dict[int, FloatArray]:
    """States of the layers that are known in part, means of free units in the gaps."""
    result: dict[int, FloatArray] = {}
    for layer, (states, known) in evidence.layers.items():
        if known is not None:
            free = machine.units[layer].mean(machine.biases[layer][None])
            result[layer] = ops.where(known, states, free.astype(states.dtype))
    return result
