"""Read torrcs as Tor reads them: whether each is a relay, and how it is controlled.

Tor dumps the options of a torrc and of its defaults-torrc; nothing is guessed from their text. This
takes a tor process for each file, so that only `init` does it. All other commands work on the
relays that `init` has recorded in the config.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Configured
from exitpolicy.storage.config import Relay
from exitpolicy.tor import fragment_include, inspect, torrc_lines, verify
from exitpolicy.tor.invocation import Invocation, as_started, of_relay

_NAMES: Final = (
    *OPTION_NAMES,
    "DataDirectory",
    "ORPort",
    "ControlSocket",
    "ControlPort",
    "HashedControlPassword",
    "CookieAuthentication",
    "Sandbox",
)


@dataclass(frozen=True, slots=True)
class Control:
    """A control port that a torrc opens."""

    address: str
    """A socket's path, or HOST:PORT."""
    needs_password: bool
    """Whether Tor accepts nothing but a password there."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What Tor reads in the files of a relay, without exitpol's fragment."""

    relay: Relay
    invocation: Invocation
    text: str
    """The torrc without the fragment's include."""
    options: Mapping[str, Sequence[str]]
    own: ExitOptions
    """The exit options, without the rules of other fragments."""

    @property
    def is_relay(self) -> bool:
        """Whether it opens an ORPort."""
        return any(_first_word(value) != "0" for value in self.options.get("ORPort", ()))

    @property
    def is_exit(self) -> bool:
        """Whether it exits by its own options. A bridge is in no consensus, and no exit."""
        return self.own.exits and not self.own.bridge

    @property
    def sandboxed(self) -> bool:
        """Whether Tor starts with Sandbox 1."""
        return list(self.options.get("Sandbox", ())) == ["1"]

    @property
    def control(self) -> Control | None:
        """The control port; None if the torrc opens none."""
        return control_of(self.options)


def discover(relay: Relay) -> Discovered:
    """Let Tor read the files of a relay. Raises TorRefusesError, InvalidFileError.

    Where the config names no defaults-torrc, the result has that of the running Tor.
    """
    relay = as_started(relay)
    invocation = of_relay(relay)
    text = fragment_include.redirected(relay.torrc, relay.fragment, "", invocation.folder)
    files = _files(relay, invocation, text)
    options = _options.get(files)
    if options is None:
        options = verify.options(invocation, text, _NAMES)
        # A file that was changed in between may have been read before or after the change.
        if _files(relay, invocation, text) == files:
            _options[files] = options
    others = inspect.other_fragments(relay.torrc, relay.fragment, invocation.folder)
    own = Configured(ExitOptions.read(options), (), other_fragments=tuple(others)).own
    return Discovered(relay, invocation, text, options, own)


def let_verify(found: Discovered) -> None:
    """Let Tor verify the files of a relay. Raises TorRefusesError."""
    files = _files(found.relay, found.invocation, found.text)
    if files not in _valid:
        verify.verify(found.invocation, found.text)
        if _files(found.relay, found.invocation, found.text) == files:
            _valid.add(files)


_Files = tuple[Invocation, str, tuple[tuple[str, str], ...]]
"""How Tor is started, the torrc without the fragment's include, and the versions of all files."""

# `init` plans, asks the operator, and plans again under its locks. With 20,000 own rules, each run
# of tor takes 11 s: the same files are read once.
_options: Final[dict[_Files, Mapping[str, Sequence[str]]]] = {}
_valid: Final[set[_Files]] = set()


def _files(relay: Relay, invocation: Invocation, text: str) -> _Files:
    sources = inspect.sources_of(invocation, relay.torrc, relay.fragment)
    return invocation, text, tuple(sorted(sources.items()))


def control_of(options: Mapping[str, Sequence[str]]) -> Control | None:
    """Return the first usable control port among the options of a torrc; None without one."""
    address = next((found for found in map(_socket, options.get("ControlSocket", ())) if found), "")
    address = address or next(
        (found for found in map(_port, options.get("ControlPort", ())) if found), ""
    )
    if not address:
        return None
    cookie = list(options.get("CookieAuthentication", ())) == ["1"]
    return Control(address, bool(options.get("HashedControlPassword")) and not cookie)


def _socket(value: str) -> str:
    """Return the path of a ControlSocket line; empty if it opens none."""
    path = _path(value)
    return "" if path in {"", "0", "1"} else str(Path("/", path))


def _port(value: str) -> str:
    """Return the address of a ControlPort line; empty if it opens none, or one that Tor chooses."""
    if value.startswith("unix:"):
        return _socket(value)
    word = _first_word(value)
    if word in {"", "0", "auto"} or word.endswith(":auto"):
        return ""
    return word if ":" in word else f"127.0.0.1:{word}"


def _path(value: str) -> str:
    """Return the path at the start of a line, without `unix:`, quotes and the flags behind it."""
    rest = value.strip().removeprefix("unix:")
    if rest.startswith('"'):
        return torrc_lines.unquoted(rest)
    return _first_word(rest)


def _first_word(value: str) -> str:
    words = value.split(maxsplit=1)
    return words[0].strip('"') if words else ""
