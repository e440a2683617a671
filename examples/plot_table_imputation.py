"""
A table with holes: real values, categories and missing entries
===============================================================

Tables mix real values and categories, and some entries are missing. A deep Boltzmann
machine takes such a table as it is: ``visible`` says which columns hold what, and with
``allow_missing=True`` the training averages over what is missing instead of throwing
rows away. Afterwards ``impute`` fills the holes. We hide entries that we know, and
compare with scikit-learn's imputers.

The table is the wine data that comes with scikit-learn: twelve measurements of 178
wines and two categories, the cultivar, and whether the colour, a thirteenth
measurement, is pale, medium or dark.
"""

# %%
# The table and its holes
# -----------------------
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from skdbm import DBMSampler

wine = load_wine(as_frame=True)
table = wine.data.assign(
    cultivar=np.array(["A", "B", "C"])[wine.target],
    colour=pd.qcut(wine.data["color_intensity"], 3, labels=["pale", "medium", "dark"]),
).drop(columns="color_intensity")
categories = ["cultivar", "colour"]
numbers = table.columns.difference(categories, sort=False)
hidden = np.random.default_rng(0).random(table.shape) < 0.3
holed = table.mask(hidden)
print(
    f"{hidden.mean():.0%} of {table.size} entries are hidden, at least one in "
    f"{hidden.any(axis=1).mean():.0%} of the rows"
)

# %%
# Filling the holes
# -----------------
# scikit-learn's imputers take numbers: the real columns are scaled, the categories
# become codes, and an imputed code is rounded.

coder = ColumnTransformer(
    [
        ("numbers", StandardScaler(), numbers),
        ("categories", OrdinalEncoder(), categories),
    ]
).fit(holed)


def impute(imputer):
    """Fill the holes of scaled numbers and codes, and put a table together again."""
    rows = imputer.fit_transform(coder.transform(holed))
    reals, codes = rows[:, : len(numbers)], np.rint(rows[:, len(numbers) :])
    return pd.concat(
        [
            pd.DataFrame(coder["numbers"].inverse_transform(reals), columns=numbers),
            pd.DataFrame(
                coder["categories"].inverse_transform(codes), columns=categories
            ),
        ],
        axis=1,
    )[table.columns]


sampler = DBMSampler(
    visible=[
        ("gaussian", make_column_selector(dtype_include="number")),
        ("categorical", categories),
    ],
    hidden_layer_sizes=(32, 16),
    allow_missing=True,
    random_state=0,
).set_output(transform="pandas")
filled = {
    "SimpleImputer": impute(SimpleImputer()),
    "KNNImputer": impute(KNNImputer()),
    "IterativeImputer": impute(IterativeImputer(max_iter=50, random_state=0)),
    "DBMSampler.impute": sampler.fit(holed).impute(holed, burn_in=100),
}

# %%
# How near they come
# ------------------
# For the real columns the root of the mean squared error in standard deviations of the
# column; for the categories the share of hidden entries that were found.

is_hidden = pd.DataFrame(hidden, columns=table.columns)
print(f"{'':18} {'error':>6}" + "".join(f"{name:>10}" for name in categories))
errors = {}
for name, result in filled.items():
    off = (result[numbers] - table[numbers]) / table[numbers].std()
    errors[name] = np.sqrt((off.where(is_hidden[numbers]) ** 2).mean())
    overall = np.sqrt(np.nanmean(off.where(is_hidden[numbers]).to_numpy() ** 2))
    found = [
        np.mean((result[c].astype(str) == table[c].astype(str))[is_hidden[c]])
        for c in categories
    ]
    print(f"{name:18} {overall:6.3f}" + "".join(f"{share:10.2f}" for share in found))

# %%
# Column by column
# ----------------

ax = pd.DataFrame(errors).plot.barh(figsize=(7, 6), width=0.8)
ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1))
ax.set_xlabel("error in standard deviations of the column")
ax.figure.tight_layout()
ax.figure.savefig("table_imputation.png", dpi=150)
plt.show()
