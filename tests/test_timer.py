"""`timer`: the units that are installed name this installation, and systemd understands them."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy import tick
from exitpolicy.cli import relays
from exitpolicy.core.block import Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.errors import ExitCode, InvalidFileError
from exitpolicy.core.following import Following
from exitpolicy.core.guard_rule import Rule
from exitpolicy.doctor import following, guarding
from exitpolicy.doctor import timer as timer_checks
from exitpolicy.operations import rights, timer, unit_syntax
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.operations.init import Initialized
from exitpolicy.resolver import Server
from exitpolicy.storage import follow_state
from exitpolicy.storage.config import Config, Relay
from exitpolicy.storage.observed import Moment
from exitpolicy.tor import name_servers


def host(folder: Path, **config: Path) -> Host:
    """Return a host whose files lie below a folder."""
    found = Config(ledger=folder / "l/blocks.yaml", fragment=folder / "t/exitpol.conf")
    if "source" in config:
        found = Config(ledger=found.ledger, fragment=found.fragment, source=config["source"])
    relays = (
        Relay(
            "default",
            folder / "t/torrc",
            "/run/tor/control",
            config.get("password"),
            fragment=found.fragment,
        ),
    )
    return Host(found, relays, "root", lambda: datetime.now(UTC))


@pytest.mark.parametrize("name", ["plain", "my ledger", "a%b", "a$b", "it's", 'a"b'])
def test_the_installed_timer_is_known_by_its_ledger(tmp_path: Path, name: str) -> None:
    """Whatever the path holds: `init --remove` would leave the units behind."""
    folder = tmp_path / "units"
    folder.mkdir()
    mine = host(tmp_path / name)
    for unit, text in timer.units(mine).items():
        (folder / unit).write_text(text)
    assert timer.installed(mine, folder)[: len(timer.UNITS)] == [folder / n for n in timer.UNITS]
    assert timer.installed(host(tmp_path / "other"), folder) == []


def service(of: Host) -> str:
    """Return the text of the service."""
    return timer.units(of)["exitpol-expire.service"]


def line(text: str, name: str) -> str:
    """Return the value of a line of a unit."""
    (value,) = [li.partition("=")[2] for li in text.splitlines() if li.startswith(f"{name}=")]
    return value


def test_the_service_runs_the_tick_of_this_installation(tmp_path: Path) -> None:
    """Interpreter, tick, state and command are those of the exitpol that installed it."""
    at = host(tmp_path)
    assert line(service(at), "ExecStart") == (
        f"{sys.executable} -I -S {tick.__file__} {tmp_path}/l/state"
        f" -- {sys.executable} -I -m exitpolicy expire --quiet"
    )
    assert not re.search("@[A-Z_]+@", service(at))


def test_a_config_that_was_named_is_named_again(tmp_path: Path) -> None:
    """The timer reads the config that init was given."""
    source = tmp_path / "c.yaml"
    assert f" --config {source} expire --quiet" in line(
        service(host(tmp_path, source=source)), "ExecStart"
    )


def test_only_the_folders_that_are_replaced_in_are_writable(tmp_path: Path) -> None:
    """Everything else on the host is read-only to the timer."""
    assert line(service(host(tmp_path)), "ReadWritePaths") == f"{tmp_path}/l {tmp_path}/t"


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/a/b", "/a/b"),
        ("/a b", '"/a b"'),
        ('/a"b', '"/a\\"b"'),
        ("/a\\b", '"/a\\\\b"'),
        ("/a%b", "/a%%b"),
        ("/a$b", "/a$$b"),
        ("/a;b", '"/a;b"'),
    ],
)
def test_a_path_is_one_word_of_a_command_line(word: str, quoted: str) -> None:
    """Blanks, quotes, specifiers and variables of systemd are escaped."""
    assert unit_syntax.argument(word) == quoted
    assert unit_syntax.path_entry(word) == quoted.replace("$$", "$")


@pytest.mark.parametrize("end", ["\r", "\n", "\x0b", "\x85", "\u2028", "\udcff"])
@pytest.mark.parametrize("place", ["ledger", "config"])
def test_a_path_adds_no_line_to_the_unit(tmp_path: Path, end: str, place: str) -> None:
    """Such a path is refused: systemd ends a line at a carriage return as well."""
    path = tmp_path / f"a{end}ExecStartPre=+" / "evil"
    at = host(tmp_path, source=path) if place == "config" else host(path)
    with pytest.raises(InvalidFileError, match="is not allowed in a unit"):
        timer.units(at)


def test_a_user_who_owns_the_ledger_adds_no_line_to_the_unit(tmp_path: Path) -> None:
    """The link leads to a folder whose name would become a command that root runs."""
    at = host(tmp_path)
    (tmp_path / "l").mkdir()
    evil = tmp_path / "l" / "a\rExecStartPre=+" / "bin" / "evil\rX="
    evil.mkdir(parents=True)
    at.config.ledger.symlink_to(evil / "blocks.yaml")
    with pytest.raises(InvalidFileError, match="is not allowed in a unit"):
        timer.units(at)


@pytest.mark.root
def test_a_link_that_is_not_followed_opens_no_folder(tmp_path: Path) -> None:
    """The owner of the ledger's folder links to /etc: the unit may not write there."""
    at = host(tmp_path)
    (tmp_path / "l").mkdir()
    os.chown(tmp_path / "l", 65534, 65534)
    at.config.ledger.symlink_to("/etc/blocks.yaml")
    os.chown(at.config.ledger, 65534, 65534, follow_symlinks=False)
    assert line(service(at), "ReadWritePaths") == f"{tmp_path}/l {tmp_path}/t"


