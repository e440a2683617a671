"""The records of a training that goes well and of one with too long steps."""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from skdbm import DBMTransformer
from skdbm.display import LearningCurveDisplay

QUANTITIES = ["reconstruction_error", "energy_gap", "weight_norms", "dead_units"]

X = load_digits().data / 16
figure, axes = plt.subplots(2, 4, figsize=(11, 5), sharex=True, layout="constrained")
for row, rate in zip(axes, ("auto", 1.4), strict=True):
    model = DBMTransformer(
        hidden_layer_sizes=(64, 32),
        max_iter=40,
        learning_rate_init=rate,
        random_state=0,
    ).fit(X)
    LearningCurveDisplay.from_estimator(model, ax=row, quantities=QUANTITIES)
    row[0].set_ylabel(f"learning_rate_init={rate!r}")
for ax in axes[0]:
    ax.set_xlabel("")
