"""The checks of a relay's next reload: whether Tor will read and accept its files."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from exitpolicy.core.errors import ExitCode
from exitpolicy.core.shell import word
from exitpolicy.doctor.finding import Finding, fail, failed, ok, warn
from exitpolicy.doctor.inspected import Inspected
from exitpolicy.tor import apparmor, fragment_include, invocation, process, torrc, verify


def verified(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether Tor accepts its files with the desired fragment."""
    view, path = subject.view, subject.relay.torrc
    why = "Tor exits when it reloads files that it refuses"
    if subject.candidate_error is not None:
        fix = "lift what Tor refuses: exitpol list"
        yield failed(check, subject.candidate_error, why=why, fix=fix)
    elif view.broken is None:
        yield ok(check, "tor accepts the torrc with the desired fragment")
    elif fragment_include.include_places(path, subject.fragment, subject.folder):
        fix = f"correct it until this reports no error: tor --verify-config -f {path}"
        yield failed(check, view.broken, why=why, fix=fix)


def readable(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether Tor's user can read the fragment."""
    path = subject.fragment
    user = process.user(subject.pid) if subject.pid else None
    if user is None or not path.exists():
        return
    if os.geteuid() == 0:
        can_read = not verify.unreadable(user, [str(path)])
    elif os.geteuid() == user.uid:
        can_read = os.access(path, os.R_OK)
    else:
        return
    if can_read:
        yield ok(check, f"{path} can be read by Tor's user {user.uid}")
        return
    closed = next(
        (
            folder
            for folder in reversed(Path(os.path.realpath(path)).parents)
            if not stat.S_IMODE(folder.stat().st_mode) & 0o001
        ),
        None,
    )
    yield fail(
        check,
        f"{path} cannot be read by Tor's user {user.uid}",
        why="Tor exits at its next reload, which may be the one of logrotate",
        fix=f"chmod a+r {word(path)}" if closed is None else f"chmod a+x {word(closed)}",
        code=ExitCode.TOR_REFUSES,
    )


def confined(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report files that Debian's AppArmor profile hides from Tor."""
    if not apparmor.exists():
        return
    label = process.confinement(subject.pid) if subject.pid else None
    if label == "unconfined":
        yield ok(check, "AppArmor does not confine Tor")
        return
    sources = torrc.sources(subject.relay.torrc, subject.folder)
    forbidden = apparmor.forbidden(dict.fromkeys((subject.fragment, *sources)))
    if not forbidden:
        yield ok(check, f"the AppArmor profile {apparmor.PROFILE} lets Tor read its files")
    else:
        yield warn(
            check,
            f"the AppArmor profile {apparmor.PROFILE} does not let Tor read {forbidden[0]}",
            why="where the profile is in force, Tor exits at its next reload",
            fix=f"keep it below /etc/tor, or:\n{apparmor.how_to_allow(forbidden[0])}",
        )


def possible(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report what keeps Tor from reading its files, or ends it when it does."""
    running, must_restart = subject.view.running, subject.view.must_restart
    if must_restart is not None:
        why = "no block is enforced until then, and a reload by another program ends Tor"
        yield failed(check, must_restart, why=why)
    elif running is not None and running.reload_ignored:
        yield fail(
            check,
            "__ReloadTorrcOnSIGHUP is 0",
            why="Tor answers a reload with success but reads nothing",
            fix=f"remove that option from {subject.relay.torrc}; systemctl restart {subject.unit}",
            code=ExitCode.TOR_REFUSES,
        )
    elif subject.pid and subject.view.configured is not None:
        yield ok(check, "Tor reads its files when it is reloaded")


def version(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether the Tor that verifies the files is the Tor that reads them."""
    running = subject.view.running
    if running is None:
        return
    if not running.pid or not invocation.is_tor(running.pid):
        yield warn(
            check,
            f"the process {running.pid} is hidden, or is not tor",
            why="this host's tor verifies its files, which may be another version",
            fix="run exitpol as root on the host where Tor runs",
        )
        return
    program = invocation.program(subject.relay, running.pid)
    installed, runs = invocation.version(program), running.version.split(" ")[0]
    if installed == runs:
        yield ok(check, f"Tor {runs}")
    else:
        yield warn(
            check,
            f"Tor {runs} runs, {program} is {installed}",
            why="the version that verifies the files is not the one that reads them",
            fix=f"systemctl restart {subject.unit}",
        )
