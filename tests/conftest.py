"""Data and estimators that several files of tests share."""

import pytest

from skdbm import ops

from ._estimators import CLASSES, two_kinds


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave all seeds but the first to the slow tests: one is enough day by day."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if isinstance(seed := params.get("seed"), int) and seed > 0:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def X():
    return two_kinds()


@pytest.fixture
def kinds(X):
    """Which of the two kinds a row is."""
    return (X[:, :4].sum(axis=1) > X[:, 4:].sum(axis=1)).astype(int)


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def cls(request):
    return request.param


@pytest.fixture
def narrow_blocks(monkeypatch):
    """Let chains go in blocks of few, as of large machines, for threads to share."""
    monkeypatch.setattr(ops.threads, "BLOCK_STATES", 1)
