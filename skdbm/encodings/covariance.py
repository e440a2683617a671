"""The normal distribution with which real columns start."""

from dataclasses import dataclass, replace

from .. import ops
from .._typing import BoolArray, FloatArray, Rows
from .power import PowerTransform, likeliest_powers
from .ties import chosen_first

#: Rows of which the shrinkage is judged, and those with gaps that are filled; matrices
#: for what they lack are made for some at a time, of so many entries together at most.
MOST_ROWS, MOST_ENTRIES = 2000, 2**22

#: Least shrinkage of a covariance: no direction has a standard deviation below about
#: 0.03 of that of its columns, or its precision would have no end.
LEAST_SHRINKAGE = 1e-3

#: Most shrinkage, and the nats a row that all of it would have to gain: it is noise in
#: training, which hides what is not covariance. Columns that are not correlated, as a
#: single one, would have all of it for next to nothing.
MOST_SHRINKAGE, COST = 0.5, 0.1

#: Most steps of expectation and maximisation, and the change after which none follows.
MOST_STEPS, SMALL_CHANGE = 50, 1e-3


@dataclass(frozen=True)
class Normal:
    """Means and standard deviations of columns, their correlations, the shrinkage.

    Of columns that are bent before, if there is a `transform`. `log_density` is that of
    a row which they were taken without, on average, but for a constant. And
    `largest_moment` is the largest eigenvalue of E[z^2 z z^T] / (n + 2) for whitened
    rows z of n columns: 1 if they are normal, more if they have heavy tails.
    """

    loc: FloatArray
    spread: FloatArray
    correlation: FloatArray
    shrinkage: float
    transform: PowerTransform | None = None
    log_density: float = 0.0
    largest_moment: float = 1.0

    @property
    def shrunk(self) -> FloatArray:
        """Correlations, moved towards none by the shrinkage."""
        identity = ops.eye(len(self.loc))
        return (1 - self.shrinkage) * self.correlation + self.shrinkage * identity


