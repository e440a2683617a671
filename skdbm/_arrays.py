"""The elementwise kernels that every algorithm is made of.

Each kernel takes arrays of one floating dtype and writes into ``out`` when it is
given, so that hot loops run on preallocated buffers. A second array library is
added here and nowhere else.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ._typing import BoolArray, FloatArray, Rng, Rows

#: Draws of this many numbers are made at once, so that what comes between stays in
#: the cache.
DRAWS_AT_ONCE = 2**15

#: Float32 draws are multiples of one over this, as those of `numpy.random.Generator`.
RESOLUTION = 2**24


def sigmoid(x: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Compute 1 / (1 + exp(-x)) elementwise.

    Written as exp, add, divide because each is a vectorised loop of numpy, several
    times faster than `scipy.special.expit` (and division twice as fast as
    `numpy.reciprocal`). Where exp(-x) overflows, one over infinity is the zero that is
    wanted.
    """
    with np.errstate(over="ignore"):
        out = np.negative(x, out=out)
        np.exp(out, out=out)
        np.add(out, 1.0, out=out)
        return np.divide(1.0, out, out=out)


def softplus(x: FloatArray) -> FloatArray:
    """Compute log(1 + exp(x)) elementwise, without overflow or cancellation."""
    result = np.abs(x)
    np.negative(result, out=result)
    np.exp(result, out=result)
    np.log1p(result, out=result)
    result += np.maximum(x, 0)
    return result


def xlogx(x: FloatArray) -> FloatArray:
    """Compute x log(x) elementwise in float64, with the limit 0 at x = 0."""
    x = np.asarray(x, dtype=np.float64)
    result: FloatArray = x * np.log(np.where(x > 0, x, 1.0))
    return result


def uniform(rng: Rng, out: npt.NDArray[Any]) -> FloatArray:
    """Fill `out` with draws from the uniform distribution on [0, 1)."""
    if _draws_integers(rng, out):
        out = _integers(rng, out)
        return np.multiply(out, 1 / RESOLUTION, out=out)
    if out.flags.c_contiguous:
        return rng.random(out=out, dtype=out.dtype)
    out[...] = rng.random(out.shape, dtype=out.dtype)
    return out


def _draws_integers(rng: Rng, out: FloatArray) -> bool:
    """Say whether draws may come from raw bits of the generator.

    Only for a generator known to give 64 of them at once, and for float32.
    """
    suits = out.dtype == np.float32 and out.flags.c_contiguous
    return suits and isinstance(rng.bit_generator, np.random.SFC64)


def _integers(rng: Rng, out: FloatArray) -> FloatArray:
    """Fill a float32 array with whole numbers drawn from 0 to `RESOLUTION` - 1.

    Two draws from each raw number of 64 bits take half the time of `Generator.random`,
    which draws one by one.
    """
    flat = out.reshape(-1)
    for start in range(0, flat.size, DRAWS_AT_ONCE):
        part = flat[start : start + DRAWS_AT_ONCE]
        bits = rng.bit_generator.random_raw(-(-part.size // 2)).view(np.uint32)
        bits >>= 8
        np.copyto(part, bits[: part.size], casting="unsafe")
    return out


def normal(rng: Rng, out: npt.NDArray[Any]) -> FloatArray:
    """Fill `out` with draws from the standard normal distribution."""
    if out.flags.c_contiguous:
        return rng.standard_normal(out=out, dtype=out.dtype)
    out[...] = rng.standard_normal(out.shape, dtype=out.dtype)
    return out


def bernoulli(
    field: FloatArray,
    rng: Rng,
    out: FloatArray | None = None,
    scratch: FloatArray | None = None,
) -> FloatArray:
    """Draw 0 or 1 with P(1) = sigmoid(field).

    The comparison u (1 + exp(-x)) < 1 equals u < sigmoid(x) and saves a division; with
    whole numbers for u and their range for 1 it saves a multiplication, too. `field`
    may be `out`; `scratch` holds the uniform draws.
    """
    if scratch is None:
        scratch = np.empty_like(field)
    if _draws_integers(rng, scratch):
        _integers(rng, scratch)
        one = float(RESOLUTION)
    else:
        uniform(rng, scratch)
        one = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        out = np.negative(field, out=out)
        np.exp(out, out=out)
        np.add(out, 1.0, out=out)
        # 0 * inf is nan and compares as False: the state 0 that is wanted.
        np.multiply(out, scratch, out=out)
        return np.less(out, one, out=out)


def row_sum(x: FloatArray, where: BoolArray | None = None) -> FloatArray:
    """Sum every row in float64, or what is wanted of it."""
    sums: FloatArray = np.sum(
        x, axis=1, dtype=np.float64, where=True if where is None else where
    )
    return sums


def row_dot(x: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the inner product of corresponding rows in float64."""
    dots: FloatArray = np.einsum("ij,ij->i", x, y, dtype=np.float64)
    return dots


def column_means(
    X: Rows, function: Callable[[FloatArray], FloatArray] | None = None
) -> FloatArray:
    """Average a function of every column over the rows in which it is known.

    In float64, and by blocks of rows, so that nothing of the size of `X` is made. A
    column that is never known has the mean 0.
    """
    total, known = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for start in range(0, X.shape[0], 512):
        part = np.asarray(X[start : start + 512], dtype=np.float64)
        missing = np.isnan(part)
        values = part if function is None else function(part)
        total += np.where(missing, 0.0, values).sum(axis=0)
        known += (~missing).sum(axis=0)
    means: FloatArray = total / np.maximum(known, 1)
    return means


def log_mean_exp(x: FloatArray) -> float:
    """Compute log(mean(exp(x))) of a vector in the log domain."""
    x = np.asarray(x, dtype=np.float64)
    top = x.max()
    return float(top + np.log(np.mean(np.exp(x - top))))
