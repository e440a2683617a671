"""
Features of digits: raw pixels, an RBM, a deep Boltzmann machine
================================================================

Small images of digits, moved by a pixel in each of four directions, are hard for a
linear classifier on raw pixels and easy on good features. We learn features without
labels, once by scikit-learn's one-layer ``BernoulliRBM`` and once by a deep Boltzmann
machine, and compare what ``LogisticRegression`` makes of them. Then we draw new
digits from the machine.

The digits are split into training and test part *before* they are moved, so that no
moved copy of a test digit is trained on.
"""

# %%
# Data
# ----
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from skdbm import DBMSampler, DBMTransformer
from skdbm.display import FiltersDisplay, SamplesDisplay

start = time.perf_counter()
X, y = load_digits(return_X_y=True)
X /= X.max()
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)


def with_shifted_copies(X, y):
    """Add the copies moved by one pixel up, down, left and right."""
    moves = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]
    images = X.reshape(-1, 8, 8)
    moved = [shift(images, (0, *move), order=0).reshape(X.shape) for move in moves]
    return np.concatenate(moved), np.tile(y, len(moves))


X_train_moved, y_train_moved = with_shifted_copies(X_train, y_train)
X_test_moved, y_test_moved = with_shifted_copies(X_test, y_test)

# %%
# Features and a classifier
# -------------------------
# Every row of the table has the same classifier, its C chosen by GridSearchCV on the
# training part. The deep machine has its default settings.


def classifier():
    """Logistic regression with C chosen by cross-validation."""
    return GridSearchCV(
        LogisticRegression(max_iter=2000, tol=1e-3),
        {"C": [0.1, 1.0, 10.0, 100.0, 1000.0]},
        cv=3,
        n_jobs=-1,
    )


def rbm(n_components):
    """scikit-learn's restricted Boltzmann machine, trained for 60 epochs."""
    return BernoulliRBM(
        n_components=n_components, learning_rate=0.06, n_iter=60, random_state=0
    )


def fit_and_print(name, features, X_train, y_train, X_test, y_test):
    """Fit a pipeline, print its row of the table, and give it back."""
    begin = time.perf_counter()
    pipeline = make_pipeline(features, classifier()).fit(X_train, y_train)
    accuracy, search = pipeline.score(X_test, y_test), pipeline[-1]
    print(
        f"{name:<44} {search.n_features_in_:>6} {search.best_params_['C']:>6g} "
        f"{accuracy:>9.3f} {time.perf_counter() - begin:>8.1f}",
        flush=True,
    )
    return pipeline


heading = f"{'features':<44} {'number':>6} {'C':>6} {'accuracy':>9} {'seconds':>8}"
moved = X_train_moved, y_train_moved, X_test_moved, y_test_moved
print("Digits with copies moved by one pixel, test accuracy of LogisticRegression")
print(heading)
fit_and_print("raw pixels", MinMaxScaler(clip=True), *moved)
fit_and_print("BernoulliRBM, 256 units", rbm(256), *moved)
fit_and_print("BernoulliRBM, 512 units", rbm(512), *moved)
name = "DBMTransformer, 256 + 256 units"
dbm = fit_and_print(name, DBMTransformer(random_state=0), *moved)[0]
first_layer = DBMTransformer.from_machine(dbm.machine_, feature_layers=1)
fit_and_print(
    "the same machine, first layer alone", FrozenEstimator(first_layer), *moved
)

plain = X_train, y_train, X_test, y_test
print("\nDigits as they are")
print(heading)
fit_and_print("raw pixels", MinMaxScaler(clip=True), *plain)
both = make_union(FunctionTransformer(), DBMTransformer(random_state=0))
fit_and_print("raw pixels and DBMTransformer side by side", both, *plain)

# %%
# Likelihood and new digits
# -------------------------
# The log-likelihood of binary images is estimated from a hundred draws of the hidden
# units, on average from below, so machines can be compared with each other, and with
# pixels that are independent of each other. A grey level is the probability of a one,
# from which binary test images are drawn.
sampler = DBMSampler.from_machine(dbm.machine_, random_state=0)
samples = sampler.sample(100)
smoothed = (X_train_moved.sum(axis=0) + 0.5) / (len(X_train_moved) + 1)
rng = np.random.default_rng(0)
drawn = (rng.random(X_test_moved.shape) < X_test_moved).astype(float)
scores = sampler.score_samples(drawn, n_importance_samples=100)
independent = drawn @ np.log(smoothed) + (1 - drawn) @ np.log1p(-smoothed)
print(
    f"\nMean log-likelihood of the test digits, nats: independent pixels "
    f"{independent.mean():.2f}, deep Boltzmann machine {scores.mean():.2f} (standard "
    f"error of log Z {sampler.log_partition_std_:.2f})"
)

# %%
# Picture
# -------

figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
real = X_train_moved[rng.choice(len(X_train_moved), 100, replace=False)]
SamplesDisplay.from_samples(real, ax=axes[0])
SamplesDisplay.from_samples(samples, ax=axes[1])
FiltersDisplay.from_estimator(dbm, n_filters=100, ax=axes[2])
axes[0].set_title("100 real digits")
axes[1].set_title("100 samples of the machine, as drawn")
axes[2].set_title("100 filters of the first layer")
figure.savefig("digits_features.png", dpi=150)
print(
    f"Picture saved to digits_features.png; {time.perf_counter() - start:.0f} s in all"
)

# sphinx_gallery_thumbnail_path = 'pictures/digits_features.png'
