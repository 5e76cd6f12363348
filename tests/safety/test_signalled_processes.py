"""A relay without a control port: Tor's user names the process that root sends a signal to."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy.operations import rights
from exitpolicy.operations.host import Host
from exitpolicy.storage import config
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
    """Tor's user writes other processes into the pid file, or links it: none gets a signal."""
    pid_file = host.tor.folder / "pid"
    secret = open_folder / "secret"
    secret.write_text("root:$6$hash")
    secret.chmod(0o600)
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
        pid_file.unlink()
        pid_file.symlink_to(secret)
        done = host.run("block", "203.0.113.7", "--until", "1d")
        assert done.code == 6, done
        assert "hash" not in done.err
        assert [other.poll() for other in others] == [None] * len(others)
    finally:
        for other in others:
            other.kill()
            other.wait()
