"""The checks of the guard: whether its timer is what the config says."""

from collections.abc import Iterator
from typing import Final

from exitpolicy.doctor.finding import Finding, fail, failed, ok, warn
from exitpolicy.doctor.timer import cron_pattern, cron_place, misfit
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host
from exitpolicy.tor import streams
from exitpolicy.tor.streams import StreamsUnknownError

_CHECK: Final = "guard"
_CRON: Final = cron_pattern("guard")


def check(host: Host) -> Iterator[Finding]:
    """Check that the guard runs exactly if it is configured, and with the rights that it needs."""
    by_systemd = timer.guards(host)
    crontab = cron_place(_CRON)
    if host.config.guard is None:
        if by_systemd or crontab is not None:
            yield fail(
                _CHECK,
                "its timer runs, and the config has no guard"
                if by_systemd
                else f"{crontab} runs it, and the config has no guard",
                why="each run ends with an error",
                fix="exitpol init --timer"
                if by_systemd
                else f"remove the line with guard from {crontab}",
            )
        return
    if not by_systemd and crontab is None:
        line = f"* * * * * root {timer.guard_cron_line(host)}"
        yield warn(
            _CHECK,
            "the config has guard, and no timer runs it",
            why="nothing that is flooded is blocked",
            fix="exitpol init --timer"
            if timer.booted()
            else f"put this line into /etc/cron.d/exitpol:\n{line}",
        )
        return
    lines = timer.guard_outdated(host)
    if lines:
        yield fail(
            _CHECK,
            misfit(timer.GUARD_UNITS[0], lines),
            why="paths, relays or owners changed, and it cannot use all of them",
            fix="exitpol init --timer",
        )
        return
    try:
        streams.lister()
    except StreamsUnknownError as error:
        yield failed(_CHECK, error, why="the guard sees no connection, and blocks nothing")
        return
    yield ok(_CHECK, "its timer is what the config says")
