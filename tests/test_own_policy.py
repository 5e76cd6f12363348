"""The own policy of an exit is a promise: each change of it is reported until it is accepted."""

import json
from pathlib import Path

from tests.harness.host import ExitHost, HostMaker
from tests.harness.tor import wait_until

WEB = (
    "ExitRelay 1",
    "ExitPolicy accept *4:80",
    "ExitPolicy accept *4:443",
    "ExitPolicy reject *:*",
)


def own_policies(host: ExitHost) -> Path:
    """Return the record beside the ledger."""
    return host.ledger.with_name("own_policies.json")


def edit(host: ExitHost, old: str, new: str) -> None:
    """Edit the torrc behind exitpol's back and reload Tor, as another tool would."""
    text = host.tor.torrc.read_text()
    assert old in text
    host.tor.torrc.write_text(text.replace(old, new))
    host.tor.reload_and_wait()


def history(host: ExitHost) -> list[tuple[str, str]]:
    """Return what the history says of own policies."""
    changes = host.run("history", "--json").json["changes"]
    return [(c["action"], c["reason"]) for c in changes if c["action"].startswith("policy")]


def causes(host: ExitHost) -> list[str]:
    """Return the causes that `status` reports."""
    return [finding["cause"] for finding in host.run("status", "--json").json["health"]]


def test_an_edited_policy_is_reported_until_it_is_accepted(make_host: HostMaker) -> None:
    """`status --check`, tick and history report it; `policy accept` ends the report."""
    host = make_host(WEB)
    assert host.run("block", "203.0.113.7", "--until", "1h").code == 0
    assert host.run("status", "--check").code == 0
    edit(host, "ExitPolicy reject *:*", "ExitPolicy accept *4:25\nExitPolicy reject *:*")
    checked = host.run("status", "--check")
    assert checked.code == 3
    assert "now accepted: *:25" in checked.err
    assert "exitpol policy accept" in checked.err
    for is_news in (True, False):
        ticked = host.run("expire", "--quiet")
        assert (ticked.code, ticked.out) == (3, "")
        assert ("now accepted: *:25" in ticked.err) == is_news
    assert history(host) == [("policy-changed", "default: now accepted: *:25")]
    assert causes(host) == ["own_policy_changed"]
    accepted = host.run("policy", "accept")
    assert (accepted.code, accepted.out) == (0, "default: now accepted: *:25\n")
    assert host.run("status", "--check").code == 0
    assert host.run("expire", "--quiet").code == 0
    assert history(host)[1:] == [("policy-accepted", "default: now accepted: *:25")]


def test_a_policy_that_is_put_back_is_no_change_any_more(make_host: HostMaker) -> None:
    """The history records the return once, and each further change once."""
    host = make_host(WEB)
    line = "ExitPolicy accept *4:443"
    for _ in range(2):
        edit(host, line, f"#{line}")
        assert host.run("expire").code == 3
        edit(host, f"#{line}", line)
        assert host.run("expire").code == 0
    said = [reason for _, reason in history(host)]
    assert said == ["default: no longer accepted: *:443", "default: as accepted before"] * 2


def test_a_file_that_is_put_back_is_no_change_at_run_time(make_host: HostMaker) -> None:
    """The tick reloads Tor with the corrected file and reports no change."""
    host = make_host(WEB)
    edit(host, "ExitPolicy accept *4:443", "#ExitPolicy accept *4:443")
    assert host.run("expire").code == 3
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text(text.replace("#ExitPolicy", "ExitPolicy"))
    assert host.run("expire").code == 0
    assert [reason for _, reason in history(host)] == [
        "default: no longer accepted: *:443",
        "default: as accepted before",
    ]


def test_blocks_are_no_change_of_the_own_policy(make_host: HostMaker) -> None:
    """Neither a block nor its lift is reported as a change."""
    host = make_host(WEB)
    for command in (
        ("block", "203.0.113.0/24:443", "--until", "1h"),
        ("lift", "203.0.113.0/24:443"),
    ):
        assert host.run(*command).code == 0
        assert host.run("policy", "accept").out == "default: nothing has changed\n"
        assert host.run("status", "--check").code == 0
    assert history(host) == []


def test_init_and_policy_use_accept(make_host: HostMaker) -> None:
    """A change by the operator with these commands is accepted at once."""
    host = make_host(WEB)
    assert host.run("policy", "use", "reduced", "--force").code == 0
    assert host.run("status", "--check").code == 0
    assert host.run("policy", "use", "none").code == 0
    assert host.run("status", "--check").code == 0
    edit(host, "ExitPolicy accept *4:443\n", "")
    assert host.run("status", "--check").code == 3
    assert host.run("init").code == 0
    assert host.run("status", "--check").code == 0


