"""
Topics of newsgroup posts: word counts as they are
==================================================

The posts of the test part of 20 Newsgroups as counts of 2,000 words. With
``visible="counts"`` a machine of one hidden layer takes the sparse matrix as
``CountVectorizer`` makes it: the words of a post are draws from one softmax, as many as
the post has (the replicated softmax). Its hidden units are topics that can be on
together. We look at their words, and compare the features with those of three
decompositions of equal size under one classifier.

Run it as ``python examples/plot_newsgroups_topics.py``; ``--data`` names a local copy
of the counts. Without a network, two thousand artificial posts stand in for the real
ones.
"""

# %%
# Counts of words
# ---------------
import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse
from sklearn.datasets import fetch_20newsgroups
from sklearn.decomposition import NMF, LatentDirichletAllocation, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdbm import DBMTransformer

N_WORDS, N_FEATURES = 2000, 100


def local_counts(path):
    """Read counts, classes and vocabulary from a file."""
    with np.load(path) as file:
        parts = (file["data"], file["indices"], file["indptr"])
        counts = sparse.csr_matrix(parts, shape=tuple(file["shape"]), dtype=np.float32)
        return counts, file["target"], file["vocabulary"]


def public_counts():
    """Fetch the posts and count their words."""
    posts = fetch_20newsgroups(subset="test", remove=("headers", "footers", "quotes"))
    vectorizer = CountVectorizer(
        max_features=N_WORDS, stop_words="english", dtype=np.float32
    )
    counts = vectorizer.fit_transform(posts.data)
    some = np.asarray(counts.sum(axis=1)).ravel() > 0
    return counts[some], posts.target[some], vectorizer.get_feature_names_out()


def artificial_counts(rng):
    """Draw posts of twenty groups, each with favourite words."""
    words = rng.dirichlet(np.full(300, 0.05), size=20)
    target = np.repeat(np.arange(20), 100)
    mixed = 0.7 * words[target] + 0.3 * words[rng.permutation(target)]
    totals = rng.poisson(40, len(target)) + 1
    counts = [rng.multinomial(n, p) for n, p in zip(totals, mixed, strict=True)]
    names = np.array([f"word{i}" for i in range(300)])
    return sparse.csr_matrix(np.array(counts, dtype=np.float32)), target, names


cli = argparse.ArgumentParser()
cli.add_argument("--data", help="npz with a CSR matrix, target and vocabulary")
path = cli.parse_args().data
try:
    X, y, vocabulary = local_counts(path) if path else public_counts()
except OSError:
    if path:
        raise
    X, y, vocabulary = artificial_counts(np.random.default_rng(0))
print(f"{X.shape[0]} posts, {X.shape[1]} words, {X.sum():.0f} counts")

# %%
# A classifier on features of equal number
# ----------------------------------------
# No decomposition sees the classes, so each learns from all posts; the classifier is
# cross-validated in five folds, its regularisation chosen inside of each.

models = {
    "TruncatedSVD": TruncatedSVD(N_FEATURES, random_state=0),
    "NMF": NMF(N_FEATURES, init="nndsvda", max_iter=500, tol=1e-3, random_state=0),
    "LatentDirichletAllocation": LatentDirichletAllocation(
        N_FEATURES, max_iter=20, random_state=0
    ),
    "DBMTransformer": DBMTransformer(
        visible="counts", hidden_layer_sizes=N_FEATURES, random_state=0
    ),
}
classifier = GridSearchCV(
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    {"logisticregression__C": [0.003, 0.01, 0.03, 0.1, 0.3]},
    cv=StratifiedKFold(3),
    n_jobs=-1,
)
folds = StratifiedKFold(5, shuffle=True, random_state=0)
print(f"{'features':26} accuracy          seconds")
for name, model in models.items():
    start = time.perf_counter()
    features = model.fit_transform(X)
    seconds = time.perf_counter() - start
    scores = cross_val_score(classifier, features, y, cv=folds)
    print(
        f"{name:26} {scores.mean():.3f} +- {scores.std():.3f}    {seconds:7.0f}",
        flush=True,
    )

# %%
# Words of some topics
# --------------------
# The words that a hidden unit makes likelier, for the units whose
# activity differs most between the groups.

machine = model.machine_
weights = machine.weights[0]
by_group = np.array([features[y == group].mean(axis=0) for group in np.unique(y)])
topics = np.argsort(-by_group.std(axis=0))[:12]
for unit in topics:
    words = vocabulary[np.argsort(-weights[:, unit])[:8]]
    print(" ".join(words))

# %%
# Where the topics are on
# -----------------------

figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
image = ax.imshow(by_group[:, topics], cmap="magma", vmin=0, vmax=1)
labels = [" ".join(vocabulary[np.argsort(-weights[:, u])[:3]]) for u in topics]
ax.set_xticks(range(len(topics)), labels, rotation=60, ha="right")
ax.set_yticks(range(len(by_group)))
ax.set_ylabel("newsgroup")
figure.colorbar(image, label="mean activity of the unit")
figure.savefig("newsgroups_topics.png", dpi=150)
plt.show()

# sphinx_gallery_thumbnail_path = 'pictures/newsgroups_topics.png'
