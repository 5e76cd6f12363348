"""The check of a relay's control port: whether exitpol can reach Tor, and who else can."""

from collections.abc import Iterator

from exitpolicy.core.errors import ExitpolError
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.doctor.inspected import Inspected
from exitpolicy.operations import control_lines
from exitpolicy.tor import discovery, identity


def reachable(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether Tor answers at its control port, and how exitpol authenticates there."""
    relay, error = subject.relay, subject.view.unreachable
    if not relay.has_control:
        yield from _without(subject, check)
        return
    if error is not None:
        fix = _hint_or(error, _how_to_reach(subject))
        why = "exitpol reloads Tor and reads the enforced policy through it"
        yield fail(check, str(error), why=why, fix=fix, code=error.exit_code)
        return
    methods = identity.auth_methods(relay)
    if "NONE" in methods:
        if relay.tcp_control is not None:
            yield warn(
                check,
                f"{relay.control} accepts every program on this host without authentication",
                why="who reaches the control port controls Tor",
                fix=f"write CookieAuthentication 1 into {relay.torrc}; systemctl restart"
                f" {subject.unit}",
            )
            return
        method = "no authentication: the permissions of its folder protect it"
    elif "PASSWORD" in methods and relay.password_file is not None:
        method = f"authenticated with the password in {relay.password_file}"
    else:
        method = "authenticated with the cookie"
    yield ok(check, f"{relay.control}, {method}")


def _without(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report on a relay that is set up without a control port."""
    relay, error = subject.relay, subject.view.unreachable
    if error is not None:
        why = "exitpol reloads Tor through it"
        fix = _hint_or(error, f"systemctl start {subject.unit}")
        yield fail(check, str(error), why=why, fix=fix, code=error.exit_code)
        return
    yield warn(
        check,
        f"{relay.torrc} is set up without a control port; its Tor is process {subject.pid}",
        why="its blocks are at best unverified: nothing says what it enforces",
        fix=_how_to_observe(subject),
    )


def _hint_or(error: ExitpolError, other: str) -> str:
    """Return the hint of an error; another fix where there is none, or where it names doctor."""
    return error.hint if error.hint and "doctor" not in error.hint else other


def _how_to_observe(subject: Inspected) -> str:
    """Return how to give a relay a control port."""
    found = discovery.discover(subject.relay._replace(control=""))
    if found.control is not None:
        return f"write control: {found.control.address} into the config"
    return (
        f"{control_lines.how_to_open(found)}\nthen write its path as control: into the config,"
        " instead of none"
    )


def _how_to_reach(subject: Inspected) -> str:
    """Return what makes an unreachable Tor reachable, from what its torrc opens."""
    relay = subject.relay
    try:
        found = discovery.discover(relay)
    except ExitpolError:
        return f"systemctl status {subject.unit}"
    control = found.control
    if control is None:
        return control_lines.how_to_open(found)
    if control.address != relay.control:
        return (
            f"{relay.torrc} opens {control.address}:"
            f" write control: {control.address} into the config"
        )
    return f"systemctl status {subject.unit}; systemctl restart {subject.unit}"
