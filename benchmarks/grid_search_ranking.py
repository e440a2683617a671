"""Does the score rank candidates as a score of twenty times its cost does?

GridSearchCV over three sizes of a DBM on scikit-learn's digits, by the held-out lower
bound, once with the default annealing and once with twenty times the chains.

Run: python benchmarks/grid_search_ranking.py
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skdbm import DBMTransformer, Likelihood

SIZES = [(32, 32), (64, 64), (128, 128)]


def search(X, n_chains, max_iter):
    """Give the mean held-out score of every size, and the seconds of a score."""
    model = DBMTransformer(
        max_iter=max_iter,
        likelihood=Likelihood(n_chains=n_chains),
        random_state=0,
        n_jobs=1,
    )
    grid = GridSearchCV(model, {"hidden_layer_sizes": SIZES}, cv=3, n_jobs=-1)
    grid.fit(X)
    results = grid.cv_results_
    return results["mean_test_score"], results["mean_score_time"]


def main():
    """Print both rankings."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--epochs", type=int, default=30)
    options = cli.parse_args()
    X = (np.random.default_rng(0).random((1797, 64)) < load_digits().data / 16) * 1.0
    default = Likelihood().n_chains
    rankings = []
    for n_chains in (default, 20 * default):
        scores, seconds = search(X, n_chains, options.epochs)
        rankings.append(np.argsort(-scores).tolist())
        cells = (
            f"{size}: {score:.3f} ({time:.1f} s)"
            for size, score, time in zip(SIZES, scores, seconds, strict=True)
        )
        print(f"{n_chains} chains, nats a row:", *cells, sep="  ")
    print("same ranking" if rankings[0] == rankings[1] else "another ranking")


if __name__ == "__main__":
    main()
