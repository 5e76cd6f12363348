#!/usr/bin/python
# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""Gather what exitpol observes on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: info
short_description: Gather the blocks and the health of a Tor exit
description:
  - Gathers the blocks with their states by relay, and what C(exitpol status --check) finds.
  - A relay that is broken is no failure of the module. It is named in C(faults) and C(problems).
version_added: "0.1.0"
author:
  - the exitpol authors (@exitpol)
options:
  gather:
    description:
      - C(blocks) gathers the blocks with the states of the last observation. C(health) asks each
        Tor.
    type: list
    elements: str
    choices: [blocks, health]
    default: [blocks, health]
extends_documentation_fragment:
  - exitpol.exitpol.host
attributes:
  check_mode:
    description: Can run in check mode and return the changes without making them.
    support: full
    details: It changes nothing.
  diff_mode:
    description: Returns what changes.
    support: N/A
    details: It changes nothing.
"""

EXAMPLES = r"""
- name: Ask each Tor of the host
  exitpol.exitpol.info:
  register: exits

- name: Stop if a relay needs attention
  ansible.builtin.assert:
    that: exits.healthy
    fail_msg: "{{ exits.problems | join('; ') }}"
"""

RETURN = r"""
blocks:
  description: The blocks in force, without their reasons.
  returned: if O(gather) has C(blocks)
  type: list
  elements: dict
  contains:
    destination:
      description: The destination.
      type: str
    until:
      description: The end; null for never.
      type: str
    state:
      description: The gravest of the states.
      type: str
    states:
      description: The state on each relay.
      type: dict
    causes:
      description: Why a relay does not enforce it, by relay.
      type: dict
not_live:
  description: Each block that a relay does not enforce, with the reason.
  returned: if O(gather) has C(blocks)
  type: list
  elements: dict
healthy:
  description: Whether nothing needs attention.
  returned: if O(gather) has C(health)
  type: bool
faults:
  description: The names of what is wrong, as the metrics have them.
  returned: if O(gather) has C(health)
  type: list
  elements: str
  sample: ["tor_unreachable"]
relays:
  description: What C(exitpol status) shows of each relay.
  returned: if O(gather) has C(health)
  type: list
  elements: dict
next_expiry:
  description: When the next block ends; null if none does.
  returned: if O(gather) has C(health)
  type: str
problems:
  description: What is wrong, and what to do about it.
  returned: if O(gather) has C(health)
  type: list
  elements: str
rc:
  description: The exit code of C(exitpol status --check).
  returned: if O(gather) has C(health)
  type: int
"""

from typing import Any

from ansible_collections.exitpol.exitpol.plugins.module_utils.program import (
    DONE,
    HOST_OPTIONS,
    ExitpolModule,
    Program,
    not_live,
    said,
    shown,
)


def main() -> None:
    """Run the module."""
    module = ExitpolModule(
        argument_spec={
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": ["blocks", "health"],
                "default": ["blocks", "health"],
            },
            **HOST_OPTIONS,
        },
        supports_check_mode=True,
    )
    program = Program(module)
    result: dict[str, Any] = {"changed": False}
    if "health" in module.params["gather"]:
        result |= _health(program)
    if "blocks" in module.params["gather"]:
        answer = program.ask("list")
        if answer.error is not None:
            module.fail_json(msg=answer.text, rc=answer.code, **result)
        blocks = answer.keys["blocks"]
        result |= {"blocks": [shown(block) for block in blocks], "not_live": not_live(blocks)}
    module.exit_json(**result)


def _health(program: Program) -> dict[str, Any]:
    """Return what the Tors of the host say. A host on which exitpol cannot work has no relays."""
    answer = program.ask("status", "--check")
    keys = answer.keys
    found = [f"{each['check']}: {each['observed']}" for each in keys.get("health") or []]
    problems = [answer.text] if answer.error is not None else []
    problems += [said(each) for each in keys.get("problems") or []]
    return {
        "healthy": answer.code == DONE,
        "faults": keys.get("faults", ["attention"] if answer.code != DONE else []),
        "relays": keys.get("relays") or [],
        "next_expiry": keys.get("next_expiry"),
        "problems": [*problems, *found],
        "rc": answer.code,
    }


if __name__ == "__main__":
    main()
