"""Record a change in the ledger of a fleet, on a machine that need not run a Tor.

The hosts take it with `exitpol apply --from`. What such a ledger says is history in git, so that
nothing else is written here.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from exitpolicy.core.block import Blocks
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.shell import word
from exitpolicy.operations.fleet_ledger import Change, changes
from exitpolicy.storage import files, ledger_file
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import WAIT_SECONDS, locked_folder


def record(path: Path, alter: Callable[[Blocks], Blocks], *, dry_run: bool) -> tuple[Change, ...]:
    """Change the blocks of a ledger file, and return what changed.

    Raises what `alter` raises, UsageError where there is no such file, InvalidFileError and
    LockTimeoutError.
    """
    if dry_run:
        blocks = _load(path).blocks
        return changes(blocks, alter(blocks))
    # The folder, because a lock file would be a new file in a git checkout.
    with locked_folder(path.parent, seconds=WAIT_SECONDS, doing=f"changing {path}"):
        ledger = _load(path)
        after = alter(ledger.blocks)
        if after != ledger.blocks:
            ledger_file.save(path, replace(ledger, blocks=after))
        return changes(ledger.blocks, after)


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
