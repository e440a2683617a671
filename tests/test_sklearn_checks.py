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

from skdbm import DBMSampler, DBMTransformer

SMALL = {
    "max_iter": 3,
    "batch_size": 20,
    "n_chains": 20,
    "n_gibbs_steps": 1,
    "n_mean_field_steps": 3,
    "n_annealing_chains": 10,
    "n_temperatures": 20,
    "random_state": 0,
}
TRANSFORMERS = [
    DBMTransformer(hidden_layer_sizes=(6, 4), **SMALL),
    DBMTransformer(hidden_layer_sizes=5, pretraining=None, **SMALL),
]
ESTIMATORS = [
    *TRANSFORMERS,
    DBMSampler(hidden_layer_sizes=(6, 4), burn_in=5, thin=2, **SMALL),
]

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
@parametrize_with_checks(ESTIMATORS)
def test_common_check(estimator, check):
    is_of_the_array_api = "array_api" in str(check)
    if is_of_the_array_api and ARRAY_API not in os.environ:
        pytest.skip("run by test_all_checks_with_array_api_dispatch")
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
def test_all_checks_with_array_api_dispatch():
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {ARRAY_API: "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    counts = dict(
        reversed(pair.split()) for pair in re.findall(r"\d+ [a-z]+", result.stdout)
    )
    assert int(counts["passed"]) > 40 * len(ESTIMATORS)
    assert counts["skipped"] == "1"  # this test alone: no check may be skipped


def test_sample_weight_is_not_offered():
    for estimator in ESTIMATORS:
        for method in (estimator.fit, estimator.partial_fit, estimator.score):
            with pytest.raises(TypeError, match="sample_weight"):
                method([[0.0, 1.0]], sample_weight=[1.0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_tags(estimator):
    tags = estimator.__sklearn_tags__()
    assert tags.input_tags.sparse
    assert tags.input_tags.positive_only
    assert not tags.non_deterministic
    assert not tags.target_tags.required
    if estimator in TRANSFORMERS:
        assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
