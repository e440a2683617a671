"""Pictures of what a machine has learned, and of how it did; they need matplotlib.

Every display follows scikit-learn's: a class method such as `from_estimator` computes
what is shown and draws it, the arrays stay on the display, and `plot` draws them once
more, into other axes or with other colours.
"""

from ._curves import LearningCurveDisplay
from ._grid import tiles
from ._images import FiltersDisplay, ReconstructionDisplay, SamplesDisplay

__all__ = [
    "FiltersDisplay",
    "LearningCurveDisplay",
    "ReconstructionDisplay",
    "SamplesDisplay",
    "tiles",
]
