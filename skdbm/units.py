"""Unit types: what one unit of a layer can be, described by its log-partition.

Given its neighbours, a unit of a deep Boltzmann machine has the distribution

    p(s) = exp(x s - base(s) - A(x)),

where the *field* x is its bias plus the weighted states of its neighbours, and
A(x) = log sum_s exp(x s - base(s)) is the log-partition of the unit type. All that
inference, sampling, training and likelihood need follows from A: the mean A'(x),
a draw, the entropy, the inverse of the mean. To add a unit type is to add one
class here.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from numbers import Integral

import numpy as np
from scipy.special import gammaln

from . import _arrays


class UnitType(ABC):
    """The contract of a unit type.

    Arrays of fields, means and states have shape (n_rows, n_units). What is summed
    over the units of a row is summed in float64. Unit types are immutable values:
    two layers may share one.

    See Also
    --------
    Bernoulli : The unit type with states 0 and 1.
    Binomial : The sum of several Bernoulli units of one field.

    Examples
    --------
    >>> from skdbm.units import Bernoulli, UnitType
    >>> isinstance(Bernoulli(), UnitType)
    True
    """

    #: Lower and upper end of what a state can be.
    bounds: tuple = (-np.inf, np.inf)

    @abstractmethod
    def log_partition(self, field):
        """Compute A(x), summed over the units of each row.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """

    @abstractmethod
    def mean(self, field, out=None):
        """Compute the mean A'(x) of every unit.

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

    @abstractmethod
    def sample(self, field, rng, out=None, scratch=None):
        """Draw a state of every unit from p(s) = exp(x s - base(s) - A(x)).

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

    @abstractmethod
    def field_of_mean(self, mean):
        """Invert the mean: the field x with A'(x) = mean.

        Parameters
        ----------
        mean : ndarray
            Means strictly inside their range.

        Returns
        -------
        ndarray
            The fields.
        """

    @abstractmethod
    def bias_of_data(self, mean, n_rows):
        """Give the bias at which free units have the means of the data.

        Parameters
        ----------
        mean : ndarray of shape (n_units,)
            Means of the data.
        n_rows : int
            Number of rows they were taken from; decides how far a mean at the end of
            its range is moved inwards.

        Returns
        -------
        ndarray of shape (n_units,)
            The biases.
        """

    @abstractmethod
    def entropy(self, mean):
        """Compute the entropy of units with these means, summed over each row.

        It is taken relative to exp(-base(s)), hence A(x) - x A'(x) at the field x
        that has this mean, and a function of the mean alone, so that saturated
        units in float32 lose nothing.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means A'(x).

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies, in nats, float64.
        """

    def sample_of_mean(self, mean, rng, out=None):
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

    def base(self, states):
        """Compute base(s), summed over the units of each row.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            The states.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, float64; zero unless the unit type says otherwise.
        """
        return np.zeros(states.shape[0])

    @abstractmethod
    def tied_copies(self, n_copies):
        """Give the unit type of the sum of `n_copies` independent units of one field.

        Greedy pretraining uses it: a layer that will later be fed from both sides is
        trained with the side at hand doubled.

        Parameters
        ----------
        n_copies : int
            How many copies.

        Returns
        -------
        UnitType
            The unit type whose log-partition is `n_copies` times this one's.
        """

    @abstractmethod
    def n_states(self, n_units):
        """Count the joint states of `n_units` units.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int or float
            The exact number, or infinity where the states cannot be enumerated.
        """

    @abstractmethod
    def states(self, index, n_units, dtype):
        """List joint states by their number.

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
            One joint state a row; each number gives another one.
        """

    def spec(self):
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type" and the parameters.
        """
        return {"type": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
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

    def __post_init__(self):
        if not isinstance(self.n_trials, Integral) or self.n_trials < 1:
            raise ValueError(
                f"n_trials={self.n_trials!r}; a positive integer is expected."
            )

    @property
    def bounds(self):
        """Smallest and largest state.

        Returns
        -------
        tuple of int
            Zero and the number of trials.
        """
        return (0, self.n_trials)

    def log_partition(self, field):
        """Compute A(x) = n log(1 + exp(x)), summed over the units of each row.

        Parameters
        ----------
        field : ndarray of shape (n_rows, n_units)
            The fields x.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, in nats, float64.
        """
        return self.n_trials * _arrays.row_sum(_arrays.softplus(field))

    def mean(self, field, out=None):
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
        out = _arrays.sigmoid(field, out=out)
        if self.n_trials != 1:
            out *= self.n_trials
        return out

    def sample(self, field, rng, out=None, scratch=None):
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
        trials = [_arrays.bernoulli(field, rng) for _ in range(self.n_trials - 1)]
        out = _arrays.bernoulli(field, rng, out=out, scratch=scratch)
        for trial in trials:
            out += trial
        return out

    def field_of_mean(self, mean):
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
        return np.log(mean) - np.log(self.n_trials - mean)

    def bias_of_data(self, mean, n_rows):
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

    def entropy(self, mean):
        """Compute -m log(m/n) - (n - m) log((n - m)/n), summed over each row.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_units)
            The means m.

        Returns
        -------
        ndarray of shape (n_rows,)
            The entropies relative to exp(-base(s)), in nats, float64.
        """
        p = np.asarray(mean, dtype=np.float64) / self.n_trials
        return -self.n_trials * np.sum(_arrays.xlogx(p) + _arrays.xlogx(1 - p), axis=1)

    def base(self, states):
        """Compute -log(n choose s), summed over the units of each row.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            The states; values between the integers are interpolated by the gamma
            function.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, float64.
        """
        if self.n_trials == 1:
            return np.zeros(states.shape[0])
        s = np.asarray(states, dtype=np.float64)
        n = self.n_trials
        return np.sum(gammaln(s + 1) + gammaln(n - s + 1) - gammaln(n + 1), axis=1)

    def tied_copies(self, n_copies):
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

    def n_states(self, n_units):
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
        return (self.n_trials + 1) ** n_units

    def states(self, index, n_units, dtype):
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


@dataclass(frozen=True, repr=False)
class Bernoulli(Binomial):
    """Binary units: s in {0, 1} with P(1) = 1 / (1 + exp(-x)).

    A(x) = log(1 + exp(x)) and base(s) = 0. In a visible layer a value between 0 and
    1 stands for the probability of a one.

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

    def __init__(self):
        object.__setattr__(self, "n_trials", 1)

    def __repr__(self):
        return "Bernoulli()"

    def sample_of_mean(self, mean, rng, out=None):
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
        draws = _arrays.uniform(rng, np.empty_like(mean))
        return np.less(draws, mean, out=np.empty_like(mean) if out is None else out)

    def spec(self):
        """Describe the unit type by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type".
        """
        return {"type": type(self).__name__}


_TYPES = {cls.__name__: cls for cls in (Bernoulli, Binomial)}


def from_spec(spec):
    """Build a unit type from its description.

    Parameters
    ----------
    spec : dict
        What `UnitType.spec` returned.

    Returns
    -------
    UnitType
        The unit type described.

    Raises
    ------
    ValueError
        If the description names a unit type that this version does not have.

    See Also
    --------
    UnitType.spec : The other direction.

    Examples
    --------
    >>> from skdbm.units import Binomial, from_spec
    >>> from_spec(Binomial(3).spec())
    Binomial(n_trials=3)
    """
    parameters = dict(spec)
    name = parameters.pop("type", None)
    if name not in _TYPES:
        raise ValueError(
            f"Unknown unit type {name!r}; this version of skdbm has {sorted(_TYPES)}."
        )
    return _TYPES[name](**parameters)
