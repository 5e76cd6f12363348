"""Recognize quotations in a text: their marks, and the headers of quoted mails."""

from collections.abc import Collection
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
    return line[_marks(line)[1] :]


def without_our_answer(text: str, sender: Collection[str]) -> str:
    """Omit the mail that a text answers, if it quotes the sender in turn: it is ours.

    `sender` are names and addresses of the person who wrote the text.
    """
    lines = text.split("\n")
    answers = [_marks(line)[0] == 1 for line in lines]
    if any(
        is_answer and line.rstrip().endswith(":") and any(name in line for name in sender)
        for line, is_answer in zip(lines, answers, strict=True)
    ):
        lines = [line for line, is_answer in zip(lines, answers, strict=True) if not is_answer]
    return "\n".join(lines)


def _marks(line: str) -> tuple[int, int]:
    """Return the number of leading `>` marks, and the position after them."""
    start = 0
    for level in range(MAX_LEVELS):
        at = start
        while line[at : at + 1] in {" ", "\u00a0"}:
            at += 1
        if line[at : at + 1] != ">" or line.startswith(">>>>", at):
            return level, start
        start = at + 1
        start += line[start : start + 1] == " "
    return MAX_LEVELS, start


def is_header(line: str) -> bool:
    """Tell whether a line is a technical field of a mail header that was pasted into a text."""
    return _HEADER_FIELD.match(line) is not None
