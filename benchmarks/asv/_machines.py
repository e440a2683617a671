"""Data and machines for the benchmarks: made, not loaded, and the same every time."""

from itertools import pairwise

import numpy as np

from skdbm import DeepBoltzmannMachine

#: Columns of the data, and units of the two hidden layers.
SIZES = (784, 500, 500)


def images(n_rows, density=0.15):
    """Make binary rows that are as long and as dark as images of digits."""
    rng = np.random.default_rng(0)
    return (rng.random((n_rows, SIZES[0])) < density).astype(np.float32)


def machine(sizes=SIZES):
    """Make a machine with couplings of the size that training leaves."""
    rng = np.random.default_rng(1)
    weights = [
        rng.normal(0, 1 / np.sqrt(below), (below, above)).astype(np.float32)
        for below, above in pairwise(sizes)
    ]
    biases = [rng.normal(-1, 0.5, size).astype(np.float32) for size in sizes]
    return DeepBoltzmannMachine(weights, biases)
