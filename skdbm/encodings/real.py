"""Columns of real values."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import ops
from .._typing import ArrayLike, BoolArray, FloatArray, Rng, Rows
from ..units import Gaussian, UnitType
from .contract import Encoding
from .covariance import likeliest_normal
from .power import PowerTransform
from .ties import PartlyKnown, Ties, spans

_NOT_FITTED = "These Real columns know no matrix yet; fit them first."

#: Variance that hidden units explain at the start, over that which they leave.
EXPLAINED = 0.2

#: Steps in which the largest variance of the states is found.
POWER_STEPS = 5


@dataclass(frozen=True, eq=False, repr=False)
class Real(Encoding):
    """Real values v, as states s = M (t(v) - loc) of Gaussian units.

    Columns with a long tail on one side are bent by a power transformation t [2]_, each
    by itself, if the rows become likelier by that; t(v) is v if not. Given the hidden
    units, t(v) is normal with the covariance (M^T M)^-1. What `fit` finds is that of
    the data, shrunk, so that a machine without couplings is the normal distribution of
    the columns. Training goes on to learn M together with the weights, as it learns the
    scales of single columns elsewhere [1]_: since M belongs to the encoding, the
    partition function does not depend on it, and its gradient needs no samples of the
    model.

    The shrinkage a is the one with which rows are likeliest that the covariance was
    taken without, at a cost of 0.1 a nats, and at most a half. Training presents rows
    that have become sqrt(1 - a) (t - loc) plus noise of sqrt(a) standard deviations of
    every column: whatever it learns of their covariance is shrunk as much.

    Parameters
    ----------
    loc : array-like of shape (n_columns,), default=None
        What is subtracted from every column, once it is bent; None until `fit`.
    whitening : array-like of shape (n_columns, n_columns) or (n_columns,), default=None
        What makes uncorrelated columns of unit variance out of the data; a vector, one
        over the standard deviations, stands for columns that are uncorrelated.
    sharpening : array-like of shape (n_columns, n_columns), default=None
        What training has learned: M is its product with `whitening`. None means the
        identity.
    spread : array-like of shape (n_columns,), default=None
        Standard deviation of every column in the data, once it is bent; None means that
        of the whitening.
    shrinkage : float, default=0.0
        Share of the variance of rows that is noise in training.
    largest_moment : float, default=1.0
        Largest eigenvalue of E[z^2 z z^T] / (n + 2) over whitened rows z of n columns:
        1 for normal ones, more for heavy tails. The learning rate is divided by it.
    power_transform : array-like of shape (3, n_columns), default=None
        Mean, standard deviation and power p of every column as it comes, by which it is
        bent: p is from 0, logarithms of high values, over 1, no change, to 2. None
        means that no column is.

    Raises
    ------
    ValueError
        If shapes do not agree, a value is not finite, the whitening cannot be inverted,
        the shrinkage is not between 0 and 1, or a power not between 0 and 2.

    See Also
    --------
    skdbm.units.Gaussian : Their units.
    Probabilities : For values between 0 and 1.

    References
    ----------
    .. [1] K. Cho, A. Ilin and T. Raiko, "Improved learning of Gaussian-Bernoulli
       restricted Boltzmann machines", ICANN 2011.
    .. [2] I.-K. Yeo and R. A. Johnson, "A new family of power transformations to
       improve normality or symmetry", Biometrika 87, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.encodings import Real
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2)) @ [[2.0, 1.0], [0.0, 0.5]]
    >>> encoding = Real().fit(X)
    >>> np.cov(encoding.encode(X).T).round(1) + 0.0
    array([[1., 0.],
           [0., 1.]])
    >>> np.abs(encoding.decode(encoding.encode(X)) - X).max().round(9)
    np.float64(0.0)
    """

    loc: FloatArray | None = None
    whitening: FloatArray | None = None
    sharpening: FloatArray | None = None
    spread: FloatArray | None = None
    shrinkage: float = 0.0
    largest_moment: float = 1.0
    power_transform: PowerTransform | None = None

    #: Tied copies have twice the variance of free ones, which weights without bound
    #: would have to explain.
    may_be_doubled = False

    def __init__(
        self,
        loc: ArrayLike | None = None,
        whitening: ArrayLike | None = None,
        sharpening: ArrayLike | None = None,
        spread: ArrayLike | None = None,
        shrinkage: float = 0.0,
        largest_moment: float = 1.0,
        power_transform: ArrayLike | None = None,
    ) -> None:
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage={shrinkage}; a share of 0 to 1 is expected.")
        if (loc is None) != (whitening is None):
            raise ValueError("Give both loc and whitening of Real columns, or neither.")
        vars(self).update(
            shrinkage=float(shrinkage), largest_moment=float(largest_moment)
        )
        if loc is None or whitening is None:
            return
        n = len(ops.asarray(loc))
        if ops.asarray(whitening).ndim == 1:
            whitening = ops.diag(ops.asarray(whitening))
        matrix = _own("whitening", whitening, (n, n))
        try:
            inverse = ops.inv(matrix)
        except ops.LinAlgError as error:
            raise ValueError("whitening of Real columns cannot be inverted.") from error
        if sharpening is None:
            sharpening = ops.eye(n)
        if spread is None:
            spread = ops.sqrt(ops.square(inverse).sum(axis=1))
        vars(self).update(
            loc=_own("loc", loc, (n,)),
            whitening=matrix,
            sharpening=_own("sharpening", sharpening, (n, n)),
            spread=_own("spread", spread, (n,)),
        )
        if power_transform is not None:
            parts = PowerTransform(*_own("power_transform", power_transform, (3, n)))
            if (parts.scale <= 0).any() or (abs(parts.power - 1) > 1).any():
                raise ValueError(
                    "power_transform of Real columns must have standard deviations "
                    f"above 0 and powers from 0 to 2; got {parts.scale} and "
                    f"{parts.power}."
                )
            vars(self).update(power_transform=parts)

    def __repr__(self) -> str:
        return "Real()"

    @property
    def unit(self) -> UnitType:
        """Gaussian units."""
        return Gaussian()

    def initial_weights(self, n_units: int, n_above: int, rng: Rng) -> FloatArray:
        """Draw orthogonal weights, which together explain a fifth of the variance."""
        # Whitening leaves no variance that would make small weights grow: a second peak
        # is of the fourth order in them. So they begin as large as lets the units above
        # be independent, but for that, and no two of few tell of the same direction.
        shape = max(n_units, n_above), min(n_units, n_above)
        directions: FloatArray = ops.qr(rng.normal(size=shape))[0]
        crowd = max(1.0, n_above / n_units)
        activity = self.initial_activity(n_above)
        square = EXPLAINED / (activity * (1 - activity) * crowd)
        directions *= math.sqrt(min(1.0, square) * crowd)
        return directions.T if n_above > n_units else directions

    def initial_activity(self, n_above: int) -> float:
        """Give a mean at which about five units are on, from 0.02 to 0.3."""
        # Few units that are mostly off would not tell two kinds of rows apart.
        return min(max(super().initial_activity(n_above), 5 / n_above), 0.3)

    def balanced(
        self, weights: FloatArray, means: FloatArray, variances: FloatArray
    ) -> tuple["Real", FloatArray, FloatArray]:
        """Sharpen by the root of the covariance that the weights add to the identity.

        So the machine is the normal distribution, to second order.
        """
        covariance = ops.eye(len(weights)) + weights * variances @ weights.T
        eigenvalues, directions = ops.eigh(covariance)
        root = directions * ops.sqrt(eigenvalues) @ directions.T
        squares: FloatArray = ops.square(weights).sum(axis=0)
        return self.with_learned(root.ravel()), -weights @ means, squares

    @property
    def caution(self) -> float:
        """Less than of states: with more, rows far out keep modes of their own."""
        return 3.0

    @property
    def rate_factor(self) -> float:
        """0.3 over the largest moment: a row far out moves its own fields too far."""
        return 0.3 / self.largest_moment

    def learning_rate(self, states: FloatArray, n_above: int) -> float:
        """Give 6.4 over the number of columns, at most 25 over `n_above`, and 0.1."""
        # The mean of a binary unit saturates; that of a real one sums over all hidden
        # units, so their number counts as well.
        return float(min(0.1, 6.4 / states.shape[1], 25 / n_above))

    def fit(self, X: Rows) -> "Real":
        """Take the normal distribution of the columns, of those with gaps by EM."""
        normal = likeliest_normal(X)
        variances, directions = ops.eigh(normal.shrunk)
        # Of all whitenings the symmetric one leaves columns most as they were.
        root = directions / ops.sqrt(variances) @ directions.T
        return Real(
            normal.loc,
            root / normal.spread,
            spread=normal.spread,
            shrinkage=normal.shrinkage,
            largest_moment=normal.largest_moment,
            power_transform=normal.transform,
        )

    def width(self, n_columns: int) -> int:
        """Count the columns, those that were fitted."""
        return n_columns if self.loc is None else len(self.loc)

    def n_columns(self, n_units: int) -> int:
        """Count the units, those that were fitted."""
        return self.width(n_units)

    @cached_property
    def matrix(self) -> FloatArray:
        """The matrix M of states s = M (t(v) - loc), after `fit`."""
        if self.sharpening is None or self.whitening is None:
            raise ValueError(_NOT_FITTED)
        result: FloatArray = self.sharpening @ self.whitening
        result.flags.writeable = False
        return result

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of t(v) given the hidden units, (M^T M)^-1, after `fit`."""
        result: FloatArray = self._inverse @ self._inverse.T
        return result

    @cached_property
    def _inverse(self) -> FloatArray:
        """M^-1."""
        result: FloatArray = ops.inv(self.matrix)
        return result

    def _bent(self, X: Rows) -> FloatArray:
        """t(v), the values themselves if no column is bent."""
        values: FloatArray = X
        transform = self.power_transform
        return values if transform is None else transform.forward(values)

    def encode(self, X: Rows, out: FloatArray | None = None) -> Rows:
        """Compute s = M (t(v) - loc); all of them NaN in rows that lack a value."""
        # Of such a row no unit is known by itself; see `tie`.
        if self.loc is None:
            return super().encode(X, out)
        # In float64 up to the result: it may be far smaller than the values.
        off = self._bent(X) - self.loc
        states = (off @ self.matrix.T).astype(X.dtype, copy=False)
        if out is None:
            return states
        ops.copyto(out, states)
        return out

    def tie(self, X: Rows, states: FloatArray) -> tuple[Ties, ...]:
        """Project onto what the columns that are known leave open."""
        gaps = ops.missing(X)
        if self.loc is None or gaps is None:
            return ()
        matrix, n = self.matrix, len(self.loc)
        points = ops.where(gaps, 0, self._bent(X) - self.loc) @ matrix.T
        complete: BoolArray = ~ops.any(gaps, axis=1, keepdims=True)
        ops.copyto(states, points, where=~complete)
        return (Ties(slice(0, n), matrix, gaps),)

    def distances(self, values: FloatArray) -> FloatArray:
        """Count standard deviations from the mean."""
        if self.loc is None or self.spread is None:
            return super().distances(values)
        return ops.abs((self._bent(values) - self.loc) / self.spread)

    def decode(self, states: FloatArray) -> FloatArray:
        """Compute v, of which t(v) is loc + M^-1 s."""
        if self.loc is None:
            return states
        values: FloatArray = states @ self._inverse.T + self.loc
        if self.power_transform is not None:
            values = self.power_transform.inverse(values)
        return values.astype(states.dtype)

    def draw(
        self, states: FloatArray, rng: Rng, out: FloatArray | None = None
    ) -> FloatArray:
        """Add the noise of the shrinkage."""
        if self.spread is None or not self.shrinkage:
            return super().draw(states, rng, out)
        noise: FloatArray = ops.normal(rng, ops.empty_like(states))
        deviations = self.shrinkage**0.5 * self.spread
        noise = noise @ (deviations[:, None] * self.matrix.T).astype(states.dtype)
        noise += states.dtype.type((1 - self.shrinkage) ** 0.5) * states
        if out is None:
            return noise
        ops.copyto(out, noise)
        return out

    def log_jacobian(self, X: Rows) -> FloatArray:
        """Compute log |det M t'(v)| of every row, less what belongs to gaps."""
        if self.loc is None:
            return super().log_jacobian(X)
        result = ops.full(len(X), ops.slogdet(self.matrix)[1])
        gaps = ops.isnan(X)
        if self.power_transform is not None:
            slopes = self.power_transform.log_slopes(X)
            result += ops.row_sum(ops.where(gaps, 0, slopes))
        incomplete = ops.flatnonzero(gaps.any(axis=1))
        for block in ops.row_blocks(len(incomplete), ops.INFERENCE_ROWS):
            rows = incomplete[block]
            patterns, which = ops.unique(gaps[rows], axis=0, return_inverse=True)
            result[rows] -= spans(self.matrix, patterns)[1][which.ravel()]
        return result

    @property
    def learned(self) -> FloatArray:
        """The matrix `sharpening`, row by row; empty before `fit`."""
        if self.sharpening is None:
            return super().learned
        return self.sharpening.flatten()

    @property
    def unlearned(self) -> "Real":
        """The same without sharpening."""
        return self if self.loc is None else self.with_learned(ops.eye(len(self.loc)))

    @property
    def noiseless(self) -> "Real":
        """The same without the noise of the shrinkage."""
        return self._changed(shrinkage=0.0)

    def with_learned(self, values: FloatArray) -> "Real":
        """Give this encoding with another sharpening."""
        if self.loc is None:
            return self
        n = len(self.loc)
        sharpening = ops.array(values, dtype=ops.float64).reshape(n, n)
        sharpening.flags.writeable = False
        result = self._changed(sharpening=sharpening)
        for name in ("matrix", "covariance", "_inverse", "_largest_variance"):
            vars(result).pop(name, None)
        return result

    def learned_gradient(
        self, rows: PartlyKnown, field: FloatArray, inflation: float = 1.0
    ) -> FloatArray:
        """Compute the natural gradient by the sharpening S, (1 - E[(s - x) s^T]) S.

        It is divided by the variance of the states in the direction of the largest one,
        beyond which a step would go too far.
        """
        # S. Amari, Neural Computation 10, 1998, equation 4.3.
        if self.sharpening is None:
            return super().learned_gradient(rows, field, inflation)
        states, off, open_variance = _expected(rows, field)
        second = (inflation * off.T @ states + open_variance) / len(states)
        gradient = self.sharpening - second @ self.sharpening
        return gradient.ravel() / self._largest_variance

    def unexplained(self, rows: PartlyKnown, field: FloatArray) -> FloatArray:
        """Divide the sum of (s - x) s by the number of directions that are known."""
        states, off, _ = _expected(rows, field)
        total, n_known = ops.row_dot(off, states), ops.full(len(off), off.shape[1])
        if rows.known is not None:
            n_known = n_known * rows.known.all(axis=1)
            for tie in rows.ties:
                n_known = ops.where(tie.tied, (~tie.gaps).sum(axis=1), n_known)
        ratios: FloatArray = total / ops.maximum(1, n_known)
        return ops.where(n_known > 0, ratios, 1.0)

    @cached_property
    def _largest_variance(self) -> float:
        """The largest variance of the states over the data, by power iteration."""
        sharp: Any = self.sharpening
        vector = sharp[ops.argmax(ops.square(sharp).sum(axis=1))]
        for _ in range(POWER_STEPS):
            vector = sharp.T @ (sharp @ vector)
            vector = vector / ops.norm(vector)
        return max(1.0, float(ops.norm(sharp @ vector)) ** 2)

    def spec(self) -> dict[str, Any]:
        """Give the arrays as lists, and the numbers."""
        names = ("loc", "whitening", "sharpening", "spread", "power_transform")
        arrays = {name: getattr(self, name) for name in names}
        lists = {
            n: None if a is None else ops.asarray(a).tolist() for n, a in arrays.items()
        }
        numbers = {n: getattr(self, n) for n in ("shrinkage", "largest_moment")}
        return {"type": "Real", **lists, **numbers}


def _expected(
    rows: PartlyKnown, field: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """States s, and s - x, with what is open at its mean; its covariance, summed."""
    states = rows.states.astype(ops.float64)
    off: FloatArray = states - field
    open_variance: FloatArray = ops.zeros((states.shape[1],) * 2)
    if rows.known is None:
        return states, off, open_variance
    lacking = ops.flatnonzero(~rows.known.all(axis=1))
    move, open_variance = -off[lacking], ops.eye(len(open_variance)) * len(lacking)
    for tie in (tie[lacking] for tie in rows.ties):
        move = tie.projected(move)
        open_variance = tie.total_covariance
    states[lacking] += move
    off[lacking] += move
    return states, off, open_variance


def _own(name: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """A copy in float64 that cannot be changed, of this shape."""
    array: FloatArray = ops.array(values, dtype=ops.float64)
    if array.shape != shape or not ops.isfinite(array).all():
        found = "others" if array.shape == shape else f"shape {array.shape}"
        raise ValueError(
            f"{name} of Real columns must hold finite numbers of shape {shape}; got "
            f"{found}."
        )
    array.flags.writeable = False
    return array
