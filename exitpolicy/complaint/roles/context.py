# ruff: noqa: RUF001 - punctuation of Japanese and Chinese
"""Find the role of an address in a sentence, from the words around it."""

import re
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention
from exitpolicy.complaint.language.senses import (
    breaks_off,
    is_agent,
    is_filler,
    is_ours,
    is_record,
    label_of,
    sense_after,
    sense_of,
    stands_by,
    words_of,
)
from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.complaint.roles.scores import BYSTANDER, Role, Score, Sense

_PASSING_PENALTY: Final = 22
"""Reduction of the score of "our server" in a sentence that is not about an attack."""
WINDOW: Final = 140
_MAX_WORDS: Final = 12
_MAX_STRANGERS: Final = 3
"""Maximum words of unknown meaning between a word that tells a role and the address."""
_SENTENCE: Final = re.compile(r"(?:(?<!\.)[.;!?]\s|[。！？])")
_CLAUSE: Final = pattern(r"[;.!?。]\s|[。！？]|(?:,\s|\s)(?:<<clause>>)\s")
LIST: Final = pattern(
    r"\s{0,3}\(?(?:[,;&/]\s{0,3}(?:<<and>>)?|<<and>>)\s{1,3}(?:the\s)?(?:ip\s|host\s)?\Z"
    r"|\s?(?:[、，]|<<and unspaced>>)\s?\Z"
)
"""The text between two addresses of one list."""
_URL: Final = re.compile(
    r"(https?|ftp|ssh|rdp|smtp|imap|sip|udp|tcp)://(?:[^\s/@]{1,60}@)?\[?\Z", re.IGNORECASE
)
_ATTACKING_HOST: Final = pattern(r"<<attacking host>>", re.IGNORECASE)
_HOST_NAME: Final = re.compile(
    r"(?<![\w.@/-])[a-z][\w-]{0,40}(?:\.[\w-]{1,40}){1,6}(?![\w@/])"
    r"|(?<![\w.@/-])[a-z][\w-]{0,40}/\d[\w.]{0,20}|[a-z]{2,8}://",
    re.IGNORECASE,
)
"""Host names, products with versions, and URL schemes: these are no words of the sentence."""
LINK: Final = pattern(r"<<link>>")
_SIP: Final = re.compile(r"\bsips?:[^\s@]{1,40}@\Z", re.IGNORECASE)
_EXAMPLE: Final = pattern(r"(?:<<example>>)[\s,:(]{0,4}\Z")
_KEY: Final = re.compile(r"^[\s>*•-]{0,8}([^\W\d_]{3,20})\s?[:=]\s{0,16}\Z")
"""The key of a field, in one word: `sensor: A`."""
_HOST_HEADER: Final = re.compile(r"^\s{0,8}>?\s?host:\s\Z", re.IGNORECASE)
_ACTIVE: Final = pattern(r"(?![\])\s,]{0,3}\w{1,12}\s(?:<<from>>)\b)[\])\s,]{0,3}(?:<<active>>)")
_PASSIVE: Final = pattern(r"[\])\s,]{0,3}(?:<<passive>>)")
_OBSERVING: Final = pattern(r"[)\]\s,]{0,4}(?:[^\W\d][\w']{0,5}\s){0,2}(?:<<observing>>)")
"""With up to two short words before the verb: `has`, `l'a`, `hat sie`."""


def scan_back(text: str, *, acting: bool = True) -> Sense | None:
    """Return the sense of the nearest word before an address that tells a role.

    `acting`: whether the sentence says that somebody did something. If it does not, "our mail
    gateway" is a bystander.
    """
    words = _words_before(text)
    strangers = 0
    standing_by = False
    for index in range(len(words) - 1, -1, -1):
        word, before = words[index], words[:index]
        sense = None if stands_by(word) else sense_of(word, adjacent=index == len(words) - 1)
        if stands_by(word):
            standing_by = True
        elif sense is not None:
            if standing_by and _is_aside(word, sense, before, acting=acting):
                return BYSTANDER
            if not sense.is_preposition:
                return _by_word(sense, before, strangers, acting=acting)
            if strangers:
                break
            if found := _by_preposition(sense, before, acting=acting):
                return found
        elif breaks_off(word):
            break
        else:
            strangers += not is_filler(word)
        if strangers > _MAX_STRANGERS:
            break
    return BYSTANDER if standing_by and not acting else None


def _words_before(text: str) -> list[str]:
    """Return the last words of the sentence, without host names."""
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    text = text[ends[-1] :] if ends else text
    return words_of(_HOST_NAME.sub(" ", _ATTACKING_HOST.sub("attacker ", text)))[-_MAX_WORDS:]


