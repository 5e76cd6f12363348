"""Compare what a running Tor has loaded with what its files say.

A reload loads every change of the files, not only exitpol's. Some of them end a running Tor
although `--verify-config` accepts them. So exitpol reloads only where nothing but the exit policy
differs.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError, TorRefusesError
from exitpolicy.policy.options import ExitOptions
from exitpolicy.tor import fragment
from exitpolicy.tor.verify import OptionLine

FATAL_OPTIONS: Final = frozenset(
    {
        "accelname",
        "cachedirectory",
        "datadirectory",
        "disableallswap",
        "disabledebuggerattachment",
        "familykeydirectory",
        "hardwareaccel",
        "hiddenservicenonanonymousmode",
        "hiddenservicesinglehopmode",
        "keepbindcapabilities",
        "keydirectory",
        "noexec",
        "pidfile",
        "runasdaemon",
        "sandbox",
        "syslogidentitytag",
        "testingtornetwork",
        "tokenbucketrefillinterval",
        "user",
        "__disablesignalhandlers",
        "__owningcontrollerfd",
    }
)
"""A change of any of these ends a running Tor at its next reload, whatever the value.

Measured; most are CFLG_IMMUTABLE in tor: src/app/config/config.c.
"""
EXIT_OPTIONS: Final = frozenset(
    {
        "exitpolicy",
        "exitrelay",
        "ipv6exit",
        "reducedexitpolicy",
        "exitpolicyrejectprivate",
        "exitpolicyrejectlocalinterfaces",
    }
)
"""The options that exitpol compares itself, and loads."""

_NOT_COMPARED: Final = EXIT_OPTIONS | {
    "entrystatistics",  # Tor resets it where it has no GeoIP data.
    "user",  # It is not in a dump made as that user: see `changed_user`.
}
_OFF_BY_DEFAULT: Final = frozenset(
    f"{name}port"
    for name in (
        "control", "dir", "dns", "extor", "httptunnel", "metrics", "natd", "or", "trans"
    )
)  # fmt: skip
_LOG: Final = re.compile(r"(.*?)( (?:file|syslog|stdout|stderr|android)\b.*)?", re.IGNORECASE)
_SERVICE: Final = "hiddenservice"
_SECRET: Final = re.compile(
    "password|authenticator|authorizeclient|transportoptions|bridge$", re.IGNORECASE
)
"""Options with values that nobody else may know: passwords, keys of clients, bridges."""
GRAIN: Final = 0.02
"""Seconds. The kernel rounds the start of a process, and the time of a change, to 10 ms."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a running Tor has loaded, as it reports it, and since when it runs."""

    started: float | None
    """Unix time; None if it cannot be seen."""
    includes: bool | None
    """Whether it has read any include; None if it does not say."""
    lines: tuple[OptionLine, ...]
    """GETINFO config-text."""
    asked: Mapping[str, Sequence[str]]
    """The values of options that are not in `lines`: GETCONF, by name in lower case."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A line that only the files have, or that only Tor runs."""

    name: str
    value: str
    in_files: bool

    @property
    def line(self) -> str:
        """The line without secrets: it is printed, also to the journal."""
        value = "(not shown)" if self.value and _SECRET.search(self.name) else self.value
        return f"{self.name} {value}".strip()

    @property
    def as_change(self) -> str:
        """The same for a Tor that cannot be asked: what changed in the files since it read them."""
        return f"{self.line} was added" if self.in_files else f"a line {self.name} was removed"


def differences(running: Iterable[OptionLine], files: Iterable[OptionLine]) -> list[Difference]:
    """Return the lines that differ by meaning, without those of the exit policy."""
    ours, theirs = canonical(files), canonical(running)
    only_files = list((Counter(ours.elements()) - theirs).elements())
    only_running = list((Counter(theirs.elements()) - ours).elements())
    return [
        *(Difference(name, value, in_files=True) for name, value in only_files),
        *(Difference(name, value, in_files=False) for name, value in only_running),
    ]


