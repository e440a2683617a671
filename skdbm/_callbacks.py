"""What callbacks that belong to a machine in training have in common."""

from typing import Any


class MachineCallback:
    """A callback that is set on an estimator of this package, and on no other."""

    #: What other estimators lack, and the name of the callback in an example.
    _lacking, _example = "no training of a machine", "callback"

    def setup(self, estimator: Any, context: Any) -> None:
        """Get ready for a fit; called by the estimator.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What is fitted (else a TypeError), and scikit-learn's context of the fit.
        """
        if not hasattr(type(estimator), "from_machine"):
            own, name = type(self).__name__, type(estimator).__name__
            raise TypeError(
                f"The {own} is set on a {name}, which has {self._lacking}; set it on "
                "the estimator of skdbm inside, as in "
                f"{name}(dbm.set_callbacks({self._example}), ...)."
            )

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing; called by the estimator after a fit, also a failed one.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What was fitted, and scikit-learn's context of the fit.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing; called by the estimator before an epoch.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What is fitted, and scikit-learn's context of the epoch.
        """

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing; called by the estimator after an epoch.

        Parameters
        ----------
        estimator, context : estimator of skdbm, CallbackContext
            What is fitted, and scikit-learn's context of the epoch.
        """
