"""The parts of `handle` that need no terminal: its summary, its drafts, its edited letters."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.cli import block_questions, complaint_summary
from exitpolicy.cli.complaint_steps import Steps
from exitpolicy.cli.questions import Standing
from exitpolicy.complaint.model import (
    Candidate,
    Caution,
    Complaint,
    Envelope,
    HostName,
    Incident,
    Kind,
    Warn,
)
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.operations import editor, handling, outgoing
from exitpolicy.operations.host import Host
from exitpolicy.reply.compose import Letter
from exitpolicy.storage import complaint_record, config
from exitpolicy.storage.complaint_record import Answer
from exitpolicy.storage.mailbox import Mail, Mailbox

NOW = datetime(2026, 11, 26, 22, tzinfo=UTC)
LETTER = Letter(
    "Re: attack [T#1]", "Hello\n", (("From", "a@exit.example"), ("To", "b@isp.example"))
)
TEXT = st.text(max_size=300) | st.just("a word " * 40)


def _complaint(texts: list[str], candidates: int, hosts: int) -> Complaint:
    first, *others = texts
    return Complaint(
        Envelope(subject=first),
        reporter=first,
        forwarded=True,
        references=tuple(others),
        incidents=(Incident(NOW), Incident(NOW)),
        deadline=NOW,
        kind=Kind.SPAM,
        language="en",
        reporter_language=None,
        candidates=tuple(
            Candidate(parse_destination(f"2001:db8::{number:x}"), (first,), 50)
            for number in range(candidates)
        ),
        cautions=tuple(Caution(Warn.NOT_OURS, text) for text in others[:3]),
        named_hosts=tuple(
            HostName(f"host-{number}.example", (first,), is_victim=False) for number in range(hosts)
        ),
    )


@given(
    st.lists(TEXT, min_size=1, max_size=6),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([60, 80, 200]),
)
def test_every_complaint_fits_a_screen(
    texts: list[str], candidates: int, hosts: int, width: int
) -> None:
    """At most 20 lines, no wider than the terminal, and every choice has its number."""
    complaint = _complaint(texts, candidates, hosts)
    lines = complaint_summary.lines(complaint, NOW, width)
    assert len(lines) <= complaint_summary.MAX_LINES
    assert all(len(line) <= width and line.isprintable() for line in lines)
    for number, text in enumerate(complaint_summary.choices(complaint), start=1):
        assert any(f"{number}. {text}" in line for line in lines)


def test_what_is_left_out_of_the_summary_is_counted() -> None:
    """The command that shows all of it is named."""
    lines = complaint_summary.lines(_complaint(["x"], 9, 5), NOW, 80)
    assert lines[-1].strip() == "and 4 addresses and 2 host names more: exitpol complaint FILE"


def test_an_edited_letter_keeps_its_headers() -> None:
    """Lines that look like headers are text, and a subject is one line."""
    text = "Subject: Re: mine\rBcc: c@x.example\nTo: c@x.example\n\nBcc: c@x.example\nText\n"
    changed = editor.with_text(LETTER, text.encode())
    assert changed.headers == LETTER.headers
    assert changed.subject == "Re: mine Bcc: c@x.example"
    mail = outgoing.mail_of(changed, NOW)
    head = mail.partition(b"\n\n")[0]
    assert head.count(b"c@x.example") == 1
    assert b"\nBcc:" not in head


def test_an_unchanged_letter_stays_as_it_is() -> None:
    """What the editor is given reads back as the same letter."""
    assert editor.with_text(LETTER, str(LETTER).encode()) == LETTER


@pytest.mark.parametrize(
    "content",
    [b"", b"Subject: x\n", b"Subject: \n\nText\n", b"Text\n", b"Subject: x\n\n\x1b[2J", b"\xff"],
)
def test_what_is_no_letter_changes_nothing(content: bytes) -> None:
    """An emptied file, a lost subject, control characters and bytes that are no text."""
    with pytest.raises(InvalidFileError, match="the letter is unchanged"):
        editor.with_text(LETTER, content)


def test_the_editor_is_the_operators_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """VISUAL before EDITOR, with its arguments; a quote that is not closed is reported."""
    assert editor.command({"VISUAL": "code -w", "EDITOR": "vi"}) == ["code", "-w"]
    assert editor.command({"EDITOR": "vi"}) == ["vi"]
    with pytest.raises(UsageError, match="EDITOR"):
        editor.command({"EDITOR": "'vi"})
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="no editor"):
        editor.command({})


@pytest.mark.root
def test_the_editor_runs_as_nobody_else_than_who_typed_sudo() -> None:
    """Without sudo it is root's own; a name that this host does not have is refused."""
    assert editor.typist({}) is None
    assert editor.typist({"SUDO_USER": "root"}) is None
    found = editor.typist({"SUDO_USER": "nobody"})
    assert found is not None
    assert found.name == "nobody"
    for name in ("no-such-user", "../root", "a\0b"):
        with pytest.raises(UsageError, match="the letter is unchanged"):
            editor.typist({"SUDO_USER": name})


