# ruff: noqa: RUF001 - full-width colons of mail headers in Japanese and Chinese
"""Run the steps that turn the bytes of a mail into a `Complaint`."""

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timezone
from typing import Final

from exitpolicy.complaint.extract.names import host_names
from exitpolicy.complaint.extract.ports import WEB_PORTS, ports_written, service_ports, services_in
from exitpolicy.complaint.extract.references import references_in
from exitpolicy.complaint.extract.times import deadline_in, incidents_in, zone_said
from exitpolicy.complaint.input.mail import Headers, Origin, Text, Unfolded, parse_date, unfold
from exitpolicy.complaint.input.quoting import without_our_answer, without_scanner_footers
from exitpolicy.complaint.input.sentences import is_prose
from exitpolicy.complaint.input.xarf import read_formal
from exitpolicy.complaint.language.detect import language_of
from exitpolicy.complaint.language.kinds import kind_of
from exitpolicy.complaint.language.senses import is_about_acting, is_known
from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.complaint.model import (
    Candidate,
    Caution,
    Complaint,
    Envelope,
    HostName,
    Incident,
    Kind,
    Warn,
)
from exitpolicy.complaint.roles.lines import LineReader
from exitpolicy.complaint.roles.scores import MAX_PORTS
from exitpolicy.complaint.roles.weighing import weigh
from exitpolicy.core.addresses import address_text
from exitpolicy.core.destination import Destination
from exitpolicy.core.mail_addresses import mail_addresses
from exitpolicy.core.ports import ALL_PORTS, normal_ports

MAX_PROSE: Final = 60_000
"""Characters that are searched for words, references and deadlines."""

MAX_LINES: Final = 300
"""Lines that are searched for the services that were attacked."""
MAX_ASKED: Final = 5
"""The most host names in a question."""
MANY_HOSTS: Final = 2
"""With more destinations, a complaint of unknown kind is about a scan."""
MIN_NAME: Final = 3
"""Minimum characters of a sender's name by which a quotation is recognized."""
MIN_SPOKEN: Final = 12
"""Minimum number of the sender's own words from which their language is detected."""

_WEB_REQUEST: Final = re.compile(r"\bHTTP/[123]\b|\bcs-(?:uri|method)\b")
_MAIL_PORTS: Final = frozenset({25})
"""Ports that alone do not show password guessing: mail servers mostly receive spam."""
_ON_SERVICES: Final = frozenset({Kind.BRUTE_FORCE, Kind.PORT_SCAN})
"""Kinds in which a service that the report names was attacked."""
_WITH_PORT: Final = _ON_SERVICES | {Kind.WEB_ATTACK, Kind.DDOS, Kind.UNKNOWN}
"""Kinds in which a port that the report names was attacked."""
_FROM: Final = pattern(
    r"^[\s>*|]{0,12}(?:<<from header>>)\*?\s?[:：]\*?\s{0,4}(\S.{3,200})$", re.IGNORECASE
)
_SUBJECT: Final = pattern(
    r"^[\s>*|]{0,12}(?:<<subject header>>)\*?\s?[:：]\*?\s{0,4}(\S.{0,300})$", re.IGNORECASE
)
_WROTE: Final = pattern(
    r"^[\s>]{0,12}.{0,150}<([^<>\s]{3,120}@[^<>\s]{3,120})>.{0,30}(?:<<wrote>>|:)\s?:?$",
    re.IGNORECASE,
)
_HANDSHAKE: Final = pattern(r"<<handshake>>")
"""Matches signs of a complete connection, whose source is not spoofed."""
_UNPROVEN: Final = pattern(r"\bsyn\b|\budp\b|icmp|flags?\W{0,3}\[?s\b|spoof")
_AUTOMATIC: Final = pattern(r"<<automatic sender>>")
_FORMAL_TIME: Final = pattern(r"date|time|seen")
_PROSE_WORD: Final = re.compile(r"(?<![^\s(])[^\W\d_]{1,14}(?=[\s,.;]|$)")
_RULER: Final = re.compile(r"\s*[-_=*]{3}")
_LOG_LINE: Final = pattern(
    r"\d{1,2}:\d{2}:\d{2}|[=|\t].*[=|\t]|^\s{0,4}(?:received|x-[\w-]+):|https?://\S{30}"
)
_DATE_HEADER: Final = pattern(r"^[\s>*]{0,12}(?:<<date header>>)\b.*")


