"""Hosts that Ansible reaches over real SSH: namespaces of this machine, on loopback only.

Each host has a mount, a process and a host name namespace of its own. What is written to /etc,
/usr, /var, /opt and /root goes to a layer of its own (overlayfs), so that a role can install
packages, users and units. An OpenSSH server with keys of the test listens on an address of
127.0.0.0/8.

systemd does not run in a namespace. A script in place of systemctl starts the Tors as Debian's
units do, and keeps which units are enabled.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jinja2
import pytest

from tests.harness.tor import TOR, HarnessError, wait_until

SSHD: Final = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
UNSHARE: Final = shutil.which("unshare")
NSENTER: Final = shutil.which("nsenter")
COLLECTION: Final = Path(__file__).parents[2] / "exitpolicy" / "ansible"
PROGRAMS: Final = Path(os.environ.get("EXITPOL_ANSIBLE") or Path(sys.executable).parent)
"""The folder of Ansible's programs: those of the tests, or /usr/bin for those of Debian."""
SSH_PORT: Final = 2222
UNREACHABLE: Final = 6
"""The exit code of exitpol where a Tor does not answer."""
DEFAULTS: Final = Path("/usr/share/tor/tor-service-defaults-torrc")
LAYERS: Final = ("etc", "usr", "var", "opt", "root")
"""The folders of / that each host has a layer of its own for."""

TEST_NETWORK: Final = {
    "AssumeReachable": "1",
    "DirAuthority": f"fake orport=9 127.0.0.1:9 {'0' * 40}",
    "DirCache": "0",
    "PublishServerDescriptor": "0",
    "ShutdownWaitLength": "0",
    "TestingTorNetwork": "1",
}
"""The options that keep a Tor from every network but its own fake authority."""

RELAYOR: Final = Path(__file__).with_name("relayor_torrc.j2").read_text()

START: Final = """\
mount -t tmpfs -o mode=755 tmpfs "$1/layers"
for name in $2; do
    mkdir -p "$1/layers/$name" "$1/layers/.$name"
    chmod --reference="/$name" "$1/layers/$name"
    mount -t overlay -o "lowerdir=/$name,upperdir=$1/layers/$name,workdir=$1/layers/.$name" \\
        overlay "/$name"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock /run/systemd/system
mount -t proc proc /proc
hostname "$3"
cd /
: >"$1/ready"
while :; do sleep 600 & wait $!; done
"""

SYSTEMCTL: Final = """\
#!/bin/sh
# In place of systemctl: timers are only noted, and Tors run as Debian's units run them.
cd /
units=/etc/systemd/system
echo "$*" >>/run/systemctl.log
words=
for word; do case $word in -*) ;; *) words="$words $word" ;; esac; done
set -- $words
verb=$1
shift
user_of() { case $1 in default) echo debian-tor ;; *) echo "_tor-$1" ;; esac; }
pid_file() {
    case $1 in default) echo /run/tor/tor.pid ;; *) echo "/run/tor-instances/$1/tor.pid" ;; esac
}
is_active() {
    case $1 in
    tor@*) p=$(cat "$(pid_file "$2")" 2>/dev/null) && kill -0 "$p" 2>/dev/null ;;
    *) [ -e "/run/active-$1" ] ;;
    esac
}
start() {
    [ "$1" != default ] || {
        install -m 02755 -o debian-tor -g debian-tor -d /run/tor
        set -- default /usr/share/tor/tor-service-defaults-torrc /etc/tor/torrc
    }
    [ "$1" = default ] || {
        install -m 02755 -o "$(user_of "$1")" -g "$(user_of "$1")" -d "/run/tor-instances/$1"
        sed -e "s/@@NAME@@/$1/g" /usr/share/tor/tor-service-defaults-torrc-instances \\
            >"/run/tor-instances/$1.defaults"
        set -- "$1" "/run/tor-instances/$1.defaults" "/etc/tor/instances/$1/torrc"
    }
    tor --defaults-torrc "$2" -f "$3" --RunAsDaemon 0 --verify-config >>/run/tor.log 2>&1 || exit 1
    setsid tor --defaults-torrc "$2" -f "$3" --RunAsDaemon 0 >>/run/tor.log 2>&1 </dev/null &
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        is_active "tor@$1" "$1" && exit 0
        sleep 0.25
    done
    exit 1
}
stop() {
    p=$(cat "$(pid_file "$1")" 2>/dev/null) || return 0
    kill -KILL "$p" 2>/dev/null
    rm -f "$(pid_file "$1")"
}
status=0
for unit; do
    name=${unit#tor@}
    name=${name%.service}
    case $verb:$unit in
    show:*)
        state=inactive
        is_active "$unit" "$name" && state=active
        printf 'Id=%s\\nLoadState=loaded\\nActiveState=%s\\nUnitFileState=enabled\\n' "$unit" $state
        ;;
    is-active:*) is_active "$unit" "$name" || status=3 ;;
    is-enabled:*) [ -e "$units/timers.target.wants/$unit" ] || status=1 ;;
    enable:*)
        mkdir -p $units/timers.target.wants
        ln -sf "$units/$unit" $units/timers.target.wants/
        : >"/run/active-$unit"
        ;;
    disable:*) rm -f "$units/timers.target.wants/$unit" "/run/active-$unit" ;;
    start:tor@*) is_active "$unit" "$name" || (start "$name") || status=1 ;;
    stop:tor@*) stop "$name" ;;
    restart:tor@*) stop "$name"; (start "$name") || status=1 ;;
    reload:tor@*) kill -HUP "$(cat "$(pid_file "$name")")" || status=1 ;;
    esac
done
exit $status
"""

