"""A visible layer made of columns of several types."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .._typing import BoolArray, FloatArray, IntArray, Rng, Rows
from .contract import UnitType


@dataclass(frozen=True, eq=False)
class Mixed(UnitType):
    """Groups of columns, each with a unit type of its own.

    Given the hidden units the groups are independent, so everything about the layer
    is put together from its parts. The units of the parts stand one part after the
    other, whatever the order of the columns.

    Parameters
    ----------
    parts : sequence of (UnitType, sequence of int)
        Unit types and the indices of their columns; every column is in one part.

    Raises
    ------
    ValueError
        If a column is in no part or in several, or a part is made of rows that share
        a total, as `Counts` is.

    See Also
    --------
    Gaussian : For real values.
    Bernoulli : For values between 0 and 1.
    Categorical : For categories.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Bernoulli, Categorical, Mixed
    >>> unit = Mixed([(Categorical((3,)), [1]), (Bernoulli(), [0, 2])])
    >>> unit.encode(np.array([[1.0, 2.0, 0.0]]))
    array([[0., 0., 1., 1., 0.]])
    >>> unit.decode(np.array([[0.0, 0.0, 1.0, 1.0, 0.0]]))
    array([[1., 2., 0.]])
    """

    parts: tuple[tuple[UnitType, IntArray], ...]

    may_be_hidden = False

    def __init__(self, parts: Iterable[tuple[UnitType, npt.ArrayLike]]) -> None:
        pairs = [(unit, np.asarray(columns, dtype=np.intp)) for unit, columns in parts]
        object.__setattr__(self, "parts", tuple(pairs))
        if not pairs:
            raise ValueError("Mixed units need at least one part.")
        found = np.sort(np.concatenate([columns for _, columns in pairs]))
        if not np.array_equal(found, np.arange(len(found))):
            raise ValueError(
                "Every column must be in one part of Mixed units; got columns "
                f"{[columns.tolist() for _, columns in pairs]}."
            )
        for unit, columns in pairs:
            probe = np.zeros((1, len(columns)))
            if unit.totals(probe) is not None:
                raise ValueError(
                    f"{unit!r} cannot be a part of Mixed units: its rows share a total."
                )

    def __repr__(self) -> str:
        inside = ", ".join(f"{unit!r} x {len(c)}" for unit, c in self.parts)
        return f"Mixed({inside})"

    @property
    def is_categorical(self) -> bool:
        """Whether some columns hold categories.

        Returns
        -------
        bool
            Whether a part is categorical.
        """
        return any(unit.is_categorical for unit, _ in self.parts)

    @property
    def may_be_doubled(self) -> bool:
        """Whether greedy pretraining may double the layer.

        Returns
        -------
        bool
            Whether it may double every part.
        """
        return all(unit.may_be_doubled for unit, _ in self.parts)

    @cached_property
    def _slices(self) -> list[tuple[UnitType, slice, IntArray]]:
        """Each unit type with the slice of its units and its columns."""
        start, result = 0, []
        for unit, columns in self.parts:
            stop = start + unit.width(len(columns))
            result.append((unit, slice(start, stop), columns))
            start = stop
        return result

    def _sum(
        self, method: str, array: FloatArray, where: BoolArray | None
    ) -> FloatArray:
        """Sum what a method gives for every part over the parts."""
        total = np.zeros(len(array))
        for unit, units, _ in self._slices:
            part = None if where is None else where[:, units]
            total += getattr(unit, method)(array[:, units], part)
        return total

    def _join(self, method: str, array: FloatArray, *args: int) -> FloatArray:
        """Put side by side what a method gives for every part."""
        return np.concatenate(
            [
                getattr(unit, method)(array[..., units], *args)
                for unit, units, _ in self._slices
            ],
            axis=-1,
        )

    def _with_parts(self, units: Sequence[UnitType]) -> "Mixed":
        columns = [columns for _, columns in self.parts]
        return replace(self, parts=tuple(zip(units, columns, strict=True)))

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute A(x), summed over the units of each row.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """
        return self._sum("log_partition", field, where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute the mean of every unit.

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
        out = np.empty_like(field) if out is None else out
        for unit, units, _ in self._slices:
            unit.mean(field[:, units], out=out[:, units])
        return out

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw a state of every unit.

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
        out = np.empty_like(field) if out is None else out
        for unit, units, _ in self._slices:
            room = None if scratch is None else scratch[:, units]
            unit.sample(field[:, units], rng, out=out[:, units], scratch=room)
        return out

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean.

        Parameters
        ----------
        mean : ndarray of shape (..., n_units)
            Means strictly inside their range.

        Returns
        -------
        ndarray of the same shape
            The fields.
        """
        return self._join("field_of_mean", mean)

    def bias_of_data(self, mean: FloatArray, n_rows: int) -> FloatArray:
        """Give the bias at which free units have the means of the data.

        Parameters
        ----------
        mean : ndarray of shape (n_units,)
            Means of the states.
        n_rows : int
            Number of rows they were taken from.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """
        return self._join("bias_of_data", mean, n_rows)

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute the entropy of units with these means, summed over each row.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies relative to exp(-base(s)), in nats, float64.
        """
        return self._sum("entropy", mean, where)

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variance of every unit and its derivative by the mean.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means.

        Returns
        -------
        variance : ndarray of shape (n_rows, n_units)
            The variances, zero for the units of groups.
        slope : ndarray of shape (n_rows, n_units)
            Their derivatives.
        """
        parts = [unit.reaction(mean[:, units]) for unit, units, _ in self._slices]
        variances, slopes = zip(*parts, strict=True)
        return np.concatenate(variances, axis=1), np.concatenate(slopes, axis=1)

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
            The sums, float64.
        """
        return self._sum("base", states, where)

    def tied_copies(self, n_copies: int) -> "Mixed":
        """Give the unit type of the sum of `n_copies` layers of one field.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        Mixed
            The tied copies of every part.
        """
        return self._with_parts([unit.tied_copies(n_copies) for unit, _ in self.parts])

    def n_states(self, n_units: int) -> float:
        """Count the joint states.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int or float
            The product of the numbers of the parts.
        """
        counts = [
            unit.n_states(units.stop - units.start) for unit, units, _ in self._slices
        ]
        # An integer may be too large to be multiplied with infinity.
        return np.inf if np.inf in counts else math.prod(counts)

    def states(self, index: IntArray, n_units: int, dtype: npt.DTypeLike) -> FloatArray:
        """List joint states by their number, the first part running fastest.

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
            One joint state a row.
        """
        index, result = np.asarray(index), []
        for unit, units, _ in self._slices:
            width = units.stop - units.start
            n_states = int(unit.n_states(width))
            result.append(unit.states(index % n_states, width, dtype))
            index = index // n_states
        return np.hstack(result)

    def check_width(self, n_units: int) -> None:
        """Check that a layer may have so many units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Raises
        ------
        ValueError
            If the parts have another number of units together.
        """
        slices = self._slices
        for unit, units, _ in slices:
            unit.check_width(units.stop - units.start)
        if slices[-1][1].stop != n_units:
            raise ValueError(
                f"The layer has {n_units} units, and the parts of {self!r} "
                f"{slices[-1][1].stop} together."
            )

    def automatic_rate(self, n_columns: int, n_above: int) -> float:
        """Give the learning rate that suits visible units of this type untuned.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.
        n_above : int
            Number of units in the first hidden layer.

        Returns
        -------
        float
            The smallest of the parts.
        """
        return min(unit.automatic_rate(n_columns, n_above) for unit, _ in self.parts)

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            The smallest of the parts.
        """
        return min(unit.rate_factor for unit, _ in self.parts)

    def fit(self, X: Rows) -> "Mixed":
        """Learn from the data what encoding needs.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.

        Returns
        -------
        Mixed
            The unit type with every part fitted to its columns.
        """
        return self._with_parts([unit.fit(X[:, cols]) for unit, cols in self.parts])

    def width(self, n_columns: int) -> int:
        """Count the units that stand for all columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        int
            Number of units.
        """
        return int(self._slices[-1][1].stop)

    def n_columns(self, n_units: int) -> int:
        """Count the columns of all parts.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int
            Number of columns.
        """
        return sum(len(columns) for _, columns in self.parts)

    def encode(self, X: Rows, out: FloatArray | None = None) -> FloatArray:
        """Turn values of columns into states, or means, of the units.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.
        out : ndarray of shape (n_rows, n_units), default=None
            Where the states go.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, NaN where missing.
        """
        if out is None:
            out = np.empty((len(X), self.width(X.shape[1])), X.dtype)
        for unit, units, columns in self._slices:
            unit.encode(X[:, columns], out=out[:, units])
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
        X = np.empty((len(states), self.n_columns(states.shape[1])), states.dtype)
        for unit, units, columns in self._slices:
            X[:, columns] = unit.decode(states[:, units])
        return X

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Compute the log-determinant of the derivative of `encode`.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values of the columns; those that are missing (NaN) do not count.

        Returns
        -------
        ndarray of shape (n_rows,)
            The logarithms, in nats, float64.
        """
        total = np.zeros(len(X))
        for unit, columns in self.parts:
            total += unit.log_jacobian(X[:, columns])
        return total

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
            The states.
        """
        out = np.empty_like(mean) if out is None else out
        for unit, units, _ in self._slices:
            out[:, units] = unit.sample_of_mean(mean[:, units], rng)
        return out

    def columns(self, n_columns: int) -> list[tuple[UnitType, slice | IntArray]]:
        """List the unit types of the columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        list of (UnitType, ndarray of int)
            Each unit type with its columns.
        """
        return list(self.parts)

    @property
    def learned(self) -> FloatArray:
        """Parameters of the encoding that training goes on to learn.

        Returns
        -------
        ndarray of shape (n_learned,)
            Those of the parts, one after the other.
        """
        return np.concatenate([unit.learned for unit, _ in self.parts])

    def with_learned(self, values: FloatArray) -> "Mixed":
        """Give this unit type with other learned parameters.

        Parameters
        ----------
        values : ndarray of shape (n_learned,)
            The values; those out of bounds are moved inwards.

        Returns
        -------
        Mixed
            The unit type.
        """
        ends = np.cumsum([len(unit.learned) for unit, _ in self.parts])
        parts = np.split(values, ends[:-1])
        return self._with_parts(
            [
                unit.with_learned(part)
                for (unit, _), part in zip(self.parts, parts, strict=True)
            ]
        )

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
        return np.concatenate(
            [
                unit.learned_gradient(
                    states[:, units],
                    field[:, units],
                    None if where is None else where[:, units],
                )
                for unit, units, _ in self._slices
            ]
        )

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the descriptions of the parts.
        """
        return {
            "type": "Mixed",
            "parts": [[unit.spec(), columns.tolist()] for unit, columns in self.parts],
        }
