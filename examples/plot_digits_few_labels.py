"""
Classes of digits from few labels
=================================

Rows are cheap and labels are not. :class:`~skdbm.DBMClassifier` learns from all rows,
of which few have a label: it models rows and labels together, and then learns to tell
the classes, by the labels that there are and by what it says itself of the other rows.
Beside it stands what scikit-learn has: a linear classifier of the labelled rows, one
that trains itself on its own predictions, and labels that spread to neighbours.
"""

# %%
# Digits, most of them without a label
# ------------------------------------
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skdbm import DBMClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=450, stratify=y, random_state=0
)


def with_labels(n_labels, seed):
    """Leave as many labels of every digit, and put -1 in the place of others."""
    rng, labels = np.random.default_rng(seed), np.full(len(y_train), -1)
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(y_train == digit))
        labels[rows[: n_labels // 10]] = digit
    return labels


class OfLabelled(LogisticRegression):
    """A linear classifier that leaves rows without a label out."""

    def fit(self, X, y):
        """Fit to those rows that have one."""
        return super().fit(X[y >= 0], y[y >= 0])


models = {
    "LogisticRegression": OfLabelled(max_iter=1000),
    "SelfTrainingClassifier": SelfTrainingClassifier(LogisticRegression(max_iter=1000)),
    "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=7, max_iter=200),
    "DBMClassifier": DBMClassifier(unlabeled=-1, random_state=0),
}

# %%
# Accuracy by the number of labels
# --------------------------------
# The means of three draws of the labels; with all of them there is one.

numbers = [50, 100, 200, len(y_train)]
accuracy = {name: [] for name in models}
for n_labels in numbers:
    known = [with_labels(n_labels, seed) for seed in range(3)]
    if n_labels == len(y_train):
        known = [y_train]
    for name, model in models.items():
        # Rows that no label has spread to, and no row without a label, are all right.
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="y contains no unlabeled")
            scores = [
                model.fit(X_train, labels).score(X_test, y_test) for labels in known
            ]
        accuracy[name].append(np.mean(scores))

print(f"{'labels':24}" + "".join(f"{n:8d}" for n in numbers))
for name, scores in accuracy.items():
    print(f"{name:24}" + "".join(f"{score:8.3f}" for score in scores))

# %%
# Probabilities that mean what they say
# -------------------------------------
# Of the classifiers that have seen all labels: the log loss in nats, and how often a
# digit that got some probability was the right one.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, scores in accuracy.items():
    left.semilogx(numbers, scores, "o-", label=name)
left.set(xlabel="labels", ylabel="accuracy on held-out digits")
left.set_xticks(numbers, labels=numbers, minor=False)
left.set_xticks([], minor=True)
left.legend()
for name, model in models.items():
    probabilities = model.predict_proba(X_test)
    print(f"{name:24} log loss {log_loss(y_test, probabilities):.3f}")
    if name in ("LogisticRegression", "DBMClassifier"):
        hits = np.eye(10)[y_test].ravel()
        CalibrationDisplay.from_predictions(
            hits,
            probabilities.ravel(),
            n_bins=8,
            strategy="uniform",
            name=name,
            ax=right,
        )
right.set(xlabel="probability of a digit", ylabel="share of those that it was")
figure.savefig("digits_few_labels.png", dpi=150)
plt.show()
