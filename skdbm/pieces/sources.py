"""Where rows lie that are not in memory, and some of the rows of such a place.

A source has a `shape`, a `dtype` and `read(start, stop)`, which gives these rows as an
array. `unit` is the number of rows that are stored together, where that is known.
"""

import mmap

import numpy as np

#: Rows that are passed over at a time where only some of them are wanted.
PASSED = 8192


def source_of(data):
    """Make the source of data that have a shape, a dtype and slices of rows."""
    return Mapped(data) if isinstance(data, np.memmap) else Sliced(data)


class Sliced:
    """Anything of two dimensions whose slices become arrays: h5py, zarr, dask."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, np.dtype(data.dtype)
        chunks = getattr(data, "chunks", None)
        rows = chunks[0] if chunks else 1
        self.unit = max(rows) if isinstance(rows, tuple) else rows

    def read(self, start, stop):
        """Read rows."""
        return np.asarray(self.data[start:stop])


class Mapped:
    """A memory map, of which each read has a map of its own.

    Otherwise all that was ever read would count as memory of this process.
    """

    unit = 1

    def __init__(self, data):
        self.shape, self.dtype, self.data = data.shape, data.dtype, data
        root = data
        while isinstance(root.base, np.memmap):
            root = root.base
        # Changes that are not in the file are seen in the map alone.
        in_file = isinstance(root.base, mmap.mmap) and root.mode != "c"
        self.is_whole = in_file and data.flags.c_contiguous
        if self.is_whole:
            places = (array.__array_interface__["data"][0] for array in (data, root))
            self.path, self.start = root.filename, root.offset + next(places)
            self.start -= next(places)

    def read(self, start, stop):
        """Read rows."""
        if not self.is_whole:
            return np.array(self.data[start:stop], subok=False)
        row = self.shape[1] * self.dtype.itemsize
        shape = max(0, stop - start), self.shape[1]
        if not shape[0]:
            return np.empty(shape, self.dtype)
        place = self.start + start * row
        return np.array(
            np.memmap(self.path, self.dtype, "r", place, shape), subok=False
        )


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
        n_done = 0
        while n_done < len(rows):
            first = rows[n_done]
            n_next = np.searchsorted(rows, first + PASSED)
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
