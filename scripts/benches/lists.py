"""What lists cost: an import, a sync, and the refusal of a list that is too long.

Every command is a process of its own on a host with a real Tor. Of several runs the shortest
counts, as the one that other work on the machine disturbed least. Needs `iprange` (the Debian
package).
"""

import compileall
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import exitpolicy
from exitpolicy.core.addresses import address_text
from tests.harness.host import ExitHost, host_maker

LINES = 100_000
SYNCED = 10_000
TURNS = 5
EXITPOL = str(Path(sys.executable).with_name("exitpol"))
FIRST = 203 << 24 | 8 << 16


class Run(NamedTuple):
    """What one command took."""

    seconds: float
    megabytes: float


def main() -> int:
    """Measure, print a table, and return 1 if a target was missed and 2 without iprange."""
    iprange = shutil.which("iprange")
    if iprange is None:
        print("lists: iprange is not installed (apt install iprange)", file=sys.stderr)
        return 2
    compileall.compile_dir(str(Path(exitpolicy.__file__).parent), quiet=1)
    with tempfile.TemporaryDirectory() as folder, host_maker(Path(folder)) as make:
        host = make(("ExitRelay 1", "IPv6Exit 1"), extra="batch: 0\n")
        missed = _refused(host, iprange)
        missed += _synced(host)
        missed += _imported(host)
    return int(missed > 0)


def _row(what: str, measured: float, target: float) -> bool:
    met = measured <= target
    print(f"{what:<66} {measured:7.2f}   at most {target:6.2f}   {'met' if met else 'MISSED'}")
    return not met


def _run(host: ExitHost, *arguments: str, code: int = 0) -> Run:
    """Run a command in a process of its own."""
    command = [EXITPOL, "--config", str(host.config), *arguments]
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawn(EXITPOL, command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != code:
        raise SystemExit(f"{arguments} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(took, usage.ru_maxrss / 1000)


def _list(host: ExitHost, numbers: list[int]) -> str:
    """Write a list of IPv4 addresses; return its path."""
    path = host.folder / "list"
    path.write_text("".join(f"{address_text(4, number)}\n" for number in numbers))
    return str(path)


def _refused(host: ExitHost, iprange: str) -> int:
    """Measure the fewest rules of scattered hosts through the whole command."""
    dice = random.Random(20261126)  # noqa: S311 - nothing here is secret
    sizes = (LINES // 10, LINES, 10 * LINES)
    best: dict[int, Run] = {}
    theirs = math.inf
    for size in sizes:
        name = _list(host, dice.sample(range(1 << 24, 224 << 24), size))
        runs = []
        for _ in range(TURNS if size <= LINES else 1):
            runs.append(_run(host, "import", name, "--until", "30d", "--dry-run", code=4))
            if size == LINES:
                began = time.perf_counter()
                subprocess.run([iprange, name], check=True, stdout=subprocess.DEVNULL)
                theirs = min(theirs, time.perf_counter() - began)
        best[size] = Run(min(r.seconds for r in runs), max(r.megabytes for r in runs))
    what = f"{LINES:,} hosts, import --dry-run, seconds; 5 x iprange + 0.35"
    missed = _row(what, best[LINES].seconds, 5 * theirs + 0.35)
    missed += _row("its memory, MB", best[LINES].megabytes, 300)
    # A half more for a busy machine: growth by n * n would be ten times as much.
    allowed = 1.5 * sizes[2] * math.log(sizes[2]) / (sizes[1] * math.log(sizes[1]))
    growth = best[sizes[2]].seconds / best[LINES].seconds
    return missed + _row(f"{sizes[2]:,} hosts, against {LINES:,}; 1.5 x n log n", growth, allowed)


def _imported(host: ExitHost) -> int:
    """Measure the import of hosts that adjoin, so that a descriptor holds them."""
    dice = random.Random(20261126)  # noqa: S311 - nothing here is secret
    numbers = dice.sample(range(FIRST, FIRST + LINES), LINES)
    name = _list(host, numbers)
    run = _run(host, "import", name, "--until", "30d", "--source", "large")
    assert host.tor.rejects(address_text(4, numbers[0]))
    missed = _row(f"{LINES:,} lines, import and live, seconds", run.seconds, 3)
    return missed + _row("its memory, MB", run.megabytes, 300)


def _synced(host: ExitHost) -> int:
    """Measure the sync of an unchanged list, which writes nothing and asks no Tor."""
    name = _list(host, list(range(FIRST, FIRST + SYNCED)))
    command = ("import", name, "--until", "30d", "--source", "synced", "--sync")
    _run(host, *command)
    before, read = host.snapshot(), host.tor.log().count("Received reload")
    runs = [_run(host, *command) for _ in range(TURNS)]
    assert host.snapshot() == before
    assert host.tor.log().count("Received reload") == read
    _run(host, "source", "remove", "synced", "--yes")
    return _row(f"{SYNCED:,} lines, --sync of what is there, seconds", min(runs).seconds, 0.5)


if __name__ == "__main__":
    sys.exit(main())
