"""Take rules out of the ExitPolicy lines of a torrc."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from exitpolicy.tor.torrc_lines import SPACE, Line, lines

_HEAD: Final = re.compile(r"\s*\S+[ \t]+", re.ASCII)
"""The keyword of a line, with the blanks around it."""


def rules_in(line: Line) -> list[str]:
    """Return the rules of an ExitPolicy line as written, in order."""
    return [rule for one in line.content.split(",") if (rule := one.strip(SPACE))]


def comment_of(line: Line) -> str:
    """Return the comment behind a value; empty without one, and for a value of several lines."""
    if line.goes_on or line.value.startswith('"'):
        return ""
    return line.text.partition("#")[2].strip(SPACE)


def is_divisible(line: Line) -> bool:
    """Tell whether some of the rules of a line can be taken out of it, and not only all."""
    return not line.goes_on and not line.value.startswith('"')


def without_rules(text: str, gone: Mapping[int, Collection[str]]) -> str:
    """Return a torrc's text without some rules, given by the number of their line.

    A line without a rule left goes, with the lines that continue it and with its comment. All else
    stays as it is. A line that is not divisible must lose all of its rules.
    """
    result: list[str] = []
    dropping = False
    for line in lines(text):
        if dropping:
            dropping = line.goes_on
            continue
        removed = gone.get(line.number)
        if removed is None:
            result.append(line.text)
            continue
        kept = [rule for rule in rules_in(line) if rule not in removed]
        if not kept:
            dropping = line.goes_on
            continue
        head = _HEAD.match(line.text)
        if head is None or not is_divisible(line):
            raise ValueError(f"line {line.number} cannot be divided")
        comment = line.text.removesuffix("\n").partition("#")[1:]
        tail = f"  {''.join(comment)}" if comment[0] else ""
        result.append(f"{head[0]}{','.join(kept)}{tail}\n")
    joined = "".join(result)
    return joined if text.endswith("\n") or not joined else joined.removesuffix("\n")
