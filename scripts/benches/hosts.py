"""What a block costs on a host of one relay and of 50, side by side with what Tor itself needs.

Every Tor is real. Of several runs the shortest counts, as the one that other work on the machine
disturbed least.
"""

import compileall
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from commands import thousand_blocks

import exitpolicy
from exitpolicy.storage import ledger_file
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import verify
from exitpolicy.tor.control import connect
from exitpolicy.tor.invocation import of_relay
from tests.harness.host import ExitHost, host_maker
from tests.harness.tor import Tor, wait_until

RELAYS = 50
TURNS = 5
EXITPOL = str(Path(sys.executable).with_name("exitpol"))
SETTLE_SECONDS = 1.2
"""A change within a second of the last delays both."""


def main() -> int:
    """Measure, print a table, and return 1 if a target was missed."""
    # An installed program has its bytecode.
    compileall.compile_dir(str(Path(exitpolicy.__file__).parent), quiet=1)
    missed = 0
    with tempfile.TemporaryDirectory() as folder, host_maker(Path(folder)) as make:
        took = _first_block(make(("ExitRelay 1", "IPv6Exit 1"), init=False))
        missed += _row("init and the first live block, seconds", took, 20)
    with tempfile.TemporaryDirectory() as folder, host_maker(Path(folder)) as make:
        over, memory = _thousand(make(("ExitRelay 1", "IPv6Exit 1")))
        missed += _row("block at 1,000 blocks, seconds over what Tor needs", over, 0.35)
        missed += _row("its memory, MB", memory, 80)
    with _many() as host:
        took, memory = _everywhere(host)
        missed += _row(f"{RELAYS} relays, one block live on all, seconds", took, 2.5)
        missed += _row("its memory, MB", memory, 80)
        missed += _row("runs of tor for each relay", _runs(host), 1)
    return int(missed > 0)


def _row(what: str, measured: float, target: float) -> bool:
    met = measured <= target
    print(f"{what:<62} {measured:7.2f}   at most {target:g}   {'met' if met else 'MISSED'}")
    return not met


class Run(NamedTuple):
    """What one command took."""

    seconds: float
    megabytes: float


def _run(host: ExitHost, *arguments: str) -> Run:
    """Run a command in a process of its own."""
    command = [EXITPOL, "--config", str(host.config), *arguments]
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.perf_counter()
    pid = os.posix_spawn(EXITPOL, command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"{arguments} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(took, usage.ru_maxrss / 1000)


def _first_block(host: ExitHost) -> float:
    """Return the seconds of `init` and `block` on a host without exitpol."""
    runs = [_run(host, "init"), _run(host, "block", "203.0.113.7", "--until", "30d")]
    assert host.tor.rejects("203.0.113.7")
    return sum(run.seconds for run in runs)


def _thousand(host: ExitHost) -> tuple[float, float]:
    """Return the seconds of a block over those that Tor itself needs, and its memory in MB."""
    ledger_file.save(host.ledger, Ledger(thousand_blocks()))
    applied = host.run("apply")
    if applied.code != 0:
        raise SystemExit(applied.err)
    ours, theirs = [], []
    for number in range(TURNS):
        time.sleep(SETTLE_SECONDS)
        ours.append(_run(host, "block", f"203.0.113.{number}", "--until", "1d"))
        theirs.append(_tor_alone(host.tor, host.fragment, f"203.0.114.{number}"))
    seconds = min(run.seconds for run in ours) - min(theirs)
    return seconds, max(run.megabytes for run in ours)


def _tor_alone(tor: Tor, fragment: Path, address: str) -> float:
    """Return the seconds of one verification, the reload, and the wait until it is enforced."""
    time.sleep(SETTLE_SECONDS)
    text = fragment.read_text()
    invocation = of_relay(tor.relay)
    with connect(tor.relay, 60) as control:
        before = control.get_info("exit-policy/full")
        began = time.perf_counter()
        fragment.write_text(f"{text}ExitPolicy reject {address}:*\n")
        verify.verify(invocation, tor.torrc.read_text())
        control.reload(60)
        control.within(60)
        while control.get_info("exit-policy/full") == before:
            time.sleep(0.002)
        took = time.perf_counter() - began
    time.sleep(SETTLE_SECONDS)
    fragment.write_text(text)
    with connect(tor.relay, 60) as control:
        control.reload(60)
    return took


@contextmanager
def _many() -> Iterator[ExitHost]:
    """Give a host with many relays, each with a fragment of its own."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        relays = [
            Tor.alone(folder / f"relay{number:02}", ["ExitRelay 1"], f"relay{number:02}")
            for number in range(RELAYS)
        ]
        for relay in relays:
            relay.prepare()
        host = ExitHost(folder, relays)
        for relay in relays:
            stack.callback(relay.stop)
            relay.start(with_policy=False)
        for relay in relays:
            wait_until(relay.has_policy, seconds=120, what="a policy")
        made = host.run("init")
        if made.code != 0:
            raise SystemExit(made.err)
        yield host


def _everywhere(host: ExitHost) -> Run:
    """Return the seconds and the memory of a block that is live on all relays."""
    runs: list[Run] = []
    for number in range(TURNS):
        time.sleep(SETTLE_SECONDS)
        address = f"203.0.113.{number}"
        runs.append(_run(host, "block", address, "--until", "1d"))
        assert all(relay.rejects(address) for relay in host.relays)
    return Run(min(run.seconds for run in runs), max(run.megabytes for run in runs))


def _runs(host: ExitHost) -> float:
    """Return how often a block runs tor for each relay, to verify and to read the options."""
    with tempfile.TemporaryDirectory() as folder:
        log, program = Path(folder, "runs"), Path(folder, "tor")
        program.write_text(f'#!/bin/sh\necho >>{log}\nexec {host.tor.command[0]} "$@"\n')
        program.chmod(0o755)
        text = host.config.read_text()
        host.config.write_text(text.replace('"}', f'", tor: "{program}"}}'))
        time.sleep(SETTLE_SECONDS)
        _run(host, "block", "203.0.113.99", "--until", "1d")
        host.config.write_text(text)
        return len(log.read_text().splitlines()) / len(host.relays)


if __name__ == "__main__":
    sys.exit(main())
