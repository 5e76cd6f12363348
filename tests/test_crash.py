"""exitpol is killed at every call that writes or sends; nothing is lost, and Tor keeps running.

crash.c counts the calls of the process and sends SIGKILL at the k-th, before it is made or, for
writes, when half of it is written. The steps are enumerated, not sampled: all of them with the
marker `slow`; without it, those that rename, sync or send.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from exitpolicy.storage import history
from tests.evidence import Thing, record
from tests.harness.host import LoneExit

CC = shutil.which("cc") or shutil.which("gcc")

pytestmark = [
    pytest.mark.tor,
    pytest.mark.skipif(not CC, reason="no C compiler to build crash.c with"),
]

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's reader, ten times as fast, where there is one."""

DECISIVE = re.compile(r"rename|fsync|send|ftruncate|unlink")
THING = Thing.KILLS
PARTS = 2
"""The number of tests that share the steps of a command, so that two workers end together."""

BLOCKS = 130
"""The number of blocks before the first crash: each lift and renew uses another one."""


def address(number: int) -> str:
    """Return an address that cannot be merged with another one into one rule."""
    return f"203.{number // 10_000}.{number // 100 % 100}.{number % 100 * 2 + 1}"


@dataclass
class Victim:
    """An exit with blocks, and a command that is killed again and again."""

    host: LoneExit
    shim: Path
    prepare: Callable[["Victim", int], list[str]]
    """Set up one run and return its command; called with the number of the run."""
    runs: int = 0
    wanted: set[str] = field(default_factory=set)
    """The addresses that were acknowledged and not lifted since."""

    def start(self, first: int = 0) -> None:
        """Fill the ledger."""
        added = [address(number) for number in range(first, first + BLOCKS)]
        done = self.host.run("block", *added, "--until", "30d")
        assert done.returncode == 0, done.stderr
        self.wanted = self.in_ledger()
        self.check_all_equal()

    def steps(self) -> list[str]:
        """Run the command to its end and return the calls that it made, in order."""
        log = self.host.folder / f"calls-{self.runs}"
        done = self._run(self._next(), CRASH_COUNT=str(log))
        assert done.returncode == 0, done.stderr
        self.wanted = self.in_ledger()
        self.check_all_equal()
        return log.read_text().splitlines()

    def crash_at(self, step: int, *, half: bool) -> None:
        """Kill the command at its k-th call; check that nothing is lost and a tick repairs all."""
        what = f"call {step}{' by half' if half else ''}"
        command = self._next()
        environment = {"CRASH_AT": str(step)} | ({"CRASH_HALF": "1"} if half else {})
        done = self._run(command, **environment)
        # A run may be some calls shorter than the first one, never one that fails.
        assert done.returncode in (0, -9), (what, done)
        named = {word for word in command if word.startswith("203.")}
        ledger = self.in_ledger()
        assert ledger - named == self.wanted - named, (what, "another block changed")
        if "live" in done.stdout or (done.returncode == 0 and command[0] == "block"):
            assert named <= ledger, (what, "an acknowledged block is lost")
        assert self.host.exit.alive, (what, self.host.exit.log())
        verified = self.host.exit.verifies()
        assert verified.returncode == 0, (what, verified.stdout)
        healed = self.host.run("expire")
        assert healed.returncode == 0, (what, healed.stderr)
        self.wanted = self.in_ledger()
        assert self.wanted - named == ledger - named
        self.check_all_equal(what)
        # In this process, because another command would add a tenth to the time.
        assert list(history.read(self.host.ledger.with_name("history.jsonl"))), what

    def in_ledger(self) -> set[str]:
        """Read the ledger with another reader than exitpol's: what is in force now."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self.host.ledger.open("rb") as file:
            blocks = yaml.load(file, Loader=YAML)["blocks"] or []  # noqa: S506 - it is a safe one
        return {b["destination"] for b in blocks if b["until"] > now and "ended" not in b}

    def check_all_equal(self, what: str = "") -> None:
        """Check that exactly the blocks of the ledger are installed and enforced."""
        wanted = {f"{destination}:*" for destination in self.wanted}
        lines = self.host.fragment.read_text().splitlines()
        installed = {line.split()[2] for line in lines if line.startswith("ExitPolicy reject")}
        assert installed == wanted, what
        assert self.host.rejected() == wanted, what

    def _next(self) -> list[str]:
        if len(self.wanted) < BLOCKS // 10:
            self.start(10_000 * (1 + self.runs))
        command = self.prepare(self, self.runs)
        self.runs += 1
        return command

    def _run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        shim = {"LD_PRELOAD": str(self.shim), "PYTHONDONTWRITEBYTECODE": "1"}
        return self.host.run(*command, environment=environment | shim)


def _block(_victim: Victim, run: int) -> list[str]:
    return ["block", address(BLOCKS + run), "--until", "30d"]


def _lift(victim: Victim, _run: int) -> list[str]:
    return ["lift", min(victim.wanted)]


def _renew(victim: Victim, run: int) -> list[str]:
    return ["renew", min(victim.wanted), "--until", f"{40 + run}d"]


def _expire(victim: Victim, _run: int) -> list[str]:
    # A block whose day has come: its line is given an end that has just passed.
    ended = min(victim.wanted)
    text = victim.host.ledger.read_text()
    line = next(line for line in text.splitlines() if f'"{ended}"' in line)
    old = re.sub(r'since: "[^"]*"', 'since: "2026-01-01T00:00:00Z"', line)
    old = re.sub(r'until: "[^"]*"', 'until: "2026-01-02T00:00:00Z"', old)
    victim.host.ledger.write_text(text.replace(line, old))
    victim.wanted.discard(ended)
    return ["expire"]


def _apply(victim: Victim, run: int) -> list[str]:
    # An operator's own edit of the ledger.
    added = address(BLOCKS + run)
    line = f'- {{destination: "{added}", since: "2026-01-01T00:00:00Z", until: "never"}}\n'
    victim.host.ledger.write_text(victim.host.ledger.read_text() + line)
    victim.wanted.add(added)
    return ["apply"]


COMMANDS = {"block": _block, "lift": _lift, "renew": _renew, "expire": _expire, "apply": _apply}


def build_shim(folder: Path) -> Path:
    """Build the library that kills the process, or makes its calls fail."""
    library = folder / "crash.so"
    source = Path(__file__).with_name("crash.c")
    assert CC is not None
    subprocess.run([CC, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it once for all commands."""
    return build_shim(tmp_path_factory.mktemp("crash"))


