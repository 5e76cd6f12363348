"""More than one relay, relays that are no exits, relays that are down or broken."""

import signal
import socket
import time

import pytest

from tests.harness.host import HostMaker
from tests.harness.tor import wait_until


def test_all_relays_of_a_host_enforce_the_same_blocks(make_host: HostMaker) -> None:
    """One fragment, several relays: all are reloaded at the same time and all reject."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",), ("ExitRelay 1",))
    began = time.monotonic()
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    took = time.monotonic() - began
    assert all(tor.rejects("203.0.113.7") for tor in host.relays)
    # Each relay enforces after one second, all at the same time.
    assert took < 10
    reloads = [tor.log().count("Received reload signal") for tor in host.relays]
    assert reloads == [1, 1, 1]


def test_a_block_of_one_relay_leaves_the_others_alone(make_host: HostMaker) -> None:
    """`--relay` blocks and checks on the named relays only; a second block adds its relays."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",), ("ExitRelay 1",))
    done = host.run("block", "203.0.113.7", "--until", "1d", "--relay", "second", "--json")
    assert (done.code, done.json["blocks"][0]["relays"]) == (0, ["second"]), done
    assert done.json["blocks"][0]["state"] == "live"
    assert [tor.rejects("203.0.113.7") for tor in host.relays] == [False, True, False]
    assert host.relays[2].log().count("Received reload signal") == 0
    assert host.run("check", "203.0.113.7").code == 3
    checked = host.run("check", "203.0.113.7", "--relay", "second", "--json")
    assert (checked.code, [r["relay"] for r in checked.json["results"]]) == (0, ["second"])
    assert host.run("list", "--relay", "third").out == ""
    assert "203.0.113.7" in host.run("list", "--relay", "second").out
    # The operator names the block: the letter is that of the relay that has it.
    named = host.run("reply", "203.0.113.7")
    assert "I have blocked on this exit:\n  203.0.113.7 until" in named.out, named
    # All relays have the accused address: its users still reach the destination through others.
    mail = host.folder / "report.eml"
    mail.write_text(
        "From: a@b.example\nSubject: SSH\n\n127.0.0.1 attacked our server 203.0.113.7, SSH.\n"
    )
    answer = host.run("reply", str(mail))
    assert "I have blocked" not in answer.out, answer
    assert "If this is the target, I can block it" in answer.out
    assert "203.0.113.7 is blocked on second only, and not on every relay" in answer.err
    done = host.run("block", "203.0.113.7", "--until", "1d", "--relay", "third", "--json")
    assert done.json["blocks"][0]["relays"] == ["second", "third"]
    assert [tor.rejects("203.0.113.7") for tor in host.relays] == [False, True, True]
    host.run("block", "203.0.113.7", "--until", "1d")
    assert all(tor.rejects("203.0.113.7") for tor in host.relays)
    assert "I have blocked on this exit:" in host.run("reply", str(mail)).out


def test_a_block_is_lifted_on_one_relay_and_goes_on_on_the_others(make_host: HostMaker) -> None:
    """`lift --relay` takes the relay out of the block; without a relay left, the block ends."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.run("block", "203.0.113.7", "198.51.100.9", "--until", "1d")
    done = host.run("lift", "203.0.113.7", "--relay", "second")
    assert (done.code, done.out.split(), done.err) == (0, ["203.0.113.7", "lifted"], "")
    assert [tor.rejects("203.0.113.7") for tor in host.relays] == [True, False]
    blocks = host.run("list", "--json").json["blocks"]
    assert [b["states"] for b in blocks if b["destination"] == "203.0.113.7"] == [
        {"default": "live"}
    ]
    actions = [c["action"] for c in host.run("history", "203.0.113.7", "--json").json["changes"]]
    assert actions == ["block", "relays-changed"], "no letter may say that it was lifted"
    again = host.run("lift", "203.0.113.7", "--relay", "second")
    assert (again.code, "it is for: default" in again.err) == (9, True)
    renewed = host.run("renew", "198.51.100.9", "--until", "2d", "--relay", "second")
    assert (renewed.code, "is also for default" in renewed.err) == (2, True)
    assert host.run("renew", "203.0.113.7", "--until", "2d", "--relay", "default").code == 0
    assert host.run("lift", "--all", "--yes", "--relay", "default").code == 0
    assert [tor.rejects("203.0.113.7") for tor in host.relays] == [False, False]
    assert [tor.rejects("198.51.100.9") for tor in host.relays] == [False, True]
    actions = [c["action"] for c in host.run("history", "203.0.113.7", "--json").json["changes"]]
    assert actions == ["block", "relays-changed", "renew", "lift"]


def test_an_unknown_relay_is_an_error_with_the_known_names(make_host: HostMaker) -> None:
    """Nothing is blocked by a wrong name, and nothing is checked."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    before = host.snapshot()
    for command in (["block", "203.0.113.7", "--until", "1d"], ["check", "203.0.113.7"]):
        done = host.run(*command, "--relay", "thirds")
        assert done.code == 2
        assert "this host has no relay 'thirds'" in done.err
        assert "its relays are: default, second" in done.err
    assert host.snapshot() == before


