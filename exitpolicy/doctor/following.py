"""The checks of followed names: whether they are looked up, and have an answer."""

import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from exitpolicy.core.durations import remaining_text, utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.following import (
    MAX_FOLLOWED,
    UNSEEN_SECONDS,
    Following,
    followed,
    to_follow,
)
from exitpolicy.core.host_names import NamedHost
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.doctor.timer import cron_pattern, cron_place, misfit
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host
from exitpolicy.storage import follow_state

LATE_SECONDS: Final = 15 * 60
"""The names are looked up every five minutes."""
_CHECK: Final = "followed names"
_FEW: Final = 3
_CRON: Final = cron_pattern("follow")


def check(host: Host) -> Iterator[Finding]:
    """Check that followed names are looked up, whatever does that, and that they have answers."""
    try:
        blocks, time = host.best_known_ledger().blocks, host.time()
    except InvalidFileError:
        # It is reported where the ledger is checked.
        return
    hosts = followed(blocks, time, ())
    if not hosts:
        return
    path = follow_state.path_beside(host.config.ledger)
    saved = follow_state.load(path)
    late = _late(host, saved)
    if late is not None:
        yield fail(
            _CHECK,
            late,
            why="blocks do not follow their names to new addresses",
            fix=fix(host),
            cause=Fault.FOLLOW_LATE,
        )
        return
    silent = [] if saved is None else list(_silent(saved.following, hosts))
    if silent:
        more = f"; and {len(silent) - _FEW} more" if len(silent) > _FEW else ""
        yield warn(
            _CHECK,
            f"no usable answer for a day: {'; '.join(silent[:_FEW])}{more}",
            why="the blocks of the addresses that were known last stay",
            fix="see what it leads to; or, if it need not be blocked any more: exitpol lift NAME",
            cause=Fault.NAME_UNANSWERED,
        )
        return
    count = len(to_follow(blocks, time))
    if count > MAX_FOLLOWED:
        yield warn(
            _CHECK,
            f"{count} names are to be followed, and only the first {MAX_FOLLOWED} are",
            why="the blocks of the others keep their addresses",
            fix=f"remove the key follow of some blocks in {host.config.ledger}",
            cause=Fault.ATTENTION,
        )
        return
    yield ok(_CHECK, f"{len(hosts)} names were looked up lately")


def unit(host: Host) -> Iterator[Finding]:
    """Check that the installed unit may reach the DNS servers that the Tors ask."""
    lines = timer.follow_outdated(host)
    if lines:
        yield fail(
            "follow unit",
            misfit(timer.FOLLOW_UNITS[0], lines),
            why="DNS servers, paths, relays or owners changed, and it cannot use all of them",
            fix="exitpol init --timer",
        )


def _late(host: Host, saved: follow_state.Saved | None) -> str | None:
    """Return what is wrong with the last look-up; None if it was lately.

    Only root can read what it found; the others see when it was.
    """
    path = follow_state.path_beside(host.config.ledger)
    try:
        ran = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except FileNotFoundError:
        return "they have never been looked up again"
    if saved is None and os.geteuid() == 0:
        return f"{path} is damaged, or not root's: when they were looked up is not known"
    now = host.clock()
    age = (now - ran).total_seconds()
    if abs(age) <= LATE_SECONDS:
        return None
    when = "in the future" if age < 0 else f"{remaining_text(now, ran)} ago"
    return f"they were looked up {when}, at {utc_text(ran)}, not every five minutes"


def is_run(host: Host) -> bool:
    """Tell whether systemd or cron looks the names up again."""
    return timer.follows(host) or cron_place(_CRON) is not None


def fix(host: Host) -> str:
    """Return how to have the names looked up again."""
    if not timer.booted():
        line = f"*/5 * * * * root {timer.follow_cron_line(host)}"
        return f"put this line into /etc/cron.d/exitpol:\n{line}"
    service, timer_unit = timer.FOLLOW_UNITS
    if (timer.FOLDER / timer_unit).exists():
        return f"systemctl status {timer_unit}; journalctl -u {service} -n 20"
    return "exitpol init --timer"


def _silent(state: Following, hosts: Collection[NamedHost]) -> Iterator[str]:
    """Yield the names that had no usable answer for a day, with the reason."""
    for host, known in state.names.items():
        if host in hosts and known.failure and state.seconds - known.answered >= UNSEEN_SECONDS:
            yield f"{host}: {known.failure}"