def read_complaint(
    data: bytes, *, own: Collection[Destination] = (), protected: Collection[Destination] = ()
) -> Complaint:
    """Read a mail, a plain text, or an X-ARF, XARF or ARF report.

    `own` are the relay's addresses; `protected` are the addresses that the config never blocks.
    Neither are candidates. Any bytes give a complaint. Of a large report, only the beginning is
    read; a caution says so.
    """
    unfolded = unfold(data)
    envelope = _envelope(unfolded.messages[0])
    kept = _without_evidence_mail(unfolded, _names_of(envelope))
    subjects = _subjects(unfolded, kept)
    reporter_language = _language(kept, subjects)
    reader = LineReader(
        [address_text(part.family, part.first) for one in own for part in one.ranges],
        understood=reporter_language is None or is_known(reporter_language),
    )
    for subject in subjects:
        reader.read(subject, is_subject=True)
    formals = []
    for text in kept:
        formal = read_formal(text)
        if formal is not None:
            formals.append(formal)
        reader.read((formal or text).content)
    written = "\n".join(_prose(kept))
    kind = next((f.kind for f in formals if f.kind), None) or kind_of(" ".join(subjects), written)
    candidates, sources, cautions = weigh(
        reader.evidence, own, protected, kind=kind, masked=reader.is_masked
    )
    if kind is Kind.UNKNOWN:
        kind = _kind_by_ports(candidates, subjects, written)
    candidates = _with_ports(candidates, kind, reader.lone_ports, "\n".join([*subjects, written]))
    inner = _inner_reporter(unfolded, kept)
    zone = zone_said(written)
    named_hosts = host_names([*subjects, *(text.content for text in kept)])
    lines = [one.line for one in reader.evidence]
    incidents = _incidents(written, formals, lines, envelope.date, zone)
    return Complaint(
        envelope=envelope,
        reporter=next((f.reporter for f in formals if f.reporter), None)
        or inner
        or envelope.sender,
        forwarded=inner is not None
        and envelope.reply_to is not None
        and envelope.reply_to.lower() not in inner.lower(),
        references=references_in(
            subjects,
            written,
            stated=[f.reference for f in formals if f.reference],
            forwarder="" if inner is None else "\n".join(_own_lines(kept)),
        ),
        incidents=incidents,
        deadline=deadline_in(written, zone, envelope.date),
        kind=kind,
        language=_sender_language(kept) or reporter_language,
        reporter_language=reporter_language,
        candidates=candidates,
        cautions=(
            *_spoofed(unfolded.messages[0], kind, written),
            *cautions,
            *(Caution(Warn.CUT, text) for text in unfolded.cut),
            *([Caution(Warn.CUT, "not all of its lines were read")] if reader.is_cut else []),
        ),
        sources=sources,
        named_hosts=named_hosts,
        ask=() if candidates else _questions(named_hosts, incidents, sources),
    )


def _with_ports(
    candidates: tuple[Candidate, ...], kind: Kind, lone: set[int], written: str
) -> tuple[Candidate, ...]:
    """Return the candidates; if none has a port, add the port that the report names elsewhere.

    `lone`: the destination ports in log lines that name no destination.
    """
    if any(candidate.destination.ports != ALL_PORTS for candidate in candidates):
        return candidates
    if 0 < len(lone) <= MAX_PORTS and len(candidates) == 1:
        named = lone
    elif kind not in _WITH_PORT:
        return candidates
    else:
        # A report of a web attack may name SSH in passing.
        named = services_in(written) if kind in _ON_SERVICES else set()
        if len(named) != 1:
            named = ports_written(written)
        if len(named) != 1:
            return candidates
    ports = normal_ports((port, port) for port in named)
    return tuple(replace(c, destination=c.destination._replace(ports=ports)) for c in candidates)


