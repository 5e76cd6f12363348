# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""Run the exitpol that is installed on the host, and return what it says to Ansible."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = 1
"""The version of exitpol's JSON that this collection reads."""

DONE, USAGE, ATTENTION, UNREACHABLE, NO_SUCH_BLOCK = 0, 2, 3, 6, 9
"""Exit codes of exitpol (its reference, "Exit codes")."""

NOT_ENFORCED = (ATTENTION, UNREACHABLE)
"""Codes that say: recorded, and not all of it is enforced."""

FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/opt/exitpol/bin")

WELL = frozenset({"live", "moot", "left-out", "elsewhere", "scheduled", "due", "ended"})
"""States of a block that need nobody."""

PRIVATE = frozenset({"reason", "content", "blocks"})
"""Arguments that hold reasons of blocks."""

HOST_OPTIONS: dict[str, dict[str, Any]] = {
    "config": {"type": "path"},
    "executable": {"type": "path"},
}
PENDING_OPTION: dict[str, dict[str, Any]] = {
    "fail_on_pending": {"type": "bool", "default": False},
}


Block = dict[str, Any]
"""A block, as exitpol's JSON has it."""


class ExitpolModule(AnsibleModule):  # type: ignore[misc]
    """A module whose arguments stay out of the host's journal: they hold reasons of blocks.

    The reasons are private: exitpol itself writes them into the ledger and the history alone.
    """

    def _log_invocation(self) -> None:
        pass


