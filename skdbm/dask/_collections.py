"""Dask arrays and frames as parts of rows, and results of parts as dask arrays."""

from concurrent.futures import CancelledError

import dask
import dask.array as da
import numpy as np
from distributed import default_client
from scipy import sparse


class NoClientError(ValueError, AttributeError):
    """There is no Dask client, and `client_` no attribute, as displays ask."""


def is_collection(X):
    """Whether `X` is a dask array or DataFrame."""
    return isinstance(X, da.Array) or (
        dask.is_dask_collection(X) and hasattr(X, "divisions") and X.ndim == 2
    )


def check_collection(X, name, local):
    """Raise an error if `X` is no collection of rows."""
    if not is_collection(X):
        raise TypeError(
            f"{name} got a {type(X).__name__}; a dask array or DataFrame is expected. "
            "Make one with dask.array.from_array(X, chunks=(n_rows, -1)) or "
            f"dask.dataframe.from_pandas, or fit a {local}, which takes this as it is."
        )
    if X.ndim != 2:
        raise ValueError(
            f"{name} got a dask array of {X.ndim} dimensions; two are expected, rows "
            "and columns."
        )


def parts_of(X):
    """Give the parts of a collection, delayed: blocks of rows with all columns."""
    if isinstance(X, da.Array):
        return X.rechunk({1: -1}).to_delayed().ravel().tolist()
    return X.to_delayed()


def from_parts(function, X, local, width, dtype):
    """Give the lazy array of what a function makes of each part with an estimator.

    It has `width` columns, or none for None.
    """
    lengths = X.chunks[0] if isinstance(X, da.Array) else [np.nan] * X.npartitions
    rest = () if width is None else (width,)
    local, function = dask.delayed(local), dask.delayed(function)
    blocks = [
        da.from_delayed(function(local, part, rest, dtype), (n, *rest), dtype)
        for part, n in zip(parts_of(X), lengths, strict=True)
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


def float_dtype(X):
    """Dtype of features of a collection: float32 where all columns are."""
    dtypes = [X.dtype] if isinstance(X, da.Array) else X.dtypes
    single = {str(dtype).lower() for dtype in dtypes} == {"float32"}
    return np.dtype(np.float32 if single else np.float64)


def client_of(client):
    """Give the client, or the one that is current; an error if it has no workers."""
    if client is None:
        try:
            client = default_client()
        except ValueError as error:
            raise NoClientError(
                "There is no Dask client; start one with distributed.Client(...), or "
                "pass it as client=."
            ) from error
    if client.asynchronous:
        raise NoClientError(
            "The Dask client is asynchronous, and fit waits for results; make one with "
            "distributed.Client(..., asynchronous=False)."
        )
    if client.status in ("closing", "closed"):
        raise NoClientError(
            "The Dask client is closed; start another, and pass it by "
            "set_params(client=...) or have it be the current one."
        )
    return client


def check_workers(client):
    """Raise an error if the cluster has no workers."""
    if not client.nthreads():
        raise RuntimeError(
            "The Dask cluster has no workers, so that nothing would ever be trained. "
            "Start some, for example with cluster.scale(2), and wait for them with "
            "client.wait_for_workers(2)."
        )


def gathered(client, futures):
    """Bring results to this process; an error that says so if rows are lost."""
    try:
        return client.gather(futures)
    except CancelledError as error:
        raise RuntimeError(
            "Rows were lost with a worker and cannot be read again, or tasks were "
            f"cancelled ({error}). Scattered data live on workers alone: make the "
            "collection from what can be read again, for example by "
            "dask.array.from_array, dask.array.from_delayed of a function that reads, "
            "or dask.dataframe.read_parquet; or scatter with broadcast=True."
        ) from error


def length(part):
    """Count the rows of a part."""
    return int(part.shape[0])


def chosen(part, rows):
    """Some rows of a part, by number."""
    return part.iloc[rows] if hasattr(part, "iloc") else part[rows]


def concatenated(parts):
    """Put parts of rows together."""
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts)
    if sparse.issparse(parts[0]):
        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)
