# ruff: noqa: RUF001 - commas of Chinese
"""What mailers, gateways and spreadsheets wrapped a report into is undone."""

import base64
import io
import sys
import time
import tracemalloc
import zipfile
from urllib.parse import quote

import pytest

from exitpolicy.complaint import Complaint, read_complaint
from exitpolicy.complaint.extract.rows import restored
from exitpolicy.complaint.input.links import original_links
from exitpolicy.core.destination import parse_destination
from tests.test_complaint_roles import ACCUSED, OWN, VICTIM, destinations, read

OTHER = "93.184.216.35"


@pytest.mark.parametrize(
    "text",
    [
        "Source IP\nDestination IP\nDestination Port\n{o}\n{v}\n22\n{o}\n{w}\n22\n",
        (
            "Time\nSource IP\nTarget IP\nTarget Port\n2026-11-20 10:00\n{o}\n{v}\n22\n"
            "2026-11-20 10:01\n{o}\n{w}\n22\n\nKind regards\n"
        ),
        "Quelle\n\nZiel\n\nZielport\n\n{o}\n\n{v}\n\n22\n\n{o}\n\n{w}\n\n22\n",
        (
            "time,src_ip,src_port,dst_ip,dst_port\n2026-11-20\n10:00:00,{o},40000,{v},22\n"
            "2026-11-20\n10:00:01,{o},40001,{w},22\n"
        ),
        (
            "time;src_ip;src_port;dst_ip;\ndst_port\n2026-11-20 10:00:00;{o};40000;{v};22\n"
            "2026-11-20 10:00:01;{o};40001;\n{w};22\n"
        ),
        (
            '"asn","ip","timestamp","src_port","dst_ip","dst_port"\n'
            '"64600","{o}","2026-11-20\n10:00:00","40000","{v}","22"\n'
            '"64600","{o}","2026-11-20\n10:00:01","40001","{w}","22"\n'
        ),
    ],
)
def test_broken_rows_are_whole_again(text: str) -> None:
    """A table with a row on several lines is read like one with a row on each line."""
    complaint = read(text.format(o=OWN, v=VICTIM, w=OTHER))
    assert sorted(destinations(complaint)) == [f"{VICTIM}:22", f"{OTHER}:22"]


def test_a_stacked_table_of_the_accused_names_no_victim() -> None:
    """In a table with a cell on each line, the other hosts of the column are accused, too."""
    head = "IP\nTimestamp (UTC)\nSource Port\nDestination Port\n"
    rows = "".join(f"{ip}\n2026-11-20T10:00:00Z\n36668\n22\n" for ip in (ACCUSED, OWN))
    assert destinations(read(f"SSH attacks on our server:\n\n{head}{rows}")) == []


@pytest.mark.parametrize(
    "text",
    [
        f"Source IP: {OWN}\nDestination IP: {VICTIM}\n",
        f"Destination\n{VICTIM}\nSource\n{OWN}\n",
        f"Hello,\nplease look at\n{OWN}\nand stop it.\n",
        'He said "this is bad, very bad, really\nand went away, far, far away.\n',
        "a,b,c\n1,2\n3\n4\n5\n",
    ],
)
def test_other_lines_stay_as_they_are(text: str) -> None:
    """What is no row of a table is not joined."""
    lines = text.split("\n")
    assert list(restored(lines)) == lines


LINK = "http://shop.example.net:8080/login?user=a&next=/b_c-d"
"""A link with all that an encoding may break."""


def dashes(link: str) -> str:
    """Encode as the second version of Proofpoint's links does."""
    return quote(link, safe="").replace("/", "_").replace("%2F", "_").replace("%", "-")


