"""Hooks: what a change tells them, that it never waits for them, and how they get their events."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy import hook_delivery
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.doctor import hooks as checks
from exitpolicy.doctor.finding import Severity
from exitpolicy.hook_delivery import Delivered, State
from exitpolicy.operations import hooks, removals, timer
from exitpolicy.operations.host import Host
from exitpolicy.storage import history, hook_spool, ledger_file
from exitpolicy.storage.config import Config, Relay
from exitpolicy.storage.health_record import HealthRecord
from exitpolicy.storage.hook_config import Hooks
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import lock
from tests.harness.host import HostMaker

ANALYZE = shutil.which("systemd-analyze")
MAX_EXPOSURE = 2.0
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOBODY = 65534


def make_host_of(folder: Path, *commands: str, fields: tuple[str, ...] = ()) -> Host:
    """Return a host with hooks whose files lie below a folder."""
    told = Hooks(commands, fields, folder / "spool")
    config = Config(ledger=folder / "blocks.yaml", fragment=folder / "exitpol.conf", hooks=told)
    relay = Relay("default", folder / "torrc", "/run/tor/control", fragment=config.fragment)
    return Host(config, (relay,), "ada", lambda: NOW)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host with one hook."""
    return make_host_of(tmp_path, "/bin/true")


def block(number: int = 7) -> Block:
    """Return a block that names people in every field that can."""
    return Block(
        parse_destination(f"203.0.{number // 256}.{number % 256}:22"),
        NOW,
        NOW + timedelta(days=30),
        reason="Ada's server",
        reference="ADA#1",
        references=("BOB#2",),
        name="www.ada.example",
        source="bobs-list",
    )


def events(of: Host) -> list[dict[str, Any]]:
    """Return the events in the spool."""
    spool = hook_spool.load(of.config.hooks.spool)
    return [] if spool is None else spool["events"]


def test_a_change_is_one_event_without_what_may_name_people(host: Host) -> None:
    """Reason, tickets, host name, list and login name stay here."""
    hooks.record(host, "block", [block(7), block(8)])
    (event,) = events(host)
    number = event.pop("id")
    assert re.fullmatch("[0-9a-f]{16}-1", number)
    shown = {"since": "2026-11-27T12:00:00Z", "until": "2026-12-27T12:00:00Z", "relays": []}
    assert event == {
        "schema": 1,
        "number": 1,
        "time": "2026-11-27T12:00:00Z",
        "host": os.uname().nodename,
        "event": "change",
        "action": "block",
        "count": 2,
        "blocks": [
            {"destination": "203.0.0.7:22", **shown},
            {"destination": "203.0.0.8:22", **shown},
        ],
    }
    assert [change.action for change in history.read(host.history_path)] == ["block", "block"]


def test_the_config_names_further_fields(tmp_path: Path) -> None:
    """Only those that it names, and each as the ledger has it."""
    fields = ("reason", "reference", "references", "name", "source", "who")
    host = make_host_of(tmp_path, "/bin/true", fields=fields)
    hooks.record(host, "lift", [block()])
    (event,) = events(host)
    (told,) = event["blocks"]
    assert event["who"] == "ada"
    assert [told[name] for name in fields[:-1]] == [
        *("Ada's server", "ADA#1", ["BOB#2"]),
        *("www.ada.example", "bobs-list"),
    ]


def test_the_event_of_an_end_tells_as_much_as_that_of_a_beginning(tmp_path: Path) -> None:
    """Its relays and its list too, although the removal waited in a file for the fragments."""
    host = make_host_of(tmp_path, "/bin/true", fields=("references", "name", "source"))
    of_one = block()._replace(relays=("exit1", "exit2"))
    ledger_file.save(host.config.ledger, Ledger(Blocks.of()))
    hooks.record(host, "block", [of_one])
    removals.announce(host, "expire", [of_one])
    removals.record(host, [])
    begun, ended = events(host)
    assert [begun["action"], ended["action"]] == ["block", "expire"]
    assert begun["blocks"] == ended["blocks"]


def test_the_events_of_health_and_policy(host: Host) -> None:
    """The faults with what the tick said, and the words of the history."""
    found = HealthRecord(NOW, frozenset({"drift", "pending"}), frozenset({"exit1"}), ("x" * 900,))
    hooks.health_changed(host, found)
    hooks.record_policy(host, "policy-used", "base policy web")
    health, policy = events(host)
    assert [health[key] for key in ("event", "faults", "places", "messages", "since")] == [
        *("health", ["drift", "pending"], ["exit1"], ["x" * 500]),
        "2026-11-27T12:00:00Z",
    ]
    assert [policy[key] for key in ("event", "action", "text", "number")] == [
        *("policy", "policy-used", "base policy web"),
        2,
    ]


