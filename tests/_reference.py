"""A second implementation: small machines by brute force, and bounds for random tests.

Every joint state of all layers is listed and its energy summed coupling by coupling,
in float64. Nothing of skdbm is used but to hand its machine over.
"""

from functools import cached_property
from itertools import pairwise, product
from math import comb, factorial, prod

import numpy as np

from skdbm.machine import DeepBoltzmannMachine
from skdbm.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Gaussian,
    Mixed,
    Multinomial,
    ReplicatedSoftmax,
)

#: Ten digits of two formula machines, from an enumeration in other hands: log Z,
#: log p(v = 1...1), log p(v = 0...0), <v_1>, <v_1 h1_1>, <h1_1 h2_1>.
TABLE = {
    (6, 5, 4): (
        14.3842828112,
        -4.9634055133,
        -6.7748560092,
        0.3743813278,
        0.0719221905,
        0.0712875999,
    ),
    (5, 4, 4, 3): (
        13.9816826523,
        -5.5104307922,
        -4.1166143162,
        0.2361306146,
        0.0283290413,
        0.0521457108,
    ),
}


class Model:
    """The parameters of a machine, and all that follows from them by enumeration.

    `n_trials` holds for each layer the largest state of its units, 1 for binary ones.
    """

    def __init__(self, weights, biases, n_trials=None):
        self.weights = [np.array(weight, dtype=np.float64) for weight in weights]
        self.biases = [np.array(bias, dtype=np.float64) for bias in biases]
        self.sizes = tuple(len(bias) for bias in biases)
        self.n_trials = n_trials or (1,) * len(self.sizes)

    def machine(self, dtype=np.float64):
        """Hand the parameters to skdbm."""
        return DeepBoltzmannMachine(
            [weight.astype(dtype) for weight in self.weights],
            [bias.astype(dtype) for bias in self.biases],
            [Bernoulli() if n == 1 else Binomial(n) for n in self.n_trials],
        )

    def energy(self, states):
        """Sum E(s) of every row unit by unit and coupling by coupling."""
        total = np.zeros(len(states[0]))
        for state, bias, n in zip(states, self.biases, self.n_trials, strict=True):
            log_multiplicity = np.log([comb(n, k) for k in range(n + 1)])
            for i, b in enumerate(bias):
                total -= b * state[:, i] + log_multiplicity[state[:, i].astype(int)]
        for layer, weight in enumerate(self.weights):
            for i, j in np.ndindex(weight.shape):
                total -= weight[i, j] * states[layer][:, i] * states[layer + 1][:, j]
        return total

    @cached_property
    def distribution(self):
        """The distribution over all joint states of all layers."""
        largest = np.repeat(self.n_trials, self.sizes)
        edges = np.cumsum(self.sizes)[:-1]
        states = np.split(joint_states(largest), edges, axis=1)
        return Distribution(states, -self.energy(states))

    def visible_states(self):
        """List every visible state."""
        return joint_states([self.n_trials[0]] * self.sizes[0])

    def log_likelihood(self, visible):
        """Compute log p(v) of one visible state."""
        return self.distribution.given(0, visible).log_partition - (
            self.distribution.log_partition
        )

    def unnormalised_bound(self, visible, means):
        """Compute E_q[-E(v, h)] + H(q) of one row, summed over all hidden states.

        q has independent units of the given means; a mean m of a unit with n trials
        stands for the binomial distribution with probability m / n.
        """
        posterior = self.distribution.given(0, visible)
        log_q = np.zeros(len(posterior.log_weights))
        for state, mean, n in zip(
            posterior.states[1:], means, self.n_trials[1:], strict=True
        ):
            for i, p in enumerate(np.asarray(mean, dtype=np.float64) / n):
                k = np.arange(n + 1)
                log_mass = np.log([comb(n, j) for j in k]) + (
                    k * np.log(p) + (n - k) * np.log1p(-p)
                )
                log_q += log_mass[state[:, i].astype(int)]
        return np.sum(np.exp(log_q) * (posterior.log_weights - log_q))


