"""Which complaints were dealt with, in a file beside the ledger.

Of a mail it keeps a keyed hash of the Message-ID, the kind, the deadline and the tickets, and
nothing else. The key is random and belongs to this host: without it, nobody can test whether a mail
that they know was received here, nor compare the records of two hosts.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shell import word
from exitpolicy.storage import files
from exitpolicy.storage.locks import WAIT_SECONDS, complaints_lock_path, lock

MAX_ENTRIES: Final = 10_000
"""Of more complaints, those that were answered longest ago are forgotten first."""
MAX_BYTES: Final = 40_000_000
"""More than MAX_ENTRIES take, whatever strangers write as tickets."""
MAX_REFERENCES: Final = 3
MAX_TEXT: Final = 60
"""Characters of a ticket that are kept."""
OVERDUE: Final = timedelta(days=14)
"""How long after its deadline a complaint is said to have no answer."""
ID_LENGTH: Final = 32
"""Hexadecimal digits of a hash that are kept: 128 bits."""
KEY_LENGTH: Final = 64
MAX_HEADERS: Final = 65536
"""Bytes at the beginning of a mail in which its Message-ID is searched."""

# Without encoded words and comments: what no mail program writes is a hash of the whole mail.
_MESSAGE_ID: Final = re.compile(
    rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?(<[!-;=?-~]{1,900}>)[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_END_OF_HEADERS: Final = re.compile(rb"\r?\n\r?\n")


class Answer(StrEnum):
    """How a complaint was answered."""

    DRAFTED = "drafted"
    """A draft was saved."""
    SENT = "sent"
    """The answer was handed to the mail system."""
    CLOSED = "closed"
    """The operator said that no answer is needed any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a complaint."""

    id: str
    """ID_LENGTH hexadecimal digits."""
    seen: datetime
    """When it was read first."""
    kind: str
    deadline: datetime | None
    references: tuple[str, ...]
    answer: Answer | None = None
    """None as long as there is no answer."""
    answered: datetime | None = None

    @property
    def short_id(self) -> str:
        """The first digits of the id, to name a complaint that has no ticket."""
        return self.id[:8]


@dataclass(frozen=True, slots=True)
class Record:
    """All complaints that are remembered, by their ids."""

    key: str = field(repr=False)
    """KEY_LENGTH hexadecimal digits."""
    entries: Mapping[str, Entry]

    def id_of(self, mail: bytes) -> str:
        """Return the id of a mail: by its Message-ID, or by all of it if it has none."""
        named = message_id(mail)
        text = b"content:" + mail if named is None else b"message-id:" + named
        return hmac.new(bytes.fromhex(self.key), text, hashlib.sha256).hexdigest()[:ID_LENGTH]

    def unanswered(self, now: datetime) -> tuple[Entry, ...]:
        """Return the complaints with a deadline and no answer, the earliest deadline first.

        Those whose deadline passed more than OVERDUE ago are left out.
        """
        found = [
            (entry.deadline, entry.id)
            for entry in self.entries.values()
            if entry.answer is None
            and entry.deadline is not None
            and now - entry.deadline < OVERDUE
        ]
        return tuple(self.entries[id_] for _, id_ in sorted(found))

    def with_entries(self, new: Iterable[Entry]) -> "Record":
        """Return a record with entries that replace those of the same ids."""
        entries = {**self.entries, **{entry.id: entry for entry in new}}
        if len(entries) > MAX_ENTRIES:
            kept = sorted(entries.values(), key=_worth)[-MAX_ENTRIES:]
            entries = {entry.id: entry for entry in kept}
        return replace(self, entries=entries)


def _worth(entry: Entry) -> tuple[bool, datetime]:
    """Return what is greater for an entry that is kept longer."""
    return entry.answer is None, entry.answered or entry.seen


def message_id(mail: bytes) -> bytes | None:
    """Return the Message-ID of a mail; None if it has none, or one of another form."""
    head = mail[:MAX_HEADERS]
    end = _END_OF_HEADERS.search(head)
    found = _MESSAGE_ID.search(head if end is None else head[: end.start()])
    return None if found is None else found[1]


def entry(
    id_: str, seen: datetime, *, kind: str, deadline: datetime | None, references: Iterable[str]
) -> Entry:
    """Return the entry of a complaint without an answer, with its texts cut to what is kept."""
    kept = tuple(text[:MAX_TEXT] for text in references)[:MAX_REFERENCES]
    return Entry(id_, seen, kind[:MAX_TEXT], deadline, kept)


def path_beside(ledger: Path) -> Path:
    """Return the file of the record."""
    return ledger.with_name("complaints.json")


def load(path: Path) -> Record:
    """Return the record; one without entries and with a new key if there is none.

    Raises InvalidFileError.
    """
    try:
        content = files.read_own(path, "record of complaints", limit=MAX_BYTES)
    except FileNotFoundError:
        return Record(secrets.token_hex(KEY_LENGTH // 2), {})
    try:
        found = json.loads(content)
        key = _digits(found["key"], KEY_LENGTH)
        entries = [_entry(each) for each in found["complaints"][:MAX_ENTRIES]]
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidFileError(
            f"{path}: this is not a record of complaints",
            hint=f"move it away, and every mail counts as new: mv {word(path)} {word(path)}.bad",
        ) from error
    return Record(key, {each.id: each for each in entries})


def _entry(found: Mapping[str, Any]) -> Entry:
    """Return what one object of the file says. Raises LookupError, TypeError, ValueError."""
    answer, references = found["answer"], found["references"]
    if not isinstance(references, list):
        raise TypeError("references")
    seen = _time(found["seen"])
    if seen is None:
        raise ValueError("seen")
    return replace(
        entry(
            _digits(found["id"], ID_LENGTH),
            seen,
            kind=str(found["kind"]),
            deadline=_time(found["deadline"]),
            references=map(str, references),
        ),
        answer=None if answer is None else Answer(answer),
        answered=_time(found["answered"]),
    )


def _digits(text: str, length: int) -> str:
    """Return hexadecimal digits if they are so many. Raises ValueError, TypeError."""
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", text):
        raise ValueError(text)
    return text


def _time(text: str | None) -> datetime | None:
    # Without a zone, it could not be compared.
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def update(path: Path, change: Callable[[Record], Record]) -> Record:
    """Replace the record by what `change` makes of it, and return that; make it if there is none.

    Raises InvalidFileError, LockTimeoutError; the record is unchanged then.
    """
    with lock(complaints_lock_path(path), seconds=WAIT_SECONDS, doing="recording complaints"):
        before = load(path)
        after = change(before)
        if after.entries != before.entries or not path.exists():
            files.replace(path, _content(after))
    return after


def _content(record: Record) -> bytes:
    """Return the file: JSON in ASCII, one complaint a line."""
    lines = ",\n".join(
        json.dumps(
            {
                "id": each.id,
                "seen": utc_text(each.seen),
                "kind": each.kind,
                "deadline": None if each.deadline is None else utc_text(each.deadline),
                "references": each.references,
                "answer": each.answer,
                "answered": None if each.answered is None else utc_text(each.answered),
            }
        )
        for each in record.entries.values()
    )
    return f'{{"schema": 1, "key": "{record.key}", "complaints": [\n{lines}\n]}}\n'.encode()