def test_a_broken_relay_refuses_no_block_of_another(make_host: HostMaker) -> None:
    """Only the relays that a block is for decide whether it is made."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.relays[1].add("NoSuchOption 1")
    done = host.run("block", "203.0.113.7", "--until", "1d", "--relay", "second")
    assert done.code == 5, done
    done = host.run("block", "203.0.113.7", "--until", "1d", "--relay", "default", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (0, "live")
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.slow
def test_a_relay_that_is_down_gives_no_code_to_changes_of_another(make_host: HostMaker) -> None:
    """`block`, `renew` and `lift` of one relay end with its code; the other is in a note."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.run("block", "198.51.100.9", "--until", "1d")
    host.relays[1].stop()
    note = "exitpol: not part of this change: Tor (second) cannot be reached"
    for command in (
        ("block", "203.0.113.7", "--until", "1d", "--relay", "default"),
        # No relay is named: the block is only for the one that runs.
        ("renew", "203.0.113.7", "--until", "2d"),
        ("lift", "203.0.113.7"),
        ("lift", "198.51.100.9", "--relay", "default"),
    ):
        done = host.run(*command)
        assert (done.code, note in done.err) == (0, True), (command, done)
        assert done.out.split()[1] == ("lifted" if command[0] == "lift" else "live")
        assert "error" not in done.err
    assert not host.tor.rejects("198.51.100.9")
    # Changes that are also for the relay that is down, or for it alone.
    both = host.run("block", "203.0.113.7", "--until", "1d", "--json")
    assert (both.code, both.json["problems"][0]["relays"]) == (6, ["second"])
    for command in (
        ("block", "192.0.2.9", "--until", "1d", "--relay", "second"),
        ("renew", "203.0.113.7", "--until", "2d"),
        ("lift", "198.51.100.9"),
    ):
        assert host.run(*command).code == 6, command


def test_a_block_for_two_relays_is_live_on_the_named_one(make_host: HostMaker) -> None:
    """The state of a block also for a relay that is down is that of the relay which was named."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.run("block", "203.0.113.7", "--until", "1d", "--relay", "second")
    host.relays[1].stop()
    done = host.run("block", "203.0.113.7", "--until", "1d", "--relay", "default", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (0, "live"), done
    assert host.run("list", "--json").json["blocks"][0]["states"]["second"] == "unknown"


def test_a_relay_that_is_down_does_not_stop_the_others(make_host: HostMaker) -> None:
    """The others are live, the command says what is missing (6), and a later tick completes it."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.relays[1].stop()
    done = host.run("block", "203.0.113.7", "--until", "1d", "--json")
    assert done.code == 6
    assert done.json["blocks"][0]["state"] == "unknown"
    assert "second" in done.err
    assert host.tor.rejects("203.0.113.7")
    (listed,) = host.run("list", "--json").json["blocks"]
    assert (listed["state"], listed["states"]) == (
        "unknown",
        {"default": "live", "second": "unknown"},
    )
    shown = host.run("list")
    assert "live 1/2" in shown.out
    assert "second: 1 unknown" in shown.err
    host.relays[1].start()
    assert host.relays[1].rejects("203.0.113.7"), "it reads the fragment when it starts"
    assert host.tick().code == 0
    assert host.run("list", "--json").json["blocks"][0]["state"] == "live"


