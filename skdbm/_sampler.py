"""DBMSampler: new data from a deep Boltzmann machine, and its likelihood."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _docstrings, _validation, inference, likelihood, ops, sampling
from ._base import TRAINING_DTYPE, BaseDBM, _spawn
from ._warnings import warn

#: Most chains that run side by side where every row has its own.
_CHAINS_AT_ONCE = 4096


@_docstrings.shared
class DBMSampler(BaseDBM):
    """Samples from a deep Boltzmann machine.

    Learns the distribution of unlabelled rows, draws new rows from it, and scores
    rows by a lower bound of their log-likelihood.

    Parameters
    ----------
    <parameters>

    burn_in : int, default=1000
        Gibbs sweeps before the first sample is taken.

    thin : int, default=100
        Gibbs sweeps from one sample of a chain to its next one. There are `n_chains`
        chains at most, so it matters for more samples than that.

    Attributes
    ----------
    <attributes>

    log_partition_ : float
        Log Z of the machine in nats; of counts, that of a row of typical total.
        `partial_fit` removes it, since each call changes the machine; `score_samples`
        then estimates it when it is needed.

    log_partition_std_ : float
        Its standard error in nats; 0 if Z was enumerated.

    See Also
    --------
    DBMTransformer : Computes features with the machine instead.

    Notes
    -----
    Training is stochastic maximum likelihood [1]_ with centred gradients [2]_, [3]_.
    In a Pipeline, samples are carried back through the steps before the sampler by
    ``pipe[:-1].inverse_transform(pipe[-1].sample(n))``.

    References
    ----------
    <references>

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm import DBMSampler
    >>> X = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], 50, axis=0)
    >>> sampler = DBMSampler(hidden_layer_sizes=(4, 2), random_state=0)
    >>> sampler.fit(X).sample(3).shape
    (3, 4)
    >>> bool(sampler.score([[1, 1, 0, 0]]) > sampler.score([[1, 0, 1, 0]]))
    True
    """

    _parameter_constraints: dict = {
        **BaseDBM._parameter_constraints,
        "burn_in": _validation.BURN_IN,
        "thin": _validation.THIN,
    }

    def __init__(
        self,
        *,
        hidden_layer_sizes=(256, 256),
        visible="bernoulli",
        hidden="bernoulli",
        allow_missing=False,
        handle_unknown="error",
        max_iter=None,
        batch_size=50,
        learning_rate="linear",
        learning_rate_init="auto",
        momentum=0.9,
        alpha=1e-4,
        n_chains=100,
        n_gibbs_steps=5,
        n_mean_field_steps=10,
        n_posterior_gibbs_steps=0,
        mean_field_tol=1e-4,
        mean_field_max_iter=500,
        pretraining="greedy",
        pretraining_max_iter=None,
        binarize=True,
        early_stopping=False,
        validation_fraction=0.1,
        evaluate_every=5,
        n_iter_no_change=10,
        tol=0.01,
        monitor=None,
        n_annealing_chains=100,
        n_temperatures=1000,
        n_importance_samples=0,
        warm_start=False,
        random_state=None,
        verbose=0,
        n_jobs=None,
        burn_in=1000,
        thin=100,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible = visible
        self.hidden = hidden
        self.allow_missing = allow_missing
        self.handle_unknown = handle_unknown
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.alpha = alpha
        self.n_chains = n_chains
        self.n_gibbs_steps = n_gibbs_steps
        self.n_mean_field_steps = n_mean_field_steps
        self.n_posterior_gibbs_steps = n_posterior_gibbs_steps
        self.mean_field_tol = mean_field_tol
        self.mean_field_max_iter = mean_field_max_iter
        self.pretraining = pretraining
        self.pretraining_max_iter = pretraining_max_iter
        self.binarize = binarize
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.evaluate_every = evaluate_every
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.monitor = monitor
        self.n_annealing_chains = n_annealing_chains
        self.n_temperatures = n_temperatures
        self.n_importance_samples = n_importance_samples
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.burn_in = burn_in
        self.thin = thin

    def sample(self, n_samples=1, *, given=None, random_state=None):
        """Draw new rows from the machine by Gibbs sampling.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; with `given`, for each of its rows.
        given : array-like of shape (n_rows, n_features), default=None
            Rows with missing values (NaN). What is known stays as it is, and what is
            missing is drawn given it.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None means `self.random_state`.

        Returns
        -------
        {ndarray, DataFrame} of shape (n_samples, n_features)
            The rows, in the dtype that `fit` saw; a DataFrame if `set_output` asks for
            it. With `given`, n_rows * n_samples rows, those of the first row first.

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer, or `given` is not valid.

        Notes
        -----
        Up to `n_chains` chains run side by side. They start from the persistent chains
        of the training; after `from_machine`, from those that were annealed for log Z,
        drawn by their importance weights, or for small machines from exact samples.
        They make `burn_in` sweeps before the first sample and `thin` sweeps between
        two. Rows of different chains are independent up to their start, which several
        may share, and the chains of well-trained machines move slowly between kinds of
        data. What the annealing came to is not pickled; after unpickling, the first
        call anneals anew where there was no training. With `given` every sample has a
        chain of its own, which starts from mean field.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm import DBMSampler
        >>> sampler = DBMSampler(hidden_layer_sizes=3, max_iter=2, random_state=0)
        >>> sampler.fit(np.eye(4)).sample(2).shape
        (2, 4)
        >>> sampler.sample(2, given=[[1, 0, np.nan, np.nan]])[:, :2]
        array([[1., 0.],
               [1., 0.]])
        """
        check_is_fitted(self)
        _validation.check_count("n_samples", n_samples)
        if given is not None:
            return self._complete(
                given, n_samples, random_state, self._draw, per_row=n_samples
            )
        start, seed = self._seeds(random_state)
        n_chains = min(n_samples, self.n_chains)
        machine = self.machine_.astype(TRAINING_DTYPE)
        states = self._start_chains(n_chains, start)
        rows = np.empty((n_samples, machine.layer_sizes[0]), self.machine_.dtype)
        runs = range(0, n_samples, n_chains)
        for first, run_seed in zip(runs, seed.spawn(len(runs)), strict=True):
            n_sweeps = self.thin if first else self.burn_in
            sampling.chains(machine, states, n_sweeps, run_seed, n_jobs=self.n_jobs)
            part = rows[first : first + n_chains]
            part[...] = states[0][: len(part)]
        return self._values(rows)

    def impute(self, X, *, n_chains=10, random_state=None):
        """Fill missing values with their means given the values that are known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing values (NaN).
        n_chains : int, default=10
            Gibbs chains for each row with missing values. Each starts from mean field,
            makes `burn_in` sweeps, and averages the means of `thin` more.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None means `self.random_state`.

        Returns
        -------
        {ndarray, DataFrame} of shape (n_samples, n_features)
            The rows without gaps: what was known as it was, conditional means, and of
            a categorical column the most probable value. A DataFrame if `set_output`
            asks for it.

        Raises
        ------
        ValueError
            If `n_chains` is not a positive integer, or `X` is not valid.

        See Also
        --------
        sample : With `given`, draws what is missing instead.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm import DBMSampler
        >>> X = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], 50, axis=0)
        >>> sampler = DBMSampler(hidden_layer_sizes=4, random_state=0).fit(X)
        >>> sampler.impute([[1, np.nan, 0, np.nan]]).round()
        array([[1., 1., 0., 0.]])
        """
        check_is_fitted(self)
        _validation.check_count("n_chains", n_chains)

        def average(machine, states, known, seed):
            means = sampling.conditional_means(
                machine,
                states,
                known,
                burn_in=self.burn_in,
                n_sweeps=self.thin,
                seed=seed,
                n_jobs=self.n_jobs,
            )
            return means.reshape(-1, n_chains, means.shape[1]).mean(axis=1)

        return self._complete(X, n_chains, random_state, average, per_row=1)

    def set_output(self, *, transform=None):
        """Choose the container of `sample` and `impute`.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            "pandas" or "polars" give a DataFrame with the columns that `fit` saw,
            "default" an array; None changes nothing.

        Returns
        -------
        estimator
            The estimator itself.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _draw(self, machine, states, known, seed):
        """Run chains given what is known, and give their visible states."""
        return sampling.chains(
            machine,
            states,
            self.burn_in,
            seed,
            clamped_columns=known,
            n_jobs=self.n_jobs,
        )[0]

    def _complete(self, X, n_chains, random_state, function, *, per_row):
        """Fill gaps by chains that know the rest, some for each row that has gaps."""
        X = self._check_fitted_input(X, allow_missing=True)
        machine, dtype = self.machine_.astype(TRAINING_DTYPE), self.machine_.dtype
        unit = machine.units[0]
        if unit.totals(X) is not None:
            raise ValueError(f"{unit!r} units share a total and cannot be missing.")
        X = X if isinstance(X, np.ndarray) else X.toarray()
        start, seed = self._seeds(random_state)
        rng, result = ops.generator(start), np.repeat(X, per_row, axis=0)
        incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
        at_once = max(1, _CHAINS_AT_ONCE // n_chains)
        with ops.workers(self.n_jobs):
            for i in range(0, len(incomplete), at_once):
                rows = incomplete[i : i + at_once]
                # Encoded before it is cast: differences may be far smaller than values.
                visible = unit.encode(X[rows]).astype(TRAINING_DTYPE)
                states, known = self._start_given(machine, visible, n_chains, rng)
                filled = function(machine, states, known, seed.spawn(1)[0])
                places = (rows[:, None] * per_row + np.arange(per_row)).ravel()
                part = result[places]
                numbers = unit.decode(filled.astype(dtype))
                result[places] = np.where(np.isnan(part), numbers, part)
        return self._columns.values(
            result.astype(dtype), _validation.output_container(self)
        )

    def _start_given(self, machine, visible, n_chains, rng):
        """Draw all layers of every chain from mean field given what is known."""
        q = inference.posterior(
            machine,
            visible,
            tol=self.mean_field_tol,
            max_iter=self.mean_field_max_iter,
        )
        means = [q.visible, *q.means]
        states = [
            unit.sample(np.repeat(machine.field(layer, means), n_chains, axis=0), rng)
            for layer, unit in enumerate(machine.units)
        ]
        visible = np.repeat(visible, n_chains, axis=0)
        known = ~np.isnan(visible)
        states[0] = np.where(known, visible, states[0])
        return states, known

    def _seeds(self, random_state):
        """Seeds of the start and of the sweeps of some chains."""
        if random_state is None:
            random_state = self.random_state
        return _spawn(check_random_state(random_state), 2)

    def _start_chains(self, n_chains, seed):
        """Copy persistent chains at random, or annealed ones by their weights."""
        if self._trainer is None:
            states = likelihood.annealed_samples(
                self.machine_, n_chains, random_state=seed, **self._annealing()
            )
            return [state.astype(TRAINING_DTYPE, copy=False) for state in states]
        kept = self._trainer.chains
        order = ops.generator(seed).permutation(len(kept[0]))
        return [layer[np.resize(order, n_chains)] for layer in kept]

    def _log_partition(self, totals=None):
        settings = (self.n_annealing_chains, self.n_temperatures)
        if totals is None and getattr(self, "_annealed_with", None) == settings:
            return self.log_partition_, self.log_partition_std_
        return super()._log_partition(totals)

    def _finish(self, *, complete):
        for name in ("log_partition_", "log_partition_std_", "_annealed_with"):
            vars(self).pop(name, None)
        if not complete:
            return
        try:
            estimate = super()._log_partition()
        except KeyboardInterrupt:
            warn(
                "The estimation of log Z was interrupted; score_samples will make up "
                "for it when it is called, and so will sample where there was no "
                "training.",
                RuntimeWarning,
            )
        else:
            self.log_partition_, self.log_partition_std_ = estimate
            self._annealed_with = (self.n_annealing_chains, self.n_temperatures)