def test_without_hooks_nothing_is_written(tmp_path: Path) -> None:
    """No spool, no folder; the history is written as ever."""
    host = make_host_of(tmp_path)
    hooks.record(host, "block", [block()])
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_the_spool_is_roots_alone(host: Host) -> None:
    """The folder has mode 0700 and the file 0600, whatever the umask is."""
    old = os.umask(0)
    try:
        hooks.record(host, "block", [block()])
    finally:
        os.umask(old)
    folder = host.config.hooks.spool
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, hook_spool.path_in(folder))]
    assert modes == [0o700, 0o600]


def occupied(folder: Path) -> None:
    """Put a file in the place of the folder."""
    folder.write_text("")


def open_to_all(folder: Path) -> None:
    """Let everybody write in the folder."""
    folder.mkdir()
    folder.chmod(0o777)


def linked(folder: Path) -> None:
    """Put a link in the place of the folder."""
    folder.with_name("elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.with_name("elsewhere"))
    os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)
    folder.parent.chmod(0o1777)


def parentless(folder: Path) -> None:
    """Let the file of the spool be a folder."""
    hook_spool.path_in(folder).mkdir(parents=True)


@pytest.mark.root
@pytest.mark.parametrize("spoil", [occupied, open_to_all, linked, parentless])
def test_what_the_spool_does_not_take_stops_no_change(
    host: Host, spoil: Callable[[Path], None]
) -> None:
    """The change is in the history; the dropped events are counted, and leave a gap later."""
    folder = host.config.hooks.spool
    spoil(folder)
    for number in (1, 2):
        hooks.record(host, "block", [block(number)])
    assert len(list(history.read(host.history_path))) == 2
    assert events(host) == []
    lost = hooks.dropped(host)
    assert lost is not None
    assert (lost.count, lost.since) == (2, "2026-11-27T12:00:00Z")
    assert str(folder) in lost.why
    mark = json.loads(hooks.dropped_path(host).read_text())
    hooks.dropped_path(host).write_text(json.dumps({**mark, "count": 10**4000}))
    assert (hooks.dropped(host) or lost).count == 1_000_000, "the folder may be another user's"
    hooks.dropped_path(host).write_text(json.dumps({**mark, "count": float("inf")}))
    assert hooks.dropped(host) is None
    hooks.dropped_path(host).write_text(json.dumps(mark))
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink()
    hooks.record(host, "block", [block(3)])
    assert [event["number"] for event in events(host)] == [3]
    assert hooks.dropped(host) is None


def test_who_holds_the_spool_delays_a_change_by_a_second(host: Host) -> None:
    """Only root could; the event is dropped then."""
    hooks.record(host, "block", [block()])
    path = hook_spool.files_in(host.config.hooks.spool)[1]
    with lock(path, seconds=1, doing="testing"):
        begun = time.monotonic()
        hooks.record(host, "block", [block()])
        assert 0.9 < time.monotonic() - begun < 3
    lost = hooks.dropped(host)
    assert lost is not None
    assert lost.count == 1
    assert len(events(host)) == 1


def test_a_history_that_cannot_be_written_stops_no_event(host: Host) -> None:
    """The ledger has the change; the error of the history goes on to the caller."""
    host.history_path.mkdir()
    with pytest.raises(InvalidFileError):
        hooks.record(host, "block", [block()])
    assert len(events(host)) == 1


def test_a_full_spool_loses_its_oldest_events(tmp_path: Path) -> None:
    """Numbers go on, and the file stays within what systemd hands over."""
    folder = tmp_path / "spool"
    for number in range(1, 15):
        hook_spool.append(folder, {"text": "x" * 49_000, "time": str(number)})
    spool = hook_spool.load(folder)
    assert spool is not None
    numbers = [event["number"] for event in spool["events"]]
    assert numbers == list(range(15 - len(numbers), 15))
    assert 5 < len(numbers) < 14
    assert hook_spool.path_in(folder).stat().st_size < 1_000_000