def _kind_by_ports(
    candidates: Collection[Candidate], subjects: Collection[str], written: str
) -> Kind:
    """Return the kind that the destinations or the attacked services suggest."""
    if _is_sweep(candidates):
        return Kind.PORT_SCAN
    if _WEB_REQUEST.search(written):
        return Kind.WEB_ATTACK
    lines = [line for line in written.split("\n")[:MAX_LINES] if is_about_acting(line)]
    attacked = services_in("\n".join([*filter(is_about_acting, subjects), *lines]))
    if any(map(is_prose, lines)):
        ports = {first for c in candidates for first, last in c.destination.ports if first == last}
        if ports & WEB_PORTS:
            return Kind.WEB_ATTACK
        attacked |= ports & service_ports()
    return Kind.BRUTE_FORCE if attacked - _MAIL_PORTS else Kind.UNKNOWN


def _is_sweep(candidates: Collection[Candidate]) -> bool:
    """Tell whether the destinations alone show a scan: several hosts, or several ports of one."""
    ports = [
        sum(last - first + 1 for first, last in candidate.destination.ports)
        for candidate in candidates
    ]
    return len(ports) > MANY_HOSTS or any(1 < count <= MAX_PORTS for count in ports)


def _envelope(headers: Headers) -> Envelope:
    sender = headers.get("from") or None
    reply_to = [field for field in headers.values.get("reply-to", []) if field]
    return Envelope(
        message_id=headers.raw("message-id").strip()[:500] or None,
        references=(headers.raw("references") or headers.raw("in-reply-to")).strip()[:4000] or None,
        subject=headers.get("subject")[:1000],
        sender=sender[:500] if sender else None,
        from_addresses=mail_addresses(headers.values.get("from", [])),
        reply_to_addresses=mail_addresses(reply_to) if reply_to else None,
        date=parse_date(headers.raw("date")) if headers.raw("date") else None,
    )


def _names_of(envelope: Envelope) -> tuple[str, ...]:
    """Return the sender's name and addresses."""
    name = (envelope.sender or "").partition("<")[0].strip('" ')
    return (*([name] if len(name) >= MIN_NAME else []), *envelope.from_addresses)


def _without_evidence_mail(unfolded: Unfolded, sender: Collection[str]) -> list[Text]:
    """Return the texts without the mail that was reported and without our earlier answer.

    These accuse nobody.
    """
    texts = [
        replace(text, content=without_our_answer(without_scanner_footers(text.content), sender))
        for text in unfolded.texts
        if text.origin is not Origin.EVIDENCE
    ]
    outer = [text for text in texts if text.message == 0]
    about_mail = kind_of(
        unfolded.messages[0].get("subject"), "\n".join(t.content[:5000] for t in outer)
    )
    if about_mail in {Kind.SPAM, Kind.FRAUD} and sum(len(t.content) for t in outer) > 200:
        return outer
    return texts


def _subjects(unfolded: Unfolded, kept: list[Text]) -> list[str]:
    """Return the subjects of all mails, quoted ones included, each once."""
    indices = {0, *(text.message for text in kept)}
    subjects = dict.fromkeys(
        headers.get("subject")[:1000]
        for index, headers in enumerate(unfolded.messages)
        if index in indices and headers.get("subject")
    )
    for text in kept[:50]:
        for line in text.content[:MAX_PROSE].split("\n"):
            if len(line) < 350 and (match := _SUBJECT.match(line)):
                subjects.setdefault(match[1].strip())
    return list(subjects)[:20]


def _prose(texts: list[Text]) -> list[str]:
    """Return the beginnings of the texts, `MAX_PROSE` characters in all."""
    left = MAX_PROSE
    found = []
    for text in texts:
        found.append(text.content[:left])
        left -= len(found[-1])
        if left <= 0:
            break
    return found


