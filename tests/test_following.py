"""Log Z that is followed from machine to machine, against enumeration."""

import copy
import dataclasses
import warnings
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from skdbm import DBMTransformer, Likelihood, _fitting, ops
from skdbm.likelihood import exact_log_partition, following
from skdbm.likelihood.following import FollowedLogPartition
from skdbm.machine import DeepBoltzmannMachine
from skdbm.sampling.path import AdaptiveSteps, GivenSteps, Path, carry, resampled

from ._estimators import Watcher
from ._reference import random_model, typed_model, worst_moment

#: Those between the machines of a training.
STEPS = AdaptiveSteps(following.STEP_SPREAD, following.LONGEST_STEP, most=1000)

each_seed = pytest.mark.parametrize("seed", range(3))


def moved(model, seed, scale=0.2):
    """Change the parameters of a model at random; a new one."""
    rng = np.random.default_rng([seed, 1])
    other = copy.copy(model)
    vars(other).pop("distribution", None)  # what was cached
    for name in ("weights", "biases"):
        arrays = getattr(model, name)
        setattr(other, name, [a + rng.normal(0, scale, a.shape) for a in arrays])
    return other


def lead(before, after, n_chains, seed):
    """Lead exact samples of one model to the other; log-weights, resampled states."""
    source = getattr(before, "sample", before.distribution.sample)
    states = source(n_chains, np.random.default_rng([seed, 2]))
    states = [state.astype(np.float32) for state in states]
    path = Path(before.machine(np.float32), after.machine(np.float32))
    first, second = np.random.SeedSequence(seed).spawn(2)
    with ops.workers(1) as team:
        log_weights = carry(path, STEPS, states, first, team).log_weights
    return log_weights, resampled(states, log_weights, n_chains, second)


def check_ratio(log_weights, before, after):
    """Check that the mean weight is Z of `after` over Z of `before`: 6.5 errors."""
    n = len(log_weights)
    exact = after.distribution.log_partition - before.distribution.log_partition
    weights = np.exp(log_weights - exact)
    assert weights.std() > 0.001  # they do differ
    assert abs(weights.mean() - 1) < 6.5 * weights.std(ddof=1) / np.sqrt(n)


@each_seed
@pytest.mark.parametrize("hidden", [(3,), (2, 3), ("groups",), (3, "groups")])
@pytest.mark.parametrize(
    "visible",
    ["bernoulli", "gaussian", "categorical", "counts", "multinomial", "mixed"],
)
def test_way_between_machines_of_every_unit_type(visible, hidden, seed):
    before = typed_model(visible, hidden, seed, scale=0.4)
    after = moved(before, seed)
    log_weights, states = lead(before, after, 3000, seed)
    check_ratio(log_weights, before, after)
    # With weights that are nearly even, resampled states are as good as independent.
    share = np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)) / 3000
    assert share > 0.8
    assert after.worst_moment(states) < 1


@each_seed
@pytest.mark.parametrize(
    ("sizes", "n_trials"),
    [((5, 4), None), ((3, 7), None), ((2, 5, 3), None), ((3, 3, 2, 2), (1, 2, 1, 3))],
)
def test_way_between_machines_of_binomial_units(sizes, n_trials, seed):
    before = random_model(sizes, seed, 0.7, n_trials)
    after = moved(before, seed, 0.3)
    log_weights, states = lead(before, after, 3000, seed)
    check_ratio(log_weights, before, after)
    for n_layers in (1, 2):
        assert worst_moment(after, after.distribution, states, n_layers) < 1


@each_seed
@pytest.mark.parametrize("n_steps", [8, 30])
@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        ("bernoulli", (3,)),
        ("bernoulli", (2, 3)),
        ("categorical", (3, "groups")),
        ("counts", (3,)),
        ("counts", ("groups", 2)),
    ],
)
def test_path_there_and_back(visible, hidden, n_steps, seed):
    """Exact samples of either machine weigh the ratio of Z to that of the other one."""
    models = [typed_model(visible, hidden, seed, scale=0.4)]
    models.append(moved(models[0], seed, 0.25))
    path = Path(*(model.machine() for model in models))
    stops = np.linspace(0, 1, n_steps + 1).tolist()
    for ladder, before, after in (
        (GivenSteps(stops), *models),
        (GivenSteps(stops[::-1]), *models[::-1]),
    ):
        states = before.sample(3000, np.random.default_rng([seed, 3]))
        with ops.workers(1) as team:
            journey = carry(path, ladder, states, np.random.SeedSequence(seed), team)
        assert journey.n_steps == n_steps
        check_ratio(journey.log_weights, before, after)


