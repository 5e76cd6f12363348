"""Complaints that wait for an answer: those of a mailbox, and those that were read before."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Protocol

from exitpolicy.complaint import Complaint
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError, InvalidFileError, UsageError
from exitpolicy.operations import complaints, sandbox
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.storage import complaint_record
from exitpolicy.storage.complaint_record import Answer, Entry, Record
from exitpolicy.storage.mailbox import Mail, Mailbox

OVERDUE: Final = timedelta(days=14)
"""How long after its deadline a complaint without an answer is shown by `status` and `list`."""
_RECORDED_AT_ONCE: Final = 20
"""The mails that are read before they are recorded: an interruption loses no more."""
_READ_AT_ONCE: Final = os.cpu_count() or 1
"""The mails that are read at the same time, each in a child of its own."""

_LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A complaint that has no answer yet, or that the operator named."""

    mail: Mail
    entry: Entry


@dataclass(frozen=True, slots=True)
class Found:
    """What a mailbox holds."""

    waiting: tuple[Waiting, ...]
    """Those without an answer: the earliest deadline first, those without a deadline last."""
    known: int
    """How many mails have been dealt with."""
    left_out: int
    """How many older mails were not read."""
    problems: tuple[ExitpolError, ...]
    """Mails that cannot be read."""


class Reader(Protocol):
    """Reads complaints to a host."""

    def read(self, mail: bytes) -> Complaint:
        """Read a complaint. Raises InvalidFileError."""
        ...


class ConfinedReader:
    """Reads complaints to a host, whose own addresses are asked for once."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def read(self, mail: bytes) -> Complaint:
        """Read a complaint in a child without privileges. Raises InvalidFileError."""
        return sandbox.read_complaint(mail, own=self._own, protected=self._host.config.protected)

    @cached_property
    def _own(self) -> tuple[Destination, ...]:
        return complaints.own_addresses(self._host)


def single(host: Host, mail: Mail, reader: Reader) -> tuple[Waiting, Complaint]:
    """Read one complaint, and record it unless it is known. Raises InvalidFileError."""
    content = mail.read()
    read = reader.read(content)
    (entry,), _ = _recorded(host, [(content, read)])
    return Waiting(mail, entry), read


def of_mailbox(
    host: Host, mailbox: Mailbox, reader: Reader, progress: Callable[[int, int], None]
) -> Found:
    """Read the mails of a mailbox that were not read before, and record them.

    `progress` is called with the number of a new mail and how many there are. Raises
    InvalidFileError for a record that cannot be used.
    """
    # The first update makes the key of the hashes.
    record = complaint_record.update(host.complaints_path, lambda record: record)
    problems: list[ExitpolError] = []
    by_id: dict[str, Mail] = {}
    for mail in mailbox.mails:
        content = _content(mail, problems)
        if content is not None:
            by_id[record.id_of(content)] = mail
    new = [mail for id_, mail in by_id.items() if id_ not in record.entries]
    read: list[tuple[bytes, Complaint | None]] = []
    for start in range(0, len(new), _READ_AT_ONCE):
        progress(start + 1, len(new))
        read += _read_some(reader, new[start : start + _READ_AT_ONCE], problems)
        if len(read) >= _RECORDED_AT_ONCE:
            _recorded(host, read)
            read = []
    record = _recorded(host, read)[1]
    known = [(record.entries[id_], mail) for id_, mail in by_id.items() if id_ in record.entries]
    waiting = [Waiting(mail, entry) for entry, mail in known if entry.answer is None]
    return Found(
        tuple(sorted(waiting, key=lambda one: one.entry.deadline or _LAST)),
        len(known) - len(waiting),
        mailbox.left_out,
        tuple(problems),
    )


def _read_some(
    reader: Reader, mails: Sequence[Mail], problems: list[ExitpolError]
) -> list[tuple[bytes, Complaint | None]]:
    """Read some mails at the same time; None is what its reader failed to read."""
    found = [(mail, _content(mail, problems)) for mail in mails]
    present = [(mail, content) for mail, content in found if content is not None]

    def read(one: tuple[Mail, bytes]) -> Complaint | InvalidFileError:
        mail, content = one
        try:
            return reader.read(content)
        except InvalidFileError as error:
            return InvalidFileError(f"{mail.name}: {error}", hint=error.hint)

    results = in_parallel(read, present)
    problems += (one for one in results if isinstance(one, InvalidFileError))
    return [
        (content, None if isinstance(one, InvalidFileError) else one)
        for (_, content), one in zip(present, results, strict=True)
    ]


def _content(mail: Mail, problems: list[ExitpolError]) -> bytes | None:
    """Return the bytes of a mail; None if it cannot be read, or is not there any more."""
    try:
        return mail.read()
    except FileNotFoundError:
        return None
    except InvalidFileError as error:
        problems.append(error)
        return None


def _recorded(
    host: Host, read: Sequence[tuple[bytes, Complaint | None]]
) -> tuple[list[Entry], Record]:
    """Record complaints that are not known, and return the entries of these, and the record.

    None is a complaint that its reader failed to read: it waits as well. Raises InvalidFileError.
    """
    entries: list[Entry] = []

    def with_new(record: Record) -> Record:
        entries.extend(
            _entry(record.id_of(content), complaint, host.clock()) for content, complaint in read
        )
        return record.with_entries(each for each in entries if each.id not in record.entries)

    record = complaint_record.update(host.complaints_path, with_new)
    # A full record may have dropped a new one.
    return [record.entries.get(each.id, each) for each in entries], record


def _entry(id_: str, complaint: Complaint | None, now: datetime) -> Entry:
    if complaint is None:
        return complaint_record.entry(id_, now, kind="unread", deadline=None, references=())
    return complaint_record.entry(
        id_,
        now,
        kind=complaint.kind.value,
        deadline=complaint.deadline,
        references=complaint.references,
    )


def settle(host: Host, entry: Entry, answer: Answer) -> None:
    """Record how a complaint was answered. Raises InvalidFileError."""
    answered = replace(entry, answer=answer, answered=host.clock())
    complaint_record.update(host.complaints_path, lambda record: record.with_entries([answered]))


def close(host: Host, name: str) -> tuple[Entry, ...]:
    """Record that complaints need no answer: those with a ticket, or the one with an id.

    Raises UsageError if none without an answer is called so, InvalidFileError.
    """
    closed: list[Entry] = []

    def with_closed(record: Record) -> Record:
        closed.extend(
            replace(entry, answer=Answer.CLOSED, answered=host.clock())
            for entry in record.entries.values()
            if entry.answer is None and (name in entry.references or name == entry.short_id)
        )
        return record.with_entries(closed)

    complaint_record.update(host.complaints_path, with_closed)
    if not closed:
        raise UsageError(
            f"no complaint without an answer has the ticket or the id {name!r}",
            hint="those with a deadline: exitpol status",
        )
    return tuple(closed)


def unanswered(host: Host) -> tuple[Entry, ...]:
    """Return the complaints with a deadline that have no answer, the earliest deadline first.

    Those whose deadline passed more than OVERDUE ago are left out. Raises InvalidFileError.
    """
    now = host.clock()
    found = [
        (entry.deadline, entry.id, entry)
        for entry in complaint_record.load(host.complaints_path).entries.values()
        if entry.deadline is not None and entry.answer is None and now < entry.deadline + OVERDUE
    ]
    return tuple(entry for *_, entry in sorted(found))
