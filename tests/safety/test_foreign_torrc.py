"""The torrc lies in a folder of Tor's user, who plants links in it: root follows none of them."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations import adoptable, init
from exitpolicy.operations.host import Host
from exitpolicy.storage import config as config_file
from exitpolicy.tor import verify
from exitpolicy.tor.invocation import Invocation
from exitpolicy.tor.torrc_includes import Place
from tests.evidence import Thing, record
from tests.harness.attack import NOBODY, as_nobody, exitpol, picture

THING = Thing.FOREIGN_FOLDER
pytestmark = pytest.mark.root

SECRET = "root-only-secret-8f1b"
STUB = """\
#!/bin/sh
cat >> {seen}
echo 'Configuration was valid'
echo 'ExitRelay 1'
"""
COMMANDS = ("init", "tick", "doctor")


def torrc_is_a_link(root: Path, home: Path) -> None:
    """Make the torrc a link to a file of root's."""
    as_nobody("ln", "-sf", str(root / "secret"), str(home / "torrc"))


def include_is_a_link(root: Path, home: Path) -> None:
    """Make the file that includes the fragment a link: its text is taken into the candidate."""
    as_nobody("ln", "-sf", str(root / "secret"), str(home / "more.conf"))


def include_is_a_hard_link(root: Path, home: Path) -> None:
    """Make it a second name of root's file, as where protected_hardlinks is 0."""
    (home / "more.conf").unlink(missing_ok=True)
    (home / "more.conf").hardlink_to(root / "secret")


def folder_is_a_link(root: Path, home: Path) -> None:
    """Make the folder of the torrc a link to a folder of root's."""
    as_nobody("sh", "-c", f"mv {home}/in {home}/gone; ln -s {root} {home}/in")


def host_of(folder: Path, torrc: Path) -> Path:
    """Make the config of a relay whose Tor is a program that shows what it is given."""
    seen, program = folder / "seen", folder / "tor"
    seen.touch()
    seen.chmod(0o666)
    program.write_text(STUB.format(seen=seen))
    program.chmod(0o755)
    config = folder / "c.yaml"
    config.write_text(
        f"ledger: var/blocks.yaml\nfragments: exitpol\nrelays:\n- {{name: a, torrc: {torrc},"
        f" control: {folder}/none, tor: {program}, user: nobody}}\n"
    )
    return config


def made_by_nobody(path: Path, text: str | None = None) -> None:
    """Make a file, or a folder where there is no text, of the user nobody."""
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize(
    "plant", [torrc_is_a_link, include_is_a_link, include_is_a_hard_link, folder_is_a_link]
)
def test_tors_user_reads_no_file_of_roots(
    open_folder: Path, plant: Callable[[Path, Path], None]
) -> None:
    """What root reads as a torrc is given to a process of Tor's user, who can see its input."""
    root, home, fragment = (open_folder / name for name in ("root", "home", "exitpol/a.conf"))
    root.mkdir(mode=0o700)
    fragment.parent.mkdir()
    fragment.write_text("")
    (root / "secret").write_text(f"%include {fragment}\nContactInfo {SECRET}\n")
    (root / "secret").chmod(0o600)
    (root / "torrc").hardlink_to(root / "secret")
    made_by_nobody(home)
    made_by_nobody(home / "in")
    for path in (home / "torrc", home / "in" / "torrc"):
        made_by_nobody(path, f"ExitRelay 1\n%include {home}/more.conf\n")
    made_by_nobody(home / "more.conf", f"%include {fragment}\n")
    config = host_of(
        open_folder, home / "in/torrc" if "folder" in plant.__name__ else home / "torrc"
    )
    plant(root, home)
    before = picture(root)
    for command in COMMANDS:
        done = exitpol(config, *command.split())
        assert done.fault is None, done
        assert SECRET not in done.output, (command, done.output)
        assert SECRET not in (open_folder / "seen").read_text(), command
        record(THING, 1)
    assert picture(root) == before


def test_init_writes_no_torrc_through_a_link(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tor's user puts a link in place of his torrc between its verification and the change."""
    root, home = open_folder / "root", open_folder / "home"
    root.mkdir(mode=0o700)
    (root / "profile").write_text("echo of root's\n")
    made_by_nobody(home)
    made_by_nobody(home / "torrc", "ContactInfo $(id)\nExitRelay 1\n")
    config = host_of(open_folder, home / "torrc")
    before = picture(root)
    verify_first = verify.verify

    def swap(invocation: Invocation, text: str) -> tuple[str, ...]:
        said = verify_first(invocation, text)
        if "exitpol/a.conf" in text:
            as_nobody("ln", "-sf", str(root / "profile"), str(home / "torrc"))
        return said

    monkeypatch.setattr(verify, "verify", swap)
    host = Host.of(config_file.load(config), who="root", clock=lambda: datetime.now(UTC))
    with pytest.raises(InvalidFileError, match="symbolic link"):
        init.carry_out(init.plan(host))
    assert picture(root) == before
    record(THING, 1)


def test_tors_user_does_not_choose_which_file_adopt_changes(open_folder: Path) -> None:
    """A torrc that becomes a link after it was read leads to no file of root's, or another's."""
    root, home = open_folder / "root", open_folder / "home"
    root.mkdir()
    (root / "torrc").write_text("ExitPolicy reject 203.0.113.7:*\n")
    made_by_nobody(home)
    made_by_nobody(home / "real", "ExitPolicy reject 203.0.113.7:*\n")
    as_nobody("ln", "-s", str(root / "torrc"), str(home / "torrc"))
    with pytest.raises(InvalidFileError, match="that is not that user's"):
        adoptable.resolved(Place(home / "torrc", 1))
    as_nobody("ln", "-s", "real", str(home / "own"))
    assert adoptable.resolved(Place(home / "own", 1)) == Place(home / "real", 1)
