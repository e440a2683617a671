"""Filters, samples and reconstructions as images."""

from numbers import Integral

import numpy as np

from .._validation import check_count
from ..columns import numbers
from ._grid import (
    centres,
    check_sampler,
    draw,
    grey,
    machine_of,
    resolve_image_shape,
    tiles,
)


class FiltersDisplay:
    """What the units of a hidden layer look for, as images.

    The filters of the first hidden layer are its weights. A deeper layer is carried
    down to the visible units by the product of the weights below it: a first, linear
    look at what its units stand for.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, n_features)
        One filter a row, shown from left to right and from top to bottom.
    units : ndarray of int of shape (n_filters,), default=None
        Which unit of the layer each filter belongs to; kept for the reader.
    image_shape : tuple of two int, default=None
        Height and width of an image; None means a square.

    Attributes
    ----------
    im_, ax_, figure_ : AxesImage, Axes, Figure
        The picture, the axes with it, and the figure around them.

    See Also
    --------
    SamplesDisplay : Rows of data as images.

    Examples
    --------
    >>> from skdbm import DBMTransformer
    >>> from skdbm.display import FiltersDisplay
    >>> X = [[0, 1, 1, 0], [1, 0, 0, 1]] * 20
    >>> model = DBMTransformer(hidden_layer_sizes=(3, 2), max_iter=2).fit(X)
    >>> FiltersDisplay.from_estimator(model, layer=2).filters.shape
    (2, 4)
    """

    def __init__(self, filters, *, units=None, image_shape=None):
        self.filters, self.units, self.image_shape = filters, units, image_shape

    @classmethod
    def from_estimator(
        cls, estimator, *, layer=1, n_filters=100, image_shape=None, ax=None, **kwargs
    ):
        """Show the strongest filters of a hidden layer.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator of this package.
        layer : int, default=1
            The hidden layer; 1 is the lowest and -1 the last.
        n_filters : int, default=100
            Most filters shown: those of largest Euclidean norm, the largest first.
            None shows all, in the order of the units.
        image_shape, ax, **kwargs : optional
            As for the class and `plot`.

        Returns
        -------
        FiltersDisplay
            The display, drawn.
        """
        machine = machine_of(estimator)
        n_hidden = machine.n_layers - 1
        if not isinstance(layer, Integral) or not 1 <= abs(layer) <= n_hidden:
            raise ValueError(
                f"layer={layer!r}; expected a hidden layer of the machine, an integer "
                f"from 1 to {n_hidden} (or from -1 to -{n_hidden}, from the top)."
            )
        filters = machine.weights[0][: estimator._n_column_units]
        for weight in machine.weights[1 : layer % (n_hidden + 1)]:
            filters = filters @ weight
        filters = filters.T
        units = np.arange(len(filters))
        if n_filters is not None:
            check_count("n_filters", n_filters)
            strength = np.linalg.norm(filters, axis=1)
            units = np.argsort(-strength, kind="stable")[:n_filters]
        display = cls(filters[units], units=units, image_shape=image_shape)
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, n_columns=None, **kwargs):
        """Draw the filters, all on one scale that is symmetric around zero.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.
        n_columns : int, default=None
            Images side by side; None makes the grid about square.
        **kwargs : dict
            For `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        FiltersDisplay
            The display itself.
        """
        limit = np.nanmax(np.abs(self.filters))
        scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        picture = tiles(self.filters, self.image_shape, n_columns)
        return draw(self, ax, picture, scale | kwargs)