def _inner_reporter(unfolded: Unfolded, kept: list[Text]) -> str | None:
    """Return the author of the innermost mail, nested or quoted."""
    innermost = max((text.message for text in kept), default=0)
    reporter = unfolded.messages[innermost].get("from")[:500] if innermost else ""
    for text in kept[:50]:
        lines = text.content[:MAX_PROSE].split("\n")
        for index, line in enumerate(lines):
            if len(line) > 350:
                continue
            if match := _WROTE.match(line):
                reporter = match[1]
            elif (match := _FROM.match(line)) and any(
                _SUBJECT.match(other) for other in lines[index + 1 : index + 8] if len(other) < 350
            ):
                reporter = match[1].strip().strip("*")
    return (
        reporter.replace("[mailto:", "<").replace("]", ">")
        if "[mailto:" in reporter
        else reporter or None
    )


def _incidents(
    written: str,
    formals: list[Text],
    lines: list[str],
    sent: datetime | None,
    zone: timezone | None,
) -> tuple[Incident, ...]:
    """Return the times of lines with addresses; if they have none, those of the other lines."""
    stated = [
        line
        for formal in formals
        for line in formal.content.split("\n")
        if _FORMAL_TIME.search(line)
    ]
    found = incidents_in([*stated, *lines], zone, sent)
    if found:
        return found
    prose = written.split("\n")
    rest = [line for line in prose if not _DATE_HEADER.match(line)]
    return incidents_in(rest, zone, sent) or incidents_in(prose, zone, sent)


def _sender_language(kept: list[Text]) -> str | None:
    """Return the language of the first text, up to the first quotation.

    None if the sender wrote only a few words, such as "see below".
    """
    spoken = "\n".join(line for line in _own_lines(kept) if not _LOG_LINE.search(line))
    return language_of(spoken) if len(_PROSE_WORD.findall(spoken)) >= MIN_SPOKEN else None


def _own_lines(kept: list[Text]) -> list[str]:
    """Return the lines of the first text, up to the first quotation."""
    lines = kept[0].content[:MAX_PROSE].split("\n") if kept else []
    begun = (
        index for index, line in enumerate(lines)
        if line.startswith(">") or _RULER.match(line) or _FROM.match(line[:350])
    )  # fmt: skip
    return lines[: next(begun, None)]


def _language(kept: list[Text], subjects: list[str]) -> str | None:
    prose = [
        line
        for text in kept
        if text.origin is Origin.BODY
        for line in text.content[:MAX_PROSE].split("\n")
        if len(line) < 2000 and (not _LOG_LINE.search(line) or len(_PROSE_WORD.findall(line)) > 14)
    ]
    return language_of("\n".join([*prose, *subjects]))


def _spoofed(headers: Headers, kind: Kind, written: str) -> list[Caution]:
    """Warn of packets whose source address may be forged."""
    unproven = kind is Kind.PORT_SCAN or (kind is Kind.DDOS and _UNPROVEN.search(written))
    if not unproven or _HANDSHAKE.search(written):
        return []
    clues = (headers.get("from"), headers.raw("auto-submitted"), written)
    automatic = any(_AUTOMATIC.search(clue) for clue in clues)
    return [
        Caution(
            Warn.SPOOFED,
            ("an automatic sender reports" if automatic else "the report is about")
            + " packets that need no connection: their source may be spoofed, and Tor makes whole"
            " TCP connections only",
        )
    ]


def _questions(
    hosts: tuple[HostName, ...], incidents: tuple[Incident, ...], sources: tuple[str, ...]
) -> tuple[str, ...]:
    if names := [host.name for host in hosts if host.is_victim][:MAX_ASKED]:
        first = f"the IP address and port of {', '.join(names)}"
    else:
        first = "the IP address and port that were attacked (the destination, not the source)"
    questions = [first]
    if not incidents:
        questions.append("the time of the incident, with its time zone")
    elif not all(incident.zone_said for incident in incidents):
        questions.append("the time zone of the times in the report")
    if not sources:
        questions.append("the address that it came from")
    return tuple(questions)
