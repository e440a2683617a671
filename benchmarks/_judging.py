"""The log-likelihood of a machine in three ways, and differences with their errors."""

import numpy as np

from skdbm import DBMSampler


class Judgement:
    """Scores of rows by one machine, in nats.

    `bound` is the variational one, by mean field: that of all units as independent.
    `drawn` is a bound, too, but for the noise of one draw a row: the odd hidden layers
    are summed out given draws of the even ones. `estimate`, of the first rows, is the
    importance-weighted one, which n draws bring closer to the log-likelihood from
    below. A machine of one hidden layer has its log-likelihood in all three.
    """

    def __init__(self, machine, rows, *, n_estimated, n_temperatures, n_draws=100):
        sampler = DBMSampler.from_machine(
            machine,
            n_temperatures=n_temperatures,
            # Coarse: some rows take very long to settle, and any means give a bound.
            mean_field_tol=1e-3,
            random_state=0,
        )
        self.bound = self.drawn = sampler.score_samples(rows)
        self.estimate = self.bound[:n_estimated]
        self.error = sampler.log_partition_std_
        if machine.n_layers > 2:
            self.drawn = sampler.score_samples(rows, n_importance_samples=1)
            self.estimate = sampler.score_samples(
                rows[:n_estimated], n_importance_samples=n_draws
            )

    def differences(self, other):
        """Write the three mean differences to another machine, with standard errors."""
        return [
            self._difference(getattr(self, name), getattr(other, name), other.error)
            for name in ("bound", "drawn", "estimate")
        ]

    def _difference(self, scores, others, error_of_other):
        by_row = scores - others
        error = np.linalg.norm(
            [by_row.std() / np.sqrt(len(by_row)), self.error, error_of_other]
        )
        return f"{by_row.mean():+.3f} +- {error:.3f}"
