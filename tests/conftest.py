"""Fixtures and marks of all tests; failures are counted for the table of the proof."""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.evidence import Thing, lose
from tests.harness.dns import HOSTS, NameServer
from tests.harness.host import HostMaker, host_maker
from tests.harness.tor import TOR, TOR_GENCERT

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TOR_FIXTURES = {"make_host", "network", "observed"}
"""Fixtures that start a real Tor, here and in the test modules."""


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[HostMaker]:
    """Make hosts in the test's own folder."""
    with host_maker(tmp_path) as make:
        yield make


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that other users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="exitpol-open-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    """Give a real DNS server."""
    with NameServer(tmp_path_factory.mktemp("dns")) as server:
        yield server


@pytest.fixture
def dns(name_server: NameServer) -> Iterator[NameServer]:
    """Give that DNS server to a test that changes its answers."""
    yield name_server
    name_server.change(*HOSTS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a Tor by its fixtures, and skip what this machine or user cannot run."""
    for item in items:
        if TOR_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("tor")
        if item.get_closest_marker("tor") and not (TOR and TOR_GENCERT):
            item.add_marker(pytest.mark.skip(reason="tor or tor-gencert is missing"))
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


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
