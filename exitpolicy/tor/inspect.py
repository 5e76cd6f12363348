"""Inspect one relay: what it runs, what it enforces, and what its files say."""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import (
    ExitpolError,
    IncludeLostError,
    InvalidFileError,
    TorRefusesError,
    TorUnreachableError,
)
from exitpolicy.core.shell import word
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Configured, LastRead, Running, Unobserved, View
from exitpolicy.policy.rule import Entry, Rule, torrc_values
from exitpolicy.storage import base_policies, observed
from exitpolicy.storage import last_read as last_read_file
from exitpolicy.storage.config import Relay
from exitpolicy.tor import (
    apparmor,
    daemon,
    foreign_changes,
    fragment,
    fragment_include,
    last_read,
    mounts,
    process,
    reopened,
    users,
    verify,
)
from exitpolicy.tor import invocation as invocations
from exitpolicy.tor import loaded as comparison
from exitpolicy.tor import torrc as torrc_file
from exitpolicy.tor.connections import Connections
from exitpolicy.tor.control import Control, NotAnsweredError, connect
from exitpolicy.tor.invocation import Invocation
from exitpolicy.tor.loaded import Difference, Loaded
from exitpolicy.tor.peer import Peer
from exitpolicy.tor.readings import Reading, Readings
from exitpolicy.tor.running import info, running_of
from exitpolicy.tor.users import User
from exitpolicy.tor.verify import OptionLine

CAN_SAVE: Final = "config-can-saveconf"
"""What GETINFO answers with 0 if Tor has read an include, with 1 if it has read none."""
_TEXT: Final = "config-text"
_LOADED: Final = (CAN_SAVE, _TEXT)
_NAMED_BY_OTHERS: Final = (
    "others than root can change Tor's configuration files, and may have named this one: look at it"
    " before you let Tor's user read it"
)
_QUOTED: Final = re.compile(r"'([^']*)'")


class CandidateError(TorRefusesError):
    """Tor rejects the candidate, and accepts what is installed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Content that Tor is to read in place of the fragment."""

    fragment: Path
    content: Path | str | None
    """The file with it, or the text itself; None to read the torrc without the include."""
    rules: tuple[Entry, ...]

    @classmethod
    def without(cls, fragment: Path) -> "Candidate":
        """Return the candidate for a torrc that does not include the fragment, or will not."""
        return cls(fragment, None, ())

    @property
    def replacement(self) -> Path | str:
        """What stands in the torrc in place of the fragment."""
        return "" if self.content is None else self.content

    @property
    def included(self) -> tuple[Path, ...]:
        """The fragment, if the torrc is to include it."""
        return () if self.content is None else (self.fragment,)


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files of a relay say, read by its own Tor with a candidate."""

    invocation: Invocation
    torrc: Path
    include: Path
    """The file that includes the fragment."""
    own: tuple[OptionLine, ...]
    """The options of the torrc, without those equal to the defaults-torrc."""
    options: Mapping[str, Sequence[str]]
    """The exit options and Sandbox, with those of the defaults-torrc."""
    fingerprint: str
    """See View."""
    sources: dict[str, str]
    """The files and folders that were read, with their fingerprints before that."""
    configured: Configured
    """The exit options, with exitpol's part of them."""


def inspect_relay(
    relay: Relay,
    candidate: Candidate,
    known: Readings | None = None,
    *,
    record: Path | None = None,
    connections: Connections | None = None,
) -> View:
    """Inspect a relay, and let its own Tor program read its files with a candidate.

    Nothing is changed. Files of which `known` has a reading are not read by Tor again; a new
    reading is added to it. `record` is the file of what Tors without a control port have read:
    storage/last_read.py. A problem of the relay is part of the result; only a problem of the
    candidate raises CandidateError.
    """
    try:
        if not relay.has_control:
            return _inspect_by_files(relay, candidate, known, record)
        return _inspect(relay, candidate, known, connections)
    except CandidateError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a Tor says must not stop the work on others
        problem = ExitpolError(
            f"internal error: relay {relay.name!r}: {type(error).__name__}: {str(error)[:200]}",
            hint="please report it; the other relays of this host are not affected",
        )
        return View(relay.name, None, None, broken=problem)


