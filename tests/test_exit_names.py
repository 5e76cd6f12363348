"""Host names are blocked on a real exit, by what a real DNS server says, after a yes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.dns import NameServer, needs_dnsmasq
from tests.harness.host import ExitHost, HostMaker, host_maker
from tests.harness.terminal import on_a_terminal

pytestmark = needs_dnsmasq
WWW = ("203.0.113.7:443", "[2001:db8::7]:443")


@pytest.fixture(scope="module")
def observed(
    name_server: NameServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExitHost]:
    """Give an exit whose Tor asks that server, with a list of shared addresses of its own."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "fronts.txt").write_text("frontco 203.0.113.64/26\nfrontco .cdn.test\n")
    with host_maker(folder) as make:
        yield make(
            ["ExitRelay 1", "IPv6Exit 1", f"ServerDNSResolvConfFile {name_server.resolv_conf}"],
            extra="shared_fronts: fronts.txt\nprotected: [203.0.113.200]\n",
        )


@pytest.fixture
def host(observed: ExitHost) -> ExitHost:
    """Give that exit without blocks."""
    observed.run("lift", "--all", "--yes")
    return observed


def block(host: ExitHost, name: str, *more: str) -> tuple[int, str]:
    """Block a name with --yes; return the exit code and all output."""
    done = host.run("block", name, "--until", "30d", "--yes", *more)
    return done.code, done.out + done.err


def test_a_url_is_blocked_by_the_addresses_of_its_host(host: ExitHost) -> None:
    """The scheme gives the port; canonical name and TTL are shown, the ledger keeps the name."""
    done = host.run("block", "https://alias.test/login", "--until", "30d", "--yes")
    assert done.code == 0, done
    assert done.out.splitlines()[:3] == [
        "alias.test:443 (canonical name www.test, TTL 30 s)",
        f"    {WWW[0]}",
        f"    {WWW[1]}",
    ]
    assert "live" in done.out
    assert host.tor.rejects("203.0.113.7", 443)
    assert host.tor.rejects("2001:db8::7", 443)
    assert not host.tor.rejects("203.0.113.7", 80)
    listed = host.run("list")
    assert "NAME" in listed.out.splitlines()[0]
    assert listed.out.count("alias.test") == 2
    assert {entry["name"] for entry in host.run("list", "--json").json["blocks"]} == {"alias.test"}
    assert "alias.test" not in host.fragment.read_text()


def test_a_bare_name_is_blocked_at_all_ports(host: ExitHost) -> None:
    """Names, addresses and names with ports can be mixed, and JSON tells what was resolved."""
    code = host.run(
        "block", "www.test", "203.0.113.9", "zero.test:22", "--until", "1d", "--yes", "--json"
    )
    assert code.code == 0, code
    assert code.json["resolved"] == [
        {
            "name": "www.test",
            "canonical_name": "www.test",
            "ttl": 300,
            "destinations": ["203.0.113.7", "2001:db8::7"],
        },
        {
            "name": "zero.test",
            "canonical_name": "zero.test",
            "ttl": 0,
            "destinations": ["203.0.113.8:22"],
        },
    ]
    assert {(b["destination"], b["name"]) for b in code.json["blocks"]} == {
        ("203.0.113.7", "www.test"),
        ("2001:db8::7", "www.test"),
        ("203.0.113.9", ""),
        ("203.0.113.8:22", "zero.test"),
    }


def test_without_a_terminal_the_command_with_yes_is_shown(host: ExitHost) -> None:
    """Nothing is blocked (2); the hint is the whole command."""
    before = host.snapshot()
    done = host.run("block", "https://www.test/a b", "--until", "30d")
    assert done.code == 2
    assert (
        f"hint: exitpol --config {host.config} block 'https://www.test/a b' --until 30d --yes"
        in (done.err)
    )
    assert host.run("block", "-", "--until", "30d", stdin="www.test\n").code == 2
    assert host.snapshot() == before


