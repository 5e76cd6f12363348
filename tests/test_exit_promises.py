"""Promises that hold whatever the state of a relay, a hand edit or another block."""

import json
import time
from pathlib import Path

import pytest

from tests.harness.host import ExitHost, HostMaker, Outcome
from tests.harness.hostile_control import HostileControl
from tests.harness.tor import wait_until

OLD = 'since: "2026-01-01T00:00:00Z", until: "never"'


def history(host: ExitHost) -> list[tuple[str, str]]:
    """Return action and destination of each line of the history."""
    lines = (host.ledger.parent / "history.jsonl").read_text().splitlines()
    return [(entry["action"], entry["destination"]) for entry in map(json.loads, lines)]


def add_by_hand(host: ExitHost, *destinations: str) -> None:
    """Write blocks into the ledger with an editor."""
    lines = [f'- {{destination: "{destination}", {OLD}}}\n' for destination in destinations]
    text = host.ledger.read_text().replace("blocks: []", "blocks:")
    host.ledger.write_text(text + "".join(lines))


def test_a_hand_edit_beyond_the_descriptor_stops_no_end(make_host: HostMaker) -> None:
    """What fits is installed, the rest is named; lifting and expiry work; the history is true."""
    host = make_host()
    host.run("block", "203.0.113.7", "203.0.113.9", "--until", "1d")
    add_by_hand(host, *(f"11.{n // 250}.{n % 250}.77" for n in range(1000)))
    done = host.run("apply", "--json")
    assert done.code == 3
    states = list(done.json["blocks"].values())
    assert states.count("live") > 700
    assert states.count("pending") > 100
    assert "not installed: 11." in done.err
    lifted = host.run("lift", "203.0.113.9")
    assert "lifted" in lifted.out
    assert not host.tor.rejects("203.0.113.9")
    assert ("lift", "203.0.113.9") in history(host)
    assert host.tor.rejects("203.0.113.7")
    refused = host.run("block", "12.0.0.1", "12.0.0.3", "--until", "1d")
    assert refused.code == 4
    assert "relay 'default'" in refused.err
    assert "12.0.0.1" not in host.ledger.read_text()


def test_hand_edits_are_held_to_the_limits_of_commands(make_host: HostMaker) -> None:
    """Protected and too wide blocks are not installed but named; --force is remembered."""
    host = make_host(extra="protected: [198.51.100.0/24]\n")
    assert host.run("block", "198.51.0.0/16", "--until", "1d", "--force").code == 4
    assert host.run("block", "204.0.0.0/15", "--until", "1d", "--force").code == 0
    add_by_hand(host, "198.51.100.7", "206.0.0.0/8", "203.0.113.7")
    done = host.tick()
    assert done.code == 3
    assert "198.51.100.7 is protected" in done.err
    assert "206.0.0.0/8 is wider" in done.err
    assert host.tor.rejects("203.0.113.7")
    assert host.tor.rejects("204.1.2.3")
    assert not host.tor.rejects("198.51.100.7")
    assert not host.tor.rejects("206.1.2.3")


def test_lifted_is_not_said_of_what_is_still_rejected(make_host: HostMaker) -> None:
    """A wider block and a line of the torrc are named, with exit code 3."""
    host = make_host(("ExitRelay 1", "ExitPolicy reject 192.0.2.7:*"))
    blocked = host.run("block", "192.0.2.7", "--until", "1d", "--json")
    assert blocked.json["blocks"][0]["state"] == "moot"
    assert f"{host.tor.torrc}:" in blocked.json["moot"][0]["reason"]
    own = host.run("lift", "192.0.2.7")
    assert (own.code, f"{host.tor.torrc}:" in own.err) == (3, True), own
    host.run("block", "203.0.113.0/24", "203.0.113.7", "--until", "1d")
    inner = host.run("lift", "203.0.113.7")
    assert (inner.code, "another block covers it: 203.0.113.0/24" in inner.err) == (3, True), inner
    assert host.run("lift", "203.0.113.0/24").code == 0


