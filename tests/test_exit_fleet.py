"""Two real exits of a fleet: patterns and groups of relays, and blocks of other hosts."""

from collections.abc import Iterator

import pytest

from tests.harness.host import ExitHost, host_maker

FLEET = """\
fleet:
  host: web1
  relays:
  - {name: default, host: web1, addresses: [198.51.100.7]}
  - {name: second, host: web1, addresses: [198.51.100.8], nickname: quux2}
  - {name: exit3, host: web2, addresses: [198.51.100.9]}
  - {name: default, host: web3, addresses: [198.51.100.10]}
  groups:
    berlin: [second, exit3]
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give the host web1 with its two relays."""
    folder = tmp_path_factory.mktemp("fleet")
    folder.chmod(0o755)
    with host_maker(folder) as make:
        yield make(("ExitRelay 1",), ("ExitRelay 1",), extra=FLEET)


def rejects(host: ExitHost, address: str) -> list[bool]:
    """Tell which relays reject an address."""
    return [tor.rejects(address) for tor in host.relays]


def test_words_block_on_the_relays_that_they_select(fleet: ExitHost) -> None:
    """The ledger keeps the words; each relay enforces what is for it, and the others nothing."""
    done = fleet.run("block", "203.0.113.1", "--until", "1d", "--relay", "sec*", "--json")
    (block,) = done.json["blocks"]
    assert (done.code, block["state"], block["relays"]) == (0, "live", ["sec*"]), done
    assert rejects(fleet, "203.0.113.1") == [False, True]
    # Written by hand, as it comes from another host of the fleet.
    text = fleet.ledger.read_text()
    text += text.splitlines()[-1].replace("203.0.113.1", "203.0.113.2").replace("sec*", "web1/d*")
    text += "\n" + text.splitlines()[-1].replace("203.0.113.2", "203.0.113.3").replace(
        "web1/d*", "berlin"
    )
    fleet.ledger.write_text(f"{text}\n")
    assert fleet.run("apply").code == 0
    assert rejects(fleet, "203.0.113.2") == [True, False]
    assert rejects(fleet, "203.0.113.3") == [False, True]
    listed = fleet.run("list", "--relay", "berlin", "--json").json["blocks"]
    assert {b["destination"]: b["states"] for b in listed} == {
        "203.0.113.1": {"second": "live"},
        "203.0.113.3": {"second": "live"},
    }
    # It goes on on the relay of the other host.
    lifted = fleet.run("lift", "203.0.113.3", "--relay", "second")
    assert (lifted.code, lifted.out.split()) == (0, ["203.0.113.3", "lifted"]), lifted
    assert rejects(fleet, "203.0.113.3") == [False, False]
    (left,) = fleet.run("list", "--relay", "exit3", "--json").json["blocks"]
    assert (left["relays"], left["state"]) == (["exit3"], "elsewhere")
    assert fleet.run("status", "--check").code == 0, "a block of another host is no fault"
    assert fleet.run("lift", "--all", "--yes").code == 3
    assert rejects(fleet, "203.0.113.1") == [False, False]


def test_a_block_of_another_host_is_recorded_and_said_to_be_no_more(fleet: ExitHost) -> None:
    """It is `elsewhere`: 3, because nothing enforces it yet; no Tor is reloaded."""
    before = [tor.log().count("Received reload signal") for tor in fleet.relays]
    done = fleet.run("block", "203.0.113.9", "--until", "1d", "--relay", "web3/default")
    assert done.code == 3
    assert done.out.split()[:2] == ["203.0.113.9", "elsewhere"]
    assert "nothing of it is enforced on this host: 203.0.113.9" in done.err
    assert "type the command on the hosts of the relays (web3)" in done.err
    assert rejects(fleet, "203.0.113.9") == [False, False]
    assert [tor.log().count("Received reload signal") for tor in fleet.relays] == before
    assert fleet.run("apply").code == 0
    assert fleet.tick().code == 0
    recorded = fleet.run("lift", "203.0.113.9", "--no-wait")
    assert (recorded.code, recorded.out.split()) == (0, ["203.0.113.9", "elsewhere"])
    unknown = fleet.run("block", "203.0.113.9", "--until", "1d", "--relay", "exit4")
    assert (unknown.code, "nor the fleet has a relay 'exit4'" in unknown.err) == (2, True)
    nobody = fleet.run("check", "203.0.113.9", "--relay", "exit3")
    assert (nobody.code, "no relay of this host is exit3" in nobody.err) == (2, True)
    policy = fleet.run("policy", "use", "web", "--relay", "second", "--relay", "web2/*")
    assert (policy.code, "no relay of this host is web2/*" in policy.err) == (2, True)