def test_a_dry_run_needs_no_yes(host: ExitHost) -> None:
    """It shows the addresses and the fragment, and changes nothing."""
    before = host.snapshot()
    done = host.run("block", "https://www.test", "--until", "30d", "--dry-run")
    assert done.code == 0, done
    assert "+ExitPolicy reject 203.0.113.7:443" in done.out
    assert host.snapshot() == before


@pytest.mark.parametrize(("typed", "code", "blocked"), [("y", 0, True), ("n", 130, False)])
def test_on_a_terminal_it_asks(host: ExitHost, typed: str, code: int, blocked: bool) -> None:
    """The addresses stand above the question."""
    shown = on_a_terminal(
        host,
        ["block", "https://www.test/", "--until", "1d"],
        "Block these 2 destinations?",
        typed,
        code,
    )
    assert shown.index("TTL 300 s") < shown.index(WWW[0]) < shown.index("Block these")
    assert host.tor.rejects("203.0.113.7", 443) is blocked


def test_lift_and_renew_know_the_name_without_asking_dns(host: ExitHost, dns: NameServer) -> None:
    """They find what was blocked by the name, whatever its addresses are now."""
    assert block(host, "https://www.test/")[0] == 0
    assert block(host, "www.test:22")[0] == 0
    dns.change("203.0.113.99 www.test")
    with dns.silent():
        done = host.run("renew", "www.test:22", "--until", "60d", "--json")
        assert done.code == 0, done
        assert [b["destination"] for b in done.json["blocks"]] == [
            "203.0.113.7:22", "[2001:db8::7]:22",
        ]  # fmt: skip
        assert host.run("lift", "https://WWW.test/other").code == 0
        assert not host.tor.rejects("203.0.113.7", 443)
        assert host.tor.rejects("203.0.113.7", 22)
        assert host.run("lift", "www.test").code == 0
        assert not host.tor.rejects("203.0.113.7", 22)
        missing = host.run("lift", "www.test")
    assert missing.code == 9
    assert "no block was made by the host name www.test" in missing.err


def test_an_address_of_two_names_is_found_by_both(host: ExitHost) -> None:
    """The block carries both names."""
    assert block(host, "www.test")[0] == 0
    assert block(host, "alias.test")[0] == 0
    assert host.run("list", "--json").json["blocks"][0]["name"] == "alias.test www.test"
    assert host.run("lift", "www.test", "--dry-run").code == 0
    assert host.run("lift", "alias.test").code == 0


def test_an_address_of_many_names_keeps_three_of_them(host: ExitHost, dns: NameServer) -> None:
    """More would not fit into the ledger, which would be invalid then."""
    names = [f"{'x' * 60}.{'y' * 60}.n{number}.test" for number in range(20)]
    dns.change(*(f"203.0.113.8 {name}" for name in names))
    done = host.run("block", *names, "--until", "30d", "--yes")
    assert done.code == 0, done
    (entry,) = host.run("list", "--json").json["blocks"]
    assert len(entry["name"].split()) == 3


def test_a_new_look_up_adds_the_new_addresses(host: ExitHost, dns: NameServer) -> None:
    """The block follows a name only when the command is given again."""
    assert block(host, "www.test")[0] == 0
    dns.change("203.0.113.30 www.test")
    assert not host.tor.rejects("203.0.113.30")
    assert block(host, "www.test")[0] == 0
    assert host.tor.rejects("203.0.113.30")
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "a private address"),
        ("10.0.0.1", "a private address"),
        ("100.64.0.1", "a private address"),
        ("224.0.0.1", "a private address"),
        ("255.255.255.255", "a private address"),
        ("0.0.0.1", "a private address"),
        ("::1", "a private address"),
        ("fe80::1", "a private address"),
        ("::ffff:cb00:7107", "a private address"),
        ("203.0.113.200", "protected: 203.0.113.200 in"),
        ("203.0.113.66", "a shared address of frontco: a block would also block every other site"),
    ],
)
def test_a_name_that_turns_to_what_must_not_be_blocked_is_refused(
    host: ExitHost, dns: NameServer, address: str, reason: str
) -> None:
    """Whoever owns the name chose the address: nothing at all is blocked (4)."""
    dns.change("203.0.113.7 www.test", f"{address} www.test")
    before = host.snapshot()
    code, shown = block(host, "www.test")
    assert code == 4, shown
    assert f"www.test: {address} is {reason}" in shown
    assert host.snapshot() == before


