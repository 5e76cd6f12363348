"""Read the mails of a file, a Maildir or an mbox, and change nothing in them.

A mailbox belongs to another user as a rule, and everybody can send mails to it. Its folders are
opened as `exitpolicy.storage.files` describes: no symbolic link in it is followed, and a hard link
to another user's file is refused.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.storage import files

MAX_BYTES: Final = 256_000_000
"""Maximum bytes of a mail, and of an mbox."""
MAX_MAILS: Final = 5_000
"""Of a mailbox with more mails, the newest ones are read."""

_FOLDERS: Final = ("new", "cur")
_OUT_OF_DATE: Final = re.compile(r":2,[A-Z]*[DT][A-Za-z]*$")
"""The flags of a draft and of a mail in the trash, at the end of a name in a Maildir."""
_FROM_LINE: Final = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\n")
_QUOTED_FROM: Final = re.compile(rb"^>(>*From )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail in a mailbox."""

    name: str
    """For messages: the name of its file, or its number in the mbox."""
    read: Callable[[], bytes]
    """Returns its bytes. Raises InvalidFileError; FileNotFoundError if it is not there any more."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The mails of a Maildir or an mbox, oldest first."""

    mails: tuple[Mail, ...]
    left_out: int = 0
    """How many older mails it has."""


def load(path: Path) -> Mail | Mailbox:
    """Return the mail, or the mailbox, that is at a path.

    Raises UsageError if there is nothing, InvalidFileError.
    """
    try:
        with files.place(path, follow=True) as found:
            mode = os.lstat(found.name, dir_fd=found.folder).st_mode
        if stat.S_ISDIR(mode):
            return _maildir(path)
        content = files.read_own(path, "mail", limit=MAX_BYTES, follow=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file", hint="- reads stdin") from error
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be read: {error.strerror}", hint=files.permission_hint(path, error)
        ) from error
    return parse(path.name, content)


def parse(name: str, content: bytes) -> Mail | Mailbox:
    """Return the mail, or the mails of an mbox, that a file of this content is."""
    if content.startswith(b"From "):
        return _limited(list(_mbox(content)))
    return Mail(name, lambda: content)


def _limited(mails: list[Mail]) -> Mailbox:
    """Return the newest mails of those, given oldest first."""
    return Mailbox(tuple(mails[-MAX_MAILS:]), max(0, len(mails) - MAX_MAILS))


def _maildir(path: Path) -> Mailbox:
    """Return the mails in the folders `new` and `cur`, oldest first. Raises OSError."""
    found: list[tuple[float, Path]] = []
    for name in _FOLDERS:
        folder = path / name
        try:
            found += ((changed, folder / each) for each, changed in _mails_in(folder))
        except FileNotFoundError as error:
            raise InvalidFileError(
                f"{path} is a folder, but no Maildir: it has no folder {name!r}",
                hint="name a file, a Maildir (with new and cur) or an mbox",
            ) from error
    return _limited([Mail(each.name, _reader(each)) for _, each in sorted(found)])


def _mails_in(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield name and time of the mails in a folder of a Maildir. Raises OSError."""
    # `place` opens the folder of a path; the name in it does not matter.
    with files.place(folder / "mail") as opened:
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=opened.folder)
    try:
        for entry in os.scandir(handle):
            if entry.name.startswith(".") or _OUT_OF_DATE.search(entry.name):
                continue
            try:
                yield entry.name, entry.stat(follow_symlinks=False).st_mtime
            except FileNotFoundError:
                # A mail program has moved it meanwhile.
                continue
    finally:
        os.close(handle)


def _reader(path: Path) -> Callable[[], bytes]:
    return lambda: files.read_own(path, "mail", limit=MAX_BYTES)


def _mbox(content: bytes) -> Iterator[Mail]:
    """Yield the mails of an mbox: each follows an empty line and one that begins with `From `."""
    lines = list(_FROM_LINE.finditer(content))
    for number, line in enumerate(lines, start=1):
        end = lines[number].start() if number < len(lines) else len(content)
        mail = content[line.end() : end]
        yield Mail(f"mail {number}", partial(_QUOTED_FROM.sub, rb"\1", mail))
