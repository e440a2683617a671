"""What all estimators share: hyper-parameters, fit, partial_fit."""

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import check_is_fitted

from . import _fitting, _validation, ops
from ._checkpoint import training
from ._progress import Progress
from ._saving import Saved
from ._scoring import Scored
from ._version import __version__
from ._warnings import warn
from .columns import Columns, accepts_sparse, read, supposed
from .encodings import Probabilities
from .encodings.rows import EncodedRows
from .likelihood.log_partition import LogPartition
from .machine import DeepBoltzmannMachine
from .pieces.data import are_in_pieces
from .pieces.reading import read as read_pieces
from .settings import BY_PARAMETER
from .training import start
from .training.epoch import Epoch
from .training.order import Order
from .training.record import appended
from .units import Bernoulli


class BaseDBM(Scored, Saved, CallbackSupportMixin, BaseEstimator):
    """A deep Boltzmann machine as a scikit-learn estimator.

    The public estimators differ in what they do with the trained machine. Their
    hyper-parameters are documented there.
    """

    _parameter_constraints: dict = _validation.PARAMETER_CONSTRAINTS

    #: Columns of the machine after those of `X`.
    _n_label_columns = 0

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
        encoding = cls._column_encoding(machine.encoding)
        if encoding != Probabilities():
            described["visible"] = encoding
        if any(unit != Bernoulli() for unit in machine.units[1:]):
            described["hidden"] = list(machine.units[1:])
        estimator = cls(**(described | params))
        estimator._validate_params()
        _fitting.check_agreement(estimator, machine)
        n_columns = machine.encoding.n_columns(machine.layer_sizes[0])
        n_columns -= cls._n_label_columns
        encoding = _fitting.as_described(encoding, n_columns, estimator.visible)
        estimator.n_features_in_ = n_columns
        estimator._columns = Columns.of_encoding(
            encoding, n_columns, machine.dtype, estimator.visible
        )
        _fitting.draw_seeds(estimator, keep=False)
        vars(estimator).update(estimator._attributes(machine, None, {}))
        encoding = estimator._machine_encoding()
        if encoding != machine.encoding:
            machine = machine.with_encoding(encoding)
            vars(estimator).update(estimator._attributes(machine, None, {}))
        estimator._finish(complete=True)
        return estimator

    @_validation.fit_method
    def fit(self, X, y=None):
        """Learn the distribution of the rows of `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Pieces
            Training data, with columns as `visible` says: by default values between 0
            and 1, where one in between stands for the probability of a one. Or data
            that `skdbm.pieces.Pieces` describes: memory maps, h5py, zarr, dask, or
            chunks of rows, which are read in pieces.
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
            with 1/4, 1/16 and 1/64 of the rate.

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
        ended since training last began, the estimator is fitted with what was learned.
        With a `skdbm.callback.Checkpoint` a killed fit goes on where it was, if called
        again.
        """
        goes_on = self.warm_start and self.__sklearn_is_fitted__()
        data = {"X": X, "y": y}
        X = self._read_training(X, y, reset=not goes_on)
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
        automatic rate is, half of that of `fit`, which categories there are, how real
        values spread, and how long rows of counts are.

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
        return self._learn_chunk(self._read_training(X, y, reset=first), first=first)

    def _learn_chunk(self, X, *, first):
        """Train on a chunk of rows that have been validated."""
        if first:
            _validation.check_first_chunk(X[:, : self.n_features_in_], self._columns)
            state = _fitting.new_state(self, X)
        else:  # an error leaves the old one as it is
            state = _fitting.state_of(self).copy()
        source = EncodedRows(
            state.machine.encoding, X, start.TRAINING_DTYPE, state.row_rng
        )
        options = _fitting.options(self, self.batch_size)
        epoch = Epoch(state, source, Order(source), options)
        rate = _fitting.rate_of_chunks(self, state, X)
        with ops.workers(self.n_jobs) as team:
            record = epoch.train(lambda _: rate, team)
        history = {} if first else self.history_
        self._adopt(state, appended(history, [record]))
        self._in_chunks = True
        self._finish(complete=False)
        return self

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

    def _machine_encoding(self):
        """How columns, as they were read, become visible states, before any fit."""
        return self._columns.encoding

    @classmethod
    def _column_encoding(cls, encoding):
        """Give the encoding of the columns of `X`, by that of a machine."""
        return encoding

    @property
    def _n_column_units(self):
        """Number of visible units for the columns of `X`; they are the first ones."""
        encoding = self._column_encoding(self.machine_.encoding)
        return encoding.width(self.n_features_in_)

    def _known_columns(self):
        """What is known of the columns of `X`, and their fitted encoding."""
        return self._columns, self._column_encoding(self.machine_.encoding)

    def _read_training(self, X, y=None, *, reset):
        """Validate rows to train on; their numbers."""
        known = (None, None) if reset else self._known_columns()
        if are_in_pieces(X):
            numbers, columns = read_pieces(self, X, *known)
        else:
            numbers, columns, _ = read(self, X, *known, training=True)
            columns.check_categories()
        self._check_layers()
        self._columns = columns
        return numbers

    def _read(self, X, *, allow_missing=None):
        """Validate rows for a trained machine; their numbers, and the data."""
        known = self._known_columns()
        numbers, _, data = read(
            self, X, *known, training=False, allow_missing=allow_missing
        )
        return numbers, data

    def _check_fitted_input(self, X):
        """Validate rows for a fitted estimator; their numbers."""
        check_is_fitted(self)
        self._validate_params()
        return self._read(X)[0]

    def _rows(self, X):
        """Rows as states of the trained machine."""
        return EncodedRows(self.machine_.encoding, X, self.machine_.dtype)

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
            machine.centres = _fitting.centres_of(machine, X)
            least = _fitting.least_log_partition(machine, X, self.n_jobs)
            attributes["_kept_log_partition"].least = least
        vars(self).update(attributes)