def test_list_says_why_a_block_is_not_enforced(make_host: HostMaker) -> None:
    """A relay that is down, foreign changes, and a limit: each with the relay and the reason."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))

    def said(*arguments: str) -> tuple[str, dict[str, dict[str, str]]]:
        causes = {b["destination"]: b["causes"] for b in host.run("list", "--json").json["blocks"]}
        return host.run("list", *arguments).err, causes

    host.run("block", "203.0.113.7", "--until", "1d")
    assert said()[1] == {"203.0.113.7": {}}
    good = host.relays[1].torrc.read_text()
    host.relays[1].add("ContactInfo someone else")
    assert host.run("block", "203.0.113.8", "203.0.113.9", "--until", "1d").code == 3
    text, causes = said()
    torrc, line = host.relays[1].torrc, len(good.splitlines()) + 1
    reason = (
        "Tor (second) is not reloaded, because that would load other changes of its files that it"
        f" has not read: {torrc}:{line} says ContactInfo someone else, and Tor runs ContactInfo"
    )
    assert f"203.0.113.8, 203.0.113.9 are pending on second: {reason}" in text
    assert list(causes["203.0.113.8"]) == ["second"]
    assert causes["203.0.113.7"] == {}
    host.relays[1].torrc.write_text(good)
    host.ledger.write_text(
        host.ledger.read_text()
        + '- {destination: "100.0.0.0/6", since: "2026-01-01", until: never, relays: [default]}\n'
    )
    assert host.run("apply").code == 3
    text, causes = said("--state", "pending")
    assert "100.0.0.0/6 is pending on default: 100.0.0.0/6 is wider than a /16" in text
    assert causes["203.0.113.8"] == {}
    host.relays[1].stop()
    assert "are unknown on second: no Tor answers at its control port" in said()[0]


def test_check_shows_the_relays_that_answer(make_host: HostMaker) -> None:
    """A relay that is down is reported (6) after the others; if none answers, it is the error."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.run("block", "203.0.113.7", "--until", "1d")
    host.relays[1].stop()
    done = host.run("check", "203.0.113.7")
    assert (done.code, done.out.splitlines()[0].split()[:3]) == (
        6,
        ["default:", "203.0.113.7", "rejected"],
    )
    assert "error: Tor (second) cannot be reached" in done.err
    found = host.run("check", "203.0.113.7", "--json").json
    assert [r["relay"] for r in found["results"]] == ["default"]
    assert [(p["relays"], p["exit_code"]) for p in found["problems"]] == [(["second"], 6)]
    assert host.run("check", "203.0.113.7", "--relay", "default").code == 0
    host.tor.stop()
    assert "error" in host.run("check", "203.0.113.7", "--json").json


def test_with_tor_down_the_block_is_recorded_and_pending(make_host: HostMaker) -> None:
    """Exit code 6, the block in the ledger and in the fragment; live once Tor is up."""
    host = make_host()
    host.tor.stop()
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 6
    assert "cannot be reached" in done.err
    assert [b["state"] for b in host.run("list", "--json").json["blocks"]] == ["unknown"]
    assert "203.0.113.7" in host.fragment.read_text()
    host.tor.start()
    assert host.tick().code == 0
    assert host.run("list", "--json").json["blocks"][0]["state"] == "live"


@pytest.mark.slow
def test_a_tor_that_never_answers_is_known_within_ten_seconds(make_host: HostMaker) -> None:
    """A stopped process accepts the connection and says nothing: recorded, 6, in bounded time."""
    host = make_host()
    host.tor.signal(signal.SIGSTOP)
    began = time.monotonic()
    done = host.run("status", "--check")
    assert time.monotonic() - began < 10
    assert done.code == 6
    assert "does not answer" in done.err
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 6
    assert "203.0.113.7" in host.ledger.read_text()
    host.tor.signal(signal.SIGCONT)
    assert host.tick().code == 0
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.parametrize("command", ["init", "block"])
def test_a_middle_relay_never_becomes_an_exit(make_host: HostMaker, command: str) -> None:
    """With ExitRelay auto and no exit option both refuse (4); nothing is changed on disk."""
    host = make_host((), init=False)
    if command == "block":
        host.ledger.parent.mkdir()
        host.ledger.write_text("version: 1\nblocks: []\n")
        host.fragment.write_text("")
        host.tor.add(f"%include {host.fragment}")
        host.tor.signal(signal.SIGHUP)
    before = host.snapshot()
    arguments = ["init"] if command == "init" else ["block", "203.0.113.7", "--until", "1d"]
    done = host.run(*arguments)
    assert done.code == 4
    assert "no exit" in done.err
    assert "ExitRelay 1" in done.err
    assert host.snapshot() == before
    time.sleep(1.2)
    assert host.tor.policy() == ["reject *:*"]


