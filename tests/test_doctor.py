"""`doctor` reports each real fault of a set-up, why it matters and how to fix it."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy.doctor import timer as timer_checks
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host
from exitpolicy.storage import config as config_file
from exitpolicy.tor import managed
from tests.harness.host import EXITPOL, LoneExit
from tests.harness.tor import TOR, free_port, wait_until

pytestmark = [
    pytest.mark.tor,
    pytest.mark.root,
]

NOBODY = 65534
OPTIONS = "ExitRelay 1\nIPv6Exit 1\n"

Findings = Mapping[str, Mapping[str, str]]


def examine(exit_: LoneExit, code: int, **environment: str) -> Findings:
    """Run doctor, check its exit code, and return the gravest finding of each check."""
    done = exit_.run("doctor", "--json", environment=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["schema"] == 1
    assert result["exit_code"] == code
    found: dict[str, Mapping[str, str]] = {}
    for finding in result["findings"]:
        present = found.get(finding["check"])
        if present is None or present["severity"] == "ok":
            found[finding["check"]] = finding
    return found


def bad(found: Findings, check: str, severity: str = "fail") -> Mapping[str, str]:
    """Return a finding, after checking that it is a fault and complete."""
    finding = found[check]
    assert finding["severity"] == severity, finding
    assert finding["why"]
    assert finding["fix"]
    return finding


def set_up(folder: Path, options: str = OPTIONS) -> LoneExit:
    """Return an exit whose torrc has no fault; it does not run yet."""
    return LoneExit(folder, f"{options}ExitPolicyRejectPrivate 1\n")


@pytest.fixture(scope="module")
def exit_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneExit]:
    """One healthy exit; each test makes a fault and undoes it."""
    with set_up(tmp_path_factory.mktemp("doctor")) as running:
        assert running.run("init").returncode == 0
        yield running


@contextmanager
def edited(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """Change a file in place, and restore it."""
    before = path.read_text()
    path.write_text(change(before))
    try:
        yield
    finally:
        path.write_text(before)


def test_nothing_is_found_where_all_is_well(exit_: LoneExit, tmp_path: Path) -> None:
    """Exit code 0 and only `ok`, on a host with cron and without AppArmor."""
    hint = exit_.run("doctor").stdout.partition("/etc/cron.d/exitpol:\n")[2]
    cron = tmp_path / "cron"
    cron.mkdir()
    (cron / "exitpol").write_text(hint.partition("\n")[0].strip() + "\n")
    (tmp_path / "empty").mkdir()
    mounts = f"mount --bind {cron} /etc/cron.d; mount --bind {tmp_path}/empty /etc/apparmor.d"
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', "sh",
         *EXITPOL, "doctor"],
        env=exit_.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert {line[:4] for line in done.stdout.splitlines()} == {"ok  "}
    assert "cron: /etc/cron.d/exitpol" in done.stdout


def test_people_are_told_why_and_what_to_type(exit_: LoneExit) -> None:
    """Each fault has two further lines, a passed check none."""
    exit_.ledger.chmod(0o666)
    done = exit_.run("doctor")
    exit_.ledger.chmod(0o640)
    lines = done.stdout.splitlines()
    (number,) = (n for n, line in enumerate(lines) if line.startswith("fail  ledger"))
    assert lines[number].endswith(f"{exit_.ledger} is writable by everybody")
    assert lines[number + 1].startswith("      why:  who can change it")
    assert lines[number + 2] == f"      fix:  chmod o-w {exit_.ledger}"


def test_files_that_others_can_change_are_found(exit_: LoneExit) -> None:
    """By mode or owner, of the file or a folder above it."""
    config = exit_.folder / "config.yaml"
    for path, point in ((config, "config"), (exit_.fragment, "fragment")):
        mode = path.stat().st_mode
        path.chmod(0o666)
        assert bad(examine(exit_, 3), point)["fix"] == f"chmod o-w {path}"
        path.chmod(mode)
    exit_.ledger.parent.chmod(0o777)
    assert str(exit_.ledger.parent) in bad(examine(exit_, 3), "ledger")["observed"]
    exit_.ledger.parent.chmod(0o755)
    os.chown(config, NOBODY, 0)
    assert bad(examine(exit_, 3), "config", "warn")["fix"] == f"chown root {config}"
    os.chown(config, 0, 0)


def test_config_and_ledger_that_mean_nothing_are_found(exit_: LoneExit) -> None:
    """An invalid ledger is reported with file and line, exit code 8; the other checks still run."""
    with edited(exit_.folder / "config.yaml", lambda text: f"{text}nonsense: 1\n"):
        found = examine(exit_, 8)
        assert "unknown key 'nonsense'" in found["config"]["observed"]
        assert found["clock"]["severity"] == "ok"
    with edited(exit_.ledger, lambda text: f"{text}- nonsense\n"):
        found = examine(exit_, 8)
        assert found["ledger"]["severity"] == "fail"
        assert found["exit: control port"]["severity"] == "ok"


def test_missing_files_are_found(exit_: LoneExit) -> None:
    """A ledger, a fragment, a config, a torrc that are not there."""
    for path, point in ((exit_.ledger, "ledger"), (exit_.fragment, "fragment")):
        away = path.with_name("away")
        path.rename(away)
        assert bad(examine(exit_, 8), point)["fix"] == "exitpol init"
        away.rename(path)
    found = examine(exit_, 8, EXITPOL_CONFIG="/nonexistent/config.yaml")
    assert "there is no such config" in found["config"]["observed"]
    away = exit_.folder / "torrc.away"
    exit_.exit.torrc.rename(away)
    assert "there is no such torrc" in examine(exit_, 8)["exit: include"]["observed"]
    away.rename(exit_.exit.torrc)


def test_fragment_by_hand_is_found(exit_: LoneExit) -> None:
    """It differs from the ledger, and the next apply will undo that."""
    with edited(exit_.fragment, lambda text: f"{text}ExitPolicy reject 192.0.2.1:*\n"):
        assert bad(examine(exit_, 3), "fragment", "warn")["fix"] == "exitpol apply"


def test_include_in_the_wrong_place_is_found(exit_: LoneExit) -> None:
    """Missing, twice, below a catch-all, below another accept: with file and line."""
    include = f"%include {exit_.fragment}\n"
    last = "ExitPolicy accept *:*\n"
    torrc = exit_.exit.torrc
    number = torrc.read_text().partition(include)[0].count("\n") + 1
    with edited(torrc, lambda text: text.replace(include, "")):
        assert "exitpol init" in bad(examine(exit_, 8), "exit: include")["fix"]
    with edited(torrc, lambda text: text.replace(include, include + include)):
        seen = bad(examine(exit_, 3), "exit: include", "warn")["observed"]
        assert f"{torrc}:{number}, {torrc}:{number + 1}" in seen
    with edited(torrc, lambda text: text.replace(include + last, last + include)):
        found = bad(examine(exit_, 3), "exit: order")
        assert found["observed"] == f"{torrc}:{number}: 'accept *:*' is above the include"
    other = exit_.folder / "other.conf"
    other.write_text("# first\nExitPolicy reject 192.0.2.0/24:*, accept 203.0.113.7:443\n")
    with edited(torrc, lambda text: text.replace(include, f"%include {other}\n{include}")):
        found = bad(examine(exit_, 3), "exit: order", "warn")
        assert found["observed"].startswith(f"{other}:2: 'accept 203.0.113.7:443'")
        assert examine(exit_, 3)["exit: include"]["severity"] == "ok"


def test_torrc_that_tor_does_not_take_is_found(exit_: LoneExit) -> None:
    """In Tor's own words, with exit code 5: the next reload would end it."""
    with edited(exit_.exit.torrc, lambda text: f"{text}NoSuchOption 1\n"):
        assert "NoSuchOption" in bad(examine(exit_, 5), "exit: verified")["observed"]


