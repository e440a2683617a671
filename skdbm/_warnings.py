"""Warnings that point at the user's own line."""

import inspect
import warnings
from types import FrameType

#: Packages whose frames are passed over on the way out to the user.
_INSIDE = ("skdbm", "sklearn", "joblib", "contextlib", "functools")


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line of code that is none of ours or scikit-learn's."""
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_back and _is_inside(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _INSIDE
