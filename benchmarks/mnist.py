"""Train a 784-500-1000 deep Boltzmann machine on MNIST and judge it.

Trains on the 60,000 training images, binarised at random at each presentation, and
prints time, log Z with its standard error, lower bounds of the log-likelihood of
binarised test images, an importance-weighted estimate, and the test error of
LogisticRegression on the features, its C chosen on the last 10,000 training images.
Another classifier, trained on binarised training images, names a thousand samples:
the shares of the ten digits beside those among test images. Saves the machine, the
training record, its curves, and 100 samples as a picture.

Run: python benchmarks/mnist.py [--data mnist.npz]
With --defaults nothing is set but the hidden layers. With --hidden 500 it trains a
machine of one hidden layer instead. With --refine N, training goes on for N epochs, at
half the first learning rate, in which Gibbs sweeps follow mean field; after --machine,
it goes on from that machine.
"""

import json
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from _data import load_mnist, parser
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdbm import (
    DBMSampler,
    DBMTransformer,
    DeepBoltzmannMachine,
    Likelihood,
    Pretraining,
)
from skdbm.display import LearningCurveDisplay, SamplesDisplay

#: Candidates for C of the classifier.
STRENGTHS = [0.005, 0.01, 0.02, 0.05, 0.1]

#: What changes in the epochs that refine a machine: half of the automatic rate, about.
REFINING = {
    "learning_rate_init": 0.004,
    "n_mean_field_steps": 1,
    "n_posterior_gibbs_steps": 3,
    "warm_start": True,
}


#: Samples whose digits are named, and settings of the classifier that does it.
N_NAMED = 1000
NAMING = {"hidden_layer_sizes": (500,), "max_iter": 10, "random_state": 0}


def rate(text):
    """Read a learning rate."""
    return text if text == "auto" else float(text)


def command_line():
    """Describe the options."""
    cli = parser(__doc__.splitlines()[0])
    add = cli.add_argument
    add("--hidden", type=int, nargs="+", default=[500, 1000])
    add("--defaults", action="store_true", help="set nothing but the hidden layers")
    add("--start", default="greedy", help="how the joint training starts")
    add("--pretraining", type=int, default=15, help="epochs of each of its stages")
    add("--epochs", type=int, default=200, help="of joint training")
    add("--chains", type=int, default=150)
    add("--gibbs", type=int, default=1, help="Gibbs sweeps between two updates")
    add("--mean-field", type=int, default=5, help="most sweeps in training")
    add("--posterior", type=int, default=0, help="Gibbs sweeps that follow")
    add("--rate", default="auto", type=rate, help="first learning rate")
    add("--refine", type=int, default=0, help="epochs with Gibbs sweeps at the end")
    n_chains = Likelihood().n_chains
    add("--likelihood-chains", type=int, default=n_chains, help="of log Z")
    add("--jobs", type=int, help="threads of the training; default: all cores")
    add("--machine", help="judge a machine that was saved, or refine it")
    add("--validate", action="store_true", help="judge on training rows held out")
    add("--out", default="mnist", help="start of the names of the files")
    return cli.parse_args()


def train(options, X):
    """Train a machine, or go on with one, print the time, save what came out."""
    begin, cpu = time.perf_counter(), time.process_time()
    always = {"random_state": 0, "verbose": 1, "n_jobs": options.jobs}
    chosen = {
        "pretraining": Pretraining(options.start, max_iter=options.pretraining),
        "batch_size": 100,
        "learning_rate_init": options.rate,
        "n_chains": options.chains,
        "n_gibbs_steps": options.gibbs,
        "n_mean_field_steps": options.mean_field,
        "n_posterior_gibbs_steps": options.posterior,
        "max_iter": options.epochs,
    }
    settings = always if options.defaults else always | chosen
    if options.machine:
        machine = DeepBoltzmannMachine.load(options.machine)
        transformer = DBMTransformer.from_machine(machine, **settings)
    else:
        transformer = DBMTransformer(hidden_layer_sizes=options.hidden, **settings)
        transformer.fit(X)
    if options.refine:
        transformer.set_params(max_iter=options.refine, **REFINING).fit(X)
    if options.refine or not options.machine:
        print(
            f"training: {(time.perf_counter() - begin) / 60:.1f} minutes, "
            f"{(time.process_time() - cpu) / 60:.1f} minutes of CPU"
        )
        transformer.machine_.save(f"{options.out}.npz")
        with open(f"{options.out}_record.json", "w") as file:
            json.dump(transformer.history_, file)
        LearningCurveDisplay.from_estimator(transformer)
        plt.savefig(f"{options.out}_record.png", dpi=100)
    return transformer.machine_


