"""Say which destinations were blocked before, and propose a longer time."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from exitpolicy.cli.output import hint, note
from exitpolicy.cli.render import MANY
from exitpolicy.core.block import Block
from exitpolicy.core.durations import duration_text, until_text, utc_text
from exitpolicy.core.shell import word

if TYPE_CHECKING:
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.repeats import Repeat


def of(
    host: "Host", blocks: Iterable[Block], until: datetime | None, now: datetime
) -> Sequence["Repeat"]:
    """Return those of the blocks, begun at `now` with this end, that were blocked before.

    A block that is merely renewed is none of them.
    """
    from exitpolicy.operations import repeats

    start = now.replace(microsecond=0)
    new = [block.destination for block in blocks if block.since >= start]
    return repeats.proposals(host, new, until, start)


def propose(found: Iterable["Repeat"]) -> None:
    """Write what was blocked before, and the command for a longer time."""
    for number, one in enumerate(found):
        if number == MANY:
            note("and more, which exitpol history shows")
            break
        note(str(one))
        if one.is_longer:
            hint(
                f"for longer this time: exitpol renew {word(str(one.destination))}"
                f" --until {until_text(one.proposed)}"
            )


def longest(found: Iterable["Repeat"], now: datetime) -> str | None:
    """Return the longest time that is proposed, as a person types it; None if none is longer.

    `now` is that of `proposals`.
    """
    ends = [one.proposed for one in found if one.is_longer and one.proposed is not None]
    return duration_text(max(ends) - now) if ends else None


def as_json(found: Iterable["Repeat"]) -> list[dict[str, object]]:
    """Return the JSON of what was blocked before."""
    return [
        {
            "destination": str(one.destination),
            "times": one.former.times,
            "last_end": utc_text(one.former.last.at),
            "proposed_until": None if one.proposed is None else utc_text(one.proposed),
        }
        for one in found
    ]
