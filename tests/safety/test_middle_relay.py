"""A relay stops being an exit by its own options while blocks stand: it must not become open."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exitpolicy import tick
from exitpolicy.policy.rule import parse_policy
from exitpolicy.tor import fragment
from tests.evidence import Thing, record
from tests.harness.host import ExitHost, HostMaker
from tests.harness.tor import HarnessError, wait_until

THING = Thing.MIDDLE

CLOSED = ["reject *:*"]
EXITS = {
    "ExitRelay": ("ExitRelay 1",),
    "IPv6Exit": ("IPv6Exit 1",),
    "ReducedExitPolicy": ("ReducedExitPolicy 1",),
    "own lines": ("ExitPolicy accept *:443", "ExitPolicy reject *:*"),
    "one own line": ("ExitPolicy reject *:25",),
}
"""What makes the relay an exit, before the operator takes it away."""
COMMANDS: dict[str, tuple[str, ...]] = {
    "tick": ("tick",),
    "apply": ("apply",),
    "lift": ("lift", "203.0.113.7"),
    "block": ("block", "203.0.113.9", "--until", "1d"),
    "init": ("init",),
}
QUICK = [("ExitRelay", "tick"), ("own lines", "lift")]


def take_away(host: ExitHost, lines: tuple[str, ...]) -> None:
    """Remove what made the relay an exit, as an operator does, and have Tor read it."""
    text = host.tor.torrc.read_text()
    for line in lines:
        text = text.replace(f"{line}\n", "")
    host.tor.torrc.write_text(text)
    host.tor.signal(signal.SIGHUP)
    time.sleep(1.5)


def settled_policy(host: ExitHost) -> list[str]:
    """Return the policy that Tor enforces once it had time to enforce another one."""
    try:
        wait_until(lambda: host.tor.policy() == CLOSED, 3)
    except HarnessError:
        return host.tor.policy()
    return CLOSED


@pytest.mark.parametrize(
    ("exit_by", "name"),
    [
        pytest.param(form, name, marks=() if (form, name) in QUICK else pytest.mark.slow)
        for form in EXITS
        for name in COMMANDS
    ],
)
def test_a_relay_that_is_no_exit_any_more_is_closed(
    make_host: HostMaker, exit_by: str, name: str
) -> None:
    """The next command, or the tick after one that is refused, empties the fragment."""
    host = make_host(EXITS[exit_by])
    assert host.run("block", "203.0.113.7", "203.0.113.8", "--until", "30d").code == 0
    take_away(host, EXITS[exit_by])
    command = COMMANDS[name]
    done = host.tick() if command == ("tick",) else host.run(*command)
    if name in ("block", "init"):
        # A new block on a relay that is no exit is moot, or refused; `init` is for exits only.
        host.tick()
    assert host.tor.alive, done
    assert "Traceback" not in done.err
    rules = [li for li in host.fragment.read_text().splitlines() if li.startswith("ExitPolicy")]
    assert rules == [], (done, rules)
    assert settled_policy(host) == CLOSED, done
    if name in ("lift", "apply", "tick"):
        assert done.code != 4, done
    checked = host.run("status", "--check")
    assert checked.code in (0, 3), checked
    # Becoming an exit again, the relay blocks again what the ledger holds.
    for line in EXITS[exit_by]:
        text = host.tor.torrc.read_text()
        host.tor.torrc.write_text(text + f"{line}\n")
    host.tor.signal(signal.SIGHUP)
    time.sleep(1.5)
    again = host.tick()
    assert host.tor.rejects("203.0.113.8"), again
    record(THING, 1)


def include_twice(host: ExitHost) -> None:
    """Include the fragment a second time, as a copied line does."""
    host.tor.add(f"%include {host.fragment}")


def include_former(host: ExitHost) -> None:
    """Include a former fragment, which still holds blocks."""
    former = host.folder / "former.conf"
    former.write_text(fragment.render(parse_policy(["reject 203.0.113.7:*", "reject *:25"])))
    host.tor.add(f"%include {former}")


@pytest.mark.parametrize("include", [include_twice, include_former])
def test_a_second_fragment_makes_no_exit(
    make_host: HostMaker, include: Callable[[ExitHost], None]
) -> None:
    """Blocks in another include are no own lines of the operator's: the relay's are empty."""
    host = make_host(("ExitRelay 1",))
    include(host)
    host.run("apply", "--load-foreign")
    host.run("block", "203.0.113.7", "--until", "30d")
    assert host.tor.rejects("203.0.113.7")
    take_away(host, ("ExitRelay 1",))
    done = host.tick()
    assert "no exit" in done.err, done
    assert "ExitPolicy" not in host.fragment.read_text()
    if include is include_twice:
        assert settled_policy(host) == CLOSED, done
    assert "no exit" in host.run("init").err
    record(THING, 1)


def shared(make_host: HostMaker) -> tuple[ExitHost, Path]:
    """Return two exits that include one fragment, as former versions set them up, and that file."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",), init=False, start=False)
    single = host.folder / "exitpol.conf"
    single.write_text("")
    config = host.config.read_text()
    host.config.write_text(config.replace("fragments: exitpol", "fragment: exitpol.conf"))
    host.ledger.parent.mkdir()
    host.ledger.write_text("version: 2\nblocks: []\n")
    for relay in host.relays:
        relay.add(f"%include {single}")
        relay.start()
    return host, single


