"""Let the tor program verify a configuration before a running Tor reads it.

The program has the rights of the relay's user. A file that only root can read is therefore refused
here; at a reload it would end the running Tor.
"""

import errno
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final, NamedTuple

from exitpolicy.core.errors import InvalidFileError, TorRefusesError
from exitpolicy.tor import invocation as invocations
from exitpolicy.tor import torrc as torrc_file
from exitpolicy.tor.child import UnboundedError, run_as
from exitpolicy.tor.invocation import Invocation
from exitpolicy.tor.torrc_lines import as_read, plain_value
from exitpolicy.tor.users import User

SECONDS: Final = invocations.MAX_SECONDS
"""How long tor may take to read any configuration."""

_LEAST_SECONDS: Final = 10.0
"""How long it may take to read a small one, which needs some milliseconds."""
_BYTES_A_SECOND: Final = 20_000
"""Of a large one: half a megabyte takes 5 s, and 2.5 MB more than a minute."""
_MOST_KEPT: Final = 500
"""Cached command lines of Tors, and sets of files that their users can read."""
_MESSAGE = re.compile(r"^\w{3} \d\d [\d:.]+ \[(warn|err)\] (.*)$")
_TELLING = re.compile(r"(?i)fail|malformed|unknown|invalid|parse|error|unable|couldn't|can't")
_VERIFIED: Final = "Configuration was valid"
_LAST_RULE: Final = ("+ExitPolicy", "reject *:*")
"""A rule that is added to a defaults-torrc that Tor reads alone.

Without any rule, `IPv6Exit 1` and `ExitPolicyRejectPrivate 0` end Tor in an assertion
(policies_log_first_redundant_entry). The rules of the relay may be in its torrc.
"""
_UNREADABLE: Final = """\
for path; do
  case $path in */) test -x "$path" ;; *) test -r "$path" ;; esac || printf '%s\\0' "$path"
done
"""
"""For sh(1)."""

OptionLine = tuple[str, str]
"""Name and value of an option, as --dump-config and GETINFO config-text print them."""


class StalledError(TorRefusesError):
    """A program that runs as Tor's user does not end, or prints without end.

    That user may have stopped or changed it.
    """


def seconds_for(size: int) -> float:
    """Return how long tor may take to read a configuration of so many bytes."""
    return min(_LEAST_SECONDS + size / _BYTES_A_SECOND, SECONDS)


def verify(invocation: Invocation, torrc: str) -> tuple[str, ...]:
    """Let tor verify a torrc's text and return its warnings. Raises TorRefusesError."""
    result = _run(invocation, torrc, "--verify-config")
    messages = _messages(result.stdout)
    if result.returncode != 0 or _VERIFIED not in result.stdout:
        raise TorRefusesError(_complaint(messages, result))
    return messages


def dump(invocation: Invocation, torrc: str) -> list[OptionLine]:
    """Let tor verify a torrc's text and return the options in it.

    Omits values equal to Tor's defaults or the defaults-torrc, like GETINFO config-text. Tor
    verifies as for --verify-config, but logs no warnings: only what it prints at the end differs
    (tor: tor_run_main in src/app/main/main.c). Raises TorRefusesError.
    """
    # "short": the full dump of Tor 0.4.9 ends in an assertion (options_dump).
    result = _run(invocation, torrc, "--dump-config", "short")
    if result.returncode != 0 or not result.stdout.strip():
        # --dump-config does not name the error, --verify-config does. An empty dump does not show
        # that a Tor has run.
        verify(invocation, torrc)
    if result.returncode != 0:
        raise TorRefusesError(_complaint(_messages(result.stdout), result))
    return list(option_lines(result.stdout))


