"""init, base policies, and errors for bad input, on a real Tor exit."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.host import ExitHost, HostMaker, host_maker
from tests.harness.tor import TOR


def test_init_puts_the_include_above_the_first_exit_policy(make_host: HostMaker) -> None:
    """All other lines of the torrc stay exactly as they were; a second init changes nothing."""
    host = make_host(("ExitRelay 1", "ExitPolicy reject *:25", "ExitPolicy accept *:*"), init=False)
    before = host.tor.torrc.read_text().splitlines()
    mode = host.tor.torrc.stat().st_mode
    done = host.run("init")
    assert done.code == 0
    after = host.tor.torrc.read_text().splitlines()
    place = after.index(f"%include {host.fragment}")
    assert after[:place] + after[place + 1 :] == before
    assert after[place + 1] == "ExitPolicy reject *:25"
    assert host.tor.torrc.stat().st_mode == mode
    assert host.run("init").out == "everything is set up\n"
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tor.rejects("203.0.113.7")


def test_init_finds_the_control_port_in_a_torrc_and_writes_the_config(
    make_host: HostMaker, tmp_path: Path
) -> None:
    """`init --torrc PATH` on an unusual layout leaves a config with which all else works."""
    host = make_host(init=False)
    config = tmp_path / "new" / "config.yaml"
    host.config = config
    done = host.run("init", "--torrc", str(host.tor.torrc), "--dry-run")
    assert done.code == 0, done
    assert not config.exists()


def with_defaults(host: ExitHost, *names: str) -> Path:
    """Start the relay with the lines of these names in a defaults-torrc; return its path."""
    lines = host.tor.torrc.read_text().splitlines(keepends=True)
    moved = [line for line in lines if line.split()[0] in names]
    host.tor.defaults = host.folder / "defaults"
    host.tor.defaults.write_text("".join(moved))
    host.tor.torrc.write_text("".join(line for line in lines if line not in moved))
    host.tor.start()
    return host.tor.defaults


def test_init_takes_the_defaults_torrc_with_which_the_relay_runs(make_host: HostMaker) -> None:
    """It makes the relay an exit, opens its control port and has options that Tor alone refuses."""
    host = make_host(
        ("ExitRelay 1", "IPv6Exit 1", "ExitPolicyRejectPrivate 0", "ExitPolicy accept *:*"),
        start=False, init=False,
    )  # fmt: skip
    text = host.tor.torrc.read_text().replace("ExitPolicyRejectPrivate 1\n", "")
    host.tor.torrc.write_text(text)
    defaults = with_defaults(
        host, "ControlSocket", "CookieAuthentication", "DataDirectory", "ExitRelay", "IPv6Exit",
        "ExitPolicyRejectPrivate",
    )  # fmt: skip
    host.config.write_text("ledger: var/blocks.yaml\nfragments: exitpol\n")
    done = host.run("init", "--torrc", str(host.tor.torrc), "--yes")
    assert done.code == 0, done
    assert f'control: "{host.tor.control_socket}"' in host.config.read_text()
    assert f'defaults_torrc: "{defaults}"' in host.config.read_text()
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tor.rejects("203.0.113.7")


def test_init_refuses_a_policy_in_the_defaults_torrc(make_host: HostMaker) -> None:
    """It names the lines to copy (4), changes nothing, and works once they are copied."""
    policy = ("ExitPolicy accept *:443", "ExitPolicy reject *:*")
    host = make_host(("ExitRelay 1", *policy), start=False, init=False)
    with_defaults(host, "ExitPolicy")
    before = host.snapshot()
    refused = host.run("init", "--yes")
    assert (refused.code, [line in refused.err for line in policy]) == (4, [True, True]), refused
    assert host.snapshot() == before
    host.tor.add(*policy)
    assert host.run("init", "--yes").code == 0
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert not host.tor.rejects("198.51.100.1", 443)
    assert host.tor.rejects("198.51.100.1", 6667)


def test_a_control_port_of_another_relay_is_said_to_be_one(make_host: HostMaker) -> None:
    """It names the torrc of the Tor that answers there, whether a cookie exists or not."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",), start=False, init=False)
    first, second = host.relays
    first.start()
    second.control_socket.symlink_to(first.control_socket)
    expected = f"the Tor there was started with {first.torrc}, not with {second.torrc}"
    for cookie in (None, bytes(32)):
        if cookie is not None:
            second.cookie.write_bytes(cookie)
        found = host.run("doctor")
        assert expected in " ".join((found.out + found.err).split()), found


