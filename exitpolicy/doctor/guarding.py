"""The checks of the guard: whether its timer is what the config says."""

import re
from collections.abc import Iterator
from typing import Final

from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.doctor.timer import cron_place
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host

_CHECK: Final = "guard"
_FEW: Final = 3
_CRON: Final = re.compile(r"^(?!\s*#).*exitpol\w*\b.*\bguard\b.*$", re.MULTILINE)


def check(host: Host) -> Iterator[Finding]:
    """Check that the guard runs exactly if it is configured, and with the rights that it needs."""
    is_run = timer.guards(host) or cron_place(_CRON) is not None
    if host.config.guard is None:
        if is_run:
            yield fail(
                _CHECK,
                "its timer runs, and the config has no guard",
                why="each run ends with an error",
                fix="exitpol init --timer",
            )
        return
    if not is_run:
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
            f"{timer.FOLDER / timer.GUARD_UNITS[0]} does not fit this host any more: it lacks"
            f" {'; '.join(lines[:_FEW])}{' and more' if len(lines) > _FEW else ''}",
            why="paths, relays or owners changed, and it cannot use all of them",
            fix="exitpol init --timer",
        )
        return
    yield ok(_CHECK, "its timer is what the config says")
