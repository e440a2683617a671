"""What do the settings of fine-tuning do? The perturbation, or the pull to the machine.

Digits of which 50, 180 or all training rows have a label, and tables whose classes
overlap: breast cancer, scaled to 0 and 1 and as bits above and below the median, and a
table of bits that scikit-learn makes. On each split one machine is trained, and
fine-tuned with several values of one setting. Prints accuracy and log loss of held-out
rows, the means of the splits: of LogisticRegression on the features of the machine, its
strength chosen by the log loss of five folds, of the machine itself, and of the
fine-tuned ones.

Run: python benchmarks/fine_tuning.py [--vary alpha] [--splits 3] [--tables digits]
"""

import argparse

import numpy as np
from _data import few
from classify import features
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdbm import DBMClassifier, FineTuning
from skdbm.training.fine_tuning import fine_tune

#: Values of the settings that are varied.
VALUES = {
    "perturbation": (0.0, 0.1, 0.25, 0.4),
    "alpha": (0.0, 0.05, 0.5, 5.0, 50.0),
}

#: What LogisticRegression may choose from.
STRENGTHS = {"logisticregression__C": (0.001, 0.01, 0.1, 1.0)}


def tables():
    """Give names, rows between 0 and 1, classes, and numbers of labels."""
    X, y = load_digits(return_X_y=True)
    yield "digits", X / 16, y, (50, 180, None)
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer, scaled", (X - X.min(0)) / np.ptp(X, axis=0), y, (None,)
    yield "breast cancer, bits", (X - np.median(X, axis=0)) > 0, y, (None,)
    X, y = make_classification(
        1500, 20, n_informative=8, n_redundant=4, flip_y=0.1, class_sep=0.8,
        random_state=0,
    )  # fmt: skip
    yield "made bits", X > 0, y, (None,)


def linear():
    """Make a LogisticRegression that chooses how strong it is."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    return GridSearchCV(model, STRENGTHS, scoring="neg_log_loss")


def judged(classifier, X, y):
    """Accuracy and log loss."""
    probabilities = classifier.predict_proba(X)
    return np.mean(probabilities.argmax(axis=1) == y), log_loss(y, probabilities)


def results(X, y, n_labels, split, name):
    """Accuracy and log loss of its features, the machine, each value of a setting."""
    X, X_test, y, y_test = train_test_split(
        X.astype(np.float32), y, test_size=0.25, stratify=y, random_state=split
    )
    codes, known = np.full(len(y), np.nan), few(y, n_labels, split)
    codes[known] = y[known]
    plain = DBMClassifier(fine_tuning=False, random_state=split).fit(X, codes)
    on_features = linear().fit(features(plain, X[known]), y[known])
    yield judged(on_features, features(plain, X_test), y_test)
    yield judged(plain, X_test, y_test)
    rows = np.column_stack([X, codes])
    for value in VALUES[name]:
        settings = FineTuning(**{name: value})
        plain.predictor_, _ = fine_tune(
            plain.machine_, rows, len(plain.classes_), settings, seed=split
        )
        yield judged(plain, X_test, y_test)


def main():
    """Print a line for each table and number of labels."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--vary", choices=VALUES, default="perturbation")
    cli.add_argument("--splits", type=int, default=3)
    cli.add_argument("--tables", nargs="+", help="default: all")
    options = cli.parse_args()
    values = "".join(f"{value:16.2f}" for value in VALUES[options.vary])
    print(f"{options.vary:>34}{'features':>16}{'machine':>16}" + values)
    for name, X, y, numbers in tables():
        if options.tables and name not in options.tables:
            continue
        for n_labels in numbers:
            splits = range(options.splits)
            found = [list(results(X, y, n_labels, s, options.vary)) for s in splits]
            means = np.mean(found, axis=0)
            cells = (f"{accuracy:8.3f}{loss:8.3f}" for accuracy, loss in means)
            labels = f"{n_labels or 'all'} labels"
            print(f"{name:22}{labels:>12}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