@pytest.fixture
def victim(request: pytest.FixtureRequest, tmp_path: Path, shim: Path) -> Iterator[Victim]:
    """One exit for each of the commands."""
    with LoneExit(tmp_path) as host:
        victim = Victim(host, shim, COMMANDS[request.param])
        assert host.run("init").returncode == 0
        victim.start()
        yield victim


@pytest.mark.parametrize("victim", ["block", "expire"], indirect=True)
def test_command_killed_where_it_puts_things_in_place_loses_nothing(
    victim: Victim,
) -> None:
    """Killed at a rename, sync or send: ledger and Tor are intact, and one tick repairs the rest.

    Every n-th of these steps: two, and as many as fit into 6 s. The slow test has the rest.
    """
    decisive = [n for n, call in enumerate(victim.steps(), 1) if DECISIVE.search(call)]
    assert len(decisive) >= 4
    deadline = time.monotonic() + 6
    tried = 0
    for step in sorted(decisive, key=lambda n: (decisive.index(n) % 4, n)):
        if time.monotonic() > deadline and tried >= 2:
            break
        victim.crash_at(step, half=False)
        tried += 1
    record(THING, tried)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("victim", COMMANDS, indirect=True)
def test_command_killed_at_every_step_loses_nothing(victim: Victim, part: int) -> None:
    """Killed before each call and within each write: nothing is lost, Tor runs, a tick repairs."""
    calls = victim.steps()
    steps = [(number, False) for number in range(1, len(calls) + 1)]
    steps += [(n, True) for n, call in enumerate(calls, 1) if re.search(r" (p?write|send)", call)]
    for step, half in steps[part::PARTS]:
        victim.crash_at(step, half=half)
    record(THING, len(steps[part::PARTS]))
