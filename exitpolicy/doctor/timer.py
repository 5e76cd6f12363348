"""The checks of the timer: whether it is installed, runs every minute, and succeeds."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exitpolicy.core.durations import remaining_text, utc_text
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.operations import timer as timer_units
from exitpolicy.operations.host import Host
from exitpolicy.storage import health_record, observed

LATE_SECONDS: Final = 5 * 60
"""The tick runs every minute; a slow apply takes a few."""
UNIT: Final = timer_units.UNITS[1]
_SERVICE: Final = timer_units.UNITS[0]
_JOURNAL: Final = f"journalctl -u {_SERVICE} -n 20"
_PROGRAM: Final = re.compile(r"/(?:.*/)?(?:python[0-9.]*|exitpol|exitpolicy/tick\.py)")
_SECONDS: Final = 10.0
_FEW: Final = 3
_DISABLED: Final = "disabled: it does not start at boot"
_CRON: Final = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs", "/var/cron/tabs")
_TICK: Final = re.compile(
    r"^(?!\s*#).*(?:exitpolicy/tick\.py|exitpol\b.*\bexpire).*$", re.MULTILINE
)


def installed(host: Host) -> Iterator[Finding]:
    """Check that systemd or cron runs the tick every minute."""
    why = "without it no block is lifted on its date, and no drift is repaired"
    unit = UNIT
    if timer_units.booted():
        active, enabled = (systemctl(word, unit) for word in ("is-active", "is-enabled"))
        if active == "active" and enabled == "enabled":
            yield ok("timer", f"{unit} is active")
            return
        if active == "active":
            observed_ = f"{unit} is active, but {enabled}: it does not start at boot"
            yield warn("timer", observed_, why=why, fix=f"systemctl enable {unit}")
            return
    place = cron_place(_TICK)
    if place is not None:
        yield ok("timer", f"cron: {place}")
        return
    if timer_units.booted():
        yield fail("timer", f"{unit} is {active}", why=why, fix="exitpol init --timer")
        return
    yield fail(
        "timer",
        "neither systemd nor cron runs exitpol",
        why=why,
        fix="put this line into /etc/cron.d/exitpol:\n"
        f"* * * * * root {timer_units.cron_line(host)}",
    )


def unit(host: Host) -> Iterator[Finding]:
    """Check that the installed unit may do what the tick needs: not what root may do."""
    check, lines = "unit", timer_units.outdated(host)
    if not lines:
        is_there = (timer_units.FOLDER / timer_units.UNITS[0]).exists()
        yield ok(check, "it has the rights that the tick needs" if is_there else "not installed")
        return
    yield fail(
        check,
        misfit(_SERVICE, lines),
        why="paths, relays or owners changed, and the tick cannot use all of them",
        fix="exitpol init --timer",
    )


def misfit(service: str, lines: Sequence[str]) -> str:
    """Return the words for an installed unit that lacks lines."""
    more = " and more" if len(lines) > _FEW else ""
    return (
        f"{timer_units.FOLDER / service} does not fit this host any more: it lacks"
        f" {'; '.join(lines[:_FEW])}{more}"
    )


def tick(host: Host) -> Iterator[Finding]:
    """Check that the tick ran lately and succeeded: each run updates the mtime of the state.

    What runs it does not matter, but a timer that is stopped is reported at once. If it did not
    run, the finding names why.
    """
    check = "tick"
    if _unit_fails():
        yield fail(
            check,
            f"{_SERVICE} has failed",
            why="no block is lifted and no drift is repaired until it succeeds",
            fix=f"{_JOURNAL}; then: systemctl start {_SERVICE}",
            cause=Fault.UNIT_FAILED,
        )
        return
    state = _timer_state(host)
    if state is not None:
        yield fail(
            check,
            f"{UNIT} is {state}",
            why="after the next boot no block is lifted"
            if state == _DISABLED
            else "nothing runs the tick: no block is lifted and no drift is repaired",
            fix=f"systemctl enable --now {UNIT}",
            cause=Fault.TIMER_MISSING,
        )
        return
    last = observed.load(host.state_path)
    if last is None:
        yield fail(
            check,
            f"{host.state_path} is missing or damaged: it holds what Tor was seen to enforce",
            why="exitpol list cannot say which blocks are live",
            fix="exitpol apply",
            cause=Fault.STATE_MISSING,
        )
        return
    record = health_record.load(host.health_path)
    failed = record is not None and Fault.TICK_FAILED in record.faults
    if record is not None and failed and record.failed_after == last.applied:
        yield fail(
            check,
            f"since {utc_text(record.since)} it fails: {'; '.join(record.messages)}",
            why="no block is lifted and no drift is repaired until it succeeds",
            fix="exitpol apply",
            cause=Fault.TICK_FAILED,
        )
        return
    now, ran = host.clock(), datetime.fromtimestamp(host.state_path.stat().st_mtime, UTC)
    age = (now - ran).total_seconds()
    # A tick corrects a time in the future, which is from a clock that was ahead.
    if abs(age) > LATE_SECONDS:
        cause, reason, fix = _why_late()
        when = "in the future" if age < 0 else f"{remaining_text(now, ran)} ago"
        yield fail(
            check,
            f"the last run was {when}, at {utc_text(ran)}, and one is due every minute{reason}",
            why="no block is lifted and no drift is noticed while it does not run",
            fix=fix,
            cause=cause,
        )
    elif not last.settled:
        yield warn(
            check,
            f"at {utc_text(last.when)} it did not bring Tor to what the ledger says",
            why="it tries again every minute; the other findings say what is in its way",
            fix="exitpol apply",
            cause=Fault.NOT_SETTLED,
        )
    else:
        yield ok(check, f"ran at {utc_text(ran)}; Tor was inspected at {utc_text(last.when)}")


def _unit_fails() -> bool:
    """Tell whether the timer runs a service that fails. An old failure means nothing under cron."""
    if not timer_units.booted() or systemctl("is-failed", _SERVICE) != "failed":
        return False
    return systemctl("is-active", UNIT) == "active" or cron_place(_TICK) is None


def _timer_state(host: Host) -> str | None:
    """Return how the installed timer of this host is, if it does not run or will not start at boot.

    None if all is well, if cron runs the tick, and if systemd does not answer.
    """
    if not timer_units.booted() or not timer_units.installed(host) or cron_place(_TICK) is not None:
        return None
    active = systemctl("is-active", UNIT)
    if active in {"inactive", "failed"}:
        return "stopped" if active == "inactive" else active
    return _DISABLED if systemctl("is-enabled", UNIT) == "disabled" else None


def _why_late() -> tuple[Fault, str, str]:
    """Return why the tick does not run: the fault, the words for it, and how to fix it."""
    by_systemd = timer_units.booted() and systemctl("is-active", UNIT) == "active"
    place = None if by_systemd else cron_place(_TICK)
    line = timer_units.installed_command() if by_systemd else _cron_line(place, _TICK)
    if line is None:
        fix = "exitpol init --timer"
        return Fault.TIMER_MISSING, ": neither systemd nor cron runs it", fix
    gone = next((path for path in _programs(line) if not path.exists()), None)
    if gone is not None:
        fix = "install exitpol again; then: exitpol init --timer"
        return Fault.PROGRAM_GONE, f": {gone}, which {place or _SERVICE} runs, is gone", fix
    if by_systemd:
        return Fault.TICK_LATE, "", f"systemctl status {UNIT}; {_JOURNAL}"
    return Fault.TICK_LATE, "", f"see whether cron runs, and what it mails: {place}"


def _programs(line: str) -> Iterator[Path]:
    """Yield the interpreter and the tick of a command line, and the program that the tick becomes.

    It comes from a unit or a crontab, and is data: nothing of it is run.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        return
    for before, word in zip(["", *words], words, strict=False):
        if _PROGRAM.fullmatch(word) or (before == "--" and word.startswith("/")):
            yield Path(word)


