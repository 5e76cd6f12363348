"""Who is who in one line: the role of each address by the words, arrows and shapes around it."""

import re
from dataclasses import dataclass
from typing import Final

from exitpolicy.complaint.lexicon import (
    Force,
    Role,
    breaks_off,
    is_filler,
    is_ours,
    sense_after,
    sense_of,
    words_of,
)
from exitpolicy.complaint.mentions import Mention

ARROW: Final = 82
LOG: Final = 80
COMPANION: Final = 45
URL: Final = 50
AFTER: Final = 70
"""Forces of evidence that is not a word; see `lexicon.Force` for the scale."""

_WINDOW: Final = 90
_MAX_WORDS: Final = 8
_MAX_STRANGERS: Final = 3
"""Words of unknown sense that may stand between a telling word and the address."""

_SENTENCE: Final = re.compile(r"(?:[.;!?]\s|[。！？])")  # noqa: RUF001
_ARROW: Final = re.compile(r"(?:[-=~]{1,3}>|[→⇒➜»]|>{1,2})")
_ARROW_BACK: Final = re.compile(r"(?:<[-=]{1,3}|[←⇐])(?!>)")
_BOTH_WAYS: Final = re.compile(r"<-{1,2}>|↔")
_LIST: Final = re.compile(
    r"\s{0,3}(?:[,;&/]\s{0,3}(?:and|und|e|y|et|en|i|и|och|a|as well as)?|and|und|et|y|e|en|i|и|och"
    r"|as well as|sowie|or|oder)\s{1,3}(?:the\s)?(?:ip\s|host\s)?\Z|\s?[、，]\s?\Z",  # noqa: RUF001
    re.IGNORECASE,
)
_CLOCK: Final = re.compile(r"\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?")
_PROGRAM: Final = re.compile(r"\s+[\w./()-]{1,60}(?:\[\d{1,10}\])?:(?:\s|\Z)")
_TIMESTAMP: Final = re.compile(r"[\s<>\[\]\d:\-T./+,A-Za-z]{5,60}\Z")
_ACCESS_START: Final = re.compile(r"\s+\S{1,60}\s+\S{1,60}\s+\[\d")
_METHOD: Final = re.compile(r"\s+(?:GET|POST|HEAD|PUT|OPTIONS|PROPFIND|CONNECT)\s")
_URL: Final = re.compile(
    r"(https?|ftp|ssh|rdp|smtp|imap|sip|udp|tcp)://(?:[^\s/@]{1,60}@)?\[?\Z", re.IGNORECASE
)
_DOING: Final = re.compile(
    r"\b(?:attack|scann|prob|abus)ing[\s_-](?=(?:ip|host|address|source|system|machine|server)\b)",
    re.IGNORECASE,
)
LINK: Final = re.compile(
    r"detail|report|evidence|view|download|ticket|status|\binfo|dashboard|portal"
    r"|unsubscribe|click|\bsee\b|link|visit|console|here\s?:"
    r"|siehe|mehr|voir|vedi|consult|подробн|詳細|详情",
    re.IGNORECASE,
)
_HOST_HEADER: Final = re.compile(r"\bhost:\s{0,2}[\"']\Z|^\s{0,8}>?\s?host:\s\Z", re.IGNORECASE)
_ACTIVE: Final = re.compile(
    r"(?![\])\s,]{0,3}\w{1,12}\s(?:by|from|durch|von|da|par|por)\b)[\])\s,]{0,3}(?:(?:has|have|had|is|was|hat|ist|keeps?|ha|a|está|sta|er)\s(?:been\s)?"
    r"|which\s|that\s)?"
    r"(?:repeatedly\s|wiederholt\s|again\s)?"
    r"(?:attack(?:s|ing|ed)?|attempt|tri(?:ed|es)|try|scan(?:s|ning|ned)?|prob(?:es|ing"
    r"|ed)|flood|brute"
    r"|hammer|abus|perform|sen(?:d|t)|launch|generat|made|connect|angegriffen|greift"
    r"|versucht|scannt"
    r"|attacca|sta\s(?:attacc|tent|scans|effett)|tent|effettu|essaie|attaqu|tente|scann"
    r"|ataca|intent"
    r"|escane|atakuje|próbuj|skanuj|атаку|пыта|скан|útoč|skenu|försök|attacker|probeer|valt\saan)",
    re.IGNORECASE,
)
_PASSIVE: Final = re.compile(
    r"[\])\s,]{0,3}(?:attacked|scanned|probed|targeted|flooded|hit|hammered)\s(?:by|from)\b|"
    r"[\])\s,]{0,3}(?:(?:was|were|is|are|has\sbeen|have\sbeen|being|got|gets|wurden?|wird"
    r"|werden|sind|ist"
    r"|è\s(?:stat[oaie]\s)?|sono\sstat[ie]|viene|fue|ha\ssido|a\sété|est|foi|werd|wordt"
    r"|został[aoy]?|jest"
    r"|был[аио]?|är|blev|byl[aoiy]?)\s+)(?:(?:being|the|le|der|das)\s)?(?:\w{1,12}ly\s)?"
    r"(?:attacked|target|scanned|probed|hit|flooded|under\sattack|victim|angegriffen"
    r"|attackiert|gescannt"
    r"|ziel|opfer|attaccat|colpit|bersagli|atacad|objetiv|alvo|attaqué|visé|ciblé|victim"
    r"|la\scible|aangevallen"
    r"|zaatakowan|atakowan|атакован|подверг|attackerad|utsatt|napaden)",
    re.IGNORECASE,
)
_PARENTHESIS: Final = re.compile(r"[\]]?\s?[(\[–-]\s?([^()\[\]]{2,60})")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Finding:
    """The role of an address in a line, and how sure that is."""

    role: Role
    force: int


