"""Encodings: columns to states and back, what is learned, drawn and refused."""

import copy
import json
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.linalg import hadamard

from skdbm import units
from skdbm.encodings import (
    Categories,
    Counts,
    Encoding,
    Mixed,
    Probabilities,
    Real,
    States,
    from_spec,
)
from skdbm.encodings.contract import LEADING, RATE
from skdbm.encodings.counts import LARGEST_LENGTH, PRESENTED
from skdbm.encodings.real import EXPLAINED
from skdbm.encodings.rows import DrawnRows, EncodedRows
from skdbm.encodings.ties import PartlyKnown
from skdbm.evidence import Evidence
from skdbm.machine import DeepBoltzmannMachine
from skdbm.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Gaussian,
    Multinomial,
    ReplicatedSoftmax,
)

from ._reference import largest_error
from ._trained import step, trainer_of

nan = np.nan

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_seed = pytest.mark.parametrize("seed", range(3))

REAL = Real(
    loc=[1.0, -20.0, 0.0],
    whitening=[0.5, 10.0, 1.0],
    sharpening=[[1.2, 0.3, 0.0], [-0.2, 1.1, 0.1], [0.0, 0.4, 1.5]],
)
BENT = Real(
    loc=[0.1, -0.2, 0.0],
    whitening=[1.5, 0.8, 1.0],
    sharpening=[[1.2, 0.3, 0.0], [-0.2, 1.1, 0.1], [0.0, 0.4, 1.5]],
    power_transform=[[1.0, -0.5, 0.3], [2.0, 0.7, 1.0], [0.0, 2.0, 0.6]],
)
MIXED = Mixed(
    [(Real([3.0], [2.0]), [2]), (Categories((3,)), [0]), (Probabilities(), [3, 1])]
)

#: Encodings, and the unit types of their states.
ENCODINGS = {
    "probabilities": (Probabilities(), Bernoulli()),
    "probabilities as they are": (Probabilities(redraw=False), Bernoulli()),
    "real": (REAL, Gaussian()),
    "real, bent": (BENT, Gaussian()),
    "real, not fitted": (Real(), Gaussian()),
    "categories": (Categories((3, 2)), Categorical((3, 2))),
    "unknown ones missing": (Categories((3, 2), "missing"), Categorical((3, 2))),
    "counts": (Counts(4, 3), ReplicatedSoftmax(4, 3)),
    "states": (States(Binomial(3)), Binomial(3)),
    "real states": (States(Gaussian()), Gaussian()),
    "mixed": (
        MIXED,
        units.Mixed([(Gaussian(), 1), (Categorical((3,)), 3), (Bernoulli(), 2)]),
    ),
    "mixed states": (
        States(units.Mixed([(Gaussian(), 2), (Binomial(2), 1)])),
        units.Mixed([(Gaussian(), 2), (Binomial(2), 1)]),
    ),
}
each_encoding = pytest.mark.parametrize(
    ("encoding", "unit"), ENCODINGS.values(), ids=ENCODINGS.keys()
)


# Columns and states


@each_dtype
def test_gaussian_columns_are_whitened_and_back(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (2000, 3)) * [1.0, 100.0, 1e-3] + [0.0, -5.0, 1.0]
    X[:, 1] += 80 * X[:, 0]
    X = X.astype(dtype)
    encoding = Real().fit(X)
    states = encoding.encode(X)
    assert states.dtype == dtype
    assert_allclose(states.mean(axis=0), 0, atol=1e-3)
    # Shrinkage leaves a little of the correlations.
    assert_allclose(np.cov(states.T), np.eye(3), atol=0.02)
    back = encoding.decode(states)
    assert back.dtype == dtype
    assert_allclose(back, X, rtol=1e3 * np.finfo(dtype).eps, atol=1e-4)
    room = np.full(X.shape, 7, np.float32)
    assert encoding.encode(X, out=room) is room
    assert_allclose(room, states, rtol=1e-5, atol=1e-5)


def test_no_unit_is_known_by_itself_in_rows_with_gaps():
    X = np.random.default_rng(0).normal(size=(20, 3))
    X[[2, 7], [0, 2]] = nan
    states = Real().fit(X).encode(X)
    assert_array_equal(np.isnan(states), np.tile(np.isnan(X).any(axis=1), (3, 1)).T)


