"""The score of rows: what estimators say of how likely they are."""

import numpy as np
from sklearn.utils.metaestimators import available_if

from . import _fitting, _validation, ops
from .columns import supposed
from .likelihood.log_partition import LogPartition
from .likelihood.scores import log_likelihood
from .pieces.results import in_pieces, mean, parts


def has_counts(estimator):
    """Whether columns share a total, as counts do; then nothing can be missing."""
    return not all(kind.may_be_missing for kind in supposed(estimator.visible))


class Scored:
    """Scores of rows, for estimators that have `machine_` and keep its log Z."""

    @in_pieces
    def score_samples(self, X, *, n_importance_samples=None):
        """Compute the score of every row: an estimate of log p(v), or a lower bound.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Pieces
            Rows to score.
        n_importance_samples : int, default=None
            Samples of the posterior of each row, of which the estimate of log p(v) is
            made; 0 means the variational lower bound, None the number in `likelihood`,
            which is 10 by default.

        Returns
        -------
        ndarray of shape (n_samples,), or Results
            Estimates or lower bounds of the log-likelihood in nats, float64; higher is
            better. For one hidden layer, and nothing missing, they are log p(v) itself,
            up to the error of log Z. Probabilities of states are scored by states that
            are drawn with them, once; of real values it is the density as they are in
            `X`; missing values are averaged over; counts are scored given their total.
            Of data that are read in pieces `skdbm.pieces.Results`, computed as they are
            read.

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
        _validation.check_n_importance_samples(n_importance_samples)
        return self._score(X, n_importance_samples)

    def _score(self, X, n_importance_samples=None):
        """Score rows that have been validated."""
        if n_importance_samples is None:
            n_importance_samples = self._setting("likelihood").n_importance_samples
        totals = self.machine_.units[0].totals(X)
        log_partition, error = self._log_partition().of(totals, n_jobs=self._team)
        scores = self._log_likelihood(X, log_partition, n_importance_samples)
        _fitting.check_possible(self, X, scores, error, n_importance_samples)
        return scores

    def _log_likelihood(self, X, log_partition, n_importance_samples):
        """Estimates or bounds of log p of rows that have been validated."""
        return log_likelihood(
            self.machine_,
            X,
            log_partition,
            self._setting("likelihood"),
            self._annealing_seed,
            n_importance_samples=n_importance_samples,
            n_jobs=self.n_jobs,
        )

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
        return mean(self.score_samples(X))

    @available_if(has_counts)
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
        surprise, n_words = 0.0, 0
        for part in parts(X):
            rows = self._check_fitted_input(part)
            unit = self.machine_.units[0]
            totals = unit.totals(rows)
            n_words += 0 if totals is None else totals.sum()
            blocks = ops.row_blocks(rows.shape[0], ops.INFERENCE_ROWS)
            ways = -sum(unit.base(ops.dense(rows[block])).sum() for block in blocks)
            surprise += ways - self._score(rows).sum()
        if not n_words:
            raise ValueError("Perplexity is about words: it needs rows that have some.")
        return float(np.exp(surprise / n_words))

    @property
    def _team(self):
        """What computes log Z: so many threads."""
        return self.n_jobs

    def _annealing(self):
        """How log Z is annealed, as `likelihood` is now: chains, and the seed."""
        return self._setting("likelihood").n_chains, self._annealing_seed

    def _log_partition(self):
        """What keeps log Z of the trained machine, for `likelihood` as it is now."""
        if self._digest != _fitting.digest(self.machine_):  # somebody has edited it
            self._digest = _fitting.digest(self.machine_)
            kept = LogPartition(self.machine_, *self._annealing())
            self._kept_log_partition = kept
            self._finish(complete=False)
        return self._kept_log_partition.at(*self._annealing())
