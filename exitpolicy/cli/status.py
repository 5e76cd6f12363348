"""Text and JSON of `exitpol status`."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from exitpolicy.cli import output, render
from exitpolicy.cli.output import say
from exitpolicy.cli.render import why
from exitpolicy.core.block import State
from exitpolicy.core.durations import remaining_text, utc_text
from exitpolicy.core.ports import interval_text
from exitpolicy.doctor.health import Health
from exitpolicy.operations.query import Status
from exitpolicy.operations.rejection_causes import Cause
from exitpolicy.policy.descriptor import DESCRIPTOR_LIMIT
from exitpolicy.policy.limits import Limits
from exitpolicy.policy.port_summary import REJECTED_LIMIT
from exitpolicy.policy.reconcile import View

SOON: Final = timedelta(days=3)
"""Blocks that end within this time are shown with their references."""

_FEW: Final = 5
_BAR: Final = 20
"""The characters of a bar."""
_WIDTH: Final = 44
"""The characters of a port summary that are shown; it may have 1,000."""


def as_json(status: Status, health: Health) -> dict[str, Any]:
    """Return the keys of `status --json`."""
    return {
        "relays": [_relay_json(status, view, health) for view in status.applied.views],
        "next_expiry": status.next_expiry,
        "next_batch": status.applied.next_batch,
        "blocks": len(status.applied.blocks),
        "shadowed": {str(d): str(rule) for d, rule in status.applied.shadowed_by.items()},
        "fragment_changed": status.fragment_changed,
        "problems": [output.error_json(problem) for problem in status.applied.problems],
        "health": render.findings_json(health.findings),
    }


def write(status: Status, health: Health, moot: Sequence[Cause]) -> None:
    """Write the status for people; `moot` is why blocks have no effect."""
    for view in status.applied.views:
        _write_relay(status, view, health.limits[view.name])
    blocks = status.applied.blocks
    # A removed block that Tor still enforces is not in force.
    in_force, removed = Counter[State](), Counter[State]()
    for destination, state in status.applied.states.items():
        (in_force if destination in blocks else removed)[state] += 1
    counts = ", ".join(f"{in_force[state]} {state}" for state in State if in_force[state])
    words = {State.LIFTING: "lifting", State.SCHEDULED: "to be lifted"}
    more = "".join(f"; {removed[state]} {word}" for state, word in words.items() if removed[state])
    say(f"blocks       {len(blocks)} in force{f': {counts}' if counts else ''}{more}")
    if status.next_expiry is not None:
        left = remaining_text(status.next_expiry, status.applied.time.now)
        say(f"next expiry  {utc_text(status.next_expiry)} (in {left})")
    if status.applied.next_batch is not None:
        left = remaining_text(status.applied.next_batch, status.applied.time.now)
        say(f"next batch   {utc_text(status.applied.next_batch)} (in {left})")
    _say_ending(status)
    for plan in status.applied.plans:
        if plan.is_behind:
            output.warn(
                f"{plan.path} differs from what the ledger says: Tor's next reload loads it"
            )
            output.hint("to write it anew and load it: exitpol apply")
    render.note_moot(moot)
    render.note_unverified(status.applied)
    render.warn_of_shadows(status.applied.shadowed_by)
    output.report_all(status.applied.problems)
    render.report_findings(health.findings)


def _say_ending(status: Status) -> None:
    """Write the blocks that end soon, with their references and reasons."""
    now = status.applied.time.now
    ending = sorted(
        (block.until, block.destination, why(block))
        for block in status.applied.blocks
        if block.until is not None and now < block.until <= now + SOON
    )
    for until, destination, reference in ending[:_FEW]:
        left = remaining_text(until, now)
        say(f"ending soon  {destination}  in {left}  {reference}".rstrip())
    if len(ending) > _FEW:
        say(f"ending soon  {len(ending) - _FEW} more: exitpol list --expiring {SOON.days}d")


def _relay_json(status: Status, view: View, health: Health) -> dict[str, Any]:
    running = view.running
    return {
        "name": view.name,
        "reachable": view.is_reachable,
        "observed": running is not None,
        "exit": None if running is None else running.options.exits,
        "in_sync": _in_sync(status, view),
        "tor_version": None if running is None else running.version,
        "pending": sum(1 for s in status.applied.states.values() if s is State.PENDING),
        "drift": view.drift,
        **limits_json(health.limits[view.name]),
    }


def _in_sync(status: Status, view: View) -> bool | None:
    """Tell whether a relay enforces what is desired; None where that cannot be observed."""
    if view.unobserved is not None and view.settled and not status.fragment_changed:
        return None
    return view.in_sync and not status.fragment_changed


def limits_json(limits: Limits | None) -> dict[str, Any]:
    """Return the keys `descriptor`, `rejected_addresses`, `port_summary` and `exit_flag`.

    `rejected_addresses` has one key for each interval of accepted ports.
    """
    if limits is None:
        return {
            "descriptor": None,
            "rejected_addresses": None,
            "port_summary": None,
            "exit_flag": None,
        }
    rejected = {
        interval_text(count.low, count.high): count.rejected
        for count in limits.ipv4.counts
        if count.accepted
    }
    size = limits.descriptor_bytes if limits.descriptor_known else None
    return {
        "descriptor": {"bytes": size, "limit": DESCRIPTOR_LIMIT},
        "rejected_addresses": {**rejected, "limit": REJECTED_LIMIT[4]},
        "port_summary": {"ipv4": limits.ipv4.text, "ipv6": limits.ipv6.text},
        "exit_flag": limits.exit_flag,
    }


def _write_relay(status: Status, view: View, known: Limits | None) -> None:
    running = view.running
    if view.unobserved is not None:
        read = "has read its files" if view.settled else "has NOT read its files"
        say(f"{view.name}  process {view.pid}, {read}, not verified: it has no control port")
        return
    if running is None:
        say(f"{view.name}  unreachable")
        return
    words = [
        f"Tor {running.version.split(' ')[0]}",
        "exit" if running.options.exits else "no exit",
        "in sync" if view.in_sync and not status.fragment_changed else "NOT in sync",
    ]
    say(f"{view.name}  {', '.join(words)}")
    for drift in view.drift:
        say(f"    {drift}")
    if known is None:
        if running.options.exits:
            say("    limits not known yet: Tor has no policy")
        return
    if known.descriptor_known:
        _say_bar("descriptor", known.descriptor_bytes, DESCRIPTOR_LIMIT, "bytes")
    else:
        say("    descriptor     not known yet")
    for summary, unit in (
        (known.ipv4, "addresses"),
        (known.ipv6, "/64s"),
    ):
        if summary.ports:
            limit = REJECTED_LIMIT[summary.family]
            _say_bar(f"rejected IPv{summary.family}", summary.most_rejected, limit, unit)
    for summary in (known.ipv4, known.ipv6) if running.options.ipv6_exit else (known.ipv4,):
        text = summary.text
        shown = text if len(text) <= _WIDTH else f"{text[:_WIDTH]}... (all: --json)"
        say(f"    {f'ports IPv{summary.family}':<13}  {shown}")
    free = min(known.free_networks)
    flag = "kept" if known.exit_flag else "NOT given"
    say(f"    Exit flag      {flag}: {free} /8s without any block on ports 80 and 443")


def _say_bar(what: str, used: int, limit: int, unit: str) -> None:
    """Write the use of a limit, as numbers and as a bar."""
    share = min(1.0, used / limit)
    filled = round(share * _BAR)
    bar = "#" * filled + "." * (_BAR - filled)
    say(f"    {what:<13}  [{bar}] {share:4.0%}  {used:,} of {limit:,} {unit}")
