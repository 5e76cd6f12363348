"""Clocks that jump by days or years: no mass expiry, no block lost, and a warning."""

import json
import re
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.evidence import Thing, record
from tests.harness.host import LoneExit
from tests.test_crash import CC, build_shim

THING = Thing.CLOCKS

pytestmark = [
    pytest.mark.tor,
    pytest.mark.skipif(not CC, reason="no C compiler to build crash.c with"),
]

SHORT, LONG, FOREVER = "203.0.113.1", "203.0.113.3", "203.0.113.5"
ALL = {f"{destination}:*" for destination in (SHORT, LONG, FOREVER)}


@pytest.fixture(scope="module")
def exit_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneExit]:
    """Set up an exit for exitpol, and build the library that makes clocks wrong."""
    folder = tmp_path_factory.mktemp("clock")
    build_shim(folder)
    with LoneExit(folder) as host:
        assert host.run("init").returncode == 0
        yield host


@pytest.fixture
def host(exit_host: LoneExit) -> LoneExit:
    """With a correct clock, block for 12 hours, for 20 days and for ever."""
    (exit_host.ledger.parent / "state").unlink(missing_ok=True)
    exit_host.ledger.write_text("version: 2\nblocks: []\n")
    for destination, until in ((SHORT, "12h"), (LONG, "20d"), (FOREVER, "never")):
        done = exit_host.run("block", destination, "--until", until, "--no-wait")
        assert done.returncode in (0, 3), done.stderr
    assert exit_host.run("expire").returncode == 0
    assert exit_host.rejected() == ALL
    return exit_host


def at(host: LoneExit, offset: str, *command: str) -> tuple[int, str]:
    """Run exitpol with a clock that is wrong by `offset`; return its code and messages."""
    units = {"h": 3600, "d": 86_400, "y": 365 * 86_400}
    seconds = sum(int(n) * units[unit] for n, unit in re.findall(r"([+-]\d+)([hdy])", offset))
    shim = {"LD_PRELOAD": str(host.folder / "crash.so"), "CLOCK_OFFSET": str(seconds)}
    done = host.run(*command, environment=shim)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def in_ledger(host: LoneExit) -> set[str]:
    """Read the ledger with another reader than exitpol's."""
    return {block["destination"] for block in yaml.safe_load(host.ledger.read_text())["blocks"]}


@pytest.mark.parametrize("offset", ["+60d", pytest.param("+20y", marks=pytest.mark.slow)])
def test_jump_forward_by_more_than_a_month_lifts_nothing_and_is_said(
    host: LoneExit, offset: str
) -> None:
    """A tick months later doubts the clock: all blocks stay, with a warning."""
    _, said = at(host, offset, "expire")
    assert "clock" in said
    assert host.rejected() == ALL
    assert in_ledger(host) == {SHORT, LONG, FOREVER}
    done = host.run("expire")
    assert done.returncode == 0, done.stderr
    assert host.rejected() == ALL


@pytest.mark.parametrize("offset", ["-10y", pytest.param("-2d", marks=pytest.mark.slow)])
def test_jump_back_lifts_nothing(host: LoneExit, offset: str) -> None:
    """A tick with a time before the blocks began keeps them."""
    at(host, offset, "expire")
    assert host.rejected() == ALL
    assert in_ledger(host) == {SHORT, LONG, FOREVER}
    assert host.run("expire").returncode == 0
    assert host.rejected() == ALL


def test_days_that_do_pass_lift_what_has_ended(host: LoneExit) -> None:
    """A day and three weeks later, which a clock may jump, blocks end as promised."""
    code, said = at(host, "+1d", "expire")
    assert code == 0, said
    assert host.rejected() == ALL - {f"{SHORT}:*"}
    code, said = at(host, "+22d", "expire")
    assert code == 0, said
    assert host.rejected() == {f"{FOREVER}:*"}


@pytest.mark.parametrize(
    "offset", ["+1d", *(pytest.param(o, marks=pytest.mark.slow) for o in ("+22d", "+30d"))]
)
def test_block_that_a_wrong_clock_ended_comes_back(host: LoneExit, offset: str) -> None:
    """After a tick with a fast clock, a tick with a correct one enforces all blocks again."""
    at(host, offset, "expire")
    assert f"{SHORT}:*" not in host.rejected()
    assert host.run("expire").returncode == 0
    assert host.rejected() == ALL
    assert "ended" not in host.ledger.read_text()
    changes = json.loads(host.run("history", SHORT, "--json").stdout)["changes"]
    assert [change["action"] for change in changes[-2:]] == ["expire", "resume"]


