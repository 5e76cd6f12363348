"""Repeat offenders: the earlier blocks of destinations, and the longer time for the next one."""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from exitpolicy.core.addresses import address_text
from exitpolicy.core.block import Block
from exitpolicy.core.destination import BOTH, Destination, parse_destination
from exitpolicy.core.durations import duration_text, parse_time, utc_text
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.repeats import End, Former, FormerBlocks, Growth
from exitpolicy.operations.host import Host
from exitpolicy.storage import history

_FEW: Final = 20
"""Destinations of which the lines of the history are searched for by their text."""
_ENDS: Final = ("expire", "lift")
_ACTIONS: Final = (*_ENDS, "resume")


@dataclass(frozen=True, slots=True)
class Repeat:
    """A destination that was blocked before, and the time that is proposed."""

    destination: Destination
    former: Former
    within: timedelta
    """The window in which earlier blocks were counted."""
    asked: datetime | None
    """The end that was asked for; None for never."""
    proposed: datetime | None
    """The end by the rule of the config, or by the usual one."""

    @property
    def is_longer(self) -> bool:
        """Whether the proposed time is longer than what was asked for."""
        return self.proposed != self.asked

    def __str__(self) -> str:
        times = self.former.times
        often = {1: "once", 2: "twice"}.get(times, f"{times} times")
        return (
            f"{self.destination} was blocked {often} in the last {duration_text(self.within)},"
            f" and the last block ended at {utc_text(self.former.last.at)}"
        )


def former_blocks(
    host: Host, destinations: Collection[Destination], growth: Growth, now: datetime
) -> FormerBlocks:
    """Return the blocks of destinations that ended within the window. Raises InvalidFileError."""
    # Imported here, because it imports what talks to Tor.
    from exitpolicy.operations import removals  # noqa: PLC0415

    waiting = [End(destination, now, None) for destination in removals.announced(host)]
    return FormerBlocks([*_ends(host, destinations, now - growth.within), *waiting])


def _ends(host: Host, destinations: Collection[Destination], since: datetime) -> list[End]:
    """Return the ends in the history since a moment, at least those of the destinations."""
    addresses = {destination[:3] for destination in destinations}
    words = [f'"{action}"'.encode() for action in _ACTIONS]
    if len(addresses) <= _FEW:
        # All lines of these addresses: those of the actions `block` say when a block began.
        words = [_address_word(destination) for destination in destinations]
    first = utc_text(since)
    begun: dict[str, datetime] = {}
    found: dict[str, list[End]] = {}
    for change in history.read(host.history_path, words) if destinations else ():
        # Anybody who can write the history may have damaged a line.
        with contextlib.suppress(UsageError, ValueError):
            text = change.destination
            if change.action == "block":
                begun.setdefault(text, history.moment(change.time))
            elif change.action == "resume":
                if found.get(text):
                    found[text].pop()
            elif change.action in _ENDS:
                began = begun.pop(text, None)
                if change.time < first:
                    continue
                destination = parse_destination(text)
                if destination[:3] in addresses:
                    end = End(destination, history.moment(change.time), _time(began, change.until))
                    found.setdefault(text, []).append(end)
    return [end for ends in found.values() for end in ends]


def _address_word(destination: Destination) -> bytes:
    """Return what stands in the text of every destination with the same addresses."""
    first = destination.ranges[0]
    return b"*:" if destination.family == BOTH else address_text(first.family, first.first).encode()


def _time(began: datetime | None, until: str) -> timedelta | None:
    end = parse_time(until) if began is not None else None
    return None if began is None or end is None else end - began


def proposals(
    host: Host, destinations: Sequence[Destination], until: datetime | None, now: datetime
) -> list[Repeat]:
    """Return those destinations that were blocked before, each with a longer time for `until`.

    The rule is that of the config, or the usual one. An unreadable history proposes nothing.
    """
    growth = host.config.repeat or Growth()
    try:
        known = former_blocks(host, destinations, growth, now)
    except InvalidFileError:
        return []
    found = ((destination, known.of(destination)) for destination in destinations)
    return [
        Repeat(destination, former, growth.within, until, growth.longer(until, now, former.times))
        for destination, former in found
        if former is not None
    ]


def lengthened(host: Host, blocks: Collection[Block], now: datetime) -> dict[Destination, datetime]:
    """Return the longer ends of those blocks that were made before; none without `repeat`.

    The operator did not choose the time of each block of a list, but has chosen the rule in the
    config. Raises InvalidFileError.
    """
    growth = host.config.repeat
    if growth is None:
        return {}
    known = former_blocks(host, {block.destination for block in blocks}, growth, now)
    found: dict[Destination, datetime] = {}
    for block in blocks:
        former = known.of(block.destination)
        longer = former and growth.longer(block.until, now, former.times)
        if longer and longer != block.until:
            found[block.destination] = longer
    return found


def is_longer(host: Host, blocks: Sequence[Block], now: datetime) -> bool:
    """Tell whether some blocks are of destinations blocked before, and all of these for longer.

    False where the time of an earlier block is not known.
    """
    growth = host.config.repeat or Growth()
    try:
        # These blocks are in force: what has ended are earlier ones.
        known = former_blocks(host, {b.destination for b in blocks}, growth, now)
    except InvalidFileError:
        return False
    found = [(b, former) for b in blocks if (former := known.of(b.destination)) is not None]
    return bool(found) and all(_outlasts(block, former.last.time) for block, former in found)


def _outlasts(block: Block, time: timedelta | None) -> bool:
    # The history records a block some seconds after it began.
    jitter = timedelta(seconds=10)
    return time is not None and (block.until is None or block.until - block.since > time + jitter)
