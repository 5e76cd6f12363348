"""`adopt`: reject lines of a torrc become blocks, and Tor enforces them all the time."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exitpolicy.tor import verify
from exitpolicy.tor.invocation import Invocation
from tests.harness.host import ExitHost, HostMaker
from tests.harness.killed import killed_at
from tests.harness.terminal import on_a_terminal
from tests.harness.tor import wait_until

pytestmark = pytest.mark.tor

OWN = (
    "ExitRelay 1",
    "ExitPolicy reject 203.0.113.7:* # SSH brute force",
    "ExitPolicy reject 198.51.100.0/24:22,reject 192.0.2.0/24:*,accept *:80",
    "ExitPolicy reject *:25",
    "ExitPolicy accept *:*",
)
PARTS = 4
"""In how many tests the steps are divided, so that workers end together."""
ADOPTED = ("203.0.113.7", "198.51.100.0", "192.0.2.9")


def enforced_throughout(host: ExitHost, *arguments: str) -> int:
    """Run adopt in a process of its own; see all the time that Tor rejects ADOPTED; return code."""
    running = host.spawn("adopt", *arguments, "--yes")
    while running.poll() is None:
        assert all(rejected(host)), "Tor accepted a line that is moved"
        time.sleep(0.02)
    assert all(rejected(host))
    running.communicate()
    return running.returncode


def rejected(host: ExitHost) -> list[bool]:
    """Tell for each relay and each of ADOPTED whether Tor rejects it at port 22."""
    return [relay.rejects(address, 22) for relay in host.relays for address in ADOPTED]


def test_lines_move_into_the_ledger_and_end_there(make_host: HostMaker) -> None:
    """The diff and the blocks are shown; owner and mode stay; a lift then frees the destination."""
    host = make_host(OWN)
    torrc = host.tor.torrc
    torrc.chmod(0o640)
    os.chown(torrc, 0, 4) if os.geteuid() == 0 else None
    before, attributes = torrc.read_text(), torrc.stat()
    snapshot = host.snapshot()
    policy = host.tor.policy()

    assert host.run("adopt", "--yes").code == 2
    dry = host.run("adopt", "--until", "30d", "--dry-run")
    assert (dry.code, host.snapshot()) == (0, snapshot), dry
    assert "blocked already" not in dry.out
    assert "-ExitPolicy reject 203.0.113.7:* # SSH brute force" in dry.out
    assert "+ExitPolicy accept *:80" in dry.out
    unasked = host.run("adopt", "--until", "30d")
    assert (unasked.code, "--yes" in unasked.err, host.snapshot()) == (2, True, snapshot)

    done = host.run("adopt", "--until", "30d", "--yes")
    assert done.code == 0, done
    assert "'reject *:25' stays: it closes a port at every address" in done.err
    expected = before.replace("ExitPolicy reject 203.0.113.7:* # SSH brute force\n", "").replace(
        "reject 198.51.100.0/24:22,reject 192.0.2.0/24:*,accept", "accept"
    )
    assert torrc.read_text() == expected
    after = torrc.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        attributes.st_mode, attributes.st_uid, attributes.st_gid,
    )  # fmt: skip
    assert sorted(host.tor.policy()) == sorted(policy)
    blocks = {b["destination"]: b for b in host.run("list", "--json").json["blocks"]}
    assert blocks.keys() == {"203.0.113.7", "198.51.100.0/24:22", "192.0.2.0/24"}
    assert {block["state"] for block in blocks.values()} == {"live"}
    assert blocks["203.0.113.7"]["reason"] == "SSH brute force"
    # The own policy is accepted as it is now.
    assert host.run("status", "--check").code == 0

    again = host.run("adopt")
    assert (again.code, again.out) == (0, "no line of the torrc rejects a single destination\n")
    assert host.run("lift", "203.0.113.7").code == 0
    assert not host.tor.rejects("203.0.113.7", 22)
    assert host.run("status", "--check").code == 0


def test_included_files_ends_and_lines_that_cannot_move(make_host: HostMaker) -> None:
    """Each line moves with its own end, or is named with the reason; Tor rejects all the time."""
    host = make_host(("ExitRelay 1", "ExitPolicy accept *:*"))
    extra, foreign, tool = (host.folder / name for name in ("extra", "foreign", "tool"))
    soon = int(time.time()) + 86_400
    extra.write_text(
        f"ExitPolicy reject 203.0.113.7 # {soon}\n"
        "ExitPolicy reject 198.51.100.0/24:22 # until 2020-01-01T00:00:00Z\n"
        "ExitPolicy reject \\\n  192.0.2.0/24:*\n"
        "# kept\n"
        'ExitPolicy "reject 192.0.2.7:1,accept 192.0.2.99:2"\n'
        "ExitPolicy reject 10.0.0.0/8:*,reject private:*\n"
        "ExitPolicy reject 5.0.0.0/8:*\n"
        "ExitPolicy reject 203.0.114.7:*\n"
    )
    foreign.write_text("ExitPolicy reject 203.0.115.7:*\n")
    foreign.chmod(0o666)
    tool.write_text("# managed by puppet\nExitPolicy reject 203.0.116.7:*\n")
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text(
        text.replace(
            "ExitPolicy accept *:*\n",
            f"%include {foreign}\n%include {tool}\nExitPolicy accept 203.0.114.0/24:443\n"
            f"%include {extra}\nExitPolicy accept *:*\n",
        )
    )
    host.tor.reload_and_wait()
    assert all(rejected(host))
    before = host.tor.policy()
    dry = host.run("adopt", "--until", "30d", "--dry-run", "--json").json
    reasons = {f"{Path(one['file']).name}:{one['line']}": one["reason"] for one in dry["kept"]}
    assert "also holds 'accept 192.0.2.99:2'" in reasons["extra:6"]
    assert reasons["extra:7"] == "private addresses"
    assert "wider than a /16" in reasons["extra:8"]
    assert "accepts a part" in reasons["extra:9"]
    assert "others than the user who runs exitpol" in reasons["foreign:1"]
    assert "managed by puppet" in reasons["tool:2"]

    assert enforced_throughout(host, "--until", "30d") == 3
    assert sorted(host.tor.policy()) == sorted(before)
    assert extra.read_text().startswith('# kept\nExitPolicy "reject 192.0.2.7:1')
    blocks = {b["destination"]: b for b in host.run("list", "--json").json["blocks"]}
    assert blocks.keys() == {"203.0.113.7", "198.51.100.0/24:22", "192.0.2.0/24"}
    ends = {one: blocks[one]["until"] for one in blocks}
    assert ends["203.0.113.7"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon))
    assert ends["198.51.100.0/24:22"] == ends["192.0.2.0/24"] > ends["203.0.113.7"]


@pytest.mark.slow
def test_an_edit_made_while_tor_verifies_is_kept(
    make_host: HostMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines stay (8), and another adoption takes them out."""
    host = make_host(OWN)
    verified = verify.verify

    def edit(invocation: Invocation, text: str) -> tuple[str, ...]:
        if "SSH brute force" not in text:
            host.tor.add("# mine")
        return verified(invocation, text)

    with monkeypatch.context() as patched:
        patched.setattr(verify, "verify", edit)
        done = host.run("adopt", "--until", "30d", "--yes")
    assert (done.code, "was changed just now" in done.err) == (8, True), done
    text = host.tor.torrc.read_text()
    assert "# mine\n" in text
    assert "SSH brute force" in text
    assert all(rejected(host))
    assert host.run("adopt", "--yes").code == 0
    assert host.tor.torrc.read_text().endswith("# mine\n")


