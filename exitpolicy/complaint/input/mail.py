"""Extract the texts of a mail, in bounded time and memory.

The `email` package decodes headers. This module walks the tree of parts itself: the parser of the
package recurses, copies every level and has no limits, and a complaint may be 50 MB long, nested
10,000 levels deep, or a zip bomb.
"""

import base64
import binascii
import codecs
import email.errors
import email.header
import email.utils
import io
import quopri
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from exitpolicy.complaint.input.charsets import decode, is_wide
from exitpolicy.complaint.input.html_text import looks_like_html, text_of_html
from exitpolicy.complaint.input.links import original_links
from exitpolicy.complaint.input.spreadsheet import (
    SpreadsheetError,
    is_spreadsheet,
    text_of_spreadsheet,
)
from exitpolicy.complaint.model import Kind

MAX_DEPTH: Final = 20
"""Parts nested deeper are not opened."""
MAX_PARTS: Final = 300
"""Further parts are not opened."""
MAX_TEXT: Final = 4_000_000
"""Bytes of decoded text of all parts that are read."""
MAX_HEADER: Final = 64_000
"""Bytes of one header block that are read."""
MAX_MEMBERS: Final = 20
"""Files of one archive that are read."""
MAX_UNPACKED: Final = 1_000_000
"""Bytes of all archives of a mail that are unpacked."""

