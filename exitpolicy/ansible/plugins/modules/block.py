#!/usr/bin/python
# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""Block destinations on a host, as `exitpol block` does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: block
short_description: Block destinations on a Tor exit until a time
description:
  - Blocks destinations on the relays of the host, or records the blocks in the ledger of a fleet.
  - What would harm a relay is refused, and then nothing is changed on the host.
version_added: "0.1.0"
author:
  - the exitpol authors (@exitpol)
options:
  destination:
    description:
      - Addresses, networks and ranges, each with or without ports, such as C(203.0.113.7:22). Host
        names are resolved on the host by each run; their blocks do not follow them.
      - One destination, or a list of them. A text is not divided at commas, which stand between
        ports.
    type: raw
    required: true
    aliases: [destinations]
  until:
    description:
      - The end. With a duration, such as C(30d), a destination that is blocked already keeps its
        end, so that a play can run again. Any other end, such as C(2027-01-31) or C(never), becomes
        that of the block, sooner or later.
    type: str
    required: true
  reason:
    description: The reason, for your own records. It stays out of the journal of the host.
    type: str
    default: ""
  references:
    description: The tickets of the complaint, the most important first.
    type: list
    elements: str
    default: []
    aliases: [reference]
  relays:
    description: Only on these relays, by name, C(HOST/NAME), pattern or group.
    type: list
    elements: str
    default: []
  force:
    description:
      - Close a port, exceed C(max_prefix) or the limits of the Exit flag, and block shared
        addresses.
    type: bool
    default: false
  ledger:
    description:
      - Only write the blocks into this ledger, that of a fleet in git. No Tor is asked. The host is
        usually C(localhost), with C(delegate_to).
    type: path
extends_documentation_fragment:
  - exitpol.exitpol.host
  - exitpol.exitpol.host.pending
  - exitpol.exitpol.host.checks
seealso:
  - module: exitpol.exitpol.lift
  - module: exitpol.exitpol.ledger
"""

EXAMPLES = r"""
- name: Block what a complaint names
  exitpol.exitpol.block:
    destination: 203.0.113.7:22
    until: 30d
    references: ["KZ-CERT#4711"]

- name: Record a block for the exits in Berlin
  exitpol.exitpol.block:
    destination: 203.0.113.7
    until: "2027-01-31"
    relays: ["berlin*"]
    ledger: "{{ playbook_dir }}/blocks.yaml"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
blocks:
  description: The blocks of the destinations, without their reasons.
  returned: success
  type: list
  elements: dict
  contains:
    destination:
      description: The destination, as the ledger has it.
      type: str
    until:
      description: The end; null for never.
      type: str
    state:
      description: The gravest of the states on the relays. Not with O(ledger).
      type: str
not_live:
  description: Each block that a relay does not enforce, with the reason.
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

import re

from ansible_collections.exitpol.exitpol.plugins.module_utils.program import (
    HOST_OPTIONS,
    NOT_ENFORCED,
    PENDING_OPTION,
    WELL,
    Answer,
    Block,
    ExitpolModule,
    Program,
    change,
    diff,
    finish,
    not_live,
    shown,
)

ABSOLUTE = r"never|\d{4}-\d{2}-\d{2}.*"
"""An end that does not move."""

PLAIN = r"\d+\.\d+\.\d+\.\d+(:\d+)?"
"""A destination that the ledger has in the same form."""

COMPARED = ("until", "reason", "reference", "references", "relays", "name")
"""The fields of a block that the options set."""


def main() -> None:
    """Run the module."""
    module = ExitpolModule(
        argument_spec={
            "destination": {"type": "raw", "required": True, "aliases": ["destinations"]},
            "until": {"type": "str", "required": True},
            "reason": {"type": "str", "default": ""},
            "references": {
                "type": "list",
                "elements": "str",
                "default": [],
                "aliases": ["reference"],
            },
            "relays": {"type": "list", "elements": "str", "default": []},
            "force": {"type": "bool", "default": False},
            "ledger": {"type": "path"},
            **HOST_OPTIONS,
            **PENDING_OPTION,
        },
        supports_check_mode=True,
    )
    program = Program(module)
    program.read_destinations()
    if module.params["ledger"]:
        _record(module, program)
    else:
        _block(module, program)