def test_relay_that_is_no_exit_is_found(exit_: LoneExit) -> None:
    """With ExitRelay auto a block is dangerous, with ExitRelay 0 useless."""

    def options(text: str, relay: str) -> str:
        for line in (*OPTIONS.splitlines(keepends=True), "ExitPolicy accept *:*\n"):
            text = text.replace(line, "")
        return f"{relay}\n{text}"

    with edited(exit_.exit.torrc, lambda text: options(text, "ExitRelay auto")):
        assert "ExitRelay auto" in bad(examine(exit_, 4), "exit: exit")["observed"]
    with edited(exit_.exit.torrc, lambda text: options(text, "ExitRelay 0")):
        assert bad(examine(exit_, 3), "exit: exit", "warn")["observed"] == "ExitRelay 0"


def test_header_of_another_tool_is_found(exit_: LoneExit) -> None:
    """A tool that writes the torrc again removes the include."""
    for header in (
        "# ansible-relayor managed torrc",
        "# Ansible managed: do not edit",
        "# This file is managed by Puppet. Changes will be overwritten.",
        "# Generated by Chef",
    ):
        with edited(exit_.exit.torrc, lambda text, line=header: f"{line}\n{text}"):  # type: ignore[misc]
            assert header in bad(examine(exit_, 3), "exit: other tools", "warn")["observed"]


