# ruff: noqa: RUF001 - Cyrillic letters look like Latin ones
"""Reading complaints: every mail of the corpus, and the behaviours that it cannot show."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.complaint import Complaint, Kind, Warn, as_json, read_complaint
from exitpolicy.core.destination import Destination, parse_destination

CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted(path.name.removesuffix(".answer.json") for path in CORPUS.glob("*.answer.json"))
OWN = "185.220.101.4"
HEAD = (
    "From: Ann <ann@victim.example>\nTo: abuse@exit.example\nSubject: {subject}\n"
    "Date: Sun, 22 Nov 2026 10:00:00 +0100\nMessage-ID: <1@victim.example>\n\n"
)


def report(name: str) -> tuple[bytes, dict[str, Any]]:
    """Return a mail of the corpus and its answer."""
    path = next(p for p in CORPUS.glob(f"{name}.*") if not p.name.endswith(".answer.json"))
    answer: dict[str, Any] = json.loads((CORPUS / f"{name}.answer.json").read_text("utf-8"))
    return path.read_bytes(), answer


def read(
    text: str,
    *,
    subject: str = "abuse",
    own: tuple[str, ...] = (OWN,),
    protected: str | None = None,
) -> Complaint:
    """Read a mail with this text."""
    return read_complaint(
        (HEAD.format(subject=subject) + text).encode(),
        own=[parse_destination(address) for address in own],
        protected=[parse_destination(protected)] if protected else [],
    )


def destinations(complaint: Complaint) -> list[str]:
    """Return the candidates as text, in order."""
    return [str(candidate.destination) for candidate in complaint.candidates]


def place(destination: str) -> Destination:
    """Return a destination without its ports."""
    written = parse_destination(destination)
    return Destination(written.family, written.first, written.last)


def _ports_right(found: list[str], answer: dict[str, Any]) -> bool:
    """Tell whether the addresses have the expected ports."""
    wanted = {place(text): text for text in (*answer["first"], *answer["all"])}
    return all(wanted.get(place(text), text) == text for text in found)


def misread(complaint: Complaint, answer: dict[str, Any]) -> set[str]:
    """Return the questions with a wrong answer."""
    found = destinations(complaint)
    places = set(map(place, answer["first"]))
    right = {
        "none": not (answer["none"] and found),
        "first": answer["none"] or bool({place(d) for d in found[:1]} & places),
        "all": set(map(place, answer["all"])) <= set(map(place, found)),
        "ports": answer["none"] or not found or _ports_right(found, answer),
        "kind": complaint.kind == answer["kind"],
        "language": answer["language"] in {None, complaint.language},
        "references": set(answer["references"]) <= set(complaint.references),
        "deadline": as_json(complaint)["deadline"] == answer["deadline"],
        "reporter": (answer["reporter"] or "") in (complaint.reporter or ""),
        "spoofed": answer.get("spoofed", complaint.may_be_spoofed) == complaint.may_be_spoofed,
        "incident": "incident" not in answer
        or complaint.incidents[0].time == datetime.fromisoformat(answer["incident"]),
    }
    return {question for question, is_right in right.items() if not is_right}


@pytest.mark.parametrize("name", NAMES)
def test_corpus(name: str) -> None:
    """Each mail is read as its answer file says, except for what the file lists as misread."""
    data, answer = report(name)
    own = [parse_destination(address) for address in answer["own"]]
    complaint = read_complaint(data, own=own)
    assert not any(c.destination.overlaps(mine) for c in complaint.candidates for mine in own)
    assert all(candidate.evidence for candidate in complaint.candidates)
    assert bool(complaint.ask) is not bool(complaint.candidates)
    assert misread(complaint, answer) == set(answer.get("misread", []))


def test_corpus_is_large_enough() -> None:
    """The corpus has at least 60 complaints in 8 languages, and all kinds."""
    answers = [report(name)[1] for name in NAMES]
    assert len(answers) >= 60
    assert len({answer["language"] for answer in answers} - {None}) >= 8
    assert {answer["kind"] for answer in answers} == {kind.value for kind in Kind}


@pytest.mark.parametrize(
    "line",
    [
        "SRC={s} DST={d} PROTO=TCP SPT=4444 DPT=22",
        "{s}:4444 -> {d}:22",
        "{d}:22 <- {s}:4444",
        '{{"src_ip":"{s}","src_port":4444,"dest_ip":"{d}","dest_port":22}}',
        "Deny tcp src outside:{s}/4444 dst inside:{d}/22",
        "attack from {s} on our server {d}, port 22",
        "Angriff von {s} auf unseren Server {d} (Port 22)",
        "attacco da {s} verso il nostro server {d} porta 22",
        "attaques depuis {s} vers notre serveur {d} (port 22)",
        "ataque desde {s} contra nuestro servidor {d}, puerto 22",
        "block in on em0: {s}.4444 > {d}.22: Flags [S]",
        "filterlog: 4,match,block,in,tcp,60,{s},{d},4444,22,0,S",
    ],
)
@pytest.mark.parametrize(
    ("source", "victim"), [(OWN, "93.184.216.34"), ("198.51.100.9", "203.0.113.7")]
)
@pytest.mark.parametrize("known", [True, False])
def test_roles_do_not_depend_on_knowing_the_own_address(
    line: str, source: str, victim: str, *, known: bool
) -> None:
    """A line with both sides gives the victim with its port, never the source."""
    complaint = read(line.format(s=source, d=victim), own=(source,) if known else ())
    assert destinations(complaint) == [f"{victim}:22"]
    assert complaint.sources == (source,)


@pytest.mark.parametrize(
    "written",
    ["93[.]184[.]216[.]34", "93(.)184(.)216(.)34", "93[dot]184[dot]216[dot]34", "93.184.216[.]34",
     "hxxp://93[.]184[.]216[.]34/", "93 dot 184 dot 216 dot 34"],
)  # fmt: skip
def test_defanged_addresses_are_read(written: str) -> None:
    """Defanged addresses are read."""
    complaint = read(f"Your IP {OWN} attacks our server at {written}")
    assert complaint.candidates[0].destination.first == parse_destination("93.184.216.34").first


def test_ports_are_gathered_from_all_lines() -> None:
    """A destination has the ports that any line names for it."""
    complaint = read(f"SRC={OWN} DST=93.184.216.34 DPT=22\nSRC={OWN} DST=93.184.216.34 DPT=80\n")
    assert destinations(complaint) == ["93.184.216.34:22,80"]


def test_very_many_ports_mean_all() -> None:
    """A scan of many ports gives a destination with all ports."""
    lines = [f"SRC={OWN} DST=93.184.216.34 DPT={port}" for port in range(1000, 1100, 2)]
    assert destinations(read("\n".join(lines))) == ["93.184.216.34"]


def test_protected_destination_is_not_offered_but_said() -> None:
    """A protected destination is no candidate, and a caution says so."""
    complaint = read("attack on our server 93.184.216.34", protected="93.184.0.0/16")
    assert complaint.candidates == ()
    assert Warn.PROTECTED in {caution.why for caution in complaint.cautions}


def test_answer_packets_do_not_accuse_the_victim() -> None:
    """In a reply packet to the relay, the sender is the victim."""
    complaint = read(f"our dump:\n93.184.216.34.80 > {OWN}.4000: Flags [S.]\n")
    assert [str(c.destination) for c in complaint.candidates] == ["93.184.216.34"]


def test_report_about_a_foreign_address_says_so() -> None:
    """If the accused address is not the relay's, a caution says so, and it is no candidate."""
    complaint = read("193.32.160.9 attacks our server 93.184.216.34")
    assert destinations(complaint) == ["93.184.216.34"]
    assert Warn.NOT_OURS in {caution.why for caution in complaint.cautions}


