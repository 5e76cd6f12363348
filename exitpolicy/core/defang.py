"""Defanged addresses and URLs: `192[.]0[.]2[.]1`, `hxxp://`, which nobody follows by accident."""

import re
from functools import cache
from typing import Final

# Patterns are compiled at first use.
_ESCAPED_DOT: Final = r"(?<=\d)\\\.(?=\d)"
_DEFANGED_SCHEME: Final = r"(?i)\bh(?:xx|\*\*|__)p(s?)(?=\W)|\bmeow(s?)(?=:)"
_OPENED_COLON: Final = r"(?<=\w)\[:"
_FULL_WIDTH: Final = str.maketrans("０１２３４５６７８９．：／", "0123456789.:/")  # noqa: RUF001


def refang(text: str, dots: tuple[str, ...] = ("dot",)) -> str:
    """Return text with defanged addresses and URLs as they were: `1[.]2[dot]3[.]4`, `hxxp`.

    `dots` are the words that stand for a dot, in lower case.
    """
    if not text.isascii():
        text = text.translate(_FULL_WIDTH)
    lower = text.lower()
    if "xx" in lower or "**" in lower or "__" in lower or "meow" in lower:
        text = re.sub(_DEFANGED_SCHEME, _plain_scheme, text)
    if not {"[", "(", "{", "<"}.isdisjoint(text):
        text = re.sub(_bracketed_dot(dots), ".", text)
        text = text.replace("[:]", ":").replace("[://]", "://")
        text = re.sub(_OPENED_COLON, ":", text)
    for dot in dots:
        if f" {dot} " in lower:
            text = re.sub(rf"(?i)(?<=\d)\s{dot}\s(?=\d)", ".", text)
    if "\\" in text:
        text = re.sub(_ESCAPED_DOT, ".", text)
    return text


@cache
def _bracketed_dot(dots: tuple[str, ...]) -> str:
    return rf"(?i)\s?[\[({{<]\s?(?:\.|{'|'.join(dots)})\s?[\])}}>]\s?|\s?\[\.|\.\]"


def _plain_scheme(found: re.Match[str]) -> str:
    return f"http{found[1] or found[2] or ''}"
