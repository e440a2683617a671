"""The pages are complete and consistent; that their code runs, pytest checks itself."""

import inspect
import re
from pathlib import Path

import pytest

import skdbm
from skdbm import (
    callback,
    display,
    encodings,
    evidence,
    inference,
    likelihood,
    sampling,
    units,
)

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("doc/*.md")]
DOCTESTS = [*ROOT.glob("doc/*.rst"), *ROOT.glob("doc/guide/*.rst")]


def public_objects(module):
    """Names of the classes and functions that a module offers."""
    for name in getattr(module, "__all__", vars(module)):
        obj = getattr(module, name)
        documented = inspect.isclass(obj) or inspect.isfunction(obj)
        own = getattr(obj, "__module__", "").startswith(module.__name__)
        if documented and own and not name.startswith("_"):
            yield name


@pytest.mark.parametrize(
    "module",
    [callback, display, encodings, evidence, inference, likelihood, sampling, units],
)
def test_reference_lists_what_is_public(module):
    text = (ROOT / "doc/api.rst").read_text(encoding="utf-8")
    listed = text.replace("~", "").split()  # shown without its module
    names = [f"{module.__name__}.{name}" for name in public_objects(module)]
    assert set(names) <= set(listed)
    assert names


def test_reference_lists_the_estimators():
    listed = (ROOT / "doc/api.rst").read_text(encoding="utf-8")
    for name in skdbm.__all__:
        assert f".{name}\n" in listed or name == "__version__"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_pages_have_no_code_that_is_not_run():
    assert len(DOCTESTS) > 10
    for page in DOCTESTS:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"code-block:: *(python|py)\b", text), page
        assert not re.search(r"doctest: *\+SKIP", text), page
