"""The types of arrays, rows and seeds, in words; what training asks of its partners."""

from collections.abc import Sequence, Sized
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

#: Rows of data or visible states, dense or sparse.
Rows: TypeAlias = FloatArray | sparse.csr_matrix | sparse.csr_array

#: An array for each layer. The visible one may be sparse where it is fixed, and None
#: may stand for a layer that is not looked at.
States: TypeAlias = Sequence[FloatArray | Any]

#: Which columns: a mask, indices or a slice; or a mask for each row.
Columns: TypeAlias = BoolArray | IntArray | Sequence[int] | slice

#: Numbers of rows.
Indices: TypeAlias = IntArray | Sequence[int]

Rng: TypeAlias = np.random.Generator

#: What random draws follow from; None means fresh entropy.
Seed: TypeAlias = int | np.random.SeedSequence | None

#: What is known of one epoch of training, by its names in `history_`.
Record: TypeAlias = dict[str, Any]


class Source(Protocol):
    """Where training gets the visible states of a batch."""

    def fill(
        self, indices: Indices, out: FloatArray, learned: FloatArray | None, /
    ) -> None:
        """Write the states of some rows into `out`, NaN where missing."""


class SizedSource(Source, Sized, Protocol):
    """A source that knows how many rows it has."""


class ProgressLike(Protocol):
    """What follows the epochs of training and may end it early."""

    #: Whether an interrupt has ended the training, which sets it.
    interrupted: bool

    def begin(self) -> None:
        """Take note that an epoch begins."""

    def end(self, record: Record, /) -> bool | None:
        """Take note of the record of an epoch; whether to stop."""
