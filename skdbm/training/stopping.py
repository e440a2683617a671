"""Early stopping on the likelihood of held-out rows."""

import numpy as np


class EarlyStopping:
    """Stop when held-out rows have not become likelier for some epochs.

    Parameters
    ----------
    score : callable
        Gives the mean log-likelihood of the held-out rows under a machine.
    every : int
        Epochs from one evaluation to the next.
    patience : int
        Epochs without improvement after which training stops.
    tol : float
        Smallest improvement that counts, in nats.
    """

    def __init__(self, score, *, every, patience, tol):
        self.score, self.every, self.patience, self.tol = score, every, patience, tol
        self.n_epochs = 0
        self.best_score, self.best_epoch, self.best_machine = -np.inf, 0, None
        self.stopped = False

    def update(self, record, machine_of):
        """Judge one more epoch; whether training shall stop.

        `machine_of()` gives the machine; it is called only when there is something
        to evaluate. The score is added to the record.
        """
        self.n_epochs += 1
        record["validation_score"] = np.nan
        if self.n_epochs % self.every == 0:
            machine = machine_of()
            score = record["validation_score"] = self.score(machine)
            if score > self.best_score + self.tol:
                self.best_score, self.best_epoch = score, self.n_epochs
                self.best_machine = machine
        self.stopped = self.n_epochs - self.best_epoch >= self.patience
        return self.stopped