@given(TEXT)
def test_a_ticket_is_never_a_path(about: str) -> None:
    """Whatever a stranger writes, the draft lies in the folder and has a name without surprises."""
    path = outgoing.draft_path(Path("/nonexistent"), about)
    assert path.parent == Path("/nonexistent")
    assert path.name.startswith("reply-")
    assert path.name.isascii()
    assert len(path.name) < 80
    assert not set(path.name) & set("/\\ \n'\"$`;&|*?")


def test_a_draft_replaces_nothing(tmp_path: Path) -> None:
    """The next one has another name, also where the first is a dangling link; mode 0600."""
    first = outgoing.draft_path(tmp_path, "T#1")
    outgoing.save_draft(first, b"one")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    second = outgoing.draft_path(tmp_path, "T#1")
    assert second.name == "reply-T-1-2.eml"
    second.symlink_to(tmp_path / "elsewhere")
    assert outgoing.draft_path(tmp_path, "T#1").name == "reply-T-1-3.eml"
    for taken in (first, second):
        with pytest.raises(InvalidFileError, match="no draft was saved"):
            outgoing.save_draft(taken, b"two")
    assert first.read_bytes() == b"one"
    assert not (tmp_path / "elsewhere").exists()


def test_a_message_id_names_no_host_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name of this host is looked up for it, as the standard library does by itself."""

    def refuse(*_: object) -> str:
        raise AssertionError("looked up")

    monkeypatch.setattr("socket.getfqdn", refuse)
    assert b"@exit.example>" in outgoing.mail_of(LETTER, NOW)


def test_only_the_mail_system_that_was_inspected_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what a link on the way to it leads to by then."""
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0" > {tmp_path}/started\ncat > {tmp_path}/mail\n')
    program.chmod(0o755)
    link = tmp_path / "sendmail"
    link.symlink_to(program)
    monkeypatch.setattr(outgoing, "SENDMAIL", link)
    outgoing.send(b"mail", sender="a@exit.example", recipient="b@isp.example")
    assert (tmp_path / "mail").read_bytes() == b"mail"
    assert (tmp_path / "started").read_text() == f"{program}\n"


class _Reader:
    """Reads every mail but those that say `broken`, in place of the confined child."""

    def read(self, mail: bytes) -> Complaint:
        if b"broken" in mail:
            raise InvalidFileError("its reader failed", hint="read it yourself")
        days = int(mail.split()[-1])
        return replace(_complaint(["x"], 1, 0), deadline=NOW + timedelta(days) if days else None)


def _host(folder: Path) -> Host:
    text = f"ledger: {folder}/blocks.yaml\nrelays:\n- {{name: one, torrc: t1, control: c1}}\n"
    return Host.of(
        config.parse(folder / "config.yaml", text.encode()), who="test", clock=lambda: NOW
    )


def _mails(*texts: str) -> Mailbox:
    return Mailbox(tuple(Mail(text, partial(str.encode, text)) for text in texts))


def _find(host: Host, mailbox: Mailbox, read: list[int]) -> handling.Found:
    return handling.of_mailbox(host, mailbox, _Reader(), lambda number, _: read.append(number))


def test_a_mailbox_is_sorted_by_deadline_and_read_once(tmp_path: Path) -> None:
    """More mails than are read at the same time: each is read once, and a broken one waits too."""
    host = _host(tmp_path)
    texts = [*(f"mail {days}" for days in range(45)), "broken 0"]
    first: list[int] = []
    found = _find(host, _mails(*texts), first)
    order = [waiting.mail.name for waiting in found.waiting]
    assert order == [*(f"mail {days}" for days in range(1, 45)), "mail 0", "broken 0"]
    assert [str(problem) for problem in found.problems] == ["broken 0: its reader failed"]
    assert found.waiting[-1].entry.kind == "unread"
    again: list[int] = []
    assert len(_find(host, _mails(*texts), again).waiting) == 46
    assert (bool(first), again) == (True, [])


