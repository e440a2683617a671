"""What an encoding has to know; see the package's docstring for the idea."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from .. import ops
from .._typing import FloatArray, IntArray, Rng, Rows
from ..units import UnitType
from ..units.contract import from_spec as unit_from_spec
from ..units.contract import named
from .ties import PartlyKnown, Ties

_Self = TypeVar("_Self", bound="Encoding")

_NOTHING = ops.zeros(0)

#: The automatic learning rate, times the variance of all visible units together, and
#: times that along their first principal component.
RATE, LEADING = 2.0, 0.15


class Encoding(ABC):
    """The contract of an encoding of columns as states of visible units.

    Values have shape (n_rows, n_columns) and states (n_rows, n_units); what is missing
    is NaN on both sides. Encodings are immutable values, frozen dataclasses as a rule.
    The methods have defaults for columns whose values are the states.

    Attributes
    ----------
    may_be_missing, may_be_doubled : bool
        Whether values may be missing, and whether greedy pretraining may double the
        layer where a neighbour is missing; true unless overridden.
    accepts_sparse : bool
        Whether the columns may come as a sparse matrix; false unless overridden.
    holds_codes, is_categorical : bool
        Whether values are whole numbers or stand for some, and whether they are
        categories rather than numbers; false unless overridden.
    holds_probabilities : bool
        Whether values may be probabilities of states, which `draw` draws: then rows are
        scored by states that are drawn; false unless overridden.

    See Also
    --------
    Probabilities, Real, Categories, Counts, States, Mixed : Encodings.

    Examples
    --------
    >>> from skdbm.encodings import Encoding, Real
    >>> isinstance(Real(), Encoding)
    True
    """

    may_be_missing: bool = True
    accepts_sparse: bool = False
    holds_codes: bool = False
    holds_probabilities: bool = False
    is_categorical: bool = False
    may_be_doubled: bool = True

    def initial_weights(self, n_units: int, n_above: int, rng: Rng) -> FloatArray:
        """Draw the first weights.

        Parameters
        ----------
        n_units, n_above : int
            Numbers of visible units, and of units in the first hidden layer.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        ndarray of shape (n_units, n_above)
            By default independent, with a standard deviation of 0.3 over the root of
            `n_units`: enough for small layers to leave the start, little for large
            ones.
        """
        weights: FloatArray = rng.normal(0, 0.3 / n_units**0.5, (n_units, n_above))
        return weights

    def initial_activity(self, n_above: int) -> float:
        """Give the first mean of the units in the first hidden layer.

        Units that are mostly off specialise: features become sparse, and the likelihood
        is better than from means of one half.

        Parameters
        ----------
        n_above : int
            Number of units in the first hidden layer.

        Returns
        -------
        float
            0.02 by default.
        """
        return 0.02

    def balanced(
        self, weights: FloatArray, means: FloatArray, variances: FloatArray
    ) -> tuple["Encoding", FloatArray, FloatArray]:
        """Say how first weights leave means and covariances of the data as they are.

        Parameters
        ----------
        weights : ndarray of shape (n_units, n_above)
            The first weights.
        means, variances : ndarray of shape (n_above,)
            Means and variances of the units above.

        Returns
        -------
        encoding : Encoding
            With learned parameters that make room for what the weights explain.
        shift : ndarray of shape (n_units,)
            What to add to the biases of the units.
        squares : ndarray of shape (n_above,)
            Twice what the log-partition functions of the units add to the energy for a
            unit above whose state is 1 away from its mean.
        """
        return self, ops.zeros(len(weights)), ops.zeros(len(means))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Encoding):
            return False
        return type(self) is type(other) and self.spec() == other.spec()

    def __hash__(self) -> int:
        return hash(repr(self.spec()))

    def _changed(self: _Self, **values: Any) -> _Self:
        """Copy with other attributes, which nothing checks."""
        result = copy.copy(self)
        vars(result).update(values)
        return result

    @property
    @abstractmethod
    def unit(self) -> UnitType:
        """The unit type of the states; a ValueError if `fit` has to find it first."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value; minus and plus infinity by default."""
        return (-math.inf, math.inf)

    @property
    def rate_factor(self) -> float:
        """Share of the learning rate that suits these columns.

        The larger their variance, the smaller the step that is stable: by default one
        over `UnitType.n_copies`.
        """
        return 1 / self.unit.n_copies

    @property
    def caution(self) -> float:
        """How many times the penalty is what held-out rows seem to ask for.

        Noise in many small weights is hidden behind what few large ones have right.
        """
        return 8.0

    def learning_rate(self, states: FloatArray, n_above: int) -> float:
        """Give the learning rate that suits these columns untuned.

        A step moves the fields of hidden units in proportion to the variance of the
        visible units: of all together, and of what they have in common.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            Visible states of some rows, NaN where missing.
        n_above : int
            Number of units in the first hidden layer.

        Returns
        -------
        float
            By default 2 over the sum of the variances, or 0.15 over the variance
            along the first principal component, whichever is less.
        """
        n_known = ops.maximum(1, (~ops.isnan(states)).sum(axis=0))
        means = ops.nan_to_num(states).sum(axis=0) / n_known
        centred = ops.nan_to_num(states - means)
        total = float(ops.square(centred, dtype=float).sum()) / len(centred)
        largest = float(ops.norm(centred, ord=2)) ** 2 / len(centred)
        # Three digits, so that rounding of the data does not reach the weights.
        return float(f"{min(RATE / max(1.0, total), LEADING / max(1e-3, largest)):.3g}")

    def check(  # noqa: B027 (any value is right by default)
        self, values: FloatArray
    ) -> None:
        """Raise a ValueError if a value within `bounds` does not suit the encoding.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Values, NaN where missing; of a sparse matrix only those that are stored.
        """

    def fit(self, X: Rows) -> "Encoding":
        """Learn from the data what encoding needs.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.

        Returns
        -------
        Encoding
            The encoding of these columns; itself where there is nothing to learn.
        """
        return self

    def width(self, n_columns: int) -> int:
        """Count the units that stand for some columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        int
            Number of units.
        """
        return n_columns

    def n_columns(self, n_units: int) -> int:
        """Count the columns for which some units stand.

        Parameters
        ----------
        n_units : int
            Number of units in the layer.

        Returns
        -------
        int
            Number of columns of data.
        """
        return n_units

    def columns(self, n_columns: int) -> list[tuple["Encoding", slice | IntArray]]:
        """List the encodings of the columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of data.

        Returns
        -------
        list of (Encoding, slice or ndarray of int)
            Each encoding with its columns; this one with all by default.
        """
        return [(self, slice(0, n_columns))]

    def encode(self, X: Rows, out: FloatArray | None = None) -> Rows:
        """Turn values of columns into states, or means, of the units.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.
        out : ndarray of shape (n_rows, n_units), default=None
            Where the states go.

        Returns
        -------
        {ndarray, CSR matrix or array} of shape (n_rows, n_units)
            The states, NaN where missing; `X` itself where nothing changes.
        """
        if out is None:
            return X
        ops.copyto(out, X)
        return out

    def tie(self, X: Rows, states: FloatArray) -> tuple[Ties, ...]:
        """Say what is known together of units that are not known one by one.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Values of the columns; NaN where missing.
        states : ndarray of shape (n_rows, n_units)
            What `encode` gives for them. States that agree with what is known take the
            place of NaN.

        Returns
        -------
        tuple of Ties
            The directions that are open, for groups of units; empty by default, where
            what a column says it says of its own units.
        """
        return ()

    def decode(self, states: FloatArray) -> FloatArray:
        """Turn states, or means, of the units into values of columns.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            States or means.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The values, in the dtype of `states`.
        """
        return states

    def draw(
        self, states: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Give encoded rows as training presents them, drawn anew each time.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
            What `encode` gives, NaN where missing.
        rng : numpy.random.Generator
            Source of the draws.
        out : ndarray of the same shape, default=None
            Where the result goes; `states` itself is allowed.

        Returns
        -------
        ndarray of shape (n_rows, n_units)
            The states, NaN where missing; `states` as they are by default.
        """
        if out is None or out is states:
            return states
        ops.copyto(out, states)
        return out

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Compute the log-determinant of the derivative of `encode`, for densities.

        Parameters
        ----------
        X : {ndarray, CSR matrix or array} of shape (n_rows, n_columns)
            Values of the columns; those that are missing (NaN) do not count.

        Returns
        -------
        ndarray of shape (n_rows,)
            The logarithms, in nats, float64; zero by default.
        """
        return ops.zeros(X.shape[0])

    @property
    def learned(self) -> FloatArray:
        """Parameters of the encoding that training goes on to learn.

        Unconstrained values of shape (n_learned,), float64; none by default.
        """
        return _NOTHING

    @property
    def unlearned(self) -> "Encoding":
        """This encoding as `fit` gives it, before training; itself by default."""
        return self

    @property
    def noiseless(self) -> "Encoding":
        """This encoding, but drawing no more than values mean; itself by default."""
        return self

    def with_learned(self, values: FloatArray) -> "Encoding":
        """Give this encoding with other learned parameters.

        Parameters
        ----------
        values : ndarray of shape (n_learned,)
            The values; those out of bounds are moved inwards.

        Returns
        -------
        Encoding
            The encoding; itself if nothing is learned.
        """
        return self

    def learned_gradient(
        self, rows: PartlyKnown, field: FloatArray, inflation: float = 1.0
    ) -> FloatArray:
        """Compute the gradient of log p of the data by the learned parameters.

        Parameters
        ----------
        rows : PartlyKnown
            States of the data, which of them were observed, and what was observed of
            others together.
        field : ndarray of shape (n_rows, n_units)
            Fields given the means of the first hidden layer.
        inflation : float, default=1.0
            How many times what was observed off the fields counts: more than once if
            rows that were not learned from lie further off.

        Returns
        -------
        ndarray of shape (n_learned,)
            The mean gradient over the rows.
        """
        return _NOTHING

    def unexplained(self, rows: PartlyKnown, field: FloatArray) -> FloatArray:
        """Measure how far off their fields rows are, over how far they should be.

        The mean is 1 if the learned parameters are right: then log p of the rows does
        not rise when the encoding takes all of its units to vary more, or less.

        Parameters
        ----------
        rows, field : required
            As for `learned_gradient`.

        Returns
        -------
        ndarray of shape (n_rows,)
            The ratios of variances; 1 by default, where nothing is learned.
        """
        return ops.ones(len(field))

    def distances(self, values: FloatArray) -> FloatArray:
        """Measure how far out values are, each in its own column.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Values of the columns, NaN where missing.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The distances, NaN where missing: by default, of values from zero.
        """
        return ops.abs(values)

    def spec(self) -> dict[str, Any]:
        """Describe the encoding by plain values, for saving.

        Returns
        -------
        dict
            The class name under "type", and the arguments that make an equal one: by
            default the fields of a dataclass.
        """
        this: Any = self  # encodings are dataclasses, their contract is none
        return {"type": type(self).__name__, **asdict(this)}


def from_spec(spec: Mapping[str, Any]) -> Encoding:
    """Build the encoding that `Encoding.spec` described."""
    cls, parameters = named(Encoding, spec)
    if "parts" in parameters:
        parameters["parts"] = [(from_spec(s), c) for s, c in parameters["parts"]]
    if "unit" in parameters:
        parameters["unit"] = unit_from_spec(parameters["unit"])
    encoding: Encoding = cls(**parameters)
    return encoding
