"""Mail addresses in header fields: what a sender writes as a name is never an address."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.complaint import read_complaint
from exitpolicy.core.mail_addresses import MAX_FIELD, mail_addresses, shown_domain


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("a@b.example", ("a@b.example",)),
        ("Ada <a@b.example>", ("a@b.example",)),
        ("Example, Inc. <a@b.example>", ("a@b.example",)),
        ("Abuse [T-1] <a@b.example>", ("a@b.example",)),
        ('"c@d.example, e@f.example" <a@b.example>', ("a@b.example",)),
        ("a@b.example (comment, c@d.example)", ("a@b.example",)),
        ("=?utf-8?q?ceo=40bank=2Eexample?= <a@b.example>", ("a@b.example",)),
        ("=?utf-8?q?ceo=40bank=2Eexample?=", ()),
        ("=?utf-8?b?djFAdGhpcmQuZXhhbXBsZSwgdjJAdGhpcmQuZXhhbXBsZQ==?=", ()),
        ("=?utf-8?q?ceo?=@bank.example", ()),
        ("group: a@b.example, c@d.example;", ("a@b.example", "c@d.example")),
        ("a@b.example c@d.example", ("a@b.example", "c@d.example")),
        ("a@b.example <c@d.example>", ("a@b.example", "c@d.example")),
        ('"a@b.example <c@d.example>', ("a@b.example", "c@d.example")),
        ("a@b.example\\\x0b\x0cBcc: c@d.example", ("a@b.example", "c@d.example")),
        ("a@b.example\0,c@d.example", ("a@b.example", "c@d.example")),
        ("\x01a@b.example, c@d.example", ("a@b.example", "c@d.example")),
        ("a@b.example\u200b, c@d.example", ("a@b.example", "c@d.example")),
        ('"|/bin/sh" <"|/bin/sh -c id"@localhost>', ()),
        ('<"ceo@bank.example"@isp.example>', ()),
        ('Abuse <"ceo@bank.example" @isp.example>, a@b.example', ()),
        ("ceo@bank.example(x)@isp.example", ()),
        ('a@"ceo@bank.example"', ()),
        ("-oQ/tmp@b.example", ()),
        ("a..b@c.example", ()),
        ("a@[127.0.0.1]", ()),
        ("abuse@\u0430pple.example", ()),
        ("undisclosed-recipients:;", ()),
        ("((((((", ()),
        ("", ()),
    ],
)
def test_addresses_are_parsed_before_decoding(field: str, expected: tuple[str, ...]) -> None:
    """Names, comments and encoded words hold no address; an unclear field gives several."""
    assert mail_addresses([field]) == expected


def test_several_fields_give_all_addresses_and_too_many_none() -> None:
    """A second From is found, behind the first one and behind many others."""
    assert mail_addresses(["a@b.example", "c@d.example", "a@b.example"]) == (
        "a@b.example",
        "c@d.example",
    )
    assert mail_addresses(["a@b.example"] * 1000 + ["c@d.example"]) == ()


def test_a_field_that_is_too_long_gives_no_address() -> None:
    """A field is not cut, because the cut could end an address early."""
    assert mail_addresses(["x" * MAX_FIELD + " <a@b.example>"]) == ()


@settings(max_examples=300, deadline=None)
@given(st.text('aB@.<>()"\\,:;[] =?utf8qQ_40\t-\u0430', max_size=80))
def test_every_address_stands_in_the_field_as_it_is(field: str) -> None:
    """Whatever the field holds, no address is made of decoded or joined text."""
    assert all(address in field for address in mail_addresses([field]))


@pytest.mark.parametrize("text", ['"', "(", "<", "\\", "a@", "(a)", "=?utf-8?q?a?= ", "[a]", ","])
def test_hostile_fields_are_parsed_in_time(text: str) -> None:
    """The parser is quadratic in places, so the field's length is bounded."""
    begun = time.process_time()
    mail_addresses([text * (MAX_FIELD // len(text))] * 4)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("abuse@xn--80ak6aa92e.com", "\u0430\u0440\u0440\u04cf\u0435.com"),
        ("abuse@isp.example", None),
        ("abuse@xn--99999999999.example", None),
    ],
)
def test_punycode_domains_are_shown_as_mail_programs_do(address: str, expected: str | None) -> None:
    """A punycode domain is shown in its letters, so that a look-alike shows."""
    assert shown_domain(address) == expected


def test_the_envelope_keeps_from_and_reply_to_apart() -> None:
    """A Reply-To without a usable address differs from none at all."""
    body = "\nSubject: x\nMessage-ID: <a@b>\n\nHello\n"
    named = read_complaint(f"From: =?utf-8?q?a=40b=2Ec?= <abuse@isp.example>{body}".encode())
    assert named.envelope.from_addresses == ("abuse@isp.example",)
    assert named.envelope.reply_to_addresses is None
    assert named.envelope.reply_to == "abuse@isp.example"
    other = read_complaint(f"From: a@b.example\nReply-To: c@d.example, e@f.example{body}".encode())
    assert other.envelope.reply_to_addresses == ("c@d.example", "e@f.example")
    assert other.envelope.reply_to == "c@d.example"
    unusable = read_complaint(f"From: a@b.example\nReply-To: -x@y.example{body}".encode())
    assert unusable.envelope.reply_to_addresses == ()
    assert unusable.envelope.reply_to == "a@b.example"
    several = read_complaint(f"From: a@b.example\nFrom: c@d.example{body}".encode())
    assert several.envelope.from_addresses == ("a@b.example", "c@d.example")
