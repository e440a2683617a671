"""Columns of several kinds."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import ops, units
from .._typing import ArrayLike, FloatArray, IntArray, Rng, Rows
from .contract import Encoding
from .ties import PartlyKnown, Ties


@dataclass(frozen=True, eq=False)
class Mixed(Encoding):
    """Groups of columns, each with an encoding of its own.

    The units of the parts stand one part after the other, whatever the order of the
    columns.

    Parameters
    ----------
    parts : sequence of (Encoding, sequence of int)
        Encodings and the indices of their columns.

    Raises
    ------
    ValueError
        If a column is in no part or in several, or a part is made of rows that share
        a total, as `Counts` is.

    See Also
    --------
    skdbm.units.Mixed : Their units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import Categories, Mixed, Probabilities
    >>> encoding = Mixed([(Categories((3,)), [1]), (Probabilities(), [0, 2])])
    >>> encoding.encode(np.array([[1.0, 2.0, 0.0]]))
    array([[0., 0., 1., 1., 0.]])
    >>> encoding.decode(np.array([[0.0, 0.0, 1.0, 1.0, 0.0]]))
    array([[1., 2., 0.]])
    """

    parts: tuple[tuple[Encoding, IntArray], ...]

    def __init__(self, parts: Iterable[tuple[Encoding, ArrayLike]]) -> None:
        pairs = [
            (part, ops.asarray(columns, dtype=ops.intp)) for part, columns in parts
        ]
        object.__setattr__(self, "parts", tuple(pairs))
        if not pairs:
            raise ValueError("Mixed columns need at least one part.")
        found = ops.sort(ops.concatenate([columns for _, columns in pairs]))
        if not ops.array_equal(found, ops.arange(len(found))):
            raise ValueError(
                "Every column must be in one part of Mixed columns; got columns "
                f"{[columns.tolist() for _, columns in pairs]}."
            )
        for part, _ in pairs:
            if not part.may_be_missing:
                raise ValueError(
                    f"{part!r} cannot be a part of Mixed columns: "
                    "its rows share a total."
                )
        vars(self).update(
            is_categorical=any(part.is_categorical for part, _ in pairs),
            holds_codes=any(part.holds_codes for part, _ in pairs),
            holds_probabilities=any(part.holds_probabilities for part, _ in pairs),
            may_be_doubled=all(part.may_be_doubled for part, _ in pairs),
        )

    def __repr__(self) -> str:
        inside = ", ".join(f"{part!r} x {len(columns)}" for part, columns in self.parts)
        return f"Mixed({inside})"

    @cached_property
    def _slices(self) -> list[tuple[slice, IntArray]]:
        """The units and columns of each part."""
        start, result = 0, []
        for part, columns in self.parts:
            stop = start + part.width(len(columns))
            result.append((slice(start, stop), columns))
            start = stop
        return result

    def _joint(self) -> list[tuple[Encoding, slice, IntArray]]:
        """Each part with its units and columns."""
        slices = zip(self.parts, self._slices, strict=True)
        return [(part, units, columns) for (part, _), (units, columns) in slices]

    @cached_property
    def unit(self) -> units.Mixed:
        """The units of the parts, one after the other."""
        return units.Mixed(
            [(part.unit, s.stop - s.start) for part, s, _ in self._joint()]
        )

    def initial_weights(self, n_units: int, n_above: int, rng: Rng) -> FloatArray:
        """Draw those of the parts."""
        weights: FloatArray = ops.concatenate(
            [
                part.initial_weights(s.stop - s.start, n_above, rng)
                for part, s, _ in self._joint()
            ]
        )
        return weights

    def initial_activity(self, n_above: int) -> float:
        """Give the largest of the parts."""
        return max(part.initial_activity(n_above) for part, _ in self.parts)

    def balanced(
        self, weights: FloatArray, means: FloatArray, variances: FloatArray
    ) -> tuple["Mixed", FloatArray, FloatArray]:
        """Balance the parts, each by itself."""
        encodings, shifts, squares = zip(
            *(
                part.balanced(weights[s], means, variances)
                for part, s, _ in self._joint()
            ),
            strict=True,
        )
        return self._with_encodings(encodings), ops.concatenate(shifts), sum(squares)

    @property
    def caution(self) -> float:
        """The smallest of the parts."""
        return min(part.caution for part, _ in self.parts)

    @property
    def rate_factor(self) -> float:
        """The smallest of the parts."""
        return min(part.rate_factor for part, _ in self.parts)

    def learning_rate(self, states: FloatArray, n_above: int) -> float:
        """One over the sum of one over those of the parts: variances add up."""
        rates = [
            part.learning_rate(states[:, where], n_above)
            for part, where, _ in self._joint()
        ]
        return 1 / sum(1 / rate for rate in rates)

    def fit(self, X: Rows) -> "Mixed":
        """Fit every part to its columns."""
        return Mixed(
            [(part.fit(X[:, columns]), columns) for part, columns in self.parts]
        )

    def width(self, n_columns: int) -> int:
        """Count the units of all parts."""
        return int(self._slices[-1][0].stop)

    def n_columns(self, n_units: int) -> int:
        """Count the columns of all parts."""
        return sum(len(columns) for _, columns in self.parts)

    def columns(self, n_columns: int) -> list[tuple[Encoding, slice | IntArray]]:
        """List the parts."""
        return list(self.parts)

    def encode(self, X: Rows, out: FloatArray | None = None) -> FloatArray:
        """Encode every part."""
        if out is None:
            out = ops.empty((len(X), self.width(X.shape[1])), X.dtype)
        for part, s, columns in self._joint():
            part.encode(X[:, columns], out=out[:, s])
        return out

    def tie(self, X: Rows, states: FloatArray) -> tuple[Ties, ...]:
        """Gather those of the parts."""
        return tuple(
            tie.shifted(s.start)
            for part, s, columns in self._joint()
            for tie in part.tie(X[:, columns], states[:, s])
        )

    def decode(self, states: FloatArray) -> FloatArray:
        """Decode every part."""
        X = ops.empty((len(states), self.n_columns(states.shape[1])), states.dtype)
        for part, s, columns in self._joint():
            X[:, columns] = part.decode(states[:, s])
        return X

    def draw(
        self, states: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Draw every part in turn."""
        out = ops.empty_like(states) if out is None else out
        for part, s, _ in self._joint():
            room = out[:, s]
            part.draw(room if out is states else states[:, s], rng, out=room)
        return out

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Sum those of the parts."""
        total = ops.zeros(len(X))
        for part, columns in self.parts:
            total += part.log_jacobian(X[:, columns])
        return total

    @property
    def learned(self) -> FloatArray:
        """Those of the parts, one after the other."""
        return ops.concatenate([part.learned for part, _ in self.parts])

    @property
    def unlearned(self) -> "Mixed":
        """The same for every part."""
        return self._with_encodings([part.unlearned for part, _ in self.parts])

    @property
    def noiseless(self) -> "Mixed":
        """The same for every part."""
        return self._with_encodings([part.noiseless for part, _ in self.parts])

    def with_learned(self, values: FloatArray) -> "Mixed":
        """Give every part its own."""
        sizes = [len(part.learned) for part, _ in self.parts]
        shares = ops.split(values, ops.cumsum(sizes)[:-1])
        return self._with_encodings(
            [
                part.with_learned(own)
                for (part, _), own in zip(self.parts, shares, strict=True)
            ]
        )

    def _with_encodings(self, encodings: Iterable[Encoding]) -> "Mixed":
        """Give other encodings to the same columns."""
        pairs = zip(encodings, self.parts, strict=True)
        return self._changed(parts=tuple((e, columns) for e, (_, columns) in pairs))

    def learned_gradient(
        self, rows: PartlyKnown, field: FloatArray, inflation: float = 1.0
    ) -> FloatArray:
        """Compute those of the parts, one after the other."""
        return ops.concatenate(
            [
                part.learned_gradient(rows.of_units(s), field[:, s], inflation)
                for part, s, _ in self._joint()
            ]
        )

    def unexplained(self, rows: PartlyKnown, field: FloatArray) -> FloatArray:
        """Average those of the parts of which something is learned."""
        found = [
            part.unexplained(rows.of_units(s), field[:, s])
            for part, s, _ in self._joint()
            if part.learned.size
        ]
        if not found:
            return super().unexplained(rows, field)
        ratios: FloatArray = ops.mean(ops.stack(found), axis=0)
        return ratios

    def spec(self) -> dict[str, Any]:
        """Give the descriptions of the parts, and their columns."""
        parts = [[part.spec(), columns.tolist()] for part, columns in self.parts]
        return {"type": "Mixed", "parts": parts}
