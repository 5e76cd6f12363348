"""The role installs exitpol from a Debian package, or from a wheel with hashes."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.ansible.hosts import Fleet, fleet, single

pytest.importorskip("ansible")
pytestmark = [pytest.mark.tor, pytest.mark.root, pytest.mark.slow]

PROGRAM: Final = f'#!/bin/sh\nexec {sys.executable} -I -m exitpolicy "$@"\n'
"""In place of exitpol's own program: all dependencies are those of the tests."""


def package(folder: Path, version: str) -> Path:
    """Build a Debian package with that program."""
    root = folder / f"exitpol-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: exitpol\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\n"
        "Description: a program in place of exitpol\n"
    )
    (root / "usr" / "bin" / "exitpol").write_text(PROGRAM)
    (root / "usr" / "bin" / "exitpol").chmod(0o755)
    built = folder / f"exitpol_{version}_all.deb"
    command = ["/usr/bin/dpkg-deb", "--root-owner-group", "--build", str(root), str(built)]
    subprocess.run(command, check=True, capture_output=True)
    return built


def wheel(folder: Path, name: str, requires: str = "", code: str = "") -> Path:
    """Write a wheel of one module."""
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": code,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
    built = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(built, "w") as archive:
        for path, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(path, text)
    return built


def checked_and_run(found: Fleet, role: dict[str, str], *options: str) -> None:
    """Run the role in check mode, twice for real, and compare what has changed."""
    host = found["exit"]
    before = host.snapshot()
    tried = found.play("--check", "--diff", *options, role=role)
    assert tried.code == 0, tried.output
    assert tried.changed()["exit"] > 0
    assert host.snapshot() == before
    done = found.play(*options, role=role)
    assert done.code == 0, done.output
    before = host.snapshot()
    again = found.play(*options, role=role)
    assert (again.code, again.changed()) == (0, {"exit": 0}), again.output
    assert host.snapshot() == before


def test_a_debian_package_is_installed_and_upgraded(tmp_path: Path) -> None:
    """On a host without exitpol: check mode, two runs, and then a new version."""
    if subprocess.run(["/usr/bin/python3", "-c", "import apt"], check=False).returncode != 0:
        pytest.skip("needs python3-apt")
    with fleet(tmp_path, {"exit": single}) as found:
        host = found["exit"]
        host.start_tors()
        checked_and_run(found, {"exitpol_deb": str(package(tmp_path, "1.0"))})
        assert host.exitpol("block", "203.0.113.7", "--until", "1d").returncode == 0
        newer = found.play(role={"exitpol_deb": str(package(tmp_path, "1.1"))})
        assert newer.code == 0, newer.output
        version = host.run("dpkg-query", "--show", "--showformat=${Version}", "exitpol").stdout
        assert version == "1.1"


def test_a_wheel_is_installed_with_hashes(tmp_path: Path) -> None:
    """A dependency with another hash is refused, and nothing is taken for installed."""
    with fleet(tmp_path, {"exit": single}) as found:
        host = found["exit"]
        dependency = wheel(tmp_path, "dependency", code="WORD = 'hello'\n")
        program = wheel(
            tmp_path, "exitpol", "Requires-Dist: dependency\n",
            "import dependency\n\n\ndef main():\n    print(dependency.WORD)\n",
        )  # fmt: skip
        lock = tmp_path / "requirements.lock"
        role = {
            "exitpol_wheel": str(program),
            "exitpol_requirements": str(lock),
            "exitpol_pip_arguments": f"--no-index --find-links {tmp_path}",
        }
        lock.write_text(f"dependency==1.0 --hash=sha256:{'0' * 64}\n")
        refused = found.play("--tags", "exitpol_install", role=role)
        assert refused.recap["exit"]["failed"] == 1, refused.output
        assert "DO NOT MATCH" in refused.output
        digest = hashlib.sha256(dependency.read_bytes()).hexdigest()
        lock.write_text(f"dependency==1.0 --hash=sha256:{digest}\n")
        checked_and_run(found, role, "--tags", "exitpol_install")
        assert host.exitpol().stdout == "hello\n"
        # The same version with another content is another program.
        dependency.unlink()
        wheel(tmp_path, "exitpol", code="def main():\n    print('again')\n")
        lock.write_text("")
        newer = found.play("--tags", "exitpol_install", role=role)
        assert newer.code == 0, newer.output
        assert host.exitpol().stdout == "again\n"
