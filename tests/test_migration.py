"""`init` moves relays from the former single fragment, each to a file of its own.

Real Tors run all the time, and are told to reload at every point at which `init` may be killed.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.host import ExitHost, HostMaker, Outcome
from tests.harness.killed import killed_at
from tests.harness.tor import Tor, wait_until

BLOCKED, OF_SECOND = "203.0.113.7", "203.0.113.9"
PARTS = 4
"""In how many tests the steps are divided, so that workers end together."""


def single(make_host: HostMaker, *more: str) -> ExitHost:
    """Return a host of two relays with one fragment, as a former version set it up."""
    lines = ("ExitRelay 1", *more, "ExitPolicy reject *:25", "ExitPolicy accept *:*")
    host = make_host(lines, lines, init=False, start=False)
    single_ = host.folder / "exitpol.conf"
    for relay in host.relays:
        text = relay.torrc.read_text()
        place = text.index("ExitPolicy reject *:25")
        relay.torrc.write_text(f"{text[:place]}%include {single_}\n{text[place:]}")
    text = host.config.read_text()
    host.config.write_text(
        f"# mine\n{text.replace('fragments: exitpol', 'fragment: exitpol.conf')}"
    )
    host.ledger.parent.mkdir()
    host.ledger.write_text(
        "version: 2\nblocks:\n"
        f'- {{destination: "{BLOCKED}", since: "2026-01-01T00:00:00Z", until: "never"}}\n'
        f'- {{destination: "{OF_SECOND}", since: "2026-01-01T00:00:00Z", until: "never",'
        " relays: [second]}\n"
    )
    single_.write_text("")
    for relay in host.relays:
        relay.start()
    assert host.run("apply").code == 0
    assert all(relay.rejects(BLOCKED) for relay in host.relays)
    return host


def see_moved(host: ExitHost, *relays: Tor) -> None:
    """See that all is as init leaves it: each relay with its own file, the former one empty."""
    for relay in relays or host.relays:
        own = host.folder / "exitpol" / f"{relay.name}.conf"
        text = relay.torrc.read_text()
        assert f"%include {own}\nExitPolicy reject *:25\n" in text
        assert "exitpol.conf" not in text
        assert f"ExitPolicy reject {BLOCKED}:*" in own.read_text().splitlines()
    assert "ExitPolicy" not in (host.folder / "exitpol.conf").read_text()
    assert re.match(
        r"# mine\nledger: .*\nfragments: .*exitpol\"\nrelays:\n", host.config.read_text()
    )


def test_each_relay_gets_a_file_with_its_own_rules(make_host: HostMaker) -> None:
    """Tor rejects the same destinations all the time; a block of one relay goes to that one."""
    host = single(make_host)
    assert host.relays[0].rejects(OF_SECOND), "the shared file had it for both"
    before = [relay.torrc.read_text() for relay in host.relays]
    dry = host.run("init", "--dry-run")
    assert dry.code == 0, dry
    assert f"+%include {host.folder}/exitpol/second.conf" in dry.out
    assert [relay.torrc.read_text() for relay in host.relays] == before
    done = host.run("init")
    assert done.code == 0, done
    see_moved(host)
    assert OF_SECOND not in (host.folder / "exitpol/default.conf").read_text()
    wait_until(lambda: not host.relays[0].rejects(OF_SECOND))
    assert host.relays[1].rejects(OF_SECOND)
    assert "everything is set up" in host.run("init").out
    for relay, old in zip(host.relays, before, strict=True):
        own = f"%include {host.folder}/exitpol/{relay.name}.conf"
        assert relay.torrc.read_text() == old.replace(f"%include {host.folder}/exitpol.conf", own)


@pytest.fixture
def interrupted(make_host: HostMaker) -> Iterator[Callable[[int], bool]]:
    """Give a function that kills a migration at its k-th step, and sees that nothing is lost."""
    host = single(make_host)
    files = [host.config, *(relay.torrc for relay in host.relays), host.folder / "exitpol.conf"]
    before = {path: path.read_bytes() for path in files}
    init = ["--config", str(host.config), "init"]

    def try_one(step: int) -> bool:
        for path, content in before.items():
            path.write_bytes(content)
        for path in sorted((host.folder / "exitpol").glob("*")):
            path.unlink()
        died, _ = killed_at(step, init)
        for relay in host.relays:
            verified = relay.verifies()
            assert verified.returncode == 0, (step, verified.stdout)
            relay.reload()
            assert relay.rejects(BLOCKED), step
        new = f"198.51.100.{step % 256}"
        for command in (("block", new, "--until", "1d"), ("lift", new), ("expire",)):
            done = host.run(*command)
            assert done.code == 0, (step, command, done)
        assert not any(relay.rejects(new) for relay in host.relays), step
        healed = host.run("init")
        assert healed.code == 0, (step, healed)
        see_moved(host)
        for relay in host.relays:
            relay.reload()
            assert relay.alive
            assert relay.rejects(BLOCKED), step
        return died

    yield try_one
    assert all(relay.alive for relay in host.relays)


@pytest.mark.slow
def test_a_migration_killed_at_some_steps_is_finished_by_the_next_init(
    interrupted: Callable[[int], bool],
) -> None:
    """Blocks are added and lifted in between; every Tor survives a reload at each point."""
    for step in (9, 22, 35):
        assert interrupted(step), step


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_migration_killed_at_each_step_is_finished_by_the_next_init(
    interrupted: Callable[[int], bool], part: int
) -> None:
    """All steps, until one in which init comes to its end."""
    step = 1 + part
    while interrupted(step):
        step += PARTS
    assert step > 30


@pytest.mark.slow
def test_a_sandboxed_tor_keeps_its_fragment_until_it_is_stopped(make_host: HostMaker) -> None:
    """Another path would end it at its next reload. The other relay is moved; both block."""
    host = single(make_host, "Sandbox 1")
    boxed = host.relays[0]
    open_ = host.relays[1]
    open_.stop()
    open_.torrc.write_text(open_.torrc.read_text().replace("Sandbox 1\n", ""))
    open_.start()
    before = boxed.torrc.read_text()
    done = host.run("init")
    assert done.code == 0, done
    assert "Sandbox 1" in done.err
    assert "systemctl stop" in done.err
    assert boxed.torrc.read_text() == before
    assert f"%include {host.folder}/exitpol/second.conf" in open_.torrc.read_text()
    assert host.run("block", "203.0.113.11", "--until", "1d").code == 0
    assert host.run("lift", BLOCKED).code == 0
    for relay in host.relays:
        assert relay.rejects("203.0.113.11")
        assert not relay.rejects(BLOCKED)
        assert relay.alive
    boxed.stop()
    done = host.run("init")
    assert done.code in (0, 6), done
    assert f"%include {host.folder}/exitpol/default.conf" in boxed.torrc.read_text()
    boxed.start()
    assert host.run("init").code == 0
    assert "ExitPolicy" not in (host.folder / "exitpol.conf").read_text()
    assert host.run("lift", "203.0.113.11").code == 0
    assert not boxed.rejects("203.0.113.11")
    assert boxed.alive


def refused(done: Outcome) -> bool:
    """Tell whether init has refused to change the torrc of a sandboxed Tor."""
    return done.code == 4 and "has to be restarted" in done.err


def test_init_leaves_no_new_include_behind_a_sandboxed_tor_unasked(make_host: HostMaker) -> None:
    """Without a terminal it refuses (4), and --dry-run says so too; with --yes it goes on."""
    host = make_host(("ExitRelay 1", "Sandbox 1"), init=False)
    before = host.snapshot()
    dry = host.run("init", "--dry-run")
    assert (dry.code, "has to be restarted" in dry.err) == (0, True), dry
    assert refused(host.run("init"))
    assert host.snapshot() == before
    assert not host.ledger.parent.exists()
    assert host.run("init", "--yes", "--json").json["restart"] == ["tor@default.service"]
    assert f"%include {host.fragment}" in host.tor.torrc.read_text()
    assert host.tor.alive
    host.tor.stop()
    host.tor.start()
    assert host.run("block", BLOCKED, "--until", "1d").code == 0
    assert host.tor.rejects(BLOCKED)


@pytest.mark.slow
def test_a_torrc_that_a_tool_writes_keeps_the_former_path(make_host: HostMaker) -> None:
    """The tool would write that path again. When its template names the new one, all goes on."""
    host = single(make_host)
    managed = host.relays[0]
    managed.torrc.write_text(f"# Ansible managed\n{managed.torrc.read_text()}")
    done = host.run("init")
    assert done.code == 0, done
    assert "template" in done.err
    own = host.folder / "exitpol/default.conf"
    assert str(own) not in managed.torrc.read_text()
    assert host.run("lift", BLOCKED).code == 0
    assert not any(relay.rejects(BLOCKED) for relay in host.relays)
    text = managed.torrc.read_text()
    managed.torrc.write_text(text.replace(f"{host.folder}/exitpol.conf", str(own)))
    assert host.run("block", BLOCKED, "--until", "1d").code == 0
    assert host.run("init").code == 0
    see_moved(host, host.relays[1])
    managed.reload()
    assert managed.rejects(BLOCKED)


def test_an_include_in_another_file_is_left_to_the_operator(
    make_host: HostMaker, tmp_path: Path
) -> None:
    """Init names the place and the line to write there."""
    host = single(make_host)
    relay, former = host.relays[0], host.folder / "exitpol.conf"
    (tmp_path / "more").write_text(f"%include {former}\n")
    text = relay.torrc.read_text()
    relay.torrc.write_text(text.replace(f"%include {former}", f"%include {tmp_path}/more"))
    done = host.run("init")
    assert done.code == 0, done
    assert f"{tmp_path}/more:1" in done.err
    assert f"write %include {host.folder}/exitpol/default.conf there" in done.err
    assert host.run("lift", BLOCKED).code == 0
    assert not relay.rejects(BLOCKED)


@pytest.mark.slow
def test_relays_with_one_fragment_have_one_base_policy(make_host: HostMaker) -> None:
    """`policy use --relay` is refused (4); a hand edit gives both the first one's, and says so."""
    host = single(make_host)
    before = host.ledger.read_text()
    done = host.run("policy", "use", "web", "--relay", "second", "--force")
    assert (done.code, "include the same fragment" in done.err) == (4, True), done
    assert host.ledger.read_text() == before
    host.ledger.write_text(
        before.replace("blocks:", "policy: {default: web, second: reduced}\nblocks:")
    )
    done = host.run("apply")
    assert (done.code, "both have that of 'default'" in done.err) == (3, True), done
    for relay in host.relays:
        assert relay.rejects("203.0.113.99", 22)
        assert not relay.rejects("203.0.113.99", 443)
    assert host.run("init").code == 0
    assert host.run("apply").code == 0
    assert host.relays[0].rejects("203.0.113.99", 22)
    assert not host.relays[1].rejects("203.0.113.99", 22), "the reduced policy accepts SSH"
