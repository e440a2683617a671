"""What both estimators share: hyper-parameters, fit, partial_fit, the score."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from . import _fitting, _validation, ops
from ._checkpoint import training
from ._progress import Progress
from ._saving import Saved
from ._version import __version__
from ._warnings import warn
from .columns import Columns, accepts_sparse, read, supposed
from .encodings import Probabilities
from .encodings.rows import EncodedRows
from .likelihood.log_partition import LogPartition
from .likelihood.scores import log_likelihood
from .machine import DeepBoltzmannMachine
from .settings import BY_PARAMETER
from .training import start
from .training.epoch import Epoch
from .training.record import appended
from .units import Bernoulli


class BaseDBM(Saved, CallbackSupportMixin, BaseEstimator):
    """A deep Boltzmann machine as a scikit-learn estimator.

    The two public estimators differ in what they do with the trained machine. Their
    hyper-parameters are documented there.
    """

    _parameter_constraints: dict = _validation.PARAMETER_CONSTRAINTS

    def __init__(
        self,
        *,
        hidden_layer_sizes=(256, 256),
        visible="bernoulli",
        hidden="bernoulli",
        allow_missing=False,
        max_iter=None,
        batch_size=50,
        learning_rate_init="auto",
        alpha="auto",
        n_chains=100,
        n_gibbs_steps=2,
        n_mean_field_steps=1,
        n_posterior_gibbs_steps=1,
        pretraining="grow",
        early_stopping=False,
        validation_fraction=0.1,
        evaluate_every=5,
        n_iter_no_change=10,
        tol=0.01,
        likelihood=None,
        warm_start=False,
        random_state=None,
        verbose=0,
        n_jobs=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible = visible
        self.hidden = hidden
        self.allow_missing = allow_missing
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.n_chains = n_chains
        self.n_gibbs_steps = n_gibbs_steps
        self.n_mean_field_steps = n_mean_field_steps
        self.n_posterior_gibbs_steps = n_posterior_gibbs_steps
        self.pretraining = pretraining
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.evaluate_every = evaluate_every
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.likelihood = likelihood
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs

    def set_params(self, **params):
        """Set hyper-parameters, those of value objects by ``likelihood__n_chains``.

        Parameters
        ----------
        **params : dict
            Hyper-parameters; a ValueError says if there is no such one, or no value
            object that it belongs to.

        Returns
        -------
        estimator
            The estimator itself.
        """
        _validation.check_nested(self, params, BY_PARAMETER)
        return super().set_params(**params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        kinds = supposed(self.visible)
        tags.input_tags.sparse = accepts_sparse(self.visible)
        # Categories are codes only inside: outside they may be any values.
        tags.input_tags.positive_only = any(
            kind.bounds[0] == 0 and not kind.is_categorical for kind in kinds
        )
        tags.input_tags.string = any(kind.is_categorical for kind in kinds)
        tags.input_tags.categorical = any(kind.holds_codes for kind in kinds)
        tags.input_tags.allow_nan = self.allow_missing and all(
            kind.may_be_missing for kind in kinds
        )
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "machine_")

    def __getstate__(self):
        # Chains, velocity and all that are several times the machine: they stay out
        # unless training is meant to go on.
        more = self.warm_start or getattr(self, "_in_chunks", True)
        left_out = {} if more else {"_state": None}
        return super().__getstate__() | left_out | {"_skdbm_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_skdbm_version", "an unknown version")
        if version != __version__:
            warn(
                f"This {type(self).__name__} was pickled by skdbm {version} and is "
                f"loaded by {__version__}; it may not work, or work differently.",
                UserWarning,
            )
        super().__setstate__(state)

    @classmethod
    def from_machine(cls, machine, **params):
        """Wrap trained parameters without training.

        Parameters
        ----------
        machine : DeepBoltzmannMachine
            The `machine_` of another estimator, or one loaded from a file; not copied.
            It knows categories as codes 0, 1, ...; their values, and names of columns,
            stay with the estimator that was fitted.
        **params : dict
            Hyper-parameters; `hidden_layer_sizes` comes from the machine.

        Returns
        -------
        estimator
            A fitted estimator around the machine.

        Raises
        ------
        ValueError
            If a hyper-parameter is not valid, or contradicts the machine.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm import DBMSampler, DBMTransformer
        >>> transformer = DBMTransformer(hidden_layer_sizes=3, max_iter=2)
        >>> machine = transformer.fit(np.eye(6)[:, :4]).machine_
        >>> DBMSampler.from_machine(machine, random_state=0).sample(2).shape
        (2, 4)
        """
        if not isinstance(machine, DeepBoltzmannMachine):
            raise ValueError(
                f"machine is a {type(machine).__name__}; a DeepBoltzmannMachine is "
                "expected (a fitted estimator keeps its own in `machine_`)."
            )
        hidden = machine.layer_sizes[1:]
        described = {"hidden_layer_sizes": hidden}
        if machine.encoding != Probabilities():
            described["visible"] = machine.encoding
        if any(unit != Bernoulli() for unit in machine.units[1:]):
            described["hidden"] = list(machine.units[1:])
        estimator = cls(**(described | params))
        estimator._validate_params()
        _fitting.check_agreement(estimator, machine)
        machine = _fitting.as_described(machine, estimator.visible)
        n_columns = machine.encoding.n_columns(machine.layer_sizes[0])
        estimator.n_features_in_ = n_columns
        estimator._columns = Columns.of_encoding(
            machine.encoding, n_columns, machine.dtype, estimator.visible
        )
        _fitting.draw_seeds(estimator, keep=False)
        vars(estimator).update(estimator._attributes(machine, None, {}))
        estimator._finish(complete=True)
        return estimator

    @_validation.fit_method
    def fit(self, X, y=None):
        """Learn the distribution of the rows of `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, with columns as `visible` says: by default values between 0
            and 1, where one in between stands for the probability of a one.
        y : None
            Ignored; there for API consistency.

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If the data or a hyper-parameter is not valid.
        FloatingPointError
            If training diverges, with `learning_rate_init="auto"` only after attempts
            with 1/4, 1/16 and 1/64 of the first rate.

        Warns
        -----
        DataConversionWarning
            If values above the range of the visible units were clipped.
        ConvergenceWarning
            If `early_stopping` is on and `max_iter` ended the training first, or
            training begins again with a smaller automatic rate, since it diverged, or
            the machine of a `DBMSampler` is worse on the rows of `X` than one without
            couplings; and if it is at the smallest rate, too, or the rate was given.

        Notes
        -----
        After an error the estimator is as it was. An interrupt (Ctrl-C) is raised
        again, so that it stops a search, too; if an epoch of the joint training has
        ended by then, the estimator is fitted with what was learned. With a
        `skdbm.callback.Checkpoint` a killed fit goes on where it was, if called again.
        """
        goes_on = self.warm_start and self.__sklearn_is_fitted__()
        data = {"X": X, "y": y}
        X, _ = self._read(X, reset=not goes_on, training=True)
        with training(self, X, goes_on=goes_on) as (run, file):
            before = self.history_ if goes_on else {}
            progress = Progress(self, run, data, before)
            _fitting.train(self, run, progress, X, file)
            progress.close()
        return self

    @_validation.fit_method
    def partial_fit(self, X, y=None):
        """Train on one chunk of rows, in their order, each once.

        Chunks of binary columns whose lengths are multiples of `batch_size` give
        exactly the model of the same rows in one chunk, if the learning rate is given.
        It stays at `learning_rate_init`, since the end of the data is not known. There
        is no pretraining and no early stopping. The first chunk decides what an
        automatic rate is, which categories there are, how real values spread, and how
        long rows of counts are.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to train on, as in `fit`.
        y : None
            Ignored; there for API consistency.

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If the data or a hyper-parameter is not valid, or the first chunk is a
            single row of real values, which says nothing of their spread.
        FloatingPointError
            If training diverges. After any error the estimator is as it was.

        Warns
        -----
        UserWarning
            If a column of real values does not vary in the first chunk.
        """
        first = not self.__sklearn_is_fitted__()
        X, _ = self._read(X, reset=first, training=True)
        if first:
            _validation.check_first_chunk(X, self._columns)
            state = _fitting.new_state(self, X)
        else:  # an error leaves the old one as it is
            state = _fitting.state_of(self).copy()
        source = EncodedRows(
            state.machine.encoding, X, start.TRAINING_DTYPE, state.row_rng
        )
        options = _fitting.options(self, self.batch_size)
        epoch = Epoch(state, source, np.arange(X.shape[0]), options)
        rate = _fitting.rate_of_chunks(self, state, X)
        with ops.workers(self.n_jobs) as team:
            record = epoch.train(lambda _: rate, team)
        history = {} if first else self.history_
        self._adopt(state, appended(history, [record]))
        self._in_chunks = True
        self._finish(complete=False)
        return self

    def score_samples(self, X, *, n_importance_samples=None):
        """Compute the score of every row: an estimate of log p(v), or a lower bound.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.
        n_importance_samples : int, default=None
            Samples of the posterior of each row, of which the estimate of log p(v) is
            made; 0 means the variational lower bound, None the number in `likelihood`,
            which is 10 by default.

        Returns
        -------
        ndarray of shape (n_samples,)
            Estimates or lower bounds of the log-likelihood in nats, float64; higher is
            better. For one hidden layer, and nothing missing, they are log p(v) itself,
            up to the error of log Z. Probabilities of states are scored by states that
            are drawn with them, once; of real values it is the density as they are in
            `X`; missing values are averaged over; counts are scored given their total.

        Raises
        ------
        FloatingPointError
            If a row of discrete columns comes out likelier than certain, by more than
            three standard errors of log Z, in its lower bound, too: then the estimate
            of log Z is wrong.

        Warns
        -----
        ConvergenceWarning
            If mean field did not converge in some rows, or log Z is uncertain by more
            than half a nat.
        DataConversionWarning
            If values outside of the range of the visible units were clipped.

        Notes
        -----
        Log Z is enumerated for small machines and else estimated once per trained
        machine, by sequential Monte Carlo. It and the samples of the posterior are
        seeded from `fit`, and those of a row by the row: no score draws fresh
        randomness, or depends on the rows beside it. An error of log Z moves all rows
        alike.
        """
        X = self._check_fitted_input(X)
        if n_importance_samples is not None:
            _validation.check_count(
                "n_importance_samples", n_importance_samples, least=0
            )
        return self._score(X, n_importance_samples)

    def _score(self, X, n_importance_samples=None):
        """Score rows that have been validated."""
        if n_importance_samples is None:
            n_importance_samples = self._setting("likelihood").n_importance_samples
        totals = self.machine_.units[0].totals(X)
        log_partition, error = self._log_partition().of(totals, n_jobs=self.n_jobs)
        scores = log_likelihood(
            self.machine_,
            X,
            log_partition,
            self._setting("likelihood"),
            self._annealing_seed,
            n_importance_samples=n_importance_samples,
            n_jobs=self.n_jobs,
        )
        _fitting.check_possible(self, X, scores, error, n_importance_samples)
        return scores

    def score(self, X, y=None):
        """Compute the mean score of the rows, in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.
        y : None
            Ignored; there for API consistency.

        Returns
        -------
        float
            The mean of `score_samples`, in nats per row; higher is better.
        """
        return float(np.mean(self.score_samples(X)))

    def _has_counts(self):
        """Whether columns share a total, as counts do; then nothing can be missing."""
        return not all(kind.may_be_missing for kind in supposed(self.visible))

    @available_if(_has_counts)
    def perplexity(self, X):
        """Compute the perplexity per word of rows of counts.

        It is exp(-sum log p(words | total) / sum of totals), with the score for log p
        of the words in their order: the number of equally likely words among which the
        model chooses on average. Only where columns are counts is there this method.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of counts.

        Returns
        -------
        float
            The perplexity, at least 1; lower is better.
        """
        X = self._check_fitted_input(X)
        unit = self.machine_.units[0]
        totals = unit.totals(X)
        if totals is None or not totals.sum():
            raise ValueError("Perplexity is about words: it needs rows that have some.")
        blocks = ops.row_blocks(X.shape[0], ops.INFERENCE_ROWS)
        ways = -sum(unit.base(ops.dense(X[rows])).sum() for rows in blocks)
        return float(np.exp((ways - self._score(X).sum()) / totals.sum()))

    def _setting(self, name):
        """Give a value object, the default one for None."""
        value = getattr(self, name)
        return BY_PARAMETER[name]() if value is None else value

    def _validate_params(self):
        super()._validate_params()
        _validation.check_settings(self)

    def _failure(self, X):
        """Say what is wrong with the trained machine, if that is known."""

    def _finish(self, *, complete):
        """Do what follows training on `X`; `complete` unless more chunks may come."""

    def _check_layers(self):
        """Check the parameters that name layers; the sizes of the hidden ones."""
        return _validation.check_layer_sizes(self.hidden_layer_sizes)

    def _read(self, X, *, reset, training, allow_missing=None):
        """Validate data and turn them into numbers, with what was found of columns."""
        known = (None, None) if reset else (self._columns, self.machine_.encoding)
        numbers, columns, data = read(
            self, X, *known, training=training, allow_missing=allow_missing
        )
        if training:
            self._check_layers()
        if reset:
            self._columns = columns
        return numbers, data

    def _check_fitted_input(self, X):
        """Validate rows for a fitted estimator; their numbers."""
        check_is_fitted(self)
        self._validate_params()
        return self._read(X, reset=False, training=False)[0]

    def _rows(self, X):
        """Rows as states of the trained machine."""
        return EncodedRows(self.machine_.encoding, X, self.machine_.dtype)

    def _annealing(self):
        """How log Z is annealed, as `likelihood` is now: chains, and the seed."""
        return self._setting("likelihood").n_chains, self._annealing_seed

    def _log_partition(self):
        """What keeps log Z of the trained machine, for `likelihood` as it is now."""
        if self._digest != _fitting.digest(self.machine_):  # somebody has edited it
            machine = self.machine_
            attributes = self._attributes(machine, self._state, self.history_)
            vars(self).update(attributes | {"_in_chunks": self._in_chunks})
            self._finish(complete=False)
        return self._kept_log_partition.at(*self._annealing())

    def _attributes(self, machine, state, history):
        """Gather what makes the estimator a fitted one."""
        return {
            "machine_": machine,
            "history_": history,
            "n_iter_": len(history.get("seconds", ())),
            "_state": state,
            "_in_chunks": False,
            "_digest": _fitting.digest(machine),
            "_kept_log_partition": LogPartition(machine, *self._annealing()),
        }

    def _adopt(self, state, history, X=None):
        """Become a fitted estimator around what was trained, on all rows of `X`."""
        machine = state.snapshot()
        attributes = self._attributes(machine, state, history)
        if X is not None:
            machine.likeliest = _fitting.likeliest_of(machine, X)
            least = _fitting.least_log_partition(machine, X, self.n_jobs)
            attributes["_kept_log_partition"].least = least
        vars(self).update(attributes)
