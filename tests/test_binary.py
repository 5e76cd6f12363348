"""Verification: which Tor program runs, as which user, and what it says about a configuration."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from exitpolicy.core.errors import ExitCode, TorRefusesError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import child, invocation, users, verify
from exitpolicy.tor import process as proc
from exitpolicy.tor.invocation import Invocation
from exitpolicy.tor.peer import Peer
from tests.harness.tor import TOR, wait_until

pytestmark = pytest.mark.tor

HERE = Invocation((TOR, "--defaults-torrc", "/dev/null"), Path("/"))


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Return the lines that each torrc of these tests has."""
    return f"SocksPort 0\nDataDirectory {tmp_path}/data\nExitRelay 1\n"


def test_a_good_torrc_is_verified(base: str, tmp_path: Path) -> None:
    """A good torrc passes, tor's warnings are returned, and no data of a relay is created."""
    assert not [w for w in verify.verify(HERE, f"{base}ExitPolicy reject *:25\n") if "25" in w]
    warnings = verify.verify(HERE, f"{base}ExitPolicy reject6 203.0.113.7:25\n")
    assert any("IPv4 address '203.0.113.7:25'" in warning for warning in warnings)
    assert not (tmp_path / "data" / "keys").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ExitPolicy reject 203.0.113.256:*", "203.0.113.256"),
        ("ExitPolicy reject *:0", "Malformed policy 'reject *:0'"),
        ("ExitPolicy drop *:80", "ExitPolicy"),
        ("NoSuchOption 1", "Unknown option 'NoSuchOption'"),
        ("%include /nonexistent/file", "Error reading included configuration"),
        ('ContactInfo "x', "Error while parsing configuration"),
        ("ExitRelay 2", "ExitRelay"),
    ],
)
def test_a_bad_torrc_is_refused_in_tors_words(base: str, line: str, words: str) -> None:
    """The error quotes tor's complaint, with exit code 5, both for verifying and for reading."""
    for look in (
        lambda: verify.verify(HERE, f"{base}{line}\n"),
        lambda: verify.options(HERE, f"{base}{line}\n", ("ExitPolicy",)),
    ):
        with pytest.raises(TorRefusesError) as caught:
            look()
        assert str(caught.value).startswith("Tor refuses the configuration: ")
        assert words in str(caught.value)
        assert caught.value.exit_code is ExitCode.TOR_REFUSES


def test_what_would_end_tor_in_an_assertion_is_refused(base: str) -> None:
    """Tor 0.4.9.11 aborts on an exit with no rule before its default policy: that is no yes.

    A block is such a rule, so lifting the last one of such a relay would end it.
    """
    options = f"{base}IPv6Exit 1\nExitPolicyRejectPrivate 0\nORPort 127.0.0.1:auto\n"
    verify.verify(HERE, f"{options}ExitPolicy reject 203.0.113.7:*\n")
    with pytest.raises(TorRefusesError, match="Tor refuses the configuration"):
        verify.verify(HERE, options)


def test_options_are_read_as_tor_reads_them(base: str) -> None:
    """Only the named options are returned, in order, and only if they differ from the default."""
    text = f'{base}exitpolicy reject *:25 # x\nContactInfo "a \\" b"\nExitPolicy accept *:80\n'
    found = verify.options(HERE, text, ("ExitPolicy", "IPv6Exit"))
    assert found == {"ExitPolicy": ["reject *:25", "accept *:80"]}
    assert verify.options(HERE, base, ("ExitPolicy",)) == {}


def test_bytes_that_are_no_text_are_passed_on(base: str) -> None:
    """A torrc in Latin-1 is read, whatever the contact says."""
    verify.verify(HERE, f"{base}Nickname a\n# caf\udce9\n")


def test_a_program_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    """A program that is missing, or that may not be run, is named."""
    (tmp_path / "tor").touch()
    for program in (tmp_path / "none", tmp_path / "tor", tmp_path):
        with pytest.raises(TorRefusesError, match=f"{program} cannot be run: "):
            verify.verify(Invocation((str(program),), Path("/")), "")


def test_a_program_that_says_yes_without_reading_is_not_believed(tmp_path: Path) -> None:
    """Exit code 0 alone is not enough: tor must also say that the configuration was valid."""
    with pytest.raises(TorRefusesError):
        verify.verify(Invocation(("/bin/true",), Path("/")), "")
    (tmp_path / "tor").write_text("#!/bin/sh\necho broken >&2\nexit 9\n")
    (tmp_path / "tor").chmod(0o755)
    with pytest.raises(TorRefusesError, match="Tor refuses the configuration: broken"):
        verify.verify(Invocation((str(tmp_path / "tor"),), Path("/")), "")


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    """A tor program that takes too long is stopped."""
    (tmp_path / "tor").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "tor").chmod(0o755)
    start = time.monotonic()
    with pytest.raises(TorRefusesError, match=r"has not ended within 0.2 s"):
        verify.verify(Invocation((str(tmp_path / "tor"),), Path("/"), seconds=0.2), "")
    assert time.monotonic() - start < 5


