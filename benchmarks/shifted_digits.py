"""How soon are features of digits good, beside those of BernoulliRBM?

scikit-learn's digits and their copies moved by a pixel, split by the digit. In each
round BernoulliRBM makes ten epochs, and DBMTransformer trains with its defaults, both
on one thread; LogisticRegression on scaled features says how good they are, of the deep
machine also while it trains, from time to time, in pretraining, too, with the layers
that it has by then. What asking takes does not count. Printed are seconds of the
processor and accuracies.

Run: python benchmarks/shifted_digits.py [--rounds 3]
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdbm import DBMTransformer
from skdbm.training.run import Run

#: Epochs after each of which the features of the deep machine are judged.
EVERY = 4


def shifted_digits():
    """Give training and test images, and their digits."""
    X, y = load_digits(return_X_y=True)
    split = GroupShuffleSplit(1, test_size=0.2, random_state=4)
    parts = next(split.split(X, groups=np.arange(len(X))))
    return [a for part in parts for a in moved(X[part].reshape(-1, 8, 8) / 16, y[part])]


def moved(images, y):
    """Add the copies moved by a pixel in each of four directions."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    places = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    copies = [padded[:, i : i + 8, j : j + 8].reshape(-1, 64) for i, j in places]
    return np.concatenate(copies), np.tile(y, len(places))


def accuracy(features, data):
    """Judge fitted features by a linear classifier of them."""
    X, y, X_test, y_test = data
    classifier = LogisticRegression(C=0.1, max_iter=1000, tol=1e-3)
    model = make_pipeline(StandardScaler(), classifier)
    model.fit(features.transform(X), y)
    return model.score(features.transform(X_test), y_test)


class Watch:
    """Judges a training from epoch to epoch, in place of `Run.advance`."""

    def __init__(self, data):
        self.data, self.advance, self.seconds, self.n_epochs = data, Run.advance, 0.0, 0
        self.seen = []

    def __enter__(self):
        """Look at every run from now on."""
        Run.advance = lambda *arguments: self.look(*arguments)
        return self

    def __exit__(self, *_):
        """Look at none any more."""
        Run.advance = self.advance

    def look(self, run, *arguments):
        """Make an epoch; now and then, judge what there is."""
        start = time.process_time()
        record = self.advance(run, *arguments)
        self.seconds += time.process_time() - start
        self.n_epochs += 1
        if self.n_epochs % EVERY == 0:
            machine = run.state.snapshot()
            found = accuracy(DBMTransformer.from_machine(machine, n_jobs=1), self.data)
            self.seen.append((self.seconds, found))
        return record


def main():
    """Train both in turn, print times and accuracies."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--rounds", type=int, default=3)
    options = cli.parse_args()
    data = shifted_digits()
    print(f"{len(data[0])} images to learn from, {len(data[2])} to judge by")
    ratios = []
    for seed in range(options.rounds):
        rbm = BernoulliRBM(256, learning_rate=0.06, n_iter=10, random_state=seed)
        start = time.process_time()
        rbm.fit(data[0])
        of_rbm, target = time.process_time() - start, accuracy(rbm, data)
        model = DBMTransformer(random_state=seed, n_jobs=1)
        start = time.process_time()
        model.fit(data[0])
        of_dbm = time.process_time() - start
        ratios.append(of_dbm / of_rbm)
        with Watch(data) as watch:
            DBMTransformer(random_state=seed, n_jobs=1).fit(data[0])
        passed = next((s for s, found in watch.seen if found > target), np.nan)
        print(
            f"BernoulliRBM {of_rbm:.1f} s, {target:.4f}; DBMTransformer {of_dbm:.1f} "
            f"s, {accuracy(model, data):.4f}, past the other after {passed:.1f} s",
            flush=True,
        )
        print(", ".join(f"{s:.1f} s {found:.4f}" for s, found in watch.seen))
    print(f"time over that of BernoulliRBM: {np.round(ratios, 2)}")


if __name__ == "__main__":
    main()
