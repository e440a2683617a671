"""How many draws a score needs: the estimate of log p(v) by their number, on digits.

Trains the default machine on 1,400 of scikit-learn's digits and scores the others. For
each number of draws: the mean of the scores, the standard deviations over seeds of that
mean and of a row's score, and the seconds of scoring all rows once; 0 is the bound by
mean field.

Run: python benchmarks/draws.py [--draws 0 1 5 10 20 100 1000] [--seeds 5]
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdbm import DBMSampler
from skdbm.likelihood import bound, importance_weighted_log_likelihood


def judge(machine, rows, log_partition, n_draws, seeds):
    """Print a line about a number of draws."""
    start = time.perf_counter()
    if n_draws:
        scores = [
            importance_weighted_log_likelihood(
                machine,
                rows,
                log_partition,
                n_importance_samples=n_draws,
                random_state=seed,
            )
            for seed in seeds
        ]
    else:
        scores = [bound(machine, rows, log_partition) for _ in seeds]
    seconds = (time.perf_counter() - start) / len(seeds)
    scores = np.array(scores)
    of_mean, of_row = scores.mean(axis=1).std(), scores.std(axis=0).mean()
    print(
        f"{n_draws:5d} draws  mean {scores.mean():8.3f}  over seeds: mean +- "
        f"{of_mean:.3f}, row +- {of_row:.3f}  {seconds:.2f} s",
        flush=True,
    )


def main():
    """Train, and go through the numbers of draws."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--draws", type=int, nargs="+", default=[0, 1, 5, 10, 20, 100])
    cli.add_argument("--seeds", type=int, default=5)
    options = cli.parse_args()
    X = load_digits().data / 16
    seen, rows = train_test_split(X, train_size=1400, random_state=0)
    sampler = DBMSampler(random_state=0).fit(seen)
    log_z = sampler.log_partition_
    print(f"log Z {log_z:.2f} +- {sampler.log_partition_std_:.2f}")
    for n_draws in options.draws:
        judge(sampler.machine_, rows, log_z, n_draws, range(options.seeds))


if __name__ == "__main__":
    main()
