"""scikit-learn's own checks, with and without array API dispatch."""

import os
import re
import subprocess
import sys

import pytest
import scipy
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from skdbm import (
    DBMClassifier,
    DBMSampler,
    DBMTransformer,
    FineTuning,
    Likelihood,
    Pretraining,
)
from skdbm.encodings import Categories, Probabilities

SMALL = {
    "max_iter": 2,
    "batch_size": 20,
    "n_chains": 20,
    "n_gibbs_steps": 1,
    "n_mean_field_steps": 3,
    "likelihood": Likelihood(n_chains=10),
    "random_state": 0,
}
TRANSFORMERS = [
    DBMTransformer(hidden_layer_sizes=(6, 4), **SMALL),
    DBMTransformer(hidden_layer_sizes=5, pretraining=None, **SMALL),
    DBMTransformer(
        hidden_layer_sizes=(4, 3),
        pretraining=Pretraining("grow", max_iter=2),
        **SMALL | {"likelihood": None},
    ),
]
#: Every visible type, and what else changes how data are read.
VISIBLE = [
    {"visible": "gaussian"},
    {"visible": "categorical"},
    {"visible": "counts"},
    {"visible": [("bernoulli", slice(0, None, 2)), ("gaussian", slice(1, None, 2))]},
    {"visible": [("gaussian", slice(0, 1)), ("categorical", slice(1, None))]},
    {"visible": "gaussian", "allow_missing": True},
    {"visible": Categories(handle_unknown="missing"), "allow_missing": True},
    {"visible": Probabilities(redraw=False)},
]
#: So few chains are left alone: how data are read has nothing to do with exchanges.
ALONE = SMALL | {"n_chains": 10}
TRANSFORMERS += [
    DBMTransformer(hidden_layer_sizes=(5, 3), **visible, **ALONE) for visible in VISIBLE
]
#: Long enough to learn the classes of the checks.
TUNED = SMALL | {"fine_tuning": FineTuning(max_iter=30)}
CLASSIFIERS = [
    DBMClassifier(hidden_layer_sizes=(6, 4), **TUNED),
    DBMClassifier(hidden_layer_sizes=5, visible="gaussian", **TUNED),
    DBMClassifier(
        hidden_layer_sizes=5,
        visible=[("gaussian", slice(0, 1)), ("categorical", slice(1, None))],
        allow_missing=True,
        **TUNED,
    ),
    DBMClassifier(hidden_layer_sizes=(6, 4), fine_tuning=False, **SMALL),
]
SAMPLERS = [
    DBMSampler(hidden_layer_sizes=(6, 4), **SMALL),
    *(DBMSampler(hidden_layer_sizes=4, **visible, **ALONE) for visible in VISIBLE),
]
ESTIMATORS = [*TRANSFORMERS, *CLASSIFIERS, *SAMPLERS]
#: Those that read their columns by the code by which others of every day do it.
NOW_AND_THEN = [*CLASSIFIERS[1:3], *SAMPLERS[2:]]

#: Checks of every estimator that `parametrize_with_checks` leaves out.
LEFT_OUT = [
    "check_dataframe_column_names_consistency",
    "check_estimators_partial_fit_n_features",
    "check_inplace_ensure_writeable",
    "check_param_validation",
]

#: Those of transformers.
LEFT_OUT_OF_TRANSFORMERS = [
    "check_get_feature_names_out_error",
    "check_set_output_transform",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]

#: Those that fit a frame and transform an array or the reverse: scikit-learn warns.
LEFT_OUT_WITH_NAMES_LOST = [
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
]

#: The data of many checks goes beyond 1, which the estimators clip with a warning.
values_are_clipped = pytest.mark.filterwarnings(
    "ignore:.* clips them:sklearn.exceptions.DataConversionWarning"
)

ARRAY_API = "SCIPY_ARRAY_API"


@values_are_clipped
@parametrize_with_checks([one for one in ESTIMATORS if one not in NOW_AND_THEN])
def test_common_check(estimator, check):
    _check(estimator, check)


