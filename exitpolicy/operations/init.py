"""Set up a host: the ledger, an empty fragment, and the line that includes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Blocks
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.operations import apply, own_policy, refusals
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
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


def with_relay(host: Host, path: Path) -> Host:
    """Return the host with only the relay of a torrc; read its control port from the torrc.

    Raises InvalidFileError, TorRefusesError.
    """
    known = [relay for relay in host.relays if _same(relay.torrc, path)]
    if known:
        return host
    if host.config.source is not None:
        raise InvalidFileError(
            f"{path} belongs to none of the relays in {host.config.source}",
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
    config = host.config
    edits = [_edit(relay, config.fragment) for relay in host.some_relays()]
    changes = tuple(
        (relay.torrc, torrc.read_text(relay.torrc), new)
        for relay, new in zip(host.relays, edits, strict=True)
        if new is not None
    )
    files_to_be = [config.ledger, config.fragment]
    written_config = config_path or DEFAULT_PATH
    if config.relays and config.source is None:
        files_to_be.append(written_config)
    created = tuple(path for path in files_to_be if not path.exists())
    if dry_run:
        return Initialized(created, changes, None)
    lock_folder(config.ledger)
    with (
        lock(apply_lock_path(config.ledger), seconds=apply.LOCK_SECONDS, doing="talking to Tor"),
        lock(ledger_lock_path(config.ledger), seconds=10, doing="changing the ledger"),
    ):
        if written_config in created:
            _write_config(written_config, config)
        if config.ledger in created:
            ledger_file.save(config.ledger, Ledger(Blocks.of()))
        # Before any torrc includes it: a missing file ends Tor.
        if config.fragment in created:
            fragment.stage(config.fragment, fragment.render(()))
            files.commit(config.fragment)
        for relay, new in zip(host.relays, edits, strict=True):
            if new is not None:
                verify.verify(of_relay(relay), new)
                files.replace(relay.torrc.resolve(), new.encode("utf-8", "surrogateescape"))
    applied = apply.apply(host)
    own_policy.accept(host, applied.views)
    return Initialized(created, changes, applied)


def _edit(relay: Relay, path: Path) -> str | None:
    """Return the text of the torrc with the include added; None if it has the include.

    Raises RefusedError, TorRefusesError, InvalidFileError.
    """
    own = torrc.redirected(relay.torrc, path, "")
    invocation = of_relay(relay)
    verify.verify(invocation, own)
    options = ExitOptions.read(verify.options(invocation, own, OPTION_NAMES))
    if not options.exits and options.exit_relay is None:
        raise refusals.no_exit(relay)
    if torrc.include_place(relay.torrc, path) is not None:
        return None
    if any(character in str(path) for character in '"\\#*?[ \t\n'):
        raise UsageError(f"{path} cannot stand in a torrc", hint="choose a plain name")
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
