"""Importance-weighted estimates of copies of a row, each by draws of its own.

The estimate of a row depends on the row alone, so those of its copies are equal. To
look at its distribution the copies draw from one stream, one after the other: many
thousands of streams would take longer than all that is drawn from them.
"""

import numpy as np

from skdbm import ops
from skdbm.evidence import Evidence
from skdbm.inference.mean_field import posterior
from skdbm.likelihood.bounds import importance_weighted


def independent_estimates(machine, X, log_z, n_importance_samples, seed):
    """Estimate log p of every row, of equal ones from different draws."""
    evidence = X if isinstance(X, Evidence) else Evidence.of_rows(X)
    part = posterior(machine, evidence, tol=1e-4, max_iter=500)

    def streams(layer):
        key = np.random.SeedSequence([seed, n_importance_samples, layer])
        return ops.streams(key, 1) * evidence.n_rows

    estimate = importance_weighted(
        machine, evidence, part, n_importance_samples, streams
    )
    return estimate - log_z
