"""Runs inside a booted Debian: the timer that `exitpol init --timer` installs lifts a real block.

Started by a unit as /proof/bin/python in_container.py; needs the standard library and exitpol.
Writes what it saw to /proof/result.json, and then ends the machine.
"""

import json
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.harness.observing import enforced, observe, run, soon, wait_for_tor

SHORT, LONG, EDITED = "203.0.113.7", "203.0.113.9", "203.0.113.11"
FOLLOWED = "198.51.100.13", "198.51.100.14"
"""The addresses of a name, before and after its site moves."""
WAIT_SECONDS = 150
LEDGER = Path("/var/lib/exitpol/blocks.yaml")


def exitpol(*arguments: str) -> dict[str, Any]:
    """Run exitpol as root would."""
    return run(sys.executable, "-m", "exitpolicy", *arguments)


def link_ledger_to(folder: Path) -> None:
    """Move the ledger into a folder, and let its usual place be a link to it."""
    folder.mkdir()
    shutil.move(LEDGER.resolve(), folder / LEDGER.name)
    LEDGER.unlink(missing_ok=True)
    LEDGER.symlink_to(folder / LEDGER.name)


def move_ledger(seen: dict[str, Any]) -> None:
    """Move the ledger to where the unit may not write, and make the unit again."""
    seen["link"] = str(LEDGER.readlink())
    # The link leads elsewhere now, and a block ends: the unit may not write there.
    link_ledger_to(Path("/srv/other"))
    seen["doctor of the moved"] = exitpol("doctor")
    seen["timer of the moved"] = exitpol("init", "--timer")
    seen["renew"] = exitpol("renew", EDITED, "--until", soon(20))
    time.sleep(20)
    seen["tick of the moved"] = run("systemctl", "start", "exitpol-expire.service")
    time.sleep(1.5)
    seen["enforced in the end"] = enforced()
    seen["ledger in the end"] = (Path("/srv/other") / LEDGER.name).read_text()


class Names(threading.Thread):
    """A DNS server on loopback that knows one address, whatever the name."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.address = FOLLOWED[0]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))

    def run(self) -> None:
        """Answer for ever."""
        while True:
            query, asker = self._socket.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 4 : end - 2] == b"\0\1"
            head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(self.address)
            self._socket.sendto(head + query[12:end] + (record if is_a else b""), asker)


def let_an_hour_pass() -> None:
    """Let the running time in the record of names be an hour later."""
    path = LEDGER.with_name("follow.json")
    record = json.loads(path.read_text())
    record["running"] += 3600
    path.write_text(json.dumps(record))


def follow(seen: dict[str, Any]) -> None:
    """Follow a name that leads elsewhere after a while."""
    names = Names()
    names.start()
    seen["follow"] = exitpol("block", "www.test:443", "--until", "30d", "--follow", "--yes")
    seen["follow timer"] = run("systemctl", "is-active", "exitpol-follow.timer")
    seen["follow unit"] = run("systemctl", "cat", "exitpol-follow.service")
    names.address = FOLLOWED[1]
    for step in ("first", "second"):
        let_an_hour_pass()
        seen[f"{step} look-up"] = run("systemctl", "start", "exitpol-follow.service")
    seen["look-up journal"] = run("journalctl", "--no-pager", "-o", "cat", "-u", "exitpol-follow")
    seen["record of names"] = LEDGER.with_name("follow.json").read_text()
    begun = time.time()
    while FOLLOWED[1] not in enforced() and time.time() < begun + WAIT_SECONDS:
        time.sleep(0.2)
    seen["enforced after the look-up"] = enforced()
    time.sleep(1)


def main(seen: dict[str, Any]) -> None:
    """Run the steps."""
    wait_for_tor()
    seen["tor"] = run("systemctl", "is-active", "tor@default")
    seen["init"] = exitpol("init")
    # A ledger in another folder, as in a checkout: its usual place has a link to it.
    link_ledger_to(Path("/srv/checkout"))
    seen["timer"] = exitpol("init", "--timer")
    seen["timer active"] = run("systemctl", "is-active", "exitpol-expire.timer")
    ends = time.time() + 45
    seen["block"] = exitpol("block", SHORT, "--until", soon(45))
    seen["block another"] = exitpol("block", LONG, "--until", "30d")
    seen["exposure"] = run("systemd-analyze", "security", "--no-pager", "exitpol-expire.service")
    seen["unit"] = run("systemctl", "cat", "exitpol-expire.service")
    seen["enforced before"] = enforced()
    while f"reject {SHORT}:*" in enforced() and time.time() < ends + WAIT_SECONDS:
        time.sleep(0.2)
    seen["seconds after its end"] = time.time() - ends
    seen["enforced after"] = enforced()
    time.sleep(1)
    # A hand edit: the tick verifies it as Tor's user, installs it and reloads Tor.
    LEDGER.write_text(LEDGER.read_text().replace(LONG, EDITED))
    edited = time.time()
    while f"reject {EDITED}:*" not in enforced() and time.time() < edited + WAIT_SECONDS:
        time.sleep(0.2)
    seen["enforced after the edit"] = enforced()
    time.sleep(1)
    # What Tor's user cannot read, root must not load: Tor would end.
    torrc = Path("/etc/tor/torrc")
    torrc.write_text("%include /etc/tor/secret\n" + torrc.read_text())
    secret = Path("/etc/tor/secret")
    secret.write_text("Nickname unreadable\n")
    secret.chmod(0o600)
    seen["refused"] = run("systemctl", "start", "exitpol-expire.service")
    seen["refused journal"] = run("journalctl", "--no-pager", "-o", "cat", "-u", "exitpol-expire")
    seen["tor after"] = run("systemctl", "is-active", "tor@default")
    secret.chmod(0o644)
    secret.write_text("")
    seen["good again"] = run("systemctl", "start", "exitpol-expire.service")
    follow(seen)
    seen["doctor"] = exitpol("doctor")
    seen["history"] = exitpol("history", "--json")
    seen["status"] = exitpol("status", "--check")
    move_ledger(seen)
    seen["service"] = run("systemctl", "show", "-P", "Result", "exitpol-expire.service")
    seen["journal"] = run("journalctl", "--no-pager", "-o", "cat", "-u", "exitpol-expire")
    seen["failed units"] = run("systemctl", "--failed", "--no-legend", "--plain")


if __name__ == "__main__":
    observe(main)