def _inspect(
    relay: Relay, candidate: Candidate, known: Readings | None, connections: Connections | None
) -> View:
    running: Running | None = None
    loaded: Loaded | None = None
    peer: Peer | None = None
    invocation: Invocation | None = None
    unreachable: ExitpolError | None = None
    try:
        with (connect if connections is None else connections.connect)(relay) as control:
            peer = control.peer
            hidden = _asked_one_by_one(relay)
            running = running_of(control, _LOADED, [(name,) for name in hidden])
            invocation = _trusted_invocation(relay, peer)
            loaded = _loaded(control, hidden, invocation)
    except (TorUnreachableError, InvalidFileError) as error:
        unreachable = error
    try:
        invocation = invocation or invocations.of_relay(relay, peer)
        torrc = _torrc_of(relay, running)
        files = _read(torrc, invocation, peer, candidate, {} if known is None else known)
        found = [] if loaded is None else _differences(loaded, files)
        if loaded and not loaded.lines and comparison.fatal(relay.name, found, None):
            # Its silence would be taken for a change of every line in the files.
            running, loaded, found = None, None, []
            unreachable = TorUnreachableError(
                f"Tor ({relay.name}) does not say what it runs: the answer at {relay.control} to"
                " GETINFO config-text is empty, and it is perhaps no Tor",
                hint="exitpol doctor",
            )
        return View(
            relay.name,
            running,
            files.configured,
            unreachable,
            must_restart=None
            if running is None or loaded is None
            else _must_restart(
                relay, running, loaded, files=files, found=found, candidate=candidate
            ),
            foreign=foreign_changes.sentences(found, map(Path, files.sources)),
            defaults_policy=defaults_policy(files.invocation, files.torrc, candidate.fragment),
            command_line_policy=invocations.option_that_replaces(
                files.invocation.command[1:], "ExitPolicy"
            ),
            fingerprint=files.fingerprint,
            sources=files.sources,
        )
    except CandidateError:
        raise
    except IncludeLostError as error:
        own = _options_without(_torrc_of(relay, running), invocation, peer, candidate)
        return View(relay.name, running, None, unreachable, error, without_include=own)
    except (TorRefusesError, InvalidFileError) as error:
        return View(relay.name, running, None, unreachable, error)


def _options_without(
    torrc: Path, invocation: Invocation | None, peer: Peer | None, candidate: Candidate
) -> ExitOptions | None:
    """Return the exit options in files that have lost the include; None if Tor rejects them."""
    if invocation is None:
        return None
    try:
        files = _read(torrc, invocation, peer, Candidate.without(candidate.fragment), {})
    except (TorRefusesError, InvalidFileError):
        return None
    return files.configured.own


def _inspect_by_files(
    relay: Relay, candidate: Candidate, known: Readings | None, record: Path | None
) -> View:
    """Inspect a relay without a control port: its process, and what its files say."""
    peer: Peer | None = None
    unreachable: ExitpolError | None = None
    try:
        with daemon.opened(relay) as found:
            peer = Peer(found.uid, found.pid)
    except (TorUnreachableError, InvalidFileError) as error:
        unreachable = error
    try:
        invocation = invocations.of_relay(relay, peer)
        files = _read(relay.torrc, invocation, peer, candidate, {} if known is None else known)
        view = View(
            relay.name,
            None,
            files.configured,
            unreachable,
            defaults_policy=defaults_policy(files.invocation, files.torrc, candidate.fragment),
            command_line_policy=invocations.option_that_replaces(
                files.invocation.command[1:], "ExitPolicy"
            ),
            fingerprint=files.fingerprint,
            sources=files.sources,
        )
        if peer is None:
            return view
        return _with_last_read(view, peer, files, candidate, record)
    except CandidateError:
        raise
    except (TorRefusesError, InvalidFileError) as error:
        # It runs all the same.
        runs = None if peer is None else Unobserved(peer.pid, LastRead("", "", (), ""), None)
        return View(relay.name, None, None, unreachable, error, unobserved=runs)


