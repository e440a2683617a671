"""Unit types: what one unit of a layer can be, described by its log-partition.

Given its neighbours, a unit of a deep Boltzmann machine has the distribution

    p(s) = exp(x s - base(s) - A(x)),

where the *field* x is its bias plus the weighted states of its neighbours, and
A(x) = log sum_s exp(x s - base(s)) is the log-partition of the unit type. All that
inference, sampling and likelihood need follows from A: the mean A'(x), a draw, the
entropy, the inverse of the mean. How columns of data become states, and what training
has to know about them, is in `skdbm.encodings`.
"""

from .binomial import Bernoulli, Binomial
from .contract import UnitType
from .contract import from_spec as from_spec
from .gaussian import Gaussian
from .mixed import Mixed
from .multinomial import Categorical, Multinomial, ReplicatedSoftmax

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Gaussian",
    "Mixed",
    "Multinomial",
    "ReplicatedSoftmax",
    "UnitType",
]
