"""How good is log Z for its cost? The estimate and its error against enumeration.

For a machine that can be enumerated the table shows, for more and more chains, the
standard error that `annealed_log_partition` gives, the root mean square of its true
errors over some seeds and the largest of these in standard errors, how often the lower
bound failed, and the seconds. Without --machine, a small DBM is trained on
scikit-learn's digits.

Run: python benchmarks/annealing_accuracy.py [--machine machine.npz]
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from skdbm import DBMTransformer
from skdbm.likelihood import annealed_log_partition, exact_log_partition
from skdbm.machine import DeepBoltzmannMachine


def main():
    """Print the table."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--machine", help="file of a trained machine of few units")
    cli.add_argument("--chains", type=int, nargs="+", default=[10, 30, 100, 400, 2000])
    cli.add_argument("--seeds", type=int, default=10)
    cli.add_argument("--epochs", type=int, default=60, help="of the training on digits")
    options = cli.parse_args()
    if options.machine:
        machine = DeepBoltzmannMachine.load(options.machine)
    else:
        X = load_digits().data / 16
        model = DBMTransformer(
            hidden_layer_sizes=(16, 16), max_iter=options.epochs, random_state=0
        )
        machine = model.fit(X).machine_
    exact = exact_log_partition(machine)
    print(machine)
    print(f"log Z {exact:.2f} by enumeration")
    print(
        f"{'chains':>6} {'standard error':>14} {'RMS error':>9} {'largest':>7} ", end=""
    )
    print(f"{'bound failed':>12} {'seconds':>8}")
    for n_chains in options.chains:
        start = time.perf_counter()
        results = [
            annealed_log_partition(machine, n_chains=n_chains, random_state=seed)
            for seed in range(options.seeds)
        ]
        spent = (time.perf_counter() - start) / len(results)
        errors = np.array([result.log_partition - exact for result in results])
        spread = np.sqrt(np.mean(errors**2))
        claimed = np.array([result.standard_error for result in results])
        failed = sum(result.lower_bound > exact for result in results)
        print(
            f"{n_chains:>6} {claimed.mean():>14.3f} {spread:>9.3f} "
            f"{np.abs(errors / claimed).max():>7.1f} {failed:>12} {spent:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
