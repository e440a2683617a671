"""Labels as a user sees them, and as codes of classes."""

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from . import vectors


def known_labels(y, unlabeled=None):
    """Check labels: a vector of them, and which rows have one.

    What is None, NaN or pandas.NA has none, nor what equals `unlabeled`.
    """
    if isinstance(y, (list, tuple)):
        y = _listed(y)
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError("Input y contains infinity, which is no class.")
    known = ~vectors.missing(y)
    if unlabeled is not None:
        # One by one: labels and what stands for none may be of different types.
        some = np.flatnonzero(known)
        known[some] = [label != unlabeled for label in y[some].tolist()]
    return y, known


def classes_of(y, known):
    """Sort the classes of labels that are known, each once; a ValueError for none."""
    if not known.any():
        raise ValueError(
            "y has no label: all of it is None, NaN or what `unlabeled` says. Give "
            "some rows a label, or learn from X alone by DBMSampler or DBMTransformer."
        )
    labels = _of_one_type(y[known])
    check_classification_targets(labels)
    return np.unique(labels)


def codes_of(y, known, classes):
    """Give the place of every label among the classes, NaN where there is none."""
    labels = _of_one_type(y[known])
    place = {label: code for code, label in enumerate(classes.tolist())}
    strange = [label for label in labels.tolist() if label not in place]
    if strange:
        raise ValueError(
            f"y holds the label {strange[0]!r}; the classes are {classes.tolist()}."
        )
    codes = np.full(len(y), np.nan)
    codes[known] = [place[label] for label in labels.tolist()]
    return codes


def _listed(y):
    """A list as a vector, of objects where text stands beside what is missing."""
    vector = np.asarray(y)
    if vector.ndim == 1 and vector.dtype.kind in "US":
        return np.array(y, dtype=object)
    return vector


def _of_one_type(labels):
    """Labels that stood among missing ones, in the dtype that they have alone."""
    return np.array(labels.tolist()) if labels.dtype.kind == "O" else labels
