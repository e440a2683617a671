"""Elementwise kernels, sums and products, of dense rows and of sparse ones.

Each kernel takes arrays of one floating dtype and writes into ``out`` when it is
given, so that hot loops run on preallocated buffers.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import sparse

from .._typing import BoolArray, FloatArray, Rows


def sigmoid(x: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Compute 1 / (1 + exp(-x)) elementwise."""
    # Each step is a vectorised loop: several times faster than `scipy.special.expit`.
    # Where exp(-x) overflows, one over infinity is the zero that is wanted.
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
        part = np.asarray(dense(X[start : start + 512]), dtype=np.float64)
        missing = np.isnan(part)
        values = part if function is None else function(part)
        total += np.where(missing, 0.0, values).sum(axis=0)
        known += (~missing).sum(axis=0)
    means: FloatArray = total / np.maximum(known, 1)
    return means


def column_ends(X: Rows) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest known value of every column; NaN where none is known."""
    lowest = highest = np.full(X.shape[1], np.nan)
    for start in range(0, X.shape[0], 512):
        part = dense(X[start : start + 512])
        lowest = np.fmin(lowest, np.fmin.reduce(part, axis=0))
        highest = np.fmax(highest, np.fmax.reduce(part, axis=0))
    return lowest, highest


def block_rows(X: Any) -> int:
    """Rows that lie together: of a block, where `X` is read in pieces, or all."""
    return max(1, int(getattr(X, "block_rows", X.shape[0])))


def has_missing(X: Rows) -> bool:
    """Say whether an entry is NaN, looking at some rows after the others."""
    parts = (X[start : start + 512] for start in range(0, X.shape[0], 512))
    return any(missing(part) is not None for part in parts)


def row_sums(X: Rows) -> Iterator[FloatArray]:
    """Sum every row in float64, of dense rows or sparse ones, 512 after the others."""
    for start in range(0, X.shape[0], 512):
        part = X[start : start + 512]
        yield np.asarray(part.sum(axis=1, dtype=np.float64)).ravel()


def log_mean_exp(x: FloatArray) -> float:
    """Compute log(mean(exp(x))) of a vector in the log domain."""
    return float(log_mean_exps(np.asarray(x)[None])[0])


def log_mean_exps(x: FloatArray) -> FloatArray:
    """Compute log(mean(exp(x))) of every row in the log domain, in float64."""
    x = np.asarray(x, dtype=np.float64)
    top = x.max(axis=1)
    result: FloatArray = top + np.log(np.mean(np.exp(x - top[:, None]), axis=1))
    return result


def is_sparse(rows: Rows) -> bool:
    """Say whether rows are a sparse matrix or array."""
    return bool(sparse.issparse(rows))


def dense(rows: Rows) -> FloatArray:
    """Give rows as a dense array; what is one already stays itself."""
    matrix: Any = rows  # scipy has no types
    result: FloatArray = matrix.toarray() if sparse.issparse(matrix) else matrix
    return result


def rows(X: Any) -> Rows:
    """Give an array-like or a sparse matrix as rows of numbers, dense or CSR."""
    result: Any = X.tocsr() if sparse.issparse(X) else np.asarray(X)
    if result.ndim != 2:
        raise ValueError(
            f"Got an array of shape {result.shape}; rows, of two dimensions, are "
            "expected."
        )
    known: Rows = result if result.dtype.kind == "f" else result.astype(np.float64)
    return known


def product(left: Rows, right: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Multiply dense or sparse rows by a dense matrix."""
    if sparse.issparse(left):
        return left @ right
    # Libraries of BLAS now and then raise the flag of an invalid operation for numbers
    # that they read beyond the arrays; the result is right.
    with np.errstate(invalid="ignore"):
        return np.matmul(left, right, out=out)


def are_whole(rows: Rows) -> bool:
    """Say whether all known values are whole numbers."""
    values = rows.data if sparse.issparse(rows) else rows
    return bool(((values == np.floor(values)) | np.isnan(values)).all())


def missing(rows: Rows) -> BoolArray | None:
    """Find the entries that are NaN; None if there are none, as in sparse rows."""
    if sparse.issparse(rows) or not np.isnan(np.min(rows, initial=0.0)):
        return None
    return np.isnan(rows)
