"""The unit of work of training, for the benchmarks of its speed.

One minibatch of a binary 784-500-1000 machine: 100 rows with 10 mean-field sweeps, 100
persistent chains with 5 Gibbs sweeps, gradient and update.
"""

from itertools import pairwise

from skdbm import DBMTransformer, Likelihood
from skdbm.encodings import Probabilities

SIZES, ROWS, SWEEPS, GIBBS = (784, 500, 1000), 100, 10, 5


def time_fit(X, hidden=SIZES[1:], **params):
    """Time one epoch of joint training, as the record of the fit has it."""
    defaults = {
        "max_iter": 1,
        "batch_size": ROWS,
        "n_chains": ROWS,
        "n_gibbs_steps": GIBBS,
        "n_mean_field_steps": SWEEPS,
        "n_posterior_gibbs_steps": 0,
        "alpha": 0.0,
        "likelihood": Likelihood(mean_field_tol=0),
        "pretraining": None,
        "visible": Probabilities(redraw=False),
        "random_state": 0,
    }
    model = DBMTransformer(hidden_layer_sizes=hidden, **(defaults | params))
    return model.fit(X).history_["seconds"][0]


def multiplications(sizes=SIZES, batch_size=ROWS, n_chains=ROWS):
    """Count the multiplications of the matrix products of one minibatch.

    Data: one pass from below, then sweeps that use the weights between hidden layers
    once in either direction. Chains: sweeps that so use all weights. Then the gradient.
    """
    weights = [below * above for below, above in pairwise(sizes)]
    top = len(weights)
    from_below = sum(weights[: top - (top % 2 == 0)])
    data = batch_size * (from_below + 2 * SWEEPS * sum(weights[1:]))
    chains = n_chains * 2 * GIBBS * sum(weights)
    return data + chains + (batch_size + n_chains) * sum(weights)