def test_what_would_be_another_exit_without_the_lines_is_refused(make_host: HostMaker) -> None:
    """With ExitRelay auto the lines are what makes it an exit."""
    host = make_host(("ExitPolicy reject 203.0.113.7:*",))
    before = host.snapshot()
    refused = host.run("adopt", "--until", "30d", "--yes")
    assert (refused.code, "write ExitRelay 1 into" in refused.err) == (4, True), refused
    assert host.snapshot() == before
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.slow
def test_the_policy_of_the_defaults_torrc_does_not_return(make_host: HostMaker) -> None:
    """It counts again once the torrc has no ExitPolicy line of its own: refused (4)."""
    host = make_host(("ExitRelay 1",), start=False, init=False)
    defaults = host.folder / "defaults"
    defaults.write_text("ExitPolicy accept *:80\nExitPolicy reject *:*\n")
    host.config.write_text(
        host.config.read_text().replace("}\n", f', defaults_torrc: "{defaults}"}}\n', 1)
    )
    host.tor.defaults = defaults
    host.tor.add("ExitPolicy reject 203.0.113.7:*")
    host.tor.start()
    assert host.run("init").code == 0
    before = host.snapshot()
    refused = host.run("adopt", "--until", "30d", "--yes")
    assert (refused.code, "defaults-torrc" in refused.err) == (4, True), refused
    assert host.snapshot() == before
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.slow
def test_lines_that_saveconf_left_go_while_their_block_stands(make_host: HostMaker) -> None:
    """The block keeps its end; after that, nothing of it is left."""
    host = make_host(("ExitRelay 1", "ExitPolicy accept *:*"))
    assert host.run("block", "203.0.113.7", "--until", "25s").code == 0
    with host.tor.control() as control:
        control.ask("SAVECONF FORCE")
    assert "reject 203.0.113.7" in host.tor.torrc.read_text()
    assert host.run("init").code in {0, 3}
    found = host.run("doctor")
    assert "exitpol adopt" in found.out + found.err
    done = host.run("adopt", "--yes")
    assert done.code == 0, done
    assert "blocked already: 203.0.113.7  until " in done.out
    assert "203.0.113.7" not in host.tor.torrc.read_text()
    assert host.tor.rejects("203.0.113.7")
    time.sleep(25)
    assert host.tick().code == 0
    assert not host.tor.rejects("203.0.113.7")
    assert host.run("status", "--check").code == 0


