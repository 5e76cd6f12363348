"""The Tor of one relay means harm: blocks on the other relays of the host end nevertheless."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exitpolicy.core.errors import TorUnreachableError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import inspect
from exitpolicy.tor.control import connect
from tests.evidence import Thing, record
from tests.harness import hostile_control
from tests.harness.attack import exitpol
from tests.harness.hostile_control import Conversation, HostileControl, polite

THING = Thing.HOSTILE
pytestmark = pytest.mark.tor

SECONDS = 60
Answer = Callable[[str], bytes | None]


def says(key: str, value: str) -> Answer:
    """Return a Tor that answers GETINFO of one key so."""
    data = f"250+{key}=\r\n{value}\r\n.\r\n250 OK\r\n"
    return lambda command: data.encode() if command == f"GETINFO {key}" else None


_PORTS = "\r\n".join(
    f"accept 0.0.0.0/0:{n % 65535 + 1}\r\nreject 0.0.0.0/1:{n * 13 % 60000 + 1}-65535"
    for n in range(40_000)
)
ANSWERS: dict[str, Answer] = {
    "a NUL byte in a path": says("config-file", "/x\0y"),
    "a path of 5 MB": says("config-file", "/" + "x" * 5_000_000),
    "many own addresses": says("exit-policy/reject-private/relay", _PORTS),
}


def behaviour(answer: Answer, torrc: str) -> hostile_control.Behaviour:
    """Return what the server does from the beginning of a connection on."""

    def behave(conversation: Conversation) -> None:
        received = b""
        while not conversation.ended.is_set():
            chunk = conversation.connection.recv(4096)
            if not chunk:
                return
            received += chunk
            while b"\r\n" in received:
                line, _, received = received.partition(b"\r\n")
                command = line.decode()
                conversation.send(answer(command) or polite(command, torrc).encode())

    return behave


def two_relays(folder: Path, hostile: str = "") -> Path:
    """Make two relays whose fragments hold a block that has ended; return the config.

    `hostile` is added to what the config says of the first.
    """
    (folder / "f").mkdir()
    (folder / "var").mkdir()
    relays = ""
    for name in ("hostile", "other"):
        (folder / f"f/{name}.conf").write_text("ExitPolicy reject 203.0.113.7:*\n")
        (folder / f"{name}-data").mkdir(mode=0o700)
        (folder / name).write_text(
            f"ExitRelay 1\nORPort 127.0.0.1:auto\nDataDirectory {folder}/{name}-data\n"
            f"%include {folder}/f/{name}.conf\n"
        )
        more = hostile if name == "hostile" else ""
        relays += f"- {{name: {name}, torrc: {name}, control: {name}.socket{more}}}\n"
    config = folder / "c.yaml"
    config.write_text(f"ledger: var/blocks.yaml\nfragments: f\nrelays:\n{relays}")
    (folder / "var/blocks.yaml").write_text(
        'version: 2\nblocks:\n- {destination: "203.0.113.7", since: "2026-01-01", until:'
        ' "2026-01-02"}\n- {destination: "203.0.113.8", since: "2026-01-01", until: never}\n'
    )
    return config


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_blocks_end_beside_a_hostile_tor(tmp_path: Path, kind: str) -> None:
    """The other relay's fragment loses the expired block; the message is short."""
    config = two_relays(tmp_path)
    address, torrc = str(tmp_path / "hostile.socket"), str(tmp_path / "hostile")
    begun = time.monotonic()
    with HostileControl(behaviour(ANSWERS[kind], torrc), "", address, torrc):
        done = exitpol(config, "expire", "--quiet")
    assert done.fault is None, done
    assert len(done.output) < 20_000
    assert "203.0.113.7" not in (tmp_path / "f/other.conf").read_text(), done
    assert time.monotonic() - begun < SECONDS
    record(THING, 1)


@pytest.mark.root
@pytest.mark.parametrize(
    ("act", "said", "without"),
    [
        pytest.param("kill -STOP $$", "has not ended within", (), marks=pytest.mark.slow),
        ("kill -STOP $$", "has not ended within", ("kill",)),
        ("exec cat /dev/zero", "has printed more than", ()),
        ("exec cat /dev/zero >&2", "has printed more than", ("kill",)),
        pytest.param(
            "sleep 60 & exit 0", "has not ended within", ("kill",), marks=pytest.mark.slow
        ),
    ],
    ids=["stops", "stops, in the unit", "prints", "prints errors", "leaves a process"],
)
def test_blocks_end_whatever_tors_user_does_with_what_runs_as_him(
    open_folder: Path, act: str, said: str, without: tuple[str, ...]
) -> None:
    """He may send signals to each tor that verifies, or trace it; the other relay waits seconds.

    The timer's unit has no CAP_KILL: it cannot end a program of his.
    """
    program = open_folder / "tor"
    program.write_text(f"#!/bin/sh\necho $$ >> {open_folder}/hostile-data/pids\n{act}\n")
    program.chmod(0o755)
    config = two_relays(open_folder, f", tor: {program}, user: nobody")
    (open_folder / "hostile-data").chmod(0o777)
    try:
        done = exitpol(config, "expire", "--quiet", without=without)
    finally:
        for pid in (open_folder / "hostile-data/pids").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)
    assert done.fault is None, done
    assert said in done.output
    assert "203.0.113.7" not in (open_folder / "f/other.conf").read_text(), done
    record(THING, 1)


def test_an_internal_error_is_that_of_one_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody has thought of is a problem of the relay, with its name, and is not raised."""

    def fail(*_: object) -> None:
        raise ValueError("unheard of" + os.linesep + "x" * 1000)

    monkeypatch.setattr(inspect, "connect", fail)
    relay = Relay("a", tmp_path / "torrc", str(tmp_path / "socket"))
    view = inspect.inspect_relay(relay, inspect.Candidate(tmp_path / "f", "", ()))
    assert view.running is None
    assert view.configured is None
    assert "relay 'a': ValueError: unheard of" in str(view.broken)
    assert len(str(view.broken)) < 300


def test_an_answer_that_is_refused_is_a_tor_that_cannot_be_reached(tmp_path: Path) -> None:
    """Also during a reload, and not an error that ends the work on other relays."""
    relay = Relay("a", tmp_path / "torrc", str(tmp_path / "socket"))
    (tmp_path / "torrc").write_text("ExitRelay 1\n")

    def answer(command: str) -> bytes | None:
        return (
            b'552 Unrecognized configuration key "x"\r\n' if command.startswith("GETCONF") else None
        )

    with (
        HostileControl(behaviour(answer, ""), "", relay.control, ""),
        pytest.raises(TorUnreachableError, match="does not say"),
        connect(relay) as control,
    ):
        control.get_conf(["ExitPolicy"])
