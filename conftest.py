"""Rules for all tests: where the corpora are, and that CI skips nothing."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
CORPORA = Path(os.environ.get("JEEVES_CORPORA") or ROOT.parent / "shared" / "corpora")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="count a skipped test as a failure (CI)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CORPORA.is_dir():
        return
    absent = pytest.mark.skip(reason=f"no Jenkins material at {CORPORA} (JEEVES_CORPORA)")
    for item in items:
        if item.get_closest_marker("corpora"):
            item.add_marker(absent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.skipped and item.config.getoption("--no-skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real Jenkins material; tests that use it are marked `corpora`."""
    return CORPORA


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of this project."""
    return ROOT
