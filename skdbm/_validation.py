"""The one place that touches scikit-learn's private validation helpers."""

import numbers
import os
from collections.abc import Iterable
from functools import wraps
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.exceptions import DataConversionWarning
from sklearn.utils._indexing import _get_column_indices
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_n_features,
    validate_data,
)

from . import ops
from ._warnings import warn
from .encodings import Encoding, Real
from .settings import FineTuning, Likelihood, Pretraining
from .units import UnitType

#: Numbers of chains above this one are warned of.
MANY_CHAINS = 20_000

#: Bytes of a unit of a chain in training: its state, the working memory and both
#: factors of the gradient, in float32.
BYTES_OF_A_UNIT = 16

_AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
_NOT_NEGATIVE = Interval(numbers.Real, 0, None, closed="left")

#: Constraints of the hyper-parameters that all estimators share.
PARAMETER_CONSTRAINTS = {
    "hidden_layer_sizes": ["array-like", _AT_LEAST_ONE],
    "max_iter": [_AT_LEAST_ONE, None],
    "batch_size": [_AT_LEAST_ONE],
    "learning_rate_init": [
        StrOptions({"auto"}),
        Interval(numbers.Real, 0, None, closed="neither"),
    ],
    "alpha": [StrOptions({"auto"}), _NOT_NEGATIVE],
    "n_chains": [_AT_LEAST_ONE],
    "n_gibbs_steps": [_AT_LEAST_ONE],
    "n_mean_field_steps": [_AT_LEAST_ONE],
    "n_posterior_gibbs_steps": [Interval(Integral, 0, None, closed="left")],
    "pretraining": [StrOptions({"grow", "greedy"}), Pretraining, None],
    "likelihood": [Likelihood, None],
    "visible": [str, Encoding, UnitType, list, tuple],
    "hidden": [StrOptions({"bernoulli"}), UnitType, list, tuple],
    "allow_missing": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
    "evaluate_every": [_AT_LEAST_ONE],
    "n_iter_no_change": [_AT_LEAST_ONE],
    "tol": [_NOT_NEGATIVE],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "n_jobs": [Integral, None],
}

#: Constraints of a hyper-parameter of one estimator alone.
FEATURE_LAYERS = [StrOptions({"last", "all"}), "array-like", Integral]

#: Constraints of hyper-parameters of classifiers alone.
OF_CLASSIFIERS = {"unlabeled": "no_validation", "fine_tuning": ["boolean", FineTuning]}

#: Constraints of hyper-parameters of the estimators for Dask alone.
OF_DASK = {"updates_per_round": [_AT_LEAST_ONE], "client": "no_validation"}

#: Constraints of the fields of value objects.
SETTINGS_CONSTRAINTS = {
    "likelihood": {
        "n_chains": [Interval(Integral, 2, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 0, None, closed="left")],
        "mean_field_tol": [_NOT_NEGATIVE],
        "mean_field_max_iter": [_AT_LEAST_ONE],
    },
    "pretraining": {
        "method": [StrOptions({"grow", "greedy"})],
        "max_iter": [_AT_LEAST_ONE, None],
    },
    "fine_tuning": {
        "max_iter": [_AT_LEAST_ONE, None],
        "learning_rate_init": [Interval(numbers.Real, 0, None, closed="neither")],
        "alpha": [_NOT_NEGATIVE],
        "perturbation": [_NOT_NEGATIVE],
        "dropout": [Interval(numbers.Real, 0, 1, closed="left")],
    },
}


class TrainingInterrupted(KeyboardInterrupt):
    """An interrupt after which the estimator is fitted with what was learned."""


def check_settings(estimator):
    """Check the fields of value objects that were passed."""
    for name, constraints in SETTINGS_CONSTRAINTS.items():
        value = getattr(estimator, name, None)
        if hasattr(value, "get_params"):
            validate_parameter_constraints(
                constraints, value.get_params(deep=False), type(value).__name__
            )


def check_nested(estimator, params, classes):
    """Raise an error where a field is set of a value object that was not passed."""
    for key in params:
        name, is_nested, field = key.partition("__")
        if not is_nested or name not in classes:
            continue
        value = params.get(name, getattr(estimator, name))
        if not hasattr(value, "set_params"):
            kind = classes[name].__name__
            raise ValueError(
                f"{key} cannot be set, since {name} is {value!r}; pass "
                f"{name}=skdbm.{kind}({field}={params[key]!r}) instead, once, and its "
                "fields can be set and searched from then on."
            )


