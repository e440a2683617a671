"""What holds for all tests, doctests included."""

import sys
from importlib.util import find_spec

import pytest

#: What needs the optional package distributed, if that is not there.
collect_ignore = (
    [] if find_spec("distributed") else ["skdbm/dask", "doc/guide/several_machines.rst"]
)


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures that a test or an example has left open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
