"""A reload loads nothing but the exit policy; all other differences are named first."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import parse_rule
from exitpolicy.storage.config import Relay
from exitpolicy.tor import fragment, inspect
from exitpolicy.tor.foreign_changes import sentences
from exitpolicy.tor.loaded import Difference, differences
from exitpolicy.tor.verify import option_lines
from tests.harness.tor import Tor, free_port

pytestmark = pytest.mark.tor

RULES = parse_rule("reject 203.0.113.7:*")


class Files:
    """A running Tor whose files are changed and put back."""

    def __init__(self, folder: Path) -> None:
        self.fragment = folder / "exitpol.conf"
        self.fragment.write_text(fragment.render(()))
        self.tor = Tor.alone(
            folder / "tor",
            ["ExitRelay 1", "MyFamily " + "A" * 40 + ",$" + "B" * 40, f"%include {self.fragment}"],
        )
        self.tor.prepare()
        self.tor.defaults = folder / "defaults"
        self.tor.defaults.write_text("Nickname fromdefaults\nMaxAdvertisedBandwidth 5 MB\n")
        self.text = self.tor.torrc.read_text().replace("Nickname alone\n", "")
        self.tor.torrc.write_text(self.text)
        self.tor.start()

    @property
    def relay(self) -> Relay:
        """The relay as a config names it."""
        return self.tor.relay._replace(fragment=self.fragment)

    def with_torrc(self, text: str) -> View:
        """Inspect the relay with another torrc."""
        self.tor.torrc.write_text(text)
        try:
            return self.view()
        finally:
            self.tor.torrc.write_text(self.text)

    def view(self) -> View:
        """Inspect the relay with a block."""
        candidate = inspect.Candidate(self.fragment, fragment.render(RULES), RULES)
        return inspect.inspect_relay(self.relay, candidate)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """Give one Tor to all tests here: none of them reloads it."""
    found = Files(tmp_path_factory.mktemp("loaded"))
    try:
        yield found
    finally:
        found.tor.stop()


FOREIGN = [
    "Log notice file /nonexistent/dir/x.log",
    "SocksPort 127.0.0.1:{port}",
    "ControlSocket /nonexistent/dir/ctl",
    "HiddenServiceDir /nonexistent/a/b\nHiddenServicePort 80 127.0.0.1:80",
    "DirPortFrontPage /nonexistent",
    "CookieAuthFile /nonexistent/d/cookie",
    "ControlPortWriteToFile /nonexistent/x/y",
    "ExtORPort 127.0.0.1:{port}",
    "Nickname other",
    "DirPort 127.0.0.1:{port}",
    "TransPort 127.0.0.1:{port}",
    "MetricsPort 127.0.0.1:{port}",
    "ClientOnionAuthDir /nonexistent/y",
    "GeoIPFile /nonexistent",
    "ORPort [::1]:auto",
    "AccountingMax 1 GB\nAccountingStart day 00:00",
    "HTTPTunnelPort 127.0.0.1:{port}",
    "DNSPort 127.0.0.1:{port}",
    "ConnLimit 99999999",
    "CacheDirectoryGroupReadable 1",
    "HardwareAccel 1",
    "AvoidDiskWrites 1",
    "NumCPUs 16",
    "__DisablePredictedCircuits 1",
    "User root",
    "MyFamily " + "C" * 40,
]


@pytest.mark.parametrize("line", FOREIGN)
def test_line_that_tor_has_not_loaded_is_named(files: Files, line: str) -> None:
    """The difference is in the view until Tor runs it; Tor keeps running."""
    view = files.with_torrc(f"{files.text}{line.format(port=free_port())}\n")
    assert view.broken is None or "Tor refuses" in str(view.broken)
    assert view.unreachable is None
    if view.broken is None:
        name = line.split(maxsplit=1)[0].lower()
        assert any(name in found.lower() for found in view.foreign), view.foreign
    assert files.tor.alive


@pytest.mark.parametrize(
    "option", ["ContactInfo", "PidFile", "MyFamily", "DisableDebuggerAttachment", "ShutdownWait"]
)
def test_line_that_was_removed_is_named(files: Files, option: str) -> None:
    """Tor still runs it, and a reload would remove it."""
    kept = [line for line in files.text.splitlines() if not line.startswith(option)]
    view = files.with_torrc("\n".join(kept) + "\n")
    assert view.foreign, view
    assert all(f"Tor runs {option}" in found for found in view.foreign)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("ExitRelay 1", "ExitRelay 1\nExitPolicy reject *:25\nReducedExitPolicy 1\nIPv6Exit 1"),
        ("ExitRelay 1", "ExitRelay auto"),
        ("Log notice", "log   NOTICE"),
        ("ContactInfo proof", "# more\ncontactinfo \tproof"),
        (
            "MyFamily " + "A" * 40 + ",$" + "B" * 40,
            "MyFamily $" + "B" * 40 + "\nMyFamily " + "A" * 40,
        ),
        ("SocksPort 0", "SocksPort 0\nDirPort 0"),
    ],
)
def test_exit_policy_and_other_forms_are_no_difference(files: Files, old: str, new: str) -> None:
    """Own exit rules are loaded; a line that means the same is not held against a block."""
    assert old in files.text
    view = files.with_torrc(files.text.replace(old, new, 1))
    assert view.broken is None
    assert view.foreign == ()
    assert view.must_restart is None


@pytest.mark.parametrize("line", ["HardwareAccel 1", "NoExec 1", "KeepBindCapabilities 1"])
def test_change_that_always_ends_tor_needs_a_restart(files: Files, line: str) -> None:
    """It is not loaded even on demand."""
    view = files.with_torrc(f"{files.text}{line}\n")
    assert view.foreign
    assert f"{line.split(maxsplit=1)[0].lower()} was changed" in str(view.must_restart).lower()


def test_options_set_at_run_time_are_named(files: Files) -> None:
    """A reload would undo them, which the operator must allow. Exit options are exitpol's."""
    with files.tor.control() as control:
        control.ask(
            "SETCONF RelayBandwidthRate=200000 RelayBandwidthBurst=300000 ReducedExitPolicy=1"
        )
        try:
            found = files.view().foreign
        finally:
            control.ask("RESETCONF RelayBandwidthRate RelayBandwidthBurst ReducedExitPolicy")
    assert len(found) == 2
    assert all("Tor runs RelayBandwidth" in line for line in found)
    assert files.view().foreign == ()


