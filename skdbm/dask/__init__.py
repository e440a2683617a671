"""Deep Boltzmann machines on data that several machines hold, with Dask."""

try:
    import distributed
except ImportError as error:
    raise ImportError(
        "skdbm.dask needs the package distributed; install it by "
        'pip install "skdbm[dask]".'
    ) from error

from ._estimators import DaskDBMSampler, DaskDBMTransformer

__all__ = ["DaskDBMSampler", "DaskDBMTransformer"]

del distributed