class Distribution:
    """Joint states, one a row of every layer, with unnormalised log-probabilities."""

    def __init__(self, states, log_weights):
        self.states = states
        self.log_weights = log_weights
        top = log_weights.max()
        self.log_partition = top + np.log(np.sum(np.exp(log_weights - top)))
        self.probability = np.exp(log_weights - self.log_partition)

    def given(self, layer, values, columns=slice(None)):
        """Keep the states in which these units of one layer have these values."""
        agree = (self.states[layer][:, columns] == values).all(axis=1)
        return Distribution(
            [state[agree] for state in self.states], self.log_weights[agree]
        )

    def moments(self, *layers):
        """Mean and standard deviation of s_a, or of the products s_a s_b^T."""
        values = products(self.states, *layers)
        mean = self.probability @ values
        return mean, np.sqrt(self.probability @ (values - mean) ** 2)

    def sample(self, n_samples, rng):
        """Draw independent joint states."""
        chosen = rng.choice(len(self.probability), n_samples, p=self.probability)
        return [state[chosen] for state in self.states]


def joint_states(largest):
    """List all rows of integers from 0 to `largest`, one entry for each unit."""
    grid = np.indices([n + 1 for n in largest], dtype=np.float64)
    return grid.reshape(len(largest), -1).T


def products(states, *layers):
    """Give s_a, or all products of the units of layers a and b, one state a row."""
    if len(layers) == 1:
        return states[layers[0]]
    below, above = (states[layer] for layer in layers)
    return (below[:, :, None] * above[:, None, :]).reshape(len(below), -1)


def formula_model(sizes):
    """W_l[i, j] = 1.5 cos(1.7 i + 0.9 j + 0.5 l) and b_l[i] = 0.8 sin(2.3 i + 1.1 l).

    One sweep of Gibbs sampling forgets at least four tenths of the past in all models
    of this formula that the tests use: the second eigenvalue of its transition matrix
    is 0.30 for 4-3-2, 0.40 for 5-4-3-2, 0.46 for 5-4-4-3 and 0.57 for 6-5-4.
    """
    units = [np.arange(1, size + 1) for size in sizes]
    weights = [
        1.5 * np.cos(1.7 * i[:, None] + 0.9 * j + 0.5 * layer)
        for layer, (i, j) in enumerate(pairwise(units))
    ]
    biases = [0.8 * np.sin(2.3 * i + 1.1 * layer) for layer, i in enumerate(units)]
    return Model(weights, biases)