def test_host_name_of_the_victim_is_asked_for() -> None:
    """A victim with only a host name is no candidate; the question names it."""
    complaint = read(f"{OWN} attacks our web site www.shop.example every night.")
    assert complaint.candidates == ()
    assert complaint.host_names == ("www.shop.example",)
    assert "www.shop.example" in complaint.ask[0]


def test_mail_headers_and_signature_are_no_evidence() -> None:
    """Addresses in pasted headers and signatures are no candidates."""
    complaint = read(
        f"Your IP {OWN} sends brute force logins.\n\nReceived: from a (a [93.184.216.34])\n"
        "\tby b (93.184.216.35)\nX-Originating-IP: [93.184.216.36]\n\n-- \nBob, 93.184.216.37\n"
    )
    assert complaint.candidates == ()


def test_examples_are_dropped_beside_real_addresses() -> None:
    """Private and documentation addresses count only if there are no others."""
    both = f"SRC={OWN} DST=203.0.113.7 DPT=22\nSRC={OWN} DST=93.184.216.34 DPT=22\n"
    assert destinations(read(both)) == ["93.184.216.34:22"]
    only = read(f"SRC={OWN} DST=10.1.2.3 DPT=22\n")
    assert destinations(only) == ["10.1.2.3:22"]
    assert Warn.PRIVATE in {caution.why for caution in only.cautions}


