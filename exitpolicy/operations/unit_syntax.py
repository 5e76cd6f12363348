"""Texts that a unit file of systemd takes as they are, whatever they hold."""

import os

from exitpolicy.core.errors import InvalidFileError


def argument(word: str | os.PathLike[str]) -> str:
    """Return a word of a command line (systemd.service(5), "Command lines").

    Raises InvalidFileError.
    """
    return path_entry(word).replace("$", "$$")


def path_entry(path: str | os.PathLike[str]) -> str:
    r"""Return an entry of a list of paths.

    Another user may have chosen the path, where a ledger is linked from that user's folder. systemd
    ends a line at `\r` as well as at `\n`, and reads no escapes in a list of paths. Raises
    InvalidFileError.
    """
    text = os.fspath(path)
    if not text.isprintable():
        raise InvalidFileError(
            f"{text} is not allowed in a unit of systemd; the units were not written",
            hint="use a path without control characters",
        )
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(c in text for c in " '\"\\;") else text


def rest_of_line(path: str | os.PathLike[str]) -> str:
    """Return a path that is the rest of its line, where systemd removes no quotes.

    Raises InvalidFileError.
    """
    path_entry(path)
    return os.fspath(path).replace("%", "%%")


def comment(text: str) -> str:
    """Return text for a comment: on one line that does not continue on the next."""
    return "".join(c if c.isprintable() else "?" for c in text).rstrip("\\")
