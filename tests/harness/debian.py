"""A Debian of its own that is booted in a container, runs a script, and ends.

The container has no network but loopback, and systemd runs only inside of it.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

BOOT_SECONDS = 500
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "procps", "tor", "python3", "python3-charset-normalizer",
    "python3-dnspython", "python3-idna",
    "python3-jinja2", "python3-shellingham", "python3-stem", "python3-yaml",
)  # fmt: skip
"""Tor, what its unit needs for a reload (procps), and what the package of exitpol depends on."""

IMAGES = "EXITPOL_DEBIAN_IMAGES"
"""Names a folder that keeps the Debians, one for each release: each costs two minutes."""

UNIT = """\
[Unit]
After=tor@default.service multi-user.target

[Service]
Type=oneshot
ExecStart={python} /proof/{script}
StandardOutput=file:/proof/output
StandardError=file:/proof/output

[Install]
WantedBy=multi-user.target
"""

ENTER = """\
mount -t tmpfs tmpfs /run &&
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --boot --console=pipe \
  --machine=exitpol-proof "$@"
"""


def debian(folder: Path, release: str) -> Path:
    """Make a Debian with systemd and Tor; skip the test where none can be had."""
    if reason := _hindrance():
        pytest.skip(reason)
    root = folder / "debian"
    kept = os.environ.get(IMAGES)
    # A kept Debian has the packages that it was made with: another list is another image.
    digest = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
    image = None if kept is None else Path(kept, f"{release}-{digest}")
    if image is None:
        _bootstrap(root, release)
        return root
    # Tests of several processes want the same Debian at the same time: one of them makes it.
    with FileLock(image.with_name(f".{image.name}.lock")):
        if not image.exists():
            made = image.with_name(f".{image.name}.new")
            shutil.rmtree(made, ignore_errors=True)
            _bootstrap(made, release)
            made.rename(image)
    subprocess.run(["/bin/cp", "--archive", "--reflink=auto", image, root], check=True)
    return root


def _hindrance() -> str | None:
    """Return why no Debian can be booted here, None if one can."""
    if os.geteuid() != 0:
        return "booting a container needs root"
    missing = [p for p in ("mmdebstrap", "systemd-nspawn", "unshare") if not shutil.which(p)]
    return f"missing: {', '.join(missing)}" if missing else None


def _bootstrap(root: Path, release: str) -> None:
    made = subprocess.run(
        [
            shutil.which("mmdebstrap") or "mmdebstrap", "--variant=minbase", "--mode=root",
            release, str(root), f"--include={','.join(PACKAGES)}",
            "--aptopt=Apt::Install-Recommends false",
        ],
        check=False, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"mmdebstrap found no Debian: {made.stderr[-300:]}")


def boot(
    root: Path, script: Path, *, python: str = "/usr/bin/python3", binds: Sequence[str] = ()
) -> tuple[dict[str, Any], str]:
    """Boot it with a script, wait until it ends; return the observations and the output.

    The script writes its observations to /proof/result.json. `binds` are for --bind-ro. Skips the
    test where no container boots.
    """
    proof = root / "proof"
    proof.mkdir(exist_ok=True)
    shutil.copy(script, proof)
    shared = proof / "tests" / "harness"
    shared.mkdir(parents=True, exist_ok=True)
    for package in (shared.parent, shared):
        (package / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("observing.py"), shared)
    unit = root / "etc/systemd/system/proof.service"
    unit.write_text(UNIT.format(python=python, script=script.name))
    wants = unit.parent / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
    command = [
        shutil.which("unshare") or "unshare", "--mount", "--propagation", "private",
        "sh", "-c", ENTER, "sh", f"--directory={root}", *(f"--bind-ro={bind}" for bind in binds),
    ]  # fmt: skip
    log = root.with_name("boot")
    with log.open("w+b") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            process.wait(BOOT_SECONDS)
        finally:
            process.kill()
            process.wait()
    result, output = proof / "result.json", proof / "output"
    if not result.exists():
        text = log.read_text(errors="replace")
        pytest.skip(f"a container does not boot here: {text[-300:]}")
    return json.loads(result.read_text()), output.read_text() if output.exists() else ""
