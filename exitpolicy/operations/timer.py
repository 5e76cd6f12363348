"""The systemd timers: for the tick, for host names, for the guard, and for the hooks.

All but the first are installed only where they are needed: where a block follows a name, or the
config has `guard` or `hooks`. Those of host names and hooks reach the network.
"""

import importlib.resources
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from exitpolicy import hook_delivery, tick
from exitpolicy.core.addresses import is_loopback, read_address
from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.operations import unit_syntax
from exitpolicy.operations.host import Host
from exitpolicy.operations.rights import Rights, needed, read_files
from exitpolicy.storage import files, hook_spool
from exitpolicy.tor import name_servers, users

UNITS: Final = ("exitpol-expire.service", "exitpol-expire.timer")
FOLLOW_UNITS: Final = ("exitpol-follow.service", "exitpol-follow.timer")
GUARD_UNITS: Final = ("exitpol-guard.service", "exitpol-guard.timer")
HOOK_UNITS: Final = ("exitpol-hooks.service", "exitpol-hooks.timer")
_ALL_UNITS: Final = (UNITS, FOLLOW_UNITS, GUARD_UNITS, HOOK_UNITS)
_TEMPLATE: Final = "exitpol.service"
"""The text of all services but that of the hooks."""
FOLDER: Final = Path("/etc/systemd/system")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= hides (systemd.exec(5))."""
STAMPS: Final = Path("/var/lib/systemd/timers")
"""Where systemd keeps when a timer last elapsed, beyond the life of its unit."""
RUNNING: Final = Path("/run/systemd/system")
"""Exists exactly when systemd is the init system (sd_booted(3))."""


class NoSystemdError(InvalidFileError):
    """The host is not run by systemd, so that cron has to run the tick."""


def install(host: Host, folder: Path | None = None) -> list[Path]:
    """Write the units, enable the timer and start it; return where they are.

    Raises InvalidFileError if another user could change what the timer runs as root, and
    NoSystemdError if the host has no systemd: the hint says what to put into cron.
    """
    folder = folder or FOLDER
    _check(host)
    desired, obsolete = _desired(host, folder)
    if host.config.hooks.after_change:
        # The unit of the tick cannot make it.
        hook_spool.make(host.config.hooks.spool)
    for names in obsolete:
        _take_out([names], [folder / name for name in names])
    return _write(desired, folder)


def changes(host: Host, folder: Path | None = None) -> list[Path]:
    """Return the units that `install` would write, start or delete now.

    Raises what `install` raises.
    """
    folder = folder or FOLDER
    _check(host)
    desired, obsolete = _desired(host, folder)
    found = [folder / name for names in obsolete for name in names]
    for name, text in desired.items():
        path = folder / name
        try:
            same = path.read_text() == text
        except (OSError, ValueError):
            same = False
        if not same or (name.endswith(".timer") and not _runs(name)):
            found.append(path)
    return found


def _runs(timer: str) -> bool:
    """Tell whether a timer is active now, and will be after a reboot."""
    return all(
        subprocess.run(
            [systemctl_path(), "--quiet", question, timer], capture_output=True, check=False
        ).returncode == 0
        for question in ("is-enabled", "is-active")
    )  # fmt: skip


def _check(host: Host) -> None:
    """Refuse to install units that would not run, or would run what another user can change."""
    _check_program()
    if not booted():
        raise NoSystemdError(
            "this host is not run by systemd; the timer was not installed",
            hint=f"put this line into /etc/cron.d/exitpol:\n* * * * * root {cron_line(host)}",
        )
    if host.config.hooks.after_change:
        _check_hooks(host)


def _desired(host: Host, folder: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the text of each unit that this host needs by its name, and the units to delete."""
    texts = units(host)
    obsolete = []
    follows = _follows_names(host, default=(folder / FOLLOW_UNITS[1]).exists())
    for names, make, is_needed in (
        (FOLLOW_UNITS, follow_units, follows),
        (GUARD_UNITS, guard_units, host.config.guard is not None),
        (HOOK_UNITS, hook_units, bool(host.config.hooks.after_change)),
    ):
        if is_needed:
            texts |= make(host)
        elif (folder / names[1]).exists():
            obsolete.append(names)
    return texts, obsolete


