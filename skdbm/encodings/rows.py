"""The one way from rows of data to visible states."""

from typing import Any

from .. import ops
from .._typing import FloatArray, Indices, Rng, Rows
from .contract import Encoding

#: Key of the streams that rows are drawn from.
DRAWING = (2**31,)


class EncodedRows:
    """Rows of data as visible states, made, and with `rng` drawn, on demand."""

    # So memory stays flat in the number of rows. Values are encoded before they are
    # cast: their differences may be far smaller than themselves.

    def __init__(
        self, encoding: Encoding, X: Rows, dtype: Any, rng: Rng | None = None
    ) -> None:
        self.encoding, self.X, self.dtype, self.rng = encoding, X, dtype, rng
        self.shape: tuple[int, int] = (X.shape[0], encoding.width(X.shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Rows:
        return self.encoding.encode(self.X[rows]).astype(self.dtype, copy=False)

    def read(self, indices: Indices, encoding: Encoding | None = None) -> FloatArray:
        """Dense states of some rows, NaN where missing, by what is learned so far."""
        encoding = encoding or self.encoding
        values = ops.dense(self.X[indices])
        states: FloatArray = encoding.encode(values).astype(self.dtype, copy=False)
        return states if self.rng is None else encoding.draw(states, self.rng)


class DrawnRows(EncodedRows):
    """Rows as visible states, of which each is drawn once where it has probabilities.

    What is drawn for a row follows from the seed and from the row alone.
    """

    def __init__(self, encoding: Encoding, X: Rows, dtype: Any, seed: int) -> None:
        super().__init__(encoding, X, dtype)
        self.seed = ops.SeedSequence(seed, spawn_key=DRAWING)

    def __getitem__(self, rows: slice) -> Rows:
        states = super().__getitem__(rows)
        if not self.encoding.holds_probabilities or ops.are_whole(states):
            return states
        states = ops.dense(states).copy()
        for row, rng in enumerate(ops.streams_of_rows(self.seed, states)):
            one = states[row : row + 1]
            self.encoding.draw(one, rng, out=one)
        return states
