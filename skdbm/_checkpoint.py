"""The course of a training in a file, so that a fit goes on after it was killed.

The file has all of the run but the data, in the middle of an epoch if need be, and what
tells this training from others. It is written whole or not at all.
"""

import errno
import glob
import hashlib
import itertools
import json
import os
import time
from contextlib import contextmanager, suppress

import joblib
import numpy as np
from scipy import sparse

from . import _files, _fitting, _validation, ops
from ._callbacks import MachineCallback
from ._trees import Reader, Writer
from ._version import __version__
from ._warnings import warn
from .encodings.rows import EncodedRows, are_in_pieces
from .likelihood.following import FollowedLogPartition
from .machine import DeepBoltzmannMachine
from .sampling.tempering import Ladder
from .settings import Likelihood
from .training.epoch import Epoch
from .training.mixing import Mixing
from .training.order import Order
from .training.penalty import Penalty
from .training.pretraining import CarriedRows, Greedy, Growth, Stage, TiedRows
from .training.record import DivergenceError, EpochRecord
from .training.row_chains import RowChains
from .training.run import Pace, Run
from .training.state import Learned, Options, State
from .training.stopping import EarlyStopping, HeldOut
from .units.contract import UnknownTypeError

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
    Order,
    Pace,
    Penalty,
    RowChains,
    Run,
    Stage,
    State,
    TiedRows,
)

#: Parameters that change no result, and those whose meaning is compared instead.
NOT_COMPARED = {"n_jobs", "verbose", "visible", "hidden"}


class Checkpoint(MachineCallback):
    """A file from which a fit goes on after its process was killed.

    Set it on an estimator of this package. The course of `fit` is then written to the
    file from time to time. A `fit` with the same parameters and data, in a new process
    as a rule, goes on from there, and its result is that of a fit that was never
    stopped, bit for bit. The file is removed once the fit has ended.

    Parameters
    ----------
    path : str or path-like
        The file, or a folder that exists, in which each training has a file of its own,
        named after its parameters and data: for searches, whose fits run at a time.
    seconds : float, default=60
        The course of the training is written every so many seconds, also in the middle
        of an epoch, and once before log Z. 0 means after every update.

    Raises
    ------
    ValueError
        If `path` is empty or `seconds` no number from 0 on; in `fit`, if the file is
        the checkpoint of other parameters or data, which are named, or no checkpoint,
        or is damaged.
    RuntimeError
        In `fit`, if another fit has the file.
    OSError, TypeError
        In `fit`, before any work, if the file cannot be written or a parameter not be
        described in it. If it cannot be written later on, that is a warning, and the
        training goes on.

    See Also
    --------
    TrainingMonitor : Keeps the record of every epoch.
    skdbm.DBMSampler.save : Keeps the fitted estimator.

    Notes
    -----
    It is a callback, and no hyper-parameter, since it changes no result: so
    `get_params`, searches and saved models need not know of it; clones share it. The
    file holds arrays and JSON, no pickle, and the data are not in there. `n_jobs` and
    `verbose` may change from one start to the next. `partial_fit` takes no notice of
    it. A file ending in ``.lock`` beside the path may stay after a kill; it means
    nothing then.
    Callbacks hear of the epochs of this process alone, and count them from 1.

    Examples
    --------
    >>> import os, tempfile
    >>> from skdbm import DBMTransformer
    >>> from skdbm.callback import Checkpoint
    >>> dbm = DBMTransformer(hidden_layer_sizes=2, max_iter=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "training.npz")
    ...     dbm = dbm.set_callbacks(Checkpoint(path, seconds=10)).fit([[0, 1], [1, 0]])
    ...     os.listdir(folder)  # the fit has ended, and nothing is left
    []
    """

    _lacking, _example = "no training of its own", "checkpoint"

    def __init__(self, path: str | os.PathLike[str], *, seconds: float = 60) -> None:
        _validation.check_not_negative("seconds", seconds)
        self.path, self.seconds = os.fspath(path), seconds
        if not self.path:
            raise ValueError("path is empty; that of a file or a folder is expected.")


@contextmanager
def training(estimator, X, *, goes_on):
    """Give the run of a training, and the file that keeps it, if there is to be one."""
    callbacks = getattr(estimator, "_skl_callbacks", ())
    found = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    if len(found) > 1:
        raise ValueError(f"There are {len(found)} Checkpoints; one is expected.")
    if not found:
        yield _fitting.new_run(estimator, X, goes_on=goes_on), None
        return
    with TrainingFile(found[0], estimator, X, goes_on=goes_on) as file:
        run = file.run
        if run is None:
            run = _fitting.new_run(estimator, X, goes_on=goes_on)
            file.write(run)  # what cannot be kept is said before any work
        yield run, file