def fit_method(method):
    """Check the parameters first; put the estimator back as it was on any error."""
    checked = _fit_context(prefer_skip_nested_validation=True)(method)

    @wraps(method)
    def guarded(estimator, *args, **kwargs):
        # scikit-learn leaves this out where `partial_fit` goes on.
        estimator._validate_params()
        before = dict(vars(estimator))
        try:
            return checked(estimator, *args, **kwargs)
        except TrainingInterrupted:
            raise
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            raise

    return guarded


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Check that a method's argument is an integer that is large enough."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{name}={value!r}; {kind} is expected.")


def check_n_importance_samples(value):
    """Check that a number of samples is one, or None."""
    if value is not None:
        check_count("n_importance_samples", value, least=0)


def check_not_negative(name: str, value: Any) -> None:
    """Check that an argument is a number that is not negative."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not value >= 0:
        raise ValueError(f"{name}={value!r}; a number from 0 on is expected.")


def check_n_chains(n_chains, n_rows, n_units):
    """Check that memory holds the chains; warn if they, not the rows, take the time."""
    needed, memory = n_chains * n_units * BYTES_OF_A_UNIT, _memory()
    if needed > memory:
        raise ValueError(
            f"n_chains={n_chains} Gibbs chains of {n_units} units need "
            f"{needed / 2**30:,.0f} GiB, and there are {memory / 2**30:,.0f} GiB of "
            "memory. A few hundred are enough."
        )
    if n_chains > max(MANY_CHAINS, n_rows):
        warn(
            f"n_chains={n_chains} Gibbs chains for {n_rows} rows will take long: each "
            "update moves all of them. A few hundred are enough.",
            UserWarning,
        )


def _memory():
    """Bytes of memory of this computer; infinity where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return np.inf


def check_n_features(estimator, X):
    """Check that data, of which nothing is read, have the columns of `fit`."""
    _check_n_features(estimator, X, reset=False)


def check_feature_names_in(estimator, input_features):
    """Check names of columns against those seen in `fit`."""
    _check_feature_names_in(estimator, input_features, generate_names=False)


def check_layer_sizes(sizes):
    """Turn `hidden_layer_sizes` into a tuple of positive integers."""
    sizes = sizes.item() if isinstance(sizes, np.ndarray) and not sizes.ndim else sizes
    result = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,)
    if not result or not all(isinstance(n, Integral) and n >= 1 for n in result):
        raise ValueError(
            f"hidden_layer_sizes={sizes!r}; expected a positive integer or a non-empty "
            "tuple of positive integers, one for each hidden layer."
        )
    return tuple(int(n) for n in result)


def check_feature_layers(layers, n_hidden):
    """Turn `feature_layers` into indices of hidden layers, 1 being the lowest."""
    if isinstance(layers, str):
        named = {"last": [n_hidden], "all": list(range(1, n_hidden + 1))}
        result = named.get(layers, [])
    else:
        result = np.asarray(layers, dtype=object).ravel().tolist()
    valid = all(isinstance(n, Integral) for n in result)
    resolved = [n + n_hidden + 1 if n < 0 else n for n in result] if valid else []
    valid = valid and all(1 <= n <= n_hidden for n in resolved)
    if not resolved or not valid or len(set(resolved)) < len(resolved):
        raise ValueError(
            f'feature_layers={layers!r}; expected "last", "all", or indices of hidden '
            f"layers from 1 to {n_hidden} (or -1 to -{n_hidden}, from the top), each "
            "once."
        )
    return resolved


def column_indices(X, key):
    """Turn names, indices, a slice, a mask or a selector into indices of columns."""
    key = key(X) if callable(key) else key
    return np.asarray(_get_column_indices(X, key), dtype=np.intp)


