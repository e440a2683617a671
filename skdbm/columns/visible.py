"""The parameter `visible`: which columns have which encoding."""

import numpy as np

from .. import _validation
from ..encodings import Categories, Counts, Encoding, Mixed, Probabilities, Real, States
from ..units import UnitType

#: Encodings by the names that `visible` takes.
KINDS = {
    "bernoulli": Probabilities,
    "gaussian": Real,
    "categorical": Categories,
    "counts": Counts,
}


def resolve(visible, X):
    """Make the encoding that the parameter `visible` describes, for columns of `X`."""
    if _is_whole(visible):
        return _of_width(_kind(visible), X.shape[1])
    n_columns, parts, taken = X.shape[1], [], {}
    for entry in visible:
        kind, key = _entry(entry)
        indices = _validation.column_indices(X, key)
        for index in indices:
            if index in taken:
                raise ValueError(
                    f"Column {index} is in two groups of visible={visible!r}; every "
                    "column belongs to one."
                )
            taken[index] = kind
        if len(indices):
            parts.append((_kind(kind), indices))
    left = sorted(set(range(n_columns)) - set(taken))
    if left:
        names = [X.columns[i] for i in left] if _validation.is_frame(X) else left
        raise ValueError(
            f"Columns {names} are in no group of visible={visible!r}; add them to one, "
            "or drop them before."
        )
    return Mixed(parts)


def _of_width(encoding, n_columns):
    """Check that an encoding is made for so many columns."""
    if isinstance(encoding, Mixed) and encoding.n_columns(0) != n_columns:
        raise ValueError(
            f"visible={encoding!r} is made for {encoding.n_columns(0)} columns, and X "
            f"has {n_columns}."
        )
    for part, columns in encoding.columns(n_columns):
        if isinstance(part, States):
            part.unit.check_width(len(np.arange(n_columns)[columns]))
    return encoding


def check_unchanged(visible, X, encoding):
    """Raise an error if `visible` does not describe the encoding of a trained machine.

    What training has learned of the columns does not count. Of names of columns, and
    where a function chooses them, only a table can tell which ones are meant.
    """
    try:
        meant, n_columns = resolve(visible, X), X.shape[1]
    except (ValueError, TypeError):
        if _validation.is_frame(X) or _is_whole(visible):
            raise
        return
    if _described(meant, n_columns) != _described(encoding, n_columns):
        raise ValueError(
            f"visible={visible!r} contradicts the machine, which has {encoding!r}; "
            "leave it out, use a clone, or fit with warm_start=False."
        )


def _described(encoding, n_columns):
    """What the user decides about the encoding of every column."""
    parts = [None] * n_columns
    for part, columns in encoding.columns(n_columns):
        options = (getattr(part, name, None) for name in ("redraw", "handle_unknown"))
        unit = part.unit if isinstance(part, States) else None
        for index in np.arange(n_columns)[columns].tolist():
            parts[index] = (type(part), unit, *options)
    return parts


def _entry(entry):
    """Check one group of the parameter `visible`."""
    if isinstance(entry, (tuple, list)) and len(entry) == 2:
        return entry
    raise ValueError(
        f"visible has the entry {entry!r}; pairs of a kind and columns are expected, "
        "such as ('gaussian', ['age', 'height'])."
    )


def _is_whole(visible):
    """Whether `visible` is about all columns, not a list of groups."""
    return isinstance(visible, (str, Encoding, UnitType))


def _kind(kind):
    """Make the encoding that a name, an encoding or a unit type stands for."""
    if isinstance(kind, Encoding):
        return kind
    if isinstance(kind, UnitType):
        return States(kind)
    if isinstance(kind, str) and kind in KINDS:
        return KINDS[kind]()
    raise ValueError(
        f"visible names the kind {kind!r}; one of {sorted(KINDS)}, a "
        "skdbm.encodings.Encoding or a skdbm.units.UnitType is expected."
    )


def prototypes(visible):
    """Encodings that the parameter `visible` names, whatever the columns."""
    entries = [(visible, None)] if _is_whole(visible) else map(_entry, visible)
    return [part for kind, _ in entries for part, _ in _kind(kind).columns(1)]


def supposed(visible):
    """Encodings that `visible` names, for what is asked before any data."""
    try:
        return prototypes(visible)
    except (TypeError, ValueError):  # a wrong parameter; fit will say so
        return [Probabilities()]


def accepts_sparse(visible):
    """Whether data may be sparse; where columns are taken apart they may not."""
    if isinstance(visible, str):
        return KINDS.get(visible, Probabilities).accepts_sparse  # fit rejects others
    return _is_whole(visible) and _kind(visible).accepts_sparse