@pytest.mark.parametrize(
    ("schedule", "degree"),
    [
        (GivenSteps([0.2, 0.7, 1.0]), 3),
        (GivenSteps([0.7, 0.2, 0.0]), 3),
        (GivenSteps(np.linspace(0.2, 1, 5001).tolist()), 1),
        (AdaptiveSteps(spread=0.01, longest=0.5, most=9, start=0.2), 2),
    ],
)
def test_steps_integrate_polynomials(schedule, degree):
    """Up to the degree of the rule and no further, for chains whose slopes differ."""
    factors, here, errors = np.array([1.0, 1.1]), schedule.start, []
    for power in (degree, degree + 1):
        there, slope = schedule.step(0, here, lambda t, p=power: factors * t**p)
        integral = (there ** (power + 1) - here ** (power + 1)) / (power + 1)
        errors.append(np.abs((there - here) * slope - factors * integral).max())
    assert errors[0] < 1e-15 < errors[1]


@pytest.mark.usefixtures("narrow_blocks")
def test_chains_on_a_path_do_not_depend_on_threads():
    model = random_model((6, 5, 4), 0)
    path = Path(model.machine(), moved(model, 0, 0.4).machine())
    results = []
    for schedule in (GivenSteps(np.linspace(0, 1, 9).tolist()), STEPS):
        for n_jobs in (1, 2):
            states = model.distribution.sample(300, np.random.default_rng(0))
            with ops.workers(n_jobs) as team:
                journey = carry(path, schedule, states, np.random.SeedSequence(0), team)
            results.append(np.hstack([journey.log_weights[:, None], *states]).tobytes())
    assert results[0] == results[1] != results[2] == results[3]


def test_path_from_independent_units_has_the_couplings_at_its_end():
    machine = random_model((5, 4), 0).machine()
    path = Path(machine.uncoupled([np.zeros(5), np.ones(4)]), machine)
    assert_array_equal(path.change.weights[0], machine.weights[0])
    assert_array_equal(path.change.biases[0], machine.biases[0])
    assert_array_equal(path.change.biases[1], machine.biases[1] - 1)


@each_seed
def test_followed_values_scatter_about_the_exact_ones(seed):
    """Five machines after the one that is annealed, 20 times."""
    errors, expected = [], []
    for i in range(20):
        model = random_model((5, 4, 3), [seed, i])
        followed = FollowedLogPartition(n_chains=20, random_state=100 * seed + i)
        for step in range(6):
            value, error = followed.update(model.machine(), n_jobs=1)
            last, model = model, moved(model, step, 0.05)
        assert followed.n_steps > 0
        errors.append(value - last.distribution.log_partition)
        expected.append(error)
    # Student's distribution with 19 degrees of freedom, once in 1e7 times.
    spread = np.std(errors, ddof=1)
    assert abs(np.mean(errors)) < 8 * spread / np.sqrt(20) + 0.002
    assert spread < 3 * np.mean(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_machine_has_the_same_value(dtype):
    model = random_model((5, 4, 3), 0)
    followed = FollowedLogPartition(n_chains=20, random_state=0)
    first = followed.update(model.machine(dtype), n_jobs=1)
    states = followed.states
    assert followed.update(model.machine(dtype), n_jobs=1) == first
    assert followed.n_steps == 20
    assert any(np.any(a != b) for a, b in zip(states, followed.states, strict=True))


def test_even_weights_leave_all_chains():
    states = [np.arange(7.0)[:, None]]
    for seed in range(20):
        seed = np.random.SeedSequence(seed)
        [chosen] = resampled(states, np.full(7, 3.0), 7, seed)
        assert_array_equal(chosen, states[0])


def test_resampling_follows_the_weights():
    states = [np.arange(4.0)[:, None]]
    weights = np.array([0.0, 2.0, 1.0, 1.0]) / 4
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights) + 1000
    [chosen] = resampled(
        states, log_weights, len(log_weights), np.random.SeedSequence(0)
    )
    assert_array_equal(chosen[:, 0], [1, 1, 2, 3])
    # Each population by itself, whatever the weights of others.
    log_weights = np.stack([log_weights, log_weights[::-1] - 2000])
    states = [np.arange(8.0)[:, None]]
    [chosen] = resampled(states, log_weights, 4, np.random.SeedSequence(0))
    assert_array_equal(chosen[:, 0], [1, 1, 2, 3, 4, 5, 6, 6])


