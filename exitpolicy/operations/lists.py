"""Lists of other programs: their entries as blocks, and blocks as lists."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import ExitpolError, InvalidFileError, RefusedError, UsageError
from exitpolicy.core.guard_rule import SOURCE
from exitpolicy.core.ports import ALL_PORTS
from exitpolicy.lists import reading
from exitpolicy.lists.entry import Entry, Fault, Moment
from exitpolicy.lists.reading import Listing
from exitpolicy.operations import refusals, repeats
from exitpolicy.operations.host import Host
from exitpolicy.operations.refusals import BeyondLimitError
from exitpolicy.policy.descriptor import DESCRIPTOR_LIMIT, SHORTEST_ADDRESS_RULE, SHORTEST_RULE
from exitpolicy.policy.minimize import fewest_prefixes, fewest_rules
from exitpolicy.storage import files, shared_fronts
from exitpolicy.storage.config import FitChoice

if TYPE_CHECKING:
    from exitpolicy.operations.change import Options, Result

_LONG: Final = 3000
"""Entries of a list that is worth a look at its length before all else."""

MAX_SOURCE: Final = 60
"""The maximum length of the name of a source, in characters."""


def content_of(name: str) -> bytes:
    """Return the content of the list FILE, or of stdin for `-`. Raises UsageError."""
    limit = reading.MAX_BYTES
    try:
        # One byte more, by which a longer list is recognised.
        if name == "-":
            return sys.stdin.buffer.read(limit + 1)
        if Path(name).is_fifo():
            # As a shell makes it of <(command).
            with Path(name).open("rb") as pipe:
                return pipe.read(limit + 1)
    except OSError as error:
        where = "stdin" if name == "-" else name
        raise UsageError(f"{where} cannot be read: {error.strerror}") from error
    try:
        return files.read(Path(name), "list", limit=limit)
    except FileNotFoundError as error:
        raise UsageError(f"{name}: there is no such list", hint="- reads stdin") from error
    except InvalidFileError as error:
        raise UsageError(str(error), hint=error.hint or "- reads stdin") from error


def read(host: Host, content: bytes, format_name: str | None) -> Listing:
    """Read a list in a format, or in the one that it shows. Raises UsageError."""
    now = host.clock().replace(microsecond=0)
    return reading.read(content, format_name, Moment(now, now.astimezone().tzinfo or UTC))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import would add."""

    blocks: tuple[Block, ...]
    """The blocks to add, at most one for each destination."""
    misread: tuple[Fault, ...]
    """Lines that are not understood."""
    refused: tuple[Fault, ...]
    """Lines whose destination must not be blocked."""
    longer: tuple[datetime, ...] = ()
    """The ends of blocks that last longer because they were made before, with `repeat` of the
    config; one for each of them."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Both, in the order of the list."""
        return tuple(sorted((*self.misread, *self.refused)))