def install_follow(host: Host) -> list[Path]:
    """Install the timer that follows names, where `install` has installed that of the tick.

    Return where its units are; nothing if they are there already, or if there is no timer of the
    tick. Raises ExitpolError.
    """
    if not installed(host) or (FOLDER / FOLLOW_UNITS[1]).exists() or not booted():
        return []
    _check_program()
    return _write(follow_units(host), FOLDER)


def follows(host: Host) -> bool:
    """Tell whether the timer that follows names is installed for this host."""
    return bool(installed(host)) and (FOLDER / FOLLOW_UNITS[1]).exists()


def _follows_names(host: Host, *, default: bool) -> bool:
    """Tell whether a block that lasts follows a name; `default` if the ledger is not known."""
    try:
        blocks = host.best_known_ledger().blocks
    except InvalidFileError:
        return default
    return any(block.follow for block in blocks.lasting(host.clock()))


def _write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write units, and start their timers; return where they are. Raises ExitpolError."""
    for name, text in texts.items():
        files.replace(folder / name, text.encode(), files.Ownership(0o644, 0, 0))
    timers = [name for name in texts if name.endswith(".timer")]
    for command in (
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", "--now", *timers),
    ):
        result = subprocess.run(
            [systemctl_path(), *command[1:]], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise ExitpolError(f"{' '.join(command)} failed: {result.stderr.strip()}")
    return [folder / name for name in texts]


def installed(host: Host, folder: Path | None = None) -> list[Path]:
    """Return the files of the timers, if that of the tick runs the tick of this host's ledger."""
    folder = folder or FOLDER
    try:
        words = shlex.split(installed_command(folder) or "")
    except ValueError:
        return []
    if str(host.state_path) not in words:
        return []
    found = [folder / name for units in _ALL_UNITS for name in units]
    found += [folder / "timers.target.wants" / units[1] for units in _ALL_UNITS]
    found.append(STAMPS / f"stamp-{UNITS[1]}")
    return [path for path in found if os.path.lexists(path)]


def remove(host: Host, folder: Path | None = None) -> list[Path]:
    """Stop the timers, and delete their files; return them. Raises InvalidFileError.

    A tick that waits for the lock of the caller is ended.
    """
    found = installed(host, folder)
    if found:
        _take_out(_ALL_UNITS, found)
    return found


def _take_out(units: Sequence[tuple[str, str]], paths: Iterable[Path]) -> None:
    """Stop services with their timers, and delete files. Raises InvalidFileError."""
    if booted():
        for service, timer in units:
            _systemctl("disable", "--now", timer)
            _systemctl("stop", service)
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InvalidFileError(
                f"{path} cannot be deleted: {error.strerror}",
                hint=files.permission_hint(path, error),
            ) from error
    if booted():
        _systemctl("daemon-reload")
        for service, _ in units:
            _systemctl("reset-failed", service)


def _systemctl(*arguments: str) -> None:
    """Run systemctl. A unit that is not known, or has not failed, is what the caller wants."""
    subprocess.run([systemctl_path(), *arguments], capture_output=True, check=False)


def changed_by_others() -> Path | None:
    """Return a file of this program, or a folder above one, that another user can change."""
    return _open_to_others(program_files())


def _open_to_others(paths: Iterable[Path]) -> Path | None:
    """Return one of the paths, or of the folders above them, that another user can change."""
    trusted = {0, os.geteuid()}
    for place in dict.fromkeys(
        place
        for file in paths
        for path in (file.absolute(), file.resolve())
        for place in (path, *path.parents)
    ):
        try:
            found = place.lstat()
        except OSError:
            continue
        # In a sticky folder nobody can replace the file of another; a link has no mode.
        is_open = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in trusted or (is_open and not stat.S_ISLNK(found.st_mode)):
            return place
    return None


def program_files() -> Iterator[Path]:
    """Yield the interpreter, the files of exitpol, and the folders of what it imports."""
    yield Path(sys.executable)
    yield from (Path(folder) for folder in sys.path if folder)
    yield from Path(tick.__file__).parent.rglob("*.py")


