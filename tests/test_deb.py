"""The Debian package never deletes what a Tor may read, and runs with Debian's Python.

The maintainer scripts run on a folder, as dpkg runs them with DPKG_ROOT.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from exitpolicy import __version__

ROOT: Final = Path(__file__).parents[1]
SCRIPTS: Final = ROOT / "scripts" / "debian"
SH: Final = "/bin/sh"
DEBIAN_PYTHON: Final = "/usr/bin/python3"
COMPLAINT: Final = ROOT / "tests" / "corpus" / "asterisk-sip.eml"
KEPT: Final = ("etc/tor/exitpol/default.conf", "etc/tor/exitpol.conf", "etc/tor/torrc")
OWN: Final = ("etc/exitpol/config.yaml", "var/lib/exitpol/blocks.yaml")
UNITS: Final = (
    "etc/systemd/system/exitpol-expire.service",
    "etc/systemd/system/exitpol-expire.timer",
    "etc/systemd/system/timers.target.wants/exitpol-expire.timer",
    "etc/systemd/system/exitpol-follow.service",
    "etc/systemd/system/exitpol-follow.timer",
    "etc/systemd/system/timers.target.wants/exitpol-follow.timer",
    "etc/systemd/system/exitpol-hooks.service",
    "etc/systemd/system/exitpol-hooks.timer",
    "etc/systemd/system/timers.target.wants/exitpol-hooks.timer",
    "var/spool/exitpol/events.json",
    "etc/systemd/system/exitpol-guard.service",
    "etc/systemd/system/exitpol-guard.timer",
    "etc/systemd/system/timers.target.wants/exitpol-guard.timer",
)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a folder with the files of a host on which exitpol was set up."""
    for name in (*KEPT, *OWN, *UNITS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    return tmp_path


def run(name: str, argument: str, host: Path) -> str:
    """Run a maintainer script with its first argument; return what it says."""
    done = subprocess.run(
        [SH, SCRIPTS / f"exitpol.{name}", argument],
        check=False, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "DPKG_ROOT": str(host)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def there(host: Path, names: tuple[str, ...]) -> list[str]:
    """Return which of these files exist."""
    return [name for name in names if (host / name).exists()]


INCLUDES: Final = [
    ("etc/tor/torrc", "%include /etc/tor/exitpol/default.conf"),
    ("etc/tor/torrc", '\t%Include "/etc/tor/exitpol.conf"'),
    ("etc/tor/torrc", "%include /etc/tor/exitpol/*.conf"),
    ("etc/tor/instances/a/torrc", "ORPort 9001\n%include  /etc/tor/exitpol/a.conf"),
]


@pytest.mark.parametrize(("torrc", "line"), INCLUDES)
def test_a_purge_keeps_all_that_an_include_needs(torrc: str, line: str, host: Path) -> None:
    """The fragment, and the ledger that says what is in it; the torrc is named."""
    (host / torrc).parent.mkdir(parents=True, exist_ok=True)
    (host / torrc).write_text(f"{line}\n")
    said = run("postrm", "purge", host)
    assert there(host, (*KEPT, *OWN)) == [*KEPT, *OWN]
    assert there(host, UNITS) == []
    assert f"because these include one: /{torrc}\n" in said
    assert str(host) not in said


def test_a_purge_without_an_include_removes_all_but_the_fragments(host: Path) -> None:
    """A torrc in another place may include them: they stay, and are named."""
    said = run("postrm", "purge", host)
    assert there(host, KEPT) == list(KEPT)
    assert there(host, (*OWN, *UNITS)) == []
    assert not (host / "var/lib/exitpol").exists()
    assert "kept /etc/tor/exitpol:" in said
    assert "kept /etc/tor/exitpol.conf:" in said


@pytest.mark.parametrize("line", ["# %include /etc/tor/exitpol.conf", "%include /etc/tor/exitpolx"])
def test_another_line_is_no_include(line: str, host: Path) -> None:
    """A comment or the include of another file keeps nothing."""
    (host / "etc/tor/torrc").write_text(f"{line}\n")
    run("postrm", "purge", host)
    assert there(host, OWN) == []


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        *(("postrm", word) for word in ("remove", "upgrade", "abort-install", "disappear")),
        *(("prerm", word) for word in ("remove", "upgrade", "deconfigure", "failed-upgrade")),
        *(("postinst", word) for word in ("configure", "abort-upgrade", "abort-remove")),
    ],
)
def test_nothing_else_deletes_a_file(name: str, argument: str, host: Path) -> None:
    """Removal and upgrade leave the config, the ledger, the units and the fragments."""
    run(name, argument, host)
    assert there(host, (*KEPT, *OWN, *UNITS)) == [*KEPT, *OWN, *UNITS]


@pytest.mark.parametrize(("torrc", "line"), INCLUDES)
def test_a_removal_says_what_stays_in_force(torrc: str, line: str, host: Path) -> None:
    """Tor goes on enforcing the blocks, and nothing lifts them."""
    (host / torrc).parent.mkdir(parents=True, exist_ok=True)
    (host / torrc).write_text(f"{line}\n")
    assert f"/{torrc} still includes its fragment" in run("prerm", "remove", host)
    assert run("prerm", "upgrade", host) == ""