def test_a_working_folder_that_is_gone_is_no_obstacle(base: str, tmp_path: Path) -> None:
    """Relative includes are then looked for at the root, as by a tor that is started anew."""
    verify.verify(Invocation(HERE.command, tmp_path / "gone"), base)


RELAY = Relay("r", Path("/nonexistent/torrc"), "/nonexistent/control")


def test_options_of_a_running_tor_are_used(tmp_path: Path) -> None:
    """Its options are kept, except the torrc and the options that silence it; so is its folder."""
    torrc = tmp_path / "torrc"
    torrc.write_text(f"SocksPort 0\nDisableNetwork 1\nDataDirectory {tmp_path}/data\n")
    command = [TOR, "--quiet", "-f", str(torrc), "--defaults-torrc", "/dev/null", "--Nickname", "x"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            wait_until(lambda: len(proc.arguments(process.pid)) > 0)
            assert invocation.is_tor(process.pid)
            found = invocation.of_relay(RELAY, Peer(os.geteuid(), process.pid))
            stranger = invocation.of_relay(RELAY, Peer(12345, process.pid))
            assert stranger.command[1:] == (), "the process became another user's"
            assert Path(found.command[0]).samefile(TOR)
            assert found.command[1:] == ("--defaults-torrc", "/dev/null", "--Nickname", "x")
            assert found.folder == tmp_path
            assert found.user is not None
            assert found.user.uid == os.geteuid()
            assert verify.options(found, torrc.read_text(), ("Nickname",)) == {"Nickname": ["x"]}
        finally:
            process.kill()
    assert not invocation.is_tor(process.pid)


def test_only_a_trusted_process_says_which_defaults_torrc_counts(tmp_path: Path) -> None:
    """Not one of a user whom the files do not name, and no file that others can change."""
    torrc, defaults = tmp_path / "torrc", tmp_path / "defaults"
    torrc.write_text(f"SocksPort 0\nDisableNetwork 1\nDataDirectory {tmp_path}/data\n")
    defaults.touch()
    relay = Relay("a", torrc, "")
    command = [TOR, "--quiet", "-f", str(torrc), "--defaults-torrc", "defaults"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            wait_until(lambda: len(proc.arguments(process.pid)) > 0)
            found = invocation.as_started(relay)
            assert found.defaults_torrc == defaults
            other = relay._replace(defaults_torrc=tmp_path / "mine")
            assert invocation.as_started(other) == other
            defaults.chmod(0o666)
            assert invocation.as_started(relay) == relay
            defaults.chmod(0o644)
        finally:
            process.kill()
    assert invocation.as_started(relay) == relay


@pytest.mark.root
def test_a_tor_of_another_user_says_nothing_about_a_relay(open_folder: Path) -> None:
    """It counts once the defaults-torrc, which only root can change, names that user."""
    torrc, defaults = open_folder / "torrc", open_folder / "defaults"
    torrc.write_text("SocksPort 0\nDisableNetwork 1\n")
    defaults.touch()
    data = open_folder / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    relay = Relay("a", torrc, "")
    command = [
        TOR, "--quiet", "-f", str(torrc), "--defaults-torrc", str(defaults),
        "--DataDirectory", str(data),
    ]  # fmt: skip
    with subprocess.Popen(command, user=65534, group=65534, extra_groups=[]) as process:
        try:
            wait_until(lambda: invocation.torrc_of(process.pid) == str(torrc))
            assert invocation.is_tor(process.pid)
            assert invocation.as_started(relay) == relay
            defaults.write_text(f"DataDirectory {data}\n")
            assert invocation.as_started(relay).defaults_torrc == defaults
        finally:
            process.kill()


def test_what_is_no_tor_is_not_taken_for_one() -> None:
    """A process number that another program uses now is no tor; nor is a missing one."""
    assert not invocation.is_tor(os.getpid())
    assert not invocation.is_tor(0)


def test_name_and_place_of_a_process_choose_no_program(tmp_path: Path) -> None:
    """A program that calls itself tor, in a folder of another user, is not run."""
    (tmp_path / "tor").symlink_to("/bin/sleep")
    fake = tmp_path / "bin" / "tor"
    fake.parent.mkdir(mode=0o777)
    fake.parent.chmod(0o777)
    shutil.copy("/bin/sleep", fake)
    for command in ([str(tmp_path / "tor"), "60"], [str(fake), "60"]):
        with subprocess.Popen(command) as process:
            try:
                found = invocation.program(RELAY, process.pid)
                assert found.samefile(TOR)
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["-f", "torrc", "--quiet"], []),
        (["--torrc-file", "-", "--hush", "--RunAsDaemon", "0"], ["--RunAsDaemon", "0"]),
        (
            ["--defaults-torrc", "/d", "ORPort", "9001"],
            ["--defaults-torrc", "/d", "ORPort", "9001"],
        ),
        (["--/ExitPolicy", "+ContactInfo", "me"], ["--/ExitPolicy", "+ContactInfo", "me"]),
        (["--verify-config", "--hash-password", "x", "--keygen", "--list-fingerprint"], []),
        (["/tmp/evil", "; rm -rf /", "$(id)", "--a b"], []),
        (["--Nickname"], []),
    ],
)
def test_only_options_of_a_known_form_are_passed_on(arguments: list[str], kept: list[str]) -> None:
    """The arguments of a process are data: commands and other words are left out."""
    assert list(invocation.known_options(arguments)) == kept


