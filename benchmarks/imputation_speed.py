"""Time of imputation by chains that were annealed for each row, and by plain ones.

Trains a machine on digits, and fills 1,000 rows that lack three tenths of their values:
with a population of annealed chains for every row, as `DBMSampler.impute` does it, and
with the same number of plain Gibbs chains from independent units, interleaved. Prints
CPU seconds of both and their ratio.

Run: python benchmarks/imputation_speed.py [--rounds 3]
"""

import argparse
import time
from unittest import mock

import numpy as np
from sklearn.datasets import load_digits

from skdbm import DBMSampler, _sampler
from skdbm.sampling import initial_states


def plain_chains(machine, means, evidence, n_chains, seed, team):
    """Begin the chains of every row with independent units, but for what is known."""
    given = evidence[np.repeat(np.arange(evidence.n_rows), n_chains)]
    states = initial_states(machine, given.n_rows, seed)
    for layer, state in enumerate(states):
        given.hold(layer, state)
    return states


def seconds(sampler, X):
    """CPU seconds of an imputation."""
    start = time.process_time()
    sampler.impute(X, random_state=0)
    return time.process_time() - start


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    cli.add_argument("--rounds", type=int, default=3)
    args = cli.parse_args()
    X = load_digits().data / 16
    sampler = DBMSampler(max_iter=20, random_state=0, n_jobs=1).fit(X)
    holey = X[:1000].copy()
    holey[np.random.default_rng(0).random(holey.shape) < 0.3] = np.nan
    for _ in range(args.rounds):
        annealed = seconds(sampler, holey)
        with mock.patch.object(_sampler, "chains_given", plain_chains):
            plain = seconds(sampler, holey)
        print(f"annealed {annealed:.1f} s, plain {plain:.1f} s: {annealed / plain:.2f}")
