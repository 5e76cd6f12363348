"""Blocks follow a host name on a real exit, by what a real DNS server says."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dns import message, rrset

from exitpolicy.storage import ledger_file, ledger_text
from tests.harness.dns import HostileServer, NameServer, needs_dnsmasq
from tests.harness.host import ExitHost, Outcome, host_maker
from tests.harness.tor import free_port

pytestmark = needs_dnsmasq
HOUR, DAY = 3_600.0, 86_400.0


@pytest.fixture(scope="module")
def observed(
    name_server: NameServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExitHost]:
    """Give an exit whose Tor asks that server."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "fronts.txt").write_text("frontco 203.0.113.64/26\nfrontco .cdn.test\n")
    with host_maker(folder) as make:
        yield make(
            ["ExitRelay 1", f"ServerDNSResolvConfFile {name_server.resolv_conf}"],
            extra="shared_fronts: fronts.txt\nprotected: [203.0.113.200]\n"
            "operator: {address: 203.0.113.201}\n",
        )


@pytest.fixture
def host(observed: ExitHost, dns: NameServer) -> ExitHost:
    """Give that exit without blocks, and the server with its first answers."""
    observed.run("lift", "--all", "--yes")
    state(observed).unlink(missing_ok=True)
    dns.change("203.0.113.7 www.test")
    return observed


@pytest.fixture
def following(observed: ExitHost, dns: NameServer) -> ExitHost:
    """Give that exit with a followed block in its ledger, which its Tor need not enforce yet."""
    observed.ledger.write_text(
        'version: 2\nblocks:\n- {destination: "203.0.113.7", since: "2026-11-01T10:00:00Z",'
        ' until: never, name: "www.test", follow: "www.test"}\n'
    )
    state(observed).unlink(missing_ok=True)
    dns.change("203.0.113.7 www.test")
    assert observed.run("follow").code == 0
    return observed


def state(host: ExitHost) -> Path:
    """Return the file with what is known of the names."""
    return host.ledger.with_name("follow.json")


def age(host: ExitHost, seconds: float) -> None:
    """Let running time pass: everything in the state was so much earlier."""
    document = json.loads(state(host).read_text())
    document["running"] += seconds
    for entry in document["names"]:
        if not entry["failure"]:
            entry["seen"] = {
                a: [times, absent + (seconds if absent else 0)]
                for a, (times, absent) in entry["seen"].items()
            }
        entry["answered"] += seconds
    state(host).write_text(json.dumps(document))


def follow(host: ExitHost, name: str = "www.test", *more: str) -> Outcome:
    """Block a name and follow it."""
    done = host.run("block", name, "--until", "30d", "--yes", "--follow", *more)
    assert done.code == 0, done
    return done


def look_up(host: ExitHost, times: int = 1, seconds: float = HOUR) -> list[dict[str, Any]]:
    """Let an hour pass and look the names up, some times; return what the last run says."""
    for _ in range(times):
        age(host, seconds)
        done = host.run("follow", "--json")
        failed = any(entry["failure"] for entry in done.json["names"] if entry["asked"])
        assert done.code == (3 if failed else 0), done
    names: list[dict[str, Any]] = done.json["names"]
    return names


def blocked(host: ExitHost) -> set[str]:
    """Return the destinations of the blocks of the ledger that have not ended."""
    return {str(b.destination) for b in ledger_file.load(host.ledger).blocks if b.ended is None}