def test_program_is_the_one_of_the_config_or_of_root(tmp_path: Path) -> None:
    """A program named in the config is used; one that others can change is not."""
    named = RELAY._replace(tor=tmp_path / "tor")
    assert invocation.program(named) == tmp_path / "tor"
    assert invocation.program(RELAY).samefile(TOR)
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.joinpath("tor").touch()
    assert users.only_changed_by_root(mine / "tor")
    for path, mode in ((mine / "tor", 0o666), (mine, 0o777), (mine / "tor", 0o664)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert not users.only_changed_by_root(mine / "tor")
        path.chmod(before)
    if os.geteuid() == 0:
        os.chown(mine, 65534, 65534)
        assert not users.only_changed_by_root(mine / "tor")


def test_options_of_the_defaults_torrc_are_read_as_tor_reads_them(tmp_path: Path) -> None:
    """The torrc overrides its options, or adds to them with `+`; the others apply."""
    defaults = tmp_path / "defaults"
    defaults.write_text("ExitRelay 1\nExitPolicy reject *:25\n")
    started = Invocation((TOR, "--defaults-torrc", str(defaults)), Path("/"))
    torrc = f"DataDirectory {tmp_path}\nORPort 127.0.0.1:9999\nSocksPort 0\n"
    for own, policy, relay in (
        ("", ["reject *:25"], "1"),
        ("ExitPolicy accept *:80\n", ["accept *:80"], "1"),
        ("+ExitPolicy accept *:80\nExitRelay auto\n", ["reject *:25", "accept *:80"], "auto"),
    ):
        options = verify.options(started, torrc + own, ("ExitRelay", "ExitPolicy"))
        assert options == {"ExitRelay": [relay], "ExitPolicy": policy}


@pytest.mark.parametrize("policy", [[], ["accept *:80"], ["accept *:80", "reject *:*"]])
def test_a_defaults_torrc_that_would_end_tor_alone_is_read(
    tmp_path: Path, policy: list[str]
) -> None:
    """Tor aborts without a rule for these options; the rules may be in the torrc."""
    defaults = tmp_path / "defaults"
    lines = [f"ExitPolicy {rule}\n" for rule in policy]
    defaults.write_text("".join(["IPv6Exit 1\nExitPolicyRejectPrivate 0\n", *lines]))
    started = Invocation((TOR, "--defaults-torrc", str(defaults)), Path("/"))
    found = verify.values_of(
        verify.defaults(started), {"IPv6Exit", "ExitPolicyRejectPrivate", "ExitPolicy"}
    )
    expected = {"IPv6Exit": ["1"], "ExitPolicyRejectPrivate": ["0"], "ExitPolicy": policy}
    assert found == {name: values for name, values in expected.items() if values}


def test_arguments_of_a_process_name_no_file_that_holds_us_up(tmp_path: Path) -> None:
    """A FIFO, a device, or a file that only root can read is not used as defaults-torrc."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), tmp_path, tmp_path / "missing"):
        named = Invocation((TOR, "--defaults-torrc", str(path)), Path("/"))
        assert verify.defaults_text(named) == ""
    if os.geteuid() == 0:
        secret = tmp_path / "secret"
        secret.write_text("ExitPolicy reject *:99\n")
        secret.chmod(0o600)
        other = Invocation((TOR, "--defaults-torrc", str(secret)), Path("/"), users.by_uid(65534))
        with pytest.raises(TorRefusesError) as caught:
            verify.defaults(other)
        assert "99" not in str(caught.value)


def test_tor_runs_without_our_terminal() -> None:
    """Its user could write commands to the terminal, so the program gets its own session."""
    done = child.run_as(None, ["/bin/sh", "-c", "ps -o sid= -p $$; echo $$"], "", 10)
    session, process = done.stdout.split()
    assert session == process
