"""Where rows lie that are not in memory, and some of the rows of such a place.

A source has a `shape`, a `dtype` and `read(start, stop)`, which gives these rows as an
array. `unit` is the number of rows that are stored together, where that is known.
"""

import mmap

import numpy as np

#: Values that are passed over at a time where only some rows are wanted.
PASSED = 2**20


def source_of(data):
    """Make the source of data that have a shape, a dtype and slices of rows."""
    return mapped(data) if isinstance(data, np.memmap) else Sliced(data)


class Sliced:
    """Anything of two dimensions whose slices become arrays: h5py, zarr, dask."""

    def __init__(self, data):
        self.data, self.dtype = data, np.dtype(data.dtype)
        self.shape = tuple(map(int, data.shape))
        chunks = getattr(data, "chunks", None)
        rows = chunks[0] if chunks else 1
        self.unit = max(rows) if isinstance(rows, tuple) else rows

    def read(self, start, stop):
        """Read rows; those of a file that knows gaps may be a masked array."""
        rows = self.data[start:stop]
        return rows if isinstance(rows, np.ma.MaskedArray) else np.asarray(rows)


class InFile:
    """Rows in a file, which stand one after the other from a byte on."""

    unit = 1

    def __init__(self, file, start, shape, dtype):
        self.file, self.start, self.shape, self.dtype = file, start, shape, dtype

    def read(self, start, stop):
        """Read rows, by a map of their own."""
        # All that was ever read by one map would count as memory of this process.
        shape = max(0, stop - start), self.shape[1]
        if not shape[0]:
            return np.empty(shape, self.dtype)
        place = self.start + start * self.shape[1] * self.dtype.itemsize
        rows = np.memmap(self.file, self.dtype, "r", place, shape)
        return np.array(rows, subok=False)


def mapped(data):
    """Make the source of a memory map: its file, or else the map itself."""
    root = data
    while isinstance(root.base, np.memmap):
        root = root.base
    # Changes that are not in the file are seen in the map alone.
    in_file = isinstance(root.base, mmap.mmap) and root.mode != "c"
    if not (in_file and root.filename and data.flags.c_contiguous and data.size):
        return Sliced(data)
    places = [array.__array_interface__["data"][0] for array in (data, root)]
    start = root.offset + places[0] - places[1]
    source = InFile(root.filename, start, data.shape, data.dtype)
    last = len(data) - 1
    try:  # whether the name still leads to the same file
        ends = source.read(0, 1), source.read(last, last + 1)
    except (OSError, ValueError):
        return Sliced(data)
    same = [one.tobytes() for one in ends] == [data[0].tobytes(), data[last].tobytes()]
    return source if same else Sliced(data)


class Taken:
    """Some rows of a source, by their sorted numbers."""

    unit = 1

    def __init__(self, source, rows):
        self.source, self.rows, self.dtype = source, rows, source.dtype
        self.shape = len(rows), source.shape[1]

    def read(self, start, stop):
        """Read rows."""
        rows = self.rows[start:stop]
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        most, n_done = max(1, PASSED // max(1, self.shape[1])), 0
        while n_done < len(rows):
            first = rows[n_done]
            n_next = np.searchsorted(rows, first + most)
            some = rows[n_done:n_next]
            part = self.source.read(first, some[-1] + 1)
            result[n_done:n_next] = part[some - first]
            n_done = n_next
        return result


class Left:
    """All rows of a source but some, by their sorted numbers."""

    def __init__(self, source, rows):
        self.source, self.rows, self.dtype = source, rows, source.dtype
        self.shape = source.shape[0] - len(rows), source.shape[1]
        self.unit = source.unit
        #: How many rows are left before each of those that are not.
        self.before = rows - np.arange(len(rows))

    def read(self, start, stop):
        """Read rows."""
        if start >= stop:
            return np.empty((0, self.shape[1]), self.dtype)
        first, last = self._place(start), self._place(stop - 1)
        gone = self.rows[slice(*np.searchsorted(self.rows, (first, last)))] - first
        return np.delete(self.source.read(first, last + 1), gone, axis=0)

    def _place(self, row):
        """Number in the source of a row that is left."""
        return row + int(np.searchsorted(self.before, row, side="right"))