@pytest.fixture
def booted(host: Path) -> Path:
    """Return the folder with /usr, and a systemctl that only writes down how it was called."""
    for name in ("usr", "fake", "dev", "run/systemd/system"):
        (host / name).mkdir(parents=True)
    (host / "dev" / "null").touch()
    for name in ("bin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (host / name).symlink_to(f"usr/{name}")
    systemctl = host / "fake" / "systemctl"
    systemctl.write_text(
        '#!/bin/sh\necho "$*" >>/calls\n'
        "for unit; do :; done; link=/etc/systemd/system/timers.target.wants/$unit\n"
        'case "$*" in *is-enabled*) test -e "$link" ;; *disable*) rm "$link" ;; esac\n'
    )
    systemctl.chmod(0o755)
    return host


def calls(booted: Path, *steps: str) -> list[str]:
    """Run maintainer scripts in a chroot, each as `NAME ARGUMENT`; return systemctl's calls."""
    for step in steps:
        name, argument = step.split()
        shutil.copy(SCRIPTS / f"exitpol.{name}", booted / "script")
        inside = 'mount --bind /usr "$0/usr" && exec chroot "$0" /bin/sh /script "$1"'
        subprocess.run(
            ["/usr/bin/unshare", "--mount", SH, "-e", "-c", inside, booted, argument],
            check=True, capture_output=True, timeout=60, env={"PATH": "/fake:/usr/sbin:/usr/bin"},
        )  # fmt: skip
    found = (booted / "calls").read_text().splitlines()
    return [call for call in found if "is-enabled" not in call]


STOP: Final = (
    "stop exitpol-expire.timer exitpol-expire.service exitpol-follow.timer exitpol-follow.service"
    " exitpol-guard.timer exitpol-guard.service exitpol-hooks.timer exitpol-hooks.service"
)
START: Final = [f"start exitpol-{name}.timer" for name in ("expire", "follow", "guard", "hooks")]
DISABLE: Final = [
    "--quiet disable exitpol-expire.timer",
    "--quiet disable exitpol-follow.timer",
    "--quiet disable exitpol-guard.timer",
    "--quiet disable exitpol-hooks.timer",
]


@pytest.mark.root
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("prerm upgrade", "postrm upgrade", "postinst configure"), [STOP, *START]),
        (("prerm upgrade", "postinst abort-upgrade"), [STOP, *START]),
        (("prerm deconfigure", "postinst configure"), [STOP, *START]),
        (("prerm remove", "postinst abort-remove"), [STOP, *START]),
        (("prerm remove", "postrm remove"), [STOP, *DISABLE]),
        (("prerm remove", "postrm remove", "postinst configure"), [STOP, *DISABLE]),
        (
            ("prerm remove", "postrm remove", "postrm purge"),
            [STOP, *DISABLE, "daemon-reload"],
        ),
    ],
)  # fmt: skip
def test_the_timer_runs_again_unless_the_package_is_removed(
    steps: tuple[str, ...], expected: list[str], booted: Path
) -> None:
    """A release upgrade of Debian deconfigures packages: blocks must be lifted after it, too."""
    assert calls(booted, *steps) == expected


def test_the_package_depends_on_each_dependency_or_holds_it() -> None:
    """A dependency that is added to pyproject.toml is added to the package."""
    control = (SCRIPTS / "control").read_text()
    build = (ROOT / "scripts" / "deb").read_text()
    locked = (ROOT / "requirements.lock").read_text()
    # Typer works without these: exitpol writes no rich text. Jinja2 depends on markupsafe.
    needless = {"rich", "pygments", "markdown-it-py", "mdurl", "markupsafe"}
    for line in locked.splitlines():
        name = line.partition("==")[0]
        if "==" in line and name not in needless:
            package = f"python3-{name.removeprefix('py')}"
            assert f" {package}" in control or f'"{name}"' in build, name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this is not Debian")
def test_it_is_built_and_runs_with_the_python_of_debian(tmp_path: Path) -> None:
    """scripts/deb ends with a lintian without complaints; the program needs no virtual environment.

    The child process that reads a mail, and the command of the timer, find all that they need.
    """
    built = subprocess.run(
        [ROOT / "scripts" / "deb", tmp_path],
        check=False, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr + built.stdout
    package = tmp_path / f"exitpol_{__version__}_all.deb"
    tree = tmp_path / "tree"
    subprocess.run(["/usr/bin/dpkg-deb", "-x", package, tree], check=True)
    for name in ("bin/exitpol", "share/man/man1/exitpol.1.gz", "share/man/man5/exitpol.yaml.5.gz"):
        assert (tree / "usr" / name).is_file()
    modules = tree / "usr" / "lib" / "python3" / "dist-packages"
    start = f"import sys, runpy; sys.path.insert(0, {str(modules)!r}); "
    program = start + f"runpy.run_path({str(tree / 'usr/bin/exitpol')!r})"
    timer = start + "runpy.run_module('exitpolicy', run_name='__main__')"
    for code in (program, timer):
        done = subprocess.run(
            [DEBIAN_PYTHON, "-I", "-c", code, "complaint", COMPLAINT, "--json"],
            check=False, capture_output=True, text=True, timeout=60, env={},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["reporter"] == "voip@telco.example"
