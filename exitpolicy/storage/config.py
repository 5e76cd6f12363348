"""The config file: paths, relays, and the limits of the operator."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.durations import duration_text, parse_duration
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.fleet import Fleet
from exitpolicy.core.guard_rule import MIN_CONNECTIONS, Rule
from exitpolicy.core.ports import parse_ports, ports_text, read_port
from exitpolicy.core.repeats import Growth
from exitpolicy.storage import files, hook_config
from exitpolicy.storage.hook_config import Hooks
from exitpolicy.storage.yaml_document import Document, quoted
from exitpolicy.storage.yaml_nodes import Fields, Items, Node, Text

DEFAULT_PATH: Final = Path("/etc/exitpol/config.yaml")
MAX_BYTES: Final = 1_000_000

SINGLE_FRAGMENT: Final = Path("/etc/tor/exitpol.conf")
"""The shared fragment, used if the config names neither `fragment` nor `fragments`."""

KEYS: Final = (
    "ledger",
    "fragments",
    "fragment",
    "relays",
    "unmanaged",
    "protected",
    "max_prefix",
    "operator",
    "metrics",
    "shared_fronts",
    "priorities",
    "repeat",
    "hooks",
    "fit",
    "guard",
    "batch",
    "fleet",
)
MAX_BATCH: Final = timedelta(days=1)
"""The longest `batch`: so long may an ended block of a list be enforced."""
REPEAT_KEYS: Final = ("within", "factor", "at_most")
_GUARD_NUMBERS: Final = {
    "connections": (MIN_CONNECTIONS, 1_000_000),
    "growth": (0, 1_000_000),
    "per_hour": (1, 60),
    "port_connections": (0, 10_000_000),
}
"""The keys of `guard` that are numbers, with the lowest and the highest one."""
GUARD_KEYS: Final = (*_GUARD_NUMBERS, "ports", "time")
OPERATOR_KEYS: Final = ("name", "contact", "relay_name", "address")
_TORRC_SYNTAX: Final = '"\\#*?['
"""Characters that are not literal in the path of an %include."""
_CONTROL: Final = re.compile(
    r'^[ \t]*Control(?:Socket|Port)[ \t]+"?(?:unix:)?"?(/[^\s"]+|(?:[\w.:\[\]-]+:)?[1-9]\d*)',
    re.ASCII | re.IGNORECASE | re.MULTILINE,
)
"""A line of a torrc that opens a control port at a known place."""
_USER: Final = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?"
_UNIT: Final = r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}"

NO_CONTROL: Final = "none"
"""`control:` of a relay without a control port."""


# Named tuples are made faster than dataclasses, and every command needs these.
class Unit(NamedTuple):
    """A systemd unit whose main process is a relay's Tor: `systemctl reload` reloads it."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


class PidFile(NamedTuple):
    """A file that holds the process id of a relay's Tor, which SIGHUP reloads."""

    path: Path

    def __str__(self) -> str:
        return f"pid:{self.path}"


class Relay(NamedTuple):
    """One Tor process of this host."""

    name: str
    torrc: Path
    control: str
    """A socket's path, HOST:PORT, or NO_CONTROL."""
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
    reload: Unit | PidFile | None = None
    """How it is reloaded; None: over the control port."""

    @property
    def has_control(self) -> bool:
        """Whether it has a control port. Without one, what it enforces cannot be observed."""
        return self.control != NO_CONTROL

    @property
    def tcp_control(self) -> tuple[str, int] | None:
        """Host and port of a TCP control port; None for a socket in the file system."""
        host, _, port = self.control.rpartition(":")
        number = read_port(port)
        if number is None or "/" in self.control:
            return None
        return host.removeprefix("[").removesuffix("]"), number


class Operator(NamedTuple):
    """The sender of a reply."""

    name: str = ""
    contact: str = ""
    relay_name: str = ""
    address: str = ""
    """The relay's own address."""


class FitChoice(StrEnum):
    """What becomes of blocks that do not all fit into the descriptor of a relay."""

    REFUSE = "refuse"
    """Commands refuse to add more. Of hand edits, the first ones fit."""
    LEAVE_OUT = "leave-out"
    """The least worth of the lists is left out."""
    OVER_BLOCK = "over-block"
    """Rules reject whole networks, and other addresses with them."""


