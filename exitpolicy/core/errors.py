"""What can go wrong, said for people: one base class, caught once at the edge of the program."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of `exitpol`; the README's table is checked against these."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    ATTENTION = 3
    REFUSED = 4
    TOR_REFUSES = 5
    TOR_UNREACHABLE = 6
    LOCK_TIMEOUT = 7
    INVALID_FILE = 8
    NO_SUCH_BLOCK = 9


class ExitpolError(Exception):
    """A failure that a person can act on.

    `str(error)` says what happened and what state things are in now, in one sentence
    without a final full stop. `hint` says what to do or to type next.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ExitpolError):
    """The arguments of a command do not mean anything."""

    exit_code = ExitCode.USAGE


class AttentionError(ExitpolError):
    """Something needs the operator: what was asked for is not enforced as a whole."""

    exit_code = ExitCode.ATTENTION


class RefusedError(ExitpolError):
    """Done as asked, this would hurt the relay or make someone an exit."""

    exit_code = ExitCode.REFUSED


class TorRefusesError(ExitpolError):
    """Tor does not accept the configuration, or does not let us in."""

    exit_code = ExitCode.TOR_REFUSES


class TorUnreachableError(ExitpolError):
    """No Tor answers at the control port."""

    exit_code = ExitCode.TOR_UNREACHABLE


class LockTimeoutError(ExitpolError):
    """Another exitpol held the lock for longer than we wait."""

    exit_code = ExitCode.LOCK_TIMEOUT


class InvalidFileError(ExitpolError):
    """A file of ours (ledger, config, fragment, torrc) is not what it should be."""

    exit_code = ExitCode.INVALID_FILE


class NoSuchBlockError(ExitpolError):
    """The ledger holds no block for that destination or reference."""

    exit_code = ExitCode.NO_SUCH_BLOCK
