"""Binary units, and sums of tied ones."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from .. import ops
from .._typing import BoolArray, FloatArray, IntArray, Rng
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

    accepts_sparse = True

    def __post_init__(self) -> None:
        given: object = self.n_trials
        if not isinstance(given, Integral) or given < 1:
            raise ValueError(f"n_trials={given!r}; a positive integer is expected.")
        object.__setattr__(self, "n_trials", int(given))

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest state.

        Returns
        -------
        tuple of int
            Zero and the number of trials.
        """
        return (0, self.n_trials)

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these units.

        Returns
        -------
        float
            One over the number of trials.
        """
        return 1 / self.n_trials

    def log_partition(
        self, field: FloatArray, where: BoolArray | None = None
    ) -> FloatArray:
        """Compute A(x) = n log(1 + exp(x)), summed over the units of each row.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """
        return self.n_trials * ops.row_sum(ops.softplus(field), where)

    def mean(self, field: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Compute the mean n / (1 + exp(-x)) of every unit.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        out : ndarray of the same shape, default=None
            Where the result goes; `field` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The means.
        """
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
        """Draw the number of successes of every unit.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.
        rng : numpy.random.Generator
            Source of the draws.
        out : ndarray of the same shape, default=None
            Where the result goes; `field` itself is allowed.
        scratch : ndarray of the same shape, default=None
            Room for intermediate values, so that nothing is allocated.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, in the dtype of `field`.
        """
        trials = [ops.bernoulli(field, rng) for _ in range(self.n_trials - 1)]
        out = ops.bernoulli(field, rng, out=out, scratch=scratch)
        for trial in trials:
            out += trial
        return out

    def field_of_mean(self, mean: FloatArray) -> FloatArray:
        """Invert the mean: x = log(m / (n - m)).

        Parameters
        ----------
        mean : ndarray
            Means strictly between 0 and n.

        Returns
        -------
        ndarray
            The fields.
        """
        field: FloatArray = np.log(mean) - np.log(self.n_trials - mean)
        return field

    def bias_of_data(self, mean: FloatArray, n_rows: int) -> FloatArray:
        """Give the logits of the data means, as if one more row had mean n / 2.

        Parameters
        ----------
        mean : ndarray of shape (n_units,)
            Means of the data.
        n_rows : int
            Number of rows they were taken from.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """
        return self.field_of_mean((mean * n_rows + self.n_trials / 2) / (n_rows + 1))

    def entropy(self, mean: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -m log(m/n) - (n - m) log((n - m)/n), summed over each row.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means m.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies relative to exp(-base(s)), in nats, float64.
        """
        p = np.asarray(mean, dtype=np.float64) / self.n_trials
        terms = ops.xlogx(p) + ops.xlogx(1 - p)
        return -self.n_trials * ops.row_sum(terms, where)

    def reaction(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the variance of every unit and its derivative by the mean.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means m.

        Returns
        -------
        variance : ndarray of shape (n_rows, n_units)
            The variances m (1 - m / n).
        slope : ndarray of shape (n_rows, n_units)
            Their derivatives 1 - 2 m / n.
        """
        share = mean / self.n_trials
        return mean * (1 - share), 1 - 2 * share

    def base(self, states: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """Compute -log(n choose s), summed over the units of each row.

        For a single trial, n = 1, it is zero.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            The states; values between the integers are interpolated by the gamma
            function.
        where : ndarray of bool of the same shape, default=None
            The units to sum over; None means all.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, float64.
        """
        if self.n_trials == 1:
            return np.zeros(states.shape[0])
        s = np.asarray(states, dtype=np.float64)
        n = self.n_trials
        terms = gammaln(s + 1) + gammaln(n - s + 1) - gammaln(n + 1)
        return ops.row_sum(terms, where)

    def sample_of_mean(
        self, mean: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Draw a state of every unit given its mean.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means; those at the ends of their range give the states there.
        rng : numpy.random.Generator
            Source of the draws.
        out : ndarray of the same shape, default=None
            Where the result goes; `mean` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, in the dtype of `mean`.
        """
        with np.errstate(divide="ignore"):
            field = self.field_of_mean(mean)
        return self.sample(field, rng, out=out)

    def tied_copies(self, n_copies: int) -> "Binomial":
        """Give the unit type of the sum of `n_copies` units of one field.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        Binomial
            Units with `n_copies` times as many trials.
        """
        return self if n_copies == 1 else Binomial(self.n_trials * n_copies)

    def n_states(self, n_units: int) -> int:
        """Count the joint states, (n + 1) to the power of `n_units`.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int
            The exact number.
        """
        return int((self.n_trials + 1) ** n_units)

    def states(self, index: IntArray, n_units: int, dtype: npt.DTypeLike) -> FloatArray:
        """List joint states by their number, written in base n + 1.

        Parameters
        ----------
        index : ndarray of int of shape (n_rows,)
            Numbers from 0 to ``n_states(n_units) - 1``.
        n_units : int
            Number of units in the layer.
        dtype : dtype
            Floating dtype of the result.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            One joint state a row.
        """
        radix = self.n_trials + 1
        place = radix ** np.arange(n_units, dtype=np.int64)
        return (np.asarray(index)[:, None] // place % radix).astype(dtype)


@dataclass(frozen=True, repr=False, eq=False)
class Bernoulli(Binomial):
    """Binary units: s in {0, 1} with P(1) = 1 / (1 + exp(-x)).

    They are `Binomial` units of a single trial, n = 1, with A(x) = log(1 + exp(x)) and
    base(s) = 0. In a visible layer a value between 0 and 1 stands for the probability
    of a one.

    See Also
    --------
    Binomial : Sums of several Bernoulli units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.units import Bernoulli
    >>> unit = Bernoulli()
    >>> unit.mean(np.array([[0.0, 100.0, -100.0]])).round(3)
    array([[0.5, 1. , 0. ]])
    >>> unit.entropy(np.array([[0.5]])).round(4)  # log 2
    array([0.6931])
    """

    def __init__(self) -> None:
        object.__setattr__(self, "n_trials", 1)

    def __repr__(self) -> str:
        return "Bernoulli()"

    def sample_of_mean(
        self, mean: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Draw one with the given probability.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            Probabilities of a one.
        rng : numpy.random.Generator
            Source of the draws.
        out : ndarray of the same shape, default=None
            Where the result goes; `mean` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            Zeros and ones, in the dtype of `mean`.
        """
        draws = ops.uniform(rng, np.empty(mean.shape, mean.dtype))
        return np.less(draws, mean, out=np.empty_like(mean) if out is None else out)

    def spec(self) -> dict[str, Any]:
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type".
        """
        return {"type": type(self).__name__}
