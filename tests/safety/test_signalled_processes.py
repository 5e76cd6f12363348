"""A relay without a control port: Tor's user names the process that root sends a signal to."""

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy.operations import rights
from exitpolicy.operations.host import Host
from exitpolicy.storage import config, last_read
from tests.harness.host import EXITPOL, ExitHost
from tests.harness.without_control import start, without_control
from tests.safety.relays import unprivileged_host

pytestmark = [pytest.mark.tor, pytest.mark.root]


@pytest.fixture
def host(open_folder: Path) -> Iterator[ExitHost]:
    """Give an exit of another user that exitpol set up without a control port."""
    made = unprivileged_host(open_folder)
    try:
        without_control(made)
        made.tor.stop()
        start(made)
        assert made.run("init").code == 0
        yield made
    finally:
        made.tor.stop()


def test_the_tick_needs_one_more_right(host: ExitHost) -> None:
    """With the capabilities of its unit it reloads a Tor that is another user's."""
    of = Host.of(config.load(host.config), who="timer", clock=lambda: datetime.now(UTC))
    names = rights.needed(of).capabilities
    assert "CAP_KILL" in names
    setpriv = ("/usr/bin/setpriv", "--inh-caps=-all")
    kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in names)
    for without, code in ((",-kill", 6), ("", 0)):
        done = subprocess.run(
            [*setpriv, f"--bounding-set=-all{kept}{without}", *EXITPOL,
             "--config", str(host.config), "block", "203.0.113.7", "--until", "1d"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done
    assert host.tor.rejects("203.0.113.7")
    assert host.run("apply").out.startswith("nothing to do")


def test_only_the_relays_own_tor_gets_a_signal(host: ExitHost, open_folder: Path) -> None:
    """Tor's user writes other processes into the pid file: none gets a signal."""
    pid_file = host.tor.folder / "pid"
    torrc = str(host.tor.torrc)
    # Two of root's, and one of Tor's own user that poses as tor.
    poser = open_folder / "bin" / "tor"
    poser.parent.mkdir()
    poser.write_bytes(Path("/bin/sleep").read_bytes())
    poser.chmod(0o755)
    others = [
        subprocess.Popen(["/bin/sleep", "60"]),
        subprocess.Popen(["/usr/bin/tor", "60"], executable="/bin/sleep"),
        subprocess.Popen([str(poser), "60"], user=65534, group=65534, extra_groups=[]),
    ]
    signals = {
        "a process of root": (f"{others[0].pid}", "does not run tor"),
        "one of root called tor": (f"{others[1].pid}", "does not run tor"),
        "init": ("1", "does not hold a process id"),
        "a program called tor": (f"{others[2].pid}", f"not with {torrc}"),
    }
    try:
        for name, (content, why) in signals.items():
            pid_file.write_text(content)
            done = host.run("block", "203.0.113.7", "--until", "1d")
            assert done.code == 6, (name, done)
            assert why in done.err, (name, done)
        assert [other.poll() for other in others] == [None] * len(others)
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_no_link_of_tors_user_is_opened(host: ExitHost, open_folder: Path) -> None:
    """As root that may do harm: a watchdog resets the host once it was opened."""
    pid_file = host.tor.folder / "pid"
    secret, device = open_folder / "secret", open_folder / "device"
    secret.write_text(pid_file.read_text())
    secret.chmod(0o600)
    # One device stands for any: what opens it may do harm, so nothing may.
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    for target in (secret, device):
        pid_file.unlink()
        pid_file.symlink_to(target)
        opened = host_opens(host, target)
        assert not opened
    pid_file.unlink()
    os.link(secret, pid_file)
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert (done.code, "hard link" in done.err) == (6, True), done
    assert not host.tor.rejects("203.0.113.7")


def host_opens(host: ExitHost, path: Path) -> bool:
    """Tell whether a `block` opens a file; it must be refused."""
    done = subprocess.run(
        ["/usr/bin/strace", "-f", "-y", "-e", "trace=open,openat,openat2",
         *EXITPOL, "--config", str(host.config), "block", "203.0.113.7", "--until", "1d"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr[-2000:]
    assert "symbolic link" in done.stderr
    calls = [line for line in done.stderr.splitlines() if "open" in line and " = " in line]
    assert any(str(host.config) in call for call in calls)
    return any(f"<{path}>" in call.partition(" = ")[2] for call in calls)


def test_numbers_that_are_no_process_are_refused(host: ExitHost) -> None:
    """Every command says so, whatever Tor's user writes."""
    pid_file = host.tor.folder / "pid"
    for content in ("9999999999", "2147483648", "0", "00", "01", "1e3", "\u0663", "7 8", "+5"):
        pid_file.write_text(content)
        for command in (("block", "203.0.113.7", "--until", "1d"), ("init",), ("doctor",)):
            done = host.run(*command)
            assert "internal error" not in done.err + done.out, (content, done)
            assert "does not hold a process id" in done.err + done.out, (content, done)


def test_a_tor_that_does_not_handle_the_signal_is_spared(open_folder: Path) -> None:
    """SIGHUP would end it: so does one that comes before Tor's handlers are there."""
    made = unprivileged_host(open_folder, "__DisableSignalHandlers 1")
    try:
        without_control(made)
        assert made.run("init").code in {3, 6}
        done = made.run("apply", "--load-foreign")
        assert (done.code, "does not handle SIGHUP" in done.err) == (6, True), done
        assert made.tor.alive
    finally:
        made.tor.stop()


def test_a_stopped_tor_has_read_nothing(host: ExitHost) -> None:
    """It would read its files once it goes on, and nobody knows when: its blocks are pending."""
    host.tor.signal(signal.SIGSTOP)
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 6, done
    assert "is stopped" in done.err
    assert "unverified" not in done.out
    host.tor.signal(signal.SIGCONT)
    assert host.run("apply").code == 0
    assert host.tor.rejects("203.0.113.7")


def test_the_record_in_a_folder_of_another_user_is_roots_alone(host: ExitHost) -> None:
    """The ledger's owner could try passwords against its marks, or have any change loaded."""
    folder = host.ledger.parent
    for path in (folder, *folder.iterdir()):
        os.chown(path, 1000, 1000)
    record = folder / "last_read.json"
    record.unlink()
    folder.chmod(0o755)
    host.tor.stop()
    start(host)
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    found = record.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    assert host.ledger.stat().st_uid == 1000
    # The owner of the folder puts a file of his own in its place.
    content = record.read_bytes()
    record.unlink()
    record.write_bytes(content)
    assert last_read.load(record)
    os.chown(record, 1000, 1000)
    assert not last_read.load(record)
