"""Fitted estimators in files of arrays and JSON, for versions to come."""

import os
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from . import _files, _fitting
from ._parameters import arguments_of, parts_of
from ._trees import Reader, Writer
from ._version import __version__
from .columns import Columns
from .likelihood.log_partition import LogPartition
from .machine import DeepBoltzmannMachine
from .settings import BY_PARAMETER
from .units.contract import UnknownTypeError

#: Files of version 1 will be read for ever: see tests/files.
FORMAT, FORMAT_VERSION = "skdbm.Estimator", 1

#: What parameters may hold besides values of Python, units and encodings.
_CLASSES = tuple(BY_PARAMETER.values())

#: What a file tells of the columns.
_COLUMNS = ("encoding", "categories", "forms", "names", "narrow")

#: Attributes that only some fitted estimators have.
_OPTIONAL = ("feature_names_in_", "_sklearn_output_config", "classes_", "loss_curve_")

#: Those of them that are vectors, of objects perhaps.
_VECTORS = ("feature_names_in_", "classes_")

#: How names of the arrays of a second machine begin, which predicts classes.
_OF_PREDICTOR = "predictor_"


class Saved:
    """Estimators that can be saved and loaded."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file that holds arrays and JSON, no pickle.

        The file has the machine, the hyper-parameters, names and dtypes of the columns
        and the values of categories, the record, and log Z with its error: all that
        scores, features and samples follow from. It appears whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Where to write; the name is used as it is, ``.npz`` is customary.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If categories, or a parameter, are of a type that files do not know; those
            of Python, numpy and pandas for numbers, text and time are known.

        See Also
        --------
        load : Reads the file back.
        skdbm.DeepBoltzmannMachine.save : Writes the machine alone.

        Notes
        -----
        What only a continued training needs is left out: its chains, velocity and
        random streams. `warm_start` and `partial_fit` then go on from the machine, as
        after `from_machine`; to go on where it was, keep a pickle. A `random_state`
        that is no integer becomes None, and a `visible` with functions that choose
        columns becomes the encoding that came of it.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from skdbm import DBMSampler
        >>> sampler = DBMSampler(hidden_layer_sizes=3, max_iter=2, random_state=0)
        >>> sampler = sampler.fit(np.eye(6)[:, :4])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "sampler.npz")
        ...     sampler.save(path)
        ...     again = DBMSampler.load(path)
        >>> bool(np.all(again.sample(9) == sampler.sample(9)))
        True
        """
        header, arrays = _parts(self)
        header |= {"format": FORMAT, "version": FORMAT_VERSION, "skdbm": __version__}
        _files.write(path, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Any:
        """Read an estimator that `save` wrote.

        Nothing in the file is executed, so files of unknown origin are safe to try.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        estimator
            The fitted estimator, whose results are those of the saved one, bit for bit.

        Raises
        ------
        ValueError
            If the file is that of another class or no estimator, is damaged, was
            written by a version of skdbm with a newer format, or names a unit type or
            encoding of your own whose module has not been imported.
        OSError
            If the file cannot be opened.

        See Also
        --------
        save : Writes the file.

        Examples
        --------
        >>> from skdbm import DBMSampler
        >>> DBMSampler.load("nowhere.npz")
        Traceback (most recent call last):
        ...
        FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.npz'
        """
        header, arrays = _files.read(path, FORMAT, FORMAT_VERSION)
        with _files.undamaged(path, (UnknownTypeError,)):
            name = header["class"]
            if name == cls.__name__:
                return _estimator(cls, header, arrays)
        raise ValueError(
            f"{os.fspath(path)!r} holds a {name}; read it by {name}.load, and make a "
            f"{cls.__name__} of its machine_ by from_machine."
        )


def _parts(estimator):
    """Describe a fitted estimator by what JSON can hold, and by named arrays."""
    check_is_fitted(estimator)
    estimator._log_partition()  # whatever was edited counts
    kept, columns = estimator._kept_log_partition, estimator._columns
    optional = {n: getattr(estimator, n) for n in _OPTIONAL if hasattr(estimator, n)}
    state = columns.__getstate__()
    told = {name: state[name] for name in _COLUMNS}
    try:
        Writer(_CLASSES).write(told)
    except TypeError as error:
        raise TypeError(
            f"Categories are of a type that files do not know: {error} Keep a pickle."
        ) from error
    writer = Writer(_CLASSES)
    content = writer.write(
        {
            "params": _params(estimator),
            "columns": told,
            "visible is the same": columns.visible is estimator.visible,
            "n_features_in_": estimator.n_features_in_,
            "optional": optional,
            "seeds": _fitting.outliving_seeds(estimator),
            "history": dict(estimator.history_),
            "n_chains": kept.settings[0],
            "log_partition": dict(kept._values),
            "least_log_partition": float(kept.least),
            "complete": hasattr(estimator, "log_partition_"),
        }
    )
    machine, arrays = parts_of(estimator.machine_)
    header = {
        "class": type(estimator).__name__,
        "content": content,
        "machine": machine,
    }
    predictor = getattr(estimator, "predictor_", None)
    if predictor is not None:
        header["predictor"], own = parts_of(predictor)
        arrays |= {_OF_PREDICTOR + name: array for name, array in own.items()}
    return header, arrays | writer.arrays


def _params(estimator):
    """Give the hyper-parameters that mean something to another process."""
    params = estimator.get_params(deep=False)
    if not isinstance(params["random_state"], Integral):
        params["random_state"] = None
    stand_ins = {
        # Where functions choose the columns.
        "visible": estimator._column_encoding(estimator.machine_.encoding),
        "hidden_layer_sizes": estimator._check_layers(),
    }
    for name, value in params.items():
        try:
            Writer(_CLASSES).write(value)
        except TypeError as error:
            if name not in stand_ins:
                raise TypeError(f"{name}: {error}") from error
            params[name] = stand_ins[name]
    return params


def _estimator(cls, header, arrays):
    """Make the estimator that `_parts` described."""
    own = {name: array for name, array in arrays.items() if name.startswith("array_")}
    content = Reader(_CLASSES, own).read(header["content"])
    second = {
        name.removeprefix(_OF_PREDICTOR): array
        for name, array in arrays.items()
        if name.startswith(_OF_PREDICTOR)
    }
    others = {
        name: array
        for name, array in arrays.items()
        if name not in own and not name.startswith(_OF_PREDICTOR)
    }
    machine = DeepBoltzmannMachine(**arguments_of(header["machine"], others))
    estimator = cls(**content["params"])
    estimator._validate_params()
    _fitting.check_agreement(estimator, machine)
    optional = {k: v for k, v in content["optional"].items() if k in _OPTIONAL}
    for name in {*_VECTORS} & {*optional}:
        if isinstance(optional[name], list):
            optional[name] = np.fromiter(optional[name], object)
    vars(estimator).update(optional)
    estimator.n_features_in_ = content["n_features_in_"]
    estimator._columns = Columns.__new__(Columns)
    visible = estimator.visible if content["visible is the same"] else None
    state = Columns(None).__getstate__() | content["columns"] | {"visible": visible}
    estimator._columns.__setstate__(state)
    _fitting.set_outliving_seeds(estimator, content["seeds"])
    attributes = estimator._attributes(machine, None, content["history"])
    kept = LogPartition(machine, content["n_chains"], estimator._annealing_seed)
    kept.least = content["least_log_partition"]
    kept._values.update(content["log_partition"])
    kept.settle()
    if "predictor" in header:
        predictor = DeepBoltzmannMachine(**arguments_of(header["predictor"], second))
        attributes["predictor_"] = predictor
    vars(estimator).update(attributes | optional | {"_kept_log_partition": kept})
    estimator._finish(complete=content["complete"])
    return estimator