@each_seed
def test_machines_far_away_are_annealed(monkeypatch, seed):
    monkeypatch.setattr(following, "MOST_STEPS", 50)
    followed = FollowedLogPartition(n_chains=50, random_state=seed)
    followed.update(random_model((6, 5, 4), seed).machine(), n_jobs=1)
    far = random_model((6, 5, 4), seed + 10, scale=1.5)
    value, error = followed.update(far.machine(), n_jobs=1)
    assert followed.n_steps == 0
    assert abs(value - far.distribution.log_partition) < 8 * error


def test_errors_that_have_grown_are_annealed_away():
    """The same way there and back over and over: its errors add up."""
    followed = FollowedLogPartition(n_chains=100, random_state=0)
    model = random_model((6, 5, 4), 0)
    machines = [model.machine(), moved(model, 0, 0.1).machine()]
    steps, errors = [], []
    for i in range(200):
        _, error = followed.update(machines[i % 2], n_jobs=1)
        steps.append(followed.n_steps)
        errors.append(error)
        if i and not followed.n_steps:
            break
    assert steps[0] == steps[-1] == 0 < min(steps[1:-1])
    assert np.all(np.diff(errors[:-1]) > 0)
    assert max(errors) <= following.LARGEST_GROWTH * max(errors[0], 0.02)


def test_followed_values_depend_on_the_seed_alone():
    models = [random_model((6, 5, 4), 0)]
    models += [moved(models[0], 0, 0.05)]

    def values(seed, n_jobs):
        followed = FollowedLogPartition(n_chains=20, random_state=seed)
        return [followed.update(m.machine(), n_jobs=n_jobs) for m in models]

    sequence = np.random.SeedSequence(7)
    assert values(7, 1) == values(7, 2) == values(sequence, 1) == values(sequence, 1)
    assert values(7, 1)[1] != values(8, 1)[1]


def two_modes(depth):
    """Make the machine of a state of all units off and one of all on, so much deeper.

    Gibbs chains cannot go from one to the other.
    """
    n = 8
    half = np.full(n, -6.0 * n / 2 + depth / 2 / n)
    return DeepBoltzmannMachine([np.full((n, n), 6.0)], [half, half])


def test_modes_that_grow_without_the_chains_are_found():
    """All chains are off while all on becomes a hundred times as likely."""
    followed = FollowedLogPartition(n_chains=50, random_state=0)
    steps = []
    for depth in np.arange(-5.0, 6.0):
        machine = two_modes(depth)
        machine.means = [np.full(8, 1 / (1 + np.exp(-depth)))] * 2
        value, error = followed.update(machine, n_jobs=1)
        steps.append(followed.n_steps)
        if depth > 1:  # a smaller share may be below what the lookout can tell
            assert abs(value - exact_log_partition(machine)) < 4 * error
    assert 0 in steps[1:]


