"""Find the roles of the addresses in one line, from words, arrows and log formats."""

import re
from itertools import pairwise
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention, is_private
from exitpolicy.complaint.language.senses import is_exonerating, sense_of, words_of
from exitpolicy.complaint.roles.context import LIST, WINDOW, by_context, clause_of
from exitpolicy.complaint.roles.scores import BYSTANDER, Role, Score, Sense, stronger

_ARROW: Final = re.compile(r"(?:[-=~]{1,3}>|[→⇒➜»]|>{1,2})")
_ARROW_BACK: Final = re.compile(r"(?:<[-=]{1,3}|[←⇐])(?!>)")
_BOTH_WAYS: Final = re.compile(r"<-{1,2}>|↔")
_ELEMENT: Final = re.compile(r"</?\w")
"""The beginning of an HTML or XML tag. Its `>` is no arrow."""
_CLOCK: Final = re.compile(r"\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?")
_PROGRAM: Final = re.compile(r"\s+[\w./()-]{1,60}(?:\[\d{1,10}\])?:(?:\s|\Z)")
_TIMESTAMP: Final = re.compile(r"[\s<>\[\]\d:\-T./+,A-Za-z]{5,60}\Z")
_ACCESS_START: Final = re.compile(r"\s+\S{1,60}\s+\S{1,60}\s+\[\d")
_METHOD: Final = re.compile(
    r"\s+(?:GET|POST|HEAD|PUT|OPTIONS|PROPFIND|CONNECT)\s(?:\S{1,300}\s\S{1,300}\s(\d{1,5})\s)?"
)

_PAYLOAD: Final = re.compile(
    r"\b(?:GET|POST|HEAD|PUT|OPTIONS|PROPFIND)\s/[^\s\"]{0,300}[?&;=+%][^\s\"]{0,300}\Z"
)
"""Ends in the parameters of a request, which the attacker wrote: `GET /?a=wget+http://`."""


def roles_in(line: str, mentions: list[Mention], *, acting: bool) -> list[Sense | None]:
    """Return the sense of each address in a refanged line; None if it is unknown.

    `acting`: whether the line, or the sentence that it refers to, says that somebody did something.
    """
    found = _log_shapes(line, mentions)
    acting = acting or _is_flow(line, mentions)
    exonerating = is_exonerating(line)
    for index, mention in enumerate(mentions):
        if found[index] is not None:
            continue
        start = mentions[index - 1].end if index else 0
        before = line[max(start, mention.start - WINDOW) : mention.start]
        end = mentions[index + 1].start if index + 1 < len(mentions) else len(line)
        after = line[mention.end : min(end, mention.end + WINDOW)]
        written_by_attacker = _PAYLOAD.search(before) is not None
        if written_by_attacker or (exonerating and is_exonerating(clause_of(line, mention))):
            found[index] = BYSTANDER
            continue
        listed = index > 0 and (
            LIST.match(before) or _is_pair(mentions[index - 1], before, mention)
        )
        if listed and found[index - 1] is not None:
            found[index] = found[index - 1]
            continue
        found[index] = by_context(before, after, acting=acting)
    _arrows(line, mentions, found)
    return found


def _is_pair(left: Mention, between: str, right: Mention) -> bool:
    """Tell whether two addresses are the private and the public one of a host: `10.0.0.5,A`."""
    is_glued = between.strip() in {",", "/", "|"} and len(between) <= 3
    return is_glued and is_private(left.addresses) is not is_private(right.addresses)


def _is_flow(line: str, mentions: list[Mention]) -> bool:
    """Tell whether a line says `from A to B`, which tells roles without a verb."""
    for left, right in pairwise(mentions):
        one = words_of(line[max(0, left.start - 40) : left.start])[-1:]
        other = words_of(line[max(left.end, right.start - 40) : right.start])[-1:]
        senses = [sense_of(word) for word in (*one, *other)]
        if len(senses) == 2 and all(sense and sense.is_preposition for sense in senses):
            return {sense.role for sense in senses if sense} == {Role.SOURCE, Role.DESTINATION}
    return False


def _log_shapes(line: str, mentions: list[Mention]) -> list[Sense | None]:
    """Return the senses of the first addresses in log lines of a known format."""
    found: list[Sense | None] = [None] * len(mentions)
    first = mentions[0]
    before, after = line[: first.start], line[first.end : first.end + 200]
    if not before.strip(" \t\"'[") and _ACCESS_START.match(after):
        found[0] = Sense(Role.SOURCE, Score.LOG)
    elif _CLOCK.search(before) and _TIMESTAMP.match(before):
        if len(mentions) >= 2 and (method := _METHOD.match(after)):
            if method[1] and 0 < int(method[1]) < 65536:
                first.ports = (int(method[1]),)
            # IIS: server address, method, path, port, user, client address.
            found[0], found[1] = Sense(Role.DESTINATION, Score.LOG), Sense(Role.SOURCE, Score.LOG)
        elif _PROGRAM.match(after):
            # Syslog: the host that logs is the victim.
            found[0] = Sense(Role.DESTINATION, Score.LOG - 5)
    return found


def _arrows(line: str, mentions: list[Mention], found: list[Sense | None]) -> None:
    """Apply arrows between two addresses; stronger evidence, such as keys, stays."""
    for index in range(len(mentions) - 1):
        left, right = mentions[index], mentions[index + 1]
        between = line[left.end : right.start]
        if between.startswith(">") and "<" in line[max(0, left.start - 60) : left.start]:
            continue  # brackets around an address
        if not 1 <= len(between) <= 80 or _BOTH_WAYS.search(between) or _ELEMENT.search(between):
            continue
        if _ARROW_BACK.search(between):
            roles = Role.DESTINATION, Role.SOURCE
        elif _ARROW.search(between):
            roles = Role.SOURCE, Role.DESTINATION
        else:
            continue
        for place, role in zip((index, index + 1), roles, strict=True):
            found[place] = stronger(found[place], Sense(role, Score.ARROW))
