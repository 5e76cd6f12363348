"""Blocks on a real Tor exit: recorded, enforced, observed, renewed, lifted, expired."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from exitpolicy.core.durations import utc_text
from tests.harness.host import HostMaker
from tests.harness.tor import wait_until


def test_a_block_is_live_when_the_command_says_so_and_not_before(make_host: HostMaker) -> None:
    """`block` returns with `live` once the running Tor's own policy rejects the destination."""
    host = make_host()
    assert not host.tor.rejects("203.0.113.7")
    done = host.run("block", "203.0.113.7", "--until", "30d", "--reason", "SSH", "--json")
    assert done.code == 0
    assert [block["state"] for block in done.json["blocks"]] == ["live"]
    assert host.tor.rejects("203.0.113.7")
    assert not host.tor.rejects("203.0.113.8")


def test_a_lifted_block_is_no_longer_enforced(make_host: HostMaker) -> None:
    """`lift` returns when the running Tor accepts the destination again."""
    host = make_host()
    host.run("block", "203.0.113.7", "198.51.100.9", "--until", "30d")
    done = host.run("lift", "203.0.113.7")
    assert (done.code, done.out.split()) == (0, ["203.0.113.7", "lifted"])
    assert not host.tor.rejects("203.0.113.7")
    assert host.tor.rejects("198.51.100.9")


def test_all_blocks_are_lifted_at_once(make_host: HostMaker) -> None:
    """`lift --all --yes` ends every block that lasts, and records each."""
    host = make_host()
    host.run("block", "203.0.113.7", "198.51.100.9", "--until", "30d")
    done = host.run("lift", "--all", "--yes")
    assert (done.code, done.out.count("lifted")) == (0, 2)
    assert not host.tor.rejects("203.0.113.7")
    assert not host.tor.rejects("198.51.100.9")
    assert host.run("list").out == ""
    assert host.run("lift", "--all", "--yes").code == 9


def test_ports_networks_ranges_and_ipv6_reject_exactly_themselves(make_host: HostMaker) -> None:
    """Each form of a destination rejects exactly its addresses and ports."""
    host = make_host(("ExitRelay 1", "IPv6Exit 1"))
    done = host.run(
        "block", "203.0.113.7:22,80", "198.51.100.0/24", "192.0.2.5-192.0.2.6",
        "[2001:db8::1]:6000-6010", "--until", "1d",
    )  # fmt: skip
    assert done.code == 0, done
    assert done.out.count("live") == 4
    for address, port in [
        ("203.0.113.7", 22), ("203.0.113.7", 80), ("198.51.100.0", 1), ("198.51.100.255", 9),
        ("192.0.2.5", 7), ("192.0.2.6", 7), ("2001:db8::1", 6000), ("2001:db8::1", 6010),
    ]:  # fmt: skip
        assert host.tor.rejects(address, port), (address, port)
    for address, port in [
        ("203.0.113.7", 23), ("203.0.113.8", 22), ("198.51.99.255", 80), ("198.51.101.0", 80),
        ("192.0.2.4", 7), ("192.0.2.7", 7), ("2001:db8::1", 5999), ("2001:db8::2", 6000),
    ]:  # fmt: skip
        assert not host.tor.rejects(address, port), (address, port)


def test_a_port_at_every_address_is_closed_for_both_families(make_host: HostMaker) -> None:
    """`*:22` is one block: refused without --force, live, renewed, checked, lifted."""
    host = make_host(("ExitRelay 1", "IPv6Exit 1", "ExitPolicy accept *:*"))
    before = host.snapshot()
    refused = host.run("block", "*:22", "--until", "1d")
    assert refused.code == 4
    assert "*:22 closes port 22 for every client" in refused.err
    assert "exitpol policy" in refused.err
    assert "Exit flag" in host.run("block", "*:20-443", "--until", "1d").err
    nothing = host.run("block", "*:1-32000,32001-65534", "*:65535", "--until", "1d", "--force")
    assert (nothing.code, "ExitRelay 0" in nothing.err) == (4, True), nothing
    assert host.snapshot() == before

    done = host.run("block", "*:22", "--until", "1d", "--force", "--json")
    assert done.code == 0, done
    assert [(b["destination"], b["state"]) for b in done.json["blocks"]] == [("*:22", "live")]
    assert "\nExitPolicy reject *:22\n" in host.fragment.read_text()
    assert 'destination: "*:22"' in host.ledger.read_text()
    for address in ("203.0.113.7", "2001:db8::1"):
        assert host.tor.rejects(address, 22)
        assert not host.tor.rejects(address, 23)
    checked = host.run("check", "203.0.113.7:22", "[2001:db8::1]:22", "*:22", "--json")
    assert checked.code == 0
    blocks = [block for one in checked.json["results"] for block in one["blocks"]]
    assert blocks == ["*:22"] * 3
    assert host.run("renew", "*:22", "--until", "9d").code == 0
    assert "*:22" in host.run("list").out
    assert host.run("status", "--check").code == 0

    # A narrow block of the same port does not keep the port closed.
    assert host.run("block", "203.0.113.7:22", "--until", "1d").code == 0
    done = host.run("lift", "*:22")
    assert (done.code, done.out.split()) == (0, ["*:22", "lifted"])
    assert not host.tor.rejects("2001:db8::1", 22)
    assert host.tor.rejects("203.0.113.7", 22)
    assert "*:22" in host.run("history", "*:22").out