def test_columns_that_do_not_vary_have_the_scale_one():
    X = np.array([[3.0, nan, 1.0], [3.0, nan, 2.0]])
    encoding = Real().fit(X)
    assert_allclose(encoding.loc, [3.0, 0.0, 1.5])
    assert_allclose(encoding.spread, [1.0, 1.0, 0.5])
    assert_allclose(encoding.covariance.diagonal(), [1.0, 1.0, 0.25])
    rounded = np.full((10, 1), 0.1) * 3  # means of it are off by a rounding
    assert_allclose(Real().fit(rounded + 1e6).covariance, 1)


def test_categorical_columns_become_groups_and_back():
    X = np.array([[2.0, 0.0, nan], [nan, 0.0, 1.0], [0.0, 0.0, 3.0]])
    encoding = Categories().fit(X)
    assert encoding.sizes == (3, 1, 4)
    states = encoding.encode(X)
    wanted = [
        [0, 0, 1, 1, nan, nan, nan, nan],
        [nan, nan, nan, 1, 0, 1, 0, 0],
        [1, 0, 0, 1, 0, 0, 0, 1],
    ]
    assert_array_equal(states, wanted)
    whole = np.array([[2.0, 0.0, 1.0], [1.0, 0.0, 3.0]])
    assert_array_equal(encoding.decode(encoding.encode(whole)), whole)
    assert (encoding.width(3), encoding.n_columns(8)) == (8, 3)


@pytest.mark.parametrize("code", [-1.0, 3.0, 0.5])
def test_codes_that_do_not_exist_are_refused(code):
    with pytest.raises(ValueError, match="Codes of categorical columns"):
        Categories((3, 2)).encode(np.array([[code, 0.0]]))


def test_columns_of_mixed_columns_go_to_their_parts_and_back():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.integers(3, size=50),
            rng.random(50) < 0.5,
            rng.normal(3, 2, 50),
            rng.random(50),
        ]
    ).astype(np.float64)
    X[rng.random(X.shape) < 0.2] = nan
    encoding = MIXED.fit(X)
    states = encoding.encode(X)
    assert states.shape == (50, encoding.width(4)) == (50, 6)
    gaussian = (X[:, 2] - np.nanmean(X[:, 2])) / np.nanstd(X[:, 2])
    assert_allclose(states[:, 0], gaussian, rtol=1e-9)
    for code in range(3):
        wanted = np.where(np.isnan(X[:, 0]), nan, X[:, 0] == code)
        assert_array_equal(states[:, 1 + code], wanted)
    assert_array_equal(states[:, 4:], X[:, [3, 1]])
    complete = ~np.isnan(X).any(axis=1)
    assert_allclose(encoding.decode(states[complete]), X[complete], rtol=1e-12)
    room = np.full(states.shape, 7, np.float32)
    encoding.encode(X, out=room)
    assert_allclose(room, states, rtol=1e-6)


def test_counts_are_their_own_states():
    X = np.array([[2.0, 0.0, 1.0], [5.0, 0.0, 0.0]])
    encoding = Counts().fit(X)
    assert encoding == Counts(3, 4) == Counts().fit(sparse.csr_array(X))
    assert_array_equal(encoding.encode(X), X)
    assert_array_equal(encoding.decode(X), X)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_of_long_rows_training_presents_a_part(seed, container):
    rng = np.random.default_rng(seed)
    X = rng.multinomial([40, 10**6, 0, 2**24], [0.5, 0.3, 0.2]).astype(np.float32)
    encoding = Counts().fit(container(X))
    # As long as a vector of length 100, but for the empty row.
    shares = X[[0, 1, 3]] / X[[0, 1, 3]].sum(axis=1, keepdims=True)
    expected = LARGEST_LENGTH / np.sqrt(np.square(shares).sum(axis=1).mean())
    assert encoding.longest == pytest.approx(expected, abs=0.51)
    assert from_spec(encoding.spec()) == encoding != Counts(3, encoding.typical_total)
    draws = np.stack([encoding.draw(X, rng) for _ in range(2000)])
    assert draws.dtype == X.dtype
    assert_array_equal(draws[:, [0, 2]], np.broadcast_to(X[[0, 2]], (2000, 2, 3)))
    totals = draws[:, [1, 3]].sum(axis=2)
    # Even from 0 to the most, and Poisson around that.
    most = PRESENTED * encoding.longest
    mean, variance = most / 2, most**2 / 12
    error = np.sqrt((variance + mean) / 2000)
    assert_allclose(totals.mean(axis=0), mean, atol=4 * error)
    assert_allclose(totals.var(axis=0), variance + mean, rtol=0.1)
    words = draws[:, [1, 3]].sum(axis=0)
    n_words = words.sum(axis=1, keepdims=True)
    error = np.sqrt(shares[1:] / n_words)
    assert (np.abs(words / n_words - shares[1:]) < 4 * error).all()
    room = X.copy()
    assert encoding.draw(room, rng, out=room) is room
    assert room[3].sum() < encoding.longest


