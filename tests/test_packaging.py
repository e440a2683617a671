"""What the project says of itself in several places is the same everywhere."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import skdbm

ROOT = Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads(read("pyproject.toml"))["project"]


def lowest(requirements):
    """Lowest version of every requirement, by name."""
    pairs = [re.match(r"([\w-]+)>=([\w.]+)", line).groups() for line in requirements]
    return dict(pairs)


def same_version(one, other):
    """Compare versions, in which a missing part is a zero."""
    parts = [[int(part) for part in version.split(".")] for version in (one, other)]
    length = max(map(len, parts))
    padded = [numbers + [0] * (length - len(numbers)) for numbers in parts]
    return padded[0] == padded[1]


def test_floors_are_those_of_the_package(project):
    floors = dict(
        line.split("==")
        for line in read(".ci/floors.txt").splitlines()
        if not line.startswith("#")
    )
    extras = project["optional-dependencies"]
    wanted = lowest([*project["dependencies"], *extras["plot"], *extras["test"]])
    wanted.pop("ruff")  # one minor release everywhere
    assert floors.pop("pyparsing"), "of matplotlib, see there"
    assert floors.keys() == wanted.keys()
    for name, version in wanted.items():
        assert same_version(floors[name], version), name


def test_one_ruff(project):
    (ruff,) = (
        line
        for line in project["optional-dependencies"]["test"]
        if line.startswith("ruff")
    )
    minor = re.search(r">=(\d+\.\d+)", ruff)[1]
    pinned = re.search(
        r"ruff-pre-commit\s+rev: v([\d.]+)", read(".pre-commit-config.yaml")
    )[1]
    assert pinned.startswith(f"{minor}.")


def test_type_checkers_find_the_types():
    marker = "py.typed"
    assert resources.files("skdbm").joinpath(marker).is_file()
    setuptools = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]
    assert marker in setuptools["package-data"]["skdbm"]


def test_citation_has_the_version():
    assert f"\nversion: {skdbm.__version__}\n" in read("CITATION.cff")


def test_workflows_use_the_floors():
    assert ".ci/floors.txt" in read(".github/workflows/tests.yml")