def complain(host: ExitHost, accused: str, victim: str) -> str:
    """Write a complaint, and return its file."""
    mail = host.folder / f"{victim}.eml"
    mail.write_text(
        "From: Ada <a@isp.example>\nSubject: [Ticket ABC-4711] attack\n\n"
        f"Your IP {accused} attacked our server {victim} port 22, SSH brute force.\n"
    )
    return str(mail)


def test_a_complaint_blocks_on_the_relay_that_it_accuses(fleet: ExitHost) -> None:
    """The letter, the history and the ledger name it; the other relay stays open."""
    mail = complain(fleet, "198.51.100.8", "91.201.214.7")
    read = fleet.run("complaint", mail)
    assert "accused     second (host web1)\n" in read.out, read
    done = fleet.run("complaint", mail, "--block", "91.201.214.7:22", "--until", "1d")
    assert (done.code, "  live  " in done.out) == (0, True), done
    assert [tor.rejects("91.201.214.7", 22) for tor in fleet.relays] == [False, True]
    (block,) = fleet.run("list", "--json").json["blocks"]
    assert block["relays"] == ["second"]
    changes = fleet.run("history", "91.201.214.7:22", "--json").json["changes"]
    assert [change["relays"] for change in changes] == [["second"]]
    letter = fleet.run("reply", mail)
    assert "198.51.100.8 is an exit relay" in letter.out
    assert "I have blocked on this exit:\n  91.201.214.7:22 until" in letter.out, letter
    assert letter.out.endswith("Tor exit relay quux2\n")
    assert fleet.run("lift", "--all", "--yes").code == 0


def test_a_complaint_about_another_host_is_recorded_for_it(fleet: ExitHost) -> None:
    """The letter says of no block that it is in force where this host cannot see it."""
    mail = complain(fleet, "198.51.100.9", "91.201.214.9")
    done = fleet.run("complaint", mail, "--block", "91.201.214.9", "--until", "1d")
    assert (done.code, "elsewhere" in done.out) == (3, True), done
    letter = fleet.run("reply", mail)
    assert "198.51.100.9 is an exit relay" in letter.out
    assert "takes effect with the next update:\n  91.201.214.9 until" in letter.out, letter
    assert "what Tor enforces on exit3 (host web2) is known only there" in letter.err
    everywhere = fleet.run(
        *("complaint", mail, "--block", "91.201.214.9", "--until", "1d", "--everywhere")
    )
    assert (everywhere.code, everywhere.out.count("live")) == (0, 1), everywhere
    assert rejects(fleet, "91.201.214.9") == [True, True]
    # The accused relay is still not seen, and neither are some of several.
    assert "I have blocked" not in fleet.run("reply", mail).out
    both = complain(fleet, "198.51.100.8 and your IP 198.51.100.9", "91.201.214.9")
    letter = fleet.run("reply", both)
    assert "198.51.100.8 (quux2)\n  198.51.100.9 (exit3)\n" in letter.out, letter
    assert "I have blocked" not in letter.out
    refused = fleet.run("complaint", both, "--block", "198.51.100.10", "--until", "1d")
    assert (refused.code, "of the relay default (host web3)" in refused.err) == (4, True)
    assert fleet.run("lift", "--all", "--yes").code == 0


def test_a_changed_group_changes_what_is_enforced(fleet: ExitHost) -> None:
    """The tick notices that the config or the file of the fleet has changed."""
    file = fleet.folder / "fleet.yaml"
    file.write_text('groups: {berlin: ["nobody"]}\n')
    before = fleet.config.read_text()
    fleet.config.write_text(before.replace(FLEET, "fleet: fleet.yaml\n"))
    fleet.run("block", "203.0.113.4", "--until", "1d", "--relay", "berlin")
    assert rejects(fleet, "203.0.113.4") == [False, False]
    assert fleet.tick().code == 0
    file.write_text('groups: {berlin: ["sec*"]}\n')
    assert fleet.tick().code == 0
    assert rejects(fleet, "203.0.113.4") == [False, True]
    assert fleet.run("lift", "--all", "--yes").code == 0
    fleet.config.write_text(before)
