"""How good is log Z for its cost? Temperatures, error bars and the reverse run.

For a trained machine the table shows the estimate of log Z, its standard error, the
effective sample size, the gap to the reverse run and the seconds, for more and more
temperatures. Without --machine, a small DBM is trained on scikit-learn's digits.

Run: python benchmarks/annealing_accuracy.py [--machine machine.npz]
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from skdbm import DBMTransformer
from skdbm.likelihood import annealing_bracket
from skdbm.machine import DeepBoltzmannMachine


def main():
    """Print the table."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--machine", help="file of a trained machine")
    cli.add_argument(
        "--temperatures", type=int, nargs="+", default=[100, 300, 1000, 3000, 20000]
    )
    options = cli.parse_args()
    if options.machine:
        machine = DeepBoltzmannMachine.load(options.machine)
    else:
        X = load_digits().data / 16
        machine = DBMTransformer(random_state=0).fit(X).machine_
    machine = machine.astype(np.float32)
    print(machine)
    print(f"{'temperatures':>12} {'log Z':>9} {'error':>6} {'ESS':>5} ", end="")
    print(f"{'reverse':>9} {'error':>6} {'ESS':>5} {'gap':>6} {'seconds':>8}")
    for n_temperatures in options.temperatures:
        start = time.perf_counter()
        bracket = annealing_bracket(
            machine, n_temperatures=n_temperatures, random_state=0
        )
        spent = time.perf_counter() - start
        print(f"{n_temperatures:>12}", end="")
        for run in (bracket.forward, bracket.reverse):
            print(
                f" {run.log_partition:>9.2f} {run.standard_error:>6.2f} "
                f"{run.effective_sample_size:>5.0f}",
                end="",
            )
        print(f" {bracket.gap:>+6.2f} {spent:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
