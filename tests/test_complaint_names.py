"""The host names of a complaint are listed, with the lines that name them."""

import time

import pytest

from exitpolicy.complaint import Complaint, as_json, read_complaint, wire
from exitpolicy.complaint.extract.names import MAX_EVIDENCE, MAX_NAMES
from exitpolicy.core.destination import parse_destination

OWN = "185.220.101.4"


def read(text: str, subject: str = "abuse") -> Complaint:
    """Read a mail with this text."""
    mail = (
        f"From: a@b.example\nSubject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n{text}"
    )
    return read_complaint(mail.encode(), own=[parse_destination(OWN)])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"{OWN} attacked https://www.shop.example/login?x=1.", ["www.shop.example"]),
        (f"{OWN} attacked hxxps://www[.]shop[.]example/login", ["www.shop.example"]),
        ("see <http://user@www.shop.example:8080/>", ["www.shop.example"]),
        ("Domain: shop.example\nMessage: attacks by 185.220.101.4", ["shop.example"]),
        ('"http_host": "www.shop.example", "ip": "185.220.101.4"', ["www.shop.example"]),
        (f"{OWN} attacks our web site www.shop.example every night.", ["www.shop.example"]),
        # Victims first, and a name once.
        (
            f"https://docs.example/\n{OWN} attacks our web site www.shop.example every night.",
            ["www.shop.example", "docs.example"],
        ),
        ("https://m\xfcnchen.example/ and https://www.te\u0455t.example/", None),
        (f"http://{OWN}/ and http://93.184.216.34/x", []),
        ("http://x\u202egro.example/ http://-.example/ http://a_b/ http://x.onion/", []),
        (f"{OWN} attacks our web site www.\u017fhop.example every night.", ["www.shop.example"]),
        (f"{OWN} attacks our web site abcdefgh.onion every night.", []),
        ("Received: from mail.example.org by https://mx.example.org/", []),
        ("access.log was read with curl/7.64", []),
    ],
)
def test_names_are_listed_in_ascii(text: str, names: list[str] | None) -> None:
    """Those of URLs, of labels, and of whom the words call the victim."""
    complaint = read(text)
    if names is None:
        assert complaint.host_names == (
            "xn--mnchen-3ya.example", "www.xn--tet-ghd.example",
        )  # fmt: skip
    else:
        assert list(complaint.host_names) == names
    assert all(name.isascii() for name in complaint.host_names)


def test_they_are_listed_beside_a_destination() -> None:
    """Also where an address is the candidate, and in the subject."""
    complaint = read(
        f"SRC={OWN} DST=93.184.216.34 DPT=443 https://www.shop.example/", "http://a.example/"
    )
    assert complaint.candidates
    assert set(complaint.host_names) == {"a.example", "www.shop.example"}


def test_the_lines_that_name_a_host_are_kept() -> None:
    """In JSON by name; of many lines the first ones, and of a long line the part around it."""
    lines = [f"{OWN} asked for https://www.shop.example/{number}" for number in range(9)]
    complaint = read("\n".join([*lines, f"{'x ' * 500}https://far.example/{' y' * 500}"]))
    values = as_json(complaint)
    assert values["host_names"] == ["www.shop.example", "far.example"]
    evidence = values["host_name_evidence"]
    assert isinstance(evidence, dict)
    assert evidence["www.shop.example"] == lines[:MAX_EVIDENCE]
    (far,) = evidence["far.example"]
    assert "https://far.example/" in far
    assert len(far) <= 300
    assert wire.decode(wire.encode(complaint)) == complaint


def test_ten_thousand_names_are_bounded() -> None:
    """In number and in time."""
    begin = time.process_time()
    complaint = read(
        "\n".join(f"our server www{i}.shop.example http://h{i}.example/" for i in range(10_000))
    )
    assert len(complaint.host_names) == MAX_NAMES
    assert time.process_time() - begin < 5
    assert len(wire.encode(complaint)) < 100_000


def test_only_a_victim_is_asked_for() -> None:
    """A link in a signature is no reason to ask for its address."""
    assert "docs.example" not in " ".join(read("Bad IP. https://docs.example/").ask)
    asked = read(f"{OWN} attacks our web site www.shop.example. https://docs.example/").ask[0]
    assert "www.shop.example" in asked
    assert "docs.example" not in asked
