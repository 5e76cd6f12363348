"""Read the mails of a file, a Maildir or an mbox, and change nothing in them.

A mailbox belongs to another user as a rule, and everybody can send mails to it. Its folders are
opened as `exitpolicy.storage.files` describes: no symbolic link in it is followed, and a hard link
to another user's file is refused.
"""

import heapq
import os
import re
import stat
from collections import deque
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
    return _mbox(content) if content.startswith(b"From ") else Mail(name, lambda: content)


def _maildir(path: Path) -> Mailbox:
    """Return the mails in the folders `new` and `cur`, oldest first. Raises OSError."""
    found: list[tuple[float, Path]] = []
    count = 0
    for name in _FOLDERS:
        folder = path / name
        try:
            for each, changed in _mails_in(folder):
                count += 1
                # A heap, because its owner may put any number of files there.
                heapq.heappush(found, (changed, folder / each))
                if len(found) > MAX_MAILS:
                    heapq.heappop(found)
        except FileNotFoundError as error:
            raise InvalidFileError(
                f"{path} is a folder, but no Maildir: it has no folder {name!r}",
                hint="name a file, a Maildir (with new and cur) or an mbox",
            ) from error
    mails = (
        Mail(each.name, partial(files.read_own, each, "mail", limit=MAX_BYTES))
        for _, each in sorted(found)
    )
    return Mailbox(tuple(mails), count - len(found))


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


def _mbox(content: bytes) -> Mailbox:
    """Return the mails of an mbox: each follows an empty line and one that begins with `From `."""
    spans: deque[tuple[int, int]] = deque(maxlen=MAX_MAILS)
    count = 0
    start: int | None = None
    for line in _FROM_LINE.finditer(content):
        if start is not None:
            spans.append((start, line.start()))
        start = line.end()
        count += 1
    spans.append((start or 0, len(content)))
    mails = (
        Mail(f"mail {number}", partial(_unquoted, content, first, end))
        for number, (first, end) in enumerate(spans, start=count - len(spans) + 1)
    )
    return Mailbox(tuple(mails), count - len(spans))


def _unquoted(content: bytes, start: int, end: int) -> bytes:
    """Return a mail of an mbox with its `From ` lines as they were."""
    return _QUOTED_FROM.sub(rb"\1", content[start:end])
