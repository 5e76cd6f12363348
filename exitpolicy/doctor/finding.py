"""The result of one health check."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from exitpolicy.core.errors import ExitCode, ExitpolError
from exitpolicy.doctor.fault import Fault


class Severity(StrEnum):
    """Whether somebody has to act."""

    OK = "ok"
    WARN = "warn"
    """It works now and may fail later."""
    FAIL = "fail"
    """A promise is broken, or will be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check observed, why it matters, and how to fix it."""

    check: str
    """The name of the check in a few words; `RELAY: NAME` for a check of one relay."""
    severity: Severity
    observed: str
    why: str = ""
    """Empty if the check passed."""
    fix: str = ""
    """A command, or lines to write into a file; empty if the check passed."""
    exit_code: ExitCode = ExitCode.DONE
    """The exit code of the command if this is the gravest finding."""
    cause: Fault | Literal[""] = ""
    """A stable name for programs; only findings of `status` and the tick have one."""


_GRAVEST_FIRST: Final = (
    ExitCode.INVALID_FILE,
    ExitCode.TOR_REFUSES,
    ExitCode.TOR_UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.ATTENTION,
)


def ok(check: str, observed: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check, Severity.OK, observed)


def warn(
    check: str, observed: str, *, why: str, fix: str, cause: Fault | Literal[""] = ""
) -> Finding:
    """Return a finding that can cause harm later."""
    return Finding(check, Severity.WARN, observed, why, fix, ExitCode.ATTENTION, cause)


def fail(
    check: str,
    observed: str,
    *,
    why: str,
    fix: str,
    code: ExitCode = ExitCode.ATTENTION,
    cause: Fault | Literal[""] = "",
) -> Finding:
    """Return a finding that causes harm now."""
    return Finding(check, Severity.FAIL, observed, why, fix, code, cause)


def failed(check: str, error: ExitpolError, *, why: str, fix: str = "") -> Finding:
    """Return an error as a finding; `fix` is used if the error has no hint."""
    return fail(check, str(error), why=why, fix=error.hint or fix, code=error.exit_code)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return the exit code of the gravest finding; 0 if every check passed."""
    codes = {finding.exit_code for finding in findings}
    return next((code for code in _GRAVEST_FIRST if code in codes), ExitCode.DONE)


def attempt(check: str, run: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run a check and return its findings; if an error stops it, the last finding is that error."""
    found: list[Finding] = []
    why = "this check could not be completed"
    try:
        found.extend(run())
    except ExitpolError as error:
        found.append(failed(check, error, why=why))
    except (OSError, ValueError) as error:
        fix = "run exitpol doctor as root" if isinstance(error, PermissionError) else ""
        found.append(fail(check, str(error), why=why, fix=fix))
    return found