def test_header_of_the_package_is_no_other_tool() -> None:
    """Debian's own torrc has no such comment."""
    shipped = list(Path("/etc/tor").glob("torrc*"))
    assert shipped
    assert [managed.claim(path) for path in shipped] == [None] * len(shipped)


def test_header_of_saveconf_is_no_other_tool(tmp_path: Path) -> None:
    """Tor writes its torrc only when it is told to."""
    saved = tmp_path / "torrc"
    saved.write_text(
        "# This file was generated by Tor; if you edit it, comments will not be preserved\n"
    )
    assert managed.claim(saved) is None


def test_options_that_make_blocks_useless_or_harm_are_found(exit_: LoneExit) -> None:
    """Set at run time, as another controller would."""
    with exit_.exit.control() as control:
        control.ask("SETCONF DisableNetwork=1")
        assert "stale" in bad(examine(exit_, 3), "exit: policy")["why"]
        control.ask("RESETCONF DisableNetwork")
        control.ask("SETCONF ExitPolicyRejectPrivate=0")
        assert bad(examine(exit_, 3), "exit: private addresses", "warn")
        control.ask("SETCONF ExitPolicyRejectPrivate=1")
        control.ask("SETCONF __ReloadTorrcOnSIGHUP=0")
        assert "reads nothing" in bad(examine(exit_, 5), "exit: reload")["why"]
        control.ask("SETCONF __ReloadTorrcOnSIGHUP=1")
        control.ask('SETCONF ExitPolicy="reject 192.0.2.7:*,accept *:*"')
        time.sleep(1.5)
        found = bad(examine(exit_, 3), "exit: policy", "warn")
        assert "reject 192.0.2.7:*" in found["observed"]
        exit_.exit.reload()
        wait_until(lambda: "192.0.2.7:*" not in exit_.rejected(), 10, "the policy as before")


def test_blocks_of_ipv6_without_ipv6_exit_are_found(exit_: LoneExit) -> None:
    """IPv6 blocks are moot then; without such blocks IPv6Exit 0 is no fault."""
    with exit_.exit.control() as control:
        control.ask("SETCONF IPv6Exit=0")
        assert examine(exit_, 3)["exit: IPv6"]["severity"] == "ok"
        control.ask("SETCONF IPv6Exit=1")
    assert exit_.run("block", "2001:db8::1", "--until", "1d").returncode == 0
    with exit_.exit.control() as control:
        control.ask("SETCONF IPv6Exit=0")
        assert "moot" in bad(examine(exit_, 3), "exit: IPv6", "warn")["why"]
    exit_.exit.reload_and_wait()
    assert exit_.run("lift", "2001:db8::1").returncode == 0


def test_fragment_outside_of_apparmors_folder_is_found(exit_: LoneExit) -> None:
    """Debian's profile lets Tor read what lies directly in /etc/tor."""
    if not Path("/etc/apparmor.d/system_tor").exists():
        pytest.skip("the profile is missing")
    assert "/etc/tor" in bad(examine(exit_, 3), "exit: AppArmor", "warn")["fix"]


