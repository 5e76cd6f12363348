"""The checks of the host: rights, the timer, the clock and the tor program."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exitpolicy.core.durations import remaining_text, utc_text
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.operations import timer as timer_units
from exitpolicy.operations.host import Host
from exitpolicy.storage import observed
from exitpolicy.tor import verify

LATE_SECONDS: Final = 20 * 60
"""The tick inspects Tor every 15 minutes, even if nothing has changed."""
_FIRST_YEAR: Final = 2026
"""The year of the first release: an earlier date is wrong."""
_SECONDS: Final = 10.0
_CRON: Final = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs", "/var/cron/tabs")
_TICK: Final = re.compile(r"^(?!\s*#).*(?:exitpolicy/tick\.py|exitpol\b.*\bexpire)", re.MULTILINE)


def rights() -> Iterator[Finding]:
    """Check that exitpol runs as root."""
    if os.geteuid() == 0:
        yield ok("rights", "root")
    else:
        yield warn(
            "rights",
            f"this is user {os.geteuid()}",
            why="only root can inspect everything; findings below may come from that",
            fix="sudo exitpol doctor",
        )


def timer(host: Host) -> Iterator[Finding]:
    """Check that systemd or cron runs the tick every minute."""
    why = "it lifts blocks on their date, applies hand edits and repairs drift"
    unit = timer_units.UNITS[1]
    if timer_units.booted():
        active, enabled = (_systemctl(word, unit) for word in ("is-active", "is-enabled"))
        if active == "active" and enabled == "enabled":
            yield ok("timer", f"{unit} is active")
            return
        if active == "active":
            seen = f"{unit} is active, but {enabled}: it does not start at boot"
            yield warn("timer", seen, why=why, fix=f"systemctl enable {unit}")
            return
    place = _cron_place()
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


def last_inspection(host: Host) -> Iterator[Finding]:
    """Check when Tor was inspected last, and with what result."""
    check, seen = "last inspection", observed.load(host.state_path)
    if seen is None:
        why = "exitpol does not know what Tor enforces"
        yield fail(check, "exitpol has never inspected Tor", why=why, fix="exitpol apply")
        return
    now = host.clock()
    age = now.timestamp() - seen.applied
    if age > LATE_SECONDS:
        yield fail(
            check,
            f"{remaining_text(now, seen.when)} ago, at {utc_text(seen.when)}",
            why="the tick did not run since, or fails: no block is lifted, no drift is noticed",
            fix=f"exitpol apply; then: journalctl -u {timer_units.UNITS[0]} -n 20",
        )
    elif not seen.settled:
        why = "desired, installed and enforced state differed; the next tick tries again"
        yield warn(check, f"{utc_text(seen.when)}, not settled", why=why, fix="exitpol apply")
    else:
        yield ok(check, f"{utc_text(seen.when)}, everything was in sync")


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
    """Report a clock that was set back, or that has leapt forward."""
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
            f"it has leapt from {trusted} to {utc_text(time.now)}; {held} blocks are held",
            why="blocks that end by the leap are kept for an hour, in case the clock is wrong",
            fix="timedatectl set-ntp true",
        )


def tor_program() -> Iterator[Finding]:
    """Name the tor that verifies files where no Tor runs. Raises TorRefusesError."""
    program = verify.of_host(None).command[0]
    yield ok("tor program", f"{program}, version {verify.version(program)}")


def _systemctl(word: str, unit: str) -> str:
    systemctl = shutil.which("systemctl") or "systemctl"
    try:
        result = subprocess.run(
            [systemctl, word, unit], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return "not known to systemctl"
    return result.stdout.strip() or "not known to systemctl"


def _cron_place() -> Path | None:
    """Return the crontab that runs the tick; None if no crontab does."""
    for name in _CRON:
        path = Path(name)
        try:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                if file.is_file() and _TICK.search(file.read_text("utf-8", "replace")):
                    return file
        except OSError:
            continue
    return None
