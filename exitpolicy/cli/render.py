"""Texts and JSON for what several commands show: blocks, shadows and changes of files."""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from exitpolicy.cli.output import hint, note, printable, say_text, warn
from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import remaining_text, utc_text

if TYPE_CHECKING:
    from exitpolicy.doctor.finding import Finding
    from exitpolicy.operations.apply import Applied
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.rejection_causes import Cause
    from exitpolicy.policy.rule import Rule


class Report(Enum):
    """Which faults an apply reports."""

    ALL = auto()
    """All of them, and what was done."""
    NEW = auto()
    """All of them; what was done only if something was."""
    KNOWN = auto()
    """None, because a former tick has reported them."""
    WELL_AGAIN = auto()
    """That there are none any more."""


MANY: Final = 25
"""How many destinations of one kind are named one by one."""


def until_words(until: datetime | None, now: datetime) -> str:
    """Return `until 2026-12-22T10:00:00Z (29d 23h left)`."""
    if until is None:
        return "never ends"
    left = remaining_text(until, now)
    return f"until {utc_text(until)} ({left if left == 'ended' else f'{left} left'})"


def block_json(block: Block) -> dict[str, Any]:
    """Return the keys of a block in JSON."""
    return {
        "destination": str(block.destination),
        "since": block.since,
        "until": block.until,
        "reason": block.reason,
        "reference": block.reference,
        "references": block.references,
        "relays": block.relays,
        "name": " ".join(block.names),
        "follow": block.follow,
    }


def why(block: Block) -> str:
    """Return the references and the reason of a block, for the end of a line."""
    return printable("  ".join(filter(None, (", ".join(block.all_references), block.reason))))


def report_findings(findings: Iterable["Finding"]) -> None:
    """Write the findings of health checks, each with its reason and how to fix it."""
    for finding in findings:
        warn("; ".join(filter(None, (f"{finding.check}: {finding.observed}", finding.why))))
        for line in finding.fix.splitlines():
            hint(line)


def findings_json(findings: Iterable["Finding"]) -> list[dict[str, Any]]:
    """Return findings as JSON."""
    from dataclasses import asdict

    return [asdict(finding) for finding in findings]


def note_moot(causes: Iterable["Cause"]) -> None:
    """Say why blocks have no effect; blocks of one relay with one reason share a line."""
    found: dict[tuple[str, str], list[str]] = {}
    for cause in causes:
        found.setdefault((cause.relay, cause.reason), []).append(str(cause.destination))
    for (relay, reason), moot in found.items():
        note(f"{listed(moot, f'moot on {relay}')}: {reason}")


def listed(destinations: Sequence[str], state: str) -> str:
    """Return `A, B and 7 more are STATE`."""
    more = f" and {len(destinations) - 4} more" if len(destinations) > 5 else ""
    named = ", ".join(destinations[:4] if more else destinations)
    return f"{named}{more} {'is' if len(destinations) == 1 else 'are'} {state}"


def note_of_other_hosts(
    host: "Host", blocks: Iterable[Block], states: Mapping[Destination, str]
) -> None:
    """Say which blocks are for relays of other hosts only, and how they get there."""
    found = [block for block in blocks if states.get(block.destination) == "elsewhere"]
    if not found:
        return
    named = ", ".join(str(block.destination) for block in found[:MANY])
    more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
    note(f"recorded in the ledger, and nothing of it is enforced on this host: {named}{more}")
    hosts = sorted(
        {
            member.host
            for block in found
            for member in host.config.fleet.members
            if member.host and host.config.fleet.is_for(block, member)
        }
    )
    more = f" and {len(hosts) - 4} more" if len(hosts) > 5 else ""
    shown = f" ({', '.join(hosts[:4] if more else hosts)}{more})" if hosts else ""
    if host.keeps_ledger_only:
        command = f"ansible-playbook exitpol.exitpol.apply -e exitpol_ledger={host.config.ledger}"
        hint(f"commit the ledger, and bring it to the hosts of the relays{shown}: {command}")
    else:
        # The ledger of a host is its own: the others take that of the fleet.
        hint(
            f"type the command on the hosts of the relays{shown}, or where the ledger of the fleet"
            " is"
        )


def note_unverified(applied: "Applied") -> None:
    """Say which relays do not say what they enforce, if any."""
    names = [v.name for v in applied.views if v.unobserved is not None and v.settled]
    if names:
        note(f"not verified: no control port shows what Tor ({', '.join(names)}) enforces")


def note_batch(due: datetime | None) -> None:
    """Say when the changes that are scheduled are made; nothing if none wait."""
    if due is not None:
        # The tick runs at the next full minute.
        at = f"{due + timedelta(seconds=59):%H:%M} UTC"
        note(f"scheduled changes wait for the next batch, at {at}; at once: exitpol apply --now")


def warn_of_shadows(shadowed_by: Mapping[Destination, "Rule"]) -> None:
    """Name the accept rules that win over blocks."""
    for destination, rule in shadowed_by.items():
        warn(f"{destination} is shadowed: {str(rule)!r} is above it in the policy")
    if shadowed_by:
        hint("which line of which file to move: exitpol doctor")


def causes_json(causes: "Sequence[Cause]") -> list[dict[str, str]]:
    """Return why relays reject destinations, for JSON."""
    return [
        {"destination": str(c.destination), "relay": c.relay, "reason": c.reason} for c in causes
    ]


def warn_of_causes(causes: "Sequence[Cause]") -> None:
    """Name what still rejects destinations after their blocks: a block, a line of the torrc."""
    for cause in causes[:MANY]:
        text = f"{cause.destination} is still rejected on {cause.relay}: {cause.reason}"
        (warn if cause.removable else note)(text)
    if len(causes) > MANY:
        note(f"and {len(causes) - MANY} more are still rejected")
    origins = {cause.origin for cause in causes}
    if "block" in origins:
        hint("to accept it, lift the other block as well: exitpol lift")
    if "line" in origins:
        hint(
            "to accept it, remove that line from the torrc, and reload Tor; to give it an end:"
            " exitpol adopt --until 30d"
        )


def diff_text(old: str, new: str, name: str) -> str:
    """Return the change of a file as a unified diff; empty if there is none."""
    import difflib

    before, after = list(io.StringIO(old)), list(io.StringIO(new))
    lines = difflib.unified_diff(before, after, name, f"{name} (new)", n=2)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def say_diff(old: str, new: str, name: str) -> None:
    """Write the change of a file as a unified diff."""
    text = diff_text(old, new, name)
    if text:
        say_text(text)
    else:
        note(f"{name} would not change")
