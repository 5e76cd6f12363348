"""What it costs to choose among too many blocks: 20,000 prefixes for 15,000 bytes.

The time is that of the processor. The target is that of the default choice, which leaves blocks
out. The gap is printed: by how much the proven optimum may be better.
"""

import random
import sys
import time
from collections.abc import Callable

from exitpolicy.core.destination import Destination
from exitpolicy.policy.fit import Fitted, leave_out, widen
from exitpolicy.policy.fit_trees import Candidate, Widening
from exitpolicy.policy.prefix_tree import AddressSet

PREFIXES = 20_000
BUDGET = 15_000
TARGET = 2.0
ROOM = 1 << 25


def main() -> int:
    """Measure, print a table, and return 1 if a target was missed."""
    dice = random.Random(20261127)  # noqa: S311 - nothing here is secret
    centres = [dice.randrange(1 << 24, 224 << 24) >> 16 << 16 for _ in range(600)]
    shapes: dict[str, Callable[[], tuple[int, int]]] = {
        "scattered hosts": lambda: (dice.randrange(1 << 24, 224 << 24), 32),
        "hosts and networks": lambda: (
            dice.randrange(1 << 24, 224 << 24),
            dice.choice([32] * 6 + [28, 24, 24, 22, 20, 16]),
        ),
        "hosts in clusters": lambda: (
            dice.choice(centres) + dice.randrange(1 << dice.choice([8, 10, 12, 16])),
            dice.choice([32] * 6 + [28, 24]),
        ),
    }
    widening = Widening(16, lambda _: AddressSet([]), ROOM)
    missed = 0
    for name, draw in shapes.items():
        blocks = _prefixes(draw)
        seconds, found = _timed(lambda blocks=blocks: leave_out(blocks, BUDGET))
        met = seconds <= TARGET
        missed += not met
        said = "met" if met else "MISSED"
        print(f"{name}, leave out: {seconds:.2f} s, at most {TARGET:.2f} s: {said}")
        _say(found)
        seconds, found = _timed(lambda blocks=blocks: widen(blocks, BUDGET, widening))
        print(f"{name}, over-block: {seconds:.2f} s")
        _say(found)
    return int(missed > 0)


def _prefixes(draw: Callable[[], tuple[int, int]]) -> list[Candidate]:
    found: set[Destination] = set()
    while len(found) < PREFIXES:
        number, length = draw()
        first = number >> 32 - length << 32 - length
        found.add(Destination(4, first, first + (1 << 32 - length) - 1))
    return [Candidate(destination, 0) for destination in sorted(found)]


def _timed(work: Callable[[], Fitted]) -> tuple[float, Fitted]:
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def _say(found: Fitted) -> None:
    whole = PREFIXES - len(found.left_out)
    print(
        f"    {whole:,} of {PREFIXES:,} blocks in {found.bytes:,} bytes,"
        f" {found.unblocked:,} addresses unblocked, {found.over_blocked:,} over-blocked;"
        f" gap: {found.gap:,} {found.gap_of}"
    )


if __name__ == "__main__":
    sys.exit(main())