class Answer:
    """What one run of exitpol said."""

    def __init__(self, code: int, keys: dict[str, Any], text: str) -> None:
        self.code = code
        self.keys = keys
        self.text = text
        """What to tell people if it failed."""

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that stopped it; None if none did."""
        found: dict[str, Any] | None = self.keys.get("error")
        return found


class Program:
    """The exitpol of the host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        path = module.params["executable"] or _found()
        if path is None:
            module.fail_json(
                msg=f"exitpol is not installed in {', '.join(FOLDERS)}; the role"
                " exitpol.exitpol.exitpol installs it, and the option executable names another"
                " place"
            )
        self.path = str(path)
        if os.geteuid() == 0 and not module.params["executable"]:
            self._refuse_if_others_can_change_it()

    def _refuse_if_others_can_change_it(self) -> None:
        """Fail if a user other than root can replace the program."""
        place = Path(self.path).resolve()
        for each in (place, *place.parents):
            found = each.stat()
            sticky = each.is_dir() and found.st_mode & stat.S_ISVTX
            if found.st_uid != 0 or (found.st_mode & 0o022 and not sticky):
                self.module.fail_json(
                    msg=f"{self.path} is not run as root: others than root can change {each}"
                )

    def ask(self, *arguments: str) -> Answer:
        """Run a command of exitpol with `--json`. Fails if that is another version."""
        config = self.module.params["config"]
        command = [self.path, *(["--config", config] if config else []), *arguments, "--json"]
        code, out, err = self.module.run_command(
            command, environ_update={"NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        )
        try:
            keys: Any = json.loads(out)
        except ValueError:
            keys = None
        if not isinstance(keys, dict) or keys.get("schema") != SCHEMA:
            self._fail_for_version(code, (err or out).strip())
        error = keys.get("error")
        if code == USAGE and error and re.search("[Nn]o such (option|command)", error["message"]):
            self._fail_for_version(code, error["message"])
        return Answer(code, keys, said(error) if error else "")

    def read_destinations(self) -> list[str]:
        """Make the argument `destination` a list, and return it.

        Fails for what exitpol would take for an option, or for stdin.
        """
        given = self.module.params["destination"]
        found = given if isinstance(given, list) else [given]
        for destination in found:
            if not isinstance(destination, str) or not destination or destination[0] == "-":
                self.module.fail_json(msg=f"{destination!r} is not a destination")
        if not found:
            self.module.fail_json(msg="destination names none")
        self.module.params["destination"] = found
        return found

    def blocks_in_force(self) -> dict[str, Block]:
        """Return the blocks of the host by destination, with their last observed states."""
        answer = self.ask("list", "--all")
        if answer.error is not None:
            self.module.fail_json(msg=answer.text, rc=answer.code)
        return {
            block["destination"]: block
            for block in answer.keys["blocks"]
            if block["state"] != "ended"
        }

    def quiet(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result that does not repeat the arguments that are private or long."""
        kept = {key: v for key, v in self.module.params.items() if key not in PRIVATE}
        is_asked_for = self.module._diff  # noqa: SLF001 - as in Ansible's own modules
        shown_keys = {key: v for key, v in result.items() if key != "diff" or is_asked_for}
        return {**shown_keys, "invocation": {"module_args": kept}}

    def _fail_for_version(self, code: int, text: str) -> NoReturn:
        asked, version, _error = self.module.run_command([self.path, "--version"])
        what = version.strip() if asked == 0 else "no exitpol that answers"
        self.module.fail_json(
            msg=f"{self.path} is {what}, which this collection cannot work with; install the"
            f" version of the collection on this host. It said: {text}",
            rc=code,
        )
        raise AssertionError("fail_json ends the module")


def _found() -> Path | None:
    # Root runs nothing that a PATH may name.
    more = [] if os.geteuid() == 0 else os.environ.get("PATH", "").split(":")
    paths = (Path(folder, "exitpol") for folder in (*FOLDERS, *more) if folder)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def said(error: dict[str, Any]) -> str:
    """Return an error of exitpol, and what to do about it."""
    hint = error.get("hint")
    return f"{error['message']}\n{hint}" if hint else str(error["message"])


def shown(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block without its reason, which is private."""
    return {key: value for key, value in block.items() if key not in {"reason", "follow"}}


def change(before: Block | None, after: Block) -> dict[str, Any]:
    """Return a changed block in the form in which `apply --from` has it."""
    return {"before": before, "after": after}


def diff(changes: list[dict[str, Any]], ledger: str) -> dict[str, str]:
    """Return changed blocks as Ansible's diff: a line of the ledger each."""
    return {
        "before_header": ledger,
        "after_header": ledger,
        "before": _lines(each["before"] for each in changes),
        "after": _lines(each["after"] for each in changes),
    }


def _lines(blocks: Iterable[Block | None]) -> str:
    return "".join(f"{_line(block)}\n" for block in blocks if block is not None)


def _line(block: Block) -> str:
    keys = ("destination", "since", "until", "reason", "reference", "references", "relays")
    found = {key: block.get(key) for key in (*keys, "source", "name", "ended")}
    found["until"] = found["until"] or "never"
    return "- " + json.dumps({key: value for key, value in found.items() if value})


def not_live(blocks: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return each block that a relay does not enforce, with the relay and the reason."""
    return [
        {
            "relay": relay,
            "destination": block["destination"],
            "state": state,
            "cause": (block.get("causes") or {}).get(relay, ""),
        }
        for block in blocks
        for relay, state in (block.get("states") or {"": block["state"]}).items()
        if state not in WELL
    ]


def finish(
    module: AnsibleModule, answer: Answer, *, recorded: bool, result: dict[str, Any]
) -> NoReturn:
    """End the module after a change: as done, with a warning, or as failed.

    `recorded` says whether an answer with an error has changed the ledger all the same.
    """
    problems = [said(each) for each in answer.keys.get("problems") or []]
    result = {**result, "rc": answer.code, "problems": problems}
    found = [f"{each['check']}: {each['observed']}" for each in answer.keys.get("health") or []]
    text = answer.text or "; ".join([*problems, *found]) or "not everything is enforced"
    goes_on = answer.code in NOT_ENFORCED and (answer.error is None or recorded)
    is_pending = bool(result["not_live"]) or answer.code == UNREACHABLE
    if answer.code != DONE and not goes_on:
        module.fail_json(msg=text, **result)
    if is_pending and module.params["fail_on_pending"]:
        module.fail_json(msg=f"recorded, and not enforced yet: {text}", **result)
    if answer.code != DONE:
        module.warn(text)
    module.exit_json(**result)
    raise AssertionError("exit_json ends the module")
