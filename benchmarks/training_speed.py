"""How far is training from its matrix products alone?

The unit of work is the minibatch of a binary 784-500-1000 machine: 100 rows with 10
mean-field sweeps, 100 chains with 5 Gibbs sweeps, gradient and update. Each round
times some hundred minibatches of `DBMTransformer.fit` and the same matrix products
alone (float32, preallocated outputs, half of the minibatches on each of two threads),
one after the other; the ratios of the rounds and their spread are printed. BernoulliRBM
is timed as a peer at equal matrix work.

Run: python benchmarks/training_speed.py [--data mnist.npz] [--rounds 5]
"""

import time
import warnings
from itertools import pairwise

import numpy as np
from _data import load_mnist, parser
from _threads import time_on_two_threads
from sklearn.neural_network import BernoulliRBM

from skdbm import DBMTransformer

SIZES, ROWS, SWEEPS, GIBBS = (784, 500, 1000), 100, 10, 5


def products_alone(n_batches):
    """Time the matrix products, half of the minibatches on each of two threads."""
    rng = np.random.default_rng(0)
    weights = [rng.random(shape, dtype=np.float32) for shape in pairwise(SIZES)]

    def half():
        v, h1, h2 = (rng.random((ROWS, size), dtype=np.float32) for size in SIZES)
        to_v, to_h1, to_h2 = (np.empty_like(states) for states in (v, h1, h2))
        gradients = [np.empty_like(weight) for weight in weights]
        for _ in range(n_batches // 2):
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

    return time_on_two_threads(half)


def flops_per_batch():
    """Count the multiplications and additions of one minibatch."""
    first, second = (2 * ROWS * a * b for a, b in pairwise(SIZES))
    data = first + 2 * SWEEPS * second
    return data + GIBBS * 2 * (first + second) + 2 * (first + second)


def time_fit(X):
    """Time one epoch of joint training, as the record of the fit has it."""
    model = DBMTransformer(
        hidden_layer_sizes=SIZES[1:],
        max_iter=1,
        batch_size=ROWS,
        n_chains=ROWS,
        n_gibbs_steps=GIBBS,
        n_mean_field_steps=SWEEPS,
        mean_field_tol=0,
        pretraining=None,
        binarize=False,
        random_state=0,
    )
    return model.fit(X).history_["seconds"][0]


def time_rbm(X):
    """Time one epoch of BernoulliRBM 784-500 in float32."""
    model = BernoulliRBM(n_components=500, batch_size=ROWS, n_iter=1, random_state=0)
    start = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - start


def main():
    """Print the ratios."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--rows", type=int, default=20000, help="rows of one round")
    options = cli.parse_args()
    X = load_mnist(options.data)[0][: options.rows]
    n_batches = len(X) // ROWS
    # One BernoulliRBM step: v W, h W^T, v W and two gradients, on 784-500.
    rbm_share = flops_per_batch() / (5 * 2 * ROWS * SIZES[0] * SIZES[1])
    warnings.simplefilter("ignore")
    ratios, rbm_ratios = [], []
    for number in range(options.rounds):
        alone = products_alone(n_batches)
        fit, rbm = time_fit(X), time_rbm(X) * rbm_share
        ratios.append(fit / alone)
        rbm_ratios.append(rbm / alone)
        print(
            f"round {number + 1}: products alone {alone / n_batches * 1e3:.2f} ms a "
            f"minibatch ({flops_per_batch() * n_batches / alone / 1e9:.0f} GFLOP/s), "
            f"fit {fit / n_batches * 1e3:.2f} ms, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    for name, values in (
        ("skdbm fit", ratios),
        ("BernoulliRBM at equal matrix work", rbm_ratios),
    ):
        print(
            f"{name} / products alone: median {np.median(values):.3f} "
            f"({min(values):.3f} to {max(values):.3f})"
        )
    print(
        f"one epoch of 60,000 rows: {np.median(ratios) * alone / n_batches * 600:.1f} s"
    )


if __name__ == "__main__":
    main()
