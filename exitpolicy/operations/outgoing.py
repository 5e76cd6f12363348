"""Save an answer as a draft, or hand it to the host's mail system."""

import os
import re
import subprocess
from contextlib import suppress
from datetime import datetime
from email.utils import make_msgid
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import AttentionError, InvalidFileError, RefusedError, UsageError
from exitpolicy.reply.compose import Letter
from exitpolicy.reply.mail import as_eml
from exitpolicy.storage import files
from exitpolicy.tor.users import only_changed_by_root

SENDMAIL: Final = Path("/usr/sbin/sendmail")
"""Where every mail system for Unix puts it (Filesystem Hierarchy Standard 3.0, section 4.10)."""
SECONDS: Final = 60
"""How long it may take to queue a mail."""

_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_MAX_DRAFTS: Final = 100
"""The drafts of one name in one folder."""
_MAX_NAME: Final = 60
_MAX_WORDS: Final = 500
"""Characters of what sendmail says that are shown."""


def header(letter: Letter, name: str) -> str | None:
    """Return a header of a letter; None if it has none of that name."""
    return dict(letter.headers).get(name)


def mail_of(letter: Letter, now: datetime) -> bytes:
    """Return a letter as a complete mail."""
    # With a domain, no name of this host is looked up, and none is in the mail.
    domain = (header(letter, "From") or "").strip("<>").rpartition("@")[2] or "localhost"
    return as_eml(letter, date=now, message_id=make_msgid(domain=domain))


def draft_path(folder: Path, about: str) -> Path:
    """Return a path for the draft of an answer about a ticket or a destination.

    Strangers write tickets: of them, only letters, digits, dots and hyphens are in the name.
    """
    words = re.sub(r"[^A-Za-z0-9.]+", "-", about)[:_MAX_NAME].strip("-.") or "complaint"
    for number in range(1, _MAX_DRAFTS + 1):
        path = folder / (f"reply-{words}.eml" if number == 1 else f"reply-{words}-{number}.eml")
        if not os.path.lexists(path):
            return path
    raise UsageError(f"{folder} has {_MAX_DRAFTS} drafts of that name", hint="remove some of them")


def save_draft(path: Path, mail: bytes) -> None:
    """Write a mail to a new file that only its owner can read. Raises InvalidFileError."""
    try:
        with files.place(path) as draft:
            descriptor = draft.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                files.write_all(descriptor, mail)
                os.fsync(descriptor)
            except BaseException:
                # A part of a letter must not be taken for the whole.
                with suppress(OSError):
                    os.unlink(draft.name, dir_fd=draft.folder)
                raise
            finally:
                os.close(descriptor)
            files.sync_folder(draft.folder)
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be written: {error.strerror}; no draft was saved",
            hint=files.permission_hint(path, error),
        ) from error


def send(mail: bytes, *, sender: str, recipient: str) -> None:
    """Hand a mail to sendmail, for one recipient, with `sender` for what cannot be delivered.

    The addresses are bare (`is_mail_address`). Raises UsageError without sendmail, RefusedError for
    a program that others can change, AttentionError if it fails.
    """
    program = Path(os.path.realpath(SENDMAIL))
    if not program.is_file():
        raise UsageError(
            f"nothing was sent: there is no {SENDMAIL}",
            hint="save a draft, or install a mail system, such as msmtp-mta or postfix",
        )
    if not only_changed_by_root(program):
        raise RefusedError(
            f"nothing was sent: others than root can change {program}", hint="save a draft"
        )
    # Not through SENDMAIL, which may be a link to a link that others can change. It stays the name
    # of the command, because some mail systems are one program that acts by its name.
    try:
        done = subprocess.run(
            [SENDMAIL, "-i", "-f", sender, "--", recipient], executable=program,
            input=mail, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_ENVIRONMENT,
            cwd="/", timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AttentionError(
            f"{SENDMAIL} did not end within {SECONDS} s; the mail may be sent or not",
            hint="see the mail system's queue and log: mailq",
        ) from error
    except OSError as error:
        raise AttentionError(
            f"nothing was sent: {SENDMAIL} cannot be run: {error.strerror}", hint="save a draft"
        ) from error
    if done.returncode != 0:
        words = " ".join(done.stdout.decode(errors="replace").split())[:_MAX_WORDS]
        raise AttentionError(
            f"nothing was sent: {SENDMAIL} ended with code {done.returncode}, and said: {words}",
            hint="save a draft; its log may say more",
        )
