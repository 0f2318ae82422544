"""Programs that these tests need beside Python: from the environment's own folder or the PATH."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], Path]:
    """Finds a program, or skips the test with the way to get it."""

    def find(name: str, remedy: str) -> Path:
        beside = Path(sys.executable).parent / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed: {remedy}")
        return Path(found)

    return find
