"""What exitpol rests on: rights, the timer, the clock and the tor program."""

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
"""The tick looks at Tor every 15 minutes, even where nothing changes."""
_FIRST_YEAR: Final = 2026
"""No exitpol is older."""
_SECONDS: Final = 10.0
_CRON: Final = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs", "/var/cron/tabs")
_TICK: Final = re.compile(r"^(?!\s*#).*(?:exitpolicy/tick\.py|exitpol\b.*\bexpire)", re.MULTILINE)


def rights() -> Iterator[Finding]:
    """Yield whether all can be looked at."""
    if os.geteuid() == 0:
        yield ok("rights", "root")
    else:
        yield warn(
            "rights",
            f"this is user {os.geteuid()}",
            why="only root may look at everything; some of what follows may be due to that",
            mend="sudo exitpol doctor",
        )


def timer(host: Host) -> Iterator[Finding]:
    """Yield whether the tick is run every minute."""
    why = "it lifts blocks on their day, takes up hand edits and repairs drift"
    unit = timer_units.UNITS[1]
    if timer_units.booted():
        active, enabled = (_systemctl(word, unit) for word in ("is-active", "is-enabled"))
        if active == "active" and enabled == "enabled":
            yield ok("timer", f"{unit} is active")
            return
        if active == "active":
            seen = f"{unit} is active, but {enabled}: it does not start at boot"
            yield warn("timer", seen, why=why, mend=f"systemctl enable {unit}")
            return
    place = _cron_place()
    if place is not None:
        yield ok("timer", f"cron: {place}")
        return
    if timer_units.booted():
        yield fail("timer", f"{unit} is {active}", why=why, mend="exitpol init --timer")
        return
    yield fail(
        "timer",
        "neither systemd nor cron runs exitpol",
        why=why,
        mend="put this line into /etc/cron.d/exitpol:\n"
        f"* * * * * root {timer_units.cron_line(host)}",
    )


def last_look(host: Host) -> Iterator[Finding]:
    """Yield when Tor was looked at last."""
    point, seen = "last look", observed.load(host.state_path)
    mend = f"exitpol apply; then: journalctl -u {timer_units.UNITS[0]} -n 20"
    if seen is None:
        why = "nothing is known of what Tor enforces"
        yield fail(point, "exitpol has never looked at Tor", why=why, mend="exitpol apply")
        return
    now = host.clock()
    age = now.timestamp() - seen.applied
    if age > LATE_SECONDS:
        yield fail(
            point,
            f"{remaining_text(now, seen.when)} ago, at {utc_text(seen.when)}",
            why="the tick has not run since, or fails: no block is lifted, no drift is seen",
            mend=mend,
        )
    elif not seen.settled:
        why = "something was not as it should be, and the next tick tries again"
        yield warn(point, f"{utc_text(seen.when)}, not settled", why=why, mend="exitpol apply")
    else:
        yield ok(point, f"{utc_text(seen.when)}, all was as it should be")


def clock(now: datetime) -> Iterator[Finding]:
    """Yield whether the time can be true at all."""
    if now.year < _FIRST_YEAR:
        yield fail(
            "clock",
            f"it says {utc_text(now)}",
            why="blocks begin and end by it",
            mend="timedatectl set-ntp true",
        )
    else:
        yield ok("clock", utc_text(now))


def steady_clock(host: Host) -> Iterator[Finding]:
    """Yield where the clock contradicts what was seen before."""
    last, time = observed.load(host.state_path), host.time()
    if last is not None and last.applied > time.now.timestamp() + 60:
        yield fail(
            "clock",
            f"it says {utc_text(time.now)}, and has said {utc_text(last.when)} before",
            why="it was set back: blocks end later than promised",
            mend="timedatectl set-ntp true; then exitpol apply",
        )
    if time.leapt is not None:
        held = len(time.held(host.ledger().blocks))
        trusted = utc_text(time.trusted.astimezone(UTC))
        yield warn(
            "clock",
            f"it has leapt from {trusted} to {utc_text(time.now)}; {held} blocks are held",
            why="what would end by the leap is kept for an hour, in case the clock is wrong",
            mend="timedatectl set-ntp true",
        )


def tor_program() -> Iterator[Finding]:
    """Yield which tor verifies where none runs. Raises TorRefusesError if there is none."""
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
    """Return the crontab that runs the tick; None if none does."""
    for name in _CRON:
        path = Path(name)
        try:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                if file.is_file() and _TICK.search(file.read_text("utf-8", "replace")):
                    return file
        except OSError:
            continue
    return None
