"""Complaints that wait for an answer: those of a mailbox, and those that were read before."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, Protocol

from exitpolicy.complaint import Complaint
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError, InvalidFileError, UsageError
from exitpolicy.operations import complaints, sandbox
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.storage import complaint_record
from exitpolicy.storage.complaint_record import MAX_TEXT, Answer, Entry, Record
from exitpolicy.storage.mailbox import Mail, Mailbox

_RECORDED_AT_ONCE: Final = 20
"""The mails that are read before they are recorded: an interruption loses no more."""
READ_AT_ONCE: Final = min(os.cpu_count() or 1, 4)
"""The mails that are read at the same time, each in a child of its own."""

_UNREAD: Final = "unread"
"""The kind of a complaint that its reader failed to read."""

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
    id_ = _recorded(host, ()).id_of(content)
    entry = _entry(id_, read, host.clock())
    # A full record may have dropped it.
    return Waiting(mail, _recorded(host, [entry]).entries.get(id_, entry)), read


def of_mailbox(
    host: Host, mailbox: Mailbox, reader: Reader, progress: Callable[[int, int], None]
) -> Found:
    """Read the mails of a mailbox that were not read before, and record them.

    `progress` is called with the number of a new mail and how many there are. Raises
    InvalidFileError for a record that cannot be used.
    """
    record = _recorded(host, ())
    problems: list[ExitpolError] = []
    by_id: dict[str, Mail] = {}
    for mail in mailbox.mails:
        content = _content(mail, problems)
        if content is not None:
            by_id[record.id_of(content)] = mail
    new = [(id_, mail) for id_, mail in by_id.items() if id_ not in record.entries]
    entries: list[Entry] = []
    for start in range(0, len(new), READ_AT_ONCE):
        progress(start + 1, len(new))
        entries += _read_some(host, new[start : start + READ_AT_ONCE], reader, problems)
        if len(entries) >= _RECORDED_AT_ONCE:
            _recorded(host, entries)
            entries = []
    record = _recorded(host, entries)
    known = [(record.entries[id_], mail) for id_, mail in by_id.items() if id_ in record.entries]
    waiting = [Waiting(mail, entry) for entry, mail in known if entry.answer is None]
    return Found(
        tuple(sorted(waiting, key=lambda one: one.entry.deadline or _LAST)),
        len(known) - len(waiting),
        mailbox.left_out,
        tuple(problems),
    )


def _read_some(
    host: Host, mails: Sequence[tuple[str, Mail]], reader: Reader, problems: list[ExitpolError]
) -> list[Entry]:
    """Read some mails at the same time, and return their entries.

    Nothing else of them is kept: a mail may have MAX_BYTES. What its reader fails to read waits as
    well.
    """
    found = [(id_, mail, _content(mail, problems)) for id_, mail in mails]
    present = [(id_, mail, content) for id_, mail, content in found if content is not None]

    def read(one: tuple[str, Mail, bytes]) -> Complaint | InvalidFileError:
        _, mail, content = one
        try:
            return reader.read(content)
        except InvalidFileError as error:
            return InvalidFileError(f"{mail.name}: {error}", hint=error.hint)

    results = in_parallel(read, present)
    problems += (one for one in results if isinstance(one, InvalidFileError))
    return [
        _entry(id_, None if isinstance(one, InvalidFileError) else one, host.clock())
        for (id_, *_), one in zip(present, results, strict=True)
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


def _recorded(host: Host, entries: Sequence[Entry]) -> Record:
    """Record complaints that are new, and return the record. Raises InvalidFileError.

    The first call makes the record with the key of its hashes.
    """
    return complaint_record.update(
        host.complaints_path,
        lambda record: record.with_entries(e for e in entries if _is_new(record, e)),
    )


def _is_new(record: Record, entry: Entry) -> bool:
    """Tell whether a complaint is unknown, or waits and was not read until now."""
    known = record.entries.get(entry.id)
    return known is None or (known.kind == _UNREAD and known.answer is None)


def _entry(id_: str, complaint: Complaint | None, now: datetime) -> Entry:
    """Return the entry of a complaint; of None, that of a mail that its reader failed to read."""
    if complaint is None:
        return complaint_record.entry(id_, now, kind=_UNREAD, deadline=None, references=())
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
            if entry.answer is None
            and (name[:MAX_TEXT] in entry.references or name == entry.short_id)
        )
        return record.with_entries(closed)

    complaint_record.update(host.complaints_path, with_closed)
    if not closed:
        raise UsageError(
            f"no complaint without an answer has the ticket or the id {name!r}",
            hint="those with a deadline: exitpol status",
        )
    return tuple(closed)