def test_host_without_a_timer_is_found(exit_: LoneExit) -> None:
    """The fix is a line for cron, ready to be pasted."""
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs this host")
    assert "tick.py" in bad(examine(exit_, 3), "timer")["fix"]


def test_lines_left_by_saveconf_are_found(exit_: LoneExit) -> None:
    """SAVECONF FORCE writes the blocks into the torrc, where they stay when they have ended."""
    assert exit_.run("block", "203.0.113.7", "203.0.113.6", "--until", "1h").returncode == 0
    assert exit_.run("lift", "203.0.113.7", "203.0.113.6").returncode == 0
    torrc = exit_.exit.torrc
    assert examine(exit_, 3)["exit: former blocks"]["severity"] == "ok"
    include = f"%include {exit_.fragment}\n"
    left = "ExitPolicy reject 203.0.113.6/31:*\nExitPolicy reject 198.51.100.1:*\n"
    number = torrc.read_text().partition(include)[0].count("\n") + 2
    with edited(torrc, lambda text: text.replace(include, include + left)):
        found = bad(examine(exit_, 3), "exit: former blocks", "warn")
        assert found["observed"].endswith(f": {torrc}:{number}")


def test_unit_that_may_not_write_a_linked_ledger_is_found(
    exit_: LoneExit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root may write there, the unit that was installed before may not."""
    monkeypatch.setattr(timer, "FOLDER", tmp_path)
    host = Host.of(
        config_file.load(exit_.folder / "config.yaml"), who="", clock=lambda: datetime.now(UTC)
    )
    for name, text in timer.units(host).items():
        (tmp_path / name).write_text(text)
    assert [finding.severity for finding in timer_checks.unit(host)] == ["ok"]
    other = tmp_path / "git"
    other.mkdir()
    exit_.ledger.rename(other / "blocks.yaml")
    exit_.ledger.symlink_to(other / "blocks.yaml")
    (finding,) = timer_checks.unit(host)
    exit_.ledger.unlink()
    (other / "blocks.yaml").rename(exit_.ledger)
    assert (finding.severity, finding.fix) == ("fail", "exitpol init --timer")
    assert str(other) in finding.observed


def test_tick_that_has_not_run_and_clock_that_was_set_are_found(exit_: LoneExit) -> None:
    """By the state file: the last observation is too old, in the future, or missing."""
    state = exit_.ledger.with_name("state")

    def applied(text: str, moment: float) -> str:
        lines = (
            f"{line.split()[0]} {moment:.3f}" if line.startswith(("applied", "trusted")) else line
            for line in text.splitlines()
        )
        return "\n".join(lines) + "\n"

    ran = time.time() - 360
    os.utime(state, (ran, ran))
    assert bad(examine(exit_, 3), "tick")["observed"].startswith("the last run was 6m")
    with edited(state, lambda text: applied(text, time.time() + 86400)):
        assert "set back" in bad(examine(exit_, 3), "clock")["why"]
    with edited(state, lambda text: applied(text, time.time() - 90 * 86400)):
        assert "jumped" in bad(examine(exit_, 3), "clock", "warn")["observed"]
    with edited(state, lambda _: "nonsense"):
        assert "missing or damaged" in bad(examine(exit_, 3), "tick")["observed"]


def test_control_port_that_is_not_there_or_elsewhere_is_found(exit_: LoneExit) -> None:
    """Exit code 6; another control port in the torrc is named."""
    config = exit_.folder / "config.yaml"
    socket_ = exit_.exit.control_socket
    with edited(config, lambda text: text.replace(f"control: {socket_}", "control: /nowhere")):
        found = bad(examine(exit_, 6), "exit: control port")
        assert f"opens {socket_}" in found["fix"]
    with edited(config, lambda text: text.replace(f"control: {socket_}", "control: 127.0.0.1:9")):
        assert "refused" in bad(examine(exit_, 6), "exit: control port")["observed"]


def test_other_torrc_than_the_one_that_tor_reads_is_found(exit_: LoneExit) -> None:
    """The include would be in a file that this Tor does not read."""
    config = exit_.folder / "config.yaml"
    other = exit_.folder / "other-torrc"
    shutil.copy(exit_.exit.torrc, other)
    with edited(config, lambda text: text.replace(str(exit_.exit.torrc), str(other))):
        found = bad(examine(exit_, 8), "exit: torrc")
        assert f"reads {exit_.exit.torrc}, not {other}" in found["observed"]


def test_tor_that_does_not_answer_is_found_in_time(exit_: LoneExit) -> None:
    """A stopped Tor costs seconds, not for ever."""
    assert exit_.exit.process is not None
    exit_.exit.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    try:
        assert "does not answer" in bad(examine(exit_, 6), "exit: control port")["observed"]
    finally:
        exit_.exit.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - begun < 20


def test_doctor_without_root_says_what_it_could_not_see(exit_: LoneExit, open_folder: Path) -> None:
    """It neither crashes nor hangs; each file that it cannot read is a finding."""
    config = open_folder / "config.yaml"
    shutil.copy(exit_.folder / "config.yaml", config)
    config.chmod(0o644)
    done = subprocess.run(
        ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         "--bounding-set=-all", "--inh-caps=-all", *EXITPOL, "--config", str(config),
         "doctor", "--json"],
        env=exit_.environment, capture_output=True, text=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode != 0
    found = {entry["check"]: entry for entry in json.loads(done.stdout)["findings"]}
    assert found["rights"]["fix"] == "sudo exitpol doctor"
    assert "ermission denied" in found["exit: control port"]["observed"]


@pytest.mark.root
@pytest.mark.parametrize(("command", "code"), [("doctor", 3), ("init", 2)])
def test_a_user_who_may_not_read_the_usual_files_is_told_to_be_root(
    command: str, code: int
) -> None:
    """Nothing is said about a torrc or a ledger that only root can read."""
    done = subprocess.run(
        ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         "--bounding-set=-all", "--inh-caps=-all", *EXITPOL, command],
        env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert f"sudo exitpol {command}" in said
    assert "Tor refuses" not in said
    assert "ledger" not in said


def test_fragment_that_tors_user_cannot_read_is_found(open_folder: Path) -> None:
    """The check reads it as that user, who is not root on Debian."""
    exit_ = set_up(open_folder, f"{OPTIONS}User nobody\n")
    exit_.exit.prepare()
    os.chown(exit_.exit.folder, NOBODY, 0)
    os.chown(exit_.exit.folder / "data", NOBODY, 0)
    os.chown(exit_.exit.control_socket.parent, NOBODY, 0)
    exit_.fragment.chmod(0o644)
    with exit_:
        assert exit_.run("init").returncode == 0
        found = examine(exit_, 3)["exit: fragment"]
        assert (found["severity"], found["observed"][-5:]) == ("ok", "65534")
        exit_.fragment.chmod(0o600)
        assert bad(examine(exit_, 5), "exit: fragment")["fix"] == f"chmod a+r {exit_.fragment}"
        exit_.fragment.chmod(0o644)
        open_folder.chmod(0o700)
        assert bad(examine(exit_, 5), "exit: fragment")["fix"] == f"chmod a+x {open_folder}"
        open_folder.chmod(0o755)


def test_sandboxed_tor_that_does_not_know_the_include_is_found(tmp_path: Path) -> None:
    """The next reload, by any program, would end Tor."""
    exit_ = set_up(tmp_path, f"{OPTIONS}Sandbox 1\n")
    include = f"%include {exit_.fragment}\n"
    exit_.exit.torrc_text = exit_.exit.torrc_text.replace(include, "")
    with exit_:
        assert exit_.run("init", "--yes").returncode == 5
        found = bad(examine(exit_, 5), "exit: reload")
        assert "Sandbox 1" in found["observed"]
        assert found["fix"].startswith("systemctl restart")


def test_password_of_the_control_port_is_judged(tmp_path: Path) -> None:
    """A right password, a wrong one, and one in a file that everybody can read."""
    hashed = subprocess.run(
        [TOR, "--hash-password", "secret"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    exit_ = set_up(tmp_path, f"{OPTIONS}HashedControlPassword {hashed}\n")
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    with exit_:
        # Set only now, because the helpers of this exit authenticate with the cookie.
        with exit_.exit.control() as control:
            control.ask("SETCONF CookieAuthentication=0")
        with edited(exit_.exit.torrc, lambda t: t.replace("CookieAuthentication 1\n", "")):
            config = exit_.folder / "config.yaml"
            config.write_text(
                config.read_text().replace(
                    "{name: exit,", f"{{name: exit, password_file: {password},"
                )
            )
            assert exit_.run("init").returncode == 0
            good = examine(exit_, 3)["exit: control port"]
            assert good["observed"].endswith(f"with the password in {password}")
            password.write_text("wrong\n")
            seen = bad(examine(exit_, 6), "exit: control port")["observed"]
            assert f"the password in {password} is wrong" in seen
            password.chmod(0o644)
            assert "open to everybody" in bad(examine(exit_, 8), "exit: control port")["observed"]


def test_control_port_that_lets_in_everybody_is_found(tmp_path: Path) -> None:
    """On a TCP port without authentication, any program on the host can control Tor."""
    port = free_port()
    exit_ = set_up(tmp_path, f"{OPTIONS}ControlPort 127.0.0.1:{port}\n")
    with exit_, exit_.exit.control() as control:
        config = exit_.folder / "config.yaml"
        socket_ = str(exit_.exit.control_socket)
        config.write_text(config.read_text().replace(socket_, f"127.0.0.1:{port}"))
        assert exit_.run("init").returncode == 0
        assert examine(exit_, 3)["exit: control port"]["observed"].endswith("with the cookie")
        control.ask("SETCONF CookieAuthentication=0")
        found = bad(examine(exit_, 3), "exit: control port", "warn")
        assert "without authentication" in found["observed"]


def as_fifo(path: Path) -> None:
    """Replace a file by something endless."""
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    """Put a folder in place of a file."""
    path.mkdir()


def as_noise(path: Path) -> None:
    """Put bytes in place of a file that mean nothing."""
    path.write_bytes(bytes(range(256)) * 40)


def as_loop(path: Path) -> None:
    """Put a torrc in place of a file that includes itself twice."""
    path.write_text(f"%include {path}\n" * 2)


def as_link(path: Path) -> None:
    """Put a link in place of a file that leads to itself."""
    path.symlink_to(path)


@pytest.mark.parametrize(
    "make",
    [
        as_fifo,
        as_link,
        *(pytest.param(make, marks=pytest.mark.slow) for make in (as_folder, as_noise, as_loop)),
    ],
)
@pytest.mark.parametrize("what", ["config", "ledger", "fragment", "torrc", "state"])
def test_doctor_survives_whatever_stands_in_place_of_a_file(
    tmp_path: Path, what: str, make: Callable[[Path], None]
) -> None:
    """It ends soon, with findings and without a traceback. No Tor runs here."""
    places = {
        name: tmp_path / name for name in ("config", "blocks.yaml", "fragment", "torrc", "state")
    }
    places["config"].write_text(
        f"ledger: {places['blocks.yaml']}\nfragment: {places['fragment']}\nrelays:\n"
        f"- {{name: exit, torrc: {places['torrc']}, control: {tmp_path}/control}}\n"
    )
    places["blocks.yaml"].write_text("version: 1\nblocks: []\n")
    places["fragment"].write_text("")
    places["torrc"].write_text(
        f"DataDirectory {tmp_path}\nORPort 127.0.0.1:9001\nExitRelay 1\nSocksPort 0\n"
        f"%include {places['fragment']}\n"
    )
    chosen = places["blocks.yaml" if what == "ledger" else what]
    chosen.unlink(missing_ok=True)
    make(chosen)
    done = subprocess.run(
        [*EXITPOL, "--config", str(places["config"]), "doctor", "--json"],
        capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in (5, 6, 8)
    assert json.loads(done.stdout)["findings"]