def _with_last_read(
    view: View, peer: Peer, files: _Files, candidate: Candidate, record: Path | None
) -> View:
    """Add to a view what a Tor without a control port has read, and what a reload would change.

    Raises TorRefusesError, InvalidFileError.
    """
    lines = last_read.lines_of(files.invocation, files.torrc, files.own)
    sources = last_read.sources(files.invocation, files.torrc, candidate.fragment)
    paths = [*sources, candidate.fragment]
    now = last_read.now(peer.pid, files.configured.options, lines, paths)
    recorded = None if record is None else last_read_file.load(record).get(view.name)
    last = recorded if recorded and recorded.process == now.process else None
    started = process.started(peer.pid)
    if last is None and last_read.older(sources, started):
        # It has read these lines at its start, and the fragment as well if that is as old.
        same = fragment.rules_of(fragment.read(candidate.fragment) or "") == candidate.rules
        is_known = same and last_read.older([candidate.fragment], started)
        last = now if is_known else now._replace(options="")
    default, reduced = (base_policies.load(name).rules for name in ("default", "reduced"))
    view = replace(
        view, unobserved=Unobserved(peer.pid, now, last, tuple(map(str, paths)), default, reduced)
    )
    found = [] if last is None else last_read.differences(last, lines)
    foreign = [difference.as_change for difference in found]
    if last is None:
        foreign = [f"{files.torrc}, or a file that it includes, was changed after Tor was started"]
    return replace(
        view,
        foreign=tuple(dict.fromkeys(foreign)),
        must_restart=_must_restart_unasked(view, files, found, lines, candidate),
    )


def _must_restart_unasked(
    view: View,
    files: _Files,
    found: Sequence[Difference],
    lines: Sequence[OptionLine],
    candidate: Candidate,
) -> TorRefusesError | None:
    """Return why a Tor without a control port would exit at a reload, or read nothing."""
    pid = view.pid
    unit = process.unit(pid)
    fatal = comparison.fatal(view.name, found, unit) or _cannot_reopen(view.name, files, pid)
    if fatal is not None:
        return fatal
    if ("__reloadtorrconsighup", "0") in lines:
        return TorRefusesError(
            f"Tor ({view.name}) reads nothing at a reload: __ReloadTorrcOnSIGHUP is 0",
            hint=f"remove that option and restart Tor: systemctl restart {unit or 'tor'}",
        )
    if files.options.get("Sandbox") != ["1"] or candidate.content is None:
        return None
    return comparison.unknown_include(
        view.name,
        Loaded(process.started(pid), None, (), {}),
        include=files.include,
        own=candidate.fragment,
        running=files.configured.options,
        unit=unit,
    )


def hidden_from_tor(relay: Relay, path: Path) -> TorRefusesError | None:
    """Return why a running Tor does not see a file that is, or will be, at a path; None if it does.

    None also if Tor cannot be reached.
    """
    try:
        pid = process_of(relay)
    except (TorUnreachableError, InvalidFileError):
        return None
    if not pid or not mounts.hidden(pid, [path]):
        return None
    return _hidden(path)


def process_of(relay: Relay) -> int:
    """Return the process of a relay's Tor; 0 if it cannot be seen.

    Raises TorUnreachableError, InvalidFileError.
    """
    if not relay.has_control:
        with daemon.opened(relay) as found:
            return found.pid
    with connect(relay) as control:
        return control.peer.pid


def _hidden(path: Path) -> TorRefusesError:
    return TorRefusesError(
        f"{path} is not the file that Tor sees there: its service has folders of its own at some"
        " places, such as /tmp and /home; Tor would exit at a reload",
        hint="keep Tor's files below /etc/tor",
    )


def _asked_one_by_one(relay: Relay) -> frozenset[str]:
    """Return the options that are not in GETINFO config-text, by name in lower case."""
    try:
        return frozenset({"user", *torrc_file.hidden_names(relay.torrc)})
    except InvalidFileError:
        return frozenset({"user"})


def _trusted_invocation(relay: Relay, peer: Peer) -> Invocation | None:
    """Return how a Tor is started; None without a program that can be trusted."""
    try:
        return invocations.of_relay(relay, peer)
    except TorRefusesError:
        return None


def _loaded(control: Control, names: frozenset[str], invocation: Invocation | None) -> Loaded:
    """Ask a Tor for what it has loaded, with the options `names` one by one.

    Raises TorUnreachableError, InvalidFileError.
    """
    pid = control.peer.pid
    started = process.started(pid) if pid else None
    since_start = Loaded(
        started,
        {"0": True, "1": False}.get(info(control, CAN_SAVE)),
        tuple(verify.option_lines(info(control, _TEXT))),
        {},
    )
    if invocation is not None and comparison.newer_than_start(
        since_start, verify.defaults_path(invocation)
    ):
        # `_read` reports an error.
        with contextlib.suppress(TorRefusesError):
            names |= {name.lower() for name, _ in verify.defaults(invocation)}
    asked: dict[str, Sequence[str]] = {}
    for name in sorted(names):
        try:
            asked[name] = control.get_conf([name])[name]
        except NotAnsweredError:
            continue
    return Loaded(since_start.started, since_start.includes, since_start.lines, asked)


