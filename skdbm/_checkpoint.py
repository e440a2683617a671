"""The course of a training in a file, so that a fit goes on after it was killed.

The file has all of the run but the data, in the middle of an epoch if need be, and what
tells this training from others. It is written whole or not at all.
"""

import errno
import hashlib
import json
import os
import time
from contextlib import nullcontext, suppress

import numpy as np
from scipy import sparse

from . import _files, _fitting, _validation
from ._trees import Reader, Writer
from ._version import __version__
from ._warnings import warn
from .encodings.rows import EncodedRows
from .likelihood.following import FollowedLogPartition
from .machine import DeepBoltzmannMachine
from .sampling.tempering import Ladder
from .settings import Checkpoint, Likelihood
from .training.epoch import Epoch
from .training.mixing import Mixing
from .training.penalty import Penalty
from .training.pretraining import CarriedRows, Greedy, Growth, Stage, TiedRows
from .training.record import EpochRecord
from .training.row_chains import RowChains
from .training.run import Run
from .training.state import Learned, Options, State
from .training.stopping import EarlyStopping, HeldOut

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

FORMAT, FORMAT_VERSION = "skdbm.Checkpoint", 1

#: All that a run is made of, besides arrays, generators, units and encodings.
CLASSES = (
    CarriedRows,
    DeepBoltzmannMachine,
    EarlyStopping,
    EncodedRows,
    Epoch,
    EpochRecord,
    FollowedLogPartition,
    Greedy,
    Growth,
    HeldOut,
    Ladder,
    Learned,
    Likelihood,
    Mixing,
    Options,
    Penalty,
    RowChains,
    Run,
    Stage,
    State,
    TiedRows,
)

#: Parameters that change no result, and those whose meaning is compared instead.
NOT_COMPARED = {"checkpoint", "n_jobs", "verbose", "visible", "hidden"}


def training_file(estimator, X, *, goes_on):
    """Open the file of a training on some rows, if there is to be one."""
    if estimator.checkpoint is None:
        return nullcontext()
    return TrainingFile(estimator, X, goes_on=goes_on)


class TrainingFile:
    """The file of the training of one estimator on some rows, locked while it is open.

    `run` is what it has of a training that stopped half-way, if anything.
    """

    def __init__(self, estimator, X, *, goes_on):
        given = estimator.checkpoint
        settings = given if isinstance(given, Checkpoint) else Checkpoint(given)
        self.estimator, self.seconds = estimator, settings.seconds
        self.identity = identity(estimator, X, goes_on=goes_on)
        self.path = os.fspath(settings.path)
        if os.path.isdir(self.path):
            text = json.dumps(self.identity, sort_keys=True).encode()
            name = hashlib.blake2b(text, digest_size=16).hexdigest()
            self.path = os.path.join(self.path, f"{name}.npz")
        self._lock = Lock(f"{self.path}.lock")
        try:
            _files.remove_parts(self.path)  # of a process that was killed writing
            self.run = self._read(X) if os.path.exists(self.path) else None
        except BaseException:
            self._lock.release()
            raise
        self._saved = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        # What has diverged would do so again.
        if kind is None or issubclass(kind, FloatingPointError):
            with suppress(FileNotFoundError):
                os.remove(self.path)
        self._lock.release()

    def save_if_due(self, run):
        """Write the run if the last time is long ago."""
        if time.monotonic() - self._saved >= self.seconds:
            self.save(run)

    def save(self, run):
        """Write the run; a warning if that fails."""
        writer = Writer(CLASSES, _data(run.source.X, run.stopping))
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "identity": self.identity,
            "seeds": _fitting.outliving_seeds(self.estimator),
            "run": writer.write(run),
        }
        try:
            _files.write(self.path, header, writer.arrays)
        except OSError as error:
            warn(
                f"The checkpoint {self.path!r} could not be written ({error}). The "
                "training goes on, and an older checkpoint stays as it is.",
                UserWarning,
            )
        self._saved = time.monotonic()

    def _read(self, X):
        """Read the run, and take its seeds over."""
        header, arrays = _files.read(self.path, FORMAT, FORMAT_VERSION)
        try:
            others = list(_differences(dict(header["identity"]), self.identity))
            if others:
                raise AnotherTrainingError(
                    f"{self.path!r} is the checkpoint of another training: "
                    f"{'; '.join(others)}. Give another path, or remove the file to "
                    "begin anew."
                )
            _fitting.draw_seeds(self.estimator, keep=False)  # a RandomState moves on
            _fitting.set_outliving_seeds(self.estimator, map(int, header["seeds"]))
            known = _data(*_fitting.hold_out(self.estimator, X))
            run = Reader(CLASSES, arrays, known).read(header["run"])
            if not isinstance(run, Run):
                raise ValueError(f"it holds a {type(run).__name__}")
        except AnotherTrainingError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"The checkpoint {self.path!r} is damaged ({error!r}). Remove it to "
                "begin anew."
            ) from error
        return run