@pytest.mark.parametrize(
    "options", [("ReducedExitPolicy 1",), ("IPv6Exit 1",), ("ExitPolicy reject *:25",)]
)
def test_lifting_the_last_block_leaves_an_exit_an_exit(
    make_host: HostMaker, options: tuple[str, ...]
) -> None:
    """A relay that is an exit by an option of its own is the same exit before and after."""
    host = make_host(options)
    before = host.tor.rules()
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tor.rejects("203.0.113.7")
    assert host.run("lift", "203.0.113.7").code == 0
    assert host.tor.rules() == before


def test_an_exit_that_is_one_by_our_lines_alone_stops_being_one(make_host: HostMaker) -> None:
    """If the operator's own exit options are gone, the fragment is emptied; lifting works."""
    host = make_host(("ExitPolicy reject *:25",))
    host.run("block", "203.0.113.7", "198.51.100.7", "--until", "1d")
    text = host.tor.torrc.read_text().replace("ExitPolicy reject *:25\n", "")
    host.tor.torrc.write_text(text)
    assert host.run("status", "--check").code == 3
    done = host.run("lift", "203.0.113.7")
    assert done.code == 3
    assert "is not an exit" in done.err
    assert "taken out" in done.err
    assert "ExitPolicy" not in host.fragment.read_text()
    assert host.tor.policy() == ["reject *:*"]
    assert host.run("block", "203.0.113.9", "--until", "1d").code == 4


