"""Record a change in the ledger of a fleet, on a machine that need not run a Tor.

The hosts take it with `exitpol apply --from`. What such a ledger says is history in git, so that
nothing else is written here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.shell import word
from exitpolicy.operations.fleet_ledger import Change, changes
from exitpolicy.storage import files, ledger_file
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import WAIT_SECONDS, locked_folder

Alteration = Callable[[Blocks], tuple[Blocks, Sequence[Destination]]]
"""Returns the blocks after a change, and the destinations that it is for."""


class Recorded(NamedTuple):
    """A changed ledger, or in a dry run one that would be."""

    changes: tuple[Change, ...]
    blocks: tuple[Block, ...]
    """The blocks that the change is for, also those that it left as they were."""


def record(path: Path, alter: Alteration, *, dry_run: bool) -> Recorded:
    """Change the blocks of a ledger file.

    Raises what `alter` raises, UsageError where there is no such file, InvalidFileError and
    LockTimeoutError.
    """
    if dry_run:
        blocks = _load(path).blocks
        return _recorded(blocks, *alter(blocks))
    # The folder, because a lock file would be a new file in a git checkout.
    with locked_folder(path.parent, seconds=WAIT_SECONDS, doing=f"changing {path}"):
        ledger = _load(path)
        after, named = alter(ledger.blocks)
        if after != ledger.blocks:
            ledger_file.save(path, replace(ledger, blocks=after))
        return _recorded(ledger.blocks, after, named)


def _recorded(before: Blocks, after: Blocks, named: Sequence[Destination]) -> Recorded:
    return Recorded(changes(before, after), tuple(after.get(destination) for destination in named))


def _load(path: Path) -> Ledger:
    try:
        files.read(path, "ledger", limit=ledger_file.MAX_BYTES)
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: there is no such ledger",
            hint=f"to begin one: printf 'version: 2\\nblocks: []\\n' >{word(path)}",
        ) from error
    try:
        return ledger_file.load(path)
    except InvalidFileError as error:
        raise InvalidFileError(f"{error}; nothing was changed", hint=error.hint) from error
