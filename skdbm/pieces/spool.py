"""A temporary file for rows that come in chunks, or whose values are no numbers."""

import os
import tempfile
import weakref

import numpy as np

from .sources import Mapped


def spooled(parts, dtype, n_columns):
    """Write arrays of rows into a temporary file, one after the other; its source.

    The file goes with the source, or with the process.
    """
    handle, path = tempfile.mkstemp(suffix=".rows")
    try:
        with os.fdopen(handle, "wb") as file:
            n_rows = 0
            for part in parts:
                np.ascontiguousarray(part, dtype).tofile(file)
                n_rows += len(part)
        result = Mapped(np.memmap(path, dtype, "r", shape=(n_rows, n_columns)))
    except BaseException as error:
        os.remove(path)
        if isinstance(error, OSError):
            raise OSError(
                error.errno,
                f"{error.strerror or error}: rows that come in chunks are kept in a "
                f"temporary file, in {tempfile.gettempdir()!r}; set the environment "
                "variable TMPDIR to a folder with room for all of them, ",
            ) from error
        raise
    weakref.finalize(result, os.remove, path)
    return result
