"""
Completing digits of which the lower half is hidden
===================================================

A deep Boltzmann machine knows which pixels go together, so it can say what belongs
where something is missing. We hide the lower half of test digits, NaN in the array,
and let the machine fill it: ``impute`` gives the mean of what could be there, and
``sample(given=...)`` draws several answers, each of which could be a digit.
"""

# %%
# Digits, and a machine
# ---------------------
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split

from skdbm import DBMSampler
from skdbm.display import SamplesDisplay

X, y = load_digits(return_X_y=True)
X = X / X.max()
X_train, X_test = train_test_split(X, test_size=0.2, random_state=0)
sampler = DBMSampler(max_iter=60, random_state=0).fit(X_train)

# %%
# How near the means come
# -----------------------
# The root of the mean squared error of the hidden pixels, between 0 and 1, against
# the means of the columns and of the five nearest neighbours among the training digits.

halves = X_test.copy()
halves[:, 32:] = np.nan
filled = {
    "column means": SimpleImputer().fit(X_train).transform(halves),
    "five neighbours": KNNImputer(n_neighbors=5).fit(X_train).transform(halves),
    "DBMSampler.impute": sampler.impute(halves, burn_in=200),
}
for name, digits in filled.items():
    error = np.sqrt(np.mean((digits - X_test)[:, 32:] ** 2))
    print(f"{name:18} {error:.3f}")

# %%
# Several answers
# ---------------
# Each row shows a test digit, its mean completion, and six completions drawn.

chosen = halves[:8]
drawn = sampler.sample(6, given=chosen, burn_in=200).reshape(8, 6, 64)
rows = np.concatenate(
    [X_test[:8, None], filled["DBMSampler.impute"][:8, None], drawn], axis=1
)
display = SamplesDisplay.from_samples(rows.reshape(-1, 64), n_columns=8)
display.ax_.set_title("digit, mean completion, six draws")
display.figure_.savefig("digits_completion.png", dpi=150)
plt.show()