def _check_program() -> None:
    place = changed_by_others()
    if place is not None:
        raise InvalidFileError(
            f"{place} belongs to another user than root, or everybody can change it: the timer was"
            " not installed, because it would run as root what that user puts there",
            hint="install exitpol for root, such as in /opt/exitpol, and run: exitpol init --timer",
        )


def _check_hooks(host: Host) -> None:
    """Refuse a spool that another user can change, which systemd reads as root.

    Also refuse a program that the user of the hooks cannot read. Raises InvalidFileError.
    """
    place = _open_to_others([host.config.hooks.spool])
    if place is not None:
        raise InvalidFileError(
            f"{place} belongs to another user than root, or everybody can change it: the spool of"
            " the hooks must not lie there; the timer was not installed",
            hint="leave spool out of the hooks in the config; then: exitpol init --timer",
        )
    for file in (Path(sys.executable), Path(hook_delivery.__file__)):
        real = file.resolve()
        needed_bits = [*((folder, stat.S_IXOTH) for folder in real.parents), (real, stat.S_IROTH)]
        place = next((path for path, bit in needed_bits if not path.stat().st_mode & bit), None)
        if place is not None:
            raise InvalidFileError(
                f"{place} is closed to other users than root, and the hooks run as one of them;"
                " the timer was not installed",
                hint="install exitpol for all users, such as in /opt/exitpol; or take hooks out of"
                " the config",
            )


def systemctl_path() -> str:
    """Return the path of systemctl, which only root can change."""
    return users.trusted_program("systemctl") or "/usr/bin/systemctl"


def booted() -> bool:
    """Tell whether systemd runs this host."""
    return RUNNING.is_dir() and users.trusted_program("systemctl") is not None


def units(host: Host) -> dict[str, str]:
    """Return the text of each unit of the tick by its name, with what this host needs in it.

    Raises InvalidFileError for a path that cannot stand in a unit.
    """
    rights = needed(host)
    python, program = unit_syntax.argument(sys.executable), unit_syntax.argument(tick.__file__)
    values = {
        "@DESCRIPTION@": "Enforce exitpol's blocks, and lift them on their date",
        "@COMMAND@": f"{python} -I -S {program} {_words(_arguments(host))}",
        "@NETWORK@": "\n".join(_network_lines(rights.hosts)),
        "@CALLS@": "SystemCallFilter=@system-service\nSystemCallFilter=~@resources",
    }
    return _rendered(host, UNITS, rights, values)


def follow_units(host: Host) -> dict[str, str]:
    """Return the text of each unit that follows names by its name, as `units` does."""
    rights = needed(host)
    reason = "the process that asks DNS becomes nobody, and sees no files"
    for name in ("CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT"):
        rights.need(name, reason)
    values = {
        "@DESCRIPTION@": "Let exitpol's blocks follow the host names that they were made by",
        "@COMMAND@": _words(_program(host, "follow", "--quiet")),
        "@NETWORK@": "\n".join(_follow_network_lines(host, rights.hosts)),
        # The process that asks DNS limits its memory and time.
        "@CALLS@": "SystemCallFilter=@system-service chroot",
    }
    return _rendered(host, FOLLOW_UNITS, rights, values)


def hook_units(host: Host) -> dict[str, str]:
    """Return the text of each unit that runs the hooks by its name, as `units` does."""
    events = hook_spool.path_in(host.config.hooks.spool.absolute())
    values = {
        "@COMMAND@": _words(
            [
                *(sys.executable, "-I", "-S", hook_delivery.__file__),
                *host.config.hooks.after_change,
            ]
        ),
        "@EVENTS@": unit_syntax.rest_of_line(events),
    }
    if any(map(_in_a_home, (Path(sys.executable), Path(hook_delivery.__file__)))):
        values["ProtectHome=yes"] = "ProtectHome=read-only"
    return _filled(HOOK_UNITS, HOOK_UNITS[0], values)