def test_a_spool_has_a_bounded_number_of_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest."""
    monkeypatch.setattr(hook_spool, "MAX_EVENTS", 3)
    for _ in range(5):
        hook_spool.append(tmp_path / "spool", {})
    spool = hook_spool.load(tmp_path / "spool")
    assert spool is not None
    assert [event["number"] for event in spool["events"]] == [3, 4, 5]


def test_a_change_of_many_blocks_is_a_small_event(host: Host) -> None:
    """It names the first ones, and counts all."""
    hooks.record(host, "block", [block(number) for number in range(3000)])
    wide = block()._replace(
        destination=parse_destination("*:" + ",".join(map(str, range(1, 900, 2))))
    )
    hooks.record(host, "block", [wide] * 100)
    many, ports = events(host)
    assert (many["count"], len(many["blocks"])) == (3000, hooks.MAX_BLOCKS)
    assert (ports["count"], 0 < len(ports["blocks"]) < 100) == (100, True)
    assert len(json.dumps(ports)) < hook_spool.MAX_EVENT + 1000


@given(st.binary(max_size=200) | st.sampled_from([b"[]", b"{}", b'{"version": 1}', b"[" * 5000]))
def test_a_damaged_spool_is_begun_anew(content: bytes) -> None:
    """Whatever it holds, the next event is in a good one with another identity."""
    folder = Path(tempfile.gettempdir()) / f"s{os.getpid()}"
    try:
        hook_spool.append(folder, {})
        hook_spool.path_in(folder).write_bytes(content)
        hook_spool.append(folder, {"event": "change"})
        spool = hook_spool.load(folder)
        assert spool is not None
        assert [event["number"] for event in spool["events"]] == [1]
    finally:
        shutil.rmtree(folder)


class Runner:
    """Runs the hooks as their unit does: as another user, with a copy of the spool."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.credentials = folder / "credentials"
        self.host = make_host_of(folder / "root")
        for path in (self.state, self.credentials, folder / "root"):
            path.mkdir()
            os.chown(path, NOBODY, NOBODY)
        os.chown(folder / "root", 0, 0)
        self.seen = self.state / "seen"

    def add(self, *numbers: int) -> None:
        """Add events, each with a block."""
        config = self.host.config._replace(
            hooks=self.host.config.hooks._replace(after_change=("/",))
        )
        for number in numbers:
            hooks.record(replace(self.host, config=config), "block", [block(number)])

    def script(self, text: str, name: str = "hook") -> str:
        """Return a command that runs a shell script."""
        path = self.state.parent / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def run(self, *commands: str, user: int = NOBODY) -> "subprocess.CompletedProcess[str]":
        """Run the script of the unit."""
        copy = self.credentials / hook_delivery.EVENTS
        shutil.copy(hook_spool.path_in(self.host.config.hooks.spool), copy)
        os.chown(copy, NOBODY, NOBODY)
        # The folders above the source may be closed to others.
        program = self.state.parent / "hook_delivery.py"
        shutil.copy(hook_delivery.__file__, program)
        return subprocess.run(
            ["/usr/bin/python3", "-I", "-S", str(program), *commands],
            check=False, capture_output=True, text=True, timeout=60, user=user, group=user,
            extra_groups=[],
            env={"CREDENTIALS_DIRECTORY": str(self.credentials), "STATE_DIRECTORY": str(self.state),
                 "PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    def taken(self, name: str = "seen") -> list[int]:
        """Return the numbers of the events that a hook has written to a file."""
        path = self.state / name
        return [json.loads(line)["number"] for line in path.read_text().splitlines()]


@pytest.fixture
def runner() -> Iterator[Runner]:
    """Give a folder in which nobody can work."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield Runner(folder)
    finally:
        shutil.rmtree(folder)


@pytest.mark.root
def test_a_hook_gets_each_event_once_and_in_order(runner: Runner) -> None:
    """Also in two runs; its working folder and HOME are the folder of its state."""
    runner.add(1, 2)
    hook = runner.script('test "$PWD" = "$HOME" && cat >> seen')
    done = runner.run(hook)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert runner.taken() == [1, 2]
    runner.add(3)
    assert runner.run(hook).returncode == 0
    assert runner.taken() == [1, 2, 3]
    assert runner.run(hook).returncode == 0
    assert runner.taken() == [1, 2, 3]


@pytest.mark.root
def test_a_hook_that_fails_gets_the_same_event_again(runner: Runner) -> None:
    """Later events wait for it; another hook does not. Its arguments are not in the journal."""
    runner.add(1, 2, 3)
    failing = runner.script(
        "read -r event\n"
        "case $event in *203.0.0.2:*) test -e good || exit 7;; esac\n"
        'echo "$event" >> seen'
    )
    other = runner.script("cat >> other", "other")
    done = runner.run(f"{failing} secret", other)
    assert done.returncode == 1
    assert re.fullmatch(
        f"exitpol: hooks: {failing} failed for event [0-9a-f]+-2: exit code 7; it is tried again\n",
        done.stderr,
    )
    assert (runner.taken(), runner.taken("other")) == ([1], [1, 2, 3])
    runner.add(4)
    (runner.state / "good").touch()
    assert runner.run(f"{failing} secret", other).returncode == 0
    assert (runner.taken(), runner.taken("other")) == ([1, 2, 3, 4], [1, 2, 3, 4])


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "why"),
    [("/nowhere/hook", "it cannot be run: "), ("/bin/sh -c 'kill -9 $$'", "exit code -9")],
)
def test_what_cannot_be_run_is_a_failure(runner: Runner, command: str, why: str) -> None:
    """And no traceback."""
    runner.add(1)
    done = runner.run(command)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert why in done.stderr


def test_a_hook_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it has started."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    begun = time.monotonic()
    why = hook_delivery.run("/bin/sh -c 'sleep 60 & echo $! > child; wait'", {}, seconds=0.5)
    assert why == "it took more than 0.5 s"
    assert time.monotonic() - begun < 5
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:  # noqa: PTH110
        if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{child}")  # noqa: PTH110


def test_a_hook_need_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is larger than a pipe does not hold it up."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert hook_delivery.run("/bin/true", {"text": "x" * 200_000}) is None


@pytest.mark.root
def test_no_hook_runs_as_root(runner: Runner) -> None:
    """Not even where the operator gives User=root to the unit."""
    runner.add(1)
    done = runner.run(runner.script("cat >> seen"), user=0)
    assert (done.returncode, done.stdout) == (1, "")
    assert "do not run as root" in done.stderr
    assert not runner.seen.exists()


@pytest.mark.root
@pytest.mark.parametrize("content", ["", "[]", '{"events": [{}]}', '{"events": [{"number": "x"}]}'])
def test_a_damaged_spool_is_said(runner: Runner, content: str) -> None:
    """In one line, without a traceback."""
    runner.add(1)
    hook_spool.path_in(runner.host.config.hooks.spool).write_text(content)
    done = runner.run(runner.script("cat >> seen"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the spool cannot be read" in done.stderr


@pytest.mark.root
def test_a_record_of_deliveries_that_cannot_be_written_is_said(runner: Runner) -> None:
    """In one line; the event comes again."""
    runner.add(1)
    (runner.state / hook_delivery.DELIVERED).mkdir()
    done = runner.run(runner.script("cat >> seen"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "delivered.json cannot be used: Is a directory" in done.stderr


@pytest.mark.root
def test_dropped_events_are_told(runner: Runner) -> None:
    """In the journal, and by the numbers."""
    runner.add(1)
    hook = runner.script("cat >> seen")
    runner.run(hook)
    hook_spool.append(runner.host.config.hooks.spool, {"event": "change"}, dropped=3)
    done = runner.run(hook)
    assert done.returncode == 0
    assert re.search("events dropped before [0-9a-f]+-5: 3\n", done.stderr)
    assert runner.taken() == [1, 5]


def spool_of(*numbers: int, identity: str = "a") -> dict[str, Any]:
    """Return a spool with events."""
    return {"spool": identity, "next": numbers[-1] + 1, "events": [{"number": n} for n in numbers]}


@pytest.mark.parametrize(
    ("known", "spool", "numbers"),
    [
        (None, spool_of(4, 5), [3, 3]),
        ({"old": 5}, spool_of(4, 5, 6), [5, 5]),
        ({"old": 4, "gone": 5}, spool_of(4, 5, 6), [4, 5]),
        ({"old": 5}, spool_of(1, identity="b"), [0, 0]),
    ],
)
def test_a_new_hook_gets_no_old_event(
    known: dict[str, int] | None, spool: dict[str, Any], numbers: list[int]
) -> None:
    """A first hook, or one with a new spool, gets all that are there."""
    state = known and State("a", {name: Delivered(number) for name, number in known.items()})
    found = hook_delivery.starts(state or None, spool, ["old", "new"])
    assert [found.commands[name].number for name in ("old", "new")] == numbers


@given(st.binary(max_size=100) | st.sampled_from([b"[]", b"{}", b'{"spool":1,"commands":[]}']))
def test_a_damaged_record_of_deliveries_is_none(content: bytes) -> None:
    """A user without rights writes it: nothing else than a state or None comes of it."""
    assert hook_delivery.state_of(content) is None


@pytest.fixture
def installed(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Give a host whose units are installed, as far as files tell."""
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in {**timer.units(host), **timer.hook_units(host)}.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(timer, "FOLDER", folder)
    monkeypatch.setattr(timer, "booted", lambda: True)
    monkeypatch.setattr(checks, "systemctl", lambda _word, _unit: "active")
    monkeypatch.setattr(checks, "DELIVERED", tmp_path / "delivered.json")
    return host


def deliver(host: Host, number: int, failure: dict[str, str] | None = None) -> None:
    """Write what the hooks have taken."""
    spool = hook_spool.load(host.config.hooks.spool)
    assert spool is not None
    entry = {"number": number, "failure": failure}
    document = {
        "spool": spool["spool"],
        "commands": dict.fromkeys(host.config.hooks.after_change, entry),
    }
    checks.DELIVERED.write_text(json.dumps(document))


def found(host: Host) -> str:
    """Return what doctor observes; `ok` if all is well."""
    return "; ".join(
        "ok" if finding.severity is Severity.OK else finding.observed
        for finding in checks.check(host)
    )


def later(host: Host, **passed: float) -> Host:
    """Return the host some time later."""
    return replace(host, clock=lambda: NOW + timedelta(**passed))


def test_doctor_is_content_with_hooks_that_take_their_events(installed: Host) -> None:
    """Before the first event, and after it."""
    assert found(installed) == "ok"
    hooks.record(installed, "block", [block()])
    assert found(later(installed, minutes=2)) == "ok"
    deliver(installed, 1)
    assert found(later(installed, days=2)) == "ok"


def test_doctor_says_that_a_hook_fails_or_does_not_run(installed: Host) -> None:
    """It names the program, and not its arguments."""
    hooks.record(installed, "block", [block()])
    late = "/bin/true has not got the event of 2026-11-27T12:00:00Z; waiting events: 1"
    assert found(later(installed, minutes=20)) == late
    deliver(installed, 0, {"since": "2026-11-27T12:01:00Z", "why": "exit code 7"})
    assert found(later(installed, minutes=1)) == (
        "/bin/true has failed since 2026-11-27T12:01:00Z: exit code 7; waiting events: 1"
    )


def test_doctor_says_that_events_were_dropped(installed: Host) -> None:
    """While the spool is unusable, for a week after that, and where it was full."""
    folder = installed.config.hooks.spool
    hooks.record(installed, "block", [block()])
    deliver(installed, 1)
    folder.chmod(0o777)
    assert found(installed) == f"{folder} cannot be used: others than root can change it"
    hooks.record(installed, "block", [block()])
    assert found(installed).startswith("events dropped since 2026-11-27T12:00:00Z: 1; ")
    folder.chmod(0o700)
    hooks.record(installed, "block", [block()])
    assert found(installed) == "events dropped in the last days: 1"
    deliver(installed, 3)
    assert found(installed) == "ok"


def test_doctor_compares_the_unit_with_the_config(
    installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other hooks, no unit, a stopped timer, no systemd; and hooks that the config lost."""
    of = installed.config.hooks
    changed = replace(
        installed,
        config=installed.config._replace(hooks=of._replace(after_change=("/bin/false secret",))),
    )
    unit = timer.FOLDER / timer.HOOK_UNITS[0]
    assert found(changed) == f"{unit} is not that of the config: other ExecStart"
    without = replace(installed, config=installed.config._replace(hooks=Hooks()))
    assert "runs hooks that the config does not have any more" in found(without)
    with monkeypatch.context() as patched:
        patched.setattr(checks, "systemctl", lambda _word, _unit: "inactive")
        assert found(installed) == "exitpol-hooks.timer is inactive"
    (timer.FOLDER / timer.HOOK_UNITS[1]).unlink()
    assert found(installed) == "exitpol-hooks.timer is not installed"
    assert found(without) == ""
    monkeypatch.setattr(timer, "booted", lambda: False)
    assert found(installed).startswith("this host is not run by systemd")


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is missing")
def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    """Systemd finds nothing wrong, and little exposed; the spool and the hooks are in it."""
    host = make_host_of(tmp_path / "a %b", "/bin/true 'x y' $HOME 100%")
    texts = timer.hook_units(host)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    service = texts["exitpol-hooks.service"]
    assert not re.findall(r"@[A-Z_]+@", service)
    spool = f"{tmp_path}/a %%b/spool/events.json"
    assert f"\nConditionPathExists={spool}\n" in service
    assert f"\nLoadCredential=events:{spool}\n" in service
    assert f"{hook_delivery.__file__} \"/bin/true 'x y' $$HOME 100%%\"\n" in service
    names = [str(tmp_path / name) for name in texts]
    done = subprocess.run(
        [ANALYZE or "", "verify", "--man=no", "--recursive-errors=no", *names],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "exitpol" in line]
    assert (done.returncode, ours) == (0, [])
    (tmp_path / "exitpol-hooks.service").write_text(
        service.replace("ProtectHome=read-only", "ProtectHome=yes")
    )
    done = subprocess.run(
        [ANALYZE or "", "security", "--offline=true", "--no-pager", names[0]],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for \S+ ([0-9.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= MAX_EXPOSURE, done.stdout


def test_the_tick_may_write_the_spool_and_starts_without_it(host: Host, tmp_path: Path) -> None:
    """The minus sign lets the unit start where the folder is missing."""
    line = f"ReadWritePaths={tmp_path} -{tmp_path}/spool\n"
    assert line in timer.units(host)["exitpol-expire.service"]
    without = replace(host, config=host.config._replace(hooks=Hooks()))
    assert f"ReadWritePaths={tmp_path}\n" in timer.units(without)["exitpol-expire.service"]


def test_the_hooks_are_installed_with_the_timer(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And taken out when the config has none; not where another user can change the spool."""
    folder = tmp_path / "units"
    folder.mkdir()
    monkeypatch.setattr(timer, "RUNNING", tmp_path)
    monkeypatch.setattr(timer, "_check_program", lambda: None)
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(timer, "_open_to_others", lambda _: None)
    # The Python and the source of these tests may be closed to others.
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(hook_delivery, "__file__", "/usr/bin/python3")
    units = [folder / name for name in timer.HOOK_UNITS]
    assert timer.install(host, folder)[2:] == units
    assert host.config.hooks.spool.stat().st_mode & 0o777 == 0o700, "a tick could not make it"
    assert set(units) <= set(timer.installed(host, folder))
    without = replace(host, config=host.config._replace(hooks=Hooks()))
    assert timer.install(without, folder)[2:] == []
    assert not any(path.exists() for path in units)
    monkeypatch.setattr(timer, "_open_to_others", lambda paths: next(iter(paths)))
    with pytest.raises(ExitpolError, match="the spool of the hooks must not lie there"):
        timer.install(host, folder)
    monkeypatch.setattr(timer, "_open_to_others", lambda _: None)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "hook_delivery.py").write_text("")
    monkeypatch.setattr(hook_delivery, "__file__", str(closed / "hook_delivery.py"))
    with pytest.raises(ExitpolError, match=f"{closed} is closed to other users than root"):
        timer.install(host, folder)


def test_a_real_block_and_its_end_are_events(make_host: HostMaker, tmp_path: Path) -> None:
    """A broken spool changes nothing for the operator; the tick tells that the health changed."""
    host = make_host(
        ("ExitRelay 1", "ExitPolicy accept *:*"),
        extra="hooks: {after-change: [/bin/true], spool: spool}\n",
    )
    spool = tmp_path / "spool"
    assert host.run("block", "203.0.113.7", "203.0.113.8", "--until", "1h").code == 0
    assert host.run("lift", "203.0.113.7", "203.0.113.8").code == 0
    # Nothing runs the hooks here, which root alone can see.
    faults = host.run("status", "--check", "--json").json["faults"]
    assert ("hooks_failing" in faults) == (os.geteuid() == 0)
    (spool).chmod(0o777)
    done = host.run("block", "203.0.113.9", "--until", "1h")
    assert (done.code, done.err) == (0, "")
    spool.chmod(0o700)
    host.fragment.write_text(host.fragment.read_text() + "ExitPolicy reject 203.0.113.10:*\n")
    host.tor.stop()
    assert host.run("expire", "--quiet").code == 6
    loaded = hook_spool.load(spool)
    assert loaded is not None
    told = [
        (e["number"], e.get("action"), e.get("count"), e.get("faults")) for e in loaded["events"]
    ]
    assert told == [
        (1, "block", 2, None),
        (2, "lift", 2, None),
        (4, None, None, ["tor_unreachable"]),
    ]
