"""The role, run by a real Ansible over real SSH on hosts with real Tors."""

import json
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.ansible.hosts import UNREACHABLE, Fleet, Relay, Relays, SshHost, fleet, relayor, single
from tests.harness.tor import wait_until

pytest.importorskip("ansible")
pytestmark = [pytest.mark.tor, pytest.mark.root]

FLEET: Final = (Path(__file__).parents[2] / "exitpolicy" / "docs" / "fleet.md").read_text()
POLICY: Final = ("accept *:80", "accept *:443", "reject *:*")
CONFIG: Final = {"protected": ["198.51.100.0/24"], "max_prefix": {"ipv4": 20}}
ROLE: Final[dict[str, Any]] = {"exitpol_config": CONFIG}
BLOCKED: Final = "203.0.113.7"


def documented(file: str) -> Any:  # noqa: ANN401 - any YAML
    """Return the example for a file in the manual."""
    (text,) = re.findall(
        rf"```yaml\n# {file}\n(.*?)```", FLEET.partition("## Beside")[2], re.DOTALL
    )
    return yaml.safe_load(text)


VARIABLES: Final = documented("group_vars/exits.yml")["tor_ExitPolicy"]


def family(address: str, *, included: bool) -> list[Relay]:
    """Return three relays of ansible-relayor, with the documented variables or without."""
    policy = (*(VARIABLES if included else ()), *POLICY)
    return [relayor(address, port, policy) for port in (9000, 9100, 9200)]


def start(found: Fleet) -> None:
    """Install this tree's exitpol on all hosts, and start their Tors."""
    for host in found.hosts.values():
        host.with_program()
        host.start_tors()


def live(host: SshHost) -> dict[str, int]:
    """Return how many blocks are in each state on a host."""
    done = host.exitpol("list")
    assert done.returncode == 0, done
    words = re.findall(r"\b(live|pending|shadowed|unknown|lifting)\b", done.stdout)
    return {word: words.count(word) for word in set(words)}


def test_a_second_run_changes_nothing_and_check_mode_none_at_all(tmp_path: Path) -> None:
    """On a host with one exit: check mode, a run, a second run, and a block that Tor enforces."""
    with fleet(tmp_path, {"exit": single}) as found:
        start(found)
        host = found["exit"]
        before = host.snapshot()
        tried = found.play("--check", "--diff", role=ROLE)
        assert tried.code == 0, tried.output
        assert tried.changed()["exit"] > 0
        assert "+%include /etc/tor/exitpol/default.conf" in tried.output
        assert host.snapshot() == before
        done = found.play(role=ROLE)
        assert done.code == 0, done.output
        config = yaml.safe_load(host.read("/etc/exitpol/config.yaml"))
        assert {key: config[key] for key in CONFIG} == CONFIG
        assert [relay["name"] for relay in config["relays"]] == ["default"]
        assert "--now exitpol-expire.timer" in host.read("/run/systemctl.log")
        assert host.exitpol("block", BLOCKED, "--until", "1d").returncode == 0
        before = host.snapshot()
        again = found.play("--diff", role=ROLE)
        assert (again.code, again.changed()) == (0, {"exit": 0}), again.output
        assert host.snapshot() == before
        assert host.exitpol("status", "--check").returncode == 0


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run four hosts that the role has set up; one has three relays of ansible-relayor."""
    hosts: dict[str, Relays] = {
        "family": partial(family, included=True),
        "two": single,
        "three": single,
        "four": single,
    }
    with fleet(tmp_path_factory.mktemp("four"), hosts) as found:
        names = [relay.name for relay in found["family"].relays]
        for host in found.hosts.values():
            host.with_program()
        # As the manual has it: the files first, then ansible-relayor, then the role.
        variables = {"exitpol_fragments": names}
        made = found.play("--limit", "family", role=variables, tasks="fragments")
        assert made.changed() == {"family": 2}, made.output
        for host in found.hosts.values():
            host.start_tors()
        done = found.play(role=ROLE)
        assert done.code == 0, done.output
        yield found


@pytest.mark.slow
def test_four_hosts_enforce_a_block(four: Fleet) -> None:
    """The include of ansible-relayor's variables is used as it is: no torrc changes, no restart."""
    host = four["family"]
    for relay in host.relays:
        assert host.read(relay.path) == relay.torrc
    assert "restart" not in host.read("/run/systemctl.log")
    done = four.run("ansible", "all", "-a", f"exitpol block {BLOCKED} --until 1d")
    assert done.code == 0, done.output
    for each in four.hosts.values():
        assert live(each) == {"live": 1}
    again = four.play(role=ROLE)
    assert again.code == 0, again.output
    assert set(again.changed().values()) == {0}
    # The variables are set: there is nothing to say.
    assert "WARNING" not in again.output
    made = four.play("--limit", "family", role={"exitpol_fragments": ["x"]}, tasks="fragments")
    assert made.changed() == {"family": 1}
    assert live(host) == {"live": 1}
    host.real("/etc/tor/exitpol/x.conf").unlink()


