"""Let the operator change a letter in an editor.

Under sudo or doas the editor runs as the user who typed the command, as it does in sudoedit: an
editor can run any program, and its settings are that user's. Only the subject and the text are in
its file; sender, recipient and what the answer refers to are never read from there.
"""

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import AttentionError, InvalidFileError, UsageError
from exitpolicy.reply.compose import Letter
from exitpolicy.reply.facts import clean
from exitpolicy.storage import files

MAX_BYTES: Final = 1_000_000
_USUAL: Final = ("/usr/bin/editor", "/usr/bin/nano", "/usr/bin/vi")
"""The editors where none is chosen; the first one is that of Debian's alternatives."""
_KEPT: Final = ("PATH", "TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""The environment of an editor that runs as another user."""
_SUBJECT: Final = "Subject:"


@dataclass(frozen=True, slots=True)
class Typist:
    """The user as whom the editor runs, if that is not the user of this process."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


def typist(environment: Mapping[str, str]) -> Typist | None:
    """Return who typed the command under sudo or doas; None if it is the user of this process.

    Raises UsageError if the environment names a user that this host does not have.
    """
    name = environment.get("SUDO_USER") or environment.get("DOAS_USER")
    if os.geteuid() != 0 or not name or name == "root":
        return None
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the letter is unchanged: this host has no user {name!r}, as whom the editor would run"
        ) from error
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Typist(entry.pw_uid, entry.pw_gid, groups, name, entry.pw_dir)


def command(environment: Mapping[str, str]) -> list[str]:
    """Return the program and the arguments of the editor. Raises UsageError if there is none."""
    for variable in ("VISUAL", "EDITOR"):
        text = environment.get(variable, "").strip()
        if text:
            try:
                return shlex.split(text)
            except ValueError as error:
                raise UsageError(f"{variable} is no command: {error}") from error
    found = next((path for path in _USUAL if os.access(path, os.X_OK)), None)
    if found is None:
        raise UsageError("the letter is unchanged: there is no editor", hint="install nano")
    return [found]


def edited(letter: Letter, environment: Mapping[str, str]) -> Letter:
    """Let the operator edit subject and text, and return the letter as it is then.

    Raises UsageError, AttentionError or InvalidFileError; the letter is unchanged then.
    """
    user = typist(environment)
    program = command(environment)
    with _folder() as folder:
        path = folder / "letter.txt"
        path.touch(0o600)
        path.write_text(str(letter), encoding="utf-8")
        if user is not None:
            # The folder last: in it, its owner could put a link in the place of the file.
            os.chown(path, user.uid, user.gid)
            os.chown(folder, user.uid, user.gid)
        _run([*program, str(path)], user, environment)
        try:
            content = files.read_own(path, "letter", limit=MAX_BYTES)
        except FileNotFoundError as error:
            raise AttentionError("the letter is unchanged: the editor deleted it") from error
    return with_text(letter, content)


def with_text(letter: Letter, content: bytes) -> Letter:
    """Return a letter with another subject and text. Raises InvalidFileError.

    Whatever the text is, the subject is one line, and no header is added.
    """
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidFileError("the letter is unchanged: what was saved is not UTF-8") from error
    first, _, body = text.partition("\n")
    subject = clean(first.removeprefix(_SUBJECT))
    if not first.startswith(_SUBJECT) or subject is None or not body.strip():
        raise InvalidFileError(
            f"the letter is unchanged: what was saved does not begin with '{_SUBJECT}' and the"
            " subject, or has no text"
        )
    if any(not (c.isprintable() or c in "\n\t\u00a0\u202f") for c in body):
        raise InvalidFileError("the letter is unchanged: what was saved has control characters")
    return replace(letter, subject=subject, body=body.strip("\n") + "\n")


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a private folder, and remove it in the end, whoever owns it then."""
    # Root's TMPDIR may be in a folder of another user, who could put a link in the place of ours.
    parent = "/tmp" if os.geteuid() == 0 else None  # noqa: S108 - it is sticky
    path = Path(tempfile.mkdtemp(prefix="exitpol-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _run(arguments: list[str], user: Typist | None, environment: Mapping[str, str]) -> None:
    """Run an editor on the terminal until it ends. Raises AttentionError."""
    allowed = dict(environment)
    if user is not None:
        allowed = {name: environment[name] for name in _KEPT if name in environment}
        allowed |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    # The keys that interrupt a command mean other things in an editor, and the terminal sends the
    # signal to both. Not SIG_IGN, which the editor would inherit.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        done = subprocess.run(
            arguments, check=False, env=allowed,
            user=None if user is None else user.uid, group=None if user is None else user.gid,
            extra_groups=None if user is None else user.groups,
        )  # fmt: skip
    except OSError as error:
        raise AttentionError(
            f"the letter is unchanged: {arguments[0]} cannot be run: {error.strerror}"
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)
    if done.returncode != 0:
        raise AttentionError(
            f"the letter is unchanged: the editor ended with code {done.returncode}"
        )
