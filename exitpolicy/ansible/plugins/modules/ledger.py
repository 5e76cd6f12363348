#!/usr/bin/python
# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""Bring the ledger of a fleet to a host, as `exitpol apply --from` does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ledger
short_description: Bring the blocks of a fleet to a Tor exit
description:
  - Takes what has changed in the ledger of a fleet since the last time into the ledger of the host,
    and lets its Tors enforce it.
  - A block that the fleet has ended, or no longer has, is lifted on the host. Blocks that only the
    host has stay, such as those of its guard. A block that was lifted on the host stays lifted, and
    is named in C(differences).
  - What the host's limits do not allow is recorded, stays pending and is named in C(not_live). It
    stops nothing else.
version_added: "0.1.0"
author:
  - the exitpol authors (@exitpol)
options:
  content:
    description: The text of the ledger, as C(exitpol) and git have it.
    type: str
  blocks:
    description:
      - The blocks, as a list instead of a ledger. A block that was in the list the last time, and
        no longer is, is lifted. An empty list lifts all of them.
    type: list
    elements: dict
    suboptions:
      destination:
        description: >-
          An address, a network or a range, with or without ports, in the form in which C(exitpol
          list) shows it.
        type: str
        required: true
      until:
        description: >-
          The end: a date such as C(2027-01-31), a time with its zone, or C(never). A duration would
          move with each run, and is refused.
        type: str
        required: true
      since:
        description: The beginning. If left out, that of the block on the host, or now.
        type: str
      reason:
        description: The reason, for your own records.
        type: str
      reference:
        description: The ticket of the complaint.
        type: str
      references:
        description: Further tickets.
        type: list
        elements: str
      relays:
        description: >-
          The relays that enforce it, by name, C(HOST/NAME), pattern or group. If left out, all.
        type: list
        elements: str
  only:
    description:
      - Take only these destinations, and leave other changes for the next time.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - exitpol.exitpol.host
  - exitpol.exitpol.host.pending
  - exitpol.exitpol.host.checks
seealso:
  - module: exitpol.exitpol.block
"""

EXAMPLES = r"""
- name: Bring the ledger in git to the host
  exitpol.exitpol.ledger:
    content: "{{ lookup('ansible.builtin.file', 'blocks.yaml') }}"

- name: Block exactly these destinations, besides what the host itself blocks
  exitpol.exitpol.ledger:
    blocks:
      - destination: 203.0.113.7:22
        until: "2027-01-31"
        reference: "KZ-CERT#4711"
      - destination: 198.51.100.0/24
        until: never
        relays: ["berlin*"]
"""

RETURN = r"""
added:
  description: The destinations of blocks that began on this host.
  returned: success
  type: list
  elements: str
  sample: ["203.0.113.7:22"]
renewed:
  description: The destinations of blocks that changed in another way, such as their end.
  returned: success
  type: list
  elements: str
lifted:
  description: The destinations of blocks that the ledger of the host now says have ended.
  returned: success
  type: list
  elements: str
states:
  description: The gravest state of each block in force, by destination.
  returned: success
  type: dict
  sample: {"203.0.113.7:22": "live"}
not_live:
  description: Each block that a relay does not enforce, with the reason.
  returned: success
  type: list
  elements: dict
  contains:
    relay:
      description: The relay.
      type: str
    destination:
      description: The destination of the block.
      type: str
    state:
      description: The state, as C(exitpol list) shows it.
      type: str
    cause:
      description: Why.
      type: str
differences:
  description: What is not the same on this host as in the fleet, and stays so.
  returned: success
  type: list
  elements: dict
  contains:
    destination:
      description: The destination of the block.
      type: str
    text:
      description: What differs.
      type: str
problems:
  description: What is wrong, and what to do about it.
  returned: success
  type: list
  elements: str
rc:
  description: The exit code of exitpol.
  returned: always
  type: int
