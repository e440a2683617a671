"""Early stopping on the likelihood of held-out rows."""

import math
from typing import Any

from .. import ops
from .._typing import FloatArray, Record, Rows
from ..likelihood.exact import prefers_exact
from ..likelihood.following import FollowedLogPartition
from ..likelihood.log_partition import LogPartition
from ..likelihood.scores import log_likelihood
from ..machine import DeepBoltzmannMachine
from ..settings import Likelihood
from .state import State


class HeldOut:
    """Held-out rows, training rows to compare them with, and how both are scored."""

    # Log Z is enumerated for small machines and followed for large ones; for counts,
    # whose totals each have their own, it is annealed anew.

    def __init__(
        self, held_out: Rows, training: Rows, likelihood: Likelihood, seed: int
    ) -> None:
        self.parts, self.likelihood, self.seed = (held_out, training), likelihood, seed
        self.begin()

    def begin(self) -> None:
        """Follow log Z from a new start."""
        self.followed = FollowedLogPartition(
            n_chains=self.likelihood.n_chains, random_state=self.seed
        )

    def scores(self, machine: DeepBoltzmannMachine, n_jobs: int) -> list[float]:
        """Mean scores of the held-out rows and of the training rows, in nats."""
        likelihood, seed = self.likelihood, self.seed
        anew = LogPartition(machine, likelihood.n_chains, seed)
        followed: float | None = None
        share_totals = machine.units[0].totals(self.parts[0][:1]) is not None
        if not share_totals and not prefers_exact(machine):
            followed = self.followed.update(machine, n_jobs=n_jobs)[0]

        def score(rows: Rows) -> FloatArray:
            log_z: Any = followed
            if followed is None:
                log_z = anew.of(machine.units[0].totals(rows), n_jobs=n_jobs)[0]
            return log_likelihood(machine, rows, log_z, likelihood, seed, n_jobs=n_jobs)

        means = []
        for X in self.parts:
            blocks = ops.row_blocks(X.shape[0], ops.block_rows(X))
            scores = ops.concatenate([score(X[block]) for block in blocks])
            means.append(float(scores.mean()))
        return means


class EarlyStopping:
    """Stop when held-out rows have not become likelier for `patience` epochs.

    `scores(machine, n_jobs)` of `rows` gives their mean log-likelihood, or a bound of
    it, and that of training rows. Every `every` epochs there is an evaluation; only
    one stops training, and never the first with a finite score. An improvement over
    the best score has to exceed `tol`, in nats, to count.
    """

    def __init__(self, rows: HeldOut, *, every: int, patience: int, tol: float) -> None:
        self.rows, self.every, self.patience, self.tol = rows, every, patience, tol
        self.begin()

    def begin(self) -> None:
        """Forget all epochs."""
        self.rows.begin()
        self.n_epochs = 0
        self.best_score, self.best_epoch = -math.inf, 0
        self.best_machine: DeepBoltzmannMachine | None = None
        self.stopped = False

    def judge(self, record: Record, state: State, n_jobs: int, *, last: bool) -> bool:
        """Judge one more epoch, the last one always; whether training shall stop.

        The record gets "validation_score", that of the held-out rows, and
        "overfitting", what the training rows have more; NaN where none was taken.
        """
        self.n_epochs += 1
        record["validation_score"] = record["overfitting"] = math.nan
        if last or self.n_epochs % self.every == 0:
            machine = state.snapshot()
            score, training_score = self.rows.scores(machine, n_jobs)
            record["validation_score"] = score
            record["overfitting"] = training_score - score
            if score > self.best_score + self.tol:
                self.best_score, self.best_epoch = score, self.n_epochs
                self.best_machine = machine
            self.stopped = self.n_epochs - self.best_epoch >= self.patience
        return self.stopped
