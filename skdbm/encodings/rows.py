"""The one way from rows of data to visible states."""

from typing import Any

from .. import ops
from .._typing import FloatArray, Indices, IntArray, Rng, Rows
from .contract import Encoding
from .ties import PartlyKnown, states_of

#: Key of the streams that rows are drawn from.
DRAWING = (2**31,)

#: Blocks of data that are read in pieces, of which the rows are in memory at a time.
TOGETHER = 16


def are_in_pieces(n_rows: int, block_rows: int) -> bool:
    """Whether so many rows are of more blocks than are held together."""
    return n_rows > TOGETHER * block_rows


class EncodedRows:
    """Rows of data as visible states, made, and with `rng` drawn, on demand."""

    # So memory stays flat in the number of rows. Values are encoded before they are
    # cast: their differences may be far smaller than themselves.

    def __init__(
        self, encoding: Encoding, X: Rows, dtype: Any, rng: Rng | None = None
    ) -> None:
        self.encoding, self.X, self.dtype, self.rng = encoding, X, dtype, rng
        self.shape: tuple[int, int] = (X.shape[0], encoding.width(X.shape[1]))
        self.block_rows = ops.block_rows(X)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_in_pieces(self) -> bool:
        """Whether there are more blocks than are held together."""
        return are_in_pieces(len(self), self.block_rows)

    def hold(self, blocks: IntArray, rows: IntArray) -> None:
        """Have the rows of these blocks in memory, besides a few of those before."""
        if hasattr(self.X, "hold"):
            self.X.hold(blocks, rows)

    def __getitem__(self, rows: Any) -> Rows | PartlyKnown:
        return self._states(self.X[rows], self.encoding, None)

    def read(
        self, indices: Indices, encoding: Encoding | None = None
    ) -> FloatArray | PartlyKnown:
        """Dense states of some rows, NaN where missing, by what is learned so far."""
        values = ops.dense(self.X[indices])
        states: FloatArray | PartlyKnown
        states = self._states(values, encoding or self.encoding, self.rng)
        return states

    def _states(self, values: Any, encoding: Encoding, rng: Rng | None) -> Any:
        """States of values; with ties where some of them are known together only."""
        states = encoding.encode(values).astype(self.dtype, copy=False)
        gaps = ops.missing(states)
        ties = () if gaps is None else encoding.tie(values, states)
        if rng is not None:
            states = encoding.draw(states, rng)
        if gaps is None or not ties:
            return states
        return PartlyKnown(states, ~gaps, ties)

    def column_means(self) -> FloatArray:
        """Mean of every unit over the rows in which something is known of it."""
        total, known = ops.zeros(self.shape[1]), ops.zeros(self.shape[1])
        for block in ops.row_blocks(len(self), ops.INFERENCE_ROWS):
            part = ops.dense(states_of(self[block]))
            total += ops.nan_to_num(part).sum(axis=0, dtype=ops.float64)
            known += (~ops.isnan(part)).sum(axis=0)
        return total / ops.maximum(known, 1)


class DrawnRows(EncodedRows):
    """Rows as visible states, of which each is drawn once where it has probabilities.

    What is drawn for a row follows from the seed and from the row alone.
    """

    def __init__(self, encoding: Encoding, X: Rows, dtype: Any, seed: int) -> None:
        super().__init__(encoding, X, dtype)
        self.seed = ops.SeedSequence(seed, spawn_key=DRAWING)

    def __getitem__(self, rows: Any) -> Rows | PartlyKnown:
        result = super().__getitem__(rows)
        states = states_of(result)
        if not self.encoding.holds_probabilities or ops.are_whole(states):
            return result
        states, encoding = ops.dense(states).copy(), self.encoding.noiseless
        for row, rng in enumerate(ops.streams_of_rows(self.seed, states)):
            one = states[row : row + 1]
            encoding.draw(one, rng, out=one)
        if isinstance(result, PartlyKnown):
            return result._replace(states=states)
        return states
