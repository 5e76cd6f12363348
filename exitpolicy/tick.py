"""The first step of the timer: decide whether exitpol must run. Usually it need not.

    python3 -I -S tick.py STATE [METRICS] -- COMMAND...

reads one small file and the dates of a few others. It exits with 0 if nothing has changed and
nothing is due; otherwise it becomes COMMAND (`exitpol expire --quiet`). It runs as a script of its
own, imports only what the interpreter has loaded already, takes no lock and reads no YAML. If it
does not understand the state, exitpol must run.

METRICS is the file of metrics. While it shows the last observation, it has the modification time of
the state (exitpolicy.storage.metrics_file). A tick with nothing to do sets both to the present.

exitpolicy.storage.observed writes the state file after every apply, as lines of words:

    version 1
    applied 1763806000        when exitpol last observed Tor, Unix time
    next 1763809999           when the next block begins or ends; `never`
    settled 1                 0: something is pending, so exitpol must run
    batch 5000.5 5600.5       changes wait; running time in s, of the observation and of the batch
    watch CTIME SIZE INODE PATH   a file that must not have changed since

Lines after an empty line are for other readers.
"""

import os
import sys
import time

LOOK_EVERY = 15 * 60
"""Seconds after which Tor is observed again although nothing has changed, to find drift."""

HEAD = 262144
"""Characters of the state within which its head must end."""


def due(state: str, now: float, metrics: str | None = None) -> str | None:
    """Return why exitpol must run; None if it need not.

    `state` and `metrics` are paths. Both files are touched, the metrics only if exitpol need not
    run.
    """
    try:
        # The folder may be another user's: open no link, and wait for no FIFO.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(
            os.open(state, flags),
            encoding="utf-8",
            errors="surrogateescape",
            newline="\n",
        ) as file:
            found = os.fstat(file.fileno())
            if found.st_mode & 0o170000 != 0o100000:
                return "the state is not a regular file"
            touched = touch(file.fileno())
            # Not splitlines(), which also splits at what may stand in a path.
            head, end, _ = file.read(HEAD).partition("\n\n")
            lines = head.split("\n")
    except OSError:
        return "there is no state yet"
    if not end:
        return "the state is cut short, or too long"
    seen = set()
    try:
        for line in lines:
            key, _, value = line.partition(" ")
            seen.add(key)
            reason = reason_of(key, value, now)
            if reason is not None:
                return reason
    except ValueError:
        return "the state is not understood"
    if not seen >= {"version", "applied", "next", "settled", "watch"}:
        return "the state is incomplete"
    return None if metrics is None else outdated(metrics, found.st_mtime_ns, touched)


def running() -> float:
    """Return the seconds since the host's start, by a clock that nobody can set."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def reason_of(key: str, value: str, now: float) -> str | None:
    """Return why exitpol must run, as a line of the state says. Raises ValueError."""
    if key == "version" and value != "1":
        return "the state has another version"
    if key == "applied" and not 0 <= now - float(value) < LOOK_EVERY:
        return "the last observation of Tor is too old, or the clock was set"
    if key == "next" and value != "never" and not float(value) > now:
        return "a block begins or ends"
    if key == "settled" and value != "1":
        return "something is pending"
    if key == "batch":
        begun, end = map(float, value.split(" "))
        if not begun <= running() < end:
            return "a batch is due, or the host was started"
    if key == "watch":
        ctime, size, inode, path = value.split(" ", 3)
        if fingerprint(path) != f"{ctime} {size} {inode}":
            return f"{path} has changed"
    return None


def outdated(metrics: str, shown: int, now: int) -> str | None:
    """Return why the metrics have to be written; touch them if they need not.

    `shown` is the time of the state, in ns, before it was set to `now`.
    """
    try:
        # The folder may be another user's: touch no file that a link of that user names.
        if os.stat(metrics, follow_symlinks=False).st_mtime_ns != shown:
            return "the metrics do not show the last observation"
        os.utime(metrics, (now, now), follow_symlinks=False)
    except OSError:
        return "the metrics are missing, or cannot be touched"
    return None


def touch(descriptor: int) -> int:
    """Set the time of the state file to now; `exitpol status` takes it for the last tick.

    Return that time: in whole seconds, which every file system keeps.
    """
    second = int(time.time())
    try:  # noqa: SIM105 - contextlib costs time
        os.utime(descriptor, (second, second))
    except OSError:
        pass  # A read-only or foreign state is reported as a tick that does not run.
    return second


def fingerprint(path: str) -> str:
    """Return `CTIME SIZE INODE` of a file (nanoseconds, bytes); `0 0 0` if there is none.

    A change of mode, owner or ACL changes the ctime too: Tor may be unable to read the file.
    """
    try:
        found = os.stat(path)
    except OSError:
        return "0 0 0"
    return f"{found.st_ctime_ns} {found.st_size} {found.st_ino}"


def main(arguments: list[str]) -> int:
    """Do nothing, or become the command after `--`. Return an exit code."""
    end = arguments.index("--") if "--" in arguments else 0
    paths, command = arguments[:end], arguments[end + 1 :]
    if not 1 <= len(paths) <= 2 or not command:
        sys.stderr.write("usage: tick.py STATE [METRICS] -- COMMAND [ARGUMENT...]\n")
        return 2
    if due(paths[0], time.time(), *paths[1:]) is None:
        return 0
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"exitpol: error: {command[0]} cannot be run: {error.strerror}\n")
        sys.stderr.write("exitpol: hint: if exitpol was moved: exitpol init --timer\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
