"""Training: greedy pretraining, statistics of both phases, update rule, the loop.

`trainer` has the loop, `statistics` measures both phases of a batch and makes the
gradient, `optimizers` turns it into an update, `pretraining` prepares the start and
`stopping` decides on an early end. The estimators put them together. What runs over
threads gets them from `workers`.
"""

from ..ops import workers

__all__ = ["workers"]