def test_the_block_follows_the_name(host: ExitHost, dns: NameServer) -> None:
    """The new address is enforced; a day later the old one is not; the history tells both."""
    done = follow(host, "https://www.test/login", "--reference", "A-1")
    assert "no timer looks the name up again" in done.err
    assert "www.test (followed)" in host.run("list").out
    dns.change("203.0.113.30 www.test")
    assert [entry["added"] for entry in look_up(host, 2)] == [["203.0.113.30:443"]]
    assert not host.tor.rejects("203.0.113.30", 443)
    # The tick sees that the ledger has changed.
    assert host.tick().code == 0
    assert host.tor.rejects("203.0.113.30", 443)
    assert host.tor.rejects("203.0.113.7", 443)
    assert look_up(host, 1, DAY)[0]["dropped"] == ["203.0.113.7:443"]
    assert host.tick().code == 0
    assert not host.tor.rejects("203.0.113.7", 443)
    assert blocked(host) == {"203.0.113.30:443"}
    changes = host.run("history", "www.test", "--json").json["changes"]
    assert [(c["action"], c["destination"], c["reference"]) for c in changes[-3:]] == [
        ("block", "203.0.113.7:443", "A-1"),
        ("follow", "203.0.113.30:443", "A-1"),
        ("unfollow", "203.0.113.7:443", "A-1"),
    ]
    assert host.run("status", "--check").code == 0
    # Lifted by the name, it is followed no more.
    assert host.run("lift", "www.test").code == 0
    assert host.run("follow", "--json").json["names"] == []


def test_it_asks_only_when_it_is_time(following: ExitHost, dns: NameServer) -> None:
    """Within five minutes the server is not asked, whatever the TTL."""
    with dns.silent():
        began = time.monotonic()
        done = following.run("follow")
        assert time.monotonic() - began < 4
    assert (done.code, done.out) == (0, "")
    assert "no name is due" in done.err
    assert look_up(following)[0]["asked"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (("127.0.0.1",), "none of its addresses may be blocked"),
        (("10.0.0.1", "::1"), "none of its addresses may be blocked"),
        (("203.0.113.201",), "none of its addresses may be blocked"),
        (("203.0.113.66",), "none of its addresses may be blocked"),
        (("203.0.113.200",), "none of its addresses may be blocked"),
        (tuple(f"198.18.0.{n}" for n in range(1, 251)), "it has 250 addresses, more than 8"),
        ((), "it does not exist (NXDOMAIN)"),
    ],
)
def test_what_must_not_be_blocked_keeps_the_last_address(
    following: ExitHost, dns: NameServer, answer: tuple[str, ...], reason: str
) -> None:
    """A private, own, shared or protected address, too many, or none; the run says why."""
    dns.change(*(f"{address} www.test" for address in answer))
    (entry,) = look_up(following, 3, DAY)
    assert entry["failure"] == reason
    assert blocked(following) == {"203.0.113.7"}
    age(following, DAY)
    state(following).touch()
    document = json.loads(state(following).read_text())
    document["running"] += 2 * DAY
    state(following).write_text(json.dumps(document))
    findings = [f for f in following.run("doctor", "--json").json["findings"] if f["cause"]]
    (finding,) = (f for f in findings if f["cause"] == "name_unanswered")
    assert f"www.test: {reason}" in finding["observed"]


@pytest.mark.slow
def test_a_forbidden_address_beside_others_is_left_out(
    following: ExitHost, dns: NameServer
) -> None:
    """The owner of the name cannot keep the others from being followed by it."""
    dns.change("127.0.0.1 www.test", "203.0.113.8 www.test", "203.0.113.66 www.test")
    look_up(following, 3)
    assert blocked(following) == {"203.0.113.7", "203.0.113.8"}


@pytest.mark.slow
def test_an_alias_of_a_shared_front_is_not_followed(following: ExitHost, dns: NameServer) -> None:
    """Its canonical name tells, whatever its addresses are."""
    with HostileServer(fronted) as server:
        redirect(following, dns, server.server.port)
        (entry,) = look_up(following, 3)
        redirect(following, dns, dns.server.port)
    assert entry["failure"] == "none of its addresses may be blocked"
    assert blocked(following) == {"203.0.113.7"}


def redirect(host: ExitHost, server: NameServer, port: int) -> None:
    """Let the Tor of a host ask at another port."""
    assert str(server.resolv_conf) in host.tor.torrc.read_text()
    server.resolv_conf.write_text(f"nameserver 127.0.0.1:{port}\n")


