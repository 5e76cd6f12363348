"""The key `fleet` of the config: the relays of all hosts that share the ledger.

It is a mapping, or the path of a file with the same keys, which a program may write:

    host: web1
    default: accused
    relays:
    - {name: exit1, host: web1, addresses: [198.51.100.7, "2001:db8::7"]}
    groups: {berlin: [exit1, "ber*"]}
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.fleet import Fleet, Member, Reach, told_apart
from exitpolicy.core.ports import ALL_PORTS
from exitpolicy.storage import files
from exitpolicy.storage.yaml_document import Document, quoted
from exitpolicy.storage.yaml_nodes import Fields, Node

KEYS: Final = ("host", "default", "relays", "groups")
RELAY_KEYS: Final = ("name", "host", "addresses", "nickname", "fingerprint")
MAX_BYTES: Final = 4_000_000
MAX_RELAYS: Final = 10_000
MAX_ADDRESSES: Final = 16
"""The most addresses of a relay."""
MAX_WORDS: Final = 1_000
"""The most words of a group, and the most groups."""
_EXAMPLE: Final = "{name: exit1, host: web1, addresses: [198.51.100.7]}"


def load(document: Document, node: Node, path: Path) -> Fleet:
    """Read the file that the key names, which stands at a node. Raises InvalidFileError."""
    try:
        content = files.read(path, "fleet", limit=MAX_BYTES)
    except FileNotFoundError as error:
        raise document.error(
            node.line,
            f"fleet: there is no {path}",
            "name the file with the relays of the fleet, or write them here",
        ) from error
    own = Document(str(path), content)
    if own.root is None:
        raise InvalidFileError(f"{path}: it names no relay", hint=f"write: relays: [{_EXAMPLE}]")
    return parse(own, own.root)


def lines(fleet: Fleet) -> list[str]:
    """Return the lines of the config that `parse` reads back as the same."""
    found = ["fleet:\n"]
    if fleet.host:
        found.append(f"  host: {quoted(fleet.host)}\n")
    if fleet.reach is not Reach.ACCUSED:
        found.append(f"  default: {fleet.reach}\n")
    if fleet.members:
        found.append("  relays:\n")
        found += (f"  - {_entry(member)}\n" for member in fleet.members)
    if fleet.groups:
        found.append("  groups:\n")
        found += (
            f"    {quoted(name)}: [{', '.join(map(quoted, words))}]\n"
            for name, words in fleet.groups.items()
        )
    return found


def _entry(member: Member) -> str:
    texts = [
        f"{key}: {quoted(text)}"
        for key in RELAY_KEYS
        if key != "addresses" and (text := getattr(member, key))
    ]
    if member.addresses:
        texts.append(f"addresses: [{', '.join(quoted(str(one)) for one in member.addresses)}]")
    return f"{{{', '.join(texts)}}}"


def parse(document: Document, node: Node) -> Fleet:
    """Read the mapping at a node, of the config or of a file. Raises InvalidFileError."""
    top = document.fields(node, "fleet", KEYS)
    members = _members(document, top["relays"]) if "relays" in top else ()
    fleet = Fleet(
        members,
        _groups(document, top["groups"], members) if "groups" in top else {},
        document.parsed(top["host"], "host", _name) if "host" in top else "",
        document.parsed(top["default"], "default", _reach) if "default" in top else Reach.ACCUSED,
    )
    hosts = {member.host for member in members if member.host}
    if fleet.host and hosts and fleet.host not in hosts:
        raise document.error(
            top["host"].line,
            f"host: no relay of the fleet is on the host {fleet.host!r}",
            "leave host out on a machine that runs no relay of the fleet; its hosts are: "
            + ", ".join(sorted(hosts)[:10]),
        )
    return fleet


def _members(document: Document, node: Node) -> tuple[Member, ...]:
    """Read the relays of the fleet."""
    nodes = document.items(node, "relays")
    if len(nodes) > MAX_RELAYS:
        raise document.error(node.line, f"relays: a fleet has at most {MAX_RELAYS:,} relays")
    found: dict[tuple[str, str], Member] = {}
    without_host: dict[str, None] = {}
    for item in nodes:
        member = _member(document, item)
        same_name = member.name in without_host or (
            not member.host and any(name == member.name for name, _ in found)
        )
        if same_name or (member.name, member.host) in found:
            raise document.error(
                item.line,
                f"a second relay named {member.name!r}",
                "give each relay a name of its own, or name the host of each: host: web1",
            )
        if not member.host:
            without_host[member.name] = None
        found[member.name, member.host] = member
    return told_apart(tuple(found.values()))


def _member(document: Document, item: Node) -> Member:
    fields = document.fields(item, "a relay of the fleet", RELAY_KEYS)
    for key in ("name", "addresses"):
        if key not in fields:
            raise document.error(
                item.line, f"a relay of the fleet without {key!r}", f"write: - {_EXAMPLE}"
            )
    nodes = document.items(fields["addresses"], "addresses")
    if not 1 <= len(nodes) <= MAX_ADDRESSES:
        raise document.error(
            fields["addresses"].line, f"addresses: a relay has 1 to {MAX_ADDRESSES} addresses"
        )
    texts = {
        key: document.parsed(fields[key], key, _fingerprint if key == "fingerprint" else _name)
        for key in RELAY_KEYS
        if key != "addresses" and key in fields
    }
    addresses = tuple(document.parsed(one, "addresses", _address) for one in nodes)
    return Member(addresses=tuple(dict.fromkeys(addresses)), **texts)


def _groups(
    document: Document, node: Node, members: Sequence[Member]
) -> Mapping[str, tuple[str, ...]]:
    """Read the groups: words by the name of the group."""
    if not isinstance(node, Fields):
        raise document.error(
            node.line, "groups: no list of groups", 'write: groups: {berlin: [exit1, "ber*"]}'
        )
    names = {member.name for member in members}
    groups = {name: document.items(value, f"groups: {name}") for name, value in node.values.items()}
    if max(len(groups), *map(len, groups.values()), 0) > MAX_WORDS:
        raise document.error(node.line, f"groups: more than {MAX_WORDS:,} groups or words of one")
    for name, value in node.values.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
            raise document.error(
                value.line,
                f"groups: {name!r} cannot name a group",
                "choose a name of letters, digits, '.', '_' and '-'",
            )
        if name in names:
            raise document.error(
                value.line, f"groups: {name!r} is the name of a relay", "choose another name"
            )
    found = {
        name: tuple(document.parsed(word, f"groups: {name}", _name) for word in words)
        for name, words in groups.items()
    }
    for name, words in found.items():
        if nested := next((word for word in words if word in found), None):
            raise document.error(
                node.values[name].line,
                f"groups: {name!r} holds the group {nested!r}",
                "a group holds names and patterns of relays, and no other group",
            )
    return found


def _reach(text: str) -> Reach:
    try:
        return Reach(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no choice", hint=f"write one of {', '.join(Reach)}"
        ) from error


def _name(text: str) -> str:
    """Return a name or a word for relays. Raises UsageError."""
    if not text.isprintable() or not text.strip() or len(text) > 200:
        raise UsageError(f"{text[:200]!r} is not a name of 1 to 200 printable characters")
    return text


def _fingerprint(text: str) -> str:
    bare = text.removeprefix("$").replace(" ", "").upper()
    if not re.fullmatch("[0-9A-F]{40}", bare):
        raise UsageError(
            f"{text!r} is no fingerprint", hint="write the 40 hexadecimal digits that Tor logs"
        )
    return bare


def _address(text: str) -> Destination:
    """Return a single address. Raises UsageError."""
    found = parse_destination(text)
    if found.first != found.last or found.ports != ALL_PORTS or found.is_port:
        raise UsageError(
            f"{text!r} is not a single address", hint="write each address of the relay"
        )
    return found
