"""The machine: energy, fields, what the constructor refuses, files."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skdbm.inference import mean_field
from skdbm.likelihood import annealed_log_partition, exact_log_likelihood
from skdbm.machine import FORMAT_VERSION, DeepBoltzmannMachine
from skdbm.sampling import gibbs_sweeps, initial_states
from skdbm.units import Bernoulli, Binomial

from ._reference import Model, random_model

MODELS = [
    random_model((4, 3), 0),
    random_model((4, 3, 2), 1),
    random_model((3, 4, 2, 3), 2),
    random_model((3, 2), 3, n_trials=(1, 3)),
    random_model((2, 3, 2), 4, n_trials=(3, 1, 2)),
    random_model((3, 2, 2, 2), 5, n_trials=(1, 2, 1, 2)),
]

each_model = pytest.mark.parametrize(
    "model", MODELS, ids=lambda m: f"{'-'.join(map(str, m.sizes))}, trials {m.n_trials}"
)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def parameters(machine):
    """All weights and biases of a machine."""
    return [*machine.weights, *machine.biases]


def assert_same_machine(left, right):
    """Compare two machines bit for bit."""
    assert left.units == right.units
    assert left.layer_sizes == right.layer_sizes
    for a, b in zip(parameters(left), parameters(right), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


# Energy and fields


@each_dtype
@each_model
def test_energy_of_every_state_in_float64_for_either_dtype(model, dtype):
    machine = model.machine(dtype)
    rounded = Model(machine.weights, machine.biases, model.n_trials)
    states = model.distribution.states
    energy = machine.energy([state.astype(dtype) for state in states])
    assert energy.dtype == np.float64
    assert_allclose(energy, rounded.energy(states), rtol=1e-13, atol=1e-13)


@each_model
def test_energy_may_be_computed_in_float32(model):
    machine, states = model.machine(np.float64), model.distribution.states
    energy = machine.energy(states, dtype=np.float32)
    assert energy.dtype == np.float64
    terms = sum(np.abs(array).sum() for array in parameters(machine))
    error = 8 * np.finfo(np.float32).eps * terms * max(model.n_trials) ** 2
    assert 0 < np.abs(energy - model.energy(states)).max() < error


@each_model
def test_field_gives_the_conditional_of_every_unit(model):
    """Every value of a unit is weighed by the energy of the state that has it."""
    machine, rng = model.machine(), np.random.default_rng(0)
    for layer, n in enumerate(model.n_trials):
        unit = machine.units[layer]
        states = [
            rng.integers(0, most + 1, (20, size)).astype(np.float64)
            for most, size in zip(model.n_trials, model.sizes, strict=True)
        ]
        field = machine.field(layer, states)
        for i in range(model.sizes[layer]):
            energies = []
            for value in range(n + 1):
                states[layer][:, i] = value
                energies.append(model.energy(states))
            weights = np.exp(energies[0] - np.array(energies))
            p = weights / weights.sum(axis=0)
            own = field[:, i : i + 1]
            assert_allclose(unit.mean(own)[:, 0], np.arange(n + 1) @ p, rtol=1e-11)
            assert_allclose(
                unit.log_partition(own), np.log(weights.sum(axis=0)), rtol=1e-11
            )


@each_model
def test_fields_are_those_of_every_layer(model):
    machine = model.machine()
    states = [state[:50] for state in model.distribution.states]
    for layer in range(machine.n_layers):
        field = machine.field(layer, states)
        assert_array_equal(field, machine.field(layer, states))


@each_dtype
@each_model
def test_buffers_do_not_change_the_field(model, dtype):
    machine, rng = model.machine(dtype), np.random.default_rng(0)
    states = [rng.random((9, size)).astype(dtype) for size in model.sizes]
    for layer, size in enumerate(model.sizes):
        expected = machine.field(layer, states)
        assert expected.dtype == dtype
        out, scratch = np.full((2, 9, size), np.nan, dtype)
        assert machine.field(layer, states, out=out, scratch=scratch) is out
        assert_array_equal(out, expected)


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@each_model
def test_sparse_visible_states_have_the_same_fields(model, container):
    machine = model.machine()
    states = [state[-30:] for state in model.distribution.states]
    sparse = [container(states[0]), *states[1:]]
    out = np.empty((30, model.sizes[1]))
    for field in (
        machine.field(1, sparse),
        machine.field(1, sparse, out=out, scratch=np.empty_like(out)),
    ):
        assert isinstance(field, np.ndarray)
        assert_allclose(field, machine.field(1, states), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 4), (2, 3)],
        [(2, 4), (2, 3), (2, 1)],
        [(2, 4), (2, 3), (3, 2)],
        [(2, 4), (2, 3), (2,)],
        [(4,), (3,), (2,)],
        [(2, 4), (2, 3), (2, 2), (2, 2)],
    ],
)
def test_energy_refuses_states_of_other_shapes(shapes):
    machine = random_model((4, 3, 2), 0).machine()
    with pytest.raises(ValueError, match=r"shapes .* expected .*\(4, 3, 2\)"):
        machine.energy([np.zeros(shape) for shape in shapes])


# Construction

V, H, T = np.zeros(4), np.zeros(3), np.zeros(2)
VH, HT = np.zeros((4, 3)), np.zeros((3, 2))


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], [], "0 weight matrices and 0 bias vectors"),
        ([VH], [V], "1 weight matrices and 1 bias vectors"),
        ([VH], [V, H, T], "1 weight matrices and 3 bias vectors"),
        ([VH, HT], [V, H], "2 weight matrices and 2 bias vectors"),
        ([VH.T], [V, H], r"weights\[0\] has shape \(3, 4\).*\(4, 3\) is expected"),
        ([VH, HT.T], [V, H, T], r"weights\[1\] has shape \(2, 3\)"),
        ([VH, VH], [V, H, H], r"weights\[1\] has shape \(4, 3\)"),
        ([VH[0]], [V, H], r"weights\[0\] has shape \(3,\)"),
        ([VH[None]], [V, H], r"weights\[0\] has shape \(1, 4, 3\)"),
        ([VH], [V[None], H], r"biases\[0\] has shape \(1, 4\)"),
        ([VH], [V, 0.0], r"biases\[1\] has shape \(\)"),
        ([VH[:, :0]], [V, H[:0]], r"weights\[0\] has shape \(4, 0\)"),
        ([VH + np.nan], [V, H], r"weights\[0\] holds NaN or infinite"),
        ([VH], [V, H - np.inf], r"biases\[1\] holds NaN or infinite"),
        ([VH + 0j], [V, H], r"weights\[0\] has dtype complex128"),
        ([VH.astype(object)], [V, H], r"weights\[0\] has dtype object"),
        ([VH], [V.astype(np.float16), H], r"biases\[0\] has dtype float16"),
        ([VH], [V, H.astype(str)], r"biases\[1\] has dtype <U"),
        ([VH], [V, H.astype("M8[s]")], r"biases\[1\] has dtype datetime64"),
        ([VH], [V, None], r"biases\[1\] has dtype object"),
        ([[[1.0], [1.0, 2.0]]], [V, H], "inhomogeneous|dtype object"),
    ],
)
def test_parameters_that_make_no_machine(weights, biases, message):
    with pytest.raises(ValueError, match=message):
        DeepBoltzmannMachine(weights, biases)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([], "0 unit types for 2 layers"),
        ([Bernoulli()], "1 unit types for 2 layers"),
        ([Bernoulli()] * 3, "3 unit types for 2 layers"),
        ([Bernoulli(), "bernoulli"], r"units\[1\] is 'bernoulli'.*UnitType"),
        ([Bernoulli, Bernoulli()], r"units\[0\] is <class.*UnitType"),
        ([None, Bernoulli()], r"units\[0\] is None.*UnitType"),
    ],
)
def test_units_that_make_no_machine(units, message):
    with pytest.raises(ValueError, match=message):
        DeepBoltzmannMachine([VH], [V, H], units)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, int])
def test_integers_become_float64(dtype):
    machine = DeepBoltzmannMachine(
        [np.ones((2, 1), dtype)], [np.ones(2, dtype), np.zeros(1, dtype)]
    )
    assert {array.dtype for array in parameters(machine)} == {np.dtype(np.float64)}
    assert machine.dtype == np.float64
    assert_array_equal(machine.weights[0], [[1.0], [1.0]])


def test_nested_lists_will_do():
    machine = DeepBoltzmannMachine([[[1, 2.5], [0, -1]]], [[0, 1], [2, 3]])
    assert_array_equal(machine.weights[0], [[1, 2.5], [0, -1]])
    assert machine.layer_sizes == (2, 2)


@pytest.mark.parametrize("place", range(5))
def test_one_float64_array_makes_the_machine_float64(place):
    arrays = [array.astype(np.float32) for array in (VH, HT, V, H, T)]
    assert DeepBoltzmannMachine(arrays[:2], arrays[2:]).dtype == np.float32
    arrays[place] = arrays[place].astype(np.float64)
    machine = DeepBoltzmannMachine(arrays[:2], arrays[2:])
    assert {array.dtype for array in parameters(machine)} == {np.dtype(np.float64)}


def test_shape_properties():
    machine = DeepBoltzmannMachine([VH, HT], [V, H, T])
    assert machine.layer_sizes == (4, 3, 2)
    assert machine.n_layers == 3
    assert machine.units == (Bernoulli(),) * 3


def test_read_only_memory_maps_are_used_as_they_are(tmp_path):
    model = random_model((4, 3, 2), 0)
    for i, array in enumerate([*model.weights, *model.biases]):
        np.save(tmp_path / f"{i}.npy", array)
    mapped = [np.load(tmp_path / f"{i}.npy", mmap_mode="r") for i in range(5)]
    machine = DeepBoltzmannMachine(mapped[:2], mapped[2:])
    for array, source in zip(parameters(machine), mapped, strict=True):
        assert np.shares_memory(array, source)
        assert not array.flags.writeable

    plain, X = model.machine(), model.visible_states()
    assert_array_equal(
        machine.energy([X, X[:, :3], X[:, :2]]), plain.energy([X, X[:, :3], X[:, :2]])
    )
    for left, right in zip(
        mean_field(machine, X).means, mean_field(plain, X).means, strict=True
    ):
        assert_array_equal(left, right)
    left, right = (
        gibbs_sweeps(m, initial_states(m, 9, rng), 5, random_state=rng)
        for m, rng in [(m, np.random.default_rng(0)) for m in (machine, plain)]
    )
    for a, b in zip(left, right, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(exact_log_likelihood(machine, X), exact_log_likelihood(plain, X))
    settings = {"n_chains": 5, "random_state": 0}
    assert_array_equal(
        annealed_log_partition(machine, **settings).log_populations,
        annealed_log_partition(plain, **settings).log_populations,
    )


def test_astype_rounds_a_copy():
    model = random_model((4, 3, 2), 0, n_trials=(1, 2, 1))
    machine = model.machine()
    assert machine.astype(np.float64) is machine
    single = machine.astype(np.float32)
    assert single.dtype == np.float32
    assert single.units == machine.units
    for left, right in zip(parameters(single), parameters(machine), strict=True):
        assert left.dtype == np.float32
        assert_array_equal(left, right.astype(np.float32))
    assert_same_machine(machine, model.machine())
    back = single.astype(np.float64)
    for left, right in zip(parameters(back), parameters(single), strict=True):
        assert left.dtype == np.float64
        assert_array_equal(left, right)


@pytest.mark.parametrize("dtype", [int, np.complex128, np.float16])
def test_astype_refuses_other_dtypes(dtype):
    with pytest.raises(ValueError, match="dtype"):
        random_model((4, 3), 0).machine().astype(dtype)


def test_repr_names_sizes_units_and_dtype():
    machine = DeepBoltzmannMachine([VH, HT], [V, H, T])
    assert repr(machine) == "<DeepBoltzmannMachine 4-3-2, Bernoulli(), float64>"
    mixed = random_model((4, 3, 2), 0, n_trials=(1, 2, 1)).machine(np.float32)
    assert repr(mixed) == (
        "<DeepBoltzmannMachine 4-3-2, Bernoulli(), Binomial(n_trials=2), float32>"
    )


# Files


@pytest.fixture
def saved(tmp_path):
    """Path of a saved machine, and the machine."""
    machine = random_model((4, 3, 2), 0, n_trials=(1, 2, 1)).machine()
    machine.save(tmp_path / "machine.npz")
    return tmp_path / "machine.npz", machine


def rewrite(path, entries=(), **arrays):
    """Change entries of the header and arrays of a saved machine."""
    with np.load(path) as archive:
        content = dict(archive)
    header = json.loads(str(content["header"])) | dict(entries)
    np.savez(path, **(content | {"header": np.array(json.dumps(header))} | arrays))


@pytest.mark.parametrize("name", ["machine.npz", "no suffix", "machine.dbm.1"])
@pytest.mark.parametrize("kind", [str, Path])
@each_dtype
@each_model
def test_file_gives_the_machine_back_bit_for_bit(model, dtype, kind, name, tmp_path):
    machine = model.machine(dtype)
    info = np.finfo(dtype)
    machine.biases[0][:2] = [-0.0, info.max]
    machine.weights[0][0, :2] = [info.smallest_subnormal, info.tiny]
    path = kind(tmp_path / name)
    machine.save(path)
    assert_same_machine(DeepBoltzmannMachine.load(path), machine)
    assert os.listdir(tmp_path) == [name]


def test_file_holds_no_pickle(saved):
    path, machine = saved
    with np.load(path, allow_pickle=False) as archive:
        content = dict(archive)
    assert not any(array.dtype.hasobject for array in content.values())
    assert len(content) == len(parameters(machine)) + 1


def test_machine_of_a_fortran_ordered_view_is_saved(tmp_path):
    weights = np.arange(24.0).reshape(3, 8)[:, ::2].T
    machine = DeepBoltzmannMachine([weights], [V, H])
    machine.save(tmp_path / "machine")
    assert_same_machine(DeepBoltzmannMachine.load(tmp_path / "machine"), machine)


def test_every_truncation_is_refused(saved):
    path, _ = saved
    whole = path.read_bytes()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is not a file of skdbm\.Deep"):
            DeepBoltzmannMachine.load(path)


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_damage_to_any_byte_is_refused_or_harmless(saved, flip):
    path, machine = saved
    whole = path.read_bytes()
    n_refused = 0
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= flip
        path.write_bytes(damaged)
        try:
            loaded = DeepBoltzmannMachine.load(path)
        except ValueError:
            n_refused += 1
        else:
            assert_same_machine(loaded, machine)
    assert n_refused > len(whole) / 2


def write_text(path):
    path.write_text("weights,biases\n1,2\n")


def write_nothing(path):
    path.write_bytes(b"")


def write_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def write_other_archive(path):
    np.savez(path, weights=np.ones((2, 3)))


def write_other_header(path):
    np.savez(path, header=np.arange(3))


def write_json_header(path):
    np.savez(path, header=np.array("[1, 2]"))


def write_pickle(path):
    path.write_bytes(pickle.dumps({"weights": [1.0]}))


@pytest.mark.parametrize(
    "write",
    [
        write_text,
        write_nothing,
        write_array,
        write_other_archive,
        write_other_header,
        write_json_header,
        write_pickle,
    ],
)
def test_foreign_files_are_refused(write, tmp_path):
    path = tmp_path / "machine.npz"
    write(path)
    with pytest.raises(ValueError, match=r"is not a file of skdbm\.Deep"):
        DeepBoltzmannMachine.load(path)


class MakesFolder:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["header", "weights_0", "biases_1"])
def test_pickles_in_a_file_are_not_executed(saved, name):
    path, _ = saved
    trace = path.parent / "trace"
    rewrite(path, **{name: np.array([MakesFolder(str(trace))], dtype=object)})
    with pytest.raises(ValueError, match=r"is not a file of skdbm\.Deep"):
        DeepBoltzmannMachine.load(path)
    assert not trace.exists()
    with np.load(path, allow_pickle=True) as archive:
        archive[name]  # the trap was armed
    assert trace.exists()


def test_files_with_the_likeliest_rows_have_one_centre(saved):
    """As machines of format version 2 have them."""
    path, machine = saved
    means = [np.full(n, 0.1, machine.dtype) for n in machine.layer_sizes]
    likeliest = {f"likeliest_{i}": mean for i, mean in enumerate(means)}
    rewrite(path, {"version": 2}, **likeliest)
    loaded = DeepBoltzmannMachine.load(path)
    for centre, mean in zip(loaded.centres, means, strict=True):
        assert_array_equal(centre, mean[None])


def test_newer_formats_are_refused(saved):
    path, _ = saved
    rewrite(path, {"version": FORMAT_VERSION + 1})
    with pytest.raises(ValueError, match=f"version {FORMAT_VERSION + 1}.*newer skdbm"):
        DeepBoltzmannMachine.load(path)


def test_other_formats_are_refused(saved):
    path, _ = saved
    rewrite(path, {"format": "skdbm.Something"})
    with pytest.raises(ValueError, match=r"holds 'skdbm.Something'"):
        DeepBoltzmannMachine.load(path)


BINARY = {"type": "Bernoulli"}


@pytest.mark.parametrize(
    "header",
    [
        {"units": []},
        {"units": None},
        {"units": "abc"},
        {"units": [BINARY] * 2},
        {"units": [BINARY] * 4},
        {"units": [BINARY, {"type": "Gaussian"}, BINARY]},
        {"encoding": None},
        {"encoding": {"type": "Real"}},
        {"encoding": {"type": "Probabilities", "redrawn": True}},
        {"units": [BINARY, {"type": ["Bernoulli"]}, BINARY]},
        {"units": [BINARY, {"type": "Binomial", "trials": 2}, BINARY]},
        {"units": [BINARY, {"type": "Binomial", "n_trials": "2"}, BINARY]},
        {"units": [BINARY, {"type": "Binomial", "n_trials": -1}, BINARY]},
        {"version": None},
        {"version": "one"},
        {"version": float("inf")},
    ],
)
def test_headers_that_describe_no_machine_are_refused(saved, header):
    path, _ = saved
    rewrite(path, header)
    with pytest.raises(ValueError, match="damaged"):
        DeepBoltzmannMachine.load(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"weights_0": np.zeros((3, 4))},
        {"weights_1": np.full((3, 2), np.nan)},
        {"biases_2": np.zeros(2, complex)},
    ],
)
def test_arrays_that_make_no_machine_are_refused(saved, arrays):
    path, _ = saved
    rewrite(path, **arrays)
    with pytest.raises(ValueError, match=f"damaged.*{next(iter(arrays))[:-2]}"):
        DeepBoltzmannMachine.load(path)


def test_missing_files_and_folders_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        DeepBoltzmannMachine.load(tmp_path / "missing.npz")
    with pytest.raises(OSError, match="directory"):
        DeepBoltzmannMachine.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        random_model((2, 2), 0).machine().save(tmp_path / "missing" / "machine.npz")


def test_failing_save_leaves_the_former_file(saved, monkeypatch):
    path, machine = saved

    def fill_the_disk(file, **arrays):
        file.write(b"the first block")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        random_model((3, 3), 1).machine().save(path)
    monkeypatch.undo()
    assert os.listdir(path.parent) == [path.name]
    assert_same_machine(DeepBoltzmannMachine.load(path), machine)


class Unspeakable(Binomial):
    """A unit type that JSON cannot describe."""

    def spec(self):
        return {"type": object()}


def test_unit_that_cannot_be_described_leaves_the_former_file(saved):
    path, machine = saved
    with pytest.raises(TypeError):
        DeepBoltzmannMachine([VH], [V, H], [Bernoulli(), Unspeakable()]).save(path)
    assert os.listdir(path.parent) == [path.name]
    assert_same_machine(DeepBoltzmannMachine.load(path), machine)


def test_saving_again_puts_a_new_file_in_the_place(saved):
    """The former file is not written to: it lives on under its other name."""
    path, former = saved
    other_name = path.with_suffix(".former")
    os.link(path, other_name)
    machine = random_model((5, 2), 1).machine(np.float32)
    machine.save(path)
    assert_same_machine(DeepBoltzmannMachine.load(path), machine)
    assert_same_machine(DeepBoltzmannMachine.load(other_name), former)


# Without couplings, and array by array


def test_independent_units_need_no_weights():
    machine = DeepBoltzmannMachine([], [np.array([0.5, -1.0]), np.array([2.0])])
    states = [np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0], [0.0]])]
    assert_allclose(machine.energy(states), [-1.5, 1.0])
    assert_allclose(machine.field(1, states), [[2.0]])
    assert machine.n_layers == 2


def test_uncoupled_keeps_units_and_biases():
    machine = DeepBoltzmannMachine(
        [VH, HT], [V, H, T], [Binomial(2), *[Bernoulli()] * 2]
    )
    independent = machine.uncoupled()
    assert independent.weights == []
    assert independent.units == machine.units
    assert independent.layer_sizes == machine.layer_sizes


def test_map_goes_through_all_arrays_in_step():
    one = DeepBoltzmannMachine([VH + 1], [V, H + 2])
    other = DeepBoltzmannMachine([VH + 3], [V + 5, H])
    change = one.map(lambda a, b: b - a, other)
    assert_allclose(change.weights[0], 2)
    assert_allclose(change.biases[0], 5)
    assert_allclose(change.biases[1], -2)
