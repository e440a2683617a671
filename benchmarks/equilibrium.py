"""Clustered tables: chains left alone, and mixed.

Trains machines on public density sets (folders NAME with NAME.train.data and so on,
rows of 0 and 1), with chains left alone, too. Prints for each training its time (of the
processor), log Z with its standard error and with four times the chains, the estimated
log-likelihood of test rows under the latter log Z, and the total variation between the
shares of 20 clusters among 2,000 samples and among the training rows.

Run: python benchmarks/equilibrium.py --data FOLDER [--sets mushrooms plants]
With a --rate that is given, all trainings are of the same length, so that their times
say what the mixing costs.
"""

import argparse
import dataclasses
import time
import warnings
from unittest import mock

import numpy as np
from _data import read_density
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMSampler, Likelihood, _fitting
from skdbm.likelihood import (
    annealed_log_partition,
    importance_weighted_log_likelihood,
)

N_CLUSTERS = 20


def shares_of_clusters(kmeans, rows):
    """Share of the rows in each cluster."""
    return np.bincount(kmeans.predict(rows), minlength=N_CLUSTERS) / len(rows)


def chains(mixed):
    """Patch what a fit does with slow chains."""
    options = _fitting.options
    return mock.patch.object(
        _fitting,
        "options",
        lambda *args: dataclasses.replace(options(*args), mix_chains=mixed),
    )


def judge(X, rows, kmeans, mixed, settings):
    """Train a machine and print a line about it."""
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught, chains(mixed):
        warnings.simplefilter("always", ConvergenceWarning)
        sampler = DBMSampler(**settings).fit(X)
        seconds = time.process_time() - start
        machine = sampler.machine_
        other = annealed_log_partition(
            machine, n_chains=4 * Likelihood().n_chains, random_state=1
        )
        scores = importance_weighted_log_likelihood(
            machine, rows, other.log_partition, random_state=0
        )
    samples = sampler.sample(2000, random_state=0)
    distance = np.abs(
        shares_of_clusters(kmeans, samples) - shares_of_clusters(kmeans, X)
    ).sum()
    restarts = sum("begins again" in " ".join(str(w.message).split()) for w in caught)
    print(
        f"{'mixed' if mixed else 'plain':>7}  "
        f"{settings['hidden_layer_sizes']!s:>10}  "
        f"seed {settings['random_state']}  {seconds:4.0f} s  log Z "
        f"{sampler.log_partition_:.2f} +- {sampler.log_partition_std_:.2f}, with more "
        f"chains {other.log_partition:.2f} +- {other.standard_error:.2f}  "
        f"test {scores.mean():.2f}  clusters "
        f"{distance / 2:.3f}  restarts {restarts}  renewals "
        f"{sum(sampler.history_['renewals'])}",
        flush=True,
    )


def main():
    """Train on all sets."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--data", required=True, help="folder of the sets")
    cli.add_argument("--sets", nargs="+", default=["mushrooms", "plants"])
    cli.add_argument("--hidden", type=int, nargs="+", default=[100])
    cli.add_argument("--seeds", type=int, nargs="+", default=[0])
    cli.add_argument("--mixed", type=int, nargs="+", default=[1, 0])
    cli.add_argument("--epochs", type=int, help="default: as many as the estimator's")
    cli.add_argument("--rate", type=float, help="default: the automatic one")
    cli.add_argument("--rows", type=int, default=2000, help="test rows judged")
    options = cli.parse_args()
    for name in options.sets:
        X, rows = (read_density(options.data, name, part) for part in ("train", "test"))
        rows = rows[: options.rows]
        kmeans = KMeans(N_CLUSTERS, n_init=3, random_state=0).fit(X)
        print(f"{name}: {X.shape[0]} rows of {X.shape[1]} columns")
        for seed in options.seeds:
            for mixed in options.mixed:
                settings = {
                    "hidden_layer_sizes": tuple(options.hidden),
                    "max_iter": options.epochs,
                    "learning_rate_init": options.rate or "auto",
                    "random_state": seed,
                }
                judge(X, rows, kmeans, bool(mixed), settings)


if __name__ == "__main__":
    main()
