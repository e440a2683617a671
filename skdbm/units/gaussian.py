"""Real-valued visible units."""

import math
from dataclasses import dataclass

from .. import ops
from .._typing import BoolArray, FloatArray, Rng
from .contract import UnitType

_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Gaussian(UnitType):
    """Real values: s given the field x is normal with mean x and variance 1.

    A(x) = x^2 / 2 + log(2 pi) / 2 and base(s) = s^2 / 2, for a single copy. They cannot
    be hidden: two layers of them can have an energy without a lower end.

    Parameters
    ----------
    n_copies : int, default=1
        Number n of tied copies whose sum a state is: normal with mean n x and
        variance n. See `tied_copies`.

    See Also
    --------
    skdbm.encodings.Real : Columns of real values, whose covariance is learned.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Gaussian
    >>> Gaussian().mean(np.array([[-0.5, 2.0]]))
    array([[-0.5,  2. ]])
    """

    n_copies: int = 1

    may_be_hidden = False

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute A(x) = n (x^2 + log(2 pi)) / 2, summed over each row."""
        square = ops.square(field, dtype=ops.float64)
        return self.n_copies / 2 * ops.row_sum(square + _LOG_TWO_PI, where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute n x."""
        return ops.multiply(field, field.dtype.type(self.n_copies), out=out)

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw normal values with mean n x and variance n."""
        noise = ops.empty_like(field) if scratch is None else scratch
        ops.normal(rng, noise)
        if self.n_copies != 1:
            noise *= noise.dtype.type(math.sqrt(self.n_copies))
        out = self.mean(field, out=out)
        out += noise
        return out

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: x = m / n."""
        return ops.asarray(mean) / self.n_copies

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute n (log(2 pi) - (m / n)^2) / 2, summed over each row."""
        square = ops.square(ops.asarray(mean, dtype=ops.float64) / self.n_copies)
        return self.n_copies / 2 * ops.row_sum(_LOG_TWO_PI - square, where)

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute (s^2 / n + log n - (n - 1) log(2 pi)) / 2, summed over each row."""
        n = self.n_copies
        square = ops.square(states, dtype=ops.float64) / (2 * n)
        # The convolution of n densities exp(-s^2 / 2) has this factor.
        constant = (math.log(n) - (n - 1) * _LOG_TWO_PI) / 2
        return ops.row_sum(square + constant, where)

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variances n and their slopes 0."""
        return ops.full_like(mean, self.n_copies), ops.zeros_like(mean)

    def tied_copies(self, n_copies: int) -> "Gaussian":
        """Give units with `n_copies` times as many copies."""
        return Gaussian(self.n_copies * n_copies)

    def n_states(self, n_units: int) -> float:
        """Give infinity."""
        return math.inf