class Config(NamedTuple):
    """The content of the config file, with defaults for what it leaves out."""

    ledger: Path = Path("/var/lib/exitpol/blocks.yaml")
    fragments: Path | None = None
    """The folder that holds one NAME.conf for each relay; None: all relays include `fragment`."""
    fragment: Path = SINGLE_FRAGMENT
    """The single fragment of former versions; not used where `fragments` is set."""
    former: Path | None = None
    """The former single fragment, beside `fragments`: some relays may still include it."""
    relays: tuple[Relay, ...] = ()
    """If empty, relays are discovered on this host."""
    unmanaged: tuple[Path, ...] = ()
    """The torrcs of relays that exitpol leaves alone."""
    protected: tuple[Destination, ...] = ()
    """Never blocked, not even in part."""
    max_prefix: Mapping[Family, int] = MappingProxyType({4: 16, 6: 32})
    """The shortest prefix that is blocked without --force, by family."""
    operator: Operator = Operator()
    metrics: Path | None = None
    """The file that the tick writes metrics into; None: it writes none."""
    shared_fronts: Path | None = None
    """The list of shared fronts; None: the one that comes with exitpol."""
    priorities: Mapping[str, int] = MappingProxyType({})
    """The priority of lists by their name: a higher one first. The operator's blocks come before.
    """
    repeat: Growth | None = None
    """How blocks of lists grow when they are made again; None: they do not."""
    hooks: Hooks = Hooks()
    fit: FitChoice = FitChoice.REFUSE
    """What becomes of blocks that do not all fit."""
    guard: Rule | None = None
    """What the guard blocks; None: it blocks nothing."""
    fleet: Fleet = Fleet()
    """The relays of all hosts that share the ledger."""
    fleet_file: Path | None = None
    """The file that `fleet` was read from; None: it is in the config."""
    batch: timedelta = timedelta(minutes=10)
    """The shortest time between a change of a relay's policy and one that lists or the guard make;
    0: they make each at once."""
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
    except FileNotFoundError as error:
        if path is None:
            return Config()
        raise InvalidFileError(
            f"{path}: there is no such config",
            hint=f"name another with --config or EXITPOL_CONFIG; the default is {DEFAULT_PATH}",
        ) from error
    return parse(chosen, content)


def render(config: Config) -> bytes:
    """Return the text of a config file that `parse` reads back as the same.

    Keys with their default value are left out, except the paths. Raises UsageError for a path that
    is not UTF-8.
    """
    lines = ["# exitpol's config; every key may be left out.\n"]
    lines.append(f"ledger: {_quoted(config.ledger)}\n")
    lines += _fragment_lines(config)
    lines += relays_lines(config.relays)
    if config.unmanaged:
        lines.append(unmanaged_line(config.unmanaged))
    if config.protected:
        lines.append(f"protected: [{', '.join(map(_quoted, config.protected))}]\n")
    if config.max_prefix != Config().max_prefix:
        limits = config.max_prefix
        lines.append(f"max_prefix: {{ipv4: {limits[4]}, ipv6: {limits[6]}}}\n")
    operator = {key: getattr(config.operator, key) for key in OPERATOR_KEYS}
    if any(operator.values()):
        words = (f"{key}: {quoted(value)}" for key, value in operator.items() if value)
        lines.append(f"operator: {{{', '.join(words)}}}\n")
    if config.metrics is not None:
        lines.append(f"metrics: {_quoted(config.metrics)}\n")
    if config.shared_fronts is not None:
        lines.append(f"shared_fronts: {_quoted(config.shared_fronts)}\n")
    if config.priorities:
        words = (f"{quoted(name)}: {number}" for name, number in config.priorities.items())
        lines.append(f"priorities: {{{', '.join(words)}}}\n")
    lines += _rule_lines(config)
    return "".join(lines).encode()


