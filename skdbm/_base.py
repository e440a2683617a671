"""What both estimators share: hyper-parameters, fit, partial_fit, the score."""

import copy
from abc import ABCMeta, abstractmethod
from itertools import pairwise

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _validation, likelihood, ops
from ._columns import Columns, Encoded, accepts_sparse, prototypes, resolve, state_means
from ._progress import Progress
from ._version import __version__
from ._warnings import warn
from .machine import DeepBoltzmannMachine
from .ops import generator
from .training.pretraining import greedy, grow
from .training.stopping import EarlyStopping
from .training.trainer import (
    DivergenceError,
    Options,
    Rows,
    Trainer,
    batches_of,
    train,
)
from .units import Bernoulli, UnitType

#: Training runs in float32 whatever the data: rounding is far below the noise of the
#: chains, and products are twice as fast.
TRAINING_DTYPE = np.float32

#: Standard deviation of the first weights, times the root of the number of units in
#: the layer below: enough for small layers to leave the start, little for large ones.
INITIAL_SCALE = 0.3

#: First mean of the hidden units. Units that are mostly off specialise: features
#: become sparse, and the likelihood is better than from means of one half.
INITIAL_ACTIVITY = 0.02

#: Where training diverges with the automatic learning rate it begins anew, so often,
#: each time with the rate divided by so much.
SLOWER_ATTEMPTS, SLOWER_BY = 3, 4

#: The automatic number of epochs, and the ranges of updates and epochs it is moved
#: into: small data needs more epochs, large data fewer.
EPOCHS = 100
UPDATES_BETWEEN = (6_000, 120_000)
EPOCHS_BETWEEN = (10, 2_000)