def checked_source(name: str) -> str:
    """Return the name of a source. Raises UsageError."""
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum() and len(name) <= MAX_SOURCE and name[0].isalnum()):
        raise UsageError(
            f"{name[:80]!r} cannot name a source",
            hint="choose a name of letters, digits, '.', '_' and '-', such as spamhaus-drop",
        )
    if name == SOURCE:
        raise UsageError(
            f"{name!r} is the source of the guard's blocks: a list of that name would lift them",
            hint="choose another name",
        )
    return name


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all entries of an import."""

    until: datetime | None
    """The latest end; None for never."""
    source: str = ""
    """The name of the list; empty for none."""
    relays: tuple[str, ...] = ()
    """The relays that are named."""
    force: bool = False


def refuse_too_long(
    host: Host, entries: Sequence[Destination], relays: Iterable[str], replaced: str = ""
) -> None:
    """Raise RefusedError for a long list that surely fits no descriptor.

    `plan` and `import_blocks` would say the same, after several times as long. No rule of a fewest
    set covers another: if a part of the rules is too long for a relay, all of them are. The blocks
    of the source `replaced` do not count.
    """
    if len(entries) < _LONG or host.config.fit is not FitChoice.REFUSE:
        return
    from exitpolicy.operations import change  # noqa: PLC0415 - an unchanged list needs no Tor

    now = host.clock()
    present = host.ledger().blocks.in_force(now)
    if any(block.relays for block in present):
        return
    kept = [block.destination for block in present if block.sources != (replaced,)]
    rules, some = _fewest([*kept, *entries], DESCRIPTOR_LIMIT // SHORTEST_ADDRESS_RULE + 1)
    least = rules * SHORTEST_RULE
    if least < 3 * DESCRIPTOR_LIMIT:
        return
    named = host.known_relays(relays)
    part = [Block(one, now, None, relays=tuple(sorted(named)), forced=True) for one in some]
    try:
        change.block_all(host, part, change.Options(dry_run=True), named)
    except BeyondLimitError as error:
        fits = min(error.fitting * len(entries) // rules, len(entries) - 1)
        raise RefusedError(
            f"relay {error.broken.relay!r}: with the list, the blocks take"
            f" {rules:,} rules, more than {least:,} bytes of the relay's descriptor,"
            f" and the authorities refuse more than {DESCRIPTOR_LIMIT:,}; about"
            f" {fits:,} of its {len(entries):,} entries would fit",
            hint="choose a shorter list, or one of whole networks; or leave out what does not fit:"
            " exitpol fit --use leave-out, and import it with a --source",
        ) from error
    except RefusedError:
        # Not for its length: the whole list shows why.
        return


def _fewest(destinations: Sequence[Destination], count: int) -> tuple[int, list[Destination]]:
    """Return the number of the fewest rules for IPv4, and what `count` of them or more reject."""
    if all(family == 4 and ports == ALL_PORTS for family, _, _, ports in destinations):
        # Most lists are such, and need no rules to be made first.
        found = fewest_prefixes([first << 32 | last for _, first, last, _ in destinations], 32)
        some = found[:: max(len(found) // count, 1)]
        return len(found), [Destination(4, n, n + (1 << 32 - length) - 1) for n, length in some]
    rules = [rule for rule in fewest_rules(destinations) if rule.family == 4]
    return len(rules), [rule.destination for rule in rules[:: max(len(rules) // count, 1)]]


def plan(host: Host, listing: Listing, terms: Terms) -> Plan:
    """Return the blocks that the entries of a list make. Raises UsageError for unknown relays."""
    now = host.clock().replace(microsecond=0)
    refusals.refuse_shared_fragments(host.relays, host.known_relays(terms.relays))
    words = tuple(sorted(set(terms.relays)))
    fronts = None if terms.force else shared_fronts.load(host.config)
    misread = list(listing.faults)
    refused: list[Fault] = []
    blocks: dict[Destination, Block] = {}
    config = host.config
    # Most entries have the same relays.
    unknown: dict[tuple[str, ...], UsageError | None] = {}
    for entry in listing.entries:
        block = _block(entry, terms, now, words)
        if block.relays not in unknown:
            unknown[block.relays] = _unknown_relays(host, block)
        error: ExitpolError | None = unknown[block.relays]
        if error is None and block.until is not None and block.until <= block.since:
            error = UsageError(
                f"the block would end at {utc_text(block.until)},"
                f" and begins at {utc_text(block.since)}"
            )
        if error is not None:
            misread.append(Fault(entry.number, "", str(error)))
            continue
        error = refusals.forbidden(config, block)
        if error is None and fronts is not None:
            provider = fronts.provider_of(block.destination)
            if provider is not None:
                error = RefusedError(f"{block.destination} is a shared address of {provider}")
        if error is not None:
            refused.append(Fault(entry.number, "", str(error)))
            continue
        former = blocks.get(block.destination)
        blocks[block.destination] = block if former is None else _later(former, block)
    longer = repeats.lengthened(host, list(blocks.values()), now)
    blocks |= {d: blocks[d]._replace(until=end) for d, end in longer.items()}
    return Plan(tuple(blocks.values()), tuple(misread), tuple(refused), tuple(longer.values()))


def _unknown_relays(host: Host, block: Block) -> UsageError | None:
    """Return the error for a block of relays that nobody knows; None for any other."""
    try:
        host.known_relays(block.relays)
    except UsageError as error:
        return error
    return None


def _block(entry: Entry, terms: Terms, now: datetime, relays: tuple[str, ...]) -> Block:
    """Return the block of an entry."""
    until = terms.until
    if until is None or (entry.until is not None and entry.until < until):
        until = entry.until
    carried = entry.carried
    if carried is None:
        return Block(
            entry.destination,
            now,
            until,
            entry.reason,
            "",
            relays,
            terms.source,
            forced=terms.force,
        )
    return Block(
        entry.destination,
        carried.since,
        until,
        entry.reason,
        carried.reference,
        relays or carried.relays,
        terms.source or carried.source,
        carried.name,
        carried.references,
        forced=terms.force and carried.forced,
    )


def _later(one: Block, other: Block) -> Block:
    """Return the block of a destination that a list names twice: with the later end."""
    if one.until is None:
        return one
    return other if other.until is None or other.until > one.until else one


def refusal(listing: Listing, planned: Plan, *, skip_bad: bool) -> ExitpolError | None:
    """Return why a list is not imported; None if it is.

    With `skip_bad`, lines with faults are left out. Faults of the list as a whole are not, and a
    list without any entry is never imported.
    """
    whole = [fault for fault in planned.misread if fault.number == 0]
    if whole:
        return UsageError(
            f"the list cannot be imported: {whole[0].message}; nothing was imported",
            hint="--format says in which format to read it: exitpol help import",
        )
    if planned.faults and not skip_bad:
        return _of_faults(listing, planned)
    if not planned.blocks:
        gone = reading.said_omitted(listing.omitted)
        more = f" (left out: {gone})" if gone else ""
        return UsageError(
            f"{listing.title} without an entry to block{more}; nothing was imported",
            hint="is it the file that you mean?",
        )
    return None


def _of_faults(listing: Listing, planned: Plan) -> ExitpolError:
    kind = UsageError if planned.misread else RefusedError
    what = "not understood" if planned.misread else "not to be blocked"
    count = len(planned.misread or planned.refused)
    are = f"1 {listing.unit} is" if count == 1 else f"{count:,} {listing.units} are"
    others = f", and {len(planned.refused):,} not to be blocked" * bool(
        planned.misread and planned.refused
    )
    return kind(
        f"{are} {what}{others}; nothing was imported",
        hint="correct the list, or add --skip-bad to import the others"
        + ("" if planned.misread else "; --force accepts wide prefixes, shared addresses and ports")
        + (
            "; to close a port for good: exitpol policy list"
            if any(" closes port" in fault.message for fault in planned.refused)
            else ""
        ),
    )


def import_blocks(host: Host, planned: Plan, terms: Terms, options: "Options") -> "Result":
    """Add the blocks of an import. Raises what `change.block` raises."""
    from exitpolicy.operations import change  # noqa: PLC0415 - as above

    with saying_what_fits(host, planned.blocks):
        return change.block_all(host, planned.blocks, options, host.known_relays(terms.relays))


@contextmanager
def saying_what_fits(host: Host, blocks: Sequence[Block]) -> Iterator[None]:
    """Add to the refusal of a list that is too long what `fit` would make of it."""
    try:
        yield
    except BeyondLimitError as error:
        broken = error.broken
        if broken.problem.limit != "descriptor" or host.config.fit is not FitChoice.REFUSE:
            raise
        from exitpolicy.operations import fit  # noqa: PLC0415 - few lists are refused

        what = fit.forecast(host, blocks, broken.relay)
        raise RefusedError(str(error), hint=f"{error.hint}\n{what}") from error


def exported(host: Host, source: str | None) -> Iterator[Block]:
    """Yield the blocks to export: all, or those of one source. Raises InvalidFileError."""
    for block in host.ledger().blocks:
        if source is None or source in block.sources:
            yield block
