#!/usr/bin/python
# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""End blocks on a host, as `exitpol lift` does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lift
short_description: End blocks on a Tor exit
description:
  - Ends blocks on the relays of the host, or records their end in the ledger of a fleet.
  - A destination that no block is for is no error.
version_added: "0.1.0"
author:
  - the exitpol authors (@exitpol)
options:
  destination:
    description:
      - The destination of a block, as C(exitpol list) shows it, or a list of them. A text is not
        divided at commas, which stand between ports.
    type: raw
    aliases: [destinations]
  reference:
    description: Lift all blocks with this ticket.
    type: str
  relays:
    description: Only on these relays, by name, C(HOST/NAME), pattern or group.
    type: list
    elements: str
    default: []
  ledger:
    description:
      - Only record the end in this ledger, that of a fleet in git. No Tor is asked. The host is
        usually C(localhost), with C(delegate_to).
    type: path
extends_documentation_fragment:
  - exitpol.exitpol.host
  - exitpol.exitpol.host.pending
  - exitpol.exitpol.host.checks
seealso:
  - module: exitpol.exitpol.block
"""

EXAMPLES = r"""
- name: End a block
  exitpol.exitpol.lift:
    destination: 203.0.113.7:22

- name: End all blocks of a ticket
  exitpol.exitpol.lift:
    reference: "KZ-CERT#4711"
"""

RETURN = r"""
blocks:
  description: The blocks that were lifted, without their reasons.
  returned: success
  type: list
  elements: dict
  contains:
    destination:
      description: The destination.
      type: str
    state:
      description: C(lifted) if every Tor was observed to accept the destination again as far as the
        block goes; C(lifting) or C(removed) otherwise. Not with O(ledger).
      type: str
still_rejected:
  description: What else rejects the destinations, by relay.
  returned: success
  type: list
  elements: dict
not_live:
  description: Each lifted block that a Tor still enforces.
  returned: success
  type: list
  elements: dict
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

from typing import Any

from ansible_collections.exitpol.exitpol.plugins.module_utils.program import (
    HOST_OPTIONS,
    NO_SUCH_BLOCK,
    PENDING_OPTION,
    Answer,
    ExitpolModule,
    Program,
    change,
    diff,
    finish,
    shown,
)


def main() -> None:
    """Run the module."""
    module = ExitpolModule(
        argument_spec={
            "destination": {"type": "raw", "aliases": ["destinations"]},
            "reference": {"type": "str"},
            "relays": {"type": "list", "elements": "str", "default": []},
            "ledger": {"type": "path"},
            **HOST_OPTIONS,
            **PENDING_OPTION,
        },
        mutually_exclusive=[("destination", "reference"), ("relays", "ledger")],
        required_one_of=[("destination", "reference")],
        supports_check_mode=True,
    )
    program = Program(module)
    chosen = _chosen(module, program)
    if not chosen:
        # Nothing to lift: what is desired is so already.
        result = _result(module, [], [])
        finish(module, Answer(0, {}, ""), recorded=False, result=program.quiet(result))
    present = {} if module.params["ledger"] else program.blocks_in_force()
    options = ["--dry-run"] if module.check_mode else []
    answer = program.ask("lift", *chosen, *_where(module), *options)
    if module.params["ledger"]:
        changes = answer.keys.get("taken") or []
        result = _result(module, changes, [shown(each["after"]) for each in changes])
    else:
        blocks = answer.keys.get("blocks") or []
        changes = [
            change(present.get(each["destination"]), {**each, "ended": "now"}) for each in blocks
        ]
        result = _result(module, changes, [shown(each) for each in blocks])
        result["still_rejected"] = answer.keys.get("still_rejected") or []
        result["not_live"] = [
            {"relay": "", "destination": each["destination"], "state": each["state"], "cause": ""}
            for each in blocks
            if each["state"] == "lifting" and not module.check_mode
        ]
    recorded = "blocks" in answer.keys
    finish(module, answer, recorded=recorded, result=program.quiet(result))


def _result(
    module: ExitpolModule, changes: list[dict[str, Any]], blocks: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "changed": bool(changes),
        "diff": diff(changes, module.params["ledger"] or "ledger of the host"),
        "blocks": blocks,
        "still_rejected": [],
        "not_live": [],
    }


def _chosen(module: ExitpolModule, program: Program) -> list[str]:
    """Return the arguments that choose the blocks that are there; none if there is none."""
    if module.params["reference"] is not None:
        asked = [[f"--reference={module.params['reference']}"]]
    else:
        asked = [[each] for each in program.read_destinations()]
    found = []
    for arguments in asked:
        answer = program.ask("lift", *arguments, *_where(module), "--dry-run")
        if answer.error is None:
            found += arguments
        elif answer.code != NO_SUCH_BLOCK:
            module.fail_json(msg=answer.text, rc=answer.code)
    return found


def _where(module: ExitpolModule) -> list[str]:
    if module.params["ledger"]:
        return [f"--ledger={module.params['ledger']}"]
    return [f"--relay={each}" for each in module.params["relays"]]


if __name__ == "__main__":
    main()
