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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .. import inference
from .._typing import FloatArray, Indices, Rng, SizedSource
from ..machine import DeepBoltzmannMachine
from ..units import UnitType

#: Mean-field sweeps that fill missing states on the way up.
SWEEPS_OVER_MISSING = 10


@dataclass(frozen=True)
class Step:
    """How states of one layer are drawn given the layer below, in a trained pair.

    The upper layer is drawn as it is in the deep machine, not doubled; its field
    counts the doubled lower layer `copies` times.

    Parameters
    ----------
    pair : DeepBoltzmannMachine
        The trained machine of the two layers.
    copies : int
        Number of tied copies of the lower layer, 1 or 2.
    unit : UnitType
        Unit type of the upper layer, not doubled.

    See Also
    --------
    EncodedRows : Takes rows through one step after the other.

    Examples
    --------
    Couplings as strong as these leave nothing to chance.

    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.pretraining import Step
    >>> from skdbm.units import Bernoulli, Binomial
    >>> units = [Binomial(2), Bernoulli()]
    >>> pair = DeepBoltzmannMachine([50 * np.eye(2)], [np.zeros(2), [-50, -50]], units)
    >>> step = Step(pair, copies=2, unit=Bernoulli())
    >>> step.draw(np.array([[0.0, 1.0]]), np.random.default_rng(0))
    array([[0., 1.]])
    """

    pair: DeepBoltzmannMachine
    copies: int
    unit: UnitType

    def draw(self, states: FloatArray, rng: Rng) -> FloatArray:
        """Draw the upper states.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_lower)
            States or means of the lower layer, of a single copy; where they are
            missing, NaN, mean field fills them first.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        ndarray of shape (n_rows, n_upper)
            States of the upper layer.
        """
        lower = states * self.copies
        if inference.missing_entries(states) is not None:
            lower = inference.posterior(
                self.pair, lower, tol=0, max_iter=SWEEPS_OVER_MISSING
            ).visible
        field = lower @ self.pair.weights[0]
        field += self.pair.biases[1]
        return self.unit.sample(field, rng, out=field)


class EncodedRows:
    """Rows of data carried up through the pairs trained so far.

    Every presentation draws the states anew, so that the next pair learns from
    samples of the posterior, not from its means.

    Parameters
    ----------
    source : object with ``len`` and ``fill(indices, out, learned)``
        Rows of the data, for example `skdbm.training.trainer.Rows`.
    steps : sequence of Step
        The way up, the lowest first; none for the data themselves.
    copies : int
        Number of tied copies of the layer on top of the steps in the pair to train.
        They share one state, so their sum is so many times that state.
    rng : numpy.random.Generator
        Source of the draws.

    See Also
    --------
    greedy : Trains each pair on such rows.
    skdbm.training.trainer.Rows : Rows of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.training.pretraining import EncodedRows
    >>> from skdbm.training.trainer import Rows
    >>> from skdbm.units import Bernoulli
    >>> data = Rows(np.eye(2), Bernoulli())
    >>> rows = EncodedRows(data, steps=[], copies=2, rng=np.random.default_rng(0))
    >>> out = np.empty((2, 2))
    >>> rows.fill([1, 0], out)
    >>> out
    array([[0., 2.],
           [2., 0.]])
    """

    def __init__(
        self, source: SizedSource, steps: Sequence[Step], copies: int, rng: Rng
    ) -> None:
        self.source, self.steps, self.copies, self.rng = source, steps, copies, rng

    def __len__(self) -> int:
        return len(self.source)

    def fill(
        self, indices: Indices, out: FloatArray, learned: FloatArray | None = None
    ) -> None:
        """Write some rows of the layer on top of the steps into `out`.

        Parameters
        ----------
        indices : sequence of int of length n_rows
            Numbers of the rows.
        out : ndarray of shape (n_rows, n_units)
            Where the states go, times `copies`; its dtype is that of the way up too.
        learned : ndarray of shape (n_learned,), default=None
            Learned parameters of the encoding of the layer on top of the steps.
        """
        width = out.shape[1]
        if self.steps:
            pair = self.steps[0].pair
            width, learned = pair.layer_sizes[0], pair.units[0].learned
        states = np.empty((len(indices), width), out.dtype)
        self.source.fill(indices, states, learned)
        for step in self.steps:
            states = step.draw(states, self.rng)
        np.multiply(states, self.copies, out=out)