@pytest.mark.parametrize(
    "rewritten",
    [
        "https://urldefense.com/v3/__{link}__;!!Ab1cdEfg-o8!JeBztP2m$",
        "https://eur05.safelinks.protection.outlook.com/?url={percent}&amp;data=05%7C02&reserved=0",
        "https://linkprotect.cudasvc.com/url?a={percent}&c=E,1,abc&typo=1",
        "https://imsva91-ctp.trendmicro.com:443/wis/clicktime/v1/query?url={percent}&umid=1",
        "https://protect2.fireeye.com/v1/url?k=aa-bb&q=1&e=2&u={percent}",
        "https://secure-web.cisco.com/1aBcD-e/{percent}",
        "https://eu-central-1.protection.sophos.com?d=example.net&u={base64}&i=NTk",
        "https://www.google.com/url?q={percent}&sa=D",
        "https://eur05.safelinks.protection.outlook.com/?url={twice}&data=05",
    ],
)
def test_a_link_that_a_gateway_rewrote_is_restored(rewritten: str) -> None:
    """What stands in the mail is read as the reporter wrote it."""
    once = f"https://www.google.com/url?q={quote(LINK, safe='')}"
    line = rewritten.format(
        link=LINK,
        percent=quote(LINK, safe=""),
        base64=quote(base64.b64encode(LINK.encode()).decode(), safe=""),
        twice=quote(once, safe=""),
    ).replace(".com?d", ".com/?d")
    assert original_links(f"See {line} please.") == f"See {LINK} please."


def test_proofpoints_second_version_is_restored() -> None:
    """Dashes stand for percent signs, and underlines for slashes."""
    link = "http://shop.example.net/login"
    line = f"https://urldefense.proofpoint.com/v2/url?u={dashes(link)}&d=Dw&c=e"
    assert original_links(line) == link


def test_an_address_that_a_gateway_made_a_link_is_an_address() -> None:
    """A link without a path is what stands in the column of a table, and has no port."""
    line = f"https://urldefense.com/v3/__http://{VICTIM}__;!!Ab1!J$ 23"
    assert original_links(line) == f"{VICTIM} 23"
    assert original_links(f"{VICTIM}<http://{VICTIM}/> and x") == f"{VICTIM} and x"


@pytest.mark.parametrize(
    "link",
    [
        "https://www.google.com/search?q=exit+relay",
        "https://urldefense.com/v3/__",
        "https://eur05.safelinks.protection.outlook.com/?url=%00%20x",
        "https://eu-central-1.protection.sophos.com/?u=!!!!",
        "https://shop.example.net/?url=http%3A%2F%2Fother.example%2F",
        "http://93.184.216.34/login",
    ],
)
def test_other_links_stay(link: str) -> None:
    """A link that no gateway rewrote, or that holds none, is not changed."""
    assert original_links(link) == link


def workbook(rows: list[list[str]], *, texts: list[str] | None = None, sheet: str = "") -> bytes:
    """Return a minimal .xlsx: each cell is an inline text, or the index of a shared one."""
    cells = "".join(
        f'<row r="{number}">'
        + "".join(
            f'<c r="{chr(65 + column)}{number}" t="inlineStr"><is><t>{cell}</t></is></c>'
            for column, cell in enumerate(row)
        )
        + "</row>"
        for number, row in enumerate(rows, 1)
    )
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{relation}"><sheets>'
            '<sheet name="log" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {main}><sheetData>{sheet or cells}</sheetData></worksheet>",
        )
        if texts is not None:
            items = "".join(f"<si><t>{text}</t></si>" for text in texts)
            archive.writestr("xl/sharedStrings.xml", f"<sst {main}>{items}</sst>")
    return file.getvalue()


TABLE = [
    ["Time", "Source IP", "Destination IP", "Destination Port"],
    ["2026-11-20 10:00:00", OWN, VICTIM, "22"],
]


def attached(data: bytes, name: str = "log.xlsx") -> bytes:
    """Return a mail with this file."""
    head = "From: a@b.example\nTo: c@d.example\nSubject: scan\nMIME-Version: 1.0\n"
    part = (
        "\n--b\nContent-Type: text/plain\n\nYour address scans us. See the sheet.\n"
        "--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
        f'Content-Disposition: attachment; filename="{name}"\n\n'
    )
    text = f'{head}Content-Type: multipart/mixed; boundary="b"\n{part}'
    return text.encode() + base64.encodebytes(data) + b"--b--\n"


def read_file(data: bytes) -> Complaint:
    """Read a mail with this file."""
    return read_complaint(attached(data), own=[parse_destination(OWN)])


def test_a_spreadsheet_is_read() -> None:
    """The table in an .xlsx file names the destination."""
    assert destinations(read_file(workbook(TABLE))) == [f"{VICTIM}:22"]


