"""Mailboxes are read without changing them, and without following links of their owner's."""

import os
from pathlib import Path

import pytest

from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.storage import mailbox
from exitpolicy.storage.mailbox import Mail, Mailbox, load

OTHER_USER = 12345


@pytest.fixture
def maildir(open_folder: Path) -> Path:
    """Give an empty Maildir in a folder that others may enter."""
    path = open_folder / "Maildir"
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    return path


def _mailbox(path: Path) -> Mailbox:
    found = load(path)
    assert isinstance(found, Mailbox)
    return found


def test_a_maildir_gives_new_and_seen_mails_oldest_first(maildir: Path) -> None:
    """Hidden files, drafts, mails in the trash and those in delivery are left out."""
    for name in ["new/3", "cur/1:2,S", "cur/2:2,", "cur/4:2,ST", "cur/5:2,DS", "tmp/6", "new/.7"]:
        (maildir / name).write_text(name)
        os.utime(maildir / name, (0, int("".join(filter(str.isdigit, name[:6])))))
    before = sorted(maildir.rglob("*"))
    found = _mailbox(maildir)
    assert [mail.name for mail in found.mails] == ["1:2,S", "2:2,", "3"]
    assert [mail.read() for mail in found.mails] == [b"cur/1:2,S", b"cur/2:2,", b"new/3"]
    assert sorted(maildir.rglob("*")) == before


def test_of_a_large_mailbox_the_newest_mails_are_read(
    maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many were left out is told."""
    monkeypatch.setattr(mailbox, "MAX_MAILS", 2)
    for number in range(5):
        (maildir / "new" / str(number)).touch()
        os.utime(maildir / "new" / str(number), (0, number))
    found = _mailbox(maildir)
    assert ([mail.name for mail in found.mails], found.left_out) == (["3", "4"], 3)


def test_of_a_long_mbox_the_newest_mails_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep their numbers."""
    monkeypatch.setattr(mailbox, "MAX_MAILS", 2)
    (tmp_path / "mbox").write_bytes(b"".join(b"From x\n\n%d\n\n" % n for n in range(1, 6)))
    found = _mailbox(tmp_path / "mbox")
    assert ([mail.name for mail in found.mails], found.left_out) == (["mail 4", "mail 5"], 3)
    assert [mail.read() for mail in found.mails] == [b"\n4\n\n", b"\n5\n\n"]


def test_a_mail_that_is_gone_is_told_apart_from_one_that_cannot_be_read(maildir: Path) -> None:
    """A mail program may move it at any time."""
    (maildir / "new" / "1").touch()
    (mail,) = _mailbox(maildir).mails
    (maildir / "new" / "1").unlink()
    with pytest.raises(FileNotFoundError):
        mail.read()


@pytest.mark.root
def test_root_follows_no_link_of_the_mailboxs_owner(maildir: Path) -> None:
    """Neither a link to a secret, nor a hard link, nor a FIFO, nor a linked folder is read."""
    secret = maildir.parent / "secret"
    secret.write_text("root:x")
    secret.chmod(0o600)
    (maildir / "new" / "link").symlink_to(secret)
    (maildir / "new" / "hard").hardlink_to(secret)
    os.mkfifo(maildir / "new" / "fifo")
    for path in (maildir, maildir / "new", maildir / "cur", maildir / "new" / "link"):
        os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)
    for mail in _mailbox(maildir).mails:
        with pytest.raises(InvalidFileError):
            mail.read()
    elsewhere = maildir.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1").write_text("root's")
    (maildir / "cur").rmdir()
    (maildir / "cur").symlink_to(elsewhere)
    os.chown(maildir / "cur", OTHER_USER, OTHER_USER, follow_symlinks=False)
    with pytest.raises(InvalidFileError, match="symbolic link"):
        load(maildir)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_mbox_is_split_where_a_mail_begins(tmp_path: Path, end: bytes) -> None:
    """Within a paragraph, `From ` begins no mail, and a quoted one is restored."""
    path = tmp_path / "mbox"
    lines = [
        b"From a@b Thu Nov 26 22:00:00 2026", b"Subject: 1", b"", b"Text", b"From here on: text",
        b">From us", b">>From you", b"", b"From c@d Thu Nov 26 23:00:00 2026", b"Subject: 2", b"",
        b"Text", b"",
    ]  # fmt: skip
    path.write_bytes(end.join(lines))
    first, second = _mailbox(path).mails
    assert first.read().split(end)[:3] == [b"Subject: 1", b"", b"Text"]
    assert first.read().split(end)[3:6] == [b"From here on: text", b"From us", b">From you"]
    assert second.read() == end.join([b"Subject: 2", b"", b"Text", b""])
    assert [first.name, second.name] == ["mail 1", "mail 2"]


def test_a_file_is_one_mail(tmp_path: Path) -> None:
    """Also a text without headers."""
    (tmp_path / "report.txt").write_text("Your IP attacks.")
    mail = load(tmp_path / "report.txt")
    assert isinstance(mail, Mail)
    assert mail.read() == b"Your IP attacks."


def test_what_is_no_mailbox_is_named(tmp_path: Path) -> None:
    """A missing file is a mistake of usage, a folder without mails is no Maildir."""
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "missing")
    with pytest.raises(InvalidFileError, match="no Maildir"):
        load(tmp_path)
