"""How good is a machine that shards train in rounds, and what do rounds cost?

Digits, each drawn five times as a binary row, are spread over 1, 2, 4 and 8 shards.
These make some updates in a round and then average their machines, by the functions
that the workers of `skdbm.dask` run, called in this process. Printed are

- the mean log-likelihood of held-out rows (nats) after numbers of updates, with log Z
  by enumeration;
- the same for 8 shards at the end, by the updates in a round, where rows are spread
  evenly and where every shard has digits of its own kind;
- the bytes that shards propose in a round, and the seconds of an update, for
  784-500-1000;
- on paper, the hours of so many updates of that machine, and of ten passes over many
  rows, for 1 to 64 machines at 1 and 10 Gbit/s.

Run: python benchmarks/dask_rounds.py [--updates 1200] [--seeds 1]
"""

import argparse
import math
import pickle
import time

import numpy as np
from sklearn.datasets import load_digits

from skdbm import DBMSampler
from skdbm.dask._estimators import UPDATES_PER_ROUND
from skdbm.dask._run import KEPT_ROUNDS, planned
from skdbm.training import shards, start

BATCH = 50

#: Assumed seconds of the scheduler for a task, and of a message, and tasks of a shard
#: in a round.
TASK, LATENCY, TASKS = 1e-3, 1e-3, 3


