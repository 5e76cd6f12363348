"""Lines that Tor verifies, and that end it at a reload: exitpol must not be who reloads them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.host import ExitHost, host_maker

THING = Thing.UNLOADED

DEADLY = [
    "AccelName x", "CacheDirectory {folder}/cache", "DisableAllSwap 1",
    "FamilyKeyDirectory {folder}/family", "HardwareAccel 1", "KeepBindCapabilities 0",
    "KeyDirectory {folder}/keys", "NoExec 1", "PidFile {folder}/other", "Sandbox 1",
    "SyslogIdentityTag x", "TokenBucketRefillInterval 50 msec", "User nobody",
    "__DisableSignalHandlers 1", "DataDirectory {folder}/other-data", "ConnLimit 99999999",
    "Log notice file {folder}/missing/log", "ControlSocket {folder}/missing/socket",
    "HiddenServiceDir /proc/hidden\nHiddenServicePort 80 127.0.0.1:80", "ORPort 127.0.0.1:{taken}",
    "MetricsPort 127.0.0.1:{taken}\nMetricsPortPolicy accept 127.0.0.1", "SocksPort 192.0.2.1:9",
]  # fmt: skip
"""Tor 0.4.9.11 takes most of these in --verify-config, and ends at a reload with any of them."""
HARMLESS = [
    "ContactInfo somebody else", "RelayBandwidthRate 10 MB", "Log warn stderr", "MyFamily {ids}",
    "MaxMemInQueues 512 MB",
]  # fmt: skip
"""Changes of the operator's that he has not loaded: whether to load them is for him to say."""
QUICK = {"HardwareAccel 1", "PidFile {folder}/other", "ContactInfo somebody else"}
KEPT, LIFTED = "203.0.113.7", "203.0.113.8"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Run one exit for all lines."""
    with host_maker(tmp_path_factory.mktemp("unloaded")) as make:
        yield make()


@pytest.fixture
def host(running: ExitHost) -> ExitHost:
    """Give the exit with nothing blocked, whatever the test before has left."""
    if not running.tor.alive:
        running.tor.start()
    running.run("lift", KEPT)
    running.run("lift", LIFTED)
    assert running.run("apply").code == 0
    return running


def filled(line: str, folder: Path) -> str:
    """Return a line with the paths and the port of this host."""
    address = "127.0.0.1:9"  # Rejected by nobody: a privileged port is as bad as a taken one.
    return line.format(folder=folder, taken=address.rpartition(":")[2], ids="A" * 40)


@pytest.mark.tor
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=() if line in QUICK else pytest.mark.slow, id=line.split("\n")[0])
        for line in DEADLY + HARMLESS
    ],
)
def test_no_command_loads_what_the_operator_has_not_loaded(host: ExitHost, line: str) -> None:
    """Blocks are pending and lifts are lifting until the line is loaded or gone; Tor lives.

    Where Tor refuses the line in its verification, a block is refused and not recorded. With
    another DataDirectory the cookie is looked for in the wrong place: Tor cannot be asked.
    """
    assert host.run("block", LIFTED, "--until", "1d").code == 0
    good = host.tor.torrc.read_text()
    tries = 0
    codes: dict[str, int] = {}
    recorded = False
    try:
        # At the end: of two lines Tor takes the last.
        host.tor.add(filled(line, host.tor.folder))
        for command in (
            ("block", KEPT, "--until", "1d"), ("lift", LIFTED), ("apply",), ("tick",), ("init",),
            ("status", "--check"),
        ):  # fmt: skip
            done = host.tick() if command == ("tick",) else host.run(*command)
            tries += 1
            assert host.tor.alive, (command, done)
            assert "Traceback" not in done.err, done
            codes[command[0]] = done.code
            if command[0] == "block":
                recorded = "nothing was recorded" not in done.err
        del codes["init"]
        expected = {6} if line.startswith("DataDirectory") else {3, 5}
        assert set(codes.values()) <= expected, codes
        assert f"{LIFTED}:*" not in host.fragment.read_text(), "the lift was not installed"
        assert host.tor.rejects(LIFTED), "Tor has read the lift: it was reloaded"
        assert not host.tor.rejects(KEPT), "Tor has read the block: it was reloaded"
    finally:
        host.tor.torrc.write_text(good)
        if not host.tor.alive:
            host.tor.start()
        host.run("apply")
    assert host.tor.rejects(KEPT) == recorded
    assert not host.tor.rejects(LIFTED)
    assert host.run("block", KEPT, "--until", "1d").code == 0
    assert host.run("lift", KEPT).code == 0
    record(THING, tries)