def asked_differences(
    asked: Mapping[str, Sequence[str]], files: Mapping[str, Sequence[str]]
) -> list[Difference]:
    """Return the differences of options that Tor was asked for one by one.

    The names are in lower case. Options missing on one side are not compared.
    """
    found: list[Difference] = []
    for name, values in files.items():
        if name in EXIT_OPTIONS or name not in asked:
            continue
        mine, running = _plain(values), _plain(asked[name])
        if running not in (mine, _plain(values[-1:])):
            found += [Difference(name, value, in_files=True) for value in mine]
            found += [Difference(name, value, in_files=False) for value in running]
    return found


def fatal(name: str, found: Iterable[Difference], unit: str | None) -> TorRefusesError | None:
    """Return why the Tor of the relay `name` would exit at a reload; None if it would not."""
    for difference in found:
        if difference.name.lower() in FATAL_OPTIONS:
            return TorRefusesError(
                f"restart Tor ({name}) once: {difference.name} was changed in its torrc, and a"
                " running Tor exits at a reload of such a change",
                hint=f"systemctl restart {unit or 'tor'}",
            )
    return None


def unknown_include(
    name: str,
    loaded: Loaded,
    *,
    include: Path,
    own: Path,
    running: ExitOptions,
    unit: str | None,
) -> TorRefusesError | None:
    """Return why a Tor with Sandbox 1 would exit at a reload; None if it would not.

    It opens only the files that it knew at its start (tor: sandbox_init_filter in
    src/app/main/main.c). `include` is the file that includes the fragment `own`, and `running` are
    the options it runs with.
    """
    if _knows_include(loaded, include, own, running):
        return None
    return TorRefusesError(
        f"restart Tor ({name}) once: it was started before {include} included {own}, and with"
        " Sandbox 1 it exits at a reload that finds a new file",
        hint=f"systemctl restart {unit or 'tor'}",
    )


def newer_than_start(loaded: Loaded, path: Path) -> bool:
    """Tell whether a file was changed after Tor was started, or may have been."""
    try:
        changed = path.stat().st_mtime
    except OSError:
        return False
    return loaded.started is None or changed > loaded.started + GRAIN


def _knows_include(loaded: Loaded, include: Path, own: Path, running: ExitOptions) -> bool:
    if loaded.includes is False:
        return False
    try:
        if loaded.started is not None and loaded.started + GRAIN >= include.stat().st_mtime:
            return True
        # Another line of the torrc may have changed since: does Tor run what the fragment says?
        ours = fragment.rules_of(fragment.read(own) or "")
    except (OSError, InvalidFileError):
        return False
    return bool(loaded.includes) and running.position(ours) is not None


def canonical(lines: Iterable[OptionLine]) -> Counter[OptionLine]:
    """Return the lines with one form for each meaning; onion services as one line each."""
    found: Counter[OptionLine] = Counter()
    services: list[list[str]] = []
    for name, value in lines:
        lower = name.lower()
        text = " ".join(value.split())
        if lower in _NOT_COMPARED or (lower in _OFF_BY_DEFAULT and text == "0"):
            continue
        if lower == "myfamily":
            members = re.split(r"[\s,]+", text)
            found.update((name, member.lstrip("$").upper()) for member in members if member)
        elif lower == "log":
            severities, target = _LOG.fullmatch(text).groups()  # type: ignore[union-attr]
            found[name, severities.lower() + (target or "")] += 1
        elif lower == "hiddenservicedir":
            services.append([f"{name} {text}"])
        elif lower.startswith(_SERVICE) and services:
            services[-1].append(f"{name} {text}")
        else:
            found[name, re.sub(r"\s*,\s*", ",", text)] += 1
    for service in services:
        first, *rest = service
        name, _, value = first.partition(" ")
        found[name, "; ".join([value, *sorted(rest)])] += 1
    return found


def _plain(values: Collection[str]) -> list[str]:
    return sorted(text for value in values if (text := " ".join(value.split())))
