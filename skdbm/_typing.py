"""The types of arrays, rows and seeds, in words."""

from collections.abc import Sequence
from typing import Any, TypeAlias

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

Rng: TypeAlias = np.random.Generator

#: What random draws follow from; None means fresh entropy.
Seed: TypeAlias = int | np.random.SeedSequence | None
