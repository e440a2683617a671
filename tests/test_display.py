"""Displays: what they draw is what the machine has, and errors help."""

import subprocess
import sys

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skdbm import DBMSampler, DBMTransformer
from skdbm.display import (
    FiltersDisplay,
    LearningCurveDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    tiles,
)

from ._estimators import small, two_kinds

SHAPE = (2, 4)
QUANTITIES = [
    "reconstruction_error",
    "energy_gap",
    "chain_autocorrelation",
    "effective_chains",
    "least_acceptance",
    "mean_field_sweeps",
    "unconverged",
    "dead_units",
    "weight_norms",
]


@pytest.fixture(scope="module")
def X():
    return two_kinds()


@pytest.fixture(scope="module")
def transformer(X):
    return small(DBMTransformer, hidden_layer_sizes=(6, 5, 4)).fit(X)


@pytest.fixture(scope="module")
def sampler(X):
    return small(DBMSampler).fit(X)


@pytest.fixture(params=["filters", "samples", "chains", "rows", "reconstruction"])
def image_display(request, transformer, sampler, X):
    """A function that makes a display of images with the arguments given."""
    return {
        "filters": lambda **kw: FiltersDisplay.from_estimator(transformer, **kw),
        "samples": lambda **kw: SamplesDisplay.from_estimator(sampler, **kw),
        "chains": lambda **kw: SamplesDisplay.from_chains(sampler, **kw),
        "rows": lambda **kw: SamplesDisplay.from_samples(X, **kw),
        "reconstruction": lambda **kw: ReconstructionDisplay.from_estimator(
            transformer, X, **kw
        ),
    }[request.param]


def images_of(display, shape=SHAPE):
    """Cut the picture that was drawn into lines of images, flattened."""
    picture = np.ma.filled(display.im_.get_array(), np.nan)
    height, width = shape
    framed = np.pad(picture, ((0, 1), (0, 1)), constant_values=np.nan)
    grid = framed.reshape(
        framed.shape[0] // (height + 1), height + 1, -1, width + 1
    ).swapaxes(1, 2)
    assert np.isnan(grid[:, :, -1]).all(), "no gap below an image"
    assert np.isnan(grid[..., -1]).all(), "no gap beside an image"
    images = grid[:, :, :-1, :-1]
    return images.reshape(*images.shape[:2], -1)


# Tiles


def test_tiles():
    rows = np.arange(24.0).reshape(4, 6)
    picture = tiles(rows, (3, 2), n_columns=3)
    assert picture.shape == (2 * 3 + 1, 3 * 2 + 2)
    assert_array_equal(picture[:3, 3:5], rows[1].reshape(3, 2))
    assert_array_equal(picture[4:, :2], rows[3].reshape(3, 2))
    n_pixels_between = picture.size - 6 * 6
    assert np.isnan(picture).sum() == n_pixels_between + 2 * 6  # two places are empty


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (2, 2), (9, 3), (10, 4)])
def test_grid_is_about_square(n_rows, n_columns):
    picture = tiles(np.zeros((n_rows, 4)))
    assert (picture.shape[1] + 1) // 3 == n_columns


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, r"Rows of 8 values are no square image; give image_shape="),
        ((3, 3), r"image_shape=\(3, 3\) does not fit rows of 8 values"),
        ((8,), "two positive integers"),
        ((2, 2, 2), "two positive integers"),
        ((-2, -4), "two positive integers"),
        ((2.0, 4.0), "two positive integers"),
        ("wide", "two positive integers"),
    ],
)
def test_image_shape_that_does_not_fit(image_display, shape, message):
    with pytest.raises(ValueError, match=message):
        image_display(image_shape=shape)
    assert not plt.get_fignums()


@pytest.mark.parametrize("rows", [np.zeros((0, 4)), np.zeros(4), [[[1.0]]]])
def test_rows_that_are_none(rows):
    with pytest.raises(ValueError, match="one image a row"):
        SamplesDisplay.from_samples(rows)
    assert not plt.get_fignums()


