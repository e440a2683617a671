"""How much better than a Gaussian are machines of real columns, at their defaults?

Held-out log-density on four tables of scikit-learn's and on log-spectra of spoken
digits, 64 frequencies, standardised on the training part; five splits, 70 to 30, those
of speech by recording, of which 5,000 and 2,000 frames are taken. `DBMSampler` with its
defaults is compared with a Gaussian of Ledoit-Wolf covariance, from split to split, and
with the mixture of full Gaussians that BIC chooses among 1 to 20 components.

Run: python benchmarks/real_columns.py --data spoken_digits.npz [--only iris speech]
     [--params '{"early_stopping": true}']

The file holds the Free Spoken Digit Dataset: `waveform`, all recordings end to end, and
`length`. Without it speech is left out.
"""

import argparse
import json
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


def compare(train, test, params, with_mixture):
    """Mean log-densities of the test rows: Gaussian, mixture, machine; and more."""
    gaussian = LedoitWolf().fit(train).score(test)
    mixture = mixture_by_bic(train) if with_mixture else None
    start = time.process_time()
    sampler = DBMSampler(visible="gaussian", random_state=0, **params).fit(train)
    seconds = time.process_time() - start
    return [
        gaussian,
        np.nan if mixture is None else mixture.score(test),
        sampler.score(test),
        sampler.score(train),
        sampler.log_partition_std_,
        seconds,
    ]


def main():
    """Print a table, in nats a row."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--data", help="npz of the spoken digits")
    cli.add_argument("--only", nargs="+", help="names of the sets")
    cli.add_argument("--params", type=json.loads, default={}, help="of DBMSampler")
    cli.add_argument("--no-mixture", action="store_true")
    options = cli.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("set | Gaussian | mixture | DBM | DBM - Gaussian | DBM - mixture | train | s")
    names = [*TABLES, *(["speech"] if options.data else [])]
    for name in options.only or names:
        if name == "speech":
            X, groups = log_spectra(options.data)
        else:
            X = TABLES[name]().data
            groups = np.arange(len(X))
        results = np.array(
            [
                compare(train, test, options.params, not options.no_mixture)
                for train, test in splits(X, groups)
            ]
        )
        gaussian, mixture, machine, train, error, seconds = results.T
        differences = [
            f"{d.mean():+.2f} +- {d.std(ddof=1) / len(d) ** 0.5:.2f}"
            for d in (machine - gaussian, machine - mixture)
        ]
        print(
            f"{name} | {gaussian.mean():.2f} | {mixture.mean():.2f} | "
            f"{machine.mean():.2f} | {' | '.join(differences)} | {train.mean():.2f} | "
            f"{seconds.mean():.0f}   (log Z +- {error.max():.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
