"""Progress of a fit: lines on the screen, scikit-learn callbacks, the record."""

import time


class Progress:
    """Follow the epochs of one fit, pretraining included.

    Parameters
    ----------
    estimator : estimator
        What is being fitted; the callbacks are told about it.
    context : sklearn.callback.CallbackContext
        Root context of the fit.
    n_epochs : int
        Number of epochs that the whole fit may take.
    data : dict
        Training data under "X" and "y", as callbacks want them.

    Attributes
    ----------
    interrupted : bool
        Whether an interrupt has ended the training.
    """

    def __init__(self, estimator, context, n_epochs, data):
        self.estimator, self.context, self.n_epochs = estimator, context, n_epochs
        self.data = data
        self.interrupted = False
        self.n_done = 0
        self.start = time.perf_counter()
        self.enter("training")

    def enter(self, stage, *, watch=None, fitted_attributes=None):
        """Begin a stage of the fit.

        `watch(record)` judges each epoch of the stage: whether to stop. The function
        `fitted_attributes` makes what callbacks need to evaluate the model.
        """
        self.stage, self.watch = stage, watch
        self.fitted_attributes = fitted_attributes

    def begin_again(self):
        """Allow for all epochs once more."""
        self.context.max_subtasks += self.n_epochs
        self.n_done, self.start = 0, time.perf_counter()

    def begin(self):
        """Open the task of an epoch."""
        self.task = self.context.subcontext(task_name=self.stage)
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, record):
        """Close the task of an epoch; whether to stop the stage.

        Callbacks find the record in the `record` of the context they get.
        """
        self.n_done += 1
        stop = self.watch is not None and self.watch(record)
        if self.estimator.verbose:
            self._print(record)
        # Not as metadata: those go to the scorers of a ScoringMonitor.
        self.task.record = record
        asked = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=self.fitted_attributes,
            **self.data,
        )
        return stop or asked

    def _print(self, record):
        spent = time.perf_counter() - self.start
        left = spent / self.n_done * (self.n_epochs - self.n_done)
        parts = [
            f"[{type(self.estimator).__name__}] {self.stage}, "
            f"epoch {self.n_done}/{self.n_epochs}",
            f"reconstruction error {record['reconstruction_error']:.4f}",
            f"energy gap {record['energy_gap']:+.2f} nats",
        ]
        if "validation_score" in record:
            parts.append(f"validation score {record['validation_score']:.2f} nats")
        parts += [f"{record['seconds']:.1f} s", f"{_duration(left)} left"]
        print(", ".join(parts), flush=True)


def _duration(seconds):
    """Write a duration as minutes and seconds, with hours where needed."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
