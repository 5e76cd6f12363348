"""Runs inside a booted Debian twice: on a release, and on the next one with the files of the first.

Beside it lies the package. Needs the standard library only.
"""

import sys
import time
from pathlib import Path
from typing import Any

from tests.harness.observing import enforced, observe, run, soon, wait_for_tor

LONG, SHORT = "203.0.113.7", "203.0.113.9"
SHORT_SECONDS = 30
WAIT_SECONDS = 100


def set_up(seen: dict[str, Any]) -> None:
    """Install the package, and block, on the first release."""
    wait_for_tor()
    package = "/proof/old.deb"
    seen["install"] = run("apt-get", "install", "--yes", "--no-install-recommends", package)
    seen["init"] = run("/usr/bin/exitpol", "init", "--timer")
    seen["block"] = run("/usr/bin/exitpol", "block", LONG, "--until", "30d")
    run("/usr/bin/exitpol", "block", SHORT, "--until", soon(SHORT_SECONDS))
    seen["enforced"] = enforced()


def go_on(seen: dict[str, Any]) -> None:
    """See what the next release does."""
    begun = time.time()
    while time.time() < begun + WAIT_SECONDS:
        try:
            if f"reject {LONG}:*" in enforced() and f"reject {SHORT}:*" not in enforced():
                break
        except OSError:
            pass  # Tor has not opened its control port yet.
        time.sleep(0.2)
    seen["enforced"] = enforced()
    seen["python"] = sys.version
    seen["timer"] = run("systemctl", "is-active", "exitpol-expire.timer")
    seen["tick"] = run("systemctl", "show", "-P", "Result", "exitpol-expire.service")
    seen["list"] = run("/usr/bin/exitpol", "list")
    seen["history"] = run("/usr/bin/exitpol", "history")
    seen["lift"] = run("/usr/bin/exitpol", "lift", LONG)
    seen["doctor"] = run("/usr/bin/exitpol", "doctor")
    seen["enforced in the end"] = enforced()


if __name__ == "__main__":
    observe(go_on if Path("/proof/next-release").exists() else set_up)
