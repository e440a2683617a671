"""
A look into a machine
=====================

A small machine learns scikit-learn's digits within seconds. We look at how its training
went, at what its units have learned, at what it makes of digits, and at digits that it
draws itself.
"""

# %%
# Train it
# --------
# The values are grey levels between 0 and 1, the probabilities of black.
from sklearn.datasets import load_digits

from skdbm import DBMSampler
from skdbm.display import (
    FiltersDisplay,
    LearningCurveDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
)

X = load_digits().data / 16
sampler = DBMSampler(hidden_layer_sizes=(100, 49), max_iter=60, random_state=0).fit(X)

# %%
# Did the training go well?
# -------------------------
# The reconstruction error falls and levels off, the energy gap between data and chains
# stays around zero, and the weights of the first layer have settled. Those of the
# second shrink a little: on images as small as these, one layer knows nearly all.
curves = LearningCurveDisplay.from_estimator(sampler)

# %%
# What has it learned?
# --------------------
# The units of the first layer look for strokes: they want ink in the red pixels and
# none in the blue ones.
first = FiltersDisplay.from_estimator(sampler, layer=1)

# %%
# Those of the second layer, carried down through the first, look for combinations.
second = FiltersDisplay.from_estimator(sampler, layer=2)

# %%
# What does it make of digits?
# ----------------------------
# Below every digit stands what is left of it after the way up to the features and back
# down. The same machine, wrapped as a transformer, needs no further training.
from skdbm import DBMTransformer

transformer = DBMTransformer.from_machine(sampler.machine_)
pairs = ReconstructionDisplay.from_estimator(transformer, X[:20])

# %%
# What does it imagine?
# ---------------------
# Samples are binary images: the machine has learned to draw them from grey levels.

# sphinx_gallery_thumbnail_number = 5
samples = SamplesDisplay.from_estimator(sampler, n_samples=64)

# %%
# Are samples of one chain independent?
# -------------------------------------
# Each row follows one chain. Where a chain shows the same digit in neighbouring
# columns, fifty sweeps were too few to forget it.
chains = SamplesDisplay.from_chains(
    sampler, n_chains=6, n_steps=12, burn_in=500, thin=50
)
