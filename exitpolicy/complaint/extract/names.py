"""Find the host names in a report: in URLs, after labels, and of hosts that it calls the victim.

A host name is no destination by itself: only its addresses can be blocked.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

# Loaded here, because the child that reads complaints sees no files when it needs them.
import idna.uts46data  # noqa: F401

from exitpolicy.complaint.extract.addresses import refanged
from exitpolicy.complaint.input.quoting import is_header, unquoted
from exitpolicy.complaint.model import HostName
from exitpolicy.complaint.roles.context import scan_back
from exitpolicy.complaint.roles.lines import MAX_LINE, QUIET
from exitpolicy.complaint.roles.scores import Role
from exitpolicy.core.errors import UsageError
from exitpolicy.core.host_names import ascii_name

MAX_CHARACTERS: Final = 60_000
MAX_NAMES: Final = 20
"""Maximum names of a report."""
MAX_EVIDENCE: Final = 2
"""Maximum lines that are kept for a name."""
_MAX_SCANNED: Final = 1_000
"""Maximum names whose preceding words are read."""
_EXCERPT: Final = 300
_NAME: Final = re.compile(
    r"(?<![\w@.-])((?:[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?\.){1,5}[a-z]{2,12})(?![\w@-]|\.\w)",
    re.IGNORECASE,
)
_URL: Final = re.compile(
    r"\b(?:https?|ftp)://(?:[^\s/?#@<>\"']{1,100}@)?([^\s/?#:@<>\"'\\()\[\]{},;|]{4,253})",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(
    r"\b(?:domain|host|hostname|http_host|server_name|site|sni|vhost|website)[\"']?\s?[:=]\s?"
    r"[\"']?\Z",
    re.IGNORECASE,
)
_FILES: Final = (".log", ".php")


def host_names(texts: Iterable[str]) -> tuple[HostName, ...]:
    """Return the host names in texts, in ASCII, those of victims first."""
    victims: set[str] = set()
    found: dict[str, list[str]] = {}
    scanned = 0
    for line in _lines(texts):
        names = {name: match for match in _URL.finditer(line) if (name := _plain(match[1]))}
        for match in _NAME.finditer(line):
            name = match[1].lower()
            before = line[max(0, match.start() - 80) : match.start()]
            scanned += 1
            is_victim = scanned <= _MAX_SCANNED and not name.endswith(_FILES) and _is_victim(before)
            if (is_victim or _LABEL.search(before)) and (name := _plain(name)):
                names.setdefault(name, match)
                if is_victim:
                    victims.add(name)
        for name, match in names.items():
            lines = found.setdefault(name, [])
            start = max(0, match.start() - _EXCERPT // 2)
            if len(lines) < MAX_EVIDENCE:
                lines.append(line[start : start + _EXCERPT].strip())
        if scanned > _MAX_SCANNED and len(found) >= MAX_NAMES:
            break
    ordered = sorted(found, key=lambda name: name not in victims)[:MAX_NAMES]
    return tuple(HostName(name, tuple(found[name]), name in victims) for name in ordered)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines that can name a host, without quotation marks and refanged."""
    left = MAX_CHARACTERS
    for text in texts:
        for line in text[:left].split("\n"):
            if "." not in line and "dot" not in line.lower():
                continue
            plain = refanged(unquoted(line))[:MAX_LINE]
            if not is_header(plain) and not QUIET.search(plain):
                yield plain
        left -= len(text)
        if left <= 0:
            return


def _is_victim(before: str) -> bool:
    """Tell whether the words before a name call it the victim's."""
    sense = scan_back(before)
    return sense is not None and sense.role is Role.DESTINATION


def _plain(host: str) -> str:
    """Return the host of a URL in ASCII; empty for an address, and for what is no name."""
    try:
        return ascii_name(host.rstrip(".")) if "." in host else ""
    except UsageError:
        return ""
