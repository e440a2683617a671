"""Guards of a training: the penalty on weights that are chance, and the last check."""

import itertools
import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMSampler, DBMTransformer, DeepBoltzmannMachine, _fitting
from skdbm.likelihood import exact_log_likelihood
from skdbm.training.penalty import LEAST, NEWEST, SPREAD

from ._trained import step, trainer_of

SIZES = (6, 4, 3)


def machine_of(rng, sizes=SIZES):
    """Make a machine with random parameters."""
    pairs = itertools.pairwise(sizes)
    weights = [rng.normal(size=pair) for pair in pairs]
    return DeepBoltzmannMachine(weights, [rng.normal(size=n) for n in sizes])


def two_steps(alpha, seed=0, n_rows=50):
    """A machine in training after an update, and after the next at the full rate."""
    rng = np.random.default_rng(seed)
    trained = trainer_of(machine_of(rng), alpha=alpha)
    trained.penalty.n_rows = n_rows
    X = (rng.random((20, SIZES[0])) < 0.4).astype(float)
    step(trained, X, 0.0)
    before = trained.copy()
    step(trained, X, 0.1)
    return before, trained


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_pulled_and_biases_follow(seed):
    before, pulled = two_steps(0.7, seed)
    free = two_steps(0.0, seed)[1]
    spreads, offsets = before.penalty.spreads, before.offsets
    shift = [np.zeros(size) for size in SIZES]
    for layer, weight in enumerate(before.machine.weights):
        pull = 0.7 / np.sqrt(50) * np.outer(spreads[layer], spreads[layer + 1])
        pull *= np.sign(weight) / (1 + np.abs(weight))
        difference = pulled.machine.weights[layer] - free.machine.weights[layer]
        assert_allclose(difference, -0.1 * pull, atol=1e-12)
        shift[layer] += 0.1 * pull @ offsets[layer + 1]
        shift[layer + 1] += 0.1 * offsets[layer] @ pull
    for layer in range(3):
        difference = pulled.machine.biases[layer] - free.machine.biases[layer]
        assert_allclose(difference, shift[layer], atol=1e-12)


def test_a_pull_leaves_the_fields_at_the_means():
    before, pulled = two_steps(2.0)
    free = two_steps(0.0)[1]
    means = [offset[None] for offset in before.offsets]
    for layer in range(3):
        with_pull = pulled.machine.field(layer, means)
        assert_allclose(with_pull, free.machine.field(layer, means), atol=1e-12)