@pytest.mark.slow
def test_a_file_of_several_relays_moves_for_all_of_them(make_host: HostMaker) -> None:
    """With --relay it stays, because the other relay would lose the line."""
    options = ("ExitRelay 1", "ExitPolicy accept *:*")
    host = make_host(options, options)
    shared = host.folder / "shared"
    shared.write_text("".join(f"ExitPolicy reject {address}:*\n" for address in ADOPTED))
    for relay in host.relays:
        text = relay.torrc.read_text()
        line = f"%include {shared}\nExitPolicy accept"
        relay.torrc.write_text(text.replace("ExitPolicy accept", line))
        relay.reload_and_wait()
    host.relays[1].torrc.write_text(
        host.relays[1]
        .torrc.read_text()
        .replace("ExitPolicy accept", "ExitPolicy reject 203.0.113.99:22\nExitPolicy accept")
    )
    host.relays[1].reload_and_wait()
    alone = host.run("adopt", "--until", "1d", "--relay", "default", "--yes")
    assert (alone.code, "leave --relay out" in alone.err) == (3, True), alone
    assert shared.stat().st_size
    assert enforced_throughout(host, "--until", "1d") == 0
    assert shared.read_text() == ""
    blocks = {b["destination"]: b["relays"] for b in host.run("list", "--json").json["blocks"]}
    assert blocks == {**{key: [] for key in ADOPTED}, "203.0.113.99:22": ["second"]}


@pytest.mark.slow
def test_it_asks_on_a_terminal(make_host: HostMaker) -> None:
    """The diff stands above the question; anything but yes changes nothing."""
    host = make_host(OWN)
    before = host.snapshot()
    shown = on_a_terminal(host, ["adopt", "--until", "1d"], "Move these 3 rules?", "n", 130)
    assert "-ExitPolicy reject 203.0.113.7:*" in shown
    assert host.snapshot() == before


