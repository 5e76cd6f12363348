"""Read the ledger file, and replace it atomically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files
from exitpolicy.storage.ledger_text import Ledger, parse, parse_readable, parse_source, render

__all__ = [
    "Ledger",
    "last_taken_path",
    "last_valid_path",
    "load",
    "load_readable",
    "parse",
    "remember",
    "render",
    "save",
    "save_around_errors",
]

MAX_BYTES: Final = 64_000_000


def load(path: Path) -> Ledger:
    """Read the ledger. Raises InvalidFileError that names file and line and how to fix it."""
    try:
        return parse(str(path), _content(path))
    except FileNotFoundError as error:
        raise InvalidFileError(f"{path}: there is no ledger yet", hint="exitpol init") from error


def save(path: Path, ledger: Ledger) -> None:
    """Change the ledger file, or make it, in one step. The caller holds the ledger's lock.

    Comments and the lines of unchanged blocks stay. A file of version 1 becomes one of version 2,
    and its content stays beside it as NAME.v1. Raises InvalidFileError as `files.replace` does.
    """
    try:
        before = _content(path)
    except FileNotFoundError:
        files.replace(path, _readable(path, render(ledger)), follow=True)
        return
    # Imported here, because `list` does not need it.
    from exitpolicy.storage.ledger_edit import edited  # noqa: PLC0415

    source = parse_source(str(path), before)
    after = edited(str(path), source, ledger)
    if after == before:
        return
    if len(ledger.blocks) > len(source.ledger.blocks):
        _readable(path, after)
    if source.version == "1":
        files.replace(former_path(path), before, files.ownership_of(path))
    # The ledger may be a link into a git checkout: write the target, keep the link.
    files.replace(path, after, follow=True)


def load_readable(path: Path) -> Blocks:
    """Return the blocks of a ledger with errors that have none themselves.

    Raises InvalidFileError if it cannot be read at all.
    """
    try:
        return parse_readable(str(path), _content(path)).ledger.blocks
    except FileNotFoundError as error:
        raise InvalidFileError(f"{path}: there is no ledger yet", hint="exitpol init") from error


def save_around_errors(path: Path, blocks: Mapping[Destination, Block]) -> None:
    """Change blocks that have no error in a ledger that has others; its other lines stay.

    The caller holds the ledger's lock. Raises InvalidFileError.
    """
    # Imported here, because `list` does not need it.
    from exitpolicy.storage.ledger_edit import ended_around_errors  # noqa: PLC0415

    source = parse_readable(str(path), _content(path))
    files.replace(path, ended_around_errors(str(path), source, blocks), follow=True)


def _readable(path: Path, content: bytes) -> bytes:
    """Return `content` if it leaves room for the end of each block. Raises InvalidFileError."""
    if len(content) > MAX_BYTES * 3 // 4:
        raise InvalidFileError(
            f"{path}: the ledger would have {len(content) / 1e6:.0f} MB, which is too long for"
            " exitpol to read; nothing was changed",
            hint="block whole networks instead of single addresses",
        )
    return content


def former_path(path: Path) -> Path:
    """Return the copy of a ledger of version 1, made when it became one of version 2."""
    return path.with_name(f"{path.name}.v1")


def last_valid_path(path: Path) -> Path:
    """Return the copy of what a ledger said when it was last valid."""
    return path.with_name("last_valid.yaml")


def last_taken_path(path: Path) -> Path:
    """Return the copy of what the ledger of the fleet said when it was last taken."""
    return path.with_name("last_taken.yaml")


def remember(path: Path, ledger: Ledger) -> None:
    """Keep what the ledger says, for when it becomes invalid. Raises InvalidFileError."""
    try:
        content = _content(path)
        # Copied in the usual case: to write 100,000 blocks anew takes a second.
        same = parse(str(path), content) == ledger
    except (FileNotFoundError, InvalidFileError):
        same = False
    text = content if same else render(ledger)
    files.replace(last_valid_path(path), text, files.ownership_of(path))


def _content(path: Path) -> bytes:
    return files.read_own(path, "ledger", limit=MAX_BYTES, follow=True)
