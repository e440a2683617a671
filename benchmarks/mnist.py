"""Train a 784-500-1000 deep Boltzmann machine on MNIST and judge it.

Trains on the 60,000 training images, binarised at random at each presentation, and
prints time, log Z with its standard error, the lower bound of the log-likelihood of
binarised test images, an importance-weighted estimate, and the test error of
LogisticRegression on the features, its C chosen on the last 10,000 training images.
Saves the machine, the training record, its curves, and 100 samples as a picture.

Run: python benchmarks/mnist.py [--data mnist.npz]
With --hidden 500 it trains a machine of one hidden layer instead.
"""

import json
import time

import matplotlib.pyplot as plt
import numpy as np
from _data import load_mnist, parser
from sklearn.linear_model import LogisticRegression

from skdbm import DBMSampler, DBMTransformer
from skdbm.display import LearningCurveDisplay, SamplesDisplay


def command_line():
    """Describe the options."""
    cli = parser(__doc__.splitlines()[0])
    add = cli.add_argument
    add("--hidden", type=int, nargs="+", default=[500, 1000])
    add("--pretraining", type=int, default=15, help="epochs for each pair of layers")
    add("--epochs", type=int, default=200, help="of joint training")
    add("--chains", type=int, default=150)
    add("--gibbs", type=int, default=1, help="Gibbs sweeps between two updates")
    add("--mean-field", type=int, default=5, help="most sweeps in training")
    add("--rate", default="auto", help="first learning rate")
    add("--temperatures", type=int, default=20000)
    add("--labelled", type=int, default=50000, help="rows to classify by")
    add("--validate", action="store_true", help="judge on training rows held out")
    add("--out", default="mnist", help="start of the names of the files")
    return cli.parse_args()


def likelihoods(sampler, rows):
    """Print the bound, and the importance-weighted estimate of the first 1000 rows."""
    scores = sampler.score_samples(rows)
    spread = scores.std() / np.sqrt(len(scores))
    print(
        f"lower bound on {len(rows)} binarised images: {scores.mean():.2f} nats "
        f"(+- {sampler.log_partition_std_:.2f} for log Z, +- {spread:.2f} for the "
        "choice of images)"
    )
    estimate = sampler.score_samples(rows[:1000], n_importance_samples=100)
    print(
        f"first 1000 of them: bound {scores[:1000].mean():.2f}, importance-weighted "
        f"estimate {estimate.mean():.2f} nats",
        flush=True,
    )


def classification(machine, training, test, n_labelled):
    """Print the error of LogisticRegression on the features and on raw pixels."""
    (X, y), (X_test, y_test) = training, test
    held_out = slice(len(X) - 10000, len(X))
    features = DBMTransformer.from_machine(machine)
    for name, function in ("features", features.transform), ("raw pixels", np.asarray):
        start = time.perf_counter()
        rows = function(X[:n_labelled])
        models = [
            LogisticRegression(C=C, max_iter=300, tol=1e-3).fit(rows, y[:n_labelled])
            for C in (0.01, 0.1, 1.0, 10.0)
        ]
        best = max(models, key=lambda m: m.score(function(X[held_out]), y[held_out]))
        error = 1 - best.score(function(X_test), y_test)
        print(
            f"LogisticRegression on {name} of {n_labelled} images, C={best.C:g}: error "
            f"{100 * error:.2f} % ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )


def main():
    """Train, print, save."""
    options = command_line()
    X_train, y_train, X_test, y_test = load_mnist(options.data)
    if options.validate:
        X_test, y_test = X_train[50000:], y_train[50000:]
        X_train, y_train = X_train[:50000], y_train[:50000]
    drawn = (np.random.default_rng(0).random(X_test.shape) < X_test).astype(np.float32)
    rate = options.rate if options.rate == "auto" else float(options.rate)
    begin, cpu = time.perf_counter(), time.process_time()
    transformer = DBMTransformer(
        hidden_layer_sizes=options.hidden,
        max_iter=options.epochs,
        pretraining_max_iter=options.pretraining,
        batch_size=100,
        learning_rate_init=rate,
        n_chains=options.chains,
        n_gibbs_steps=options.gibbs,
        n_mean_field_steps=options.mean_field,
        random_state=0,
        verbose=1,
    ).fit(X_train)
    print(
        f"training: {(time.perf_counter() - begin) / 60:.1f} minutes, "
        f"{(time.process_time() - cpu) / 60:.1f} minutes of CPU"
    )
    machine = transformer.machine_
    machine.save(f"{options.out}.npz")
    with open(f"{options.out}_record.json", "w") as file:
        json.dump(transformer.history_, file)
    LearningCurveDisplay.from_estimator(transformer)
    plt.savefig(f"{options.out}_record.png", dpi=100)
    largest = [f"{np.abs(weight).max():.2f}" for weight in machine.weights]
    norms = [f"{np.linalg.norm(weight):.1f}" for weight in machine.weights]
    print(f"weights: largest {largest}, Frobenius norms {norms}")
    sampler = DBMSampler.from_machine(
        machine, n_temperatures=options.temperatures, random_state=0
    )
    print(f"log Z {sampler.log_partition_:.2f} +- {sampler.log_partition_std_:.2f}")
    likelihoods(sampler, drawn)
    SamplesDisplay.from_estimator(sampler, n_samples=100)
    plt.savefig(f"{options.out}_samples.png", dpi=200, bbox_inches="tight")
    classification(machine, (X_train, y_train), (X_test, y_test), options.labelled)


if __name__ == "__main__":
    main()
