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
  settings:
    description:
      - The keys that the config has to have, besides those that C(exitpol init) writes.
      - If it has others, or if it cannot be told, nothing is done and C(stale) is true. Then write
        the config, and run the module again without this option.
    type: dict
    default: {}
extends_documentation_fragment:
  - exitpol.exitpol.host
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
stale:
  description: Whether the config has other keys than O(settings), so that nothing was done.
  returned: success
  type: bool
problems:
  description: What is wrong with a relay. The host is set up all the same.
  returned: success
  type: list
  elements: str
"""

import os
from typing import Any

from ansible_collections.exitpol.exitpol.plugins.module_utils.program import (
    ATTENTION,
    DONE,
    FOLDERS,
    HOST_OPTIONS,
    UNREACHABLE,
    ExitpolModule,
    Program,
    said,
)

# Exit codes of exitpol (its reference, "Exit codes").
REFUSED = 4
TOR_REFUSES = 5


INIT_KEYS = ("ledger", "relays", "fragments", "fragment", "unmanaged")
"""The keys of the config that `exitpol init` writes."""


def main() -> None:
    """Run the module."""
    module = ExitpolModule(
        argument_spec={
            **HOST_OPTIONS,
            "torrcs": {"type": "list", "elements": "path", "default": []},
            "timer": {"type": "bool", "default": True},
            "restart": {"type": "bool", "default": False},
            "settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if module.check_mode and not is_installed(module.params["executable"]):
        module.warn("exitpol is not installed yet: what init would change is not known")
        unknown = {**result_of({}), "stale": bool(module.params["settings"])}
        module.exit_json(changed=True, **unknown)
    settings = module.params["settings"]
    if settings:
        answer = Program(module).ask(*words(module, "--dry-run"))
        if answer.code != DONE or not has_settings(answer.keys.get("config", {}), settings):
            module.exit_json(changed=False, **{**result_of({}), "stale": True})
        planned = answer.keys
    else:
        planned = ask(module, "--dry-run", codes={DONE})
    paths = [*planned["created"], *planned["units"]]
    diff = [{"prepared": each["diff"]} for each in planned["diffs"]]
    diff += [{"prepared": f"{path}: created or changed\n"} for path in paths]
    if not (paths or planned["edited"]):
        finish(module, planned, diff)
    if planned["restart"] and not module.params["restart"]:
        # Without --yes, init is refused; the first remark says why.
        module.fail_json(msg=result_of(planned)["remarks"][0], rc=REFUSED)
    if module.check_mode:
        finish(module, planned, diff)
    # Until its restart, a sandboxed Tor cannot be reloaded (5).
    codes = {DONE, ATTENTION, UNREACHABLE, *([TOR_REFUSES] if planned["restart"] else [])}
    done = ask(module, *(["--yes"] if module.params["restart"] else []), codes=codes)
    finish(module, {**done, "units": planned["units"]}, diff)


def is_installed(executable: str | None) -> bool:
    """Tell whether the host has a program to ask."""
    paths = [executable] if executable else [f"{folder}/exitpol" for folder in FOLDERS]
    return any(os.access(path, os.X_OK) for path in paths)


def has_settings(config: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Tell whether a config has these keys and no others, besides those that init writes."""
    kept = {key: value for key, value in config.items() if key in INIT_KEYS}
    return config == {**kept, **as_text(settings)}


def as_text(value: Any) -> Any:  # noqa: ANN401 - of any depth
    """Return a value with its scalars as exitpol reads them in YAML."""
    if isinstance(value, dict):
        return {str(key): as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_text(each) for each in value]
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def words(module: ExitpolModule, *arguments: str) -> list[str]:
    """Return the arguments of `exitpol init`."""
    found = ["init", *arguments, *(["--timer"] if module.params["timer"] else [])]
    for torrc in module.params["torrcs"]:
        found += ["--torrc", torrc]
    return found


def ask(module: ExitpolModule, *arguments: str, codes: set[int]) -> dict[str, Any]:
    """Run `exitpol init` and return its JSON; fail with what it says for another exit code."""
    answer = Program(module).ask(*words(module, *arguments))
    if answer.code not in codes:
        problems = [said(each) for each in answer.keys.get("problems") or []]
        text = answer.text or "\n".join(problems) or f"exitpol init ended with {answer.code}"
        module.fail_json(msg=text, rc=answer.code)
    keys: dict[str, Any] = answer.keys
    return keys


def finish(module: ExitpolModule, answer: dict[str, Any], diff: list[dict[str, str]]) -> None:
    """End the module with what exitpol did, or would do."""
    result = result_of(answer)
    for text in [*result["remarks"], *result["problems"]]:
        module.warn(text)
    # Of a former run that ended before its handler.
    restarts = module.params["restart"] and result["restart"]
    changed = bool(result["created"] or result["edited"] or result["units"] or restarts)
    module.exit_json(changed=changed, diff=diff, **result)


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the return values of the module."""
    result: dict[str, Any] = {
        key: answer.get(key, []) for key in ("created", "edited", "units", "restart")
    }
    result["stale"] = False
    result |= {key: [said(each) for each in answer.get(key, [])] for key in ("remarks", "problems")}
    return result


if __name__ == "__main__":
    main()
