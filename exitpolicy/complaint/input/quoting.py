"""Strip the marks of quotation from lines."""

from typing import Final

MAX_LEVELS: Final = 50
"""Deeper quotation marks stay: no mail quotes so deeply."""


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
