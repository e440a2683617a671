"""DBMSampler: new data from a deep Boltzmann machine, and its likelihood."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _docstrings, _fitting, _validation, ops, sampling
from ._base import BaseDBM
from .columns import repeated
from .evidence import Evidence
from .pieces.results import in_pieces
from .sampling.annealing import LEAST_CHAINS, chains_given, means_of

#: Most chains that run side by side where every row has its own.
_CHAINS_AT_ONCE = 4096


@_docstrings.shared
class DBMSampler(BaseDBM):
    """Samples from a deep Boltzmann machine.

    Learns the distribution of unlabelled rows, draws new rows from it, and scores
    rows by an estimate of their log-likelihood.

    Parameters
    ----------
    <parameters>

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
    >>> sampler = DBMSampler(hidden_layer_sizes=(4, 2), max_iter=300, random_state=0)
    >>> sampler.fit(X).sample(3).shape
    (3, 4)
    >>> bool(sampler.score([[1, 1, 0, 0]]) > sampler.score([[1, 0, 1, 0]]))
    True
    """

    def sample(self, n_samples=1, *, given=None, burn_in=100, random_state=None):
        """Draw new rows from the machine.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; with `given`, for each of its rows.
        given : array-like of shape (n_rows, n_features), default=None
            Rows with missing values (NaN). What is known stays as it is, and what is
            missing is drawn given it.
        burn_in : int, default=100
            Gibbs sweeps from where a chain begins to the row that is taken. They
            refresh a row that others share its beginning with.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None means `self.random_state`.

        Returns
        -------
        {ndarray, DataFrame} of shape (n_samples, n_features)
            The rows, in the dtypes that `fit` saw; a DataFrame if `set_output` asks for
            it. With `given`, n_rows * n_samples rows, those of the first row first,
            and what is known has the dtypes of `given`.

        Raises
        ------
        ValueError
            If `given` or another argument is not valid.

        Notes
        -----
        Every row has a chain of its own. Gibbs chains hardly cross from one kind of
        data to another, so what they begin with decides the shares of the kinds. They
        begin with the chains that were annealed for log Z, drawn by their importance
        weights, or for small machines with exact samples; the chains of the training
        play no part. Of some thousand annealed chains 2000 are kept, so that more rows
        share beginnings; fewer begin with chains evenly spaced among them, so that
        kinds have their shares then, too. They are not pickled; after unpickling, the
        first call anneals anew, which gives the same. With `given`, chains are annealed
        for each row that has gaps, knowing the rest.

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
        self._validate_params()
        _validation.check_count("n_samples", n_samples)
        _validation.check_count("burn_in", burn_in, least=0)
        if given is not None:

            def draw(states, **settings):
                settings["n_sweeps"] = burn_in
                return sampling.gibbs_sweeps(self.machine_, states, **settings)[0]

            return self._complete(given, n_samples, random_state, draw, n_samples)
        [rows] = self._chains_over_time(n_samples, [burn_in], random_state)
        return rows

    @in_pieces
    def impute(self, X, *, n_chains=10, burn_in=100, n_sweeps=100, random_state=None):
        """Fill missing values with their means given the values that are known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Pieces
            Rows with missing values (NaN).
        n_chains : int, default=10
            Gibbs chains for each row with missing values. They begin with states that
            were annealed given what is known, drawn by their importance weights.
        burn_in : int, default=100
            Gibbs sweeps of every chain before it averages.
        n_sweeps : int, default=100
            Gibbs sweeps of which the means are averaged.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None means `self.random_state`.

        Returns
        -------
        {ndarray, DataFrame} of shape (n_samples, n_features), or Results
            The rows without gaps: what was known as it was, in its dtype, conditional
            means, rounded in columns of integers, and of a categorical column the most
            probable value. Real columns with long tails are bent in the machine: there
            it is the value at the mean, near the median. A DataFrame if `set_output`
            asks for it, with the index of `X`.

        Raises
        ------
        ValueError
            If `X` or another argument is not valid, or no dtype holds both what is
            known of a column and what is filled in.

        See Also
        --------
        sample : With `given`, draws what is missing instead.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm import DBMSampler
        >>> X = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], 50, axis=0)
        >>> sampler = DBMSampler(hidden_layer_sizes=4, max_iter=300, random_state=0)
        >>> sampler = sampler.fit(X)
        >>> sampler.impute([[1, np.nan, 0, np.nan]]).round()
        array([[1., 1., 0., 0.]])
        """
        check_is_fitted(self)
        self._validate_params()
        _validation.check_count("n_chains", n_chains)
        _validation.check_count("burn_in", burn_in, least=0)
        _validation.check_count("n_sweeps", n_sweeps)

        def average(states, **settings):
            settings |= {"burn_in": burn_in, "n_sweeps": n_sweeps}
            means = sampling.conditional_means(self.machine_, states, **settings)
            return means.reshape(-1, n_chains, means.shape[1]).mean(axis=1)

        return self._complete(X, n_chains, random_state, average, 1)

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

    def _complete(self, X, n_chains, random_state, function, per_row):
        """Fill gaps by chains that know the rest, some for each row that has gaps."""
        X, data = self._read(X, allow_missing=True)
        encoding, unit = self.machine_.encoding, self.machine_.units[0]
        if unit.totals(X) is not None:
            raise ValueError(f"{unit!r} units share a total and cannot be missing.")
        X = ops.dense(X)
        gaps = np.isnan(X)
        start, seed = self._start_seeds(random_state)
        means = means_of(self.machine_, start, self.n_jobs)
        drawn = np.repeat(X, per_row, axis=0)
        incomplete = np.flatnonzero(gaps.any(axis=1))
        at_once = max(1, _CHAINS_AT_ONCE // max(n_chains, LEAST_CHAINS))
        for i in range(0, len(incomplete), at_once):
            rows = incomplete[i : i + at_once]
            evidence = Evidence.of_rows(self._rows(X)[rows])
            first, second = seed.spawn(2)
            with ops.workers(self.n_jobs) as team:
                states = chains_given(
                    self.machine_, means, evidence, n_chains, first, team
                )
            filled = function(
                states,
                evidence=evidence[np.repeat(np.arange(len(rows)), n_chains)],
                random_state=second,
                n_jobs=self.n_jobs,
            )
            places = (rows[:, None] * per_row + np.arange(per_row)).ravel()
            drawn[places] = encoding.decode(filled.astype(np.float64))
        return self._columns.completed(
            repeated(data, per_row),
            drawn,
            np.repeat(gaps, per_row, axis=0),
            _validation.output_container(self),
        )

    def _chains_over_time(self, n_chains, sweeps, random_state):
        """Yield the rows of some chains after so many sweeps, and so many more, ..."""
        start, seed = self._start_seeds(random_state)
        states = self._log_partition().samples(n_chains, start, n_jobs=self._team)
        states = [state.astype(self.machine_.dtype, copy=False) for state in states]
        for n_sweeps in sweeps:
            sampling.gibbs_sweeps(
                self.machine_,
                states,
                n_sweeps,
                random_state=seed.spawn(1)[0],
                n_jobs=self.n_jobs,
            )
            numbers = self.machine_.encoding.decode(states[0].astype(np.float64))
            yield self._columns.samples(numbers, _validation.output_container(self))

    def _start_seeds(self, random_state):
        """Seeds of the start and of the sweeps of some chains."""
        if random_state is None:
            random_state = self.random_state
        return ops.spawn(check_random_state(random_state), 2)

    def _failure(self, X):
        return _fitting.shortfall(self, X)

    def _finish(self, *, complete):
        for name in ("log_partition_", "log_partition_std_"):
            vars(self).pop(name, None)
        if not complete:
            return
        try:
            estimate = self._kept_log_partition.of(n_jobs=self._team)
        except KeyboardInterrupt as interrupt:
            raise _validation.TrainingInterrupted(
                "in the estimation of log Z, which score_samples will make up for; the "
                "estimator is fitted"
            ) from interrupt
        self._kept_log_partition.settle()
        self.log_partition_, self.log_partition_std_ = estimate