def random_model(sizes, seed, scale=1.0, n_trials=None):
    """Draw couplings and biases from normal distributions, couplings of this scale."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, scale, shape) for shape in pairwise(sizes)]
    return Model(weights, [rng.normal(0, 1, size) for size in sizes], n_trials)


def uncoupled_model(sizes, seed, scale=1.0):
    """Draw biases from a normal distribution of this scale, without couplings."""
    rng = np.random.default_rng(seed)
    weights = [np.zeros(shape) for shape in pairwise(sizes)]
    return Model(weights, [rng.normal(0, scale, size) for size in sizes])


def largest_error(std, n_draws, span=1.0):
    """Bound the error of the mean of independent draws, right but once in 2e8 times.

    Bernstein's inequality with probability 2 exp(-20), for draws that differ from
    their mean by at most `span`. With many draws it is 6.3 standard errors; unlike
    these it stays right where an event is expected less than once.
    """
    rare = 20 * span / (3 * n_draws)
    return rare + np.sqrt(rare**2 + 40 * np.square(std) / n_draws)


def worst_moment(model, distribution, states, n_layers):
    """Largest error of a mean, or of a mean product of neighbours, over its bound.

    `states` are independent draws, one a row of every layer; `n_layers` is 1 for the
    means and 2 for the products.
    """
    states = [state.astype(np.float64) for state in states]
    worst = 0.0
    for first in range(len(model.sizes) - n_layers + 1):
        layers = range(first, first + n_layers)
        mean, std = distribution.moments(*layers)
        span = np.prod([model.n_trials[layer] for layer in layers])
        error = np.abs(products(states, *layers).mean(axis=0) - mean)
        bound = largest_error(std, len(states[0]), span)
        worst = max(worst, np.max(error / bound))
    return worst


def block_terms(block):
    """List the states of a block of units and the logarithms of their weights.

    A block is ("count", n) for one unit with n trials, ("group", k, n) for k units that
    share n draws, or ("normal", n) for the sum of n tied real units, n being 1 or 2; of
    the latter the states are points of a grid, and the weights those of a quadrature.
    """
    kind, *numbers = block
    if kind == "count":
        (n,) = numbers
        log_ways = np.log([comb(n, k) for k in range(n + 1)])
        return np.arange(n + 1.0)[:, None], log_ways
    if kind == "group":
        size, n = numbers
        states = joint_states([n] * size)
        states = states[states.sum(axis=1) == n]
        ways = [factorial(n) / prod(map(factorial, row)) for row in states.astype(int)]
        return states, np.log(ways)
    (n,) = numbers
    step = 0.2 if n == 2 else 0.05
    grid = np.arange(-14, 14 + step / 2, step)
    points = np.array(list(product(grid, repeat=n)))
    log_weights = n * np.log(step) - np.sum(points**2, axis=1) / 2
    return points.sum(axis=1, keepdims=True), log_weights


def block_moments(block, x):
    """Log-partition, means and second moments of a block at a vector of fields."""
    states, log_weights = block_terms(block)
    terms = states @ x + log_weights
    top = terms.max()
    total = top + np.log(np.sum(np.exp(terms - top)))
    p = np.exp(terms - total)
    return total, p @ states, states.T @ (p[:, None] * states)


def block_slices(blocks):
    """Slices of the units of every block."""
    ends = np.cumsum([block_width(block) for block in blocks])
    return [
        slice(end - block_width(b), end) for b, end in zip(blocks, ends, strict=True)
    ]


def block_width(block):
    """Count the units of a block."""
    return block[1] if block[0] == "group" else 1


class TypedModel:
    """A machine of layers made of blocks of units, see `block_terms`.

    All discrete states of all layers are listed; real units are only visible, and
    their integrals given the hidden states are written out. Missing values are NaN.
    """

    def __init__(self, blocks, units, seed, scale=0.6):
        self.blocks, self.units = blocks, units
        sizes = [sum(map(block_width, layer)) for layer in blocks]
        rng = np.random.default_rng(seed)
        self.weights = [rng.normal(0, scale, shape) for shape in pairwise(sizes)]
        self.biases = [rng.normal(0, 0.7, size) for size in sizes]

    def machine(self, dtype=np.float64):
        """Hand the parameters to skdbm."""
        return DeepBoltzmannMachine(
            [weight.astype(dtype) for weight in self.weights],
            [bias.astype(dtype) for bias in self.biases],
            self.units,
        )

    @cached_property
    def _states(self):
        """All discrete joint states, zero where units are real; logs of their ways."""
        tables = []
        for layer in self.blocks:
            for block in layer:
                real = block[0] == "normal"
                tables.append(
                    (np.zeros((1, 1)), np.zeros(1)) if real else block_terms(block)
                )
        index = joint_states([len(ways) - 1 for _, ways in tables]).astype(int)
        parts = [states[i] for (states, _), i in zip(tables, index.T, strict=True)]
        log_ways = sum(ways[i] for (_, ways), i in zip(tables, index.T, strict=True))
        edges = np.cumsum([len(bias) for bias in self.biases])[:-1]
        return np.split(np.hstack(parts), edges, axis=1), log_ways

    @property
    def is_real(self):
        """Which visible units are real."""
        kinds = [
            [block[0] == "normal"] * block_width(block) for block in self.blocks[0]
        ]
        return np.concatenate(kinds).astype(bool)

    def given(self, row=None):
        """Sum over everything but the visible values that are known.

        Gives a `Distribution` whose real visible units, where they are unknown, have
        their means given the hidden states for states.
        """
        (visible, *hidden), log_weights = self._states
        row = np.full(len(self.biases[0]), np.nan) if row is None else row
        known, real = ~np.isnan(row), self.is_real
        agree = np.all((visible == row) | ~known | real, axis=1)
        visible, hidden = visible[agree].copy(), [state[agree] for state in hidden]
        log_weights = log_weights[agree].copy()
        for i in np.flatnonzero(real):
            field = self.biases[0][i] + hidden[0] @ self.weights[0][i]
            if known[i]:
                visible[:, i] = row[i]
                log_weights += row[i] * field - row[i] ** 2 / 2
            else:
                visible[:, i] = field
                log_weights += field**2 / 2 + np.log(2 * np.pi) / 2
        states = [visible, *hidden]
        for layer, (state, bias) in enumerate(zip(states, self.biases, strict=True)):
            for i, b in enumerate(bias):
                if layer or not real[i]:
                    log_weights += b * state[:, i]
        for layer, weight in enumerate(self.weights):
            for i, j in np.ndindex(weight.shape):
                if layer or not real[i]:
                    coupled = states[layer][:, i] * states[layer + 1][:, j]
                    log_weights += weight[i, j] * coupled
        return Distribution(states, log_weights)

    @cached_property
    def distribution(self):
        """The distribution of everything."""
        return self.given()

    def log_likelihood(self, X):
        """Compute log p of every row, NaN being summed out."""
        logs = np.array([self.given(row).log_partition for row in X])
        return logs - self.distribution.log_partition

    def sample(self, n_samples, rng):
        """Draw independent joint states."""
        states = self.distribution.sample(n_samples, rng)
        states[0] = states[0] + self.is_real * rng.normal(size=states[0].shape)
        return states

    def squares(self, distribution):
        """Give expected squares of the states, of those of a distribution."""
        first, *rest = distribution.states
        unknown = self.is_real & (np.ptp(first, axis=0) > 0)
        return [first**2 + unknown, *(state**2 for state in rest)]

    def worst_moment(self, states, row=None):
        """Largest error of a mean, or mean product of neighbours, over its bound."""
        distribution = self.given(row)
        squares, worst = self.squares(distribution), 0.0
        n_layers = len(self.biases)
        pairs = [(k,) for k in range(n_layers)] + list(pairwise(range(n_layers)))
        for layers in pairs:
            mean = distribution.probability @ products(distribution.states, *layers)
            square = distribution.probability @ products(squares, *layers)
            std = np.sqrt(np.maximum(square - mean**2, 0))
            drawn = products([s.astype(np.float64) for s in states], *layers)
            bound = largest_error(std, len(drawn), np.maximum(5, drawn.max()))
            worst = max(worst, np.max(np.abs(drawn.mean(axis=0) - mean) / bound))
        return worst


#: Visible types: the blocks of a small layer, and the unit type that is to be tested.
VISIBLE = {
    "bernoulli": ([("count", 1)] * 4, Bernoulli()),
    "gaussian": ([("normal", 1)] * 3, Gaussian()),
    "categorical": ([("group", 3, 1), ("group", 2, 1)], Categorical((3, 2))),
    "counts": ([("group", 4, 3)], ReplicatedSoftmax(4, 3)),
    "multinomial": ([("group", 2, 3), ("group", 2, 3)], Multinomial((2, 2), 3)),
    "mixed": (
        [("normal", 1), ("group", 3, 1), ("count", 1), ("count", 2)],
        Mixed(
            [
                (Gaussian(), 1),
                (Categorical((3,)), 3),
                (Bernoulli(), 1),
                (Binomial(2), 1),
            ]
        ),
    ),
}


def typed_model(kind, hidden, seed=0, scale=0.6):
    """A model of a visible type; hidden layers of bits, or of groups of three."""
    blocks, unit = VISIBLE[kind]
    upper = [
        [("group", 3, 1)] * 2 if n == "groups" else [("count", 1)] * n for n in hidden
    ]
    units = [Categorical((3, 3)) if n == "groups" else Bernoulli() for n in hidden]
    return TypedModel([blocks, *upper], [unit, *units], seed, scale)
