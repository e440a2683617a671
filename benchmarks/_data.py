"""Data for the benchmarks: MNIST with a machine of it, public density sets, labels."""

import argparse
import pathlib

import numpy as np

from skdbm import DBMTransformer, DeepBoltzmannMachine, Pretraining


def parser(description):
    """Make a command line with the option that names a local copy."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument(
        "--data", help="mnist.npz with X_train, X_test, ...; default: fetch from OpenML"
    )
    return result


def load_mnist(path=None):
    """Give X_train, y_train, X_test, y_test; grey levels from 0 to 1 in float32."""
    if path is not None:
        with np.load(path) as file:
            parts = [file[k] for k in ("X_train", "y_train", "X_test", "y_test")]
    else:
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
        parts = [X[:60000], y[:60000], X[60000:], y[60000:]]
    grey = [(part / 255).astype(np.float32) for part in parts[::2]]
    return grey[0], parts[1], grey[1], parts[3]


def read_density(folder, name, part):
    """Read the rows of one part of a public density set."""
    path = pathlib.Path(folder) / name / f"{name}.{part}.data"
    text = path.read_text().replace(",", " ")
    return np.array([line.split() for line in text.splitlines()], dtype=np.float32)


def trained_machine(path, X):
    """Load a machine that was saved, or train a 784-500-1000 one on rows for a minute.

    Sweeps and sparsity depend on the training: numbers to be stated come from a machine
    that `mnist.py` trained.
    """
    if path is not None:
        return DeepBoltzmannMachine.load(path).astype(np.float32)
    model = DBMTransformer(
        hidden_layer_sizes=(500, 1000),
        max_iter=5,
        pretraining=Pretraining("greedy", max_iter=2),
        batch_size=100,
        n_gibbs_steps=1,
        n_mean_field_steps=5,
        n_posterior_gibbs_steps=0,
        random_state=0,
    )
    return model.fit(X[:10000]).machine_


def few(y, n_labels, seed):
    """Draw rows whose labels are known, as many of each class; all for None."""
    if n_labels is None:
        return np.arange(len(y))
    rng, classes = np.random.default_rng(seed), np.unique(y)
    return np.sort(
        np.concatenate(
            [
                rng.permutation(np.flatnonzero(y == label))[: n_labels // len(classes)]
                for label in classes
            ]
        )
    )