def test_a_middle_relay_with_broken_files_keeps_a_shared_fragment_empty(
    make_host: HostMaker,
) -> None:
    """Once they are correct again, its next reload would open it."""
    host, single = shared(make_host)
    assert host.run("block", "203.0.113.7", "--until", "30d").code == 0
    middle = host.relays[1]
    good = middle.torrc.read_text().replace("ExitRelay 1\n", "")
    middle.torrc.write_text(good)
    middle.signal(signal.SIGHUP)
    time.sleep(1.5)
    host.tick()
    assert "ExitPolicy" not in single.read_text()
    middle.torrc.write_text(f"{good}NoSuchOption 1\n")
    done = host.tick()
    assert "ExitPolicy" not in single.read_text(), done
    middle.torrc.write_text(good)
    middle.signal(signal.SIGHUP)
    time.sleep(1.5)
    assert middle.policy() == CLOSED
    record(THING, 1)


INCLUDES = {
    "file": "own.conf",
    "folder": "own.d",
    "pattern": "own.d/*.conf",
    "pattern of folders": "own*/x.conf",
}


@pytest.mark.parametrize("form", list(INCLUDES))
def test_the_next_tick_notices_a_change_of_an_include(
    make_host: HostMaker, tmp_path: Path, form: str
) -> None:
    """What makes the relay an exit may stand in another file than the torrc."""
    (tmp_path / "own.d").mkdir()
    file = tmp_path / ("own.conf" if form == "file" else "own.d/x.conf")
    file.write_text("ExitRelay 1\n")
    host = make_host((f"%include {tmp_path}/{INCLUDES[form]}",))
    assert host.run("block", "203.0.113.7", "--until", "30d").code == 0
    assert tick.due(str(host.state), time.time()) is None
    if form == "file":
        file.write_text("# no exit any more\n")
    else:
        file.unlink()
    host.tor.signal(signal.SIGHUP)
    time.sleep(1.5)
    done = host.tick()
    assert settled_policy(host) == CLOSED, done
    record(THING, 1)


@pytest.mark.slow
@pytest.mark.parametrize("exit_by", list(EXITS))
@pytest.mark.parametrize("restart", [False, True], ids=["not reloaded", "restarted"])
def test_the_time_of_the_reload_does_not_matter(
    make_host: HostMaker, exit_by: str, *, restart: bool
) -> None:
    """The tick comes before Tor has read the change, or after a restart of Tor."""
    host = make_host(EXITS[exit_by])
    assert host.run("block", "203.0.113.7", "--until", "30d").code == 0
    text = host.tor.torrc.read_text()
    for line in EXITS[exit_by]:
        text = text.replace(f"{line}\n", "")
    host.tor.torrc.write_text(text)
    if restart:
        host.tor.stop()
        host.tor.start()
    done = host.tick()
    if not restart:
        host.tor.signal(signal.SIGHUP)
        time.sleep(1.5)
        host.tick()
    assert settled_policy(host) == CLOSED, done
    record(THING, 1)


@pytest.mark.parametrize("options", [(), ("ExitRelay 0",), ("ExitRelay auto",)], ids=str)
def test_a_middle_relay_never_becomes_an_exit(
    make_host: HostMaker, options: tuple[str, ...]
) -> None:
    """Blocks by hand in the ledger, by command and by init leave a middle relay closed."""
    host = make_host(options, init=False)
    host.run("init")
    host.run("block", "203.0.113.7", "--until", "1d")
    if host.ledger.exists():
        head = host.ledger.read_text().replace("blocks: []", "blocks:").rstrip("\n")
        row = '- {destination: "203.0.113.8", since: "2026-01-01", until: never}'
        host.ledger.write_text(f"{head}\n{row}\n")
    for _ in range(2):
        host.tick()
        host.run("apply")
    host.tor.signal(signal.SIGHUP)
    time.sleep(1.5)
    assert host.tor.alive
    assert host.tor.policy() == CLOSED
    record(THING, 1)
