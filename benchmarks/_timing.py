"""Interleaved rounds, ratios with their spread, and peak memory, for the benchmarks."""

import resource
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits


def timed(work):
    """Make a function that calls `work` and gives the seconds."""

    def timed_work():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return timed_work


def time_on_threads(works):
    """Call every work on a thread of its own, BLAS held to one thread each; seconds."""
    threads = [threading.Thread(target=work) for work in works]

    def run():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with threadpool_limits(1):
        return timed(run)()


def interleaved(works, n_rounds, show=True):
    """Call works one after the other, in rounds; the seconds that each says it took.

    So whatever else the computer does meanwhile meets all of them alike.

    Parameters
    ----------
    works : dict of str to callable
        Each gives the seconds that it took.
    n_rounds : int
        How often to call each.
    show : bool, default=True
        Whether to print a line for every round.

    Returns
    -------
    dict of str to list of float
        The seconds of every round.
    """
    times = {name: [] for name in works}
    for number in range(n_rounds):
        for name, work in works.items():
            times[name].append(work())
        if show:
            cells = [f"{name} {spent[-1]:.2f} s" for name, spent in times.items()]
            print(f"round {number + 1}:", ", ".join(cells), flush=True)
    return times


def ratios(times, name, base, share=1.0):
    """Divide the times of one work by those of another, round by round."""
    pairs = zip(times[name], times[base], strict=True)
    return [share * spent / limit for spent, limit in pairs]


def spread(values):
    """Write the median of some values, the smallest and the largest."""
    return f"median {np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def peak_memory():
    """Peak memory of the process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def added_memory(function, X, *args):
    """Peak memory of ``function(X, *args)`` above imports and arguments, in MB.

    It is taken in a new process, which reads `X` from a file: nothing that was used
    and freed before hides what the function needs. The new process comes from a
    server, since one that this process starts would inherit its peak.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, X)
        with get_context("forkserver").Pool(1) as pool:
            return pool.apply(_added_memory, (function, path, args))


def _added_memory(function, path, args):
    X = np.load(path)
    before = peak_memory()
    function(X, *args)
    return peak_memory() - before
