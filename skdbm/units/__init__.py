"""Unit types: what one unit of a layer can be, described by its log-partition.

Given its neighbours, a unit of a deep Boltzmann machine has the distribution

    p(s) = exp(x s - base(s) - A(x)),

where the *field* x is its bias plus the weighted states of its neighbours, and
A(x) = log sum_s exp(x s - base(s)) is the log-partition of the unit type. All that
inference, sampling, training and likelihood need follows from A: the mean A'(x),
a draw, the entropy, the inverse of the mean. To add a unit type is to add one
class here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .binomial import Bernoulli, Binomial
from .categorical import Categorical
from .contract import UnitType
from .counts import Counts
from .gaussian import Gaussian
from .mixed import Mixed
from .multinomial import Multinomial

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Counts",
    "Gaussian",
    "Mixed",
    "Multinomial",
    "UnitType",
    "from_spec",
]

_TYPES: dict[str, Callable[..., UnitType]] = {
    cls.__name__: cls
    for cls in (Bernoulli, Binomial, Gaussian, Multinomial, Categorical, Counts, Mixed)
}


def from_spec(spec: Mapping[str, Any]) -> UnitType:
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
    if "parts" in parameters:
        parameters["parts"] = [
            (from_spec(inner), columns) for inner, columns in parameters["parts"]
        ]
    return _TYPES[name](**parameters)
