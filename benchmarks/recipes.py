"""Which recipe of training gives the best machine in equal time?

Every recipe trains on the first 50,000 images of MNIST, binarised at random at each
presentation, for the same time on one thread: two short fits tell what an epoch costs,
of pretraining and of joint training, and the number of epochs follows. The last 10,000
training images judge (no test image is used): lower bound, importance-weighted estimate
of the first 500, and whether the upper weights live. One line of a table a recipe.

Run: python benchmarks/recipes.py [--data mnist.npz] [--minutes 5] [--only 0 3]
"""

import time

import numpy as np
from _data import load_mnist, parser

from skdbm import DBMSampler, DBMTransformer

DEEP = {"hidden_layer_sizes": (500, 1000), "pretraining": "greedy"}

#: What differs from `COMMON` and the defaults; "pretraining_share" is that of the time.
RECIPES = {
    "one layer": {"hidden_layer_sizes": 500},
    "two layers, 10 mean-field and 5 Gibbs sweeps": {
        **DEEP,
        "n_mean_field_steps": 10,
        "n_gibbs_steps": 5,
    },
    "two layers, 5 and 1": {**DEEP, "n_mean_field_steps": 5},
    "two layers, 2 and 1": {**DEEP, "n_mean_field_steps": 2},
    "two layers, 1 and 1": {**DEEP, "n_mean_field_steps": 1},
    "the same, half of the time for pretraining": {
        **DEEP,
        "n_mean_field_steps": 1,
        "pretraining_share": 0.5,
    },
    "the same, no pretraining": {**DEEP, "n_mean_field_steps": 1, "pretraining": None},
    "the same, half of the learning rate": {
        **DEEP,
        "n_mean_field_steps": 1,
        "learning_rate_init": 0.004,
    },
    "the same, twice the learning rate": {
        **DEEP,
        "n_mean_field_steps": 1,
        "learning_rate_init": 0.016,
    },
}

COMMON = {
    "batch_size": 100,
    "n_chains": 100,
    "n_gibbs_steps": 1,
    "random_state": 0,
    "n_jobs": 1,
}


def seconds(params, X):
    """Time a fit, in seconds of CPU."""
    start = time.process_time()
    DBMTransformer(**params).fit(X)
    return time.process_time() - start


def fit_for(minutes, recipe, X):
    """Train for so many minutes of CPU; the fitted transformer and what it took."""
    recipe = {**COMMON, **recipe}
    share = recipe.pop("pretraining_share", 0.15)
    trial = {**recipe, "pretraining_max_iter": 1}
    rows, scale = X[::10], 10
    once = seconds({**trial, "pretraining": None, "max_iter": 1}, rows)
    joint = seconds({**trial, "pretraining": None, "max_iter": 3}, rows) - once
    joint *= scale / 2
    pretrains = recipe.get("pretraining") and recipe["hidden_layer_sizes"] != 500
    if pretrains:
        both = (seconds({**trial, "max_iter": 1}, rows) - once) * scale
        recipe["pretraining_max_iter"] = max(1, round(60 * minutes * share / both))
        minutes *= 1 - share
    recipe["max_iter"] = max(1, round(60 * minutes / joint))
    start = time.process_time()
    transformer = DBMTransformer(**recipe).fit(X)
    return transformer, (time.process_time() - start) / 60


def main():
    """Print the table."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--minutes", type=float, default=5, help="of CPU for each recipe")
    cli.add_argument("--only", type=int, nargs="+", help="numbers of recipes, from 0")
    options = cli.parse_args()
    X = load_mnist(options.data)[0]
    held_out = np.random.default_rng(0).random(X[50000:].shape) < X[50000:]
    held_out = held_out.astype(np.float32)
    print("recipe | CPU minutes | epochs | bound | first 500: bound | estimate | W2")
    names = list(RECIPES)
    for name in [names[i] for i in options.only or range(len(names))]:
        transformer, minutes = fit_for(options.minutes, RECIPES[name], X[:50000])
        machine = transformer.machine_
        sampler = DBMSampler.from_machine(machine, n_temperatures=5000, random_state=0)
        bound = sampler.score_samples(held_out)
        estimate = sampler.score_samples(held_out[:500], n_importance_samples=100)
        upper = [f"{abs(w).max():.2f}" for w in machine.weights[1:]] or ["-"]
        print(
            f"{name} | {minutes:.1f} | {transformer.n_iter_} | {bound.mean():.2f} | "
            f"{bound[:500].mean():.2f} | {estimate.mean():.2f} | {upper[0]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
