"""Resolve host names with given DNS servers, in a child process without privileges.

Whoever answers is not trusted: the child reads the answers, and gives back names and addresses as
JSON, which is validated strictly. It sees no files, and can only use the network.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from exitpolicy import confinement
from exitpolicy.core.addresses import Family, address_text, read_address, read_endpoint
from exitpolicy.core.errors import AttentionError

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

SECONDS: Final = 5.0
"""How long the servers have for one name. All names are asked for at the same time."""
PATIENCE: Final = SECONDS + 10
"""How long the child may run, which has to start first."""
MAX_NAMES: Final = 20
"""The most names of one call."""
MAX_ADDRESSES: Final = 4096
"""The most addresses of a name: more than a message of DNS can hold."""
PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from exitpolicy import resolver; resolver.serve()"
)
"""What the child runs; its argument is the folder of the package."""

_MAX_ANSWER: Final = 8_000_000
_MEMORY: Final = 300 << 20
_OPEN_FILES: Final = 8 + 4 * MAX_NAMES
_MAX_TTL: Final = 2**31 - 1
_MAX_ALIASES: Final = 40
"""Those of two chains; dnspython follows 16 aliases."""
_TEXT: Final = r"[!-~]{1,1100}"
"""A name from DNS as dnspython writes it: other bytes than these are escaped."""


class Server(NamedTuple):
    """The address and port of a DNS server."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address} port {self.port}"


class Reason(StrEnum):
    """Why addresses of a name are not known."""

    NO_SUCH_NAME = "it does not exist (NXDOMAIN)"
    LOOP = "its CNAME records make a loop, or too long a chain"
    NO_ANSWER = "no DNS server has answered within 5 s"
    FAILED = "no DNS server gives a usable answer"
    NO_ADDRESS = "it has no address"


_GRAVITY: Final = tuple(Reason)
"""Of two reasons, the one that says more is the first of these."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name."""

    name: str
    canonical_name: str
    """Where its CNAME records lead; the name itself if it has none."""
    aliases: tuple[str, ...]
    """All names that its CNAME records lead to."""
    addresses: tuple[tuple[Family, int], ...]
    """Ascending, at least one."""
    ttl: int
    """In seconds, the shortest of all records."""
    unknown: tuple[Family, Reason] | None = None
    """The family for which no server gave an answer, and why."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A name that could not be resolved."""

    name: str
    reason: Reason


Result = Answer | Failure


class _Exit(IntEnum):
    """The exit codes of the child."""

    DONE = 0
    PRIVILEGED = 11


def servers(resolv_conf: str) -> tuple[Server, ...]:
    """Return the servers that a resolv.conf(5) names, with ports as Tor's libevent reads them.

    Without any, that of this host, as libevent and the C library do. Addresses with an IPv6 zone
    are left out, and so is a second port of an address: dnspython keeps one for each address.
    """
    found: dict[str, Server] = {}
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        if (alone := read_address(words[1])) is not None:
            server = Server(address_text(*alone))
        elif (endpoint := read_endpoint(words[1])) is not None:
            server = Server(address_text(*endpoint[:2]), endpoint[2])
        else:
            continue
        found.setdefault(server.address, server)
    return tuple(found.values())[:8] or (Server("127.0.0.1"),)


def resolve(names: Sequence[str], asked: Sequence[Server]) -> tuple[Result, ...]:
    """Ask DNS servers for the A and AAAA records of at most MAX_NAMES names in ASCII.

    The second server is asked where the first one fails. Raises AttentionError if the child fails.
    """
    request: dict[str, object] = {
        "names": list(names),
        "servers": [list(server) for server in asked],
        "seconds": SECONDS,
    }
    try:
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryDirectory() as empty:
            request["root"] = empty
            stdin.write(json.dumps(request).encode("ascii"))
            stdin.seek(0)
            data, code = confinement.run(
                PROGRAM, stdin.fileno(), patience=PATIENCE, limit=_MAX_ANSWER
            )
    except OSError as error:
        raise _failure(f"its child cannot be started ({error.strerror})") from error
    if code == _Exit.PRIVILEGED:
        raise _failure("its child could not give up its privileges")
    if code != _Exit.DONE:
        raise _failure("its child failed")
    try:
        return decode(names, data)
    except ValueError as error:
        raise _failure("its child gave an invalid answer") from error


def _failure(reason: str) -> AttentionError:
    return AttentionError(
        f"the resolver does not work: {reason}; nothing was changed",
        hint="name the addresses instead of the host",
    )


def decode(names: Sequence[str], data: bytes) -> tuple[Result, ...]:
    """Return the results that the child wrote, in the order of the names.

    Raises ValueError for anything that it would not write.
    """
    try:
        results = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(results, list) or len(results) != len(names):
        raise ValueError("not a result for each name")
    return tuple(_decoded(name, result) for name, result in zip(names, results, strict=True))


