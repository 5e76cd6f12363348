"""Decode bytes whose charset is declared, wrongly declared, or not declared at all."""

import codecs
import re
from typing import Final

from exitpolicy.complaint.language.detect import language_score

_UNSAFE: Final = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape"})
"""Codecs that are not charsets of mails: slow, or with errors that are not UnicodeError."""
_HALF_PAIR: Final = re.compile(r"[\ud800-\udfff]")
_LATIN: Final = ("cp1252", "cp1250", "iso8859_2", "cp1254", "cp1257")
"""Charsets of languages with Latin letters, the commonest first."""
_OTHERS: Final = (
    *("cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp866", "cp1253", "cp1255", "cp1256", "cp874"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
"""Charsets of other alphabets. Rare charsets are left out: they would match by chance."""
_LATIN_SHARE: Final = 0.25
"""With fewer letters than this outside of ASCII, a text is in Latin letters."""
_MAX_SAMPLE: Final = 4_000
"""Bytes from which a charset is guessed."""


def decode(data: bytes, charset: str) -> str:
    """Decode in the declared charset, else as UTF-8, else in the likeliest charset; never fails.

    `charset` is empty if none is declared.
    """
    for name in (charset.strip(), "utf-8"):
        try:
            if name and codecs.lookup(name).name not in _UNSAFE:
                # UTF-7 may hold half a surrogate pair, which is no character.
                return _HALF_PAIR.sub("\ufffd", data.decode(name))
        except (LookupError, ValueError):
            continue
    # Text that is cut in a character, or has one wrong byte, is still UTF-8.
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") * 50 < len(text):
        return text
    return data.decode(_likeliest_charset(data), "replace")


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
