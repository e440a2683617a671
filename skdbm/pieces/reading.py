"""From data in pieces to numbers: one look at all rows, before any work is done."""

import warnings
from dataclasses import dataclass

import numpy as np

from .. import ops
from .._warnings import warn
from ..columns import Columns
from ..columns import read as read_rows
from .data import Pieces
from .numbers import Numbers
from .spool import spooled


def read(estimator, data, columns, fitted):
    """Validate rows for training; give numbers, and what is known of the columns.

    The columns, and the fitted encoding, are those of `fit`, or None to find them.
    """
    pieces = Pieces(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = _look(estimator, pieces, columns, fitted)
    for first in {warning.category: warning for warning in caught[::-1]}.values():
        warn(str(first.message), first.category)  # one, whatever the number of pieces
    return _numbers(estimator, pieces, seen, fitted), seen.columns


@dataclass
class Seen:
    """What a look at all rows has found."""

    columns: Columns
    shape: tuple[int, int]
    #: Of the numbers, and of the pieces where these are arrays of numbers.
    dtype: np.dtype
    own_dtype: np.dtype | None


def _look(estimator, pieces, columns, fitted):
    """Look at all rows: errors and warnings that they give, and what they are."""
    seen = None
    for part in pieces:
        numbers, found, _ = read_rows(estimator, part, columns, fitted, training=True)
        is_array = isinstance(part, np.ndarray) and part.dtype.kind in "biuf"
        is_array = is_array and not isinstance(part, np.ma.MaskedArray)
        own = part.dtype if is_array else None
        one = Seen(found, numbers.shape, numbers.dtype, own)
        seen = one if seen is None else _joined(seen, one, columns)
    if seen is None:
        raise ValueError("The data have no rows, or no chunks; give at least one row.")
    seen.columns.check_categories()
    return seen


def _joined(seen, one, columns):
    """Put together what was seen of the rows so far, and of some more."""
    n_columns = seen.shape[1]
    if n_columns != one.shape[1]:
        raise ValueError(
            f"A chunk has {one.shape[1]} columns, and those before it have "
            f"{n_columns}; all chunks need the same columns."
        )
    if columns is None:
        columns = seen.columns.joined(one.columns, n_columns)
    own = None
    if seen.own_dtype is not None and one.own_dtype is not None:
        own = np.result_type(seen.own_dtype, one.own_dtype)
    dtype = np.result_type(seen.dtype, one.dtype)
    return Seen(columns, (seen.shape[0] + one.shape[0], n_columns), dtype, own)


def _numbers(estimator, pieces, seen, fitted):
    """Make what stands for the rows; of chunks, and of categories, in a file."""
    parts = seen.columns.encoding.columns(seen.shape[1])
    by_column = any(part.is_categorical for part, _ in parts)
    if by_column or seen.own_dtype is None:
        rows = _validated(estimator, pieces, seen, fitted)
        source = spooled(rows, seen.dtype, seen.shape)
        return Numbers(source, pieces.block_rows, dtype=seen.dtype)
    if pieces.is_sliced:
        source = pieces.source
    else:
        source = spooled(pieces, seen.own_dtype, seen.shape)
    bounds = _bounds(parts, seen.shape[1])
    return Numbers(source, pieces.block_rows, dtype=seen.dtype, bounds=bounds)


def _validated(estimator, pieces, seen, fitted):
    """Give the numbers of all rows, some at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say has been said
        for part in pieces:
            numbers, *_ = read_rows(
                estimator, part, seen.columns, fitted, training=True
            )
            yield ops.dense(numbers)


def _bounds(parts, n_columns):
    """Lowest and highest value of every column; None if there are none."""
    ends = np.empty((2, n_columns))
    for part, columns in parts:
        ends[:, columns] = np.reshape(part.bounds, (2, 1))
    return tuple(ends) if np.isfinite(ends).any() else None