def likelihoods(sampler, rows):
    """Print bounds, and the importance-weighted estimate of the first 1000 rows."""
    scores = sampler.score_samples(rows, n_importance_samples=0)
    spread = scores.std() / np.sqrt(len(scores))
    print(
        f"lower bound on {len(rows)} binarised images: {scores.mean():.2f} nats "
        f"(+- {sampler.log_partition_std_:.2f} for log Z, +- {spread:.2f} for the "
        "choice of images)"
    )
    for n_draws in (1, 10, 100):
        drawn = sampler.score_samples(rows, n_importance_samples=n_draws).mean()
        print(f"the same by draws from the posterior, {n_draws} a row: {drawn:.2f}")
    estimate = sampler.score_samples(rows[:1000], n_importance_samples=100)
    print(
        f"first 1000 of them: bound {scores[:1000].mean():.2f}, importance-weighted "
        f"estimate {estimate.mean():.2f} nats",
        flush=True,
    )


def shares(samples, training, test):
    """Print how often a classifier of real digits sees each one, and in samples."""
    with warnings.catch_warnings():  # ten passes are enough
        warnings.simplefilter("ignore", ConvergenceWarning)
        namer = MLPClassifier(**NAMING).fit(*training)
    counts = [
        np.bincount(namer.predict(rows), minlength=10) / len(rows)
        for rows in (test[0], samples)
    ]
    distance = np.abs(counts[0] - counts[1]).sum() / 2
    print(
        f"a classifier with an error of {100 - 100 * namer.score(*test):.2f} % names "
        f"the digits of {len(samples)} samples: {np.round(counts[1], 3)}, of test "
        f"images {np.round(counts[0], 3)}; total variation {distance:.3f}",
        flush=True,
    )


def binarised(images):
    """Draw every pixel once."""
    return (np.random.default_rng(0).random(images.shape) < images).astype(np.float32)


def classification(machine, training, test):
    """Print the error of LogisticRegression on the features and on raw pixels."""
    features = DBMTransformer.from_machine(machine)
    for name, function in ("features", features.transform), ("raw pixels", np.asarray):
        start = time.perf_counter()
        (rows, y), n = (function(training[0]), training[1]), len(training[0]) - 10000
        errors = {C: error(C, rows[:n], y[:n], rows[n:], y[n:]) for C in STRENGTHS}
        best = min(errors, key=errors.get)
        final = error(best, rows, y, function(test[0]), test[1])
        print(
            f"LogisticRegression on scaled {name}, C={best:g}: error "
            f"{100 * final:.2f} % ({100 * errors[best]:.2f} % where C was chosen; "
            f"{time.perf_counter() - start:.0f} s)",
            flush=True,
        )


def error(C, rows, y, rows_test, y_test):
    """Share of test rows that a classifier gets wrong."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=500))
    return 1 - model.fit(rows, y).score(rows_test, y_test)


def main():
    """Train, print, save."""
    options = command_line()
    X_train, y_train, X_test, y_test = load_mnist(options.data)
    if options.validate:
        X_test, y_test = X_train[50000:], y_train[50000:]
        X_train, y_train = X_train[:50000], y_train[:50000]
    drawn = binarised(X_test)
    machine = train(options, X_train)
    largest = [f"{np.abs(weight).max():.2f}" for weight in machine.weights]
    norms = [f"{np.linalg.norm(weight):.1f}" for weight in machine.weights]
    print(f"weights: largest {largest}, Frobenius norms {norms}")
    sampler = DBMSampler.from_machine(
        machine,
        likelihood=Likelihood(n_chains=options.likelihood_chains),
        random_state=0,
    )
    print(f"log Z {sampler.log_partition_:.2f} +- {sampler.log_partition_std_:.2f}")
    likelihoods(sampler, drawn)
    SamplesDisplay.from_estimator(sampler, n_samples=100)
    plt.savefig(f"{options.out}_samples.png", dpi=200, bbox_inches="tight")
    shares(sampler.sample(N_NAMED), (binarised(X_train), y_train), (drawn, y_test))
    classification(machine, (X_train, y_train), (X_test, y_test))


if __name__ == "__main__":
    main()