class SamplesDisplay:
    """Samples of a machine, or any rows of data, as images.

    Parameters
    ----------
    rows : array-like of shape (n_rows, n_features)
        One image a row, shown from left to right and from top to bottom.
    image_shape : tuple of two int, default=None
        Height and width of an image; None means a square.
    n_columns : int, default=None
        Images side by side; None makes the grid about square.
    sweeps : sequence of int of length n_columns, default=None
        If rows of the grid are chains and columns are points in time: the number of
        sweeps at each, written below the grid.

    Attributes
    ----------
    im_, ax_, figure_ : AxesImage, Axes, Figure
        The picture, the axes with it, and the figure around them.

    See Also
    --------
    ReconstructionDisplay : Rows above what a machine makes of them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.display import SamplesDisplay
    >>> display = SamplesDisplay.from_samples(np.eye(6), image_shape=(2, 3))
    >>> display.im_.get_array().shape  # three by two images, one pixel between two
    (5, 11)
    """

    def __init__(self, rows, *, image_shape=None, n_columns=None, sweeps=None):
        self.rows, self.image_shape = rows, image_shape
        self.n_columns, self.sweeps = n_columns, sweeps

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        n_samples=100,
        random_state=None,
        image_shape=None,
        n_columns=None,
        ax=None,
        **kwargs,
    ):
        """Draw samples from a machine and show them.

        Parameters
        ----------
        estimator : DBMSampler
            A fitted sampler.
        n_samples : int, default=100
            Number of samples.
        random_state : int, RandomState instance or None, default=None
            Seed, as for `DBMSampler.sample`.
        image_shape, n_columns, ax, **kwargs : optional
            As for the class and `plot`.

        Returns
        -------
        SamplesDisplay
            The display, drawn.
        """
        check_sampler(estimator)
        image_shape = resolve_image_shape(estimator.n_features_in_, image_shape)
        rows = estimator.sample(n_samples, random_state=random_state)
        display = cls(rows, image_shape=image_shape, n_columns=n_columns)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_samples(cls, rows, *, image_shape=None, n_columns=None, ax=None, **kwargs):
        """Show rows that are at hand, samples or data.

        Parameters
        ----------
        rows : {array-like, sparse matrix} of shape (n_rows, n_features)
            One image a row.
        image_shape, n_columns, ax, **kwargs : optional
            As for the class and `plot`.

        Returns
        -------
        SamplesDisplay
            The display, drawn.
        """
        display = cls(numbers(rows), image_shape=image_shape, n_columns=n_columns)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_chains(
        cls,
        estimator,
        *,
        n_chains=10,
        n_steps=10,
        burn_in=1000,
        thin=100,
        random_state=None,
        image_shape=None,
        ax=None,
        **kwargs,
    ):
        """Follow Gibbs chains over time: one chain a row, one point in time a column.

        Chains that mix change from column to column. A row that shows one kind of image
        throughout says that samples of one chain are far from being independent.

        Parameters
        ----------
        estimator : DBMSampler
            A fitted sampler.
        n_chains, n_steps : int, default=10
            Number of chains, and of points in time.
        burn_in, thin : int, default=1000 and 100
            Sweeps before the first column, and between two columns.
        random_state : int, RandomState instance or None, default=None
            Seed, as for `DBMSampler.sample`.
        image_shape, ax, **kwargs : optional
            As for the class and `plot`.

        Returns
        -------
        SamplesDisplay
            The display, drawn.
        """
        check_sampler(estimator)
        check_count("n_chains", n_chains)
        check_count("n_steps", n_steps)
        image_shape = resolve_image_shape(estimator.n_features_in_, image_shape)
        check_count("burn_in", burn_in, least=0)
        check_count("thin", thin)
        sweeps = [burn_in] + [thin] * (n_steps - 1)
        times = list(estimator._chains_over_time(n_chains, sweeps, random_state))
        by_chain = np.stack([numbers(rows) for rows in times], axis=1)
        display = cls(
            by_chain.reshape(n_chains * n_steps, -1),
            image_shape=image_shape,
            n_columns=n_steps,
            sweeps=[burn_in + i * thin for i in range(n_steps)],
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw the images, all on one scale.

        Parameters
        ----------
        ax, **kwargs : optional
            Axes to draw into, those of a new figure by default; the rest is for
            `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        SamplesDisplay
            The display itself.
        """
        rows = numbers(self.rows)
        picture = tiles(rows, self.image_shape, self.n_columns)
        draw(self, ax, picture, grey(rows) | kwargs)
        if self.sweeps is not None:
            height, width = resolve_image_shape(rows.shape[1], self.image_shape)
            n_chains = len(rows) // len(self.sweeps)
            self.ax_.set_axis_on()
            self.ax_.set_frame_on(False)
            self.ax_.tick_params(length=0)
            self.ax_.set_xticks(centres(len(self.sweeps), width), self.sweeps)
            self.ax_.set_yticks(centres(n_chains, height), range(1, n_chains + 1))
            self.ax_.set(xlabel="Gibbs sweeps", ylabel="chain")
        return self


class ReconstructionDisplay:
    """Rows of data above what a machine makes of them, as images.

    Parameters
    ----------
    rows, reconstructions : array-like of shape (n_rows, n_features)
        The data, and what became of each row.
    image_shape : tuple of two int, default=None
        Height and width of an image; None means a square.

    Attributes
    ----------
    im_, ax_, figure_ : AxesImage, Axes, Figure
        The picture, the axes with it, and the figure around them.

    See Also
    --------
    SamplesDisplay : Images without a counterpart.

    Examples
    --------
    >>> from skdbm import DBMTransformer
    >>> from skdbm.display import ReconstructionDisplay
    >>> X = [[0, 1, 1, 0], [1, 0, 0, 1]] * 20
    >>> model = DBMTransformer(hidden_layer_sizes=(3, 2), max_iter=2).fit(X)
    >>> ReconstructionDisplay.from_estimator(model, X[:4]).reconstructions.shape
    (4, 4)
    """

    def __init__(self, rows, reconstructions, *, image_shape=None):
        self.rows, self.reconstructions = rows, reconstructions
        self.image_shape = image_shape

    @classmethod
    def from_estimator(cls, estimator, X, *, image_shape=None, ax=None, **kwargs):
        """Carry rows to features and back, and show both ends.

        Parameters
        ----------
        estimator : DBMTransformer or Pipeline that ends with one
            A fitted estimator with `transform` and `inverse_transform`.
        X : {array-like, sparse matrix} of shape (n_rows, n_features)
            The rows, all of which are shown.
        image_shape, ax, **kwargs : optional
            As for the class and `plot`.

        Returns
        -------
        ReconstructionDisplay
            The display, drawn.
        """
        if not hasattr(estimator, "inverse_transform"):
            raise ValueError(
                f"estimator is a {type(estimator).__name__}, which has no "
                "inverse_transform; a DBMTransformer is expected "
                "(DBMTransformer.from_machine makes one around any machine)."
            )
        rows = numbers(X)
        image_shape = resolve_image_shape(rows.shape[1], image_shape)
        back = numbers(estimator.inverse_transform(estimator.transform(X)))
        return cls(rows, back, image_shape=image_shape).plot(ax, **kwargs)

    def plot(self, ax=None, *, n_columns=10, **kwargs):
        """Draw lines of data, each above the line of its reconstructions.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.
        n_columns : int, default=10
            Images side by side, if there are so many.
        **kwargs : dict
            For `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        ReconstructionDisplay
            The display itself.
        """
        rows, back = numbers(self.rows), numbers(self.reconstructions)
        if rows.shape != back.shape:
            raise ValueError(
                f"rows have shape {rows.shape} and reconstructions {back.shape}; they "
                "must be equal, one reconstruction for every row."
            )
        check_count("n_columns", n_columns)
        n_columns = min(n_columns, len(rows))
        empty = np.full((-len(rows) % n_columns, rows.shape[1]), np.nan)
        lines = [
            np.concatenate([part, empty]).reshape(-1, n_columns, rows.shape[1])
            for part in (rows, back)
        ]
        pairs = np.stack(lines, axis=1).reshape(-1, rows.shape[1])
        picture = tiles(pairs, self.image_shape, n_columns)
        return draw(self, ax, picture, grey(pairs) | kwargs)
