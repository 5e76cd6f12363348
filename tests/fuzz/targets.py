"""What is fuzzed: whatever bytes come, each reader ends in a value or in a documented error."""

import contextlib
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exitpolicy.complaint import as_json, read_complaint
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.durations import parse_end, parse_start, parse_until
from exitpolicy.core.errors import ExitpolError
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.limits import measure
from exitpolicy.policy.rule import parse_policy
from exitpolicy.storage import config, ledger_file
from exitpolicy.tor import fragment_include

_NOW: Final = datetime(2026, 11, 22, 10, tzinfo=UTC)
_OWN: Final = parse_destination("185.220.101.4")
_PROTECTED: Final = parse_destination("198.51.100.0/24")
_CORPUS: Final = Path(__file__).parents[1] / "corpus"
_ANYWHERE: Final = Destination(4, 0, 2**32 - 1)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def ledger(data: bytes) -> None:
    """Read a ledger; what can be read is written so that it is read again as the same."""
    found = ledger_file.parse("ledger", data)
    again = ledger_file.parse("ledger", ledger_file.render(found))
    assert again == found, "a ledger that is written is not read as the same"


def configuration(data: bytes) -> None:
    """Read a config."""
    config.parse(Path("/etc/exitpol/config.yaml"), data)


def destination(data: bytes) -> None:
    """Read a destination; its canonical text means the same."""
    found = parse_destination(_text(data))
    assert parse_destination(str(found)) == found, "the canonical text means something else"


def when(data: bytes) -> None:
    """Read the three kinds of times."""
    text = _text(data)
    with contextlib.suppress(ExitpolError):
        parse_until(text, _NOW)
    with contextlib.suppress(ExitpolError):
        parse_end(text)
    with contextlib.suppress(ExitpolError):
        parse_start(text)


def policy(data: bytes) -> None:
    """Read a live policy, and put it to every use there is."""
    rules = parse_policy(_text(data).splitlines())
    Decisions(rules).deciding(_ANYWHERE)
    measure(rules, None)


def torrc_file(data: bytes) -> None:
    """Find the include in a torrc, put a candidate in its place, and add one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, fragment = folder / "torrc", folder / "exitpol.conf"
        path.write_bytes(data.replace(b"FRAGMENT", str(fragment).encode()))
        fragment.write_text("ExitPolicy reject 192.0.2.1:*\n")
        for use in (
            lambda: fragment_include.include_place(path, fragment, folder),
            lambda: fragment_include.redirected(path, fragment, "", folder),
            lambda: fragment_include.with_include(path, fragment, folder),
        ):
            try:
                use()
            except ExitpolError:
                continue


def complaint(data: bytes) -> None:
    """Read a complaint: any bytes give one, and what is said of it can be printed."""
    try:
        found = read_complaint(data, own=(_OWN,), protected=(_PROTECTED,))
    except ExitpolError as error:
        raise AssertionError("a complaint is never refused") from error
    json.dumps(as_json(found), ensure_ascii=False).encode()
    for candidate in found.candidates:
        assert not candidate.destination.overlaps(_OWN), "the relay itself"
        assert not candidate.destination.overlaps(_PROTECTED), "what is protected"


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "ledger": ledger,
    "config": configuration,
    "destination": destination,
    "when": when,
    "policy": policy,
    "torrc": torrc_file,
    "complaint": complaint,
}

SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "ledger": (
        (
            b'version: 1\nblocks:\n- {destination: "203.0.113.7:22", since: "2026-11-22T10:00:00Z",'
            b' until: "2026-12-22T10:00:00Z", reason: "SSH", reference: "KZ#1"}\n'
        ),
        b"version: 1\nblocks: []\n",
        b"version: 1\nblocks: &a [*a]\n",
        b"version: 1\nblocks: !!python/object:x {}\n",
        b"- " * 300,
        b"{" * 3000,
    ),
    "config": (
        (
            b"ledger: a\nfragment: b\nrelays:\n- {name: x, torrc: /t, control: 127.0.0.1:9051}\n"
            b"protected: [198.51.100.0/24]\nmax_prefix: {ipv4: 16, ipv6: 32}\noperator: {name: n}\n"
        ),
        b"relays: [{name: x, torrc: y, control: z, password_file: w}]\n",
    ),
    "destination": (
        b"203.0.113.7", b"203.0.113.0/24:22,80", b"203.0.113.5-203.0.113.20:6000-6010",
        b"[2001:db8::1]:22", b"[2001:db8::]/32:*", b"::ffff:192.0.2.1", b"1[.]2[.]3[.]4",
    ),
    "when": (
        b"30d", b"1d12h", b"6mo", b"never", b"2027-01-31", b"2027-01-31T18:00:00+02:00",
        b"9" * 400 + b"d", b"9999-12-31T23:59:59-23:59",
    ),
    "policy": (
        b"reject 203.0.113.7:*\naccept *:*", b"reject6 [2001:db8::]/32:1-65535\naccept6 *:*",
        b"reject private:*,accept *4:80", b"reject 1.2.3.4/255.255.0.0:25",
    ),
    "torrc": (
        b"ORPort 9001\n%include FRAGMENT\nExitPolicy accept *:*\n",
        b'%include "FRAGMENT" # x\nExitPolicy \\\n reject *:25\n',
        b"%include torrc\n%include *\n", b"ExitPolicy\\\n" * 50,
    ),
    "complaint": tuple(path.read_bytes() for path in sorted(_CORPUS.glob("*.eml"))[::12]),
}  # fmt: skip
"""Where the fuzzing begins; what it found once stands here too."""


def try_one(target: str, data: bytes) -> None:
    """Feed one input to a target: anything but a documented error comes out."""
    try:
        TARGETS[target](data)
    except ExitpolError:
        return
