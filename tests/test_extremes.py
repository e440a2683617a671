"""Values far from one: large offsets, huge numbers, counts without end."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import gammaln

from skdbm import DBMSampler, DBMTransformer
from skdbm.encodings import Counts, Real

SMALL = {"hidden_layer_sizes": 3, "max_iter": 2, "random_state": 0}


def standard(shape=(200, 3), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("offset", "scale"), [(1.7e9, 300.0), (-6e5, 1.0), (2e7, 9)])
def test_offsets_of_float32_are_taken_off(offset, scale):
    X = (offset + scale * standard()).astype(np.float32)
    fitted = DBMTransformer(visible="gaussian", **SMALL).fit(X)
    # The same rows, of which every step is exact: sums of such numbers are not rounded.
    plain = X.astype(np.float64) - np.float32(offset)
    wanted = DBMTransformer(visible="gaussian", **SMALL).fit(plain)
    assert_allclose(fitted.score(X), wanted.score(plain), rtol=1e-4)
    assert_allclose(fitted.transform(X), wanted.transform(plain), atol=1e-4)
    encoding = fitted.machine_.encoding
    states = encoding.encode(X)
    assert states.dtype == np.float32
    exact = (X.astype(np.float64) - encoding.loc) @ encoding.matrix.T
    assert_allclose(states, exact, rtol=1e-6, atol=1e-6)
    assert_array_equal(encoding.decode(states), X)


def test_equal_values_do_not_vary_whatever_their_mean():
    for value in (0.1, 1 / 3, 1e9 / 7, 0.0):
        for dtype in (np.float32, np.float64):
            X = np.full((3001, 2), value, dtype)
            X[::2, 1] = np.nan
            assert_array_equal(Real().fit(X).spread, [1, 1])


def test_huge_values_are_scaled_or_named():
    frame = pd.DataFrame(standard(), columns=list("abc"))
    small = DBMTransformer(visible="gaussian", **SMALL).fit(frame)
    large = DBMTransformer(visible="gaussian", **SMALL).fit(frame * 2.0**300)
    assert_array_equal(large.transform(frame * 2.0**300), small.transform(frame))
    frame["b"] *= 1e200
    for visible in ("gaussian", [("gaussian", ["a", "b"]), ("gaussian", ["c"])]):
        with pytest.raises(ValueError, match=r"Column 'b' holds .*e\+200"):
            DBMTransformer(visible=visible, **SMALL).fit(frame)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["transform", "score", "partial_fit"])
def test_values_that_stand_for_nothing_are_named(dtype, method):
    frame = pd.DataFrame(standard(), columns=list("abc"), dtype=dtype)
    fitted = DBMTransformer(visible="gaussian", **SMALL).fit(frame)
    frame.loc[7, "c"] = -3.4e38
    with pytest.raises(ValueError, match=r"Column 'c' holds -3.4e\+38.*NaN"):
        getattr(fitted, method)(frame)
    with pytest.raises(ValueError, match=r"Column 2 holds -3.4e\+38.*NaN"):
        DBMTransformer.from_machine(fitted.machine_).transform(frame.to_numpy())


def test_columns_without_values_hide_no_others():
    """Nor do gaps in the row that is far out."""
    frame = pd.DataFrame(standard(), columns=list("abc"))
    fitted = DBMTransformer(visible="gaussian", allow_missing=True, **SMALL).fit(frame)
    frame["b"] = np.nan
    frame.loc[7, "c"] = -3.4e38
    with pytest.raises(ValueError, match=r"Column 'c' holds -3.4e\+38.*NaN"):
        fitted.transform(frame)


def test_the_first_chunk_has_to_show_how_real_values_spread():
    X = standard() + np.array([100.0, 5, 3])
    estimator = DBMTransformer(visible="gaussian", **SMALL)
    with pytest.raises(
        ValueError, match=r"\[0, 1, 2\] of real values have one row.*fit"
    ):
        estimator.partial_fit(X[:1])
    assert not hasattr(estimator, "machine_")
    frame = pd.DataFrame(X[:5], columns=list("abc"))
    frame["b"] = 5.0
    with pytest.warns(UserWarning, match=r"\['b'\] of real values do not vary.*fit"):
        estimator.partial_fit(frame)
    visible = [("bernoulli", ["a"]), ("categorical", ["b"])]
    frame["a"] = 1.0
    DBMTransformer(visible=visible, **SMALL).partial_fit(frame[["a", "b"]].iloc[:1])
    DBMTransformer(visible="gaussian", **SMALL).fit(X).partial_fit(X[:1])


@pytest.mark.parametrize("total", [8e7, 1e13])
def test_counts_without_end_are_named_before_training(total):
    X = np.array([[1.0, 2.0], [total / 2, total / 2], [3.0, 4.0]])
    estimator = DBMSampler(visible="counts", **SMALL)
    with pytest.raises(ValueError, match=r"Row 1 of counts.*Divide all counts"):
        estimator.fit(X)
    with pytest.raises(ValueError, match=r"Row 1 of counts.*Divide all counts"):
        estimator.partial_fit(X)
    assert Counts().fit(X[::2]).typical_total == 5


def test_log_z_of_counts_has_an_end():
    X = np.random.default_rng(0).poisson(2.0, (20, 4))
    fitted = DBMSampler(visible="counts", **SMALL | {"hidden_layer_sizes": 25}).fit(X)
    with pytest.raises(ValueError, match="total of 10000000000000; log Z is found up"):
        fitted.score(np.array([[1e13, 0, 0, 0]]))


def topics(total, n_words, seed, n_rows=100):
    """Rows of a total, each about one of three topics that have their own words."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.eye(3), n_words // 3, axis=1) / (n_words // 3)
    words = (own + rng.dirichlet(np.ones(n_words), 3)) / 2
    return rng.multinomial(total, words[rng.integers(3, size=n_rows)]).astype(float)


