"""What doctor has to say about one point of a set-up."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exitpolicy.core.errors import ExitCode, ExitpolError


class Verdict(StrEnum):
    """Whether someone has to do something."""

    OK = "ok"
    WARN = "warn"
    """It works, and may cost something one day."""
    FAIL = "fail"
    """A promise is not kept, or will not be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One point: what was seen, why it matters, and what to type."""

    point: str
    """A few words; of a relay's points the first is `NAME:`."""
    verdict: Verdict
    seen: str
    why: str = ""
    """Empty where all is well."""
    mend: str = ""
    """A command, or lines to be written; empty where all is well."""
    exit_code: ExitCode = ExitCode.DONE
    """What doctor ends with if nothing graver is found."""


_GRAVEST_FIRST: Final = (
    ExitCode.INVALID_FILE,
    ExitCode.TOR_REFUSES,
    ExitCode.TOR_UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.ATTENTION,
)


def ok(point: str, seen: str) -> Finding:
    """Return that a point is well."""
    return Finding(point, Verdict.OK, seen)


def warn(point: str, seen: str, *, why: str, mend: str) -> Finding:
    """Return that a point should be looked at."""
    return Finding(point, Verdict.WARN, seen, why, mend, ExitCode.ATTENTION)


def fail(
    point: str, seen: str, *, why: str, mend: str, code: ExitCode = ExitCode.ATTENTION
) -> Finding:
    """Return that a point is not well."""
    return Finding(point, Verdict.FAIL, seen, why, mend, code)


def failed(point: str, error: ExitpolError, *, why: str, mend: str = "") -> Finding:
    """Return an error as a finding; `mend` where it has no hint."""
    return fail(point, str(error), why=why, mend=error.hint or mend, code=error.exit_code)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return the exit code of the gravest finding; 0 if all is well."""
    codes = {finding.exit_code for finding in findings}
    return next((code for code in _GRAVEST_FIRST if code in codes), ExitCode.DONE)


def attempt(point: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a check finds; what keeps it from finding anything is a finding, too."""
    found: list[Finding] = []
    why = "this could not be looked at"
    try:
        found.extend(check())
    except ExitpolError as error:
        found.append(failed(point, error, why=why))
    except (OSError, ValueError) as error:
        mend = "run exitpol doctor as root" if isinstance(error, PermissionError) else ""
        found.append(fail(point, str(error), why=why, mend=mend))
    return found
