"""Host names are resolved by a child without privileges, and no answer is trusted."""

import json
import os
import textwrap
import time
from collections.abc import Sequence

import dns.message
import dns.rrset
import pytest

from exitpolicy import confinement, resolver
from exitpolicy.core.addresses import address_text
from exitpolicy.core.errors import AttentionError
from exitpolicy.resolver import Answer, Failure, Reason, Server, decode, servers
from tests.harness.dns import HOSTS, HostileServer, NameServer, Replies, needs_dnsmasq
from tests.harness.tor import free_port


def ask(name: str, *asked: Server) -> resolver.Result:
    """Resolve one name."""
    (result,) = resolver.resolve([name], asked)
    return result


def answered(name: str, *asked: Server) -> Answer:
    """Resolve one name that has addresses."""
    result = ask(name, *asked)
    assert isinstance(result, Answer), result
    return result


def addresses(answer: Answer) -> list[str]:
    """Return the addresses as text."""
    return [address_text(*address) for address in answer.addresses]


@needs_dnsmasq
def test_a_name_has_addresses_of_both_families(name_server: NameServer) -> None:
    """A and AAAA are asked for, and the time to live is told."""
    answer = answered("www.test", name_server.server)
    assert addresses(answer) == ["203.0.113.7", "2001:db8::7"]
    assert (answer.canonical_name, answer.aliases, answer.ttl) == ("www.test", (), 300)
    assert answer.unknown is None
    assert answered("zero.test", name_server.server).ttl == 0


@needs_dnsmasq
def test_an_alias_leads_to_its_canonical_name(name_server: NameServer) -> None:
    """Every name on the way is told, and the shortest time to live counts."""
    answer = answered("alias.test", name_server.server)
    assert (answer.canonical_name, answer.aliases, answer.ttl) == ("www.test", ("www.test",), 30)
    answer = answered("far.test", name_server.server)
    assert answer.canonical_name == "www.test"
    assert answer.aliases == ("near.test", "www.test")
    assert addresses(answer) == ["203.0.113.7", "2001:db8::7"]


@needs_dnsmasq
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.test", Reason.NO_SUCH_NAME),
        ("text.test", Reason.NO_ADDRESS),
        ("www.example", Reason.FAILED),
    ],
)
def test_a_name_without_address_says_why(
    name_server: NameServer, name: str, reason: Reason
) -> None:
    """The server does not know it, knows no address of it, or refuses the question."""
    assert ask(name, name_server.server) == Failure(name, reason)


@needs_dnsmasq
def test_a_thousand_addresses_are_all_told(name_server: NameServer) -> None:
    """They do not fit into a datagram: the server is asked again by TCP."""
    assert len(answered("many.test", name_server.server).addresses) == 1000


