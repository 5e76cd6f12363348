"""Lists in the formats of other programs: what is read, what is refused, and how it is said."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.errors import UsageError
from exitpolicy.lists import reading
from exitpolicy.lists.entry import Moment
from exitpolicy.lists.reading import FORMATS, Listing
from exitpolicy.lists.times import seconds_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MOMENT = Moment(NOW, timezone(timedelta(hours=1)))

CSCLI_RAW = (
    "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n"
    '1,crowdsec,Ip:203.0.113.7,ssh-bf,ban,US,"1 X, Y",4,1h0m0.4s,false,10\n'
    "2,crowdsec,Range:198.51.100.0/24,ssh-bf,captcha,US,X,4,1h,false,1\n"
    "3,crowdsec,Ip:203.0.113.9,ssh-bf,ban,,,0,-3s,false,1\n"
    "4,crowdsec,AS:64496,ssh-bf,ban,,,0,3s,false,1\n"
    "5,crowdsec,Ip:2001:db8::1,ssh-bf,ban,,,0,1h,true,1\n"
)
CSCLI_JSON = """[
 {"id": 1, "decisions": [{"duration": "3h59m47.5s", "id": 1, "origin": "cscli",
   "scenario": "manual", "scope": "Ip", "type": "ban", "value": "203.0.113.7"}],
  "source": {"scope": "Ip", "value": "203.0.113.7"}}
]"""
NFT = """table inet filter {
\tset bad {
\t\ttype ipv4_addr
\t\tflags interval,timeout
\t\telements = { 192.0.2.5-192.0.2.9, 198.51.100.0/24 timeout 2d3h expires 2d2h59m59s996ms,
\t\t\t     203.0.113.7 counter packets 0 bytes 0 timeout 1h comment "a, } b" }
\t}
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\tip saddr @bad drop
\t}
}
"""
IPSET = (
    "create bad hash:ip,port family inet hashsize 1024 maxelem 65536 timeout 300 comment\n"
    'add bad 203.0.113.7,tcp:22 timeout 60 comment "nomatch timeout 9"\n'
    "add bad 203.0.113.8,udp:53 timeout 60\n"
    "add bad 203.0.113.9,tcp:443 timeout 0\n"
)


def read(text: str, name: str | None = None) -> Listing:
    """Read a list at NOW."""
    return reading.read(text.encode(), name, MOMENT)


def said(listing: Listing) -> list[str]:
    """Return the entries as `destination until reason`."""
    return [
        " ".join(
            filter(None, (str(e.destination), f"{e.until:%dT%H:%M}" if e.until else "", e.reason))
        )
        for e in listing.entries
    ]


@pytest.mark.parametrize(
    ("name", "text", "entries"),
    [
        (
            "plain",
            (
                "# head\n203.0.113.7\n\n198.51.100.0/24 # why\n192.0.2.1-192.0.2.9;\n"
                "192.0.2.1 - 192.0.2.3\n2001:db8::1\n[2001:db8::1]:22\n203.0.113.7:22,80\n"
            ),
            [
                "203.0.113.7",
                "198.51.100.0/24 why",
                "192.0.2.1-192.0.2.9",
                "192.0.2.1-192.0.2.3",
                "2001:db8::1",
                "[2001:db8::1]:22",
                "203.0.113.7:22,80",
            ],
        ),
        ("spamhaus", "; Spamhaus DROP List\n203.0.113.96/28 ; SBL1\n", ["203.0.113.96/28 SBL1"]),
        ("spamhaus", "203.0.113.96/28 ; SBL1\n", ["203.0.113.96/28 SBL1"]),
        (
            "spamhaus-json",
            '{"cidr":"2001:db8::/32","sblid":"SBL9","rir":"apnic"}\n{"type":"metadata","size":3}\n',
            ["2001:db8::/32 SBL9"],
        ),
        (
            "firehol",
            "#\n# firehol_level1\n# ipv4 hash:net ipset\n203.0.113.0/24\n",
            ["203.0.113.0/24"],
        ),
        (
            "ipsum",
            "# IPsum\n203.0.113.7\t10\n203.0.113.8\t1\n",
            ["203.0.113.7 on 10 lists", "203.0.113.8 on 1 list"],
        ),
        ("crowdsec", CSCLI_RAW, ["203.0.113.7 26T13:00 ssh-bf"]),
        (
            "crowdsec",
            "duration,scope,value\n24h,range,203.0.113.0/24\n",
            ["203.0.113.0/24 27T12:00"],
        ),
        ("crowdsec-json", CSCLI_JSON, ["203.0.113.7 26T15:59 manual"]),
        ("crowdsec-json", "null\n", []),
        # The times of fail2ban are those of its host, here an hour ahead of UTC.
        (
            "fail2ban",
            (
                "203.0.113.7 \t2026-11-26 11:00:00 + 36000 = 2026-11-26 21:00:00\n"
                "203.0.113.8 \t2026-11-26 11:00:00 + -1 = 9999-12-31 23:59:59\n"
            ),
            ["203.0.113.7 26T20:00", "203.0.113.8"],
        ),
        (
            "csv",
            'ip,port,comment,expires\n203.0.113.7,443,"a, b",2026-12-01\n203.0.113.8,,,\n',
            ["203.0.113.7:443 02T00:00 a, b", "203.0.113.8"],
        ),
        ("csv", "cidr;ttl\n203.0.113.0/24;1d\n", ["203.0.113.0/24 27T12:00"]),
        (
            "csv",
            '# "first_seen_utc","dst_ip","dst_port"\n"2026-01-01","203.0.113.7","443"\n# end\n',
            ["203.0.113.7:443"],
        ),
        (
            "nftables",
            NFT,
            ["192.0.2.5-192.0.2.9", "198.51.100.0/24 28T15:00", "203.0.113.7 26T13:00 a, } b"],
        ),
        (
            "nftables",
            "add element inet f s { 203.0.113.7 timeout 1h, 203.0.113.8 . 22-23 }\n",
            ["203.0.113.7 26T13:00", "203.0.113.8:22-23"],
        ),
        ("ipset", IPSET, ["203.0.113.7:22 26T12:01 nomatch timeout 9", "203.0.113.9:443"]),
        (
            "torrc",
            (
                "ExitPolicy reject 203.0.113.7 # 1760000000\n"
                "ExitPolicy reject [2001:db8::1] # 1760000000\n"
                "reject 203.0.113.0/24:*\nreject6 [2001:db8::]/48:*\n"
                "exitpolicy reject 192.0.2.1:80, reject 192.0.2.2\n"
            ),
            [
                "203.0.113.7",
                "2001:db8::1",
                "203.0.113.0/24",
                "2001:db8::/48",
                "192.0.2.1:80",
                "192.0.2.2",
            ],
        ),
        (
            "relayor",
            '---\ntor_ExitPolicy:\n  - reject 203.0.113.7:*\n  - "reject 203.0.113.8:80"\n',
            ["203.0.113.7", "203.0.113.8:80"],
        ),
    ],
)
def test_each_format_is_recognised_and_read(name: str, text: str, entries: list[str]) -> None:
    """The content shows the format, and the entries are those that the list bans."""
    for form in (text, text.replace("\n", "\r\n"), f"\ufeff{text}", text.rstrip("\n")):
        listing = read(form)
        assert (listing.format, said(listing), listing.faults) == (name, entries, ())
    assert said(read(text, name)) == entries


def test_what_a_list_itself_does_not_ban_is_left_out_and_counted() -> None:
    """Ended and simulated decisions, other actions, other scopes and UDP are no faults."""
    assert read(CSCLI_RAW).omitted == {
        "a decision captcha, which is no ban": 1,
        "ended": 1,
        "of the scope AS, which is no address": 1,
        "simulated": 1,
    }
    assert sum(read(IPSET).omitted.values()) == 1
    for text in (
        "add element inet f s { 203.0.113.7 timeout -1h }\n",
        "203.0.113.7 # until 2026-11-26T11:00:00Z\n",
        "ExitPolicy reject 203.0.113.7 # until 2026-11-26T11:00:00Z\n",
    ):
        assert (read(text).entries, read(text).omitted) == ((), {"ended": 1})
    assert read("203.0.113.7 \t2026-11-26 01:00:00 + 600 = 2026-11-26 01:10:00\n").omitted == {
        "ended": 1
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("010.0.0.1", "leading zeros"),
        ("1.2.3", "not an address"),
        ("256.1.1.1", "above 255"),
        ("example.com", "names in lists are not looked up"),
        ("example.com:443", "names in lists are not looked up"),
        ("0.0.0.0/0", "every IPv4 address"),
        ("::/0", "every IPv6 address"),
        ("0.0.0.0-255.255.255.255", "every IPv4 address"),
        ("203.0.113.7/24", "host bits"),
        ("203.0.113.0/33", "prefix length"),
        ("2001:db8::/32/32", "prefix length"),
        ("::ffff:203.0.113.7", "IPv4-mapped"),
        ("203.0.113.7 203.0.113.8", "more than one word"),
        ("203.0.113.9-203.0.113.7", "backwards"),
        ("203.0.113.7:0", "not between 1 and 65535"),
        ("<html>", "not an address"),
    ],
)
def test_a_line_that_is_not_understood_is_named(line: str, message: str) -> None:
    """Traps that other programs read as some address are faults with the number of the line."""
    listing = read(f"203.0.113.1\n{line}\n")
    (fault,) = listing.faults
    assert (fault.number, message in fault.message) == (2, True), fault
    assert said(listing) == ["203.0.113.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ExitPolicy accept *:80\n", "accept rule"),
        ("ExitPolicy reject *:*\n", "every address"),
        ("ExitPolicy reject *4:*\n", "every IPv4 address"),
        ("ExitPolicy reject6 203.0.113.7\n", "Tor ignores"),
        ("ExitPolicy reject 203.0.113.7\nExitRelay 1\n", "not an ExitPolicy line"),
        ("add s 203.0.113.0/24 nomatch\n", "exception"),
        ("add one 203.0.113.7\nadd two 203.0.113.8\n", "'one' and 'two'"),
        (NFT + NFT.replace("bad", "good"), "'inet filter bad' and 'inet filter good'"),
        (NFT + NFT.replace("inet", "ip6"), "'inet filter bad' and 'ip6 filter bad'"),
        ("add element inet f s { 203.0.113.7 : drop }\n", "no element"),
        ("ip,port\n203.0.113.7\n", "1 cells"),
        ('ip,reason\n203.0.113.7,"open\n', "no row of CSV|1 cells|unexpected end"),
        ("ip,port\nexample.com,443\n", "host name"),
        ('{"cidr": "203.0.113.0/24"}\n{"asn": 64496}\n', "names no address"),
        ('{"cidr": {"a": 1}}\n', "no single value"),
        ("[" * 10_000, "not"),
        ('[{"value": ' + "[" * 100_000, "no JSON"),
        ('{"schema": 1, "blocks": {}}', "no list"),
    ],
)
def test_traps_of_each_format_are_faults(text: str, message: str) -> None:
    """Nothing is guessed: exceptions, several sets, torn rows and broken JSON are faults."""
    listing = read(text)
    assert any(part in fault.message for fault in listing.faults for part in message.split("|")), (
        listing.faults
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00", "compressed (gzip)"),
        (b"PK\x03\x04", "compressed (zip)"),
        (b"203.0.113.7\n\0\n", "line 2 of the list holds a NUL byte"),
        ("203.0.113.7\n".encode("utf-16"), "UTF-16"),
        (b"2" * 30_000, "a line of 30,000 characters"),
        (b"203.0.113.7\n" * (64_000_000 // 12 + 1), "longer than 64,000,000 bytes"),
        (b'{"nftables": [{"metainfo": {}}]}', "nftables in JSON"),
        (b"\n" * 2_000_001, "2,000,001 lines, and at most 2,000,000"),
        (b'[{"value": "203.0.113.7"}' + b",{}" * 2_500_000 + b"]", "more than 5,000,000 values"),
        pytest.param(
            b"table inet x {\nset y {\nelements = {\n" + (b"a," * 9_000 + b"\n") * 170,
            "more than 3,000,000 words",
            marks=pytest.mark.slow,
        ),
        (b"[" + b"1.5," * 9_000 + b"1]", "a line of 36,003 characters"),
    ],
)
def test_what_is_no_list_is_refused_as_a_whole(content: bytes, message: str) -> None:
    """Compressed, binary, endless and foreign input has an error of its own."""
    with pytest.raises(UsageError) as caught:
        reading.read(content, None, MOMENT)
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_header_without_rows_is_an_empty_table() -> None:
    """It is no fault of the list; the import says that there is nothing to block."""
    listing = read("ip\n")
    assert (listing.format, listing.entries, listing.faults) == ("csv", (), ())


def test_a_list_that_is_not_understood_is_not_read_to_its_end() -> None:
    """A million lines of nonsense are one fault of the whole, also with --skip-bad."""
    listing = reading.read(b"203.0.113.7\n" + b"x\n" * 1_000_000, None, MOMENT)
    (fault,) = listing.faults
    assert fault.number == 0
    assert "more than 20,000 lines are not understood, first line 2: 'x'" in fault.message


def test_reasons_that_a_list_names_are_few() -> None:
    """A list with a scope of its own in each row is left out under few reasons."""
    rows = "".join(f"x,scope{number}\n" for number in range(1000))
    omitted = read(f"ip,scope\n{rows}").omitted
    assert (len(omitted), sum(omitted.values())) == (21, 1000)


@pytest.mark.parametrize("blank", [" ", "\t", "x ", "\u00a0"])
@pytest.mark.parametrize("end", ['"', "'", '" x', "# x"])
def test_a_line_of_blanks_takes_no_longer_than_any_other(blank: str, end: str) -> None:
    """In each format: a rule of ansible-relayor took time that grows with the cube."""
    line = f"- {blank * 1_000}{end}"
    for name in FORMATS:
        began = time.process_time()
        read(line, name)
        assert time.process_time() - began < 1, name


def test_an_unknown_format_names_the_formats() -> None:
    """The hint lists what --format takes."""
    with pytest.raises(UsageError) as caught:
        reading.read(b"", "p2p", MOMENT)
    assert "ipsum" in (caught.value.hint or "")


@given(st.binary(max_size=300), st.sampled_from([None, *FORMATS]))
def test_no_input_makes_a_reader_fail(content: bytes, name: str | None) -> None:
    """Any bytes give a listing or a UsageError."""
    try:
        listing = reading.read(content, name, MOMENT)
    except UsageError:
        return
    assert listing.format in FORMATS


_TOKENS = st.sampled_from(
    [
        "203.0.113.7",
        "2001:db8::1",
        "/24",
        "elements",
        "=",
        "{",
        "}",
        ",",
        ".",
        "timeout",
        "1h",
        "add",
        "set",
        "table",
        "element",
        "inet",
        "\n",
        " ",
        '"',
        "#",
        ";",
        "ExitPolicy",
        "reject",
        "accept",
        "*:25",
        "-",
        "ip",
        "duration",
        "0",
        "-1h",
        "null",
        "[",
        "]",
        '{"value":',
        "nomatch",
        "expires",
        "comment",
        "9" * 30,
        "\\",
    ]
)


@given(st.lists(_TOKENS, max_size=30).map(" ".join), st.sampled_from([None, *FORMATS]))
def test_no_words_of_the_formats_make_a_reader_fail(text: str, name: str | None) -> None:
    """Words of the formats in any order give a listing or a UsageError."""
    try:
        listing = read(text, name)
    except UsageError:
        return
    for entry in listing.entries:
        assert entry.until is None or entry.until > NOW


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h59m47.5s", 14387.5),
        ("2d2h59m59s996ms", 183599.996),
        ("-1h", -3600),
        ("0s", 0),
        ("0", 0),
        ("500µs", 5e-4),
        ("1w", 604800),
        ("", None),
        ("h", None),
        ("1", None),
        ("1h1", None),
        ("6mo", None),
    ],
)
def test_durations_of_go_and_nft(text: str, seconds: float | None) -> None:
    """Go's and nft's durations are read, and nothing else."""
    found = seconds_of(text)
    assert found == (None if seconds is None else pytest.approx(seconds))