def _decoded(name: str, result: object) -> Result:
    if not isinstance(result, dict):
        raise ValueError("not a result")  # noqa: TRY004 - of the sender, not the caller
    if set(result) == {"failed"}:
        return Failure(name, Reason(result["failed"]))
    if set(result) != {"canonical_name", "aliases", "addresses", "ttl", "unknown"}:
        raise ValueError("not an answer")
    ttl, unknown = result["ttl"], result["unknown"]
    if type(ttl) is not int or not 0 <= ttl <= _MAX_TTL:
        raise ValueError("not a time to live")
    addresses = {_address(text) for text in _list(result["addresses"], MAX_ADDRESSES)}
    if not addresses:
        raise ValueError("no address")
    return Answer(
        name,
        _name(result["canonical_name"]),
        tuple(map(_name, _list(result["aliases"], _MAX_ALIASES))),
        tuple(sorted(addresses)),
        ttl,
        None if unknown is None else _unknown(unknown),
    )


def _list(value: object, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("not a list, or too long a one")
    return value


def _name(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(_TEXT, text):
        raise ValueError("not a name")
    return text


def _address(text: object) -> tuple[Family, int]:
    found = read_address(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not an address")
    return found


def _unknown(value: object) -> tuple[Family, Reason]:
    match value:
        case [4, str(reason)]:
            return 4, Reason(reason)
        case [6, str(reason)]:
            return 6, Reason(reason)
    raise ValueError("not a family and a reason")


def serve() -> None:
    """Be the child: read the names and servers from stdin, write the results to stdout."""
    # Only the child needs them. What the library loads at first use is loaded here.
    import dns.asyncbackend  # noqa: PLC0415
    import dns.asyncresolver  # noqa: PLC0415
    import dns.rdtypes.ANY.CNAME  # noqa: PLC0415
    import dns.rdtypes.ANY.OPT  # noqa: PLC0415
    import dns.rdtypes.ANY.SOA  # noqa: PLC0415
    import dns.rdtypes.IN.A  # noqa: PLC0415
    import dns.rdtypes.IN.AAAA  # noqa: PLC0415

    dns.asyncbackend.get_backend("asyncio")
    with os.fdopen(os.dup(0), "rb") as stdin:
        request = json.loads(stdin.read())
    confinement.see_only(request["root"])
    try:
        confinement.confine(memory=_MEMORY, seconds=10, open_files=_OPEN_FILES)
    except OSError:
        os._exit(_Exit.PRIVILEGED)
    asked = [Server(*server) for server in request["servers"]]
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [server.address for server in asked]
    resolver.nameserver_ports = {server.address: server.port for server in asked}
    resolver.lifetime = request["seconds"]
    results = asyncio.run(_ask_all(resolver, request["names"]))
    sys.stdout.write(json.dumps(results))
    sys.stdout.flush()


async def _ask_all(resolver: "Resolver", names: Sequence[str]) -> list[dict[str, object]]:
    return await asyncio.gather(*(_ask_both(resolver, name) for name in names))


async def _ask_both(resolver: "Resolver", name: str) -> dict[str, object]:
    """Return the JSON form of the result of one name."""
    four, six = await asyncio.gather(_ask(resolver, name, "A"), _ask(resolver, name, "AAAA"))
    if isinstance(four, Reason) and isinstance(six, Reason):
        return {"failed": min(four, six, key=_GRAVITY.index)}
    unknown: list[object] | None = None
    found: list[_Records] = []
    for family, records in ((4, four), (6, six)):
        if isinstance(records, _Records):
            found.append(records)
        elif records is not Reason.NO_ADDRESS:
            unknown = [family, records]
    addresses = [address for records in found for address in records.addresses]
    return {
        "canonical_name": (found[0].aliases or [name])[-1],
        "aliases": list(dict.fromkeys(alias for records in found for alias in records.aliases)),
        "addresses": addresses,
        "ttl": min(records.ttl for records in found),
        "unknown": unknown,
    }


class _Records(NamedTuple):
    """The answer to one question."""

    aliases: list[str]
    addresses: list[str]
    ttl: int


async def _ask(resolver: "Resolver", name: str, kind: str) -> _Records | Reason:
    """Ask for one kind of record."""
    import dns.asyncbackend  # noqa: PLC0415 - loaded already
    import dns.exception  # noqa: PLC0415
    import dns.message  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    try:
        answer = await resolver.resolve(
            f"{name}.", kind, raise_on_no_answer=False, search=False,
            backend=dns.asyncbackend.get_backend("asyncio"),
        )  # fmt: skip
    except dns.resolver.NXDOMAIN:
        return Reason.NO_SUCH_NAME
    except dns.exception.Timeout:
        return Reason.NO_ANSWER
    except dns.resolver.NoNameservers as error:
        # Each is a tuple of the server, its protocol and port, the exception and the response.
        causes = [cause for each in error.kwargs["errors"] for cause in each]
        is_loop = any(isinstance(cause, dns.message.ChainTooLong) for cause in causes)
        return Reason.LOOP if is_loop else Reason.FAILED
    except (dns.exception.DNSException, OSError):
        return Reason.FAILED
    if answer.rrset is None:
        return Reason.NO_ADDRESS
    chain = answer.chaining_result
    targets = [record.target for cnames in chain.cnames for record in cnames]
    return _Records(
        [target.to_text(omit_final_dot=True).lower() for target in targets],
        [record.address for record in answer.rrset][:MAX_ADDRESSES],
        chain.minimum_ttl,
    )
