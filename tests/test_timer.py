"""`timer`: the units that are installed name this installation, and systemd understands them."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy import tick
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host
from exitpolicy.storage.config import Config, Relay


def host(folder: Path, **config: Path) -> Host:
    """Return a host whose files lie below a folder."""
    found = Config(ledger=folder / "l/blocks.yaml", fragment=folder / "t/exitpol.conf")
    if "source" in config:
        found = Config(ledger=found.ledger, fragment=found.fragment, source=config["source"])
    relays = (Relay("default", folder / "t/torrc", "/run/tor/control", config.get("password")),)
    return Host(found, relays, "root", lambda: datetime.now(UTC))


def service(of: Host) -> str:
    """Return the text of the service."""
    return timer.units(of)["exitpol-expire.service"]


def line(text: str, name: str) -> str:
    """Return the value of a line of a unit."""
    (value,) = [li.partition("=")[2] for li in text.splitlines() if li.startswith(f"{name}=")]
    return value


def test_the_service_runs_the_tick_of_this_installation(tmp_path: Path) -> None:
    """Interpreter, tick, state and command are those of the exitpol that installed it."""
    at = host(tmp_path)
    assert line(service(at), "ExecStart") == (
        f"{sys.executable} -I -S {tick.__file__} {tmp_path}/l/state"
        f" -- {sys.executable} -I -m exitpolicy expire --quiet"
    )
    assert not re.search("@[A-Z_]+@", service(at))


def test_a_config_that_was_named_is_named_again(tmp_path: Path) -> None:
    """The timer reads the config that init was given."""
    source = tmp_path / "c.yaml"
    assert f" --config {source} expire --quiet" in line(
        service(host(tmp_path, source=source)), "ExecStart"
    )


def test_only_the_folders_that_are_replaced_in_are_writable(tmp_path: Path) -> None:
    """Everything else on the host is read-only to the timer."""
    assert line(service(host(tmp_path)), "ReadWritePaths") == f"{tmp_path}/l {tmp_path}/t"


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/a/b", "/a/b"),
        ("/a b", '"/a b"'),
        ('/a"b', '"/a\\"b"'),
        ("/a\\b", '"/a\\\\b"'),
        ("/a%b", "/a%%b"),
        ("/a$b", "/a$$b"),
        ("/a;b", '"/a;b"'),
    ],
)
def test_a_path_is_one_word_of_a_command_line(word: str, quoted: str) -> None:
    """Blanks, quotes, specifiers and variables of systemd are taken as they are."""
    assert timer._quoted(word) == quoted


@pytest.mark.parametrize("at", ["/home/u", "/root", "/run/user/0"])
def test_a_home_is_readable_where_something_lies_in_one(at: str) -> None:
    """ProtectHome would hide it; nothing of a home becomes writable by that."""
    text = service(host(Path("/srv"), source=Path(at) / "c.yaml"))
    assert line(text, "ProtectHome") == "read-only"
    password = service(host(Path("/srv"), password=Path(at) / "pw"))
    assert line(password, "ProtectHome") == "read-only"


def test_the_timer_ticks_every_minute_and_makes_up_for_missed_ticks(tmp_path: Path) -> None:
    """A block ends on its day also where the machine was off, or its clock was set."""
    text = timer.units(host(tmp_path))["exitpol-expire.timer"]
    assert [line(text, name) for name in ("OnCalendar", "Persistent", "OnClockChange")] == [
        "minutely",
        "true",
        "true",
    ]


ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """systemd-analyze finds nothing wrong with either of them."""
    for name, text in timer.units(host(tmp_path)).items():
        (tmp_path / name).write_text(text)
    result = subprocess.run(
        [ANALYZE or "", "verify", "--recursive-errors=no", *timer.UNITS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [text for text in result.stderr.splitlines() if "exitpol-expire" in text]
    assert (result.returncode, ours) == (0, [])


def test_without_systemd_the_hint_is_a_line_for_cron(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed; the line runs the same tick, with % as cron wants it."""
    monkeypatch.setattr(timer, "_RUNNING", tmp_path / "none")
    with pytest.raises(InvalidFileError, match="is not run by systemd") as caught:
        timer.install(host(tmp_path / "a%b c"), tmp_path)
    first, cron = (caught.value.hint or "").splitlines()
    assert first == "put this line into /etc/cron.d/exitpol:"
    assert cron.startswith(f"* * * * * root {sys.executable} -I -S ")
    assert f"'{tmp_path}/a\\%b c/l/state'" in cron
    assert list(tmp_path.iterdir()) == []
