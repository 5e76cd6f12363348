"""Host names of destinations: their addresses for this host's relays, and which are refused.

Whoever owns a name chooses its addresses. So more is refused than for an address that the operator
typed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from exitpolicy import resolver
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import AttentionError, ExitpolError, RefusedError, UsageError
from exitpolicy.core.host_names import NamedHost
from exitpolicy.core.ports import overlap
from exitpolicy.core.shared_fronts import WEB_PORTS
from exitpolicy.operations import complaints, refusals
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.policy.rule import parse_rule
from exitpolicy.resolver import Answer, Failure, Reason, Result, Server
from exitpolicy.storage import shared_fronts
from exitpolicy.tor import name_servers

MAX_ADDRESSES: Final = 64
"""The most addresses of a name that are blocked."""

_PRIVATE: Final = (
    *(rule.destination for rule in parse_rule("reject private:*")),
    # Those of a provider's own network (RFC 6598); multicast and reserved addresses.
    parse_destination("100.64.0.0/10"),
    parse_destination("224.0.0.0/3"),
)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A host name and the destinations that it stands for."""

    host: NamedHost
    answer: Answer
    destinations: tuple[Destination, ...]


def resolve(host: Host, named: Iterable[NamedHost], relays: Sequence[str]) -> tuple[Resolved, ...]:
    """Ask the DNS servers that the relays' Tors use; with `relays`, those only.

    Where relays use different servers, the addresses of all count. Raises UsageError for a name
    that has no address, AttentionError where no server answers, InvalidFileError.
    """
    wanted = list(dict.fromkeys(named))
    names = list(dict.fromkeys(one.name for one in wanted))
    if len(names) > resolver.MAX_NAMES:
        raise UsageError(
            f"{len(names)} host names are too many at a time",
            hint=f"resolve at most {resolver.MAX_NAMES} with one command",
        )
    found, asked = look_up(host, names, relays)
    answers = {name: joined(results) for name, results in found.items()}
    failures = [one for one in answers.values() if isinstance(one, Failure)]
    if failures:
        raise _unresolved(failures, asked)
    return tuple(
        Resolved(one, answer, tuple(_destinations(one, answer)))
        for one in wanted
        if isinstance(answer := answers[one.name], Answer)
    )


def look_up(
    host: Host, names: Sequence[str], relays: Collection[str]
) -> tuple[dict[str, list[Result]], list[tuple[Server, ...]]]:
    """Return the answers for each of at most `resolver.MAX_NAMES` names, and the servers asked.

    Relays that use different servers give several answers. With `relays`, only the servers of those
    are asked. Raises AttentionError, InvalidFileError.
    """
    chosen = host.known_relays(relays)
    if chosen.isdisjoint(host.names) and (chosen or host.keeps_ledger_only):
        # The relays are on other hosts, whose servers cannot be asked here.
        asked = [name_servers.of(None)]
    else:
        asked = sorted(
            {name_servers.of(r) for r in host.some_relays() if not chosen or r.name in chosen}
        )
    found: dict[str, list[Result]] = {name: [] for name in names}
    for results in in_parallel(lambda servers: resolver.resolve(names, servers), asked):
        for result in results:
            found[result.name].append(result)
    return found, asked


def joined(results: Sequence[Result]) -> Result:
    """Return one result of those of different servers: where one has no answer, another counts."""
    answers = [result for result in results if isinstance(result, Answer)]
    if not answers:
        return results[0]
    first = answers[0]
    return Answer(
        first.name,
        first.canonical_name,
        tuple(dict.fromkeys(alias for answer in answers for alias in answer.aliases)),
        tuple(sorted({address for answer in answers for address in answer.addresses})),
        min(answer.ttl for answer in answers),
        next((answer.unknown for answer in answers if answer.unknown is not None), None),
    )


def _unresolved(failures: Sequence[Failure], asked: Iterable[Sequence[Server]]) -> ExitpolError:
    """Return the error for names without addresses."""
    more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
    words = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:5])
    servers = ", ".join(dict.fromkeys(str(server) for some in asked for server in some))
    text = f"{words}{more}; nothing was blocked"
    if any(failure.reason in {Reason.NO_ANSWER, Reason.FAILED} for failure in failures):
        return AttentionError(
            text, hint=f"asked: {servers}; try again, or name the addresses instead of the host"
        )
    return UsageError(text, hint=f"asked: {servers}; check the name")


def _destinations(named: NamedHost, answer: Answer) -> Iterable[Destination]:
    for family, number in answer.addresses:
        yield Destination(family, number, number, named.ports)


class Fitness:
    """Which addresses of host names may be blocked on a host."""

    def __init__(self, host: Host) -> None:
        """Find the addresses of the host, and the shared ones. Raises InvalidFileError."""
        self._config = host.config
        self._own = complaints.own_addresses(host)
        self._fronts = shared_fronts.load(host.config)

    def unfit(self, destination: Destination) -> str | None:
        """Return what an address is that no name may have blocked; None for any other address."""
        if any(private.overlaps(destination) for private in _PRIVATE):
            return "a private address, to which no exit connects"
        if any(address.overlaps(destination) for address in self._own):
            return "an address of this host"
        for protected in self._config.protected:
            if protected.overlaps(destination):
                return f"protected: {protected} in {self._config.source}"
        return None

    def provider(self, destination: Destination, answer: Answer) -> str | None:
        """Return whose shared front an address is, by itself or by the names that led to it."""
        provider = self._fronts.provider_of(destination)
        if provider is None and overlap(destination.ports, WEB_PORTS):
            names = (answer.name, *answer.aliases)
            return next(filter(None, map(self._fronts.provider_of_name, names)), None)
        return provider


def refuse_unfit(host: Host, resolved: Iterable[Resolved], *, force: bool) -> None:
    """Refuse names that lead to an address that must not be blocked; `force` allows shared ones.

    Raises RefusedError, InvalidFileError.
    """
    fitness = Fitness(host)
    for one in resolved:
        if len(one.destinations) > MAX_ADDRESSES:
            raise RefusedError(
                f"{one.host.name} has {len(one.destinations):,} addresses, and more than"
                f" {MAX_ADDRESSES} are not blocked by a name; nothing was blocked",
                hint="name the addresses that were attacked",
            )
        reasons = {d: fitness.unfit(d) for d in one.destinations}
        for destination, reason in reasons.items():
            if reason is not None:
                others = " ".join(str(d) for d, unfit in reasons.items() if unfit is None)
                raise RefusedError(
                    f"{one.host.name}: {destination} is {reason}; nothing was blocked",
                    hint=f"its other addresses are: {others}" if others else "answer the reporter",
                )
        for destination in () if force else one.destinations:
            provider = fitness.provider(destination, one.answer)
            if provider is not None:
                raise refusals.of_shared_front(
                    f"{one.host.name}: {destination}", provider, f"{one.host.name}:22"
                )
