"""The checks of the timer: whether it is installed, runs every minute, and succeeds."""

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

LATE_SECONDS: Final = 5 * 60
"""The tick runs every minute; a slow apply takes a few."""
_SECONDS: Final = 10.0
_CRON: Final = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs", "/var/cron/tabs")
_TICK: Final = re.compile(r"^(?!\s*#).*(?:exitpolicy/tick\.py|exitpol\b.*\bexpire)", re.MULTILINE)


def installed(host: Host) -> Iterator[Finding]:
    """Check that systemd or cron runs the tick every minute."""
    why = "it lifts blocks on their date, applies hand edits and repairs drift"
    unit = timer_units.UNITS[1]
    if timer_units.booted():
        active, enabled = (_systemctl(word, unit) for word in ("is-active", "is-enabled"))
        if active == "active" and enabled == "enabled":
            yield ok("timer", f"{unit} is active")
            return
        if active == "active":
            observed_ = f"{unit} is active, but {enabled}: it does not start at boot"
            yield warn("timer", observed_, why=why, fix=f"systemctl enable {unit}")
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


def unit(host: Host) -> Iterator[Finding]:
    """Check that the installed unit may do what the tick needs: not what root may do."""
    check, lines = "unit", timer_units.outdated(host)
    if not lines:
        is_there = (timer_units.FOLDER / timer_units.UNITS[0]).exists()
        yield ok(check, "it has the rights that the tick needs" if is_there else "not installed")
        return
    yield fail(
        check,
        f"{timer_units.FOLDER / timer_units.UNITS[0]} does not fit this host any more: it lacks"
        f" {'; '.join(lines[:3])}{' and more' if len(lines) > 3 else ''}",
        why="paths, relays or owners changed, and the tick cannot use all of them",
        fix="exitpol init --timer",
    )


def tick(host: Host) -> Iterator[Finding]:
    """Check that the tick ran lately and succeeded: each run updates the mtime of the state."""
    service, check = timer_units.UNITS[0], "tick"
    journal = f"journalctl -u {service} -n 20"
    if timer_units.booted() and _systemctl("is-failed", service) == "failed":
        yield fail(
            check,
            f"{service} has failed",
            why="no block is lifted and no drift is repaired until it succeeds",
            fix=f"{journal}; then: systemctl start {service}",
            cause="unit_failed",
        )
        return
    last = observed.load(host.state_path)
    if last is None:
        yield fail(
            check,
            f"{host.state_path} is missing or damaged: exitpol does not know when it inspected Tor",
            why="it does not know what Tor enforces",
            fix="exitpol apply",
            cause="state_missing",
        )
        return
    now, ran = host.clock(), datetime.fromtimestamp(host.state_path.stat().st_mtime, UTC)
    if (now - ran).total_seconds() > LATE_SECONDS:
        yield fail(
            check,
            f"it ran {remaining_text(now, ran)} ago, at {utc_text(ran)}, not every minute",
            why="no block is lifted and no drift is noticed while it does not run",
            fix=f"systemctl status {timer_units.UNITS[1]}; {journal}"
            if timer_units.booted()
            else "exitpol doctor",
            cause="tick_late",
        )
    elif not last.settled:
        yield warn(
            check,
            f"{utc_text(last.when)}: desired, installed and enforced state differed",
            why="the timer tries again every minute",
            fix="exitpol apply",
            cause="not_settled",
        )
    else:
        yield ok(check, f"ran at {utc_text(ran)}; Tor was inspected at {utc_text(last.when)}")


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
