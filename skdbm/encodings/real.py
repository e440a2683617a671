"""Columns of real values."""

from dataclasses import dataclass
from typing import Any

from .. import ops
from .._typing import ArrayLike, BoolArray, FloatArray, Rows
from ..units import Gaussian, UnitType
from .contract import Encoding

#: A learned scale stays within these shares of the standard deviation of the data:
#: without a lower end the likelihood of a column that the others determine has no
#: maximum, and its precision runs away.
SCALE_BOUNDS = (0.05, 2.0)

#: Rows from which the largest variance is taken.
ROWS_FOR_VARIANCE = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Real(Encoding):
    """Real values v, as states s = (v - loc) / scale of Gaussian units.

    So `scale` is the standard deviation of v given the hidden units and 1 / scale^2 its
    precision. Training learns it together with the weights [1]_: since it belongs to
    the encoding, the partition function does not depend on it, and its gradient needs
    no samples of the model.

    Parameters
    ----------
    loc, scale : array-like of shape (n_columns,), default=None
        What is subtracted from every column, and its standard deviation given the
        hidden units; None until `fit`.
    spread : array-like of shape (n_columns,), default=None
        Standard deviation of every column in the data, of which the scale stays a
        share of 0.05 to 2; None means the scale.
    largest_variance : float, default=1.0
        Largest variance of the encoded data in any direction: 1 for independent
        columns, their number for equal ones. The learning rate is divided by it.

    Raises
    ------
    ValueError
        If a scale is not positive or a value is not finite.

    See Also
    --------
    skdbm.units.Gaussian : Their units.
    Probabilities : For values between 0 and 1.

    References
    ----------
    .. [1] K. Cho, A. Ilin and T. Raiko, "Improved learning of Gaussian-Bernoulli
       restricted Boltzmann machines", ICANN 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import Real
    >>> encoding = Real().fit(np.array([[0.0], [4.0]]))
    >>> encoding.encode(np.array([[2.0], [6.0]]))
    array([[0.],
           [2.]])
    >>> encoding.decode(np.array([[-1.0]]))
    array([[0.]])
    """

    loc: FloatArray | None = None
    scale: FloatArray | None = None
    spread: FloatArray | None = None
    largest_variance: float = 1.0

    #: Tied copies have twice the variance of free ones, which weights without bound
    #: would have to explain.
    may_be_doubled = False

    def __init__(
        self,
        loc: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        spread: ArrayLike | None = None,
        largest_variance: float = 1.0,
    ) -> None:
        vectors = [_own(loc), _own(scale), _own(scale if spread is None else spread)]
        for name, vector in zip(("loc", "scale", "spread"), vectors, strict=True):
            object.__setattr__(self, name, vector)
        object.__setattr__(self, "largest_variance", float(largest_variance))
        if (loc is None) != (scale is None):
            raise ValueError("Give both loc and scale of Real columns, or neither.")
        arrays = [vector for vector in vectors if vector is not None]
        if any(
            array.ndim != 1 or not ops.isfinite(array).all() for array in arrays
        ) or (len({len(array) for array in arrays}) > 1):
            raise ValueError(
                "loc, scale and spread of Real columns must be vectors of finite "
                f"numbers of one length; got shapes {[a.shape for a in arrays]}."
            )
        if any((array <= 0).any() for array in arrays[1:]):
            raise ValueError("Every scale of Real columns must be positive.")

    def __repr__(self) -> str:
        return "Real()"

    @property
    def unit(self) -> UnitType:
        """Gaussian units."""
        return Gaussian()

    @property
    def rate_factor(self) -> float:
        """0.3 over the largest variance."""
        return 0.3 / self.largest_variance

    def learning_rate(self, states: FloatArray, n_above: int) -> float:
        """Give 6.4 over the number of columns, at most 25 over `n_above`, and 0.1."""
        # The mean of a binary unit saturates; that of a real one sums over all hidden
        # units, so their number counts as well.
        return float(min(0.1, 6.4 / states.shape[1], 25 / n_above))

    def fit(self, X: Rows) -> "Real":
        """Take means and standard deviations; 1 for a column that does not vary."""
        loc = ops.column_means(X)
        scale = ops.sqrt(ops.column_means(X, lambda part: (part - loc) ** 2))
        # Of equal values the mean may be rounded, and differ from all of them.
        lowest, highest = ops.column_ends(X)
        scale = ops.where((lowest < highest) & (scale > 0), scale, 1.0)
        some = ops.nan_to_num((X[:: -(-len(X) // ROWS_FOR_VARIANCE)] - loc) / scale)
        variance = ops.norm(some, ord=2) ** 2 / max(1, len(some))
        # Three digits, so that rounding of the data does not reach the weights.
        return Real(loc, scale, largest_variance=max(1.0, float(f"{variance:.3g}")))

    def width(self, n_columns: int) -> int:
        """Count the columns, those that were fitted."""
        return n_columns if self.loc is None else len(self.loc)

    def n_columns(self, n_units: int) -> int:
        """Count the units, those that were fitted."""
        return self.width(n_units)

    def encode(self, X: Rows, out: FloatArray | None = None) -> Rows:
        """Compute s = (v - loc) / scale."""
        if self.loc is None or self.scale is None:
            return super().encode(X, out)
        # In float64 up to the result: it may be far smaller than the values.
        out = ops.empty(X.shape, X.dtype) if out is None else out
        ops.subtract(X, self.loc, out=out)
        out /= self.scale
        return out

    def decode(self, states: FloatArray) -> FloatArray:
        """Compute v = loc + scale s."""
        if self.loc is None or self.scale is None:
            return states
        values: FloatArray = (states * self.scale + self.loc).astype(states.dtype)
        return values

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Compute -sum log(scale) over the observed columns of every row."""
        if self.scale is None:
            return super().log_jacobian(X)
        logs = ops.log(self.scale)
        result, missing = ops.full(len(X), -logs.sum()), ops.isnan(X)
        rows = missing.any(axis=1)
        result[rows] += missing[rows] @ logs
        return result

    @property
    def learned(self) -> FloatArray:
        """Logarithms of the scales; empty before `fit`."""
        return super().learned if self.scale is None else ops.log(self.scale)

    def with_learned(self, values: FloatArray) -> "Real":
        """Give this encoding with the scales exp(values)."""
        if self.spread is None:
            return self
        lowest, highest = (self.spread * share for share in SCALE_BOUNDS)
        scale = ops.clip(ops.exp(values), lowest, highest)
        scale.flags.writeable = False
        return self._changed(scale=scale)

    def learned_gradient(
        self, states: FloatArray, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute the gradient by log(scale): the mean of s (s - x) - 1."""
        if self.scale is None:
            return super().learned_gradient(states, field, where)
        terms = states * (states - field) - 1.0
        if where is not None:
            terms *= where
        means: FloatArray = terms.mean(axis=0, dtype=ops.float64)
        return means

    def spec(self) -> dict[str, Any]:
        """Give the vectors as lists, and the largest variance."""
        vectors = {"loc": self.loc, "scale": self.scale, "spread": self.spread}
        lists = {n: None if v is None else v.tolist() for n, v in vectors.items()}
        return {"type": "Real", **lists, "largest_variance": self.largest_variance}


def _own(values: ArrayLike | None) -> FloatArray | None:
    """A copy in float64 that cannot be changed."""
    if values is None:
        return None
    array: FloatArray = ops.array(values, dtype=ops.float64)
    array.flags.writeable = False
    return array
