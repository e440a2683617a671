"""DBMTransformer: what a deep Boltzmann machine makes of data, as features."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from . import _docstrings, _validation
from ._base import BaseDBM
from .evidence import Evidence
from .inference.mean_field import map_posterior, mean_field
from .pieces.results import in_pieces


@_docstrings.shared
class DBMTransformer(TransformerMixin, BaseDBM):
    """Features from a deep Boltzmann machine.

    Learns the distribution of unlabelled rows, and transforms a row into the
    mean-field means of the hidden units: for binary units, the probabilities that
    they are one. It stands where `sklearn.neural_network.BernoulliRBM` would, with
    any number of hidden layers.

    Parameters
    ----------
    <parameters>

    feature_layers : {"last", "all"}, int or array-like of int, default="all"
        Hidden layers whose means are the features: the last, all side by side, or
        those with the given indices, where 1 is the lowest and -1 the last.

    Attributes
    ----------
    <attributes>

    See Also
    --------
    DBMSampler : Draws samples from the machine instead.
    sklearn.neural_network.BernoulliRBM : One hidden layer, without a likelihood.

    Notes
    -----
    Training is stochastic maximum likelihood [1]_ with centred gradients [2]_, [3]_:
    mean field for the data, persistent Gibbs chains for the model, momentum, and an
    average of the weights that leans on the last part of the run. Training and all that
    follows run in float32, results come in the dtype of their input; a machine in
    float64, as ``DBMTransformer.from_machine(machine.astype("float64"))`` has it, makes
    everything run in float64.

    `fit_transform`, `set_output` (features as DataFrames) and `set_callbacks` (progress
    bars, `skdbm.callback.TrainingMonitor`) are those of every scikit-learn transformer.

    References
    ----------
    <references>

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skdbm import DBMTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> pipeline = make_pipeline(
    ...     MinMaxScaler(clip=True),
    ...     DBMTransformer(hidden_layer_sizes=(32, 16), max_iter=5, random_state=0),
    ...     LogisticRegression(max_iter=1000),
    ... )
    >>> pipeline.fit(X[:1000], y[:1000]).predict(X[1000:]).shape
    (797,)
    """

    _parameter_constraints: dict = {
        **BaseDBM._parameter_constraints,
        "feature_layers": _validation.FEATURE_LAYERS,
    }

    def __init__(self, *, feature_layers="all", **params):
        super().__init__(**params)
        self.feature_layers = feature_layers

    # Where scikit-learn, and whoever asks for help, reads the names of all parameters.
    __init__.__signature__ = _docstrings.with_parameters(  # type: ignore[attr-defined]
        BaseDBM.__init__, feature_layers="all"
    )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @in_pieces
    def transform(self, X):
        """Compute the mean-field means of the hidden units.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Pieces
            Rows to transform.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out), or Results
            The means, in the dtype of `X`. The result of a row does not depend on the
            rows beside it. Of data that are read in pieces `skdbm.pieces.Results`,
            computed as they are read.

        Warns
        -----
        ConvergenceWarning
            If mean field did not converge in some rows.
        DataConversionWarning
            If values outside of the range of the visible units were clipped.
        """
        X = self._check_fitted_input(X)
        layers, likelihood = self._feature_layers(), self._setting("likelihood")
        n_features = sum(self.machine_.layer_sizes[layer] for layer in layers)
        features = np.empty((X.shape[0], n_features), X.dtype)

        def write(evidence, part, start):  # in place, so that nothing stands twice
            means = [part.means[layer - 1] for layer in layers]
            np.concatenate(means, axis=1, out=features[start : start + len(means[0])])

        map_posterior(
            self.machine_,
            self._rows(X),
            write,
            tol=likelihood.mean_field_tol,
            max_iter=likelihood.mean_field_max_iter,
            n_jobs=self.n_jobs,
        )
        return features

    def inverse_transform(self, X):
        """Carry features back to means of the visible units.

        The given hidden layers are held at their features, and mean field fills the
        layers between and below.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_out)
            Features, as `transform` gives them.

        Returns
        -------
        {ndarray, DataFrame} of shape (n_samples, n_features)
            Means of the columns, in the dtype of `X`; of a categorical column the most
            probable value; of counts what a row of typical length would have. A
            DataFrame if `set_output` asks for it, with the index of `X`; there real and
            categorical columns have the dtypes that `fit` saw.

        Raises
        ------
        ValueError
            If the number of columns is not that of the features.
        """
        check_is_fitted(self)
        index = getattr(X, "index", None) if hasattr(X, "iloc") else None
        X = check_array(X, dtype=(np.float64, np.float32))
        layers = self._feature_layers()
        sizes = [self.machine_.layer_sizes[layer] for layer in layers]
        if X.shape[1] != sum(sizes):
            raise ValueError(
                f"X has {X.shape[1]} columns; {sum(sizes)} are expected, the features "
                f"of hidden layers {layers} as `transform` gives them."
            )
        parts = np.split(X, np.cumsum(sizes)[:-1], axis=1)
        given = dict(zip(layers, ((part, None) for part in parts), strict=True))
        likelihood = self._setting("likelihood")
        posterior = mean_field(
            self.machine_,
            Evidence(given),
            tol=likelihood.mean_field_tol,
            max_iter=likelihood.mean_field_max_iter,
            n_jobs=self.n_jobs,
        )
        numbers = self.machine_.encoding.decode(posterior.visible.astype(X.dtype))
        container = _validation.output_container(self)
        return self._columns.means(numbers, container, index)

    def get_feature_names_out(self, input_features=None):
        """Name the features after their layer and unit.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Checked against the names seen in `fit`, otherwise unused.

        Returns
        -------
        ndarray of str objects of shape (n_features_out,)
            Names such as "dbmtransformer_h1_0", unit 0 of hidden layer 1.

        Raises
        ------
        ValueError
            If `input_features` are not the names seen in `fit`.
        """
        check_is_fitted(self)
        _validation.check_feature_names_in(self, input_features)
        prefix = type(self).__name__.lower()
        return np.asarray(
            [
                f"{prefix}_h{layer}_{unit}"
                for layer in self._feature_layers()
                for unit in range(self.machine_.layer_sizes[layer])
            ],
            dtype=object,
        )

    def _check_layers(self):
        sizes = super()._check_layers()
        _validation.check_feature_layers(self.feature_layers, len(sizes))
        return sizes

    def _feature_layers(self):
        """Indices of the layers that are the features."""
        return _validation.check_feature_layers(
            self.feature_layers, self.machine_.n_layers - 1
        )