@pytest.fixture
def interrupted(make_host: HostMaker, tmp_path: Path) -> Callable[[int], bool]:
    """Give a function that kills an adoption before its k-th change of a file.

    It sees that Tor rejects every destination ever after, also after a reload, and that another
    adoption finishes it. It tells whether the first one was killed.
    """
    host = make_host(OWN)
    extra = host.folder / "extra"
    extra.write_text("ExitPolicy reject 203.0.113.200:*\n")
    torrc = host.tor.torrc.read_text().replace(
        "ExitPolicy reject 203.0.113.7", f"%include {extra}\nExitPolicy reject 203.0.113.7"
    )
    host.tor.torrc.write_text(torrc)
    host.tor.reload_and_wait()
    assert host.run("policy", "accept").code == 0
    saved = {path: path.read_bytes() for path in (host.tor.torrc, extra, host.fragment)}
    var = tmp_path / "saved"
    shutil.copytree(host.ledger.parent, var)

    def is_enforced() -> bool:
        return all(rejected(host)) and host.tor.rejects("203.0.113.200")

    def try_one(step: int) -> bool:
        for path, content in saved.items():
            path.write_bytes(content)
        shutil.rmtree(host.ledger.parent)
        shutil.copytree(var, host.ledger.parent)
        host.tor.reload()
        wait_until(is_enforced)
        arguments = ["--config", str(host.config), "adopt", "--until", "30d", "--yes"]
        died, _ = killed_at(step, arguments)
        assert is_enforced(), step
        assert host.tor.verifies().returncode == 0, step
        host.tor.reload()
        time.sleep(1.2)
        assert is_enforced(), step
        assert host.run("apply").code == 0, step
        assert is_enforced(), step
        again = host.run("adopt", "--until", "30d", "--yes")
        assert again.code == 0, (step, again)
        assert is_enforced(), step
        assert extra.read_text() == ""
        assert "203.0.113.7" not in host.tor.torrc.read_text()
        assert len(host.run("list", "--json").json["blocks"]) == 4
        assert host.run("lift", "203.0.113.200").code == 0
        assert not host.tor.rejects("203.0.113.200")
        assert host.run("status", "--check").code == 0
        return died

    return try_one


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_an_adoption_killed_at_each_step_is_finished_by_the_next(
    interrupted: Callable[[int], bool], part: int
) -> None:
    """All steps, until one in which it comes to its end."""
    step = 1 + part
    while interrupted(step):
        step += PARTS
    assert step > 20


@pytest.mark.slow
def test_lines_stay_until_tor_enforces_the_blocks(make_host: HostMaker) -> None:
    """With a foreign change that Tor has not read, the blocks are recorded and the lines stay."""
    host = make_host(("ExitRelay 1", "ExitPolicy accept *:*"))
    extra = host.folder / "extra"
    extra.write_text("ExitPolicy reject 203.0.113.7:*,reject 203.0.113.7:*,reject 10.1.2.3:*\n")
    twice = f"%include {extra}\n" * 2
    before = host.tor.torrc.read_text().replace(
        "ExitPolicy accept", f"{twice}ExitPolicy reject 198.51.100.9:*\nExitPolicy accept"
    )
    host.tor.torrc.write_text(before)
    host.tor.reload_and_wait()
    host.tor.add("Nickname other")
    waiting = host.run("adopt", "--until", "1d", "--yes")
    assert (waiting.code, "the lines of the torrc stay" in waiting.err) == (3, True), waiting
    assert host.tor.torrc.read_text() == f"{before}Nickname other\n"
    assert len(host.run("list", "--json").json["blocks"]) == 2
    host.tor.reload()
    wait_until(lambda: host.run("apply").code == 0)
    done = host.run("adopt", "--yes")
    assert done.code == 0, done
    assert extra.read_text() == "ExitPolicy reject 10.1.2.3:*\n"
    assert host.tor.rejects("203.0.113.7")
    assert host.tor.rejects("198.51.100.9")
    assert "198.51.100.9" not in host.tor.torrc.read_text()