def test_times_without_a_zone_are_marked() -> None:
    """A time without a zone is UTC, and a flag says so."""
    complaint = read(f"2026-11-21 10:00:00 {OWN} -> 93.184.216.34:22")
    assert [(i.time, i.zone_said) for i in complaint.incidents] == [
        (datetime(2026, 11, 21, 10, tzinfo=UTC), False)
    ]
    stated = read(f"All times are CET.\n2026-11-21 10:00:00 {OWN} -> 93.184.216.34:22")
    assert [(i.time, i.zone_said) for i in stated.incidents] == [
        (datetime(2026, 11, 21, 9, tzinfo=UTC), True)
    ]


def test_envelope_holds_what_a_reply_needs() -> None:
    """Message-ID, subject, sender and the address to answer to come from the headers."""
    data = (
        b"From: =?utf-8?q?J=C3=B6rg?= <j@v.example>\nReply-To: <case+1@v.example>\n"
        b"Subject: =?utf-8?b?w4RyZ2Vy?= [AbuseID:12AB]\nMessage-ID: <x@v.example>\n"
        b"References: <w@v.example>\n\nHi\n"
    )
    envelope = read_complaint(data).envelope
    assert envelope.sender == "Jörg <j@v.example>"
    assert envelope.reply_to == "case+1@v.example"
    assert envelope.subject == "Ärger [AbuseID:12AB]"
    assert envelope.message_id == "<x@v.example>"
    assert envelope.references == "<w@v.example>"
    assert read_complaint(data).references == ("AbuseID:12AB",)


def test_json_has_the_keys_of_the_contract() -> None:
    """The keys are stable for scripts; the values are plain JSON."""
    value = as_json(read(f"{OWN} -> 93.184.216.34:22", subject="Port scan"))
    assert {"reporter", "references", "incidents", "deadline", "kind", "language", "candidates",
            "cautions"} <= set(value)  # fmt: skip
    assert json.loads(json.dumps(value)) == value
    assert value["candidates"] == [
        {
            "destination": "93.184.216.34:22",
            "evidence": [f"{OWN} -> 93.184.216.34:22"],
            "score": 83,
        }
    ]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    own=st.lists(st.integers(0, 2**32 - 1).map(lambda n: Destination(4, n, n)), max_size=2),
)
def test_own_addresses_are_never_offered(name: str, own: list[Destination]) -> None:
    """No own address is a candidate, not even if it is the victim's."""
    data, _ = report(name)
    victims = [c.destination for c in read_complaint(data).candidates][:2]
    for mine in ([*own, *victims], victims):
        offered = read_complaint(data, own=mine).candidates
        assert not any(c.destination.overlaps(m) for c in offered for m in mine)


def test_a_zone_named_once_in_a_line_is_that_of_all_its_times() -> None:
    """The zone at the end of a period applies to its beginning."""
    text = "Attack on 91.201.214.77\nPeriod: 2026-11-20 03:12:00 - 2026-11-20 05:40:00 (UTC+5)\n"
    times = [
        (i.time.hour, i.time.minute, i.zone_said) for i in read_complaint(text.encode()).incidents
    ]
    assert times == [(22, 12, True), (0, 40, True)]


def test_provider_and_reporter_are_each_heard_in_their_own_language() -> None:
    """In a forwarded mail, the words above it give the sender's language."""
    mail = (Path(__file__).parent / "corpus" / "provider-forward-it-kz-cert.eml").read_bytes()
    read = read_complaint(mail)
    assert (read.language, read.reporter_language) == ("it", "en")


