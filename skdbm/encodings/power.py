"""Columns of real values bent towards the normal distribution.

The power transformation of Yeo and Johnson [1]_: of a column x in standard deviations
from its mean,

    t(x) = ((1 + x)^p - 1) / p for x >= 0, and -((1 - x)^(2 - p) - 1) / (2 - p) below,

with the logarithm in the place of a power of zero. With p = 1 nothing changes, with
less a long tail of high values is drawn in, with more one of low values. For p from 0
to 2 every real number is some t(x), so that whatever is drawn stands for a value.

.. [1] I.-K. Yeo and R. A. Johnson, "A new family of power transformations to improve
   normality or symmetry", Biometrika 87, 2000.
"""

from typing import NamedTuple

from .. import ops
from .._typing import FloatArray

#: Powers that are tried. They are so coarse that rounding of the data does not reach
#: them, and the likelihood hardly tells two neighbours apart.
TRIALS = ops.linspace(0, 2, 21)

#: A column is bent if its values become likelier by so many nats together: of normal
#: ones that happens to two in a thousand.
LEAST_GAIN = 5.0


class PowerTransform(NamedTuple):
    """Mean, standard deviation and power of every column."""

    loc: FloatArray
    scale: FloatArray
    power: FloatArray

    def forward(self, X: FloatArray) -> FloatArray:
        """t((v - loc) / scale), in float64."""
        result: FloatArray = bent((X - self.loc) / self.scale, self.power)
        return result

    def inverse(self, t: FloatArray) -> FloatArray:
        """The values v whose t these are, in float64."""
        power = ops.where(t < 0, 2 - self.power, self.power)
        x = ops.copysign(ops.inv_boxcox1p(ops.abs(t), power), t)
        result: FloatArray = self.loc + self.scale * x
        return result

    def log_slopes(self, X: FloatArray) -> FloatArray:
        """Log of the derivative of t by v."""
        x = (X - self.loc) / self.scale
        result: FloatArray = (self.power - 1) * log_slope(x) - ops.log(self.scale)
        return result


def bent(x: FloatArray, power: FloatArray | float) -> FloatArray:
    """t(x), of columns in standard deviations."""
    powers = ops.where(x < 0, 2 - power, power)
    result: FloatArray = ops.copysign(ops.boxcox1p(ops.abs(x), powers), x)
    return result


def log_slope(x: FloatArray) -> FloatArray:
    """Log of the derivative of t by x, over p - 1."""
    result: FloatArray = ops.copysign(ops.log1p(ops.abs(x)), x)
    return result


def likeliest_powers(x: FloatArray) -> FloatArray:
    """Power of every column with which it is likeliest under a normal distribution.

    Of columns in standard deviations, NaN where missing; 1 where that is next to as
    likely.
    """
    known = ~ops.isnan(x)
    n_known = ops.maximum(1, known.sum(axis=0))
    x = ops.where(known, x, 0)
    slopes = log_slope(x).sum(axis=0)
    scores = []
    for power in TRIALS:
        t = bent(x, power)
        off = ops.where(known, t - t.sum(axis=0) / n_known, 0)
        variance = ops.square(off).sum(axis=0) / n_known
        log_variance = ops.log(ops.where(variance > 0, variance, 1.0))
        scores.append((power - 1) * slopes - n_known / 2 * log_variance)
    gains = ops.stack(scores) - scores[len(TRIALS) // 2]
    best = gains.argmax(axis=0)
    powers: FloatArray = ops.where(gains.max(axis=0) > LEAST_GAIN, TRIALS[best], 1.0)
    return powers