def grow(
    machine: DeepBoltzmannMachine,
    train_machine: Callable[
        [DeepBoltzmannMachine, list[FloatArray] | None],
        tuple[DeepBoltzmannMachine, list[FloatArray]],
    ],
) -> tuple[DeepBoltzmannMachine, list[FloatArray] | None]:
    """Train the lowest layers alone, with one hidden layer more each time.

    Nothing is trained in here but by `train_machine`. The whole machine is not
    trained: that is the joint training, for which this is the start.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        Untrained machine: where each layer starts.
    train_machine : callable
        Gets a machine of the lowest layers of `machine` and the chains of the call
        before, None in the first; returns the trained machine and its persistent
        chains.

    Returns
    -------
    machine : DeepBoltzmannMachine
        The trained layers, with the top one as it was.
    chains : list of L ndarrays of shape (n_chains, n_l), or None
        States of all layers but the top one in the last chains; None if there is but
        one hidden layer, where nothing is trained.

    See Also
    --------
    greedy : Another start.
    skdbm.training.trainer.train : Trains a machine.

    Examples
    --------
    A `train_machine` that only looks shows how the machine grows.

    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.pretraining import grow
    >>> sizes = (4, 3, 2, 2)
    >>> machine = DeepBoltzmannMachine(
    ...     weights=[np.zeros(shape) for shape in zip(sizes, sizes[1:])],
    ...     biases=[np.zeros(size) for size in sizes],
    ... )
    >>> def train_machine(part, chains):
    ...     print(part.layer_sizes)
    ...     return part, [np.zeros((1, size)) for size in part.layer_sizes]
    >>> grown, chains = grow(machine, train_machine)
    (4, 3)
    (4, 3, 2)
    >>> grown.layer_sizes, len(chains)
    ((4, 3, 2, 2), 3)
    """
    chains: list[FloatArray] | None = None
    for n_layers in range(2, machine.n_layers):
        part = DeepBoltzmannMachine(
            machine.weights[: n_layers - 1],
            machine.biases[:n_layers],
            machine.units[:n_layers],
        )
        part, chains = train_machine(part, chains)
        machine = DeepBoltzmannMachine(
            [*part.weights, *machine.weights[n_layers - 1 :]],
            [*part.biases, *machine.biases[n_layers:]],
            [*part.units, *machine.units[n_layers:]],
        )
    return machine, chains


def greedy(
    machine: DeepBoltzmannMachine,
    source: SizedSource,
    train_pair: Callable[[DeepBoltzmannMachine, SizedSource], DeepBoltzmannMachine],
    rng: Rng,
) -> DeepBoltzmannMachine:
    """Train every pair of neighbouring layers in turn, from the bottom up.

    Nothing is trained in here but by `train_pair`. This function makes the pairs,
    doubles the sides that stand in for a missing neighbour [1]_, carries the data up
    and puts the trained pairs together.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        Untrained machine: where each pair starts.
    source : object with ``len`` and ``fill(indices, out, learned)``
        Rows of the data.
    train_pair : callable
        Gets a machine of two layers and its source of rows; returns the trained
        machine. It is called once for each pair, the lowest first.
    rng : numpy.random.Generator
        Source of the draws that carry the data up.

    Returns
    -------
    DeepBoltzmannMachine
        The pairs put together. A layer in the middle belongs to two pairs and gets
        the mean of their biases, as its field is the mean of their fields.

    See Also
    --------
    grow : Another start.
    skdbm.training.trainer.train : Trains a pair, and then all layers together.
    skdbm.units.UnitType.tied_copies : What doubling is.

    References
    ----------
    .. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
       section 3.3.

    Examples
    --------
    A `train_pair` that only looks shows which layers are doubled: here those at both
    ends, while the one in the middle will be fed from both sides.

    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.pretraining import greedy
    >>> from skdbm.training.trainer import Rows
    >>> machine = DeepBoltzmannMachine(
    ...     weights=[np.zeros((4, 3)), np.zeros((3, 2))],
    ...     biases=[np.zeros(4), np.zeros(3), np.zeros(2)],
    ... )
    >>> def train_pair(pair, source):
    ...     print(pair.layer_sizes, pair.units)
    ...     return pair
    >>> rows = Rows(np.eye(4), machine.units[0])
    >>> trained = greedy(machine, rows, train_pair, np.random.default_rng(0))
    (4, 3) (Binomial(n_trials=2), Bernoulli())
    (3, 2) (Bernoulli(), Binomial(n_trials=2))
    >>> trained.layer_sizes
    (4, 3, 2)
    """
    top = machine.n_layers - 1
    steps: list[Step] = []
    pairs: list[DeepBoltzmannMachine] = []
    for layer, weight in enumerate(machine.weights):
        lower, upper = machine.units[layer : layer + 2]
        copies = (
            1 + (layer + 1 < top and lower.may_be_doubled),
            1 + (layer > 0 and upper.may_be_doubled),
        )
        pair = DeepBoltzmannMachine(
            [weight],
            machine.biases[layer : layer + 2],
            [lower.tied_copies(copies[0]), upper.tied_copies(copies[1])],
        )
        pair = train_pair(pair, EncodedRows(source, list(steps), copies[0], rng))
        steps.append(Step(pair, copies[0], upper))
        pairs.append(pair)
    inner = [
        (below.biases[1] + above.biases[0]) / 2 for below, above in pairwise(pairs)
    ]
    learned = pairs[0].units[0].learned
    return DeepBoltzmannMachine(
        [pair.weights[0] for pair in pairs],
        [pairs[0].biases[0], *inner, pairs[-1].biases[1]],
        [machine.units[0].with_learned(learned), *machine.units[1:]],
    )
