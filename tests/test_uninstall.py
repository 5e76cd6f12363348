"""`init --remove` leaves a host as it was before `init`, and hurts no Tor on the way.

Real Tors run all the time, and are told to reload wherever the command may be killed.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exitpolicy.storage.locks import report_lock_path
from tests.evidence import Thing, record
from tests.harness.host import ExitHost, HostMaker
from tests.harness.killed import killed_at
from tests.harness.terminal import on_a_terminal
from tests.harness.tor import wait_until
from tests.harness.without_control import start, without_control

pytestmark = pytest.mark.tor
THING = Thing.REMOVALS

BLOCKED = "203.0.113.7"
OWN = ("ExitRelay 1", "ExitPolicy reject *:25", "ExitPolicy accept *:*")
PARTS = 4
"""In how many tests the steps are divided, so that workers end together."""


@pytest.fixture
def set_up(make_host: HostMaker) -> Callable[..., ExitHost]:
    """Give a function that sets up a host with one block, and knows how its torrcs were."""

    def make(*relays: tuple[str, ...]) -> ExitHost:
        host = make_host(*(relays or (OWN,)), init=False)
        for relay in host.relays:
            shutil.copy2(relay.torrc, relay.torrc.with_name("torrc.before"))
        assert host.run("init").code == 0
        assert host.run("block", BLOCKED, "--until", "1d", "--reason", "SSH").code == 0
        assert all(relay.rejects(BLOCKED) for relay in host.relays)
        return host

    return make


def see_removed(host: ExitHost) -> None:
    """See that each torrc is as it was, that Tor runs it, and that no fragment is left."""
    for relay in host.relays:
        before = relay.torrc.with_name("torrc.before")
        assert relay.torrc.read_bytes() == before.read_bytes()
        assert relay.torrc.stat().st_mode == before.stat().st_mode
        assert not relay.rejects(BLOCKED)
        relay.reload()
        assert relay.alive
    assert not host.fragment.parent.exists()


def test_everything_is_as_it_was_before_init(set_up: Callable[..., ExitHost]) -> None:
    """Two relays, one without an own policy. The blocks end, and nothing of exitpol is left."""
    host = set_up(OWN, ("ExitRelay 1",))
    assert host.run("handle", str(host.config), "--list").code == 0
    # What following a name, and a fleet, leave beside the ledger.
    for name in ("follow.json", ".follow.lock", ".guard.lock", "last_taken.yaml", ".fleet.lock"):
        host.ledger.with_name(name).touch()
    done = host.run("init", "--remove", "--purge", "--yes")
    assert done.code == 0, done
    see_removed(host)
    assert sorted(path.name for path in host.folder.iterdir()) == ["default", "second"]
    assert f"ends: {BLOCKED}  until" in done.out
    shown = done.out.partition("the exit policy of default without exitpol:\n")[2]
    assert "    reject *:25\n    accept *:*\n    now accepted: 203.0.113.7:" in shown


def test_blocks_do_not_end_unasked(set_up: Callable[..., ExitHost]) -> None:
    """Without a terminal it refuses (4) and names them; --dry-run shows the same."""
    host = set_up()
    before = host.snapshot()
    refused = host.run("init", "--remove")
    assert (refused.code, f"1 block in force would end: {BLOCKED}" in refused.err) == (4, True)
    dry = host.run("init", "--remove", "--dry-run")
    assert (dry.code, "exitpol init --remove --yes" in dry.err) == (0, True), dry
    assert "exitpol: error" not in dry.err, "nothing failed"
    assert f"-%include {host.fragment}\n" in dry.out
    assert f"{host.fragment} would be deleted\n" in dry.out
    seen = host.run("init", "--remove", "--dry-run", "--json").json
    assert seen["edited"] == [str(host.tor.torrc)]
    assert seen["deleted"] == [str(host.fragment)]
    assert seen["ending"][0]["destination"] == BLOCKED
    assert seen["relays"][0]["policy"][-2:] == ["reject *:25", "accept *:*"]
    assert seen["problems"][0]["exit_code"] == 4
    assert host.snapshot() == before
    assert host.tor.rejects(BLOCKED)


def test_the_ledger_stays_without_purge(set_up: Callable[..., ExitHost]) -> None:
    """Init sets up the same again, with the blocks; without them in force nothing is asked."""
    host = set_up()
    done = host.run("init", "--remove", "--yes")
    assert done.code == 0, done
    see_removed(host)
    assert "exitpol init sets all up again" in done.err
    for command in (("list",), ("status",), ("lift", BLOCKED), ("doctor",), ("block", "*:25")):
        nothing = host.run(*command, *(["--until", "1d"] if command[0] == "block" else []))
        said = nothing.out + nothing.err
        assert (nothing.code, "exitpol is not set up on this host" in said) == (8, True), nothing
        assert "exitpol init\n" in said
    assert "pending" not in host.run("doctor").out
    again = host.run("init", "--remove")
    assert (again.code, again.out) == (0, "nothing of exitpol is set up here\n"), again
    assert host.run("init").code == 0
    wait_until(lambda: host.tor.rejects(BLOCKED))
    assert host.run("lift", BLOCKED).code == 0
    assert host.run("init", "--remove").code == 0
    see_removed(host)
    actions = [change["action"] for change in host.run("history", "--json").json["changes"]]
    assert actions == ["block", "remove", "resume", "lift"]


def test_a_base_policy_ends_only_with_force(set_up: Callable[..., ExitHost]) -> None:
    """Without it the exit would be wider open than anybody has decided."""
    host = set_up(("ExitRelay 1",))
    assert host.run("policy", "use", "reduced").code == 0
    before = host.snapshot()
    for command in (("--yes",), ("--yes", "--purge")):
        refused = host.run("init", "--remove", *command)
        assert refused.code == 4, refused
        assert "the base policy 'reduced' ends" in refused.err
        assert "now accepted: *:" in refused.err
        assert "--force" in refused.err
    assert host.snapshot() == before
    done = host.run("init", "--remove", "--yes", "--force")
    assert done.code == 0, done
    see_removed(host)


@pytest.mark.slow
def test_the_base_policy_of_one_relay_ends_only_with_force(
    set_up: Callable[..., ExitHost],
) -> None:
    """The other relays have none, and yet nothing is changed before that is accepted."""
    host = set_up(OWN, ("ExitRelay 1",))
    assert host.run("policy", "use", "reduced", "--relay", "second").code == 0
    before = host.snapshot()
    refused = host.run("init", "--remove", "--yes")
    assert refused.code == 4, refused
    assert "leaves the relay 'second' with its own lines" in refused.err
    assert host.snapshot() == before


def test_a_base_policy_that_opens_nothing_ends_like_blocks(set_up: Callable[..., ExitHost]) -> None:
    """It is the policy that Tor has without it."""
    host = set_up(("ExitRelay 1",))
    assert host.run("policy", "use", "default").code == 0
    done = host.run("init", "--remove", "--yes")
    assert done.code == 0, done
    see_removed(host)


def test_an_invalid_ledger_does_not_keep_exitpol_there(set_up: Callable[..., ExitHost]) -> None:
    """What ends is known from what it said when it was valid; else --force is needed."""
    host = set_up()
    host.ledger.write_text("version: 2\nblocks: what\n")
    assert BLOCKED in host.run("init", "--remove").err
    host.ledger.with_name("last_valid.yaml").unlink()
    refused = host.run("init", "--remove", "--yes")
    assert (refused.code, "not known what ends" in refused.err) == (4, True), refused
    assert host.run("init", "--remove", "--yes", "--force").code == 0
    see_removed(host)


def test_a_foreign_change_is_not_loaded(set_up: Callable[..., ExitHost]) -> None:
    """The fragment stays (3) until the operator has reloaded Tor, as --dry-run says before."""
    host = set_up()
    for path in (host.tor.torrc, host.tor.torrc.with_name("torrc.before")):
        path.write_text(path.read_text().replace("Nickname alone", "Nickname other"))
    foreseen = host.run("init", "--remove", "--dry-run")
    assert "Nickname other" in foreseen.err
    assert f"{host.fragment} stays" in foreseen.err
    assert "would be deleted" not in foreseen.out
    done = host.run("init", "--remove", "--yes")
    assert done.code == 3, done
    assert "Nickname other" in done.err
    assert f"{host.fragment} stays" in done.err
    assert host.tor.torrc.read_bytes() == host.tor.torrc.with_name("torrc.before").read_bytes()
    assert host.tor.rejects(BLOCKED)
    assert BLOCKED in host.fragment.read_text()
    assert host.run("init", "--remove").code == 3
    host.tor.reload()
    assert '"remove"' not in host.ledger.with_name("history.jsonl").read_text()
    done = host.run("init", "--remove")
    assert done.code == 0, done
    see_removed(host)
    assert '"remove"' in host.ledger.with_name("history.jsonl").read_text()


@pytest.mark.parametrize("knows", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_sandboxed_tor(make_host: HostMaker, *, knows: bool) -> None:
    """It may read fewer files than at its start; whether it knows the fragment does not matter."""
    host = make_host(("Sandbox 1", *OWN), init=False)
    shutil.copy2(host.tor.torrc, host.tor.torrc.with_name("torrc.before"))
    host.run("init", "--yes")
    if knows:
        host.tor.stop()
        host.tor.start()
        assert host.run("block", BLOCKED, "--until", "1d").code == 0
    done = host.run("init", "--remove", "--yes")
    assert done.code == 0, done
    see_removed(host)


def test_a_stopped_tor_needs_no_fragment(set_up: Callable[..., ExitHost]) -> None:
    """Nobody reads the files: its torrc is as it was, and it starts with that."""
    host = set_up()
    host.tor.stop()
    done = host.run("init", "--remove", "--yes")
    assert done.code == 0, done
    host.tor.start()
    see_removed(host)


@pytest.mark.slow
def test_a_tor_that_does_not_answer_keeps_its_fragment(set_up: Callable[..., ExitHost]) -> None:
    """It may be reading its files at this moment. When it answers, the fragment goes."""
    host = set_up(OWN, OWN)
    host.tor.signal(signal.SIGSTOP)
    try:
        done = host.run("init", "--remove", "--yes", "--purge")
    finally:
        host.tor.signal(signal.SIGCONT)
    assert done.code == 3, done
    assert f"{host.fragment} stays" in done.err
    assert host.fragment.exists()
    assert not host.fragment.with_name("second.conf").exists()
    assert not host.relays[1].rejects(BLOCKED)
    assert host.config.exists()
    assert host.ledger.exists()
    assert host.run("init", "--remove", "--purge").code == 0
    see_removed(host)
    assert not host.ledger.exists()


@pytest.mark.slow
def test_a_broken_torrc_is_left_as_it_is(set_up: Callable[..., ExitHost]) -> None:
    """The other relay is done."""
    host = set_up(OWN, OWN)
    host.tor.add("NoSuchOption 1")
    text = host.tor.torrc.read_text()
    done = host.run("init", "--remove", "--yes")
    assert done.code == 5, done
    assert host.tor.torrc.read_text() == text
    assert host.fragment.exists()
    assert not host.relays[1].rejects(BLOCKED)
    assert not host.fragment.with_name("second.conf").exists()
    host.tor.torrc.write_text(text.replace("NoSuchOption 1\n", ""))
    assert host.run("init", "--remove", "--yes").code == 0
    see_removed(host)


@pytest.mark.parametrize("kind", ["tool", "other file"])
def test_an_include_that_is_not_inits_is_the_operators(
    set_up: Callable[..., ExitHost], tmp_path: Path, kind: str
) -> None:
    """Nothing is changed before it is gone: a tool would write it again, and end Tor so."""
    host = set_up()
    torrc, line = host.tor.torrc, f"%include {host.fragment}\n"
    text = torrc.read_text()
    other = tmp_path / "more"
    other.write_text(line)
    changed = (
        f"# Ansible managed\n{text}"
        if kind == "tool"
        else text.replace(line, f"%include {other}\n")
    )
    torrc.write_text(changed)
    done = host.run("init", "--remove", "--yes")
    assert done.code == 3, done
    assert (f"{torrc}:" if kind == "tool" else f"{other}:1") in done.err
    assert torrc.read_text() == changed
    assert host.tor.rejects(BLOCKED)
    torrc.write_bytes(torrc.with_name("torrc.before").read_bytes())
    assert host.run("init", "--remove").code == 0
    see_removed(host)


def test_without_a_control_port(make_host: HostMaker) -> None:
    """Tor is told by a signal, and goes on running."""
    host = make_host(start=False, init=False)
    start(host)
    without_control(host)
    shutil.copy2(host.tor.torrc, host.tor.torrc.with_name("torrc.before"))
    assert host.run("init").code == 0
    assert host.run("block", BLOCKED, "--until", "1d").code == 0
    assert host.tor.rejects(BLOCKED)
    done = host.run("init", "--remove", "--yes", "--purge")
    assert done.code == 0, done
    wait_until(lambda: not host.tor.rejects(BLOCKED))
    see_removed(host)


def test_files_of_the_operator_stay(set_up: Callable[..., ExitHost], tmp_path: Path) -> None:
    """A file beside the ledger, the target of a linked ledger, another file with the fragments."""
    host = set_up()
    checkout = tmp_path / "checkout.yaml"
    host.ledger.rename(checkout)
    host.ledger.symlink_to(checkout)
    notes = (host.ledger.with_name("notes"), host.fragment.with_name("notes"))
    for path in notes:
        path.write_text("mine\n")
    done = host.run("init", "--remove", "--purge", "--yes")
    assert done.code == 0, done
    assert all(path.exists() for path in (checkout, *notes))
    assert not os.path.lexists(host.ledger)
    assert not host.fragment.exists()
    assert [path.name for path in host.ledger.parent.iterdir()] == ["notes"]


def test_only_a_file_of_metrics_is_deleted_as_such(set_up: Callable[..., ExitHost]) -> None:
    """A mistyped `metrics:` names another file; what the tick leaves beside the ledger goes."""
    host = set_up()
    notes = host.folder / "notes"
    notes.write_text("mine\n")
    host.config.write_text(f"{host.config.read_text()}metrics: {notes}\n")
    assert host.run("expire", "--quiet").code == 3, "the metrics cannot be written"
    assert report_lock_path(host.ledger).exists()
    done = host.run("init", "--remove", "--purge", "--yes")
    assert done.code == 0, done
    assert notes.read_text() == "mine\n"
    assert not host.ledger.parent.exists()


def test_a_file_in_the_place_of_a_fragment_stays(set_up: Callable[..., ExitHost]) -> None:
    """Only what exitpol wrote is deleted."""
    host = set_up()
    mine = host.fragment.with_name("mine.conf")
    mine.write_text("ExitPolicy reject 198.51.100.1:*\n")
    assert host.run("init", "--remove", "--yes").code == 0
    assert mine.exists()
    assert not host.fragment.exists()


def test_on_a_terminal_it_asks(set_up: Callable[..., ExitHost]) -> None:
    """No leaves all as it is; with --yes nothing is asked, and the records stay."""
    host = set_up()
    before = host.snapshot()
    on_a_terminal(host, ["init", "--remove"], "Remove exitpol from these relays?", "n", 130)
    assert host.snapshot() == before
    assert host.tor.rejects(BLOCKED)
    shown = on_a_terminal(host, ["init", "--remove", "--yes"], "no question", "")
    assert "Also delete" not in shown
    see_removed(host)
    assert host.ledger.exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--remove", "--timer"),
        ("--remove", "--torrc", "/etc/tor/torrc"),
        ("--purge",),
        ("--force",),
    ],
)
def test_options_that_do_not_go_together(make_host: HostMaker, options: tuple[str, ...]) -> None:
    """Each is a mistake (2), and changes nothing."""
    host = make_host(init=False, start=False)
    assert host.run("init", *options).code == 2
    assert not host.ledger.parent.exists()


@pytest.fixture
def interrupted(set_up: Callable[..., ExitHost]) -> Iterator[Callable[[int], bool]]:
    """Give a function that kills a removal at its k-th step, and sees that nothing is hurt."""
    host = set_up(OWN, ("ExitRelay 1",))
    saved = host.folder.with_name(f"{host.folder.name}-saved")
    kept = [host.config, host.ledger.parent, host.fragment.parent]
    saved.mkdir()
    for path in kept:
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, saved / path.name)
    torrcs = {relay.torrc: relay.torrc.read_bytes() for relay in host.relays}
    remove = ["--config", str(host.config), "init", "--remove", "--purge", "--yes"]

    def try_one(step: int) -> bool:
        for path in kept:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
            source = saved / path.name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, path)
        for path, content in torrcs.items():
            path.write_bytes(content)
        for relay in host.relays:
            relay.reload()
        wait_until(lambda: all(relay.rejects(BLOCKED) for relay in host.relays))
        died, _ = killed_at(step, remove)
        for relay in host.relays:
            verified = relay.verifies()
            assert verified.returncode == 0, (step, verified.stdout)
            relay.reload()
            assert relay.alive, step
        if died and host.config.exists():
            again = host.run("init", "--remove", "--purge", "--yes")
            assert again.code == 0, (step, again)
        wait_until(lambda: not any(relay.rejects(BLOCKED) for relay in host.relays))
        see_removed(host)
        assert not host.config.exists()
        assert not host.ledger.parent.exists()
        record(THING, 1)
        return died

    yield try_one
    assert all(relay.alive for relay in host.relays)


def test_a_removal_killed_at_some_steps_is_finished_by_the_next(
    interrupted: Callable[[int], bool],
) -> None:
    """Every Tor survives a reload at each point."""
    for step in (4, 9, 14, 19):
        assert interrupted(step), step


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_removal_killed_at_each_step_is_finished_by_the_next(
    interrupted: Callable[[int], bool], part: int
) -> None:
    """All steps, until one in which it comes to its end."""
    step = 1 + part
    while interrupted(step):
        step += PARTS
    assert step > 15
