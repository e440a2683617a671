"""What holds for every table: nothing known is lost, dtypes and files are kept."""

import os
import pickle
from collections import Counter
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdbm import DBMSampler, DBMTransformer, Likelihood

from ._tables import INDICES, MAKERS, draw

N_CASES = int(os.environ.get("SKDBM_CASES", "200"))

PARAMS = {
    "hidden_layer_sizes": 1,
    "max_iter": 1,
    "n_chains": 2,
    "n_gibbs_steps": 1,
    "n_mean_field_steps": 1,
    "likelihood": Likelihood(n_chains=2, mean_field_tol=0.1),
    "learning_rate_init": 1e-3,
    "n_jobs": 1,
    "random_state": 0,
}
SHORT = {"n_chains": 1, "burn_in": 1, "n_sweeps": 1}

KINDS = ["bernoulli", "gaussian", "categorical"]
#: More of what has more kinds of columns.
CONTAINERS = st.sampled_from(["pandas"] * 4 + ["polars"] * 2 + list(MAKERS))

CASES = st.builds(
    dict,
    container=CONTAINERS,
    groups=st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, 10**4)), min_size=1, max_size=4
    ),
    n_rows=st.integers(4, 9),
    index=st.sampled_from(list(INDICES)),
    seed=st.integers(0, 10**6),
)


def values(column):
    """Values of a column of any library as a list."""
    return column.tolist() if isinstance(column, np.ndarray) else column.to_list()


def columns_of(table):
    """Columns of a frame or an array."""
    if isinstance(table, pd.DataFrame):
        return [table.iloc[:, i].reset_index(drop=True) for i in range(table.shape[1])]
    if hasattr(table, "get_columns"):
        return table.get_columns()
    table = table.toarray() if hasattr(table, "toarray") else table
    table = np.array(table, dtype=object) if isinstance(table, list) else table
    return list(table.T)


def same(one, other):
    """Whether two lists hold equal values of one type, and zeros of one sign."""
    return len(one) == len(other) and all(
        type(a) is type(b) and a == b and str(a) == str(b)
        for a, b in zip(one, other, strict=True)
    )


def check_completed(result, case):
    """Check that rows have no gaps, and that what is known is what it was."""
    given, done = columns_of(case.holey), columns_of(result)
    seen = columns_of(case.complete)
    assert len(given) == len(done)
    for before, after, fit, gap in zip(given, done, seen, case.gaps.T, strict=True):
        assert not pd.isna(np.fromiter(values(after), object)).any()
        one, other = (values(side[np.flatnonzero(~gap)]) for side in (before, after))
        if before.dtype != after.dtype:
            # A column of objects says nothing, and gets the dtype of the training.
            assert before.dtype == object
            assert after.dtype == fit.dtype or case.container in ("list", "objects")
            assert one == other
        else:
            assert same(one, other), (one, other)
    if isinstance(result, pd.DataFrame):
        pd.testing.assert_index_equal(result.index, case.holey.index)
        pd.testing.assert_index_equal(result.columns, case.holey.columns)
    elif case.container == "polars":
        assert result.columns == case.holey.columns


def check_drawn(result, case):
    """Check that samples have the dtypes of the training, and values of it."""
    assert len(columns_of(result)) == len(columns_of(case.complete))
    for after, fit in zip(columns_of(result), columns_of(case.complete), strict=True):
        if case.container != "list":
            assert after.dtype == fit.dtype
            types = {type(value) for value in values(fit)}
            assert {type(value) for value in values(after)} <= types
    if case.container in ("pandas", "polars"):
        assert list(result.columns) == list(case.complete.columns)


def named(error, case):
    """Whether an error names a column."""
    frame = case.container in ("pandas", "polars")
    names = map(repr, case.complete.columns) if frame else ["olumn"]
    return any(name in str(error) for name in names)


def check(case, seed, reached):
    """Check all that holds for a case; count how far it came."""
    for dtype in case.dtypes:
        reached["all", case.container, dtype] += 1
    rng = np.random.default_rng(seed)
    container = case.container if case.container in ("pandas", "polars") else "default"
    holey = rng.random() < 0.3
    cls = DBMTransformer if rng.random() < 0.2 else DBMSampler
    model = cls(visible=case.visible, allow_missing=holey, **PARAMS)
    model.set_output(transform=container)
    rows = case.holey if holey else case.complete
    try:
        model.fit(rows)
        if cls is DBMSampler:
            result = model.impute(case.holey, **SHORT)
    except (ValueError, TypeError) as error:
        if not case.rounded or not named(error, case):
            raise
        reached["errors", type(error).__name__, str(error)[:70]] += 1
        return
    for dtype in case.dtypes:
        reached["imputed", case.container, dtype] += 1
    if rng.random() < 0.5:
        loaded = pickle.loads(pickle.dumps(model))
    else:
        with TemporaryDirectory() as folder:
            model.save(f"{folder}/model.npz")
            loaded = cls.load(f"{folder}/model.npz")
    told, before = loaded._columns.__getstate__(), model._columns.__getstate__()
    assert repr(told) == repr(before)
    if cls is DBMTransformer:
        features = model.transform(rows)
        assert_array_equal(loaded.transform(rows), features)
        back = model.inverse_transform(features)
        assert np.shape(back) == np.shape(case.complete)
        if container == "pandas":
            pd.testing.assert_index_equal(back.index, case.complete.index)
        return
    check_completed(result, case)
    drawn = model.sample(3, burn_in=1)
    if not holey:
        check_drawn(drawn, case)
    again = loaded.sample(3, burn_in=1)
    for one, other in zip(columns_of(drawn), columns_of(again), strict=True):
        assert same(values(one), values(other))
    if rng.random() < 0.3:
        assert_array_equal(loaded.score_samples(rows), model.score_samples(rows))


def shares(reached):
    """Lines of how many columns there were, and how many were imputed."""
    lines = []
    for (_, container, dtype), n in sorted(
        (key, n) for key, n in reached.items() if key[0] == "all"
    ):
        done = reached["imputed", container, dtype]
        lines.append(f"{done:6d} of {n:6d}  {container}: {dtype}")
    errors = [(n, key[1:]) for key, n in reached.items() if key[0] == "errors"]
    return lines + [f"{n:6d}  {' '.join(key)}" for n, key in sorted(errors)]


def test_tables_of_all_kinds_keep_what_they_know():
    reached = Counter()

    @settings(
        max_examples=N_CASES,
        # A number of cases that is asked for is drawn anew, or by --hypothesis-seed.
        derandomize="SKDBM_CASES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES)
    def run(arguments):
        seed = arguments.pop("seed")
        case = draw(**arguments, rng=np.random.default_rng(seed))
        check(case, seed, reached)

    run()
    print("\n".join(shares(reached)))
    n_all, n_imputed = (
        sum(n for key, n in reached.items() if key[0] == which)
        for which in ("all", "imputed")
    )
    assert n_imputed >= 0.8 * n_all
