"""DBMClassifier: labels as a layer of the machine, with few of them or all."""

import time

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_consistent_length

from . import _docstrings, _validation, ops
from ._base import BaseDBM
from ._progress import duration, line
from ._warnings import warn
from .columns import supposed
from .columns.labels import check_some, classes_of, codes_of, known_labels
from .encodings.labels import n_classes_of, with_labels, without_labels
from .encodings.rows import DrawnRows
from .inference.recognition import Recognition, complete
from .likelihood.labels import log_joint
from .pieces.data import are_in_pieces
from .pieces.results import in_pieces
from .settings import FineTuning
from .training.fine_tuning import fine_tune

#: Nats by which the loss of the fine-tuning may be worse than that of guessing.
WORSE = 0.5

#: Stream of the fine-tuning, among those of the seed of the annealing.
TUNING = (2,)


@_docstrings.shared
class DBMClassifier(ClassifierMixin, BaseDBM):
    """Classes from a deep Boltzmann machine whose visible units have the labels, too.

    Learns the joint distribution of rows and labels, of which rows may have none, and
    then, with a copy of the weights, to tell the classes. Rows without a label help in
    both: they tell how rows are distributed.

    Parameters
    ----------
    <parameters>

    unlabeled : object, default=None
        What stands in `y` for rows without a label, next to None, NaN and pandas.NA,
        which always do; -1 is what `sklearn.semi_supervised` has. By default no other
        value is special.
    fine_tuning : bool or FineTuning, default=True
        Whether a copy of the weights goes on to learn the classes by back-propagation,
        for `predict` and `predict_proba`, and how. If False these are what the machine
        itself says.

    Attributes
    ----------
    <attributes>

    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    predictor_ : DeepBoltzmannMachine or None
        The fine-tuned machine that `predict` follows; None without fine-tuning, after
        `partial_fit`, after an interrupt and where it has failed: then `predict`
        follows `machine_`.
    loss_curve_ : list of float
        Of every pass of the fine-tuning over the rows, the mean of -log p(class) of
        those with a label, in nats, as they were presented.

    See Also
    --------
    DBMTransformer : Features for another classifier.
    DBMSampler : Draws samples from `machine_`, of one class if its label is given.
    FineTuning : Settings of the second part.
    sklearn.semi_supervised.SelfTrainingClassifier : Rows without labels by other means.

    Notes
    -----
    The label is a softmax unit beside the visible ones, so that all hidden layers of
    `machine_` model rows and labels together [6]_. In `machine_` it is the last column,
    of codes 0, 1, ... of the classes. Rows without a label are rows with a gap there.

    References
    ----------
    <references>
    .. [6] H. Larochelle and Y. Bengio, "Classification using discriminative restricted
       Boltzmann machines", ICML 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdbm import DBMClassifier
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> X, few = X / 16, np.where(np.arange(len(y)) < 60, y, -1)
    >>> classifier = DBMClassifier(
    ...     hidden_layer_sizes=(32, 16), max_iter=10, unlabeled=-1, random_state=0
    ... )
    >>> bool(classifier.fit(X[:400], few[:400]).score(X[400:], y[400:]) > 0.95)
    True
    """

    _parameter_constraints: dict = {
        **BaseDBM._parameter_constraints,
        **_validation.OF_CLASSIFIERS,
    }

    _n_label_columns = 1

    def __init__(self, *, unlabeled=None, fine_tuning=True, **params):
        super().__init__(**params)
        self.unlabeled = unlabeled
        self.fine_tuning = fine_tuning

    # Where scikit-learn, and whoever asks for help, reads the names of all parameters.
    __init__.__signature__ = _docstrings.with_parameters(  # type: ignore[attr-defined]
        BaseDBM.__init__, unlabeled=None, fine_tuning=True
    )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # The checks have real values, of which others than "gaussian" columns keep
        # little: those above 1 are clipped, or each is a category.
        kinds = supposed(self.visible)
        tags.classifier_tags.poor_score = any(
            kind.is_categorical or np.isfinite(kind.bounds).any() for kind in kinds
        )
        return tags

    @classmethod
    def from_machine(cls, machine, *, classes=None, **params):
        """Wrap a trained machine, whose last column has the labels, without training.

        Parameters
        ----------
        machine : DeepBoltzmannMachine
            The `machine_` of another classifier, or one from a file; not copied.
        classes : array-like of shape (n_classes,), default=None
            The classes, sorted; None means their codes 0, 1, ...
        **params : dict
            Hyper-parameters, as for the other estimators.

        Returns
        -------
        DBMClassifier
            A fitted classifier around the machine, without a `predictor_`.

        Raises
        ------
        ValueError
            If the machine has no labels or another number of classes, or these are not
            sorted.
        """
        classifier = super().from_machine(machine, **params)
        if classes is not None:
            classes, n_classes = np.asarray(classes), len(classifier.classes_)
            if not np.array_equal(classes, np.unique(classes)):
                raise ValueError(f"classes={classes}; they have to be sorted.")
            if len(classes) != n_classes:
                raise ValueError(
                    f"classes={classes}; the machine knows {n_classes} classes."
                )
            classifier.classes_ = classes
        return classifier

    def fit(self, X, y):
        """Learn the distribution of rows and labels, and then the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, with columns as `visible` says: by default values between 0
            and 1, where one in between stands for the probability of a one. A sparse
            matrix becomes a dense one as a whole, here and in all methods.
        y : array-like of shape (n_samples,)
            Classes, as scikit-learn's classifiers take them: text, integers, booleans;
            None, NaN, pandas.NA or what `unlabeled` says for rows that have none.

        Returns
        -------
        DBMClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the data, the labels or a hyper-parameter are not valid.
        FloatingPointError
            If training diverges, with `learning_rate_init="auto"` only after attempts
            with 1/4, 1/16 and 1/64 of the rate.

        Warns
        -----
        DataConversionWarning
            If values above the range of the visible units were clipped.
        ConvergenceWarning
            If training begins again with a smaller automatic rate, since it diverged,
            or a hidden layer is hardly in use, or fine-tuning has failed.

        Notes
        -----
        Errors, interrupts and checkpoints are as for the other estimators; the
        fine-tuning comes after them, and an interrupt of it leaves the rest fitted.
        """
        return super().fit(X, y)

    @_validation.fit_method
    def partial_fit(self, X, y, classes=None):
        """Train on one chunk of rows, in their order, each once.

        There is no fine-tuning: `predict` follows the machine itself.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to train on, as in `fit`.
        y : array-like of shape (n_samples,)
            Their labels.
        classes : array-like of shape (n_classes,), default=None
            All classes that will come; needed at the first call, and of no effect later
            on.

        Returns
        -------
        DBMClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the data, the labels or a hyper-parameter are not valid, or `classes` is
            missing at the first call.
        """
        first = not self.__sklearn_is_fitted__()
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        X = self._read_training(
            X, y, reset=first, classes=classes, may_be_unlabeled=True
        )
        return self._learn_chunk(X, first=first)

    @in_pieces
    def predict(self, X):
        """Name the most probable class of every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Pieces
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,), or Results
            The classes; of equally probable ones the first in `classes_`.
        """
        codes = self._log_proba(X).argmax(axis=1)
        return self.classes_[codes]

    @in_pieces
    def predict_proba(self, X):
        """Compute the probabilities of the classes of every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Pieces
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or Results
            The probabilities, in the order of `classes_`.

        Notes
        -----
        Without fine-tuning it is p(y | v) of the machine, in which log Z cancels: exact
        for one hidden layer and nothing missing, and else the softmax of the
        variational bounds of the row with each of the labels. Grey levels are taken as
        they are, where `score_samples` draws states with them.
        """
        return np.exp(self._log_proba(X))

    @in_pieces
    def predict_log_proba(self, X):
        """Compute the logarithms of the probabilities of the classes of every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Pieces
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or Results
            In nats, in the order of `classes_`.
        """
        return self._log_proba(X)

    def score_samples(self, X, y=None, *, n_importance_samples=None):
        """Compute the score of every row: an estimate of log p(v), or log p(v, y).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,), default=None
            Their labels, for the score of the pairs; of rows without one, and by
            default, it is summed out.
        n_importance_samples : int, default=None
            As for the other estimators: samples of the posterior, 0 for the variational
            lower bound, None for the number in `likelihood`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Estimates or lower bounds in nats, float64, of `machine_`; exact for one
            hidden layer and nothing missing, up to the error of log Z.

        Raises
        ------
        FloatingPointError
            If a row of discrete columns comes out likelier than certain, by more than
            three standard errors of log Z: then the estimate of log Z is wrong.
        """
        if y is None:
            return super().score_samples(X, n_importance_samples=n_importance_samples)
        X = self._check_fitted_input(X)
        labels, known = known_labels(y, self.unlabeled)
        check_consistent_length(X, labels)
        X[:, -1] = codes_of(labels, known, self.classes_)
        _validation.check_n_importance_samples(n_importance_samples)
        return self._score(X, n_importance_samples)

    def _log_likelihood(self, X, log_partition, n_importance_samples):
        likelihood, machine = self._setting("likelihood"), self.machine_
        codes, X = X[:, -1], X.copy()
        X[:, -1] = np.nan  # what is drawn for a row does not depend on its label
        rows = DrawnRows(machine.encoding, X, machine.dtype, self._annealing_seed)
        joint = self._log_joint(rows, likelihood, n_importance_samples)
        known = np.flatnonzero(~np.isnan(codes))
        scores = ops.logsumexp(joint, axis=1)
        scores[known] = joint[known, codes[known].astype(int)]
        return scores - log_partition + machine.encoding.log_jacobian(X)

    def _log_proba(self, X):
        """Log-probabilities of the classes, by the network or the machine."""
        X = self._check_fitted_input(X)
        if self.predictor_ is None:
            joint = self._log_joint(self._rows(X), self._setting("likelihood"), 0)
            return joint - ops.logsumexp(joint, axis=1, keepdims=True)
        rows, n_classes = self._rows(X), len(self.classes_)
        network = Recognition(self.predictor_, n_classes)

        def computed(block):
            return network.log_probabilities(
                complete(self.machine_, rows[block], n_classes)
            )

        with ops.workers(self.n_jobs) as team:
            parts = team.map(computed, ops.row_blocks(len(rows), ops.INFERENCE_ROWS))
        return np.concatenate(parts)

    def _log_joint(self, rows, likelihood, n_importance_samples):
        """Log p*(v, y), without log Z, of every class: (n_rows, n_classes)."""
        return log_joint(
            self.machine_,
            rows,
            len(self.classes_),
            n_importance_samples=n_importance_samples,
            seed=ops.seed_sequence(self._annealing_seed),
            tol=likelihood.mean_field_tol,
            max_iter=likelihood.mean_field_max_iter,
            n_jobs=self.n_jobs,
        )

    def _fine_tuning(self):
        """Settings of the fine-tuning; None without it."""
        if isinstance(self.fine_tuning, FineTuning):
            return self.fine_tuning
        return FineTuning() if self.fine_tuning else None

    def _read_training(self, X, y=None, *, reset, classes=None, may_be_unlabeled=False):
        name = type(self).__name__
        if y is None:
            raise ValueError(
                f"{name} requires y to be passed, but the target y is None. To learn "
                "from X alone take DBMSampler or DBMTransformer."
            )
        if isinstance(X, np.memmap):  # as processes of a search share their arrays
            X = np.asarray(X)
        if are_in_pieces(X):
            raise TypeError(
                f"{name} got data in pieces ({type(X).__name__}); labels need rows in "
                "an array or a DataFrame. Learn from them in chunks by partial_fit."
            )
        numbers = ops.dense(super()._read_training(X, reset=reset))
        labels, known = known_labels(y, self.unlabeled)
        check_consistent_length(numbers, labels)
        if not may_be_unlabeled:
            check_some(known)
        if reset and classes is not None:
            self.classes_ = classes_of(*known_labels(classes, self.unlabeled))
        elif reset:
            self.classes_ = classes_of(labels, known)
        codes = codes_of(labels, known, self.classes_)
        return np.column_stack([numbers, codes.astype(numbers.dtype)])

    def _read(self, X, *, allow_missing=None):
        numbers, data = super()._read(X, allow_missing=allow_missing)
        numbers = ops.dense(numbers)
        gaps = np.full((len(numbers), 1), np.nan, numbers.dtype)
        return np.hstack([numbers, gaps]), data

    def _machine_encoding(self):
        encoding, n_columns = super()._machine_encoding(), self.n_features_in_
        return with_labels(encoding, n_columns, len(self.classes_))

    @classmethod
    def _column_encoding(cls, encoding):
        return without_labels(encoding)

    def _attributes(self, machine, state, history):
        attributes = super()._attributes(machine, state, history)
        n_classes = n_classes_of(machine.encoding)
        classes = getattr(self, "classes_", np.arange(n_classes))
        return attributes | {"classes_": classes, "predictor_": None, "loss_curve_": []}

    def _adopt(self, state, history, X=None):
        super()._adopt(state, history, X)
        settings = self._fine_tuning()
        if X is None or settings is None:
            return
        try:
            predictor, self.loss_curve_ = self._fine_tuned(X, settings)
        except KeyboardInterrupt as interrupt:
            raise _validation.TrainingInterrupted(
                "in the fine-tuning, without which the estimator is fitted"
            ) from interrupt
        last, of_guessing = self.loss_curve_[-1], np.log(len(self.classes_))
        if last <= of_guessing + WORSE:
            self.predictor_ = predictor
            return
        warn(
            f"Fine-tuning has failed: its last loss is {last:.3g} nats, where guessing "
            f"has {of_guessing:.3g}, so `predict` follows `machine_`. A smaller "
            "learning_rate_init of FineTuning may help, which is "
            f"{settings.learning_rate_init:g}.",
            ConvergenceWarning,
        )

    def _fine_tuned(self, X, settings):
        """Fine-tune a copy of the machine on rows with their labels; and its losses."""
        begin = time.perf_counter()

        def report(epoch, n_epochs, loss):
            spent = time.perf_counter() - begin
            line(
                self,
                f"fine-tuning, epoch {epoch}/{n_epochs}, loss {loss:.4f} nats, "
                f"{duration(spent / epoch * (n_epochs - epoch))} left",
            )

        return fine_tune(
            self.machine_,
            X,
            len(self.classes_),
            settings,
            ops.SeedSequence(self._annealing_seed, spawn_key=TUNING),
            self.n_jobs,
            report if self.verbose else None,
        )