@pytest.mark.parametrize(
    "text",
    [
        "Please use our resolvers 91.201.214.53 and 91.201.215.53 during a reinstallation.",
        "You reach the server through the rescue console at https://91.201.214.10:8006/ meanwhile.",
        "Nameserver: 91.201.214.53, 91.201.215.53",
        "Gateway 91.201.214.1",
        "Bitte nutzen Sie für DNS unsere Nameserver 91.201.214.53 und 91.201.215.53.",
        "Do not reply: this was sent by our mail gateway 91.201.214.25.",
        "The traffic was detected by our sensor network, by way of the collector 91.201.214.9.",
        "Our monitoring (91.201.214.200) told us at 04:40.",
        "Other attackers in the same botnet: 91.201.214.30, 91.201.214.31",
        "$ dig +short 4.101.220.185.zen.list.example @91.201.214.53",
        "Addresses of ours (e.g. 91.201.214.10 and 91.201.214.11) appear in WHOIS.",
        "Our old gateway 91.201.214.240 is no longer in service.",
        "Not affected: ns1 (91.201.214.53).",
        "Wait for the public resolvers 8.8.8.8 and 1.1.1.1 to forget the old name.",
        "Οι διακομιστές DNS μας: 91.201.214.53, 91.201.215.53",
        "Le serveur 91.201.214.8 n'est pas concerné.",
        "Unser Backup-Server 91.201.214.8 blieb verschont.",
    ],
)
def test_who_only_stands_by_is_no_candidate(text: str) -> None:
    """An address with another purpose than the attack is no candidate, not even a guess."""
    complaint = read(f"We received a complaint about brute force from {OWN}.\n\n{text}\n")
    assert destinations(complaint) == []
    assert complaint.ask


@pytest.mark.parametrize(
    "text",
    [
        "Our mail gateway {v} is being attacked from {s}.",
        "{s} scans our VPN gateway {v} all day.",
        "The name server ns2.victim.example, {v}, received a flood of queries from {s}.",
        "We saw login attempts from {s} on our monitoring server {v}.",
        "Between 09:05 and 10:50 {s} swept every address, among them {v}.",
        "Depuis cette nuit {s} tente de deviner des mots de passe sur smtp.victim.example ({v}).",
        "Från {s} försöker någon logga in på vår server. Det är {v}.",
    ],
)
def test_a_host_that_often_stands_by_may_be_the_victim(text: str) -> None:
    """A gateway or a name server is a candidate if the sentence says that it was attacked."""
    victim = "91.201.214.77"
    assert destinations(read(text.format(s=OWN, v=victim))) == [victim]


def test_a_role_is_read_across_the_end_of_a_wrapped_line() -> None:
    """A sentence gives the same roles for every width of the mail."""
    text = (
        f"For three nights now somebody behind your address {OWN} has been trying to\n"
        "break into the booking system of our customer, which is reachable under the address\n"
        "91.201.214.77 on port 8443, and we would like you to put an end to this.\n"
    )
    assert destinations(read(text)) == ["91.201.214.77:8443"]


@pytest.mark.parametrize(
    "text",
    [
        "Affected systems: {a} and {b} (port 445).",
        "Target: {a}\nTarget: {b}\nPort: 445/TCP",
        "Betroffen sind {a} sowie {b} (jeweils Port 445).",
        "It scanned our hosts:\n- {a}\n- {b}\nPort 445 each time.",
    ],
)
def test_the_port_of_a_list_is_that_of_all_in_it(text: str) -> None:
    """One port after several destinations applies to each of them."""
    a, b = "91.201.214.77", "91.201.214.78"
    complaint = read(f"Attacks from {OWN}.\n{text.format(a=a, b=b)}\n")
    assert sorted(destinations(complaint)) == [f"{a}:445", f"{b}:445"]


def test_a_number_that_counts_something_is_no_port() -> None:
    """After `port 22, 254 hosts in 40 seconds` only the first number is a port."""
    text = f"{OWN} scanned our network 91.201.214.0/24 on TCP port 22, 254 hosts in 40 seconds."
    assert destinations(read(text)) == ["91.201.214.0/24:22"]


def test_a_subject_may_name_the_victim() -> None:
    """If the text names the relay, the address in the subject is not accused."""
    text = f"Last night {OWN} swept all of our network 91.201.214.0/28, on TCP 25 and 587."
    assert destinations(read(text, subject="Scanning of 91.201.214.0/28")) == [
        "91.201.214.0/28:25,587"
    ]