def _rule_lines(config: Config) -> Iterator[str]:
    """Yield the lines of what is off unless it is configured."""
    if config.repeat is not None:
        within, at_most = map(duration_text, (config.repeat.within, config.repeat.at_most))
        factor = f"{config.repeat.factor:g}"
        yield f"repeat: {{within: {within}, factor: {factor}, at_most: {at_most}}}\n"
    if config.hooks != Hooks():
        yield hook_config.line(config.hooks)
    yield fit_line(config.fit)
    if config.guard is not None:
        yield _guard_line(config.guard)
    if config.fleet_file is not None:
        yield f"fleet: {_quoted(config.fleet_file)}\n"
    elif config.fleet != Fleet():
        from exitpolicy.storage import fleet_config  # noqa: PLC0415 - most hosts are in no fleet

        yield from fleet_config.lines(config.fleet)
    if config.batch != Config().batch:
        yield f"batch: {duration_text(config.batch) if config.batch else '0'}\n"


def _guard_line(rule: Rule) -> str:
    """Return the line of `guard:`, with what differs from the defaults."""
    default = Rule()
    words = [
        f"{key}: {getattr(rule, key)}"
        for key in _GUARD_NUMBERS
        if getattr(rule, key) != getattr(default, key)
    ]
    if rule.ports != default.ports:
        words.append(f"ports: {quoted(ports_text(rule.ports))}")
    if rule.time != default.time:
        words.append(f"time: {duration_text(rule.time)}")
    return f"guard: {{{', '.join(words)}}}\n"


def _fragment_lines(config: Config) -> list[str]:
    if config.fragments is None:
        return [f"fragment: {_quoted(config.fragment)}\n"]
    former = [] if config.former is None else [f"fragment: {_quoted(config.former)}\n"]
    return [f"fragments: {_quoted(config.fragments)}\n", *former]


def relays_lines(relays: Sequence[Relay]) -> list[str]:
    """Return the lines of `relays:`, one for each relay; none for none. Raises UsageError."""
    return [*(["relays:\n"] if relays else []), *(f"- {entry(relay)}\n" for relay in relays)]


def entry(relay: Relay) -> str:
    """Return the complete entry of a relay, as it stands in the config. Raises UsageError."""
    values = {key: getattr(relay, key) for key in RELAY_KEYS}
    words = (f"{key}: {_quoted(value)}" for key, value in values.items() if value is not None)
    return f"{{{', '.join(words)}}}"


def unmanaged_line(torrcs: Sequence[Path]) -> str:
    """Return the line of `unmanaged:`. Raises UsageError."""
    return f"unmanaged: [{', '.join(map(_quoted, torrcs))}]\n"


def _quoted(value: object) -> str:
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{str(value)!r} is not UTF-8 and cannot be stored in the config",
            hint="choose another name",
        ) from error
    return quoted(str(value))


def plain(path: Path, content: bytes) -> dict[str, Any]:
    """Return the content of the file at `path` as lists and dicts, with all scalars as text.

    Raises InvalidFileError for a file that is no YAML.
    """
    root = Document(str(path), content).root
    return {} if root is None else {key: _plain(node) for key, node in _values(root).items()}


def _values(node: Node) -> Mapping[str, Node]:
    return node.values if isinstance(node, Fields) else {}


def _plain(node: Node) -> Any:  # noqa: ANN401 - of any depth
    if isinstance(node, Text):
        return node.value
    if isinstance(node, Items):
        return [_plain(each) for each in node.values]
    return {key: _plain(each) for key, each in node.values.items()}


