"""Labels as a user sees them, and as codes of classes."""

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from . import vectors


def known_labels(y, unlabeled=None):
    """Check labels: a vector of them, and which rows have one.

    What is None, NaN or pandas.NA has none, nor what equals `unlabeled`.
    """
    y = column_or_1d(_vector(y), warn=True)
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError("Input y contains infinity, which is no class.")
    known = ~vectors.missing(y)
    if np.ndim(unlabeled):
        raise ValueError(
            f"unlabeled={unlabeled!r}; one value is expected, which stands in y for "
            "rows without a label, or None."
        )
    if not vectors.is_missing(unlabeled):
        # One by one: labels and what stands for none may be of different types.
        some = np.flatnonzero(known)
        known[some] = [not _equal(label, unlabeled) for label in y[some].tolist()]
    return y, known


def check_some(known):
    """Check that there is a label at all."""
    if not known.any():
        raise ValueError(
            "y has no label: all of it is None, NaN or what `unlabeled` says. Give "
            "some rows a label, or learn from X alone by DBMSampler or DBMTransformer."
        )


def classes_of(y, known):
    """Sort the classes of labels that are known, each once; a ValueError for none."""
    check_some(known)
    labels = _of_one_type(y[known])
    check_classification_targets(labels)
    return np.unique(labels)


def codes_of(y, known, classes):
    """Give the place of every label among the classes, NaN where there is none."""
    labels = _of_one_type(y[known])
    if labels.dtype.kind == classes.dtype.kind == "M":  # days, say, and nanoseconds
        labels = labels.astype(classes.dtype)
    place = {label: code for code, label in enumerate(classes.tolist())}
    strange = [label for label in labels.tolist() if label not in place]
    if strange:
        raise ValueError(
            f"y holds the label {strange[0]!r}; the classes are {classes.tolist()}."
        )
    codes = np.full(len(y), np.nan)
    codes[known] = [place[label] for label in labels.tolist()]
    return codes


def _vector(y):
    """Labels in numpy, as objects where a dtype of numpy would change them."""
    if isinstance(y, (list, tuple)):
        vector = np.asarray(y)
        # Text beside what is missing would become text.
        is_text = vector.ndim == 1 and vector.dtype.kind in "US"
        return np.array(y, dtype=object) if is_text else vector
    if hasattr(y, "null_count") and not hasattr(y, "columns") and y.null_count():
        return np.array(y.to_list(), dtype=object)  # polars: integers became floats
    if hasattr(y, "iloc") and not isinstance(getattr(y, "dtype", None), np.dtype):
        return np.asarray(y, dtype=object)  # dtypes of pandas: the same
    return y


def _of_one_type(labels):
    """Labels that stood among missing ones, in the dtype that they have alone."""
    if labels.dtype.kind != "O":
        return labels
    values = labels.tolist()
    are_text = {isinstance(value, (str, bytes)) for value in values}
    if len(are_text) > 1:
        first, other = (
            next(value for value in values if isinstance(value, (str, bytes)) is kind)
            for kind in (True, False)
        )
        raise ValueError(
            f"y holds {first!r} and {other!r}; labels of one type are expected."
        )
    return np.array(values)


def _equal(label, unlabeled):
    """Whether a label is what says that there is none; False is not 0."""
    same_kind = isinstance(label, bool) == isinstance(unlabeled, (bool, np.bool_))
    return same_kind and bool(label == unlabeled)