def test_the_timer_lifts_a_block_on_its_day(make_host: HostMaker) -> None:
    """The first tick after the end removes the block from ledger and Tor."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "4s")
    assert host.tick().out == ""
    assert host.tor.rejects("203.0.113.7")
    time.sleep(4)
    done = host.tick()
    assert (done.code, done.out.splitlines()[0].split()) == (0, ["203.0.113.7", "ended"])
    assert not host.tor.rejects("203.0.113.7")
    assert host.run("list").out == ""
    assert "expire" in host.run("history", "203.0.113.7").out
    assert host.tick().out == ""


def test_a_hand_edit_of_the_ledger_is_taken_up_by_the_tick(make_host: HostMaker) -> None:
    """A line written into the ledger is enforced by the next tick without any command."""
    host = make_host()
    host.ledger.write_text(
        "version: 1\nblocks:\n- {destination: 203.0.113.9, since: 2026-01-01, until: never}\n"
    )
    assert host.tick().code == 0
    assert host.tor.rejects("203.0.113.9")


def test_a_changed_fragment_is_put_right_by_the_tick(make_host: HostMaker) -> None:
    """A foreign edit of the fragment is overwritten, and Tor does not keep it."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "1d")
    good = host.fragment.read_text()
    host.fragment.write_text("ExitPolicy reject *:*\n")
    assert host.tick().code == 0
    assert host.fragment.read_text() == good
    assert not host.tor.rejects("203.0.113.8")


def test_a_policy_set_at_run_time_is_found_and_repaired(make_host: HostMaker) -> None:
    """`status --check` reports the drift; `apply` reports it once more and undoes it."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "1d")
    with host.tor.control() as control:
        control.ask('SETCONF ExitPolicy="accept *:*"')
    wait_until(lambda: not host.tor.rejects("203.0.113.7"))
    status = host.run("status", "--check", "--json")
    assert status.code == 3
    assert status.json["relays"][0]["in_sync"] is False
    assert any("accept *:*" in line for line in status.json["relays"][0]["drift"])
    time.sleep(1.1)
    repaired = host.run("apply")
    assert (repaired.code, "changed at run time" in repaired.err) == (3, True), repaired
    assert host.tor.rejects("203.0.113.7")
    assert host.run("status", "--check").code == 0


def test_nothing_is_reloaded_without_a_change(make_host: HostMaker) -> None:
    """A second apply, an expire with nothing to lift and a repeated block leave Tor alone."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "1d")
    before = host.tor.log().count("Received reload signal")
    assert host.run("apply").out.startswith("nothing to do")
    assert host.run("expire", "--quiet").out == ""
    assert host.run("block", "203.0.113.7", "--until", "1h").code == 0
    assert host.tor.log().count("Received reload signal") == before == 1


def test_blocking_again_keeps_the_later_end(make_host: HostMaker) -> None:
    """The same destination twice is one block, with the later of both ends, and that is said."""
    host = make_host()
    first = host.run("block", "203.0.113.7", "--until", "30d", "--reference", "A")
    assert "later end" not in first.err
    again = host.run("block", "203.0.113.7", "--until", "1d", "--reference", "B")
    assert "203.0.113.7 keeps its later end; to change it: exitpol renew" in again.err
    (block,) = host.run("list", "--json").json["blocks"]
    end = datetime.fromisoformat(block["until"])
    assert end > datetime.now(UTC) + timedelta(days=29)
    assert block["reference"] == "B"


