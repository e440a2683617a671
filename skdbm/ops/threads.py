"""Rows in blocks over threads, with the BLAS library held to one thread.

numpy releases the interpreter lock in matrix products, elementwise loops and random
fills, so plain threads use all cores. The blocks depend on the number of rows alone,
never on the number of threads: one seed gives one result, bit for bit.
"""

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from multiprocessing import current_process
from typing import Any, TypeVar

from joblib import effective_n_jobs, parallel_config
from joblib.parallel import LokyBackend, get_active_backend
from threadpoolctl import ThreadpoolController

_Result = TypeVar("_Result")

#: Most rows of one block in training. Products with more rows gain little, and
#: several blocks can share the work of a large batch.
TRAINING_ROWS = 128

#: Large blocks hold multiples of so many rows, but for the last one: products of other
#: numbers are up to an eighth slower, since their kernels work on tiles of rows.
TILE_ROWS = 16

#: Most rows of one block in annealing, but for small machines.
ANNEALING_ROWS = 64

#: Most states, chains times units, in a block of chains of a small machine: with fewer
#: of them, calls cost more than what they compute.
BLOCK_STATES = 2**18

#: Most rows of one block in inference, where converged rows leave the block.
INFERENCE_ROWS = 512


def row_blocks(n_rows: int, most: int) -> list[slice]:
    """Split rows about evenly into as few blocks of about `most` rows as possible."""
    n_blocks = max(1, -(-n_rows // most))
    tile = TILE_ROWS if most >= 4 * TILE_ROWS else 1
    edges = [tile * round(n_rows * i / n_blocks / tile) for i in range(n_blocks)]
    return [slice(a, b) for a, b in pairwise([*edges, n_rows])]


def most_chains(n_units: int, least: int) -> int:
    """Most chains of one block: `least`, and more of a machine of few units."""
    return max(least, BLOCK_STATES // n_units)


class _SingleThreadedBlas:
    """Hold BLAS to one thread while at least one user is inside."""

    # The limit is global to the process. Counting the users keeps concurrent fits from
    # restoring each other's limit in the wrong order.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._limiter: Any = None
        self._controller: Any = None

    def n_threads(self) -> int:
        """Count the threads that the BLAS library would use for a product here."""
        with self._lock:
            counts = [lib.num_threads for lib in self._blas().lib_controllers]
        return max(counts, default=1)

    def _free(self) -> None:
        """Let any thread set the limit; threadpoolctl 3.8 grants that to one alone."""
        for library in self._blas().lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    def _blas(self) -> Any:
        if self._controller is None:  # looking for the libraries takes milliseconds
            self._controller = ThreadpoolController().select(user_api="blas")
        return self._controller

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._n_users == 0:
                self._free()
                self._limiter = self._blas().limit(limits=1)
                self._free()
            self._n_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_users -= 1
                if self._n_users == 0:
                    self._free()
                    self._limiter.restore_original_limits()
                    self._free()


_single_threaded_blas = _SingleThreadedBlas()


def resolve_n_threads(n_jobs: int | None) -> int:
    """Turn `n_jobs` into a number of threads; None means those of BLAS here."""
    if n_jobs is None:
        return _single_threaded_blas.n_threads()
    # Processes of a pool start no others, and joblib says so; but these are threads.
    in_pool = current_process().daemon and isinstance(
        get_active_backend()[0], LokyBackend
    )
    with parallel_config("threading") if in_pool else nullcontext():
        return int(effective_n_jobs(n_jobs))


class Workers:
    """Map functions over pieces on threads, the calling thread among them."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None

    def map(
        self, function: Callable[..., _Result], *pieces: Iterable[Any]
    ) -> list[_Result]:
        """Call a function on every piece, in order; errors are raised at the end."""
        arguments = list(zip(*pieces, strict=True))
        if self._pool is None or len(arguments) < 2:
            return [function(*piece) for piece in arguments]
        results: list[Any] = [None] * len(arguments)
        queue = deque(enumerate(arguments))

        def work() -> None:
            while True:
                try:
                    i, piece = queue.popleft()
                except IndexError:
                    return
                results[i] = function(*piece)

        helpers = min(len(arguments), self.n_threads) - 1
        # Every helper gets a copy of the context, hence the caller's np.errstate.
        futures = [
            self._pool.submit(contextvars.copy_context().run, work)
            for _ in range(helpers)
        ]
        try:
            work()
        finally:
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error
        return results

    def spread(
        self, function: Callable[..., _Result], *pieces: Iterable[Any]
    ) -> list[_Result]:
        """Map a pure function, which other processes may call, and more than once."""
        return self.map(function, *pieces)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


@contextmanager
def workers(n_jobs: "int | Workers | None" = None) -> Iterator[Workers]:
    """Threads for a stretch of work, counted as by joblib; BLAS has one meanwhile.

    Or those that are given, of a cluster for example.
    """
    if isinstance(n_jobs, Workers):
        with _single_threaded_blas():
            yield n_jobs
        return
    n_threads = resolve_n_threads(n_jobs)
    with _single_threaded_blas():
        team = Workers(n_threads)
        try:
            yield team
        finally:
            team.close()
