"""The playbooks, run by a real Ansible over real SSH on hosts with real Tors."""

from collections.abc import Iterator

import pytest

from tests.ansible.hosts import Fleet, Played, Relay, SshHost, default_torrc, fleet

pytest.importorskip("ansible")
pytestmark = [pytest.mark.tor, pytest.mark.root, pytest.mark.slow]


def single(address: str) -> list[Relay]:
    """Return the only relay of a host."""
    return [Relay("default", default_torrc(address))]


def family(address: str) -> list[Relay]:
    """Return the three relays of a host."""
    torrc = default_torrc(address)
    names = {port: f"{address}_{port}" for port in (9000, 9100, 9200)}
    return [Relay(name, torrc.replace(":9001", f":{port}")) for port, name in names.items()]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run four hosts with exitpol; one has three relays."""
    hosts = {"family": family, **dict.fromkeys(("two", "three", "four"), single)}
    with fleet(tmp_path_factory.mktemp("playbooks"), hosts) as found:
        for host in found.hosts.values():
            host.with_program()
            host.start_tors()
            done = host.exitpol("init")
            assert done.returncode == 0, done
        yield found


def write(found: Fleet, *lines: str) -> None:
    """Write the ledger of the fleet."""
    rows = "".join(f"- {{{one}, since: 2026-11-22, until: never}}\n" for one in lines)
    text = f"version: 2\nblocks:{'' if rows else ' []'}\n{rows}"
    (found.folder / "blocks.yaml").write_text(text)


def play(found: Fleet, name: str, *options: str, **variables: str) -> Played:
    """Run a playbook of the collection."""
    # Relative to the folder in which Ansible is called.
    given = {"exitpol_ledger": "blocks.yaml", **variables}
    extra = [word for key, value in given.items() for word in ("-e", f"{key}={value}")]
    return found.run("ansible-playbook", f"exitpol.exitpol.{name}", *extra, *options)


def live(host: SshHost) -> set[str]:
    """Return what a host blocks."""
    done = host.exitpol("list")
    assert done.returncode == 0, done
    return {line.split()[0] for line in done.stdout.splitlines() if " live" in line}


def test_apply_brings_the_ledger_to_all_hosts(four: Fleet) -> None:
    """All hosts follow, each its own blocks; a second run changes nothing."""
    write(four, "destination: 203.0.113.1", 'destination: 203.0.113.2, relays: ["127.*_9100"]')
    tried = play(four, "apply", "--check", "--diff")
    assert tried.code == 0, tried.output
    assert set(tried.changed().values()) == {1}
    assert all(live(host) == set() for host in four.hosts.values())
    done = play(four, "apply")
    assert done.code == 0, done.output
    assert live(four["two"]) == {"203.0.113.1"}
    assert live(four["family"]) == {"203.0.113.1", "203.0.113.2"}
    again = play(four, "apply")
    assert (again.code, set(again.changed().values())) == (0, {0}), again.output
    write(four)
    report = play(four, "apply", "--tags", "exitpol_report")
    assert (report.code, set(report.changed().values())) == (0, {0}), report.output
    assert live(four["two"]) == {"203.0.113.1"}
    only = play(four, "apply", "--limit", "two")
    assert (only.code, set(only.changed())) == (0, {"two"}), only.output
    assert (live(four["two"]), live(four["three"])) == (set(), {"203.0.113.1"})
    assert play(four, "apply").code == 0
    assert all(live(host) == set() for host in four.hosts.values())


def test_a_block_is_recorded_and_enforced_everywhere(four: Fleet) -> None:
    """Only that block reaches the hosts; one that is down is named, and catches up."""
    write(four, "destination: 203.0.113.9")
    control = {"exitpol_control_executable": "/usr/local/bin/none"}
    lost = play(four, "block", destination="203.0.113.7:22,80", until="30d", **control)
    assert lost.code != 0, lost.output
    program = four.folder / "exitpol"
    program.write_text(four["two"].read("/usr/local/bin/exitpol"))
    program.chmod(0o755)
    control = {"exitpol_control_executable": str(program)}
    wanted = {"destination": "203.0.113.7:22,80", "until": "30d", "reason": "secret", **control}
    tried = play(four, "block", "--check", **wanted)
    assert tried.code == 0, tried.output
    four["four"].stop_ssh()
    done = play(four, "block", **wanted)
    assert done.code != 0, done.output
    assert "cannot be reached" in done.output
    assert [done.recap[name]["failed"] for name in sorted(four.hosts)] == [0, 1, 0, 0], done.output
    assert "git commit" in done.output
    assert "secret" not in done.output
    assert "secret" in (four.folder / "blocks.yaml").read_text()
    for name in ("family", "two", "three"):
        assert live(four[name]) == {"203.0.113.7:22,80"}
    assert live(four["four"]) == set()
    again = play(four, "block", **wanted)
    assert set(again.changed().values()) == {0}, again.output
    four["four"].start_ssh()
    caught_up = play(four, "apply")
    assert caught_up.code == 0, caught_up.output
    for host in four.hosts.values():
        assert live(host) == {"203.0.113.7:22,80", "203.0.113.9"}
    lifted = play(four, "lift", destination="203.0.113.7:22,80", **control)
    assert lifted.code == 0, lifted.output
    assert all(live(host) == {"203.0.113.9"} for host in four.hosts.values())
    assert "ended:" in (four.folder / "blocks.yaml").read_text()
    write(four)
    assert play(four, "apply").code == 0


def test_a_host_that_refuses_or_cannot_is_named(four: Fleet) -> None:
    """Limits of a host, another version, a torrc that was broken before: the others go on."""
    config = four["two"].read("/etc/exitpol/config.yaml")
    four["two"].write("/etc/exitpol/config.yaml", config + "protected: [203.0.113.0/28]\n")
    old = "#!/bin/sh\necho exitpol 0.0.1; case $* in *--version) ;; *) exit 2 ;; esac\n"
    new = four["three"].read("/usr/local/bin/exitpol")
    four["three"].write("/usr/local/bin/exitpol", old, 0o755)
    torrc = four["four"].read("/etc/tor/torrc")
    four["four"].write("/etc/tor/torrc", f"{torrc}NoSuchOption 1\n")
    write(four, "destination: 203.0.113.1", "destination: 192.0.2.1")
    try:
        done = play(four, "apply")
    finally:
        four["two"].write("/etc/exitpol/config.yaml", config)
        four["three"].write("/usr/local/bin/exitpol", new, 0o755)
        four["four"].write("/etc/tor/torrc", torrc)
    assert done.code != 0, done.output
    assert [done.recap[name]["failed"] for name in ("family", "two", "three")] == [0, 0, 1]
    for said in ("203.0.113.1 pending: 203.0.113.1 is protected", "exitpol 0.0.1", "NoSuchOption"):
        assert said in done.output, done.output
    assert live(four["family"]) == {"203.0.113.1", "192.0.2.1"}
    assert live(four["two"]) == {"192.0.2.1"}
    healed = play(four, "apply")
    assert healed.code == 0, healed.output
    assert all(live(host) == {"203.0.113.1", "192.0.2.1"} for host in four.hosts.values())


def test_a_hurt_relay_stops_the_others(four: Fleet) -> None:
    """A Tor that ends while it takes the ledger is the last one that changes."""
    program = four["two"].read("/usr/local/bin/exitpol")
    kill = 'case $* in *--from*) kill -KILL "$(cat /run/tor/tor.pid)";; esac'
    ends = f"{program.replace('exec ', '')}code=$?\n{kill}\nexit $code\n"
    four["two"].write("/usr/local/bin/exitpol", ends, 0o755)
    before = live(four["three"])
    write(four, "destination: 203.0.113.33")
    try:
        done = play(four, "apply", exitpol_serial="1")
    finally:
        four["two"].write("/usr/local/bin/exitpol", program, 0o755)
        four["two"].start_tors()
    failed = {name for name, counts in done.recap.items() if counts["failed"]}
    assert (done.code, failed) == (2, {"two", "three", "four"}), done.output
    assert "a Tor cannot be reached any more" in done.output
    assert "nothing was changed here, because of two" in done.output
    assert live(four["family"]) == {"203.0.113.33"}
    assert live(four["three"]) == before
    healed = play(four, "apply")
    assert healed.code == 0, healed.output
    assert live(four["four"]) == {"203.0.113.33"}


def test_a_connection_that_breaks_stops_the_others_and_the_tick_heals(four: Fleet) -> None:
    """The host completes what it has begun; nobody knows that, so no other host changes."""
    program = four["two"].read("/usr/local/bin/exitpol")
    cut = "case $* in *--from*) kill $(pidof sshd);; esac"
    four["two"].write("/usr/local/bin/exitpol", program.replace("exec ", f"{cut}\nexec "), 0o755)
    before = live(four["three"])
    write(four, "destination: 203.0.113.44")
    try:
        done = play(four, "apply", exitpol_serial="1")
    finally:
        four["two"].write("/usr/local/bin/exitpol", program, 0o755)
        four["two"].stop_ssh()
        four["two"].start_ssh()
    assert done.code == 2, done.output
    assert "the connection broke while its relays changed" in done.output
    assert "nothing was changed here, because of two" in done.output
    assert live(four["family"]) == {"203.0.113.44"}
    assert live(four["three"]) == before
    assert four["two"].exitpol("expire").returncode == 0
    assert live(four["two"]) in ({"203.0.113.44"}, before)
    healed = play(four, "apply")
    assert healed.code == 0, healed.output
    assert all(live(host) == {"203.0.113.44"} for host in four.hosts.values())