@pytest.mark.slow
def test_a_wrong_clock_tells_no_reporter_that_a_block_has_ended(host: LoneExit) -> None:
    """Only after an hour of running time the letter is written; should the clock return, it warns.

    A lift needs no such wait.
    """
    ended, wrong = "203.0.113.77", "+1d"
    done = host.run("block", ended, "--until", "12h", "--reference", "T#1", "--no-wait")
    assert done.returncode == 0, done.stderr
    letter = ("reply", "T#1", "--kind", "lifted")

    at(host, wrong, "expire")
    code, said = at(host, wrong, *letter)
    assert (code, f"no letter was written: the block of {ended} expired" in said) == (3, True), said
    assert "no letter says so" not in at(host, wrong, "list")[1]
    host.run("expire")
    assert f"{ended}:*" in host.rejected()
    assert "told" not in host.ledger.read_text()

    at(host, wrong, "expire")
    state = host.ledger.with_name("state")
    text = state.read_text()
    running = re.search("^running (.*)$", text, re.MULTILINE)
    assert running is not None
    state.write_text(text.replace(running[0], f"running {float(running[1]) + 3600}"))
    assert f"no letter says so: {ended} (T#1)" in at(host, wrong, "list")[1]
    assert at(host, wrong, *letter)[0] == 0
    code, said = at(host, wrong, *letter)
    assert (code, "--again" in said) == (2, True), said
    assert "no letter says so" not in at(host, wrong, "list")[1]

    host.run("expire")
    assert f"{ended}:*" in host.rejected()
    said = host.run("list").stderr
    assert f"{ended} is blocked again, although a letter of" in said, said
    assert host.run("lift", ended).returncode == 0
    assert f"no letter says so: {ended} (T#1)" in host.run("list").stderr
    assert host.run(*letter).returncode == 0


def test_block_that_was_lifted_by_a_wrong_clock_stays_lifted(host: LoneExit) -> None:
    """A lift is final, whatever the clock says then and later."""
    at(host, "+19d", "lift", LONG)
    for offset in ("+0d", "-5d", "+3d"):
        at(host, offset, "expire")
        assert f"{LONG}:*" not in host.rejected(), offset
    done = host.run("renew", LONG, "--until", "3d")
    assert (done.returncode, "it was lifted at" in done.stderr) == (9, True), done.stderr


def test_what_was_observed_in_the_future_is_not_believed(host: LoneExit) -> None:
    """After an apply with a fast clock, the next command finds and repairs drift."""
    at(host, "+2h", "apply")
    with host.exit.control() as control:
        control.ask('SETCONF ExitPolicy="accept *:*"')
    time.sleep(2)
    assert host.rejected() == set()
    listed = json.loads(host.run("list", "--json").stdout)["blocks"]
    assert {block["state"] for block in listed} == {"pending"}
    done = host.run("block", LONG, "--until", "1d", "--json")
    assert json.loads(done.stdout)["blocks"][0]["state"] == "live", done.stdout
    assert host.rejected() == ALL


def test_clock_that_stays_leapt_is_believed_after_an_hour(host: LoneExit) -> None:
    """On a machine that was off for a year, blocks are held for an hour and then lifted."""
    at(host, "+365d", "expire")
    assert host.rejected() == ALL
    at(host, "+365d", "expire")
    assert host.rejected() == ALL
    code, said = at(host, "+365d+3h", "expire")
    assert code == 0, said
    assert host.rejected() == {f"{FOREVER}:*"}


def test_clock_that_swings_to_and_fro_loses_nothing(host: LoneExit) -> None:
    """With ticks of a clock that is years ahead and years behind in turn, all blocks stay live."""
    offsets = ["+50d", "-50d", "+2y", "-1d", "+90d", "-3y"]
    for offset in offsets:
        at(host, offset, "expire", "--quiet")
        assert host.rejected() == ALL, offset
        assert in_ledger(host) == {SHORT, LONG, FOREVER}, offset
    assert host.run("expire").returncode == 0
    assert host.rejected() == ALL
    record(THING, len(offsets))


@pytest.mark.parametrize("ahead", ["+13h", pytest.param("+25d", marks=pytest.mark.slow)])
def test_step_back_after_a_clock_that_was_ahead_lifts_nothing(host: LoneExit, ahead: str) -> None:
    """The clock was ahead of a block's end, then right, then back before the block began."""
    at(host, ahead, "expire", "--quiet")
    assert host.run("expire").returncode == 0
    assert host.rejected() == ALL
    for offset in ("-20d", "-10y"):
        _, said = at(host, offset, "expire")
        assert host.rejected() == ALL, offset
        assert "clock" in said
    assert host.run("expire").returncode == 0
    assert host.rejected() == ALL
    record(THING, 2)
