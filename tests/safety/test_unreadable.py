"""Files that root can read and Tor's own user cannot: a reload would end Tor."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.attack import NOBODY
from tests.harness.host import ExitHost
from tests.safety.relays import unprivileged_host

THING = Thing.UNREADABLE
pytestmark = [pytest.mark.root, pytest.mark.tor]

COMMANDS: list[tuple[str, ...]] = [
    ("block", "203.0.113.9", "--until", "1d"),
    ("lift", "203.0.113.7"),
    ("apply",),
    ("tick",),
    ("status", "--check"),
]


def torrc_0600(host: ExitHost) -> None:
    """Close the torrc for everybody but root."""
    host.tor.torrc.chmod(0o600)
    os.chown(host.tor.torrc, 0, 0)


def other_include_0600(host: ExitHost) -> None:
    """Add a second include, of root's."""
    other = host.folder / "other.conf"
    other.write_text("ContactInfo x\n")
    other.chmod(0o600)
    host.tor.add(f"%include {other}")


def include_in_0700(host: ExitHost) -> None:
    """Add a second include in a folder of root's."""
    folder = host.folder / "closed"
    folder.mkdir(mode=0o700)
    (folder / "x.conf").write_text("ContactInfo x\n")
    host.tor.add(f"%include {folder}/x.conf")


def fragment_0600(host: ExitHost) -> None:
    """Take away the fragment's mode, as a restored backup does."""
    host.fragment.chmod(0o600)


def fragment_of_another_group(host: ExitHost) -> None:
    """Make the fragment root's, with mode 0640."""
    os.chown(host.fragment, 0, 0)
    host.fragment.chmod(0o640)


def folder_0700(host: ExitHost) -> None:
    """Close the folder of the fragment for others."""
    host.folder.chmod(0o700)


def umask_077(_host: ExitHost) -> None:
    """Set a umask that closes new files."""
    os.umask(0o077)


def umask_000(_host: ExitHost) -> None:
    """Set a umask that opens new files for everybody."""
    os.umask(0)


CLOSINGS: list[Callable[[ExitHost], None]] = [
    torrc_0600, other_include_0600, include_in_0700, fragment_0600, fragment_of_another_group,
    folder_0700, umask_077, umask_000,
]  # fmt: skip
QUICK = (torrc_0600,)


@pytest.mark.parametrize(
    "closing",
    [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CLOSINGS],
    ids=lambda closing: closing.__name__,
)
def test_what_tor_cannot_read_is_never_loaded(
    open_folder: Path, closing: Callable[[ExitHost], None]
) -> None:
    """Whatever is closed, before whichever command: Tor lives, and could be reloaded after it."""
    umask = os.umask(0o022)
    tries = 0
    try:
        for command in COMMANDS:
            base = open_folder / command[0]
            base.mkdir()
            base.chmod(0o755)
            host = unprivileged_host(base)
            try:
                assert host.run("init").code == 0
                assert host.run("block", "203.0.113.7", "203.0.113.8", "--until", "1d").code == 0
                closing(host)
                for _ in range(2):
                    done = host.tick() if command == ("tick",) else host.run(*command)
                    assert host.tor.alive, (command, done, host.tor.log())
                    assert "Traceback" not in done.err
                modes = [p for p in base.rglob("*") if p.is_file() and p.stat().st_mode & 0o002]
                assert modes == [], "writable by everybody"
                tries += 1
            finally:
                host.tor.stop()
                os.umask(0o022)
                shutil.rmtree(base)
    finally:
        os.umask(umask)
    record(THING, tries)


@pytest.mark.parametrize(
    "closing", [torrc_0600, include_in_0700], ids=lambda closing: closing.__name__
)
def test_the_hint_opens_what_tor_needs_to_tor_alone(
    open_folder: Path, closing: Callable[[ExitHost], None]
) -> None:
    """The command in the hint lets Tor's user read the file, and nobody else."""
    base = open_folder / "hint"
    base.mkdir(mode=0o755)
    host = unprivileged_host(base)
    try:
        assert host.run("init").code == 0
        # As on Debian: the torrc and its folder are root's.
        for path in (host.tor.folder, host.tor.torrc):
            os.chown(path, 0, 0)
        host.tor.folder.chmod(0o755)
        closing(host)
        refused = host.run("block", "203.0.113.9", "--until", "1d")
        assert refused.code == 5, refused
        hint = refused.err.partition("hint: ")[2].splitlines()[0]
        closed = Path(hint.split()[-1])
        subprocess.run(["/bin/sh", "-c", hint], check=True)
        assert closed.stat().st_mode & 0o007 == 0, hint
        # The include is a change of the operator's own, which waits for him.
        assert host.run("block", "203.0.113.9", "--until", "1d").code in (0, 3)
        assert host.tor.alive
    finally:
        host.tor.stop()


def test_no_hint_opens_what_another_user_has_named(open_folder: Path) -> None:
    """Whoever can change an included file can name any file of root's in it."""
    base = open_folder / "named"
    base.mkdir(mode=0o755)
    host = unprivileged_host(base)
    try:
        assert host.run("init").code == 0
        other, secret = base / "other.conf", base / "secret"
        secret.write_text("a password")
        secret.chmod(0o600)
        other.write_text(f"%include {secret}\n")
        os.chown(other, NOBODY, NOBODY)
        host.tor.add(f"%include {other}")
        refused = host.run("block", "203.0.113.9", "--until", "1d")
        assert refused.code == 5, refused
        assert str(secret) in refused.err
        hint = refused.err.partition("hint: ")[2]
        assert "others than root can change" in hint
        assert not any(command in hint for command in ("chgrp", "chmod", "setfacl")), hint
    finally:
        host.tor.stop()
