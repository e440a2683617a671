"""Where joint training starts: a machine that grows, or pairs of layers put together.

*Growing* trains the machine of the lowest hidden layer, then that of the two lowest,
and so on. Each begins as the one before with a layer on top whose weights are small.
Were they zero, the distribution would be that of the machine before; so what was
learned stays, and the new layer adds what the layers below could not express.

*Greedy* pretraining trains every pair of neighbouring layers by itself. A hidden layer
of the deep machine hears from below and from above; while only one of the two is
there, it is counted twice [1]_. So the machine of layers l and l + 1 is trained with
layer l doubled if l + 1 is not the top, and layer l + 1 doubled if l is not the bottom.
A doubled layer is a layer of another unit type, the sum of two tied copies, and needs
no training code of its own.

.. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
   section 3.3.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .._typing import FloatArray, Indices, Rng, Source
from ..encodings import Encoding
from ..evidence import Evidence
from ..inference.mean_field import posterior
from ..machine import DeepBoltzmannMachine
from ..units import UnitType

#: Mean-field sweeps that fill missing states on the way up.
SWEEPS_OVER_MISSING = 10


@dataclass
class Stage:
    """A part of a training: what it starts from, and the rows it learns from."""

    name: str
    machine: DeepBoltzmannMachine
    source: Source
    chains: list[FloatArray] | None = None
    falling: bool = True  # whether the learning rate falls towards the end


@dataclass
class TiedRows:
    """Rows of states times the number of tied copies of the layer, which share one."""

    source: Source
    copies: int

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Indices, encoding: Encoding | None = None) -> Any:
        """States of some rows; only a single copy's encoding goes on to be learned."""
        if self.copies == 1:
            return self.source.read(indices, encoding)
        return self.source.read(indices) * self.copies


@dataclass
class CarriedRows:
    """Rows of the upper layer of a trained pair, drawn anew from the lower layer's."""

    # So the next pair learns from samples of the posterior, not from its means. The
    # upper layer is drawn as in the deep machine, not doubled; its field counts the
    # lower layer as the pair does.

    source: TiedRows
    pair: DeepBoltzmannMachine
    unit: UnitType
    rng: Rng

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Indices, encoding: Any = None) -> FloatArray:
        """States of some rows of the upper layer."""
        evidence = Evidence.of_rows(self.source.read(indices, self.pair.encoding))
        lower: Any = evidence.layers[0][0]
        if evidence.missing(0) is not None:
            lower = posterior(
                self.pair, evidence, tol=0, max_iter=SWEEPS_OVER_MISSING
            ).visible
        field = self.pair.field(1, [lower, None])
        return self.unit.sample(field, self.rng, out=field)


class Greedy:
    """Every pair of neighbouring layers in turn, from the bottom up."""

    def __init__(self, machine: DeepBoltzmannMachine, source: Source, rng: Rng) -> None:
        self.machine, self.source, self.rng = machine, source, rng
        self.pairs: list[DeepBoltzmannMachine] = []
        self.n_stages = len(machine.weights)

    def begin(self) -> Stage:
        """Make the next pair, and its rows."""
        layer, machine = len(self.pairs), self.machine
        lower, upper = machine.units[layer : layer + 2]
        may_be_doubled = layer > 0 or machine.encoding.may_be_doubled
        copies = 1 + (layer + 2 < machine.n_layers and may_be_doubled)
        pair = DeepBoltzmannMachine(
            machine.weights[layer : layer + 1],
            machine.biases[layer : layer + 2],
            [lower.tied_copies(copies), upper.tied_copies(1 + (layer > 0))],
            machine.encoding if layer == 0 and copies == 1 else None,
        )
        self.rows = TiedRows(self.source, copies)
        return Stage(f"pretraining pair {layer + 1}", pair, self.rows)

    def end(self, pair: DeepBoltzmannMachine, chains: list[FloatArray]) -> None:
        """Take a trained pair, and carry the rows up through it."""
        self.pairs.append(pair)
        unit = self.machine.units[len(self.pairs)]
        self.source = CarriedRows(self.rows, pair, unit, self.rng)

    def result(self) -> tuple[DeepBoltzmannMachine, None]:
        """Put the pairs together; a layer in two of them gets their mean biases."""
        pairs = self.pairs
        inner = [
            (below.biases[1] + above.biases[0]) / 2 for below, above in pairwise(pairs)
        ]
        encoding = self.machine.encoding.with_learned(pairs[0].encoding.learned)
        machine = DeepBoltzmannMachine(
            [pair.weights[0] for pair in pairs],
            [pairs[0].biases[0], *inner, pairs[-1].biases[1]],
            self.machine.units,
            encoding,
        )
        return machine, None


class Growth:
    """The lowest layers, with one hidden layer more each time, but for the last."""

    def __init__(self, machine: DeepBoltzmannMachine, source: Source, rng: Rng) -> None:
        self.machine, self.source = machine, source
        self.n_stages = len(machine.weights) - 1
        self.n_layers = 2
        self.chains: list[FloatArray] | None = None

    def begin(self) -> Stage:
        """Make the machine of the lowest layers, for the next stage to go on with."""
        part = DeepBoltzmannMachine(
            self.machine.weights[: self.n_layers - 1],
            self.machine.biases[: self.n_layers],
            self.machine.units[: self.n_layers],
            self.machine.encoding,
        )
        name = f"pretraining layer {self.n_layers - 1}"
        # The next stage goes on with all that is in this machine, and its rate.
        return Stage(name, part, self.source, self.chains, falling=False)

    def end(self, part: DeepBoltzmannMachine, chains: list[FloatArray]) -> None:
        """Put the trained layers in place of those they started from."""
        self.machine = DeepBoltzmannMachine(
            [*part.weights, *self.machine.weights[self.n_layers - 1 :]],
            [*part.biases, *self.machine.biases[self.n_layers :]],
            self.machine.units,
            part.encoding,
        )
        self.n_layers += 1
        self.chains = chains

    def result(self) -> tuple[DeepBoltzmannMachine, list[FloatArray] | None]:
        """The trained layers with the top one as it was, and chains of all but that."""
        return self.machine, self.chains


#: The ways to pretrain, by the names that `pretraining` takes.
WAYS: dict[str, type[Greedy] | type[Growth]] = {"greedy": Greedy, "grow": Growth}
