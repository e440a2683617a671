"""What a unit type has to know; see the package's docstring for the idea."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .. import ops
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray, Rng, Rows


class UnitType(ABC):
    """The contract of a unit type.

    Arrays of fields, means and states have shape (n_rows, n_units). What is summed
    over the units of a row is summed in float64, and no method changes what it is
    given unless it is told so by ``out``. Unit types are immutable values, frozen
    dataclasses as a rule: two layers may share one. The methods with a default need a
    version of their own only where the default is wrong.

    Attributes
    ----------
    may_be_hidden : bool
        Whether the units may form a hidden layer; true unless overridden.
    n_copies : int
        How many tied copies of the plainest unit one unit is, 1 unless overridden.
        Steps of training are divided by it.

    See Also
    --------
    Bernoulli, Binomial, Gaussian, Categorical, ReplicatedSoftmax, Mixed : Unit types.
    skdbm.encodings.Encoding : How columns of data become states.

    Examples
    --------
    >>> from skdbm.units import Bernoulli, UnitType
    >>> isinstance(Bernoulli(), UnitType)
    True
    """

    may_be_hidden: bool = True

    @property
    def n_copies(self) -> int:
        """How many tied copies of the plainest unit one unit is."""
        return 1

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, UnitType):
            return False
        return type(self) is type(other) and self.spec() == other.spec()

    def __hash__(self) -> int:
        return hash(repr(self.spec()))

    @abstractmethod
    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute A(x), summed over the units of each row.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        where : ndarray of bool of the same shape, default=None
            The units to sum over, groups only as a whole; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """

    @abstractmethod
    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute the mean A'(x) of every unit.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        out : ndarray of the same shape, default=None
            Where the result goes; `field` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The means, in the dtype of `field`.
        """

    @abstractmethod
    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw a state of every unit from p(s) = exp(x s - base(s) - A(x)).

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        rng : numpy.random.Generator
            Source of the draws.
        out, scratch : ndarray of the same shape, default=None
            Where the result goes, which may be `field` itself; and room for values in
            between, so that nothing is allocated.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, in the dtype of `field`.
        """

    @abstractmethod
    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: a field x with A'(x) = mean.

        Parameters
        ----------
        mean : ndarray of shape (..., n_units)
            Means strictly inside their range.

        Returns
        -------
        ndarray of the same shape
            The fields.
        """

    @abstractmethod
    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute the entropy of units with these means, summed over each row.

        Relative to exp(-base(s)) it is A(x) - x A'(x) at the field x of this mean: a
        function of the mean alone, so that saturated units in float32 lose nothing.

        Parameters
        ----------
        mean, where : ndarray of shape (n_rows, n_units)
            The means A'(x), and the units to sum over, as for `log_partition`.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies, in nats, float64.
        """

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute base(s), summed over the units of each row.

        Parameters
        ----------
        states, where : ndarray of shape (n_rows, n_units)
            The states, and the units to sum over, as for `log_partition`.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, float64; zero by default.
        """
        return ops.zeros(states.shape[0])

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variance of every unit and its derivative by the mean.

        Corrections of mean field to second order consist of them. By default both are
        zero, which leaves out units that depend on each other within a group.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means A'(x).

        Returns
        -------
        variance, slope : ndarrays of shape (n_rows, n_units)
            A''(x) as a function of the mean, and its derivative A'''(x) / A''(x).
        """
        nothing = ops.zeros_like(mean)
        return nothing, nothing

    def mean_vjp(self, mean: FloatArray, gradient: FloatArray) -> FloatArray:
        """Carry a gradient by the means back to one by the fields.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means A'(x).
        gradient : ndarray of shape (n_rows, n_units)
            The derivative of a number by every mean.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            Its derivative by every field: by default for units that depend on nothing
            but their own field, A''(x) times `gradient`.
        """
        return self.reaction(mean)[0] * gradient

    @abstractmethod
    def tied_copies(self, n_copies: int) -> "UnitType":
        """Give the unit type of the sum of `n_copies` independent units of one field.

        Greedy pretraining uses it: a layer that will later be fed from both sides is
        trained with the side at hand doubled.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        UnitType
            The one whose log-partition is `n_copies` times this one's.
        """

    @abstractmethod
    def n_states(self, n_units: int) -> float:
        """Count the joint states of `n_units` units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int or float
            The exact number, or infinity where the states cannot be enumerated.
        """

    def states(self, index: IntArray, n_units: int, dtype: DTypeLike) -> FloatArray:
        """List joint states by their number.

        Parameters
        ----------
        index : ndarray of int of shape (n_rows,)
            Numbers from 0 to ``n_states(n_units) - 1``.
        n_units, dtype : int, floating dtype
            Number of units in the layer, and the dtype of the result.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            Another joint state for each number; a TypeError says if there is no list.
        """
        raise TypeError(f"The states of {self!r} cannot be enumerated.")

    def check_width(  # noqa: B027 (any width is right by default)
        self, n_units: int
    ) -> None:
        """Raise a ValueError if the unit type is made for another number of units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.
        """

    def totals(self, states: Rows) -> IntArray | None:
        """Give what the units of each row share and condition on, if anything.

        Parameters
        ----------
        states : {ndarray, CSR matrix or array} of shape (n_rows, n_units)
            Visible states.

        Returns
        -------
        ndarray of int of shape (n_rows,), or None
            A number for each row; None, the default, if the rows share nothing.
        """
        return None

    def with_totals(self, totals: int | IntArray | None) -> "UnitType":
        """Give the unit type of rows with known totals.

        Parameters
        ----------
        totals : int, ndarray of int of shape (n_rows,), or None
            What `totals` gives for rows.

        Returns
        -------
        UnitType
            The unit type; itself by default.
        """
        return self

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type", and the arguments that make an equal one: by
            default the fields of a dataclass.
        """
        this: Any = self  # unit types are dataclasses, their contract is none
        return {"type": type(self).__name__, **asdict(this)}


class UnknownTypeError(ValueError):
    """A description names a class that is not there."""


def from_spec(spec: Mapping[str, Any]) -> UnitType:
    """Build the unit type that `UnitType.spec` described."""
    cls, parameters = named(UnitType, spec)
    if "parts" in parameters:
        parameters["parts"] = [(from_spec(s), n) for s, n in parameters["parts"]]
    unit: UnitType = cls(**parameters)
    return unit


def named(base: Any, spec: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Find the subclass that a description names; the rest are its parameters."""
    parameters, known = dict(spec), _subclasses(base)
    name = parameters.pop("type", None)
    if name not in known:
        raise UnknownTypeError(
            f"Unknown {base.__name__} {name!r}; known are {sorted(known)}. If it is a "
            "class of your own, import the module that defines it first."
        )
    return known[name], parameters


def _subclasses(base: Any) -> dict[str, Any]:
    """All classes below a class by their names, the newest of each name."""
    found: dict[str, Any] = {}
    for cls in base.__subclasses__():
        found |= {cls.__name__: cls} | _subclasses(cls)
    return found
