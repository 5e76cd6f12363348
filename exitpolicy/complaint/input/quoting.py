"""Recognize quotations in a text: their marks, and the headers of quoted mails."""

from typing import Final

from exitpolicy.complaint.language.vocabulary import pattern

MAX_LEVELS: Final = 50
"""Deeper quotation marks stay: no mail quotes so deeply."""
MAX_FOOTERS: Final = 40_000
"""Characters of a text that are searched for footers; they matter for its kind only."""
_HEADER_FIELD: Final = pattern(
    r"^\s{0,4}(?:received|x-(?!arf)[\w-]{1,40}|authentication-results|received-spf"
    r"|dkim-[\w-]{1,20}|arc-[\w-]{1,30}|return-path|delivered-to|message-id|in-reply-to"
    r"|references|mime-version|user-agent|content-[\w-]{1,30}|envelope-[\w-]{1,20}"
    r"|thread-[\w-]{1,20}|list-[\w-]{1,20}|reply-to|precedence)\s?:\s"
)
_SCANNER: Final = pattern(r"<<scanner>>")


def without_scanner_footers(text: str) -> str:
    """Return a text without the lines in which a mail scanner says that it scanned the mail."""
    pieces: list[str] = []
    start = 0
    for found in _SCANNER.finditer(text[:MAX_FOOTERS]):
        if found.start() >= start:
            pieces.append(text[start : max(start, text.rfind("\n", start, found.start()) + 1)])
            end = text.find("\n", found.end())
            start = end if end >= 0 else len(text)
    return "".join([*pieces, text[start:]])


def unquoted(line: str) -> str:
    """Return a line without leading `>` marks; `>>>>` is no quotation but decoration."""
    start = 0
    for _ in range(MAX_LEVELS):
        at = start
        while line[at : at + 1] in {" ", "\u00a0"}:
            at += 1
        if line[at : at + 1] != ">" or line.startswith(">>>>", at):
            break
        start = at + 1
        start += line[start : start + 1] == " "
    return line[start:]


def is_header(line: str) -> bool:
    """Tell whether a line is a technical field of a mail header that was pasted into a text."""
    return _HEADER_FIELD.match(line) is not None
