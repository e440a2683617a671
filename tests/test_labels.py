"""Labels as visible units: probabilities of classes, and the network that is tuned."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, xlogy

from skdbm import ops
from skdbm.encodings import Categories, Probabilities, Real, States
from skdbm.encodings import Mixed as MixedColumns
from skdbm.encodings.labels import n_classes_of, with_labels, without_labels
from skdbm.encodings.rows import EncodedRows
from skdbm.inference.recognition import Recognition, complete
from skdbm.likelihood import bound
from skdbm.likelihood.labels import log_joint
from skdbm.training.fine_tuning import NUDGES, Lesson, gradient
from skdbm.training.optimizers import Adam
from skdbm.units import Bernoulli, Categorical, Gaussian, Mixed

from ._reference import TypedModel
from ._trained import settled
from .test_missing import centred, gradient_step, solve
from .test_training import expectation

N_CLASSES = 3
#: Columns beside the labels: their blocks, and unit types with their numbers.
BESIDE = {
    "bits": ([("count", 1)] * 4, (Bernoulli(), 4)),
    "real": ([("normal", 1)] * 2, (Gaussian(), 2)),
    "groups": ([("group", 2, 1), ("group", 3, 1)], (Categorical((2, 3)), 5)),
}
HIDDEN = [(3,), (3, 2), (2, 2, 2)]


def labelled_model(kind="bits", hidden=(3,), seed=0, scale=0.8):
    """A model of some columns, and of labels beside them."""
    blocks, unit = BESIDE[kind]
    labels = ("group", N_CLASSES, 1)
    visible = Mixed([unit, (Categorical((N_CLASSES,)), N_CLASSES)])
    layers = [[*blocks, labels], *([("count", 1)] * n for n in hidden)]
    units = [visible, *[Bernoulli()] * len(hidden)]
    return TypedModel(layers, units, seed, scale)


def labelled_machine(model, dtype=np.float64):
    """Its machine, for columns with codes of classes as the last one."""
    machine, n_units = model.machine(dtype), len(model.biases[0]) - N_CLASSES
    first, n = machine.units[0].parts[0]
    if isinstance(first, Categorical):
        columns, n_columns = Categories(first.sizes), len(first.sizes)
    elif isinstance(first, Gaussian):
        columns, n_columns = Real(np.zeros(n), np.ones(n)), n
    else:
        columns, n_columns = States(first), n_units
    return machine.with_encoding(with_labels(columns, n_columns, N_CLASSES))


def columns_of(model, n_rows=12, seed=1):
    """Rows of the model as columns, with codes of the classes, and as states."""
    states = model.sample(n_rows, np.random.default_rng(seed))[0]
    return labelled_machine(model).encoding.decode(states), states


def enumerated(model, states, gaps=None):
    """Log p*(v, y) of every class, of rows whose labels do not count."""
    result = np.empty((len(states), N_CLASSES))
    for i, row in enumerate(states):
        row = row.copy()
        if gaps is not None:
            row[:-N_CLASSES][gaps[i]] = np.nan
        for k in range(N_CLASSES):
            row[-N_CLASSES:] = np.eye(N_CLASSES)[k]
            result[i, k] = model.given(row).log_partition
    return result


def rows_of(machine, X):
    """Rows without their labels."""
    X = X.copy()
    X[:, -1] = np.nan
    return EncodedRows(machine.encoding, X, machine.dtype)


def softmax(logs):
    return np.exp(logs - logsumexp(logs, axis=1, keepdims=True))


# Probabilities of classes


@pytest.mark.parametrize("kind", BESIDE)
def test_one_hidden_layer_gives_the_probabilities_of_classes_and_pairs(kind):
    model = labelled_model(kind)
    machine, (X, states) = labelled_machine(model), columns_of(model)
    joint = log_joint(machine, rows_of(machine, X), N_CLASSES)
    assert_allclose(joint, enumerated(model, states), atol=1e-10)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", ["bits", "groups"])
def test_rows_with_gaps_have_bounds_that_are_estimated_well(kind, hidden):
    model = labelled_model(kind, hidden, scale=0.5)
    machine, (X, states) = labelled_machine(model), columns_of(model, 8)
    gaps = np.random.default_rng(3).random((len(X), X.shape[1] - 1)) < 0.4
    X[:, :-1][gaps] = np.nan
    sizes = BESIDE[kind][0]
    of_units = np.repeat(gaps, [b[1] if b[0] == "group" else 1 for b in sizes], axis=1)
    exact = enumerated(model, states, of_units)
    rows = rows_of(machine, X)
    lower = log_joint(machine, rows, N_CLASSES, tol=1e-9)
    assert np.all(exact - lower > -1e-9)
    assert np.max(exact - lower) > 1e-4
    seed = np.random.SeedSequence(0)
    estimate = log_joint(machine, rows, N_CLASSES, n_importance_samples=2000, seed=seed)
    # Weights differ by a few tenths: the mean of 2000 is right to about 0.01.
    assert_allclose(estimate, exact, atol=0.06)


@pytest.mark.parametrize("hidden", HIDDEN[1:])
def test_deep_machines_give_the_softmax_of_the_bounds(hidden):
    model = labelled_model("bits", hidden, scale=1.5)
    machine, (X, states) = labelled_machine(model), columns_of(model, 40)
    lower = log_joint(machine, rows_of(machine, X), N_CLASSES, tol=1e-9)
    wanted = np.empty_like(lower)
    for k in range(N_CLASSES):
        states[:, -N_CLASSES:] = np.eye(N_CLASSES)[k]
        wanted[:, k] = bound(machine, states, 0.0, tol=1e-9)
    assert_allclose(lower, wanted, atol=1e-10)
    # How far off they are, in nats, and that samples bring them closer.
    exact = softmax(enumerated(model, states))
    divergence = []
    for n in (0, 1, 100):
        joint = log_joint(
            machine,
            rows_of(machine, X),
            N_CLASSES,
            n_importance_samples=n,
            seed=np.random.SeedSequence(0),
        )
        terms = xlogy(exact, exact / softmax(joint))
        divergence.append(terms.sum(axis=1).mean())
    assert divergence[2] < min(divergence[:2]) / 3
    assert 1e-6 < divergence[0] < 0.1


def test_draws_for_the_classes_of_a_row_are_the_same():
    """A label that is joined to nothing makes no difference, to rounding."""
    model = labelled_model("bits", (3, 2))
    model.weights[0][-N_CLASSES:] = 0
    model.biases[0][-N_CLASSES:] = 0
    machine, (X, _) = labelled_machine(model), columns_of(model)
    joint = log_joint(
        machine,
        rows_of(machine, X),
        N_CLASSES,
        n_importance_samples=2,
        seed=np.random.SeedSequence(5),
    )
    assert np.ptp(joint, axis=0).max() > 0.1
    assert_allclose(joint, np.repeat(joint[:, :1], N_CLASSES, axis=1), rtol=1e-12)


def test_rows_with_gaps_in_real_columns_have_draws_of_their_own(monkeypatch):
    """Where columns are whitened no unit is known by itself in such rows."""
    model = labelled_model("real", (3, 2))
    columns = Real(np.zeros(2), [[1.0, 0.5], [0.0, 1.0]])
    machine = model.machine().with_encoding(with_labels(columns, 2, N_CLASSES))
    X = np.column_stack([np.full(20, np.nan), np.arange(20.0), np.zeros(20)])
    streams, seen = ops.streams_of_rows, []

    def watched(seed, content):
        seen.append(content)
        return streams(seed, content)

    monkeypatch.setattr(ops, "streams_of_rows", watched)
    settings = {"n_importance_samples": 1, "seed": np.random.SeedSequence(0)}
    log_joint(machine, rows_of(machine, X), N_CLASSES, **settings)
    assert len(np.unique(np.concatenate(seen), axis=0)) == 20


@pytest.mark.parametrize("hidden", HIDDEN)
def test_labels_in_another_order_have_their_probabilities_in_that_order(hidden):
    model = labelled_model("bits", hidden)
    machine, (X, _) = labelled_machine(model), columns_of(model)
    order = np.array([2, 0, 1])
    places = np.concatenate([np.arange(4), 4 + order])
    other = labelled_model("bits", hidden)
    other.weights[0] = model.weights[0][places]
    other.biases[0] = model.biases[0][places]
    permuted = labelled_machine(other)
    for n_samples in (0, 3):
        settings = {
            "n_importance_samples": n_samples,
            "seed": np.random.SeedSequence(1),
        }
        one = log_joint(machine, rows_of(machine, X), N_CLASSES, **settings)
        two = log_joint(permuted, rows_of(permuted, X), N_CLASSES, **settings)
        assert_allclose(two, one[:, order], rtol=1e-7)
    rows = complete(machine, rows_of(machine, X)[:], N_CLASSES)
    one, two = (
        Recognition(m, N_CLASSES, 2).log_probabilities(rows)
        for m in (machine, permuted)
    )
    assert_allclose(two, one[:, order], atol=1e-12)


def test_results_do_not_depend_on_the_rows_beside_or_on_threads():
    model = labelled_model("bits", (3, 2))
    machine, (X, _) = labelled_machine(model, np.float32), columns_of(model, 700)
    X[::7, 1] = np.nan
    whole = log_joint(machine, rows_of(machine, X), N_CLASSES, n_jobs=1)
    assert_array_equal(
        whole, log_joint(machine, rows_of(machine, X), N_CLASSES, n_jobs=3)
    )
    some = log_joint(machine, rows_of(machine, X[100:130]), N_CLASSES)
    assert_allclose(some, whole[100:130], atol=1e-5)


# The gradient of what rows and labels say


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_gradient_of_rows_without_labels_takes_the_means_of_mean_field(kind, hidden):
    """The chains of both steps are the same, so that their difference drops out."""
    model = labelled_model(kind, hidden)
    X = model.sample(12, np.random.default_rng(0))[0]
    X[::2, -N_CLASSES:] = np.nan
    complete_rows = model.sample(12, np.random.default_rng(9))[0]
    with_gaps, offsets, _ = gradient_step(model, X)
    without, _, _ = gradient_step(model, complete_rows)
    wanted = centred(solve(model, X), offsets).mean(axis=0)
    wanted -= centred(solve(model, complete_rows), offsets).mean(axis=0)
    assert_allclose(with_gaps - without, wanted, atol=2e-8)


@pytest.mark.parametrize("gap", [None, 1], ids=["all columns", "one missing"])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_gradient_of_a_row_and_its_label_averages_to_the_exact_one(
    hidden, labelled, gap
):
    """The data's part, by Gibbs sweeps, against the enumerated posterior."""
    model, n_rows = labelled_model("bits", hidden), 20_000
    row = model.sample(1, np.random.default_rng(4))[0][0]
    if not labelled:
        row[-N_CLASSES:] = np.nan
    if gap is not None:
        row[gap] = np.nan
    found = settled(model.machine(), row, n_rows, 0)
    posterior = model.given(row)
    offsets = [np.full(len(bias), 0.3) for bias in model.biases]
    exact, error = expectation(
        centred(posterior.states, offsets), posterior.probability, n_rows
    )
    assert np.all(np.abs(centred(found, offsets).mean(axis=0) - exact) < error + 1e-12)