def test_exitrelay_0_stays_no_exit_and_its_blocks_are_moot(make_host: HostMaker) -> None:
    """With ExitRelay 0 a block has no effect and is called moot."""
    host = make_host(("ExitRelay 0",))
    done = host.run("block", "203.0.113.7", "--until", "1d", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (0, "moot")
    assert [cause["reason"] for cause in done.json["moot"]] == ["ExitRelay 0"]
    assert host.tor.policy() == ["reject *:*"]


def test_a_torrc_broken_by_the_operator_is_never_reloaded(make_host: HostMaker) -> None:
    """Tor's error is shown (5), nothing changes, Tor runs. Once fixed, the block is enforced."""
    host = make_host()
    good = host.tor.torrc.read_text()
    host.tor.add("ExitPolicy reject 1.2.3.999:*")
    before = host.snapshot()
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 5
    assert "1.2.3.999" in done.err
    assert host.snapshot() == before
    assert host.tick().code == 5
    assert host.tor.alive
    assert "Received reload signal" not in host.tor.log()
    host.tor.torrc.write_text(good)
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0


def test_one_broken_torrc_does_not_stop_the_other_relay(make_host: HostMaker) -> None:
    """The good relay enforces; the broken one is named, and is not reloaded."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    host.relays[1].add("Nonsense 1")
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 5
    assert "Nonsense" in done.err
    assert host.tor.rejects("203.0.113.7")
    assert host.relays[1].alive
    assert not host.relays[1].rejects("203.0.113.7")


def test_a_tor_that_dies_in_the_reload_gets_the_former_fragment_back(make_host: HostMaker) -> None:
    """Foreign lines wait. Loaded on demand, they end Tor: the former fragment is restored (5).

    exitpol does not load these files again by itself, not even if Tor runs again.
    """
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "1d")
    good, former = host.tor.torrc.read_text(), host.fragment.read_text()
    # A port that --verify-config does not try, and at which a running Tor exits: it is taken.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host.tor.add(f"ORPort 127.0.0.1:{taken.getsockname()[1]}")
        waiting = host.run("block", "203.0.113.8", "--until", "1d")
        assert (waiting.code, "ORPort" in waiting.err) == (3, True), waiting
        assert "recorded" in waiting.err
        host.ledger.write_text(host.ledger.read_text().replace("203.0.113.8", "203.0.113.9"))
        died = host.run("apply", "--load-foreign")
        assert died.code == 5, died
        assert "203.0.113.9" not in host.fragment.read_text()
        wait_until(lambda: not host.tor.alive)
        host.tor.stop()
        bad = host.tor.torrc.read_text()
        host.tor.torrc.write_text(good)
        host.tor.start()
        host.tor.torrc.write_text(bad)
        again = host.run("apply")
        assert again.code in (3, 5), again
        assert host.tor.alive
    assert "203.0.113.7" in former


def test_a_tor_that_reads_nothing_at_a_reload_is_not_said_to_block(make_host: HostMaker) -> None:
    """With __ReloadTorrcOnSIGHUP 0 the block stays pending and the reason is said."""
    host = make_host(("ExitRelay 1", "__ReloadTorrcOnSIGHUP 0"))
    done = host.run("block", "203.0.113.7", "--until", "1d", "--json")
    assert done.code == 5
    assert done.json["blocks"][0]["state"] == "pending"
    assert "__ReloadTorrcOnSIGHUP" in done.err
    assert not host.tor.rejects("203.0.113.7")


def test_a_tor_off_the_network_is_pending(make_host: HostMaker) -> None:
    """With DisableNetwork Tor has no policy, and no block is called live."""
    host = make_host(("ExitRelay 1", "DisableNetwork 1"), start=False, init=False)
    host.tor.start(with_policy=False)
    host.run("init")
    done = host.run("block", "203.0.113.7", "--until", "1d", "--no-wait", "--json")
    assert done.json["blocks"][0]["state"] == "pending"
    status = host.run("status", "--check", "--json")
    assert status.code == 3
    assert any("DisableNetwork" in line for line in status.json["relays"][0]["drift"])


def test_many_at_once_go_out_together(make_host: HostMaker) -> None:
    """Twelve blocks at the same moment are all live in the end, with fewer reloads than blocks."""
    host = make_host()
    running = [host.spawn("block", f"203.0.113.{n}", "--until", "1d") for n in range(12)]
    for process in running:
        said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "live" in said[0]
    assert all(host.tor.rejects(f"203.0.113.{n}") for n in range(12))
    assert 1 <= host.tor.log().count("Received reload signal") < 12


def test_a_shadowed_block_names_the_accept_that_wins(make_host: HostMaker) -> None:
    """An accept rule above the include is named, and no block is called live."""
    host = make_host(("ExitRelay 1", "ExitPolicy accept 203.0.113.0/24:80"), init=False)
    host.tor.add(f"%include {host.fragment}")
    assert host.run("init").code == 0
    done = host.run("block", "203.0.113.7", "--until", "1d", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (3, "shadowed")
    assert "'accept 203.0.113.0/24:80' is above it" in done.err
    status = host.run("status", "--check", "--json")
    assert (status.code, status.json["shadowed"]) == (
        3,
        {"203.0.113.7": "accept 203.0.113.0/24:80"},
    )


def test_the_tightest_relay_decides_for_all(make_host: HostMaker) -> None:
    """A ledger that fits into one descriptor and not into another is refused (4), by its name."""
    own = [f"ExitPolicy reject 60.{n // 200}.{n % 200}.1:*" for n in range(740)]
    host = make_host(("ExitRelay 1",), ("ExitRelay 1", *own))
    before = host.snapshot()
    done = host.run("block", *(f"203.{n}.113.7" for n in range(150)), "--until", "1d", "--force")
    assert done.code == 4
    assert "relay 'second'" in done.err
    assert host.snapshot() == before


def test_an_include_that_is_gone_or_moved_is_told_to_monitoring(make_host: HostMaker) -> None:
    """While Tor still enforces the block, `status --check` says what its next reload would do."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "1d")
    include, text = f"%include {host.fragment}\n", host.tor.torrc.read_text()
    host.tor.torrc.write_text(text.replace(include, ""))
    gone = host.run("status", "--check")
    assert (gone.code, "does not include" in gone.err) == (8, True)
    host.tor.torrc.write_text(f"{text.replace(include, '')}ExitPolicy accept *:*\n{include}")
    moved = host.run("status", "--check")
    assert (moved.code, "'accept *:*' is above the include" in moved.err) == (8, True)
    assert host.tor.rejects("203.0.113.7")


def test_without_the_include_only_what_tor_enforces_counts(make_host: HostMaker) -> None:
    """A block that the relay's own rule covers stays moot; `list` names that rule, also after it.

    Such a block was counted as live once the include was lost.
    """
    host = make_host(("ExitRelay 1", "ExitPolicy reject 203.0.113.0/24:*"))
    host.run("block", "203.0.113.7", "198.51.100.7", "--until", "1d")
    rule = "203.0.113.7 is moot on default: 'reject 203.0.113.0/24:*' in"
    assert rule in host.run("list").err
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text(text.replace(f"%include {host.fragment}\n", ""))
    host.tor.reload_and_wait()
    status = host.run("status")
    assert "1 pending, 1 moot" in status.out
    assert rule in status.err
    assert host.tick().code == 8
    listed = {b["destination"]: b for b in host.run("list", "--json").json["blocks"]}
    assert listed["203.0.113.7"]["state"] == "moot"
    assert listed["203.0.113.7"]["causes"]["default"].startswith("'reject 203.0.113.0/24:*' in")
    assert listed["198.51.100.7"]["state"] == "pending"
