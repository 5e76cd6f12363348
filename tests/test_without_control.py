"""A relay without a control port: reloaded by a signal, never called live."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import config, files
from exitpolicy.tor import daemon
from tests.harness.host import ExitHost, HostMaker
from tests.harness.terminal import on_a_terminal
from tests.harness.tor import close_log, wait_until
from tests.harness.without_control import start, without_control

pytestmark = pytest.mark.tor


@pytest.fixture
def host(make_host: HostMaker) -> ExitHost:
    """Give a running exit that exitpol set up without a control port."""
    host = make_host(start=False, init=False)
    start(host)
    without_control(host)
    done = host.run("init")
    assert done.code == 0, done
    return host


def block(host: ExitHost, dest: str = "203.0.113.7") -> None:
    """Block a destination, which must be enforced then."""
    done = host.run("block", dest, "--until", "1d")
    assert done.code == 0, done
    assert host.tor.rejects(dest)


def test_a_block_is_unverified(host: ExitHost) -> None:
    """Tor enforces it; exitpol says that it has not seen that, everywhere, and exits with 0."""
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 0, done
    assert host.tor.rejects("203.0.113.7")
    assert "203.0.113.7  unverified  until" in done.out
    assert "not verified: no control port shows what Tor (default) enforces" in done.err
    for command in (("list",), ("status",), ("apply",)):
        shown = host.run(*command)
        assert shown.code == 0, shown
        assert "unverified" in shown.out, shown
        assert "live" not in shown.out, shown
    assert host.run("list", "--state", "unverified", "--json").json["blocks"]
    relay = host.run("status", "--json").json["relays"][0]
    assert (relay["reachable"], relay["observed"], relay["in_sync"]) == (True, False, None)
    assert host.run("status", "--check").code == 0
    assert host.tick().code == 0


def test_the_files_tell_what_a_block_cannot_do(host: ExitHost) -> None:
    """It is moot or shadowed by the files, which name the reason."""
    moot = host.run("block", "2001:db8::7", "--until", "1d")
    assert moot.code == 0, moot
    assert "2001:db8::7  moot" in moot.out
    assert "is moot on default: IPv6Exit 0" in moot.err
    text = host.tor.torrc.read_text()
    accept = "ExitPolicy accept 203.0.113.7:80\n"
    host.tor.torrc.write_text(text.replace("%include", f"{accept}%include"))
    shadowed = host.run("block", "203.0.113.7", "--until", "1d")
    assert shadowed.code == 3, shadowed
    assert "203.0.113.7  shadowed" in shadowed.out
    assert "accept 203.0.113.7:80" in shadowed.err


def test_what_was_read_is_not_read_again(host: ExitHost) -> None:
    """An apply that has nothing to do does not signal Tor."""
    block(host)
    before = host.tor.log().count("Received reload signal")
    assert before >= 1
    assert host.run("apply").out.startswith("nothing to do")
    assert host.tor.log().count("Received reload signal") == before


def test_files_that_were_changed_and_changed_back_are_read_again(host: ExitHost) -> None:
    """Tor may have read them in between: at a reload of logrotate, after a crash of exitpol."""
    block(host)
    text = host.fragment.read_text()
    host.fragment.write_text(f"{text}ExitPolicy reject 203.0.113.8:*\n")
    host.tor.signal(signal.SIGHUP)
    wait_until(lambda: host.tor.rejects("203.0.113.8"), what="the rule of nobody")
    host.fragment.write_text(text)
    assert host.run("apply").out.startswith("applied")
    assert not host.tor.rejects("203.0.113.8")
    assert host.run("apply").out.startswith("nothing to do")


def test_a_lifted_block_is_removed(host: ExitHost) -> None:
    """Tor accepts it again; exitpol says that it is removed, not lifted."""
    block(host)
    done = host.run("lift", "203.0.113.7")
    assert done.code == 0, done
    assert "203.0.113.7  removed" in done.out
    assert "not verified" in done.err
    assert not host.tor.rejects("203.0.113.7")
    assert host.run("history", "--json").json["changes"][-1]["action"] == "lift"


def test_check_says_that_only_the_files_tell(host: ExitHost) -> None:
    """The verdict comes from the files that Tor has read."""
    block(host)
    done = host.run("check", "203.0.113.7")
    assert done.code == 0, done
    assert "rejected (not verified" in done.out
    assert host.run("check", "198.51.100.1").code == 3
    assert host.run("check", "203.0.113.7", "--json").json["results"][0]["observed"] is False


def test_a_foreign_change_is_not_loaded(host: ExitHost) -> None:
    """A block waits until the operator says that the other change may be loaded."""
    block(host)
    host.tor.add("MaxCircuitDirtiness 700")
    done = host.run("block", "203.0.113.8", "--until", "1d")
    assert done.code == 3, done
    assert "203.0.113.8  pending" in done.out
    assert "may not have read: MaxCircuitDirtiness 700 was added" in done.err
    assert not host.tor.rejects("203.0.113.8")
    lifted = host.run("lift", "203.0.113.7")
    assert (lifted.code, "lifting" in lifted.out) == (3, True), lifted
    assert "203.0.113.7" not in host.fragment.read_text()
    checked = host.run("status", "--check", "--json")
    assert checked.code == 3
    assert checked.json["faults"] == [
        *("drift", "foreign_changes", "lifting", "not_settled", "pending")
    ]
    loaded = host.run("apply", "--load-foreign")
    assert loaded.code == 0, loaded
    assert host.tor.rejects("203.0.113.8")
    assert not host.tor.rejects("203.0.113.7")
    block(host, "203.0.113.9")


def test_a_line_that_is_gone_is_named(host: ExitHost) -> None:
    """A removed line is a change as well; its value is not kept, so that it cannot leak."""
    host.tor.stop()
    host.tor.add("Socks5ProxyUsername someone", "Socks5ProxyPassword secret", "Socks5Proxy [::1]:9")
    start(host)
    assert host.run("apply").code == 0
    kept = host.ledger.with_name("last_read.json").read_text()
    assert "Socks5ProxyPassword" in kept
    assert "secret" not in kept
    text = host.tor.torrc.read_text().replace("Socks5ProxyPassword secret\n", "")
    host.tor.torrc.write_text(text.replace("Socks5ProxyUsername someone\n", ""))
    done = host.run("block", "203.0.113.8", "--until", "1d")
    assert done.code == 3, done
    assert "a line Socks5ProxyPassword was removed" in done.err


def test_own_exit_policy_lines_are_loaded(host: ExitHost) -> None:
    """They are no foreign change: exitpol loads them with its own, and reports them."""
    block(host)
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text(f"{text}ExitPolicy reject 198.51.100.0/24:*\n")
    changed = host.run("apply")
    assert host.tor.rejects("198.51.100.1")
    assert changed.code == 3, changed
    assert "own policy: it is not the one that you accepted: no longer accepted" in changed.err
    assert "198.51.100.0/24" in changed.err
    assert host.run("policy", "accept").code == 0
    assert host.run("status", "--check").code == 0


def test_a_torrc_of_unknown_age_is_not_loaded(make_host: HostMaker) -> None:
    """Changed after Tor's start and before exitpol saw it: nothing says what Tor runs."""
    host = make_host(start=False, init=False)
    start(host)
    host.tor.add("# A comment, but exitpol cannot know what was here before.")
    without_control(host)
    assert host.run("init").code == 3
    blocked = host.run("block", "203.0.113.7", "--until", "1d")
    assert blocked.code == 3, blocked
    assert "was changed after Tor was started" in blocked.err
    assert host.run("apply", "--load-foreign").code == 0
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.parametrize("content", [None, "", "[]", '{"version": 1, "relays": {"default": 7}}'])
def test_a_lost_record_loads_nothing(host: ExitHost, content: str | None) -> None:
    """Without it, the torrc that init changed is of unknown age: only the operator can say."""
    block(host)
    record = host.ledger.with_name("last_read.json")
    if content is None:
        record.unlink()
    else:
        record.write_text(content)
    before = host.tor.log().count("Received reload signal")
    done = host.run("apply")
    assert done.code == 3, done
    assert "may not have read" in done.err
    assert host.run("list", "--state", "pending", "--json").json["blocks"]
    assert host.tor.log().count("Received reload signal") == before
    assert host.run("apply", "--load-foreign").code == 0
    assert host.run("apply").out.startswith("nothing to do")


