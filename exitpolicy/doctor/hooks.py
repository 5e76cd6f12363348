"""The checks of the hooks: whether they are run, take their events, and lose none."""

import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from exitpolicy import hook_delivery
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shell import word
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.doctor.timer import systemctl
from exitpolicy.hook_delivery import State
from exitpolicy.operations import hooks, timer
from exitpolicy.operations.host import Host
from exitpolicy.storage import files, hook_spool

_CHECK: Final = "hooks"
_SERVICE, _TIMER = timer.HOOK_UNITS
DELIVERED: Final = Path("/var/lib/exitpol-hooks") / hook_delivery.DELIVERED
"""A user without rights writes it: it is data."""
LATE: Final = timedelta(minutes=15)
"""The hooks run every minute."""
REMEMBERED: Final = timedelta(days=7)
"""How long a loss is reported."""
_INSTALL: Final = "exitpol init --timer"
_JOURNAL: Final = f"journalctl -u {_SERVICE} -n 20"


def check(host: Host) -> Iterator[Finding]:
    """Check the unit, the spool and the deliveries, if the config has hooks."""
    commands = host.config.hooks.after_change
    is_there = (timer.FOLDER / _TIMER).exists()
    if not commands:
        if is_there and timer.installed(host):
            yield warn(
                _CHECK,
                f"{timer.FOLDER / _TIMER} runs hooks that the config does not have any more",
                why="they still run, without new events",
                fix=_INSTALL,
            )
        return
    found = [*_unit(host, is_there=is_there), *_spool(host), *_deliveries(host)]
    yield from found or [ok(_CHECK, f"commands that get each event: {len(commands)}")]


def _unit(host: Host, *, is_there: bool) -> Iterator[Finding]:
    """Check that systemd runs the hooks of the config."""
    why = "no hook learns of changes"
    if not timer.booted():
        yield fail(
            _CHECK,
            "this host is not run by systemd, which would run them",
            why=why,
            fix=f"take hooks out of {host.config.source}",
        )
    elif not is_there:
        yield fail(_CHECK, f"{_TIMER} is not installed", why=why, fix=_INSTALL)
    elif (state := systemctl("is-active", _TIMER)) != "active":
        yield fail(_CHECK, f"{_TIMER} is {state}", why=why, fix=f"systemctl enable --now {_TIMER}")
    elif lines := timer.hooks_outdated(host):
        # The line of the commands has their arguments, which may be secret.
        keys = dict.fromkeys(line.partition("=")[0] for line in lines)
        yield fail(
            _CHECK,
            f"{timer.FOLDER / _SERVICE} is not that of the config: other {', '.join(keys)}",
            why="other hooks run than those of the config",
            fix=_INSTALL,
        )


def _spool(host: Host) -> Iterator[Finding]:
    """Check that events can be put into the spool."""
    folder = host.config.hooks.spool
    if (lost := hooks.dropped(host)) is not None:
        yield fail(
            _CHECK,
            f"events dropped since {lost.since}: {lost.count}; {lost.why}",
            why="the hooks do not learn of these changes, and not of later ones",
            fix=f"{_INSTALL}; then: ls -ld {word(folder)}; df {word(folder.parent)}",
        )
    elif (reason := hook_spool.fault(folder)) is not None:
        yield fail(
            _CHECK,
            f"{folder} cannot be used: {reason}",
            why="the hooks do not learn of changes",
            fix=f"chown root {word(folder)}; chmod 700 {word(folder)}",
        )


def _deliveries(host: Host) -> Iterator[Finding]:
    """Check that each hook takes its events, and that none were dropped before."""
    spool = hook_spool.load(host.config.hooks.spool)
    if spool is None or not spool["events"]:
        return
    now, commands = host.clock(), list(host.config.hooks.after_change)
    state = hook_delivery.starts(_delivered(), spool, commands)
    for command in commands:
        yield from _delivery(spool, state, command, now)
    lost = _lost(spool, min(each.number for each in state.commands.values()), now)
    if lost:
        yield warn(
            _CHECK,
            f"events dropped in the last days: {lost}",
            why="the spool was full, or could not be written; the hooks never learn of them",
            fix="exitpol history shows the changes",
        )


def _delivery(
    spool: dict[str, Any], state: State, command: str, now: datetime
) -> Iterator[Finding]:
    """Check the deliveries to one hook. Its arguments may be secret, and are not shown."""
    program, last = shlex.split(command)[0], state.commands[command]
    waiting = hook_delivery.waiting(spool, last)
    if not waiting:
        return
    if last.failure is not None:
        yield fail(
            _CHECK,
            f"{program} has failed since {last.failure['since']}: {last.failure['why']};"
            f" waiting events: {len(waiting)}",
            why="the same event is tried every minute; when the spool is full, events are dropped",
            fix=f"{_JOURNAL}; then: systemctl start {_SERVICE}",
        )
    elif (begun := _time(waiting[0])) is not None and now - begun > LATE:
        yield fail(
            _CHECK,
            f"{program} has not got the event of {utc_text(begun)}; waiting events: {len(waiting)}",
            why="the hooks do not run",
            fix=f"{_JOURNAL}; then: systemctl start {_SERVICE}",
        )


def _lost(spool: dict[str, Any], taken: int, now: datetime) -> int:
    """Return how many events a hook never gets, of those before lately made ones.

    `taken` is the number of the last event that the hindmost hook has taken.
    """
    lost = 0
    for event in spool["events"]:
        made = _time(event)
        if event["number"] > taken and made is not None and now - made < REMEMBERED:
            lost += event["number"] - taken - 1
        taken = max(taken, event["number"])
    return lost


def _time(event: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(event["time"])
    except (ValueError, LookupError, TypeError):
        return None


def _delivered() -> State | None:
    """Return what the hooks have taken; None if that is not known."""
    try:
        content = files.read_own(DELIVERED, "list of deliveries", limit=hook_delivery.MAX_BYTES)
    except (FileNotFoundError, InvalidFileError):
        return None
    return hook_delivery.state_of(content)
