"""How far is the estimate of log Z from its matrix products alone?

A binary 784-500-1000 machine. Each round times `annealed_log_partition` and the matrix
products of as many sweeps alone: those of all populations over the steps of their path
(float32, preallocated outputs, two threads with a population each at a time), one after
the other. The sweeps of the pilot runs, and those that find the means, come on top. The
ratios of the rounds, their spread and the peak memory above imports and weights are
printed.

Run: python benchmarks/annealing_speed.py [--machine machine.npz] [--chains 400]
"""

import argparse
import time
from itertools import pairwise

import numpy as np
from _timing import peak_memory, spread, time_on_threads

from skdbm.likelihood import annealed_log_partition
from skdbm.machine import DeepBoltzmannMachine

SIZES = (784, 500, 1000)


def products_alone(weights, n_chains, n_sweeps):
    """Time the products of so many sweeps of a population, half on each thread."""
    rng = np.random.default_rng(0)

    def half():
        v, h1, h2 = (
            (rng.random((n_chains, size)) < 0.5).astype(np.float32) for size in SIZES
        )
        to_v, to_h1, to_h2 = (np.empty_like(states) for states in (v, h1, h2))
        for _ in range(n_sweeps // 2):
            np.matmul(h1, weights[0].T, out=to_v)
            np.matmul(h1, weights[1], out=to_h2)
            np.matmul(v, weights[0], out=to_h1)
            np.matmul(h2, weights[1].T, out=to_h1)

    return time_on_threads([half, half])


def example_machine():
    """Make a machine of the right sizes; the time does not depend on the values."""
    rng = np.random.default_rng(0)
    return DeepBoltzmannMachine(
        [rng.normal(0, 0.02, shape) for shape in pairwise(SIZES)],
        [np.zeros(size) for size in SIZES],
    ).astype(np.float32)


def main():
    """Print the ratios."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--machine", help="file of a trained machine of these sizes")
    cli.add_argument("--chains", type=int, default=400, help="of a population")
    cli.add_argument("--rounds", type=int, default=3)
    options = cli.parse_args()
    if options.machine:
        machine = DeepBoltzmannMachine.load(options.machine).astype(np.float32)
    else:
        machine = example_machine()
    before = peak_memory()
    ratios = []
    for number in range(options.rounds):
        start = time.perf_counter()
        result = annealed_log_partition(
            machine,
            n_chains=options.chains,
            random_state=number,
        )
        spent = time.perf_counter() - start
        memory = peak_memory() - before
        n_populations = result.log_populations.shape[1]
        n_sweeps = n_populations * sum(result.n_steps)
        alone = products_alone(machine.weights, options.chains, n_sweeps)
        ratios.append(spent / alone)
        print(
            f"round {number + 1}: products alone {alone:.1f} s, annealing "
            f"{spent:.1f} s, ratio {ratios[-1]:.3f}, "
            f"log Z {result.log_partition:.2f} +- {result.standard_error:.2f}, "
            f"{n_populations} populations on each path, steps {result.n_steps}, "
            f"peak memory +{memory:.0f} MB",
            flush=True,
        )
    print(f"annealing / products alone: {spread(ratios)}")


if __name__ == "__main__":
    main()
