"""Clocks that are wrong for one command, by any step, both ways: no promise is lost."""

import shutil
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.evidence import Thing, record
from tests.harness.host import LoneExit
from tests.test_crash import CC, build_shim

THING = Thing.STEPS
pytestmark = [
    pytest.mark.tor,
    pytest.mark.skipif(not CC, reason="no C compiler to build crash.c with"),
]

MINUTE, HOUR, DAY = 60, 3600, 86_400
STEPS = {
    "1m": MINUTE, "10m": 10 * MINUTE, "59m": 59 * MINUTE, "61m": 61 * MINUTE, "3h": 3 * HOUR,
    "12h": 12 * HOUR, "1d": DAY, "3d": 3 * DAY, "10d": 10 * DAY, "20d": 20 * DAY, "31d": 31 * DAY,
    "40d": 40 * DAY, "1y": 365 * DAY, "10y": 3652 * DAY,
}  # fmt: skip
COMMANDS: dict[str, tuple[str, ...]] = {
    "expire": ("expire",),
    "apply": ("apply",),
    "block": ("block", "203.0.113.50", "--until", "never", "--no-wait"),
    "renew": ("renew", "203.0.113.5", "--until", "never"),
    "lift": ("lift", "203.0.113.6"),
    "init": ("init",),
    "policy use": ("policy", "use", "web", "--force"),
    "policy accept": ("policy", "accept"),
    "complaint --block": (
        "complaint", "{mail}", "--block", "203.0.113.50", "--until", "never", "--despite-spoofing"
    ),
    "all that only read": (),
}  # fmt: skip
READING: list[tuple[str, ...]] = [
    ("status",), ("status", "--check"), ("list",), ("list", "--all"), ("history",), ("doctor",),
    ("check", "203.0.113.5"), ("apply", "--dry-run"), ("expire", "--dry-run"), ("policy", "list"),
    ("complaint", "{mail}"), ("reply", "{mail}"),
]  # fmt: skip
MAIL = """\
From: abuse@isp.example
To: abuse@exit.example
Subject: abuse [A-1]
Date: Thu, 26 Nov 2026 10:00:00 +0000

Your address 127.0.0.1 attacked our server 203.0.113.50 on port 22.
"""
TEN_DAYS, FOREVER, OTHER, LIFTED = "203.0.113.3", "203.0.113.5", "203.0.113.6", "203.0.113.7"


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneExit]:
    """Block three destinations and lift a fourth; keep the files for every case."""
    folder = tmp_path_factory.mktemp("steps")
    build_shim(folder)
    with LoneExit(folder) as host:
        assert host.run("init").returncode == 0
        assert host.run("block", TEN_DAYS, "--until", "10d").returncode == 0
        others = ("block", FOREVER, OTHER, LIFTED, "--until", "never")
        assert host.run(*others).returncode == 0
        assert host.run("lift", LIFTED).returncode == 0
        assert host.run("expire").returncode == 0
        (folder / "mail.eml").write_text(MAIL)
        shutil.copytree(host.ledger.parent, folder / "kept")
        shutil.copy(host.fragment, folder / "kept-fragment")
        yield host


@pytest.fixture
def host(set_up: LoneExit) -> LoneExit:
    """Give the host as it was after the set-up."""
    reset(set_up)
    return set_up


def reset(host: LoneExit) -> None:
    """Put the files back that the set-up left, and have Tor read them."""
    shutil.rmtree(host.ledger.parent)
    shutil.copytree(host.folder / "kept", host.ledger.parent)
    before = host.fragment.read_text()
    shutil.copy(host.folder / "kept-fragment", host.fragment)
    if host.fragment.read_text() != before:
        host.exit.reload_and_wait()


def installed(host: LoneExit) -> set[str]:
    """Return the addresses in the fragment."""
    lines = host.fragment.read_text().splitlines()
    found = {line.split()[2].partition(":")[0] for line in lines if line.startswith("ExitPolicy")}
    # The wildcards of a base policy are no blocks.
    return {address for address in found if not address.startswith("*")}


def in_force(host: LoneExit) -> set[str]:
    """Return the addresses in the ledger that are not marked as ended."""
    blocks = yaml.safe_load(host.ledger.read_text())["blocks"]
    return {block["destination"] for block in blocks if "ended" not in block}


@pytest.mark.slow
@pytest.mark.parametrize(("step", "sign"), [(step, sign) for step in STEPS for sign in (1, -1)])
def test_a_wrong_clock_at_one_command_loses_nothing(host: LoneExit, step: str, sign: int) -> None:
    """Once the clock is right again, all that was promised is in force, and nothing else is."""
    lost = []
    shim = {
        "LD_PRELOAD": str(host.folder / "crash.so"), "CLOCK_OFFSET": str(sign * STEPS[step])
    }  # fmt: skip
    mail = str(host.folder / "mail.eml")
    for name, command in COMMANDS.items():
        reset(host)
        said = ""
        for words in [command] if command else READING:
            wrong = host.run(*(word.format(mail=mail) for word in words), environment=shim)
            said += wrong.stderr
        right = host.run("expire")
        what = f"{name} at {'+' if sign > 0 else '-'}{step}"
        expected = {TEN_DAYS, FOREVER, OTHER}
        if name == "lift" and wrong.returncode in (0, 3):
            expected.discard(OTHER)
        found = installed(host) - {"203.0.113.50"}
        said += right.stderr
        if "Traceback" in said:
            lost.append(f"{what}: {said}")
        if found != expected:
            lost.append(f"{what}: installed {sorted(found)}: {said}")
        kept = in_force(host) - {"203.0.113.50"}
        if kept != expected:
            lost.append(f"{what}: in the ledger {sorted(kept)}: {said}")
    assert lost == []
    record(THING, len(COMMANDS) - 1 + len(READING))


@pytest.mark.parametrize(
    "step", [pytest.param(s, marks=() if s == "3h" else pytest.mark.slow) for s in STEPS]
)
def test_nothing_observed_in_the_future_is_believed(host: LoneExit, step: str) -> None:
    """A state that was written by a clock ahead of its time does not make a block live."""
    shim = {"LD_PRELOAD": str(host.folder / "crash.so"), "CLOCK_OFFSET": str(STEPS[step])}
    host.run("apply", environment=shim)
    with host.exit.control() as control:
        control.ask("SETEVENTS DESCCHANGED")
        control.ask('SETCONF ExitPolicy="accept *:*"')
        control.event(time.monotonic() + 10)
    assert f"{FOREVER}:*" not in host.rejected()
    done = host.run("block", FOREVER, "--until", "never", "--json")
    enforced = f"{FOREVER}:*" in host.rejected()
    assert ('"live"' in done.stdout) <= enforced, done
    host.run("apply")
    assert f"{FOREVER}:*" in host.rejected()
    record(THING, 1)


def test_the_shim_makes_the_clock_wrong(host: LoneExit) -> None:
    """Without this, every test above would pass for nothing."""
    shim = {"LD_PRELOAD": str(host.folder / "crash.so"), "CLOCK_OFFSET": str(11 * DAY)}
    done = host.run("list", "--json", environment=shim)
    assert done.stdout.count(TEN_DAYS) == 0 or '"ended"' in done.stdout or "due" in done.stdout
