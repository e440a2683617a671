"""The deep Boltzmann machine: unit types, weights and biases, hence its energy.

There is no data, no training and no randomness in here. Whatever can be asked of a
trained model is a function of this one object.
"""

import copy
import os
from collections.abc import Callable, Mapping, Sequence

from . import _files, encodings, ops
from ._parameters import (
    arguments_of,
    check_dtype,
    check_parameters,
    check_real,
    parts_of,
)
from ._typing import ArrayLike, DType, DTypeLike, FloatArray, IntArray, States
from .encodings.states import of_unit
from .units import Bernoulli, UnitType
from .units.contract import UnknownTypeError

#: Version of the file format that `DeepBoltzmannMachine.save` writes; files of version
#: 1 have no means, and those of version 2 one centre at most.
FORMAT_VERSION = 3
_FORMAT_NAME = "skdbm.DeepBoltzmannMachine"


class DeepBoltzmannMachine:
    """A deep Boltzmann machine: layers in a chain, each joined to the next one.

    With layers s_0 (visible) and s_1 ... s_L (hidden) the energy is

        E(s) = sum_l [base_l(s_l) - s_l b_l] - sum_l s_l W_l s_{l+1}

    and the probability of a state is exp(-E(s)) / Z [1]_. One hidden layer makes it a
    restricted Boltzmann machine.

    Parameters
    ----------
    weights : sequence of L arrays, W_l of shape (n_l, n_{l+1})
        Couplings of each layer with the next one. An empty sequence means none: units
        that are independent of each other, in any number of layers.
    biases : sequence of L + 1 arrays, b_l of shape (n_l,)
        Biases of every layer, the visible one first.
    units : sequence of L + 1 UnitType, default=None
        Unit types of every layer; None means `Bernoulli` throughout.
    encoding : Encoding, default=None
        How columns of data become visible states; None means that they are states, as
        `skdbm.encodings.States` has it.
    means : sequence of L + 1 arrays of shape (n_l,), default=None
        Means of all layers over the data, which a training knows: where chains begin
        that are annealed for log Z and for samples. They say nothing of the
        distribution. None means that chains of the machine have to find them.
    centres : sequence of L + 1 arrays of shape (n_centres, n_l), default=None
        Means over groups of rows of the data, near each of which chains begin, too: a
        mode there can be out of reach from the means of all. None means that groups of
        chains stand in for them.

    Attributes
    ----------
    weights, biases : list of ndarray
        As given, all of one dtype, float32 or float64.
    units : tuple of UnitType
        Unit types of every layer.
    encoding : Encoding
        How columns of data become visible states.
    means, centres : list of ndarray or None
        As given.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, a value is not finite, an array does
        not hold real numbers, or the encoding is one for other units.

    See Also
    --------
    skdbm.DBMTransformer : Learns a machine and computes features with it.
    skdbm.DBMSampler : Learns a machine and draws samples from it.

    References
    ----------
    .. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
       equation 9.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> machine = DeepBoltzmannMachine(
    ...     weights=[np.ones((3, 2)), np.ones((2, 1))],
    ...     biases=[np.zeros(3), np.zeros(2), np.zeros(1)],
    ... )
    >>> machine.layer_sizes
    (3, 2, 1)
    >>> machine.energy([np.ones((1, 3)), np.ones((1, 2)), np.ones((1, 1))])
    array([-8.])
    """

    weights: list[FloatArray]
    biases: list[FloatArray]
    units: tuple[UnitType, ...]
    encoding: encodings.Encoding
    means: list[FloatArray] | None
    centres: list[FloatArray] | None

    def __init__(
        self,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike],
        units: Sequence[UnitType] | None = None,
        encoding: encodings.Encoding | None = None,
        means: Sequence[ArrayLike] | None = None,
        centres: Sequence[ArrayLike] | None = None,
    ) -> None:
        self.weights, self.biases = check_parameters(weights, biases)
        if units is None:
            units = [Bernoulli()] * len(self.biases)
        self.units = tuple(units)
        if len(self.units) != len(self.biases):
            raise ValueError(
                f"Got {len(self.units)} unit types for {len(self.biases)} layers; give "
                "one for every layer, the visible one first."
            )
        for layer, unit in enumerate(self.units):
            if not isinstance(unit, UnitType):
                raise ValueError(
                    f"units[{layer}] is {unit!r}; a skdbm.units.UnitType is expected, "
                    "for example skdbm.units.Bernoulli()."
                )
            unit.check_width(len(self.biases[layer]))
            if layer and not unit.may_be_hidden:
                raise ValueError(
                    f"{unit!r} units can only be visible, and layer {layer} is hidden; "
                    "use Bernoulli or Categorical there."
                )
        self.encoding = encoding or of_unit(self.units[0])
        self._check_encoding()
        self.means = self._checked_means("means", means, ndim=1)
        self.centres = self._checked_means("centres", centres, ndim=2)

    def _checked_means(
        self, name: str, means: Sequence[ArrayLike] | None, ndim: int
    ) -> list[FloatArray] | None:
        """Check that there is a mean for each unit, or a row of them for each group."""
        if means is None:
            return None
        arrays = [check_real(f"{name}[{i}]", m, ndim=ndim) for i, m in enumerate(means)]
        sizes = [array.shape[-1] for array in arrays]
        if len({array.shape[:-1] for array in arrays}) > 1:
            raise ValueError(f"Got {name} of different numbers of groups.")
        if tuple(sizes) != self.layer_sizes:
            raise ValueError(
                f"Got {name} of {sizes} units for layers of {self.layer_sizes}."
            )
        return arrays

    def _check_encoding(self) -> None:
        """Check that the encoding gives states of the visible layer."""
        encoding, unit, n_units = self.encoding, self.units[0], self.layer_sizes[0]
        if encoding.unit != unit:
            raise ValueError(
                f"The encoding {encoding!r} gives states of {encoding.unit!r} units, "
                f"and the visible units are {unit!r}."
            )
        width = encoding.width(encoding.n_columns(n_units))
        if width != n_units:
            raise ValueError(
                f"The layer has {n_units} units, and the encoding {encoding!r} gives "
                f"states of {width}."
            )

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.layer_sizes))
        kinds = ", ".join(map(repr, dict.fromkeys(self.units)))
        return f"<DeepBoltzmannMachine {sizes}, {kinds}, {self.dtype}>"

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of units in every layer, the visible one first."""
        return tuple(len(bias) for bias in self.biases)

    @property
    def n_layers(self) -> int:
        """Number of layers, L + 1, the visible one included."""
        return len(self.biases)

    @property
    def dtype(self) -> DType:
        """Data type of all weights and biases, float32 or float64."""
        return self.biases[0].dtype

    def astype(self, dtype: DTypeLike) -> "DeepBoltzmannMachine":
        """Give this machine in another floating dtype.

        Parameters
        ----------
        dtype : dtype
            The dtype wanted; a ValueError says if it is not float32 or float64.

        Returns
        -------
        DeepBoltzmannMachine
            This machine itself if it has the dtype already, else a converted copy.
        """
        check_dtype("machine", ops.dtype(dtype))
        if self.dtype == dtype:
            return self
        return self.map(lambda array: array.astype(dtype))

    def map(
        self,
        function: Callable[..., FloatArray],
        *others: "DeepBoltzmannMachine",
    ) -> "DeepBoltzmannMachine":
        """Give the machine of which each array is a function of the present one.

        Parameters
        ----------
        function : callable
            Gets an array of weights or biases, and those of `others` that stand in the
            same place; returns one of the same shape. Nothing checks it.
        *others : DeepBoltzmannMachine
            Machines of the same layers, coupled where this one is.

        Returns
        -------
        DeepBoltzmannMachine
            A machine with the units and the encoding of this one.
        """
        result = copy.copy(self)
        weights = zip(self.weights, *(other.weights for other in others), strict=True)
        biases = zip(self.biases, *(other.biases for other in others), strict=True)
        result.weights = [function(*arrays) for arrays in weights]
        result.biases = [function(*arrays) for arrays in biases]
        return result

    def uncoupled(
        self, biases: Sequence[FloatArray] | None = None
    ) -> "DeepBoltzmannMachine":
        """Give the machine of the same units without couplings.

        Parameters
        ----------
        biases : sequence of L + 1 arrays of shape (n_l,), default=None
            Its biases; None means those of this machine.

        Returns
        -------
        DeepBoltzmannMachine
            Independent units.
        """
        result = DeepBoltzmannMachine([], biases or self.biases, self.units)
        result.encoding = self.encoding
        return result

    def with_totals(self, totals: int | IntArray | None) -> "DeepBoltzmannMachine":
        """Give the machine of rows whose visible units share known totals.

        Parameters
        ----------
        totals : int, ndarray of shape (n_rows,) or None
            What `UnitType.totals` of the visible units gives for the rows.

        Returns
        -------
        DeepBoltzmannMachine
            A machine with the same arrays and encoding; itself if the totals are None.
        """
        if totals is None:
            return self
        result = copy.copy(self)
        result.units = (self.units[0].with_totals(totals), *self.units[1:])
        return result

    def with_encoding(self, encoding: encodings.Encoding) -> "DeepBoltzmannMachine":
        """Give the machine of the same distribution for columns encoded otherwise.

        Parameters
        ----------
        encoding : Encoding
            How columns of data become states of the visible units; a ValueError says if
            it is one for other units.

        Returns
        -------
        DeepBoltzmannMachine
            A machine that shares the arrays of this one.
        """
        result = copy.copy(self)
        result.encoding = encoding
        result._check_encoding()
        return result

    def neighbours(self, layer: int) -> list[tuple[int, FloatArray]]:
        """List the layers that a layer is coupled with.

        Parameters
        ----------
        layer : int
            Index of the layer; 0 is the visible one.

        Returns
        -------
        list of (int, ndarray of shape (n_neighbour, n_layer))
            Index of each neighbour, the one below first, and the couplings.
        """
        below = [(layer - 1, self.weights[layer - 1])] if layer and self.weights else []
        above = (
            [(layer + 1, self.weights[layer].T)] if layer < len(self.weights) else []
        )
        return below + above

    def field(
        self,
        layer: int,
        states: States | Mapping[int, FloatArray],
        *,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Compute the field of one layer: b_l + s_{l-1} W_{l-1} + s_{l+1} W_l^T.

        Parameters
        ----------
        layer : int
            Index of the layer; 0 is the visible one.
        states : sequence of arrays of shape (n_rows, n_l), or a mapping
            States or means by layer; only the neighbours are looked at.
        out, scratch : ndarray of shape (n_rows, n_layer), default=None
            Where the result goes, and room for the second product.

        Returns
        -------
        ndarray of shape (n_rows, n_layer)
            The fields; without neighbours, of shape (1, n_layer).
        """
        result: FloatArray | None = None
        for neighbour, weight in self.neighbours(layer):
            if result is None:
                result = ops.product(states[neighbour], weight, out)
            else:
                result += ops.product(states[neighbour], weight, scratch)
        if result is not None:
            result += self.biases[layer]
            return result
        if out is None:
            return ops.array(self.biases[layer], ndmin=2)
        ops.copyto(out, self.biases[layer])
        return out

    def energy(
        self, states: Sequence[ArrayLike], *, dtype: DTypeLike = ops.float64
    ) -> FloatArray:
        """Compute E(s) of every row.

        Parameters
        ----------
        states : sequence of L + 1 arrays of shape (n_rows, n_l)
            States of every layer; a ValueError says if one has another width.
        dtype : dtype, default=numpy.float64
            Dtype of the products; float32 takes half the time where seven digits are
            enough.

        Returns
        -------
        ndarray of shape (n_rows,)
            The energies, in nats, float64.
        """
        arrays = [ops.asarray(state, dtype=dtype) for state in states]
        widths = tuple(state.shape[-1] for state in arrays if state.ndim == 2)
        if widths != self.layer_sizes or len({len(s) for s in arrays}) != 1:
            raise ValueError(
                f"Got states of shapes {[s.shape for s in arrays]}; expected one 2-D "
                f"array for each layer, of equal length and widths {self.layer_sizes}."
            )
        energy = ops.zeros(len(arrays[0]))
        for unit, state, bias in zip(self.units, arrays, self.biases, strict=True):
            energy += unit.base(state) - state @ bias.astype(dtype, copy=False)
        for below, weight, above in zip(arrays, self.weights, arrays[1:], strict=False):
            field = below @ weight.astype(dtype, copy=False)
            energy -= ops.row_dot(field, above)
        return energy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine to a file that holds arrays and JSON, no pickle.

        The file appears whole or not at all: it is written beside its final place and
        then renamed.

        Parameters
        ----------
        path : str or path-like
            Where to write; the name is used as it is, ``.npz`` is customary.

        See Also
        --------
        DeepBoltzmannMachine.load : Reads the file back.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from skdbm.machine import DeepBoltzmannMachine
        >>> machine = DeepBoltzmannMachine([np.eye(2)], [np.zeros(2), np.zeros(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "machine.npz")
        ...     machine.save(path)
        ...     DeepBoltzmannMachine.load(path).layer_sizes
        (2, 2)
        """
        header, arrays = parts_of(self)
        form = {"format": _FORMAT_NAME, "version": FORMAT_VERSION}
        _files.write(path, form | header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "DeepBoltzmannMachine":
        """Read a machine that `save` wrote.

        Nothing in the file is executed, so files of unknown origin are safe to try.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        DeepBoltzmannMachine
            The machine, bit for bit.

        Raises
        ------
        ValueError
            If the file is not a machine, is damaged, was written by a version of skdbm
            with a newer format, or names a unit type or encoding of your own whose
            module has not been imported.
        OSError
            If the file cannot be opened.
        """
        header, arrays = _files.read(path, _FORMAT_NAME, FORMAT_VERSION)
        with _files.undamaged(path, (UnknownTypeError,)):
            return cls(**arguments_of(header, arrays))