def likeliest_normal(X: Rows) -> Normal:
    """Fit a normal distribution to rows, or to rows that are bent if that is better.

    Missing values are NaN. Columns are bent each by itself; whether that is better all
    of them tell together: those that follow each other may lose that by it.
    """
    plain = normal_of(X)
    some = ops.asarray(X[:: -(-X.shape[0] // MOST_ROWS)], dtype=ops.float64)
    power = likeliest_powers((some - plain.loc) / plain.spread)
    if (power == 1).all():
        return plain
    other = normal_of(X, PowerTransform(plain.loc, plain.spread, power))
    return max(plain, other, key=lambda normal: normal.log_density)


def normal_of(X: Rows, transform: PowerTransform | None = None) -> Normal:
    """Fit a normal distribution to rows, with NaN where a value is missing."""

    def values(part: Rows) -> FloatArray:
        part = ops.asarray(part, dtype=ops.float64)
        return part if transform is None else transform.forward(part)

    loc = ops.column_means(X, values)
    spread = ops.sqrt(ops.column_means(X, lambda part: (values(part) - loc) ** 2))
    # Of equal values the mean may be rounded, and differ from all of them.
    lowest, highest = ops.column_ends(X)
    varies = (lowest < highest) & (spread > 0)
    spread = ops.where(varies, spread, 1.0)

    def standardised(rows: slice) -> FloatArray:
        part = (values(X[rows]) - loc) / spread
        return ops.where(varies, part, part * 0)

    n_rows, n_columns = X.shape
    some = standardised(slice(None, None, -(-n_rows // MOST_ROWS)))
    known = 1 - ops.isnan(some).mean(axis=0)
    if not ops.has_missing(X):
        correlation: FloatArray = ops.zeros((n_columns, n_columns))
        for rows in ops.row_blocks(n_rows, ops.INFERENCE_ROWS):
            part = standardised(rows)
            correlation += part.T @ part / n_rows
    else:
        shift, correlation, some = _filled(some)
        loc = loc + spread * shift
        scale = ops.sqrt(ops.where(varies, correlation.diagonal(), 1.0))
        spread, some = spread * scale, some / scale
        correlation = correlation / scale / scale[:, None]
    correlation = correlation + ops.diag(~varies * (1 - correlation.diagonal()))
    shrinkage, log_density = _shrinkage(some, correlation, n_rows)
    # What is missing was filled in, in standard deviations: no slope comes with it.
    slopes = -ops.log(spread)
    if transform is not None:
        slopes = slopes + ops.column_means(X, transform.log_slopes)
    log_density += float(known @ slopes)
    normal = Normal(loc, spread, correlation, shrinkage, transform, log_density)
    return replace(normal, largest_moment=_largest_moment(some, normal.shrunk))


def _largest_moment(rows: FloatArray, covariance: FloatArray) -> float:
    """Largest eigenvalue of E[z^2 z z^T] / (n + 2), with three digits, at least 1."""
    whitened = ops.solve(ops.cholesky(covariance), rows.T).T
    weighted = whitened * ops.row_dot(whitened, whitened)[:, None]
    moments = whitened.T @ weighted / (len(rows) * (len(covariance) + 2))
    # Three digits, so that rounding of the data does not reach the weights.
    return max(1.0, float(f"{ops.norm(moments, ord=2):.3g}"))


def _shrinkage(
    rows: FloatArray, correlation: FloatArray, n_rows: int
) -> tuple[float, float]:
    """Shrinkage that rows which the correlations were taken without find best.

    It is what makes them likeliest, less `COST` times itself. Gives also their mean
    log-density, but for a constant.

    To leave a row y of n out, of mean zero, changes the matrix S into
    n / (n - 1) S - n / (n - 1)^2 y y^T, and its deviation from the mean into
    n / (n - 1) y. Shrinkage changes no eigenvectors, so a trial takes no decomposition.
    """
    if n_rows < 2:
        return 1.0, 0.0
    variances, directions = ops.eigh(correlation)
    squares = ops.square(rows @ directions)
    trials = ops.geomspace(LEAST_SHRINKAGE, MOST_SHRINKAGE, 50)
    ratio = n_rows / (n_rows - 1)
    scores = []
    for trial in trials:
        spectrum = (1 - trial) * ratio * ops.maximum(variances, 0) + trial
        distance = (squares / spectrum).sum(axis=1)
        share = (1 - trial) * ratio / (n_rows - 1)
        left = ops.maximum(1 - share * distance, ops.finfo(float).eps)
        log_det = ops.log(spectrum).sum() + ops.log(left)
        scores.append(-float((log_det + ratio**2 * distance / left).mean()) / 2)
    chosen = int(ops.argmax(ops.asarray(scores) - COST * trials))
    return float(trials[chosen]), scores[chosen]


def _filled(rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean and covariance of rows with gaps by the EM algorithm; rows drawn from them.

    A. P. Dempster, N. M. Laird and D. B. Rubin, Journal of the Royal Statistical
    Society B 39, 1977. What is missing is drawn given what is known, so that the rows
    spread as complete ones do.
    """
    gaps: BoolArray = ops.isnan(rows)
    n_columns = rows.shape[1]
    mean, covariance = ops.zeros(n_columns), ops.eye(n_columns)
    for _ in range(MOST_STEPS):
        shrunk = Normal(mean, mean, covariance, LEAST_SHRINKAGE).shrunk
        precision = ops.inv(shrunk)
        known = ops.where(gaps, 0, rows - mean)
        expected, spread = _in_gaps(known, gaps, precision)
        deviations = known + expected
        change = deviations.mean(axis=0)
        before, mean = covariance, mean + change
        second = (deviations.T @ deviations + spread) / len(rows)
        covariance = second - ops.outer(change, change)
        if ops.abs(covariance - before).max() < SMALL_CHANGE:
            break
    # A draw of all columns, less what it lets one expect in the gaps.
    noise = ops.generator(0).standard_normal(rows.shape) @ ops.cholesky(shrunk).T
    expected, _ = _in_gaps(ops.where(gaps, 0, noise), gaps, precision)
    noise = ops.where(gaps, noise - expected, 0)
    return mean, covariance, deviations - change + noise


def _in_gaps(
    known: FloatArray, gaps: BoolArray, precision: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Means in the gaps of deviations, zero elsewhere, and their summed covariance."""
    n_rows, n = known.shape
    means, covariance = ops.zeros_like(known), ops.zeros(n * n)
    field = -known @ precision
    n_gaps = gaps.sum(axis=1)
    # Rows with as many gaps stand together, since matrices of a block have one size.
    order, widest = ops.argsort(n_gaps, kind="stable"), max(1, n_gaps.max())
    for block in ops.row_blocks(n_rows, max(1, MOST_ENTRIES // widest**2)):
        rows = order[block]
        patterns, which = ops.unique(gaps[rows], axis=0, return_inverse=True)
        first, used = chosen_first(patterns)
        both = used[:, :, None] & used[:, None, :]
        inside = precision[first[:, :, None], first[:, None, :]]
        inside = ops.where(both, inside, ops.eye(first.shape[1]))
        inverse = ops.where(both, ops.inv(inside), 0)
        which = which.ravel()
        places = rows[:, None], first[which]
        means[places] = ops.matmul(inverse[which], field[places][..., None])[..., 0]
        counts = ops.bincount(which, minlength=len(patterns))
        pairs = first[:, :, None] * n + first[:, None, :]
        weights = counts[:, None, None] * inverse
        covariance += ops.bincount(pairs.ravel(), weights.ravel(), n * n)
    return means, covariance.reshape(n, n)
