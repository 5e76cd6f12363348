"""The config file: paths, relays, and the limits of the operator."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.ports import read_port
from exitpolicy.storage import files
from exitpolicy.storage.yaml_document import Document, Node, quoted

DEFAULT_PATH: Final = Path("/etc/exitpol/config.yaml")
MAX_BYTES: Final = 1_000_000

SINGLE_FRAGMENT: Final = Path("/etc/tor/exitpol.conf")
"""The shared fragment, used if the config names neither `fragment` nor `fragments`."""

_KEYS: Final = (
    "ledger",
    "fragments",
    "fragment",
    "relays",
    "protected",
    "max_prefix",
    "operator",
)
_RELAY_KEYS: Final = (
    "name",
    "torrc",
    "control",
    "password_file",
    "tor",
    "defaults_torrc",
    "user",
)
_OPERATOR_KEYS: Final = ("name", "contact", "relay_name", "address")
_TORRC_SYNTAX: Final = '"\\#*?['
"""Characters that are not literal in the path of an %include."""
_USER: Final = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?"


@dataclass(frozen=True, slots=True)
class Relay:
    """One Tor process of this host."""

    name: str
    torrc: Path
    control: str
    """A socket's path, or HOST:PORT."""
    password_file: Path | None = None
    """Holds the password of a HashedControlPassword on its first line."""
    fragment: Path = SINGLE_FRAGMENT
    """The fragment that its torrc includes."""
    tor: Path | None = None
    """The Tor program; None: find it."""
    defaults_torrc: Path | None = None
    """The file of --defaults-torrc; None: find it."""
    user: str | None = None
    """The user that Tor runs as; None: find it."""

    @property
    def tcp_control(self) -> tuple[str, int] | None:
        """Host and port of a TCP control port; None for a socket in the file system."""
        host, _, port = self.control.rpartition(":")
        number = read_port(port)
        if number is None or "/" in self.control:
            return None
        return host.removeprefix("[").removesuffix("]"), number


@dataclass(frozen=True, slots=True)
class Operator:
    """The sender of a reply."""

    name: str = ""
    contact: str = ""
    relay_name: str = ""
    address: str = ""
    """The relay's own address."""


@dataclass(frozen=True, slots=True)
class Config:
    """The content of the config file, with defaults for what it leaves out."""

    ledger: Path = Path("/var/lib/exitpol/blocks.yaml")
    fragments: Path | None = None
    """The folder that holds one NAME.conf for each relay; None: all relays include `fragment`."""
    fragment: Path = SINGLE_FRAGMENT
    """The single fragment of former versions; not used where `fragments` is set."""
    relays: tuple[Relay, ...] = ()
    """If empty, relays are discovered on this host."""
    protected: tuple[Destination, ...] = ()
    """Never blocked, not even in part."""
    max_prefix: dict[Family, int] = field(default_factory=lambda: {4: 16, 6: 32})
    """The shortest prefix that is blocked without --force, by family."""
    operator: Operator = Operator()
    source: Path | None = None
    """The file that was read."""

    def fragment_of(self, name: str) -> Path:
        """Return the fragment of the relay `name`. Raises UsageError for an unusable name."""
        if self.fragments is None:
            return self.fragment
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            raise UsageError(
                f"the relay's name {name!r} cannot name a file",
                hint="choose a name of letters, digits, '.', '_' and '-'",
            )
        return self.fragments / f"{name}.conf"


def load(path: Path | None) -> Config:
    """Read the config: `path`, or the default one if that exists. Raises InvalidFileError."""
    chosen = path or DEFAULT_PATH
    try:
        content = files.read(chosen, "config", limit=MAX_BYTES)
    except FileNotFoundError:
        if path is None:
            return Config()
        raise InvalidFileError(f"{path}: there is no such config") from None
    return parse(chosen, content)


def render(config: Config) -> bytes:
    """Return the text of a config file that `parse` reads back as the same.

    Keys with their default value are left out, except the paths. Raises UsageError for a path that
    is not UTF-8.
    """
    lines = ["# exitpol's config; every key may be left out.\n"]
    lines.append(f"ledger: {_quoted(config.ledger)}\n")
    if config.fragments is None:
        lines.append(f"fragment: {_quoted(config.fragment)}\n")
    else:
        lines.append(f"fragments: {_quoted(config.fragments)}\n")
    lines += ["relays:\n"] if config.relays else []
    for relay in config.relays:
        fields = {
            "name": relay.name,
            "torrc": relay.torrc,
            "control": relay.control,
            "password_file": relay.password_file,
            "tor": relay.tor,
            "defaults_torrc": relay.defaults_torrc,
            "user": relay.user,
        }
        words = (f"{key}: {_quoted(value)}" for key, value in fields.items() if value is not None)
        lines.append(f"- {{{', '.join(words)}}}\n")
    if config.protected:
        lines.append(f"protected: [{', '.join(map(_quoted, config.protected))}]\n")
    if config.max_prefix != Config().max_prefix:
        limits = config.max_prefix
        lines.append(f"max_prefix: {{ipv4: {limits[4]}, ipv6: {limits[6]}}}\n")
    operator = {key: getattr(config.operator, key) for key in _OPERATOR_KEYS}
    if any(operator.values()):
        words = (f"{key}: {quoted(value)}" for key, value in operator.items() if value)
        lines.append(f"operator: {{{', '.join(words)}}}\n")
    return "".join(lines).encode()