def test_changed_defaults_torrc_is_named(files: Files) -> None:
    """Values equal to the defaults-torrc are neither in config-text nor in a dump."""
    before = files.tor.defaults.read_text()
    try:
        files.tor.defaults.write_text(f"{before}\n")
        assert files.view().foreign == ()
        files.tor.defaults.write_text(before.replace("5 MB", "6 MB"))
        assert any("axadvertisedbandwidth" in line for line in files.view().foreign)
    finally:
        files.tor.defaults.write_text(before)


def test_policy_of_the_defaults_torrc_is_told(files: Files) -> None:
    """The first rule of the fragment would replace it, unless the torrc has a policy of its own."""
    before = files.tor.defaults.read_text()
    policy = ("ExitPolicy accept *:443", "ExitPolicy reject *:*")
    try:
        files.tor.defaults.write_text(before + "".join(f"{line}\n" for line in policy))
        assert files.view().defaults_policy == policy
        assert files.with_torrc(f"{files.text}+ExitPolicy reject *:1\n").defaults_policy == policy
        assert files.with_torrc(f"{files.text}ExitPolicy reject *:1\n").defaults_policy == ()
    finally:
        files.tor.defaults.write_text(before)
    assert files.view().defaults_policy == ()


def test_fingerprint_tells_the_same_files_again(files: Files) -> None:
    """It changes with the content or the mode of a file, and changes back with them."""
    first = files.view().fingerprint
    assert first
    assert files.with_torrc(f"{files.text}# x\n").fingerprint != first
    files.tor.torrc.chmod(0o600)
    assert files.view().fingerprint != first
    files.tor.torrc.chmod(0o644)
    assert files.view().fingerprint == first


def test_onion_services_are_compared_as_a_whole() -> None:
    """Their order does not matter; a port that moves between them does."""
    one = "HiddenServiceDir /a\nHiddenServicePort 80 x:1\nHiddenServiceVersion 3\n"
    two = "HiddenServiceDir /b\nHiddenServicePort 22 x:2\n"
    moved = "HiddenServiceDir /a\nHiddenServiceVersion 3\n" + two + "HiddenServicePort 80 x:1\n"
    assert differences(option_lines(one + two), option_lines(two + one)) == []
    assert len(differences(option_lines(one + two), option_lines(moved))) == 4


@pytest.mark.parametrize(
    "name",
    [
        "HashedControlPassword",
        "__HashedControlSessionPassword",
        "Socks5ProxyPassword",
        "HTTPProxyAuthenticator",
        "HTTPSProxyAuthenticator",
        "HiddenServiceAuthorizeClient",
        "ServerTransportOptions",
        "Bridge",
    ],
)
@pytest.mark.parametrize("in_files", [True, False])
def test_a_secret_is_named_and_not_shown(name: str, *, in_files: bool) -> None:
    """What differs is written to the journal, which more people read than the torrc."""
    (text,) = sentences([Difference(name, "hunter2", in_files)], [])
    assert name in text
    assert "hunter2" not in text
    (shown,) = sentences([Difference("Nickname", "hunter2", in_files)], [])
    assert "hunter2" in shown
