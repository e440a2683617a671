"""Columns of zeros and ones, or of probabilities between them."""

from dataclasses import dataclass

from .. import ops
from .._typing import FloatArray, Rng
from ..units import Bernoulli, UnitType
from .contract import Encoding


@dataclass(frozen=True, eq=False)
class Probabilities(Encoding):
    """Values from 0 to 1, each the probability that a binary unit is on.

    Parameters
    ----------
    redraw : bool, default=True
        Whether states are drawn, 0 or 1: what the values mean as probabilities.
        Training draws a row anew at each presentation, a score once, always alike. It
        makes no difference to data of zeros and ones. False trains on the values as
        they are, and then their scores are no log-probabilities.

    See Also
    --------
    skdbm.units.Bernoulli : Their units.
    States : Columns of states that are never redrawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import Probabilities
    >>> X, rng = np.full((10_000, 1), 0.3), np.random.default_rng(0)
    >>> bool(abs(Probabilities().draw(X, rng).mean() - 0.3) < 0.03)
    True
    >>> Probabilities(redraw=False).draw(X, rng) is X
    True
    """

    redraw: bool = True

    accepts_sparse = True

    def __post_init__(self) -> None:
        vars(self).update(holds_probabilities=self.redraw)

    @property
    def unit(self) -> UnitType:
        """Binary units."""
        return Bernoulli()

    @property
    def bounds(self) -> tuple[float, float]:
        """Zero and one."""
        return (0, 1)

    def draw(
        self, states: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Draw ones with these probabilities, or give them as they are."""
        if not self.redraw:
            return super().draw(states, rng, out)
        missing = ops.missing(states)
        draws = ops.uniform(rng, ops.empty(states.shape, states.dtype))
        if out is None:
            out = ops.empty_like(states)
        ops.less(draws, states, out=out)
        if missing is not None:
            out[missing] = ops.nan
        return out