def test_renew_gives_a_sooner_end_and_a_later_one(make_host: HostMaker) -> None:
    """`renew` sets the new end, whether it is earlier or later."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "30d")
    for until in ("2030-01-31", "2031-01-31"):
        assert host.run("renew", "203.0.113.7", "--until", until).code == 0
        (block,) = host.run("list", "--json").json["blocks"]
        assert block["until"] == utc_text(
            datetime.fromisoformat(f"{until}T00:00Z") + timedelta(days=1)
        )


def test_overlapping_blocks_are_independent(make_host: HostMaker) -> None:
    """Lifting a network leaves the block of an address in it in force."""
    host = make_host()
    host.run("block", "203.0.113.0/24", "203.0.113.7", "--until", "1d")
    assert host.fragment.read_text().count("ExitPolicy") == 1
    host.run("lift", "203.0.113.0/24")
    assert host.tor.rejects("203.0.113.7")
    assert not host.tor.rejects("203.0.113.8")


def test_all_blocks_of_a_reference_are_lifted_together(make_host: HostMaker) -> None:
    """`lift --reference` ends the blocks of one complaint and no others."""
    host = make_host()
    host.run("block", "203.0.113.7", "203.0.113.8", "--until", "1d", "--reference", "T#1")
    host.run("block", "203.0.113.9", "--until", "1d", "--reference", "T#2")
    assert host.run("lift", "--reference", "T#1").out.count("lifted") == 2
    assert [b["destination"] for b in host.run("list", "--json").json["blocks"]] == ["203.0.113.9"]
    assert host.run("lift", "--reference", "T#1").code == 9


def test_a_dry_run_shows_the_diff_and_changes_nothing(make_host: HostMaker) -> None:
    """`--dry-run` prints a unified diff of the fragment; every file stays as it was."""
    host = make_host()
    before = host.snapshot()
    done = host.run("block", "203.0.113.7", "--until", "1d", "--dry-run")
    assert done.code == 0
    assert "+ExitPolicy reject 203.0.113.7:*" in done.out.splitlines()
    assert host.snapshot() == before


def test_without_waiting_the_block_is_recorded_and_on_its_way(make_host: HostMaker) -> None:
    """`--no-wait` returns before Tor enforces; the next tick sees that it does."""
    host = make_host()
    done = host.run("block", "203.0.113.7", "--until", "1d", "--no-wait", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (0, "pending")
    wait_until(lambda: host.tor.rejects("203.0.113.7"))
    assert host.tick().code == 0
    assert host.run("list", "--json").json["blocks"][0]["state"] == "live"


def test_what_the_relay_would_not_do_anyway_is_moot(make_host: HostMaker) -> None:
    """With IPv6Exit 0 a block of an IPv6 address is moot, as is one of a private address."""
    host = make_host()
    done = host.run("block", "2001:db8::1", "10.1.2.3", "--until", "1d", "--json")
    assert done.code == 0
    assert [block["state"] for block in done.json["blocks"]] == ["moot", "moot"]
    reasons = ["IPv6Exit 0", "a private address (ExitPolicyRejectPrivate)"]
    assert [cause["reason"] for cause in done.json["moot"]] == reasons
    shown = host.run("status").err
    assert "2001:db8::1 is moot on default: IPv6Exit 0" in shown
    assert "10.1.2.3 is moot on default: a private address" in shown


def test_a_block_of_the_relays_own_address_is_doubted(make_host: HostMaker) -> None:
    """The address that a complaint reports is the exit's own; the block is made, with a warning."""
    local = "ExitPolicyRejectLocalInterfaces 1"
    host = make_host(("ExitRelay 1", "OutboundBindAddress 203.0.113.200", local))
    done = host.run("block", "203.0.113.200:22", "203.0.113.201", "--until", "1d")
    assert done.code == 0
    assert "warning: 203.0.113.200:22 is an address of this host" in done.err
    assert "203.0.113.201 is" not in done.err


def test_check_names_the_rule_and_the_block_behind_it(make_host: HostMaker) -> None:
    """`check` answers from the enforced policy: rejected 0, accepted or partly 3."""
    host = make_host()
    host.run("block", "203.0.113.0/24:22", "--until", "1d")
    done = host.run("check", "203.0.113.7:22", "--json")
    assert done.code == 0
    assert done.json["results"][0]["decided_by"] == {
        "rule": "reject 203.0.113.0/24:22",
        "block": "203.0.113.0/24:22",
    }
    assert host.run("check", "203.0.113.7:80").code == 3
    partly = host.run("check", "203.0.113.7", "--json")
    assert (partly.code, partly.json["results"][0]["verdict"]) == (3, "partly")


def test_destinations_are_read_from_stdin(make_host: HostMaker) -> None:
    """`-` takes one destination a line, with comments; a bad one is named by its line."""
    host = make_host()
    text = "# a list\n203.0.113.7\n\n203.0.113.8:22  # why\n"
    assert host.run("block", "-", "--until", "1d", stdin=text).out.count("live") == 2
    bad = host.run("block", "-", "--until", "1d", stdin="203.0.113.7\nfoo\n")
    assert bad.code == 2
    assert "stdin:2" in bad.err


@pytest.mark.parametrize("reason", ['a"b\\c', "two\nlines\rExitPolicy accept *:*", "é 漢 \u2028"])
def test_a_reason_is_kept_to_the_letter_and_never_reaches_the_torrc(
    make_host: HostMaker, reason: str
) -> None:
    """`list` returns any reason unchanged; the fragment holds only rules."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "--until", "1d", "--reason", reason).code == 0
    assert host.run("list", "--json").json["blocks"][0]["reason"] == reason
    rules = [line for line in host.fragment.read_text().splitlines() if not line.startswith("#")]
    assert rules == ["ExitPolicy reject 203.0.113.7:*"]
