"""Data that are read in pieces: the results of arrays, in memory that stays flat."""

import errno
import io
import os
import tempfile
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_selector
from sklearn.exceptions import (
    ConvergenceWarning,
    DataConversionWarning,
    NotFittedError,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skdbm import DBMSampler, DBMTransformer, Likelihood
from skdbm.encodings import Probabilities, States
from skdbm.encodings.rows import TOGETHER, EncodedRows
from skdbm.evidence import Conditional, Evidence
from skdbm.ops import generator
from skdbm.pieces import Pieces, Results, data, numbers
from skdbm.pieces.numbers import Numbers
from skdbm.pieces.sources import InFile, Left, Sliced, Taken
from skdbm.pieces.sources import mapped as source_of_map
from skdbm.training.order import Order
from skdbm.training.row_chains import RowChains
from skdbm.units import Gaussian

N_ROWS, N_COLUMNS = 130, 7
SMALL = {
    "hidden_layer_sizes": (6, 4),
    "max_iter": 3,
    "batch_size": 20,
    "n_chains": 20,
    "random_state": 0,
}
STOPPING = {"early_stopping": True, "evaluate_every": 2}


@pytest.fixture(autouse=True)
def short_trainings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def bits():
    rng = np.random.default_rng(0)
    return (rng.random((N_ROWS, N_COLUMNS)) < rng.random((N_ROWS, 1))).astype(np.uint8)


def reals():
    return np.random.default_rng(0).normal(size=(N_ROWS, N_COLUMNS)).cumsum(axis=1)


def with_gaps():
    X = reals()
    X[np.random.default_rng(1).random(X.shape) < 0.2] = np.nan
    return X


def words():
    return np.random.default_rng(0).poisson(2.0, (N_ROWS, N_COLUMNS))


class Chunks:
    """Rows that come some at a time, each time anew."""

    def __init__(self, X, size=17, make=lambda part: part):
        self.X, self.size, self.make = X, size, make

    def __iter__(self):
        for start in range(0, len(self.X), self.size):
            yield self.make(self.X[start : start + self.size])
            yield self.make(self.X[:0])


def mapped(X, path):
    np.save(path / "rows.npy", X)
    return np.load(path / "rows.npy", mmap_mode="r")


def h5(X, path):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(path / "rows.h5", "w")
    return file.create_dataset("rows", data=X, chunks=(10, N_COLUMNS))


def zarr_array(X, path):
    return pytest.importorskip("zarr").array(X, chunks=(10, N_COLUMNS))


def dask_array(X, path):
    dask = pytest.importorskip("dask.array")
    return dask.from_array(X, chunks=(40, N_COLUMNS))


def dask_array_of_unknown_length(X, path):
    rows = dask_array(X, path)
    return rows[rows.sum(axis=1) > -np.inf]


def dask_frame(X, path):
    frames = pytest.importorskip("dask.dataframe")
    return frames.from_pandas(pd.DataFrame(X).add_prefix("c"), npartitions=3)


CONTAINERS = {
    "memory map": mapped,
    "h5py": h5,
    "zarr": zarr_array,
    "dask": dask_array,
    "dask, unknown": dask_array_of_unknown_length,
    "dask frame": dask_frame,
    "array": lambda X, path: Pieces(X),
    "chunks": lambda X, path: Chunks(X),
    "frames": lambda X, path: Chunks(pd.DataFrame(X).add_prefix("c")),
    "polars": lambda X, path: Chunks(
        X, make=lambda X: pl.DataFrame(X, [f"c{i}" for i in range(N_COLUMNS)])
    ),
    "sparse": lambda X, path: Chunks(X, make=sparse.csr_array),
    "lists": lambda X, path: Chunks(X.tolist()),
}


def assert_same_machine(one, other):
    for name in ("weights", "biases"):
        pairs = getattr(one.machine_, name), getattr(other.machine_, name)
        for a, b in zip(*pairs, strict=True):
            assert_array_equal(a, b)
    assert one.machine_.encoding == other.machine_.encoding


# ---------------------------------------------------------------------------
# The results are those of the array in memory
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_any_container_gives_the_results_of_the_array(container, tmp_path):
    X, make = bits(), CONTAINERS[container]
    rows = make(X, tmp_path)
    expected = DBMTransformer(**SMALL).fit(X)
    found = DBMTransformer(**SMALL).fit(rows)
    assert_same_machine(found, expected)
    assert found.n_features_in_ == N_COLUMNS
    scores = found.score_samples(rows)
    is_array = container == "memory map"
    assert isinstance(scores, np.ndarray if is_array else Results)
    assert_array_equal(np.asarray(scores), expected.score_samples(X))
    assert_allclose(found.score(rows), expected.score(X), rtol=1e-12)
    features = np.concatenate(list(found.transform(Pieces(rows))))
    assert_array_equal(features, expected.transform(X))


CASES = {
    "bits": (bits, {}),
    "held out": (bits, STOPPING),
    "greedy": (bits, {"pretraining": "greedy"}),
    "no chains of rows": (bits, {"n_posterior_gibbs_steps": 0}),
    "reals": (reals, {"visible": "gaussian"} | STOPPING),
    "gaps": (with_gaps, {"visible": "gaussian", "allow_missing": True}),
    "counts": (words, {"visible": "counts"} | STOPPING),
    "mixed": (
        reals,
        {"visible": [("gaussian", [3, 0, 1]), ("gaussian", [2, 4, 5, 6])]},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("block_rows", [None, 3])
def test_any_training_gives_the_results_of_the_array(case, block_rows, tmp_path):
    make, params = CASES[case]
    X = make()
    expected = DBMSampler(**(SMALL | params)).fit(Pieces(X, block_rows=block_rows))
    if block_rows is None:
        in_memory = clone(expected).fit(X)
        assert_same_machine(in_memory, expected)
    for rows in (mapped(X, tmp_path), Chunks(X)):
        found = clone(expected).fit(Pieces(rows, block_rows=block_rows))
        assert_same_machine(found, expected)
        for name in set(found.history_) - {"seconds"}:
            assert_array_equal(found.history_[name], expected.history_[name])


def test_partial_fit_takes_rows_as_they_come(tmp_path):
    X = bits()
    expected = DBMTransformer(**SMALL).partial_fit(X)
    found = DBMTransformer(**SMALL).partial_fit(Pieces(X, block_rows=3))
    assert_same_machine(found, expected)
    expected.partial_fit(X[::-1])
    found.partial_fit(Pieces(X[::-1], block_rows=5))
    assert_same_machine(found, expected)


def test_warm_starts_go_on_in_pieces():
    X = bits()
    expected = DBMTransformer(**SMALL, warm_start=True).fit(X).fit(X)
    found = DBMTransformer(**SMALL, warm_start=True).fit(Pieces(X)).fit(Chunks(X))
    assert_same_machine(found, expected)


def table():
    """A table of which only the last rows have all categories."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "shape": np.where(np.arange(N_ROWS) < 100, "round", "square"),
            "size": rng.integers(0, 3 + np.arange(N_ROWS) // 60, N_ROWS),
            "weight": rng.normal(size=N_ROWS),
        }
    )


KINDS = [("categorical", ["shape", "size"]), ("gaussian", ["weight"])]


@pytest.mark.parametrize("dtype", [str, "category"])
def test_categories_are_those_of_all_chunks(dtype):
    X = table().astype({"shape": dtype})

    def of_chunk(part):  # a dtype that has the categories of these rows alone
        return part.assign(shape=part["shape"].astype(str).astype(dtype))

    expected = DBMSampler(**SMALL, visible=KINDS).fit(X)
    chunks = Chunks(X, make=of_chunk)
    found = DBMSampler(**SMALL, visible=KINDS).fit(chunks)
    assert_same_machine(found, expected)
    assert list(found.feature_names_in_) == list(X.columns)
    for sampler in (found, expected):
        sampler.set_output(transform="pandas")
    samples = found.sample(50)
    pd.testing.assert_frame_equal(samples, expected.sample(50))
    assert set(samples["shape"]) == {"round", "square"}
    holey = X.mask(np.arange(N_ROWS)[:, None] % 3 == [0, 1, 2])
    filled = found.impute(Chunks(holey, 65), n_chains=2, burn_in=2, n_sweeps=2)
    for part in filled:
        assert not part.isna().any(axis=None)
    for part, again in zip(filled, filled, strict=True):
        pd.testing.assert_frame_equal(part, again)


def test_categories_of_an_array():
    X = np.random.default_rng(0).integers(0, 4, (N_ROWS, 3))
    expected = DBMSampler(**SMALL, visible="categorical").fit(X)
    found = DBMSampler(**SMALL, visible="categorical").fit(Pieces(X, block_rows=50))
    assert_same_machine(found, expected)
    assert set(found.sample(100).ravel()) == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", [int, float])
def test_dtypes_hold_those_of_all_chunks(kind):
    X = pd.DataFrame({"a": [0, 1] * 20, "b": [1.0, 0.0] * 20})
    first = X[:20].astype({"a": kind})
    dbm = DBMSampler(**SMALL).fit(
        Chunks([first, X[20:]], 1, make=lambda X: pd.concat(X) if len(X) else X)
    )
    dbm.set_output(transform="pandas")
    assert dbm.sample(3).dtypes["a"] == kind


# ---------------------------------------------------------------------------
# Errors come before any work
# ---------------------------------------------------------------------------


BAD = {
    "nan": (np.nan, "contains NaN"),
    "inf": (np.inf, "contains infinity"),
    "negative": (-1.0, "Negative values"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("container", ["memory map", "chunks", "frames"])
def test_a_bad_value_in_the_last_row_costs_no_training(
    kind, container, tmp_path, monkeypatch
):
    value, message = BAD[kind]
    X = bits().astype(float)
    dbm = DBMSampler(**SMALL).fit(X)
    before = dict(vars(dbm))
    X[-1, 2] = value
    monkeypatch.setattr("skdbm.training.run.Run.advance", None)
    monkeypatch.setattr(data, "LOOKED_AT", 20 * N_COLUMNS)
    with pytest.raises(ValueError, match=message):
        dbm.fit(CONTAINERS[container](X, tmp_path))
    assert vars(dbm) == before


def test_a_warning_comes_once_and_values_are_clipped(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "LOOKED_AT", 20 * N_COLUMNS)
    X = bits() * 1.5
    with pytest.warns(DataConversionWarning) as caught:
        expected = DBMTransformer(**SMALL).fit(X)
    assert len(caught) == 1
    with pytest.warns(DataConversionWarning) as caught:
        found = DBMTransformer(**SMALL).fit(mapped(X, tmp_path))
    assert len(caught) == 1
    assert_same_machine(found, expected)


def _frames(*frames):
    return Chunks(frames, 1, make=lambda some: some[0] if some else [])


A, B = pd.DataFrame({"a": [0, 1]}), pd.DataFrame({"b": [0, 1]})
WRONG = {
    "a generator": ((part for part in [bits()]), TypeError, "only once"),
    "no chunks": (Chunks([]), ValueError, "no rows"),
    "other names": (_frames(A, B), ValueError, r"columns \['b'\]"),
    "fewer columns": (
        Chunks([bits(), bits()[:, 1:]], 1, make=lambda some: some[0] if some else []),
        ValueError,
        "A chunk has 6 columns",
    ),
    "other dtypes": (
        _frames(A, A.astype(str)),
        ValueError,
        "Column 'a' does not hold numbers",
    ),
    "one dimension": (Chunks([1.0, 2.0], 1), ValueError, "Expected 2D"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_chunks_are_errors(case):
    rows, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        DBMSampler(**SMALL).fit(rows)


def test_dtypes_of_chunks_that_do_not_agree():
    X = pl.DataFrame({"a": [1, 2]})
    frames = _frames(X, X.cast(pl.Int32))
    message = r"'a' is of another dtype .*\(Int32 after Int64\)"
    with pytest.raises(ValueError, match=message):
        DBMSampler(**SMALL, visible="categorical").fit(frames)


def test_a_column_of_categories_without_any_value():
    X = pd.DataFrame({"a": [None] * 4}, dtype=object)
    dbm = DBMSampler(**SMALL, visible="categorical", allow_missing=True)
    for rows in (X, _frames(X, X)):
        with pytest.raises(ValueError, match="'a' has no value at all"):
            dbm.fit(rows)
    later = pd.DataFrame({"a": ["x", "y"]}, dtype=object)
    dbm.fit(_frames(X, later))
    assert set(dbm.sample(20).ravel()) == {"x", "y"}


@pytest.mark.parametrize(
    "rows",
    [3, "rows", {"a": 1}, bits().tolist(), table(), sparse.csr_array(bits())],
    ids=lambda rows: type(rows).__name__,
)
def test_what_is_in_memory_is_not_read_in_pieces(rows):
    with pytest.raises(TypeError, match="is passed to the estimator as it is"):
        Pieces(rows)


def test_what_results_and_pieces_are_is_said():
    X = bits()
    dbm = DBMTransformer(**SMALL).fit(X)
    features = dbm.transform(Chunks(X))
    assert repr(features).startswith("<Results of transform for Pieces(<")
    assert repr(Pieces(X[:1], block_rows=2)).endswith(", block_rows=2)")
    with pytest.raises(TypeError, match="out is a str"):
        features.store("features.npy")
    with pytest.raises(ValueError, match="X has 6 features"):
        dbm.transform(Pieces(X[:, 1:]))


def test_invalid_pieces():
    with pytest.raises(ValueError, match="block_rows=0"):
        Pieces(bits(), block_rows=0)
    with pytest.raises(ValueError, match="two dimensions"):
        Pieces(np.zeros((2, 2, 2)))
    assert Pieces(Pieces(bits(), block_rows=5)).block_rows == 5


# ---------------------------------------------------------------------------
# Results in pieces
# ---------------------------------------------------------------------------


def test_results_are_stored_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "LOOKED_AT", 20 * N_COLUMNS)
    X = bits()
    dbm = DBMTransformer(**SMALL).fit(X)
    features = dbm.transform(Pieces(X))
    assert [len(part) for part in features] == [20] * 6 + [10]
    shape = N_ROWS, 10
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", float, shape)
    assert features.store(out) is out
    assert_array_equal(out, dbm.transform(X))
    for n_rows in (N_ROWS - 1, N_ROWS + 1):
        for rows in (Pieces(X), Chunks(X)):
            with pytest.raises(ValueError, match=f"out has {n_rows} rows"):
                dbm.transform(rows).store(np.empty((n_rows, 10)))
    again = DBMTransformer(**SMALL).fit(features)
    assert_same_machine(again, DBMTransformer(**SMALL).fit(dbm.transform(X)))


def test_pipelines_take_pieces(tmp_path):
    X, y = bits(), np.arange(N_ROWS) % 2
    pipe = make_pipeline(DBMTransformer(**SMALL), LogisticRegression())
    expected = clone(pipe).fit(X, y).predict_proba(X)
    for rows in (h5(X, tmp_path), mapped(X, tmp_path)):
        found = clone(pipe).fit(rows, y)
        assert_array_equal(found.predict_proba(rows), expected)
    dbm = found[0].set_output(transform="pandas")
    assert isinstance(dbm.transform(mapped(X, tmp_path)), pd.DataFrame)
    with pytest.raises(ValueError, match=r"set_output\(transform='default'\)"):
        dbm.transform(Pieces(X))


def test_pieces_are_imputed_by_draws_of_their_own(monkeypatch):
    monkeypatch.setattr(data, "LOOKED_AT", 10 * N_COLUMNS)
    X = bits().astype(float)
    sampler = DBMSampler(**SMALL).fit(X)
    X[:, 3] = np.nan
    same = np.repeat(X[:1], 20, axis=0)
    settings = {"n_chains": 3, "burn_in": 2, "n_sweeps": 3, "random_state": 0}
    filled = sampler.impute(Pieces(same), **settings)
    first, second = filled
    assert (first[:, 3] != second[:, 3]).any()
    assert_array_equal(np.asarray(filled), np.concatenate([first, second]))


def test_perplexity_in_pieces():
    X = words()
    dbm = DBMSampler(**SMALL, visible="counts").fit(X)
    assert_allclose(dbm.perplexity(Chunks(X)), dbm.perplexity(X), rtol=1e-9)


# ---------------------------------------------------------------------------
# Where rows lie
# ---------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_of_a_source_are_those_of_the_array(draw):
    X = np.arange(60).reshape(20, 3)
    is_chosen = np.array(draw.draw(st.lists(st.booleans(), min_size=20, max_size=20)))
    chosen = np.flatnonzero(is_chosen)
    for source, rows in ((Taken, X[is_chosen]), (Left, X[~is_chosen])):
        part = source(Sliced(X), chosen)
        assert part.shape == rows.shape
        start = draw.draw(st.integers(0, len(rows)))
        stop = draw.draw(st.integers(start, len(rows)))
        assert_array_equal(part.read(start, stop), rows[start:stop])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_numbers_are_read_as_from_an_array(draw):
    X = np.random.default_rng(0).integers(-5, 5, (50, 4))
    block_rows = draw.draw(st.integers(1, 60))
    bounds = np.full(4, -2.0), np.array([1.0, 2, 3, np.inf])
    rows = Numbers(Sliced(X), block_rows, dtype=np.float32, bounds=bounds)
    expected = np.clip(X, *bounds).astype(np.float32)
    number = st.integers(0, 49)
    for _ in range(5):
        if draw.draw(st.booleans()):
            n_blocks = -(-50 // block_rows)
            blocks = draw.draw(st.permutations(range(n_blocks)))
            some = draw.draw(st.lists(number, max_size=3, unique=True))
            rows.hold(np.array(blocks[:TOGETHER]), np.array(some, dtype=int))
        key = draw.draw(
            st.one_of(
                st.builds(slice, number, number, st.integers(1, 5)),
                st.lists(number).map(lambda some: np.array(some, dtype=int)),
            )
        )
        found = rows[key]
        assert found.dtype == np.float32
        assert_array_equal(found, expected[key])
        assert_array_equal(rows[:, [3, 1]][key], expected[key][:, [3, 1]])
    assert_array_equal(rows[:], expected)


def test_rows_that_are_asked_for_again_are_not_read_again(monkeypatch):
    monkeypatch.setattr(numbers, "MOST_REMEMBERED", 5 * 8)
    X, asked = np.arange(100.0).reshape(100, 1), []

    class Noted(Sliced):
        def read(self, start, stop):
            asked.append((start, stop))
            return super().read(start, stop)

    rows = Numbers(Noted(X), 2, dtype=float)
    for _ in range(3):
        assert_array_equal(rows[np.array([5, 70, 5])].ravel(), [5, 70, 5])
    assert len(asked) == 1
    rows[np.arange(10, 20)]
    rows[np.array([70])]
    assert len(asked) == 3


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["r", "c"])
def test_memory_maps_and_parts_of_them(order, mode, tmp_path):
    X = np.asarray(np.random.default_rng(0).random((40, 6)), order=order)
    np.save(tmp_path / "rows.npy", X)
    rows = np.load(tmp_path / "rows.npy", mmap_mode=mode)
    if mode == "c":
        X, rows[5, 2] = X.copy(), 7.0
        X[5, 2] = 7.0
    for key in (np.s_[:], np.s_[7:30], np.s_[:, 1:4], np.s_[::2], np.s_[::-1]):
        part = rows[3:][key]
        source = source_of_map(part)
        assert_array_equal(source.read(0, len(part)), part)
        assert_array_equal(source.read(2, 5), part[2:5])
        assert source.read(3, 3).shape == (0, part.shape[1])


def test_blocks_are_whole_chunks_of_the_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        rows = file.create_dataset("rows", (10**6, 100), "f4", chunks=(1000, 100))
        block_rows = numbers.usual_rows(Pieces(rows).source)
        assert block_rows % 1000 == 0
        assert block_rows * 400 * TOGETHER < numbers.MOST_HELD


def test_the_temporary_file_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # nobody else's
    seen = []

    def looked_at(part):
        seen.append(os.listdir(tmp_path))
        return part

    DBMSampler(**SMALL).fit(Chunks(bits(), make=looked_at))
    assert len(seen) > 10
    assert not any(seen)


def test_a_full_disk_is_said(monkeypatch):
    class Full(io.BytesIO):
        def write(self, rows):
            raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr("skdbm.pieces.spool.tempfile.TemporaryFile", Full)
    with pytest.raises(OSError, match=r"No space left on device.*TMPDIR"):
        DBMSampler(**SMALL).fit(Chunks(bits()))


def test_errors_of_chunks_are_their_own():
    class Lost(Chunks):
        n_left = 1

        def __iter__(self):
            yield from super().__iter__()
            self.n_left -= 1
            if self.n_left < 0:
                raise OSError("the line is dead")

    with pytest.raises(OSError, match=r"^the line is dead$"):
        DBMSampler(**SMALL).fit(Lost(bits()))


def test_chunks_that_come_once_after_all():
    class Once:
        def __init__(self):
            self.chunks = iter([bits()])

        def __iter__(self):
            return self.chunks

    with pytest.raises(ValueError, match=f"have 0 rows, and had {N_ROWS}"):
        DBMSampler(**SMALL).fit(Once())


@pytest.mark.parametrize("make", [Pieces, lambda X: Chunks(X, 60)])
def test_gaps_of_masked_arrays_are_gaps(make):
    X = with_gaps()
    masked = np.ma.masked_array(np.nan_to_num(X), mask=np.isnan(X))
    dbm = DBMTransformer(**SMALL, visible="gaussian", allow_missing=True)
    expected = clone(dbm).fit(X)
    assert_same_machine(clone(dbm).fit(make(masked)), expected)
    with pytest.raises(ValueError, match="missing"):
        dbm.set_params(allow_missing=False).fit(make(masked))


def test_results_of_memory_maps_are_those_of_arrays(tmp_path):
    X = bits().astype(np.float32)
    dbm = DBMTransformer(**SMALL).fit(X)
    assert dbm.transform(mapped(X, tmp_path)).dtype == np.float32
    names = np.array([["a"], ["b"]] * 20)
    sampler = DBMSampler(**SMALL, visible="categorical").fit(names)
    filled = sampler.impute(mapped(names, tmp_path))
    assert_array_equal(filled, names)
    assert_array_equal(np.asarray(sampler.impute(Chunks(names))), names)


def test_maps_of_joblib_and_columns_of_any_name_are_arrays(tmp_path):
    folder = tmp_path / "joblib_memmapping_folder_1"
    folder.mkdir()
    assert not data.are_in_pieces(mapped(bits(), folder))
    names = ["store", "blocks", "compute", "partitions", "chunks", "shape", "come"]
    frame = pd.DataFrame(bits(), columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not data.are_in_pieces(frame)
    assert not data.are_in_pieces(pd.Series([0.0, 1.0]))
    assert not data.are_in_pieces(sparse.csr_array(bits()))


class ArrayLike:
    """Rows as an old class has them, which numpy takes for a sequence."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        return self.rows[key]

    def __iter__(self):
        return iter(self.rows)


def test_sequences_of_rows_are_arrays():
    X = bits()
    found = DBMTransformer(**SMALL).fit(ArrayLike(X.tolist()))
    assert_same_machine(found, DBMTransformer(**SMALL).fit(X))


def test_maps_without_a_file_of_their_own(tmp_path):
    X = bits()
    with tempfile.TemporaryFile() as file:
        file.write(X.tobytes())
        file.flush()
        rows = np.memmap(file, np.uint8, "r", shape=X.shape)
        assert isinstance(source_of_map(rows), Sliced)
    rows = mapped(X, tmp_path)
    assert isinstance(source_of_map(rows), InFile)
    np.save(tmp_path / "others.npy", 1 - X)
    (tmp_path / "others.npy").replace(tmp_path / "rows.npy")
    source = source_of_map(rows)
    assert_array_equal(source.read(0, N_ROWS), X)
    (tmp_path / "rows.npy").unlink()
    assert_array_equal(source_of_map(rows).read(0, N_ROWS), X)


def test_dtypes_that_chunks_choose_columns_by():
    visible = [
        ("categorical", make_column_selector(dtype_include=int)),
        ("gaussian", make_column_selector(dtype_include=float)),
    ]
    X = pd.DataFrame({"a": [0, 1] * 20, "b": [0.5, 1.5] * 20})
    frames = _frames(X, X.astype({"a": float}))
    with pytest.raises(ValueError, match="takes column 'a' for Categories"):
        DBMSampler(**SMALL, visible=visible).fit(frames)


def test_forms_of_chunks_are_joined():
    for parts, dtype in (
        ([np.array([["a"]] * 5), np.array([["bcd"]] * 5)], "<U3"),
        ([[[None], [1.0]], [[2.0], [3.0]]], float),
    ):
        visible = "categorical" if dtype == "<U3" else "gaussian"
        dbm = DBMSampler(**SMALL, visible=visible, allow_missing=True)
        dbm.fit(Chunks(parts, 1, make=lambda some: some[0] if some else []))
        assert dbm.sample(3).dtype == dtype


@pytest.mark.parametrize("method", ["transform", "score_samples", "score"])
def test_without_rows_or_a_fit_there_are_no_results(method):
    none = Pieces(bits()[:0])
    dbm = DBMTransformer(**SMALL)
    with pytest.raises(NotFittedError):
        getattr(dbm, method)(none)
    dbm.fit(bits())
    with pytest.raises(ValueError, match="no rows"):
        np.asarray(getattr(dbm, method)(none))


# ---------------------------------------------------------------------------
# The order, and memory
# ---------------------------------------------------------------------------


def rows_of(n_rows, block_rows):
    X = Numbers(Sliced(np.zeros((n_rows, 1))), block_rows, dtype=float)
    return EncodedRows(Probabilities(), X, np.float32)


def test_every_row_comes_once_in_two_levels():
    n_rows, size, left_out = 487, 10, np.array([3, 4, 100, 486])
    order = Order(rows_of(n_rows, size), left_out, generator(0))
    taken = [order.take(7) for _ in range(-(-len(order) // 7))]
    assert order.take(7).size == 0
    rows = np.concatenate(taken)
    assert_array_equal(np.sort(rows), np.setdiff1d(np.arange(n_rows), left_out))
    first = set((rows[: (TOGETHER - 1) * size] // size).tolist())
    assert len(first) == TOGETHER
    assert first != set(range(TOGETHER))
    assert (np.diff(rows) == 1).mean() < 0.1


def test_rows_of_the_blocks_before_are_not_read_again():
    read = []

    class Noted(Sliced):
        def read(self, start, stop):
            read.append(stop - start)
            return super().read(start, stop)

    n_rows, size = 3000, 5
    X = Numbers(Noted(np.arange(n_rows)[:, None]), size, dtype=float)
    rows = EncodedRows(States(Gaussian()), X, np.float32, generator(1))
    order = Order(rows, (), generator(0))
    for _ in range(30):  # a batch has the rows of more than one group
        taken = order.take(100)
        assert_array_equal(rows.read(taken).ravel(), taken)
    assert sum(read) == n_rows


def test_wide_rows_take_no_more_memory():
    X = np.zeros((4000, 20_000), np.uint8)
    rows = Numbers(Sliced(X), dtype=np.float32)
    tracemalloc.start()
    rows[np.arange(0, 4000, 200)]
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak < 10


def test_few_blocks_are_shuffled_as_an_array():
    left_out = np.array([2, 30])
    pieces = Order(rows_of(40, 3), left_out, generator(0))
    array = EncodedRows(Probabilities(), np.zeros((40, 1)), np.float32)
    whole = Order(array, left_out, generator(0))
    assert_array_equal(pieces.take(40), whole.take(40))
    assert_array_equal(Order(rows_of(40, 3)).take(40), np.arange(40))


def test_without_room_for_chains_of_rows_none_are_kept():
    machine = DBMTransformer(**SMALL).fit(bits()).machine_
    ones = [np.ones((2, size)) for size in machine.layer_sizes]
    gaps = np.full((2, N_COLUMNS), np.nan)
    visible, places = {False: ones[0], True: gaps}, np.array([5, 7])
    # Four units take a byte, and seven of float32, for rows with gaps, 28.
    for with_gaps, n_bytes in ((False, 1), (True, 29)):
        rows = Conditional(machine, Evidence.of_rows(visible[with_gaps]))
        for more in (0, -1):
            chains = RowChains(N_ROWS, N_ROWS * n_bytes + more)
            chains.make_room(machine, with_gaps=with_gaps)
            chains.keep(places, rows, ones)
            assert chains.begun.sum() == (0 if more else 2)
            back = [np.zeros_like(states) for states in ones]
            chains.recall(places, rows, back)
            assert back[2].all() == (not more)
    chains = RowChains(N_ROWS, N_ROWS)
    for with_gaps in (False, True, False):  # the first have room
        chains.make_room(machine, with_gaps=with_gaps)
        chains.keep(places, rows, ones)
        assert chains.begun.any() != with_gaps


def test_memory_is_flat_in_the_number_of_rows(tmp_path):
    rng, peaks = np.random.default_rng(0), []
    dbm = DBMTransformer(
        hidden_layer_sizes=2,
        max_iter=1,
        batch_size=5000,
        n_chains=2,
        early_stopping=True,
        likelihood=Likelihood(n_importance_samples=0),
        random_state=0,
    )
    for n_rows in (50_000, 100_000):
        X = rng.integers(0, 2, (n_rows, 100), dtype=np.uint8)
        np.save(tmp_path / "rows.npy", X)
        del X
        rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
        tracemalloc.start()
        dbm.fit(Pieces(rows, block_rows=500))
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    # An array of them as floats has 38 and 76 MiB.
    assert peaks[1] < 1.1 * peaks[0] < 40