@pytest.mark.slow
@values_are_clipped
@parametrize_with_checks(NOW_AND_THEN)
def test_common_check_now_and_then(estimator, check):
    _check(estimator, check)


def _check(estimator, check):
    is_of_the_array_api = "array_api" in str(check)
    if is_of_the_array_api and ARRAY_API not in os.environ:
        pytest.skip("run by test_checks_with_array_api_dispatch")
    check(estimator)


def _run(check, estimator):
    function = getattr(estimator_checks, check)
    function(type(estimator).__name__, clone(estimator))


@values_are_clipped
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("check", LEFT_OUT)
def test_check_left_out(estimator, check):
    _run(check, estimator)


@values_are_clipped
@pytest.mark.parametrize("estimator", TRANSFORMERS)
@pytest.mark.parametrize("check", LEFT_OUT_OF_TRANSFORMERS)
def test_check_left_out_of_transformers(estimator, check):
    _run(check, estimator)


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
@pytest.mark.parametrize("estimator", TRANSFORMERS)
@pytest.mark.parametrize("check", LEFT_OUT_WITH_NAMES_LOST)
def test_check_left_out_of_output_frames(estimator, check):
    _run(check, estimator)


@pytest.mark.skipif(
    parse_version(scipy.__version__) < parse_version("1.14"),
    reason="scikit-learn dispatches from scipy 1.14 on",
)
@pytest.mark.skipif(ARRAY_API in os.environ, reason="would start itself again")
@pytest.mark.parametrize(
    ("which", "n_checks"),
    [
        pytest.param("test_common_check and array_api", 1, id="its own"),
        pytest.param("test_common_check", 40, marks=pytest.mark.slow, id="all"),
    ],
)
def test_checks_with_array_api_dispatch(which, n_checks):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-m", ""]  # of every estimator
    result = subprocess.run(
        [*command, "-k", which, __file__],
        env=os.environ | {ARRAY_API: "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    counts = dict(
        reversed(pair.split()) for pair in re.findall(r"\d+ [a-z]+", result.stdout)
    )
    assert int(counts["passed"]) >= n_checks * len(ESTIMATORS)
    assert "skipped" not in counts


def test_sample_weight_is_not_offered():
    for estimator in ESTIMATORS:
        methods = [estimator.fit, estimator.partial_fit]
        if estimator not in CLASSIFIERS:  # an accuracy may be weighted
            methods.append(estimator.score)
        for method in methods:
            with pytest.raises(TypeError, match="sample_weight"):
                method([[0.0, 1.0]], [0], sample_weight=[1.0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_tags(estimator):
    tags = estimator.__sklearn_tags__()
    assert not tags.non_deterministic
    assert tags.target_tags.required == (estimator in CLASSIFIERS)
    if estimator in TRANSFORMERS:
        assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, {"sparse", "positive_only"}),
        ({"allow_missing": True}, {"sparse", "positive_only", "allow_nan"}),
        ({"visible": "gaussian"}, set()),
        ({"visible": "gaussian", "allow_missing": True}, {"allow_nan"}),
        ({"visible": "categorical"}, {"categorical", "string"}),
        ({"visible": "counts"}, {"sparse", "positive_only", "categorical"}),
        (
            {"visible": "counts", "allow_missing": True},
            {"sparse", "positive_only", "categorical"},
        ),
        (
            {"visible": [("categorical", [0]), ("bernoulli", [1])]},
            {"categorical", "string", "positive_only"},
        ),
        ({"visible": [("bernoulli", [0]), ("bernoulli", [1])]}, {"positive_only"}),
        ({"visible": "unheard of"}, {"sparse", "positive_only"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
@pytest.mark.parametrize("cls", [DBMSampler, DBMTransformer])
def test_tags_tell_what_the_columns_may_hold(cls, params, wanted):
    tags = cls(**params).__sklearn_tags__().input_tags
    names = ("sparse", "positive_only", "categorical", "string", "allow_nan")
    assert {name for name in names if getattr(tags, name)} == wanted
