"""Take the ledger of a fleet into the ledger of this host."""

import sys
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import AttentionError, ExitpolError, InvalidFileError, UsageError
from exitpolicy.core.fleet_ledger import Difference, Taken, taken
from exitpolicy.core.shell import word
from exitpolicy.operations import change
from exitpolicy.operations.apply import attempted
from exitpolicy.operations.host import Host
from exitpolicy.storage import files, ledger_file
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import WAIT_SECONDS, fleet_lock_path, lock

STDIN: Final = "-"
"""The name that stands for stdin."""


@dataclass(frozen=True, slots=True)
class Change:
    """A block of the host that changed."""

    before: Block | None
    """None if there was none."""
    after: Block


@dataclass(frozen=True, slots=True)
class TakeResult:
    """What a host took from the ledger of its fleet."""

    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    """What is not the same on this host as in the fleet, after it."""
    remarks: tuple[ExitpolError, ...]
    """What was not as it should be, and stopped nothing."""
    result: change.Result
    """What was observed."""


def read(name: str) -> Ledger:
    """Read the ledger of a fleet from a file, or from stdin for `-`.

    Raises UsageError where there is no such file, and InvalidFileError.
    """
    limit = ledger_file.MAX_BYTES
    if name == STDIN:
        try:
            content = sys.stdin.buffer.read(limit + 1)
        except OSError as error:
            raise UsageError(f"stdin cannot be read: {error.strerror}") from error
        if len(content) > limit:
            raise InvalidFileError(f"stdin: a ledger has at most {limit / 1e6:.0f} MB")
        return ledger_file.parse("stdin", content)
    try:
        content = files.read(Path(name), "ledger", limit=limit)
    except FileNotFoundError as error:
        raise UsageError(f"{name}: there is no such ledger", hint="- reads stdin") from error
    return ledger_file.parse(name, content)


def take(
    host: Host, theirs: Ledger, only: Collection[Destination], options: change.Options
) -> TakeResult:
    """Take what the fleet has changed since the last time into the ledger, and apply it.

    With `only`, the blocks of some destinations. What does not fit is recorded and pending, as
    after an edit of the ledger: the limits of one host must stop no lift. Raises InvalidFileError,
    UsageError for a destination that neither side has, and LockTimeoutError.
    """
    path = ledger_file.last_taken_path(host.config.ledger)
    options = replace(options, is_edit=True)
    made: list[tuple[Blocks, Taken]] = []
    with nullcontext() if options.dry_run else _locked(host):
        ancestor = _last_taken(path)

        def alter(blocks: Blocks) -> Blocks:
            _refuse_unknown(only, blocks, theirs.blocks)
            found = taken(ancestor.blocks, blocks, theirs.blocks, host.time(), only)
            made.append((blocks, found))
            return found.blocks

        result = change.rearrange(host, alter, options, frozenset())
        before, found = made[-1]
        after = Ledger(found.ancestor, theirs.policy, theirs.policies)
        remarks = [] if options.dry_run or after == ancestor else _remember(host, path, after)
    return TakeResult(
        changes(before, found.blocks),
        found.differences,
        (*remarks, *_other_policy(host, theirs)),
        result,
    )


def _locked(host: Host) -> AbstractContextManager[None]:
    return lock(
        fleet_lock_path(host.config.ledger),
        seconds=WAIT_SECONDS,
        doing="taking the ledger of the fleet",
    )


def _last_taken(path: Path) -> Ledger:
    """Return what the fleet said the last time; an empty ledger before the first."""
    try:
        content = files.read_own(path, "ledger", limit=ledger_file.MAX_BYTES)
    except FileNotFoundError:
        return Ledger(Blocks.of())
    try:
        return ledger_file.parse(str(path), content)
    except InvalidFileError as error:
        raise InvalidFileError(
            f"{error}; nothing was changed",
            hint=f"remove it: rm {word(path)}; blocks that the fleet has removed since then stay on"
            " this host until you lift them",
        ) from error


def _remember(host: Host, path: Path, ledger: Ledger) -> list[ExitpolError]:
    ownership = files.ownership_of(host.config.ledger)
    return attempted(lambda: files.replace(path, ledger_file.render(ledger), ownership))


def _refuse_unknown(only: Collection[Destination], *sides: Blocks) -> None:
    for destination in only:
        if not any(destination in side for side in sides):
            raise UsageError(
                f"neither the ledger of the fleet nor that of this host has a block for"
                f" {destination}",
                hint="write it as the ledger of the fleet does",
            )


def changes(before: Blocks, after: Blocks) -> tuple[Change, ...]:
    """Return the blocks that differ; a block never vanishes."""
    found = ((before.by_destination.get(block.destination), block) for block in after)
    return tuple(Change(old, new) for old, new in found if old != new)


def _other_policy(host: Host, theirs: Ledger) -> list[ExitpolError]:
    """Return a remark if the fleet names other base policies than this host uses."""
    ours = host.ledger()
    for relay in host.relays:
        here, there = ours.policy_of(relay.name), theirs.policy_of(relay.name)
        if there not in {None, here}:
            return [
                AttentionError(
                    f"the ledger of the fleet names the base policy {there} for {relay.name}, which"
                    f" uses {here or 'none'}; base policies are not taken",
                    hint=f"exitpol policy use {there} --relay {word(relay.name)}",
                ).about(relay.name)
            ]
    return []
