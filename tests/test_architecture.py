"""The house: rooms import downwards, and one room alone knows the array library."""

import ast
from pathlib import Path

import pytest

import skdbm

PACKAGE = Path(skdbm.__file__).parent

#: Rooms from the lowest floor up; those that stand together may not see each other.
FLOORS = [
    [
        "_typing",
        "_warnings",
        "_version",
        "_files",
        "_docstrings",
        "settings",
        "_callbacks",
    ],
    ["ops"],
    ["units"],
    ["encodings"],
    ["_parameters"],
    ["machine"],
    ["evidence"],
    ["inference", "sampling"],
    ["likelihood"],
    ["training"],
    ["_validation", "_trees"],
    ["columns"],
    ["display", "pieces"],
    ["_fitting", "_progress"],
    ["_checkpoint", "_saving", "_scoring"],
    ["_base"],
    ["_classifier", "_sampler", "_transformer", "callback"],
    ["dask"],
    ["__init__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: What is written with operators, slices and the names of `ops`.
CORE = {
    "units",
    "encodings",
    "_parameters",
    "machine",
    "evidence",
    "inference",
    "sampling",
}
CORE |= {"likelihood", "training", "settings"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    """Name of the room that a file is in, or is."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path):
    """Yield what a file imports: absolute names, and paths inside of the package."""
    place = path.relative_to(PACKAGE).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module, ()
        elif isinstance(node, ast.ImportFrom):
            base = place[: len(place) - node.level + 1]
            base += tuple((node.module or "").split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
            yield from (("", base if base else name) for name in names)


def test_every_room_stands_on_a_floor():
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rooms_import_downwards(path):
    here = room_of(path)
    for _, inside in imports_of(path):
        if inside and inside[0] != here:
            assert FLOOR[inside[0]] < FLOOR[here], f"{here} imports {inside}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_room_knows_the_array_library(path):
    if room_of(path) in CORE:
        outside = {name.partition(".")[0] for name, _ in imports_of(path)}
        assert "numpy" not in outside


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_room_is_too_large(path):
    assert len(path.read_text().splitlines()) <= 500
