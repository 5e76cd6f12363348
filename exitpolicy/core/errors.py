"""Errors for people: one base class, caught once at the edge of the program."""

from enum import IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """The exit codes of `exitpol`. A test compares the documented table with them."""

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
    INTERRUPTED = 130
    TERMINATED = 143


class ExitpolError(Exception):
    """A failure that a person can act on.

    `str(error)` says what happened and what state things are in now, as one sentence without a
    final full stop. `hint` says what to do or to type next. `relay_names` are those of the
    relays that it is about; empty if it is about none in particular.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.relay_names: tuple[str, ...] = ()

    def about(self, *relays: str) -> Self:
        """Name the relays that it is about, and return it."""
        self.relay_names = relays
        return self


class UsageError(ExitpolError):
    """The arguments of a command are invalid."""

    exit_code = ExitCode.USAGE


class AttentionError(ExitpolError):
    """Something needs the operator: not all that was asked for is enforced."""

    exit_code = ExitCode.ATTENTION


class ForeignChangesError(AttentionError):
    """A Tor is not reloaded, because that would load other changes of its files."""


class RefusedError(ExitpolError):
    """Refused, because it would harm the relay or turn it into an exit."""

    exit_code = ExitCode.REFUSED


class TorRefusesError(ExitpolError):
    """Tor rejects its configuration, or refuses access to its control port."""

    exit_code = ExitCode.TOR_REFUSES


class TorUnreachableError(ExitpolError):
    """No Tor answers at the control port."""

    exit_code = ExitCode.TOR_UNREACHABLE


class LockTimeoutError(ExitpolError):
    """Another exitpol process held the lock for too long."""

    exit_code = ExitCode.LOCK_TIMEOUT


class InvalidFileError(ExitpolError):
    """A file (ledger, config, fragment, torrc) is invalid or cannot be used."""

    exit_code = ExitCode.INVALID_FILE


class IncludeLostError(InvalidFileError):
    """A torrc does not include its fragment."""


class NoSuchBlockError(ExitpolError):
    """The ledger has no block with that destination or reference."""

    exit_code = ExitCode.NO_SUCH_BLOCK


class InterruptedByUserError(ExitpolError):
    """Stopped by SIGINT, or by the end of input at a question."""

    exit_code = ExitCode.INTERRUPTED


class TerminatedError(ExitpolError):
    """Stopped by SIGTERM."""

    exit_code = ExitCode.TERMINATED


class Interruption(BaseException):
    """A signal that stops the command.

    Not a KeyboardInterrupt: Typer ends the process at that one without a message. Its notes say
    what state things are in.
    """

    def __init__(self, kind: type[ExitpolError]) -> None:
        super().__init__()
        self.kind = kind

    @property
    def error(self) -> ExitpolError:
        """What people are told."""
        return self.kind(
            "; ".join(["interrupted", *getattr(self, "__notes__", [])]),
            hint="exitpol status shows what is enforced, exitpol apply completes what is recorded",
        )
