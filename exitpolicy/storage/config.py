"""The config file: where things are, and what the operator never wants to happen."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.storage import files
from exitpolicy.storage.yaml_document import Document, Node

DEFAULT_PATH: Final = Path("/etc/exitpol/config.yaml")
MAX_BYTES: Final = 1_000_000

_KEYS: Final = ("ledger", "fragment", "relays", "protected", "max_prefix", "operator")
_RELAY_KEYS: Final = ("name", "torrc", "control", "password_file")
_OPERATOR_KEYS: Final = ("name", "contact", "relay_name", "address")


@dataclass(frozen=True, slots=True)
class Relay:
    """One Tor of this host."""

    name: str
    torrc: Path
    control: str
    """A socket's path, or HOST:PORT."""
    password_file: Path | None = None
    """Holds the password of a HashedControlPassword on its first line."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who signs a letter."""

    name: str = ""
    contact: str = ""
    relay_name: str = ""
    address: str = ""
    """The relay's own address."""


@dataclass(frozen=True, slots=True)
class Config:
    """All that the config file says, with the defaults of what it does not."""

    ledger: Path = Path("/var/lib/exitpol/blocks.yaml")
    fragment: Path = Path("/etc/tor/exitpol.conf")
    relays: tuple[Relay, ...] = ()
    """Empty: they are found on this host."""
    protected: tuple[Destination, ...] = ()
    """Never blocked, not even in part."""
    max_prefix: dict[Family, int] = field(default_factory=lambda: {4: 16, 6: 32})
    """The shortest prefix that is blocked without --force, by family."""
    operator: Operator = Operator()
    source: Path | None = None
    """The file that was read."""


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


def parse(path: Path, content: bytes) -> Config:
    """Build the config from the content of the file at `path`. Raises InvalidFileError."""
    document = Document(str(path), content)
    if document.root is None:
        return Config(source=path)
    top = document.fields(document.root, "the config", _KEYS)
    # Not resolve(): a path may go through links that are swapped later.
    base = Path(os.path.abspath(path)).parent  # noqa: PTH100

    default = Config()
    return Config(
        ledger=_file(document, top["ledger"], "ledger", base)
        if "ledger" in top
        else default.ledger,
        fragment=_fragment(document, top, _file(document, top["fragment"], "fragment", base))
        if "fragment" in top
        else default.fragment,
        relays=_relays(document, top["relays"], base) if "relays" in top else (),
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
    """Return a path as it can be given to the kernel and written on one line."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        text = ""
    if not text or "\0" in text or "\n" in text:
        raise UsageError(f"{text!r} is no path")
    return text


def _fragment(document: Document, top: dict[str, Node], path: Path) -> Path:
    if any(character in str(path) for character in '"\\#*?['):
        raise document.error(
            top["fragment"].line,
            f"fragment: {path} has characters that mean something else in a torrc",
            "choose a plain name, such as /etc/tor/exitpol.conf",
        )
    return path


def _relays(document: Document, node: Node, base: Path) -> tuple[Relay, ...]:
    relays: list[Relay] = []
    for item in document.items(node, "relays"):
        fields = document.fields(item, "a relay", _RELAY_KEYS)
        for key in ("name", "torrc", "control"):
            if not (key in fields and document.text(fields[key], key)):
                raise document.error(item.line, f"a relay without {key!r}")
        name = document.text(fields["name"], "name")
        if any(relay.name == name for relay in relays):
            raise document.error(item.line, f"a second relay named {name!r}")
        password = fields.get("password_file")
        relays.append(
            Relay(
                name,
                _file(document, fields["torrc"], "torrc", base),
                document.parsed(fields["control"], "control", lambda text: _control(text, base)),
                None if password is None else _file(document, password, "password_file", base),
            )
        )
    return tuple(relays)


def _control(text: str, base: Path) -> str:
    """Return a control address in full: a path, or HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text:
        if host and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536:
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