def guard_units(host: Host) -> dict[str, str]:
    """Return the text of each unit of the guard by its name, as `units` does."""
    rights = needed(host)
    reason = "/proc says which connections are Tor's"
    for name in ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"):
        rights.need(name, reason)
    values = {
        "@DESCRIPTION@": "Let exitpol's guard block what is flooded through this exit",
        "@COMMAND@": _words(_program(host, "guard", "--quiet")),
        # With an incomplete /proc, ss writes an error for each connection.
        "ProcSubset=pid": "# ss reads /proc/mounts.\nProcSubset=all",
        "@NETWORK@": "\n".join(_guard_network_lines(rights.hosts)),
        "@CALLS@": "SystemCallFilter=@system-service\nSystemCallFilter=~@resources",
    }
    return _rendered(host, GUARD_UNITS, rights, values)


def _rendered(
    host: Host, names: Sequence[str], rights: Rights, values: dict[str, str]
) -> dict[str, str]:
    """Return a service and its timer. Raises InvalidFileError."""
    written = list(map(os.fspath, rights.writable))
    if host.config.hooks.after_change:
        # A tick works without the spool: where it is missing, the unit starts all the same.
        written.append(f"-{host.config.hooks.spool.absolute()}")
    values |= {
        "@RW_PATHS@": " ".join(map(unit_syntax.path_entry, written)),
        "@RIGHTS@": "\n".join(_rights_lines(rights)),
    }
    if any(_in_a_home(path) for path in _read(host)):
        values["ProtectHome=yes"] = "ProtectHome=read-only"
    return _filled(names, _TEMPLATE, values)