class BaseDBM(CallbackSupportMixin, BaseEstimator, metaclass=ABCMeta):
    """A deep Boltzmann machine as a scikit-learn estimator.

    The two public estimators differ in what they do with the trained machine. Their
    hyper-parameters are documented there.
    """

    _parameter_constraints: dict = _validation.PARAMETER_CONSTRAINTS

    @abstractmethod
    def __init__(self):
        """Store the hyper-parameters."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        units = self._prototypes()
        tags.input_tags.sparse = accepts_sparse(self.visible, units)
        # Categories are codes only inside: outside they may be any values.
        tags.input_tags.positive_only = any(
            unit.bounds[0] == 0 and not unit.is_categorical for unit in units
        )
        tags.input_tags.string = any(unit.is_categorical for unit in units)
        tags.input_tags.categorical = any(unit.holds_codes for unit in units)
        tags.input_tags.allow_nan = self.allow_missing and all(
            unit.may_be_missing for unit in units
        )
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "machine_")

    def __getstate__(self):
        return super().__getstate__() | {"_skdbm_version": __version__}

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
            The machine, for example the `machine_` of another estimator, or one that
            was loaded from a file. It is not copied. A machine knows categories as
            codes 0, 1, ...; their values, and names of columns, stay with the
            estimator that was fitted.
        **params : dict
            Hyper-parameters, as for the constructor; `hidden_layer_sizes` comes from
            the machine.

        Returns
        -------
        estimator
            A fitted estimator around the machine.

        Raises
        ------
        ValueError
            If `hidden_layer_sizes` is given and contradicts the machine, or another
            hyper-parameter is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm import DBMSampler, DBMTransformer
        >>> X = np.eye(6)[:, :4]
        >>> transformer = DBMTransformer(hidden_layer_sizes=(3, 2), max_iter=2).fit(X)
        >>> sampler = DBMSampler.from_machine(transformer.machine_, random_state=0)
        >>> sampler.sample(2).shape
        (2, 4)
        """
        if not isinstance(machine, DeepBoltzmannMachine):
            raise ValueError(
                f"machine is a {type(machine).__name__}; a DeepBoltzmannMachine is "
                "expected (a fitted estimator keeps its own in `machine_`)."
            )
        hidden = machine.layer_sizes[1:]
        plain = all(unit == Bernoulli() for unit in machine.units)
        units = {"visible": machine.units[0], "hidden": list(machine.units[1:])}
        described = {"hidden_layer_sizes": hidden} | ({} if plain else units)
        estimator = cls(**(described | params))
        estimator._validate_params()
        if estimator._check_layers() != hidden:
            raise ValueError(
                f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} contradicts the "
                f"machine, whose hidden layers have {hidden} units; leave it out."
            )
        unit = machine.units[0]
        estimator.n_features_in_ = unit.n_columns(machine.layer_sizes[0])
        estimator._columns = Columns.of_unit(unit, estimator.n_features_in_)
        estimator._begin(keep_seed=False)
        estimator._adopt(machine, trainer=None, history={})
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
            with 1/4, 1/16 and 1/64 of the first rate. After any error the estimator is
            as it was.

        Warns
        -----
        DataConversionWarning
            If values above the range of the visible units were clipped.
        ConvergenceWarning
            If `early_stopping` is on and `max_iter` ended the training first, or
            training diverged and began again with a smaller automatic rate.
        RuntimeWarning
            If an interrupt (Ctrl-C) ended the training; what was learned is kept.
        """
        goes_on = self.warm_start and self.__sklearn_is_fitted__()
        data = {"X": X, "y": y}
        X, columns = self._read(X, reset=not goes_on, training=True)
        sizes = self._check_layers()
        unit = self.machine_.units[0] if goes_on else columns.unit.fit(X)
        self._columns = columns
        seeds = self._begin(keep_seed=goes_on)
        self._finish(complete=False)
        X, watched = self._hold_out(X, seeds["held_out"])
        n_training = self._n_epochs(X.shape[0])
        n_pretraining = 0
        if self.pretraining and len(sizes) > 1 and not goes_on:
            n_pretraining = self.pretraining_max_iter or -(-n_training // 5)
        n_stages = len(sizes) - (self.pretraining == "grow")
        n_epochs = n_pretraining * n_stages + n_training
        context = self._init_callback_context(max_subtasks=n_epochs)
        context.call_on_fit_task_begin(estimator=self, **data)
        progress = Progress(self, context, n_epochs, data)

        def learn(rate, team):
            own = copy.deepcopy(seeds)  # so that every attempt draws the same
            loop = {
                "source": Rows(
                    X, unit, generator(own["visible"]) if self.binarize else None
                ),
                "learning_rate_init": rate,
                "schedule": self.learning_rate,
                "rng": generator(own["order"]),
                "team": team,
                "progress": progress,
            }
            if goes_on:
                trainer = self._continued_trainer(X.shape[0], own["chains"])
            else:
                machine = self._initial_machine(X, unit, sizes, own["weights"])
                chains = None
                if n_pretraining:
                    machine, chains = self._pretrain(machine, n_pretraining, own, loop)
                trainer = self._new_trainer(machine, X.shape[0], own["chains"], chains)
            self._train(trainer, X.dtype, watched, n_training, loop)

        rate = self._first_learning_rate(unit, sizes[0])
        with ops.workers(self.n_jobs) as team:
            self._at_a_stable_rate(learn, rate, team, progress)
        self._finish(complete=True)
        context.call_on_fit_task_end(
            estimator=self, reconstruction_attributes={}, **data
        )
        return self

    @_validation.fit_method
    def partial_fit(self, X, y=None):
        """Train on one chunk of rows, in their order, each once.

        The chunk is cut into batches of `batch_size` rows, the last of which may be
        shorter; chunks of binary columns whose lengths are multiples of `batch_size`
        therefore give exactly the model that the same rows give in one chunk. The
        learning rate stays at `learning_rate_init`, since the end of the data is not
        known; the averaging of the weights needs no end. There is no pretraining and
        no early stopping. The first chunk decides which categories there are, where
        and how wide the columns of real values are, and how long rows of counts are.

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
            If the data or a hyper-parameter is not valid.
        FloatingPointError
            If training diverges. After any error the estimator is as it was.
        """
        first = not self.__sklearn_is_fitted__()
        X, columns = self._read(X, reset=first, training=True)
        sizes = self._check_layers()
        unit = columns.unit.fit(X) if first else self.machine_.units[0]
        self._columns = columns
        if first:
            seeds = self._begin(keep_seed=False)
            machine = self._initial_machine(
                X[: self.batch_size], unit, sizes, seeds["weights"]
            )
            trainer = self._new_trainer(machine, self.batch_size, seeds["chains"])
        else:
            trainer = self._continued_trainer(self.batch_size, None)
        source = Rows(X, unit, trainer.row_rng if self.binarize else None)
        batches = batches_of(np.arange(X.shape[0]), self.batch_size)
        rate = self._first_learning_rate(unit, sizes[0])
        with ops.workers(self.n_jobs) as team:
            record = trainer.epoch(source, batches, lambda _: rate, team)
        history = {} if first else self.history_
        dtype = X.dtype if first else self.machine_.dtype
        self._adopt(trainer.snapshot(dtype), trainer, _appended(history, [record]))
        self._finish(complete=False)
        return self

    def score_samples(self, X, *, n_importance_samples=None):
        """Compute the score of every row: a lower bound or an estimate of log p(v).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.
        n_importance_samples : int, default=None
            Samples of the posterior of each row. With 0 the score is the variational
            lower bound; with some it is the importance-weighted estimate of log p(v),
            on average a lower bound, too, and as a rule a tighter one. None means
            `self.n_importance_samples`, which is 0 by default.

        Returns
        -------
        ndarray of shape (n_samples,)
            Lower bounds or estimates of the log-likelihood in nats, float64; higher is
            better. For one hidden layer, and nothing missing, they are log p(v) itself,
            up to the error of log Z. For columns of real values it is the density of
            the values as they are in `X`;
            missing values are averaged over; counts are scored given their total.

        Raises
        ------
        ValueError
            If `X` or `n_importance_samples` is not valid.

        Warns
        -----
        ConvergenceWarning
            If mean field did not converge in some rows.
        DataConversionWarning
            If values outside of the range of the visible units were clipped.

        Notes
        -----
        Log Z is enumerated for small machines and else estimated once per trained
        machine, by annealed importance sampling. It and the samples of the posterior
        are seeded from `fit`; the score never draws fresh randomness. The estimate of Z
        is unbiased, so log Z is a little low on average and the score a little high;
        more `n_temperatures` and `n_annealing_chains` make it better.
        """
        X = self._check_fitted_input(X)
        if n_importance_samples is not None:
            _validation.check_count(
                "n_importance_samples", n_importance_samples, least=0
            )
        return self._score_numbers(X, n_importance_samples)

    def _score_numbers(self, X, n_importance_samples=None):
        """Score rows that have been validated."""
        machine = self.machine_.astype(X.dtype)
        log_partition, _ = self._log_partition(machine.units[0].totals(X))
        return self._scores(machine, X, log_partition, n_importance_samples)

    def _scores(
        self, machine, X, log_partition, n_importance_samples=None, *, n_jobs=None
    ):
        """Score rows by any machine of which log Z is known."""
        if n_importance_samples is None:
            n_importance_samples = self.n_importance_samples
        unit = machine.units[0]
        rows = Encoded(unit, X, machine.dtype)
        settings = {
            "tol": self.mean_field_tol,
            "max_iter": self.mean_field_max_iter,
            "n_jobs": self.n_jobs if n_jobs is None else n_jobs,
        }
        if n_importance_samples:
            scores = likelihood.importance_weighted_log_likelihood(
                machine,
                rows,
                log_partition,
                n_importance_samples=n_importance_samples,
                random_state=self._annealing_seed,
                **settings,
            )
        else:
            scores = likelihood.bound(machine, rows, log_partition, **settings)
        return scores + unit.log_jacobian(X)

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

    def perplexity(self, X):
        """Compute the perplexity per word of rows of counts.

        It is exp(-sum log p(words | total) / sum of totals) with the score for
        log p, and p that of the words in their order: the number of equally likely
        words among which the model chooses on average.
        `sklearn.decomposition.LatentDirichletAllocation.perplexity` is alike.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of counts.

        Returns
        -------
        float
            The perplexity, at least 1; lower is better.

        Raises
        ------
        ValueError
            If the visible units are not counts, or there is no word.
        """
        X = self._check_fitted_input(X)
        unit = self.machine_.units[0]
        totals = unit.totals(X)
        if totals is None or not totals.sum():
            raise ValueError(
                "Perplexity is about words: it needs visible='counts' and rows that "
                f"have some; the visible units are {unit!r}."
            )
        blocks = ops.row_blocks(X.shape[0], ops.INFERENCE_ROWS)
        ways = -sum(unit.base(_dense(X[rows])).sum() for rows in blocks)
        return float(np.exp((ways - self._score_numbers(X).sum()) / totals.sum()))

    def _finish(self, *, complete):
        """Do what follows training; `complete` unless more chunks may come."""

    def _check_layers(self):
        """Check the parameters that name layers; the sizes of the hidden ones."""
        return _validation.check_layer_sizes(self.hidden_layer_sizes)

    def _prototypes(self):
        """Unit types of the visible columns, for tags and checks before any data."""
        try:
            return prototypes(self.visible)
        except (TypeError, ValueError):  # a wrong parameter; fit will say so
            return [Bernoulli()]

    def _read(self, X, *, reset, training, allow_missing=None):
        """Validate data and turn them into numbers; the columns that were found."""
        kinds = prototypes(self.visible)
        name = type(self).__name__
        allow_missing = self.allow_missing if allow_missing is None else allow_missing
        may_be_missing = all(kind.may_be_missing for kind in kinds)
        allow_missing = allow_missing and may_be_missing
        categorical = any(kind.is_categorical for kind in kinds)
        seen, is_frame = X, _validation.is_frame(X)
        if reset and is_frame:
            resolve(self.visible, X)  # says which columns are left over, before others
        X = _validation.check_container(
            self,
            X,
            reset=reset,
            allow_missing=allow_missing,
            may_be_missing=may_be_missing,
            categorical=categorical,
            sparse_too=accepts_sparse(self.visible, kinds),
        )
        if reset:
            columns = Columns.of(self.visible, seen if is_frame else X)
        else:
            columns = self._columns
        if categorical:
            X = columns.numbers(
                X,
                name=name,
                allow_missing=allow_missing,
                may_be_missing=may_be_missing,
                unknown="error" if training else self.handle_unknown,
            )
        X = _validation.check_bounds(X, columns.unit, name, training=training)
        return X, columns

    def _check_fitted_input(self, X, allow_missing=None):
        """Validate rows for a fitted estimator."""
        check_is_fitted(self)
        X, _ = self._read(X, reset=False, training=False, allow_missing=allow_missing)
        return X

    def _values(self, states):
        """Turn states or means of the visible units into what the user knows."""
        numbers = self.machine_.units[0].decode(states)
        return self._columns.values(numbers, _validation.output_container(self))

    def _log_partition(self, totals=None):
        """Log Z of the trained machine and its standard error."""
        return likelihood.log_partition(
            self.machine_, totals=totals, **self._annealing()
        )

    def _annealing(self):
        """Give the settings with which the trained machine is annealed."""
        return {
            "n_chains": self.n_annealing_chains,
            "n_temperatures": self.n_temperatures,
            "seed": self._annealing_seed,
            "n_jobs": self.n_jobs,
        }

    def _begin(self, *, keep_seed):
        """Draw the seeds of a fit, that of the annealing first.

        So the score of a machine depends on `random_state` alone, whether the
        estimator trained the machine or wraps it.
        """
        rng = check_random_state(self.random_state)
        annealing_seed = int(rng.randint(2**31))
        if not keep_seed:
            self._annealing_seed = annealing_seed
        # A fit that goes on shall not draw what the last one drew.
        seeds = _spawn(rng, len(_STREAMS), self.n_iter_ if keep_seed else 0)
        return dict(zip(_STREAMS, seeds, strict=True))

    def _hold_out(self, X, seed):
        """Split off the rows that early stopping watches.

        With them come training rows to compare them with, as many if there are.
        """
        if not self.early_stopping:
            return X, None
        n_held_out = int(np.ceil(self.validation_fraction * X.shape[0]))
        if n_held_out >= X.shape[0]:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {X.shape[0]} rows "
                "leaves no row to train on; give more rows or a smaller fraction, or "
                "turn early_stopping off."
            )
        order = generator(seed).permutation(X.shape[0])
        held_out, training = order[:n_held_out], order[n_held_out:]
        watched = X[np.sort(held_out)], X[np.sort(training[:n_held_out])]
        return X[np.sort(training)], watched

    def _options(self, n_rows):
        """Gather what the update of one batch depends on."""
        return Options(
            batch_size=min(self.batch_size, n_rows),
            momentum=self.momentum,
            alpha=self.alpha,
            n_gibbs_steps=self.n_gibbs_steps,
            n_mean_field_steps=self.n_mean_field_steps,
            n_posterior_gibbs_steps=self.n_posterior_gibbs_steps,
            mean_field_tol=self.mean_field_tol,
        )

    def _initial_machine(self, X, unit, hidden, seed):
        """Make the start: small random weights, the data means in the biases."""
        rng, sizes = generator(seed), (unit.width(X.shape[1]), *hidden)
        upper = self._hidden_units(len(hidden))
        resting = [
            kind.resting_bias(size, INITIAL_ACTIVITY)
            for kind, size in zip(upper, hidden, strict=True)
        ]
        return DeepBoltzmannMachine(
            [
                rng.normal(0, INITIAL_SCALE / np.sqrt(below), (below, above))
                for below, above in pairwise(sizes)
            ],
            [unit.bias_of_data(state_means(unit, X), X.shape[0]), *resting],
            [unit, *upper],
        ).astype(TRAINING_DTYPE)

    def _hidden_units(self, n_layers):
        """Unit types of the hidden layers."""
        if isinstance(self.hidden, str):
            return [Bernoulli()] * n_layers
        if isinstance(self.hidden, UnitType):
            return [self.hidden] * n_layers
        if len(self.hidden) != n_layers:
            raise ValueError(
                f"hidden names {len(self.hidden)} unit types for {n_layers} hidden "
                "layers; give one for each, or one for all."
            )
        return list(self.hidden)

    def _n_epochs(self, n_rows):
        """Give the number of epochs of joint training, worked out if it is None."""
        if self.max_iter is not None:
            return self.max_iter
        n_batches = -(-n_rows // self.batch_size)
        lowest, highest = UPDATES_BETWEEN
        n_epochs = np.clip(EPOCHS, -(-lowest // n_batches), highest // n_batches)
        return int(np.clip(n_epochs, *EPOCHS_BETWEEN))

    def _first_learning_rate(self, unit, n_above):
        """Give the learning rate at the start, worked out if it is "auto"."""
        if self.learning_rate_init == "auto":
            return unit.automatic_rate(self.n_features_in_, n_above)
        return self.learning_rate_init

    def _at_a_stable_rate(self, learn, rate, team, progress):
        """Call `learn(rate, team)`, with smaller rates where the automatic diverges."""
        n_slower = SLOWER_ATTEMPTS if self.learning_rate_init == "auto" else 0
        for n_left in reversed(range(n_slower + 1)):
            try:
                learn(rate, team)
            except DivergenceError:
                if not n_left:
                    raise
            else:
                return
            slower = float(f"{rate / SLOWER_BY:.2g}")
            warn(
                f"Training diverged with the automatic learning rate of {rate:.2g} and "
                f"begins again with {slower:g}; learning_rate_init={slower:g} saves "
                "what it took. Columns that determine each other, and hidden layers "
                "far wider than the data, need small rates.",
                ConvergenceWarning,
            )
            rate = slower
            progress.begin_again()

    def _new_trainer(self, machine, n_rows, seed, chains=None):
        return Trainer(machine, self.n_chains, self._options(n_rows), seed, chains)

    def _continued_trainer(self, n_rows, seed):
        """Take up the training of this estimator where it stopped."""
        sizes = self._check_layers()
        if sizes != self.machine_.layer_sizes[1:]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r}, but the machine to "
                f"train on has {self.machine_.layer_sizes[1:]} hidden units. Use a "
                "clone, or fit with warm_start=False."
            )
        if self._trainer is not None and self.n_chains != len(self._trainer.chains[0]):
            raise ValueError(
                f"n_chains={self.n_chains}, but the training that is to go on has "
                f"{len(self._trainer.chains[0])} chains. Use a clone, or fit with "
                "warm_start=False."
            )
        if self._trainer is None:
            seed = seed or _spawn(check_random_state(self.random_state), 1)[0]
            machine = self.machine_.astype(TRAINING_DTYPE)
            return self._new_trainer(machine, n_rows, seed)
        trainer = copy.deepcopy(self._trainer)  # an error leaves the old one as it is
        trainer.configure(self._options(n_rows))
        return trainer

    def _pretrain(self, machine, n_epochs, seeds, loop):
        """Prepare the start of the joint training: a machine, and chains or None."""
        progress, seed = loop["progress"], seeds["pretraining"]

        def trained(start, stage, chains=None, **changed):
            progress.enter(f"pretraining {stage}")
            child = seed.spawn(1)[0]
            source = changed.get("source", loop["source"])
            trainer = self._new_trainer(start, len(source), child, chains)
            train(trainer, n_epochs=n_epochs, **(loop | changed))
            return trainer.snapshot(TRAINING_DTYPE), trainer.chains

        def train_pair(pair, source):
            stage = f"pair {seed.n_children_spawned + 1}"
            return trained(pair, stage, source=source)[0]

        def train_machine(part, chains):
            # The rate stays: the next stage goes on with all that is in this machine,
            # and begins with that rate.
            stage = f"layer {part.n_layers - 1}"
            return trained(part, stage, chains, schedule="constant")

        if self.pretraining == "grow":
            return grow(machine, train_machine)
        carry = generator(seeds["carrying"])
        return greedy(machine, loop["source"], train_pair, carry), None

    def _train(self, trainer, dtype, watched, n_epochs, loop):
        """Train all layers together and adopt what comes out."""
        progress = loop["progress"]
        before = getattr(self, "history_", {}) if self.warm_start else {}
        records, stopping = [], watched and self._early_stopping(watched, loop)

        def watch(record):
            records.append(record)
            stop = stopping and stopping.update(
                record,
                lambda: trainer.snapshot(TRAINING_DTYPE),
                last=len(records) == n_epochs,
            )
            if self.monitor is None:
                return stop
            asked = self.monitor(record, lambda: trainer.snapshot(dtype))
            return stop or asked

        def attributes():
            machine = trainer.snapshot(dtype)
            return self._attributes(machine, None, _appended(before, records))

        progress.enter("training", watch=watch, fitted_attributes=attributes)
        train(trainer, n_epochs=n_epochs, **loop)
        if stopping and stopping.best_machine is not None:
            trainer.restart_from(stopping.best_machine)
        self._adopt(trainer.snapshot(dtype), trainer, _appended(before, records))
        if progress.interrupted:
            warn(
                f"Training was interrupted after {len(records)} of {n_epochs} epochs; "
                "the model is what was learned until then.",
                RuntimeWarning,
            )
        elif stopping and len(records) == n_epochs and not stopping.stopped:
            warn(
                f"early_stopping did not end the training within max_iter={n_epochs} "
                "epochs; raise max_iter if the held-out score was still rising.",
                ConvergenceWarning,
            )

    def _early_stopping(self, watched, loop):
        """Make what judges the epochs by their scores of the watched rows."""
        team = loop["team"]
        followed = likelihood.FollowedLogPartition(
            n_chains=self.n_annealing_chains,
            n_temperatures=self.n_temperatures,
            random_state=self._annealing_seed,
        )

        def scores(machine):
            logs = self._watched_log_partitions(machine, watched, followed, team)
            return [
                float(self._scores(machine, X, log_z, n_jobs=team.n_threads).mean())
                for X, log_z in zip(watched, logs, strict=True)
            ]

        return EarlyStopping(
            scores,
            every=self.evaluate_every,
            patience=self.n_iter_no_change,
            tol=self.tol,
        )

    def _watched_log_partitions(self, machine, watched, followed, team):
        """Log Z of a machine in training, for each part of the watched rows."""
        totals = [machine.units[0].totals(X) for X in watched]
        if totals[0] is None and not likelihood.prefers_exact(machine):
            log_partition, _ = followed.update(machine, n_jobs=team.n_threads)
            return [log_partition] * len(watched)
        return [
            likelihood.log_partition(
                machine,
                n_chains=self.n_annealing_chains,
                n_temperatures=self.n_temperatures,
                seed=self._annealing_seed,
                n_jobs=team.n_threads,
                totals=of_rows,
            )[0]
            for of_rows in totals
        ]

    def _attributes(self, machine, trainer, history):
        """Gather what makes the estimator a fitted one."""
        return {
            "machine_": machine,
            "history_": history,
            "n_iter_": len(history.get("seconds", ())),
            "_trainer": trainer,
        }

    def _adopt(self, machine, trainer, history):
        """Become a fitted estimator around a machine."""
        if trainer is not None:
            trainer.configure(trainer.options)  # let go of the working memory
        vars(self).update(self._attributes(machine, trainer, history))


#: Consumers of randomness in a fit, each with a stream of its own.
_STREAMS = (
    "held_out",
    "visible",
    "order",
    "chains",
    "weights",
    "pretraining",
    "carrying",
)


def _spawn(rng, n_streams, key=0):
    """Turn a RandomState into independent seeds, others for another key."""
    entropy = [int(word) for word in rng.randint(0, 2**32, size=4, dtype=np.uint32)]
    return np.random.SeedSequence([*entropy, key]).spawn(n_streams)


def _appended(history, records):
    """Add the records of epochs to a history of lists, without changing it."""
    keys = dict.fromkeys([*history, *(key for record in records for key in record)])
    n_before = max((len(values) for values in history.values()), default=0)
    return {
        key: list(history.get(key, [np.nan] * n_before))
        + [record.get(key, np.nan) for record in records]
        for key in keys
    }


def _dense(rows):
    """Give rows as an ndarray."""
    return rows if isinstance(rows, np.ndarray) else rows.toarray()
