#!/usr/bin/python
# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""Set up exitpol for the relays of a host, as `exitpol init` does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: init
short_description: Set up exitpol for the relays of a host
description:
  - Runs C(exitpol init). It makes the ledger, a torrc file with the blocks for each relay, and the
    config, includes that file in the torrc of each relay, and installs the timer that lifts blocks.
  - What is set up already is left as it is.
version_added: "0.1.0"
author:
  - the exitpol authors (@exitpol)
options:
  torrcs:
    description: Set up the relays of these torrcs only. If empty, all exits of the host.
    type: list
    elements: path
    default: []
  timer:
    description: Also install the systemd timer that lifts blocks.
    type: bool
    default: true
  restart:
    description:
      - Change a torrc although its Tor has to be restarted right after that.
      - A Tor with C(Sandbox 1) exits at the next reload after its torrc includes a new file. So
        restart the units in C(restart) at once. Without this option such a host is refused, and
        nothing is changed on it.
    type: bool
    default: false
  config:
    description: The config file of exitpol.
    type: path
    default: /etc/exitpol/config.yaml
  executable:
    description: The program. If left out, C(exitpol) is searched for in the folders of root.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return the changes without making them.
    support: full
  diff_mode:
    description: Returns the changes of files that exist.
    support: full
"""

EXAMPLES = r"""
- name: Set up all exits of the host
  exitpol.exitpol.init:

- name: Set up one relay without a timer
  exitpol.exitpol.init:
    torrcs:
      - /usr/local/etc/tor/torrc
    timer: false
"""

RETURN = r"""
created:
  description: The files that were created.
  returned: success
  type: list
  elements: str
  sample: ["/var/lib/exitpol/blocks.yaml", "/etc/tor/exitpol/default.conf"]
edited:
  description: The files that were changed.
  returned: success
  type: list
  elements: str
  sample: ["/etc/tor/torrc"]
units:
  description: The systemd units that were written, started or deleted.
  returned: success
  type: list
  elements: str
  sample: ["/etc/systemd/system/exitpol-expire.timer"]
restart:
  description: The systemd units of the Tors that have to be restarted now.
  returned: success
  type: list
  elements: str
  sample: ["tor@192.0.2.1_9001.service"]
remarks:
  description: What to know although nothing is wrong, such as what a configuration tool overwrites.
  returned: success
  type: list
  elements: str
problems:
  description: What is wrong with a relay. The host is set up all the same.
  returned: success
  type: list
  elements: str
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DONE, ATTENTION, REFUSED, TOR_REFUSES, UNREACHABLE = 0, 3, 4, 5, 6
"""Exit codes of exitpol (its reference, "Exit codes")."""

FOLDERS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "torrcs": {"type": "list", "elements": "path", "default": []},
            "timer": {"type": "bool", "default": True},
            "restart": {"type": "bool", "default": False},
            "config": {"type": "path", "default": "/etc/exitpol/config.yaml"},
            "executable": {"type": "path"},
        },
        supports_check_mode=True,
    )
    program = module.params["executable"] or module.get_bin_path("exitpol", opt_dirs=FOLDERS)
    if program is None:
        if module.check_mode:
            module.warn("exitpol is not installed yet: what init would change is not known")
            module.exit_json(changed=True, **_result({}))
        module.fail_json(msg="exitpol is not installed on this host")
    planned = _init(module, program, ["--dry-run"], ok={DONE})
    changes = [*planned["created"], *planned["edited"], *planned["units"]]
    diff = [{"prepared": each["diff"]} for each in planned["diffs"]]
    new = [*planned["created"], *planned["units"]]
    diff += [{"prepared": f"{path}: created or changed\n"} for path in new]
    if not changes:
        _finish(module, planned, diff)
    if planned["restart"] and not module.params["restart"]:
        # Without --yes, init is refused; it says why.
        module.fail_json(msg=next(iter(_result(planned)["remarks"])), rc=REFUSED)
    if module.check_mode:
        _finish(module, planned, diff)
    arguments = ["--yes"] if module.params["restart"] else []
    # Until its restart, a sandboxed Tor cannot be reloaded (5).
    ok = {DONE, ATTENTION, UNREACHABLE, *([TOR_REFUSES] if planned["restart"] else [])}
    done = _init(module, program, arguments, ok)
    done["units"] = planned["units"]
    _finish(module, done, diff)


def _init(
    module: AnsibleModule, program: str, arguments: list[str], ok: set[int]
) -> dict[str, Any]:
    """Run `exitpol init` and return its JSON; fail with what it says for another exit code."""
    command = [program, "--config", module.params["config"], "init", "--json", *arguments]
    command += ["--timer"] if module.params["timer"] else []
    for torrc in module.params["torrcs"]:
        command += ["--torrc", torrc]
    code, out, err = module.run_command(command)
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        answer = {}
    if code not in ok:
        error: dict[str, Any] = answer.get("error") or next(iter(answer.get("problems") or []), {})
        text = _text(error) if error else (err.strip() or out.strip())
        module.fail_json(msg=text or f"exitpol init ended with {code}", rc=code)
    if answer.get("schema") != 1 or "restart" not in answer:
        module.fail_json(
            msg=f"{program} is another version of exitpol than this collection; install that of"
            " the collection on this host",
            rc=code,
        )
    return answer


def _finish(module: AnsibleModule, answer: dict[str, Any], diff: list[dict[str, str]]) -> None:
    """End the module with what exitpol did, or would do."""
    result = _result(answer)
    for text in [*result["remarks"], *result["problems"]]:
        module.warn(text)
    # Of a former run that ended before its handler.
    restarts = module.params["restart"] and result["restart"]
    changed = bool(result["created"] or result["edited"] or result["units"] or restarts)
    module.exit_json(changed=changed, diff=diff, **result)


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    result = {key: answer.get(key, []) for key in ("created", "edited", "units", "restart")}
    result |= {key: [_text(e) for e in answer.get(key, [])] for key in ("remarks", "problems")}
    return result


def _text(error: dict[str, Any]) -> str:
    """Return an error of exitpol, and what to do about it."""
    hint = error.get("hint")
    return f"{error['message']}\n{hint}" if hint else error["message"]


if __name__ == "__main__":
    main()