def _is_aside(word: str, sense: Sense, before: list[str], *, acting: bool) -> bool:
    """Tell whether a host that often stands by does so here: `sent by our mail gateway`."""
    if not is_ours(word) and sense.role is Role.DESTINATION:
        return False
    return not acting or any(map(is_agent, before[-2:]))


def _by_word(sense: Sense, before: list[str], strangers: int, *, acting: bool) -> Sense:
    """Return the sense of a noun or a possessive."""
    ours = sense.role is Role.SOURCE and _owned(before)
    if ours or sense.is_possessive:
        # "Our origin server", "our client": a destination in spite of the word.
        role = Role.DESTINATION if ours else sense.role
        if not acting and any(map(stands_by, before[-3:])):
            return BYSTANDER  # "the DNS servers of ours"
        return Sense(
            role, Score.OWNER - (0 if ours else strangers) - (0 if acting else _PASSING_PENALTY)
        )
    return Sense(sense.role, sense.score - strangers)


def _by_preposition(sense: Sense, before: list[str], *, acting: bool) -> Sense | None:
    """Return the sense of `from` or `to` directly before an address.

    `to` tells a destination only in a sentence in which somebody did something.
    """
    source = sense.role is Role.SOURCE
    if _is_both_ways(sense, before):
        return BYSTANDER
    if _names_record(before):
        return Sense(Role.DESTINATION, Score.PREPOSITION)
    beside = any(sense_of(word) == BYSTANDER for word in before[-3:])
    if beside or (source and any(map(breaks_off, before))):
        return BYSTANDER  # "the console at A", "it was detected by A"
    return sense if source or acting else None


def _is_both_ways(sense: Sense, before: list[str]) -> bool:
    """Tell whether the opposite preposition stands before: `traffic from/to A`."""
    for word in reversed(before[-2:]):
        other = sense_of(word)
        if other is not None:
            return other.is_preposition and other.role is not sense.role
        if not is_filler(word):
            return False
    return False


def _names_record(before: list[str]) -> bool:
    """Tell whether the preposition belongs to a log: `logs from A`, `the log at A`."""
    for word in reversed(before[-3:]):
        if is_record(word):
            return True
        if not is_filler(word):
            return False
    return False


def clause_of(line: str, mention: Mention) -> str:
    """Return the clause that contains an address."""
    start = max(0, mention.start - 2 * WINDOW)
    opened = [found.end() for found in _CLAUSE.finditer(line, start, mention.start)]
    # The clause ends where another one, with another subject, begins.
    closed = _CLAUSE.search(line, mention.end, mention.end + 2 * WINDOW)
    return line[opened[-1] if opened else start : closed.start() if closed else mention.end + 180]


def _owned(words: list[str]) -> bool:
    """Tell whether the words end with "our", or "our server"."""
    for word in reversed(words[-3:]):
        if is_ours(word):
            return True
        if not is_filler(word):
            return False
    return False


def by_context(before: str, after: str, *, acting: bool) -> Sense | None:
    """Return the sense of the text around an address, up to the next addresses.

    `acting`: whether the sentence says that somebody did something.
    """
    fixed = _by_phrase(before, after, acting=acting)
    if fixed is not None:
        return fixed
    if _OBSERVING.match(after) and any(map(stands_by, words_of(before)[-6:])):
        return BYSTANDER  # "our probe A has seen"
    if _PASSIVE.match(after):
        return Sense(Role.DESTINATION, Score.AFTER)
    back = scan_back(before, acting=acting)
    if back is not None:
        return back
    link = acting and _URL.search(before) and not LINK.search(before)
    if link or _HOST_HEADER.search(before):
        return Sense(Role.DESTINATION, Score.URL)
    return Sense(Role.SOURCE, Score.AFTER) if _ACTIVE.match(after) else None


def _by_phrase(before: str, after: str, *, acting: bool) -> Sense | None:
    """Return the sense of a fixed phrase directly beside an address."""
    particle = sense_after(after)
    if particle is not None:
        return Sense(particle, Score.AFTER)
    if _SIP.search(before):
        # RFC 3261, 19.1: the host of a SIP URI is the server that the user logs in to.
        return Sense(Role.DESTINATION, Score.AFTER)
    if key := _KEY.match(before):
        # As a key, words count that say nothing in a sentence, such as `sensor: A` and `to: A`.
        label = label_of(key[1].lower()) or sense_of(key[1].lower())
        if label is not None:
            return label
    # In `dig @A`, A is a resolver.
    if before.endswith(" @") or (not acting and _EXAMPLE.search(before)):
        return BYSTANDER
    return None