def test_a_restarted_tor_has_read_its_files(host: ExitHost) -> None:
    """After a restart the blocks are unverified without another reload."""
    block(host)
    host.tor.stop()
    assert host.run("status", "--check").code == 6
    assert host.run("block", "203.0.113.8", "--until", "1d").code == 6
    start(host)
    done = host.run("apply")
    assert done.code == 0, done
    assert "nothing to do: 2 unverified" in done.out
    assert "Received reload signal" not in host.tor.log().rpartition("Tor 0.")[2]


def test_a_fatal_change_is_refused(host: ExitHost) -> None:
    """A reload of these files would end Tor: it is not done, not even on demand."""
    host.tor.add("SyslogIdentityTag changed")
    for command in (("block", "203.0.113.7", "--until", "1d"), ("apply", "--load-foreign")):
        done = host.run(*command)
        assert done.code == 5, done
        assert "restart Tor (default) once" in done.err
    assert host.tor.alive


def test_a_tor_that_reads_nothing_at_a_signal_is_told_of(make_host: HostMaker) -> None:
    """Its blocks are never unverified: it would go on as it was."""
    host = make_host(["ExitRelay 1", "__ReloadTorrcOnSIGHUP 0"], start=False, init=False)
    without_control(host)
    start(host)
    assert host.run("init").code == 5
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 5, done
    assert "reads nothing at a reload: __ReloadTorrcOnSIGHUP is 0" in done.err
    assert "203.0.113.7  pending" in done.out


