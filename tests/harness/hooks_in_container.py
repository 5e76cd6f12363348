"""Runs inside a booted Debian: hooks that `exitpol init --timer` installs learn of real changes.

Started by a unit as /proof/bin/python hooks_in_container.py; needs the standard library and
exitpol. Writes what it saw to /proof/result.json, and then ends the machine.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.observing import observe, run, soon, wait_for_tor

FIRST, SECOND = "203.0.113.7", "203.0.113.9"
CONFIG = Path("/etc/exitpol/config.yaml")
LEDGER = Path("/var/lib/exitpol/blocks.yaml")
SPOOL = Path("/var/spool/exitpol")
STATE = Path("/var/lib/exitpol-hooks")
GOOD = Path("/etc/good")
WAIT_SECONDS = 150
SERVICE = "exitpol-hooks.service"

HOOK = f"""\
#!/bin/sh
set -eu
cat >> seen
id -u > uid
for path in {LEDGER} {SPOOL}/events.json {CONFIG.parent}/hidden; do
    if cat "$path" 2>/dev/null; then echo "$path" >> readable; fi
done
for path in /etc {LEDGER.parent} {SPOOL} /usr/local/bin; do
    if touch "$path/x" 2>/dev/null; then echo "$path" >> writable; fi
done
"""
OTHER = f"#!/bin/sh\ntest -e {GOOD} || exit 7\nexec cat >> other\n"


def exitpol(*arguments: str) -> dict[str, Any]:
    """Run exitpol as root would."""
    return run(sys.executable, "-m", "exitpolicy", *arguments)


def told(name: str) -> list[list[Any]]:
    """Return what a hook has got: number, action or faults, and destinations of each event."""
    try:
        lines = (STATE / name).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [
        [
            event["number"],
            event.get("action", event.get("faults")),
            [block["destination"] for block in event.get("blocks", ())],
        ]
        for event in map(json.loads, lines)
    ]


def wait(seen: dict[str, Any], step: str, done: Callable[[], bool]) -> None:
    """Wait until something is done; note how many seconds it took."""
    begun = time.time()
    while not done() and time.time() < begun + WAIT_SECONDS:
        time.sleep(0.5)
    seen[f"seconds until {step}"] = time.time() - begun


def findings() -> list[str]:
    """Return what doctor says about the hooks."""
    found = json.loads(exitpol("doctor", "--json")["stdout"])["findings"]
    return [each["observed"] for each in found if each["check"] == "hooks"]


def main(seen: dict[str, Any]) -> None:
    """Run the steps."""
    wait_for_tor()
    for name, text in (("on-change", HOOK), ("other", OTHER)):
        path = Path("/usr/local/bin", name)
        path.write_text(text)
        path.chmod(0o755)
    seen["init"] = exitpol("init")
    hidden = CONFIG.parent / "hidden"
    hidden.write_text("secret")
    hidden.chmod(0o600)
    with CONFIG.open("a") as file:
        file.write("hooks: {after-change: [/usr/local/bin/on-change, /usr/local/bin/other]}\n")
    seen["timer"] = exitpol("init", "--timer")
    seen["doctor at first"] = findings()
    seen["block"] = exitpol("block", FIRST, SECOND, "--until", "30d", "--reason", "Ada")
    wait(seen, "the block is told", lambda: len(told("seen")) == 1)
    # A real tick ends a block: its unit has no network, and may write the spool.
    seen["renew"] = exitpol("renew", FIRST, "--until", soon(15))
    wait(seen, "the end is told", lambda: "expire" in [event[1] for event in told("seen")])
    seen["doctor of the failure"] = findings()
    seen["failed unit"] = run("systemctl", "is-failed", SERVICE)
    seen["told"], seen["told to the other"] = told("seen"), told("other")
    GOOD.touch()
    seen["run again"] = run("systemctl", "start", SERVICE)
    seen["told to the other in the end"] = told("other")
    # A tick works without the spool, and its unit starts.
    shutil.rmtree(SPOOL)
    SPOOL.write_text("")
    run("systemctl", "stop", "tor@default")
    seen["tick without a spool"] = run("systemctl", "start", "exitpol-expire.service")
    seen["doctor of the loss"] = findings()
    SPOOL.unlink()
    seen["lift"] = exitpol("lift", SECOND, "--no-wait")
    seen["run in the end"] = run("systemctl", "start", SERVICE)
    seen["told in the end"] = told("seen")
    for name in ("uid", "readable", "writable"):
        path = STATE / name
        seen[name] = path.read_text() if path.exists() else ""
    seen["event"] = (STATE / "seen").read_text()
    seen["exposure"] = run("systemd-analyze", "security", "--no-pager", SERVICE)
    seen["journal"] = run("journalctl", "--no-pager", "-o", "cat", "-u", "exitpol-hooks")
    seen["removed"] = exitpol("init", "--remove", "--yes")
    seen["units left"] = run("systemctl", "list-unit-files", "--no-legend", "exitpol-*")
    seen["spool left"] = SPOOL.exists()


if __name__ == "__main__":
    observe(main)
