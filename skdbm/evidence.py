"""What is known of rows, on any layer, and the machine given it.

Features, imputation, conditional samples, labels and greedy pretraining ask one
question: how the other units are distributed given those whose states are known. That
distribution is again one of layers in a chain, with biases that differ from row to
row: what known units add to the fields of their neighbours is fixed.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from . import ops
from ._typing import ArrayLike, BoolArray, FloatArray, Rows, States
from .encodings import Encoding
from .encodings.rows import EncodedRows
from .encodings.ties import PartlyKnown, Ties
from .machine import DeepBoltzmannMachine

__all__ = ["Evidence"]

#: All columns of a layer.
_ALL = slice(None)


class Evidence:
    """What is known of some rows.

    Parameters
    ----------
    layers : dict of int to tuple of (states, known)
        For layers of which something is known, by their index: states, an array of
        shape (n_rows, n_l), and which of them are known, an array of bool of that
        shape, or None for all of them. Visible states that are all known may be a
        sparse matrix. Units of a group, as of a category, are known together or not.
    ties : sequence of Ties, default=()
        What is known together of visible Gaussian units that are not known one by one:
        `skdbm.encodings.Encoding.tie` gives it. Their states agree with it.

    Raises
    ------
    ValueError
        If shapes do not agree, or sparse states are not all known.

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

    def __init__(
        self,
        layers: Mapping[int, tuple[Rows, BoolArray | None]],
        ties: Sequence[Ties] = (),
    ) -> None:
        if len({states.shape[0] for states, _ in layers.values()}) > 1:
            shapes = {layer: states.shape for layer, (states, _) in layers.items()}
            raise ValueError(f"Layers have different numbers of rows: {shapes}.")
        for layer, (states, known) in layers.items():
            if known is not None and known.shape != states.shape:
                raise ValueError(
                    f"Layer {layer} has states of shape {states.shape}, and its mask "
                    f"of known ones has shape {known.shape}."
                )
            if known is not None and ops.is_sparse(states):
                raise ValueError("Sparse states can only be known as a whole.")
        self.layers = {
            layer: (states, None if known is None or known.all() else known)
            for layer, (states, known) in layers.items()
        }
        self.ties = tuple(tie for tie in ties if tie.tied.any())

    @classmethod
    def of_rows(cls, rows: Rows | ArrayLike | PartlyKnown) -> "Evidence":
        """Take visible states, in which NaN says what is missing; only here it does.

        Parameters
        ----------
        rows : {array-like, sparse matrix} of shape (n_rows, n_0)
            Visible states; or those of which some are known together only, as the
            package encodes rows with gaps.

        Returns
        -------
        Evidence
            What they say.
        """
        if isinstance(rows, PartlyKnown):
            return cls({0: (rows.states, rows.known)}, rows.ties)
        rows = ops.rows(rows)
        missing = ops.missing(rows)
        return cls({0: (rows, None if missing is None else ~missing)})

    @classmethod
    def of_columns(cls, X: Rows, encoding: Encoding) -> "Evidence":
        """Take values of columns, NaN where missing.

        Where units vary with several columns, as those of real values do, more is known
        of them than single states say.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns.
        encoding : Encoding
            How they become states, such as that of a machine.

        Returns
        -------
        Evidence
            What they say of the visible layer.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm.encodings import Real
        >>> from skdbm.evidence import Evidence
        >>> from skdbm.inference import mean_field
        >>> from skdbm.machine import DeepBoltzmannMachine
        >>> from skdbm.units import Gaussian
        >>> root = np.linalg.inv(np.linalg.cholesky([[1.0, 0.8], [0.8, 1.0]]))
        >>> machine = DeepBoltzmannMachine(
        ...     [], [np.zeros(2)], [Gaussian()], Real(np.zeros(2), root)
        ... )
        >>> X = np.array([[1.0, np.nan]])
        >>> evidence = Evidence.of_columns(X, machine.encoding)
        >>> machine.encoding.decode(mean_field(machine, evidence).visible)
        array([[1. , 0.8]])
        """
        return cls.of_rows(EncodedRows(encoding, X, X.dtype)[:])

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        states, _ = next(iter(self.layers.values()))
        return int(states.shape[0])

    def __getitem__(self, rows: Any) -> "Evidence":
        return Evidence(
            {
                layer: (states[rows], None if known is None else known[rows])
                for layer, (states, known) in self.layers.items()
            },
            [tie[rows] for tie in self.ties],
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

    def hold(self, layer: int, states: FloatArray) -> None:
        """Put what is known of a layer into states of it, in place.

        Parameters
        ----------
        layer : int
            Index of a layer, of which nothing need be known.
        states : ndarray of shape (n_rows, n_l)
            States of the layer.
        """
        if layer in self.layers:
            given, known = self.layers[layer]
            where = True if known is None else known
            ops.copyto(states, ops.dense(given), where=where)
            for tie in self.ties if layer == 0 else ():
                tie.hold(states, ops.dense(given))


NOTHING = Evidence({})


class Completions:
    """Rows by all labels that the last visible units can have: evidence on demand.

    Of every row there are as many completions, one after the other, as classes.
    """

    def __init__(self, rows: EncodedRows, n_classes: int) -> None:
        self.rows, self.n_classes = rows, n_classes
        self.n_rows = len(rows) * n_classes

    def __getitem__(self, some: slice) -> Evidence:
        n, (start, stop, _) = self.n_classes, some.indices(self.n_rows)
        first, numbers = start // n, ops.arange(start, stop)
        rows = with_known_labels(self.rows[first : -(-stop // n)], n, True)
        evidence = rows[numbers // n - first]
        evidence.layers[0][0][ops.arange(len(numbers)), numbers % n - n] = 1
        return evidence


def with_known_labels(
    rows: Rows | PartlyKnown, n_classes: int, are_known: bool
) -> Evidence:
    """Take rows, whose last units, the labels, are zero, all known or none of them."""
    evidence = Evidence.of_rows(rows)
    states, missing = evidence.layers[0][0], evidence.missing(0)
    states = ops.array(ops.dense(states))
    known = ops.ones(states.shape, bool) if missing is None else ~missing
    states[:, -n_classes:], known[:, -n_classes:] = 0, are_known
    return Evidence({0: (states, known)}, evidence.ties)


class Conditional:
    """A machine given evidence, for one block of rows: fields of what is not known."""

    # `free` lists the layers of which something is unknown, the even ones first, as a
    # sweep takes them. `known` has the evidence in the machine's dtype. `fixed` has the
    # parts of the fields that do not change, (1, n_l) or one for each row, and `inputs`
    # what does: neighbour, columns, weights. `room` holds arrays for the fixed parts.
    # `ties` say what else is known of visible units.

    def __init__(
        self,
        machine: DeepBoltzmannMachine,
        evidence: Evidence = NOTHING,
        room: Mapping[int, FloatArray] | None = None,
    ) -> None:
        self.machine = machine
        self.known: dict[int, tuple[Rows, BoolArray | None]] = {}
        for layer, (states, known) in evidence.layers.items():
            if (layer, states.shape[1]) not in enumerate(machine.layer_sizes):
                raise ValueError(
                    f"Evidence on layer {layer} has {states.shape[1]} columns; the "
                    f"machine has layers of {machine.layer_sizes} units."
                )
            self.known[layer] = states.astype(machine.dtype, copy=False), known
        self.ties = [tie.astype(machine.dtype) for tie in evidence.ties]
        whole = {layer for layer, (_, known) in self.known.items() if known is None}
        layers = set(range(machine.n_layers)) - whole
        self.free = sorted(layers, key=lambda layer: (layer % 2, layer))
        self.fixed: dict[int, FloatArray] = {}
        self.inputs: dict[int, list[tuple[int, Any, FloatArray]]] = {}
        for layer in self.free:
            self._split_field(layer, (room or {}).get(layer))

    def _split_field(self, layer: int, out: FloatArray | None) -> None:
        """Split the field of a layer into what is fixed and what the open units add."""
        fixed: FloatArray = self.machine.biases[layer][None]
        inputs: list[tuple[int, Any, FloatArray]] = []
        for neighbour, weight in self.machine.neighbours(layer):
            if neighbour not in self.known:
                inputs.append((neighbour, _ALL, weight))
                continue
            states, known = self.known[neighbour]
            if known is not None:
                # A column that no row lacks adds a fixed part, as a known layer does.
                closed = known.all(axis=0)
                if not closed.any():
                    inputs.append((neighbour, _ALL, weight))
                    continue
                columns = ops.flatnonzero(~closed)
                inputs.append((neighbour, columns, weight[columns]))
                states, weight = states[:, closed], weight[closed]
            part = ops.product(states, weight, out)
            part += fixed
            fixed, out = part, None  # a second part needs a room of its own
        self.fixed[layer], self.inputs[layer] = fixed, inputs

    def field(
        self,
        layer: int,
        states: States,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
        among: Collection[int] | None = None,
    ) -> FloatArray:
        """Field of a free layer; of its open neighbours, or those `among` them."""
        result: FloatArray | None = None
        for neighbour, columns, weight in self.inputs[layer]:
            if among is not None and neighbour not in among:
                continue
            open_states = states[neighbour][:, columns]
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
        """Put what is known of a layer into its states."""
        if layer in self.known:
            given, known = self.known[layer]
            where = True if known is None else known
            ops.copyto(states[layer], ops.dense(given), where=where)
            for tie in self.ties if layer == 0 else ():
                tie.hold(states[layer], given)

    def tied_density(self, layer: int, field: FloatArray) -> FloatArray | float:
        """Log-density of what is known of units together, of any fields of theirs."""
        if layer or not self.ties:
            return 0.0
        points: Any = self.known[0][0]
        return sum(tie.log_density(field, points) for tie in self.ties)

    def tied_entropy(self, layer: int) -> FloatArray | float:
        """Entropy of what is known together, which adds to that of all open units."""
        return sum(tie.log_constant for tie in (self.ties if layer == 0 else ()))

    def dampen(self, layer: int, variances: FloatArray) -> None:
        """Bring variances of a layer in place to those given what is known of it."""
        if layer in self.known:
            ops.copyto(variances, 0, where=self.known[layer][1])
            for tie in self.ties if layer == 0 else ():
                variances[:, tie.units] *= tie.variances

    def map_rows(self, function: Callable[[Any], Any]) -> "Conditional":
        """Map every array that has a row for each row; layers that are known drop."""
        result = copy.copy(self)
        result.known = {
            layer: (function(states), function(known))
            for layer, (states, known) in self.known.items()
            if known is not None
        }
        result.ties = [tie.map(function) for tie in self.ties]
        result.fixed = {  # a single row holds for all
            layer: fixed if len(fixed) == 1 else function(fixed)
            for layer, fixed in self.fixed.items()
        }
        return result

    def squared(self) -> "Conditional":
        """Take squared couplings and no biases: variances of open units to noise."""
        result = copy.copy(self)
        result.fixed = {n: 0 * self.machine.biases[n][None] for n in self.free}
        result.inputs = {
            layer: [(which, columns, ops.square(w)) for which, columns, w in inputs]
            for layer, inputs in self.inputs.items()
        }
        return result


def filled(machine: DeepBoltzmannMachine, evidence: Evidence) -> dict[int, FloatArray]:
    """States of the layers that are known in part, means of free units in the gaps."""
    result = {
        layer: ops.where(
            known, states, machine.units[layer].mean(machine.biases[layer][None])
        ).astype(machine.dtype, copy=False)
        for layer, (states, known) in evidence.layers.items()
        if known is not None
    }
    for tie in evidence.ties:
        points = ops.dense(evidence.layers[0][0]).astype(machine.dtype, copy=False)
        tie.astype(machine.dtype).hold(result[0], points)
    return result