@needs_dnsmasq
def test_many_names_are_asked_for_at_once(name_server: NameServer) -> None:
    """The results are in the order of the names."""
    names = ["www.test", "nowhere.test"] * (resolver.MAX_NAMES // 2)
    results = resolver.resolve(names, [name_server.server])
    assert [result.name for result in results] == names
    assert {type(result) for result in results[::2]} == {Answer}
    assert {type(result) for result in results[1::2]} == {Failure}


@needs_dnsmasq
def test_the_answer_of_now_counts(name_server: NameServer) -> None:
    """Nothing is kept from one look-up to the next."""
    assert "203.0.113.7" in addresses(answered("www.test", name_server.server))
    try:
        name_server.change("203.0.113.99 www.test")
        assert addresses(answered("www.test", name_server.server)) == ["203.0.113.99"]
    finally:
        name_server.change(*HOSTS)


@needs_dnsmasq
def test_a_server_that_never_answers_costs_five_seconds(name_server: NameServer) -> None:
    """So does a host without any DNS; with several names it is not longer."""
    names = ["www.test", "alias.test", "zero.test", "far.test"]
    for asked in ([name_server.server], [Server("127.0.0.1", free_port())]):
        with name_server.silent():
            begin = time.monotonic()
            results = resolver.resolve(names, asked)
            took = time.monotonic() - begin
        assert [result.reason for result in results if isinstance(result, Failure)] == [
            Reason.NO_ANSWER
        ] * len(names)
        # One after the other, they would take 20 s.
        assert took < resolver.SECONDS + 8


@needs_dnsmasq
def test_the_second_server_is_asked_where_the_first_is_silent(name_server: NameServer) -> None:
    """As the C library and Tor do."""
    asked: list[dns.message.Message] = []

    def silence(query: dns.message.Message) -> list[bytes]:
        asked.append(query)
        return []

    with HostileServer(silence, "127.0.0.2") as silent:
        answer = answered("www.test", silent.server, name_server.server)
    assert asked
    assert addresses(answer) == ["203.0.113.7", "2001:db8::7"]


def reply(query: dns.message.Message, *records: str) -> dns.message.Message:
    """Return an answer with these records: `NAME TTL IN TYPE DATA`."""
    made = dns.message.make_response(query)
    for record in records:
        name, ttl, _, kind, data = record.split(maxsplit=4)
        made.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    return made


def test_a_loop_of_aliases_ends() -> None:
    """The server answers with two names that lead to each other."""
    loop = ("a.test. 9 IN CNAME b.test.", "b.test. 9 IN CNAME a.test.")
    with HostileServer(lambda query: [reply(query, *loop)]) as server:
        assert ask("a.test", server.server) == Failure("a.test", Reason.LOOP)


def test_a_chain_that_is_too_long_ends() -> None:
    """More than 16 aliases are no honest answer."""
    chain = [f"n{i}.test. 9 IN CNAME n{i + 1}.test." for i in range(40)]
    with HostileServer(lambda query: [reply(query, *chain, "n40.test. 9 IN A 1.2.3.4")]) as server:
        assert ask("n0.test", server.server) == Failure("n0.test", Reason.LOOP)


def test_one_family_that_is_not_answered_is_told() -> None:
    """Some servers never answer to AAAA: the addresses of the other family still count."""

    def replies(query: dns.message.Message) -> Sequence[dns.message.Message]:
        is_ipv4 = query.question[0].rdtype == dns.rdatatype.A
        return [reply(query, "www.test. 9 IN A 203.0.113.7")] if is_ipv4 else []

    with HostileServer(replies) as server:
        answer = answered("www.test", server.server)
    assert addresses(answer) == ["203.0.113.7"]
    assert answer.unknown == (6, Reason.NO_ANSWER)


@pytest.mark.parametrize(
    "replies",
    [
        lambda _: [b"\x00"],
        lambda _: [os.urandom(512)],
        lambda query: [query.to_wire()],
        lambda query: [reply(query).to_wire()[:-1] + b"\xff" * 400],
        lambda query: [reply(dns.message.make_query("other.test", "A", id=query.id))],
        lambda query: [reply(query, "other.test. 9 IN A 203.0.113.66")],
        lambda query: [reply(dns.message.make_query("www.test", "A", id=query.id ^ 1))],
    ],
)
def test_a_false_answer_gives_no_address(monkeypatch: pytest.MonkeyPatch, replies: Replies) -> None:
    """Garbage, the query itself, and the answer to another question are no answers."""
    monkeypatch.setattr(resolver, "SECONDS", 1.0)
    with HostileServer(replies) as server:
        assert isinstance(ask("www.test", server.server), Failure)


def test_a_canonical_name_is_harmless_text() -> None:
    """DNS names may hold any byte: those that are no printable ASCII are escaped."""
    hostile = r"www.test. 9 IN CNAME \027[31mx\010.\226\128\174evil.test."
    target = hostile.rsplit(maxsplit=1)[-1]
    with HostileServer(
        lambda query: [reply(query, hostile, f"{target} 9 IN A 203.0.113.7")]
    ) as server:
        name = answered("www.test", server.server).canonical_name
    assert name.isascii()
    assert name.isprintable()
    assert name.endswith("evil.test")


def taken_over(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the child run this code, as if an answer had taken it over."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from exitpolicy import resolver\n"
        "async def taken_over(_, names):\n"
        f"{textwrap.indent(textwrap.dedent(code), '    ')}\n"
        "resolver._ask_all = taken_over\n"
        "resolver.serve()\n"
    )
    monkeypatch.setattr(resolver, "PROGRAM", program)


def test_the_child_has_no_rights_and_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot start a process or see a variable; of root, it is nobody and sees no file."""
    monkeypatch.setenv("SECRET", "x")
    code = f"""
        import os, subprocess
        found = []
        if [key for key in os.environ if key != "LC_CTYPE"]:
            found.append("environment")
        if {os.geteuid() == 0} and set(os.getresuid()) != {{{confinement.NOBODY}}}:
            found.append("user")
        for path in ("/etc/passwd", "/proc/self/status") if {os.geteuid() == 0} else ():
            if os.path.exists(path):
                found.append(path)
        try:
            os.fork()
            found.append("process")
        except OSError:
            pass
        return [{{"failed": "it has no address"}}] if not found else [found]
        """
    taken_over(monkeypatch, code)
    assert ask("a.test", Server("127.0.0.1")) == Failure("a.test", Reason.NO_ADDRESS)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise RuntimeError", "its child failed"),
        ("import os; os.abort()", "its child failed"),
        ("while True: pass", "its child failed"),
        ("return bytearray(1 << 40)", "its child failed"),
        ("import os; os._exit(0)", "an invalid answer"),
        ("import os; os.write(1, b'[' * 9999); os._exit(0)", "an invalid answer"),
        ("import os\nwhile True: os.write(1, b' ' * 65536)", "its child failed"),
        ("return []", "an invalid answer"),
        ("return [{'failed': 'x'}]", "an invalid answer"),
    ],
)
def test_a_child_out_of_control_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, code: str, problem: str
) -> None:
    """A crash, a limit and a false answer end in an error that says what to do."""
    monkeypatch.setattr(resolver, "PATIENCE", 6.0)
    taken_over(monkeypatch, code)
    with pytest.raises(AttentionError, match=problem) as failed:
        ask("a.test", Server("127.0.0.1"))
    assert "nothing was changed" in str(failed.value)
    assert failed.value.hint


RIGHT = {
    "canonical_name": "b.test",
    "aliases": ["b.test"],
    "addresses": ["203.0.113.7"],
    "ttl": 1,
    "unknown": None,
}


def test_what_the_child_writes_is_read() -> None:
    """Addresses are sorted, each once."""
    doubled = {**RIGHT, "addresses": ["::1", "203.0.113.7", "::1"], "unknown": [6, Reason.FAILED]}
    (answer,) = decode(["a.test"], json.dumps([doubled]).encode())
    assert answer == Answer(
        "a.test", "b.test", ("b.test",), ((4, 0xCB007107), (6, 1)), 1, (6, Reason.FAILED)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"canonical_name": "b test"},
        {"canonical_name": "b\x1b"},
        {"canonical_name": "\u0430.test"},
        {"canonical_name": "x" * 1200},
        {"canonical_name": ""},
        {"aliases": ["x"] * 41},
        {"aliases": "x"},
        {"aliases": [1]},
        {"addresses": []},
        {"addresses": ["203.0.113.07"]},
        {"addresses": ["203.0.113.0/24"]},
        {"addresses": [1]},
        {"addresses": ["::1"] * 5000},
        {"ttl": -1},
        {"ttl": 1.5},
        {"ttl": True},
        {"ttl": 2**31},
        {"unknown": [5, Reason.FAILED]},
        {"unknown": [6, "x"]},
        {"unknown": "x"},
        {"more": 1},
    ],
)
def test_a_false_result_is_refused(change: dict[str, object]) -> None:
    """What the child would not write is an error."""
    assert decode(["a.test"], json.dumps([RIGHT]).encode())
    with pytest.raises(ValueError, match=r".*"):
        decode(["a.test"], json.dumps([{**RIGHT, **change}]).encode())


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"{}", b"[1]", b"[[]]", b"[" * 100_000])
def test_what_is_no_list_of_results_is_refused(data: bytes) -> None:
    """There is one result for each name."""
    with pytest.raises(ValueError, match=r".*"):
        decode(["a.test"], data)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 192.0.2.1\n", ["192.0.2.1"]),
        ("# x\nsearch a.b\noptions edns0\nnameserver\t::1 # y\n", ["::1"]),
        (
            "nameserver 192.0.2.1:5353\nnameserver [::1]:54\n",
            ["192.0.2.1 port 5353", "::1 port 54"],
        ),
        ("nameserver 192.0.2.1\nnameserver 192.0.2.1\n", ["192.0.2.1"]),
        ("", ["127.0.0.1"]),
        ("nameserver\nnameserver x\nnameserver fe80::1%eth0\n", ["127.0.0.1"]),
        ("root:$6$secret:19000:0:99999:7:::\n", ["127.0.0.1"]),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(99)),
            [f"192.0.2.{n}" for n in range(8)],
        ),
    ],
)
def test_the_servers_of_a_resolv_conf(text: str, found: list[str]) -> None:
    """Ports are read as Tor's libevent reads them; without a server it is that of this host."""
    assert [str(server) for server in servers(text)] == found
