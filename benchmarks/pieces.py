"""Memory and throughput of a training on rows that are read from a file in pieces.

Makes files of random binary rows of 100 columns (uint8), and trains on each in a new
process: on a memory map of the file, an HDF5 dataset and chunks, and for comparison on
the same rows in memory. Prints the peak of memory above what the imports take, and rows
per second of an epoch. The passes before and after the epoch count for memory.

Run: python benchmarks/pieces.py [--rows 1000000 10000000] [--kinds mapped array]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile

import h5py
import numpy as np

from skdbm import DBMTransformer

N_COLUMNS, AT_ONCE = 100, 20_000


class Chunks:
    """The rows of a file, some at a time."""

    def __init__(self, path):
        self.path, self.shape = path, np.load(path, mmap_mode="r").shape

    def __iter__(self):
        for start in range(0, self.shape[0], AT_ONCE):
            rows = np.load(self.path, mmap_mode="r")  # one that stays counts as memory
            yield np.array(rows[start : start + AT_ONCE])


def make(path, n_rows):
    """Write rows that fall into ten kinds."""
    rng = np.random.default_rng(0)
    kinds = rng.random((10, N_COLUMNS))
    rows = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, N_COLUMNS))
    for start in range(0, n_rows, AT_ONCE):
        shares = kinds[rng.integers(0, 10, min(AT_ONCE, n_rows - start))]
        rows[start : start + AT_ONCE] = rng.random(shares.shape) < shares
    rows.flush()
    with h5py.File(f"{path}.h5", "w") as file:
        chunks = 4096, N_COLUMNS
        out = file.create_dataset("rows", rows.shape, rows.dtype, chunks=chunks)
        for start in range(0, n_rows, AT_ONCE):
            out[start : start + AT_ONCE] = rows[start : start + AT_ONCE]


def peak():
    """Largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def opened(path, kind):
    """The rows of a file, as some kind of data."""
    if kind == "array":
        return np.load(path)
    if kind == "mapped":
        return np.load(path, mmap_mode="r")
    return Chunks(path) if kind == "chunks" else h5py.File(f"{path}.h5")["rows"]


def train(path, kind, settings):
    """Train for an epoch; a line of JSON."""
    before, data = peak(), opened(path, kind)
    dbm = DBMTransformer(max_iter=1, random_state=0, **settings).fit(data)
    record = {"kind": kind, "rows": data.shape[0]}
    record["MB above imports"] = round(peak() - before)
    record["rows/s"] = round(data.shape[0] / dbm.history_["seconds"][-1])
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    cli.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    cli.add_argument("--kinds", nargs="+", default=["array", "mapped", "h5", "chunks"])
    cli.add_argument("--batch", type=int, default=500)
    cli.add_argument("--settings", default="{}", help="JSON of further parameters")
    cli.add_argument("--train", nargs=2, help="file and kind, in a new process")
    cli.add_argument("--make", nargs=2, help="file and rows, in a new process")
    args = cli.parse_args()
    if args.make:  # or it would count as memory of those that follow
        make(args.make[0], int(args.make[1]))
        sys.exit()
    settings = {"batch_size": args.batch, "pretraining": None}
    settings |= json.loads(args.settings)
    if args.train:
        train(*args.train, settings)
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in args.rows:
            path = f"{folder}/{n_rows}.npy"
            new = [sys.executable, __file__, "--settings", json.dumps(settings)]
            subprocess.run([*new, "--make", path, str(n_rows)], check=True)
            for kind in args.kinds:
                subprocess.run([*new, "--train", path, kind], check=True)