def test_a_path_with_the_name_of_a_placeholder_stays_a_path(tmp_path: Path) -> None:
    """Otherwise the rights would replace a part of the path."""
    folder = tmp_path / "@RIGHTS@" / "ProtectHome=yes" / "@NETWORK@"
    text = service(host(folder))
    assert line(text, "ReadWritePaths") == f"{folder}/l {folder}/t"


@pytest.mark.parametrize("at", ["/home/u", "/root", "/run/user/0"])
def test_a_home_is_readable_where_something_lies_in_one(at: str) -> None:
    """ProtectHome would hide the files; no home becomes writable."""
    text = service(host(Path("/srv"), source=Path(at) / "c.yaml"))
    assert line(text, "ProtectHome") == "read-only"
    password = service(host(Path("/srv"), password=Path(at) / "pw"))
    assert line(password, "ProtectHome") == "read-only"
    made = host(Path("/srv"))
    metered = replace(made, config=made.config._replace(metrics=Path(at) / "exitpol.prom"))
    assert line(service(metered), "ProtectHome") == "read-only"


def test_the_timer_ticks_every_minute_and_makes_up_for_missed_ticks(tmp_path: Path) -> None:
    """A block ends on its day also where the machine was off, or its clock was set."""
    text = timer.units(host(tmp_path))["exitpol-expire.timer"]
    assert [line(text, name) for name in ("OnCalendar", "Persistent", "OnClockChange")] == [
        "minutely",
        "true",
        "true",
    ]


ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """systemd-analyze finds nothing wrong with any of them."""
    at = host(tmp_path)
    texts = timer.units(at) | timer.follow_units(at) | timer.guard_units(at)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    result = subprocess.run(
        [ANALYZE or "", "verify", "--recursive-errors=no", *texts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [text for text in result.stderr.splitlines() if "exitpol-" in text]
    assert (result.returncode, ours) == (0, [])


def test_without_systemd_the_hint_is_a_line_for_cron(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed; the line runs the same tick, with % as cron wants it."""
    monkeypatch.setattr(timer, "RUNNING", tmp_path / "none")
    with pytest.raises(InvalidFileError, match="is not run by systemd") as caught:
        timer.install(host(tmp_path / "a%b c"), tmp_path)
    first, cron = (caught.value.hint or "").splitlines()
    assert first == "put this line into /etc/cron.d/exitpol:"
    assert cron.startswith(f"* * * * * root {sys.executable} -I -S ")
    assert f"'{tmp_path}/a\\%b c/l/state'" in cron
    assert list(tmp_path.iterdir()) == []


def test_init_says_what_it_set_up_where_the_timer_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without systemd: the relays are set up, and only the timer is missing."""
    monkeypatch.setattr(timer, "RUNNING", tmp_path / "none")
    now = datetime.now(UTC)
    applied = Applied(Time(now, now), Blocks({}), (), (), (), {})
    done = Initialized((tmp_path / "blocks.yaml",), (), host(tmp_path), applied)
    assert relays.finish(done, timer=True, as_json=False) == ExitCode.INVALID_FILE
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path}/blocks.yaml created\n"
    assert "the timer was not installed" in shown.err
    assert "* * * * * root " in shown.err
    # A crontab with that line is what was missing.
    crontab = tmp_path / "crontab"
    monkeypatch.setattr(timer_checks, "_CRON", (str(crontab),))
    crontab.write_text(f"# exitpol expire\n* * * * * root {timer.cron_line(host(tmp_path))}\n")
    assert relays.finish(done, timer=True, as_json=False) == ExitCode.DONE
    shown = capsys.readouterr()
    assert f"cron runs the tick: {crontab}" in shown.err
    assert "error" not in shown.err


def follower(of: Host, monkeypatch: pytest.MonkeyPatch, *servers: str) -> str:
    """Return the text of the service that follows names, with these DNS servers."""
    found = tuple(Server(address) for address in servers)
    monkeypatch.setattr(name_servers, "of", lambda _: found)
    return timer.follow_units(of)["exitpol-follow.service"]


@pytest.mark.parametrize(
    ("servers", "allowed"),
    [
        (("127.0.0.53",), "localhost"),
        (("192.0.2.53", "127.0.0.1", "2001:db8::53"), "localhost 192.0.2.53 2001:db8::53"),
    ],
)
def test_the_service_that_follows_names_reaches_the_dns_servers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: tuple[str, ...], allowed: str
) -> None:
    """The one of the tick still has no network at all."""
    at = host(tmp_path, source=tmp_path / "c.yaml")
    text = follower(at, monkeypatch, *servers)
    assert line(text, "IPAddressAllow") == allowed
    assert line(text, "IPAddressDeny") == "any"
    assert line(text, "ExecStart") == (
        f"{sys.executable} -I -m exitpolicy --config {tmp_path}/c.yaml follow --quiet"
    )
    needed, more = (
        set(line(unit, "CapabilityBoundingSet").split()) for unit in (service(at), text)
    )
    assert more - needed <= {"CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"}
    assert line(text, "ReadWritePaths") == line(service(at), "ReadWritePaths")
    assert not re.search("@[A-Z_]+@", text)
    assert line(service(at), "PrivateNetwork") == "yes"


def test_a_service_whose_dns_servers_have_changed_is_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would ask in vain: doctor names the line."""
    at = host(tmp_path)
    assert timer.follow_outdated(at, tmp_path) == []
    (tmp_path / "exitpol-follow.service").write_text(follower(at, monkeypatch, "192.0.2.1"))
    assert timer.follow_outdated(at, tmp_path) == []
    follower(at, monkeypatch, "192.0.2.2")
    assert timer.follow_outdated(at, tmp_path) == ["IPAddressAllow=localhost 192.0.2.2"]
    monkeypatch.setattr(timer, "FOLDER", tmp_path)
    (finding,) = following.unit(at)
    assert (finding.severity, finding.fix) == ("fail", "exitpol init --timer")


def test_the_changes_of_the_timer_are_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init --dry-run --timer`: a unit that is missing, edited, stopped, disabled, or too many."""
    at, folder, off = host(tmp_path), tmp_path / "units", tmp_path / "off"
    guarded = replace(at, config=at.config._replace(guard=Rule()))
    systemctl = tmp_path / "bin" / "systemctl"
    for path in (folder, tmp_path / "l", systemctl.parent):
        path.mkdir()
    systemctl.write_text(
        f'#!/bin/sh\ncase "$2 $3" in "$(cat {off} 2>/dev/null || echo x)") exit 1; esac\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(systemctl.parent), prepend=":")
    for name, value in (("FOLDER", folder), ("RUNNING", tmp_path), ("STAMPS", tmp_path)):
        monkeypatch.setattr(timer, name, value)
    monkeypatch.setattr(timer, "changed_by_others", lambda: None)
    service, clock = (folder / name for name in timer.UNITS)
    assert timer.changes(at, folder) == [service, clock]
    assert list(folder.iterdir()) == []
    assert timer.install(at, folder) == [service, clock]
    assert timer.changes(at, folder) == []
    for question in ("is-enabled", "is-active"):
        off.write_text(f"{question} exitpol-expire.timer")
        assert timer.changes(at, folder) == [clock]
    off.unlink()
    service.write_text(f"{service.read_text()}# edited\n")
    assert timer.changes(at, folder) == [service]
    guard = [folder / name for name in timer.GUARD_UNITS]
    timer.install(guarded, folder)
    assert timer.changes(guarded, folder) == []
    assert timer.changes(at, folder) == guard
    monkeypatch.setattr(timer, "RUNNING", tmp_path / "none")
    with pytest.raises(InvalidFileError, match="not run by systemd"):
        timer.changes(at, folder)


def test_the_timer_that_follows_names_is_there_only_where_one_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init --timer` adds it; `block --follow` adds it where the other one is; both are removed."""
    at, folder, called = host(tmp_path), tmp_path / "units", tmp_path / "called"
    systemctl = tmp_path / "bin" / "systemctl"
    for path in (folder, tmp_path / "l", systemctl.parent):
        path.mkdir()
    systemctl.write_text(f'#!/bin/sh\necho "$*" >>{called}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(systemctl.parent), prepend=":")
    for name, value in (("FOLDER", folder), ("RUNNING", tmp_path), ("STAMPS", tmp_path)):
        monkeypatch.setattr(timer, name, value)
    monkeypatch.setattr(timer, "changed_by_others", lambda: None)
    ledger = "version: 2\nblocks:\n- {destination: 203.0.113.7, since: 2026-01-01, until: never}\n"
    at.config.ledger.write_text(ledger)
    assert timer.install_follow(at) == []
    assert timer.install(at, folder) == [folder / name for name in timer.UNITS]
    follow = [folder / name for name in timer.FOLLOW_UNITS]
    assert not timer.follows(at)
    assert timer.install_follow(at) == follow
    assert timer.follows(at)
    assert timer.install_follow(at) == []
    assert set(follow) <= set(timer.remove(at))
    assert list(folder.iterdir()) == []
    at.config.ledger.write_text(ledger.replace("never", "never, follow: www.example.org"))
    assert timer.install(at, folder)[2:] == follow
    at.config.ledger.write_text("no ledger")
    assert timer.install(at, folder)[2:] == follow
    at.config.ledger.write_text(ledger)
    assert timer.install(at, folder)[2:] == []
    assert {path.name for path in folder.iterdir()} == set(timer.UNITS)
    said = called.read_text()
    assert "enable --now exitpol-expire.timer exitpol-follow.timer" in said
    assert "disable --now exitpol-follow.timer" in said
    assert "stop exitpol-follow.service" in said


def test_a_crontab_looks_names_up_every_five_minutes(tmp_path: Path) -> None:
    """The words are those of the unit, with % as cron wants it."""
    line_ = timer.follow_cron_line(host(tmp_path, source=tmp_path / "a%b.yaml"))
    assert line_.endswith(f"--config {tmp_path}/a\\%b.yaml follow --quiet")


def test_a_linked_ledger_is_written_where_it_is(tmp_path: Path) -> None:
    """The folder of the link, of each further link, and of the file are writable."""
    at = host(tmp_path)
    for folder in ("l", "git", "deep"):
        (tmp_path / folder).mkdir()
    (tmp_path / "deep" / "real.yaml").write_text("version: 1\nblocks: []\n")
    (tmp_path / "git" / "blocks.yaml").symlink_to("../deep/real.yaml")
    at.config.ledger.symlink_to(tmp_path / "git" / "blocks.yaml")
    folders = " ".join(f"{tmp_path}/{name}" for name in ("deep", "git", "l", "t"))
    assert line(service(at), "ReadWritePaths") == folders


def debian(folder: Path) -> Host:
    """Return a host with the files, owners and modes of Debian's Tor."""
    at = host(folder)
    for name in ("l", "t", "run"):
        (folder / name).mkdir()
    (folder / "t" / "torrc").write_text(f"User nobody\nCookieAuthFile {folder}/run/cookie\n")
    at.config.ledger.write_text("version: 2\nblocks: []\n")
    at.config.fragment.write_text("")
    for name, mode in (("control", 0o660), ("cookie", 0o640)):
        (folder / "run" / name).touch()
        os.chown(folder / "run" / name, 4711, 4712)
        (folder / "run" / name).chmod(mode)
    os.chown(folder / "run", 4711, 4712)
    (folder / "run").chmod(0o750)
    relay = at.relays[0]._replace(control=str(folder / "run" / "control"))
    return replace(at, relays=(relay,))


@pytest.mark.root
def test_debians_tor_is_reached_by_its_group(tmp_path: Path) -> None:
    """The unit gets no right to ignore modes or owners, only to become Tor's user."""
    debian_host = debian(tmp_path)
    found = rights.needed(debian_host)
    assert list(found.groups) == ["4712"]
    assert set(found.capabilities) == {"CAP_SETUID", "CAP_SETGID"}
    text = service(debian_host)
    assert line(text, "SupplementaryGroups") == "4712"
    assert line(text, "CapabilityBoundingSet") == "CAP_SETGID CAP_SETUID"
    assert line(text, "RestrictAddressFamilies") == "AF_UNIX"
    assert line(text, "PrivateNetwork") == "yes"


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "owner", "mode", "capabilities"),
    [
        ("run/control", (4711, 4712), 0o600, {"CAP_DAC_OVERRIDE"}),
        ("run/cookie", (4711, 4712), 0o600, {"CAP_DAC_READ_SEARCH"}),
        ("run", (4711, 4712), 0o700, {"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"}),
        ("t/torrc", (4711, 4711), 0o600, {"CAP_DAC_READ_SEARCH"}),
        ("l", (4711, 0), 0o755, {"CAP_DAC_OVERRIDE"}),
        ("l/blocks.yaml", (4711, 0), 0o644, {"CAP_CHOWN", "CAP_FOWNER"}),
        ("t/exitpol.conf", (4711, 0), 0o644, {"CAP_CHOWN", "CAP_FOWNER"}),
        ("t/exitpol.conf", (0, 4712), 0o644, set()),
    ],
)
def test_what_is_owned_by_others_needs_more(
    tmp_path: Path, name: str, owner: tuple[int, int], mode: int, capabilities: set[str]
) -> None:
    """Each further right names the file that requires it."""
    at = debian(tmp_path)
    os.chown(tmp_path / name, *owner)
    (tmp_path / name).chmod(mode)
    found = rights.needed(at)
    assert set(found.capabilities) - {"CAP_SETUID", "CAP_SETGID"} == capabilities
    for capability in capabilities:
        assert str(tmp_path / name) in found.capabilities[capability]


@pytest.mark.root
def test_a_tcp_port_opens_the_network_to_this_host(tmp_path: Path) -> None:
    """And to the address of a control port that is elsewhere."""
    at = debian(tmp_path)
    for control, allowed in (
        ("127.0.0.1:9051", "localhost"),
        ("[::1]:9051", "localhost"),
        ("[::ffff:127.0.0.2]:9051", "localhost"),
        ("tor.example:9051", "localhost"),
        ("192.0.2.1:9051", "localhost 192.0.2.1"),
        ("[2001:db8::1]:9051", "localhost 2001:db8::1"),
    ):
        tcp = replace(at, relays=(at.relays[0]._replace(control=control),))
        text = service(tcp)
        assert line(text, "IPAddressAllow") == allowed
        assert "PrivateNetwork" not in text


def test_a_reason_is_one_comment() -> None:
    """A line end or backslash in a path neither ends nor continues the comment."""
    assert unit_syntax.comment("a\r\nCapabilityBoundingSet=CAP_SYS_ADMIN\\") == (
        "a??CapabilityBoundingSet=CAP_SYS_ADMIN"
    )


def test_units_that_do_not_fit_any_more_are_outdated(tmp_path: Path) -> None:
    """Lines that the installed unit lacks are reported; comments do not count."""
    at = host(tmp_path)
    assert timer.outdated(at, tmp_path) == []
    for name, text in timer.units(at).items():
        (tmp_path / name).write_text(f"# edited\n{text}")
    assert timer.outdated(at, tmp_path) == []
    # As long as Tor does not run, the owner of its socket is not known.
    for name, text in timer.units(at).items():
        less = re.sub(
            "^CapabilityBoundingSet=.*", "CapabilityBoundingSet=", text, flags=re.MULTILINE
        )
        (tmp_path / name).write_text(less)
    assert timer.outdated(at, tmp_path) == []
    for name, text in timer.units(at).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "git").mkdir()
    (tmp_path / "l").mkdir()
    at.config.ledger.symlink_to(tmp_path / "git" / "blocks.yaml")
    assert timer.outdated(at, tmp_path) == [
        f"ReadWritePaths={tmp_path}/git {tmp_path}/l {tmp_path}/t"
    ]


@pytest.mark.root
@pytest.mark.parametrize("fault", ["owner of a file", "owner of a folder", "open to all"])
def test_no_timer_runs_what_another_user_can_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """It would be root's once a minute; that user would be root a minute later."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "module.py").touch()
    monkeypatch.setattr(timer, "program_files", lambda: iter([tmp_path / "lib" / "module.py"]))
    assert timer.changed_by_others() is None
    if fault == "owner of a file":
        os.chown(tmp_path / "lib" / "module.py", 65534, 65534)
    elif fault == "owner of a folder":
        os.chown(tmp_path / "lib", 65534, 65534)
    else:
        (tmp_path / "lib").chmod(0o777)
    with pytest.raises(InvalidFileError, match="the timer was not installed"):
        timer.install(host(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lib"]


def test_the_program_is_all_that_is_imported() -> None:
    """Interpreter, modules, and the folders in which Python searches."""
    assert {Path(sys.executable), Path(tick.__file__), Path(timer.__file__)} <= set(
        timer.program_files()
    )
    assert set(map(Path, filter(None, sys.path))) <= set(timer.program_files())


def test_the_guard_is_run_only_where_it_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init --timer` adds and removes its timer; doctor says when that is to be done."""
    at, folder = host(tmp_path), tmp_path / "units"
    guarded = replace(at, config=at.config._replace(guard=Rule()))
    systemctl = tmp_path / "bin" / "systemctl"
    for path in (folder, tmp_path / "l", systemctl.parent):
        path.mkdir()
    systemctl.write_text("#!/bin/sh\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(systemctl.parent), prepend=":")
    for name, value in (("FOLDER", folder), ("RUNNING", tmp_path), ("STAMPS", tmp_path)):
        monkeypatch.setattr(timer, name, value)
    monkeypatch.setattr(timer, "changed_by_others", lambda: None)
    assert list(guarding.check(at)) == []
    (finding,) = guarding.check(guarded)
    assert (finding.severity, finding.fix) == ("warn", "exitpol init --timer")
    installed = timer.install(guarded, folder)
    assert set(installed) >= {folder / name for name in timer.GUARD_UNITS}
    (finding,) = guarding.check(guarded)
    assert finding.severity == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda _name, **_where: None)
        (finding,) = guarding.check(guarded)
    assert (finding.severity, finding.fix) == ("fail", "apt install iproute2")
    (finding,) = guarding.check(at)
    assert (finding.severity, finding.fix) == ("fail", "exitpol init --timer")
    service = folder / timer.GUARD_UNITS[0]
    service.write_text(service.read_text().replace("IPAddressDeny=any", ""))
    (finding,) = guarding.check(guarded)
    assert "it lacks IPAddressDeny=any" in finding.observed
    # It says which units it has deleted.
    now = datetime.now(UTC)
    applied = Applied(Time(now, now), Blocks({}), (), (), (), {})
    done = Initialized((), (), at, applied)
    assert relays.finish(done, timer=True, as_json=False) == ExitCode.DONE
    assert not service.exists()
    deleted = [f"{folder / name} deleted" for name in timer.GUARD_UNITS]
    shown = capsys.readouterr().out
    assert all(line in shown for line in deleted)
    assert not any(f"{folder / name} deleted" in shown for name in timer.UNITS)


def test_a_guard_that_cron_runs_without_a_rule_is_taken_out_of_the_crontab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init --timer` changes no crontab."""
    at, crontab = host(tmp_path), tmp_path / "crontab"
    crontab.write_text(f"* * * * * root {timer.guard_cron_line(at)}\n")
    monkeypatch.setattr(timer_checks, "_CRON", (str(crontab),))
    monkeypatch.setattr(timer, "FOLDER", tmp_path)
    (finding,) = guarding.check(at)
    assert (finding.severity, finding.fix) == (
        "fail",
        f"remove the line with guard from {crontab}",
    )
    crontab.write_text(f"# exitpol guard\n* * * * * root {timer.follow_cron_line(at)}\n")
    assert list(guarding.check(at)) == []
    assert following.is_run(at)


def test_names_above_the_limit_are_reported_with_their_ports(tmp_path: Path) -> None:
    """One name with 101 ports is 101 names to follow."""
    at = host(tmp_path)
    at.config.ledger.parent.mkdir()
    at.config.ledger.write_text(
        "version: 2\nblocks:\n"
        + "".join(
            f"- {{destination: '203.0.113.7:{port}', since: 2026-01-01, until: never,"
            " follow: www.example.org}\n"
            for port in range(1, 102)
        )
    )
    follow_state.save(follow_state.path_beside(at.config.ledger), Following.begun(()), Moment.now())
    (finding,) = following.check(at)
    assert finding.observed == "101 names are to be followed, and only the first 100 are"


def test_the_service_of_the_guard_sees_sockets_and_sends_nothing(tmp_path: Path) -> None:
    """It needs netlink in the network of the host, and /proc of Tor's processes."""
    at = host(tmp_path, source=tmp_path / "c.yaml")
    text = timer.guard_units(at)["exitpol-guard.service"]
    assert line(text, "ExecStart") == (
        f"{sys.executable} -I -m exitpolicy --config {tmp_path}/c.yaml guard --quiet"
    )
    assert line(text, "RestrictAddressFamilies") == "AF_UNIX AF_NETLINK"
    # Without /proc/mounts, ss complains about each connection, and its answer is not believed.
    assert (line(text, "ProcSubset"), line(service(at), "ProcSubset")) == ("all", "pid")
    assert line(text, "IPAddressDeny") == "any"
    assert "PrivateNetwork" not in text
    needed, more = (
        set(line(unit, "CapabilityBoundingSet").split()) for unit in (service(at), text)
    )
    assert more == needed | {"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}
    assert not re.search("@[A-Z_]+@", text)