def test_a_dry_init_changes_nothing(make_host: HostMaker) -> None:
    """`init --dry-run` shows what would be created and edited."""
    host = make_host(init=False)
    before = host.snapshot()
    done = host.run("init", "--dry-run")
    assert f"+%include {host.fragment}" in done.out
    seen = host.run("init", "--dry-run", "--json").json
    torrc = str(host.tor.torrc)
    assert torrc in seen["edited"]
    assert f"\n+%include {host.fragment}\n" in {d["path"]: d["diff"] for d in seen["diffs"]}[torrc]
    assert (seen["dry_run"], seen["units"], seen["restart"]) == (True, [], [])
    (relay,) = seen["config"]["relays"]
    assert (relay["name"], relay["torrc"]) == ("default", torrc)
    assert host.snapshot() == before


@pytest.mark.parametrize("name", ["default", "reduced", "web", "no-mail"])
def test_a_base_policy_stands_below_the_blocks(make_host: HostMaker, name: str) -> None:
    """`policy use` makes Tor enforce it with the blocks above; `none` takes it away again."""
    host = make_host()
    before = host.tor.rules()
    host.run("block", "203.0.113.7:443", "--until", "1d")
    assert host.run("policy", "use", name).code == 0
    shown = host.run("policy", "show", name, "--json").json["rules"]
    fragment = host.fragment.read_text()
    assert [f"ExitPolicy {rule}" for rule in shown] == fragment.splitlines()[-len(shown) :]
    assert host.tor.rejects("203.0.113.7", 443)
    assert not host.tor.rejects("203.0.113.8", 443)
    assert host.tor.rejects("203.0.113.8", 25)
    changes = host.run("history", "--json").json["changes"]
    assert ("policy-used", f"base policy {name}") in [(c["action"], c["reason"]) for c in changes]
    host.run("lift", "203.0.113.7:443")
    assert host.run("policy", "use", "none").code == 0
    assert host.tor.rules() == before


def test_the_reduced_policy_is_that_of_tor(make_host: HostMaker) -> None:
    """Our `reduced` enforces the same as ReducedExitPolicy 1 of the Tor at hand."""
    host = make_host(("ExitRelay 1",), ("ReducedExitPolicy 1",))
    assert host.run("policy", "use", "reduced").code == 0
    ours, theirs = (set(map(str, relay.rules())) for relay in host.relays)
    assert ours == theirs


def test_a_policy_that_would_shadow_the_operators_lines_is_explained(make_host: HostMaker) -> None:
    """`policy use` names the lines of the torrc that would lose their effect, and refuses (4)."""
    host = make_host(("ExitRelay 1", "ExitPolicy reject *:8080", "ExitPolicy accept *:*"))
    before = host.snapshot()
    done = host.run("policy", "use", "web")
    assert done.code == 4
    assert "reject *:8080" in done.err
    assert host.snapshot() == before
    assert host.run("policy", "use", "web", "--force").code == 0
    assert host.tor.rejects("203.0.113.8", 22)


Spoil = Callable[[ExitHost], object]


def _symlink(host: ExitHost) -> None:
    host.fragment.rename(host.folder / "real.conf")
    host.fragment.symlink_to(host.folder / "real.conf")


def _no_include(host: ExitHost) -> None:
    text = host.tor.torrc.read_text().replace(f"%include {host.fragment}\n", "")
    host.tor.torrc.write_text(text)


