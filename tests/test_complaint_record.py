"""What is remembered of complaints: a keyed hash, kind, deadline, tickets, and nothing else."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import complaint_record
from exitpolicy.storage.complaint_record import Answer, Entry, Record, entry, message_id

NOW = datetime(2026, 11, 26, 22, tzinfo=UTC)
MAIL = b"From: a@victim.example\nMessage-ID: <20261126.4711@victim.example>\n\nYour IP attacks.\n"


def _entry(id_: str, seen: datetime = NOW, answered: datetime | None = None) -> Entry:
    answer = None if answered is None else Answer.SENT
    return Entry(id_, seen, "spam", None, (), answer, answered)


def test_nothing_of_a_mail_is_kept_but_kind_deadline_and_tickets(tmp_path: Path) -> None:
    """The file holds neither the Message-ID nor an address, and reads back as it was written."""
    path = tmp_path / "complaints.json"

    def add(record: Record) -> Record:
        new = entry(
            record.id_of(MAIL), NOW, kind="spam", deadline=NOW, references=["KZ-CERT#4711", "é"]
        )
        return record.with_entries([new])

    written = complaint_record.update(path, add)
    text = path.read_text()
    assert "victim.example" not in text
    assert "20261126.4711" not in text
    assert complaint_record.load(path) == written
    (kept,) = json.loads(text)["complaints"]
    assert kept["references"] == ["KZ-CERT#4711", "é"]
    assert kept.keys() == {"id", "seen", "kind", "deadline", "references", "answer", "answered"}
    assert complaint_record.load(path).id_of(MAIL) in written.entries


def test_the_hash_of_another_host_is_another_one(tmp_path: Path) -> None:
    """Whoever has two records cannot tell that both hosts received the same mail."""
    one = complaint_record.update(tmp_path / "one.json", lambda record: record)
    two = complaint_record.update(tmp_path / "two.json", lambda record: record)
    assert one.id_of(MAIL) != two.id_of(MAIL)
    assert one.id_of(MAIL) == complaint_record.load(tmp_path / "one.json").id_of(MAIL)


@pytest.mark.parametrize(
    ("mail", "found"),
    [
        (MAIL, b"<20261126.4711@victim.example>"),
        (MAIL.replace(b"\n", b"\r\n"), b"<20261126.4711@victim.example>"),
        (b"message-id:\n <a@b>\nSubject: x\n\n", b"<a@b>"),
        (b"MESSAGE-ID:<a@b>", b"<a@b>"),
        (b"Subject: x\n\nMessage-ID: <a@b>\n", None),
        (b"Message-ID: <a b@c>\n\n", None),
        (b"X-Message-ID: <a@b>\n\n", None),
        (b"Message-ID: <" + b"a" * 1000 + b">\n\n", None),
        (b"", None),
    ],
)
def test_the_message_id_is_that_of_the_headers(mail: bytes, found: bytes | None) -> None:
    """A Message-ID in the text, or one that no mail program writes, counts as none."""
    assert message_id(mail) == found


def test_mails_without_a_message_id_are_told_apart_by_their_text() -> None:
    """A report that was saved as a text has a hash of its own, and no mail can take its place."""
    record = Record("0" * 64, {})
    assert record.id_of(b"report 1") != record.id_of(b"report 2")
    pretended = b"Message-ID: <x>\n\ncontent:report 1"
    assert record.id_of(pretended) != record.id_of(b"report 1")


def test_the_record_is_bounded_and_forgets_the_oldest_answers_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A complaint without an answer outlasts those with one."""
    monkeypatch.setattr(complaint_record, "MAX_ENTRIES", 3)
    day = timedelta(days=1)
    record = Record("0" * 64, {}).with_entries(
        [
            _entry("old without an answer", NOW - 9 * day),
            _entry("answered first", NOW - 8 * day, NOW - 3 * day),
            _entry("answered later", NOW - 9 * day, NOW - 2 * day),
            _entry("new", NOW),
        ]
    )
    assert set(record.entries) == {"old without an answer", "answered later", "new"}


@given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=20))
def test_what_is_kept_of_a_hostile_complaint_is_bounded(kind: str, references: list[str]) -> None:
    """Texts are cut, and few tickets are kept."""
    kept = entry("0" * 32, NOW, kind=kind, deadline=None, references=references)
    assert len(kept.kind) <= complaint_record.MAX_TEXT
    assert len(kept.references) <= complaint_record.MAX_REFERENCES
    assert all(len(text) <= complaint_record.MAX_TEXT for text in kept.references)


def test_no_flood_of_mails_makes_the_record_too_large_to_read(tmp_path: Path) -> None:
    """As many of the longest entries as are kept are less than its limit."""
    path = tmp_path / "complaints.json"
    widest = ["\U0001f9c5" * 200 + str(number) for number in range(9)]
    long = entry("0" * 32, NOW, kind="k" * 200, deadline=NOW, references=widest)
    long = replace(long, answer=Answer.DRAFTED, answered=NOW)
    complaint_record.update(path, lambda record: record)
    empty = path.stat().st_size
    complaint_record.update(path, lambda record: record.with_entries([long]))
    assert (path.stat().st_size - empty) * complaint_record.MAX_ENTRIES < complaint_record.MAX_BYTES


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"key": "00", "complaints": []}',
        '{"key": 7, "complaints": []}',
        f'{{"key": "{"0" * 64}", "complaints": [7]}}',
        f'{{"key": "{"0" * 64}", "complaints": [{{"id": "../x"}}]}}',
        f'{{"key": "{"0" * 64}", "complaints": {"[" * 5000}',
    ],
)
def test_a_file_that_is_no_record_is_reported(tmp_path: Path, content: str) -> None:
    """It is an error that says what to type, and the file stays as it is."""
    path = tmp_path / "complaints.json"
    path.write_text(content)
    with pytest.raises(InvalidFileError, match=r"complaints\.json") as error:
        complaint_record.update(path, lambda record: record)
    assert f"mv {path} {path}.bad" in str(error.value.hint)
    assert path.read_text() == content