def test_a_saved_mail_that_is_attached_is_opened() -> None:
    """An attached .eml file is read as a mail."""
    inner = (
        "From: noc@victim.example\nSubject: scan\nContent-Transfer-Encoding: quoted-printable\n"
        'Content-Type: text/plain; charset="utf-8"\n\n'
        f"Your address {OWN} scans our ser=\nver 91.201.214.77=20(port 23).\n"
    )
    mail = (
        "From: isp@isp.example\nSubject: Fwd\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nSee attached.\n--b\n'
        'Content-Type: application/octet-stream; name="report.eml"\n'
        f'Content-Disposition: attachment; filename="report.eml"\n\n{inner}\n--b--\n'
    )
    complaint = read_complaint(mail.encode(), own=[parse_destination(OWN)])
    assert destinations(complaint) == ["91.201.214.77:23"]
    assert complaint.reporter == "noc@victim.example"
    assert complaint.forwarded


def test_a_public_address_is_preferred_to_the_private_one_behind_it() -> None:
    """If a log has the private and a sentence the public address, the public one is chosen."""
    text = (
        "The instance has the elastic IP 91.201.214.77 (private 172.31.16.21).\n"
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes "
        "start end action log-status\n"
        f"2 448120993310 eni-0b7c9a {OWN} 172.31.16.21 40641 9200 6 3 180 1793 1794 REJECT OK\n"
    )
    assert destinations(read(text)) == ["91.201.214.77:9200"]


def test_a_report_that_withholds_the_victims_names_none() -> None:
    """If a report hides its victims, its sensors are no candidates."""
    text = (
        f"The host {OWN} was noticed by our sensors. The addresses of the attacked customers are "
        "confidential.\n\nsensor            last event (UTC)      type\n"
        "91.201.214.2       2026-10-20 23:51      ssh password guessing\n"
    )
    assert destinations(read(text)) == []


RUSSIAN = (
    "Здравствуйте! С вашего адреса 185.220.101.4 идет подбор пароля к нашему серверу "
    "93.184.216.34, порт 22.\nПросим принять меры. С уважением, Иван"
)
GERMAN = (
    "Von Ihrer Adresse 185.220.101.4 wurde unser Server 93.184.216.34 angegriffen (Port 22). "
    "Bitte prüfen Sie das. Mit freundlichen Grüßen"
)
JAPANESE = (
    "お客様のIPアドレス 185.220.101.4 から、弊社サーバ 93.184.216.34 ポート 22 へ"
    "不正アクセスの攻撃がありました。\n至急ご対応をお願いいたします。"
)


@pytest.mark.parametrize(
    ("text", "charset", "language"),
    [
        (RUSSIAN, "koi8-r", "ru"),
        (RUSSIAN, "windows-1251", "ru"),
        (RUSSIAN, "iso8859-5", "ru"),
        (JAPANESE, "shift_jis", "ja"),
        (JAPANESE, "euc_jp", "ja"),
        (GERMAN, "iso8859-1", "de"),
    ],
)
@pytest.mark.parametrize("declared", ["", "Content-Type: text/plain; charset=us-ascii\n"])
def test_a_charset_that_is_not_declared_is_found(
    text: str, charset: str, language: str, declared: str
) -> None:
    """Text without a charset, or with a wrong one, is read."""
    head = HEAD.format(subject="abuse").replace("\n\n", f"\n{declared}\n")
    complaint = read_complaint(head.encode() + text.encode(charset), own=[parse_destination(OWN)])
    assert complaint.language == language
    assert destinations(complaint) == ["93.184.216.34:22"]


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-11-20 07:44:12 PM", "2026-11-20T19:44:12Z"),
        ("20 November 2026 12:05 am", "2026-11-20T00:05:00Z"),
        ("20th of November 2026 at 12:05 p.m.", "2026-11-20T12:05:00Z"),
        ("2026-11-20 07:44:12", "2026-11-20T07:44:12Z"),
    ],
)
def test_times_of_a_12_hour_clock(written: str, time: str) -> None:
    """AM and PM count."""
    complaint = read(f"On {written} UTC, {OWN} attacked our server 93.184.216.34")
    assert as_json(complaint)["incidents"] == [{"time": time, "zone_said": True}]
