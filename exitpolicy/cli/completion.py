"""What the shell completes: destinations, references, relays and states.

Only the config and the ledger are read, never a Tor. Whatever goes wrong, nothing is proposed.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from exitpolicy.core.block import Block, State
from exitpolicy.storage import config as config_file
from exitpolicy.storage.config import Config

if TYPE_CHECKING:
    from exitpolicy.storage.complaint_record import Entry

MAX_BYTES: Final = 2_000_000
"""The longest ledger that is read: a key press must not wait."""

_SAFE: Final = r"[A-Za-z0-9\[][A-Za-z0-9.:/,#@+=_\[\]-]*"
"""What a shell takes as it is. References come from strangers' mails: one that holds `$(...)` must
never stand on root's command line."""


def destinations(context: typer.Context, incomplete: str) -> list[str]:
    """Propose the destinations of the blocks that last, and their host names."""
    return _matching(
        (text for b in _blocks(context) for text in (str(b.destination), *b.names)), incomplete
    )


def references(context: typer.Context, incomplete: str) -> list[str]:
    """Propose the references of the blocks that last."""
    return _matching((r for block in _blocks(context) for r in block.all_references), incomplete)


def references_and_destinations(context: typer.Context, incomplete: str) -> list[str]:
    """Propose both once something is typed; before that, the shell proposes files.

    Also those of ended blocks, until a letter says that they have ended.
    """
    if not incomplete:
        return []
    texts = (
        text
        for block in _all_blocks(context)
        if block.ended is None or block.told is None
        for text in (*block.all_references, str(block.destination), *block.names)
    )
    return _matching(texts, incomplete)


def relays(context: typer.Context, incomplete: str) -> list[str]:
    """Propose the names of the relays in the config, those of its fleet, and its groups."""
    return _matching(
        (
            text
            for each in _config(context)
            for text in (
                *(relay.name for relay in each.relays),
                *(member.word for member in each.fleet.members),
                *each.fleet.groups,
            )
        ),
        incomplete,
    )


def states(incomplete: str) -> list[str]:
    """Propose the states of blocks."""
    return _matching(iter([*map(str, State), "ended"]), incomplete)


def sources(context: typer.Context, incomplete: str) -> list[str]:
    """Propose the names of the lists that blocks come from."""
    return _matching((n for block in _blocks(context) for n in block.sources), incomplete)


def read_formats(incomplete: str) -> list[str]:
    """Propose the formats of lists that are read."""
    from exitpolicy.lists.reading import FORMATS

    return _matching(iter(FORMATS), incomplete)


def written_formats(incomplete: str) -> list[str]:
    """Propose the formats of lists that are written."""
    from exitpolicy.lists.writing import FORMATS

    return _matching(iter(FORMATS), incomplete)


def unanswered(context: typer.Context, incomplete: str) -> list[str]:
    """Propose the tickets and ids of complaints that have no answer."""
    return _matching(
        (text for each in _unanswered(context) for text in (*each.references, each.short_id)),
        incomplete,
    )


def _matching(texts: Iterator[str], incomplete: str) -> list[str]:
    """Return the different texts that begin as typed and that no shell expands."""
    found: dict[str, None] = {}
    with suppress(Exception):
        for text in texts:
            if text.startswith(incomplete) and re.fullmatch(_SAFE, text):
                found[text] = None
    return list(found)


def _blocks(context: typer.Context) -> Iterator[Block]:
    """Yield the blocks that last."""
    yield from (block for block in _all_blocks(context) if block.ended is None)


def _all_blocks(context: typer.Context) -> Iterator[Block]:
    from exitpolicy.storage import ledger_file

    for config in _config(context):
        if config.ledger.stat().st_size <= MAX_BYTES:
            yield from ledger_file.load(config.ledger).blocks


def _unanswered(context: typer.Context) -> "Iterator[Entry]":
    from exitpolicy.storage import complaint_record

    for config in _config(context):
        record = complaint_record.load(complaint_record.path_beside(config.ledger))
        yield from (entry for entry in record.entries.values() if entry.answer is None)


def _config(context: typer.Context) -> Iterator[Config]:
    """Yield the config that the words before name."""
    named = context.find_root().params.get("config")
    yield config_file.load(None if named is None else Path(named))