def parse(path: Path, content: bytes) -> Config:
    """Build the config from the content of the file at `path`. Raises InvalidFileError."""
    document = Document(str(path), content)
    if document.root is None:
        return Config(source=path)
    top = document.fields(document.root, "the config", KEYS)
    # Not resolve(): links in the path may be changed later.
    base = Path(os.path.abspath(path)).parent  # noqa: PTH100

    default = Config()
    paths = _fragments(document, top, base)
    if "ledger" in top:
        paths = paths._replace(ledger=_file(document, top["ledger"], "ledger", base))
    fleet, fleet_file = _fleet(document, top["fleet"], base) if "fleet" in top else (Fleet(), None)
    return paths._replace(
        relays=_relays(document, top["relays"], base, paths) if "relays" in top else (),
        unmanaged=tuple(
            _file(document, node, "unmanaged", base)
            for node in document.items(top["unmanaged"], "unmanaged")
        )
        if "unmanaged" in top
        else (),
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
        metrics=_file(document, top["metrics"], "metrics", base) if "metrics" in top else None,
        shared_fronts=_file(document, top["shared_fronts"], "shared_fronts", base)
        if "shared_fronts" in top
        else None,
        priorities=_priorities(document, top["priorities"]) if "priorities" in top else {},
        repeat=_repeat(document, top["repeat"]) if "repeat" in top else None,
        hooks=hook_config.parse(document, top["hooks"], base) if "hooks" in top else Hooks(),
        fit=document.parsed(top["fit"], "fit", _fit_choice) if "fit" in top else default.fit,
        guard=_guard(document, top["guard"]) if "guard" in top else None,
        fleet=fleet,
        fleet_file=fleet_file,
        batch=document.parsed(top["batch"], "batch", _batch) if "batch" in top else default.batch,
        source=path,
    )


def _fleet(document: Document, node: Node, base: Path) -> tuple[Fleet, Path | None]:
    """Return the fleet, and the file that it was read from; None if it is in the config."""
    from exitpolicy.storage import fleet_config  # noqa: PLC0415 - most hosts are in no fleet

    if not isinstance(node, Text):
        return fleet_config.parse(document, node), None
    path = _file(document, node, "fleet", base)
    return fleet_config.load(document, node, path), path


def _fit_choice(text: str) -> FitChoice:
    try:
        return FitChoice(text)
    except ValueError as error:
        known = ", ".join(FitChoice)
        raise UsageError(f"{text!r} is no choice", hint=f"write one of {known}") from error


def fit_line(choice: FitChoice) -> str:
    """Return the line of `fit:`; empty for the default."""
    return "" if choice is FitChoice.REFUSE else f"fit: {choice}\n"


def _file(document: Document, node: Node, what: str, base: Path) -> Path:
    return base / document.parsed(node, what, _path)


def _path(text: str) -> str:
    """Return a path that a system call and a line of a file can hold. Raises UsageError."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        text = ""
    if not text or "\0" in text or "\n" in text:
        raise UsageError(f"{text!r} is not a path")
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


def _fragments(document: Document, top: Mapping[str, Node], base: Path) -> Config:
    """Read where the fragments are."""
    single, folder = (
        _fragment(document, top[key], key, base) if key in top else None
        for key in ("fragment", "fragments")
    )
    if folder is None:
        return Config(fragment=single or SINGLE_FRAGMENT)
    # `init` writes both while some torrcs still include the former single fragment.
    return Config(fragments=folder, former=single)


def _relays(document: Document, node: Node, base: Path, paths: Config) -> tuple[Relay, ...]:
    """Read the list of relays; `paths` says where their fragments are."""
    relays: list[Relay] = []
    for item in document.items(node, "relays"):
        fields = document.fields(item, "a relay", tuple(RELAY_KEYS))
        for key in ("name", "torrc", "control"):
            if not (key in fields and document.text(fields[key], key)):
                raise document.error(
                    item.line,
                    f"a relay without {key!r}",
                    f"write: - {_completed(fields, base)}",
                )
        values = {key: RELAY_KEYS[key](document, value, key, base) for key, value in fields.items()}
        fragment = document.parsed(fields["name"], "name", paths.fragment_of)
        relay = Relay(**values, fragment=fragment)
        if not relay.has_control and relay.reload is None:
            # Debian's unit; the operator corrects it where Tor is started in another way.
            complete = entry(relay._replace(reload=Unit(f"{usual_unit(relay.torrc)}.service")))
            raise document.error(
                item.line,
                "a relay without a control port needs reload: systemd:UNIT or pid:FILE",
                f"write: - {complete}",
            )
        _check_distinct(document, item.line, relay, relays)
        relays.append(relay)
    return tuple(relays)


def _completed(fields: Mapping[str, Node], base: Path) -> str:
    """Return a complete entry: what is known, the torrc's control port, Debian's other values."""
    known = {key: node.value for key, node in fields.items() if isinstance(node, Text)}
    torrc = known.get("torrc") or "/etc/tor/torrc"
    usual = usual_name(Path(torrc))
    values = {
        "name": usual,
        "torrc": torrc,
        "control": _control_in(base / torrc) or usual_control(Path(torrc)),
        **{key: text for key, text in known.items() if text},
    }
    return f"{{{', '.join(f'{key}: {quoted(value)}' for key, value in values.items())}}}"


def _control_in(torrc: Path) -> str:
    """Return the control port in the text of a torrc, for a hint: a socket first; or empty.

    `init` lets Tor read the files. Here neither includes nor the defaults-torrc are followed.
    """
    try:
        text = files.read(torrc, "torrc", limit=MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError, InvalidFileError):
        return ""
    found = _CONTROL.findall(text)
    sockets = (address for address in found if address.startswith("/"))
    first = next(sockets, found[0] if found else "")
    return f"127.0.0.1:{first}" if first.isdecimal() else first


def usual_name(torrc: Path) -> str:
    """Return the name of the relay of a torrc: `default`, or that of the instance's folder."""
    if torrc == Path("/etc/tor/torrc") or torrc.parent == Path("/"):
        return "default"
    return torrc.parent.name if torrc.name == "torrc" else torrc.stem


