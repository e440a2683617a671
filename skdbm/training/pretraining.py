"""Greedy layer-wise initialisation: a stack of restricted Boltzmann machines.

A hidden layer of the deep machine hears from below and from above; while only one of
the two is there, it is counted twice [1]_. So the machine of layers l and l + 1 is
trained with layer l doubled if l + 1 is not the top, and layer l + 1 doubled if l is
not the bottom. A doubled layer is a layer of another unit type, the sum of two tied
copies, and needs no training code of its own.

.. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
   section 3.3.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..machine import DeepBoltzmannMachine
from ..units import UnitType


@dataclass(frozen=True)
class Step:
    """How states of one layer are drawn given the layer below, in a trained pair."""

    copies: int
    weights: np.ndarray
    biases: np.ndarray
    unit: UnitType

    def draw(self, states, rng):
        """Draw the upper states."""
        field = states @ self.weights
        field *= self.copies
        field += self.biases
        return self.unit.sample(field, rng, out=field)


class EncodedRows:
    """Rows of data carried up through the pairs trained so far.

    Every presentation draws the states anew, so that the next pair learns from
    samples of the posterior, not from its means.
    """

    def __init__(self, source, steps, copies, rng):
        self.source, self.steps, self.copies, self.rng = source, steps, copies, rng

    def __len__(self):
        return len(self.source)

    def fill(self, indices, out):
        """Write some rows of the layer on top of the steps into `out`."""
        width = len(self.steps[0].weights) if self.steps else out.shape[1]
        states = np.empty((len(indices), width), out.dtype)
        self.source.fill(indices, states)
        for step in self.steps:
            states = step.draw(states, self.rng)
        np.multiply(states, self.copies, out=out)


def greedy(machine, source, train_pair, rng):
    """Train every pair of neighbouring layers in turn, from the bottom up.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        Untrained machine: where each pair starts.
    source : object with ``len`` and ``fill(indices, out)``
        Rows of the data.
    train_pair : callable
        Gets a machine of two layers and its source of rows; returns the trained
        machine.
    rng : numpy.random.Generator
        Source of the draws that carry the data up.

    Returns
    -------
    DeepBoltzmannMachine
        The pairs put together. A layer in the middle belongs to two pairs and gets
        the mean of their biases, as its field is the mean of their fields.
    """
    top = machine.n_layers - 1
    steps, pairs = [], []
    for layer, weight in enumerate(machine.weights):
        copies = (1 + (layer + 1 < top), 1 + (layer > 0))
        upper = machine.units[layer + 1]
        pair = DeepBoltzmannMachine(
            [weight],
            machine.biases[layer : layer + 2],
            [machine.units[layer].tied_copies(copies[0]), upper.tied_copies(copies[1])],
        )
        pair = train_pair(pair, EncodedRows(source, list(steps), copies[0], rng))
        steps.append(Step(copies[0], pair.weights[0], pair.biases[1], upper))
        pairs.append(pair)
    inner = [
        (below.biases[1] + above.biases[0]) / 2 for below, above in pairwise(pairs)
    ]
    return DeepBoltzmannMachine(
        [pair.weights[0] for pair in pairs],
        [pairs[0].biases[0], *inner, pairs[-1].biases[1]],
        machine.units,
    )
