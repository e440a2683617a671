"""What methods give for data in pieces."""

import inspect
from functools import wraps

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._validation import check_n_features, output_container
from .data import Pieces, are_in_pieces


class Results:
    """What a method gives for data that are read in pieces, computed piece by piece.

    Each iteration reads the data and computes anew; `store` writes into an array on
    disk, say; and `numpy.asarray` puts all into one in memory, as scikit-learn does
    where it needs one. Memory is flat in the number of rows, but for the last. `fit`
    takes it as data in chunks.

    Parameters
    ----------
    method : callable
        What to compute of some rows.
    data : object
        Data as `Pieces` takes them.
    **params : dict
        Passed to the method; where it takes a `random_state`, an integer seeds the
        draws of all pieces together.

    See Also
    --------
    Pieces : Data that are read in pieces.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm import DBMTransformer
    >>> from skdbm.pieces import Pieces
    >>> X = np.eye(4)[np.arange(200) % 4]
    >>> dbm = DBMTransformer(hidden_layer_sizes=3, max_iter=2, random_state=0).fit(X)
    >>> features = dbm.transform(Pieces(X))
    >>> features.store(np.empty((200, 3))).shape
    (200, 3)
    """

    #: How data are told apart: `fit` takes these.
    come_in_chunks = True

    def __init__(self, method, data, **params):
        self.method, self.data, self.params = method, Pieces(data), params

    def __repr__(self):
        name = getattr(self.method, "__name__", repr(self.method))
        return f"<Results of {name} for {self.data!r}>"

    def __iter__(self):
        params = dict(self.params)
        if "random_state" in params:
            params["random_state"] = check_random_state(params["random_state"])
        n_rows = 0
        for part in self.data:
            result = self.method(part, **params)
            n_rows += len(result)
            yield result
        if not n_rows:
            raise ValueError("The data have no rows; at least one is expected.")

    def __array__(self, dtype=None, copy=None):
        result = np.concatenate(list(self))
        return result if dtype is None else result.astype(dtype, copy=False)

    def store(self, out):
        """Write the results into an array, one after the other.

        Parameters
        ----------
        out : object
            What takes ``out[start:stop] = rows``: a `numpy.memmap`, an `h5py.Dataset`,
            a `zarr.Array`.

        Returns
        -------
        object
            `out` itself.

        Raises
        ------
        TypeError
            If `out` is no array.
        ValueError
            If it has another number of rows than there are results; before any work,
            where the number is known.
        """
        if not hasattr(out, "shape") or not hasattr(out, "__setitem__"):
            raise TypeError(
                f"out is a {type(out).__name__}; an array is expected, in memory or on "
                "disk, as long as the data."
            )
        n_rows, done = out.shape[0], 0
        if self.data.is_sliced:
            _check_rows(n_rows, self.data.source.shape[0])
        for part in self:
            done += len(part)
            if done > n_rows:
                break
            out[done - len(part) : done] = part
        _check_rows(n_rows, done)
        return out


def in_pieces(method):
    """Let a method of rows give `Results` for data that are read in pieces."""
    draws = "random_state" in inspect.signature(method).parameters

    @wraps(method)
    def general(self, X, **params):
        if not _gives_pieces(X):
            return method(self, X, **params)
        check_is_fitted(self)
        self._validate_params()
        if method.__name__ == "transform":
            check_default_output(self)
        if draws and params.get("random_state") is None:
            params["random_state"] = self.random_state
        results = Results(general.__get__(self), X, **params)
        if results.data.is_sliced:
            check_n_features(self, results.data.source)
        return results

    return general


def _gives_pieces(X):
    """Whether results of data come in pieces."""
    # A memory map is an array to all others, and so is what comes of it.
    return are_in_pieces(X) and not isinstance(X, np.memmap)


def check_default_output(estimator):
    """Raise an error if features have to be a frame, since pieces are arrays."""
    container = output_container(estimator)
    if container != "default":
        raise ValueError(
            f"Features of data that are read in pieces are arrays, and set_output asks "
            f"for {container}; choose set_output(transform='default')."
        )


def parts(X):
    """Give rows some at a time, where they are read in pieces, or all at once."""
    return Pieces(X) if _gives_pieces(X) else [X]


def mean(scores):
    """Mean of scores, which may come in pieces."""
    if not isinstance(scores, Results):
        return float(np.mean(scores))
    total = n_rows = 0
    for part in scores:
        total, n_rows = total + float(np.sum(part)), n_rows + len(part)
    return total / n_rows


def _check_rows(has, needs):
    """Check the number of rows of what results are stored in."""
    if has != needs:
        raise ValueError(
            f"out has {has} rows, and there are {needs} results (or more); make it as "
            "long as the data."
        )