def _read(
    torrc: Path,
    invocation: Invocation,
    peer: Peer | None,
    candidate: Candidate,
    known: Readings,
) -> _Files:
    """Let Tor read a relay's files. Raises TorRefusesError, InvalidFileError, CandidateError."""
    pid = 0 if peer is None else peer.pid
    place = fragment_include.include_place(torrc, candidate.fragment, invocation.folder)
    if place is None and candidate.content is not None:
        raise IncludeLostError(
            f"{torrc} does not include {candidate.fragment}: Tor enforces no block any more once it"
            " has read that torrc",
            hint=f"exitpol init --torrc {word(torrc)}",
        )
    sources = sources_of(invocation, torrc, candidate.fragment)
    contents: list[Path | str] = [*map(Path, sources), candidate.fragment, candidate.replacement]
    size = sum(map(_size, contents))
    invocation = replace(invocation, seconds=verify.seconds_for(size))
    _check_visible(pid, invocation, torrc, candidate)
    fingerprint = _fingerprint(torrc, invocation, candidate)
    key = _key(torrc, invocation, candidate, fingerprint)
    reading = known.get(key)
    if reading is None:
        text = fragment_include.redirected(
            torrc, candidate.fragment, candidate.replacement, invocation.folder
        )
        own = _verified(torrc, invocation, text, candidate)
        names = {*OPTION_NAMES, "Sandbox"}
        reading = Reading(tuple(own), verify.with_defaults(invocation, own, names))
        # A file that was changed in between may have been read before or after the change.
        if _key(torrc, invocation, candidate, _fingerprint(torrc, invocation, candidate)) == key:
            known[key] = reading
    configured = Configured(
        ExitOptions.read(reading.options),
        candidate.rules,
        len(fragment_include.include_places(torrc, candidate.fragment, invocation.folder)),
        tuple(other_fragments(torrc, candidate.fragment, invocation.folder)),
    )
    return _Files(
        invocation,
        torrc,
        torrc if place is None else place.file,
        reading.own,
        reading.options,
        fingerprint,
        sources,
        configured,
    )


def _size(content: Path | str) -> int:
    """Return the bytes of a file or a text; 0 for a file that is missing."""
    try:
        return len(content) if isinstance(content, str) else content.stat().st_size
    except OSError:
        return 0


def sources_of(invocation: Invocation, torrc: Path, fragment: Path) -> dict[str, str]:
    """Return the files and folders that a Tor reads, with their fingerprints.

    The fragment and its folder are left out, because exitpol changes them itself, and paths that do
    not fit on a line of the observation's file.
    """
    paths = last_read.sources(invocation, torrc, fragment)
    return observed.fingerprints(path for path in paths if "\n" not in str(path))


def other_fragments(torrc: Path, own: Path, folder: Path) -> Iterator[tuple[Entry, ...]]:
    """Yield the rules of each fragment that a torrc includes, except `own`.

    Such rules must not make a relay an exit. Raises InvalidFileError.
    """
    for _, path in torrc_file.includes(torrc, folder):
        if os.path.realpath(path) != os.path.realpath(own) and path.is_file():
            text = torrc_file.read_text(path)
            if fragment.is_fragment(text):
                yield fragment.rules_of(text)


def _key(torrc: Path, invocation: Invocation, candidate: Candidate, fingerprint: str) -> str:
    """Return a text that changes with all that a reading depends on. Raises InvalidFileError."""
    content = candidate.replacement
    rules = content if isinstance(content, str) else torrc_file.read_text(content)
    # How long Tor may take changes nothing of what it reads.
    how = (invocation.command, str(invocation.folder), invocation.user)
    about = repr((str(torrc), str(candidate.fragment), rules, how, fingerprint))
    return hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()


