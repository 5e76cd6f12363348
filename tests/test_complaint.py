"""Reading complaints: every mail of the corpus, and the behaviours that it cannot show."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.complaint import Complaint, Kind, Warn, as_json, read_complaint
from exitpolicy.destination import Destination, parse_destination

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


@pytest.mark.parametrize("name", NAMES)
def test_corpus(name: str) -> None:
    """Each mail of the corpus is read as its answer says."""
    data, answer = report(name)
    own = [parse_destination(address) for address in answer["own"]]
    complaint = read_complaint(data, own=own)
    found = destinations(complaint)
    assert not any(c.destination.overlaps(mine) for c in complaint.candidates for mine in own)
    if answer["none"]:
        assert found == []
        assert complaint.ask
    else:
        assert found[0] in answer["first"]
        assert set(answer["all"]) <= set(found)
        assert complaint.ask == ()
        assert all(candidate.evidence for candidate in complaint.candidates)
    assert complaint.kind == answer["kind"]
    assert set(answer["references"]) <= set(complaint.references)
    assert as_json(complaint)["deadline"] == answer["deadline"]
    assert answer["language"] in {None, complaint.language}
    assert (answer["reporter"] or "") in (complaint.reporter or "")
    assert answer.get("spoofed", complaint.may_be_spoofed) == complaint.may_be_spoofed
    if "incident" in answer:
        assert complaint.incidents[0].time == datetime.fromisoformat(answer["incident"])


def test_corpus_is_large_enough() -> None:
    """The corpus holds what the targets are measured on: 60 complaints, 8 languages."""
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
    """A line that names both sides gives the victim with its port, never the source."""
    complaint = read(line.format(s=source, d=victim), own=(source,) if known else ())
    assert destinations(complaint) == [f"{victim}:22"]
    assert complaint.sources == (source,)


@pytest.mark.parametrize(
    "written",
    ["93[.]184[.]216[.]34", "93(.)184(.)216(.)34", "93[dot]184[dot]216[dot]34", "93.184.216[.]34",
     "hxxp://93[.]184[.]216[.]34/", "93 dot 184 dot 216 dot 34"],
)  # fmt: skip
def test_defanged_addresses_are_read(written: str) -> None:
    """What was written so that nobody clicks on it is read all the same."""
    complaint = read(f"Your IP {OWN} attacks our server at {written}")
    assert complaint.candidates[0].destination.first == parse_destination("93.184.216.34").first


def test_ports_are_gathered_from_all_lines() -> None:
    """A destination has the ports that any line names for it."""
    complaint = read(f"SRC={OWN} DST=93.184.216.34 DPT=22\nSRC={OWN} DST=93.184.216.34 DPT=80\n")
    assert destinations(complaint) == ["93.184.216.34:22,80"]


def test_very_many_ports_mean_all() -> None:
    """A scan of more ports than one would list is a matter of the whole address."""
    lines = [f"SRC={OWN} DST=93.184.216.34 DPT={port}" for port in range(1000, 1100, 2)]
    assert destinations(read("\n".join(lines))) == ["93.184.216.34"]


def test_protected_destination_is_not_offered_but_said() -> None:
    """A protected destination is no candidate, and the operator learns why."""
    complaint = read("attack on our server 93.184.216.34", protected="93.184.0.0/16")
    assert complaint.candidates == ()
    assert Warn.PROTECTED in {caution.why for caution in complaint.cautions}


def test_answer_packets_do_not_accuse_the_victim() -> None:
    """A packet sent to the relay names the victim as its source, and is understood."""
    complaint = read(f"our dump:\n93.184.216.34.80 > {OWN}.4000: Flags [S.]\n")
    assert [str(c.destination) for c in complaint.candidates] == ["93.184.216.34"]


def test_report_about_a_foreign_address_says_so() -> None:
    """When the accused address is not the relay's, its owner is told, and it is not offered."""
    complaint = read("193.32.160.9 attacks our server 93.184.216.34")
    assert destinations(complaint) == ["93.184.216.34"]
    assert Warn.NOT_OURS in {caution.why for caution in complaint.cautions}


def test_host_name_of_the_victim_is_asked_for() -> None:
    """A victim that is only named is no candidate; the question names it."""
    complaint = read(f"{OWN} attacks our web site www.shop.example every night.")
    assert complaint.candidates == ()
    assert complaint.host_names == ("www.shop.example",)
    assert "www.shop.example" in complaint.ask[0]


def test_mail_headers_and_signature_are_no_evidence() -> None:
    """Addresses in pasted headers and below a signature are not offered."""
    complaint = read(
        f"Your IP {OWN} sends brute force logins.\n\nReceived: from a (a [93.184.216.34])\n"
        "\tby b (93.184.216.35)\nX-Originating-IP: [93.184.216.36]\n\n-- \nBob, 93.184.216.37\n"
    )
    assert complaint.candidates == ()


def test_examples_are_dropped_beside_real_addresses() -> None:
    """Private and documentation addresses count only where there is nothing else."""
    both = f"SRC={OWN} DST=203.0.113.7 DPT=22\nSRC={OWN} DST=93.184.216.34 DPT=22\n"
    assert destinations(read(both)) == ["93.184.216.34:22"]
    only = read(f"SRC={OWN} DST=10.1.2.3 DPT=22\n")
    assert destinations(only) == ["10.1.2.3:22"]
    assert Warn.PRIVATE in {caution.why for caution in only.cautions}


def test_times_without_a_zone_are_marked() -> None:
    """A time whose zone nobody says is taken for UTC, and the flag tells."""
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
    """Others script against these keys; the value is plain JSON."""
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
    """Whatever the own addresses are, even the victim's, none of them is a candidate."""
    data, _ = report(name)
    victims = [c.destination for c in read_complaint(data).candidates][:2]
    for mine in ([*own, *victims], victims):
        offered = read_complaint(data, own=mine).candidates
        assert not any(c.destination.overlaps(m) for c in offered for m in mine)