def _quoted(value: object) -> str:
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{str(value)!r} is not UTF-8 and cannot stand in the config",
            hint="choose another name",
        ) from error
    return quoted(str(value))


def parse(path: Path, content: bytes) -> Config:
    """Build the config from the content of the file at `path`. Raises InvalidFileError."""
    document = Document(str(path), content)
    if document.root is None:
        return Config(source=path)
    top = document.fields(document.root, "the config", _KEYS)
    # Not resolve(): links in the path may be changed later.
    base = Path(os.path.abspath(path)).parent  # noqa: PTH100

    default = Config()
    paths = Config(
        ledger=_file(document, top["ledger"], "ledger", base)
        if "ledger" in top
        else default.ledger,
        fragments=_fragment(document, top["fragments"], "fragments", base)
        if "fragments" in top
        else None,
        fragment=_fragment(document, top["fragment"], "fragment", base)
        if "fragment" in top
        else default.fragment,
    )
    if "fragments" in top and "fragment" in top:
        raise document.error(
            top["fragment"].line,
            "fragment and fragments exclude each other",
            "keep fragments, the folder with one NAME.conf for each relay",
        )
    return replace(
        paths,
        relays=_relays(document, top["relays"], base, paths) if "relays" in top else (),
        protected=tuple(
            document.parsed(node, "protected", parse_destination)
            for node in document.items(top["protected"], "protected")
        )
        if "protected" in top
        else (),
        max_prefix=_max_prefix(document, top["max_prefix"])
        if "max_prefix" in top
        else default.max_prefix,
        operator=_operator(document, top["operator"]) if "operator" in top else Operator(),
        source=path,
    )


def _file(document: Document, node: Node, what: str, base: Path) -> Path:
    return base / document.parsed(node, what, _path)


def _path(text: str) -> str:
    """Return a path that a system call and a line of a file can hold. Raises UsageError."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        text = ""
    if not text or "\0" in text or "\n" in text:
        raise UsageError(f"{text!r} is no path")
    return text


def _fragment(document: Document, node: Node, what: str, base: Path) -> Path:
    path = _file(document, node, what, base)
    if any(character in str(path) for character in _TORRC_SYNTAX):
        raise document.error(
            node.line,
            f"{what}: {path} has characters that mean something else in a torrc",
            "choose a plain name, such as /etc/tor/exitpol",
        )
    return path


def _relays(document: Document, node: Node, base: Path, paths: Config) -> tuple[Relay, ...]:
    """Read the list of relays; `paths` says where their fragments are."""
    relays: list[Relay] = []
    for item in document.items(node, "relays"):
        fields = document.fields(item, "a relay", _RELAY_KEYS)
        for key in ("name", "torrc", "control"):
            if not (key in fields and document.text(fields[key], key)):
                raise document.error(item.line, f"a relay without {key!r}")
        name = document.text(fields["name"], "name")
        if any(relay.name == name for relay in relays):
            raise document.error(item.line, f"a second relay named {name!r}")
        files: dict[str, Path | None] = {
            key: _file(document, fields[key], key, base) if key in fields else None
            for key in ("password_file", "tor", "defaults_torrc")
        }
        control = document.parsed(fields["control"], "control", lambda text: _control(text, base))
        relays.append(
            Relay(
                name,
                _file(document, fields["torrc"], "torrc", base),
                control,
                files["password_file"],
                document.parsed(fields["name"], "name", paths.fragment_of),
                files["tor"],
                files["defaults_torrc"],
                document.parsed(fields["user"], "user", _user) if "user" in fields else None,
            )
        )
    return tuple(relays)


def _user(text: str) -> str:
    """Return a user name that no program can mistake for an option. Raises UsageError."""
    if not re.fullmatch(_USER, text):
        raise UsageError(f"{text!r} is no user name", hint="write the name of Tor's user")
    return text


def _control(text: str, base: Path) -> str:
    """Return a control address in full: a path, or HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text:
        if host and read_port(port) is not None:
            return _path(text)
        raise UsageError(
            f"{text!r} is no control port", hint="write a socket's path or 127.0.0.1:9051"
        )
    return str(base / _path(text.removeprefix("unix:")))


def _max_prefix(document: Document, node: Node) -> dict[Family, int]:
    limits: dict[Family, int] = {4: 16, 6: 32}
    names: dict[str, Family] = {"ipv4": 4, "ipv6": 6}
    for name, value in document.fields(node, "max_prefix", tuple(names)).items():
        text = document.text(value, name)
        if not re.fullmatch("[0-9]{1,3}", text) or int(text) > BITS[names[name]]:
            raise document.error(
                value.line, f"max_prefix: {name} is 0 to {BITS[names[name]]}, not {text!r}"
            )
        limits[names[name]] = int(text)
    return limits


def _operator(document: Document, node: Node) -> Operator:
    fields = document.fields(node, "operator", _OPERATOR_KEYS)
    return Operator(**{key: document.text(value, key) for key, value in fields.items()})