def test_an_upgraded_installation_records_at_its_first_tick(make_host: HostMaker) -> None:
    """Without a record nothing is reported; the first tick makes one, and then changes are."""
    host = make_host(WEB)
    own_policies(host).unlink()
    assert host.run("status", "--check").code == 0
    assert not own_policies(host).exists()
    assert host.run("expire", "--quiet").code == 0
    assert json.loads(own_policies(host).read_text())["relays"]["default"]["reported"] is None
    edit(host, "ExitPolicy accept *4:80\n", "")
    assert host.run("status", "--check").code == 3


def test_what_is_set_at_run_time_is_reported(make_host: HostMaker) -> None:
    """A policy set with SETCONF is repaired and recorded in the history."""
    host = make_host(WEB)
    with host.tor.control() as control:
        control.ask('SETCONF ExitPolicy="accept *4:25,reject *:*"')
    wait_until(lambda: any("accept *:25" in rule for rule in host.tor.policy()), 10, "*:25")
    checked = host.run("status", "--check")
    assert checked.code == 3
    assert "now accepted: *:25; no longer accepted: *:80,443" in checked.err
    ticked = host.run("expire", "--quiet")
    assert ticked.code == 3
    assert "it was changed at run time: now accepted: *:25" in ticked.err
    assert host.run("status", "--check").code == 0
    assert [reason for _, reason in history(host)] == [
        "default: now accepted: *:25; no longer accepted: *:80,443; set at run time, and repaired"
    ]


def test_a_damaged_record_is_reported_and_can_be_replaced(make_host: HostMaker) -> None:
    """It is not silently replaced by the present policy."""
    host = make_host(WEB)
    for text in (
        "",
        "[]",
        '{"version": 2, "relays": {}}',
        '{"version": 1, "relays": {"default": 1}}',
    ):
        own_policies(host).write_text(text)
        checked = host.run("status", "--check")
        assert checked.code == 8, text
        assert "own_policies.json" in checked.err
        assert own_policies(host).read_text() == text
    assert host.run("expire", "--quiet").code == 8
    assert host.run("policy", "accept").code == 0
    assert host.run("status", "--check").code == 0


def test_accepting_needs_a_tor_that_answers(make_host: HostMaker) -> None:
    """A policy that was not observed cannot be accepted."""
    host = make_host(WEB)
    host.tor.stop()
    done = host.run("policy", "accept", "--json")
    assert done.code == 3
    assert done.json["left_out"] == ["default"]


def test_relays_of_one_host_have_base_policies_of_their_own(make_host: HostMaker) -> None:
    """`policy use`, `show` and `accept` work on the named relay, and on no other."""
    host = make_host(WEB[:1], WEB[:1])
    assert host.run("block", "203.0.113.7:443", "--until", "1h").code == 0
    before = host.relays[1].rules()
    reloads = host.relays[1].log().count("Received reload signal")
    preview = host.run("policy", "use", "web", "--relay", "default", "--dry-run")
    assert (preview.code, "+ExitPolicy accept *:443" in preview.out) == (0, True), preview
    assert host.run("policy", "use", "web", "--relay", "default").code == 0
    assert 'policy: {"default": "web"}' in host.ledger.read_text()
    assert host.relays[0].rejects("203.0.113.8", 25)
    assert host.relays[0].rejects("203.0.113.7", 443)
    assert not host.relays[1].rejects("203.0.113.8", 22)
    assert host.relays[1].rules() == before
    assert host.relays[1].log().count("Received reload signal") == reloads
    assert host.run("status", "--check").code == 0
    shown = {r["relay"]: r for r in host.run("policy", "show", "--json").json["relays"]}
    assert (shown["default"]["base"], shown["second"]["base"]) == ("web", None)
    rules = shown["default"]["rules"]
    accepted = [rule for rule in rules if rule.startswith("accept")]
    assert accepted == ["accept *4:80", "accept *4:443"], rules
    assert rules[-1] == "reject *4:*"
    assert not any("203.0.113.7" in rule for rule in shown["default"]["rules"])
    assert "second" not in host.run("policy", "show", "--relay", "default").out
    used = host.run("policy", "list", "--json").json
    assert (used["used"], used["used_by"]) == (None, {"default": "web"})
    # Both relays are changed by others; one change is accepted.
    for relay in host.relays:
        relay.add("ExitPolicy reject *:8443")
        relay.reload_and_wait()
    assert host.run("policy", "accept", "--relay", "second").out.startswith("second: ")
    causes = {f["check"] for f in host.run("status", "--json").json["health"]}
    assert all("second" not in check for check in causes), causes
    # A relay that is down does not keep another from its policy.
    host.relays[1].stop()
    done = host.run("policy", "use", "none", "--relay", "default")
    assert (done.code, "not part of this change: Tor (second)" in done.err) == (0, True), done
    assert "policy" not in host.ledger.read_text()
    assert host.run("policy", "show", "--relay", "second").code == 6
    assert host.run("policy", "use", "web", "--relay", "third").code == 2
    assert host.run("policy", "show", "web", "--relay", "default").code == 2
