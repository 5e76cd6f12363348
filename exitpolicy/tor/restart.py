"""Whether a running Tor survives a reload of its files.

Some changes of a torrc can only be taken up by a new process. A running one takes them for an
error at its next reload, which may be that of logrotate, and exits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError, TorRefusesError
from exitpolicy.policy.options import ExitOptions
from exitpolicy.tor import fragment, process

FIXED_OPTIONS: Final = frozenset(
    {
        "CacheDirectory",
        "DataDirectory",
        "DisableAllSwap",
        "DisableDebuggerAttachment",
        "FamilyKeyDirectory",
        "HiddenServiceNonAnonymousMode",
        "HiddenServiceSingleHopMode",
        "KeepBindCapabilities",
        "KeyDirectory",
        "NoExec",
        "PidFile",
        "RunAsDaemon",
        "Sandbox",
        "SyslogIdentityTag",
        "TestingTorNetwork",
        "TokenBucketRefillInterval",
        "User",
    }
)
"""What Tor does not let change while it runs (tor: CFLG_IMMUTABLE in src/app/config/config.c)."""

_GRAIN: Final = 0.02
"""The kernel rounds the start of a process down to 10 ms, that of a change to its own tick."""


@dataclass(frozen=True, slots=True)
class Started:
    """With what a running Tor was started."""

    pid: int
    time: float | None
    """In Unix time; None if that cannot be seen."""
    includes: bool | None
    """Whether it has read any include; None if it does not say."""
    fixed: Mapping[str, Sequence[str]]
    """The values of the FIXED_OPTIONS that are not as the defaults-torrc, or Tor, has them."""


def started(pid: int, *, can_save: str, config_text: str) -> Started:
    """Return with what a Tor was started.

    The texts are `GETINFO config-can-saveconf`, which is 0 exactly where an include was read, and
    `GETINFO config-text`, which is written like `tor --dump-config short`.
    """
    fixed: dict[str, list[str]] = {}
    for line in config_text.splitlines():
        name, _, value = line.partition(" ")
        if name in FIXED_OPTIONS:
            fixed.setdefault(name, []).append(value)
    includes = {"0": True, "1": False}.get(can_save)
    return Started(pid, process.started(pid), includes, fixed)


def needed(
    name: str,
    seen: Started,
    *,
    files: Mapping[str, Sequence[str]],
    sandboxed: bool,
    include: Path,
    own: Path,
    running: ExitOptions,
) -> TorRefusesError | None:
    """Return why a Tor would end at a reload of its files; None if it would not.

    `name` is the relay's, `files` has the values of the FIXED_OPTIONS in its files that are not as
    the defaults-torrc has them (binary.own_options), `sandboxed` tells whether Sandbox is 1,
    `include` is the file that includes the fragment `own`, and `running` are the options it runs
    with.
    """
    unit = process.unit(seen.pid)
    hint = f"systemctl restart {unit or 'tor'}"
    for option in sorted(FIXED_OPTIONS):
        if list(seen.fixed.get(option, ())) != list(files.get(option, ())):
            return TorRefusesError(
                f"restart Tor ({name}) once: {option} was changed in its torrc, and a running Tor"
                " ends at a reload of such a change",
                hint=hint,
            )
    if sandboxed and not _knows_include(seen, include, own, running):
        return TorRefusesError(
            f"restart Tor ({name}) once: it was started before {include} included {own}, and with"
            " Sandbox 1 it ends at a reload that finds a new file",
            hint=hint,
        )
    return None


def _knows_include(seen: Started, include: Path, own: Path, running: ExitOptions) -> bool:
    """Tell whether the include was there when Tor made its list of files to be opened.

    tor: sandbox_init_filter in src/app/main/main.c, FilesOpenedByIncludes.
    """
    if seen.includes is False:
        return False
    try:
        if seen.time is not None and seen.time + _GRAIN >= include.stat().st_mtime:
            return True
        # Another line of the torrc may have changed since: does Tor run what the fragment says?
        ours = fragment.rules_of(fragment.read(own) or "")
    except (OSError, InvalidFileError):
        return False
    return bool(seen.includes) and running.position(ours) is not None
