"""What a Tor without a control port has read, as far as exitpol knows, against what its files say.

Such a Tor cannot be asked. It has read its files at its start, and at each reload of exitpol's,
which records marks of what they said (storage/last_read.py). A line that differs from those marks
was changed since: a reload would load it.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError, TorUnreachableError
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import LastRead
from exitpolicy.storage import observed
from exitpolicy.storage.config import Relay
from exitpolicy.tor import daemon, fragment_include, loaded, process, verify
from exitpolicy.tor import invocation as invocations
from exitpolicy.tor import torrc as torrc_file
from exitpolicy.tor.invocation import Invocation
from exitpolicy.tor.loaded import Difference
from exitpolicy.tor.peer import Peer
from exitpolicy.tor.verify import OptionLine

_DIGITS: Final = 8
"""Of a mark. So short a digest shows a change; the record is root's alone all the same."""


def identity_of(pid: int) -> str:
    """Return a text that no other process of this boot has; empty if it has ended.

    The timer's unit cannot see which boot it is. A process of another boot with the same text has
    read the files at its start: to take it for the former one makes a change foreign, and no more.
    """
    ticks = process.start_ticks(pid)
    return "" if ticks is None else f"{pid} {ticks}"


def now(
    pid: int, options: ExitOptions, lines: Collection[OptionLine], paths: Iterable[Path]
) -> LastRead:
    """Return what a Tor would have read if it read its files now; `paths` are these files."""
    marked = Counter({_line(line): count for line, count in _compared(lines).items()})
    found = tuple(sorted(marked.elements()))
    return LastRead(identity_of(pid), _mark(repr(options)), found, versions(paths))


def versions(paths: Iterable[Path]) -> str:
    """Return a mark that changes whenever one of the files is changed, even back again."""
    return _mark(repr(sorted(observed.fingerprints(paths).items())))


def of_start(relay: Relay) -> LastRead | None:
    """Return what the running Tor of a relay without a control port has read of its present files.

    None if it does not run, or if the files have changed since its start. The exit options are left
    out: call this before the torrc includes the fragment. Raises TorRefusesError, InvalidFileError.
    """
    try:
        with daemon.opened(relay) as found:
            peer = Peer(found.uid, found.pid)
    except TorUnreachableError:
        return None
    invocation = invocations.of_relay(relay, peer)
    paths = sources(invocation, relay.torrc, relay.fragment)
    if not older(paths, process.started(peer.pid)):
        return None
    text = fragment_include.redirected(relay.torrc, relay.fragment, "", invocation.folder)
    lines = lines_of(invocation, relay.torrc, verify.dump(invocation, text))
    return now(peer.pid, ExitOptions(), lines, paths)._replace(options="")


def lines_of(
    invocation: Invocation, torrc: Path, own: Sequence[OptionLine]
) -> tuple[OptionLine, ...]:
    """Return the lines of a relay's files: its `own`, those of the defaults-torrc, hidden ones.

    Raises TorRefusesError, InvalidFileError.
    """
    defaults = verify.defaults_path(invocation)
    lines = [*own]
    if verify.defaults_text(invocation):
        lines += verify.defaults(invocation)
    hidden = {"user", *torrc_file.hidden_names(torrc, invocation.folder)}
    for path in (defaults, torrc):
        with contextlib.suppress(InvalidFileError):
            for name, values in torrc_file.values(path, hidden, invocation.folder).items():
                lines += [(name, value) for value in values]
    return tuple(lines)


def sources(invocation: Invocation, torrc: Path, fragment: Path) -> list[Path]:
    """Return the files and folders that a Tor reads, without `fragment` and its folder.

    Raises InvalidFileError.
    """
    found = torrc_file.sources(torrc, invocation.folder)
    found += torrc_file.sources(verify.defaults_path(invocation), invocation.folder)
    return [path for path in found if path not in {fragment, fragment.parent}]


def differences(last: LastRead, lines: Collection[OptionLine]) -> list[Difference]:
    """Return what the files say that was not read, and the options of which a line is gone."""
    compared = _compared(lines)
    before = Counter(last.lines)
    found: list[Difference] = []
    for line, count in compared.items():
        if count > before[_line(line)]:
            found.append(Difference(*line, in_files=True))
    gone = before - Counter({_line(line): count for line, count in compared.items()})
    found += [Difference(text.partition(" ")[0], "", in_files=False) for text in gone]
    return found


def older(paths: Iterable[Path], started: float | None) -> bool:
    """Tell whether a Tor that started then has read these files as they are now.

    The time of a change of content, owner or name counts, which no user can set.
    """
    if started is None:
        return False
    for path in paths:
        try:
            changed = path.stat().st_ctime
        except FileNotFoundError:
            continue
        except OSError:
            return False
        if changed >= started - loaded.GRAIN:
            return False
    return True


def _compared(lines: Collection[OptionLine]) -> Counter[OptionLine]:
    found = loaded.canonical(lines)
    # A Tor that can be asked says its user; of this one only the files do.
    found.update(("User", value) for name, value in lines if name.lower() == "user")
    return found


def _line(line: OptionLine) -> str:
    return f"{line[0]} {_mark(line[1])}"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
