"""What a fleet costs: the merge of two ledgers, a run of the role, and a block on four hosts.

The merge is a process of its own, as git starts it. Its target is for the processor time: the merge
waits for nothing but the file system.

The hosts are namespaces of this machine that Ansible reaches over SSH, with a real Tor each. What
Ansible does with exitpol is compared with what it does there anyway, in elapsed time: `-m setup`
for the role, and `-m ping` and a block without Ansible for a block.

Of several runs the shortest counts, as the one that other work on the machine disturbed least.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.storage.ledger_text import Ledger, parse, render
from tests.ansible.hosts import Played, SshHost, fleet, hindrance, single

BLOCKS = 10_000
TARGET = 1.0
TURNS = 5
HOST_TURNS = 3
HOSTS = ("one", "two", "three", "four")
RATIO = 1.5
MODULE = "exitpol.exitpol.block"
EXITPOL = str(Path(sys.executable).with_name("exitpol"))
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def main() -> int:
    """Measure, print a table, and return 1 if a target was missed."""
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        for what, sides in (("a fifth changed by both", _apart()), ("nothing in common", _new())):
            seconds, elapsed = min(_merge(Path(name), sides) for _ in range(TURNS))
            met = seconds <= TARGET
            missed += not met
            print(
                f"merge of two ledgers of {BLOCKS:,} blocks, {what:<24} {seconds:5.2f} s"
                f" of CPU ({elapsed:.2f} s)   at most {TARGET:.2f} s   {'met' if met else 'MISSED'}"
            )
    return int(missed + _hosts() > 0)


def _hosts() -> int:
    """Measure what Ansible needs on four hosts, and return how many targets were missed."""
    if reason := hindrance():
        print(f"no hosts can be made here ({reason}): the role and the block are not measured")
        return 0
    with (
        tempfile.TemporaryDirectory() as name,
        fleet(Path(name), dict.fromkeys(HOSTS, single)) as found,
    ):
        for host in found.hosts.values():
            host.with_program()
            host.start_tors()
        role = {"exitpol_config": {"protected": ["198.51.100.0/24"]}}
        _succeed(found.play(role=role))
        again, setup, ping, block = [], [], [], []
        for turn in range(HOST_TURNS):
            setup.append(_time(partial(found.run, "ansible", "all", "-m", "setup")))
            again.append(_time(partial(found.play, role=role)))
            ping.append(_time(partial(found.run, "ansible", "all", "-m", "ping")))
            one = f"destination=203.0.113.{turn + 1} until=1d"
            block.append(_time(partial(found.run, "ansible", "all", "-m", MODULE, "-a", one)))
        local = [_local(found[HOSTS[0]], turn) for turn in range(HOST_TURNS)]
    return _row(
        "a second run of the role on four hosts", min(again), {"-m setup": min(setup)}
    ) + _row(
        "a block on four hosts", min(block), {"-m ping": min(ping), "a local block": min(local)}
    )


def _time(run: Callable[[], Played]) -> float:
    began = time.perf_counter()
    _succeed(run())
    return time.perf_counter() - began


def _local(host: SshHost, turn: int) -> float:
    """Return how long a block takes on a host itself."""
    began = time.perf_counter()
    done = host.exitpol("block", f"203.0.113.{100 + turn}", "--until", "1d")
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def _succeed(played: Played) -> None:
    if played.code != 0:
        raise SystemExit(played.output)


def _row(what: str, measured: float, against: dict[str, float]) -> bool:
    """Print a measurement; return whether it missed the target."""
    target = RATIO * sum(against.values())
    met = measured <= target
    parts = " + ".join(f"{name} {seconds:.2f} s" for name, seconds in against.items())
    print(
        f"{what:<40} {measured:5.2f} s   at most {RATIO} x ({parts}) = {target:.2f} s  "
        f" {'met' if met else 'MISSED'}"
    )
    return not met


def _merge(folder: Path, sides: tuple[bytes, bytes, bytes]) -> tuple[float, float]:
    """Return the processor time and the elapsed time of one merge, in seconds."""
    paths = [folder / side for side in ("base", "ours", "theirs")]
    for path, content in zip(paths, sides, strict=True):
        path.write_bytes(content)
    command = [EXITPOL, "merge", *map(str, paths)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"merge ended with {process.returncode}")
    parse("merged", paths[1].read_bytes())
    return usage.ru_utime + usage.ru_stime, elapsed


def _apart() -> tuple[bytes, bytes, bytes]:
    """Return ledgers with 8,000 blocks in common, of which both sides have changed a fifth."""
    common = range(BLOCKS * 4 // 5)
    added = BLOCKS - len(common)
    ours = [_block(n, 60 if n % 5 == 0 else 30) for n in common]
    theirs = [_block(n, 90 if n % 5 == 0 else 30, "botnet" * (n % 10 == 0)) for n in common]
    ours += [_block(BLOCKS + n) for n in range(added)]
    theirs += [_block(2 * BLOCKS + n) for n in range(added)]
    return _text([_block(n) for n in common]), _text(ours), _text(theirs)


def _new() -> tuple[bytes, bytes, bytes]:
    """Return ledgers without a common block."""
    return (
        _text([]),
        _text([_block(n) for n in range(BLOCKS)]),
        _text([_block(BLOCKS + n) for n in range(BLOCKS)]),
    )


def _block(number: int, days: int = 30, reason: str = "SSH brute force") -> Block:
    address = f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    until = NOW + timedelta(days=days)
    return Block(parse_destination(address), NOW, until, reason, f"T#{number}")


def _text(blocks: list[Block]) -> bytes:
    return render(Ledger(Blocks.of(blocks)))


if __name__ == "__main__":
    sys.exit(main())