def _check_visible(pid: int, invocation: Invocation, torrc: Path, candidate: Candidate) -> None:
    """Refuse files that Tor's user cannot read, or that Tor's service hides.

    Root reads them all. At a reload that finds one it cannot read, Tor exits, or goes on without
    the options of its defaults-torrc. Raises TorRefusesError.
    """
    defaults = verify.defaults_path(invocation)
    files = [torrc, *([defaults] if os.path.isfile(defaults) else [])]  # noqa: PTH113 - as below
    included = [path for file in files for _, path in torrc_file.includes(file, invocation.folder)]
    ours = candidate.content if isinstance(candidate.content, Path) else None
    paths = [*files, *(path for path in included if path != candidate.fragment)]
    existing = [path for path in paths if os.path.exists(path)]  # noqa: PTH110 - never raises
    folders = [f"{path.parent}/" for path in candidate.included]
    if pid and (hidden := mounts.hidden(pid, [*existing, *candidate.included])):
        raise _hidden(hidden[0])
    # Whoever can change one of these files can name any file in it, also a secret one.
    named_by_root = all(map(users.only_changed_by_root, existing))
    if pid and apparmor.is_enforced(pid):
        for path in apparmor.forbidden([*existing, *candidate.included]):
            command = f", or:\n{apparmor.how_to_allow(path)}" if named_by_root else ""
            raise TorRefusesError(
                f"AppArmor does not let Tor read {path}; Tor would exit at a reload",
                hint=f"keep Tor's files below /etc/tor{command}",
            )
    if not (invocation.drops_user and invocation.user):
        return
    names = [
        *map(str, existing),
        *([] if ours is None or verify.is_public(ours) else [str(ours)]),
        *folders,
    ]
    unreadable = verify.unreadable(invocation.user, names)
    if unreadable:
        path = Path(unreadable[0])
        harm = "lose the options in it" if path == defaults else "exit"
        raise TorRefusesError(
            f"Tor's user {users.name_of(invocation.user.uid)} cannot read {path}; Tor would {harm}"
            " at a reload",
            hint=_how_to_open(path, invocation.user) if named_by_root else _NAMED_BY_OTHERS,
        )


def _how_to_open(path: Path, user: User) -> str:
    """Return the command that opens the first obstacle on a path to one user, not to everybody.

    Raises TorRefusesError.
    """
    real = Path(os.path.realpath(path))
    names = [f"{folder}/" for folder in reversed(real.parents)]
    closed = verify.unreadable(user, [*names, f"{real}/" if real.is_dir() else str(real)])
    name = closed[0] if closed else str(real)
    letter = "x" if name.endswith("/") else "r"
    obstacle = Path(name)
    quoted = word(obstacle)
    if obstacle.stat().st_gid in {0, user.gid}:
        return f"chgrp {users.group_name(user.gid)} {quoted} && chmod g+{letter} {quoted}"
    # Its group is another, which must not lose its right.
    return f"setfacl -m u:{users.name_of(user.uid)}:{letter} {quoted}"


def _torrc_of(relay: Relay, running: Running | None) -> Path:
    if running is not None and running.torrc:
        told = Path(running.torrc)
        if os.path.realpath(told) != os.path.realpath(relay.torrc):
            raise InvalidFileError(
                f"the Tor at {relay.control} reads {told}, not {relay.torrc}",
                hint=f"correct the relay {relay.name!r} in the config",
            )
    return relay.torrc


def _verified(
    torrc: Path, invocation: Invocation, text: str, candidate: Candidate
) -> list[OptionLine]:
    """Let tor verify a candidate, and return the options that it read.

    An error that the torrc has without the candidate is reported as the torrc's. Raises
    TorRefusesError, CandidateError.
    """
    # Tor only warns of some invalid rules, and ignores them. It never does of a `Rule`.
    may_warn = not all(isinstance(entry, Rule) for entry in candidate.rules)
    warnings: tuple[str, ...] = ()
    try:
        lines = verify.dump(invocation, text)
        if may_warn:
            warnings = verify.verify(invocation, text)
    except verify.StalledError:
        # Without the candidate it would take as long.
        raise
    except TorRefusesError as error:
        try:
            verify.verify(invocation, torrc_file.read_text(torrc))
        except TorRefusesError as without_us:
            raise TorRefusesError(
                f"{torrc}: {without_us}",
                hint="correct it; until then exitpol does not reload this Tor, which would exit",
            ) from error
        raise CandidateError(str(error)) from error
    ours = {value.partition(" ")[2] for value in torrc_values(candidate.rules)}
    for warning in warnings:
        if ours.intersection(_QUOTED.findall(warning)):
            raise CandidateError(f"Tor warns of a rule of ours: {warning}")
    return lines


