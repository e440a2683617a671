"""How much better than a Gaussian are machines of real columns, at their defaults?

Held-out log-density on four tables of scikit-learn's and on log-spectra of spoken
digits, 64 frequencies, standardised on the training part; five splits, 70 to 30, those
of speech by recording, of which 5,000 and 2,000 frames are taken. A `DBMSampler` with
its defaults, seeded with the number of the split, is compared with a Gaussian of
Ledoit-Wolf covariance, from split to split, and with the mixture of full Gaussians that
BIC chooses among 1 to 20 components. Results are lines of JSON in a file: what stands
there for the same commit and parameters is not done again, nor are the two references.

Run: python benchmarks/real_columns.py [--data spoken_digits_8khz.npz]
     [--sets iris speech] [--params '{"hidden_layer_sizes": [64]}']

The file of --data holds the Free Spoken Digit Dataset: `waveform`, all recordings end
to end, and `length`. Without it speech is left out.
"""

import argparse
import json
import pathlib
import subprocess
import time
import warnings

import numpy as np
from scipy.signal import stft
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

from skdbm import DBMSampler

TABLES = {
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "iris": load_iris,
}
N_SPLITS, N_FRAMES = 5, (5000, 2000)


def log_spectra(path):
    """Give log-spectra of all recordings, a frame a row, and the recording of each."""
    with np.load(path) as file:
        waves = np.split(file["waveform"], np.cumsum(file["length"])[:-1])
    frames = [
        np.log(np.abs(stft(wave / np.abs(wave).max(), nperseg=126)[2].T) ** 2 + 1e-8)
        for wave in waves
    ]
    recording = np.repeat(np.arange(len(frames)), [len(part) for part in frames])
    return np.concatenate(frames), recording


def splits(X, groups):
    """Yield training and test rows, standardised, of each split."""
    cv = GroupShuffleSplit(N_SPLITS, test_size=0.3, random_state=0)
    for parts in cv.split(X, groups=groups):
        rng = np.random.default_rng(0)
        train, test = (
            rng.permutation(part)[:most]
            for part, most in zip(parts, N_FRAMES, strict=True)
        )
        scaler = StandardScaler().fit(X[train])
        yield scaler.transform(X[train]), scaler.transform(X[test])


def mixture_by_bic(X):
    """Fit mixtures of 1 to 20 Gaussians with full covariances; the one of least BIC."""
    mixtures = [
        GaussianMixture(k, reg_covar=1e-3, n_init=5, random_state=0).fit(X)
        for k in range(1, 21)
    ]
    return min(mixtures, key=lambda mixture: mixture.bic(X))


def references(train, test):
    """Mean log-densities of the test rows under one Gaussian, and a mixture of some."""
    mixture = mixture_by_bic(train)
    return {
        "gaussian": LedoitWolf().fit(train).score(test),
        "mixture": mixture.score(test),
        "components": mixture.n_components,
    }


def machine(train, test, params):
    """Train a machine: its mean log-densities, and more."""
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        sampler = DBMSampler(visible="gaussian", **params).fit(train)
        seconds = time.process_time() - start
        scores = [
            float(sampler.score_samples(rows, n_importance_samples=100).mean())
            for rows in (test, train[:2000])
        ]
    return {
        "test": scores[0],
        "train": scores[1],
        "log_partition_error": float(sampler.log_partition_std_),
        "seconds": seconds,
        "warnings": sorted({" ".join(str(w.message).split())[:90] for w in caught}),
    }


def row_of_table(name, found):
    """Write one line of the table, from the results of all splits of a set."""
    keys = "gaussian", "mixture", "test", "train", "log_partition_error", "seconds"
    columns = {key: np.array([r[key] for r in found]) for key in keys}
    gains = [columns["test"] - columns[key] for key in ("gaussian", "mixture")]
    errors = [gain.std(ddof=1) / max(1, len(gain)) ** 0.5 for gain in gains]
    cells = [
        name,
        *(f"{columns[key].mean():.2f}" for key in keys[:3]),
        *(f"{g.mean():+.2f} ± {e:.2f}" for g, e in zip(gains, errors, strict=True)),
        f"{columns['train'].mean():.2f}",
        f"{columns['log_partition_error'].max():.2f}",
        f"{columns['seconds'].mean():.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main():
    """Train on all splits of all sets, but for those whose results are there."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--data", help="npz of the spoken digits")
    cli.add_argument("--sets", nargs="+", help="names, all by default")
    cli.add_argument("--out", default="real_columns.jsonl", help="file of the results")
    cli.add_argument("--params", default="{}", help="JSON of parameters, for studies")
    cli.add_argument("--splits", type=int, default=N_SPLITS, help="the first so many")
    options = cli.parse_args()
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

    def once(key, function, *arguments):
        """What stands in the file under a key, or what a function gives for it."""
        for result in done:
            if key.items() <= result.items():
                return result
        result = key | function(*arguments)
        with out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        return result

    print(
        "| set | Gaussian | mixture | DBM | DBM less Gaussian | DBM less mixture "
        "| DBM, training rows | largest error of log Z | seconds |\n" + "|---" * 9 + "|"
    )
    names = [*TABLES, *(["speech"] if options.data else [])]
    for name in options.sets or names:
        if name == "speech":
            X, groups = log_spectra(options.data)
        else:
            X = TABLES[name]().data
            groups = np.arange(len(X))
        found = []
        for split, parts in enumerate(splits(X, groups)):
            if split == options.splits:
                break
            key = {"set": name, "split": split}
            params = {"random_state": split} | json.loads(options.params)
            described = {"model": "machine", "commit": commit, "params": params}
            of_machine = once(key | described, machine, *parts, params)
            print(of_machine, flush=True)
            found.append(
                once(key | {"model": "references"}, references, *parts) | of_machine
            )
        print(row_of_table(name, found), flush=True)


if __name__ == "__main__":
    main()