def systemctl(word: str, unit: str) -> str:
    """Return what systemctl answers about a unit in one word."""
    program = timer_units.systemctl_path()
    try:
        result = subprocess.run(
            [program, word, unit], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return "not known to systemctl"
    return result.stdout.strip() or "not known to systemctl"


def cron_of_tick() -> Path | None:
    """Return the crontab that runs the tick; None if there is none."""
    return cron_place(_TICK)


def cron_pattern(command: str) -> re.Pattern[str]:
    """Return the pattern of a line in a crontab that runs a command of exitpol."""
    return re.compile(rf"^(?!\s*#).*exitpol\w*\b.*\b{command}\b.*$", re.MULTILINE)


def cron_place(pattern: re.Pattern[str]) -> Path | None:
    """Return the crontab with a line of a pattern; None if there is none."""
    for name in _CRON:
        path = Path(name)
        try:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                if _cron_line(file, pattern) is not None:
                    return file
        except OSError:
            continue
    return None


def _cron_line(crontab: Path | None, pattern: re.Pattern[str]) -> str | None:
    """Return the first line of a pattern in a crontab; None if there is none. Raises OSError."""
    if crontab is None or not crontab.is_file():
        return None
    found = pattern.search(crontab.read_text("utf-8", "replace"))
    return None if found is None else found[0].replace("\\%", "%")