def test_a_reload_that_ends_tor_is_put_back(make_host: HostMaker, tmp_path: Path) -> None:
    """The fragment is as before, so that Tor can start; the same files are not loaded again."""
    logs = tmp_path / "logs"
    logs.mkdir()
    host = make_host(["ExitRelay 1", f"Log notice file {logs}/log"], start=False, init=False)
    start(host)
    without_control(host)
    assert host.run("init").code == 0
    block(host, "203.0.113.8")
    close_log(logs / "log")
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 5, done
    assert "ended when it was told to reload" in done.err
    wait_until(lambda: not host.tor.alive, what="the end of Tor")
    assert "203.0.113.7" not in host.fragment.read_text()
    assert "203.0.113.8" in host.fragment.read_text()
    (logs / "log").unlink()
    start(host)
    close_log(logs / "log")
    again = host.run("apply")
    assert again.code == 5, again
    assert "ended Tor (default) before" in again.err
    assert host.tor.alive


def test_a_full_disk_does_not_hide_that_tor_ended(
    make_host: HostMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fragment cannot be put back: the same files are not loaded again, in a loop."""
    logs = tmp_path / "logs"
    logs.mkdir()
    host = make_host(["ExitRelay 1", f"Log notice file {logs}/log"], start=False, init=False)
    start(host)
    without_control(host)
    assert host.run("init").code == 0
    close_log(logs / "log")
    real = files.replace

    def full(path: Path, *rest: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
        if path == host.fragment:
            raise InvalidFileError(f"{path} cannot be written: No space left on device")
        real(path, *rest, **more)

    monkeypatch.setattr(files, "replace", full)
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 5, done
    assert "ended when it was told to reload" in done.err
    assert f"{host.fragment} cannot be written: No space left" in done.err
    monkeypatch.undo()
    (logs / "log").unlink()
    start(host)
    close_log(logs / "log")
    host.ledger.write_text(host.ledger.read_text().replace("203.0.113.7", "203.0.113.8"))
    again = host.run("apply")
    assert (again.code, "ended Tor (default) before" in again.err) == (5, True), again
    assert host.tor.alive


def test_a_lost_include_is_named(host: ExitHost) -> None:
    """The Tor runs: it is not unreachable, and its blocks are pending."""
    block(host)
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text("".join(x for x in text.splitlines(True) if "%include" not in x))
    host.tor.signal(signal.SIGHUP)
    assert host.tick().code == 8
    assert "203.0.113.7  pending" in host.run("list").out
    relay = host.run("status", "--json").json["relays"][0]
    assert (relay["reachable"], relay["observed"], relay["in_sync"]) == (True, False, False)
    assert "process" in host.run("status").out
    metrics = host.run("status", "--prometheus").out
    assert 'exitpol_relay_reachable{relay="default"} 1\n' in metrics
    assert 'exitpol_fault{name="include_lost"} 1\n' in metrics
    assert 'exitpol_fault{name="tor_unreachable"} 0\n' in metrics
    checked = host.run("check", "203.0.113.7")
    assert (checked.code, "does not include" in checked.err) == (8, True), checked
    lifted = host.run("lift", "203.0.113.7")
    assert (lifted.code, "203.0.113.7  lifting" in lifted.out) == (8, True), lifted


def test_no_other_process_is_signalled(host: ExitHost, tmp_path: Path) -> None:
    """The pid file names a process that only looks like the relay's Tor: nothing is sent."""
    fake = tmp_path / "tor"
    fake.symlink_to(sys.executable)
    sleeper = subprocess.Popen(
        [str(fake), "-c", "import time; time.sleep(60)", "-f", str(host.tor.torrc)]
    )
    other = subprocess.Popen(["/bin/sleep", "60"])
    pid_file = host.tor.folder / "pid"
    good = pid_file.read_text()
    try:
        for content, why in (
            (f"{sleeper.pid}\n", "does not run tor"),
            (f"{other.pid}\n", "does not run tor"),
            ("1\n", "does not hold a process id"),
            ("-1\n", "does not hold a process id"),
            ("4194305\n", "does not run"),
            ("", "does not hold a process id"),
            ("x" * 100, "larger"),
        ):
            pid_file.write_text(content)
            done = host.run("block", "203.0.113.7", "--until", "1d")
            assert done.code == 6, (content, done)
            assert why in done.err, (content, done)
            assert sleeper.poll() is None
            assert other.poll() is None
    finally:
        for process in (sleeper, other):
            process.kill()
            process.wait()
    pid_file.write_text(good)
    assert host.run("apply").code == 0
    assert host.tor.rejects("203.0.113.7")


def test_the_tor_of_another_torrc_is_not_signalled(make_host: HostMaker) -> None:
    """Two relays whose pid files were mixed up: neither is reloaded for the other."""
    host = make_host(["ExitRelay 1"], ["ExitRelay 1"], start=False, init=False)
    start(host)
    without_control(host, f"pid:{host.relays[1].folder / 'pid'}")
    done = host.run("init")
    assert done.code == 6, done
    assert f"was started with {host.relays[1].torrc}, not with {host.tor.torrc}" in done.err


def test_a_pid_file_that_is_a_fifo_stops_nothing(host: ExitHost) -> None:
    """Tor's user may put anything there."""
    pid_file = host.tor.folder / "pid"
    pid_file.unlink()
    os.mkfifo(pid_file)
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 6, done
    assert "not a regular file" in done.err


SYSTEMCTL = """\
#!/bin/sh
# A systemd that knows one unit.
case "$2 $3" in
"show --property=MainPID") cat {folder}/unit-pid ;;
"reload tor@default.service") {reload} ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that writes a systemctl of the test."""
    monkeypatch.setattr(daemon, "SYSTEMCTL", str(tmp_path / "systemctl"))

    def write(reload: str) -> None:
        program = tmp_path / "systemctl"
        program.write_text(SYSTEMCTL.format(folder=tmp_path, reload=reload))
        program.chmod(0o755)

    return write


def test_a_unit_is_reloaded(
    make_host: HostMaker, systemctl: Callable[[str], None], tmp_path: Path
) -> None:
    """A unit names the process, and reloads it; a failed reload leaves the block pending."""
    host = make_host(start=False, init=False)
    start(host)
    pid = host.tor.process.pid if host.tor.process else 0
    (tmp_path / "unit-pid").write_text(f"{pid}\n")
    systemctl(f"kill -HUP {pid}")
    without_control(host, "systemd:tor@default.service")
    assert host.run("init").code == 0
    block(host)
    systemctl("echo 'Job type reload is not applicable' >&2; exit 1")
    done = host.run("block", "203.0.113.8", "--until", "1d")
    assert done.code == 6, done
    assert "Job type reload is not applicable" in done.err
    assert "203.0.113.8  pending" in done.out
    assert host.run("list", "--state", "unknown").out == ""
    assert not host.tor.rejects("203.0.113.8")
    (tmp_path / "unit-pid").write_text("0\n")
    done = host.run("apply")
    assert done.code == 6, done
    assert "has no main process" in done.err
    assert "tor@default.service and" in done.err


def test_a_sandboxed_tor_is_restarted_once(make_host: HostMaker) -> None:
    """With Sandbox 1 it would exit at a reload that finds the fragment for the first time."""
    host = make_host(["ExitRelay 1", "Sandbox 1"], start=False, init=False)
    without_control(host)
    start(host)
    assert host.run("init").code == 4
    done = host.run("init", "--yes")
    assert done.code == 5, done
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 5
    assert host.tor.alive
    host.tor.stop()
    start(host)
    assert host.run("apply").code == 0
    assert host.tor.rejects("203.0.113.7")
    block(host, "203.0.113.8")


def test_a_reload_by_signal_beside_a_control_port(make_host: HostMaker) -> None:
    """The signal reloads Tor, the control port shows the result: the block is live."""
    host = make_host(start=False, init=False)
    start(host)
    tor = host.tor
    old = f'control: "{tor.control_socket}"'
    text = host.config.read_text()
    host.config.write_text(text.replace(old, f'{old}, reload: "pid:{tor.folder / "pid"}"'))
    assert host.run("init").code == 0
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 0, done
    assert "203.0.113.7  live" in done.out
    assert "Received reload signal (hup)" in tor.log()


def test_one_of_two_relays_is_observed(make_host: HostMaker) -> None:
    """The block is live on one, and unverified on the other; each says so."""
    host = make_host(["ExitRelay 1"], ["ExitRelay 1"], start=False, init=False)
    start(host)
    without_control(host)
    assert host.run("init").code == 0
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 0, done
    assert all(tor.rejects("203.0.113.7") for tor in host.relays)
    assert "203.0.113.7  unverified" in done.out
    listed = host.run("list", "--json").json["blocks"][0]
    assert listed["states"] == {"default": "unverified", "second": "live"}
    assert "live 1/2" in host.run("list").out
    assert "203.0.113.7  removed" in host.run("lift", "203.0.113.7").out


@pytest.mark.root
def test_the_process_of_another_user_is_not_signalled(host: ExitHost) -> None:
    """Tor's user is the owner of its data; nobody else's process is Tor."""
    other = subprocess.Popen(["/bin/sleep", "60"], user=65534, group=65534, extra_groups=[])
    try:
        (host.tor.folder / "pid").write_text(f"{other.pid}\n")
        done = host.run("block", "203.0.113.7", "--until", "1d")
        assert done.code == 6, done
        assert "runs as user nobody, and Tor's is root" in done.err
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_init_shows_both_ways(make_host: HostMaker) -> None:
    """A torrc that opens no control port: the lines for one, and the entry to do without."""
    host = make_host(start=False, init=False)
    tor = host.tor
    lines = tor.torrc.read_text().splitlines(keepends=True)
    tor.torrc.write_text("".join(line for line in lines if not line.startswith("ControlSocket")))
    host.config.write_text("ledger: var/blocks.yaml\nfragments: exitpol\n")
    done = host.run("init", "--torrc", str(tor.torrc))
    assert done.code == 8, done
    assert f"ControlSocket {tor.folder}/data/control\n" in done.err
    entry = next(line for line in done.err.splitlines() if "- {" in line).partition("- ")[2]
    host.config.write_text(f"{host.config.read_text()}relays:\n- {entry}\n")
    (relay,) = config.load(host.config).relays
    assert (relay.torrc, relay.has_control) == (tor.torrc, False)


def test_init_adds_a_control_port_when_asked(make_host: HostMaker) -> None:
    """On a terminal it offers that; after a restart the relay is set up with it."""
    host = make_host(start=False, init=False)
    tor = host.tor
    kept = [
        line
        for line in tor.torrc.read_text().splitlines()
        if not line.startswith(("ControlSocket", "CookieAuthentication"))
    ]
    # Without a line end, as an editor may leave it.
    tor.torrc.write_text("\n".join(kept))
    before = tor.torrc.read_text()
    host.config.write_text("ledger: var/blocks.yaml\nfragments: exitpol\n")
    command = ["init", "--torrc", str(tor.torrc)]
    on_a_terminal(host, command, f"Add these lines to {tor.torrc}?", "n", code=8)
    assert tor.torrc.read_text() == before
    for option in ("--yes", "--json"):
        shown = on_a_terminal(host, [*command, option], "opens no control port", "", code=8)
        assert "Add these lines" not in shown
    shown = on_a_terminal(host, command, f"Add these lines to {tor.torrc}?", "y", code=3)
    socket = tor.folder / "data" / "control"
    assert f"+ControlSocket {socket}" in shown
    assert "systemctl restart tor@default; exitpol init" in shown
    assert tor.torrc.read_text() == (f"{before}\nControlSocket {socket}\nCookieAuthentication 1\n")
    assert tor.verifies().returncode == 0
    # The test's own Tor looks for its socket elsewhere.
    tor.add(f"ControlSocket {tor.control_socket}")
    tor.start()
    done = host.run(*command)
    assert done.code == 0, done
    assert host.run("block", "203.0.113.7", "--until", "1d").out.startswith("203.0.113.7  live")


@pytest.mark.parametrize("line", ["ControlSocket 0", "ControlPort 0", "Sandbox 1"])
def test_init_offers_no_line_that_cannot_simply_be_added(make_host: HostMaker, line: str) -> None:
    """A line of that name would have to be changed; a sandboxed Tor may exit at a reload."""
    host = make_host(start=False, init=False)
    tor = host.tor
    text = tor.torrc.read_text().replace("ControlSocket ", f"{line}\n# ControlSocket ")
    tor.torrc.write_text(text)
    host.config.write_text("ledger: var/blocks.yaml\nfragments: exitpol\n")
    on_a_terminal(host, ["init", "--torrc", str(tor.torrc)], "Add these lines", "y", code=8)
    assert tor.torrc.read_text() == text


def test_doctor_shows_how_to_observe(host: ExitHost) -> None:
    """It warns, and names the control port that the torrc opens."""
    block(host)
    found = json.loads(host.run("doctor", "--json").out)
    texts = json.dumps(found)
    assert "is set up without a control port" in texts
    assert f"write control: {host.tor.control_socket} into the config" in texts
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text(text.replace("\nControlSocket ", "\n# ControlSocket "))
    shown = host.run("doctor").out
    assert f"ControlSocket {host.tor.folder}/data/control" in shown
    assert "do without" not in shown
