"""Public density sets, with no parameter set: likelihood, time, and what is published.

Reads the layout of the public collections (NAME/NAME.train.data, .valid. and .test.,
rows of 0 and 1 with commas or blanks), trains a `DBMSampler(random_state=0)` on the
training part of each set and nothing else, and prints the importance-weighted estimate
of the log-likelihood in nats a row, with its standard error over the rows and that of
log Z. Test rows are opened by --final alone. Results are lines of JSON in a file: what
stands there for the same commit, seed and parameters is not done again.

Also printed: how much the top layer is in use, as the mean Kullback-Leibler divergence
of the mean-field posterior of its units from their average, and the likelihood lost
without it, its mean folded into the biases below, with the standard error of the loss.
Of up to 16 columns all states are listed, and what their probabilities sum to says by
how much log Z is wrong.

Run: python benchmarks/density.py --data FOLDER [--sets nltcs dna] [--final]
"""

import argparse
import json
import pathlib
import subprocess
import time
import warnings

import numpy as np
from _data import read_density
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMSampler, DeepBoltzmannMachine
from skdbm.inference import mean_field
from skdbm.likelihood import (
    annealed_log_partition,
    importance_weighted_log_likelihood,
)

#: Nats a test row that others have published: ID-SPN, MADE or NADE, and the best. See
#: doc/density.md for the sources.
PUBLISHED = {
    "nltcs": (-6.02, -6.04, -5.99),
    "mushrooms": (None, -9.68, -9.40),
    "plants": (-12.54, -12.32, -11.99),
    "dna": (-81.21, -82.77, -79.06),
    "jester": (-52.86, -52.23, -51.29),
    "adult": (None, -13.12, -13.12),
    "ocr_letters": (None, -27.22, -26.43),
    "cwebkb": (-151.84, -149.59, -146.9),
}

#: Columns up to which all states are listed.
MOST_LISTED = 16


def independent(X, rows):
    """Log-probability of rows under independent columns with the means of X."""
    means = (X.sum(axis=0) + 0.5) / (len(X) + 1)
    return rows @ np.log(means) + (1 - rows) @ np.log1p(-means)


def scores_of(machine, log_partition, rows, n_draws, seed=0):
    """Importance-weighted estimates of rows."""
    return importance_weighted_log_likelihood(
        machine,
        rows,
        log_partition,
        n_importance_samples=n_draws,
        random_state=seed,
        tol=1e-3,
    )


def estimate(scores):
    """Mean of the scores of rows, and its standard error."""
    return float(scores.mean()), float(scores.std() / len(scores) ** 0.5)


def log_sum_of_states(machine, log_partition):
    """Log of the sum of the probabilities of all states, and its standard error."""
    # Estimates of probabilities are right on average, of however few draws, and those
    # of 65,536 states average out.
    unit, n_units = machine.units[0], machine.layer_sizes[0]
    states = unit.states(np.arange(unit.n_states(n_units)), n_units, float)
    sums = [
        np.exp(scores_of(machine, log_partition, states, 10, seed)).sum()
        for seed in range(10)
    ]
    mean = np.mean(sums)
    return float(np.log(mean)), float(np.std(sums, ddof=1) / mean / len(sums) ** 0.5)


def use_of_top(machine, rows):
    """Divergence of the top units' posterior from its mean; loss without, its error."""
    top = np.asarray(mean_field(machine, rows, tol=1e-3).means[-1], dtype=float)
    average = top.mean(axis=0)
    parts = [np.clip(x, 1e-12, 1 - 1e-12) for x in (top, average)]
    ratios = [np.log(parts[0]) - np.log(parts[1]), np.log1p(-parts[0])]
    ratios[1] = ratios[1] - np.log1p(-parts[1])
    divergence = (top * ratios[0] + (1 - top) * ratios[1]).sum(axis=1).mean()
    biases = [*machine.biases[:-2], machine.biases[-2] + machine.weights[-1] @ average]
    without = DeepBoltzmannMachine(
        machine.weights[:-1],
        biases,
        machine.units[:-1],
        machine.encoding,
        means=machine.means[:-1],
        centres=machine.centres and machine.centres[:-1],
    )
    scores, errors = [], []
    for judged in (machine, without):
        # Four times the usual chains: the loss may be small.
        found = annealed_log_partition(judged, n_chains=200, random_state=0)
        scores.append(scores_of(judged, found.log_partition, rows, 100))
        errors.append(found.standard_error)
    loss, of_rows = estimate(scores[0] - scores[1])
    return float(divergence), loss, float(np.linalg.norm([of_rows, *errors]))


