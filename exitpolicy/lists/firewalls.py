"""Sets of firewalls: `ipset save` and `nft list set`.

Only one set is read: others of the same firewall may hold what is to be let through.
- ipset(8): `add SET ENTRY [timeout SECONDS] [comment "TEXT"] [nomatch]`; with ports, ENTRY is
  `ADDRESS,[PROTOCOL:]PORT`.
- nft(8): `elements = { KEY [timeout T] [expires T] [comment "TEXT"], ... }`; with ports, KEY is
  `ADDRESS . PORT`.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import UsageError
from exitpolicy.lists.destinations import destination_of
from exitpolicy.lists.entry import Entry, Item, Moment, Omitted, fault, reason_of
from exitpolicy.lists.times import end_after, seconds_of

OWN_TABLE: Final = "inet exitpol"
"""The family and name of the nftables table that exitpol exports; its sets are read together."""

_ADD: Final = re.compile(r"(?:-!\s+)?(?:add|-A)\s+(\S+)\s+(\S+)(.*)")
_COMMENT: Final = re.compile(r"\bcomment\s+\"([^\"]*)\"")
_TIMEOUT: Final = re.compile(r"\btimeout\s+([0-9]+)")
_OTHER_COMMANDS: Final = ("create ", "-N ", "flush ", "-F ", "destroy ", "-X ", "COMMIT", "#")


def read_ipset(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of one set."""
    first: str | None = None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith(_OTHER_COMMANDS):
            continue
        added = _ADD.fullmatch(text)
        if added is None:
            yield fault(number, line, "this is not a line of `ipset save`")
            continue
        first = first or added[1]
        if added[1] != first:
            yield fault(0, "", _several("ipset save SET", first, added[1]))
            return
        yield _ipset_item(number, line, added, moment)


def _several(command: str, one: str, other: str) -> str:
    return (
        f"the list holds the sets {one!r} and {other!r}, and one of them may be what is to be let"
        f" through: save the one that is meant with {command}"
    )


def _ipset_item(number: int, line: str, added: re.Match[str], moment: Moment) -> Item:
    _, key, options = added.groups()
    comment = _COMMENT.search(options)
    options = _COMMENT.sub("", options)
    if "nomatch" in options.split():
        return fault(number, line, "an exception (nomatch) within a set cannot be imported")
    if ",udp:" in key or ",icmp" in key:
        return Omitted(number, "not TCP, which is all that Tor carries")
    address, _, port = key.partition(",")
    try:
        destination = _with_port(address, port.removeprefix("tcp:"))
    except UsageError as error:
        return fault(number, line, str(error))
    timeout = _TIMEOUT.search(options)
    # A timeout of 0 is none.
    seconds = float(timeout[1]) if timeout is not None else 0.0
    until = end_after(seconds, moment) if seconds else None
    return Entry(number, destination, until, reason_of(comment[1]) if comment is not None else "")


def _with_port(address: str, port: str) -> Destination:
    """Return the destination of an address, network or range, and ports. Raises UsageError."""
    if not port:
        return destination_of(address)
    addresses = f"[{address}]" if ":" in address and "-" not in address else address
    if ":" in address and "-" in address:
        low, _, high = address.partition("-")
        addresses = f"[{low}]-[{high}]"
    return destination_of(f"{addresses}:{port}")


NFT: Final = re.compile(r"\s*(?:table\s+\w+\s|(?:add|create|flush)\s+(?:table|set|element)\s)")
"""The start of a line that only nft writes or reads."""
_TOKEN: Final = re.compile(r"\"([^\"]*)\"|([{},;=])|(\n)|#[^\n]*|([^\s{},;=\"]+)")
_MAX_TOKENS: Final = 3_000_000
_FIRST_OPTION: Final = frozenset({"timeout", "expires", "comment", "counter", "limit", "quota"})


class _Token(NamedTuple):
    line: int
    text: str
    quoted: bool = False


class _Set(NamedTuple):
    """The elements of a set, and what holds for all of them."""

    table: str
    """Its family and its name, or its name alone."""
    name: str
    timeout: float | None
    """Seconds, of elements that name none."""
    elements: list[list[_Token]]


def read_nftables(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the elements of one set, or of all sets of the table that exitpol exports."""
    sets = [found for found in _Sets("\n".join(lines)).read() if found.elements]
    names = list(dict.fromkeys(f"{found.table} {found.name}" for found in sets))
    if len(names) > 1 and any(found.table != OWN_TABLE for found in sets):
        yield fault(0, "", _several("nft list set FAMILY TABLE SET", *names[:2]))
        return
    for found in sets:
        for element in found.elements:
            yield _element(element, found.timeout, moment)


class _Sets:
    """Finds the sets in what nft writes or reads."""

    def __init__(self, text: str) -> None:
        self._tokens = list(itertools.islice(_tokens(text), _MAX_TOKENS + 1))
        if len(self._tokens) > _MAX_TOKENS:
            raise UsageError(
                f"the list has more than {_MAX_TOKENS:,} words",
                hint="no relay can hold that many addresses; choose a shorter list",
            )
        self._at = 0

    def read(self) -> Iterator[_Set]:
        """Yield each group of elements."""
        table = name = ""
        timeout: float | None = None
        while self._at < len(self._tokens):
            match self._words():
                case ["table", *new, "{"]:
                    table = " ".join(new)
                case ["set" | "map", new, "{"]:
                    name, timeout = new, None
                case ["timeout", duration, *_]:
                    timeout = seconds_of(duration)
                case ["elements", "=", "{"]:
                    yield _Set(table, name, timeout, self._elements())
                case ["add" | "create", "element", *of, to, "{"]:
                    yield _Set(" ".join(of), to, None, self._elements())

    def _words(self) -> list[str]:
        """Return the words of a statement, with the brace that ends it if one does."""
        words: list[str] = []
        line = self._tokens[self._at].line
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if words and token.line != line and words[-1] != "=":
                break
            self._at += 1
            if token.text in {";", "}"} and not token.quoted:
                break
            words.append(token.text)
            if token.text == "{" and not token.quoted:
                break
            line = token.line
        return words

    def _elements(self) -> list[list[_Token]]:
        """Return the elements up to the closing brace, each as its tokens."""
        elements: list[list[_Token]] = [[]]
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.quoted or token.text not in {",", "}"}:
                elements[-1].append(token)
            elif token.text == "}":
                break
            else:
                elements.append([])
        return [element for element in elements if element]


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match[3]:
            line += 1
        elif match[1] is not None:
            yield _Token(line, match[1], quoted=True)
        elif match[2] or match[4]:
            yield _Token(line, match[2] or match[4])


def _element(tokens: list[_Token], timeout: float | None, moment: Moment) -> Item:
    number = tokens[0].line
    words = [token.text for token in tokens]
    cut = next((i for i, word in enumerate(words) if word in _FIRST_OPTION), len(words))
    key, options = words[:cut], words[cut:]
    named = dict(itertools.pairwise(options))
    text = " ".join(words)
    try:
        match key:
            case [address]:
                destination = destination_of(address)
            case [address, ".", port]:
                destination = _with_port(address, port)
            case _:
                return fault(number, text, "this is no element of addresses, or addresses . ports")
    except UsageError as error:
        return fault(number, text, str(error))
    duration = named.get("expires") or named.get("timeout")
    seconds = timeout if duration is None else seconds_of(duration)
    if duration is not None and seconds is None:
        return fault(number, text, f"{duration!r} is no duration")
    until = end_after(seconds, moment) if seconds else None
    return Entry(number, destination, until, reason_of(named.get("comment", "")))
