"""The order in which an epoch visits rows."""

from .. import ops
from .._typing import Indices, IntArray, Rng
from ..encodings.rows import TOGETHER, EncodedRows


class Order:
    """All rows but those `left_out`, each once: as they come, or shuffled by `rng`.

    Data that are read in pieces are shuffled in two levels: the blocks, and then the
    rows of so many blocks together as are held in memory. What fits into that at once,
    as an array in memory, is shuffled as a whole.
    """

    def __init__(
        self, source: EncodedRows, left_out: Indices = (), rng: Rng | None = None
    ) -> None:
        self.source, self.left_out, self.rng = source, left_out, rng
        self.blocks: IntArray = ops.arange(-(-len(source) // source.block_rows))
        if rng is not None and source.is_in_pieces:
            self.blocks = rng.permutation(self.blocks)
        self.n_begun, self.rows = 0, ops.empty(0, int)

    def __len__(self) -> int:
        return len(self.source) - len(self.left_out)

    def take(self, n_rows: int) -> Indices:
        """Give the next rows, fewer at the end, and have their blocks in memory."""
        self.source.hold(self._together(), self.rows[:0])  # after a restart
        while len(self.rows) < n_rows and self.n_begun < len(self.blocks):
            self.n_begun += TOGETHER
            self.source.hold(self._together(), self.rows)
            self.rows = ops.concatenate([self.rows, self._rows()])
        taken, self.rows = self.rows[:n_rows], self.rows[n_rows:]
        return taken

    def _together(self) -> IntArray:
        """The blocks whose rows come now."""
        return self.blocks[max(0, self.n_begun - TOGETHER) : self.n_begun]

    def _rows(self) -> IntArray:
        """Their rows, in the order in which they come."""
        size, n_rows = self.source.block_rows, len(self.source)
        rows: IntArray = ops.concatenate(
            [
                ops.arange(block * size, min((block + 1) * size, n_rows))
                for block in self._together()
            ]
        )
        if len(self.left_out):
            rows = rows[~ops.isin(rows, self.left_out)]
        return rows if self.rng is None else self.rng.permutation(rows)
