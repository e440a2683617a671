"""The log-likelihood of a machine in three ways, and differences with their errors."""

import numpy as np

from skdbm import DBMSampler, Likelihood


class Judgement:
    """Scores of rows by one machine, in nats.

    `bound` is the variational one, by mean field: that of all units as independent.
    `drawn` is a bound, too, but for the noise of one draw a row: the odd hidden layers
    are summed out given draws of the even ones. `estimates`, of the first rows, are the
    importance-weighted ones, one for each number of `draws`, which come closer to the
    log-likelihood from below with more of them. A machine of one hidden layer has its
    log-likelihood in all of these.
    """

    def __init__(
        self,
        machine,
        rows,
        *,
        n_estimated,
        n_chains=50,
        draws=(100,),
    ):
        likelihood = Likelihood(
            n_chains=n_chains,
            # Coarse: some rows take very long to settle, and any means give a bound.
            mean_field_tol=1e-3,
        )
        sampler = DBMSampler.from_machine(
            machine, likelihood=likelihood, random_state=0
        )
        self.bound = self.drawn = sampler.score_samples(rows, n_importance_samples=0)
        self.estimates = [self.bound[:n_estimated] for _ in draws]
        self.error = sampler.log_partition_std_
        if machine.n_layers > 2:
            self.drawn = sampler.score_samples(rows, n_importance_samples=1)
            self.estimates = [
                sampler.score_samples(rows[:n_estimated], n_importance_samples=n)
                for n in draws
            ]

    def differences(self, one):
        """Write mean differences to a machine of one hidden layer, with their errors.

        The standard errors are those over the rows and of both log Z: of the bound,
        the drawn bound, and all estimates.
        """
        written = []
        for scores in (self.bound, self.drawn, *self.estimates):
            by_row = scores - one.bound[: len(scores)]
            spread = by_row.std() / np.sqrt(len(by_row))
            error = np.linalg.norm([spread, self.error, one.error])
            written.append(f"{by_row.mean():+.3f} +- {error:.3f}")
        return written
