"""Encodings: how columns of data become states of visible units, and go back.

An encoding knows what the values of its columns may be, what has to be learned from
the data to turn them into states of a unit type, and what training has to know about
columns of its kind. The unit types themselves are in `skdbm.units`.
"""

from .categories import Categories
from .contract import Encoding
from .contract import from_spec as from_spec
from .counts import Counts
from .mixed import Mixed
from .probabilities import Probabilities
from .real import Real
from .states import States

__all__ = [
    "Categories",
    "Counts",
    "Encoding",
    "Mixed",
    "Probabilities",
    "Real",
    "States",
]