def test_rows_like_texts_are_presented_as_they_are():
    X = np.random.default_rng(0).poisson(0.5, (50, 300)).astype(float)
    encoding = Counts().fit(X)
    assert encoding.longest is None
    assert encoding.draw(X, np.random.default_rng(0)) is X
    assert Counts().fit(np.zeros((2, 3))) == Counts(3, 1)


@each_dtype
@pytest.mark.parametrize("real", [REAL, BENT])
def test_log_jacobian_of_real_columns_is_that_of_the_encoding(real, dtype):
    X, h = np.random.default_rng(0).normal(size=(6, 3)).astype(dtype), 1e-3
    slopes = [
        (real.encode(X + h * unit) - real.encode(X - h * unit)) / (2 * h)
        for unit in np.eye(3)
    ]
    wanted = np.linalg.slogdet(np.array(slopes, dtype=np.float64).transpose(1, 0, 2))[1]
    assert_allclose(real.log_jacobian(X), wanted, atol=5e-3)


@each_dtype
def test_log_jacobian_leaves_out_what_is_missing(dtype):
    X = np.random.default_rng(0).normal(size=(6, 4))
    X[:, 0], X[:, [1, 3]] = 1, 0
    X[[0, 1, 1], [2, 0, 2]] = nan
    X = X.astype(dtype)
    real = np.where(np.isnan(X[:, 2]), 0, -np.log(0.5))
    assert_allclose(MIXED.log_jacobian(X), real)
    assert_array_equal(Real().log_jacobian(X), np.zeros(6))
    assert_array_equal(Categories((2,) * 4).log_jacobian(X), np.zeros(6))


def test_learned_gradient_of_mixed_columns_is_that_of_their_parts():
    rng = np.random.default_rng(0)
    states, field = rng.normal(size=(9, 6)), rng.normal(size=(9, 6))
    known = rng.random((9, 6)) < 0.6
    rows, own = PartlyKnown(states, known), PartlyKnown(states[:, :1], known[:, :1])
    wanted = Real([3.0], [2.0]).learned_gradient(own, field[:, :1])
    assert_allclose(MIXED.learned_gradient(rows, field), wanted)
    far_off = Real([3.0], [2.0]).unexplained(own, field[:, :1])
    assert_allclose(MIXED.unexplained(rows, field), far_off)
    assert_array_equal(Probabilities().unexplained(rows, field), np.ones(9))
    assert len(Probabilities().learned_gradient(rows, field)) == 0


def test_parts_of_mixed_columns_learn_from_their_own_ties():
    """Rows with gaps in real columns, which stand beside others."""
    rng = np.random.default_rng(0)
    real = Real([0.0, 1.0], [[1.0, 0.4], [0.2, 2.0]])
    mixed, X = Mixed([(Probabilities(), [0]), (real, [1, 2])]), rng.random((12, 3))
    X[::3, 1] = nan
    rows, alone = (
        EncodedRows(encoding, part, np.float64)[:]
        for encoding, part in ((mixed, X), (real, X[:, 1:]))
    )
    field = rng.normal(size=(12, 3))
    for name in ("learned_gradient", "unexplained"):
        found = getattr(mixed, name)(rows, field)
        assert_allclose(found, getattr(real, name)(alone, field[:, 1:]))
        without = getattr(real, name)(alone._replace(ties=()), field[:, 1:])
        assert not np.allclose(found, without)


def test_learned_sharpening_goes_to_its_part():
    mixed = MIXED.with_learned(np.array([1.7]))
    assert_allclose(mixed.learned, [1.7])
    assert_allclose(mixed.parts[0][0].matrix, [[3.4]])
    assert_allclose(mixed.parts[0][0].covariance, [[3.4**-2]])
    moved = REAL.with_learned(np.arange(9.0) + 5 * np.eye(3).ravel())
    assert_allclose(moved.learned.reshape(3, 3)[1], [3, 9, 5])
    assert_allclose(moved.matrix[1], [1.5, 90, 5])
    assert_allclose(REAL.encode(moved.decode(np.zeros((1, 3)))), 0, atol=1e-9)