def judge(folder, name, params, options):
    """Train on a set, and give all that is to be said about it."""
    X = read_density(folder, name, "train")
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        sampler = DBMSampler(**params).fit(X)
        seconds = time.perf_counter() - start
        machine, log_z = sampler.machine_, sampler.log_partition_
    result = {
        "seconds": seconds,
        "epochs": sampler.n_iter_,
        "log_partition": log_z,
        "log_partition_error": sampler.log_partition_std_,
        "warnings": sorted({" ".join(str(w.message).split())[:90] for w in caught}),
    }
    parts = {"train": X, "valid": read_density(folder, name, "valid")}
    if options.final:
        parts["test"] = read_density(folder, name, "test")
    for part, rows in parts.items():
        rows = rows if part == "test" else rows[: options.rows]
        result[part] = estimate(scores_of(machine, log_z, rows, options.draws))
    if X.shape[1] <= MOST_LISTED:
        result["sum"] = log_sum_of_states(machine, log_z)
    held_out = parts["valid"][: options.rows]
    result["independent"] = float(independent(X, held_out).mean())
    if machine.n_layers > 2 and options.top:
        result["top"] = use_of_top(machine, held_out)
    return result


def row_of_table(name, result):
    """Write one line of the table."""
    likelihoods = "  ".join(
        f"{part} {result[part][0]:8.2f} +- {result[part][1]:.2f}"
        for part in ("train", "valid", "test")
        if part in result
    )
    published = " ".join("-" if p is None else f"{p}" for p in PUBLISHED.get(name, ()))
    top = "top {:5.2f} nats, {:+.2f} +- {:.2f}".format(*result.get("top", (0, 0, 0)))
    if "sum" in result:
        top += "  log of the sum of all states {:+.3f} +- {:.3f}".format(*result["sum"])
    return (
        f"{name:>12} {result['seconds']:5.0f} s {result['epochs']:4d} epochs  "
        f"{likelihoods}  log Z +- {result['log_partition_error']:.2f}  "
        f"independent {result['independent']:.1f}  {top}  published {published}  "
        + " | ".join(result["warnings"])
    )


def main():
    """Train on all sets, but for those whose results are there."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--data", required=True, help="folder of the sets")
    cli.add_argument("--sets", nargs="+", default=list(PUBLISHED))
    cli.add_argument("--final", action="store_true", help="open the test rows")
    cli.add_argument("--out", default="density.jsonl", help="file of the results")
    cli.add_argument("--params", default="{}", help="JSON of parameters, for studies")
    cli.add_argument("--draws", type=int, default=100, help="of an estimate")
    cli.add_argument("--rows", type=int, default=2000, help="of train and valid judged")
    cli.add_argument("--top", type=int, default=1, help="0: leave the top layer out")
    options = cli.parse_args()
    params = {"random_state": 0} | json.loads(options.params)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    out = pathlib.Path(options.out)
    lines = out.read_text().splitlines() if out.exists() else []
    done = [json.loads(line) for line in lines]
    for name in options.sets:
        key = {
            "set": name,
            "commit": commit,
            "params": params,
            "draws": options.draws,
            "final": options.final,
        }
        found = [r for r in done if key.items() <= r.items()]
        if found:
            result = found[0]
        else:
            result = key | judge(options.data, name, params, options)
            with out.open("a") as file:
                file.write(json.dumps(result) + "\n")
        print(row_of_table(name, result), flush=True)


if __name__ == "__main__":
    main()
