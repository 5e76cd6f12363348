"""The reasons for which a block, or any rule on a relay, must not be installed."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import AttentionError, ExitpolError, InvalidFileError, RefusedError
from exitpolicy.core.ports import ALL_PORTS, contains, ports_text
from exitpolicy.operations.fitting import Broken
from exitpolicy.policy.exit_flag import EXIT_PORTS
from exitpolicy.policy.options import first_catch_all
from exitpolicy.policy.reconcile import View
from exitpolicy.storage import shared_fronts
from exitpolicy.storage.config import Config, FitChoice, Relay
from exitpolicy.tor import fragment_include

_NAMED: Final = 25
"""How many shared addresses of a list are named."""


class BeyondLimitError(RefusedError):
    """Blocks would break a limit of Tor."""

    def __init__(self, broken: Broken, *, fitting: int = 0, count: int = 1) -> None:
        """Refuse `count` blocks, of which `fitting` would fit by themselves."""
        problem = broken.problem
        self.broken = broken
        self.fitting = fitting
        more = "; or add --force, if you accept that" if problem.forcible else ""
        would = f"; {fitting:,} of the {count:,} would fit" if count > 1 else ""
        super().__init__(
            f"relay {broken.relay!r}: {problem.message}{would}", hint=f"{problem.hint}{more}"
        )


class LeftOutError(AttentionError):
    """A block of a list gives its room in the descriptor to others, as the config says."""

    def __init__(self, relay: str, choice: FitChoice) -> None:
        """Say which relay has no room for it."""
        super().__init__(
            f"the descriptor of relay {relay!r} has no room for it (fit: {choice} in the config)",
            hint="to see what fits: exitpol fit",
        )


def forbidden(config: Config, block: Block) -> RefusedError | None:
    """Return why the config forbids a block; None if it allows it."""
    destination = block.destination
    if not config.protected and destination.first == destination.last:
        # Most blocks of a long ledger.
        return None
    for protected in config.protected:
        if protected.overlaps(destination):
            return RefusedError(
                f"{destination} is protected: {protected} in {config.source}",
                hint="block a part that does not touch it, or change the config",
            )
    if block.forced:
        return None
    if destination.is_port and destination.ports != ALL_PORTS:
        return _port(destination)
    for part in destination.ranges:
        limit = config.max_prefix[part.family]
        if min(length for _, length in part.prefixes()) < limit:
            return RefusedError(
                f"{destination} is wider than a /{limit}: that would be {part.size:,} addresses",
                hint="block less, or add --force",
            )
    return None


def _port(destination: Destination) -> RefusedError:
    """Return the refusal of a block that closes ports at every address."""
    ports = destination.ports
    single = len(ports) == 1 and ports[0][0] == ports[0][1]
    closed = f"{'port' if single else 'ports'} {ports_text(ports)}"
    lost = any(contains(ports, (port, port)) for port in EXIT_PORTS) and destination.family != 6
    flag = ", and the relay loses the Exit flag" if lost else ""
    return RefusedError(
        f"{destination} closes {closed} for every client{flag}",
        hint="to choose the ports of an exit for good: exitpol policy list; to close"
        f" {'it' if single else 'them'} until a time, add --force",
    )


def refuse_shared_fronts(config: Config, destinations: Iterable[Destination]) -> None:
    """Raise RefusedError if a block of these destinations would also block other sites."""
    fronts = shared_fronts.load(config)
    shared = [(d, whose) for d in destinations if (whose := fronts.provider_of(d)) is not None]
    if not shared:
        return
    first, provider = shared[0]
    error = of_shared_front(str(first), provider, str(first._replace(ports=((22, 22),))))
    if len(shared) == 1:
        raise error
    named = ", ".join(str(destination) for destination, _ in shared[:_NAMED])
    more = f" and {len(shared) - _NAMED:,} more" if len(shared) > _NAMED else ""
    raise RefusedError(
        f"{error}; {len(shared):,} of these are shared", hint=f"{error.hint}\nshared: {named}{more}"
    )


def of_shared_front(shared: str, provider: str, one_port: str) -> RefusedError:
    """Return the refusal of a block that would also block other sites of a provider.

    `one_port` is a destination that can be blocked.
    """
    return RefusedError(
        f"{shared} is a shared address of {provider}: a block would also block every other"
        " site behind it; block a port, or answer the reporter",
        hint=f"a port that serves no web sites can be blocked, such as {one_port}; or add --force",
    )


def refuse_shared_fragments(relays: Iterable[Relay], named: Collection[str]) -> None:
    """Raise RefusedError if a named relay shares its fragment with one that is not named."""
    by_name = {relay.name: relay for relay in relays}
    # Words for relays of other hosts may be among them.
    for name in by_name.keys() & set(named):
        path = by_name[name].fragment
        for other in by_name.values():
            if other.fragment == path and other.name not in named:
                raise RefusedError(
                    f"the relays {name!r} and {other.name!r} include the same fragment, {path}",
                    hint="to give each relay its own: exitpol init",
                )


def unsafe(relay: Relay, view: View) -> RefusedError | None:
    """Return why any rule would change more of a relay than its destination; None if none would.

    Rules in its fragment would open such a relay, now or after a change of its own options.
    """
    if view.configured is None:
        # Its files are broken. Once they are correct, it may be what it is now.
        running = None if view.running is None else view.running.options
        is_middle = running is not None and not running.exits and running.exit_relay is None
        return no_exit(relay) if is_middle else None
    if not view.configured.own.exits:
        return no_exit(relay) if view.configured.own.exit_relay is None else _never_exit(relay)
    if view.defaults_policy:
        return policy_in_defaults(relay, view.defaults_policy, "below the include")
    return None


def policy_in_defaults(relay: Relay, lines: Sequence[str], place: str) -> RefusedError:
    """Return the refusal for a relay with its ExitPolicy `lines` in the defaults-torrc.

    `place` says where in the torrc they are to be copied, or what to do after that.
    """
    copied = "\n".join(lines)
    return RefusedError(
        f"the exit policy of the relay {relay.name!r} is in its defaults-torrc; the first rule"
        " of exitpol's would replace it",
        hint=f"copy these lines into {relay.torrc}, {place}:\n{copied}",
    )


def no_exit(relay: Relay) -> RefusedError:
    """Return the refusal for a relay that one reject line would turn into an exit."""
    return RefusedError(
        f"the relay {relay.name!r} is not an exit: {relay.torrc} has ExitRelay auto and no exit"
        " option, and one reject line would make it exit to everywhere",
        hint=f"if it is to be an exit, write ExitRelay 1 into {relay.torrc}; if not, ExitRelay 0",
    )


def bridge(relay: Relay) -> RefusedError:
    """Return the refusal for a bridge."""
    return RefusedError(
        f"the relay {relay.name!r} is a bridge ({relay.torrc} has BridgeRelay 1), and no exit:"
        " there is nothing to block",
        hint="if it is to be an exit, remove BridgeRelay 1 and write ExitRelay 1",
    )


def _never_exit(relay: Relay) -> RefusedError:
    """Return why the fragment of a relay with ExitRelay 0 stays empty."""
    return RefusedError(
        f"the relay {relay.name!r} is not an exit: {relay.torrc} has ExitRelay 0; without that line"
        " one reject line would make it exit to everywhere",
    )


def without_effect(relay: Relay, view: View) -> ExitpolError | None:
    """Return why exitpol's rules have no effect on a relay; None if they have."""
    if view.configured is None:
        return None
    if view.command_line_policy:
        return commanded(relay, view.command_line_policy)
    removing = fragment_include.removed_at(relay.torrc, relay.fragment)
    if removing is not None:
        return InvalidFileError(
            f"{removing}: /ExitPolicy removes all rules above it, and with them those of"
            f" {relay.fragment}, so that no block has any effect",
            hint=f"move the line %include {relay.fragment} below it",
        )
    position = view.configured.options.position(view.configured.fragment)
    above = None
    if position is not None:
        above = first_catch_all(view.configured.options.exit_policy[:position])
    if above is None:
        return None
    place = fragment_include.first_exit_policy(relay.torrc, relay.fragment, above)
    return InvalidFileError(
        f"{place or relay.torrc}: {str(above)!r} is above the include of"
        f" {relay.fragment}, so that no block has any effect",
        hint=f"move the line %include {relay.fragment} above it",
    )


def commanded(relay: Relay, option: str) -> RefusedError:
    """Return the refusal for a Tor whose command line replaces the exit policy of its files."""
    return RefusedError(
        f"Tor ({relay.name}) was started with {option} on its command line, which replaces all"
        f" ExitPolicy lines of {relay.torrc}, and with them exitpol's: no block has any effect",
        hint=f"take {option} out of the command that starts Tor, write its rules into"
        f" {relay.torrc}, and restart Tor",
    )


def not_understood(relay: Relay, view: View) -> list[AttentionError]:
    """Return an error for each rule of the operator's own that exitpol does not understand.

    It refuses nothing: blocks are installed and lifted, and the limits are measured without it.
    """
    unknown = (
        {} if view.configured is None else dict.fromkeys(map(str, view.configured.own.unknown))
    )
    if not unknown:
        return []
    places = {
        text: place for place, text in fragment_include.own_rules(relay.torrc, relay.fragment)
    }
    return [
        AttentionError(
            f"{places.get(text, relay.torrc)}: exitpol does not understand the rule {text!r}, and"
            " does not know what it accepts or rejects",
            hint="write it in a form of tor(1), such as: reject 203.0.113.0/24:22",
        )
        for text in unknown
    ]
