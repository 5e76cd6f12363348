"""Shared by the attacks in tests/safety: another user, commands of root, checks for harm."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy import tick
from exitpolicy.core.errors import ExitCode

NOBODY: Final = 65534
PUBLIC_PYTHON: Final = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
"""A Python that every user may run; the one of the tests may be in root's home."""
SECONDS: Final = 30.0
"""A command that takes longer hangs."""
_AS_NOBODY: Final = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@dataclass(frozen=True)
class Done:
    """What one command did; `code` is None for one that hung."""

    code: int | None
    output: str
    """Standard output and standard error."""

    @property
    def fault(self) -> str | None:
        """Return a fault that no command may have: a hang, a traceback, a crash."""
        if self.code is None:
            return f"hangs: {self.output[-200:]}"
        if "Traceback" in self.output or "Exception ignored" in self.output:
            return f"traceback: {self.output[-400:]}"
        if self.code not in set(ExitCode):
            return f"exit code {self.code}: {self.output[-200:]}"
        if self.code == ExitCode.INTERNAL:
            return f"internal error: {self.output[-200:]}"
        return None


def as_nobody(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as the user nobody."""
    return subprocess.run(
        [*_AS_NOBODY, *command], check=check, capture_output=True, text=True, timeout=SECONDS
    )


def spawn_as_nobody(*command: str) -> subprocess.Popen[bytes]:
    """Start a command as the user nobody."""
    return subprocess.Popen(
        [*_AS_NOBODY, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def exitpol(config: Path, *arguments: str, stdin: str = "", without: Sequence[str] = ()) -> Done:
    """Run exitpol as root does; `tick` as the only argument is what the timer runs.

    `without` are names of capabilities that it does not have, such as `kill`.
    """
    command = [sys.executable, "-m", "exitpolicy", "--config", str(config)]
    if arguments == ("tick",):
        state = config.parent / "var" / "state"
        tick_command = [sys.executable, "-I", "-S", tick.__file__, str(state), "--"]
        command = [*tick_command, *command, "expire", "--quiet"]
    else:
        command += arguments
    if without:
        dropped = ",".join(f"-{name}" for name in without)
        command = ["setpriv", f"--inh-caps={dropped}", f"--bounding-set={dropped}", *command]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    try:
        output, _ = process.communicate(stdin, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return Done(None, output)
    return Done(process.returncode, output)


def picture(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return owner, mode and content of everything below a folder, for comparison.

    Not the number of links: replacing another name of a file is no harm to it.
    """
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        stat = path.lstat()
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        found[str(path)] = (stat.st_uid, stat.st_gid, stat.st_mode, content)
    return found