SSHD_CONFIG: Final = """\
AddressFamily inet
ListenAddress {address}:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/../user_key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""


@dataclass
class Relay:
    """A relay of a host: its name is that of its Debian instance, or `default`."""

    name: str
    torrc: str

    @property
    def unit(self) -> str:
        """The unit that starts it."""
        return f"tor@{self.name}.service"

    @property
    def path(self) -> Path:
        """Its torrc on the host."""
        return Path("/etc/tor/torrc" if self.name == "default" else self._of_instance)

    @property
    def control(self) -> Path:
        """Its control socket on the host."""
        folder = "/run/tor" if self.name == "default" else f"/run/tor-instances/{self.name}"
        return Path(folder, "control")

    @property
    def _of_instance(self) -> str:
        return f"/etc/tor/instances/{self.name}/torrc"


Relays = Callable[[str], Sequence[Relay]]
"""Returns the relays of a host, by its address."""


@dataclass
class SshHost:
    """One host, from its start to its end."""

    name: str
    address: str
    folder: Path
    relays: Sequence[Relay]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    init: int = 0
    """The first process of its namespaces."""

    def start(self) -> None:
        """Make the namespaces and what is on a Debian with Tor, and start the Tors."""
        (self.folder / "layers").mkdir(parents=True)
        unshare = subprocess.Popen(
            [
                UNSHARE or "", "--mount", "--uts", "--pid", "--fork", "--kill-child",
                "--propagation", "private", "sh", "-ec", START, "sh",
                str(self.folder), " ".join(LAYERS), self.name,
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(unshare)
        wait_until((self.folder / "ready").exists, what=f"the namespaces of {self.name}")
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text()
        self.init = int(children.split()[0])
        for stale in ("etc/exitpol", "var/lib/exitpol", "etc/tor", "etc/systemd/system"):
            shutil.rmtree(self.real(f"/{stale}"), ignore_errors=True)
        self.real("/etc/tor").mkdir()
        self.real("/etc/systemd/system").mkdir()
        self.write("/usr/bin/systemctl", SYSTEMCTL, 0o755)
        for relay in self.relays:
            self._install(relay)

    def start_ssh(self) -> None:
        """Start the SSH server."""
        config = self.folder / "sshd_config"
        config.write_text(
            SSHD_CONFIG.format(address=self.address, port=SSH_PORT, folder=self.folder)
        )
        log = (self.folder / "sshd.log").open("ab")
        server = subprocess.Popen(
            self.command(SSHD or "", "-D", "-e", "-f", str(config)),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        self.processes.append(server)
        wait_until(self._listens, what=f"the SSH server of {self.name}")

    def stop_ssh(self) -> None:
        """End the SSH server and its sessions: the host is down, and its Tors run on."""
        self.run("sh", "-c", "kill $(pidof sshd)", check=False)
        self.processes.pop().wait()

    def _listens(self) -> bool:
        if self.processes[-1].poll() is not None:
            raise HarnessError((self.folder / "sshd.log").read_text())
        return b"Server listening" in (self.folder / "sshd.log").read_bytes()

    def _install(self, relay: Relay) -> None:
        """Write a relay's files, and make its user, as Debian's tools do."""
        if relay.name == "default":
            self.write("/etc/tor/torrc", relay.torrc)
            self.run(
                "sh", "-ec", "rm -rf /var/lib/tor; install -d -m 700 -o debian-tor /var/lib/tor"
            )
            return
        home = f"/var/lib/tor-instances/{relay.name}"
        self.run(
            "useradd", "--system", "--home-dir", home, "--shell", "/bin/false", f"_tor-{relay.name}"
        )
        self.run("install", "-d", "-m", "700", "-o", f"_tor-{relay.name}", home)
        self.write(str(relay.path), relay.torrc)

    def start_tors(self) -> None:
        """Start all Tors, and wait until they answer."""
        self.run("systemctl", "start", *(relay.unit for relay in self.relays))
        for relay in self.relays:
            wait_until(self.real(relay.control).exists, what=f"{relay.name} opens its socket")

    def restart(self, relay: Relay) -> None:
        """Restart a Tor, and wait until exitpol reaches it."""
        self.run("systemctl", "restart", relay.unit)
        wait_until(lambda: self.exitpol("status").returncode != UNREACHABLE, what=relay.unit)

    def real(self, path: str | Path) -> Path:
        """Return where a file of the host is for this process."""
        return Path(f"/proc/{self.init}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the host."""
        self.real(path).parent.mkdir(parents=True, exist_ok=True)
        self.real(path).write_text(text)
        self.real(path).chmod(mode)

    def read(self, path: str | Path) -> str:
        """Return the text of a file of the host."""
        return self.real(path).read_text()

    def command(self, *words: str) -> list[str]:
        """Return a command that runs on the host."""
        return [
            NSENTER or "", f"--target={self.init}", "--mount", "--uts", "--pid", "--root", "--wd",
            "--", *words,
        ]  # fmt: skip

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program on the host."""
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "NO_COLOR": "1"},
        )  # fmt: skip
        if check and done.returncode != 0:
            raise HarnessError(f"{words}: {done.stdout}{done.stderr}")
        return done

    def exitpol(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run exitpol on the host."""
        return self.run("exitpol", *arguments, check=False)

    def tick(self) -> subprocess.CompletedProcess[str]:
        """Run what the timer runs every minute."""
        unit = self.read("/etc/systemd/system/exitpol-expire.service")
        command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        assert command is not None
        return self.run("sh", "-c", command[1], check=False)

    def with_program(self) -> None:
        """Install this tree's exitpol, as the Python of the tests runs it."""
        program = f'#!/bin/sh\nexec {sys.executable} -I -m exitpolicy "$@"\n'
        self.write("/usr/local/bin/exitpol", program, 0o755)

    def signal(self, relay: Relay, number: signal.Signals) -> None:
        """Send a signal to a Tor."""
        pid_file = relay.control.with_name("tor.pid")
        self.run("sh", "-c", f"kill -{number.value} $(cat {pid_file})")

    def snapshot(self) -> dict[str, bytes]:
        """Return what the host has in its layers, by path; caches and logs are left out."""
        found = {}
        layers = self.real(self.folder) / "layers"
        for name in LAYERS:
            for path in sorted((layers / name).rglob("*")):
                if path.is_file() and not _NOISE.search(str(path.relative_to(layers))):
                    found[str(path.relative_to(layers))] = path.read_bytes()
        return found

    def stop(self) -> None:
        """End the host: with the first process of its namespaces all others end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.wait()


_NOISE: Final = re.compile(
    r"^root/\.(ansible|cache)|^var/(cache|log|lib/(tor|apt))|__pycache__|^etc/\.pwd"
)


def default_torrc(address: str) -> str:
    """Return the torrc of an exit that an operator has written."""
    options = {**TEST_NETWORK, "Address": address, "ExitRelay": "1", "SocksPort": "0"}
    options |= {"ORPort": f"{address}:9001", "ContactInfo": "abuse@example.org"}
    return "".join(f"{key} {value}\n" for key, value in options.items())


def single(address: str) -> list[Relay]:
    """Return the only relay of a host, which is Debian's default instance."""
    return [Relay("default", default_torrc(address))]