def roles_in(line: str, mentions: list[Mention]) -> list[Finding | None]:
    """Return the role of each address in a refanged line, None where nothing tells it."""
    found = _log_shapes(line, mentions)
    for index, mention in enumerate(mentions):
        if found[index] is not None:
            continue
        start = mentions[index - 1].end if index else 0
        before = line[max(start, mention.start - _WINDOW) : mention.start]
        end = mentions[index + 1].start if index + 1 < len(mentions) else len(line)
        after = line[mention.end : min(end, mention.end + _WINDOW)]
        if index and found[index - 1] is not None and _LIST.match(before):
            found[index] = found[index - 1]
            continue
        found[index] = _by_context(before, after)
    _arrows(line, mentions, found)
    return found


def scan_back(text: str) -> Finding | None:
    """Return what the words before an address say of it, the nearest telling one first."""
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    text = text[ends[-1] :] if ends else text
    text = _DOING.sub("attacker ", text)
    strangers = 0
    adjacent = True
    words = words_of(text)[-_MAX_WORDS:]
    for index in range(len(words) - 1, -1, -1):
        word = words[index]
        sense = sense_of(word, adjacent=adjacent)
        adjacent = False
        if sense is not None:
            if sense.force is Force.PREPOSITION and strangers:
                return None
            if index and sense.role is Role.SOURCE and is_ours(words[index - 1]):
                # "Our origin server", "our client": ours in spite of the word.
                return Finding(Role.DESTINATION, Force.OWNER.value)
            return Finding(sense.role, sense.force.value - strangers)
        if breaks_off(word):
            return None
        if not is_filler(word):
            strangers += 1
            if strangers > _MAX_STRANGERS:
                return None
    return None


def _by_context(before: str, after: str) -> Finding | None:
    particle = sense_after(after)
    if particle is not None:
        return Finding(particle, AFTER)
    back = scan_back(before)
    if back is not None and back.force > Force.PREPOSITION.value:
        return back
    if _PASSIVE.match(after):
        return Finding(Role.DESTINATION, AFTER)
    link = back is None and _URL.search(before) and not LINK.search(before)
    if link or _HOST_HEADER.search(before):
        return Finding(Role.DESTINATION, URL)
    inside = _PARENTHESIS.match(after)
    aside = _first_sense(inside[1]) if inside else None
    active = Finding(Role.SOURCE, AFTER) if _ACTIVE.match(after) else None
    return aside or back or active


