"""What the commands cost, against the interpreter and a YAML parser, side by side in one run.

They take turns, and the shortest time of each counts, as the one that other work on the machine
disturbed least.
"""

import compileall
import gc
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from exitpolicy import tick
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import ALL_PORTS
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.rule import parse_descriptor
from exitpolicy.storage import base_policies, ledger_file
from exitpolicy.storage.ledger_file import Ledger
from tests.harness.host import ExitHost, host_maker

TURNS = 15
PYTHON = sys.executable


def main() -> int:
    """Measure, print a table, and return 1 if a target was missed."""
    # An installed program has its bytecode, and it is written here if the environment forbids it.
    compileall.compile_dir(str(Path(tick.__file__).parent), quiet=1)
    missed = 0
    with _host() as host:
        bare = [PYTHON, "-c", "pass"]
        ticking = [PYTHON, "-I", "-S", str(tick.__file__), str(host.state), "--", "/bin/false"]
        command = str(Path(PYTHON).with_name("exitpol"))
        listing = [command, "--config", str(host.config), "list"]
        plain, ticked, metered, listed = _in_turn(bare, ticking, _metered(host), listing)
        missed += _row("tick with nothing to do, 1,000 blocks / python3 -c pass", ticked / plain, 2)
        missed += _row("the same with a file of metrics / without one", metered / ticked, 1.1)
        missed += _row("exitpol list, 1,000 blocks / python3 -c pass", listed / plain, 9)
    missed += _row("states of 1,000 blocks against 1,000 rules, ms", _states() * 1000, 100)
    missed += _row("ledger of 10,000 blocks: ours / yaml.load with CSafeLoader", _load(), 1.0)
    return int(missed > 0)


def _metered(host: ExitHost) -> list[str]:
    """Return a tick with nothing to do that touches a file of metrics, with a state of its own."""
    state, metrics = host.folder / "metered-state", host.folder / "exitpol.prom"
    shutil.copyfile(host.state, state)
    metrics.write_text(host.run("status", "--prometheus").out)
    for path in (state, metrics):
        os.utime(path, (1, 1))
    return [PYTHON, "-I", "-S", str(tick.__file__), str(state), str(metrics), "--", "/bin/false"]


def _row(what: str, measured: float, target: float) -> bool:
    met = measured <= target
    print(f"{what:<62} {measured:7.2f}   at most {target:g}   {'met' if met else 'MISSED'}")
    return not met


def _in_turn(*commands: list[str]) -> list[float]:
    best = [float("inf")] * len(commands)
    for _ in range(TURNS):
        for number, command in enumerate(commands):
            began = time.perf_counter()
            subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
            )
            best[number] = min(best[number], time.perf_counter() - began)
    return best


def thousand_blocks() -> Blocks:
    """Return 1,000 blocks, 400 of them IPv4: 1,000 addresses of that fit into no descriptor."""
    return _blocks(1000, ipv4=400)


def _blocks(count: int, *, ipv4: int) -> Blocks:
    chance = random.Random(1)  # noqa: S311 - the same ledger each time
    now = datetime.now(UTC).replace(microsecond=0)
    numbers = chance.sample(range(1 << 28, 1 << 31), count)
    return Blocks.of(
        Block(
            Destination(4, n, n, ALL_PORTS)
            if place < ipv4
            else Destination(6, 0x2001 << 112 | n, 0x2001 << 112 | n, ((22, 22),)),
            now,
            now + timedelta(days=30),
            "SSH brute force",
            f"T#{place}",
        )
        for place, n in enumerate(numbers)
    )


@contextmanager
def _host() -> Iterator[ExitHost]:
    """Give a host with a real exit that enforces 1,000 blocks."""
    with tempfile.TemporaryDirectory() as folder, host_maker(Path(folder)) as make:
        host = make(("ExitRelay 1", "IPv6Exit 1"))
        ledger_file.save(host.ledger, Ledger(thousand_blocks()))
        applied = host.run("apply")
        if applied.code != 0:
            raise SystemExit(applied.err)
        yield host


def _states() -> float:
    """Return the seconds for reading a policy of 1,000 rules and judging 1,000 blocks by it."""
    blocks = _blocks(1000, ipv4=1000)
    rules = fewest_rules(block.destination for block in blocks)
    text = "\n".join(map(str, (*rules, *base_policies.load("reduced").rules)))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        decisions = Decisions(parse_descriptor(text))
        for block in blocks:
            decisions.deciding(block.destination)
        times.append(time.perf_counter() - began)
    return min(times)


def _load() -> float:
    """Return how long our loader takes for 10,000 blocks, as a part of CSafeLoader's time."""
    content = ledger_file.render(Ledger(_blocks(10_000, ipv4=10_000)))

    def best(action: Callable[[], object]) -> float:
        # As commands run, and as it is quickest for both: no cycles are looked for.
        gc.disable()
        times = []
        for _ in range(3):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)
        return min(times)

    # A text that was read under the same name is not read again.
    names = iter("abc")
    ours = best(lambda: ledger_file.parse(next(names), content))
    theirs = best(lambda: yaml.load(content, Loader=yaml.CSafeLoader))
    return ours / theirs


if __name__ == "__main__":
    sys.exit(main())
