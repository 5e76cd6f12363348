"""Removed blocks: announced before the ledger changes, in the history when no fragment has them.

The history never says that a block was lifted or expired while a fragment still holds it. The
announcements lie in a file beside the ledger, so that a crash or a refused fragment loses none.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.operations import hooks
from exitpolicy.operations.host import Host
from exitpolicy.operations.planning import FragmentPlan, concerns
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.rule import Rule
from exitpolicy.storage import files, history
from exitpolicy.storage.locks import ledger_lock_path, lock

MAX_BYTES: Final = 64_000_000

_WAIT_SECONDS: Final = 60.0
"""How long an apply waits for who changes the ledger; others wait for that apply meanwhile."""

Action = Literal["lift", "expire", "unfollow"]


@dataclass(frozen=True, slots=True)
class Removal:
    """A block that was ended, and by whom."""

    action: Action
    block: Block
    """As it was before."""
    who: str


def announce(host: Host, action: Action, blocks: Iterable[Block]) -> None:
    """Note that blocks are about to end. The caller holds the ledger's lock."""
    _save(host, [*_load(host), *(Removal(action, block, host.who) for block in blocks)])


def withdraw(host: Host, blocks: Iterable[Block]) -> None:
    """Take back the announcement of blocks. The caller holds the ledger's lock."""
    gone = {block.destination for block in blocks}
    _save(host, [each for each in _load(host) if each.block.destination not in gone])


def announced(host: Host) -> list[Destination]:
    """Return the removals that are not in the history yet."""
    return [removal.block.destination for removal in _load(host)]


def record(host: Host, plans: Sequence[FragmentPlan]) -> None:
    """Write the announced removals that have left every fragment into the history.

    Those that cannot be written wait. The caller holds the lock of the apply. Raises
    InvalidFileError, LockTimeoutError.
    """
    if not path_of(host).exists():
        return
    with lock(
        ledger_lock_path(host.config.ledger), seconds=_WAIT_SECONDS, doing="changing the ledger"
    ):
        blocks = host.ledger().blocks.by_destination
        now = host.clock()
        waiting: list[Removal] = []
        failure: InvalidFileError | None = None
        ended: dict[tuple[Action, str], list[Block]] = {}
        for removal in _load(host):
            block = blocks.get(removal.block.destination)
            lasts = block is not None and not block.has_ended(now)
            is_new = lasts and block is not None and block.since > removal.block.since
            if lasts and not is_new:
                continue  # the command died before it changed the ledger, or the block resumed
            # The rule of a new block stays in the fragments: it says nothing of the former block.
            (local,) = host.here(Blocks.of([removal.block]))
            installed = not is_new and any(
                concerns(local, plan.relays) and is_installed(removal.block.destination, plan)
                for plan in plans
            )
            if failure is not None or installed:
                waiting.append(removal)
                continue
            try:
                history.append(host.history_path, removal.action, [removal.block], now, removal.who)
            except InvalidFileError as error:
                failure = error
                waiting.append(removal)
            else:
                ended.setdefault((removal.action, removal.who), []).append(removal.block)
        _save(host, waiting)
        for (action, who), gone in ended.items():
            hooks.blocks_changed(host, action, gone, who)
        if failure is not None:
            raise failure


def is_installed(destination: Destination, plan: FragmentPlan) -> bool:
    """Tell whether a fragment that was not replaced still holds an ended block."""
    if plan.text is not None:
        return destination in plan.postponed.removed
    found = [rule for rule in plan.installed if isinstance(rule, Rule)]
    return bool(found) and Decisions(found).rejects(destination)


def path_of(host: Host) -> Path:
    """Return the file of the announced removals."""
    return host.config.ledger.with_name("removals.jsonl")


def _load(host: Host) -> list[Removal]:
    try:
        content = files.read_own(path_of(host), "list of removals", limit=MAX_BYTES)
    except (FileNotFoundError, InvalidFileError):
        # Something else in the place of the list must stop no removal: it is replaced.
        return []
    return [removal for line in content.splitlines() if (removal := _parsed(line)) is not None]


def _parsed(line: bytes) -> Removal | None:
    """Return the removal on a line; None for a damaged line, which must stop nothing."""
    try:
        entry = json.loads(line)
        until = entry["until"]
        block = Block(
            parse_destination(entry["destination"]),
            datetime.fromisoformat(entry["since"]),
            None if until is None else datetime.fromisoformat(until),
            str(entry["reason"]),
            str(entry["reference"]),
            tuple(map(str, entry.get("relays", ()))),
            str(entry.get("source", "")),
            references=tuple(map(str, entry.get("references", ()))),
            name=str(entry.get("name", "")),
        )
        return Removal(_action(entry["action"]), block, str(entry["who"]))
    except (ValueError, KeyError, TypeError, RecursionError, UsageError):
        return None


def _action(text: object) -> Action:
    match text:
        case "lift" | "unfollow":
            return text
        case _:
            return "expire"


def _save(host: Host, removals: Sequence[Removal]) -> None:
    path = path_of(host)
    if not removals:
        files.discard(path)
        return
    lines = [
        json.dumps(
            {
                "action": removal.action,
                "destination": str(removal.block.destination),
                "since": removal.block.since.isoformat(),
                "until": None if removal.block.until is None else removal.block.until.isoformat(),
                "reason": removal.block.reason,
                "reference": removal.block.reference,
                "relays": removal.block.relays,
                "source": removal.block.source,
                "references": removal.block.references,
                "name": " ".join(removal.block.names),
                "who": removal.who,
            }
        )
        for removal in removals
    ]
    files.replace(path, ("\n".join(lines) + "\n").encode())
