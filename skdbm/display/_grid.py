"""What the displays share: images on a grid, checks, axes."""

from math import ceil, isqrt, prod
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._validation import check_count


def tiles(rows, image_shape=None, n_columns=None):
    """Lay rows out as images on a grid, with a pixel between two images.

    Parameters
    ----------
    rows : array-like of shape (n_rows, n_features)
        One image a row, at least one.
    image_shape : tuple of two int, default=None
        Height and width of an image; None means a square.
    n_columns : int, default=None
        Images side by side; None makes the grid about square.

    Returns
    -------
    ndarray of shape (height of the grid, width of the grid)
        The picture; NaN between the images and where the last line has none.

    See Also
    --------
    SamplesDisplay : Draws such a picture.

    Examples
    --------
    >>> from skdbm.display import tiles
    >>> tiles([[1, 2, 3, 4], [5, 6, 7, 8]], n_columns=2)
    array([[ 1.,  2., nan,  5.,  6.],
           [ 3.,  4., nan,  7.,  8.]])
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"The rows have shape {rows.shape}; a 2-D array is expected, with one "
            "image a row and at least one row."
        )
    height, width = resolve_image_shape(rows.shape[1], image_shape)
    if n_columns is None:
        n_columns = isqrt(len(rows) - 1) + 1
    check_count("n_columns", n_columns)
    n_lines = ceil(len(rows) / n_columns)
    grid = np.full((n_lines, n_columns, height + 1, width + 1), np.nan)
    images = rows.reshape(-1, height, width)
    grid.reshape(-1, height + 1, width + 1)[: len(rows), :-1, :-1] = images
    picture = grid.swapaxes(1, 2).reshape(n_lines * (height + 1), -1)
    return picture[:-1, :-1]


def resolve_image_shape(n_features, image_shape):
    """Check the height and width of an image, or take a square."""
    if image_shape is None:
        side = isqrt(n_features)
        if side**2 != n_features:
            raise ValueError(
                f"Rows of {n_features} values are no square image; give "
                f"image_shape=(height, width) with height * width = {n_features}."
            )
        return side, side
    shape = tuple(np.ravel(image_shape).tolist())
    positive = all(isinstance(n, Integral) and n > 0 for n in shape)
    if len(shape) != 2 or not positive or prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not fit rows of {n_features} values; "
            f"expected two positive integers (height, width) whose product is "
            f"{n_features}."
        )
    return shape


def machine_of(estimator):
    """Give the machine of a fitted estimator."""
    check_is_fitted(estimator)
    if not hasattr(estimator, "machine_"):
        raise ValueError(
            f"estimator is a {type(estimator).__name__} without a machine; a fitted "
            "estimator of skdbm is expected (of a Pipeline, give that step)."
        )
    return estimator.machine_


def check_sampler(estimator):
    """Check that an estimator can draw samples."""
    machine_of(estimator)
    if not hasattr(estimator, "sample"):
        raise ValueError(
            f"estimator is a {type(estimator).__name__}, which draws no samples; a "
            "DBMSampler is expected (DBMSampler.from_machine(estimator.machine_) makes "
            "one)."
        )


def grey(rows):
    """Dark on light, over the range of all rows."""
    return {"cmap": "gray_r", "vmin": np.nanmin(rows), "vmax": np.nanmax(rows)}


def centres(n_images, size):
    """Where the middles of the images of one line or column of a grid are."""
    return np.arange(n_images) * (size + 1) + (size - 1) / 2


def pyplot():
    """Import matplotlib, which is needed for nothing else in the package."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Displays need matplotlib; install it by pip install "skdbm[plot]".'
        ) from error
    return plt


def draw(display, ax, picture, kwargs):
    """Draw a picture into axes and note where it went."""
    plt = pyplot()
    if ax is None:
        height, width = picture.shape
        size = (6.4, float(np.clip(6.4 * height / width, 1, 8)))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    display.im_ = ax.imshow(picture, **kwargs)
    ax.set_axis_off()
    display.ax_, display.figure_ = ax, ax.figure
    return display
