"""Tor reads the same files once in a command, and again when anything about them has changed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from exitpolicy.policy.rule import parse_entries
from exitpolicy.storage.config import Relay
from exitpolicy.tor import discovery
from exitpolicy.tor.inspect import Candidate, CandidateError, inspect_relay
from exitpolicy.tor.readings import Readings
from tests.harness.host import ExitHost, HostMaker
from tests.harness.tor import TOR

pytestmark = pytest.mark.tor

RULES: Final = ("reject 203.0.113.7:*",)


class CountedTor:
    """A tor program that notes each run, and the files of a relay that does not run."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "runs"
        self.program = folder / "tor"
        self.program.write_text(f'#!/bin/sh\necho "$*" >>{self.log}\nexec {TOR} "$@"\n')
        self.program.chmod(0o755)
        self.fragment = folder / "exitpol.conf"
        self.fragment.write_text("")
        self.defaults = folder / "defaults"
        self.defaults.write_text("Nickname counted\n")
        self.other = folder / "other.conf"
        self.other.write_text("ContactInfo somebody\n")
        self.torrc = folder / "torrc"
        self.torrc.write_text(
            f"ORPort 127.0.0.1:9001\nExitRelay 1\nDataDirectory {folder}/data\n"
            f"%include {self.other}\n%include {self.fragment}\n"
        )
        self.relay = Relay(
            "counted",
            self.torrc,
            str(folder / "control"),
            fragment=self.fragment,
            tor=self.program,
            defaults_torrc=self.defaults,
        )

    def runs(self) -> int:
        """Return how often it has run since the last call."""
        count = len(self.log.read_text().splitlines()) if self.log.exists() else 0
        self.log.write_text("")
        return count

    def read(self, known: Readings, rules: tuple[str, ...] = RULES) -> None:
        """Let Tor read the files with rules in place of the fragment."""
        text = "".join(f"ExitPolicy {rule}\n" for rule in rules)
        view = inspect_relay(
            self.relay, Candidate(self.fragment, text, parse_entries(rules)), known
        )
        assert view.broken is None
        assert view.configured is not None
        assert view.configured.options.exit_policy == parse_entries(rules)


@pytest.fixture
def counted(tmp_path: Path) -> CountedTor:
    """Give a counted tor."""
    return CountedTor(tmp_path)


def test_the_same_files_are_read_once(counted: CountedTor) -> None:
    """A second inspection with the same rules runs no tor, and gives the same."""
    known: Readings = {}
    counted.read(known)
    assert counted.runs() == 1  # a dump, for which Tor verifies as well
    counted.read(known)
    assert counted.runs() == 0
    counted.read({})
    assert counted.runs() == 1


