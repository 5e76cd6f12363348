"""Mail addresses in header fields, parsed before any encoded word is decoded (RFC 5322, RFC 2047).

An encoded word may hold `ceo@bank.example`. It is part of a display name and never an address, so
that a sender cannot choose who is answered by the name that he gives himself.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

MAX_FIELD: Final = 1000
"""A longer field names no address: cut anywhere, it could name another one."""

MAX_FIELDS: Final = 4
"""More fields of one name give no address; RFC 5322 allows one `From` and one `Reply-To`."""

# A dot-atom and a host name (RFC 5322 section 3.4.1), no longer than SMTP accepts. A local part
# that starts with `-` could be read as an option by the program that sends the mail.
_ADDRESS: Final = re.compile(
    r"(?=.{1,64}@.{1,253}$)(?!-)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
)
_ENCODED_WORD: Final = re.compile(r"=\?[^?\s]*\?[BbQq]\?[^?\s]*\?=")
# Control and invisible characters as well: what precedes them is an address that a reader sees.
_SEPARATORS: Final = re.compile(
    r"[\s\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff<>(),;:\"\[\]\\]+"
)


def is_mail_address(text: str) -> bool:
    """Tell whether text is one bare address in ASCII: no display name, quotes or comments."""
    return _ADDRESS.fullmatch(text) is not None


def mail_addresses(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct addresses in header fields of one name, in order.

    `fields` are undecoded field bodies. A field with a syntax error, or with a mailbox that is
    left out, gives every address in it, so that an unclear field shows as more than one address;
    one with half an address gives none. Quoted local parts, address literals and addresses outside
    ASCII are left out.
    """
    parsed = list(fields)
    if len(parsed) > MAX_FIELDS or any(len(field) > MAX_FIELD for field in parsed):
        return ()
    return tuple(dict.fromkeys(address for field in parsed for address in _addresses(field)))


def shown_domain(address: str) -> str | None:
    """Return the Unicode text that mail programs show for a punycode domain; None for others."""
    labels = address.rpartition("@")[2].lower().split(".")
    try:
        shown = [
            label[4:].encode("ascii").decode("punycode") if label.startswith("xn--") else label
            for label in labels
        ]
    except ValueError:
        return None
    return None if shown == labels else ".".join(shown)


def _addresses(field: str) -> list[str]:
    # Imported here, because only complaints and letters need them.
    from email.errors import InvalidHeaderDefect  # noqa: PLC0415
    from email.headerregistry import HeaderRegistry  # noqa: PLC0415

    masked = _ENCODED_WORD.sub("encoded-word", field)
    try:
        header: Any = HeaderRegistry()("from", masked)
        texts = [address.addr_spec for address in header.addresses]
        valid = all(map(is_mail_address, texts)) and not any(
            isinstance(defect, InvalidHeaderDefect) for defect in header.defects
        )
    except (IndexError, ValueError, AttributeError, TypeError, RecursionError):
        # The standard library's parser fails in these ways on some invalid fields.
        texts, valid = [], False
    if not valid:
        texts = _pieces(masked)
    return [text for text in texts if is_mail_address(text) and text in field]


def _pieces(field: str) -> list[str]:
    """Return the parts of a field with a syntax error that may be addresses.

    None where half an address stands: what precedes it may be its local part, and not an address
    of its own, as in `"a@b.example"@c.example`.
    """
    parts = _SEPARATORS.split(field)
    return [] if any(part.startswith("@") or part.endswith("@") for part in parts) else parts
