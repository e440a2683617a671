"""From data in any container to a matrix of numbers."""

import numpy as np

from .. import _validation
from .described import Columns
from .tables import Table, is_matrix, is_sparse, listed
from .visible import accepts_sparse, check_unchanged, prototypes, resolve


def read(estimator, X, columns, fitted, *, training, allow_missing=None):
    """Validate data; give numbers, what is known of the columns, and the data.

    The columns, and the fitted encoding, are those of `fit`, or None to find them. The
    data are a Table, or an array of numbers where they are one.
    """
    name, reset = type(estimator).__name__, columns is None
    visible = estimator.visible if reset or training else columns.encoding
    kinds = prototypes(visible)
    if allow_missing is None:
        allow_missing = estimator.allow_missing
    may_be_missing = all(kind.may_be_missing for kind in kinds)
    missing = {
        "allow_missing": allow_missing and may_be_missing,
        "may_be_missing": may_be_missing,
    }
    is_frame, sparse_too = _validation.is_frame(X), accepts_sparse(visible)
    if reset and is_frame:
        resolve(visible, X)  # says which columns are left over, before others
    data, narrow = (X, False) if is_frame else listed(X)
    by_column = (
        any(kind.is_categorical for kind in kinds)
        or (is_frame and not (sparse_too and is_sparse(X)))
        or getattr(data, "dtype", None) == np.dtype(object)
    )
    numbers = _validation.check_container(
        estimator,
        data,
        reset=reset,
        by_column=by_column,
        sparse_too=sparse_too,
        **missing,
    )
    if by_column:
        data = Table.of(data if is_frame else numbers, narrow=narrow)
    elif is_frame:  # of sparse columns, which became one matrix
        data = Table.of(data)
    elif not is_matrix(data):
        data = np.asarray(data)
    seen = X if is_frame else numbers
    if training and not reset and visible is not columns.visible:
        check_unchanged(visible, seen, columns.encoding)
    if reset:
        columns = Columns.of(visible, seen, data)
    if by_column:
        numbers = columns.numbers(data, name=name, **missing)
    numbers = _validation.check_bounds(
        numbers, columns.encoding, name, training=training
    )
    # Squares of the values themselves, before they are scaled, and of states.
    _validation.check_far(
        numbers,
        fitted or columns.encoding,
        columns.name,
        highest=1e15 if fitted else 1e140,
    )
    return numbers, columns, data