def _differences(loaded: Loaded, files: _Files) -> list[Difference]:
    """Return what differs between a running Tor and its files, apart from the exit policy."""
    found = comparison.differences(loaded.lines, files.own)
    invocation = files.invocation
    hidden = frozenset(name for name in loaded.asked if name == "user" or name.startswith("__"))
    say: dict[str, Sequence[str]] = {"user": ()}
    for path in (verify.defaults_path(invocation), files.torrc):
        try:
            say.update(torrc_file.values(path, hidden, invocation.folder))
        except InvalidFileError:
            continue
    if hidden != loaded.asked.keys():
        # The defaults-torrc changed after the start of Tor: compare what only it sets.
        own = {name.lower() for name, _ in files.own}
        lines = [(name.lower(), value) for name, value in verify.defaults(invocation)]
        say.update(verify.values_of(lines, loaded.asked.keys() - hidden - own))
    # The command line overrides the files.
    stated = {word.lstrip("-+/").lower() for word in invocation.command[1:]}
    say = {name: values for name, values in say.items() if name not in stated}
    return [*found, *comparison.asked_differences(loaded.asked, say)]


def _must_restart(
    relay: Relay,
    running: Running,
    loaded: Loaded,
    *,
    files: _Files,
    found: Sequence[Difference],
    candidate: Candidate,
) -> TorRefusesError | None:
    unit = process.unit(running.pid) if running.pid else None
    fatal = comparison.fatal(relay.name, found, unit) or _cannot_reopen(
        relay.name, files, running.pid
    )
    # Without an include, there is no new file that a sandboxed Tor may not open.
    if fatal or files.options.get("Sandbox") != ["1"] or candidate.content is None:
        return fatal
    return comparison.unknown_include(
        relay.name,
        loaded,
        include=files.include,
        own=candidate.fragment,
        running=running.options,
        unit=unit,
    )


def _cannot_reopen(name: str, files: _Files, pid: int) -> TorRefusesError | None:
    """Return why a reload would end a Tor that has to open its other files again."""
    own = verify.values_of(files.own, reopened.NAMES)
    lower = {option.lower(): option for option in reopened.NAMES}
    defaults: dict[str, list[str]] = {}
    with contextlib.suppress(InvalidFileError):
        path = verify.defaults_path(files.invocation)
        found = torrc_file.values(path, lower, files.invocation.folder)
        defaults = {lower[key]: values for key, values in found.items()}
    user = files.invocation.user or users.by_uid(os.geteuid())
    return reopened.harm(name, {**defaults, **own}, user, pid)


def defaults_policy(invocation: Invocation, torrc: Path, fragment: Path) -> tuple[str, ...]:
    """Return the policy in the defaults-torrc that the first rule of the fragment replaces.

    Tor takes the ExitPolicy lines of the defaults-torrc only where the torrc has none.
    Raises InvalidFileError for the torrc.
    """
    path = verify.defaults_path(invocation)
    try:
        lines = torrc_file.values(path, ["exitpolicy"], invocation.folder).get("exitpolicy")
    except InvalidFileError:
        return ()
    own = fragment_include.replaces_policy(torrc, fragment, invocation.folder)
    return tuple(f"ExitPolicy {value}" for value in lines or () if not own)


def _fingerprint(torrc: Path, invocation: Invocation, candidate: Candidate) -> str:
    """Return a text that changes with every file that a reload reads, its owner and its mode.

    The fragment is left out: another rule in it does not make a fatal torrc harmless.
    """
    digest = hashlib.sha256()
    defaults = verify.defaults_path(invocation)
    others: list[Path] = []
    for root in (torrc, defaults):
        with contextlib.suppress(InvalidFileError):
            others += [path for _, path in torrc_file.includes(root, invocation.folder)]
    others = [path for path in others if path != candidate.fragment and path.is_file()]
    for path in (torrc, defaults, *others):
        try:
            found = path.stat()
            data = torrc_file.read_text(path).encode("utf-8", "surrogateescape")
        except (OSError, InvalidFileError):
            continue
        about = (str(path), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, len(data))
        digest.update(repr(about).encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()
