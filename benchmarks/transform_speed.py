"""How far is `DBMTransformer.transform` from its matrix products alone?

Every row takes the sweeps that it needs. They are counted first, by
`skdbm.inference.mean_field`; then each round times `transform`, and the matrix products
of the same sweeps alone, on just the rows that are still active in each (float32,
preallocated outputs, the same blocks of rows) in two ways: block after block with BLAS
on all its threads, and, a stricter limit, blocks shared by two threads with BLAS held
to one thread each. The ratios of the rounds and their spread are printed. Last comes
the peak memory above imports and rows, less the output, which should not grow with the
number of rows; each in a process of its own.

Run: python benchmarks/transform_speed.py [--data mnist.npz] [--machine machine.npz]
Without --machine one is trained for a minute; rows take fewer sweeps of such a one
than of a machine that has learned for long.
"""

from collections import deque
from contextlib import suppress

import numpy as np
from _data import load_mnist, parser, trained_machine
from _timing import added_memory, interleaved, ratios, spread, time_on_threads, timed

from skdbm import DBMTransformer
from skdbm.inference import mean_field
from skdbm.ops import INFERENCE_ROWS, row_blocks


def products(machine, X, n_sweeps):
    """Make two functions that share the blocks of rows and their matrix products."""
    queue = deque(row_blocks(len(X), INFERENCE_ROWS))

    def worker():
        shapes = [(INFERENCE_ROWS, size) for size in machine.layer_sizes]
        states = [np.ones(shape, np.float32) for shape in shapes]
        room = [np.empty_like(state) for state in states]

        def some_blocks():
            with suppress(IndexError):  # the end of the queue
                while True:
                    rows = queue.popleft()
                    block_products(
                        machine.weights, X[rows], n_sweeps[rows], states, room
                    )

        return some_blocks

    return [worker(), worker()]


def block_products(weights, rows, n_sweeps, states, room):
    """Compute the matrix products of one block: the start, then the active rows."""
    n, top = len(rows), len(weights)
    np.matmul(rows, weights[0], out=room[1][:n])
    for layer in range(1, top - (top % 2 == 0)):
        np.matmul(states[layer][:n], weights[layer], out=room[layer + 1][:n])
    for sweep in range(n_sweeps.max()):
        n = np.count_nonzero(n_sweeps > sweep)
        for layer, weight in enumerate(weights[1:], start=1):
            np.matmul(states[layer][:n], weight, out=room[layer + 1][:n])
            np.matmul(states[layer + 1][:n], weight.T, out=room[layer][:n])


def transform(X, machine):
    """Transform rows by a machine."""
    return DBMTransformer.from_machine(machine).transform(X)


def main():
    """Print sweeps, ratios and memory."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--machine", help="file of a trained machine")
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--rows", type=int, default=10000)
    cli.add_argument("--memory-rows", type=int, nargs="+", default=[10000, 60000])
    options = cli.parse_args()
    X_train = load_mnist(options.data)[0]
    machine = trained_machine(options.machine, X_train)
    X = X_train[: options.rows]
    n_sweeps = mean_field(machine, X).n_sweeps
    print(
        f"{machine}, {len(X)} rows: {np.median(n_sweeps):.0f} sweeps (median), "
        f"{n_sweeps.mean():.1f} (mean), {n_sweeps.max()} (slowest)"
    )
    times = interleaved(
        {
            "products, threaded BLAS": timed(
                lambda: products(machine, X, n_sweeps)[0]()
            ),
            "products, two threads": lambda: time_on_threads(
                products(machine, X, n_sweeps)
            ),
            "transform": timed(lambda: transform(X, machine)),
        },
        options.rounds,
    )
    for base in list(times)[:2]:
        print(f"transform / {base}: {spread(ratios(times, 'transform', base))}")
    for n_rows in options.memory_rows:
        memory = added_memory(transform, X_train[:n_rows], machine)
        size = n_rows * sum(machine.layer_sizes[1:]) * 4 / 2**20
        print(
            f"peak memory for {n_rows} rows: {memory:.0f} MB, "
            f"{memory - size:.0f} MB beyond the output of {size:.0f} MB"
        )


if __name__ == "__main__":
    main()