_HEADER_LINE: Final = re.compile(rb"[!-9;-~]{1,80}:")
_MAIL_HEADER: Final = re.compile(
    rb"^(?:from|subject|date|received|return-path|message-id|mime-version|content-type|to"
    rb"|delivered-to):",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER_END: Final = re.compile(rb"\r?\n[ \t]*\r?\n|\r\r")
_PARAMETER: Final = re.compile(
    r";\s{0,20}([A-Za-z0-9*-]{1,40})\s{0,5}=\s{0,5}(?:\"([^\"]{0,400})\"|([^\s;\"]{1,400}))"
)
_CHARSET_IN_HTML: Final = re.compile(
    rb"charset\s{0,3}=\s{0,3}[\"']?([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE
)
_ARCHIVES: Final = (b"PK\x03\x04", b"\x1f\x8b")
_TEXT_NAMES: Final = re.compile(
    r"\.(?:txt|log|csv|tsv|json|xml|ya?ml|eml|html?|asc|dat|out|md|lst|list|xarf|arf|msg|\d)\Z",
    re.IGNORECASE,
)


class Origin(Enum):
    """The place of a text in a mail."""

    BODY = auto()
    """The message itself."""
    ATTACHMENT = auto()
    """A file: a log, a table, a report."""
    EVIDENCE = auto()
    """The mail that the complaint is about; its text accuses nobody."""


@dataclass(frozen=True, slots=True)
class Headers:
    """The header fields of a message, undecoded, by lower-case name."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return the first value, decoded (RFC 2047); an empty string if there is none."""
        found = self.values.get(name.lower())
        return decoded_header(found[0]) if found else ""

    def raw(self, name: str) -> str:
        """Return the first value, undecoded; an empty string if there is none."""
        found = self.values.get(name.lower())
        return found[0] if found else ""


@dataclass(frozen=True, slots=True)
class Text:
    """One readable part."""

    content: str
    origin: Origin
    media: str
    """The media type in lower case, such as `text/csv`."""
    message: int
    """Index of the message in `Unfolded.messages` that the part belongs to."""
    reporter: str | None = None
    """The reporter's name and address, in a formal report."""
    reference: str | None = None
    """The ticket number, in a formal report."""
    kind: Kind | None = None
    """The kind of complaint, in a formal report."""


@dataclass(slots=True)
class Unfolded:
    """The content of a mail."""

    messages: list[Headers] = field(default_factory=list)
    """The headers of the mail and of the messages in it, the outermost first."""
    texts: list[Text] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    """What was not read, and why."""
    budget: int = MAX_TEXT
    """Bytes of text that may still be decoded."""
    packed_budget: int = MAX_UNPACKED
    """Bytes that may still be unpacked."""
    parts: int = 0

    def note(self, text: str) -> None:
        """Record, once, that something was not read."""
        if text not in self.cut:
            self.cut.append(text)


@dataclass(frozen=True, slots=True)
class _Region:
    """A part that is not opened yet."""

    start: int
    end: int
    depth: int
    message: int
    origin: Origin
    is_message: bool
    data: bytes


def unfold(data: bytes) -> Unfolded:
    """Return the texts of a mail, or of a report that is no mail.

    Never fails: anything else than a mail is one text. The texts are in reading order.
    """
    result = Unfolded()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data[: 4 * MAX_TEXT].decode("utf-16", "replace").encode("utf-8", "replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    start = len(data[:64]) - len(data[:64].lstrip())
    if data.startswith(b"From ", start):
        start = data.find(b"\n", start) + 1
    if not _is_mail(data, start):
        result.messages.append(Headers())
        _take_file(result, data, Text("", Origin.BODY, "text/plain", 0))
        return result
    pending = [_Region(start, len(data), 0, 0, Origin.BODY, is_message=True, data=data)]
    while pending:
        if result.parts >= MAX_PARTS:
            result.note(f"only the first {MAX_PARTS} parts were opened")
            break
        result.parts += 1
        pending.extend(reversed(_open(result, pending.pop())))
    return result


def decoded_header(value: str) -> str:
    """Decode the encoded words of a header (RFC 2047); never fails."""
    value = " ".join(value.split())
    if "=?" not in value:
        return value
    try:
        chunks = email.header.decode_header(value[:10_000])
    except (email.errors.HeaderParseError, ValueError):
        return value
    return "".join(
        decode(chunk, charset or "ascii") if isinstance(chunk, bytes) else chunk
        for chunk, charset in chunks
    )


def parse_date(value: str) -> datetime | None:
    """Parse a `Date` header, as UTC if it has no zone; None if it is no date."""
    try:
        moment = email.utils.parsedate_to_datetime(value[:200])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _is_mail(data: bytes, start: int) -> bool:
    head = data[start : start + MAX_HEADER]
    if not _HEADER_LINE.match(head):
        return False
    end = _HEADER_END.search(head)
    block = head[: end.start()] if end else head
    lines = block.splitlines()[:60]
    fields = sum(bool(_HEADER_LINE.match(line) or line[:1] in b" \t") for line in lines)
    return fields * 10 >= len(lines) * 9 and len(_MAIL_HEADER.findall(block[:20_000])) >= 2


def _open(result: Unfolded, region: _Region) -> list[_Region]:
    """Read one part: keep its text, or return the parts inside it."""
    data = region.data
    headers, body = _split_headers(data, region.start, region.end)
    message = region.message
    if region.is_message:
        message = len(result.messages)
        result.messages.append(headers)
    media, parameters = _content_type(headers.raw("content-type"))
    if region.depth >= MAX_DEPTH and media.startswith(("multipart/", "message/")):
        result.note(f"parts nested more than {MAX_DEPTH} deep were not opened")
        return []
    inside = replace(region, start=body, message=message)
    if media.startswith("multipart/") and (boundary := parameters.get("boundary")):
        parts = _multipart(result, inside, media, boundary)
        if parts:
            return parts
    if media in {"message/rfc822", "message/global"} or _is_attached_mail(headers, parameters):
        return _nested(result, inside, headers)
    _keep(result, inside, headers)
    return []


def _is_attached_mail(headers: Headers, parameters: dict[str, str]) -> bool:
    """Tell whether a part is a mail that was attached as a file."""
    disposition = _content_type(headers.raw("content-disposition"))[1]
    name = decoded_header(disposition.get("filename") or parameters.get("name") or "")
    return name.lower().endswith(".eml")


def _nested(result: Unfolded, region: _Region, headers: Headers) -> list[_Region]:
    """Return the message in a part, decoded if it is encoded (RFC 6532, and Outlook)."""
    data, start, end = region.data, region.start, region.end
    if headers.raw("content-transfer-encoding").strip().lower() in {"base64", "quoted-printable"}:
        data = _decoded(result, data[start : min(end, start + 2 * MAX_TEXT)], headers)
        start, end = 0, len(data)
    # Some mailers leave an empty line before the header of the message that they attach.
    while start < end and data[start : start + 1] in b"\r\n":
        start += 1
    return [
        replace(region, start=start, end=end, depth=region.depth + 1, is_message=True, data=data)
    ]


def _multipart(result: Unfolded, region: _Region, media: str, boundary: str) -> list[_Region]:
    """Return the parts of a multipart body; none if it has no boundary."""
    spans = list(_between_boundaries(region.data, region.start, region.end, boundary))
    if len(spans) > MAX_PARTS:
        result.note(f"only the first {MAX_PARTS} parts were opened")
        spans = spans[:MAX_PARTS]
    if media == "multipart/alternative":
        spans = _best_alternative(region.data, spans)
    parts: list[_Region] = []
    for index, (start, end) in enumerate(spans):
        origin = region.origin
        head = _split_headers(region.data, start, min(end, start + MAX_HEADER))[0]
        kind = _content_type(head.raw("content-type"))[0]
        # In a feedback report (RFC 5965), the third part is the mail that the complaint is about.
        if media == "multipart/report" and index >= 2 and kind.startswith(("message/", "text/")):
            origin = Origin.EVIDENCE
        place = replace(region, start=start, end=end, depth=region.depth + 1)
        parts.append(replace(place, origin=origin, is_message=False))
    return parts


_MIN_ALTERNATIVE: Final = 200


def _best_alternative(data: bytes, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Choose an alternative: the plain text if it has content, else the last one."""
    for start, end in spans:
        headers, body = _split_headers(data, start, end)
        text = data[body : min(end, body + 2000)].strip()
        # "This mail is in HTML" is no content.
        if _content_type(headers.raw("content-type"))[0] == "text/plain" and (
            len(text) > _MIN_ALTERNATIVE or (len(text) > 60 and text.count(b".") > 2)
        ):
            return [(start, end)]
    return spans[-1:]


def _between_boundaries(
    data: bytes, start: int, end: int, boundary: str
) -> Iterator[tuple[int, int]]:
    """Yield the spans between delimiter lines (RFC 2046, 5.1.1)."""
    delimiter = b"--" + boundary.encode("utf-8", "replace")
    previous: int | None = None
    at = data.find(delimiter, start, end)
    count = 0
    while at >= 0:
        if at == start or data[at - 1 : at] in b"\r\n":
            if previous is not None:
                yield previous, at
                count += 1
                if count > MAX_PARTS:
                    return
            after = at + len(delimiter)
            line_end = data.find(b"\n", after, end)
            if data[after : after + 2] == b"--" or line_end < 0:
                return
            previous = line_end + 1
        at = data.find(delimiter, at + len(delimiter), end)
    if previous is not None:
        yield previous, end


def _split_headers(data: bytes, start: int, end: int) -> tuple[Headers, int]:
    """Return the headers of a part, and the start of its body."""
    if data[start : start + 1] == b"\n":
        return Headers(), start + 1
    if data[start : start + 2] == b"\r\n":
        return Headers(), start + 2
    limit = min(end, start + MAX_HEADER)
    found = _HEADER_END.search(data, start, limit)
    block = data[start : found.start() if found else limit]
    if not _HEADER_LINE.match(block):
        return Headers(), start
    text = decode(block, "utf-8").replace("\r\n", "\n").replace("\r", "\n")
    values: dict[str, list[str]] = {}
    for line in re.sub(r"\n[ \t]+", " ", text).split("\n"):
        name, colon, value = line.partition(":")
        if colon and len(values) < 500:
            values.setdefault(name.strip().lower(), []).append(value.strip())
    return Headers(values), found.end() if found else limit


def _content_type(value: str) -> tuple[str, dict[str, str]]:
    """Return the media type and its parameters, with names in lower case."""
    media = value.partition(";")[0].strip().lower() or "text/plain"
    parameters: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(value[:4000]):
        parameters.setdefault(name.lower().rstrip("*").rstrip("*0"), quoted or bare)
    return media, parameters


def _keep(result: Unfolded, leaf: _Region, headers: Headers) -> None:
    """Decode and keep the text of a part without parts; `leaf` is its body."""
    media, parameters = _content_type(headers.raw("content-type"))
    media = "text/plain" if media.startswith("multipart/") else media
    charset = parameters.get("charset", "")
    disposition, more = _content_type(headers.raw("content-disposition") or "inline")
    name = decoded_header(more.get("filename") or parameters.get("name") or "")
    if not _worth_reading(media, name):
        return
    origin = leaf.origin
    if origin is Origin.BODY and (disposition == "attachment" or (name and media != "text/plain")):
        origin = Origin.ATTACHMENT
    raw = leaf.data[leaf.start : min(leaf.end, leaf.start + 2 * result.budget)]
    if len(raw) < leaf.end - leaf.start:
        result.note("only the beginning of a very long text was read")
    data = _decoded(result, raw, headers)
    _take_file(result, data, Text("", origin, media, leaf.message), charset)


def _worth_reading(media: str, name: str) -> bool:
    if media.startswith(("text/", "message/")) or media.endswith(("json", "xml", "yaml", "csv")):
        return media not in {"text/calendar", "text/vcard", "text/css", "text/x-vcard"}
    if media.startswith(("image/", "audio/", "video/", "font/")) or "signature" in media:
        return False
    packed = name.lower().endswith((".zip", ".gz", ".xlsx", ".xlsm"))
    return bool(_TEXT_NAMES.search(name)) or packed or "zip" in media or "spreadsheetml" in media


def _decoded(result: Unfolded, raw: bytes, headers: Headers) -> bytes:
    """Undo the transfer encoding; of broken base64, return what can be decoded."""
    encoding = headers.raw("content-transfer-encoding").strip().lower()
    if encoding == "quoted-printable":
        return quopri.decodestring(raw)
    if encoding != "base64":
        return raw
    clean = re.sub(rb"[^A-Za-z0-9+/]+", b"", raw)
    clean = clean[: len(clean) - len(clean) % 4] if len(clean) % 4 == 1 else clean
    try:
        return base64.b64decode(clean + b"=" * (-len(clean) % 4))
    except binascii.Error:
        result.note("an attachment in broken base64 was not read")
        return b""


def _take_file(result: Unfolded, data: bytes, empty: Text, charset: str = "") -> None:
    """Keep the text of a file, or the texts of the files in an archive; `empty` is without it."""
    if not data.startswith(_ARCHIVES):
        _take_text(result, data, empty, charset)
    elif is_spreadsheet(data):
        try:
            table = text_of_spreadsheet(data).encode()
        except SpreadsheetError as error:
            result.note(f"a spreadsheet was not read: {error}")
            return
        _take_text(result, table, replace(empty, media="text/tab-separated-values"), "utf-8")
    else:
        for content in _unpacked(result, data):
            member = replace(empty, media="text/plain", origin=Origin.ATTACHMENT)
            _take_text(result, content, member, "")


def _take_text(result: Unfolded, data: bytes, empty: Text, charset: str) -> None:
    if len(data) > result.budget:
        result.note("only the beginning of a very long text was read")
        data = data[: result.budget]
    if data[:2000].count(0) > 20 and not is_wide(data) and "16" not in charset:
        return  # a binary file with the name of a text
    result.budget -= len(data)
    if not charset and b"<" in data[:200] and (declared := _CHARSET_IN_HTML.search(data, 0, 2000)):
        charset = declared[1].decode("ascii")
    text = decode(data, charset).removeprefix("\ufeff")
    if empty.media == "text/html" or (empty.media == "text/plain" and looks_like_html(text)):
        text = text_of_html(text)
    text = original_links(text).replace("\r\n", "\n").replace("\r", "\n")
    result.texts.append(replace(empty, content=text))


def _unpacked(result: Unfolded, data: bytes) -> Iterator[bytes]:
    """Yield the text files of an archive, within the limits."""
    if data.startswith(b"\x1f\x8b"):
        try:
            content = zlib.decompressobj(wbits=31).decompress(data, max(1, result.packed_budget))
            result.packed_budget -= len(content)
            yield content
        except zlib.error:
            result.note("a broken archive was not read")
        return
    if data.count(b"PK\x01\x02") > 100 * MAX_MEMBERS:
        # Each directory entry needs ten times its size in memory.
        result.note("an archive with too many files was not read")
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) > MAX_MEMBERS:
                result.note(f"only the first {MAX_MEMBERS} files of an archive were read")
            for member in members[:MAX_MEMBERS]:
                if member.flag_bits & 1:
                    result.note("an archive with a password was not read")
                elif _TEXT_NAMES.search(member.filename) or "." not in member.filename:
                    with archive.open(member) as file:
                        content = file.read(max(0, result.packed_budget))
                    result.packed_budget -= len(content)
                    if member.file_size > len(content):
                        result.note("only the beginning of a file in an archive was read")
                    yield content
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, OSError, EOFError,
            ValueError, IndexError, OverflowError):  # fmt: skip
        result.note("a broken archive was not read")