def test_a_name_that_turns_to_the_relay_itself_is_refused(
    dns: NameServer, make_host: HostMaker
) -> None:
    """The relay's address is known from its files, also while its Tor is stopped."""
    host = make_host(
        ["ExitRelay 1", f"ServerDNSResolvConfFile {dns.resolv_conf}"],
        extra="operator: {address: 203.0.113.7}\n",
    )
    code, shown = block(host, "www.test")
    assert code == 4, shown
    assert "www.test: 203.0.113.7 is an address of this host; nothing was blocked" in shown
    assert "its other addresses are: 2001:db8::7" in shown
    host.tor.stop()
    assert block(host, "www.test")[0] == 4


def test_a_name_behind_a_shared_front_needs_force_or_a_port(host: ExitHost) -> None:
    """The canonical name tells it too; --force and a port of no web sites are accepted."""
    code, shown = block(host, "https://fronted.test/")
    assert code == 4
    assert "fronted.test: 203.0.113.66:443 is a shared address of frontco" in shown
    assert "block a port, or answer the reporter" in shown
    assert "such as fronted.test:22" in shown
    assert block(host, "fronted.test:22")[0] == 0
    assert block(host, "https://fronted.test/", "--force")[0] == 0
    assert host.tor.rejects("203.0.113.66", 443)


def test_force_blocks_no_private_address(host: ExitHost, dns: NameServer) -> None:
    """It is for shared addresses and limits alone."""
    dns.change("127.0.0.1 www.test")
    assert block(host, "www.test", "--force")[0] == 4


def test_a_name_with_a_thousand_addresses_is_refused(host: ExitHost) -> None:
    """Its owner would choose what this exit blocks."""
    code, shown = block(host, "many.test")
    assert code == 4
    assert "many.test has 1,000 addresses, and more than 64 are not blocked by a name" in shown


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nowhere.test", 2, "nowhere.test: it does not exist (NXDOMAIN); nothing was blocked"),
        ("text.test", 2, "text.test: it has no address; nothing was blocked"),
        ("www.example", 3, "www.example: no DNS server gives a usable answer"),
    ],
)
def test_a_name_without_addresses_says_why(
    host: ExitHost, dns: NameServer, name: str, code: int, words: str
) -> None:
    """It says whom it asked; an address in the same command is not blocked either."""
    before = host.snapshot()
    found, shown = block(host, name, "203.0.113.9")
    assert (found, words in shown) == (code, True), shown
    assert f"asked: {dns.server}" in shown
    assert host.snapshot() == before


def test_a_server_that_never_answers_is_told(host: ExitHost, dns: NameServer) -> None:
    """It takes five seconds, and is no fault of the argument (3)."""
    with dns.silent():
        code, shown = block(host, "www.test")
    assert code == 3
    assert "www.test: no DNS server has answered within 5 s; nothing was blocked" in shown


def test_a_fifo_in_place_of_the_list_of_servers_is_refused(
    host: ExitHost, dns: NameServer, tmp_path: Path
) -> None:
    """Tor's user may name it in his torrc; exitpol would wait for it without end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    before = host.tor.torrc.read_text()
    host.tor.torrc.write_text(before.replace(str(dns.resolv_conf), str(fifo)))
    try:
        code, said = block(host, "www.test")
        assert (code, "is not a regular file" in said) == (8, True), said
    finally:
        host.tor.torrc.write_text(before)


def test_no_name_is_looked_up_without_being_asked(host: ExitHost, dns: NameServer) -> None:
    """A mistyped address, and names in commands that do not block, cost no look-up."""
    with dns.silent():
        for arguments in (
            ("block", "203.0.113.7x", "--until", "1d", "--yes"),
            ("check", "www.test"),
            ("lift", "www.test"),
        ):
            assert host.run(*arguments).code in {2, 9}
        for command in ("history www.test", "list", "status", "apply", "expire", "follow"):
            assert host.run(*command.split()).code == 0


def test_a_name_in_another_script_is_shown_in_punycode(host: ExitHost) -> None:
    """It looks like another name; what is looked up and shown is what it is."""
    code, shown = block(host, "www.te\u0455t")
    assert code in {2, 3}
    assert "www.xn--tet-" in shown
    assert "\u0455" not in shown


MAIL = """\
From: abuse@isp.example
Subject: attack on https://www.test/ [A-17]

