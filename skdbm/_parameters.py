"""What a machine is made of: checks of it, and the way to files and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from . import encodings, ops
from ._typing import ArrayLike, DType, FloatArray
from .units import from_spec


def check_parameters(
    weights: Sequence[ArrayLike], biases: Sequence[ArrayLike]
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Check weights and biases and bring them to one floating dtype."""
    matrices = [check_real(f"weights[{i}]", w, ndim=2) for i, w in enumerate(weights)]
    vectors = [check_real(f"biases[{i}]", b, ndim=1) for i, b in enumerate(biases)]
    if not vectors or (matrices and len(vectors) != len(matrices) + 1):
        raise ValueError(
            f"Got {len(matrices)} weight matrices and {len(vectors)} bias vectors; a "
            "machine with L hidden layers has L matrices, or none if its units are "
            "independent, and L + 1 vectors."
        )
    for i, weight in enumerate(matrices):
        expected = (len(vectors[i]), len(vectors[i + 1]))
        if weight.shape != expected:
            raise ValueError(
                f"weights[{i}] has shape {weight.shape}; its biases have lengths "
                f"{expected[0]} and {expected[1]}, so {expected} is expected."
            )
    dtype = ops.result_type(*matrices, *vectors)
    return (
        [ops.asarray(weight, dtype=dtype) for weight in matrices],
        [ops.asarray(bias, dtype=dtype) for bias in vectors],
    )


def check_dtype(name: str, dtype: DType) -> None:
    """Check that a dtype is one that machines compute in."""
    if dtype not in (ops.float32, ops.float64):
        raise ValueError(f"{name} has dtype {dtype}; float32 or float64 is expected.")


def check_real(name: str, values: ArrayLike, ndim: int) -> FloatArray:
    """Check that an array holds finite real numbers; integers become float64."""
    array = ops.asarray(values)
    if array.dtype.kind in "iub":
        array = array.astype(ops.float64)
    check_dtype(name, array.dtype)
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}; a non-empty {ndim}-D array is expected."
        )
    if not ops.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values.")
    return array


def parts_of(machine: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe a machine by what JSON can hold, and by named arrays."""
    header = {
        "units": [unit.spec() for unit in machine.units],
        "encoding": machine.encoding.spec(),
    }
    arrays = {
        f"{name}_{i}": array
        for name in ("weights", "biases", "means", "centres")
        for i, array in enumerate(getattr(machine, name) or ())
    }
    return header, arrays


def arguments_of(
    header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the arguments that make the machine which `parts_of` described."""
    arguments: dict[str, Any] = {
        "units": [from_spec(spec) for spec in header["units"]],
        "encoding": encodings.from_spec(header["encoding"]),
        "weights": [],
    }
    for name in sorted(arrays, key=lambda name: int(name.rpartition("_")[2])):
        arguments.setdefault(name.rpartition("_")[0], []).append(arrays[name])
    if "likeliest" in arguments:  # of files that have one centre
        arguments["centres"] = [mean[None] for mean in arguments.pop("likeliest")]
    return arguments
