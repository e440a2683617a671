"""Files of arrays and JSON, whole or not there at all, without pickle."""

import glob
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np


def write(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    """Write a header and arrays beside the final place, and rename the file."""
    path = os.fspath(path)
    text = np.array(json.dumps(header, default=_plain))
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"The array {name} holds objects; files have none.")
    partial = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with open(partial, "wb") as file:
            np.savez(file, header=text, **arrays)
            # A name must not outlive a loss of power that its contents do not.
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


@contextmanager
def undamaged(
    path: str | os.PathLike[str], passing: tuple[type[Exception], ...]
) -> Iterator[None]:
    """Say that a file is damaged where its contents make errors that do not pass."""
    try:
        yield
    except passing:
        raise
    except Exception as error:  # whatever stands in there
        path = os.fspath(path)
        raise ValueError(f"{path!r} is damaged ({error!r}); remove it.") from error


def remove_parts(path: str | os.PathLike[str]) -> None:
    """Remove what a process left that was killed while it wrote a file."""
    for part in glob.glob(f"{glob.escape(os.fspath(path))}.{'[0-9a-f]' * 32}.part"):
        os.remove(part)


def _plain(value: Any) -> Any:
    """Give a value of numpy as one of Python."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} objects cannot be written: {value!r}.")


def read(
    path: str | os.PathLike[str], form: str, version: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a header and arrays of a format, at most of this version of it."""
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            header = json.loads(str(arrays.pop("header")))
            known, written = header["format"] == form, int(header["version"])
        except Exception as error:  # damage makes the zip reader fail in many ways
            raise ValueError(
                f"{path!r} is not a file of {form}, or it is damaged "
                f"({type(error).__name__}: {error})."
            ) from error
    if not known:
        raise ValueError(f"{path!r} holds {header['format']!r}; expected {form!r}.")
    if written > version:
        raise ValueError(
            f"{path!r} has format version {written}; this version of skdbm reads up to "
            f"{version}. Install a newer skdbm to load it."
        )
    return header, arrays