def usual_control(torrc: Path) -> str:
    """Return the control socket that Debian's units give to the relay of a torrc."""
    if torrc.parent.parent == Path("/etc/tor/instances"):
        return f"/run/tor-instances/{torrc.parent.name}/control"
    return "/run/tor/control"


def usual_unit(torrc: Path) -> str:
    """Return the systemd unit with which Debian starts the relay of a torrc, without its suffix."""
    is_instance = torrc.parent.parent == Path("/etc/tor/instances")
    return f"tor@{torrc.parent.name}" if is_instance else "tor@default"


def _check_distinct(document: Document, line: int, relay: Relay, others: Sequence[Relay]) -> None:
    """Refuse a relay with the name, the torrc or the control port of another one."""
    for other in others:
        if other.name == relay.name:
            raise document.error(
                line,
                f"a second relay named {relay.name!r}",
                f"give each relay a name of its own, such as:"
                f" - {entry(relay._replace(name=_other_name(relay)))}",
            )
        if os.path.normpath(other.torrc) == os.path.normpath(relay.torrc):
            raise document.error(
                line,
                f"the relays {other.name!r} and {relay.name!r} have the same torrc, {relay.torrc}",
                "one relay is one Tor process with a torrc of its own; keep one of the two entries:"
                f" - {entry(other)}",
            )
        if other.control == relay.control and relay.has_control:
            raise document.error(
                line,
                f"the relays {other.name!r} and {relay.name!r} have the same control port,"
                f" {relay.control}: only one Tor answers there",
                f"write ControlSocket {_other_control(relay)} into {relay.torrc}, restart that Tor,"
                f" and write: - {entry(relay._replace(control=_other_control(relay)))}",
            )


def _other_name(relay: Relay) -> str:
    usual = usual_name(relay.torrc)
    return usual if usual != relay.name else f"{relay.name}-2"


def _other_control(relay: Relay) -> str:
    """Return a control socket that no other relay has."""
    usual = usual_control(relay.torrc)
    return usual if usual != relay.control else f"/run/tor-instances/{relay.name}/control"


def _name(document: Document, node: Node, what: str, _base: Path) -> str:
    return document.text(node, what)


def _user(document: Document, node: Node, what: str, _base: Path) -> str:
    return document.parsed(node, what, _user_name)


def _user_name(text: str) -> str:
    """Return a user name that no program can mistake for an option. Raises UsageError."""
    if not re.fullmatch(_USER, text):
        raise UsageError(f"{text!r} is not a user name", hint="write the name of Tor's user")
    return text


def _control(document: Document, node: Node, what: str, base: Path) -> str:
    return document.parsed(node, what, lambda text: _address(text, base))


def _address(text: str, base: Path) -> str:
    """Return a control address in full: a path, HOST:PORT, or NO_CONTROL."""
    if text == NO_CONTROL:
        return text
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text:
        if host and read_port(port) is not None:
            return _path(text)
        raise UsageError(
            f"{text!r} is not a control port", hint="write a socket's path or 127.0.0.1:9051"
        )
    return str(base / _path(text.removeprefix("unix:")))


