"""Data and estimators that several files of tests share."""

import pytest

from skdbm import ops

from ._estimators import CLASSES, two_kinds


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
def wide_blocks(monkeypatch):
    """Let chains go in blocks of thousands: the same draws at a fraction of the cost.

    That results do not depend on how blocks go over threads, others test.
    """
    for name in ("ANNEALING_ROWS", "TRAINING_ROWS"):
        monkeypatch.setattr(ops, name, 4096)
