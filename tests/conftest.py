"""Fixtures of all tests, and their order."""

import os
import sys
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Alternates files with slow tests and files without, so that of parallel processes few wait at the same time.

    Slow tests wait for servers and other processes. The last files have no slow test: the processes end together.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [tests for tests in files.values() if any(test.get_closest_marker("slow") for test in tests)]
    fast = [tests for tests in files.values() if tests not in slow]
    order: Iterable[list[pytest.Item]] = chain.from_iterable(zip_longest(slow, fast, fillvalue=[]))
    items[:] = chain.from_iterable(order)


@pytest.fixture(scope="session", autouse=True)
def programs_on_the_path():
    """Puts the programs of this Python on the PATH, as in an activated virtual environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield
