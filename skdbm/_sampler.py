"""DBMSampler: new data from a deep Boltzmann machine, and its likelihood."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _docstrings, _validation, sampling
from ._base import TRAINING_DTYPE, BaseDBM, _spawn
from ._warnings import warn


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
        Log Z of the machine in nats. `partial_fit` removes it, since each call changes
        the machine; `score_samples` then estimates it when it is needed.

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
        max_iter=None,
        batch_size=50,
        learning_rate="linear",
        learning_rate_init="auto",
        momentum=0.9,
        alpha=1e-4,
        n_chains=100,
        n_gibbs_steps=5,
        n_mean_field_steps=10,
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
        n_annealing_chains=100,
        n_temperatures=1000,
        warm_start=False,
        random_state=None,
        verbose=0,
        n_jobs=None,
        burn_in=1000,
        thin=100,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.alpha = alpha
        self.n_chains = n_chains
        self.n_gibbs_steps = n_gibbs_steps
        self.n_mean_field_steps = n_mean_field_steps
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
        self.n_annealing_chains = n_annealing_chains
        self.n_temperatures = n_temperatures
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.burn_in = burn_in
        self.thin = thin

    def sample(self, n_samples=1, *, random_state=None):
        """Draw new rows from the machine by Gibbs sampling.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None means `self.random_state`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The rows, zeros and ones, in the dtype that `fit` saw.

        Notes
        -----
        Up to `n_chains` chains run side by side. They start from the persistent chains
        of the training (from the biases alone after `from_machine`), and make
        `burn_in` sweeps before the first sample and `thin` sweeps between two. Rows of
        different chains are independent up to their common start; the chains of
        well-trained machines move slowly between kinds of data.

        Examples
        --------
        >>> import numpy as np
        >>> from skdbm import DBMSampler
        >>> sampler = DBMSampler(hidden_layer_sizes=3, max_iter=2, random_state=0)
        >>> sampler.fit(np.eye(4)).sample(2).shape
        (2, 4)
        """
        check_is_fitted(self)
        _validation.check_count("n_samples", n_samples)
        if random_state is None:
            random_state = self.random_state
        start, seed = _spawn(check_random_state(random_state), 2)
        n_chains = min(n_samples, self.n_chains)
        machine = self.machine_.astype(TRAINING_DTYPE)
        states = self._start_chains(n_chains, sampling.generator(start))
        rows = np.empty((n_samples, machine.layer_sizes[0]), self.machine_.dtype)
        runs = range(0, n_samples, n_chains)
        for first, run_seed in zip(runs, seed.spawn(len(runs)), strict=True):
            n_sweeps = self.thin if first else self.burn_in
            sampling.chains(machine, states, n_sweeps, run_seed, n_jobs=self.n_jobs)
            part = rows[first : first + n_chains]
            part[...] = states[0][: len(part)]
        return rows

    def _start_chains(self, n_chains, rng):
        """Copy persistent chains chosen at random, or start from the biases."""
        if self._trainer is None:
            machine = self.machine_.astype(TRAINING_DTYPE)
            return sampling.initial_states(machine, n_chains, rng)
        kept = self._trainer.chains
        chosen = np.resize(rng.permutation(len(kept[0])), n_chains)
        return [layer[chosen] for layer in kept]

    def _log_partition(self):
        settings = (self.n_annealing_chains, self.n_temperatures)
        if getattr(self, "_annealed_with", None) == settings:
            return self.log_partition_, self.log_partition_std_
        return super()._log_partition()

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
                "for it when it is called.",
                RuntimeWarning,
            )
        else:
            self.log_partition_, self.log_partition_std_ = estimate
            self._annealed_with = (self.n_annealing_chains, self.n_temperatures)
