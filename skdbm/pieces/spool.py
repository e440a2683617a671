"""A temporary file for rows that come in chunks, or whose values are no numbers."""

import os
import tempfile
import weakref

import numpy as np

from .sources import InFile


def spooled(parts, dtype, shape):
    """Write arrays of rows into a temporary file, one after the other; its source.

    The file has no name, and goes with the source or with the process.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the source
    try:
        n_rows = 0
        for part in parts:
            _write(file, np.ascontiguousarray(part, dtype))
            n_rows += len(part)
        if n_rows != shape[0]:
            raise ValueError(
                f"The chunks have {n_rows} rows, and had {shape[0]} when they were "
                "looked at; the object has to give the same ones each time that iter() "
                "begins."
            )
    except BaseException:
        file.close()
        raise
    source = InFile(file, 0, shape, np.dtype(dtype))
    weakref.finalize(source, file.close)
    return source


def _write(file, rows):
    """Write rows; an error that says what to do if there is no room."""
    try:
        file.write(rows.reshape(-1).view(np.uint8).data)
        file.flush()
    except OSError as error:
        raise OSError(
            error.errno,
            f"{os.strerror(error.errno)}: rows that come in chunks are kept in a "
            f"temporary file, in {tempfile.gettempdir()!r}; set the environment "
            "variable TMPDIR to a folder with room for all of them",
        ) from error