def scores_of_independent_words(X):
    """Log-probability of the rows, whose words are drawn with their shares in all."""
    shares = X.sum(axis=0) + 1
    log_shares = np.log(shares / shares.sum())
    return gammaln(X.sum(axis=1) + 1) - gammaln(X + 1).sum(axis=1) + X @ log_shares


@pytest.mark.parametrize("n_words", [3, 30])
@pytest.mark.parametrize(("total", "seed"), [(10**4, 0), (10**6, 1), (10**7, 2)])
def test_rows_of_many_words_are_learned_from(total, n_words, seed):
    X = topics(total, n_words, seed)
    params = {"visible": "counts", "hidden_layer_sizes": 4, "random_state": seed}
    fitted = DBMSampler(batch_size=20, max_iter=120, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.fit(X)
    gains = fitted.score_samples(X) - scores_of_independent_words(X)
    assert gains.mean() > 0.1 * -scores_of_independent_words(X).mean()


def test_rows_of_very_different_totals_are_learned_from():
    X = topics(2**24, 21, 0)
    rng = np.random.default_rng(0)
    shares = np.exp(rng.uniform(-np.log(2**24), 0, (len(X), 1)))
    X = rng.binomial(X.astype(int), shares).astype(float)
    params = {"visible": "counts", "hidden_layer_sizes": 4, "random_state": 0}
    for container in (np.asarray, sparse.csr_array):
        fitted = DBMSampler(batch_size=20, max_iter=120, **params)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted.fit(container(X))
        gains = fitted.score_samples(X) - scores_of_independent_words(X)
        assert gains.mean() > 0.1 * -scores_of_independent_words(X).mean()


def test_chunks_of_rows_of_many_words_are_learned_from():
    X = topics(10**6, 6, 0)
    params = {"visible": "counts", "hidden_layer_sizes": 4, "random_state": 0}
    estimator = DBMSampler(batch_size=20, **params)
    for _ in range(120):
        estimator.partial_fit(X)
    gains = estimator.score_samples(X) - scores_of_independent_words(X)
    assert gains.mean() > 0.1 * -scores_of_independent_words(X).mean()
