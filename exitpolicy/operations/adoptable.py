"""Find the reject lines of torrcs that can become blocks, and why others stay as they are.

A line can move into the fragment if the policy means the same afterwards: no accept rule may stand
between it and the include that matches a part of it.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations import refusals
from exitpolicy.operations.host import Host
from exitpolicy.operations.init import known_torrcs
from exitpolicy.operations.planning import base_rules
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule, UnknownRule, destinations_of, parse_entries, parse_rule
from exitpolicy.storage import files
from exitpolicy.storage.config import Relay
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import fragment_include, managed, torrc
from exitpolicy.tor.policy_lines import comment_of, is_divisible, rules_in
from exitpolicy.tor.torrc_includes import Place
from exitpolicy.tor.torrc_lines import Line, lines

_OPEN_TO_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class Kept(NamedTuple):
    """A reject rule that stays in its line."""

    place: Place
    text: str
    reason: str
    is_policy: bool
    """Whether it is the operator's choice of an exit policy, and no block of a destination."""


class OwnReject(NamedTuple):
    """A reject rule that can become a block."""

    place: Place
    """With the path of the file without links."""
    text: str
    """As written."""
    destinations: tuple[Destination, ...]
    comment: str
    relays: frozenset[str]
    """The names of the relays that read the line."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the torrcs of a host reject."""

    rules: tuple[OwnReject, ...]
    kept: tuple[Kept, ...]


class _Seen(NamedTuple):
    """A reject rule as one relay reads it."""

    relay: str
    place: Place
    text: str
    destinations: tuple[Destination, ...]
    kept: Kept | None
    """Why it stays, if it does."""


def find(
    host: Host, ledger: Ledger, views: Iterable[View], chosen: frozenset[str] = frozenset()
) -> Found:
    """Return the reject rules of the chosen relays, or of all. Raises InvalidFileError.

    A rule in a file that several relays include can move only if it can on all of them.
    """
    by_name = {view.name: view for view in views}
    seen: dict[tuple[Place, str], list[_Seen]] = {}
    for relay in host.some_relays():
        for one in _reading(host, relay, by_name[relay.name], ledger):
            seen.setdefault((one.place, one.text), []).append(one)
    reasons, texts = _Files(host, chosen), _Texts()
    rules: list[OwnReject] = []
    kept: list[Kept] = []
    for (place, text), same in seen.items():
        names = frozenset(one.relay for one in same)
        if chosen and not names & chosen:
            continue
        stays = next((one.kept for one in same if one.kept is not None), None)
        reason = None if stays else reasons.of(place, names)
        if stays is not None:
            kept.append(stays)
        elif reason is not None:
            kept.append(Kept(place, text, reason, is_policy=False))
        else:
            comment = comment_of(texts.line(place))
            rules.append(OwnReject(place, text, same[0].destinations, comment, names))
    movable, divided = _whole_lines(rules, texts)
    return Found(tuple(movable), (*kept, *divided))


def resolved(place: Place, follow: Callable[[Path], Path] = files.without_links) -> Place:
    """Return a place with the path of its file without links. Raises InvalidFileError.

    A torrc may lie in another user's folder. That user must not choose which file is changed.
    `follow` returns a path without links; a caller with thousands of places passes one that
    remembers.
    """
    try:
        return Place(follow(place.file), place.line)
    except OSError as error:
        raise InvalidFileError(f"{place.file} cannot be changed: {error.strerror}") from error


def _reading(host: Host, relay: Relay, view: View, ledger: Ledger) -> Iterator[_Seen]:
    """Yield the reject rules outside of the fragment as one relay reads them."""
    parts = fragment_include.rules_and_include(relay.torrc, relay.fragment)
    include = next((index for index, (_, text) in enumerate(parts) if text is None), None)
    if include is None:
        return
    entries = [() if text is None else parse_entries([text]) for _, text in parts]
    base = [rule for rule in base_rules(ledger, [relay]) if rule.accept]
    accepting = [
        *((include, None, rule) for rule in base),
        *(
            (index, parts[index][0], entry)
            for index, found in enumerate(entries)
            for entry in found
            if isinstance(entry, UnknownRule) or (isinstance(entry, Rule) and entry.accept)
        ),
    ]
    own = () if view.running is None else view.running.local
    follow = cache(files.without_links)
    for index, ((written, text), found) in enumerate(zip(parts, entries, strict=True)):
        rules = [entry for entry in found if isinstance(entry, Rule)]
        if text is None or len(rules) < len(found) or not rules or rules[0].accept:
            continue
        if rules[0].is_catch_all:
            # The end of a policy is no news.
            continue
        place = resolved(written, follow)
        destinations = tuple(destinations_of(rules))
        choice = _choice(rules, own)
        between = (
            (where, entry)
            for position, where, entry in accepting
            # At the include, the base policy follows the blocks.
            if min(index, include) <= position <= max(index, include)
            and (where is not None or index > include)
        )
        reason = choice or _won_by(destinations, between) or _forbidden(host, destinations)
        kept = None if reason is None else Kept(place, text, reason, is_policy=choice is not None)
        yield _Seen(relay.name, place, text, destinations, kept)