def _include_below(host: ExitHost) -> None:
    _no_include(host)
    host.tor.add("ExitPolicy accept *:*", f"%include {host.fragment}")


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda h: h.ledger.write_text("version: 1\nblocks: [\n"), 8, "blocks.yaml:3: broken YAML"),
        (lambda h: h.ledger.write_text("version: 1\nblock: []\n"), 8, "blocks.yaml:2: unknown key"),
        (lambda h: h.ledger.unlink(), 8, "exitpol init"),
        (lambda h: h.config.write_text("legder: x\n"), 8, "config.yaml:1: unknown key 'legder'"),
        (lambda h: h.config.write_text("{"), 8, "config.yaml:"),
        (_symlink, 8, "symbolic link"),
        (_no_include, 8, "exitpol init --torrc"),
        (_include_below, 8, "'accept *:*' is above the include"),
    ],
)
def test_files_that_are_not_as_they_should_be_change_nothing(
    make_host: HostMaker, spoil: Spoil, code: int, said: str
) -> None:
    """Each has an error with file, fix and exit code; Tor and all files are unchanged."""
    host = make_host()
    spoil(host)
    before = host.snapshot()
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert (done.code, said in done.err) == (code, True), done
    assert "hint:" in done.err or "broken YAML" in done.err
    assert host.snapshot() == before
    assert not host.tor.rejects("203.0.113.7")
    assert "Received reload signal" not in host.tor.log()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["block", "203.0.113.999", "--until", "1d"], 2),
        (["block", "203.0.113.7/24", "--until", "1d"], 2),
        (["block", "example.com", "--until", "1d"], 2),
        (["block", "fe80::1%eth0", "--until", "1d"], 2),
        (["block", "203.0.113.7", "--until", "soon"], 2),
        (["block", "203.0.113.7", "--until", "2020-01-01"], 2),
        (["block", "203.0.113.7"], 2),
        (["block", "203.0.113.7", "--until", "1d", "--reason", "x" * 1001], 2),
        (["block", "203.1.0.0/8", "--until", "1d"], 2),
        (["block", "203.0.0.0/15", "--until", "1d"], 4),
        (["block", "202.0.0.0/8", "--until", "1d"], 4),
        (["block", "2001::/16", "--until", "1d"], 4),
        (["block", "198.51.100.7", "--until", "1d"], 4),
        (["block", "198.51.0.0/16", "--until", "1d", "--force"], 4),
        (["lift"], 2),
        (["lift", "203.0.113.7"], 9),
        (["renew", "203.0.113.7", "--until", "1d"], 9),
        (["lift", "--reference", "T#1"], 9),
        (["policy", "use", "open"], 2),
        (["blok"], 2),
    ],
)
def test_arguments_that_mean_nothing_or_harm_get_their_code(
    protected_host: ExitHost, arguments: list[str], code: int
) -> None:
    """A clear error with a hint, nothing changed on disk, never a traceback."""
    before = protected_host.snapshot()
    done = protected_host.run(*arguments)
    assert done.code == code, done
    assert done.err.startswith("exitpol: error: ")
    assert "hint:" in done.err
    assert protected_host.snapshot() == before


@pytest.fixture(scope="module")
def protected_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give one host to all tests that must not change it."""
    with host_maker(tmp_path_factory.mktemp("host")) as make:
        yield make(extra="protected: [198.51.100.0/24]\n")


def test_a_wrong_password_is_said_to_be_one(make_host: HostMaker) -> None:
    """The block is recorded and pending (6); the error names the password file."""
    host = make_host(init=False)
    host.tor.stop()
    text = host.tor.torrc.read_text().replace("CookieAuthentication 1", "CookieAuthentication 0")
    hashed = subprocess.run(
        [TOR, "--hash-password", "foo"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    host.tor.torrc.write_text(f"{text}HashedControlPassword {hashed}\n")
    password = host.folder / "password"
    password.write_text("not that\n")
    password.chmod(0o600)
    config = host.config.read_text().replace('socket"}', f'socket", password_file: {password}}}')
    host.config.write_text(config)
    host.tor.start(with_policy=False)
    host.run("init")
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 6
    assert "password" in done.err
    assert "203.0.113.7" in host.ledger.read_text()
    password.write_text("foo\n")
    assert host.run("apply").code == 0, "the right one works"


@pytest.mark.root
def test_someone_who_may_not_gets_a_sentence_and_no_traceback(make_host: HostMaker) -> None:
    """Without rights on ledger, fragment or cookie the hint is to run as root; nothing changes."""
    host = make_host()
    before = host.snapshot()
    for folder in host.folder, *host.folder.parents:
        if folder.stat().st_uid == 0 and folder != Path("/tmp") and len(folder.parts) > 2:
            folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        done = host.run("block", "203.0.113.7", "--until", "1d")
        os._exit(0 if done.code in (5, 6, 8) and "root" in done.err else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert host.snapshot() == before


def test_init_makes_the_folder_of_the_fragments(make_host: HostMaker) -> None:
    """With one fragment for each relay in the config, init needs no other preparation."""
    host = make_host(("ExitRelay 1",), ("ExitRelay 1",), init=False)
    text = host.config.read_text().replace("fragments: exitpol", "fragments: deep/frag")
    host.config.write_text(text)
    done = host.run("init")
    assert done.code == 0, done
    folder = host.folder / "deep" / "frag"
    assert sorted(path.name for path in folder.iterdir()) == ["default.conf", "second.conf"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert all(tor.rejects("203.0.113.7") for tor in host.relays)
