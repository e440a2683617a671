"""Which recipe of training gives the best machine in equal time?

Every recipe trains on the first 50,000 images of MNIST, binarised at random at each
presentation, for the same time of CPU on one thread: short fits tell what an epoch
costs, and the number of epochs follows. So that a recipe is near its end after some
minutes, images have 14 x 14 pixels, means of four, and machines 196-100-200 units;
--full takes them as they are and 784-500-1000 units, and wants half an hour at least.

The last 10,000 training images judge, no test image is used: the mean-field bound, the
bound of one draw, and an importance-weighted estimate of the first thousands, all as
differences to the machine of one hidden layer, which has the log-likelihood itself,
with the standard error over the rows and that of log Z; and whether the upper weights
live.

Run: python benchmarks/recipes.py [--data mnist.npz] [--minutes 3] [--only 1 2]
"""

import time

import numpy as np
from _data import load_mnist, parser
from _judging import Judgement

from skdbm import DBMTransformer, Pretraining

#: Share of the time that goes to what comes before the joint training.
GROW = {"pretraining": "grow", "share": 0.3, "n_mean_field_steps": 1}
GREEDY = {"pretraining": "greedy", "share": 0.15, "n_mean_field_steps": 1}
DRAWN = {"n_posterior_gibbs_steps": 3}

#: What differs between the recipes. The first is the one that others are held against.
RECIPES = {
    "one hidden layer": {"upper": 0},
    "growing": GROW,
    "growing, 3 posterior sweeps": {**GROW, **DRAWN},
    "the same, a quarter of the upper units": {**GROW, **DRAWN, "upper": 0.5},
    "growing, 10 mean-field sweeps": {**GROW, "n_mean_field_steps": 10},
    "greedy": GREEDY,
    "greedy, 3 posterior sweeps": {**GREEDY, **DRAWN},
}

COMMON = {
    "batch_size": 100,
    "n_chains": 100,
    "n_gibbs_steps": 1,
    "n_posterior_gibbs_steps": 0,
    "alpha": 0.0,
    "random_state": 0,
    "n_jobs": 1,
}


def cost(params, X):
    """Measure the minutes of CPU of one epoch, from a tenth of the rows."""
    rows, spent = X[:: 10 if len(X) > 1000 else 1], []
    for n_epochs in (1, 5):
        start = time.process_time()
        DBMTransformer(**{**params, "max_iter": n_epochs}).fit(rows)
        spent.append(time.process_time() - start)
    return (spent[1] - spent[0]) / 4 / 60 * len(X) / len(rows)


def fit_for(minutes, recipe, width, X):
    """Train for so many minutes of CPU; the fitted transformer and what it took."""
    recipe = {**COMMON, **recipe}
    share, upper = recipe.pop("share", 0), int(width * recipe.pop("upper", 2))
    sizes = (width, upper) if upper else (width,)
    if share:  # one stage of growing is one hidden layer, two pairs are about two
        stage = cost({**COMMON, "hidden_layer_sizes": width}, X)
        stage *= 1 if recipe["pretraining"] == "grow" else 2
        n_epochs = max(1, round(minutes * share / stage))
        recipe["pretraining"] = Pretraining(recipe["pretraining"], max_iter=n_epochs)
    recipe["hidden_layer_sizes"] = sizes
    joint = cost({**recipe, "pretraining": None}, X)
    recipe["max_iter"] = max(1, round(minutes * (1 - share) / joint))
    start = time.process_time()
    transformer = DBMTransformer(**recipe).fit(X)
    return transformer, (time.process_time() - start) / 60


def main():
    """Print the table."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--minutes", type=float, default=3, help="of CPU for each recipe")
    cli.add_argument("--only", type=int, nargs="+", help="recipes beside the first")
    cli.add_argument("--estimated-rows", type=int, default=2000)
    cli.add_argument("--full", action="store_true", help="28 x 28 pixels")
    options = cli.parse_args()
    X = load_mnist(options.data)[0]
    if not options.full:
        X = X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    held_out = np.random.default_rng(0).random(X[50000:].shape) < X[50000:]
    held_out, names = held_out.astype(np.float32), list(RECIPES)
    print("recipe | CPU minutes | epochs | bound | of one draw | estimate | largest W2")
    reference = None
    for name in [names[i] for i in [0, *(options.only or range(1, len(names)))]]:
        width = 500 if options.full else 100
        transformer, minutes = fit_for(options.minutes, RECIPES[name], width, X[:50000])
        machine = transformer.machine_
        judged = Judgement(machine, held_out, n_estimated=options.estimated_rows)
        cells = [name, f"{minutes:.2f}", f"{transformer.n_iter_}"]
        if reference is None:
            reference = judged
            cells.append(f"{judged.bound.mean():.3f} +- {judged.error:.3f}")
        else:
            cells += judged.differences(reference)
            cells.append(f"{abs(machine.weights[1]).max():.2f}")
        print(" | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
