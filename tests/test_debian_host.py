"""Stock Debian with two instances, in a mount namespace with Debian's paths and users.

`tor-instance-create` makes a torrc like the ones here, a user, and a folder for its data; the unit
writes the defaults-torrc at each start.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import jinja2
import pytest
import yaml

from tests.harness.tor import ALONE, LOOPBACK, TOR, wait_until

pytestmark = [pytest.mark.tor, pytest.mark.root]

TEMPLATE: Final = Path("/usr/share/tor/tor-service-defaults-torrc-instances")
UNSHARE: Final = shutil.which("unshare")
NSENTER: Final = shutil.which("nsenter")
NAMES: Final = ("alpha", "beta")
RELAYOR: Final = "192.0.2.1_9001"
UIDS: Final = {"alpha": 4801, "beta": 4802, RELAYOR: 4803}
STOCK: Final = "## ORPort 9001\n## Debian's torrc as it is shipped: comments only.\n"
STOPPED: Final = 6
"""The exit code of init where no Tor runs: all is set up, and nothing is enforced."""
OWN: Final = ("/etc/tor", "/run", "/var/lib/tor-instances", "/etc/exitpol", "/var/lib/exitpol")
"""The folders of the host that are empty ones here."""


class Debian:
    """The namespace, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tors: list[subprocess.Popen[bytes]] = []
        script = "".join(f'mount --bind "{self.real(place)}" {place}\n' for place in OWN)
        script += "".join(
            f'mount --bind "{folder}/{name}" /etc/{name}\n' for name in ("passwd", "group")
        )
        for place in OWN:
            self.real(place).mkdir(parents=True, mode=0o755)
            Path(place).mkdir(parents=True, exist_ok=True)
        for name in ("passwd", "group"):
            lines = Path("/etc", name).read_text()
            for each, uid in UIDS.items():
                home = f"/var/lib/tor-instances/{each}"
                fields = f"{uid}::{home}:/bin/false" if name == "passwd" else ""
                lines += f"_tor-{each}:x:{uid}:{fields}\n"
            (folder / name).write_text(lines)
        (folder / "ready").unlink(missing_ok=True)
        self.shell = subprocess.Popen(
            [
                UNSHARE or "", "--mount", "--propagation", "private", "sh", "-ec",
                f'{script}: > "{folder}/ready"; exec sleep 600',
            ],
        )  # fmt: skip
        wait_until((folder / "ready").exists, what="the namespace")

    def real(self, place: str) -> Path:
        """Return where a folder of the namespace is outside of it."""
        return self.folder / "root" / place.lstrip("/")

    def command(self, *words: str) -> list[str]:
        """Return a command that runs in the namespace."""
        return [NSENTER or "", "--mount", f"--target={self.shell.pid}", "--", *words]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run exitpol in the namespace, as root."""
        package = str(Path(__file__).resolve().parents[1])
        return subprocess.run(
            self.command(sys.executable, "-m", "exitpolicy", *arguments),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": package, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    def write_torrc(self, name: str, text: str) -> Path:
        """Write the torrc of an instance, and make what tor-instance-create makes."""
        torrc = self.real("/etc/tor") / "instances" / name / "torrc"
        torrc.parent.mkdir(parents=True, exist_ok=True)
        torrc.write_text(text)
        data = self.real("/var/lib/tor-instances") / name
        data.mkdir(mode=0o700)
        os.chown(data, UIDS[name], UIDS[name])
        return torrc

    def start(self, name: str) -> None:
        """Start an instance as its unit does."""
        run = self.real("/run") / "tor-instances"
        (run / name).mkdir(parents=True)
        (run / name).chmod(0o2755)
        os.chown(run / name, UIDS[name], UIDS[name])
        defaults = TEMPLATE.read_text().replace("@@NAME@@", name)
        # Syslog is that of this host; sockets for clients are not needed.
        (run / f"{name}.defaults").write_text(defaults)
        self.tors.append(
            subprocess.Popen(
                self.command(
                    TOR, "--defaults-torrc", f"/run/tor-instances/{name}.defaults",
                    "-f", f"/etc/tor/instances/{name}/torrc", "--hush",
                ),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip
        wait_until((run / name / "control").exists, what=f"{name} opens its control socket")

    def stop(self) -> None:
        """End what runs in the namespace, by its ids."""
        for process in (*self.tors, self.shell):
            process.kill()
            process.wait()


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Debian]:
    """Make a host with the stock torrc; skip where no namespace can be made."""
    if not (UNSHARE and NSENTER and TEMPLATE.exists()):
        pytest.skip("needs util-linux and Debian's tor")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    host = Debian(tmp_path)
    (host.real("/etc/tor") / "torrc").write_text(STOCK)
    yield host
    host.stop()


def instance(*lines: str) -> str:
    """Return the torrc of an instance that has no network."""
    kept = (line for line in ALONE.splitlines() if not line.startswith("SocksPort"))
    return "\n".join([*LOOPBACK.splitlines(), *kept, "+SocksPort auto", *lines, ""])


def test_stock_debian_with_instances_just_works(debian: Debian) -> None:
    """Init runs before the first start, then a block on both exits; the stock torrc is no relay."""
    torrcs = [debian.write_torrc(name, instance("ExitRelay 1")) for name in NAMES]
    dry = debian.run("init", "--dry-run")
    assert dry.returncode == 0, dry
    assert debian.run("init").returncode == STOPPED
    for name, torrc in zip(NAMES, torrcs, strict=True):
        assert f"%include /etc/tor/exitpol/{name}.conf" in torrc.read_text()
        debian.start(name)
    assert (debian.real("/etc/tor") / "torrc").read_text() == STOCK
    wait_until(lambda: debian.run("init").returncode == 0, what="both Tors answer", pause=0.5)
    done = debian.run("block", "203.0.113.7", "--until", "1d")
    assert done.returncode == 0, done
    assert "live" in done.stdout
    config = (debian.real("/etc/exitpol") / "config.yaml").read_text()
    assert 'control: "/run/tor-instances/alpha/control"' in config
    assert "default" not in config
    lifted = debian.run("lift", "203.0.113.7")
    assert lifted.returncode == 0, lifted


def test_a_relay_that_appears_later_is_reported_and_added_by_name(debian: Debian) -> None:
    """`status --check` and `doctor` name it; `init --torrc` adds it to the config."""
    debian.write_torrc("alpha", instance("ExitRelay 1"))
    assert debian.run("init").returncode == STOPPED
    new = debian.write_torrc("beta", instance("ExitRelay 1"))
    for command in (("status", "--check"), ("doctor",)):
        done = debian.run(*command)
        assert "/etc/tor/instances/beta/torrc opens an ORPort" in done.stdout + done.stderr, done
    before = new.read_text()
    assert debian.run("init").returncode == STOPPED
    assert new.read_text() == before
    assert debian.run("init", "--torrc", "/etc/tor/instances/beta/torrc").returncode == STOPPED
    assert "%include /etc/tor/exitpol/beta.conf" in new.read_text()
    config = (debian.real("/etc/exitpol") / "config.yaml").read_text()
    assert config.count("- {name: ") == 2
    new.rename(new.with_name("away"))
    done = debian.run("status", "--check")
    assert "the torrc of the relay 'beta' is gone" in done.stderr


def test_a_relay_that_is_no_exit_is_left_alone(debian: Debian) -> None:
    """It is recorded, so that nobody is told of it again; alone on a host it is refused (4)."""
    middle = debian.write_torrc("beta", instance("ExitRelay 0"))
    before = middle.read_text()
    alone = debian.run("init")
    assert (alone.returncode, "ExitRelay 0" in alone.stderr) == (4, True), alone
    debian.write_torrc("alpha", instance("ExitRelay 1"))
    done = debian.run("init")
    assert done.returncode == STOPPED, done
    assert "beta/torrc is left alone" in done.stderr
    assert middle.read_text() == before
    config = (debian.real("/etc/exitpol") / "config.yaml").read_text()
    assert 'unmanaged: ["/etc/tor/instances/beta/torrc"]' in config
    assert "opens an ORPort" not in debian.run("status", "--check").stderr


def test_relays_of_ansible_relayor_are_found_and_its_variables_shown(debian: Debian) -> None:
    """Its template turns the socket off; init names the variable, and then that of the include."""
    head = "# ansible-relayor generated torrc configuration file\n"
    off = instance("ExitRelay 1", "ControlSocket 0", "CookieAuthentication 0")
    torrc = debian.write_torrc(RELAYOR, head + off)
    refused = debian.run("init")
    assert (refused.returncode, "tor_enableControlSocket: true" in refused.stderr) == (8, True)
    torrc.write_text(head + instance("ExitRelay 1"))
    done = debian.run("init")
    assert done.returncode == STOPPED, done
    assert "ansible-relayor generated torrc" in done.stderr
    assert f"%include /etc/tor/exitpol/{RELAYOR}.conf" in torrc.read_text()
    shown = done.stderr.partition("in the variables of ansible-relayor:\n")[2]
    lines = [line.removeprefix("exitpol: hint: ") for line in shown.splitlines()[:3]]
    (first,) = yaml.safe_load("\n".join(lines))["tor_ExitPolicy"]
    item = ({"ipv4": "192.0.2.1"}, {"orport": 9001})
    # The template writes the keyword and an entry on each line.
    written = jinja2.Template(f"ExitPolicy {first}\nExitPolicy accept *:80\n").render(item=item)
    assert written.splitlines() == [
        "ExitPolicy reject 0.0.0.0/8:*",
        f"%include /etc/tor/exitpol/{RELAYOR}.conf",
        "ExitPolicy accept *:80",
    ]
    torrc.write_text(head + instance("ExitRelay 1", *written.splitlines()))
    again = debian.run("init")
    assert again.returncode == STOPPED, again
    assert "overwrites" not in again.stderr, "the variables are set"


def test_the_lines_for_a_control_port_work_as_they_are_shown(debian: Debian) -> None:
    """Each relay gets a socket of its own: from init, and from doctor that of the config."""
    off = instance("ExitRelay 1", "ControlSocket 0", "CookieAuthentication 0")
    torrcs = [debian.write_torrc(name, off) for name in NAMES]
    refused = debian.run("init")
    assert refused.returncode == 8
    hints = [line.removeprefix("exitpol: hint: ") for line in refused.stderr.splitlines()]
    entries = ""
    for name, torrc in zip(NAMES, torrcs, strict=True):
        place = next(n for n, line in enumerate(hints) if f"{name}/torrc, instead" in line)
        lines = hints[place + 1 : place + 3]
        assert f"/run/tor-instances/{name}/control " in lines[0]
        entries += f"- {{name: {name}, torrc: /etc/tor/instances/{name}/torrc,"
        entries += f" control: /run/tor-instances/{name}/control}}\n"
        # Not yet: doctor sees the former torrc.
        torrc.with_name("new").write_text(instance("ExitRelay 1", *lines))
    config = debian.real("/etc/exitpol") / "config.yaml"
    config.write_text(f"relays:\n{entries}")
    said = debian.run("doctor").stdout
    for name in NAMES:
        assert f"ControlSocket /run/tor-instances/{name}/control GroupWritable" in said, said
    config.unlink()
    for name, torrc in zip(NAMES, torrcs, strict=True):
        torrc.with_name("new").rename(torrc)
        debian.start(name)
    done = debian.run("init")
    assert done.returncode == 0, done
