"""Callbacks for scikit-learn's `set_callbacks`: training records, checkpoints."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn.callback import CallbackContext, ScoringMonitor

from . import _validation
from ._base import BaseDBM
from ._callbacks import MachineCallback
from ._checkpoint import Checkpoint

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Checkpoint", "TrainingMonitor"]


class TrainingMonitor(MachineCallback):
    """Keep the training record of every epoch of every fit.

    Set it on an estimator of this package, wherever that stands: alone, in a pipeline,
    in a search. Clones share the monitor, so it gets the record of each candidate and
    each fold, also from other threads and processes.

    Parameters
    ----------
    every : int, default=1
        Number of epochs from one record to the next; the first one kept is that of
        epoch `every`. In a search over many candidates it saves memory and time.

    See Also
    --------
    sklearn.callback.ScoringMonitor : Scores instead of the record.
    sklearn.callback.ProgressBar : Shows how far a fit is.
    skdbm.display.LearningCurveDisplay : Draws the record of one fit.

    Notes
    -----
    It is set on the DBM itself, so that it works in pipelines whose other steps have no
    callbacks, too. A `Pipeline` with `memory` fits a step with a monitor anew, since
    the monitor changes with every record. `partial_fit` tells callbacks nothing.

    Records travel between processes as those of scikit-learn's `ScoringMonitor` do: the
    processes must run on one machine, and what other callbacks add to the `record` of
    their context must be picklable. scikit-learn calls its callbacks experimental.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdbm import DBMTransformer
    >>> from skdbm.callback import TrainingMonitor
    >>> X, monitor = [[0, 1], [1, 0]] * 20, TrainingMonitor()
    >>> dbm = DBMTransformer(hidden_layer_sizes=3, max_iter=2, random_state=0)
    >>> dbm = dbm.set_callbacks(monitor).fit(X)
    >>> [(row["stage"], row["epoch"]) for row in monitor.to_dicts()]
    [('training', 1), ('training', 2)]

    In a search, "fit" tells the fits apart: (0, 0, k) is that of candidate
    k // n_splits on fold k % n_splits, and (0, 1) the one on all rows at the end.

    >>> search = GridSearchCV(dbm, {"alpha": [0.0, 0.1]}, cv=2).fit(X)
    >>> list(dict.fromkeys(row["fit"] for row in monitor.to_dicts() if row["run"] == 1))
    [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 1)]
    """

    _lacking, _example = "no training record", "monitor"

    def __init__(self, *, every: int = 1) -> None:
        _validation.check_count("every", every)
        self.every = every
        # It brings what is written in other processes back to this one, survives
        # pickling and knows which fits belong together: all that is needed but scores.
        self._log = ScoringMonitor(scoring=_record_for_scores)

    def setup(self, estimator: object, context: CallbackContext) -> None:
        """Get ready for a fit; called by the estimator.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What is fitted (else a TypeError), and scikit-learn's context of the fit.
        """
        super().setup(estimator, context)
        self._log.setup(estimator, context)

    def teardown(self, estimator: object, context: CallbackContext) -> None:
        """Do what follows a fit, also a failed one; called by the estimator.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What was fitted, and scikit-learn's context of the fit.
        """
        self._log.teardown(estimator, context)

    def on_fit_task_end(self, estimator: BaseDBM, context: CallbackContext) -> None:
        """Keep the record of an epoch; called by the estimator after it.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What is fitted, and the context of the epoch, with its record.
        """
        record = getattr(context, "record", None)
        if record is None or (context.task_id + 1) % self.every:
            return  # the whole fit, or an epoch to leave out
        self._log.on_fit_task_end(
            estimator,
            context,
            X=(),  # scores are asked for only where there are data and targets
            y=(),
            metadata={"record": record},
            fitted_estimator=estimator,
        )

    def to_dicts(self) -> list[dict[str, Any]]:
        """Give the records as one list.

        Returns
        -------
        list of dict
            One for each epoch, in the order of runs, fits and epochs. "run" is the
            number of the outermost `fit`, from 0, in the order in which they began;
            "fit" the path of the fit in it, as numbers of scikit-learn's tasks, (0,)
            for the outermost one itself; "stage" is "training" or, for example,
            "pretraining layer 1"; "epoch" counts the epochs of the fit from 1,
            pretraining included, and those of trainings that have begun again, with a
            gap there. All else is the record, as in `history_`.
        """
        try:
            runs = self._log.get_logs(select="all")
        except ValueError:  # there is none yet
            return []
        rows = [
            _row(number, entry) for number, run in enumerate(runs) for entry in run.data
        ]
        return sorted(rows, key=lambda row: (row["run"], row["fit"], row["epoch"]))

    def to_pandas(self) -> "pd.DataFrame":
        """Give the records as a DataFrame.

        Returns
        -------
        pandas.DataFrame
            One row for each epoch, one column for each key of `to_dicts`; NaN where
            there is no value, as for "validation_score" in pretraining.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas; install it by pip install pandas, or take "
                "to_dicts."
            ) from error
        return pd.DataFrame(self.to_dicts())


#: Columns of scikit-learn's log that describe the task, not the epoch.
_OF_THE_TASK = {
    "task_id_path",
    "parent_task_id_path",
    "estimator_name",
    "task_name",
    "task_id",
    "sequential_subtasks",
}


def _row(run: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Say of an entry of scikit-learn's log where it belongs, in fewer words."""
    place = {
        "run": run,
        "fit": entry["parent_task_id_path"],
        "stage": entry["task_name"],
        "epoch": entry["task_id"] + 1,
    }
    return place | {k: v for k, v in entry.items() if k not in _OF_THE_TASK}


def _record_for_scores(
    estimator: BaseDBM, X: object, y: object, *, record: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Stand in for a scorer of several metrics."""
    return record