BOMBS = {
    "far cell": workbook([], sheet='<row r="1"><c r="A1"/><c r="XFD1048576"><v>1</v></c></row>'),
    "far row": workbook([], sheet='<row r="1"><c><v>1</v></c></row><row r="1048576"><c/></row>'),
    "many cells": workbook([], sheet="<row>" + "<c><v>1</v></c>" * 250_000 + "</row>"),
    "one text in many cells": workbook(
        [], texts=["x" * 900_000], sheet="<row>" + '<c t="s"><v>0</v></c>' * 50_000 + "</row>"
    ),
    "large text": workbook([], texts=["x" * 20_000_000]),
    "hidden reference": workbook([], sheet='<row><c r="&#88;FD1048576"><v>1</v></c></row>'),
    "comment": workbook([], texts=["x<!-- </si> -->"]),
    "entity": workbook([], texts=["<!DOCTYPE a [<!ENTITY b 'c'>]>&b;"]),
    "no workbook": b"PK\x03\x04xl/workbook.xml" + b"\x00" * 100,
    "cut": workbook(TABLE)[:-60],
    "no sheet": workbook([], sheet="<").replace(b"sheet1", b"sheet9"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_spreadsheet_is_not_read(name: str) -> None:
    """A caution says so, and neither time nor memory is spent."""
    tracemalloc.start()
    started = time.process_time()
    complaint = read_file(BOMBS[name])
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert complaint.candidates == ()
    assert any("spreadsheet" in caution.text for caution in complaint.cautions)
    assert time.process_time() - started < 10
    assert memory < 60 << 20


def test_a_spreadsheet_without_its_reader_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional package, the rest of the mail is read, and a caution says what to do."""
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    complaint = read_file(workbook(TABLE))
    assert any("python-calamine" in caution.text for caution in complaint.cautions)


GERMAN = (
    f"Guten Tag,\nvon Ihrer Adresse {OWN} wurde unser Server {VICTIM} auf Port 22 angegriffen. "
    + "Die Angriffe dauern an, und alle Zeiten sind in UTC. " * 8
    + "Bitte prüfen Sie das."
)


@pytest.mark.parametrize(
    ("text", "charset", "language"),
    [
        (GERMAN, "cp1252", "de"),
        (GERMAN, "utf-16", "de"),
        (GERMAN, "utf-16-le", "de"),
        (
            f"お客様の {OWN} から弊社サーバ {VICTIM} ポート 22 へ攻撃がありました。",
            "iso2022_jp",
            "ja",
        ),
        (
            f"귀하의 IP {OWN} 에서 저희 서버 {VICTIM} 포트 22 로 공격이 발생했습니다.",
            "iso2022_kr",
            "ko",
        ),
        (f"您好，贵方 IP {OWN} 正在攻击我们的服务器 {VICTIM}，端口 22。请处理。", "hz", "zh"),
        (f"您好，貴方 IP {OWN} 正在攻擊我們的伺服器 {VICTIM}，連接埠 22。", "big5", "zh"),
    ],
)
@pytest.mark.parametrize("declared", ["", "us-ascii", "utf-8", "x-unknown"])
def test_a_charset_is_told_by_the_bytes(
    text: str, charset: str, language: str, declared: str
) -> None:
    """A file in a charset that is not declared, or wrongly, is read."""
    parameter = f"; charset={declared}" if declared else ""
    mail = (
        "From: a@b.example\nTo: c@d.example\nSubject: x\nContent-Transfer-Encoding: base64\n"
        f"Content-Type: text/plain{parameter}\n\n"
    )
    data = mail.encode() + base64.encodebytes(text.encode(charset))
    complaint = read_complaint(data, own=[parse_destination(OWN)])
    assert complaint.language == language
    assert destinations(complaint) == [f"{VICTIM}:22"]


def test_an_address_in_angle_brackets_is_no_html() -> None:
    """A log with `<p.smith@example.org>` stays as it is; its line breaks are kept."""
    log = f"user=<p.smith@example.org>, rip={OWN}, lip={VICTIM}\n"
    assert destinations(read(f"Our log:\n\n{log}{log}")) == [VICTIM]
    assert "<p.smith@example.org>" in read(f"Our log:\n\n{log}").candidates[0].evidence[0]
