"""Units of several types side by side."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import ops
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray, Rng
from .contract import UnitType


@dataclass(frozen=True, eq=False)
class Mixed(UnitType):
    """A visible layer of several types of units, one part after the other.

    Given the hidden units the parts are independent, so everything about the layer
    is put together from them.

    Parameters
    ----------
    parts : sequence of (UnitType, int)
        Unit types and how many units of each.

    Raises
    ------
    ValueError
        If there is no part, a part is empty or of a wrong width, or made of units that
        share a total, as `ReplicatedSoftmax` is.

    See Also
    --------
    skdbm.encodings.Mixed : Columns of several kinds.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Bernoulli, Categorical, Mixed
    >>> unit = Mixed([(Categorical((3,)), 3), (Bernoulli(), 2)])
    >>> unit.mean(np.zeros((1, 5))).round(2)
    array([[0.33, 0.33, 0.33, 0.5 , 0.5 ]])
    """

    parts: tuple[tuple[UnitType, int], ...]

    may_be_hidden = False

    def __init__(self, parts: Iterable[tuple[UnitType, int]]) -> None:
        pairs = tuple((unit, int(n_units)) for unit, n_units in parts)
        object.__setattr__(self, "parts", pairs)
        if not pairs or min(n_units for _, n_units in pairs) < 1:
            raise ValueError(
                f"Mixed units need at least one part, each of some units; got {pairs}."
            )
        for unit, n_units in pairs:
            unit.check_width(n_units)
            if unit.totals(ops.zeros((1, n_units))) is not None:
                raise ValueError(
                    f"{unit!r} cannot be a part of Mixed units: its rows share a total."
                )

    def __repr__(self) -> str:
        return f"Mixed({', '.join(f'{unit!r} x {n}' for unit, n in self.parts)})"

    @property
    def n_copies(self) -> int:
        """The largest of the parts."""
        return max(unit.n_copies for unit, _ in self.parts)

    @cached_property
    def slices(self) -> list[tuple[UnitType, slice]]:
        """Each unit type with the slice of its units."""
        start, result = 0, []
        for unit, n_units in self.parts:
            result.append((unit, slice(start, start + n_units)))
            start += n_units
        return result

    def _sum(
        self, method: str, array: FloatArray, where: BoolArray | None
    ) -> FloatArray:
        """Sum what a method gives for every part over the parts."""
        total = ops.zeros(len(array))
        for unit, units in self.slices:
            part = None if where is None else where[:, units]
            total += getattr(unit, method)(array[:, units], part)
        return total

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Sum those of the parts."""
        return self._sum("log_partition", field, where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute those of the parts."""
        out = ops.empty_like(field) if out is None else out
        for unit, units in self.slices:
            unit.mean(field[:, units], out=out[:, units])
        return out

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw every part in turn."""
        out = ops.empty_like(field) if out is None else out
        for unit, units in self.slices:
            room = None if scratch is None else scratch[:, units]
            unit.sample(field[:, units], rng, out=out[:, units], scratch=room)
        return out

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the means of the parts."""
        parts = [unit.field_of_mean(mean[..., units]) for unit, units in self.slices]
        return ops.concatenate(parts, axis=-1)

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Sum those of the parts."""
        return self._sum("entropy", mean, where)

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Sum those of the parts."""
        return self._sum("base", states, where)

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give variances and slopes of the parts, zero for the units of groups."""
        parts = [unit.reaction(mean[:, units]) for unit, units in self.slices]
        variances, slopes = zip(*parts, strict=True)
        return ops.concatenate(variances, axis=1), ops.concatenate(slopes, axis=1)

    def mean_vjp(self, mean: FloatArray, gradient: FloatArray) -> FloatArray:
        """Carry back through every part."""
        parts = [
            unit.mean_vjp(mean[:, units], gradient[:, units])
            for unit, units in self.slices
        ]
        return ops.concatenate(parts, axis=1)

    def tied_copies(self, n_copies: int) -> "Mixed":
        """Give the tied copies of every part."""
        return Mixed([(unit.tied_copies(n_copies), n) for unit, n in self.parts])

    def n_states(self, n_units: int) -> float:
        """Multiply the numbers of the parts."""
        counts = [unit.n_states(n) for unit, n in self.parts]
        # An integer may be too large to be multiplied with infinity.
        return math.inf if math.inf in counts else math.prod(counts)

    def states(self, index: IntArray, n_units: int, dtype: DTypeLike) -> FloatArray:
        """List joint states by their number, the first part running fastest."""
        index, result = ops.asarray(index), []
        for unit, n in self.parts:
            n_states = int(unit.n_states(n))
            result.append(unit.states(index % n_states, n, dtype))
            index = index // n_states
        return ops.hstack(result)

    def check_width(self, n_units: int) -> None:
        """Check that the parts have so many units together."""
        together = sum(n for _, n in self.parts)
        if together != n_units:
            raise ValueError(
                f"The layer has {n_units} units, and the parts of {self!r} "
                f"{together} together."
            )

    def spec(self) -> dict[str, Any]:
        """Give the descriptions and widths of the parts."""
        return {"type": "Mixed", "parts": [[unit.spec(), n] for unit, n in self.parts]}
