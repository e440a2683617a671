"""How does the time of an epoch grow, and how evenly does it split over threads?

Four axes: rows, units of a layer, hidden layers, chains. For each, epochs of
`DBMTransformer.fit` of growing size are timed in interleaved rounds (minibatches of
100 rows, 10 mean-field sweeps, 5 Gibbs sweeps, random rows). Printed are the time for
each multiplication of the matrix products, relative to the smallest size, and the
exponent of a power law of time and multiplications: 1 where time is proportional to
work.

Then the threads: minibatches and chains of 128, 256 and 512 rows of a 784-500-1000
machine, which make 1, 2 and 4 blocks of rows in either phase, on one thread and on two.
The efficiency is the time on one thread over twice that on two. The blocks of the two
phases do not have the same work: with one of each, a thread waits for the other. Next
to it stands what the multiplications of all tasks let expect, each taken by the first
thread that is free; and the same for 16 threads, which no script on two cores measures.

Run: python benchmarks/growth.py [--rounds 3] [--rows 5000]
"""

import argparse
import heapq
from itertools import pairwise

import numpy as np
from _timing import interleaved, ratios, spread
from _training import GIBBS, ROWS, SIZES, SWEEPS, multiplications, time_fit

from skdbm.ops import TRAINING_ROWS, row_blocks
from skdbm.training.update import SLICE_SIZE

#: The size that all axes leave from: columns, then hidden units.
BASE = (500, 500, 500)


def random_rows(n_rows, n_columns):
    """Make binary rows; the time does not depend on the values."""
    rng = np.random.default_rng(0)
    return (rng.random((n_rows, n_columns)) < 0.2).astype(np.float32)


def axes(n_rows):
    """List the sizes along every axis: rows, units of every layer, and chains."""
    return {
        "rows": {n: (n, BASE, ROWS) for n in (n_rows, 2 * n_rows, 4 * n_rows)},
        "units a layer": {
            n: (n_rows, (n, n, n), ROWS) for n in (125, 250, 500, 1000, 2000)
        },
        "hidden layers": {
            n: (n_rows, BASE[:1] * (n + 1), ROWS) for n in (1, 2, 3, 4, 6)
        },
        "chains": {n: (n_rows, BASE, n) for n in (100, 200, 400, 800)},
    }


def print_axis(name, points, n_rounds):
    """Time the sizes along one axis; print the time for each multiplication."""
    works, counts = {}, []
    for n, (n_rows, sizes, n_chains) in points.items():
        works[f"{n}"] = lambda r=n_rows, s=sizes, c=n_chains: time_fit(
            random_rows(r, s[0]), s[1:], n_chains=c
        )
        counts.append(n_rows / ROWS * multiplications(sizes, n_chains=n_chains))
    times = interleaved(works, n_rounds, show=False)
    smallest, *_ = works
    for size, count in zip(works, counts, strict=True):
        relative = ratios(times, size, smallest, counts[0] / count)
        print(f"{name} {size}: {count:.1e} multiplications, each {spread(relative)}")
    medians = [np.median(spent) for spent in times.values()]
    exponent = np.polyfit(np.log(counts), np.log(medians), 1)[0]
    print(f"{name}: time grows as work to the power of {exponent:.2f}", flush=True)


def span(tasks, n_threads):
    """Reckon when the last task ends, where each goes to the first free thread."""
    free_at = [0] * n_threads
    for task in tasks:
        heapq.heappush(free_at, heapq.heappop(free_at) + task)
    return max(free_at)


def expected_efficiency(n_rows, n_threads):
    """Reckon the efficiency from the multiplications of all tasks of one update."""
    weights = [below * above for below, above in pairwise(SIZES)]
    data = weights[0] + 2 * SWEEPS * sum(weights[1:])
    chains = 2 * GIBBS * sum(weights)
    blocks = [b.stop - b.start for b in row_blocks(n_rows, TRAINING_ROWS)]
    phases = [n * work for work in (data, chains) for n in blocks]
    update = [
        2 * n_rows * (rows.stop - rows.start) * above
        for below, above in pairwise(SIZES)
        for rows in row_blocks(below, max(1, SLICE_SIZE // above))
    ]
    spent = span(phases, n_threads) + span(update, n_threads)
    return (sum(phases) + sum(update)) / (n_threads * spent)


def print_threads(n_rows, n_rounds):
    """Time blocks of rows on one thread and on two; print the efficiency."""
    batches = [TRAINING_ROWS, 2 * TRAINING_ROWS, 4 * TRAINING_ROWS]
    X = random_rows(-(-n_rows // batches[-1]) * batches[-1], SIZES[0])
    works = {
        (size, n): lambda s=size, n=n: time_fit(X, batch_size=s, n_chains=s, n_jobs=n)
        for size in batches
        for n in (1, 2)
    }
    times = interleaved(works, n_rounds, show=False)
    for size in batches:
        n_blocks = len(row_blocks(size, TRAINING_ROWS))
        efficiency = ratios(times, (size, 1), (size, 2), 1 / 2)
        print(
            f"{n_blocks} blocks a phase, 2 threads: efficiency {spread(efficiency)}, "
            f"{expected_efficiency(size, 2):.2f} expected"
        )
    for size in [ROWS, *(n * TRAINING_ROWS for n in (4, 8, 16))]:
        print(
            f"{len(row_blocks(size, TRAINING_ROWS))} blocks a phase ({size} rows), 16 "
            f"threads: {expected_efficiency(size, 16):.2f} expected"
        )


def main():
    """Print all axes."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--rounds", type=int, default=3)
    cli.add_argument("--rows", type=int, default=5000, help="rows of the least epoch")
    options = cli.parse_args()
    for name, points in axes(options.rows).items():
        print_axis(name, points, options.rounds)
    print_threads(options.rows, options.rounds)


if __name__ == "__main__":
    main()
