"""The pages are doctests: each runs in an empty folder of its own."""

import pytest

collect_ignore_glob = ["*.py", "_build/*", "auto_examples/*", "generated/*"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Let the files that a page writes vanish with its test."""
    monkeypatch.chdir(tmp_path)
