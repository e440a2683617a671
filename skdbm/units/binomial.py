"""Binary units, and sums of tied ones."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

from .. import ops
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray, Rng
from .contract import UnitType


@dataclass(frozen=True, eq=False)
class Binomial(UnitType):
    """Counts of successes in `n_trials` tied Bernoulli trials: s in {0, ..., n}.

    A(x) = n log(1 + exp(x)) and base(s) = -log(n choose s). It is the sum of n
    Bernoulli units that share one field, which is what "doubling a layer" means in
    greedy pretraining [1]_, and the binomial unit of Teh and Hinton [2]_.

    Parameters
    ----------
    n_trials : int, default=2
        Number of trials n.

    Raises
    ------
    ValueError
        If `n_trials` is not a positive integer.

    See Also
    --------
    Bernoulli : The case of a single trial.

    References
    ----------
    .. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
       section 3.3.
    .. [2] Y. W. Teh and G. Hinton, "Rate-coded restricted Boltzmann machines for
       face recognition", NIPS 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Binomial
    >>> Binomial(n_trials=2).mean(np.array([[0.0]]))
    array([[1.]])
    """

    n_trials: int = 2

    def __post_init__(self) -> None:
        given: object = self.n_trials
        if not isinstance(given, Integral) or given < 1:
            raise ValueError(f"n_trials={given!r}; a positive integer is expected.")
        object.__setattr__(self, "n_trials", int(given))

    @property
    def n_copies(self) -> int:
        """Number of trials."""
        return self.n_trials

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute A(x) = n log(1 + exp(x)), summed over the units of each row."""
        return self.n_trials * ops.row_sum(ops.softplus(field), where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute n / (1 + exp(-x))."""
        out = ops.sigmoid(field, out=out)
        if self.n_trials != 1:
            out *= self.n_trials
        return out

    def sample(
        self,
        field: FloatArray,
        rng: Rng,
        out: FloatArray | None = None,
        scratch: FloatArray | None = None,
    ) -> FloatArray:
        """Draw the number of successes of every unit."""
        trials = [ops.bernoulli(field, rng) for _ in range(self.n_trials - 1)]
        out = ops.bernoulli(field, rng, out=out, scratch=scratch)
        for trial in trials:
            out += trial
        return out

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: x = log(m / (n - m))."""
        field: FloatArray = ops.log(mean) - ops.log(self.n_trials - mean)
        return field

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -m log(m/n) - (n - m) log((n - m)/n), summed over each row."""
        p = ops.asarray(mean, dtype=ops.float64) / self.n_trials
        terms = ops.xlogx(p) + ops.xlogx(1 - p)
        return -self.n_trials * ops.row_sum(terms, where)

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -log(n choose s), summed over the units of each row."""
        if self.n_trials == 1:
            return ops.zeros(states.shape[0])
        s = ops.asarray(states, dtype=ops.float64)
        n = self.n_trials
        terms = ops.gammaln(s + 1) + ops.gammaln(n - s + 1) - ops.gammaln(n + 1)
        return ops.row_sum(terms, where)

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variances m (1 - m/n) and their slopes 1 - 2 m/n."""
        share = mean / self.n_trials
        return mean * (1 - share), 1 - 2 * share

    def tied_copies(self, n_copies: int) -> "Binomial":
        """Give units with `n_copies` times as many trials."""
        return self if n_copies == 1 else Binomial(self.n_trials * n_copies)

    def n_states(self, n_units: int) -> int:
        """Count the joint states, (n + 1) to the power of `n_units`."""
        return int((self.n_trials + 1) ** n_units)

    def states(self, index: IntArray, n_units: int, dtype: DTypeLike) -> FloatArray:
        """List joint states by their number, written in base n + 1."""
        radix = self.n_trials + 1
        place = radix ** ops.arange(n_units, dtype=ops.int64)
        return (ops.asarray(index)[:, None] // place % radix).astype(dtype)


@dataclass(frozen=True, repr=False, eq=False)
class Bernoulli(Binomial):
    """Binary units: s in {0, 1} with P(1) = 1 / (1 + exp(-x)).

    The case n = 1 of `Binomial`: A(x) = log(1 + exp(x)) and base(s) = 0.

    See Also
    --------
    Binomial : Sums of several Bernoulli units.
    skdbm.encodings.Probabilities : Columns of them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Bernoulli
    >>> Bernoulli().mean(np.array([[0.0, 100.0, -100.0]])).round(3)
    array([[0.5, 1. , 0. ]])
    """

    def __init__(self) -> None:
        object.__setattr__(self, "n_trials", 1)

    def __repr__(self) -> str:
        return "Bernoulli()"

    def spec(self) -> dict[str, Any]:
        """Give the name alone."""
        return {"type": type(self).__name__}