class AnotherTrainingError(ValueError):
    """A checkpoint is that of other parameters, or other data."""


class Lock:
    """A lock on a file, which the system gives back when its process ends."""

    def __init__(self, path):
        self.path = path
        while True:
            self._file = open(path, "ab")  # noqa: SIM115 - as long as the lock
            try:
                self._take()
                # The one that had it before may just have removed the file.
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(path)):
                    return
            except FileNotFoundError:
                pass
            except OSError as error:
                self._file.close()
                if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                    raise
                raise RuntimeError(
                    f"{path.removesuffix('.lock')!r} is the checkpoint of a fit that "
                    "is running. Every fit needs a path of its own; with the path of a "
                    "folder it has one."
                ) from error
            self._file.close()

    def _take(self):
        """Take the lock or raise an OSError."""
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)

    def release(self):
        """Give the lock back."""
        if fcntl is not None:  # elsewhere an open file cannot be removed
            os.remove(self.path)
        self._file.close()


def identity(estimator, X, *, goes_on):
    """Describe what a training follows from, by name."""
    params = {
        name: _described(getattr(estimator, name))
        for name in sorted(_validation.PARAMETER_CONSTRAINTS)
        if name not in NOT_COMPARED
    }
    machine = estimator.machine_ if goes_on else None
    encoding = estimator._columns.encoding if machine is None else machine.encoding
    return params | {
        "hidden": repr([unit.spec() for unit in _fitting.hidden_units(estimator)]),
        "visible": repr(encoding.spec()),
        "the estimator": type(estimator).__name__,
        "the machine it went on from": machine and _fitting.digest(machine),
        "the version of skdbm": __version__,
        "the data": _digest(X),
    }


def _described(value):
    """Describe the value of a parameter by text that another process gives as well."""
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)["state"]
        return f"a RandomState, {_digest(state['key'])} at {state['pos']}"
    if hasattr(value, "get_params"):
        return f"{type(value).__name__}({value.get_params(deep=False)})"
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return repr(tuple(value) if isinstance(value, list) else value)


def _digest(X):
    """Digest of numbers, their shape and dtype."""
    result = hashlib.blake2b(digest_size=16)
    parts = (X.data, X.indices, X.indptr) if sparse.issparse(X) else (X,)
    for part in parts:
        result.update(f"{X.shape} {part.dtype.str}".encode())
        result.update(np.ascontiguousarray(part))
    return result.hexdigest()


def _differences(before, now):
    """Say in what two descriptions differ."""
    for name in dict.fromkeys([*before, *now]):
        one, other = before.get(name), now.get(name)
        if one != other:
            is_digest = name in ("the data", "the machine it went on from")
            yield f"{name} differs" if is_digest else f"{name} was {one}, is {other}"


def _data(X, stopping):
    """Name what is left out of the file, since the fit has it anyway."""
    known = {"rows": X}
    if stopping is not None:
        known |= {"held out": stopping.rows.parts[0], "others": stopping.rows.parts[1]}
    return known
