"""Tell the hooks of changes: record each one in the history, and put an event into the spool.

Nothing here stops or delays a change: what cannot be put into the spool is dropped, and counted in
a file beside the ledger until the spool works again. exitpol-hooks.service runs the hooks.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exitpolicy.core.block import Block
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.operations.host import Host
from exitpolicy.storage import files, history, hook_spool

if TYPE_CHECKING:
    from exitpolicy.storage.health_record import HealthRecord

MAX_BLOCKS: Final = 100
"""Blocks in one event; `count` says how many there were."""
_MAX_MESSAGES: Final = 20
_MAX_MESSAGE: Final = 500
_MAX_MARK: Final = 10_000
_MAX_DROPPED: Final = 1_000_000
"""The owner of the ledger's folder may write the count."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The events that could not be put into the spool, since it last worked."""

    count: int
    since: str
    why: str


def record(
    host: Host, action: history.Action, blocks: Iterable[Block], *, now: datetime | None = None
) -> None:
    """Write a change of blocks into the history, and tell the hooks. Raises InvalidFileError.

    The caller has written the ledger and still holds its lock.
    """
    blocks = tuple(blocks)
    try:
        history.append(host.history_path, action, blocks, now or host.clock(), host.who)
    finally:
        blocks_changed(host, action, blocks, host.who)


def record_policy(host: Host, action: history.PolicyAction, text: str) -> None:
    """Write a change of an exit's own policy into the history, and tell the hooks.

    Raises InvalidFileError.
    """
    try:
        history.append_policy(host.history_path, action, text, host.clock(), host.who)
    finally:
        _tell(host, "policy", {"action": action, "text": text[:_MAX_MESSAGE]})


def blocks_changed(host: Host, action: history.Action, blocks: Sequence[Block], who: str) -> None:
    """Tell the hooks of a change of blocks."""
    if not blocks:
        return
    fields = host.config.hooks.fields
    entries = [_entry(block, fields) for block in islice(blocks, MAX_BLOCKS)]
    while entries and len(json.dumps(entries)) > hook_spool.MAX_EVENT:
        del entries[len(entries) // 2 :]
    told: dict[str, Any] = {"action": action, "count": len(blocks), "blocks": entries}
    if "who" in fields:
        told["who"] = who
    _tell(host, "change", told)


def health_changed(host: Host, health: "HealthRecord") -> None:
    """Tell the hooks what the health is now."""
    _tell(
        host,
        "health",
        {
            "since": utc_text(health.since),
            "faults": sorted(health.faults),
            "places": sorted(health.places)[:_MAX_MESSAGES],
            "messages": [each[:_MAX_MESSAGE] for each in health.messages[:_MAX_MESSAGES]],
        },
    )


def dropped(host: Host) -> Dropped | None:
    """Return which events were dropped since the spool last worked; None if none were."""
    try:
        content = files.read_own(dropped_path(host), "count of events", limit=_MAX_MARK)
        mark = json.loads(content)
        count = min(max(0, int(mark["count"])), _MAX_DROPPED)
        return Dropped(count, str(mark["since"]), str(mark["why"]))
    except (
        *(OSError, InvalidFileError, ValueError, LookupError),
        *(TypeError, OverflowError, RecursionError),
    ):
        return None


def dropped_path(host: Host) -> Path:
    """Return the file that counts the dropped events."""
    return host.config.ledger.with_name("dropped_events.json")


def _entry(block: Block, fields: Sequence[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "destination": str(block.destination),
        "since": utc_text(block.since),
        "until": None if block.until is None else utc_text(block.until),
        "relays": list(block.relays),
    }
    optional = {
        "reason": block.reason,
        "reference": block.reference,
        "references": list(block.references),
        "name": " ".join(block.names),
        "source": block.source,
    }
    return entry | {name: value for name, value in optional.items() if name in fields}


def _tell(host: Host, event: str, content: Mapping[str, Any]) -> None:
    """Put an event into the spool, if there are hooks; count it if that fails."""
    hooks = host.config.hooks
    if not hooks.after_change:
        return
    head = {"time": utc_text(host.clock()), "host": os.uname().nodename, "event": event}
    before = dropped(host)
    try:
        count = 0 if before is None else before.count
        hook_spool.append(hooks.spool, {**head, **content}, dropped=count)
    except (ExitpolError, OSError, ValueError) as error:
        _count(host, before, head["time"], str(error))
    else:
        if before is not None:
            files.discard(dropped_path(host))


def _count(host: Host, before: Dropped | None, time: str, why: str) -> None:
    """Count a dropped event. Where that fails too, doctor still sees an unusable spool."""
    count, since = (0, time) if before is None else (before.count, before.since)
    mark = {"count": count + 1, "since": since, "why": why[:_MAX_MESSAGE]}
    content = json.dumps(mark)
    try:
        files.replace(dropped_path(host), f"{content}\n".encode())
    except ExitpolError:
        return
