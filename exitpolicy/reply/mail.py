"""Write a letter as the bytes of an .eml file that a mail program opens or sends."""

from collections.abc import Iterable
from datetime import datetime
from email.header import Header
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import EmailPolicy, Policy
from typing import Final

from exitpolicy.reply.compose import Letter

_LINE: Final = 78
"""Longest header line in characters (RFC 5322 section 2.1.1)."""


class _Subject(UnstructuredHeader, BaseHeader):
    """A subject that is folded between words, and encoded as a whole or not at all.

    The standard library encodes it word by word and loses blanks. It also begins the subject on the
    second line if that is shorter (seen with Python 3.11).
    """

    max_count = 1

    def fold(self, *, policy: Policy) -> str:
        text = str(self)
        if text.isascii():
            return _folded(self.name, text.split(" "), policy.linesep)
        encoded = Header(text, "utf-8", header_name=self.name).encode(linesep=policy.linesep)
        return f"{self.name}: {encoded}{policy.linesep}"


class _MessageIds(UnstructuredHeader, BaseHeader):
    """In-Reply-To and References: message ids, folded only between ids.

    The standard library writes an id that is longer than a line as encoded words (seen with Python
    3.11). No mail program threads by those, and ids of that length are common.
    """

    max_count = 1

    def fold(self, *, policy: Policy) -> str:
        return _folded(self.name, str(self).split(), policy.linesep)


def _folded(name: str, words: Iterable[str], linesep: str) -> str:
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) <= _LINE or lines == [f"{name}:"]:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return linesep.join(lines) + linesep


def _policy() -> "EmailPolicy[EmailMessage]":
    registry = HeaderRegistry()
    registry.map_to_type("subject", _Subject)
    registry.map_to_type("in-reply-to", _MessageIds)
    registry.map_to_type("references", _MessageIds)
    return EmailPolicy(header_factory=registry)


def as_eml(letter: Letter, *, date: datetime | None = None, message_id: str | None = None) -> bytes:
    """Return the letter as an RFC 5322 message in UTF-8, all lines ASCII and ended by LF.

    sendmail(1) reads LF, and mail programs open it as well. Date and Message-ID are written only
    where given; otherwise the program that sends the mail adds them. `date` is aware; `message_id`
    comes from `email.utils.make_msgid`.
    """
    message = EmailMessage(policy=_policy())
    for name, value in letter.headers:
        message[name] = value
    message["Subject"] = letter.subject
    if date is not None:
        message["Date"] = date
    if message_id is not None:
        message["Message-ID"] = message_id
    encoding = "7bit" if letter.body.isascii() else "quoted-printable"
    message.set_content(letter.body, charset="utf-8", cte=encoding)
    return message.as_bytes()
