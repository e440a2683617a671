"""
Log Z: paths, populations and the error
=======================================

The score of a machine needs log Z, which is estimated by sequential Monte Carlo: chains
are led from independent units to the machine, in populations, on several paths. The
estimate comes with a standard error. Here the machine is small enough to be enumerated,
so that we can see by how much the estimate is wrong, and whether the error says so.
"""

# %%
# A machine that can be enumerated
# --------------------------------
# 16 units in the first hidden layer have 65,536 joint states; all other units can be
# summed out given these.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skdbm import DBMTransformer
from skdbm.likelihood import annealed_log_partition, exact_log_partition

X = load_digits().data / 16
model = DBMTransformer(hidden_layer_sizes=(16, 16), max_iter=60, random_state=0).fit(X)
exact = exact_log_partition(model.machine_)

# %%
# The estimate and its error
# --------------------------
# Bars are two standard errors. More chains in a population make them shorter. Where
# the error is large, there is a round with shorter steps, so few chains are not as
# bad as one might expect; and below 0.01 nats no error is claimed to be.
chains = [2, 5, 10, 20, 50, 100]
results = [
    annealed_log_partition(model.machine_, n_chains=n, random_state=0) for n in chains
]

figure, ax = plt.subplots(layout="constrained")
ax.errorbar(
    chains,
    [result.log_partition - exact for result in results],
    yerr=[2 * result.standard_error for result in results],
    marker="o",
    capsize=3,
    label="estimate, two standard errors",
)
ax.axhline(0, color="0.5", linestyle="--", label="enumeration")
ax.set(xscale="log", xlabel="chains of a population", ylabel="error of log Z (nats)")
legend = ax.legend()

# %%
# Populations
# -----------
# A point is a population. Those of the first path come from independent units with
# the means of the machine, and some of the others from near a group of states each,
# from where they seldom come to the rest. The estimate takes each path for the states
# that are rather like its beginning: its populations have a part by each path, and
# how much they differ from each other gives the error.
figure, ax = plt.subplots(layout="constrained")
series = {
    "from the means alone": [result.log_paths[0] for result in results],
    "from near one group alone": [result.log_paths[2] for result in results],
    "from all, each where it counts": [result.log_populations for result in results],
}
for shift, (name, populations) in enumerate(series.items()):
    points = [
        (n * (1 + 0.1 * shift), value - exact)
        for n, values in zip(chains, populations, strict=True)
        for value in values
    ]
    ax.plot(*np.transpose(points), "o", alpha=0.5, label=name)
ax.axhline(0, color="0.5", linestyle="--", label="enumeration")
ax.set(xscale="log", xlabel="chains of a population", ylabel="error of log Z (nats)")
legend = ax.legend()
