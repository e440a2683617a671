"""Columns of data as a user sees them, and as numbers that encodings take.

An encoding turns numbers into states. What comes before is the same for all of them:
which columns belong to which encoding (`visible`), what the library of the columns
knows of them (`tables`, `vectors`, `of_pandas`, `of_polars`), categories as codes, gaps
as NaN, and the way back to an array or DataFrame like the one that `fit` saw
(`described`), which files hold as plain data (`plain`).
"""

from .described import Columns
from .reading import read
from .tables import numbers, repeated
from .visible import accepts_sparse, check_unchanged, supposed

__all__ = [
    "Columns",
    "accepts_sparse",
    "check_unchanged",
    "numbers",
    "read",
    "repeated",
    "supposed",
]
