# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""What became of a host in a play that changes blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: outcome
short_description: Tell what became of a host in a play that changes blocks
version_added: "0.1.0"
author: the exitpol authors (@exitpol)
description:
  - Compares what M(exitpol.exitpol.info) says of a host before and after a change, and what the
    change said.
  - A relay is hurt if it is worse than before in a way that its users notice. A block that a relay
    does not enforce yet, or refuses by its limits, hurts nothing.
positional: _input
options:
  _input:
    description:
      - The variables of a host. C(exitpol_before) and C(exitpol_after) are results of
        M(exitpol.exitpol.info), C(exitpol_applied) is that of the change. Each may be missing.
    type: dict
    required: true
"""

EXAMPLES = r"""
outcome: "{{ hostvars[inventory_hostname] | exitpol.exitpol.outcome }}"
"""

RETURN = r"""
_value:
  description: What became of the host.
  type: dict
  contains:
    done:
      description: Whether the host took the change.
      type: bool
    hurt:
      description: Why later hosts are not to be changed; empty if nothing speaks against it.
      type: str
    failed:
      description: Why the host did not take the change; empty if it did.
      type: str
    lines:
      description: What to tell people, a line for each relay and reason.
      type: list
      elements: str
"""

HURT = {
    "tor_unreachable": "a Tor cannot be reached any more",
    "tor_refuses": "a Tor refuses its files",
    "include_lost": "a torrc does not include its fragment any more",
    "descriptor_too_long": "the directory authorities refuse the descriptor",
    "accepts_nothing": "the exit policy rejects everything",
    "ports_closed": "the consensus says that open ports are closed",
    "exit_flag_lost": "the exit policy costs the Exit flag",
}
"""Faults that users of a relay notice."""

TOR_REFUSES = 5
"""An exit code of exitpol."""


def outcome(host: Mapping[str, Any]) -> dict[str, Any]:
    """Return what became of a host, given its variables."""
    before, applied, after = (
        dict(host.get(f"exitpol_{name}") or {}) for name in ("before", "applied", "after")
    )
    failed = _failed(before, applied)
    hurt = _hurt(before, applied, after)
    seen = next((each for each in (after, applied, before) if "not_live" in each), {})
    lines = [f"failed: {failed}"] if failed else []
    lines += [f"hurt: {hurt}"] if hurt and hurt != failed else []
    counts = {key: len(applied.get(key) or []) for key in ("added", "renewed", "lifted")}
    if any(counts.values()):
        said = ", ".join(f"{count} {key}" for key, count in counts.items() if count)
        lines.append(f"in the ledger of the host: {said}")
    causes: dict[tuple[str, str, str], list[str]] = {}
    for one in seen.get("not_live") or []:
        key = (one["relay"], one["state"], one["cause"])
        causes.setdefault(key, []).append(one["destination"])
    lines += [_line(*key, named) for key, named in causes.items()]
    lines += [f"{one['destination']}: {one['text']}" for one in applied.get("differences") or []]
    if not causes:
        lines += [f"attention: {_one_line(each)}" for each in (after or before).get("problems", [])]
    return {
        "done": "changed" in applied and not failed and not applied.get("skipped"),
        "hurt": hurt,
        "failed": failed,
        "lines": lines,
    }


def _failed(before: Mapping[str, Any], applied: Mapping[str, Any]) -> str:
    """Return why a host did not take the change; empty if it did, or was not asked to."""
    for result in (before, applied):
        if result.get("unreachable"):
            return f"cannot be reached: {_one_line(result.get('msg', ''))}"
    if "faults" not in before and before.get("msg"):
        return _one_line(before["msg"])
    # The modules say something of their own only where they fail.
    return _one_line(applied.get("msg", ""))


def _hurt(before: Mapping[str, Any], applied: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what a host has suffered in the change; empty if nothing."""
    if applied.get("unreachable") or after.get("unreachable"):
        return "the connection broke while its relays changed: see its state first"
    if applied.get("rc") == TOR_REFUSES and "tor_refuses" not in before.get("faults", []):
        return _one_line(applied.get("msg", "")) or HURT["tor_refuses"]
    new = [each for each in after.get("faults", []) if each not in before.get("faults", [])]
    return "; ".join(HURT[each] for each in new if each in HURT)


def _line(relay: str, state: str, cause: str, destinations: list[str]) -> str:
    named = ", ".join(destinations[:5])
    more = f" and {len(destinations) - 5} more" if len(destinations) > 5 else ""
    why = f": {_one_line(cause)}" if cause else ""
    return f"{relay or 'a relay'}: {named}{more} {state}{why}"


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


class FilterModule:
    """The filter, in the form that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by its name."""
        return {"outcome": outcome}
