"""DBMClassifier: labels in and out, few of them or all, and its place in pipelines."""

import pickle
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skdbm import DBMClassifier, DBMSampler, DBMTransformer, FineTuning
from skdbm.callback import TrainingMonitor
from skdbm.display import FiltersDisplay
from skdbm.likelihood import exact_log_likelihood
from skdbm.pieces import Pieces
from skdbm.training import fine_tuning

from ._estimators import SMALL, assert_same_machine, settings

QUICK = SMALL | {"max_iter": 12, "learning_rate_init": 0.1, "n_chains": 20}
TUNING = FineTuning(max_iter=40, learning_rate_init=0.05)


def small(**params):
    """Make a classifier that is quick to fit."""
    return DBMClassifier(**settings(**(QUICK | {"fine_tuning": TUNING} | params)))


def three_kinds(n_rows=120, seed=0, flipped=0.1):
    """Rows of nine bits of three kinds, a third on in each, some flipped."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    clean = np.arange(9) // 3 == y[:, None]
    return (clean ^ (rng.random(clean.shape) < flipped)).astype(float), y


X, Y = three_kinds()
X_TEST, Y_TEST = three_kinds(200, 1)
NAMES = np.array(["left", "middle", "right"])


# Labels


def gaps_of(y):
    """The same labels, of which two in three are left out, as users write them."""
    few, none = np.arange(len(y)) % 3 == 0, [None, np.nan, pd.NA]
    text = [
        NAMES[k] if f else none[i % 3]
        for i, (k, f) in enumerate(zip(y, few, strict=True))
    ]
    number = np.where(few, y.astype(float), np.nan)
    known = [None if pd.isna(t) else t for t in text]
    return {
        "a list": (text, None, NAMES),
        "objects": (np.array(text, dtype=object), None, NAMES),
        "a series": (pd.Series(text), None, NAMES),
        "a category": (pd.Series(known, dtype="category"), None, NAMES),
        "strings of pandas": (pd.Series(known, dtype="string"), None, NAMES),
        "polars": (pl.Series(known), None, NAMES),
        "numbers": (number, None, [0.0, 1.0, 2.0]),
        "integers of pandas": (pd.Series(number).astype("Int64"), None, [0, 1, 2]),
        "a list of numbers": (
            [None if v != v else int(v) for v in number],
            None,
            [0, 1, 2],
        ),
        "minus one": (np.where(few, y, -1), -1, [0, 1, 2]),
        "a word": (np.where(few, NAMES[y], "?"), "?", NAMES),
        "a column": (number[:, None], None, [0.0, 1.0, 2.0]),
    }


@cache
def of_a_third():
    """What a classifier says that knows every third label."""
    classifier = small(unlabeled=-1).fit(X, np.where(np.arange(len(Y)) % 3 == 0, Y, -1))
    return classifier.predict_proba(X_TEST)


@pytest.mark.parametrize("kind", gaps_of(Y))
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_rows_without_a_label_are_told_in_every_way(kind):
    y, unlabeled, classes = gaps_of(Y)[kind]
    classifier = small(unlabeled=unlabeled).fit(X, y)
    assert_array_equal(classifier.classes_, classes)
    assert classifier.classes_.dtype.kind == np.asarray(classes).dtype.kind
    predicted = classifier.predict(X_TEST)
    assert set(predicted.tolist()) <= set(np.asarray(classes).tolist())
    assert np.mean(predicted == np.asarray(classes)[Y_TEST]) > 0.85
    assert_array_equal(classifier.predict_proba(X_TEST), of_a_third())


def test_large_integers_with_gaps_stay_apart():
    large = 2**60 + np.arange(3)
    few = np.arange(len(Y)) % 3 == 0
    values = [int(large[k]) if known else None for k, known in zip(Y, few, strict=True)]
    for y in (pd.Series(values, dtype="Int64"), pl.Series(values), values):
        classes = small(max_iter=1, fine_tuning=False).fit(X, y).classes_
        assert classes.tolist() == large.tolist()


def test_moments_in_other_units_are_the_same_labels():
    days = np.array(["2020-01-01", "2021-01-01", "2022-01-01"], dtype="datetime64[D]")
    classifier = small(max_iter=2).fit(X, days[Y])
    wanted = classifier.score_samples(X, days[Y])
    finer = days[Y].astype("datetime64[ns]")
    assert_array_equal(classifier.score_samples(X, finer), wanted)


@pytest.mark.parametrize(
    ("y", "message"),
    [(["a", 1] * 60, "'a' and 1"), ([True, "a", None] * 40, "'a' and True")],
)
def test_text_beside_other_labels_is_an_error(y, message):
    with pytest.raises(ValueError, match=message):
        small().fit(X, y)


def test_what_says_that_there_is_no_label_is_one_value():
    bits, quick = Y == 0, {"max_iter": 1, "fine_tuning": False}
    classifier = small(unlabeled=0, **quick).fit(X, bits)
    assert_array_equal(classifier.classes_, [False, True])
    for missing in (pd.NA, np.nan, pd.NaT):
        classifier = small(unlabeled=missing, **quick).fit(X, Y)
        assert_array_equal(classifier.classes_, [0, 1, 2])
    with pytest.raises(ValueError, match="one value is expected"):
        small(unlabeled=[-1, -2]).fit(X, Y)


def test_no_value_is_special_by_default():
    classifier = small().fit(X, np.where(Y == 0, -1, 1))
    assert_array_equal(classifier.classes_, [-1, 1])
    assert classifier.score(X_TEST, np.where(Y_TEST == 0, -1, 1)) > 0.9


def test_renamed_classes_in_the_same_order_change_nothing():
    one = small().fit(X, Y)
    other = small().fit(X, NAMES[Y])
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert_array_equal(NAMES[one.predict(X)], other.predict(X))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.full(len(X), np.nan), "y has no label"),
        ([None] * len(X), "y has no label"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.linspace(0, 1, len(X)), "Unknown label type"),
        (np.where(Y == 0, np.inf, Y), "infinity"),
        (np.eye(3)[Y], "1d array"),
        (np.where(Y == 0, 0.5, Y), "Unknown label type"),
    ],
)
def test_bad_labels_are_told_before_any_work(y, message, monkeypatch):
    classifier = small()
    monkeypatch.setattr("skdbm._base.training", None)  # is not reached
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, y)
    assert not hasattr(classifier, "classes_")
    assert not hasattr(classifier, "machine_")


def test_error_leaves_a_fitted_classifier_as_it_was():
    classifier = small().fit(X, Y)
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="y has no label"):
        classifier.fit(X[:, :5], np.full(len(X), np.nan))
    assert_array_equal(classifier.predict_proba(X), before)
    assert_array_equal(classifier.classes_, [0, 1, 2])


def test_warm_start_without_labels_is_an_error_before_any_work(monkeypatch):
    classifier = small(warm_start=True).fit(X, Y)
    monkeypatch.setattr("skdbm._base.training", None)  # is not reached
    with pytest.raises(ValueError, match="y has no label"):
        classifier.fit(X, np.full(len(Y), np.nan))


def test_single_class_is_always_named():
    classifier = small().fit(X, ["one"] * len(X))
    assert_array_equal(classifier.predict(X[:3]), ["one"] * 3)
    assert_allclose(classifier.predict_proba(X[:3]), 1)


# Probabilities and scores


@pytest.mark.parametrize("fine_tuned", [False, TUNING])
def test_probabilities_and_their_logarithms_agree(fine_tuned):
    classifier = small(fine_tuning=fine_tuned, max_iter=40).fit(X, Y)
    p, log_p = classifier.predict_proba(X_TEST), classifier.predict_log_proba(X_TEST)
    assert_allclose(p.sum(axis=1), 1)
    assert_allclose(np.log(p), log_p)
    assert_array_equal(classifier.predict(X_TEST), p.argmax(axis=1))
    assert classifier.score(X_TEST, Y_TEST) == np.mean(p.argmax(axis=1) == Y_TEST)
    # Bits are flipped with a probability of 0.1: who knows that is right in 0.97.
    assert classifier.score(X_TEST, Y_TEST) > 0.9


@pytest.mark.parametrize("hidden", [5, (4, 3)])
def test_scores_are_those_of_rows_and_of_pairs(hidden):
    classifier = small(hidden_layer_sizes=hidden, fine_tuning=False).fit(X, Y)
    machine = classifier.machine_.astype(np.float64)
    states = np.hstack([X_TEST, np.eye(3)[Y_TEST]])
    pairs = classifier.score_samples(X_TEST, Y_TEST, n_importance_samples=1000)
    tol = 1e-4 if isinstance(hidden, int) else 0.03
    assert_allclose(pairs, exact_log_likelihood(machine, states), atol=tol)
    states[:, 9:] = np.nan
    rows = classifier.score_samples(X_TEST, n_importance_samples=1000)
    assert_allclose(rows, exact_log_likelihood(machine, states), atol=tol)
    y = np.where(np.arange(len(Y_TEST)) < 50, np.nan, Y_TEST)
    both = classifier.score_samples(X_TEST, y, n_importance_samples=1000)
    assert_array_equal(both, np.where(np.isnan(y), rows, pairs))


def test_probabilities_without_fine_tuning_are_ratios_of_scores():
    classifier = small(hidden_layer_sizes=5, fine_tuning=False).fit(X, Y)
    pairs = [classifier.score_samples(X_TEST, np.full(200, k)) for k in range(3)]
    ratios = np.array(pairs).T - classifier.score_samples(X_TEST)[:, None]
    assert_allclose(classifier.predict_log_proba(X_TEST), ratios, atol=1e-4)


def test_grey_levels_are_drawn_alike_for_all_classes():
    grey = np.clip(X_TEST, 0.2, 0.8)
    classifier = small(hidden_layer_sizes=5, fine_tuning=False).fit(X, Y)
    pairs = [classifier.score_samples(grey, np.full(200, k)) for k in range(3)]
    total = np.logaddexp.reduce(pairs)
    assert_allclose(total, classifier.score_samples(grey), atol=1e-5)


def test_label_that_is_not_known_has_no_score():
    classifier = small().fit(X, Y)
    with pytest.raises(ValueError, match="label 7"):
        classifier.score_samples(X[:2], [1, 7])
    assert "perplexity" not in dir(classifier)


# Learning


@pytest.mark.parametrize("seed", range(3))
def test_few_labels_and_many_rows_are_better_than_few_rows(seed):
    rows, y = load_digits(return_X_y=True, n_class=5)
    tuning = FineTuning(max_iter=60, learning_rate_init=0.01)
    order = np.random.default_rng(seed).permutation(len(y))
    some, others = order[:500], order[500:]
    few = np.concatenate([some[y[some] == k][:2] for k in range(5)])
    labels = np.full(len(y), -1)
    labels[few] = y[few]
    classifier = DBMClassifier(
        hidden_layer_sizes=(48, 16),
        max_iter=20,
        unlabeled=-1,
        fine_tuning=tuning,
        random_state=seed,
    )
    accuracies = (
        clone(classifier)
        .fit(rows[train] / 16, labels[train])
        .score(rows[others] / 16, y[others])
        for train in (few, some)
    )
    [gain] = np.diff(list(accuracies))
    # Over seeds it is 0.039 with a standard deviation of 0.008.
    assert gain > 0.015


def test_rows_without_labels_alone_are_learned_as_the_sampler_learns_them():
    """A label that is never known leaves the distribution of the rows as it is."""
    params = settings(**QUICK | {"hidden_layer_sizes": 6, "alpha": 0.2})
    rows, _ = three_kinds(800, 5)
    labels = np.full(len(rows), np.nan)
    labels[:3] = 0, 1, 2
    sampler = DBMSampler(**params).fit(rows)
    classifier = DBMClassifier(fine_tuning=False, **params).fit(rows, labels)
    scores = [e.score_samples(X_TEST).mean() for e in (sampler, classifier)]
    # Differences have a standard deviation of 0.02; independent columns are 1.9 worse.
    assert_allclose(*scores, atol=0.1)


def test_machine_stays_generative():
    tuned, plain = small().fit(X, Y), small(fine_tuning=False).fit(X, Y)
    assert_same_machine(tuned, plain)
    assert plain.predictor_ is None
    assert_array_equal(tuned.score_samples(X), plain.score_samples(X))
    moved = np.abs(tuned.predictor_.weights[0] - tuned.machine_.weights[0]).max()
    assert moved > 0.01
    of_columns = tuned.predictor_.biases[0][:9]  # the network does not have them
    assert_array_equal(of_columns, tuned.machine_.biases[0][:9])


def test_fine_tuning_lowers_the_loss_and_says_so(capsys):
    y = np.where(np.random.default_rng(0).random(len(Y)) < 0.15, (Y + 1) % 3, Y)
    short, longer = (
        small(fine_tuning=FineTuning(max_iter=n), verbose=1).fit(X, y) for n in (1, 200)
    )
    losses = [
        -classifier.predict_log_proba(X)[np.arange(len(y)), y].mean()
        for classifier in (short, longer)
    ]
    assert losses[1] < losses[0] - 0.05
    assert len(longer.loss_curve_) == 200
    assert len(short.loss_curve_) == 1
    # Rows of bits come as they are, so the last loss is that of the newest weights.
    assert_allclose(longer.loss_curve_[-1], losses[1], atol=0.02)
    printed = capsys.readouterr().out
    assert f"fine-tuning, epoch 1/1, loss {short.loss_curve_[0]:.4f} nats" in printed
    assert "fine-tuning, epoch 200/200" in printed


@pytest.mark.parametrize("rate", [1e3, 1e38])
def test_fine_tuning_that_fails_says_so_and_leaves_the_machine(rate):
    tuning = FineTuning(learning_rate_init=rate, max_iter=20)
    with (
        np.errstate(all="ignore"),
        pytest.warns(ConvergenceWarning, match="Fine-tuning has failed"),
    ):
        classifier = small(fine_tuning=tuning).fit(X, Y)
    assert classifier.predictor_ is None
    plain = small(fine_tuning=False).fit(X, Y)
    assert_array_equal(classifier.predict_proba(X), plain.predict_proba(X))


def test_loss_curve_is_that_of_rows_with_a_label():
    few = np.where(np.arange(len(Y)) % 3 == 0, Y, -1)
    classifier = small(unlabeled=-1, random_state=1).fit(X, few)
    known = np.flatnonzero(few >= 0)
    losses = -classifier.predict_log_proba(X[known])[np.arange(len(known)), Y[known]]
    assert_allclose(classifier.loss_curve_[-1], losses.mean(), atol=0.02)


def test_strong_pull_leaves_the_weights_where_they_were():
    tuning = FineTuning(max_iter=150, learning_rate_init=0.02, alpha=1e4)
    tied, free = small(fine_tuning=tuning).fit(X, Y), small().fit(X, Y)
    moves = [
        np.abs(classifier.predictor_.weights[0] - classifier.machine_.weights[0])[:9]
        for classifier in (tied, free)
    ]
    assert moves[0].max() < 0.1 * moves[1].max()
    assert np.abs(tied.predictor_.weights[0][9:]).max() < 0.1  # labels begin at zero


def test_perturbation_keeps_classes_near_rows():
    """Flips of one bit change what it says less, and it names classes no worse."""
    changes, accuracies = np.zeros(2), np.zeros(2)
    for seed in range(3):
        for i, perturbation in enumerate((0.0, 0.5)):
            tuning = clone(TUNING).set_params(perturbation=perturbation)
            classifier = small(fine_tuning=tuning, random_state=seed).fit(X, Y)
            logs = classifier.predict_log_proba(X_TEST)
            for bit in range(9):
                flipped = np.abs(X_TEST - (np.arange(9) == bit))
                change = logs - classifier.predict_log_proba(flipped)
                changes[i] += (np.exp(logs) * change).sum(axis=1).mean()
            accuracies[i] += classifier.score(X_TEST, Y_TEST) / 3
    # Of one seed the logarithm of the ratio is -0.27 with a standard deviation of 0.15.
    assert changes[1] < changes[0]
    assert accuracies[1] > accuracies[0] - 0.02


@pytest.mark.parametrize("real", [[0, 1, 2], list(range(9))])
def test_real_columns_stay_where_they_are(real, monkeypatch):
    moved, nudges_of = [], fine_tuning._nudges

    def kept(*args):
        nudges = nudges_of(*args)
        moved.append(None if nudges is None else np.any(nudges, axis=0))
        return nudges

    monkeypatch.setattr(fine_tuning, "_nudges", kept)
    others = np.setdiff1d(np.arange(9), real)
    visible = [("gaussian", real)] + [("bernoulli", others)] * (len(others) > 0)
    classifier = small(visible=visible, fine_tuning=FineTuning(max_iter=1)).fit(X, Y)
    assert classifier.predictor_ is not None
    assert len(moved) > 1
    for units in moved:
        if len(others):
            assert_array_equal(units, np.arange(9) >= 3)
        else:
            assert units is None


def test_switch_may_be_a_bool_of_numpy():
    for switch in (np.True_, np.False_):
        classifier = small(max_iter=1, fine_tuning=switch).fit(X[:20], Y[:20])
        assert (classifier.predictor_ is not None) == switch


def test_predictor_stays_when_the_machine_is_edited():
    classifier = small().fit(X, Y)
    before = classifier.predict_proba(X)
    classifier.machine_.weights[0][0, 0] += 0.1
    classifier.score_samples(X)
    assert_array_equal(classifier.predict_proba(X), before)


@pytest.mark.usefixtures("narrow_blocks")
@pytest.mark.parametrize("perturbation", [0.0, 0.25])
def test_threads_change_nothing(perturbation):
    tuning = clone(TUNING).set_params(perturbation=perturbation)
    one, other = (small(n_jobs=n, fine_tuning=tuning).fit(X, Y) for n in (1, 3))
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_interrupt_of_the_fine_tuning_leaves_the_machine(monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return gradient(*arguments)

    gradient = fine_tuning.gradient
    monkeypatch.setattr(fine_tuning, "gradient", interrupted)
    classifier = small()
    with pytest.raises(KeyboardInterrupt, match="in the fine-tuning"):
        classifier.fit(X, Y)
    assert classifier.predictor_ is None
    assert classifier.score(X_TEST, Y_TEST) > 0.5


# Columns


def test_frames_with_columns_of_several_kinds_and_gaps():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=150)
    table = pd.DataFrame(
        {
            "size": rng.normal(2.0 * y, 1),
            "colour": np.where(
                rng.random(150) < 0.8, np.array(["red", "blue"])[y], "green"
            ),
            "on": (rng.random(150) < 0.2 + 0.6 * y).astype(float),
        }
    )
    table.loc[::5, "size"] = np.nan
    table.loc[1::5, "colour"] = None
    visible = [
        ("gaussian", ["size"]),
        ("categorical", ["colour"]),
        ("bernoulli", ["on"]),
    ]
    for tuning in (TUNING, clone(TUNING).set_params(perturbation=0.0), False):
        classifier = small(visible=visible, allow_missing=True, fine_tuning=tuning)
        classifier.fit(table, np.array(["no", "yes"])[y])
        assert classifier.score(table, np.array(["no", "yes"])[y]) > 0.8
        same = classifier.predict_proba(pl.from_pandas(table))
        assert_allclose(same, classifier.predict_proba(table), atol=1e-6)
        one = classifier.predict_proba(table.iloc[[5]])
        assert_allclose(one, classifier.predict_proba(table)[[5]], atol=1e-4)
        assert np.isfinite(classifier.score_samples(table)).all()


def test_gaps_have_to_be_allowed():
    rows = X.copy()
    rows[0, 0] = np.nan
    with pytest.raises(ValueError, match="allow_missing"):
        small().fit(rows, Y)
    with pytest.raises(ValueError, match="allow_missing"):
        small().fit(X, Y).predict(rows)


def test_counts_have_no_room_for_labels():
    with pytest.raises(ValueError, match="share a total"):
        small(visible="counts").fit(X, Y)


def test_sparse_rows_are_taken():
    dense, thin = small().fit(X, Y), small().fit(sparse.csr_array(X), Y)
    assert_array_equal(thin.predict_proba(sparse.csr_array(X)), dense.predict_proba(X))


def test_data_in_pieces_are_predicted_but_not_fitted(tmp_path):
    classifier = small().fit(X, Y)
    assert_array_equal(np.asarray(classifier.predict(Pieces(X))), classifier.predict(X))
    scores = np.asarray(classifier.score_samples(Pieces(X)))
    assert_allclose(scores, classifier.score_samples(X))
    with pytest.raises(TypeError, match="data in pieces"):
        small().fit(Pieces(X), Y)
    shared = np.memmap(tmp_path / "X", float, "w+", shape=X.shape)
    shared[:] = X
    assert_same_machine(small().fit(shared, Y), classifier)


# scikit-learn


def test_pipeline_and_search():
    pipeline = make_pipeline(MinMaxScaler(), small())
    grid = {
        "dbmclassifier__alpha": [0.2, 1.0],
        "dbmclassifier__fine_tuning__max_iter": [50],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(X * 7, NAMES[Y])
    assert search.best_score_ > 0.85
    assert search.score(X_TEST * 7, NAMES[Y_TEST]) > 0.9
    assert search.best_estimator_[-1].fine_tuning.max_iter == 50


def test_field_of_settings_that_were_not_passed_is_an_error():
    with pytest.raises(ValueError, match=r"skdbm\.FineTuning\(dropout=0\.5\)"):
        DBMClassifier().set_params(fine_tuning__dropout=0.5)


@pytest.mark.parametrize(
    "params",
    [
        {"max_iter": 0},
        {"dropout": 1.0},
        {"learning_rate_init": 0.0},
        {"alpha": -1.0},
        {"perturbation": -0.1},
    ],
)
def test_bad_settings_are_told(params):
    with pytest.raises(ValueError, match="FineTuning"):
        small(fine_tuning=FineTuning(**params)).fit(X, Y)


def test_calibration():
    calibrated = CalibratedClassifierCV(small(), cv=2).fit(X, Y)
    assert calibrated.score(X_TEST, Y_TEST) > 0.85


def test_chunks():
    classifier = small(learning_rate_init=0.02)
    with pytest.raises(ValueError, match="classes must be passed"):
        classifier.partial_fit(X, Y)
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    for _ in range(60):
        for start in range(0, len(X), 40):
            rows = slice(start, start + 40)
            classifier.partial_fit(X[rows], NAMES[Y[rows]], classes=NAMES)
    assert_array_equal(classifier.classes_, NAMES)
    assert classifier.predictor_ is None
    assert classifier.score(X_TEST, NAMES[Y_TEST]) > 0.85
    with pytest.raises(ValueError, match="label 'above'"):
        classifier.partial_fit(X[:1], ["above"])


def test_classes_of_chunks_are_read_as_labels_are():
    few = np.where(np.arange(len(Y)) % 3 == 0, Y, -1)
    classifier = small(unlabeled=-1).partial_fit(X, few, classes=np.unique(few))
    assert_array_equal(classifier.classes_, [0, 1, 2])
    classifier = small().partial_fit(X, Y, classes=[2, 0, None, 1])
    assert_array_equal(classifier.classes_, [0, 1, 2])
    for classes, message in (([], "no label"), ([0, 1, 2, 2.5], "Unknown label type")):
        with pytest.raises(ValueError, match=message):
            small().partial_fit(X, Y, classes=classes)


def test_chunk_of_rows_without_any_label():
    classifier = small().partial_fit(X, np.full(len(X), np.nan), classes=[0, 1, 2])
    assert classifier.predict_proba(X).shape == (len(X), 3)


def test_warm_start_keeps_the_classes():
    classifier = small(warm_start=True).fit(X, Y)
    classifier.fit(X[Y < 2], Y[Y < 2])
    assert_array_equal(classifier.classes_, [0, 1, 2])
    with pytest.raises(ValueError, match="label 3"):
        classifier.fit(X, Y + 1)


@pytest.mark.filterwarnings("ignore:early_stopping did not end")
def test_early_stopping_watches_rows_with_their_labels():
    watched = {"early_stopping": True, "max_iter": 20, "learning_rate_init": 0.05}
    classifier = small(**watched).fit(X, Y)
    sampler = DBMSampler(**settings(**QUICK | watched)).fit(X)
    pairs, rows = (
        np.nanmax(estimator.history_["validation_score"])
        for estimator in (classifier, sampler)
    )
    # A label that is known from its row to nine in ten has an entropy of 0.3 nats.
    assert rows - 1.2 < pairs < rows - 0.05


def test_callbacks_see_the_training():
    monitor = TrainingMonitor()
    classifier = small().set_callbacks(monitor).fit(X, Y)
    stages = [row["stage"] for row in monitor.to_dicts()]
    assert stages.count("training") == classifier.max_iter
    assert classifier.score(X_TEST, Y_TEST) > 0.9


# The machine, and files


def test_filters_are_those_of_the_columns():
    display = FiltersDisplay.from_estimator(small().fit(X, Y), image_shape=(3, 3))
    assert display.filters.shape == (6, 9)


def test_samples_of_one_class():
    params = {"max_iter": 100, "hidden_layer_sizes": 6, "fine_tuning": False}
    classifier = small(**params).fit(X, Y)
    sampler = DBMSampler.from_machine(classifier.machine_, random_state=0)
    given = np.full((1, 10), np.nan)
    given[0, 9] = 2
    rows = sampler.sample(200, given=given)
    assert_array_equal(rows[:, 9], 2)
    assert rows[:, 6:9].mean() > 0.7 > 0.4 > rows[:, :6].mean()


def test_wrapped_machine_predicts_as_it_did_without_fine_tuning():
    plain = small(fine_tuning=False).fit(X, NAMES[Y])
    wrapped = DBMClassifier.from_machine(plain.machine_, classes=NAMES)
    assert_array_equal(wrapped.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(wrapped.predict(X), plain.predict(X))
    assert wrapped.n_features_in_ == 9
    assert_array_equal(DBMClassifier.from_machine(plain.machine_).classes_, [0, 1, 2])
    with pytest.raises(ValueError, match="knows 3 classes"):
        DBMClassifier.from_machine(plain.machine_, classes=["a", "b"])
    for classes in (["b", "a", "c"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match="have to be sorted"):
            DBMClassifier.from_machine(plain.machine_, classes=classes)
    with pytest.raises(ValueError, match="column of classes is expected"):
        DBMClassifier.from_machine(DBMTransformer(max_iter=1).fit(X).machine_)


@pytest.mark.parametrize("fine_tuned", [False, TUNING])
@pytest.mark.parametrize(
    "names", [NAMES, np.array([3, 5, 9]), np.array([True, False, True])]
)
def test_files_and_pickles_keep_all(fine_tuned, names, tmp_path):
    classifier = small(fine_tuning=fine_tuned).fit(X, names[Y])
    classifier.save(tmp_path / "classifier.npz")
    read = DBMClassifier.load(tmp_path / "classifier.npz")
    for other in (read, pickle.loads(pickle.dumps(classifier))):
        assert_array_equal(other.classes_, classifier.classes_)
        assert other.classes_.dtype == classifier.classes_.dtype
        assert_array_equal(other.predict(X), classifier.predict(X))
        assert_array_equal(other.predict_proba(X), classifier.predict_proba(X))
        assert_array_equal(other.score_samples(X), classifier.score_samples(X))
        assert repr(other) == repr(classifier)
    with pytest.raises(ValueError, match="holds a DBMClassifier"):
        DBMSampler.load(tmp_path / "classifier.npz")
