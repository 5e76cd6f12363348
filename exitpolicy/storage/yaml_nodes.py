"""The nodes of a YAML file: scalars, sequences and mappings, each with its place in the text."""

from typing import NamedTuple, Union

from exitpolicy.core.errors import InvalidFileError


# Named tuples, because a ledger has several for each block and they are the fastest to make.
class Text(NamedTuple):
    """A scalar, its line, and where it starts and ends (offsets in the text, in characters)."""

    value: str
    line: int
    start: int
    end: int


class Items(NamedTuple):
    """A sequence; `flow` if it is written in brackets."""

    values: list["Node"]
    line: int
    start: int
    end: int
    flow: bool


class Fields(NamedTuple):
    """A mapping; `keys` holds the offset of each key; `flow` if it is written in braces."""

    values: dict[str, "Node"]
    line: int
    start: int
    end: int
    flow: bool
    keys: dict[str, int]


Node = Union[Text, Items, Fields]  # noqa: UP007 - a forward reference cannot stand in X | Y


def error_at(source: str, line: int, message: str, hint: str | None = None) -> InvalidFileError:
    """Return the error that names file and line."""
    return InvalidFileError(f"{source}:{line}: {message}", hint=hint)
