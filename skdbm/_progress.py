"""Progress of a fit: lines on the screen, scikit-learn callbacks, the record."""

import math
import time
from contextlib import suppress

from sklearn.exceptions import ConvergenceWarning

from ._warnings import warn
from .training.record import appended


class Progress:
    """Follow the epochs of one fit, pretraining included.

    Callbacks are told about the `estimator`, whose `run` this is, and get the training
    data under "X" and "y" of `data`. The history goes on from `before`.
    """

    def __init__(self, estimator, run, data, before):
        self.estimator, self.run, self.data = estimator, run, data
        self.before = before
        self.context = estimator._init_callback_context(max_subtasks=run.n_epochs)
        self.context.call_on_fit_task_begin(estimator=estimator, **data)
        self.start, self.n_before = time.perf_counter(), run.n_done
        if estimator.verbose and (run.n_done or run.epoch):
            line(estimator, f"goes on after {run.n_done} of {run.n_epochs} epochs")

    def begin(self):
        """Open the task of an epoch."""
        self.stage = self.run.stage
        self.task = self.context.subcontext(task_name=self.stage.name)
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, record):
        """Close the task of an epoch, and end its stage if a callback asks for it."""
        if record is None:
            self.begin_again()
        elif self.estimator.verbose:
            self._print(record)
        # Callbacks find it in their context. Not as metadata, which go to the scorers
        # of a ScoringMonitor.
        self.task.record = record
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=self._fitted if self.run.records else None,
            **self.data,
        )
        if stop and record is not None:
            self.run.end(self.stage)

    def begin_again(self):
        """Allow all epochs anew."""
        self.context.max_subtasks += self.run.n_epochs
        self.start, self.n_before = time.perf_counter(), 0
        if self.estimator.verbose:
            pace = self.run.pace
            line(
                self.estimator,
                f"{self.run.begun_again}: begins again, with {pace.n_epochs} epochs of "
                f"training and a learning rate of {pace.learning_rate:.2g}",
            )

    def close(self):
        """Close the task of the whole fit."""
        stopping, n_epochs = self.run.stopping, self.run.n_joint_epochs
        if stopping and not stopping.stopped and len(self.run.records) == n_epochs:
            warn(
                "early_stopping did not end the training within max_iter="
                f"{n_epochs} epochs; raise max_iter if the held-out score was still "
                "rising.",
                ConvergenceWarning,
            )
        self.context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes={}, **self.data
        )

    def _fitted(self):
        """What makes the estimator a fitted one after this epoch."""
        machine = self.run.state.snapshot()
        return self.estimator._attributes(machine, None, self.history())

    def history(self):
        """The history with the epochs of this fit."""
        return appended(self.before, self.run.records)

    def _print(self, record):
        """Print how an epoch went."""
        n_done, n_epochs = self.run.n_done, self.run.n_epochs
        spent = time.perf_counter() - self.start
        parts = [
            f"{self.stage.name}, epoch {n_done}/{n_epochs}",
            f"reconstruction error {record['reconstruction_error']:.4f}",
            f"energy gap {record['energy_gap']:+.2f} nats",
        ]
        score = record.get("validation_score", math.nan)
        if not math.isnan(score):
            parts.append(f"validation score {score:.2f} nats")
        left = duration(spent / (n_done - self.n_before) * (n_epochs - n_done))
        parts += [f"{record['seconds']:.1f} s", f"{left} left"]
        line(self.estimator, ", ".join(parts))


def line(estimator, text):
    """Print a line; a closed output must not cost the training."""
    with suppress(OSError, ValueError):
        print(f"[{type(estimator).__name__}] {text}", flush=True)


def duration(seconds):
    """Write a duration as minutes and seconds, with hours where needed."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
