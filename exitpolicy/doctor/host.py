"""The checks of the host: rights, the clock and the tor program."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from exitpolicy.core.durations import utc_text
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host
from exitpolicy.storage import observed
from exitpolicy.tor import invocation

_AS_ROOT: Final = "sudo exitpol doctor"
_FIRST_YEAR: Final = 2026
"""The year of the first release: an earlier date is wrong."""


def rights() -> Iterator[Finding]:
    """Check that exitpol runs as root."""
    if os.geteuid() == 0:
        yield ok("rights", "root")
    else:
        why = "only root can inspect everything; findings below may come from that"
        yield warn("rights", _this_user(), why=why, fix=_AS_ROOT)


def too_few_rights() -> Iterator[Finding]:
    """Report that the checks of the usual files need root."""
    why = "the checks need root, and were left out"
    yield fail("rights", _this_user(), why=why, fix=_AS_ROOT)


def _this_user() -> str:
    return f"this is user {os.geteuid()}"


def program() -> Iterator[Finding]:
    """Check that nobody but root can change the program that root runs."""
    place = timer.changed_by_others()
    if place is None:
        yield ok("program", "only root can change it")
    else:
        yield fail(
            "program",
            f"{place} belongs to another user than root, or everybody can change it",
            why="the timer runs as root what that user puts there",
            fix="install exitpol for root, such as in /opt/exitpol; then: exitpol init --timer",
        )


def clock(now: datetime) -> Iterator[Finding]:
    """Check that the time is possible at all."""
    if now.year < _FIRST_YEAR:
        yield fail(
            "clock",
            f"it says {utc_text(now)}",
            why="blocks begin and end by it",
            fix="timedatectl set-ntp true",
        )
    else:
        yield ok("clock", utc_text(now))


def steady_clock(host: Host) -> Iterator[Finding]:
    """Report a clock that was set back, or that jumped forward."""
    last, time = observed.load(host.state_path), host.time()
    if last is not None and last.applied > time.now.timestamp() + 60:
        yield fail(
            "clock",
            f"it says {utc_text(time.now)}, and said {utc_text(last.when)} before",
            why="it was set back: blocks end later than promised",
            fix="timedatectl set-ntp true; then exitpol apply",
        )
    if time.jumped_to is not None:
        held = len(time.held(host.ledger().blocks))
        trusted = utc_text(time.trusted.astimezone(UTC))
        yield warn(
            "clock",
            f"it jumped from {trusted} to {utc_text(time.now)}; {held} blocks are held",
            why="blocks that the jump would end are kept for an hour, in case the clock is wrong",
            fix="timedatectl set-ntp true",
        )


def tor_program() -> Iterator[Finding]:
    """Name the tor that verifies files where no Tor runs. Raises TorRefusesError."""
    program = invocation.program()
    yield ok("tor program", f"{program}, version {invocation.version(program)}")
