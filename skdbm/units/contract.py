"""What a unit type has to know; see the package's docstring for the idea."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from .._typing import BoolArray, FloatArray, IntArray, Rng, Rows

_NOTHING = np.empty(0)


class UnitType(ABC):
    """The contract of a unit type.

    Arrays of fields, means and states have shape (n_rows, n_units). What is summed
    over the units of a row is summed in float64. Unit types are immutable values:
    two layers may share one.

    A visible layer is filled from columns of data, and a unit type also knows that
    way: `fit` learns from the data what it needs, `encode` turns values of columns
    into states, and `decode` turns them back. What is missing is NaN on both sides.
    The methods with a default here need a version of their own only where the default
    is wrong.

    See Also
    --------
    Bernoulli : Units with states 0 and 1.
    Gaussian : Real values with a learned standard deviation.
    Categorical : Groups of units of which one is on.
    Counts : Counts that share a total, as words of a text.
    Mixed : Columns of several types.

    Examples
    --------
    >>> from skdbm.units import Bernoulli, UnitType
    >>> isinstance(Bernoulli(), UnitType)
    True
    """

    #: Whether the units may form a hidden layer.
    may_be_hidden: bool = True

    #: Whether values of columns may be missing.
    may_be_missing: bool = True

    #: Whether the columns may come as a sparse matrix.
    accepts_sparse: bool = False

    #: Whether values of columns are whole numbers or stand for some.
    holds_codes: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnitType):
            return False
        return type(self) is type(other) and self.spec() == other.spec()

    def __hash__(self) -> int:
        return hash(repr(self.spec()))

    # What depends on the parameters of some types is a property, which a type may
    # override by a plain attribute.

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper end of what a value of a column can be.

        Returns
        -------
        tuple of float
            Minus and plus infinity by default.
        """
        return (-np.inf, np.inf)

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            The larger their variance, the smaller the step that is stable. A binary
            unit has 1.
        """
        return 1.0

    @property
    def may_be_doubled(self) -> bool:
        """Whether greedy pretraining may double the layer where a neighbour is missing.

        Returns
        -------
        bool
            True by default.
        """
        return True

    @property
    def is_categorical(self) -> bool:
        """Whether values of columns are categories rather than numbers.

        Returns
        -------
        bool
            False by default.
        """
        return False

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
            The units to sum over; None means all. It holds all units of a group or
            none.

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
            The means.
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
        out : ndarray of the same shape, default=None
            Where the result goes; `field` itself is allowed.
        scratch : ndarray of the same shape, default=None
            Room for intermediate values, so that nothing is allocated.

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
    def bias_of_data(self, mean: FloatArray, n_rows: int) -> FloatArray:
        """Give the bias at which free units have the means of the data.

        Parameters
        ----------
        mean : ndarray of shape (n_units,)
            Means of the states.
        n_rows : int
            Number of rows they were taken from; decides how far a mean at the end of
            its range is moved inwards.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """

    def resting_bias(self, n_units: int, activity: float) -> FloatArray:
        """Give the biases with which units of a hidden layer begin their training.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.
        activity : float
            Mean of a unit that is mostly off.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """
        return self.field_of_mean(np.full(n_units, activity))

    @abstractmethod
    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute the entropy of units with these means, summed over each row.

        It is taken relative to exp(-base(s)), hence A(x) - x A'(x) at the field x
        that has this mean, and a function of the mean alone, so that saturated
        units in float32 lose nothing.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means A'(x).
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies, in nats, float64.
        """

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute base(s), summed over the units of each row.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            The states.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, float64; zero by default.
        """
        return np.zeros(states.shape[0])

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variance of every unit and its derivative by the mean.

        Corrections of mean field of the second order consist of them; see
        `skdbm.inference.second_order_fields`. By default both are zero, which leaves
        units out of such corrections: those that depend on each other within a group.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means A'(x).

        Returns
        -------
        variance : ndarray of shape (n_rows, n_units)
            The variances A''(x), functions of the mean.
        slope : ndarray of shape (n_rows, n_units)
            Their derivatives by the mean, A'''(x) / A''(x).
        """
        nothing = np.zeros_like(mean)
        return nothing, nothing

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
            The unit type whose log-partition is `n_copies` times this one's.
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

    def states(self, index: IntArray, n_units: int, dtype: npt.DTypeLike) -> FloatArray:
        """List joint states by their number.

        Parameters
        ----------
        index : ndarray of int of shape (n_rows,)
            Numbers from 0 to ``n_states(n_units) - 1``.
        n_units : int
            Number of units in the layer.
        dtype : dtype
            Floating dtype of the result.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            One joint state a row; each number gives another one.

        Raises
        ------
        TypeError
            If the states cannot be enumerated.
        """
        raise TypeError(f"The states of {self!r} cannot be enumerated.")

    def check_width(  # noqa: B027 (any width is right by default)
        self, n_units: int
    ) -> None:
        """Check that a layer may have so many units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Raises
        ------
        ValueError
            If the unit type is made for another number.
        """

    def automatic_rate(self, n_columns: int, n_above: int) -> float:
        """Give the learning rate that suits visible units of this type untuned.

        The field of a hidden unit sums over the columns, so a step moves it in
        proportion to their number.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.
        n_above : int
            Number of units in the first hidden layer.

        Returns
        -------
        float
            6.4 over the number of columns, at most a tenth.
        """
        return min(0.1, 6.4 / n_columns)

    def check(  # noqa: B027 (any value is right by default)
        self, values: FloatArray
    ) -> None:
        """Check values of columns that lie in `bounds`.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Values of the columns, NaN where missing; of a sparse matrix only those
            that are stored.

        Raises
        ------
        ValueError
            If a value does not suit the unit type.
        """

    def fit(self, X: Rows) -> "UnitType":
        """Learn from the data what encoding needs.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.

        Returns
        -------
        UnitType
            The unit type for these columns; itself where there is nothing to learn.

        Raises
        ------
        ValueError
            If the values do not suit the unit type.
        """
        return self

    def width(self, n_columns: int) -> int:
        """Count the units that stand for some columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        int
            Number of units.
        """
        return n_columns

    def n_columns(self, n_units: int) -> int:
        """Count the columns for which some units stand.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int
            Number of columns of data.
        """
        return n_units

    def encode(self, X: Rows, out: FloatArray | None = None) -> Rows:
        """Turn values of columns into states, or means, of the units.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.
        out : ndarray of shape (n_rows, n_units), default=None
            Where the states go.

        Returns
        -------
        {ndarray, CSR matrix or array} of shape (n_rows, n_units)
            The states, NaN where missing; `X` itself where nothing changes.
        """
        if out is None:
            return X
        np.copyto(out, X)
        return out

    def decode(self, states: FloatArray) -> FloatArray:
        """Turn states, or means, of the units into values of columns.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            States or means.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The values.
        """
        return states

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Compute the log-determinant of the derivative of `encode`, for densities.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns; those that are missing (NaN) do not count.

        Returns
        -------
        ndarray of shape (n_rows,)
            The logarithms, in nats, float64; zero for discrete units.
        """
        return np.zeros(X.shape[0])

    def sample_of_mean(
        self, mean: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Draw states of visible units where the data give means.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            Encoded data.
        rng : numpy.random.Generator
            Source of the draws.
        out : ndarray of the same shape, default=None
            Where the result goes; `mean` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states; the data themselves by default.
        """
        if out is None or out is mean:
            return mean
        np.copyto(out, mean)
        return out

    def columns(self, n_columns: int) -> list[tuple["UnitType", slice | IntArray]]:
        """List the unit types of the columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        list of (UnitType, slice or ndarray of int)
            Each unit type with its columns.
        """
        return [(self, slice(0, n_columns))]

    @property
    def learned(self) -> FloatArray:
        """Parameters of the encoding that training goes on to learn.

        Returns
        -------
        ndarray of shape (n_learned,)
            Their values; empty by default.
        """
        return _NOTHING

    def with_learned(self, values: FloatArray) -> "UnitType":
        """Give this unit type with other learned parameters.

        Parameters
        ----------
        values : ndarray of shape (n_learned,)
            The values; those out of bounds are moved inwards.

        Returns
        -------
        UnitType
            The unit type.
        """
        return self

    def learned_gradient(
        self, states: FloatArray, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute the gradient of log p of the data by the learned parameters.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            States of the data.
        field : ndarray of the same shape
            Fields of the visible units given the means of the first hidden layer.
        where : ndarray of bool of the same shape, default=None
            Which states were observed; None means all.

        Returns
        -------
        ndarray of shape (n_learned,)
            The mean gradient over the rows.
        """
        return _NOTHING

    def totals(self, states: Rows) -> IntArray | None:
        """Give what the units of each row share and condition on, if anything.

        Parameters
        ----------
        states : {ndarray, CSR matrix or array} of shape (n_rows, n_units)
            States of the units.

        Returns
        -------
        ndarray of int of shape (n_rows,), or None
            The total of every row for units that share one; else None.
        """
        return None

    def with_totals(self, totals: int | IntArray | None) -> "UnitType":
        """Give the unit type of rows with known totals.

        Parameters
        ----------
        totals : int, ndarray of shape (n_rows,) or None
            Totals of the rows that `log_partition`, `mean` and `sample` will see, or
            one for all rows.

        Returns
        -------
        UnitType
            The unit type; itself where rows share nothing.
        """
        return self

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the parameters.
        """
        this: Any = self  # unit types are dataclasses, their contract is none
        return {"type": type(self).__name__, **asdict(this)}
