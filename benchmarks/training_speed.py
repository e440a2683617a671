"""How far is training from its matrix products alone?

The unit of work is the minibatch of a binary 784-500-1000 machine: 100 rows with 10
mean-field sweeps, 100 chains with 5 Gibbs sweeps, gradient and update. Each round
times an epoch of `DBMTransformer.fit`, and the same matrix products alone (float32,
preallocated outputs) in two ways: as numpy runs them one after the other, with BLAS on
all its threads, and, a stricter limit, as two independent halves on a thread each with
BLAS held to one thread. The ratios of the rounds and their spread are printed.
BernoulliRBM is timed as a peer at equal matrix work. Last comes the peak memory of the
fit above imports and data, in a process of its own.

Run: python benchmarks/training_speed.py [--data mnist.npz] [--rounds 5]
"""

import warnings
from itertools import pairwise

import numpy as np
from _data import load_mnist, parser
from _timing import added_memory, interleaved, ratios, spread, time_on_threads, timed
from _training import GIBBS, ROWS, SIZES, SWEEPS, multiplications, time_fit
from sklearn.neural_network import BernoulliRBM


def products(n_batches):
    """Make a function that computes the matrix products of some minibatches."""
    rng = np.random.default_rng(0)
    weights = [rng.random(shape, dtype=np.float32) for shape in pairwise(SIZES)]
    v, h1, h2 = (rng.random((ROWS, size), dtype=np.float32) for size in SIZES)
    to_v, to_h1, to_h2 = (np.empty_like(states) for states in (v, h1, h2))
    gradients = [np.empty_like(weight) for weight in weights]

    def compute():
        for _ in range(n_batches):
            np.matmul(v, weights[0], out=to_h1)
            for _ in range(SWEEPS):
                np.matmul(h1, weights[1], out=to_h2)
                np.matmul(h2, weights[1].T, out=to_h1)
            for _ in range(GIBBS):
                np.matmul(h1, weights[0].T, out=to_v)
                np.matmul(h1, weights[1], out=to_h2)
                np.matmul(v, weights[0], out=to_h1)
                np.matmul(h2, weights[1].T, out=to_h1)
            for _ in range(2):
                np.matmul(v.T, h1, out=gradients[0])
                np.matmul(h1.T, h2, out=gradients[1])

    return compute


def time_rbm(X):
    """Time one epoch of BernoulliRBM 784-500 in float32."""
    model = BernoulliRBM(n_components=500, batch_size=ROWS, n_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timed(lambda: model.fit(X))()


def main():
    """Print the ratios."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--rows", type=int, default=60000, help="rows of one epoch")
    options = cli.parse_args()
    X = load_mnist(options.data)[0][: options.rows]
    n_batches = len(X) // ROWS
    halves = n_batches // 2, n_batches - n_batches // 2
    times = interleaved(
        {
            "products, threaded BLAS": timed(products(n_batches)),
            "products, two threads": lambda: time_on_threads(map(products, halves)),
            "fit": lambda: time_fit(X),
            "BernoulliRBM": lambda: time_rbm(X),
        },
        options.rounds,
    )
    # One BernoulliRBM step: v W, h W^T, v W and two gradients, on 784-500.
    rbm_share = multiplications() / (5 * ROWS * SIZES[0] * SIZES[1])
    for base in list(times)[:2]:
        speed = 2e-9 * n_batches * multiplications() / np.median(times[base])
        print(f"{base}: {speed:.0f} GFLOP/s")
        print(f"  fit / products: {spread(ratios(times, 'fit', base))}")
        rbm = ratios(times, "BernoulliRBM", base, rbm_share)
        print(f"  BernoulliRBM at equal matrix work / products: {spread(rbm)}")
    per_batch = 1e3 * np.array(times["fit"]) / n_batches
    print(f"fit, ms a minibatch: {spread(per_batch)}")
    print(f"fit, s an epoch of 60,000 rows: {spread(0.6 * per_batch)}")
    memory = added_memory(time_fit, X)
    print(f"fit, peak memory above imports and data: {memory:.0f} MB")


if __name__ == "__main__":
    main()