def _reload(document: Document, node: Node, what: str, base: Path) -> Unit | PidFile | None:
    return document.parsed(node, what, lambda text: _reload_way(text, base))


def _reload_way(text: str, base: Path) -> Unit | PidFile | None:
    """Return how a relay is reloaded; None for `control`. Raises UsageError."""
    kind, colon, rest = text.partition(":")
    if text == "control":
        return None
    if kind == "systemd" and re.fullmatch(_UNIT, rest):
        return Unit(rest)
    if kind == "pid" and colon:
        return PidFile(base / _path(rest))
    raise UsageError(
        f"{text!r} is no way to reload Tor",
        hint="write control, systemd:tor@default.service, or pid:/run/tor/tor.pid",
    )


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


def _priorities(document: Document, node: Node) -> dict[str, int]:
    if not isinstance(node, Fields):
        raise document.error(
            node.line, "priorities: no list of names", "write: priorities: {spamhaus-drop: 10}"
        )
    found: dict[str, int] = {}
    for name, value in node.values.items():
        text = document.text(value, f"priorities: {name}")
        if not re.fullmatch("[0-9]{1,4}", text):
            raise document.error(
                value.line, f"priorities: {name} is a number from 0 to 9999, not {text!r}"
            )
        found[name] = int(text)
    return found


def _repeat(document: Document, node: Node) -> Growth:
    """Read how blocks grow; what is left out has its default."""
    fields = document.fields(node, "repeat", REPEAT_KEYS)
    values: dict[str, Any] = {
        key: document.parsed(
            value, f"repeat: {key}", _factor if key == "factor" else parse_duration
        )
        for key, value in fields.items()
    }
    return Growth(**values)


def _guard(document: Document, node: Node) -> Rule:
    """Read what the guard blocks; what is left out has its default."""
    values: dict[str, Any] = {}
    for key, value in document.fields(node, "guard", GUARD_KEYS).items():
        what = f"guard: {key}"
        if key in _GUARD_NUMBERS:
            values[key] = document.parsed(value, what, partial(_number, key))
        else:
            values[key] = document.parsed(value, what, parse_ports if key == "ports" else _time)
    return Rule(**values)


def _number(key: str, text: str) -> int:
    """Return a number of the guard's rule. Raises UsageError."""
    low, high = _GUARD_NUMBERS[key]
    if not re.fullmatch("[0-9]{1,8}", text) or not low <= int(text) <= high:
        raise UsageError(f"{text!r} is no number from {low:,} to {high:,}")
    return int(text)


def _time(text: str) -> timedelta:
    """Return for how long the guard blocks, at least a minute. Raises UsageError."""
    found = parse_duration(text)
    if found < timedelta(minutes=1):
        raise UsageError(f"{text!r} is less than a minute", hint="write 1h, 30m or 1d")
    return found


def _batch(text: str) -> timedelta:
    """Return the time between two batches. Raises UsageError."""
    found = timedelta() if text == "0" else parse_duration(text)
    if found > MAX_BATCH:
        raise UsageError(f"{text!r} is more than a day", hint="write 10m, 1h or 0")
    return found


def _factor(text: str) -> float:
    """Return a factor from 1 to 100. Raises UsageError."""
    if not re.fullmatch(r"100|[1-9][0-9]?(\.[0-9]{1,3})?", text):
        raise UsageError(f"{text!r} is no number from 1 to 100", hint="write 2, or 1.5")
    return float(text)


def _operator(document: Document, node: Node) -> Operator:
    fields = document.fields(node, "operator", OPERATOR_KEYS)
    return Operator(**{key: document.text(value, key) for key, value in fields.items()})


RELAY_KEYS: Final[dict[str, Callable[[Document, Node, str, Path], Any]]] = {
    "name": _name,
    "torrc": _file,
    "control": _control,
    "password_file": _file,
    "tor": _file,
    "defaults_torrc": _file,
    "user": _user,
    "reload": _reload,
}
"""The keys of a relay, each with its reader: fields of `Relay` by the same names."""
