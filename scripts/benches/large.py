"""What commands cost with 100,000 blocks of ports, and on a relay with 19,700 rules of its own.

Every Tor is real. It takes seconds itself for so many rules, and more on a busy machine: what
counts is the processor time of exitpol without that of the programs that it runs.
"""

import compileall
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import exitpolicy
from exitpolicy.core.errors import ExitCode
from tests.harness.host import ExitHost, host_maker

BLOCKS = 100_000
OWN_RULES = 19_700
"""Rules of half a megabyte in the descriptor: far more than an authority accepts."""
BLOCKS_LIMIT = 5.0
OWN_RULES_LIMIT = 3.0
"""Seconds of the processor."""
TOR_SECONDS = 300.0
"""How long Tor may take to start."""
TICK_SECONDS = 25
"""From a block's beginning to its end: an apply fits in between."""

COMMAND = """
import os, sys, time
from exitpolicy.__main__ import run
report = sys.argv.pop(1)
code = run()
with open(report, "w") as file:
    file.write(str(time.process_time()))
os._exit(code)
"""


def main() -> int:
    """Measure, print a table, and return 1 if a target was missed."""
    # An installed program has its bytecode.
    compileall.compile_dir(str(Path(exitpolicy.__file__).parent), quiet=1)
    return int(any([*_many_blocks(), *_many_own_rules()]))


def _row(what: str, measured: float, target: float) -> bool:
    met = measured <= target
    verdict = "met" if met else "MISSED"
    print(f"{what:<62} {measured:7.2f}   at most {target:g}   {verdict}", flush=True)
    return not met


def _run(host: ExitHost, *arguments: str, code: ExitCode = ExitCode.DONE) -> float:
    """Run a command in a process of its own; return its processor time in seconds.

    End the bench if its exit code is another.
    """
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, "-c", COMMAND, report.name, "--config", str(host.config)]
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        if result.returncode != code:
            raise SystemExit(f"{arguments} ended with {result.returncode}: {result.stderr[-2000:]}")
        return float(report.read())


def _line(destination: str, until: datetime) -> str:
    """Return a line of the ledger."""
    return (
        f'- {{destination: "{destination}", since: "2026-01-01T00:00:00Z",'
        f' until: "{until:%Y-%m-%dT%H:%M:%SZ}"}}\n'
    )


def _scattered(number: int) -> str:
    """Return a port of an address; no two of them can be one rule."""
    address = f"{11 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.{number % 250}"
    return f"{address}:{number % 65_000 + 1}"


def _many_blocks() -> Iterator[bool]:
    """Measure commands with many more blocks than a descriptor has room for."""
    later = datetime.now(UTC) + timedelta(days=30)
    lines = [_line(_scattered(number), later) for number in range(BLOCKS)]
    with tempfile.TemporaryDirectory() as folder, host_maker(Path(folder)) as make:
        host = make(("ExitRelay 1", "IPv6Exit 1"))
        host.ledger.write_text("".join(["version: 2\nblocks:\n", *lines]))
        # Blocks that do not fit stay pending: each command says so. IPv6 takes no room.
        commands: list[tuple[str, Sequence[str], ExitCode]] = [
            ("apply", ["apply"], ExitCode.ATTENTION),
            ("a refused block", ["block", "203.0.113.9", "--until", "1d"], ExitCode.REFUSED),
            ("a block", ["block", "[2001:db8::7]:22", "--until", "1d"], ExitCode.ATTENTION),
            ("a lift", ["lift", _scattered(0)], ExitCode.ATTENTION),
        ]
        for name, arguments, code in commands:
            took = _run(host, *arguments, code=code)
            yield _row(f"{BLOCKS:,} blocks: {name}, seconds", took, BLOCKS_LIMIT)
        end = datetime.now(UTC) + timedelta(seconds=TICK_SECONDS)
        with host.ledger.open("a") as file:
            file.write(_line("[2001:db8::8]:22", end))
        _run(host, "apply", code=ExitCode.ATTENTION)
        time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()) + 1)
        took = _run(host, "expire", "--quiet", code=ExitCode.ATTENTION)
        yield _row(f"{BLOCKS:,} blocks: a tick that ends one, seconds", took, BLOCKS_LIMIT)


def _many_own_rules() -> Iterator[bool]:
    """Measure commands on a relay with very many rules of the operator's own."""
    rules = [f"ExitPolicy reject {_scattered(number)}" for number in range(OWN_RULES)]
    with tempfile.TemporaryDirectory() as folder, host_maker(Path(folder)) as make:
        host = make(("ExitRelay 1", "IPv6Exit 1", *rules), start=False, init=False)
        host.tor.start(seconds=TOR_SECONDS)
        commands: list[tuple[str, Sequence[str], ExitCode]] = [
            ("init", ["init"], ExitCode.DONE),
            ("status", ["status"], ExitCode.DONE),
            ("a refused block", ["block", "203.0.113.9", "--until", "1d"], ExitCode.REFUSED),
            ("a block", ["block", "[2001:db8::9]:22", "--until", "1d"], ExitCode.DONE),
            ("a lift", ["lift", "[2001:db8::9]:22"], ExitCode.DONE),
        ]
        for name, arguments, code in commands:
            took = _run(host, *arguments, code=code)
            yield _row(f"{OWN_RULES:,} own rules: {name}, seconds", took, OWN_RULES_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