def test_real_columns_keep_copies_that_cannot_be_changed():
    loc = np.zeros(2)
    encoding = Real(loc, np.ones(2))
    loc[0] = 9
    assert_array_equal(encoding.loc, [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        encoding.matrix[0, 0] = 2
    with pytest.raises(ValueError, match="read-only"):
        encoding.with_learned(np.eye(2).ravel()).sharpening[0, 0] = 2


def test_rates_fall_with_heavy_tails():
    """By the largest eigenvalue of E[z^2 z z^T] / (n + 2), which is 1 for normal z."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 3))
    assert Real().fit(normal).largest_moment == pytest.approx(1, abs=0.15)
    # Rows that are of variance 4 once in ten times, else of variance 2 / 3.
    wide = normal * np.where(np.arange(2000) % 10, (2 / 3) ** 0.5, 2)[:, None]
    fitted = Real().fit(wide)
    wanted = 0.1 * 4**2 + 0.9 * (2 / 3) ** 2
    assert fitted.largest_moment == pytest.approx(wanted, rel=0.2)
    assert fitted.rate_factor == 0.3 / fitted.largest_moment


# What training presents


@each_seed
@each_dtype
def test_states_are_drawn_by_their_probabilities(dtype, seed):
    p, n_draws = np.array([0.0, 1e-3, 0.3, nan, 0.99, 1.0]), 20_000
    mean = np.tile(p.astype(dtype), (n_draws, 1))
    given = mean.copy()
    draws = Probabilities().draw(mean, np.random.default_rng(seed))
    assert draws.dtype == dtype
    assert_array_equal(mean, given)
    assert np.isnan(draws[:, 3]).all()
    known = draws[:, [0, 1, 2, 4, 5]]
    assert set(np.unique(known)) == {0, 1}
    q = p[[0, 1, 2, 4, 5]]
    bound = largest_error(np.sqrt(q * (1 - q)), n_draws)
    assert np.all(np.abs(known.mean(axis=0) - q) < bound)
    assert_array_equal(known[:, [0, -1]], mean[:, [0, -1]])
    for buffer in (np.full_like(mean, 7), mean):
        rng = np.random.default_rng(seed)
        assert Probabilities().draw(mean, rng, out=buffer) is buffer
        assert_array_equal(buffer, draws)


@pytest.mark.parametrize(
    "encoding",
    [Probabilities(redraw=False), States(Bernoulli()), States(Binomial(2)), Real()],
    ids=repr,
)
def test_states_that_are_not_drawn_stay_as_they_are(encoding):
    states, rng = np.array([[0.3, nan], [1.0, 0.0]]), np.random.default_rng(0)
    before = rng.bit_generator.state
    assert encoding.draw(states, rng) is states
    room = np.empty_like(states)
    assert encoding.draw(states, rng, out=room) is room
    assert_array_equal(room, states)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("where", ["new", "out", "in place"])
def test_parts_of_mixed_columns_are_drawn_each_in_its_way(where):
    encoding = Mixed([(Probabilities(), [0]), (States(Binomial(2)), [1])])
    states = np.tile([0.5, 1.0], (400, 1))
    given = states.copy()
    out = {"new": None, "out": np.empty_like(states), "in place": given}[where]
    draws = encoding.draw(given, np.random.default_rng(0), out=out)
    assert set(draws[:, 0]) == {0, 1}
    assert_array_equal(draws[:, 1], 1)
    assert out is None or draws is out
    if where != "in place":
        assert_array_equal(given, states)


def test_scores_draw_what_values_mean_and_add_no_noise():
    """Of real columns beside probabilities, with gaps and without."""
    real = Real([0.0, 0.0], [1.0, 2.0], shrinkage=0.3)
    encoding = Mixed([(Probabilities(), [0]), (real, [1, 2])])
    X = np.random.default_rng(0).random((30, 3))
    X[::3, 1] = nan
    rows = Evidence.of_rows(DrawnRows(encoding, X, np.float64, 0)[:])
    states, known = rows.layers[0]
    assert set(states[:, 0]) == {0, 1}
    assert len(rows.ties) == 1
    plain = np.nan_to_num(real.encode(np.nan_to_num(X[:, 1:])))
    assert_allclose(states[:, 1:], plain)
    assert_array_equal(known[:, 1], ~np.isnan(X[:, 1]))
    noise = EncodedRows(encoding, X, np.float64, np.random.default_rng(0))
    drawn = Evidence.of_rows(noise.read(np.arange(30))).layers[0][0]
    assert np.abs(drawn[1::3, 1:] - plain[1::3]).min() > 0


# What is said of the columns


@each_encoding
def test_unit_is_that_of_the_states(encoding, unit):
    assert encoding.unit == unit
    assert isinstance(encoding, Encoding)
    n_units = {"Real()": 3}.get(repr(encoding), 3)
    if hasattr(unit, "sizes"):
        n_units = sum(unit.sizes)
    if hasattr(unit, "parts"):
        n_units = sum(n for _, n in unit.parts)
    unit.check_width(n_units)
    assert encoding.width(encoding.n_columns(n_units)) == n_units


@pytest.mark.parametrize("encoding", [Categories(), Counts()], ids=repr)
def test_units_are_not_known_before_the_data(encoding):
    with pytest.raises(ValueError, match="before fit"):
        encoding.unit  # noqa: B018


@each_encoding
def test_spec_survives_json(encoding, unit):
    again = from_spec(json.loads(json.dumps(encoding.spec())))
    assert again == encoding
    assert type(again) is type(encoding)
    assert hash(again) == hash(encoding)
    assert again.unit == unit


@each_encoding
def test_encodings_survive_pickling_and_copies(encoding, unit):
    for again in (pickle.loads(pickle.dumps(encoding)), copy.deepcopy(encoding)):
        assert again == encoding
        assert again.unit == unit
        assert again.rate_factor == encoding.rate_factor


def test_encodings_are_told_apart():
    encodings = [encoding for encoding, _ in ENCODINGS.values()]
    for i, one in enumerate(encodings):
        for j, other in enumerate(encodings):
            assert (one == other) == (i == j)
    assert Real([0.0], [1.0]) != Real([0.0], [2.0])
    assert Real([0.0], [1.0]) == Real(np.zeros(1), np.eye(1), np.eye(1))
    assert Probabilities() != States(Bernoulli())


@pytest.mark.parametrize(
    ("unit", "bounds"),
    [
        (Bernoulli(), (0, 1)),
        (Binomial(3), (0, 3)),
        (Multinomial((2, 3), 4), (0, 4)),
        (Multinomial((2, 3), np.array([4, 7, 5])), (0, 7)),
        (Categorical((2, 3)), (0, 1)),
        (ReplicatedSoftmax(3, 9), (0, np.inf)),
        (Gaussian(), (-np.inf, np.inf)),
    ],
    ids=repr,
)
def test_bounds_of_states_are_those_of_their_units(unit, bounds):
    assert States(unit).bounds == bounds


@pytest.mark.parametrize(
    ("encoding", "rate_factor"),
    [
        (Probabilities(), 1),
        (Categories((3,)), 1),
        (Counts(3, 50), 1),
        (Real(), 0.3),
        (Real(largest_moment=4.0), 0.075),
        (MIXED, 0.3),
        (States(Binomial(3)), 1 / 3),
        (States(Multinomial((2,), 4)), 1 / 4),
        (States(Gaussian()), 0.3),
        (States(Gaussian(2)), 0.15),
        (States(ReplicatedSoftmax(3, 50)), 1),
        (States(units.Mixed([(Gaussian(), 1), (Binomial(2), 1)])), 0.3),
        (States(units.Mixed([(Bernoulli(), 1), (Binomial(2), 1)])), 0.5),
    ],
    ids=repr,
)
def test_share_of_the_learning_rate(encoding, rate_factor):
    assert encoding.rate_factor == pytest.approx(rate_factor)


def balanced(n_columns):
    """Binary columns of variance a quarter, uncorrelated; 64 rows."""
    return (hadamard(64)[:, 1 : n_columns + 1] + 1) / 2


@pytest.mark.parametrize(
    "encoding", [Probabilities(), Categories((2,)), States(Binomial(2))], ids=repr
)
def test_learning_rates_follow_the_variance(encoding):
    few, many = balanced(8), balanced(60)
    assert encoding.learning_rate(few, 10_000) == pytest.approx(LEADING / 0.25)
    assert encoding.learning_rate(many, 10) == pytest.approx(RATE / 15, rel=5e-3)
    assert encoding.learning_rate(few + 5, 10) == pytest.approx(LEADING / 0.25)
    # What columns have in common counts more.
    twice = np.repeat(few, 2, axis=1)
    assert encoding.learning_rate(twice, 10) == pytest.approx(LEADING / 0.5)
    # Where next to nothing varies the rate is limited.
    assert encoding.learning_rate(np.zeros((4, 3)), 10) == RATE


@pytest.mark.parametrize("seed", range(3))
def test_learning_rates_are_those_of_the_covariances(seed):
    rng = np.random.default_rng(seed)
    states = (rng.random((200, 12)) < rng.random(12)).astype(float)
    states[:, :6] = states[:, :1]
    variances = np.linalg.eigvalsh(np.cov(states.T, bias=True))
    expected = min(RATE / max(1, variances.sum()), LEADING / variances.max())
    found = Probabilities().learning_rate(states, 10)
    assert found == pytest.approx(expected, rel=5e-3)  # three digits


def test_missing_states_have_the_means_for_the_learning_rate():
    states = balanced(8)
    holes = np.vstack([states, np.full_like(states, nan)])
    holes = np.hstack([holes, np.full((len(holes), 1), nan)])  # nothing known of one
    assert Probabilities().learning_rate(holes, 10) == pytest.approx(LEADING / 0.125)


def test_learning_rates_fall_with_the_columns_where_means_are_unbounded():
    for encoding in (Real(), States(Gaussian())):
        assert encoding.learning_rate(np.empty((1, 10)), 10) == 0.1
        assert encoding.learning_rate(np.empty((1, 10)), 10_000) == 0.0025
        assert encoding.learning_rate(np.empty((1, 640)), 10) == 0.01


def test_learning_rates_of_counts_follow_what_words_vary_given_the_totals():
    words = np.array([[90.0, 0.0], [0.0, 30.0]])
    alike = np.array([[12.0, 24.0, 0.0], [40.0, 80.0, 0.0]])
    for encoding in (Counts(3, 80), States(ReplicatedSoftmax(3, 80))):
        # Of 90 words 67.5 are expected to be the first, of 30 words 22.5.
        variance = (2 * 22.5**2 + 2 * 22.5**2) / 2
        assert encoding.learning_rate(words, 10) == pytest.approx(4 / variance)
        assert encoding.learning_rate(alike, 10) == pytest.approx(4 / 78)
        wide = np.hstack([words, np.zeros((2, 6000))])
        assert encoding.learning_rate(wide, 10) == pytest.approx(4 / variance)
        for few in (np.zeros((3, 3)), np.eye(3)):
            assert encoding.learning_rate(few, 10) == 0.1


def test_learning_rates_of_mixed_columns_add_up_as_variances_do():
    real, binary = np.zeros((64, 2)), balanced(8)
    states = np.hstack([real, binary])
    mixed = Mixed([(Real(), [3, 1]), (Probabilities(), [0, 2, 4, 5, 6, 7, 8, 9])])
    for encoding in (mixed, States(mixed.unit)):
        expected = 1 / (1 / 0.1 + 1 / (LEADING / 0.25))
        assert encoding.learning_rate(states, 10) == pytest.approx(expected)


def test_real_columns_are_not_doubled():
    real = units.Mixed([(Bernoulli(), 1), (Gaussian(), 1)])
    for encoding in (Real(), MIXED, States(Gaussian()), States(real)):
        assert not encoding.may_be_doubled
    for unit in (Binomial(2), ReplicatedSoftmax(3), Categorical((3,))):
        assert States(unit).may_be_doubled


@pytest.mark.parametrize(
    ("encoding", "values", "message"),
    [
        (Counts(2), [[2.0, 0.5]], "whole numbers; got 0.5"),
        (States(ReplicatedSoftmax(2)), [[2.0, 0.5]], "whole numbers; got 0.5"),
        (States(Multinomial((2,), 3)), [[1.0, 1.0]], "groups of counts with the sum 3"),
        (States(Multinomial((2,), 3)), [[nan, 3.0]], "missing as a whole"),
    ],
)
def test_values_that_do_not_suit_the_encoding(encoding, values, message):
    with pytest.raises(ValueError, match=message):
        encoding.check(np.array(values))


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        (Counts(2), [[2.0, 0.0]]),
        (
            States(Multinomial((2, 2), 3)),
            [[1.0, 2.0, nan, nan], [3.0, 0.0, 0.0, 3.0]],
        ),
        (States(Binomial(2)), [[0.5, nan]]),
        (Real(), [[0.3, nan]]),
    ],
)
def test_values_that_suit_the_encoding(encoding, values):
    encoding.check(np.array(values))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(loc=[0.0]), "both loc and whitening"),
        (lambda: Real(whitening=[1.0]), "both loc and whitening"),
        (lambda: Real([0.0, 1.0], [1.0]), r"whitening.*shape \(2, 2\)"),
        (lambda: Real([[0.0]], [[1.0]]), r"loc.*shape \(1,\)"),
        (lambda: Real([nan], [1.0]), "loc.*finite"),
        (lambda: Real([0.0], [0.0]), "inverted"),
        (lambda: Real([0.0], [1.0], np.eye(2)), "sharpening"),
        (lambda: Real([0.0], [1.0], spread=[1.0, 1.0]), "spread"),
        (lambda: Real(shrinkage=1.5), "0 to 1"),
        (lambda: Real([0.0], [1.0], power_transform=[[0.0], [1.0], [2.1]]), "0 to 2"),
        (lambda: Real([0.0], [1.0], power_transform=[[0.0], [0.0], [1.0]]), "above 0"),
        (lambda: Real([0.0], [1.0], power_transform=[0.0, 1.0]), r"shape \(3, 1\)"),
        (lambda: Categories((0,)), "sizes"),
        (lambda: Categories(handle_unknown="ignore"), "'error' or 'missing'"),
        (lambda: Counts(0), "sizes"),
        (lambda: Mixed([]), "at least one part"),
        (lambda: Mixed([(Probabilities(), [0, 2])]), "Every column must be in one"),
        (lambda: Mixed([(Probabilities(), [0]), (Real(), [0])]), "in one part"),
        (lambda: Mixed([(Probabilities(), [0]), (Counts(1), [1])]), "share a total"),
        (lambda: from_spec({"type": "Unheard"}), "Unknown Encoding 'Unheard'.*Real"),
    ],
)
def test_parameters_that_make_no_encoding(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_encodings_cannot_be_changed():
    for encoding, name in ((Probabilities(), "redraw"), (MIXED, "parts")):
        with pytest.raises(AttributeError):
            setattr(encoding, name, None)


# Encodings of machines


def machine_of(unit, n_units, encoding=None):
    return DeepBoltzmannMachine(
        [np.zeros((n_units, 2))],
        [np.zeros(n_units), np.zeros(2)],
        [unit, Bernoulli()],
        encoding,
    )


def test_columns_of_a_machine_are_states_unless_it_is_told_otherwise():
    machine = machine_of(Gaussian(), 3)
    assert machine.encoding == States(Gaussian())
    other = machine.with_encoding(REAL)
    assert (machine.encoding, other.encoding) == (States(Gaussian()), REAL)
    assert other.weights[0] is machine.weights[0]
    for same in (
        other.map(np.negative),
        other.astype(np.float32),
        other.uncoupled(),
        machine_of(Gaussian(), 3, REAL),
    ):
        assert same.encoding is REAL
    assert machine_of(Bernoulli(), 3).encoding == Probabilities()  # redrawn, as by name
    counts = machine_of(ReplicatedSoftmax(3), 3, Counts(3))
    assert counts.with_totals(np.array([1, 2])).encoding == Counts(3)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (Probabilities(), "Bernoulli.*Gaussian"),
        (Categories(), "before fit"),
        (Real([0.0], [1.0]), "layer has 3 units.*of 1"),
    ],
)
def test_encodings_of_other_units_are_refused(encoding, message):
    for make in (
        lambda: machine_of(Gaussian(), 3, encoding),
        lambda: machine_of(Gaussian(), 3).with_encoding(encoding),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@each_encoding
def test_encodings_survive_files(encoding, unit, tmp_path):
    n_units = sum(unit.sizes) if hasattr(unit, "sizes") else 3
    if hasattr(unit, "parts"):
        n_units = sum(n for _, n in unit.parts)
    machine = machine_of(unit, n_units, encoding)
    machine.save(tmp_path / "machine.npz")
    again = DeepBoltzmannMachine.load(tmp_path / "machine.npz")
    assert again.encoding == encoding
    assert again.units == machine.units


def test_unit_types_of_ones_own_survive_files_once_they_are_imported(tmp_path):
    @dataclass(frozen=True)
    class Own(Binomial):
        """A unit type that only this test knows."""

        n_trials: int = 2

    path = tmp_path / "machine.npz"
    machine_of(Own(3), 4).save(path)
    again = DeepBoltzmannMachine.load(path)
    assert (type(again.units[0]), again.encoding) == (Own, States(Own(3)))
    Own.__name__ = "Renamed"  # as if it had not been imported
    with pytest.raises(ValueError, match=r"'Own'.*import the module") as caught:
        DeepBoltzmannMachine.load(path)
    assert "damaged" not in str(caught.value)


def learning_trainer(X, n_steps):
    encoding = Real().fit(X)
    machine = machine_of(Gaussian(), X.shape[1], encoding)
    machine = machine.map(lambda array: array + 0.1 * (array.ndim == 2))
    options = {"n_mean_field_steps": 1, "mean_field_tol": 0.0}
    trainer = trainer_of(machine, batch_size=10, momentum=0.5, **options)
    rows = EncodedRows(encoding, X, np.float64)
    for _ in range(n_steps):
        batch = rows.read(np.arange(10), trainer.machine.encoding)
        step(trainer, batch, 0.1)
    return trainer


def test_snapshots_have_the_average_of_what_is_learned():
    """Not the newest: the scales of the first steps, averaged as the weights are."""
    X = np.random.default_rng(0).normal(size=(10, 3)) * [1, 2, 3]
    history = [learning_trainer(X, n).machine.encoding.learned for n in range(1, 5)]
    average = learning_trainer(X, 0).machine.encoding.learned
    for n, values in enumerate(history, start=1):
        average = average + 9 / (8 + n) * (values - average)
    snapshot = learning_trainer(X, 4).snapshot().encoding
    assert_allclose(snapshot.learned, average, rtol=1e-12)
    assert np.abs(snapshot.learned - history[-1]).max() > 1e-9


def test_mixed_columns_share_what_did_not_change():
    moved = MIXED.with_learned(np.array([0.7]))
    assert moved.parts[1][0] is MIXED.parts[1][0]
    assert moved.unit is MIXED.unit
    assert MIXED.parts[0][0].sharpening == [[1.0]]


@pytest.mark.parametrize(("n_units", "n_above"), [(6, 4), (6, 6), (4, 40)])
def test_first_weights_of_real_columns_are_orthogonal(n_units, n_above):
    """Together they explain a fifth of the variance, at lengths of at most 1."""
    real = Real()
    W = real.initial_weights(n_units, n_above, np.random.default_rng(0))
    assert W.shape == (n_units, n_above)
    few = W.T if n_above > n_units else W
    squares = few.T @ few
    assert_allclose(squares, squares[0, 0] * np.eye(min(n_units, n_above)), atol=1e-12)
    p = real.initial_activity(n_above)
    lengths = np.square(W).sum(axis=0).mean()
    explained = p * (1 - p) * squares[0, 0]
    assert lengths == pytest.approx(1) or explained == pytest.approx(EXPLAINED)
    assert lengths < 1 + 1e-9
    assert explained < EXPLAINED + 1e-9


def test_first_weights_and_means_of_other_columns():
    assert [Real().initial_activity(n) for n in (4, 50, 1000)] == [0.3, 0.1, 0.02]
    for encoding in (Probabilities(), States(Bernoulli()), Counts(3)):
        weights = encoding.initial_weights(3, 4, np.random.default_rng(1))
        wanted = np.random.default_rng(1).normal(0, 0.3 / 3**0.5, (3, 4))
        assert_array_equal(weights, wanted)
        assert encoding.initial_activity(4) == 0.02
        same, shift, squares = encoding.balanced(weights, np.ones(4), np.ones(4))
        assert same is encoding
        assert not shift.any()
        assert not squares.any()
    weights = MIXED.initial_weights(6, 4, np.random.default_rng(1))
    assert np.square(weights[:1]).sum() == pytest.approx(EXPLAINED / 0.21)
    assert MIXED.initial_activity(4) == 0.3


def test_mixed_columns_balance_each_part_by_itself():
    weights = MIXED.initial_weights(6, 4, np.random.default_rng(0))
    means, variances = np.full(4, 0.3), np.full(4, 0.21)
    moved, shift, squares = MIXED.balanced(weights, means, variances)
    assert_allclose(moved.learned**2, 1 + np.sum(weights[:1] ** 2 * variances))
    assert_allclose(shift, [-0.3 * weights[0].sum(), 0, 0, 0, 0, 0])
    assert_allclose(squares, weights[0] ** 2)
    assert_array_equal(moved.unlearned.learned, [1.0])
