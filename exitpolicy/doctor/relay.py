"""All checks of one relay, in the order of the report."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from exitpolicy.doctor import control_port, exit_policy, health, reloading, torrc_file
from exitpolicy.doctor.finding import Finding, attempt
from exitpolicy.doctor.inspected import Inspected, inspected
from exitpolicy.operations.desired import Desired
from exitpolicy.operations.host import Host
from exitpolicy.operations.query import limits_of
from exitpolicy.storage.config import Relay

_Checks = tuple[tuple[str, Callable[[Inspected, str], Iterator[Finding]]], ...]

_BEFORE_SET_UP: Final[_Checks] = (
    ("control port", control_port.reachable),
    ("torrc", torrc_file.same_torrc),
    ("other tools", torrc_file.other_tools),
    ("version", reloading.version),
)
"""The checks that need no fragment."""

_CHECKS: Final[_Checks] = (
    ("control port", control_port.reachable),
    ("torrc", torrc_file.same_torrc),
    ("include", torrc_file.included_once),
    ("order", torrc_file.order),
    ("former blocks", torrc_file.left_over),
    ("other tools", torrc_file.other_tools),
    ("verified", reloading.verified),
    ("fragment", reloading.readable),
    ("AppArmor", reloading.confined),
    ("reload", reloading.possible),
    ("version", reloading.version),
    ("exit", exit_policy.is_exit),
    ("policy", exit_policy.enforced),
    ("private addresses", exit_policy.private_addresses),
    ("IPv6", exit_policy.ipv6),
)


def run(host: Host, relay: Relay, desired: Desired | None) -> list[Finding]:
    """Check one relay. `desired` is None if the ledger is invalid."""
    found, subject = _checked(host, relay, desired, _CHECKS)
    if subject is not None:
        found += health.of_relay(host, relay, subject.view, limits_of(subject.view))
    return found


def before_set_up(host: Host, relay: Relay) -> list[Finding]:
    """Check what `init` needs of one relay."""
    return _checked(host, relay, None, _BEFORE_SET_UP)[0]


def _checked(
    host: Host, relay: Relay, desired: Desired | None, checks: _Checks
) -> tuple[list[Finding], Inspected | None]:
    subjects: list[Inspected] = []

    def inspect() -> Iterator[Finding]:
        subjects.append(inspected(host, relay, desired))
        yield from ()

    found = attempt(f"{relay.name}: relay", inspect)
    for subject in subjects:
        for name, check in checks:
            full_name = f"{relay.name}: {name}"
            found += attempt(full_name, partial(check, subject, full_name))
    return found, subjects[0] if subjects else None
