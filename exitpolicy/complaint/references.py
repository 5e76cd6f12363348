# ruff: noqa: RUF001
# Labels of tickets in other alphabets are part of this module.
"""Ticket numbers: what an answer has to keep in its subject so that it finds its case."""

import re
from collections.abc import Iterable
from typing import Final

MAX_REFERENCES: Final = 10
MAX_READ: Final = 30_000

_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._/:-]{1,60}"
_BRACKETED: Final = re.compile(r"\[([^\[\]\s][^\[\]]{1,60})\]")
_HASHED: Final = re.compile(
    rf"(?<![\w&#/])((?:[A-Za-z][A-Za-z-]{{1,20}}|[A-Z]{{2,12}}\s)?[#№]\s?(?=[\w-]*\d){_ID})"
)
_PREFIXED: Final = re.compile(
    r"(?<![\w/.-])((?:[A-Z]{2,12}-)?(?:INC|TICKET|CASE|SIR|INCIDENT|ABUSE|CERT|CSIRT|SOC"
    r"|SR|REQ|TT|RT|SBL|CVR|ABU|AB|NCSC|REF)"
    r"[-_:#]?(?=[A-Z0-9-]{0,12}\d)[A-Z0-9]{1,16}(?:[-_/.][A-Z0-9]{1,16}){0,4}"
    r"|(?!CVE)[A-Z]{2,10}[-/]20\d\d[-/]\d{1,10})(?![\w@])"
)
_LABELLED: Final = re.compile(
    r"(?<![^\W_])(?:proc(?:edimento)?\.?\spen(?:ale)?|ticket|case|incident|inquiry|complaint|abuse|report|notice|reference"
    r"|tracking|issue|request"
    r"|vorgangs?|fall|melde|akten|ticketnummer|vorgangsnummer|aktenzeichen|fallnummer"
    r"|pratica|protocollo|segnalazione|caso|dossier|référence"
    r"|incidente|referencia|referência|protocolo|zaakreferentie|kenmerk|zaak|zgłoszenia?"
    r"|sprawy|zgłoszenie|обращени\w|инцидент\w?|заявк\w|дел\w"
    r"|hlášení|případu?|incidentu|ärende|ärendenummer|受付番号|管理番号|整理番号|案件番号|工单号|编号|案件|ref)"
    r"(?:[\s_-]?(?:id|no|nr|num|number|nummer|numero|numéro|número|code|ref|reference"
    r"|номер|číslo|numer|zeichen|n))?\.?"
    rf"\s{{0,3}}(?:[:#=：№]|n[°º.]|nr\.?|no\.?"
    rf"|id:?)\s{{0,3}}[:#]?\s{{0,2}}[\[(\"']?((?=[^\s]*\d){_ID})",
    re.IGNORECASE,
)
_IN_SUBJECT: Final = re.compile(
    r"(?<![^\W_])(?:ticket|case|incident|issue|ref|inquiry|vorgang|fall|pratica"
    r"|segnalazione|caso|dossier|incidente|zaak|sprawa"
    rf"|zgłoszenie|инцидент|обращение|случай|případ|incidentu?|ärende|sak|notice|č\.|nr\.?"
    rf"|no\.?|n[°º])\s((?=[^\s]*\d){_ID})",
    re.IGNORECASE,
)
_NO_REFERENCE: Final = re.compile(
    r"^(?:\d{1,3}(?:\.\d{1,3}){3}.*|\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    r"|\d{1,2}:\d{2}.*|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,}"
    r"|\d{1,3}|https?:.*|AS\d+|RFC.?\d+|CVE-.*|port.*)$",
    re.IGNORECASE,
)


def references_in(subjects: Iterable[str], text: str, stated: Iterable[str]) -> tuple[str, ...]:
    """Return ticket numbers as written: those of the subjects, of formal fields, of the text."""
    found: dict[str, None] = {}
    for subject in subjects:
        for pattern in (_BRACKETED, _HASHED, _LABELLED, _PREFIXED, _IN_SUBJECT):
            for match in pattern.finditer(subject):
                _add(found, match[1])
    for reference in stated:
        _add(found, reference)
    for line in text[:MAX_READ].split("\n"):
        for pattern in (_LABELLED, _PREFIXED) if len(line) < 300 else ():
            for match in pattern.finditer(line):
                _add(found, match[1])
        if len(found) >= MAX_REFERENCES:
            break
    return tuple(found)[:MAX_REFERENCES]


def _add(found: dict[str, None], reference: str) -> None:
    reference = reference.strip().lstrip("№ ").rstrip(".:,;/-")
    plain = reference.lstrip("# ")
    if not 3 <= len(plain) <= 80 or _NO_REFERENCE.match(plain) or not re.search(r"\d", plain):
        return
    if any(plain.lower() in old.lower() for old in found):
        return
    found[reference] = None