def _block(module: ExitpolModule, program: Program) -> None:
    """Block the destinations on the relays of the host."""
    until = module.params["until"].strip()
    destinations = module.params["destination"]
    present = program.blocks_in_force()
    is_new = all(re.fullmatch(PLAIN, d) and d not in present for d in destinations)
    if is_new and not module.check_mode:
        desired: list[Block] = []
        answers = [program.ask(*_command(module, "block", destinations, until))]
    else:
        preview = program.ask(*_command(module, "block", destinations, until), "--dry-run")
        desired = _blocks_of(module, preview)
        steps = _steps(module, program, present, desired, until)
        options = ["--dry-run"] if module.check_mode else []
        answers = [program.ask(*step, *options) for step in steps]
    after = {each["destination"]: present.get(each["destination"], each) for each in desired}
    made = (block for each in answers for block in each.keys.get("blocks") or [])
    after |= {each["destination"]: each for each in made}
    if not module.check_mode and not all(b["state"] in WELL for b in after.values()):
        # Which relay does not enforce it, and why.
        now = program.blocks_in_force()
        after = {destination: now.get(destination, block) for destination, block in after.items()}
    changes = [
        change(present.get(destination), block)
        for destination, block in after.items()
        if _differs(present.get(destination), block)
    ]
    done = Answer(0, {"blocks": []}, "")
    worst = max([*answers, done], key=lambda each: (each.error is not None, each.code))
    recorded = "blocks" in worst.keys
    if worst.error is not None and not recorded:
        # Refused as a whole. Another command before it may have changed something.
        changes = changes if len(answers) > 1 else []
    result = {
        "changed": bool(changes),
        "diff": diff(changes, "ledger of the host"),
        "blocks": [shown(each) for each in after.values()],
        "not_live": [] if module.check_mode else not_live(list(after.values())),
    }
    finish(module, worst, recorded=recorded, result=program.quiet(result))


def _command(module: ExitpolModule, command: str, destinations: list[str], until: str) -> list[str]:
    """Return the arguments of exitpol for some destinations."""
    arguments = [command, *destinations, f"--until={until}"]
    if command == "block":
        arguments += [f"--reference={each}" for each in module.params["references"]]
        arguments += [f"--relay={each}" for each in module.params["relays"]]
        arguments += [f"--reason={module.params['reason']}"] if module.params["reason"] else []
        arguments += ["--force"] if module.params["force"] else []
        arguments += ["--yes"] if not module.params["ledger"] else []
    return arguments


def _steps(
    module: ExitpolModule,
    program: Program,
    present: dict[str, Block],
    desired: list[Block],
    until: str,
) -> list[list[str]]:
    """Return the commands that make the blocks what the options say.

    `desired` are the blocks as one `exitpol block` would make them: with the later of two ends.
    """
    is_absolute = re.fullmatch(ABSOLUTE, until) is not None
    by_end: dict[str, list[str]] = {}
    same = []
    for block in desired:
        destination = block["destination"]
        old = present.get(destination)
        if old is not None and not is_absolute:
            block = {**block, "until": old["until"]}  # noqa: PLW2901 - the same block from here on
        if _differs(old, block):
            end = until if old is None or is_absolute else old["until"] or "never"
            by_end.setdefault(end, []).append(destination)
        elif is_absolute:
            same.append(destination)
    steps = [_command(module, "block", named, end) for end, named in by_end.items()]
    if same:
        renewed = program.ask(*_command(module, "renew", same, until), "--dry-run")
        sooner = [
            each["destination"]
            for each in _blocks_of(module, renewed)
            if each["until"] != present[each["destination"]]["until"]
        ]
        steps += [_command(module, "renew", sooner, until)] if sooner else []
    return steps


def _differs(old: Block | None, new: Block) -> bool:
    return old is None or any(old.get(key) != new.get(key) for key in COMPARED)


def _blocks_of(module: ExitpolModule, answer: Answer) -> list[Block]:
    """Return the blocks that a dry run shows. Fails with what exitpol says if it shows none."""
    if answer.error is not None and answer.code not in NOT_ENFORCED:
        module.fail_json(msg=answer.text, rc=answer.code)
    found: list[Block] | None = answer.keys.get("blocks")
    if found is None:
        module.fail_json(msg=answer.text or "exitpol shows no blocks", rc=answer.code)
        raise AssertionError("fail_json ends the module")
    return found


def _record(module: ExitpolModule, program: Program) -> None:
    """Write the blocks into the ledger of a fleet."""
    until = module.params["until"].strip()
    ledger = f"--ledger={module.params['ledger']}"
    options = ["--dry-run"] if module.check_mode else []
    destinations = module.params["destination"]
    preview = program.ask(*_command(module, "block", destinations, until), ledger, "--dry-run")
    if preview.error is not None:
        module.fail_json(msg=preview.text, rc=preview.code)
    by_end: dict[str, list[str]] = {}
    for each in preview.keys["taken"]:
        before = each["before"]
        is_absolute = re.fullmatch(ABSOLUTE, until) is not None
        if before is None or before["ended"] or is_absolute:
            end = until
        else:
            end = before["until"] or "never"
        by_end.setdefault(end, []).append(each["after"]["destination"])
    changes: list[dict[str, Block]] = []
    for end, named in by_end.items():
        answer = program.ask(*_command(module, "block", named, end), ledger, *options)
        if answer.error is not None:
            module.fail_json(msg=answer.text, rc=answer.code, changed=bool(changes))
        changes += answer.keys["taken"]
    result = {
        "changed": bool(changes),
        "diff": diff(changes, module.params["ledger"]),
        "blocks": [shown(each) for each in preview.keys["blocks"]],
        "not_live": [],
    }
    finish(module, preview, recorded=True, result=program.quiet(result))


if __name__ == "__main__":
    main()