CHANGES: Final[dict[str, Callable[[CountedTor], object]]] = {
    "torrc": lambda tor: tor.torrc.write_text(f"Nickname other\n{tor.torrc.read_text()}"),
    "defaults-torrc": lambda tor: tor.defaults.write_text("Nickname other\n"),
    "included file": lambda tor: tor.other.write_text("ContactInfo anybody\n"),
    "mode": lambda tor: tor.other.chmod(0o600),
    "owner": lambda tor: os.chown(tor.other, 4711, -1),
    "program": lambda tor: setattr(tor, "relay", tor.relay._replace(defaults_torrc=None)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_are_read_again(counted: CountedTor, change: str) -> None:
    """Whatever a reading depends on, a change of it makes Tor read again."""
    if change == "owner" and os.geteuid() != 0:
        pytest.skip("needs root")
    known: Readings = {}
    counted.read(known)
    counted.runs()
    CHANGES[change](counted)
    counted.read(known)
    assert counted.runs() >= 1


@pytest.mark.parametrize("change", CHANGES)
def test_init_reads_unchanged_files_once(counted: CountedTor, change: str) -> None:
    """`init` plans twice: the second plan runs no tor, unless a file was changed in between."""
    if change == "owner" and os.geteuid() != 0:
        pytest.skip("needs root")

    def plan() -> int:
        discovery.let_verify(discovery.discover(counted.relay))
        return counted.runs()

    assert [plan(), plan()] == [2, 0]
    CHANGES[change](counted)
    assert plan() >= 2


def test_other_rules_are_read_again(counted: CountedTor) -> None:
    """Rules that Tor has not verified are verified; a file with the known ones is not."""
    known: Readings = {}
    counted.read(known)
    counted.runs()
    counted.read(known, ("reject 203.0.113.8:*",))
    assert counted.runs() == 1
    counted.fragment.write_text("".join(f"ExitPolicy {rule}\n" for rule in RULES))
    installed = Candidate(counted.fragment, counted.fragment, parse_entries(RULES))
    assert inspect_relay(counted.relay, installed, known).broken is None
    assert counted.runs() == 0


def test_a_refusal_is_not_kept(counted: CountedTor) -> None:
    """Files that Tor refuses are read again each time."""
    known: Readings = {}
    bad = Candidate(counted.fragment, "ExitPolicy reject 203.0.113.999:*\n", ())
    for _ in range(2):
        with pytest.raises(CandidateError):
            inspect_relay(counted.relay, bad, known)
        assert counted.runs() >= 1
    assert not known


LINES: Final = (
    "ContactInfo somebody",
    "ExitPolicy reject 203.0.113.999:*",
    "ExitPolicy reject 203.0.113.7:80-70",
    "ORPort 70000",
    "MyFamily xyz",
    "User nosuchuser",
    "PidFile /nonexistent/folder/pid",
    "Log notice file /nonexistent/folder/log",
    "ControlSocket /nonexistent/folder/socket",
    "HiddenServiceDir /nonexistent/x\nHiddenServicePort 80",
    "ClientOnionAuthDir /nonexistent",
    "AccountingMax 1 parsec",
    "HashedControlPassword zzz",
    "AuthoritativeDirectory 1\nV3AuthoritativeDirectory 1",
    "HardwareAccel 1\nAccelName x",
    "BridgeRelay 1\nExtORPort auto",
    "%include /nonexistent/file",
)


@pytest.mark.parametrize("lines", LINES)
def test_tor_dumps_what_it_verifies_and_nothing_else(tmp_path: Path, lines: str) -> None:
    """A fact of Tor on which the single run depends: both commands judge files alike."""
    text = f"ORPort 127.0.0.1:9001\nSocksPort 0\nDataDirectory {tmp_path}/data\n{lines}\n"
    command = [TOR, "-f", "-", "--defaults-torrc", "/dev/null"]
    verified, dumped = (
        subprocess.run([*command, *how], input=text, text=True, capture_output=True, check=False)
        for how in (["--verify-config"], ["--dump-config", "short"])
    )
    assert verified.returncode == dumped.returncode
    assert bool(dumped.stdout.strip()) == (verified.returncode == 0)


def test_a_rule_that_tor_ignores_is_refused(counted: CountedTor) -> None:
    """Tor accepts such a rule with a warning, which it logs only where it does not dump."""
    text = "ExitPolicy reject6 203.0.113.7:*\n"
    ignored = Candidate(counted.fragment, text, parse_entries(["reject6 203.0.113.7:*"]))
    with pytest.raises(CandidateError, match="Tor warns of a rule of ours"):
        inspect_relay(counted.relay, ignored)


def test_a_program_that_dumps_nothing_has_not_verified(counted: CountedTor) -> None:
    """A program that ends well and prints nothing is no Tor that accepts the files."""
    counted.program.write_text("#!/bin/sh\nexit 0\n")
    view = inspect_relay(counted.relay, Candidate(counted.fragment, "", ()))
    assert view.configured is None
    assert "refuses" in str(view.broken)


def test_a_block_lets_tor_read_its_files_once(tmp_path: Path, make_host: HostMaker) -> None:
    """`exitpol block` plans twice, and runs tor once; so does one that is refused."""
    host: ExitHost = make_host()
    log, program = tmp_path / "runs", tmp_path / "counted-tor"
    program.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec {TOR} "$@"\n')
    program.chmod(0o755)
    config = host.config.read_text()
    host.config.write_text(config.replace('"}', f'", tor: "{program}"}}'))
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 0, done
    runs = log.read_text().splitlines()
    assert len(runs) == 1, runs
    assert host.tor.rejects("203.0.113.7")
    log.unlink()
    assert host.run("status").code == 0
    # The health checks inspect each relay as well.
    assert len(log.read_text().splitlines()) == 1
    log.unlink()
    before = host.snapshot()
    # More rules than a descriptor holds, and fewer than exitpol lets Tor read.
    many = [f"203.0.{number % 255}.{number // 255 * 2 + 101}" for number in range(765)]
    refused = host.run("block", *many, "--until", "1d")
    assert refused.code == 4, refused
    assert host.snapshot() == before
    assert len(log.read_text().splitlines()) == 1