def _first_sense(text: str) -> Finding | None:
    """Return the sense of a remark in brackets: `(our mail server)`, `(attacker)`."""
    for word in words_of(text)[:4]:
        sense = sense_of(word)
        if sense is not None:
            if sense.force is Force.PREPOSITION:
                return None
            return Finding(sense.role, AFTER)
    return None


def _log_shapes(line: str, mentions: list[Mention]) -> list[Finding | None]:
    """Read the first addresses of log lines whose place alone tells who they are."""
    found: list[Finding | None] = [None] * len(mentions)
    first = mentions[0]
    before, after = line[: first.start], line[first.end : first.end + 200]
    if not before.strip(" \t\"'[") and len(mentions) >= 2 and _is_access(line, mentions):
        # Apache's vhost_combined: the server comes before the client.
        found[0], found[1] = Finding(Role.DESTINATION, LOG), Finding(Role.SOURCE, LOG)
    elif not before.strip(" \t\"'[") and _ACCESS_START.match(after):
        found[0] = Finding(Role.SOURCE, LOG)
    elif _CLOCK.search(before) and _TIMESTAMP.match(before):
        if len(mentions) >= 2 and _METHOD.match(after):
            # IIS: the server's address, method, path, port, user, the client's address.
            found[0], found[1] = Finding(Role.DESTINATION, LOG), Finding(Role.SOURCE, LOG)
        elif _PROGRAM.match(after):
            # Syslog: the host that logs is the one that was attacked.
            found[0] = Finding(Role.DESTINATION, LOG - 5)
    return found


def _is_access(line: str, mentions: list[Mention]) -> bool:
    between = line[mentions[0].end : mentions[1].start]
    return between.strip(" ,\t") == "" and _ACCESS_START.match(line, mentions[1].end) is not None


def _arrows(line: str, mentions: list[Mention], found: list[Finding | None]) -> None:
    """Let an arrow between two addresses decide where no key or column name does."""
    for index in range(len(mentions) - 1):
        left, right = mentions[index], mentions[index + 1]
        between = line[left.end : right.start]
        if not 1 <= len(between) <= 80 or _BOTH_WAYS.search(between):
            continue
        if _ARROW_BACK.search(between):
            roles = Role.DESTINATION, Role.SOURCE
        elif _ARROW.search(between):
            roles = Role.SOURCE, Role.DESTINATION
        else:
            continue
        for place, role in zip((index, index + 1), roles, strict=True):
            old = found[place]
            if old is None or old.force < ARROW:
                found[place] = Finding(role, ARROW)
        _symmetric_ports(line, left, right, between)


_LEADING_PORT: Final = re.compile(r"\s{1,12}(\d{1,5})(?![\w.:/])")


def _symmetric_ports(line: str, left: Mention, right: Mention, between: str) -> None:
    """Read `A 4444 -> B 22`: a number after both is the port of both."""
    one = _LEADING_PORT.match(between)
    other = _LEADING_PORT.match(line, right.end)
    if one and other and not left.ports and not right.ports:
        left.ports = (int(one[1]),)
        if 0 < int(other[1]) < 65536:
            right.ports = (int(other[1]),)


_PAIR_THEN_PORTS: Final = re.compile(
    r"[\"']?([,;\t|])[\"']?(\d{1,5})[\"']?\1[\"']?(\d{1,5})[\"']?(?=\1|\s*\Z)"
)
_PORT_FIELD: Final = re.compile(r"[\"']?\s?([,;\t| ])\s{0,8}[\"']?(\d{1,5})[\"']?(?=\s?\1|\s*\Z)")


def positional_ports(line: str, left: Mention, right: Mention) -> None:
    """Read the ports of `A,B,4444,22` and of `A,4444,B,22`, two flows without column names."""
    if left.ports or right.ports:
        return
    if pair := _PAIR_THEN_PORTS.match(line, right.end):
        if line[left.end : right.start].strip("\"' ") == pair[1]:
            left.ports, right.ports = _port(pair[2]), _port(pair[3])
        return
    one, other = _PORT_FIELD.match(line, left.end), _PORT_FIELD.match(line, right.end)
    if one and other:
        left.ports, right.ports = _port(one[2]), _port(other[2])


def _port(text: str) -> tuple[int, ...]:
    return (int(text),) if 0 < int(text) < 65536 else ()