def fronted(query: message.Message) -> list[message.Message]:
    """Answer with an alias of a shared front."""
    (question,) = query.question
    reply = message.make_response(query)
    reply.answer = [rrset.from_text(question.name, 60, "IN", "CNAME", "d1.cdn.test.")]
    if question.rdtype == 1:
        reply.answer.append(rrset.from_text("d1.cdn.test.", 60, "IN", "A", "198.51.100.9"))
    return [reply]


def looping(query: message.Message) -> list[message.Message]:
    """Answer with aliases in a circle."""
    (question,) = query.question
    reply = message.make_response(query)
    name = question.name.to_text()
    reply.answer = [
        rrset.from_text(name, 60, "IN", "CNAME", "a.test."),
        rrset.from_text("a.test.", 60, "IN", "CNAME", name),
    ]
    return [reply]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (looping, "its CNAME records make a loop, or too long a chain"),
        (lambda _: [], "no DNS server has answered within 5 s"),
        (lambda _: [b"\xff" * 40], "no DNS server has answered within 5 s"),
        (None, "no DNS server has answered within 5 s"),
    ],
)
def test_an_answer_that_fails_keeps_the_last_one(
    following: ExitHost,
    dns: NameServer,
    replies: Callable[[message.Message], list[bytes | message.Message]] | None,
    reason: str,
) -> None:
    """A loop, silence, garbage, no server: the reason is told, and the name is asked again."""
    with ExitStack() as stack:
        port = free_port()
        if replies is not None:
            port = stack.enter_context(HostileServer(replies)).server.port
        redirect(following, dns, port)
        (entry,) = look_up(following)
        redirect(following, dns, dns.server.port)
    assert entry["failure"] == reason
    assert blocked(following) == {"203.0.113.7"}
    dns.change("203.0.113.9 www.test")
    look_up(following, 2)
    assert blocked(following) == {"203.0.113.7", "203.0.113.9"}


def test_a_lift_by_hand_wins(host: ExitHost, dns: NameServer) -> None:
    """An address that was lifted is not blocked again: the name is followed no more."""
    dns.change("203.0.113.7 www.test", "203.0.113.8 www.test")
    follow(host)
    done = host.run("lift", "203.0.113.7")
    assert (done.code, "www.test is not followed any more" in done.err) == (0, True), done
    assert host.run("follow", "--json").json["names"] == []
    assert blocked(host) == {"203.0.113.8"}
    assert "www.test" in host.run("list").out


@pytest.mark.slow
def test_check_and_lift_know_the_followed_name(host: ExitHost, dns: NameServer) -> None:
    """They ask no DNS server, and `check` says so."""
    assert host.run("block", "203.0.113.7", "--until", "60d").code == 0
    follow(host)
    with dns.silent():
        done = host.run("check", "www.test", "203.0.113.99")
        assert done.code == 3
        assert "203.0.113.7  rejected" in done.out
        assert "203.0.113.99  partly" in done.out
        assert "www.test: the addresses that are blocked by that name" in done.err
        assert host.run("check", "nowhere.test").code == 9
        assert host.run("lift", "www.test").code == 0


@pytest.mark.slow
def test_too_many_addresses_are_not_followed(host: ExitHost, dns: NameServer) -> None:
    """Nothing is blocked (4); without --follow they are."""
    dns.change(*(f"203.0.113.{n} www.test" for n in range(1, 10)))
    before = host.snapshot()
    done = host.run("block", "www.test", "--until", "1d", "--yes", "--follow")
    assert (done.code, "www.test has 9 addresses" in done.err) == (4, True), done
    assert host.snapshot() == before
    assert host.run("block", "203.0.113.7", "--until", "1d", "--follow").code == 2
    names = "".join(f"n{number}.test\n" for number in range(10_000))
    done = host.run("block", "-", "--until", "1d", "--yes", "--follow", stdin=names)
    assert (done.code, "10000 host names are too many" in done.err) == (2, True), done


