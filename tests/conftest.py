"""Fixtures of all tests, and the note that one of the proof has failed."""

from collections.abc import Generator

import pytest

from tests.evidence import Thing, lose
from tests.exit_host import make_host

__all__ = ["make_host", "pytest_runtest_makereport"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a failure against what the test's module tries, its `THING`."""
    report = yield
    thing = getattr(getattr(item, "module", None), "THING", None)
    if report.failed and isinstance(thing, Thing):
        lose(thing)
    return report
