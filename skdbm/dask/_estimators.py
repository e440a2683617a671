"""The estimators of this package, trained where the rows are."""

from functools import partial

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .. import _docstrings, _fitting, _validation
from .._checkpoint import Checkpoint
from .._progress import Progress
from .._sampler import DBMSampler
from .._transformer import DBMTransformer
from . import _collections
from ._run import Parts, itself, new_run
from ._team import Cluster

#: Updates that shards make on their own by default; `benchmarks/dask_rounds.py`
#: measures what more of them cost.
UPDATES_PER_ROUND = 10


class DaskDBM:
    """What an estimator does otherwise where its rows are a dask collection."""

    _local_class: type

    @property
    def client_(self):
        """The Dask client: `client`, or else the current one."""
        return _collections.client_of(self.client)

    @property
    def _team(self):
        """What computes log Z: the cluster, if it is there."""
        try:
            return Cluster(self.client_, self.n_jobs)
        except _collections.NoClientError:
            return self.n_jobs

    def __getstate__(self):
        # Clients belong to a process.
        return super().__getstate__() | {"client": None}

    def __sklearn_clone__(self):
        # A client cannot be copied, and need not be.
        client, self.client = self.client, None
        try:
            result = super().__sklearn_clone__()
        finally:
            self.client = client
        result.client = client
        return result

    def _local(self):
        """Give an estimator of one process that is as far as this one."""
        own = set(self.get_params(deep=False))
        theirs = self._local_class().get_params(deep=False)
        result = self._local_class(**{name: getattr(self, name) for name in theirs})
        state = {k: v for k, v in vars(self).items() if k not in own}
        state.pop("_skl_callbacks", None)
        vars(result).update(state)
        return result

    def to_local(self):
        """Give the fitted estimator that needs no Dask.

        Returns
        -------
        DBMTransformer or DBMSampler
            A fitted estimator with the same machine, record and hyper-parameters.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        return self._local()

    def save(self, path):
        """Write `to_local()` to a file, which its class reads by `load`.

        Parameters
        ----------
        path : str or path-like
            Where to write.
        """
        self.to_local().save(path)

    @_validation.fit_method
    def fit(self, X, y=None):
        """Learn the distribution of the rows of `X`, on the workers that hold them.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)
            Training data, with columns as `visible` says. Each partition of rows is a
            shard; partitions without rows are left out.
        y : None
            Ignored; there for API consistency.

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        TypeError
            If `X` is no dask collection.
        ValueError
            If the data or a hyper-parameter is not valid, or there is no client.
        RuntimeError
            If the cluster has no workers, or rows that were scattered are lost with the
            worker that held them.
        FloatingPointError
            If training diverges, with `learning_rate_init="auto"` only after attempts
            with 1/4, 1/16 and 1/64 of the first rate.

        Warns
        -----
        ConvergenceWarning
            As in the estimator without Dask. Warnings about values appear where the
            values are, on the workers.

        Notes
        -----
        After an error the estimator is as it was. An interrupt (Ctrl-C) is raised
        again; if an epoch of the joint training has ended by then, the estimator is
        fitted with what was learned.
        """
        self._check_supported()
        _collections.check_collection(
            X, type(self).__name__, self._local_class.__name__
        )
        client = self.client_
        _collections.check_workers(client)
        parts = Parts(client, X)
        sample = self._read_training(parts.sample(), reset=True)
        run = new_run(self, client, parts, sample)
        del parts  # the run has their rows as numbers
        progress = Progress(self, run, {"X": X, "y": y}, {})
        _fitting.train(self, run, progress, sample, None)
        self._state = None  # it is that of one shard
        progress.close()
        return self

    @property
    def partial_fit(self):
        """None: chunks are for one process."""
        name = type(self).__name__
        raise AttributeError(
            f"{name} has no partial_fit: it learns from all partitions at once. Go on "
            f"with chunks by {name}.to_local().partial_fit, or use "
            f"{self._local_class.__name__} from the start."
        )

    def score_samples(self, X, *, n_importance_samples=None):
        """Compute the score of every row: an estimate of log p(v), or a lower bound.

        Parameters
        ----------
        X : {dask collection, array-like} of shape (n_samples, n_features)
            Rows to score.
        n_importance_samples : int, default=None
            Samples of the posterior of each row, of which the estimate of log p(v) is
            made; 0 means the variational lower bound, None the number in `likelihood`,
            which is 10 by default.

        Returns
        -------
        {dask.array.Array, ndarray} of shape (n_samples,)
            Estimates or lower bounds of the log-likelihood in nats, float64; higher is
            better. Of a dask collection a lazy array, with log Z estimated before.
        """
        if not _collections.is_collection(X):
            return super().score_samples(X, n_importance_samples=n_importance_samples)
        check_is_fitted(self)
        _validation.check_n_features(self, X)
        if n_importance_samples is not None:
            _validation.check_count(
                "n_importance_samples", n_importance_samples, least=0
            )
        kept = self._log_partition()
        kept.of(self._totals(X), n_jobs=self._team)  # once, not once for each part
        kept.settle()
        local = self.to_local().set_params(n_jobs=1)
        settings = {"n_importance_samples": n_importance_samples}
        return _collections.from_parts(
            Applied("score_samples", settings), X, local, None, np.dtype(np.float64)
        )

    def _totals(self, X):
        """Distinct totals of the rows of a collection of counts; None of others."""
        unit, row = self.machine_.units[0], np.zeros((1, self.n_features_in_))
        if unit.totals(row) is None:
            return None
        client = self.client_
        local = client.submit(itself, self.to_local(), pure=False)
        parts = client.compute(_collections.parts_of(X))
        found = [client.submit(distinct_totals, local, part) for part in parts]
        return np.unique(np.concatenate(client.gather(found)))

    def _check_supported(self):
        """Check for what cannot be honoured, before any work."""
        local = self._local_class.__name__
        for name in ("early_stopping", "warm_start"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}=True; {type(self).__name__} cannot do that: leave it "
                    f"False, or fit a {local}."
                )
        callbacks = getattr(self, "_skl_callbacks", ())
        if any(isinstance(callback, Checkpoint) for callback in callbacks):
            raise ValueError(
                "A Checkpoint is set; the workers keep what "
                f"{type(self).__name__} trains, and none is written. Set it on a "
                f"{local}, or leave it out."
            )


def distinct_totals(estimator, part):
    """Distinct totals of the rows of a part."""
    if not part.shape[0]:
        return np.empty(0, int)
    rows = estimator._check_fitted_input(part)
    return np.unique(estimator.machine_.units[0].totals(rows))


class Applied:
    """A method of an estimator as a function of parts, some of which have no rows."""

    def __init__(self, method, settings):
        self.method, self.settings = method, settings

    def __call__(self, estimator, part, rest, dtype):
        """Apply the method to a part: an array of shape (n_rows, *rest)."""
        if not part.shape[0]:
            return np.empty((0, *rest), dtype)
        result = getattr(estimator, self.method)(part, **self.settings)
        return result.astype(dtype, copy=False)


class OfDask:
    """What stands for <dask> and <notes>.

    Dask
    ----
    updates_per_round : int, default=10
        Updates that every shard makes on its own before all are averaged, at most: an
        epoch ends with an average, too. With 1 the gradient is that of the batches of
        all shards together. More of them exchange less, and let shards drift apart;
        what 10 cost is less than what shards gain by larger batches.
    client : distributed.Client, default=None
        The client of the cluster; None means the current one. Clones share it; copies
        and pickles have none.

    Notes
    -----
    `batch_size` rows and `n_chains` chains are those of every shard, so that more
    shards make larger batches. An epoch, and with it `max_iter`, is a pass over the
    largest shard; smaller ones present their rows more often in it, and count by their
    numbers of rows nevertheless. `n_jobs` counts where this process works; a task on a
    worker has one thread. `early_stopping`, `warm_start` and a
    `skdbm.callback.Checkpoint` are errors.

    The first machine, the automatic learning rate and what an encoding learns from data
    (location and covariance of real columns, categories) come from 10,000 rows, drawn
    from all, that are brought to this process, or all rows if there are less.
    Categories that may be missing in those have to be declared by the dtype of the
    column.

    Tasks are pure: they change nothing, and their random streams travel with the state
    of their shard. So Dask may compute what was lost again, to the same bits on the
    same kind of hardware. The client keeps what all shards have come to every 100
    rounds, so that no more than these are computed again.
    """


of_dask = partial(_docstrings.shared, source=OfDask)


@of_dask
@_docstrings.shared
class DaskDBMTransformer(  # type: ignore[call-arg]
    DaskDBM, DBMTransformer, auto_wrap_output_keys=None
):
    """Features from a deep Boltzmann machine that is trained on a Dask cluster.

    The partitions of a dask array or DataFrame are shards, whose rows stay where they
    are. In a round every shard makes some updates with batches of its own rows, from
    chains of its own; then the shards' machines are averaged by their numbers of rows.
    The same partitions and seed give the same machine, bit for bit, on any number of
    workers, and when workers die, if their rows can be read again. One partition, of up
    to 10,000 rows, gives the machine of `DBMTransformer`. `set_output` is not there,
    since features of a collection are dask arrays.

    Parameters
    ----------
    <parameters>

    feature_layers : {"last", "all"}, int or array-like of int, default="all"
        Hidden layers whose means are the features: the last, all side by side, or
        those with the given indices, where 1 is the lowest and -1 the last.
    <dask>

    Attributes
    ----------
    <attributes>

    client_ : distributed.Client
        The client that is used.

    See Also
    --------
    skdbm.DBMTransformer : The same on one machine, and what `to_local` gives.
    DaskDBMSampler : Draws samples from the machine instead.

    Notes
    -----
    <notes>

    References
    ----------
    <references>

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from distributed import Client
    >>> from skdbm.dask import DaskDBMTransformer
    >>> X = da.from_array(np.repeat(np.eye(4), 25, axis=0)[::-1], chunks=(50, 4))
    >>> with Client(n_workers=1, processes=False, dashboard_address=":0") as client:
    ...     transformer = DaskDBMTransformer(
    ...         hidden_layer_sizes=(3, 2), max_iter=2, random_state=0, client=client
    ...     ).fit(X)
    ...     features = transformer.transform(X)  # lazy
    ...     features.compute().shape
    (100, 5)
    >>> type(transformer.to_local()).__name__
    'DBMTransformer'
    """

    _local_class = DBMTransformer

    _parameter_constraints: dict = {
        **DBMTransformer._parameter_constraints,
        **_validation.OF_DASK,
    }

    def __init__(self, *, updates_per_round=UPDATES_PER_ROUND, client=None, **params):
        super().__init__(**params)
        self.updates_per_round = updates_per_round
        self.client = client

    __init__.__signature__ = _docstrings.with_parameters(  # type: ignore[attr-defined]
        DBMTransformer.__init__, updates_per_round=UPDATES_PER_ROUND, client=None
    )

    def transform(self, X):
        """Compute the mean-field means of the hidden units.

        Parameters
        ----------
        X : {dask collection, array-like} of shape (n_samples, n_features)
            Rows to transform.

        Returns
        -------
        {dask.array.Array, ndarray} of shape (n_samples, n_features_out)
            The means, in the dtype of `X`. Of a dask collection a lazy array with its
            partitions.
        """
        if not _collections.is_collection(X):
            return super().transform(X)
        check_is_fitted(self)
        _validation.check_n_features(self, X)
        layers = self._feature_layers()
        width = sum(self.machine_.layer_sizes[layer] for layer in layers)
        local = self.to_local().set_params(n_jobs=1)
        dtype = _collections.float_dtype(X)
        return _collections.from_parts(Applied("transform", {}), X, local, width, dtype)


@of_dask
@_docstrings.shared
class DaskDBMSampler(DaskDBM, DBMSampler):
    """Samples from a deep Boltzmann machine that is trained on a Dask cluster.

    Trained as `DaskDBMTransformer` is, and used as `DBMSampler` is. Chains that
    estimate log Z are on the workers; samples are drawn in this process.

    Parameters
    ----------
    <parameters>
    <dask>

    Attributes
    ----------
    <attributes>

    client_ : distributed.Client
        The client that is used.

    log_partition_ : float
        Log Z of the machine in nats; of counts, that of a row of typical total.

    log_partition_std_ : float
        Its standard error in nats; 0 if Z was enumerated.

    See Also
    --------
    skdbm.DBMSampler : The same on one machine, and what `to_local` gives.
    DaskDBMTransformer : Computes features with the machine instead.

    Notes
    -----
    <notes>

    References
    ----------
    <references>

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from distributed import Client
    >>> from skdbm.dask import DaskDBMSampler
    >>> X = da.from_array(np.repeat(np.eye(4), 25, axis=0)[::-1], chunks=(50, 4))
    >>> with Client(n_workers=1, processes=False, dashboard_address=":0") as client:
    ...     sampler = DaskDBMSampler(
    ...         hidden_layer_sizes=3, max_iter=2, random_state=0, client=client
    ...     ).fit(X)
    ...     scores = sampler.score_samples(X).compute()
    >>> scores.shape, sampler.sample(2).shape
    ((100,), (2, 4))
    """

    _local_class = DBMSampler

    _parameter_constraints: dict = {
        **DBMSampler._parameter_constraints,
        **_validation.OF_DASK,
    }

    def __init__(self, *, updates_per_round=UPDATES_PER_ROUND, client=None, **params):
        super().__init__(**params)
        self.updates_per_round = updates_per_round
        self.client = client

    __init__.__signature__ = _docstrings.with_parameters(  # type: ignore[attr-defined]
        DBMSampler.__init__, updates_per_round=UPDATES_PER_ROUND, client=None
    )