def option_lines(text: str) -> Iterator[OptionLine]:
    """Read what --dump-config or GETINFO config-text print."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name:
            yield name, plain_value(value)


def values_of(lines: Collection[OptionLine], names: Collection[str]) -> dict[str, list[str]]:
    """Return the values of the named options."""
    found: dict[str, list[str]] = {}
    for name, value in lines:
        if name in names:
            found.setdefault(name, []).append(value)
    return found


def options(
    invocation: Invocation, torrc: str, names: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """Return the values of the named options in a torrc's text and the defaults-torrc.

    Omits those at Tor's own default. Raises TorRefusesError.
    """
    return with_defaults(invocation, dump(invocation, torrc), names)


def with_defaults(
    invocation: Invocation, own: Collection[OptionLine], names: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """Return the values of the named options: `own` ones, or else those of the defaults-torrc.

    Raises TorRefusesError.
    """
    stated = values_of(own, names)
    text = defaults_text(invocation)
    if not any(name.lower() in text.lower() for name in names):
        return stated
    return {**values_of(defaults(invocation), names), **stated}


def defaults(invocation: Invocation) -> list[OptionLine]:
    """Return the options in the defaults-torrc. Raises TorRefusesError."""
    path = defaults_path(invocation)
    bare = Invocation(
        (invocation.command[0], "--defaults-torrc", "/dev/null"),
        invocation.folder,
        invocation.user,
        invocation.seconds,
    )
    # A running Tor's arguments name the file: its user reads it, not root.
    dumping = ("--dump-config", "short", *_LAST_RULE)
    result = _run(bare, "", *dumping, torrc=str(path))
    if result.returncode != 0:
        raise TorRefusesError(f"{path}: {_complaint(_messages(result.stdout), result)}")
    found = list(option_lines(result.stdout))
    # Tor prints the lines of an option in their order: the added rule is the last one.
    last = max((at for at, (name, _) in enumerate(found) if name == "ExitPolicy"), default=None)
    return found if last is None else [*found[:last], *found[last + 1 :]]


def defaults_path(invocation: Invocation) -> Path:
    """Return the defaults-torrc of a Tor, whether it exists or not."""
    return _defaults_path(invocation.command, invocation.folder)


@lru_cache(maxsize=_MOST_KEPT)
def _defaults_path(command: tuple[str, ...], folder: Path) -> Path:
    named = invocations.defaults_of(command[1:])
    return folder / (named or Path("/etc/tor/torrc-defaults"))


def defaults_text(invocation: Invocation) -> str:
    """Return the text of the defaults-torrc; empty if there is none."""
    try:
        # It may be anything, also a FIFO or a device: a running Tor's arguments name it.
        return torrc_file.read_text(defaults_path(invocation))
    except InvalidFileError:
        return ""


def unreadable(user: User, names: Sequence[str]) -> list[str]:
    """Return those files that a user cannot read, and those folders that he cannot enter.

    Folders end in a slash. Raises TorRefusesError.
    """
    rights = _rights(names)
    key = None if rights is None else (user, tuple(names), rights)
    if key in _readable:
        return []
    try:
        command = ["/bin/sh", "-c", _UNREADABLE, "sh", *dict.fromkeys(names)]
        result = run_as(user, command, "", _LEAST_SECONDS)
    except UnboundedError as error:
        raise StalledError(f"a program of Tor's user {user.uid} {error}") from error
    except (OSError, ValueError) as error:
        raise TorRefusesError(f"files cannot be read as Tor's user {user.uid}: {error}") from error
    found = [name for name in result.stdout.split("\0") if name]
    if result.returncode == 0 and not found and key is not None and len(_readable) < _MOST_KEPT:
        _readable.add(key)
    return found


def is_public(path: Path) -> bool:
    """Tell whether whoever can enter a file's folder can read the file."""
    try:
        right = _right(str(path))
    except OSError:
        return False
    return right.mode & 0o444 == 0o444 and not right.control_list


class _Right(NamedTuple):
    """What decides who can read a file, or enter a folder."""

    path: str
    device: int
    inode: int
    mode: int
    owner: int
    group: int
    control_list: bytes


_readable: Final[set[tuple[User, tuple[str, ...], tuple[_Right, ...]] | None]] = set()
"""Files and folders that a user could read and enter, with what that depended on.

A command asks before it records a change, and again when it applies the change.
"""


def _rights(names: Iterable[str]) -> tuple[_Right, ...] | None:
    """Return all that decides who can read files: the rights at them and at the folders above.

    None if it cannot be seen, or with a symbolic link, which may lead through further folders.
    """
    parts: dict[Path, None] = {}
    for path in map(Path, names):
        if os.path.realpath(path) != str(path):
            return None
        parts |= dict.fromkeys((path, *path.parents))
    try:
        return tuple(_right(str(part)) for part in parts)
    except OSError:
        return None


def _right(path: str) -> _Right:
    """Return owner, group, mode and access control list of a file or a folder. Raises OSError."""
    found = os.lstat(path)
    try:
        control_list = os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.ENOTSUP}:
            raise
        control_list = b""
    about = (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid)
    return _Right(path, *about, control_list)


def _run(
    invocation: Invocation, text: str, *arguments: str, torrc: str = "-"
) -> CompletedProcess[str]:
    program = invocation.command[0]
    try:
        return invocation.run(["-f", torrc, *arguments], as_read(text))
    except UnboundedError as error:
        raise StalledError(f"tor, which verifies the configuration, {error}") from error
    except (OSError, ValueError) as error:
        raise TorRefusesError(f"{program} cannot be run: {error}") from error


def _messages(output: str) -> tuple[str, ...]:
    """Return the warnings and errors in what tor logs."""
    return tuple(match[2] for line in output.splitlines() if (match := _MESSAGE.match(line)))


def _complaint(messages: Sequence[str], result: CompletedProcess[str]) -> str:
    """Return the last errors that tor logged, or else the last lines of its output."""
    telling = [message for message in messages if _TELLING.search(message)]
    said = telling or list(messages) or result.stderr.splitlines() or result.stdout.splitlines()
    last = " / ".join(said[-3:]) or f"exit code {result.returncode}"
    return f"Tor refuses the configuration: {last}"