def test_a_policy_in_the_defaults_torrc_is_never_replaced(make_host: HostMaker) -> None:
    """A block is refused (4) with the lines to copy; a hand edit waits; nothing is opened."""
    host = make_host(start=False, init=False)
    host.tor.defaults = host.folder / "defaults"
    host.tor.defaults.touch()
    host.tor.start()
    assert host.run("init").code == 0
    host.tor.defaults.write_text("ExitPolicy accept *:443\nExitPolicy reject *:*\n")
    host.tor.reload_and_wait()
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 4
    assert "ExitPolicy accept *:443" in done.err
    add_by_hand(host, "203.0.113.7")
    assert host.run("apply").code == 3
    assert not host.tor.rejects("198.51.100.1", 443)
    assert host.tor.rejects("198.51.100.1", 6667)


def test_a_removal_waits_for_foreign_lines_but_leaves_the_fragment(make_host: HostMaker) -> None:
    """The block is `lifting` (3) until the operator has loaded the other changes."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "1d")
    host.tor.add("Nickname another")
    done = host.run("lift", "203.0.113.7", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (3, "lifting")
    assert "Nickname" in done.err
    assert "203.0.113.7" not in host.fragment.read_text()
    assert host.tor.rejects("203.0.113.7")
    assert ("lift", "203.0.113.7") in history(host)
    assert host.run("apply", "--load-foreign").code == 0
    assert not host.tor.rejects("203.0.113.7")


@pytest.mark.parametrize("spoil", ["Nonsense 1", "ExitPolicy reject 300.0.0.1:*"])
def test_a_broken_relay_with_its_own_fragment_stops_nothing_on_the_others(
    make_host: HostMaker, tmp_path: Path, spoil: str
) -> None:
    """The other relay blocks and lifts; the broken one loses the rule from its fragment, too."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",), init=False)
    text = host.config.read_text().replace("fragments: exitpol", "fragments: fragments")
    host.config.write_text(text)
    (tmp_path / "fragments").mkdir(mode=0o755)
    assert host.run("init").code == 0
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.relays[1].rejects("203.0.113.7")
    host.relays[1].add(spoil)
    assert host.run("block", "203.0.113.8", "--until", "1d").code == 5
    assert host.tor.rejects("203.0.113.8")
    lifted = host.run("lift", "203.0.113.7")
    assert lifted.code == 5
    assert not host.tor.rejects("203.0.113.7")
    assert "203.0.113.7" not in (tmp_path / "fragments" / "second.conf").read_text()
    assert host.relays[1].alive


def test_live_is_not_taken_from_an_observation_of_the_future(make_host: HostMaker) -> None:
    """After a state written with a fast clock, `block` says live only after observing Tor."""
    host = make_host()
    host.run("block", "203.0.113.7", "--until", "30d")
    text = host.state.read_text().splitlines()
    ahead = [f"applied {time.time() + 7200:.3f}" if s.startswith("applied ") else s for s in text]
    host.state.write_text("\n".join(ahead) + "\n")
    with host.tor.control() as control:
        control.ask('SETCONF ExitPolicy="accept *:*"')
    time.sleep(1.5)
    assert not host.tor.rejects("203.0.113.7")
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.parametrize("form", ["{}", "{}/../own/a*.conf", "{}/"])
def test_a_tick_sees_an_exit_that_stops_being_one_in_an_included_file(
    make_host: HostMaker, tmp_path: Path, form: str
) -> None:
    """The fragment is emptied at the next tick, wherever the operator's own lines stood."""
    folder = tmp_path / "own"
    folder.mkdir()
    own = folder / "a.conf"
    own.write_text("ExitPolicy accept *:443\nExitPolicy reject *:*\n")
    host = make_host((f"%include {form.format(own if form == '{}' else folder)}",))
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tick() == Outcome(0, "", "")
    own.write_text("")
    host.tor.reload()
    wait_until(lambda: not host.tor.rejects("198.51.100.1", 6667))
    assert host.tick().code == 3
    assert host.tor.policy() == ["reject *:*"]


