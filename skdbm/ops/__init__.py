"""Array kernels, random streams and threads: all that knows the array library.

Above here code is written with operators, slices and the names below. What numpy has
is taken from it as it is; what is ours is faster, keeps precision, or takes sparse
rows, too. A second array library would be chosen here.
"""

# fmt: off
from numpy import (
    abs, add, any, arange, argmax, argmin, argsort, array, array_equal, asarray,
    bincount, broadcast_to, clip, concatenate, copysign, copyto, count_nonzero, cumsum,
    diag, diff, divide, dtype, einsum, empty, empty_like, equal, errstate, exp, eye,
    finfo, flatnonzero, float32, float64, floor, full, full_like, geomspace, hstack,
    int64, interp, intp, isfinite, isin, isnan, less, linspace, log, log1p, logaddexp,
    matmul, max, maximum, mean, minimum, multiply, nan, nan_to_num, nanmean, negative,
    ones, outer, packbits, repeat, result_type, searchsorted, sort, split, sqrt, square,
    stack, subtract, sum, tile, uint8, unique, unpackbits, where, zeros, zeros_like,
)
from numpy.linalg import LinAlgError, cholesky, eigh, inv, norm, qr, slogdet, solve
from numpy.random import SeedSequence
from scipy.special import boxcox1p, gammaln, inv_boxcox1p, logsumexp
from scipy.special import stdtrit as student_quantile

from .arrays import (
    are_whole, block_rows, column_ends, column_means, dense, has_missing, is_sparse,
    log_mean_exp, log_mean_exps, missing, product, row_dot, row_sum, row_sums, rows,
    sigmoid, softplus, xlogx,
)
from .random import (
    bernoulli, copied, generator, gumbel, normal, seed_sequence, spawn, streams,
    streams_of_rows, uniform,
)
from .threads import (
    ANNEALING_ROWS, INFERENCE_ROWS, TRAINING_ROWS, Workers, most_chains,
    resolve_n_threads, row_blocks, workers,
)
