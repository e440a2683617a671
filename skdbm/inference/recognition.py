"""A network that says which class a row has: some sweeps of mean field, unrolled.

Given a row, the machine is one over label and hidden layers, whose first hidden layer
has biases of the row's own. Mean field in it, from one pass upwards and for so few
sweeps that it can be differentiated, is a network whose weights are used several times,
forwards and backwards [1]_.

.. [1] I. Goodfellow, M. Mirza, A. Courville and Y. Bengio, "Multi-prediction deep
   Boltzmann machines", NIPS 2013.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import ops
from .._typing import FloatArray, Rows
from ..encodings.ties import PartlyKnown
from ..evidence import with_known_labels
from ..machine import DeepBoltzmannMachine
from ..units import Categorical
from .mean_field import posterior


@dataclass
class Step:
    """One update of a layer: its mean, and what it came from.

    `factor` is how often the inputs count. An input is a neighbour, its state and the
    weights that lead here.
    """

    layer: int
    factor: int
    field: FloatArray
    mean: FloatArray
    inputs: list[tuple[int, FloatArray, FloatArray]]


@dataclass
class Tape:
    """What happened on the way forwards, for the way back."""

    rows: FloatArray
    #: Factors of the means of hidden layers, as dropout has them.
    masks: Mapping[int, FloatArray]
    #: What the rows add to the fields of the first hidden layer.
    from_rows: FloatArray
    steps: list[Step] = field(default_factory=list)


class Recognition:
    """A network with the weights of a machine whose last visible units are labels."""

    def __init__(
        self, machine: DeepBoltzmannMachine, n_classes: int, n_sweeps: int = 1
    ) -> None:
        self.machine, self.n_classes, self.n_sweeps = machine, n_classes, n_sweeps
        self.of_rows = machine.weights[0][:-n_classes]
        #: The machine of label and hidden layers that is left given a row; its arrays
        #: are those of `machine`.
        self.given = DeepBoltzmannMachine(
            [machine.weights[0][-n_classes:], *machine.weights[1:]],
            [machine.biases[0][-n_classes:], *machine.biases[1:]],
            [Categorical((n_classes,)), *machine.units[1:]],
        )

    @property
    def parameters(self) -> list[FloatArray]:
        """All weights, and then all biases."""
        return [*self.machine.weights, *self.machine.biases]

    def log_probabilities(self, rows: FloatArray) -> FloatArray:
        """Log-probability of every class, in nats, float64."""
        fields = self.forward(rows).steps[-1].field.astype(ops.float64)
        fields -= ops.logsumexp(fields, axis=1, keepdims=True)
        return fields

    def forward(
        self, rows: FloatArray, masks: Mapping[int, FloatArray] | None = None
    ) -> Tape:
        """Run mean field; the mean of the last step has the class probabilities."""
        tape = Tape(rows, masks or {}, ops.product(rows, self.of_rows))
        states: dict[int, FloatArray] = {}
        n_layers = self.given.n_layers
        for layer in range(1, n_layers):
            # As mean field starts: an even layer at the end is left to the first sweep.
            if layer % 2 or layer < n_layers - 1:
                states[layer] = self._updated(tape, layer, states, upwards=True)
        for _ in range(self.n_sweeps):
            for layer in (*range(0, n_layers, 2), *range(1, n_layers, 2)):
                states[layer] = self._updated(tape, layer, states)
        self._updated(tape, 0, states)
        return tape

    def _updated(
        self, tape: Tape, layer: int, states: Mapping[int, Any], upwards: bool = False
    ) -> FloatArray:
        """State of a layer given its neighbours, upwards given the one below alone."""
        given = self.given
        neighbours = [
            (neighbour, states[neighbour], weight)
            for neighbour, weight in given.neighbours(layer)
            if not upwards or 0 < neighbour < layer
        ]
        inputs = [ops.product(state, weight) for _, state, weight in neighbours]
        if layer == 1:
            inputs.append(tape.from_rows)
        # A layer that lacks one of its neighbours counts the other one twice.
        factor = 2 if upwards and layer < given.n_layers - 1 else 1
        x = factor * sum(inputs[1:], inputs[0]) + given.biases[layer]
        mean = given.units[layer].mean(x)
        tape.steps.append(Step(layer, factor, x, mean, neighbours))
        return mean * tape.masks[layer] if layer in tape.masks else mean

    def backward(self, tape: Tape, slope: FloatArray) -> list[FloatArray]:
        """Gradients of a loss by the parameters, given those by the last fields."""
        given = self.given
        weights = [ops.zeros_like(weight) for weight in given.weights]
        biases = [ops.zeros_like(bias) for bias in given.biases]
        by_rows = ops.zeros_like(tape.from_rows)
        for step, by_field in self._way_back(tape, slope):
            layer, by_input = step.layer, step.factor * by_field
            biases[layer] += by_field.sum(axis=0)
            if layer == 1:
                by_rows += by_input
            for neighbour, state, _ in step.inputs:
                if neighbour < layer:
                    weights[neighbour] += ops.product(state.T, by_input)
                else:
                    weights[layer] += ops.product(by_input.T, state)
        of_data = ops.zeros_like(self.machine.biases[0][: -self.n_classes])
        return [
            ops.concatenate([ops.product(tape.rows.T, by_rows), weights[0]]),
            *weights[1:],
            ops.concatenate([of_data, biases[0]]),
            *biases[1:],
        ]

    def by_rows(self, tape: Tape, slope: FloatArray) -> FloatArray:
        """Gradient of a loss by the rows, given that by the last fields."""
        by_first = [
            step.factor * by_field
            for step, by_field in self._way_back(tape, slope)
            if step.layer == 1
        ]
        return ops.product(sum(by_first[1:], by_first[0]), self.of_rows.T)

    def _way_back(
        self, tape: Tape, slope: FloatArray
    ) -> Iterator[tuple[Step, FloatArray]]:
        """Steps from the last to the first, with the gradients by their fields."""
        by_state: dict[int, FloatArray] = {}
        for step in reversed(tape.steps):
            layer = step.layer
            if step is not tape.steps[-1]:
                if layer not in by_state:  # nothing that follows has asked for it
                    continue
                gradient = by_state.pop(layer)
                if layer in tape.masks:
                    gradient = gradient * tape.masks[layer]
                slope = self.given.units[layer].mean_vjp(step.mean, gradient)
            yield step, slope
            for neighbour, _, weight in step.inputs:
                part = ops.product(step.factor * slope, weight.T)
                by_state[neighbour] = by_state.get(neighbour, 0) + part


def complete(
    machine: DeepBoltzmannMachine,
    rows: Rows | PartlyKnown,
    n_classes: int,
    *,
    tol: float = 1e-3,
    max_iter: int = 50,
) -> FloatArray:
    """States of the units before the labels, with mean-field means where missing.

    The labels say nothing about them, since of other rows they are not known.
    """
    evidence = with_known_labels(rows, n_classes, False)
    states, missing = ops.dense(evidence.layers[0][0]), evidence.missing(0)
    assert missing is not None  # the labels are
    gaps = missing[:, :-n_classes].any(axis=1)
    if gaps.any():
        part = posterior(machine, evidence[gaps], tol=tol, max_iter=max_iter)
        states[gaps] = part.visible
    return states[:, :-n_classes]