def test_the_lookout_decides_whether_to_anneal(monkeypatch):
    """What it finds counts where it is more, by twice the combined error."""
    model = random_model((6, 5, 4), 0)
    machines = [model.machine(), moved(model, 0, 0.05).machine()]
    original, sizes, more = following.annealed_with_chains, [], [0.0]

    def surprising(machine, n_chains, *args, **kwargs):
        result, states = original(machine, n_chains, *args, **kwargs)
        sizes.append(n_chains)
        if n_chains == following.LOOKING_CHAINS:
            error = np.hypot(result.standard_error, followed.standard_error)
            value = followed.log_partition + more[0] * error
            result = dataclasses.replace(result, log_partition=value)
        return result, states

    monkeypatch.setattr(following, "annealed_with_chains", surprising)
    for more[0], anew in ((-9.0, False), (1.9, False), (2.1, True)):
        followed = FollowedLogPartition(n_chains=20, random_state=0)
        followed.update(machines[0], n_jobs=1)
        assert sizes == [20]
        followed.update(machines[1], n_jobs=1)
        assert (followed.n_steps == 0) is anew
        assert sizes == [20, 25, 20] if anew else [20, 25]
        sizes.clear()


def test_other_layers_cannot_be_followed():
    followed = FollowedLogPartition(n_chains=5, random_state=0)
    machine, other = (random_model(sizes, 0).machine() for sizes in ((5, 4), (5, 3)))
    first = followed.update(machine)
    with pytest.raises(ValueError, match=r"\(5, 3\) units and the one before \(5, 4\)"):
        followed.update(other)
    followed.n_chains = 50
    assert followed.update(machine) == first  # as if nothing had been asked


# Early stopping


def watched_fit(**params):
    """Fit a machine too large to enumerate; the estimator, and its machines."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(2, size=(100, 1)) == np.arange(24) % 2
    X = (kinds ^ (rng.random((100, 24)) < 0.2)).astype(float)
    machines = []
    settings = {
        "hidden_layer_sizes": 24,
        "max_iter": 8,
        "batch_size": 10,
        "early_stopping": True,
        "evaluate_every": 1,
        "n_iter_no_change": 99,
        "likelihood": Likelihood(n_chains=50),
        "random_state": 0,
        "n_jobs": 1,
    }
    estimator = DBMTransformer(**(settings | params))
    estimator.set_callbacks(
        Watcher(lambda record, fitted: machines.append(fitted.machine_))
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "early_stopping did not", ConvergenceWarning)
        estimator.fit(X)
    return estimator, machines


@pytest.fixture
def annealings(monkeypatch):
    """Count how often log Z is annealed anew while it is followed."""
    counted, original = Mock(), FollowedLogPartition._anneal

    def noted(self, *args):
        counted(*args)
        return original(self, *args)

    monkeypatch.setattr(FollowedLogPartition, "_anneal", noted)
    return counted


def test_early_stopping_follows_log_partition(annealings, monkeypatch):
    held_out, original = [], _fitting.hold_out

    def noted(estimator, X):
        training, stopping = original(estimator, X)
        held_out.append(stopping.rows.parts)
        return training, stopping

    monkeypatch.setattr(_fitting, "hold_out", noted)
    estimator, machines = watched_fit()
    assert 1 <= annealings.call_count < 8
    [(validation, _)] = held_out
    assert len(machines) == 8
    for machine, found in zip(
        machines, estimator.history_["validation_score"], strict=True
    ):
        fresh = DBMTransformer.from_machine(machine, random_state=1, n_jobs=1)
        _, error = fresh._log_partition().of(n_jobs=1)
        combined = np.hypot(error, 2 * max(error, 0.03))
        assert abs(fresh.score(validation) - found) < 7 * combined


@pytest.mark.usefixtures("narrow_blocks")
def test_early_stopping_does_not_depend_on_threads():
    one, two = (
        watched_fit(max_iter=3, n_jobs=n_jobs)[0].history_["validation_score"]
        for n_jobs in (1, 2)
    )
    assert np.isfinite(one).all()
    assert_array_equal(one, two)


@pytest.mark.parametrize(
    "params", [{"visible": "counts"}, {"hidden_layer_sizes": 4}], ids=str
)
def test_counts_and_small_machines_are_not_followed(params, annealings):
    estimator, _ = watched_fit(max_iter=1, likelihood=Likelihood(n_chains=10), **params)
    assert np.isfinite(estimator.history_["validation_score"]).all()
    assert not annealings.called
