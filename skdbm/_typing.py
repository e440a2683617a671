"""The types of arrays, rows and seeds, in words; what training asks of its partners."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

ArrayLike: TypeAlias = npt.ArrayLike
DTypeLike: TypeAlias = npt.DTypeLike
DType: TypeAlias = np.dtype[Any]

#: Rows of data or visible states, dense or sparse.
Rows: TypeAlias = FloatArray | sparse.csr_matrix | sparse.csr_array

#: An array for each layer, or for some of them by number. The visible one may be sparse
#: where it is fixed, and None may stand for a layer that is not looked at.
States: TypeAlias = Sequence[FloatArray | Any] | Mapping[int, FloatArray | Any]

#: Numbers of rows.
Indices: TypeAlias = IntArray | Sequence[int]

Rng: TypeAlias = np.random.Generator

#: What random draws follow from; None means fresh entropy.
Seed: TypeAlias = int | np.random.SeedSequence | None

#: What is known of one epoch of training, by its names in `history_`.
Record: TypeAlias = dict[str, Any]


class Source(Protocol):
    """Where training gets the visible states of a batch."""

    def __len__(self) -> int:
        """Count the rows."""

    def read(self, indices: Indices, encoding: Any = None, /) -> Any:
        """Give dense states of some rows, NaN where missing, by what is learned.

        Where some are known together only, `skdbm.encodings.ties.PartlyKnown`.
        """
