"""What does log Z cost in early stopping, annealed anew or followed?

A machine is trained on digits for 180 epochs, and kept every 5 epochs as early
stopping would see it. Then log Z of all these machines is annealed, one by one, and
followed from each to the next. Seconds of the processor are printed, and how far the
two kinds of values are apart in combined standard errors.

Run: python benchmarks/early_stopping.py [--sizes 256 256]
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from skdbm import DBMTransformer
from skdbm.likelihood import annealed_log_partition
from skdbm.likelihood.following import FollowedLogPartition

EVERY = 5


def timed(work):
    """Call; the seconds of the processor and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


class Keep:
    """A callback that keeps the machines of every fifth epoch."""

    def __init__(self):
        self.machines, self.n_epochs = [], 0

    def setup(self, estimator, context):
        """Do nothing before the fit."""

    def teardown(self, estimator, context):
        """Do nothing after it."""

    def on_fit_task_begin(self, estimator, context):
        """Do nothing before an epoch."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        """Count the epochs of the joint training."""
        if context.task_name == "training":
            self.n_epochs += 1
            if self.n_epochs % EVERY == 0:
                self.machines.append(fitted_estimator.machine_)


def train(sizes, n_epochs):
    """Train, and give the machines of every fifth epoch."""
    keep = Keep()
    DBMTransformer(
        hidden_layer_sizes=sizes, max_iter=n_epochs, random_state=0, n_jobs=1
    ).set_callbacks(keep).fit(load_digits().data / 16)
    return keep.machines


def anneal(machines):
    """Anneal log Z of every machine; values and standard errors."""
    results = [annealed_log_partition(m, random_state=1, n_jobs=1) for m in machines]
    return [(r.log_partition, r.standard_error) for r in results]


def follow(machines):
    """Follow log Z from machine to machine; values and standard errors."""
    followed = FollowedLogPartition(random_state=2)
    results, n_annealed = [], 0
    for machine in machines:
        results.append(followed.update(machine, n_jobs=1))
        n_annealed += followed.n_steps == 0
    print(f"following annealed {n_annealed} of {len(machines)} machines")
    return results


def main():
    """Print the seconds and the differences."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--sizes", type=int, nargs="+", default=[256, 256])
    cli.add_argument("--epochs", type=int, default=180)
    options = cli.parse_args()
    training, machines = timed(lambda: train(tuple(options.sizes), options.epochs))
    annealing, annealed = timed(lambda: anneal(machines))
    following, followed = timed(lambda: follow(machines))
    print(f"training {training:.1f} s, {len(machines)} evaluations")
    print(f"annealed {annealing:.1f} s, followed {following:.1f} s")
    a, f = np.array(annealed), np.array(followed)
    z = (f - a)[:, 0] / np.hypot(a[:, 1], f[:, 1])
    print(
        f"standard errors up to {a[:, 1].max():.3f} and {f[:, 1].max():.3f}; "
        f"differences {z.min():+.1f} to {z.max():+.1f} combined ones"
    )


if __name__ == "__main__":
    main()
