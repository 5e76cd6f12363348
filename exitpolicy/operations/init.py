"""Set up a host: the ledger, an empty fragment, and the line that includes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Blocks
from exitpolicy.core.errors import ExitCode, InvalidFileError, UsageError
from exitpolicy.operations import apply, own_policy, refusals
from exitpolicy.operations.apply import Applied, Watch
from exitpolicy.operations.host import Host
from exitpolicy.operations.outcome import exit_code
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Configured
from exitpolicy.storage import files, ledger_file
from exitpolicy.storage.config import DEFAULT_PATH, Config, Relay, render
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import apply_lock_path, ledger_lock_path, lock, lock_folder
from exitpolicy.tor import fragment, inspect, torrc, verify
from exitpolicy.tor.invocation import of_relay

CONTROL_NAMES: Final = ("ControlSocket", "ControlPort")


@dataclass(frozen=True, slots=True)
class Initialized:
    """What `init` did, or would do in a dry run."""

    created: tuple[Path, ...]
    """New files."""
    edited: tuple[tuple[Path, str, str], ...]
    """For each changed torrc: its path, its text before and after."""
    applied: Applied | None
    """None for a dry run."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of `init`, which does not wait until Tor enforces its files."""
        return ExitCode.DONE if self.applied is None else exit_code(self.applied, (), Watch.NOT)


def with_relay(host: Host, path: Path) -> Host:
    """Return the host with only the relay of a torrc; read its control port from the torrc.

    Raises InvalidFileError, TorRefusesError.
    """
    known = [relay for relay in host.relays if _same(relay.torrc, path)]
    if known:
        return host
    if host.config.source is not None:
        raise InvalidFileError(
            f"{path} is not the torrc of a relay in {host.config.source}",
            hint=f"add there, under relays: - {{name: NAME, torrc: {path}, control: SOCKET}}",
        )
    text = torrc.read_text(path)
    invocation = of_relay(Relay("default", path, ""))
    control = control_address(verify.options(invocation, text, CONTROL_NAMES))
    if control is None:
        raise InvalidFileError(
            f"{path} opens no control port; exitpol needs one to reload Tor",
            hint="add, and restart Tor:\nControlSocket /run/tor/control\nCookieAuthentication 1",
        )
    relay = Relay("default", path, control, fragment=host.config.fragment_of("default"))
    return replace(host, config=replace(host.config, relays=(relay,)), relays=(relay,))


def init(host: Host, *, config_path: Path | None, dry_run: bool) -> Initialized:
    """Create missing files, include the fragment in each torrc, verify, and apply.

    Keeps existing files. Raises RefusedError for a relay that is no exit, TorRefusesError and
    InvalidFileError; nothing is changed then. Never installs a torrc that Tor refuses.
    """
    if dry_run:
        return _work(host, config_path)
    # Refused before any folder is made: a relay that is no exit leaves no trace.
    _work(host, config_path)
    lock_folder(host.config.ledger)
    with (
        lock(
            apply_lock_path(host.config.ledger), seconds=apply.LOCK_SECONDS, doing="talking to Tor"
        ),
        lock(ledger_lock_path(host.config.ledger), seconds=10, doing="changing the ledger"),
    ):
        # Again: another exitpol may have created or changed any of the files in between.
        done = _work(host, config_path)
        _create(host, done.created)
        invocations = {relay.torrc: of_relay(relay) for relay in host.relays}
        for path, _, new in done.edited:
            verify.verify(invocations[path], new)
            files.replace(path, new.encode("utf-8", "surrogateescape"), follow=True)
    applied = apply.apply(host)
    own_policy.accept(host, applied.views)
    return replace(done, applied=applied)


def _work(host: Host, config_path: Path | None) -> Initialized:
    """Return what is to be created and edited. Raises what `init` raises."""
    edited: list[tuple[Path, str, str]] = []
    for relay in host.some_relays():
        new = _edit(relay, relay.fragment)
        if new is not None:
            edited.append((relay.torrc, torrc.read_text(relay.torrc), new))
    config = host.config
    paths = [config.ledger, *dict.fromkeys(relay.fragment for relay in host.relays)]
    if config.relays and config.source is None:
        paths.append(config_path or DEFAULT_PATH)
    return Initialized(tuple(path for path in paths if not path.exists()), tuple(edited), None)


def _create(host: Host, paths: Sequence[Path]) -> None:
    """Create missing files. The caller holds both locks."""
    fragments = {relay.fragment for relay in host.relays}
    for path in paths:
        if path == host.config.ledger:
            ledger_file.save(path, Ledger(Blocks.of()))
        elif path in fragments:
            # Before any torrc includes it: a missing file ends Tor.
            files.make_folder(path.parent)
            fragment.stage(path, fragment.render(()))
            files.commit(path)
        else:
            _write_config(path, host.config)


def _edit(relay: Relay, path: Path) -> str | None:
    """Return the text of the torrc with the include added; None if it has the include.

    Raises RefusedError, TorRefusesError, InvalidFileError.
    """
    own = torrc.redirected(relay.torrc, path, "")
    invocation = of_relay(relay)
    verify.verify(invocation, own)
    options = Configured(
        ExitOptions.read(verify.options(invocation, own, OPTION_NAMES)),
        (),
        other_fragments=tuple(inspect.other_fragments(relay.torrc, path, invocation.folder)),
    ).own
    if not options.exits and options.exit_relay is None:
        raise refusals.no_exit(relay)
    if torrc.include_place(relay.torrc, path) is not None:
        return None
    if any(character in str(path) for character in '"\\#*?[ \t\n'):
        raise UsageError(f"{path} is not allowed in a torrc", hint="choose a plain name")
    hidden = inspect.hidden_from_tor(relay, path)
    if hidden is not None:
        raise hidden
    return torrc.with_include(relay.torrc, path)


def control_address(options: Mapping[str, Sequence[str]]) -> str | None:
    """Return the address of the first usable control port among the options of a torrc."""
    for value in options.get("ControlSocket", ()):
        word = value.split()[0].strip('"') if value.split() else "0"
        if word not in ("0", "1"):
            return str(word.removeprefix("unix:"))
    for value in options.get("ControlPort", ()):
        word = value.split()[0].strip('"') if value.split() else "0"
        if word.startswith("unix:"):
            return str(word.removeprefix("unix:").strip('"'))
        if word not in ("0", "auto"):
            return word if ":" in word else f"127.0.0.1:{word}"
    return None


def _write_config(path: Path, config: Config) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    files.replace(path, render(config))


def _same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()
