"""Many exitpols at once, with ticks and foreign reloads between them: no update is lost."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from tests.evidence import Thing, record
from tests.harness.host import LoneExit

pytestmark = pytest.mark.tor

THING = Thing.CROWD
LOCK_TIMEOUT = 7
TICK_SECONDS = 150
"""The longest that a tick may take: exitpol waits 120 s for another one."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LoneExit]:
    """Set up exitpol for an exit."""
    with LoneExit(tmp_path) as host:
        assert host.run("init").returncode == 0
        yield host


def destination(number: int) -> str:
    """Return one of many addresses that cannot be merged; half are IPv6, which cost nothing."""
    if number % 2:
        return f"2001:db8::{2 * number + 1:x}"
    return f"198.18.{number // 200}.{number % 200 + 1}"


@dataclass
class Worker:
    """One operator who blocks, renews and lifts destinations of their own, and keeps a record."""

    host: LoneExit
    mine: list[str]
    wanted: dict[str, str] = field(default_factory=dict)
    """What must be in the ledger at the end: destination and the day of its end."""
    commands: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    late: int = 0
    """The number of commands that were recorded but not observed to be enforced."""

    def work(self) -> None:
        """Run all commands, each with a few destinations."""
        for start in range(0, len(self.mine), 8):
            some = self.mine[start : start + 8]
            if self._run("block", *some, "--until", "2099-01-01"):
                self.wanted.update(dict.fromkeys(some, "2099-01-01"))
            if self._run("renew", *some[::2], "--until", "2098-01-01"):
                self.wanted.update(dict.fromkeys(some[::2], "2098-01-01"))
            if self._run("lift", *some[::3]):
                for lifted in some[::3]:
                    self.wanted.pop(lifted, None)
        if self._run("block", *self.mine[::6], "--until", "2097-01-01", "--reason", "again"):
            # Blocking again keeps the later end of the two.
            for again in self.mine[::6]:
                self.wanted[again] = max(self.wanted.get(again, ""), "2097-01-01")

    def _run(self, *command: str) -> bool:
        begun = time.monotonic()
        done = self.host.run(*command, seconds=400)
        self.commands += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)
        # Waiting for Tor is given up after 120 s; the change stands, and the next tick enforces it.
        late = done.returncode == LOCK_TIMEOUT and "is recorded in the ledger" in done.stderr
        self.late += late
        if done.returncode != 0 and not late:
            self.failures.append(f"{command[0]}: {done.returncode} {done.stderr}")
        return done.returncode == 0 or late


def disturb(host: LoneExit, ended: threading.Event, ticks: list[float]) -> None:
    """Run ticks, and reload Tor as logrotate and other tools do, until the operators are done."""
    while not ended.is_set():
        host.exit.reload()
        begun = time.monotonic()
        tick = host.run("expire", "--quiet", seconds=400)
        ticks.append(time.monotonic() - begun)
        assert tick.returncode in (0, 3, LOCK_TIMEOUT), tick.stderr
        ended.wait(0.5)


def all_at_once(host: LoneExit, processes: int, destinations: int) -> None:
    """Run many processes at a time; check that what each one was told is true."""
    each = destinations // processes + (destinations % processes > 0)
    workers = [
        Worker(host, [destination(n) for n in range(destinations)][number * each :][:each])
        for number in range(processes)
    ]
    ended = threading.Event()
    ticks: list[float] = []
    with ThreadPoolExecutor(processes + 1) as pool:
        disturbing = pool.submit(disturb, host, ended, ticks)
        try:
            list(pool.map(Worker.work, workers))
        finally:
            ended.set()
        disturbing.result()
    failures = [failure for worker in workers for failure in worker.failures]
    assert not failures, "\n".join(failures)
    wanted = {address: end for worker in workers for address, end in worker.wanted.items()}
    blocks = yaml.safe_load(host.ledger.read_text())["blocks"]
    found = {b["destination"]: b["until"][:10] for b in blocks if "ended" not in b}
    assert found.keys() == wanted.keys()
    # A day is blocked until its end, which is the beginning of the next one.
    assert {a: end[:4] for a, end in found.items()} == {a: end[:4] for a, end in wanted.items()}
    last = host.run("expire")
    assert last.returncode == 0, last.stderr
    assert {ip_address(r.rpartition(":")[0].strip("[]")) for r in host.rejected()} == {
        ip_address(address) for address in wanted
    }
    history = json.loads(host.run("history", "--json").stdout)
    assert len(json.dumps(history)) > len(wanted)
    assert max(ticks) < TICK_SECONDS
    record(
        THING,
        sum(worker.commands for worker in workers),
        {
            "{:.0f} ticks between": len(ticks),
            "the longest {:.0f} s": max(ticks),
            "{:.0f} commands left to a tick": sum(worker.late for worker in workers),
        },
    )


@pytest.mark.slow
def test_no_update_is_lost_when_some_change_the_ledger_at_once(host: LoneExit) -> None:
    """Six processes, 48 destinations: ledger and enforced policy are what each was told."""
    all_at_once(host, 6, 48)


@pytest.mark.slow
def test_no_update_is_lost_when_many_change_the_ledger_at_once(host: LoneExit) -> None:
    """The same with 32 processes and 1,000 destinations."""
    all_at_once(host, 32, 1000)
