"""The key `hooks` of the config: which commands learn of changes, and what they are told.

For example `hooks: {after-change: ["/usr/local/bin/on-change --flag"], fields: [reference]}`.
"""

import shlex
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.errors import UsageError
from exitpolicy.storage.yaml_document import Document, quoted
from exitpolicy.storage.yaml_nodes import Node

KEYS: Final = ("after-change", "fields", "spool")
FIELDS: Final = ("reason", "reference", "references", "name", "source", "who")
"""What an event holds only if the config names it: it may name people, or whom a block protects."""
SPOOL: Final = Path("/var/spool/exitpol")
MAX_COMMANDS: Final = 10
MAX_COMMAND: Final = 1000
"""Characters of a command."""


class Hooks(NamedTuple):
    """The commands that get each event, and what they get."""

    after_change: tuple[str, ...] = ()
    """Commands, each as one text that is split into words as by a shell; empty: no hooks."""
    fields: tuple[str, ...] = ()
    """Further fields of an event, of FIELDS."""
    spool: Path = SPOOL
    """The folder of the spool, which only root may change."""


def parse(document: Document, node: Node, base: Path) -> Hooks:
    """Read the key; relative paths are relative to `base`. Raises InvalidFileError."""
    given = document.fields(node, "hooks", KEYS)
    commands, fields = (
        tuple(
            document.parsed(item, f"hooks: {key}", read)
            for item in document.items(given[key], f"hooks: {key}")
        )
        if key in given
        else ()
        for key, read in (("after-change", _command), ("fields", _field))
    )
    if len(commands) > MAX_COMMANDS or len(set(commands)) < len(commands):
        raise document.error(
            given["after-change"].line,
            f"hooks: after-change has more than {MAX_COMMANDS} commands, or one twice",
            "write one script that runs them",
        )
    spool = document.parsed(given["spool"], "hooks: spool", _folder) if "spool" in given else SPOOL
    return Hooks(commands, fields, base / spool)


def line(hooks: Hooks) -> str:
    """Return the line of the config that `parse` reads back as the same."""
    words = [f"after-change: [{', '.join(map(quoted, hooks.after_change))}]"]
    if hooks.fields:
        words.append(f"fields: [{', '.join(hooks.fields)}]")
    if hooks.spool != SPOOL:
        words.append(f"spool: {quoted(str(hooks.spool))}")
    return f"hooks: {{{', '.join(words)}}}\n"


def _command(text: str) -> str:
    """Return a command that can be split and stand in a unit. Raises UsageError."""
    hint = "write the full path and its arguments, such as /usr/local/bin/on-change"
    if not text.isprintable() or len(text) > MAX_COMMAND:
        raise UsageError(
            f"a command has at most {MAX_COMMAND} characters, and no control characters", hint=hint
        )
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text!r} has an open quote or escape", hint=hint) from error
    if not words or not words[0].startswith("/"):
        raise UsageError(f"{text!r} does not begin with the path of a program", hint=hint)
    return text


def _field(text: str) -> str:
    """Return the name of a further field. Raises UsageError."""
    if text not in FIELDS:
        raise UsageError(f"{text!r} is not a field", hint=f"known are: {', '.join(FIELDS)}")
    return text


def _folder(text: str) -> str:
    """Return a path that a unit can hold. Raises UsageError."""
    if not text.isprintable() or not text.strip():
        raise UsageError(f"{text!r} is not a path without control characters")
    return text
