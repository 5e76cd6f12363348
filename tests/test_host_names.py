"""Host names as people copy them, in ASCII, so that look-alikes are seen."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.errors import UsageError
from exitpolicy.core.host_names import parse_host


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("www.example.org", "www.example.org"),
        (" WWW.Example.ORG. ", "www.example.org"),
        ("www.example.org:443", "www.example.org:443"),
        ("www.example.org:80,443", "www.example.org:80,443"),
        ("www[.]example[.]org", "www.example.org"),
        ("https://www.example.org/login", "www.example.org:443"),
        ("hxxps://www[.]example[.]org/login", "www.example.org:443"),
        ("http://www.example.org", "www.example.org:80"),
        ("http://www.example.org:8080/x?u=https://other.example/", "www.example.org:8080"),
        ("https://www.example.org?x#y", "www.example.org:443"),
        ("SSH://host.example.org", "host.example.org:22"),
        ("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com"),
        ("my_host.example.com", "my_host.example.com"),
        ("cafe.de", "cafe.de"),
        ("a.xn--p1ai", "a.xn--p1ai"),
        # Browsers go to these; Python's own codec would go to fass.de.
        ("fa\xdf.de", "xn--fa-hia.de"),
        ("https://m\xfcnchen.example/", "xn--mnchen-3ya.example:443"),
        # Cyrillic letters that look like Latin ones.
        ("\u0440\u0430\u0443\u0440\u0430l.com", "xn--l-7sba6dbr.com"),
        # A Hebrew name, which is written from right to left.
        ("\u05d0\u05d1.example", "xn--4dbc.example"),
    ],
)
def test_a_name_is_read_as_it_is_copied(text: str, found: str) -> None:
    """Names, defanged names and URLs; what is not ASCII is shown in punycode."""
    assert str(parse_host(text)) == found


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.7", "203.0.113.7:22", "203.0.113.0/24", "203.0.113.5-203.0.113.20",
        "2001:db8::1", "[2001:db8::1]:22", "203[.]0[.]113[.]7", "http://203.0.113.7/x",
        "http://[2001:db8::1]/", "203.0.113.7x", "203.0.113", "203.0.113.256", "127.0.0.0x1",
        "localhost", "dead", "", "-", ".", "*:25", "http:///x", "http://localhost/",
        "http://www.example.org@203.0.113.7/", "http://www.example.org\\@203.0.113.7/",
        "https://user@www.example.org/", "a b.org", "x" * 3000 + ".org",
    ],
)  # fmt: skip
def test_what_is_no_name_is_left_to_the_reader_of_addresses(text: str) -> None:
    """A mistyped address is never looked up, and programs disagree about a URL with `@`."""
    assert parse_host(text) is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("www.example.org/login", "without a scheme", "https://www.example.org/login"),
        ("gopher://www.example.org/", "the port of", "www.example.org for all ports"),
        ("*.example.org", "is not a host name", "www.example.org"),
        ("-x.example.org", "is not a host name", "www.example.org"),
        ("a..example.org", "is not a host name", "www.example.org"),
        (f"{'a' * 64}.example.org", "is not a host name", "www.example.org"),
        (f"{'a.' * 127}org", "is not a host name", "www.example.org"),
        ("\xfc" * 500 + ".org", "is not a host name", "www.example.org"),
        ("www.example.org:0", "is not between 1 and 65535", "leave the ports out"),
        ("$(reboot).example", "is not a host name", "www.example.org"),
        ("x\x1b[31m.example.org", "'x\\x1b[31m.example.org' is not", "www.example.org"),
        # A mark that turns the direction of the text, and one that has no width.
        ("\u202egro.elpmaxe.www", "'\\u202egro.elpmaxe.www' is not", "www.example.org"),
        ("www.ex\u200eample.org", "'www.ex\\u200eample.org' is not", "www.example.org"),
        ("\ud800.example.org", "is not a host name", "www.example.org"),
        ("http://abcdefghijklmnop.onion/", "onion service", "exits do not reach"),
    ],
)
def test_a_name_that_cannot_be_resolved_is_refused(text: str, message: str, hint: str) -> None:
    """The text is shown escaped, and the hint says what to write."""
    with pytest.raises(UsageError) as caught:
        parse_host(text)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


PARTS = st.sampled_from(
    ["http://", "hxxps://", "www", ".", "[.]", "example", "org", "xn--", "/", ":", "443", "@", "-"]
)


@given(st.lists(PARTS | st.text(max_size=5), max_size=8).map("".join))
def test_any_text_is_a_name_in_ascii_or_none_or_an_error(text: str) -> None:
    """Nothing else comes out, whatever a complaint holds."""
    with suppress(UsageError):
        found = parse_host(text)
        assert found is None or re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", found.name)