def _filled(names: Sequence[str], template: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return a service, made from a template, and its timer."""
    # In one pass: a path may hold the name of another placeholder.
    placeholder = re.compile("|".join(map(re.escape, values)))
    folder = importlib.resources.files("exitpolicy").joinpath("systemd")
    service, timer = names
    text = placeholder.sub(lambda found: values[found[0]], folder.joinpath(template).read_text())
    return {service: text, timer: folder.joinpath(timer).read_text()}


def _words(arguments: Iterable[str]) -> str:
    """Return the words of a command line in a unit. Raises InvalidFileError."""
    return " ".join(map(unit_syntax.argument, arguments))


def _network_lines(hosts: Sequence[str]) -> Iterator[str]:
    """Yield what opens the network to the control ports, and to nothing else."""
    if not hosts:
        yield "# All control ports are sockets in the file system: no network at all."
        yield from ("PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any")
        return
    yield "# A control port is a TCP port. A torrc with names that are looked up over the network"
    yield "# also needs: systemctl edit exitpol-expire, IPAddressAllow=any"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    yield "IPAddressDeny=any"
    yield f"IPAddressAllow={' '.join(['localhost', *filter(_is_elsewhere, hosts)])}"


def _follow_network_lines(host: Host, hosts: Sequence[str]) -> Iterator[str]:
    """Yield what opens the network to the DNS servers and the control ports, and to nothing else.

    systemd limits no ports. Raises InvalidFileError.
    """
    servers = {server.address for relay in host.relays for server in name_servers.of(relay)}
    places = dict.fromkeys(filter(_is_elsewhere, (*sorted(servers), *hosts)))
    yield "# The DNS servers that this host's Tors ask. When they change: exitpol init --timer"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    yield "IPAddressDeny=any"
    yield f"IPAddressAllow={' '.join(['localhost', *places])}"


def _guard_network_lines(hosts: Sequence[str]) -> Iterator[str]:
    """Yield what lets ss ask the kernel for connections, and opens no more than the tick's unit."""
    yield "# ss asks the kernel for the connections of this network."
    families = " AF_INET AF_INET6" if hosts else ""
    yield f"RestrictAddressFamilies=AF_UNIX AF_NETLINK{families}"
    yield "IPAddressDeny=any"
    if hosts:
        yield f"IPAddressAllow={' '.join(['localhost', *filter(_is_elsewhere, hosts)])}"


def _is_elsewhere(host: str) -> bool:
    """Tell whether a host is written as an address, and not as one of the loopback interface."""
    address = read_address(host)
    return address is not None and not is_loopback(*address)


def _rights_lines(rights: Rights) -> Iterator[str]:
    """Yield groups and capabilities with their reasons."""
    for name, reason in sorted(rights.groups.items()):
        yield f"# {name}: {unit_syntax.comment(reason)}"
    if rights.groups:
        yield f"SupplementaryGroups={' '.join(sorted(rights.groups))}"
    for name, reason in sorted(rights.capabilities.items()):
        yield f"# {name}: {unit_syntax.comment(reason)}"
    yield f"CapabilityBoundingSet={' '.join(sorted(rights.capabilities))}"


_RIGHTS: Final = ("CapabilityBoundingSet=", "SupplementaryGroups=")
"""The lines of a unit that depend on the owners of files."""


def outdated(host: Host, folder: Path | None = None) -> list[str]:
    """Return the lines that the installed units of the tick lack; empty if there are none."""
    return _lacking(host, units(host), folder or FOLDER)


def follow_outdated(host: Host, folder: Path | None = None) -> list[str]:
    """Return the lines that the installed units that follow names lack, as `outdated` does."""
    folder = folder or FOLDER
    if not (folder / FOLLOW_UNITS[0]).exists():
        return []
    return _lacking(host, follow_units(host), folder)


def hooks_outdated(host: Host, folder: Path | None = None) -> list[str]:
    """Return the lines that the installed units of the hooks lack, as `outdated` does."""
    return _lacking(host, hook_units(host), folder or FOLDER)


def guard_outdated(host: Host, folder: Path | None = None) -> list[str]:
    """Return the lines that the installed units of the guard lack, as `outdated` does."""
    folder = folder or FOLDER
    if not (folder / GUARD_UNITS[0]).exists():
        return []
    return _lacking(host, guard_units(host), folder)


def guards(host: Host) -> bool:
    """Tell whether the timer of the guard is installed for this host."""
    return bool(installed(host)) and (FOLDER / GUARD_UNITS[1]).exists()


def guard_cron_line(host: Host) -> str:
    """Return the command that runs the guard, for a crontab."""
    return _of_crontab(_program(host, "guard", "--quiet"))


def _lacking(host: Host, texts: Mapping[str, str], folder: Path) -> list[str]:
    """Return the lines that installed units lack.

    While a control socket is missing, nobody knows whose it will be: rights are not compared then.
    """
    found: list[str] = []
    sockets = [r.control for r in host.relays if r.has_control and r.tcp_control is None]
    ignored = "#" if all(map(os.path.exists, sockets)) else ("#", *_RIGHTS)
    for name, text in texts.items():
        try:
            installed = (folder / name).read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            continue
        found += [
            line
            for line in text.splitlines()
            if line and not line.startswith(ignored) and line not in installed
        ]
    return found


def installed_command(folder: Path | None = None) -> str | None:
    """Return the command line of the installed service; None if it is not installed."""
    try:
        text = ((folder or FOLDER) / UNITS[0]).read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search("^ExecStart=(.*)", text, re.MULTILINE)
    return None if found is None else found[1].replace("%%", "%").replace("$$", "$")


def _arguments(host: Host) -> list[str]:
    """Return the arguments of the tick: its files, and the command that it becomes."""
    metrics = [] if host.config.metrics is None else [str(host.config.metrics.absolute())]
    return [str(host.state_path), *metrics, "--", *_program(host, "expire", "--quiet")]


def _program(host: Host, *command: str) -> list[str]:
    """Return the words that run a command of exitpol with the config of this host."""
    config = [] if host.config.source is None else ["--config", str(host.config.source.absolute())]
    return [sys.executable, "-I", "-m", "exitpolicy", *config, *command]


def _read(host: Host) -> Iterator[Path]:
    """Yield the files that a tick uses, the program included."""
    yield from (Path(sys.executable), Path(sys.base_prefix), Path(tick.__file__))
    yield from (relay.fragment for relay in host.relays)
    yield from read_files(host)
    if host.config.metrics is not None:
        yield host.config.metrics


def _in_a_home(path: Path) -> bool:
    return any(
        candidate.is_relative_to(home)
        for candidate in (path.absolute(), path.resolve())
        for home in _HOMES
    )


def cron_line(host: Host) -> str:
    """Return the command that runs the tick, for a crontab."""
    return _of_crontab([sys.executable, "-I", "-S", tick.__file__, *_arguments(host)])


def follow_cron_line(host: Host) -> str:
    """Return the command that follows names, for a crontab."""
    return _of_crontab(_program(host, "follow", "--quiet"))


def _of_crontab(words: Iterable[str]) -> str:
    return shlex.join(words).replace("%", "\\%")