@pytest.mark.slow
def test_what_ansible_relayor_undoes_is_reported_and_put_right(four: Fleet) -> None:
    """Without the variables, its next run drops the include and restarts Tor: the tick sees it."""
    host = four["family"]
    relay, *_ = host.relays
    host.exitpol("block", "203.0.113.8", "--until", "1d")
    (without, *_) = family(host.address, included=False)
    host.write(str(relay.path), without.torrc)
    host.restart(relay)
    ticked = host.tick()
    assert relay.name in ticked.stderr, ticked
    checked = host.exitpol("status", "--check")
    assert checked.returncode != 0
    assert f"{relay.path}" in checked.stdout + checked.stderr, checked
    refused = four.play("--limit", "family", role=ROLE)
    assert refused.recap["family"]["failed"] == 1, refused.output
    assert "Sandbox 1" in refused.output
    assert host.read(relay.path) == without.torrc
    done = four.play("--limit", "family", role={**ROLE, "exitpol_restart": True})
    assert done.code == 0, done.output
    assert "tor_ExitPolicy:" in done.output, "the role names the variables"
    assert host.read("/run/systemctl.log").count(f"restart {relay.unit}") == 2
    wait_until(
        lambda: host.exitpol("apply").returncode != UNREACHABLE, what="the restarted Tor answers"
    )
    assert set(live(host)) == {"live"}
    again = four.play("--limit", "family", role={**ROLE, "exitpol_restart": True})
    assert again.changed() == {"family": 0}, again.output
    host.write(str(relay.path), relay.torrc)
    host.restart(relay)
    host.exitpol("lift", "203.0.113.8")


@pytest.mark.slow
def test_a_restart_that_was_missed_is_made_up_for(four: Fleet) -> None:
    """The connection broke after the torrc was changed: the next run restarts Tor."""
    host = four["family"]
    relay, *_ = host.relays
    (without, *_) = family(host.address, included=False)
    host.write(str(relay.path), without.torrc)
    host.restart(relay)
    assert host.exitpol("init", "--yes").returncode == 5
    log = host.read("/run/systemctl.log").count(f"restart {relay.unit}")
    done = four.play("--limit", "family", role={**ROLE, "exitpol_restart": True})
    assert (done.code, done.changed()["family"]) == (0, 2), done.output
    assert host.read("/run/systemctl.log").count(f"restart {relay.unit}") == log + 1
    host.write(str(relay.path), relay.torrc)
    host.restart(relay)


@pytest.mark.slow
def test_hosts_in_trouble_are_named_and_the_others_are_done(four: Fleet) -> None:
    """One is down, one is read-only, one has a broken torrc, and one a Tor that hangs."""
    down, broken, frozen, hanging = (four[name] for name in ("four", "three", "two", "family"))
    config = {**CONFIG, "max_prefix": {"ipv4": 21}}
    down.stop_ssh()
    torrc = broken.read("/etc/tor/torrc")
    broken.write("/etc/tor/torrc", f"{torrc}NoSuchOption 1\n")
    frozen.run("mount", "-o", "remount,ro", "/etc")
    hanging.signal(hanging.relays[0], signal.SIGSTOP)
    try:
        done = four.play(role={"exitpol_config": config})
    finally:
        hanging.signal(hanging.relays[0], signal.SIGCONT)
        frozen.run("mount", "-o", "remount,rw", "/etc")
        broken.write("/etc/tor/torrc", torrc)
        down.start_ssh()
    assert done.recap["four"]["unreachable"] == 1, done.output
    assert done.recap["three"]["failed"] == 1
    assert "NoSuchOption" in done.output
    assert done.recap["two"]["failed"] == 1
    assert "not writable" in done.output
    # Nothing has to be asked of a Tor whose files are as they have to be.
    assert (done.recap["family"]["failed"], done.changed()["family"]) == (0, 1)
    caught_up = four.play(role={"exitpol_config": config})
    assert caught_up.code == 0, caught_up.output
    assert caught_up.changed() == {"family": 0, "two": 1, "three": 0, "four": 1}
    for host in four.hosts.values():
        assert yaml.safe_load(host.read("/etc/exitpol/config.yaml"))["max_prefix"] == {"ipv4": 21}