def digits(seed):
    """Give binary training and test rows, and which digits the former are."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    training, test = np.repeat(order[:1400], 5), order[1400:]
    rng.shuffle(training)
    drawn = [
        (rng.random((len(rows), 64)) < X[rows] / 16).astype(np.float32)
        for rows in (training, test)
    ]
    return *drawn, y[training]


def begin(parts, estimator):
    """Begin a run for every shard, as the estimators for Dask do."""
    numbers = estimator._read_training(np.concatenate(parts), reset=True)
    plan, held_out, _ = planned(estimator, numbers, [len(part) for part in parts])
    cases = enumerate(zip(parts, held_out, strict=True))
    return [plan.begin(part, shard, some) for shard, (part, some) in cases]


def train(parts, n_updates, per_round, seed, marks):
    """Train by rounds; the machines at some shares of all updates, by mark."""
    n_batches = -(-max(map(len, parts)) // BATCH)
    estimator = DBMSampler(
        hidden_layer_sizes=(16, 16),
        batch_size=BATCH,
        # Growth takes a third more.
        max_iter=max(1, round(3 / 4 * n_updates / n_batches)),
        random_state=seed,
        n_jobs=1,
    )
    runs, agreement, found = begin(parts, estimator), None, {}
    n_epochs, left = runs[0].n_epochs, sorted(marks)
    while not runs[0].done:
        pairs = [
            shards.train_round(agreement, run, part, per_round)
            for run, part in zip(runs, parts, strict=True)
        ]
        runs = [run for _, run in pairs]
        agreement = shards.averaged([proposal for proposal, _ in pairs])
        epoch = runs[0].epoch
        within = epoch.n_done / epoch.n_batches if epoch else 0
        while left and (runs[0].n_done + within) / n_epochs >= left[0]:
            found[left.pop(0)] = shards.joined(runs, agreement).snapshot()
    return found


def likelihood(machine, rows):
    """Mean log-likelihood of rows, in nats."""
    return DBMSampler.from_machine(machine, random_state=0, n_jobs=1).score(rows)


def against_rounds(n_updates, n_seeds):
    """Print likelihoods against updates for numbers of shards."""
    marks = (0.25, 0.5, 0.75, 1.0)
    ends = "".join(f"{round(mark * n_updates):>9}" for mark in marks)
    print(f"log-likelihood of held-out rows, {UPDATES_PER_ROUND} updates a round")
    print(f"shards  updates:{ends}")
    for n_shards in (1, 2, 4, 8):
        scores = []
        for seed in range(n_seeds):
            X, test, _ = digits(seed)
            parts = np.array_split(X, n_shards)
            found = train(parts, n_updates, UPDATES_PER_ROUND, seed, marks)
            scores.append([likelihood(found[mark], test) for mark in marks])
        means = "".join(f"{mean:>9.2f}" for mean in np.mean(scores, axis=0))
        print(f"{n_shards:>6}          {means}", flush=True)


def against_updates_per_round(n_updates):
    """Print likelihoods of 8 shards against the updates in a round."""
    X, test, y = digits(0)
    print("\nlog-likelihood of held-out rows, 8 shards")
    print("updates a round   rows spread evenly   shards by kind")
    for per_round in (1, 10, 30):
        scores = []
        for order in (np.arange(len(X)), np.argsort(y, kind="stable")):
            parts = np.array_split(X[order], 8)
            found = train(parts, n_updates, per_round, 0, [1.0])
            scores.append(likelihood(found[1.0], test))
        print(f"{per_round:>15} {scores[0]:>20.2f} {scores[1]:>16.2f}", flush=True)


def costs():
    """Measure a 784-500-1000 machine: bytes of a proposal, of a run, and an update."""
    X = (np.random.default_rng(0).random((200, 784)) < 0.2).astype(np.float32)
    estimator = DBMSampler(
        hidden_layer_sizes=(500, 1000),
        max_iter=1,
        pretraining=None,
        alpha=0.0,
        random_state=0,
    )
    [run] = begin([X], estimator)
    proposal, run = shards.train_round(None, run, X, 1)
    began = time.perf_counter()
    shards.train_round(proposal, run, X, 3)
    seconds = (time.perf_counter() - began) / 3
    size = len(pickle.dumps(proposal, protocol=5))
    kept = size + len(pickle.dumps(run, protocol=5))
    print(f"\n784-500-1000: {size / 1e6:.1f} MB a shard and round, each way")
    print(f"              {kept / 1e6:.1f} MB a shard every {KEPT_ROUNDS} rounds, kept")
    print(f"              {1e3 * seconds:.0f} ms an update on one thread")
    return size, kept, seconds


def exchange(size, kept, n_machines, bits):
    """Seconds to average what machines propose, and to hand it out, on paper.

    Averages are a tree of groups, each of whose members sends to one; what comes of it
    spreads from those that have it to as many others at a time.
    """
    if n_machines == 1:
        return 0.0
    transfer = 8 * size / bits + LATENCY
    up, left = 0, n_machines
    while left > 1:
        groups = shards.groups(left)
        up += max(group.stop - group.start for group in groups) - 1
        left = len(groups)
    # What is kept comes to one machine, and goes out again, one after the other.
    keeping = 2 * n_machines * 8 * kept / bits / KEPT_ROUNDS
    return (up + math.ceil(math.log2(n_machines))) * transfer + keeping


def on_paper(size, kept, seconds):
    """Print hours for numbers of machines."""
    print(f"\nhours on paper, {UPDATES_PER_ROUND} updates a round")
    print("           120,000 updates     ten passes over 10,000,000 rows")
    print("machines   1 Gbit/s 10 Gbit/s   updates   1 Gbit/s 10 Gbit/s")
    for n_machines in (1, 2, 4, 8, 16, 32, 64):
        hours = []
        n_passes = start.EPOCHS_BETWEEN[0] * -(-10_000_000 // n_machines // BATCH)
        for n_updates in (start.MOST_UPDATES, max(n_passes, start.MOST_UPDATES)):
            for bits in (1e9, 1e10):
                tasks = TASK * TASKS * n_machines * (n_machines > 1)
                a_round = UPDATES_PER_ROUND * seconds + tasks
                a_round += exchange(size, kept, n_machines, bits)
                hours.append(n_updates / UPDATES_PER_ROUND * a_round / 3600)
        first, second, third, fourth = (f"{h:>9.1f}" for h in hours)
        print(f"{n_machines:>8}  {first} {second} {n_updates:>9} {third}  {fourth}")


def main():
    """Print all tables."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--updates", type=int, default=1200)
    cli.add_argument("--seeds", type=int, default=1)
    options = cli.parse_args()
    against_rounds(options.updates, options.seeds)
    against_updates_per_round(options.updates)
    on_paper(*costs())


if __name__ == "__main__":
    main()