def relayor(address: str, port: int, policy: Sequence[str], **config: str) -> Relay:
    """Return a relay with a torrc of the shape that ansible-relayor's template gives it.

    `policy` and `config` are its variables tor_ExitPolicy, which may use `item`, and tor_config.
    """
    item = ({"ipv4": address, "ipv6": ""}, {"orport": port})
    entries = [jinja2.Template(entry).render(item=item) for entry in policy]
    text = jinja2.Template(RELAYOR, trim_blocks=True, keep_trailing_newline=True).render(
        address=address, orport=port, policy=entries, config={**TEST_NETWORK, **config}
    )
    return Relay(f"{address}_{port}", text)


@dataclass
class Played:
    """What a run of Ansible did."""

    code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """The counts of each host: ok, changed, unreachable, failed, ..."""
        text = self.output.partition("PLAY RECAP")[2]
        return {
            found[1]: {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", found[2])}
            for found in re.finditer(r"^(\S+)\s+: (ok=.*)$", text, re.MULTILINE)
        }

    def changed(self) -> dict[str, int]:
        """Return how many tasks changed something, by host."""
        return {host: counts["changed"] for host, counts in self.recap.items()}


class Fleet:
    """Hosts, and an Ansible that reaches them."""

    def __init__(self, folder: Path, hosts: Sequence[SshHost]) -> None:
        self.folder = folder
        self.hosts = {host.name: host for host in hosts}
        self._sockets = Path(tempfile.mkdtemp(prefix="exitpol-ssh-"))

    def __getitem__(self, name: str) -> SshHost:
        return self.hosts[name]

    def prepare(self) -> None:
        """Make the keys, the inventory and the collection of the control machine."""
        for name in ("user_key", *(f"{name}/host_key" for name in self.hosts)):
            (self.folder / name).parent.mkdir(exist_ok=True)
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(keygen, check=True, timeout=60)
        known = ""
        entries = {}
        for host in self.hosts.values():
            key = (self.folder / host.name / "host_key.pub").read_text()
            known += f"[{host.address}]:{SSH_PORT} {key}"
            entries[host.name] = {"ansible_host": host.address}
        (self.folder / "known_hosts").write_text(known)
        common = {
            "ansible_port": SSH_PORT,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "user_key"),
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory = {"all": {"hosts": entries, "vars": common}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        place = self.folder / "collections" / "ansible_collections" / "exitpol" / "exitpol"
        place.parent.mkdir(parents=True)
        place.symlink_to(COLLECTION)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which Ansible runs."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_INVENTORY": str(self.folder / "inventory.json"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_TIMEOUT": "5",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._sockets),
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s"
            f" -o UserKnownHostsFile={self.folder}/known_hosts -o IdentitiesOnly=yes",
        }

    def run(self, program: str, *arguments: str, seconds: float = 600) -> Played:
        """Run a program of Ansible on the control machine."""
        done = subprocess.run(
            [PROGRAMS / program, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=seconds, env=self.environment, cwd=self.folder,
        )  # fmt: skip
        return Played(done.returncode, done.stdout)

    def play(
        self, *options: str, role: Mapping[str, Any] | None = None, tasks: str | None = None
    ) -> Played:
        """Run the role on all hosts, with these variables."""
        include: dict[str, Any] = {"name": "exitpol.exitpol.exitpol"}
        if tasks is not None:
            include["tasks_from"] = tasks
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars": dict(role or {}),
            "tasks": [{"import_role": include, "name": "exitpol"}],
        }
        (self.folder / "play.json").write_text(json.dumps([play]))
        return self.run("ansible-playbook", "play.json", *options)

    def stop(self) -> None:
        """End the connections and the hosts."""
        for path in self._sockets.iterdir():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "none"],  # noqa: S607
                check=False, capture_output=True, timeout=20,
            )  # fmt: skip
        for host in self.hosts.values():
            host.stop()
        shutil.rmtree(self._sockets)


def hindrance() -> str | None:
    """Return why no host can be made here; None if one can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    if not (UNSHARE and NSENTER and SSHD and TOR and DEFAULTS.exists()):
        return "needs util-linux, openssh-server and Debian's tor"
    return None


@contextmanager
def fleet(folder: Path, hosts: Mapping[str, Relays]) -> Iterator[Fleet]:
    """Run hosts; skip the test where none can be made.

    For each host, a function returns the relays of its address. The folder and those above it are
    opened to Tor's users.
    """
    if reason := hindrance():
        pytest.skip(reason)
    for place in (folder, *folder.parents[:3]):
        if place != Path("/tmp"):
            place.chmod(0o755)
    # Another test may run hosts at the same time.
    network = 20 + secrets.randbelow(200)
    addresses = {name: f"127.{network}.{number}.1" for number, name in enumerate(hosts, start=1)}
    made = Fleet(
        folder,
        [
            SshHost(name, address, folder / name, hosts[name](address))
            for name, address in addresses.items()
        ],
    )
    try:
        made.prepare()
        for host in made.hosts.values():
            host.start()
            host.start_ssh()
        yield made
    finally:
        made.stop()