@pytest.mark.slow
def test_tags_and_limit_do_what_users_of_ansible_expect(four: Fleet) -> None:
    """A tag runs its part only, on the hosts of the limit; bad variables are refused by name."""
    config = {**CONFIG, "max_prefix": {"ipv4": 22}}
    done = four.play("--limit", "two", "--tags", "exitpol_config", role={"exitpol_config": config})
    assert (done.code, done.changed()) == (0, {"two": 1}), done.output
    assert "Set up the relays" not in done.output
    refused = four.play("--limit", "two", role={"exitpol_config": {"protectd": []}})
    assert refused.recap["two"]["failed"] == 1
    assert "unknown key 'protectd'" in refused.output
    assert "max_prefix" in four["two"].read("/etc/exitpol/config.yaml")
    refused = four.play("--limit", "two", role={"exitpol_torrcs": {"a": 1}})
    assert refused.recap["two"]["failed"] == 1
    assert "exitpol_torrcs" in refused.output


@pytest.mark.slow
def test_a_host_runs_nothing_on_the_control_machine(four: Fleet, tmp_path: Path) -> None:
    """What a host has in its files is data: Ansible would run a template of it."""
    host = four["two"]
    planted = f"{{{{ lookup('pipe', 'touch {tmp_path}/run') }}}}"
    before = host.read("/etc/exitpol/config.yaml")
    host.write("/etc/exitpol/config.yaml", json.dumps({"ledger": planted, "relays": [planted]}))
    host.write("/opt/exitpol/.exitpol-installed", f"{planted}\n")
    (tmp_path / "x.whl").touch()
    role = {**ROLE, "exitpol_wheel": str(tmp_path / "x.whl")}
    done = four.play("--limit", "two", "--check", "--diff", role=role)
    assert "lookup" in done.output, "the diff shows it"
    assert not (tmp_path / "run").exists()
    host.write("/etc/exitpol/config.yaml", before)
    host.real("/opt/exitpol/.exitpol-installed").unlink()


@pytest.mark.slow
def test_a_password_from_a_vault_is_used_and_never_shown(tmp_path: Path) -> None:
    """A Tor that takes nothing but a password is set up; only root can read the file."""
    secret = "correct horse"
    with fleet(tmp_path, {"exit": single}) as found:
        host = found["exit"]
        host.with_program()
        torrc = host.read("/etc/tor/torrc")
        hashed = host.run("tor", "--quiet", "--hash-password", secret).stdout.split()[-1]
        host.write(
            "/etc/tor/torrc", f"{torrc}CookieAuthentication 0\nHashedControlPassword {hashed}\n"
        )
        host.start_tors()
        (tmp_path / "key").write_text("vault\n")
        (tmp_path / "secret.yml").write_text(
            yaml.safe_dump({"exitpol_passwords": {"default": secret}})
        )
        vault = ("--vault-password-file", "key")
        found.run("ansible-vault", "encrypt", "secret.yml", *vault)
        assert secret not in (tmp_path / "secret.yml").read_text()
        done = found.play("-e", "@secret.yml", *vault, "--diff", "-vvv")
        assert done.code == 0, done.output
        assert secret not in done.output
        file = host.real("/etc/exitpol/default.password")
        assert (file.read_text(), file.stat().st_mode & 0o777) == (f"{secret}\n", 0o600)
        assert file.stat().st_uid == 0
        assert host.exitpol("block", BLOCKED, "--until", "1d").returncode == 0
        again = found.play("-e", "@secret.yml", *vault)
        assert again.changed() == {"exit": 0}, again.output
