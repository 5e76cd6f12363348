"""The checks of a relay's exit policy: whether it is an exit, and enforces what its files say."""

from collections.abc import Iterator

from exitpolicy.doctor.finding import Finding, fail, failed, ok, warn
from exitpolicy.doctor.inspected import Inspected
from exitpolicy.operations.refusals import no_exit
from exitpolicy.policy.reconcile import Running


def is_exit(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether the relay is an exit by its own options."""
    configured = subject.view.configured
    if configured is None:
        return
    own = configured.own
    if own.exits and not own.bridge:
        yield ok(check, "ExitRelay 1" if own.exit_relay else "ExitRelay auto, with an exit policy")
    elif own.exit_relay is None and not own.bridge:
        why = "one reject line would turn this middle relay into an exit: nothing is blocked"
        yield failed(check, no_exit(subject.relay), why=why)
    else:
        yield warn(
            check,
            "BridgeRelay 1" if own.bridge else "ExitRelay 0",
            why="this relay makes no exit connections: blocks have no effect",
            fix="remove it from the config; or, to make it an exit:"
            f" {'remove BridgeRelay 1 from' if own.bridge else 'write ExitRelay 1 into'}"
            f" {subject.relay.torrc}",
        )


def enforced(subject: Inspected, check: str) -> Iterator[Finding]:
    """Compare the enforced policy with the files."""
    running, view = subject.view.running, subject.view
    if running is None:
        return
    if running.network_disabled:
        yield fail(
            check,
            "DisableNetwork is 1",
            why="Tor is not on the network, and the policy that it reports is stale",
            fix=f"remove DisableNetwork from {subject.relay.torrc}; systemctl reload"
            f" {subject.unit}",
        )
    elif view.in_sync:
        yield ok(check, "Tor enforces what its files say")
    elif running.enforced is None:
        why = "Tor makes its policy in the second after its start, and only with an ORPort"
        observed = f"Tor has no exit policy: {running.problem}"
        yield warn(check, observed, why=why, fix="exitpol status")
    elif view.drift and view.configured is not None:
        if view.foreign:
            why = f"a reload would also load other changes of its files: {'; '.join(view.foreign)}"
            fix = "undo them; or, if they are right, load them: exitpol apply --load-foreign"
        else:
            why = "Tor was not reloaded, or its options were changed at run time"
            fix = "exitpol apply"
        yield warn(check, "; ".join(view.drift), why=why, fix=fix)


def _running_exit(subject: Inspected) -> Running | None:
    """Return the running Tor if it makes exit connections."""
    running = subject.view.running
    return running if running is not None and running.options.exits else None


def private_addresses(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether the exit connects to private addresses."""
    running = _running_exit(subject)
    if running is None:
        return
    if running.options.reject_private:
        yield ok(check, "rejected (ExitPolicyRejectPrivate 1)")
        return
    yield warn(
        check,
        "ExitPolicyRejectPrivate is 0",
        why="every Tor user can connect to your own network through this exit",
        fix=f"write ExitPolicyRejectPrivate 1 into {subject.relay.torrc}; systemctl reload"
        f" {subject.unit}",
    )


def ipv6(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report IPv6 blocks on a relay that does not exit to IPv6."""
    running = _running_exit(subject)
    if running is None:
        return
    if running.options.ipv6_exit:
        yield ok(check, "the relay exits to IPv6 (IPv6Exit 1)")
    elif subject.blocks_ipv6:
        yield warn(
            check,
            "IPv6Exit is 0, and IPv6 destinations are blocked",
            why="the relay connects to no IPv6 address: these blocks are moot",
            fix="nothing, unless the relay is to exit to IPv6: IPv6Exit 1",
        )
    else:
        yield ok(check, "the relay does not exit to IPv6 (IPv6Exit 0)")
