"""Runs inside a booted Debian: the life of the package, from its installation to its purge.

Beside it lie two versions of the package. Needs the standard library only.
"""

import subprocess
import time
from pathlib import Path
from typing import Any

from tests.harness.observing import enforced, observe, run, soon, wait_for_tor

LONG, SHORT = "203.0.113.7", "203.0.113.9"
OLD, NEW = Path("/proof/old.deb"), Path("/proof/new.deb")
TORRC = Path("/etc/tor/torrc")
INSTANCES = ("a", "b")
WAIT_SECONDS = 150
NOT_OURS = ("/proc", "/sys", "/dev", "/proof", "/var/log", "/tmp")
"""Where a file named after exitpol is none that the package or the program has left."""


def exitpol(*arguments: str) -> dict[str, Any]:
    """Run the program of the package, as root would."""
    return run("/usr/bin/exitpol", *arguments)


def install(package: Path) -> dict[str, Any]:
    """Install a package as the README says; its dependencies are there, and no network is."""
    return run("apt-get", "install", "--yes", "--no-install-recommends", str(package))


def tor(unit: str = "tor@default") -> str:
    """Return the state of Tor's unit, and its process."""
    told = run("systemctl", "show", "--property=ActiveState,MainPID", "--value", unit)
    return " ".join(told["stdout"].split())


def reloaded(unit: str = "tor@default") -> str:
    """Reload Tor, as logrotate does, and return the state of its unit a moment later."""
    done = run("systemctl", "reload", unit)
    if done["code"] != 0:
        return f"not reloaded: {done['stderr']}"
    time.sleep(1.5)
    return tor(unit)


def wait_until_lifted(ends: float, *folders: str) -> float:
    """Wait until no Tor rejects the short block; return the seconds since its end."""
    while time.time() < ends + WAIT_SECONDS:
        if not any(f"reject {SHORT}:*" in enforced(folder) for folder in folders):
            break
        time.sleep(0.2)
    return time.time() - ends


def named_after_exitpol() -> list[str]:
    """Return the files that are left."""
    found = subprocess.run(
        ["/usr/bin/find", "/", "-xdev", "-name", "*exitpol*"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    run_files = [str(path) for path in Path("/run").glob("*exitpol*")]
    return [p for p in (*found.stdout.split(), *run_files) if not p.startswith(NOT_OURS)]


def one_relay(seen: dict[str, Any]) -> None:
    """Install, set up, block, upgrade, remove."""
    wait_for_tor()
    before = TORRC.read_bytes()
    seen["tor at first"] = tor()
    seen["install"] = install(OLD)
    begun = time.time()
    seen["init"] = exitpol("init", "--timer")
    seen["block"] = exitpol("block", LONG, "--until", "30d")
    seen["seconds to the first live block"] = time.time() - begun
    ends = time.time() + 20
    seen["block for a moment"] = exitpol("block", SHORT, "--until", soon(20))
    seen["version"] = exitpol("--version")
    seen["upgrade"] = install(NEW)
    seen["version after"] = exitpol("--version")
    seen["enforced after the upgrade"] = enforced()
    seen["list after the upgrade"] = exitpol("list")
    seen["timer after the upgrade"] = run("systemctl", "is-active", "exitpol-expire.timer")
    seen["seconds to the lift"] = wait_until_lifted(ends, "/run/tor")
    seen["enforced after the lift"] = enforced()
    seen["tick"] = run("systemctl", "show", "-P", "Result", "exitpol-expire.service")
    seen["doctor"] = exitpol("doctor")
    seen["remove"] = run("apt-get", "remove", "--yes", "exitpol")
    seen["torrc is as it was"] = TORRC.read_bytes() == before
    seen["enforced after the removal"] = enforced()
    seen["tor after the removal"] = reloaded()
    seen["units after the removal"] = run("systemctl", "list-unit-files", "exitpol*")
    seen["ledger after the removal"] = Path("/var/lib/exitpol/blocks.yaml").exists()
    seen["fragments after the removal"] = Path("/etc/tor/exitpol").exists()
    seen["purge"] = run("apt-get", "purge", "--yes", "exitpol")
    seen["left by the purge"] = named_after_exitpol()
    seen["tor after the purge"] = reloaded()


def refused(seen: dict[str, Any]) -> None:
    """Remove the package where the exit would become wider open than its operator's lines."""
    before = TORRC.read_bytes()
    seen["install again"] = install(NEW)
    seen["init again"] = exitpol("init")
    seen["policy"] = exitpol("policy", "use", "web", "--force")
    with_include = TORRC.read_bytes()
    seen["refused removal"] = run("apt-get", "remove", "--yes", "exitpol")
    seen["torrc stays"] = TORRC.read_bytes() == with_include != before
    seen["tor after the refusal"] = reloaded()
    seen["purge of the refused"] = run("apt-get", "purge", "--yes", "exitpol")
    seen["tor after that purge"] = reloaded()
    seen["enforced after that purge"] = enforced()
    seen["install a third time"] = install(NEW)
    seen["forced"] = exitpol("init", "--remove", "--force", "--purge")
    seen["torrc after the force"] = TORRC.read_bytes() == before
    seen["last purge"] = run("apt-get", "purge", "--yes", "exitpol")
    seen["left by the last purge"] = named_after_exitpol()
    seen["tor after the last purge"] = reloaded()


def instances(seen: dict[str, Any]) -> None:
    """Set up two instances beside a torrc as Debian ships it, with the README's commands."""
    run("systemctl", "stop", "tor@default")
    lines = TORRC.read_text()
    TORRC.write_bytes(Path("/proof/torrc.shipped").read_bytes())
    run("systemctl", "start", "tor@default")
    folders = [f"/run/tor-instances/{name}" for name in INSTANCES]
    for name in INSTANCES:
        seen[f"create {name}"] = run("tor-instance-create", name)
        torrc = Path("/etc/tor/instances", name, "torrc")
        # tor-instance-create writes SocksPort auto; a relay has none.
        made = [line for line in torrc.read_text().splitlines() if "SocksPort" not in line]
        torrc.write_text("\n".join([*made, lines]))
        run("systemctl", "start", f"tor@{name}")
    for folder in folders:
        wait_for_tor(folder)
    seen["install for instances"] = install(NEW)
    seen["init of instances"] = exitpol("init", "--timer")
    ends = time.time() + 8
    seen["block on instances"] = exitpol("block", SHORT, "--until", soon(8))
    seen["list of instances"] = exitpol("list", "--json")
    seen["enforced by instances"] = [enforced(folder) for folder in folders]
    seen["instances, seconds to the lift"] = wait_until_lifted(ends, *folders)
    seen["remove from instances"] = run("apt-get", "purge", "--yes", "exitpol")
    seen["instances after all"] = [reloaded(f"tor@{name}") for name in INSTANCES]
    seen["left by instances"] = named_after_exitpol()
    seen["failed units"] = run("systemctl", "--failed", "--no-legend", "--plain")


def main(seen: dict[str, Any]) -> None:
    """Run the steps."""
    one_relay(seen)
    refused(seen)
    instances(seen)


if __name__ == "__main__":
    observe(main)
