"""Exit policies as lists: fragments of a torrc, and the variables of ansible-relayor.

A line is `ExitPolicy reject A:P` (also several, separated by commas), or one rule without the
keyword, as some operators keep them in files. Rules mean what they mean to Tor (`policy.rule`).
surgeprotector writes the Unix time of the flood behind each line (`# 1760000000`,
github.com/artikel10/surgeprotector); exitpol writes the end (`# until TIME`).
ansible-relayor has the rules as items of a YAML list (`tor_ExitPolicy`, its README.md).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import UsageError
from exitpolicy.lists.destinations import checked
from exitpolicy.lists.entry import Entry, Item, Moment, fault, reason_of
from exitpolicy.lists.times import UNTIL, end_of, unix_time
from exitpolicy.policy.rule import RuleError, destinations_of, parse_rule

RULE: Final = re.compile(r"\s*\+?(?:exitpolicy\s|(?:accept|reject)6?\s)", re.IGNORECASE)
"""The start of a line of a torrc that holds rules."""
ITEM: Final = re.compile(
    r"\s*-\s+[\"']?(?:accept|reject)6?\s|\s*(?:tor_ExitPolicy|exitpol_rejects):"
)
"""The start of a rule in a YAML list, or of a list of rules."""
_KEY: Final = re.compile(r"[\w-]+:(?:\s*\[\])?")
_KEYWORD: Final = re.compile(r"\+?exitpolicy\s+", re.IGNORECASE)
_DASH: Final = re.compile(r"-\s+")
# No two parts of it match the same blank: a line of blanks would take cubic time.
_QUOTED: Final = re.compile(r"(?:\"([^\"]*)\"\s*|'([^']*)'\s*|([^#\"']*))(?:#(.*))?")


def read_torrc(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of a fragment of a torrc."""
    for number, line in enumerate(lines, start=1):
        text, _, comment = line.partition("#")
        text = text.strip()
        if text and RULE.match(f"{text} ") is None:
            yield fault(number, line, "this is not an ExitPolicy line")
        elif text:
            yield from _read(number, line, _KEYWORD.sub("", text, count=1), comment, moment)


def read_relayor(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of variables of ansible-relayor: the rules of YAML lists."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#") or text == "---" or _KEY.fullmatch(text):
            continue
        dash = _DASH.match(text)
        item = None if dash is None else _QUOTED.fullmatch(text, dash.end())
        if item is None:
            yield fault(number, line, "this is not a rule in a YAML list")
            continue
        rule = next(filter(None, item.groups()[:3]), "")
        yield from _read(number, line, rule, item[4] or "", moment)


def _read(number: int, line: str, rules: str, comment: str, moment: Moment) -> Iterator[Item]:
    """Yield the items of one line, given its rules and its comment."""
    try:
        until, reason = said(comment.strip(), moment)
        found = [d for rule in rules.split(",") if rule.strip() for d in _rejected(rule.strip())]
    except (UsageError, RuleError) as error:
        yield fault(number, line, str(error))
        return
    for destination in found:
        yield Entry(number, destination, until, reason)


def said(comment: str, moment: Moment) -> tuple[datetime | None, str]:
    """Return the end and the reason in the comment of a rule. Raises UsageError."""
    if end := UNTIL.fullmatch(comment):
        return end_of(end[1], moment), ""
    written = unix_time(comment, moment)
    if written is not None:
        # surgeprotector's is the time of the flood, which lies behind; one to come is an end.
        return (written if written > moment.now else None), ""
    return None, reason_of(comment)


def _rejected(rule: str) -> Iterable[Destination]:
    """Return the destinations that a rule rejects. Raises UsageError, RuleError."""
    found = parse_rule(rule)
    if not found:
        raise UsageError(f"Tor ignores the rule {rule!r}: its address is not IPv6")
    if found[0].accept:
        raise UsageError("an accept rule is no block")
    return [checked(one) for one in destinations_of(found)]