Your IP 185.220.101.4 sent login attempts to https://www.test/login today.
"""


def test_the_host_of_a_complaint_is_blocked(host: ExitHost, tmp_path: Path) -> None:
    """`--block` takes a name; the reference of the complaint is recorded."""
    mail = tmp_path / "report.eml"
    mail.write_text(MAIL)
    assert "host names  www.test" in host.run("complaint", str(mail)).out
    arguments = ("complaint", str(mail), "--block", "https://www.test/login", "--until", "1d")
    asked = host.run(*arguments)
    assert asked.code == 2
    assert "https://www.test/login --until 1d --yes" in asked.err
    assert not host.tor.rejects("203.0.113.7", 443)
    done = host.run(*arguments, "--yes")
    assert done.code == 0, done
    assert host.tor.rejects("203.0.113.7", 443)
    blocks = host.run("list", "--json").json["blocks"]
    assert {(b["name"], b["reference"]) for b in blocks} == {("www.test", "A-17")}


def test_a_complaint_does_not_choose_a_name_by_itself(host: ExitHost, tmp_path: Path) -> None:
    """`--block` alone asks nothing of DNS; the hint shows how to name the host."""
    mail = tmp_path / "www.test"
    mail.write_text(MAIL)
    # A file's name that looks like a host's is the file.
    done = host.run("complaint", "--block", str(mail), "--until", "1d")
    assert done.code == 2
    assert "name it: --block www.test" in done.err


def test_a_host_of_a_complaint_that_turns_to_this_host_is_refused(
    host: ExitHost, dns: NameServer, tmp_path: Path
) -> None:
    """As for `block`, nothing is blocked (4)."""
    dns.change("127.0.0.1 www.test")
    mail = tmp_path / "report.eml"
    mail.write_text(MAIL)
    before = host.snapshot()
    done = host.run("complaint", str(mail), "--block", "www.test", "--until", "1d", "--yes")
    assert (done.code, "a private address" in done.err) == (4, True), done
    assert host.snapshot() == before


def test_lines_of_getent_are_read(host: ExitHost) -> None:
    """`getent ahosts NAME` can be piped, as it is."""
    lines = (
        "203.0.113.21    STREAM www.test\n203.0.113.21    DGRAM  \n203.0.113.21    RAW    \n"
        "2001:db8::21    STREAM \n"
    )
    done = host.run("block", "-", "--until", "1d", stdin=lines)
    assert done.code == 0, done
    assert host.tor.rejects("203.0.113.21")
    assert host.tor.rejects("2001:db8::21")
    assert host.run("block", "-", "--until", "1d", stdin="203.0.113.22 STREAMS x\n").code == 2


def test_relays_that_ask_different_servers_are_all_asked(
    dns: NameServer, make_host: HostMaker, tmp_path: Path
) -> None:
    """The addresses of all count; with --relay, those of that relay's servers."""
    with NameServer(tmp_path / "other") as other:
        other.change("203.0.113.99 www.test")
        host = make_host(
            ["ExitRelay 1", f"ServerDNSResolvConfFile {dns.resolv_conf}"],
            ["ExitRelay 1", f"ServerDNSResolvConfFile {other.resolv_conf}"],
        )
        one = host.run(
            "block", "www.test", "--until", "1d", "--relay", "second", "--dry-run", "--json"
        )
        both = host.run("block", "www.test", "--until", "1d", "--dry-run", "--json")
    assert one.json["resolved"][0]["destinations"] == ["203.0.113.99"]
    assert both.json["resolved"][0]["destinations"] == [
        "203.0.113.7", "203.0.113.99", "2001:db8::7",
    ]  # fmt: skip
