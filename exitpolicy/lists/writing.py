"""Write blocks as a list. Reading the list back gives the same blocks, as far as its format goes.

JSON and CSV carry all that the ledger holds; host names are not followed after an import. The
others carry what is rejected until when; CrowdSec only of blocks for all ports.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from exitpolicy.core.addresses import BITS, AddressRange, address_text
from exitpolicy.core.block import Block
from exitpolicy.core.durations import until_text, utc_text
from exitpolicy.core.ports import ALL_PORTS
from exitpolicy.lists.disjoint import Piece, disjoint
from exitpolicy.lists.firewalls import OWN_TABLE
from exitpolicy.policy.difference import rejecting
from exitpolicy.policy.rule import torrc_values

FOR_EVER: Final = 100 * 366 * 86_400
"""Seconds of a CrowdSec decision for a block without an end."""

CSV_COLUMNS: Final = (
    "destination", "since", "until", "reason", "reference", "references", "relays", "source",
    "name", "forced",
)  # fmt: skip


class Written(NamedTuple):
    """The text of a list."""

    text: str
    left_out: tuple[Block, ...] = ()
    """The blocks that the format cannot carry."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format in which blocks are written."""

    write: Callable[[Sequence[Block], datetime], Written]
    carries_all: bool = False
    """Whether it carries all that the ledger holds, so that blocks that begin later are written."""


def write(name: str, blocks: Iterable[Block], now: datetime) -> Written:
    """Write the blocks that have not ended in the format `name`, one of FORMATS."""
    chosen = FORMATS[name]
    lasting = (
        block
        for block in blocks
        if not block.has_ended(now) and (chosen.carries_all or block.since <= now)
    )
    return chosen.write(tuple(lasting), now)


def _plain(blocks: Sequence[Block], _: datetime) -> Written:
    return Written("".join(f"{b.destination} # until {until_text(b.until)}\n" for b in blocks))


def _torrc(blocks: Sequence[Block], _: datetime) -> Written:
    lines = (
        f"ExitPolicy {rule} # until {until_text(block.until)}\n"
        for block in blocks
        for rule in torrc_values(rejecting(block.destination))
    )
    return Written("".join(lines))


_RELAYOR_HEAD: Final = """\
---
# For ansible-relayor. Put these rules above those of your own exit policy:
#   tor_ExitPolicy: "{{ exitpol_rejects + ['accept *:443', 'reject *:*'] }}"
"""


def _relayor(blocks: Sequence[Block], _: datetime) -> Written:
    lines = [
        f'- "{rule}" # until {until_text(block.until)}\n'
        for block in blocks
        for rule in torrc_values(rejecting(block.destination))
    ]
    return Written(f"{_RELAYOR_HEAD}exitpol_rejects:{'' if lines else ' []'}\n{''.join(lines)}")


def _json(blocks: Sequence[Block], _: datetime) -> Written:
    whole = {"schema": 1, "blocks": [_values(block) for block in blocks]}
    return Written(f"{json.dumps(whole, indent=1)}\n")


def _values(block: Block) -> dict[str, object]:
    return {
        "destination": str(block.destination),
        "since": utc_text(block.since),
        "until": until_text(block.until),
        "reason": block.reason,
        "reference": block.reference,
        "references": block.references,
        "relays": block.relays,
        "source": block.source,
        "name": " ".join(block.names) if block.follow else block.name,
        "forced": "yes" if block.forced else "no",
    }


def _csv(blocks: Sequence[Block], _: datetime) -> Written:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for block in blocks:
        values = _values(block)
        writer.writerow([_cell(values[column]) for column in CSV_COLUMNS])
    return Written(buffer.getvalue())


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return _escaped(json.dumps(value, ensure_ascii=False)) if value else ""
    return _escaped(str(value))


def _escaped(text: str) -> str:
    """Return a text without characters that do not print: rows are lines, and safe to show."""
    if "\\" not in text and text.isprintable():
        return text
    return "".join(map(_escaped_character, text))


def _escaped_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _crowdsec(blocks: Sequence[Block], now: datetime) -> Written:
    lines = ["duration,scope,value,reason\n"]
    whole = [block for block in blocks if block.destination.ports == ALL_PORTS]
    for block in whole:
        seconds = FOR_EVER if block.until is None else _seconds(block.until, now)
        for addresses in block.destination.ranges:
            for number, length in addresses.prefixes():
                address = address_text(addresses.family, number)
                is_one = length == BITS[addresses.family]
                scope, value = ("ip", address) if is_one else ("range", f"{address}/{length}")
                lines.append(f"{seconds}s,{scope},{value},exitpol\n")
    others = tuple(block for block in blocks if block.destination.ports != ALL_PORTS)
    return Written("".join(lines), others)


def _seconds(until: datetime, now: datetime) -> int:
    return max(1, round((until - now).total_seconds()))


def _nftables(blocks: Sequence[Block], now: datetime) -> Written:
    """Write four sets: for each family one of addresses, and one of addresses with ports.

    Elements of a set must not overlap: where blocks do, the later end counts.
    """
    pieces = disjoint(blocks)
    lines = [f"table {OWN_TABLE} {{\n"]
    for family in (4, 6):
        for is_whole in (True, False):
            chosen = [p for p in pieces if p.family == family and p.is_whole is is_whole]
            name = f"blocked{family}{'' if is_whole else '_ports'}"
            service = "" if is_whole else " . inet_service"
            elements = ",\n".join(f"\t\t\t{_nft_element(piece, now)}" for piece in chosen)
            lines.append(
                f"\tset {name} {{\n\t\ttype ipv{family}_addr{service}\n"
                "\t\tflags interval, timeout\n"
                + (f"\t\telements = {{\n{elements}\n\t\t}}\n" if chosen else "")
                + "\t}\n"
            )
    return Written("".join([*lines, "}\n"]))


def _nft_element(piece: Piece, now: datetime) -> str:
    addresses = AddressRange(piece.family, piece.first, piece.last).text()
    ports = "" if piece.is_whole else f" . {piece.low}"
    ports += "" if piece.is_whole or piece.low == piece.high else f"-{piece.high}"
    end = "" if piece.until is None else f" timeout {_seconds(piece.until, now)}s"
    return f"{addresses}{ports}{end}"


FORMATS: Final[dict[str, Format]] = {
    "json": Format(_json, carries_all=True),
    "csv": Format(_csv, carries_all=True),
    "plain": Format(_plain),
    "torrc": Format(_torrc),
    "nftables": Format(_nftables),
    "relayor": Format(_relayor),
    "crowdsec": Format(_crowdsec),
}
"""The formats by their names."""
