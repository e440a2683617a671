"""Columns that are states already."""

from dataclasses import dataclass
from typing import Any

from .. import ops, units
from .._typing import FloatArray, IntArray
from ..units import Bernoulli, Binomial, Multinomial, UnitType
from .contract import Encoding
from .counts import Counts
from .mixed import Mixed
from .probabilities import Probabilities
from .real import Real

_FLAGS = ("may_be_missing", "accepts_sparse", "holds_codes", "may_be_doubled")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class States(Encoding):
    """Columns whose values are states of units of any type, as they are.

    Nothing is learned from them, and they are never redrawn. Where an estimator gets a
    unit type for columns, this encoding is meant.

    Parameters
    ----------
    unit : UnitType
        The unit type.

    See Also
    --------
    Probabilities : Columns of which states are drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import States
    >>> from skdbm.units import Binomial
    >>> X, encoding = np.array([[2.0, 0.0]]), States(Binomial(2))
    >>> encoding.bounds, encoding.encode(X) is X
    ((0, 2), True)
    """

    _unit: UnitType
    _kin: Encoding | None

    def __init__(self, unit: UnitType) -> None:
        kin = _kin(unit)
        vars(self).update(
            _unit=unit, _kin=kin, accepts_sparse=isinstance(unit, Binomial)
        )
        if kin is not None:
            vars(self).update({name: getattr(kin, name) for name in _FLAGS})

    def __repr__(self) -> str:
        return f"States({self.unit!r})"

    @property
    def unit(self) -> UnitType:
        """The unit type that was given."""
        return self._unit

    @property
    def bounds(self) -> tuple[float, float]:
        """Zero and the number of draws of units that have one."""
        if self._kin is not None:
            return self._kin.bounds
        if isinstance(self.unit, (Binomial, Multinomial)):
            return (0, int(ops.max(self.unit.n_trials)))
        return super().bounds

    @property
    def caution(self) -> float:
        """That of the encoding made for such units."""
        if isinstance(self.unit, units.Gaussian):
            return Real().caution
        return super().caution if self._kin is None else self._kin.caution

    @property
    def rate_factor(self) -> float:
        """That of the encoding made for such units, or one over their copies."""
        if isinstance(self.unit, units.Gaussian):
            return Real().rate_factor / self.unit.n_copies
        return super().rate_factor if self._kin is None else self._kin.rate_factor

    def learning_rate(self, states: FloatArray, n_above: int) -> float:
        """Give that of the encoding made for such units."""
        if self._kin is None:
            return super().learning_rate(states, n_above)
        return self._kin.learning_rate(states, n_above)

    def check(self, values: FloatArray) -> None:
        """Check that the counts of each group have the sum that they should have."""
        if self._kin is not None:
            self._kin.check(values)
        elif isinstance(self.unit, Multinomial):
            unit, sizes = self.unit, ops.array(self.unit.sizes)
            starts = ops.cumsum(sizes) - sizes
            totals = ops.add.reduceat(values, starts, axis=1)
            gaps = ops.add.reduceat(ops.isnan(values), starts, axis=1, dtype=int)
            known = gaps == 0
            if (
                not (known | (gaps == sizes)).all()
                or (totals[known] != unit.n_copies).any()
            ):
                raise ValueError(
                    f"The columns of {unit!r} hold groups of counts with the sum "
                    f"{unit.n_trials}, or missing as a whole; got other groups."
                )

    def columns(self, n_columns: int) -> list[tuple[Encoding, slice | IntArray]]:
        """List the parts of mixed units, or give all columns."""
        if isinstance(self._kin, Mixed):
            return self._kin.columns(n_columns)
        return super().columns(n_columns)

    def spec(self) -> dict[str, Any]:
        """Give the description of the unit type."""
        return {"type": "States", "unit": self.unit.spec()}


def of_unit(unit: UnitType) -> Encoding:
    """Encoding of columns of which only the units are known."""
    return Probabilities() if unit == Bernoulli() else States(unit)


def _kin(unit: UnitType) -> Encoding | None:
    """The encoding made for such units: what it says of values holds for states."""
    if isinstance(unit, units.Gaussian):
        return Real()
    if isinstance(unit, units.ReplicatedSoftmax):
        return Counts(unit.sizes[0], unit.typical_total)
    if isinstance(unit, units.Mixed):
        slices = [(States(part), range(s.start, s.stop)) for part, s in unit.slices]
        return Mixed(slices)
    return None