@cache
def _private() -> tuple[Destination, ...]:
    return tuple(rule.destination for rule in parse_rule("reject private:*"))


def _choice(rules: Sequence[Rule], own: Sequence[Rule]) -> str | None:
    """Return why a rule is a choice of the operator's and no block; None if it may be one."""
    if all(rule.prefix == 0 for rule in rules):
        return "it closes a port at every address, which is your exit policy"
    for places, reason in (
        (_private(), "private addresses"),
        ([rule.destination for rule in own], "an address of this host"),
    ):
        if all(any(one.contains_addresses(r.destination) for one in places) for r in rules):
            return reason
    return None


def _won_by(
    destinations: Sequence[Destination],
    between: Iterable[tuple[Place | None, Rule | UnknownRule]],
) -> str | None:
    """Return which rule keeps a line from moving: a block would reject what that rule accepts."""
    for place, entry in between:
        if isinstance(entry, UnknownRule):
            return f"exitpol does not understand {str(entry)!r} at {place}, which is beside it"
        if any(entry.destination.overlaps(destination) for destination in destinations):
            where = "the base policy" if place is None else place
            return f"{str(entry)!r} at {where} stands between it and the blocks, and accepts a part"
    return None


def _forbidden(host: Host, destinations: Iterable[Destination]) -> str | None:
    now = host.clock()
    for destination in destinations:
        error = refusals.forbidden(host.config, Block(destination, now, None))
        if error is not None:
            return str(error)
    return None


class _Texts:
    """The lines of files, by their numbers."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[int, Line]] = {}

    def line(self, place: Place) -> Line:
        """Return the line at a place."""
        if place.file not in self._known:
            found = lines(torrc.read_text(place.file))
            self._known[place.file] = {line.number: line for line in found}
        return self._known[place.file][place.line]


def _whole_lines(rules: Sequence[OwnReject], texts: _Texts) -> tuple[list[OwnReject], list[Kept]]:
    """Separate the rules whose line cannot be divided and holds others that stay."""
    movable: list[OwnReject] = []
    divided: list[Kept] = []
    together = {(rule.place, rule.text) for rule in rules}
    for rule in rules:
        line = texts.line(rule.place)
        others = [text for text in rules_in(line) if (rule.place, text) not in together]
        if others and not is_divisible(line):
            reason = f"its line, in quotes or of several lines, also holds {others[0]!r}"
            divided.append(Kept(rule.place, rule.text, reason, is_policy=False))
        else:
            movable.append(rule)
    return movable, divided


class _Files:
    """Why the lines of a file are not changed."""

    def __init__(self, host: Host, chosen: frozenset[str]) -> None:
        self._chosen = chosen
        self._torrcs = {relay.name: Path(os.path.realpath(relay.torrc)) for relay in host.relays}
        ours = set(self._torrcs.values())
        self._others = [
            path for path in sorted(known_torrcs(host)) if Path(os.path.realpath(path)) not in ours
        ]
        self._known: dict[tuple[Path, frozenset[str]], str | None] = {}

    def of(self, place: Place, relays: frozenset[str]) -> str | None:
        """Return why a line that these relays read stays; None if it may go."""
        key = (place.file, relays)
        if key not in self._known:
            self._known[key] = self._reason(place.file, relays)
        return self._known[key]

    def _reason(self, path: Path, relays: frozenset[str]) -> str | None:
        comment = managed.claim(path)
        if comment is not None:
            return f"a tool writes {path}, which says {comment!r}: take the line out there"
        if path not in self._torrcs.values() and not _is_ours(path):
            return f"others than the user who runs exitpol can write {path}"
        left = sorted(relays - self._chosen) if self._chosen else []
        if left:
            return f"the relay {left[0]!r} reads {path} as well: leave --relay out"
        user = next((other for other in self._others if _reads(other, path)), None)
        if user is not None:
            return f"{user}, which is no relay of exitpol's, may include {path} as well"
        return None


def _is_ours(path: Path) -> bool:
    """Tell whether only the user who runs exitpol can write a file, and put another in its place.

    Raises no error for a file that is gone.
    """
    try:
        found = [path.stat(), path.parent.stat()]
    except OSError:
        return False
    me = os.geteuid()
    return all(one.st_uid == me and not one.st_mode & _OPEN_TO_OTHERS for one in found)


def _reads(user: Path, path: Path) -> bool:
    """Tell whether a torrc is a file or includes it. One that cannot be read may do so."""
    try:
        found = [one for _, one in torrc.includes(user)]
    except InvalidFileError:
        return os.path.lexists(user)
    return any(Path(os.path.realpath(one)) == path for one in (user, *found))