def test_spreads_are_standard_deviations_of_the_rows():
    rng = np.random.default_rng(0)
    trained = trainer_of(machine_of(rng))
    X = (rng.random((20, SIZES[0])) < 0.4).astype(float)
    around = trained.offsets[0].copy()
    step(trained, X, 0.0)
    expected = np.sqrt(((X - around) ** 2).mean(axis=0))
    assert_allclose(trained.penalty.spreads[0], expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_held_out", [3, 50, 10**9])
def test_strength_is_by_how_much_seen_rows_fit_the_pull_better(seed, n_held_out):
    """What few rows say is shrunk by its standard error."""
    rng = np.random.default_rng(seed)
    trained = trainer_of(machine_of(rng, (6, 4)))
    rows = [(rng.random((30, 6)) < p).astype(float) for p in (0.2, 0.5)]
    step(trained, rows[0], 0.0)
    penalty, machine = trained.penalty, trained.machine
    penalty.n_rows = 2
    penalty.learn(machine, trained.offsets, *rows, n_held_out)
    weight = machine.weights[0]
    pull = np.outer(*penalty.spreads) * np.sign(weight) / (1 + np.abs(weight))
    moments = [
        np.einsum(
            "ri,rj->rij",
            X - trained.offsets[0],
            1 / (1 + np.exp(-X @ weight - machine.biases[1])) - trained.offsets[1],
        )
        for X in rows
    ]
    excesses = [np.sqrt(2) * (m * pull).sum((1, 2)) / (pull**2).sum() for m in moments]
    excess, error = excesses[0].mean() - excesses[1].mean(), excesses[1].std()
    error /= n_held_out**0.5
    expected = machine.encoding.caution * excess * SPREAD**2 / (SPREAD**2 + error**2)
    assert_allclose(penalty.strengths[0], NEWEST * expected, rtol=1e-6)


def test_a_negative_strength_does_not_push():
    penalty = trainer_of(machine_of(np.random.default_rng(0))).penalty
    penalty.strengths, penalty.n_rows = [-1.0, -1.0], 100
    assert penalty.scale(0, None) == LEAST / 10
    assert penalty.scale(1, None) == 0
    assert penalty.scale(0, 0.5) == penalty.scale(1, 0.5) == 0.05


@pytest.mark.parametrize("seed", range(3))
def test_chance_is_not_learned(seed):
    """Five pairs of columns that belong together, twenty that do not, few rows."""
    rng = np.random.default_rng(seed)
    ones, noise = rng.random((1200, 5)) < 0.4, rng.random((1200, 20)) < 0.4
    twins = ones ^ (rng.random((1200, 5)) < 0.05)
    rows = np.hstack([ones, twins, noise]).astype(float)
    X, unseen = rows[:200], rows[200:]
    means = (X.sum(axis=0) + 0.5) / (len(X) + 1)
    independent = (unseen @ np.log(means) + (1 - unseen) @ np.log1p(-means)).mean()
    params = {"hidden_layer_sizes": 32, "max_iter": 400, "learning_rate_init": 0.2}

    def gain(alpha):
        sampler = DBMSampler(alpha=alpha, random_state=seed, **params).fit(X)
        return sampler.score(unseen) - independent

    # Pairs tell 2.39 nats of each other; the rest would be learned by heart.
    assert gain("auto") > 1.5 > 0.5 > gain(0.0)


def test_held_out_rows_are_learned_from_in_the_end(monkeypatch):
    X = np.tile(np.eye(4), (25, 1))
    sampler = DBMSampler(
        hidden_layer_sizes=3, max_iter=9, batch_size=10, random_state=0
    )
    seen, original = [], _fitting.Run.advance

    def noted(run, team, *args):
        n_rows, unseen = len(run.source), len(run._unseen())
        seen.append((n_rows - unseen, unseen))
        return original(run, team, *args)

    monkeypatch.setattr(_fitting.Run, "advance", noted)
    sampler.fit(X)
    assert seen == [(90, 10)] * 6 + [(100, 0)] * 3


def test_rows_of_chunks_count_as_they_come():
    X = np.tile(np.eye(4), (25, 1))
    sampler = DBMSampler(hidden_layer_sizes=3, alpha=0.5, random_state=0)
    for n_seen in (100, 200):
        penalty = sampler.partial_fit(X)._state.penalty
        assert penalty.scale(0, 0.5) == pytest.approx(0.5 / np.sqrt(n_seen))
    penalty = sampler.set_params(max_iter=2).fit(X)._state.penalty
    assert penalty.scale(0, 0.5) == pytest.approx(0.05)  # not as often as seen


def test_a_copy_before_the_first_update_goes_its_own_way():
    trained = trainer_of(machine_of(np.random.default_rng(0)))
    early = trained.copy()
    step(trained, np.eye(6), 0.0)
    assert not any(spread.any() for spread in early.penalty.spreads)
    assert all(spread.any() for spread in trained.penalty.spreads)


def test_few_rows_or_a_given_strength_hold_nothing_out():
    for params, n_rows in (({}, 19), ({"alpha": 0.5}, 100)):
        assert _fitting.unseen_rows(DBMSampler(**params), n_rows, n_rows) is None


# ---------------------------------------------------------------------------
# The last check: is the machine better than independent columns?
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_machine_worse_than_independent_columns_says_by_how_much(seed):
    rng = np.random.default_rng(seed)
    X = (rng.random((300, 6)) < rng.uniform(0.2, 0.8, 6)).astype(float)
    weights = [rng.normal(0, 3, (6, 4))]
    machine = DeepBoltzmannMachine(weights, [np.zeros(6), np.zeros(4)])
    sampler = DBMSampler.from_machine(machine, random_state=0)
    said = re.search(r"are (\S+) nats less", _fitting.shortfall(sampler, X))[1]
    # One more row at even chances keeps means off the ends.
    means = (X.sum(axis=0) + 0.5) / (len(X) + 1)
    independent = X @ np.log(means) + (1 - X) @ np.log1p(-means)
    gains = exact_log_likelihood(machine, X) - independent
    assert_allclose(float(said), -gains.mean(), atol=0.006)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian", "categorical", "counts"])
def test_a_sound_machine_passes_in_silence(visible):
    X = np.random.default_rng(0).integers(0, 2, (100, 5)).astype(float)
    params = {"hidden_layer_sizes": (4, 3), "max_iter": 3, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DBMSampler(visible=visible, **params).fit(X)


def test_layers_that_are_hardly_in_use_are_said(monkeypatch):
    """Of columns that have nothing in common an upper layer has nothing to tell."""
    X = (np.random.default_rng(0).random((200, 10)) < 0.5).astype(float)
    model = DBMTransformer(hidden_layer_sizes=(4, 4), max_iter=30, random_state=0)
    model.fit(X)  # so short a training says nothing of the columns
    assert model.history_["dead_units"][-1][1] == 1
    monkeypatch.setattr(_fitting, "LEAST_UPDATES", 100)
    with pytest.warns(ConvergenceWarning, match="hardly in use") as caught:
        model.fit(X)
    assert "Hidden layer 2 is hardly in use: 100%" in str(caught[-1].message)