# The network


def network_and_lesson(hidden, kind="bits", n_sweeps=1, seed=0, scale=0.8):
    """A network of few sweeps, and rows with what they are taught."""
    model = labelled_model(kind, hidden, seed, scale)
    machine, (X, _) = labelled_machine(model), columns_of(model, 9)
    rows = complete(machine, rows_of(machine, X)[:], N_CLASSES)
    rng = np.random.default_rng(seed)
    lesson = Lesson(rows, rng.integers(N_CLASSES, size=9), rng.random(9), 9)
    return Recognition(machine, N_CLASSES, n_sweeps), lesson


def by_differences(function, array, h=1e-5):
    """Gradient of a function by the numbers of an array, which it reads."""
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        value, ends = array[place], []
        for end in (value + h, value - h):
            array[place] = end
            ends.append(function())
        array[place] = value
        gradient[place] = (ends[0] - ends[1]) / (2 * h)
    return gradient


def masks_of(network, n_rows, seed=0):
    """Leave a third of the hidden units out."""
    rng, sizes = np.random.default_rng(seed), network.machine.layer_sizes
    return {
        layer: 1.5 * (rng.random((n_rows, size)) > 1 / 3)
        for layer, size in enumerate(sizes)
        if layer
    }


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("n_sweeps", [1, 2])
@pytest.mark.parametrize("kind", ["bits", "real"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradient_of_the_network_is_that_of_its_loss(
    hidden, kind, n_sweeps, with_dropout
):
    network, lesson = network_and_lesson(hidden, kind, n_sweeps)
    masks = masks_of(network, len(lesson.rows)) if with_dropout else {}

    def loss():
        last = network.forward(lesson.rows, masks).steps[-1].field
        logs = last - logsumexp(last, axis=1, keepdims=True)
        return -(lesson.shares * logs[np.arange(len(logs)), lesson.codes]).sum()

    with ops.workers(1) as team:
        surprise, slopes = gradient(network, lesson, masks, team)
    assert_allclose(lesson.shares @ surprise, loss())
    for parameter, slope in zip(network.parameters, slopes, strict=True):
        assert_allclose(slope, by_differences(loss, parameter), atol=1e-8)
    of_labels = slopes[0][-N_CLASSES:]
    assert np.abs(of_labels).max() > 0.01


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("kind", ["bits", "real"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_perturbed_rows_stand_where_classes_change_most_and_are_differentiated(
    hidden, kind, with_dropout
):
    """Against differences of the loss, and of the divergence of which they are made."""
    network, lesson = network_and_lesson(hidden, kind)
    masks = masks_of(network, len(lesson.rows)) if with_dropout else {}
    nudges = np.random.default_rng(3).normal(0, 0.01, lesson.rows.shape)
    nudges[:, 0] = 0  # of a unit that is to stay

    def logs(rows):
        last = network.forward(rows, masks).steps[-1].field
        return last - logsumexp(last, axis=1, keepdims=True)

    said, near = np.exp(logs(lesson.rows)), lesson.rows + nudges
    direction = by_differences(lambda: -(said * logs(near)).sum(), near)
    direction[:, 0] = 0
    lengths = np.linalg.norm(np.stack([nudges, direction]), axis=2, keepdims=True)
    # Of a row all of whose units are left out, no class depends.
    away = lesson.rows + NUDGES * direction * lengths[0] / np.maximum(lengths[1], 1e-99)
    right = np.arange(len(said)), lesson.codes

    def loss():
        changed = (said * (np.log(said) - logs(away))).sum(axis=1)
        return lesson.shares @ (changed - logs(lesson.rows)[right])

    with ops.workers(1) as team:
        surprise, slopes = gradient(network, lesson, masks, team, nudges)
        _, without = gradient(network, lesson, masks, team)
    assert_allclose(surprise, -np.log(said[right]))
    for parameter, slope in zip(network.parameters, slopes, strict=True):
        assert_allclose(slope, by_differences(loss, parameter), atol=1e-6)
    assert np.abs(slopes[0] - without[0]).max() > 1e-3


def test_row_whose_class_is_certain_stays_where_it_is():
    network, lesson = network_and_lesson((3, 2))
    network.machine.biases[0][-N_CLASSES] += 1e4
    nudges = np.full(lesson.rows.shape, 0.01)
    with ops.workers(1) as team:
        _, slopes = gradient(network, lesson, {}, team, nudges)
        _, without = gradient(network, lesson, {}, team)
    for slope, plain in zip(slopes, without, strict=True):
        assert_array_equal(slope, plain)


def test_hidden_groups_are_differentiated():
    blocks = [[("count", 1)] * 3 + [("group", N_CLASSES, 1)], [("group", 3, 1)] * 2]
    visible = Mixed([(Bernoulli(), 3), (Categorical((N_CLASSES,)), N_CLASSES)])
    model = TypedModel(
        [*blocks, [("count", 1)] * 2], [visible, Categorical((3, 3)), Bernoulli()], 1
    )
    network = Recognition(model.machine(), N_CLASSES, 1)
    rows = np.random.default_rng(0).random((5, 3))
    lesson = Lesson(rows, np.array([0, 1, 2, 1, 0]), np.full(5, 0.2), 5)
    with ops.workers(1) as team:
        _, slopes = gradient(network, lesson, {}, team)
    h, place, ends = 1e-5, (1, 2), []
    for step in (h, -h):
        network.machine.weights[0][place] += step
        logs = network.log_probabilities(rows)
        ends.append(-logs[np.arange(5), lesson.codes].mean())
        network.machine.weights[0][place] -= step
    assert_allclose(slopes[0][place], (ends[0] - ends[1]) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_network_of_many_sweeps_is_mean_field(hidden):
    """With the label open it tends to the label's mean given the row."""
    network, lesson = network_and_lesson(hidden, n_sweeps=300)
    states = np.hstack([lesson.rows, np.full((9, N_CLASSES), np.nan)])
    model = labelled_model("bits", hidden)
    visible = solve(model, states)[0]
    probabilities = np.exp(network.log_probabilities(lesson.rows))
    assert_allclose(probabilities, visible[:, -N_CLASSES:], atol=1e-6)


def test_blocks_of_rows_add_up_whatever_the_threads():
    network, lesson = network_and_lesson((3, 2))
    many = Lesson(
        *(np.concatenate([a] * 20) for a in (lesson.rows, lesson.codes, lesson.shares)),
        180,
    )
    slopes = []
    for n_threads in (1, 3):
        with ops.workers(n_threads) as team:
            slopes.append(gradient(network, many, {}, team)[1])
    with ops.workers(1) as team:
        _, once = gradient(network, lesson, {}, team)
    for one, other, plain in zip(*slopes, once, strict=True):
        assert_array_equal(one, other)
        assert_allclose(one, 20 * plain, rtol=1e-9, atol=1e-12)


def test_gaps_are_filled_without_a_look_at_the_label():
    model = labelled_model("bits", (3, 2), scale=2.0)
    machine, (X, _) = labelled_machine(model), columns_of(model)
    X[:, 1] = np.nan
    rows = EncodedRows(machine.encoding, X, machine.dtype)
    known = complete(machine, rows[:], N_CLASSES)
    assert_array_equal(known, complete(machine, rows_of(machine, X)[:], N_CLASSES))
    states = np.hstack([rows[:][:, :-N_CLASSES], np.full((12, N_CLASSES), np.nan)])
    assert_allclose(known, solve(model, states)[0][:, :-N_CLASSES], atol=1e-2)
    assert not np.isnan(known).any()


def test_adam_takes_the_steps_of_the_paper():
    parameter, other = np.array([1.0, -2.0]), np.array([[3.0]])
    adam = Adam.of([parameter, other])
    first = second = np.zeros(2)
    wanted = parameter.copy()
    with ops.workers(1) as team:
        for step, slope in enumerate([[1.0, -4.0], [0.5, 2.0], [0.0, 1.0]], start=1):
            slope = np.array(slope)
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            m, v = first / (1 - 0.9**step), second / (1 - 0.999**step)
            wanted -= 0.01 * m / (np.sqrt(v) + 1e-8)
            adam.descend(
                [parameter, other], [slope.copy(), np.zeros((1, 1))], 0.01, team
            )
            assert_allclose(parameter, wanted, rtol=1e-12)
    assert_array_equal(other, [[3.0]])


# Encodings


@pytest.mark.parametrize(
    "columns",
    [
        Probabilities(),
        Probabilities(redraw=False),
        Real(),
        MixedColumns([(Probabilities(), [0, 2]), (Categories((3,)), [1])]),
        MixedColumns([(Probabilities(), [2, 1, 0])]),
    ],
)
def test_labels_are_put_beside_columns_and_taken_away(columns):
    both = with_labels(columns, 3, 4)
    assert n_classes_of(both) == 4
    assert without_labels(both) == columns
    assert both.n_columns(0) == 4


@pytest.mark.parametrize(
    "columns",
    [
        Probabilities(),
        MixedColumns([(Categories((3,)), [0])]),
        MixedColumns([(Categories((3,)), [0]), (Probabilities(), [1, 2])]),
        MixedColumns([(Probabilities(), [0]), (Categories((3, 2)), [1, 2])]),
    ],
)
def test_machine_without_labels_is_told(columns):
    with pytest.raises(ValueError, match="a column of classes is expected"):
        n_classes_of(columns)
