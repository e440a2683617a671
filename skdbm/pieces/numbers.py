"""Rows of numbers that are read block by block, in the place of an array."""

from collections import OrderedDict
from threading import Lock

import numpy as np

from ..encodings.rows import TOGETHER
from .sources import Left, Taken

#: Bytes of the blocks that are held together, with the order of their rows.
MOST_HELD, BYTES_OF_ORDER = 2**26, 16

#: Bytes of rows that are remembered one by one.
MOST_REMEMBERED = 2**25


class Numbers:
    """Rows of a source as floats within bounds, in the place of an array of them.

    Slices of rows, rows by number, and ``[:, columns]`` are what it can do. The blocks
    of `hold` are in memory as the source has them; rows of others that are asked for by
    number are read, and remembered for a while.
    """

    def __init__(self, source, block_rows=None, *, dtype, bounds=None, columns=None):
        self.source, self.dtype, self.bounds = source, np.dtype(dtype), bounds
        self.columns = columns
        n_columns = source.shape[1] if columns is None else len(columns)
        self.shape = source.shape[0], n_columns
        self.block_rows = block_rows or usual_rows(source)
        self._held, self._place, self._room = np.empty(0, int), {}, None
        self._remembered, self._carried, self._lock = OrderedDict(), {}, Lock()
        self._last = None, None

    ndim = 2

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        if isinstance(key, tuple):
            if key[0] != slice(None):
                raise TypeError(f"Got {key}; all rows of some columns are to be had.")
            return self._of_columns(key[1])
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._numbers(self._between(start, stop))
            key = np.arange(start, stop, step)
        return self._numbers(self._chosen(np.asarray(key, dtype=np.intp)))

    def _of(self, source):
        """Make the same of another source."""
        settings = {"dtype": self.dtype, "bounds": self.bounds, "columns": self.columns}
        return Numbers(source, self.block_rows, **settings)

    def _of_columns(self, key):
        """Make the same of some columns."""
        result = self._of(self.source)
        every = np.arange(self.source.shape[1])
        result.columns = (every if self.columns is None else self.columns)[key]
        result.shape = self.shape[0], len(result.columns)
        if self.bounds is not None:
            result.bounds = tuple(ends[key] for ends in self.bounds)
        return result

    def hold(self, blocks, rows):
        """Have these blocks in memory, and a few rows of those that were before."""
        if np.array_equal(blocks, self._held):
            return
        if len(rows):
            self._carried = dict(zip(rows.tolist(), self._chosen(rows), strict=True))
        size = self.block_rows
        if self._room is None:
            shape = min(len(self), TOGETHER * size), self.source.shape[1]
            self._room = np.empty(shape, self.source.dtype)
        self._held, self._place, start = blocks, {}, 0
        for block in blocks.tolist():
            part = self.source.read(block * size, min(len(self), (block + 1) * size))
            self._room[start : start + len(part)] = part
            self._place[block] = start
            start += len(part)

    def _chosen(self, rows):
        """Read rows by number, those that are held from there."""
        result = np.empty((len(rows), self.source.shape[1]), self.source.dtype)
        blocks, within = np.divmod(rows, self.block_rows)
        starts = [self._place.get(block, -1) for block in blocks.tolist()]
        held = np.asarray(starts, dtype=np.intp)
        here = held >= 0
        if here.all() and len(rows):
            return np.take(self._room, held + within, axis=0, out=result)
        result[here] = self._room[held[here] + within[here]] if here.any() else 0
        self._recall(rows, np.flatnonzero(~here), result)
        return result

    def _recall(self, rows, places, result):
        """Put rows that are not held into their places: remembered ones, or read."""
        known, carried = self._remembered, self._carried
        asked = rows[places].tolist()
        new = {row for row in asked if row not in known and row not in carried}
        if new:
            numbers = np.array(sorted(new), dtype=np.intp)
            read = Taken(self.source, numbers).read(0, len(numbers))
            known.update(zip(numbers.tolist(), read, strict=True))
        for place, row in zip(places.tolist(), asked, strict=True):
            if row in known:
                known.move_to_end(row)
            result[place] = known[row] if row in known else carried[row]
        of_row = self.source.shape[1] * self.source.dtype.itemsize
        while len(known) > max(1, MOST_REMEMBERED // of_row):
            known.popitem(last=False)

    def _between(self, start, stop):
        """Read neighbouring rows, from the block that was read last or others."""
        size, parts = self.block_rows, []
        while start < stop:
            block = start // size
            end = min(stop, (block + 1) * size)
            parts.append(self._block(block)[start - block * size : end - block * size])
            start = end
        if not parts:
            return np.empty((0, self.source.shape[1]), self.source.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _block(self, block):
        """Read a block, or give the one that was read last."""
        # Threads ask for neighbours of each other.
        with self._lock:
            if self._last[0] != block:
                first = block * self.block_rows
                last = min(len(self), first + self.block_rows)
                self._last = block, self.source.read(first, last)
            return self._last[1]

    def _numbers(self, rows):
        """Rows as the source has them, as floats within bounds."""
        rows = rows if self.columns is None else rows[:, self.columns]
        rows = rows.astype(self.dtype)
        return rows if self.bounds is None else np.clip(rows, *self.bounds, out=rows)


def taken(X, rows):
    """Some rows of numbers, in an array or in pieces, by their sorted numbers."""
    return X._of(Taken(X.source, rows)) if isinstance(X, Numbers) else X[rows]


def left(X, rows):
    """All rows of numbers, in an array or in pieces, but some, by sorted numbers."""
    if isinstance(X, Numbers):
        return X._of(Left(X.source, rows))
    is_left = np.ones(X.shape[0], dtype=bool)
    is_left[rows] = False
    return X[is_left]


def usual_rows(source):
    """Rows of a block, whole units of what is stored together where these are small."""
    of_row = source.shape[1] * source.dtype.itemsize + BYTES_OF_ORDER
    rows = max(1, MOST_HELD // TOGETHER // of_row)
    return rows // source.unit * source.unit if source.unit <= rows else rows
