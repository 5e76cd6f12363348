"""Compute what changes of exit policies cost the directory authorities, in bytes a day.

Each change of a policy makes a new descriptor, which the relay uploads to every authority. Relays
that cache the directory then fetch it, at most once for each hourly consensus.
exitpolicy/docs/uploads.md says where the numbers come from, and holds the tables that this prints:

    python3 scripts/uploads.py
    python3 scripts/uploads.py --relays 50 --at-once 3 --waiting 48 --rules 30 --extra-info 2500
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

MINUTES = 24 * 60
REGULAR = 24 / 18
"""Uploads a day of a relay that changes nothing."""


@dataclass(frozen=True)
class Assumptions:
    """What the result depends on; sizes are in bytes."""

    authorities: int = 9
    descriptor: int = 3_605
    rules: int = 100
    rule: int = 23
    extra_info: int = 5_000
    connection: int = 640
    batch: int = 10
    """Minutes between two changes of a relay that may wait."""
    caches: int = 8_000
    compressed: float = 0.6
    """The part of a descriptor's size that is left when it is compressed."""

    @property
    def packets(self) -> float:
        """How much longer data is in packets of 1,500 bytes, with headers of 52 (IPv4, TCP)."""
        return 1500 / 1448

    @property
    def size(self) -> int:
        """The size of one descriptor."""
        return self.descriptor + self.rules * self.rule

    @property
    def upload(self) -> float:
        """What one upload to one authority takes."""
        return (self.size + self.extra_info) * self.packets + self.connection

    @property
    def download(self) -> float:
        """What one descriptor takes when a cache fetches it, with others in one answer."""
        return self.size * self.compressed * self.packets


class Day(NamedTuple):
    """The changes of one relay in one day."""

    name: str
    at_once: float
    """Blocks by the operator and lifts, each made at once."""
    waiting: float
    """Changes by lists and guard, which may wait for a batch."""

    def changes(self, batch: int | None) -> float:
        """Return how often the policy changes; with `batch`, what may wait does."""
        waiting = self.waiting if batch is None else min(self.waiting, MINUTES / batch)
        return self.at_once + waiting


DAYS = (
    Day("nothing changes", 0, 0),
    Day("complaints only", 4, 0),
    Day("a list every 5 minutes", 20, 288),
    Day("guard and lists, every minute", 20, 1_420),
)
FLEETS = {"1,000 relays on 200 hosts": 1_000, "every exit of the network": 2_788}


def uploads(relays: int, day: Day, given: Assumptions, batch: int | None) -> float:
    """Return the bytes a day that each authority receives from the relays."""
    return relays * (day.changes(batch) + REGULAR) * given.upload


def downloads(relays: int, day: Day, given: Assumptions, batch: int | None) -> float:
    """Return the bytes a day that each authority sends to the caches for these descriptors.

    A cache fetches what the consensus of the hour names: of several changes in an hour the last.
    """
    hours = 24 * (1 - (1 - 1 / 24) ** (day.changes(batch) + REGULAR))
    return relays * hours * given.download * given.caches / given.authorities


def table(fleet: str, relays: int, days: Sequence[Day], given: Assumptions) -> Iterator[str]:
    """Yield a table in Markdown, each number without and with batches."""
    yield f"| {fleet} | changes a relay | received by each authority | by all | sent by each |"
    yield "|---|---|---|---|---|"
    for day in days:
        pairs = []
        for batch in (None, given.batch):
            received = uploads(relays, day, given, batch)
            pairs.append(
                (
                    f"{day.changes(batch):,.0f}",
                    megabytes(received),
                    megabytes(received * given.authorities),
                    megabytes(downloads(relays, day, given, batch)),
                )
            )
        cells = (one if one == two else f"{one} → {two}" for one, two in zip(*pairs, strict=True))
        yield f"| {day.name} | {' | '.join(cells)} |"


def megabytes(size: float) -> str:
    """Return a size with two digits."""
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB")
    number = size / unit
    return f"{number:.1f} {name}" if number < 10 else f"{float(f'{number:.2g}'):,.0f} {name}"


def text(fleets: dict[str, int], days: Sequence[Day], given: Assumptions) -> str:
    """Return all that is computed, as Markdown."""
    size = f"{given.upload:,.0f} bytes to each of {given.authorities} authorities"
    lines = [f"One upload of a descriptor with {given.rules} rules: {size}."]
    for fleet, relays in fleets.items():
        once = megabytes(relays * given.upload)
        lines += ["", *table(fleet, relays, days, given)]
        lines += [
            "",
            f"One block on all {relays:,} relays: each authority receives {once} at once.",
        ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the page, or those of other numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in fields(Assumptions):
        kind = type(field.default)
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            name, type=kind, default=field.default, help=f"default: {field.default:,}"
        )
    parser.add_argument(
        "--relays",
        type=int,
        help="compute it for so many relays, not for the two fleets of the page",
    )
    parser.add_argument(
        "--at-once", type=float, default=4, help="its changes of a relay in a day; default: 4"
    )
    parser.add_argument("--waiting", type=float, default=0, help="those that may wait; default: 0")
    given = vars(parser.parse_args(arguments))
    relays, at_once, waiting = (given.pop(name) for name in ("relays", "at_once", "waiting"))
    days = DAYS if relays is None else [Day("your relays", at_once, waiting)]
    fleets = FLEETS if relays is None else {f"{relays:,} relays": relays}
    print(text(fleets, days, Assumptions(**given)), end="")


if __name__ == "__main__":
    main()