def test_a_tick_sees_a_new_file_in_an_included_folder(make_host: HostMaker, tmp_path: Path) -> None:
    """A file that the torrc includes from now on changes the meaning of a block."""
    folder = tmp_path / "own"
    folder.mkdir()
    host = make_host(("ExitRelay 1", f"%include {folder}/*.conf"))
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tick() == Outcome(0, "", "")
    (folder / "late.conf").write_text("ExitPolicy reject 198.51.100.0/24:*\n")
    assert host.tick().code == 3, "a change of the own policy is reported"
    assert host.tor.rejects("198.51.100.1")


def test_a_tick_sees_a_policy_that_comes_into_the_defaults_torrc(make_host: HostMaker) -> None:
    """It is replaced by the rules of exitpol, which are therefore taken out at the next tick."""
    host = make_host(("ExitRelay 1",), start=False, init=False)
    defaults = host.tor.folder / "defaults"
    defaults.write_text("")
    host.tor.defaults = defaults
    host.tor.start()
    assert host.run("init").code == 0
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    defaults.write_text("ExitPolicy accept *:443\nExitPolicy reject *:*\n")
    host.tor.stop()
    host.tor.start()
    assert not host.tor.rejects("198.51.100.1", 6667), "the rules of exitpol replace the defaults"
    assert host.tick().code == 3
    assert host.tor.rejects("198.51.100.1", 6667)


def test_a_tick_sees_that_tor_was_started_anew(make_host: HostMaker) -> None:
    """A Tor that was started with other options is observed at the next tick."""
    host = make_host(("ExitRelay 1",))
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tick() == Outcome(0, "", "")
    before = host.state.read_text()
    host.tor.stop()
    host.tor.start()
    host.tick()
    assert host.state.read_text() != before


def test_list_shows_what_a_relay_enforces_after_its_end(make_host: HostMaker) -> None:
    """A lifted block is `lifting` in the list until every relay has read its removal."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",))
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    good = host.relays[1].torrc.read_text()
    host.relays[1].add("Nonsense 1")
    assert host.run("lift", "203.0.113.7").code == 5
    assert [b["state"] for b in host.run("list", "--json").json["blocks"]] == ["lifting"]
    assert "lifting" in host.run("list").out
    host.relays[1].torrc.write_text(good)
    assert host.tick().code == 0
    assert host.run("list", "--json").json["blocks"] == []


def test_a_data_directory_that_is_not_loaded_is_named_as_the_cause(make_host: HostMaker) -> None:
    """The cookie is sought in the new folder: the message says why, and what to do (6)."""
    host = make_host()
    good = host.tor.torrc.read_text()
    other = host.folder / "other-data"
    other.mkdir(mode=0o700)
    host.tor.torrc.write_text(good.replace(f"{host.tor.folder}/data", str(other)))
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 6, done
    assert f"{host.tor.torrc} was changed after Tor was started" in done.err
    assert "if DataDirectory or CookieAuthFile was changed, take that back, or restart" in done.err
    host.tor.torrc.write_text(good)
    assert host.run("apply").code == 0
    assert host.tor.rejects("203.0.113.7")


def test_who_does_not_say_what_it_runs_is_no_changed_data_directory(make_host: HostMaker) -> None:
    """A fake that answers nothing to config-text is named; no restart of Tor is advised."""
    host = make_host()
    host.tor.stop()
    address = str(host.tor.control_socket)
    with HostileControl(lambda _: None, "NEVER", address, str(host.tor.torrc)):
        done = host.run("apply")
    assert done.code == 6, done
    assert "does not say what it runs" in done.err
    assert "restart Tor" not in done.err


MISTAKES = {
    "a destination": '- {destination: "203.0.113.300", since: "2026-01-01", until: never}',
    "an unknown key": '- {destination: "203.0.113.8", since: "2026-01-01", colour: red}',
    "a conflict of a merge": "<<<<<<< HEAD",
    "no YAML": "- {destination",
    "a base policy": "policy: nosuch",
}


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(text, id=name, marks=() if name == "an unknown key" else pytest.mark.slow)
        for name, text in MISTAKES.items()
    ],
)
def test_a_mistake_in_the_ledger_stops_no_end(make_host: HostMaker, mistake: str) -> None:
    """The tick says file and line once (8 each time); what the ledger named before ends on time."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "--until", "4s").code == 0
    assert host.run("block", "203.0.113.9", "--until", "1d").code == 0
    good = host.ledger.read_text()
    host.ledger.write_text(f"{good}{mistake}\n")
    time.sleep(4)
    before = host.ledger.read_bytes()
    for is_news in (True, False):
        done = host.tick()
        assert (done.code, f"{host.ledger}:" in done.err) == (8, is_news), done
        assert not host.tor.rejects("203.0.113.7")
        assert host.tor.rejects("203.0.113.9"), "what has not ended stays"
    assert host.ledger.read_bytes() == before
    assert host.run("status", "--check").code == 8
    host.ledger.write_text(good)
    assert host.tick().code == 0
    assert ("expire", "203.0.113.7") in history(host)
    assert host.run("lift", "203.0.113.9").code == 0