def is_frame(X):
    """Whether data are a DataFrame, of pandas or polars."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "get_column"))


def output_container(estimator):
    """Which container `set_output` or the global configuration asks for."""
    return _get_output_config("transform", estimator)["dense"]


def check_container(
    estimator, X, *, reset, allow_missing, may_be_missing, by_column, sparse_too
):
    """Check the form of data: numbers, dense or CSR, or columns as they are."""
    if by_column and is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        if 0 in X.shape:
            raise ValueError(f"Found a DataFrame of shape {X.shape}: it has no data.")
        return X
    X = validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr" if sparse_too else False,
        dtype=None if by_column else (np.float64, np.float32),
        # What a sparse matrix does not store is zero, so nothing in it is missing.
        ensure_all_finite=True if sparse.issparse(X) else "allow-nan",
    )
    missing = None if by_column or allow_missing else ops.missing(X)
    if missing is not None:
        gaps = np.flatnonzero(missing.any(axis=0)).tolist()
        check_gaps(gaps, type(estimator).__name__, may_be_missing)
    if sparse.issparse(X):
        X = type(X)((X.data, X.indices, X.indptr), shape=X.shape)  # the caller's stays
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    return X


def check_gaps(gaps, name, may_be_missing):
    """Raise an error if there are columns with missing values, and say what to do."""
    if not gaps:
        return
    listed = ", ".join(map(repr, gaps[:10])) + (", ..." if len(gaps) > 10 else "")
    raise ValueError(
        f"Input X contains NaN: {name} got missing values in columns [{listed}]. "
        + (
            "Set allow_missing=True to average over them"
            if may_be_missing
            else "Units that share a total, as counts do, cannot be missing, nor can "
            "what stands beside them: leave such rows out"
        )
        + ", or fill them first, for example with sklearn.impute.SimpleImputer."
    )


def check_first_chunk(X, columns):
    """Check that the spread of real values can be told from a first chunk."""
    constant = []
    for part, places in columns.encoding.columns(X.shape[1]):
        if isinstance(part, Real):
            lowest, highest = ops.column_ends(X[:, places])
            indices = np.arange(X.shape[1])[places]
            constant += indices[~(lowest < highest)].tolist()
    if not constant:
        return
    names = ", ".join(repr(columns.name(index)) for index in constant[:10])
    advice = (
        "The first chunk of partial_fit decides how real values are scaled: give it "
        "more rows, or call fit on some rows first and go on from there."
    )
    if X.shape[0] == 1:
        raise ValueError(f"Columns [{names}] of real values have one row. {advice}")
    warn(
        f"Columns [{names}] of real values do not vary in the first chunk, and are "
        f"left unscaled. {advice}",
        UserWarning,
    )


def check_far(X, encoding, names, *, highest):
    """Raise an error for a column with values too far away to compute with."""
    for part, columns in encoding.columns(X.shape[1]):
        if np.isfinite(part.bounds).any() or sparse.issparse(X):
            continue
        ends = np.stack(ops.column_ends(X[:, columns])).astype(np.float64)
        distances = part.distances(ends)
        far = np.flatnonzero((distances > highest).any(axis=0))
        if not len(far):
            continue
        index = np.arange(X.shape[1])[columns][far[0]]
        value = ends[distances[:, far[0]].argmax(), far[0]]
        raise ValueError(
            f"Column {names(index)!r} holds {value:g}, too far from its other values "
            "to compute with. If it stands for a missing value, put NaN in its place; "
            "else rescale the column."
        )


def check_bounds(X, encoding, name, *, training):
    """Check and clip values of the columns; in training too small ones are an error."""
    # Below the range are data of another kind; a held-out row may leave the range of
    # the training data.
    for part, columns in encoding.columns(X.shape[1]):
        whole = isinstance(columns, slice)
        values = X.data if sparse.issparse(X) else X if whole else X[:, columns]
        clipped = _clip(values, part, name, training=training)
        part.check(clipped)
        if clipped is values:
            continue
        if sparse.issparse(X):
            X = type(X)((clipped, X.indices, X.indptr), shape=X.shape)
        elif whole:
            X = clipped
        else:
            X = X.copy()
            X[:, columns] = clipped
    return X


def _clip(values, encoding, name, *, training):
    """Clip values to the range of an encoding, to rounding of the dtype."""
    lowest, highest = encoding.bounds
    if values.size == 0:
        return values
    # Not NaN but where all is; and no array of the size of the data is made.
    smallest = np.fmin.reduce(values, axis=None)
    largest = np.fmax.reduce(values, axis=None)
    if np.isnan(smallest):
        return values
    tolerance = np.sqrt(np.finfo(values.dtype).eps)
    if training and smallest < lowest - tolerance:
        raise ValueError(
            f"Negative values in data passed to {name}: the smallest is "
            f"{smallest:.3g}, and {encoding!r} columns take values from {lowest} to "
            f"{highest}.{_advice(highest)}"
        )
    if smallest < lowest - tolerance or largest > highest + tolerance:
        warn(
            f"{name} got values from {smallest:.3g} to {largest:.3g} and clips them to "
            f"the range of {encoding!r} columns, {lowest} to {highest}."
            f"{_advice(highest)}",
            DataConversionWarning,
        )
    if smallest < lowest or largest > highest:
        return np.clip(values, lowest, highest)
    return values


def _advice(highest):
    """Say what to do with values that are out of range, where scaling would help."""
    if not np.isfinite(highest):
        return ""
    return (
        " Scale the columns with MinMaxScaler(clip=True), not StandardScaler, or "
        "choose visible='gaussian' for real values."
    )
