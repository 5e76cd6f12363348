"""Decode bytes whose charset is declared, wrongly declared, or not declared at all."""

import codecs
import re
from typing import Final

from exitpolicy.complaint.language.detect import language_score

_UNSAFE: Final = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape"})
"""Codecs that are not charsets of mails: slow, or with errors that are not UnicodeError."""
_VALID: Final = re.compile(r"[^\x00-\x7f\ufffd]")
"""A character outside of ASCII."""
_HALF_PAIR: Final = re.compile(r"[\ud800-\udfff]")
_LATIN: Final = ("cp1252", "cp1250", "iso8859_2", "cp1254", "cp1257")
"""Charsets of languages with Latin letters, the commonest first."""
_OTHERS: Final = (
    *("cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp866", "cp1253", "cp1255", "cp1256", "cp874"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
"""Charsets of other alphabets. Rare charsets are left out: they would match by chance."""
_LATIN_SHARE: Final = 0.25
"""Below this share of letters outside of ASCII, a text is in Latin letters."""
_WIDE_SAMPLE: Final = 2_000
"""Bytes that are searched for UTF-16: with Latin letters, every second byte is 0."""
_MAX_SAMPLE: Final = 4_000
"""Bytes from which a charset is guessed."""


def decode(data: bytes, charset: str) -> str:
    """Decode in the declared charset, else as UTF-8, else in the likeliest charset; never fails.

    `charset` is empty if none is declared.
    """
    for name in (_told_by_bytes(data), charset.strip(), "utf-8"):
        try:
            if name and codecs.lookup(name).name not in _UNSAFE:
                # UTF-7 may hold half a surrogate pair, which is no character.
                return _HALF_PAIR.sub("\ufffd", data.decode(name))
        except (LookupError, ValueError):
            continue
    # Text that is cut in a character, or has one wrong byte, is still UTF-8.
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    if wrong * 50 < len(text) and len(_VALID.findall(text)) >= wrong:
        return text
    return data.decode(_likeliest_charset(data), "replace")


def is_wide(data: bytes) -> bool:
    """Tell whether a text is in UTF-16, so that half of its bytes are 0."""
    return _told_by_bytes(data).startswith("utf-16")


def _told_by_bytes(data: bytes) -> str:
    """Return the charset that the bytes themselves tell, whatever is declared; else empty.

    Programs on Windows write logs in UTF-16, and Japanese, Korean and Chinese mails may have
    seven-bit charsets, which are valid ASCII.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in data[:_WIDE_SAMPLE]:
        sample = data[:_WIDE_SAMPLE]
        high, low = sample[0::2].count(0), sample[1::2].count(0)
        if max(high, low) * 3 > len(sample) and min(high, low) * 20 < len(sample):
            return "utf-16-be" if high > low else "utf-16-le"
    if b"\x1b$" in data:
        return "iso2022_kr" if b"\x1b$)C" in data else "iso2022_jp_2"
    return "hz" if b"~{" in data and b"~}" in data else ""


def _likeliest_charset(data: bytes) -> str:
    """Return the charset in which the lines with non-ASCII bytes are most likely a text."""
    lines = (line for line in data[: 50 * _MAX_SAMPLE].split(b"\n") if not line.isascii())
    sample = b"\n".join(lines)[:_MAX_SAMPLE]
    high = sum(byte > 127 for byte in sample)
    letters = high + sum(chr(byte).isalpha() for byte in sample if byte <= 127)
    if high < letters * _LATIN_SHARE:
        # Latin charsets differ in few letters: the most frequent words decide.
        return max(_LATIN, key=lambda name: language_score(sample.decode(name, "replace")))
    from charset_normalizer import from_bytes  # noqa: PLC0415 - slow to import, rarely needed

    found = from_bytes(sample, cp_isolation=[*_OTHERS, *_LATIN], preemptive_behaviour=False).best()
    return found.encoding if found else _LATIN[0]
