"""Find the host names of victims, for reports without a victim's address."""

import re
from typing import Final

from exitpolicy.complaint.extract.addresses import refanged
from exitpolicy.complaint.input.quoting import is_header, unquoted
from exitpolicy.complaint.roles.context import scan_back
from exitpolicy.complaint.roles.lines import MAX_LINE, QUIET
from exitpolicy.complaint.roles.scores import Role

MAX_CHARACTERS: Final = 200_000
_HOST: Final = re.compile(
    r"(?<![\w@.-])((?:[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?\.){1,5}[a-z]{2,12})(?![\w@-]|\.\w)",
    re.IGNORECASE,
)


def host_names(text: str, limit: int = 5) -> tuple[str, ...]:
    """Return the host names that are called the victim's by the words before, in lower case."""
    found: dict[str, None] = {}
    for line in text[:MAX_CHARACTERS].split("\n"):
        plain = refanged(unquoted(line))
        if "." not in plain or is_header(plain) or QUIET.search(plain):
            continue
        for match in _HOST.finditer(plain[:MAX_LINE]):
            sense = scan_back(plain[max(0, match.start() - 80) : match.start()])
            is_victim = sense is not None and sense.role is Role.DESTINATION
            if is_victim and not match[1].endswith((".log", ".php")):
                found.setdefault(match[1].lower())
        if len(found) >= limit:
            break
    return tuple(found)[:limit]