@pytest.mark.parametrize("content", [None, "", "version: 3\nblocks: []\n"])
def test_blocks_end_without_a_ledger_that_can_be_read(
    make_host: HostMaker, content: str | None
) -> None:
    """A ledger that is gone, empty or of a newer exitpol keeps no block for ever."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "--until", "3s").code == 0
    if content is None:
        host.ledger.unlink()
    else:
        host.ledger.write_text(content)
    time.sleep(3)
    assert host.tick().code == 8
    assert not host.tor.rejects("203.0.113.7")


def test_a_block_that_is_deleted_by_hand_is_no_change_of_the_own_policy(
    make_host: HostMaker,
) -> None:
    """Its rule goes, and nobody is said to have changed the policy of the relay."""
    host = make_host()
    assert (
        host.run("block", "203.0.113.7", "198.51.100.1", "198.51.100.9", "--until", "1d").code == 0
    )
    for gone in ("198.51.100.1", "203.0.113.7"):
        lines = host.ledger.read_text().splitlines(keepends=True)
        host.ledger.write_text("".join(line for line in lines if f'"{gone}"' not in line))
        done = host.tick()
        assert (done.code, done.err) == (0, ""), done
        assert not host.tor.rejects(gone)
    assert host.tor.rejects("198.51.100.9")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o000, 0o666, 0o777])
def test_the_next_tick_restores_the_mode_of_the_fragment(make_host: HostMaker, mode: int) -> None:
    """One that Tor cannot read ends it at the next reload; one that all can write is no policy."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tick() == Outcome(0, "", "")
    host.fragment.chmod(mode)
    assert host.run("status", "--check").code == 3
    assert host.tick().code == 0
    group_write = 0o020  # The operator's own choice.
    assert host.fragment.stat().st_mode & 0o777 & ~group_write == 0o644


def test_a_tick_observes_again_after_a_change_of_mode(make_host: HostMaker) -> None:
    """A torrc whose mode alone was changed may be one that Tor can no longer read."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    before = host.state.read_text()
    host.tor.torrc.chmod(0o600)
    host.tick()
    assert host.state.read_text() != before


def test_the_end_of_a_block_names_a_line_that_still_rejects(
    make_host: HostMaker, tmp_path: Path
) -> None:
    """`ended` alone would say that the destination is accepted again (3)."""
    own = tmp_path / "own"
    own.write_text("ExitPolicy reject 203.0.113.7:*\nExitPolicy reject 198.51.100.0/24:*\n")
    host = make_host(("ExitRelay 1", f"%include {own}"))
    host.run("block", "203.0.113.7", "198.51.100.3", "192.0.2.1", "--until", "3s")
    time.sleep(3)
    done = host.tick()
    assert done.code == 3, done
    assert (
        f"203.0.113.7 is still rejected on default: 'reject 203.0.113.7:*' in {own}:1" in done.err
    )
    assert f"198.51.100.3 is still rejected on default: 'reject 198.51.100.0/24:*' in {own}:2" in (
        done.err
    )
    assert "192.0.2.1 is still" not in done.err
    host.run("block", "203.0.113.7", "--until", "2s")
    time.sleep(2)
    done = host.run("expire", "--json")
    assert done.code == 3
    assert [c["destination"] for c in done.json["still_rejected"]] == ["203.0.113.7"]