def test_columns_that_are_none(X):
    with pytest.raises(ValueError, match="n_columns=0; a positive integer"):
        SamplesDisplay.from_samples(X, image_shape=SHAPE, n_columns=0)


# Figures


def test_new_figure(image_display):
    display = image_display(image_shape=SHAPE)
    assert plt.get_fignums() == [display.figure_.number]
    assert display.ax_.figure is display.figure_
    assert list(display.ax_.images) == [display.im_]


def test_given_axes(image_display):
    figure, axes = plt.subplots(1, 2)
    display = image_display(image_shape=SHAPE, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert not axes[0].images


def test_arguments_for_matplotlib(image_display):
    display = image_display(image_shape=SHAPE, cmap="viridis", vmin=-7)
    assert display.im_.get_cmap().name == "viridis"
    assert display.im_.get_clim()[0] == -7


def test_plot_draws_once_more(image_display):
    display = image_display(image_shape=SHAPE)
    first = display.im_
    assert display.plot(cmap="viridis") is display
    assert display.im_ is not first
    assert_array_equal(display.im_.get_array(), first.get_array())


def test_estimators_stay_as_they_are(transformer, sampler, X):
    before = joblib.hash([vars(transformer), vars(sampler)])
    FiltersDisplay.from_estimator(transformer, layer=3, image_shape=SHAPE)
    SamplesDisplay.from_estimator(sampler, image_shape=SHAPE)
    SamplesDisplay.from_chains(sampler, n_chains=3, thin=7, image_shape=SHAPE)
    ReconstructionDisplay.from_estimator(transformer, X, image_shape=SHAPE)
    LearningCurveDisplay.from_estimator(transformer)
    assert joblib.hash([vars(transformer), vars(sampler)]) == before


# Filters


def test_filters_of_the_first_layer_are_its_weights(transformer):
    display = FiltersDisplay.from_estimator(
        transformer, n_filters=None, image_shape=SHAPE, n_columns=6
    )
    weights = transformer.machine_.weights[0]
    assert_array_equal(images_of(display)[0], weights.T)
    assert_array_equal(display.units, range(6))
    limit = np.abs(weights).max()
    assert_allclose(display.im_.get_clim(), (-limit, limit))


@pytest.mark.parametrize(("layer", "n_matrices"), [(2, 2), (3, 3), (-1, 3), (-3, 1)])
def test_filters_of_deeper_layers_are_carried_down(transformer, layer, n_matrices):
    display = FiltersDisplay.from_estimator(
        transformer, layer=layer, n_filters=None, image_shape=SHAPE
    )
    carried = transformer.machine_.weights[:n_matrices]
    expected = np.linalg.multi_dot(carried) if n_matrices > 1 else carried[0]
    assert_allclose(display.filters, expected.T, rtol=1e-5)


def test_strongest_filters_come_first(sampler):
    display = FiltersDisplay.from_estimator(
        sampler, n_filters=4, image_shape=SHAPE, n_columns=4
    )
    weights = sampler.machine_.weights[0]
    assert_array_equal(images_of(display)[0], weights.T[display.units])
    norms = np.linalg.norm(weights, axis=0)
    assert_allclose(norms[display.units], np.sort(norms)[::-1][:4])


@pytest.mark.parametrize("layer", [0, 4, -4, 1.0, "last"])
def test_layer_that_is_not_there(transformer, layer):
    with pytest.raises(ValueError, match=r"layer=.*from 1 to 3"):
        FiltersDisplay.from_estimator(transformer, layer=layer, image_shape=SHAPE)


@pytest.mark.parametrize("n_filters", [0, 2.5])
def test_number_of_filters(transformer, n_filters):
    with pytest.raises(ValueError, match=r"n_filters=.*positive integer"):
        FiltersDisplay.from_estimator(transformer, n_filters=n_filters)


def test_what_has_no_machine(transformer, X):
    pipeline = make_pipeline(MinMaxScaler(), clone(transformer)).fit(X)
    with pytest.raises(ValueError, match="Pipeline without a machine"):
        FiltersDisplay.from_estimator(pipeline)
    with pytest.raises(NotFittedError):
        FiltersDisplay.from_estimator(DBMTransformer())


# Samples


def test_samples_are_those_of_the_sampler(sampler):
    display = SamplesDisplay.from_estimator(
        sampler, n_samples=7, random_state=3, image_shape=SHAPE, n_columns=4
    )
    drawn = images_of(display).reshape(-1, 8)
    assert_array_equal(drawn[:7], sampler.sample(7, random_state=3))
    assert np.isnan(drawn[7]).all()


@pytest.mark.parametrize("given", [np.asarray, sparse.csr_array, pd.DataFrame, list])
def test_any_rows(X, given):
    display = SamplesDisplay.from_samples(
        given(X[:6]), image_shape=SHAPE, n_columns=3, vmax=2
    )
    assert_array_equal(images_of(display).reshape(6, 8), X[:6])
    assert display.im_.get_clim() == (0, 2)


def test_rows_with_missing_values(X):
    rows = np.where(np.arange(8) == 3, np.nan, X[:4])
    display = SamplesDisplay.from_samples(rows, image_shape=SHAPE)
    assert_array_equal(images_of(display).reshape(4, 8), rows)
    assert display.im_.get_clim() == (0, 1)


@pytest.mark.parametrize(
    "container", ["Int64", "Float64", "object", "int64[pyarrow]", "polars", "list"]
)
def test_rows_with_missing_values_of_every_kind(X, container):
    holes = np.arange(8) == 3
    rows = np.where(holes, np.nan, X[:4])
    values = [[None if np.isnan(v) else int(v) for v in row] for row in rows]
    if container == "polars":
        shown = pl.DataFrame(values, orient="row")
    elif container == "list":
        shown = values
    else:
        names = [f"p{i}" for i in range(8)]
        shown = pd.DataFrame(values, columns=names, dtype=object).astype(container)
    display = SamplesDisplay.from_samples(shown, image_shape=SHAPE)
    assert_array_equal(images_of(display).reshape(4, 8), rows)
    transformer = DBMTransformer(hidden_layer_sizes=3, max_iter=1, random_state=0)
    transformer.set_params(allow_missing=True).fit(rows)
    one, other = (
        ReconstructionDisplay.from_estimator(transformer.fit(X_), X_, image_shape=SHAPE)
        for X_ in (rows, shown)
    )
    assert_array_equal(images_of(one), images_of(other))


def test_a_column_that_holds_no_numbers_is_named(X):
    frame = pd.DataFrame(X[:4]).rename(columns=str).assign(**{"3": list("abcd")})
    with pytest.raises(ValueError, match="Column '3' does not hold numbers"):
        SamplesDisplay.from_samples(frame, image_shape=SHAPE)


def test_chains_over_time(sampler):
    display = SamplesDisplay.from_chains(
        sampler, n_chains=4, n_steps=3, burn_in=6, thin=5, image_shape=SHAPE
    )
    images = images_of(display)
    assert images.shape == (4, 3, 8)
    # The first column is samples; a longer burn-in begins with the same chains.
    first = sampler.sample(4, burn_in=6)
    assert_array_equal(images[:, 0], first)
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["6", "11", "16"]
    assert display.ax_.get_xticks()[1] == 5 + 1.5  # the middle of the second image
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == list("1234")
    assert sampler.n_chains == 10


def test_chains_stand_still_without_sweeps_and_move_with_them(sampler):
    display = SamplesDisplay.from_chains(
        sampler, n_chains=40, n_steps=2, burn_in=0, thin=1, image_shape=SHAPE
    )
    before, after = images_of(display).swapaxes(0, 1)
    assert_array_equal(before, sampler.sample(40, burn_in=0))
    assert np.any(before != after)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("dtype", [float, int, bool])
def test_chains_do_not_depend_on_the_container(X, container, dtype):
    sampler = small(DBMSampler).fit(X.astype(dtype))
    schedule = {"n_chains": 2, "n_steps": 3, "burn_in": 1, "thin": 1}
    schedule["image_shape"] = SHAPE
    plain = images_of(SamplesDisplay.from_chains(sampler, **schedule))
    sampler.set_output(transform=container)
    framed = images_of(SamplesDisplay.from_chains(sampler, **schedule))
    assert_array_equal(framed, plain)


@pytest.mark.parametrize("schedule", [{"burn_in": -1}, {"thin": 0}, {"n_steps": 0}])
def test_schedule_of_chains_is_checked(sampler, schedule):
    (name,) = schedule
    with pytest.raises(ValueError, match=name):
        SamplesDisplay.from_chains(sampler, image_shape=SHAPE, **schedule)
    assert not plt.get_fignums()


def test_samples_of_a_transformer(transformer):
    for make in (SamplesDisplay.from_estimator, SamplesDisplay.from_chains):
        with pytest.raises(ValueError, match=r"DBMSampler\.from_machine"):
            make(transformer)


# Reconstructions


def test_reconstructions_stand_below_the_rows(transformer, X):
    display = ReconstructionDisplay.from_estimator(
        transformer, X[:5], image_shape=SHAPE, n_columns=3
    )
    images = images_of(display)
    back = transformer.inverse_transform(transformer.transform(X[:5]))
    assert images.shape == (4, 3, 8)
    assert_array_equal(images[::2].reshape(-1, 8)[:5], X[:5])
    assert_array_equal(images[1::2].reshape(-1, 8)[:5], back)
    assert np.isnan(images[2:, 2]).all()


def test_one_line_of_reconstructions(transformer, X):
    display = ReconstructionDisplay.from_estimator(
        transformer, X[:5], image_shape=SHAPE
    )
    assert images_of(display).shape == (2, 5, 8)


def test_reconstructions_of_a_pipeline_have_the_units_of_the_data(transformer, X):
    frame = pd.DataFrame(7 * X - 3, columns=[f"pixel{i}" for i in range(8)])
    pipeline = make_pipeline(MinMaxScaler(), clone(transformer))
    pipeline.set_output(transform="pandas").fit(frame)
    display = ReconstructionDisplay.from_estimator(
        pipeline, frame[:5], image_shape=SHAPE
    )
    assert_array_equal(images_of(display)[0], frame[:5])
    plain = transformer.inverse_transform(transformer.transform(X[:5]))
    assert_allclose(images_of(display)[1], 7 * plain - 3, rtol=1e-4)


def test_reconstructions_of_a_sampler(sampler, X):
    with pytest.raises(ValueError, match=r"DBMTransformer\.from_machine"):
        ReconstructionDisplay.from_estimator(sampler, X, image_shape=SHAPE)


def test_reconstructions_of_other_rows(X):
    with pytest.raises(ValueError, match=r"\(5, 8\) and reconstructions \(4, 8\)"):
        ReconstructionDisplay(X[:5], X[:4], image_shape=SHAPE).plot()
    assert not plt.get_fignums()


# Learning curves


def test_learning_curves_are_the_record(transformer):
    display = LearningCurveDisplay.from_estimator(transformer)
    assert list(display.lines_) == QUANTITIES
    assert [len(lines) for lines in display.lines_.values()] == [1] * 7 + [3, 3]
    history = transformer.history_
    for name in QUANTITIES[:7]:
        (line,) = display.lines_[name]
        known = np.isfinite(history[name])  # chains that mix exchange late
        assert known.all() or name == "least_acceptance"
        assert_array_equal(line.get_xdata(), np.flatnonzero(known) + 1)
        assert_array_equal(line.get_ydata(), np.array(history[name])[known])
    norms = [line.get_ydata() for line in display.lines_["weight_norms"]]
    assert_array_equal(np.transpose(norms), history["weight_norms"])
    dead = [line.get_ydata() for line in display.lines_["dead_units"]]
    assert_array_equal(np.transpose(dead), history["dead_units"])
    assert plt.get_fignums() == [display.figure_.number]


def test_validation_scores_are_points_where_there_are_any(X):
    watched = small(
        DBMTransformer, max_iter=5, evaluate_every=2, early_stopping=True, tol=1e-9
    )
    with pytest.warns(UserWarning, match="early_stopping"):
        watched.fit(X)
    display = LearningCurveDisplay.from_estimator(watched)
    assert list(display.lines_) == [*QUANTITIES, "validation_score", "overfitting"]
    (line,) = display.lines_["validation_score"]
    scores = np.array(watched.history_["validation_score"])
    assert np.isnan(scores).any()
    assert display.figure_.axes == display.axes_.tolist()  # nine, and no empty one
    assert_array_equal(line.get_xdata(), 1 + np.flatnonzero(~np.isnan(scores)))
    assert_array_equal(line.get_ydata(), scores[~np.isnan(scores)])
    assert line.get_marker() == "o"


def test_record_with_gaps():
    history = {"energy_gap": [np.nan, 1.0], "weight_norms": [np.nan, (2.0, 3.0)]}
    display = LearningCurveDisplay(history).plot()
    assert [line.get_ydata().tolist() for line in display.lines_["weight_norms"]] == [
        [2.0],
        [3.0],
    ]
    assert display.lines_["energy_gap"][0].get_xdata().tolist() == [2]


def test_chosen_quantities_in_given_axes(transformer):
    figure, axes = plt.subplots(2, 1)
    display = LearningCurveDisplay.from_estimator(
        transformer, ax=axes, quantities=["seconds", "energy_gap"], color="k"
    )
    assert display.axes_.tolist() == axes.tolist()
    assert list(display.lines_) == ["seconds", "energy_gap"]
    assert display.lines_["seconds"][0].get_color() == "k"
    assert plt.get_fignums() == [figure.number]


def test_one_quantity_in_one_axes(transformer):
    _, ax = plt.subplots()
    display = LearningCurveDisplay.from_estimator(
        transformer, ax=ax, quantities="learning_rate"
    )
    assert display.axes_.tolist() == [ax]
    assert ax.get_title() == "learning rate"


def test_axes_that_are_too_few(transformer):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="ax has 1 axes for 9 quantities"):
        LearningCurveDisplay.from_estimator(transformer, ax=ax)


@pytest.mark.parametrize("quantities", ["loss", ["energy_gap", "loss"], []])
def test_quantities_that_are_not_there(transformer, quantities):
    with pytest.raises(ValueError, match=r"quantities=.*expected .*'energy_gap'"):
        LearningCurveDisplay.from_estimator(transformer, quantities=quantities)
    assert not plt.get_fignums()


def test_record_of_a_machine_that_was_not_trained(transformer):
    wrapped = DBMTransformer.from_machine(transformer.machine_)
    with pytest.raises(ValueError, match="The record is empty"):
        LearningCurveDisplay.from_estimator(wrapped)


# Without matplotlib

WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
import numpy as np
from skdbm import display
for draw in (
    lambda: display.SamplesDisplay.from_samples(np.eye(4)),
    lambda: display.LearningCurveDisplay({"energy_gap": [1.0]}).plot(),
):
    try:
        draw()
    except ImportError as error:
        print(error)
"""


def test_matplotlib_is_imported_when_needed_and_missed_clearly():
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_MATPLOTLIB],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.count('pip install "skdbm[plot]"') == 2
