"""A column of labels beside other columns: the last one, with a unit for each class."""

from .. import ops
from .categories import Categories
from .contract import Encoding
from .mixed import Mixed


def with_labels(encoding: Encoding, n_columns: int, n_classes: int) -> Mixed:
    """Give columns one more, of so many classes, whose units are the last ones."""
    whole = [(encoding, ops.arange(n_columns))]
    parts = encoding.parts if isinstance(encoding, Mixed) else whole
    return Mixed([*parts, (Categories((n_classes,)), [n_columns])])


def n_classes_of(encoding: Encoding) -> int:
    """Count the classes of the last column; a ValueError if it has none."""
    parts = encoding.parts if isinstance(encoding, Mixed) else ()
    if len(parts) > 1:
        (labels, columns), n_others = parts[-1], sum(len(c) for _, c in parts[:-1])
        if isinstance(labels, Categories) and columns.tolist() == [n_others]:
            return int(labels.unit.sizes[0])
    raise ValueError(
        f"The machine has columns {encoding!r}; a column of classes is expected beside "
        "others, as the last one and in a part of its own, as those of a DBMClassifier."
    )


def without_labels(encoding: Encoding) -> Encoding:
    """Give the encoding of the columns beside the labels."""
    n_classes_of(encoding)
    assert isinstance(encoding, Mixed)  # or there were no labels
    *others, _ = encoding.parts
    first, columns = others[0]
    if len(others) == 1 and ops.array_equal(columns, ops.arange(len(columns))):
        return first
    return Mixed(others)
