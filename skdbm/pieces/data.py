"""Which data are read in pieces, and the pieces one after the other."""

from collections.abc import Iterable, Iterator, Mapping, Set
from numbers import Integral

import numpy as np
from scipy import sparse

from .. import _validation
from .sources import source_of

#: Values that are looked at, or of which results are computed, at a time.
LOOKED_AT = 2**20

#: What is in the names of files that joblib maps arrays to.
_JOBLIB = "joblib_memmapping_folder"


class Pieces:
    """Data that are read piece by piece: a description of where they are.

    Estimators take what it describes as it is, too. It is there to say how rows are
    shuffled, and to have results of a memory map in pieces.

    Parameters
    ----------
    data : object
        Rows that have a `shape`, a `dtype` and slices (`numpy.memmap`,
        `h5py.Dataset`, `zarr.Array`, a dask or a numpy array), or come in chunks: a
        dask DataFrame, or any object of which ``iter(data)`` begins anew each time and
        gives arrays, DataFrames or lists of rows.
    block_rows : int, default=None
        Rows of a block. A training shuffles the blocks, and the rows of 16 of them
        together, which are in memory. None means as many as make 16 blocks take 64
        MiB, whole chunks of the file where these are smaller. Rows of no more than 16
        blocks are shuffled as an array is, with the same result.

    Raises
    ------
    TypeError
        If `data` can be read only once, or in none of these ways.
    ValueError
        If `block_rows` is no positive integer, or the data have not two dimensions.

    See Also
    --------
    Results : What methods of estimators give for such data.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm import DBMSampler
    >>> from skdbm.pieces import Pieces
    >>> X = np.eye(4)[np.arange(200) % 4]
    >>> dbm = DBMSampler(hidden_layer_sizes=3, max_iter=2, random_state=0)
    >>> dbm.fit(Pieces(X, block_rows=10)).machine_.layer_sizes
    (4, 3)
    >>> [scores.shape for scores in dbm.score_samples(Pieces(X))]
    [(200,)]
    """

    def __init__(self, data, *, block_rows=None):
        if block_rows is not None:
            _validation.check_count("block_rows", block_rows)
        if isinstance(data, Pieces):
            data, block_rows = data.data, block_rows or data.block_rows
        self.data, self.block_rows = data, block_rows
        self.is_sliced = _is_sliced(data)
        if self.is_sliced:
            if len(data.shape) != 2:
                raise ValueError(
                    f"Data of shape {data.shape} came to be read in pieces; rows, of "
                    "two dimensions, are expected."
                )
            self.source = source_of(data)
        elif isinstance(data, Iterator):
            raise TypeError(
                f"A {type(data).__name__} gives its chunks only once, and they are "
                "read several times; pass an object of which iter() begins anew."
            )
        elif not _is_chunked(data):
            raise TypeError(
                f"A {type(data).__name__} came to be read in pieces; expected are "
                "slices of rows (with a shape and a dtype), or an object of which "
                "iter() begins anew and gives chunks of rows. What is in memory is "
                "passed to the estimator as it is, and chunks that are in memory are "
                "put together before."
            )

    def __repr__(self):
        rows = "" if self.block_rows is None else f", block_rows={self.block_rows}"
        return f"Pieces({self.data!r}{rows})"

    def __iter__(self):
        """Give the rows, some at a time, as they come."""
        if self.is_sliced:
            n_rows, n_columns = self.source.shape
            size = max(1, LOOKED_AT // max(1, n_columns))
            for start in range(0, n_rows, size):
                yield self.source.read(start, min(n_rows, start + size))
            return
        for chunk in _chunks(self.data):
            chunk = chunk if hasattr(chunk, "shape") else list(chunk)
            if chunk.shape[0] if hasattr(chunk, "shape") else len(chunk):
                yield chunk


def are_in_pieces(data):
    """Whether data are read in pieces: they describe themselves, or are in no array."""
    if isinstance(data, np.memmap):
        # Arrays that joblib has mapped for its workers are arrays still.
        return data.ndim == 2 and _JOBLIB not in str(data.filename)
    if isinstance(data, Pieces):
        return True
    in_memory = isinstance(data, np.ndarray) or sparse.issparse(data)
    if in_memory or hasattr(data, "__array_namespace__") or hasattr(data, "__dlpack__"):
        return False
    # What else becomes an array, and says nothing of chunks, is taken for one.
    lies_in_chunks = hasattr(data, "chunks") or not hasattr(data, "__array__")
    return _is_chunked(data) or (_is_sliced(data) and lies_in_chunks)


def _is_sliced(data):
    """Whether data have slices of rows, in a number that is known."""
    if _validation.is_frame(data) or sparse.issparse(data):
        return False
    shape = getattr(data, "shape", None)
    known = isinstance(shape, tuple) and all(isinstance(n, Integral) for n in shape)
    return known and hasattr(data, "dtype") and hasattr(data, "__getitem__")


def _is_chunked(data):
    """Whether data come in chunks."""
    if _of_dask(data):
        return not _is_sliced(data)
    if getattr(type(data), "come_in_chunks", False):
        return True
    is_sequence = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if is_sequence or isinstance(data, (Mapping, Set)) or _validation.is_frame(data):
        return False
    return isinstance(data, Iterable) and not hasattr(data, "__array__")


def _of_dask(data):
    """Whether data are an array or a frame of dask."""
    return type(data).__module__.partition(".")[0] in ("dask", "dask_expr")


def _chunks(data):
    """Give the chunks of data that come in chunks."""
    if not _of_dask(data):
        yield from data
    elif hasattr(data, "partitions") and not hasattr(data, "numblocks"):
        yield from (part.compute() for part in data.partitions)
    else:  # an array with rows in unknown number
        yield from (data.blocks[i].compute() for i in range(data.numblocks[0]))
