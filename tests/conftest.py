"""Data and estimators that several files of tests share."""

import pytest

from skdbm import ops

from ._estimators import BLOCKS, CLASSES, two_kinds


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
def own_blocks():
    """Blocks as users have them, for some tests where `wide_blocks` is for all."""


@pytest.fixture
def wide_blocks(request):
    """Let chains go in blocks of thousands: the same draws at a fraction of the cost.

    That results do not depend on how blocks go over threads, others test.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "own_blocks" not in request.fixturenames:
            for name in BLOCKS:
                patch.setattr(ops, name, 4096)
        yield
