"""The record of a training as curves."""

from math import ceil, isqrt

import numpy as np

from ._grid import machine_of, pyplot

#: What `LearningCurveDisplay` knows how to name, in the order in which it is shown.
_LABELS = {
    "reconstruction_error": "reconstruction error",
    "energy_gap": "energy gap (nats)",
    "chain_autocorrelation": "autocorrelation of the chains",
    "effective_chains": "effective share of the chains",
    "least_acceptance": "acceptance on the ladder",
    "mean_field_sweeps": "mean-field sweeps",
    "unconverged": "share of unconverged batches",
    "dead_units": "share of dead units",
    "weight_norms": "norm of the weights",
    "validation_score": "validation score (nats)",
    "overfitting": "overfitting (nats)",
}


class LearningCurveDisplay:
    """The record of a training, one panel a quantity, over the epochs.

    Parameters
    ----------
    history : dict of str to list
        The record, as in `history_` of a fitted estimator; NaN where it has no value.

    Attributes
    ----------
    lines_ : dict of str to list of matplotlib.lines.Line2D
        What was drawn, by quantity; one line for each layer of "dead_units" and
        "weight_norms".
    axes_, figure_ : ndarray of Axes, Figure
        The panels, in the order of `lines_`, and the figure around them.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores over training set sizes.

    Examples
    --------
    >>> from skdbm import DBMTransformer
    >>> from skdbm.display import LearningCurveDisplay
    >>> X = [[0, 1], [1, 0]] * 20
    >>> model = DBMTransformer(hidden_layer_sizes=(3, 2), max_iter=5).fit(X)
    >>> list(LearningCurveDisplay.from_estimator(model).lines_)
    ['reconstruction_error', 'energy_gap', 'chain_autocorrelation', 'effective_chains',
    'least_acceptance', 'mean_field_sweeps', 'unconverged', 'dead_units',
    'weight_norms']
    """

    def __init__(self, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Show the record of an estimator's training.

        Parameters
        ----------
        estimator : DBMTransformer, DBMSampler or DBMClassifier
            An estimator that was trained by `fit` or `partial_fit`.
        ax, **kwargs : optional
            As for `plot`.

        Returns
        -------
        LearningCurveDisplay
            The display, drawn.
        """
        machine_of(estimator)
        return cls(estimator.history_).plot(ax, **kwargs)

    def plot(self, ax=None, *, quantities=None, **kwargs):
        """Draw one panel for each quantity, without the epochs where it is NaN.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array-like of them, default=None
            Where to draw, one for each quantity; None means a new figure.
        quantities : str or sequence of str, default=None
            Keys of the record. None means every quantity that the estimators document
            for `history_` and the record has, except learning rate and seconds.
        **kwargs : dict
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        LearningCurveDisplay
            The display itself.
        """
        names = self._quantities(quantities)
        axes = _panels(ax, len(names))
        self.lines_ = {
            name: _curve(panel, name, self.history[name], kwargs)
            for name, panel in zip(names, axes, strict=True)
        }
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _quantities(self, quantities):
        """Choose what is shown of the record."""
        if not any(len(values) for values in self.history.values()):
            raise ValueError(
                "The record is empty; expected the history_ of an estimator that was "
                "trained by fit or partial_fit (one made by from_machine has none)."
            )
        if quantities is None:
            return [name for name in _LABELS if name in self.history]
        names = [quantities] if isinstance(quantities, str) else list(quantities)
        if not names or not set(names) <= set(self.history):
            raise ValueError(
                f"quantities={quantities!r}; expected one or more of "
                f"{sorted(self.history)}, what the record has."
            )
        return names


def _panels(ax, n_panels):
    """Give one axes for each panel: those given, or those of a new figure."""
    plt = pyplot()
    if ax is None:
        across = isqrt(n_panels - 1) + 1
        down = ceil(n_panels / across)
        size = (3.2 * across, 2.4 * down)
        _, ax = plt.subplots(
            down, across, figsize=size, squeeze=False, layout="constrained"
        )
        for empty in ax.flat[n_panels:]:
            empty.remove()
        ax = ax.flat[:n_panels]
    axes = np.ravel(ax)
    if len(axes) != n_panels:
        raise ValueError(
            f"ax has {len(axes)} axes for {n_panels} quantities; give one for each, "
            "or choose by `quantities`."
        )
    return axes


def _curve(ax, name, values, kwargs):
    """Draw one quantity over the epochs; one line for each of its columns."""
    width = max((np.size(value) for value in values), default=1)
    table = np.array([np.broadcast_to(value, width) for value in values], dtype=float)
    epochs = 1 + np.arange(len(table))
    lines = []
    for layer, column in enumerate(table.T, start=1):
        there = np.isfinite(column)
        label = {"label": f"layer {layer}"} if width > 1 else {}
        # What was recorded only once in a while gets its points marked.
        style = label if there.all() else label | {"marker": "o", "markersize": 3}
        lines += ax.plot(epochs[there], column[there], **(style | kwargs))
    if width > 1:
        ax.legend()
    ax.set(xlabel="epoch", title=_LABELS.get(name, name.replace("_", " ")))
    return lines