def test_what_is_read_at_last_has_its_deadline(tmp_path: Path) -> None:
    """A mail that its reader failed to read once keeps its place, and an answer stays."""
    host = _host(tmp_path)
    (mail,) = _mails("broken 3").mails
    (failed,) = _find(host, Mailbox((mail,)), []).waiting
    assert failed.entry.deadline is None

    class Repaired(_Reader):
        def read(self, mail: bytes) -> Complaint:
            return super().read(mail.replace(b"broken", b"mail"))

    read, _ = handling.single(host, mail, Repaired())
    assert read.entry.id == failed.entry.id
    assert read.entry.deadline == NOW + timedelta(3)
    handling.settle(host, failed.entry, Answer.CLOSED)
    again, _ = handling.single(host, mail, Repaired())
    assert again.entry.answer is Answer.CLOSED


def test_nothing_is_blocked_where_exitpol_is_not_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `complaint --block`: the error is shown, and the answer may still be written."""
    (tmp_path / "t1").write_text("ORPort 9001\n")
    host = _host(tmp_path)
    answers = iter(["1", "n"])
    monkeypatch.setattr(block_questions, "ask", lambda *_: next(answers))
    standing = Standing("nothing was blocked", "")
    assert (
        block_questions.block(host, _complaint(["x"], 1, 0), block_questions.Terms("30d"), standing)
        == 0
    )
    assert "exitpol is not set up on this host" in capsys.readouterr().err
    assert not host.config.ledger.exists()


def test_a_mailbox_needs_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mails are also answered on a workstation, where no block can have ended."""
    steps = Steps(_host(tmp_path), "30d", tmp_path, None)
    steps.go_through(Mailbox(()))
    assert steps.code == 0
    assert "nothing waits" in capsys.readouterr().err


def test_two_copies_of_a_mail_wait_once(tmp_path: Path) -> None:
    """A complaint that came to two addresses has one Message-ID."""
    texts = ("Message-ID: <a@b>\n\none 3", "Message-ID: <a@b>\n\nanother 3")
    assert len(_find(_host(tmp_path), _mails(*texts), []).waiting) == 1


def test_a_mail_that_vanishes_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    """A mail program moved it; the next run finds it where it is then."""

    def vanished() -> bytes:
        raise FileNotFoundError

    mailbox = Mailbox((*_mails("mail 1").mails, Mail("gone", vanished)))
    found = _find(_host(tmp_path), mailbox, [])
    assert ([waiting.mail.name for waiting in found.waiting], found.known) == (["mail 1"], 0)


def test_a_full_record_takes_new_mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dropped is the answered and the oldest."""
    monkeypatch.setattr("exitpolicy.storage.complaint_record.MAX_ENTRIES", 2)
    found = _find(_host(tmp_path), _mails("mail 1", "mail 2", "mail 3"), [])
    assert len(found.waiting) == 2


def test_the_last_deadline_of_all_is_one(tmp_path: Path) -> None:
    """Who owns the ledger's folder may write it into the record."""
    host = _host(tmp_path)
    last = datetime(9999, 12, 31, tzinfo=UTC)
    entry = complaint_record.entry("0" * 32, NOW, kind="x", deadline=last, references=())
    complaint_record.update(host.complaints_path, lambda record: record.with_entries([entry]))
    assert complaint_record.load(host.complaints_path).unanswered(NOW) == (entry,)


def test_only_a_deadline_that_is_near_or_passed_lately_is_named(tmp_path: Path) -> None:
    """And only as long as there is no answer."""
    host = _host(tmp_path)
    found = _find(host, _mails("mail 0", "mail -20", "mail -3", "mail 3"), [])

    def unanswered() -> list[datetime | None]:
        record = complaint_record.load(host.complaints_path)
        return [entry.deadline for entry in record.unanswered(NOW)]

    named = unanswered()
    assert named == [NOW - timedelta(3), NOW + timedelta(3)]
    late = next(one.entry for one in found.waiting if one.entry.deadline == named[0])
    handling.settle(host, late, Answer.SENT)
    assert unanswered() == named[1:]