class TrainingFile:
    """The file of the training of one estimator on some rows, locked while it is open.

    `run` is what it has of a training that stopped half-way, if anything.
    """

    def __init__(self, checkpoint, estimator, X, *, goes_on):
        path, self.seconds = os.path.abspath(checkpoint.path), checkpoint.seconds
        self.estimator = estimator
        self.identity = identity(estimator, X, goes_on=goes_on)
        self.path, self._lock = self._locked(path)
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
        # What has diverged would do so again. No more than a file is lost by now.
        if kind is None or issubclass(kind, DivergenceError):
            with suppress(OSError):
                os.remove(self.path)
        self._lock.release()

    def _locked(self, path):
        """Lock the file, or the first in the folder that no equal fit has."""
        if not os.path.isdir(path):
            return path, Lock(f"{path}.lock")
        text = json.dumps(self.identity, sort_keys=True).encode()
        name = hashlib.blake2b(text, digest_size=16).hexdigest()
        place = os.path.join(path, name)
        left = sorted(glob.glob(f"{glob.escape(place)}-*.npz"))  # by a kill
        others = (f"{place}-{number}.npz" for number in itertools.count())
        for own in itertools.chain(left, others):
            with suppress(InUseError):
                return own, Lock(f"{own}.lock")
        raise AssertionError

    def save_if_due(self, run):
        """Write the run if the last time is long ago."""
        if time.monotonic() - self._saved >= self.seconds:
            self.save(run)

    def save(self, run):
        """Write the run; a warning if the file cannot be written."""
        try:
            self.write(run)
        except OSError as error:
            warn(
                f"The checkpoint {self.path!r} could not be written ({error}). The "
                "training goes on, and an older checkpoint stays as it is.",
                UserWarning,
            )
        self._saved = time.monotonic()

    def write(self, run):
        """Write the run and what tells it from others; an error if that fails."""
        writer = Writer(CLASSES, _data(run.source.X, run.stopping))
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "identity": self.identity,
            "seeds": _fitting.outliving_seeds(self.estimator),
            "run": writer.write(run),
        }
        _files.write(self.path, header, writer.arrays)

    def _read(self, X):
        """Read the run, and take its seeds over."""
        header, arrays = _files.read(self.path, FORMAT, FORMAT_VERSION)
        passing = AnotherTrainingError, UnknownTypeError
        with _files.undamaged(self.path, passing):
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
        return run


class AnotherTrainingError(ValueError):
    """A checkpoint is that of other parameters, or other data."""


class InUseError(RuntimeError):
    """Another fit has the checkpoint."""


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
                raise InUseError(
                    f"{path.removesuffix('.lock')!r} is the checkpoint of a fit that "
                    "is running. Every fit needs a path of its own; in a folder it has "
                    "one."
                ) from error
            self._file.close()

    def _take(self):
        """Take the lock or raise an OSError."""
        if fcntl is None:
            msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            warn(
                f"The file system of {self.path!r} has no locks ({error}): see to it "
                "that no other fit has this checkpoint.",
                UserWarning,
            )

    def release(self):
        """Give the lock back."""
        if fcntl is not None:  # elsewhere an open file cannot be removed
            with suppress(OSError):
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
    encoding = estimator._machine_encoding() if machine is None else machine.encoding
    return params | {
        "hidden": repr([unit.spec() for unit in _fitting.hidden_units(estimator)]),
        "visible": repr(encoding.spec()),
        "the estimator": type(estimator).__name__,
        "the machine it went on from": machine and _fitting.digest(machine),
        "the version of skdbm": __version__,
        "the data": _digest(X),
        "the rows of a block": _of_block(X),
    }


def _of_block(X):
    """Rows of a block, where they matter: rows of few blocks are shuffled as one."""
    n_rows = ops.block_rows(X)
    return n_rows if are_in_pieces(X.shape[0], n_rows) else "all"


def _described(value):
    """Describe the value of a parameter by text that another process gives as well."""
    if isinstance(value, np.random.RandomState):
        return f"a RandomState, {joblib.hash(value.get_state(legacy=False))}"
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
        for rows in ops.row_blocks(len(part), ops.block_rows(part)):
            result.update(np.ascontiguousarray(part[rows]))
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
