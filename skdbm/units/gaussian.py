"""Real-valued visible units."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._typing import BoolArray, FloatArray, Rng, Rows
from .contract import UnitType

#: A learned scale stays within these shares of the standard deviation of the data:
#: without a lower end the likelihood of a column that the others determine has no
#: maximum, and its precision runs away.
SCALE_BOUNDS = (0.05, 2.0)

#: Rows from which the largest variance is taken.
ROWS_FOR_VARIANCE = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Gaussian(UnitType):
    """Real values: s given the field x is normal with mean x and variance 1.

    A(x) = x^2 / 2 + log(2 pi) / 2 and base(s) = s^2 / 2. A column v enters as
    s = (v - loc) / scale, so `scale` is the standard deviation of v given the hidden
    units and 1 / scale^2 its precision. Training learns it together with the weights
    [1]_: since it belongs to the encoding, the partition function does not depend on
    it, and its gradient needs no samples of the model.

    Parameters
    ----------
    loc : array-like of shape (n_units,), default=None
        What is subtracted from every column; None until `fit`.
    scale : array-like of shape (n_units,), default=None
        Standard deviation of every column given the hidden units; None until `fit`.
    spread : array-like of shape (n_units,), default=None
        Standard deviation of every column in the data, of which the scale stays a
        share of 0.05 to 2; None means the scale.
    largest_variance : float, default=1.0
        Largest variance of the encoded data in any direction: 1 for independent
        columns, their number for equal ones. The learning rate is divided by it.
    n_copies : int, default=1
        Number of tied copies whose sum a state is, see `tied_copies`.

    Raises
    ------
    ValueError
        If a scale is not positive or a value is not finite.

    See Also
    --------
    Bernoulli : For values between 0 and 1.
    Mixed : For columns of several types.

    Notes
    -----
    In a hidden layer they are not allowed: two layers of Gaussian units can have an
    energy without a lower end.

    References
    ----------
    .. [1] K. Cho, A. Ilin and T. Raiko, "Improved learning of Gaussian-Bernoulli
       restricted Boltzmann machines", ICANN 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Gaussian
    >>> unit = Gaussian().fit(np.array([[0.0], [4.0]]))
    >>> unit.encode(np.array([[2.0], [6.0]]))
    array([[0.],
           [2.]])
    >>> unit.decode(np.array([[-1.0]]))
    array([[0.]])
    """

    loc: FloatArray | None = None
    scale: FloatArray | None = None
    spread: FloatArray | None = None
    largest_variance: float = 1.0
    n_copies: int = 1

    may_be_hidden = False
    #: Tied copies have twice the variance of free ones, which weights without bound
    #: would have to explain.
    may_be_doubled = False

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            0.3 over the largest variance, for a single copy.
        """
        return 0.3 / (self.largest_variance * self.n_copies)

    def __init__(
        self,
        loc: npt.ArrayLike | None = None,
        scale: npt.ArrayLike | None = None,
        spread: npt.ArrayLike | None = None,
        largest_variance: float = 1.0,
        n_copies: int = 1,
    ) -> None:
        vectors = {"loc": loc, "scale": scale}
        vectors["spread"] = scale if spread is None else spread
        for name, value in vectors.items():
            array = None
            if value is not None:
                array = np.array(value, dtype=np.float64)  # a copy of its own
                array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "largest_variance", largest_variance)
        object.__setattr__(self, "n_copies", n_copies)
        if (self.loc is None) != (self.scale is None):
            raise ValueError("Give both loc and scale of Gaussian units, or neither.")
        if self.loc is None or self.scale is None or self.spread is None:
            return
        arrays = (self.loc, self.scale, self.spread)
        valid = all(array.ndim == 1 and np.isfinite(array).all() for array in arrays)
        if not valid or len({len(array) for array in arrays}) != 1:
            raise ValueError(
                "loc, scale and spread of Gaussian units must be vectors of finite "
                f"numbers of one length; got shapes {[a.shape for a in arrays]}."
            )
        if not (np.all(self.scale > 0) and np.all(self.spread > 0)):
            raise ValueError("Every scale of Gaussian units must be positive.")

    def __repr__(self) -> str:
        return "Gaussian()" if self.n_copies == 1 else f"Gaussian(x{self.n_copies})"

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute A(x) = (x^2 + log(2 pi)) / 2, summed over the units of each row.

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
        square = np.square(field, dtype=np.float64)
        return self.n_copies / 2 * ops.row_sum(square + np.log(2 * np.pi), where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute the mean x of every unit.

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
        return np.multiply(field, field.dtype.type(self.n_copies), out=out)

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw normal values with mean x and variance 1.

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
        noise = np.empty_like(field) if scratch is None else scratch
        ops.normal(rng, noise)
        if self.n_copies != 1:
            noise *= noise.dtype.type(np.sqrt(self.n_copies))
        out = self.mean(field, out=out)
        out += noise
        return out

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: x = m.

        Parameters
        ----------
        mean : ndarray of shape (..., n_units)
            The means.

        Returns
        -------
        ndarray of the same shape
            The fields.
        """
        return np.asarray(mean) / self.n_copies

    def bias_of_data(self, mean: FloatArray, n_rows: int) -> FloatArray:
        """Give the means of the data.

        Parameters
        ----------
        mean : ndarray of shape (n_units,)
            Means of the states.
        n_rows : int
            Not used.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """
        return self.field_of_mean(mean)

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute (log(2 pi) - m^2) / 2, summed over each row.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means m.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies relative to exp(-base(s)), in nats, float64.
        """
        square = np.square(np.asarray(mean, dtype=np.float64) / self.n_copies)
        return self.n_copies / 2 * ops.row_sum(np.log(2 * np.pi) - square, where)

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variance of every unit and its derivative by the mean.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means m.

        Returns
        -------
        variance : ndarray of shape (n_rows, n_units)
            The variances, 1 for a single copy.
        slope : ndarray of shape (n_rows, n_units)
            Zeros.
        """
        return np.full_like(mean, self.n_copies), np.zeros_like(mean)

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute s^2 / 2, summed over each row.

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
        n = self.n_copies
        square = np.square(states, dtype=np.float64) / (2 * n)
        # The convolution of n densities exp(-s^2 / 2) has this factor.
        constant = (np.log(n) - (n - 1) * np.log(2 * np.pi)) / 2
        return ops.row_sum(square + constant, where)

    def tied_copies(self, n_copies: int) -> "Gaussian":
        """Give the unit type of the sum of `n_copies` units of one field.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        Gaussian
            Units with mean n x and variance n.
        """
        return replace(self, n_copies=self.n_copies * n_copies)

    def n_states(self, n_units: int) -> float:
        """Count the joint states.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        float
            Infinity.
        """
        return np.inf

    def check_width(self, n_units: int) -> None:
        """Check that a layer may have so many units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Raises
        ------
        ValueError
            If `loc` and `scale` are of another length.
        """
        if self.loc is not None and len(self.loc) != n_units:
            raise ValueError(
                f"The layer has {n_units} units, and its Gaussian unit type loc and "
                f"scale of length {len(self.loc)}."
            )

    def automatic_rate(self, n_columns: int, n_above: int) -> float:
        """Give the learning rate that suits visible units of this type untuned.

        The mean of a binary unit saturates; that of a real one sums over all hidden
        units, so their number counts as well.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.
        n_above : int
            Number of units in the first hidden layer.

        Returns
        -------
        float
            The rate of binary units, at most 25 over the number of hidden units.
        """
        return min(super().automatic_rate(n_columns, n_above), 25 / n_above)

    def fit(self, X: Rows) -> "Gaussian":
        """Take means and standard deviations of the columns.

        A column that does not vary gets the scale 1.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.

        Returns
        -------
        Gaussian
            The unit type for these columns.
        """
        loc = ops.column_means(X)
        scale = np.sqrt(ops.column_means(X, lambda part: (part - loc) ** 2))
        # A column that varies by less than the rounding of its mean does not vary.
        dtype = np.result_type(X.dtype, np.float32)
        varies = scale > 4 * np.finfo(dtype).eps * np.abs(loc)
        scale = np.where(varies & (scale > 0), scale, 1.0)
        some = (X[:: -(-len(X) // ROWS_FOR_VARIANCE)] - loc) / scale
        some = np.nan_to_num(some)
        variance = np.linalg.norm(some, ord=2) ** 2 / max(1, len(some))
        return replace(
            self,
            loc=loc,
            scale=scale,
            spread=None,
            # Three digits, so that rounding of the data does not reach the weights.
            largest_variance=max(1.0, float(f"{variance:.3g}")),
        )

    def encode(self, X: Rows, out: FloatArray | None = None) -> Rows:
        """Compute s = (v - loc) / scale.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values v of the columns; NaN where missing.
        out : ndarray of the same shape, default=None
            Where the states go; `X` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, in the dtype of `X`.
        """
        if self.loc is None or self.scale is None:
            return super().encode(X, out)
        out = np.subtract(X, self.loc.astype(X.dtype), out=out)
        out /= self.scale.astype(X.dtype)
        return out

    def decode(self, states: FloatArray) -> FloatArray:
        """Compute v = loc + scale s.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            States or means s.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The values, in the dtype of `states`.
        """
        if self.loc is None or self.scale is None:
            return states
        dtype = states.dtype
        return states * self.scale.astype(dtype) + self.loc.astype(dtype)

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Compute -sum log(scale) over the observed columns of every row.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """
        if self.scale is None:
            return np.zeros(len(X))
        logs = np.log(self.scale)
        result, missing = np.full(len(X), -logs.sum()), np.isnan(X)
        rows = missing.any(axis=1)
        result[rows] += missing[rows] @ logs
        return result

    @property
    def learned(self) -> FloatArray:
        """Logarithms of the scales.

        Returns
        -------
        ndarray of shape (n_units,)
            The logarithms; empty before `fit`.
        """
        return super().learned if self.scale is None else np.log(self.scale)

    def with_learned(self, values: FloatArray) -> "Gaussian":
        """Give this unit type with other scales.

        Parameters
        ----------
        values : ndarray of shape (n_units,)
            Logarithms of the scales; those out of bounds are moved inwards.

        Returns
        -------
        Gaussian
            The unit type.
        """
        if self.scale is None or self.spread is None:
            return self
        lowest, highest = (self.spread * share for share in SCALE_BOUNDS)
        scale = np.clip(np.exp(values), lowest, highest)
        return replace(self, scale=scale)

    def learned_gradient(
        self, states: FloatArray, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute the gradient by log(scale): the mean of s (s - x) - 1.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            States s of the data.
        field : ndarray of the same shape
            Fields x given the means of the first hidden layer.
        where : ndarray of bool of the same shape, default=None
            Which states were observed; None means all.

        Returns
        -------
        ndarray of shape (n_units,)
            The mean gradient over the rows.
        """
        s = states / self.n_copies
        terms = s * (s - field) - 1.0
        if where is not None:
            terms *= where
        means: FloatArray = terms.mean(axis=0, dtype=np.float64)
        return self.n_copies * means

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the parameters.
        """
        arrays = {
            name: None if getattr(self, name) is None else getattr(self, name).tolist()
            for name in ("loc", "scale", "spread")
        }
        numbers = {
            "largest_variance": self.largest_variance,
            "n_copies": self.n_copies,
        }
        return {"type": "Gaussian", **arrays, **numbers}
