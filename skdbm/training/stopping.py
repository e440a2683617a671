"""Early stopping on the likelihood of held-out rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._typing import Record


class EarlyStopping:
    """Stop when held-out rows have not become likelier for some epochs.

    Parameters
    ----------
    scores : callable
        Gets a machine; returns the mean log-likelihood under it, or a bound of it, of
        the held-out rows and of training rows to compare them with, in nats.
    every : int
        Epochs from one evaluation to the next.
    patience : int
        Epochs without improvement after which training stops. Only an evaluation
        stops it, and never the first one with a finite score.
    tol : float
        Improvement over the best score, in nats, that has to be exceeded to count.

    Attributes
    ----------
    n_epochs : int
        Number of epochs judged so far.
    best_score : float
        The best score, in nats; minus infinity before the first evaluation.
    best_epoch : int
        The epoch of the best score, counted from 1; 0 before the first evaluation.
    best_machine : object
        What `scores` was given in that epoch; None before the first evaluation.
    stopped : bool
        Whether training shall stop.

    See Also
    --------
    skdbm.likelihood.bound : The score of the estimators, given log Z.
    skdbm.training.trainer.train : The loop that is stopped.

    Examples
    --------
    Plain numbers stand for machines and their scores here, and training rows are
    likelier by 1. The third machine is better than the second, but by less than `tol`.

    >>> from skdbm.training.stopping import EarlyStopping
    >>> stopping = EarlyStopping(
    ...     lambda machine: (machine, machine + 1), every=1, patience=2, tol=0.1
    ... )
    >>> record = {}
    >>> for machine in (-3.0, -2.0, -1.95, -2.5):
    ...     print(stopping.update(record, lambda: machine))
    False
    False
    False
    True
    >>> stopping.best_epoch, stopping.best_machine
    (2, -2.0)
    >>> record
    {'validation_score': -2.5, 'overfitting': 1.0}
    """

    def __init__(
        self,
        scores: Callable[[Any], Sequence[float]],
        *,
        every: int,
        patience: int,
        tol: float,
    ) -> None:
        self.scores, self.every, self.patience, self.tol = scores, every, patience, tol
        self.n_epochs = 0
        self.best_score, self.best_epoch = -np.inf, 0
        self.best_machine: Any = None
        self.stopped = False

    def update(
        self, record: Record, machine_of: Callable[[], Any], *, last: bool = False
    ) -> bool:
        """Judge one more epoch.

        Parameters
        ----------
        record : dict
            Record of the epoch. The score of the held-out rows is added to it as
            "validation_score", and what the training rows have more as "overfitting",
            both in nats; NaN where there was no evaluation.
        machine_of : callable
            Gives the machine, without arguments. It is called only when there is
            something to evaluate. The best machine is kept, so it must be a copy.
        last : bool, default=False
            Whether it is the last epoch, which is always evaluated.

        Returns
        -------
        bool
            Whether training shall stop.
        """
        self.n_epochs += 1
        record["validation_score"] = record["overfitting"] = np.nan
        if last or self.n_epochs % self.every == 0:
            machine = machine_of()
            score, training_score = self.scores(machine)
            record["validation_score"] = score
            record["overfitting"] = training_score - score
            if score > self.best_score + self.tol:
                self.best_score, self.best_epoch = score, self.n_epochs
                self.best_machine = machine
            self.stopped = self.n_epochs - self.best_epoch >= self.patience
        return self.stopped
