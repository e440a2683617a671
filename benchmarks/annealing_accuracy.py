"""How good is log Z for its cost? The estimate and its error against enumeration.

For machines that can be enumerated the table shows, for more and more chains, the
standard error that `annealed_log_partition` gives, the root mean square of its true
errors over some seeds and the largest of these in standard errors, how many are within
two and three of them, how often the lower bound failed, and the seconds. Without
--machine, small DBMs are trained: on scikit-learn's digits, on a density set
(--data FOLDER --set mushrooms) or on MNIST (--data mnist.npz). Chains --left-alone in
training do not mix, and leave far modes in a machine.

Run: python benchmarks/annealing_accuracy.py [--machine machine.npz]
"""

import argparse
import time
import warnings

import numpy as np
from _data import load_mnist, read_density
from equilibrium import chains
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMTransformer
from skdbm.likelihood import annealed_log_partition, exact_log_partition
from skdbm.machine import DeepBoltzmannMachine


def command_line():
    """Describe the options."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--machine", help="file of a trained machine of few units")
    cli.add_argument("--data", help="mnist.npz, or the folder of the density sets")
    cli.add_argument("--set", help="the density set")
    cli.add_argument("--hidden", type=int, nargs="+", default=[16, 16])
    cli.add_argument("--epochs", type=int, help="default: as many as the estimator's")
    cli.add_argument("--trainings", type=int, default=1, help="machines, by seed")
    cli.add_argument("--left-alone", action="store_true", help="chains do not mix")
    cli.add_argument("--chains", type=int, nargs="+", default=[10, 30, 100, 400, 2000])
    cli.add_argument("--seeds", type=int, default=10, help="estimates of a machine")
    return cli.parse_args()


def rows(options):
    """Training rows: of a density set, MNIST or scikit-learn's digits."""
    if options.set:
        return read_density(options.data, options.set, "train")
    return load_mnist(options.data)[0] if options.data else load_digits().data / 16


def machines(options):
    """Give machines that can be enumerated."""
    if options.machine:
        return [DeepBoltzmannMachine.load(options.machine)]
    X = rows(options)
    with warnings.catch_warnings(), chains(mixed=not options.left_alone):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [
            DBMTransformer(
                hidden_layer_sizes=tuple(options.hidden),
                max_iter=options.epochs,
                random_state=seed,
            )
            .fit(X)
            .machine_
            for seed in range(options.trainings)
        ]


def judge(machine, exact, n_chains, n_seeds):
    """Print a line about estimates of one machine."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the table says as much
        results = [
            annealed_log_partition(machine, n_chains=n_chains, random_state=seed)
            for seed in range(n_seeds)
        ]
    spent = (time.perf_counter() - start) / n_seeds
    errors = np.array([result.log_partition - exact for result in results])
    claimed = np.array([result.standard_error for result in results])
    multiples = np.abs(errors / claimed)
    failed = sum(result.lower_bound > exact for result in results)
    print(
        f"{n_chains:>6} {claimed.mean():>14.3f} {np.sqrt(np.mean(errors**2)):>9.3f} "
        f"{multiples.max():>7.1f} {np.sum(multiples <= 2):>10} "
        f"{np.sum(multiples <= 3):>12} {failed:>12} {spent:>8.2f}",
        flush=True,
    )


def main():
    """Print a table for each machine."""
    options = command_line()
    for machine in machines(options):
        exact = exact_log_partition(machine)
        print(machine)
        print(f"log Z {exact:.2f} by enumeration, {options.seeds} estimates")
        print(
            f"{'chains':>6} {'standard error':>14} {'RMS error':>9} {'largest':>7} "
            f"{'within two':>10} {'within three':>12} {'bound failed':>12} "
            f"{'seconds':>8}"
        )
        for n_chains in options.chains:
            judge(machine, exact, n_chains, options.seeds)


if __name__ == "__main__":
    main()
