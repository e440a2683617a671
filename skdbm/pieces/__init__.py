"""Data that are read in pieces: larger than memory, or not made to be an array.

`data` says what they are, and gives pieces one after the other; `reading` looks at all
of them before a training and makes `numbers`, rows in the place of an array, from
`sources` on disk or from a temporary file (`spool`); `results` are what methods give.
"""

from .data import Pieces
from .results import Results

__all__ = ["Pieces", "Results"]
