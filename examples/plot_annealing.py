"""
How many temperatures are enough?
=================================

The score of a machine needs log Z, which is estimated by annealed importance sampling.
The more temperatures lie between independent units and the machine, the better. Here
the machine is small enough to be enumerated, so that we can see by how much an estimate
is wrong.
"""

# %%
# A machine that can be enumerated
# --------------------------------
# 16 units in the first hidden layer have 65,536 joint states; all other units can be
# summed out given these.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from skdbm import DBMTransformer
from skdbm.likelihood import annealing_bracket, exact_log_partition

X = load_digits().data / 16
model = DBMTransformer(hidden_layer_sizes=(16, 16), max_iter=60, random_state=0).fit(X)
exact = exact_log_partition(model.machine_)

# %%
# From both sides
# ---------------
# Chains that go from independent units to the machine give an estimate that is low on
# average. Chains that start from exact samples and go back give one that is high on
# average. A single run of either kind errs by about its standard error, the bars below,
# so the two need not enclose the exact value; both come closer to it with more
# temperatures.
temperatures = [5, 10, 20, 50, 100, 200, 500]
brackets = [
    annealing_bracket(model.machine_, n_temperatures=n, random_state=0)
    for n in temperatures
]

figure, ax = plt.subplots(layout="constrained")
for name in ("forward", "reverse"):
    runs = [getattr(bracket, name) for bracket in brackets]
    errors = [run.log_partition - exact for run in runs]
    ax.errorbar(
        temperatures,
        errors,
        yerr=[2 * run.standard_error for run in runs],
        marker="o",
        capsize=3,
        label=f"{name} run, two standard errors",
    )
ax.axhline(0, color="0.5", linestyle="--", label="enumeration")
ax.set(xscale="log", xlabel="temperatures", ylabel="error of log Z (nats)")
legend = ax.legend()