@pytest.mark.slow
def test_a_hundred_names_are_followed_and_no_more(host: ExitHost, dns: NameServer) -> None:
    """A host that follows many names refuses another one; a silent server takes 5 s for 20."""
    lines = "".join(
        f'- {{destination: "203.0.113.7:{n}", since: "2026-11-01T10:00:00Z", until: never,'
        f' follow: "n{n}.test"}}\n'
        for n in range(1, 101)
    )
    host.ledger.write_text(f"version: 2\nblocks:\n{lines}")
    done = host.run("block", "www.test", "--until", "1d", "--yes", "--follow")
    assert (done.code, "at most 100 are followed" in done.err) == (4, True), done
    began = time.monotonic()
    with dns.silent():
        names = host.run("follow", "--json").json["names"]
    assert [entry["asked"] for entry in names] == [True] * 100
    assert time.monotonic() - began < 60
    host.ledger.write_text("version: 2\nblocks: []\n")


def test_an_older_exitpol_refuses_the_ledger(
    following: ExitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know the key, and says where it stands."""
    keys = {v: tuple(k for k in ks if k != "follow") for v, ks in ledger_text.BLOCK_KEYS.items()}
    monkeypatch.setattr(ledger_text, "BLOCK_KEYS", keys)
    monkeypatch.setattr(ledger_text, "_WRITTEN", "(?!)")
    monkeypatch.setattr(ledger_text, "_recently_read", [])
    done = following.run("list")
    assert done.code == 8
    assert "'follow'" in done.err
    assert f"{following.ledger}:" in done.err


def test_look_ups_that_do_not_run_are_reported(host: ExitHost) -> None:
    """By `status --check` and `doctor`, with what to do; who cannot read the state sees its age."""
    follow(host)
    assert host.run("status", "--check").code == 0
    then = time.time() - 1000
    os.utime(state(host), (then, then))
    checked = host.run("status", "--check", "--json")
    assert (checked.code, checked.json["faults"]) == (3, ["follow_late"])
    (finding,) = checked.json["health"]
    assert "they were looked up 16m 4" in finding["observed"]
    assert "exitpolicy" in finding["fix"]
    assert "follow --quiet" in finding["fix"]
    assert "followed names" in host.run("doctor").out
    assert 'exitpol_fault{name="follow_late"} 1' in host.run("status", "--prometheus").out
    host.run("follow")
    assert host.run("status", "--check").code == 0
    state(host).unlink()
    assert host.run("status", "--check", "--json").json["faults"] == ["follow_late"]


@pytest.mark.root
def test_a_state_of_another_user_is_not_believed(following: ExitHost, dns: NameServer) -> None:
    """Who owns the ledger's folder could otherwise choose what is blocked."""
    dns.change("203.0.113.9 www.test")
    look_up(following)
    os.chown(state(following), 65534, 65534)
    assert "follow_late" in following.run("status", "--check", "--json").json["faults"]
    assert following.run("follow").code == 0
    assert blocked(following) == {"203.0.113.7"}
    assert state(following).stat().st_uid == 0
    assert state(following).stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("content", ["7", "[" * 10_000])
def test_a_damaged_state_begins_anew(following: ExitHost, dns: NameServer, content: str) -> None:
    """Nothing changes for an hour; then the address counts when it was seen twice."""
    dns.change("203.0.113.9 www.test")
    look_up(following)
    state(following).write_text('{"version": 1, "names": ' + content + "}")
    assert following.run("follow").code == 0
    assert blocked(following) == {"203.0.113.7"}
    look_up(following, 1)
    assert blocked(following) == {"203.0.113.7", "203.0.113.9"}


def test_names_are_not_in_the_journal(following: ExitHost, dns: NameServer) -> None:
    """The run of the timer prints addresses only, and nothing if nothing changed."""
    assert following.run("follow", "--quiet").err == ""
    dns.change("203.0.113.9 www.test")
    look_up(following)
    age(following, HOUR)
    done = following.run("follow", "--quiet")
    assert (done.out, done.err) == ("203.0.113.9  added\n", "")
    changes = following.run("history", "203.0.113.9", "--json").json["changes"]
    assert [(c["action"], c["who"], c["name"]) for c in changes[-1:]] == [
        ("follow", "timer", "www.test")
    ]