"""

import ipaddress
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.exitpol.exitpol.plugins.module_utils.program import (
    HOST_OPTIONS,
    PENDING_OPTION,
    WELL,
    Block,
    ExitpolModule,
    Program,
    diff,
    finish,
    not_live,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run the module."""
    module = ExitpolModule(
        argument_spec={
            "content": {"type": "str"},
            "blocks": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "destination": {"type": "str", "required": True},
                    "until": {"type": "str", "required": True},
                    "since": {"type": "str"},
                    "reason": {"type": "str"},
                    "reference": {"type": "str"},
                    "references": {"type": "list", "elements": "str"},
                    "relays": {"type": "list", "elements": "str"},
                },
            },
            "only": {"type": "list", "elements": "str", "default": []},
            **HOST_OPTIONS,
            **PENDING_OPTION,
        },
        mutually_exclusive=[("content", "blocks")],
        required_one_of=[("content", "blocks")],
        supports_check_mode=True,
    )
    program = Program(module)
    content = module.params["content"]
    if content is None:
        content = _ledger(program, module.params["blocks"])
    # A file, because a program that ends before it reads stdin breaks the pipe.
    file = Path(module.tmpdir, "ledger.yaml")
    file.touch(0o600)
    file.write_text(content, encoding="utf-8")
    arguments = ["apply", "--from", str(file), *(["--dry-run"] if module.check_mode else [])]
    for destination in module.params["only"]:
        arguments += ["--only", destination]
    answer = program.ask(*arguments)
    keys = answer.keys
    taken = keys.get("taken")
    changes: list[dict[str, Any]] = taken or []
    for difference in keys.get("differences") or []:
        module.warn(f"{difference['destination']}: {difference['text']}")
    for remark in keys.get("remarks") or []:
        module.warn(remark["message"])
    blocks: list[Block] = []
    states = keys.get("blocks") or {}
    is_well = all(state in WELL for state in states.values())
    if taken is not None and not module.check_mode and not is_well:
        # Which relay does not enforce it, and why.
        blocks = program.ask("list").keys.get("blocks") or []
    acted = not keys.get("idle", True) if module.check_mode else _acted(keys)
    result = {
        "changed": bool(changes) or acted,
        "diff": diff(changes, "ledger of the host"),
        "added": _named(changes, lambda before, after: not after["ended"] and _is_over(before)),
        "renewed": _named(
            changes, lambda before, after: not after["ended"] and not _is_over(before)
        ),
        "lifted": _named(changes, lambda _, after: bool(after["ended"])),
        "differences": keys.get("differences") or [],
        "states": states,
        "not_live": not_live(blocks),
    }
    finish(module, answer, recorded=taken is not None, result=program.quiet(result))


def _acted(keys: dict[str, Any]) -> bool:
    return bool(keys.get("installed") or keys.get("reloaded"))


def _is_over(block: dict[str, Any] | None) -> bool:
    return block is None or bool(block["ended"])


def _named(
    changes: list[dict[str, Any]], condition: Callable[[Block | None, Block], bool]
) -> list[str]:
    chosen = (each for each in changes if condition(each["before"], each["after"]))
    return [each["after"]["destination"] for each in chosen]


def _ledger(program: Program, blocks: list[dict[str, Any]]) -> str:
    """Return blocks as the text of a ledger, each on one line."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known: dict[str, str] = {}
    if not all(block["since"] for block in blocks):
        # Otherwise each run would begin the blocks anew.
        answer = program.ask("list", "--all")
        present = answer.keys.get("blocks") or []
        known = {each["destination"]: each["since"] for each in present if not _has_ended(each)}
    lines = []
    for block in blocks:
        destination = _usual(block["destination"])
        found = {key: value for key, value in block.items() if value}
        found["destination"] = destination
        found["since"] = block["since"] or known.get(destination, now)
        lines.append(f"- {json.dumps(found)}\n")
    return f"version: 2\nblocks:{'' if lines else ' []'}\n" + "".join(lines)


def _has_ended(block: dict[str, Any]) -> bool:
    return str(block["state"]) == "ended"


def _usual(destination: str) -> str:
    """Return an address or a network as exitpol writes it; other forms unchanged."""
    try:
        network = ipaddress.ip_network(destination.strip())
    except ValueError:
        return destination
    alone = network.num_addresses == 1
    return str(network.network_address) if alone else str(network)


if __name__ == "__main__":
    main()
