"""Read a list: check that it is text, recognise its format, and call the reader of that format."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from exitpolicy.core.errors import UsageError
from exitpolicy.lists import exit_policies, firewalls, json_lists, plain, tables
from exitpolicy.lists.entry import ENDED, Entry, Fault, Item, Moment

MAX_BYTES: Final = 64_000_000
MAX_ENTRIES: Final = 1_000_000
MAX_LINE: Final = 20_000
"""Characters of a line, except in JSON."""
MAX_LINES: Final = 2_000_000
MAX_FAULTS: Final = 20_000
"""Of a list with more lines that are not understood, the rest is not read."""
_MAX_VALUES: Final = 5_000_000
"""The marks in JSON that begin or separate values: each value takes some sixty bytes of memory."""
_MAX_REASONS: Final = 20
"""The reasons for which entries are left out that are told apart."""
_SAMPLE: Final = 200
"""How many lines are inspected to recognise a format."""

_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "zcat"),
    b"BZh": ("bzip2", "bzcat"),
    b"\xfd7zXZ": ("xz", "xzcat"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstdcat"),
    b"PK\x03\x04": ("zip", "unzip -p"),
}
"""The first bytes of compressed files, their format, and what unpacks it to stdout."""

Reader = Callable[[Sequence[str], Moment], Iterator[Item]]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of lists."""

    title: str
    read: Reader
    is_json: bool = False
    unit: Literal["line", "entry"] = "line"
    """What the numbers of entries count."""

    @property
    def units(self) -> str:
        """The plural of the unit."""
        return "lines" if self.unit == "line" else "entries"


FORMATS: Final[dict[str, Format]] = {
    "plain": Format("a plain list", plain.read_plain),
    "firehol": Format("a FireHOL set", plain.read_plain),
    "spamhaus": Format("a Spamhaus list", plain.read_plain),
    "spamhaus-json": Format("a Spamhaus list in JSON", json_lists.read_json_lines, is_json=True),
    "ipsum": Format("hosts with a count", plain.read_counted),
    "crowdsec": Format("decisions of CrowdSec in CSV", tables.read_table),
    "crowdsec-json": Format(
        "decisions of CrowdSec in JSON", json_lists.read_crowdsec, is_json=True, unit="entry"
    ),
    "fail2ban": Format("bans of fail2ban", plain.read_fail2ban),
    "csv": Format("a table in CSV", tables.read_table),
    "nftables": Format("a set of nftables", firewalls.read_nftables),
    "ipset": Format("a set of ipset", firewalls.read_ipset),
    "torrc": Format("lines of a torrc", exit_policies.read_torrc),
    "relayor": Format("variables of ansible-relayor", exit_policies.read_relayor),
    "json": Format("blocks of exitpol in JSON", json_lists.read_own, is_json=True, unit="entry"),
}
"""The formats by their names."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list says."""

    format: str
    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]
    omitted: dict[str, int]
    """How many entries the list itself does not ban, by the reason."""

    @property
    def title(self) -> str:
        """The format in words."""
        return FORMATS[self.format].title

    @property
    def unit(self) -> str:
        """What the numbers of entries count: `line` or `entry`."""
        return FORMATS[self.format].unit

    @property
    def units(self) -> str:
        """The plural of the unit."""
        return FORMATS[self.format].units


def read(content: bytes, name: str | None, moment: Moment) -> Listing:
    """Read a list in the format `name`, or in the one that its content shows.

    Raises UsageError for what is no text, too long, or of an unknown format.
    """
    if name is not None and name not in FORMATS:
        raise UsageError(
            f"there is no format {name!r}", hint=f"the formats are: {', '.join(FORMATS)}"
        )
    text = text_of(content)
    if (count := text.count("\n")) > MAX_LINES:
        raise UsageError(
            f"the list has {count:,} lines, and at most {MAX_LINES:,} are read",
            hint="no relay can hold that many addresses; choose a shorter list",
        )
    lines = text.split("\n")
    chosen = recognised(lines) if name is None else name
    form = FORMATS[chosen]
    _refuse_too_large(form, text, lines)
    entries: list[Entry] = []
    faults: list[Fault] = []
    omitted: Counter[str] = Counter()
    for item in form.read(lines, moment):
        if isinstance(item, Entry):
            # Most of a list, which may have a million of them.
            if item.until is not None and item.until <= moment.now:
                omitted[ENDED] += 1
                continue
            entries.append(item)
            if len(entries) > MAX_ENTRIES:
                raise UsageError(f"the list has more than {MAX_ENTRIES:,} entries")
        elif isinstance(item, Fault):
            faults.append(item)
            if len(faults) > MAX_FAULTS:
                faults = [_too_many(faults, form)]
                break
        else:
            # The list names some of them, and could name a million.
            known = item.why in omitted or len(omitted) < _MAX_REASONS
            omitted[item.why if known else "for other reasons"] += 1
    return Listing(chosen, tuple(entries), tuple(faults), dict(omitted))


def _refuse_too_large(form: Format, text: str, lines: Sequence[str]) -> None:
    """Raise UsageError for a line or a number of values that would take too much memory."""
    if not form.is_json and (longest := max(map(len, lines))) > MAX_LINE:
        raise UsageError(
            f"the list has a line of {longest:,} characters, which no format has",
            hint="is it the file that you mean? exitpol help import names the formats",
        )
    if form.is_json and sum(map(text.count, ",[{")) > _MAX_VALUES:
        raise UsageError(
            f"the list has more than {_MAX_VALUES:,} values",
            hint="no relay can hold that many addresses; choose a shorter list",
        )


def _too_many(faults: Sequence[Fault], form: Format) -> Fault:
    """Return the fault of a list of which hardly anything is understood."""
    first = faults[0]
    return Fault(
        0,
        "",
        f"more than {MAX_FAULTS:,} {form.units} are not understood,"
        f" first {form.unit} {first.number}: {first.message}",
    )


def text_of(content: bytes) -> str:
    r"""Return the text of a list, with `\n` as its line ends. Raises UsageError."""
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"the list is longer than {MAX_BYTES:,} bytes",
            hint="no relay can hold that many addresses; choose a shorter list",
        )
    for start, (name, command) in _COMPRESSED.items():
        if content.startswith(start):
            raise UsageError(
                f"the list is compressed ({name})", hint=f"{command} FILE | exitpol import - ..."
            )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(
            "the list is UTF-16, not UTF-8", hint="iconv -f utf-16 -t utf-8 FILE | exitpol import -"
        )
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UsageError(
            f"line {line} of the list holds a NUL byte: this is no text",
            hint="is it the file that you mean? A list has one entry a line",
        )
    # Comments may be in any charset.
    text = content.decode("utf-8-sig", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def recognised(lines: Sequence[str]) -> str:
    """Return the name of the format that the first lines show; `plain` if they show none."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first == "null" or re.match(r"(?:\{|\[\s*(?:[\"{\]]|$))", first):
        return _json_format(lines, first)
    # A line that is cut here is refused later.
    sample = [line[:MAX_LINE] for line in lines[: 10 * _SAMPLE] if line.strip()][:_SAMPLE]
    entries = [line for line in sample if not line.lstrip().startswith(("#", ";"))]
    for name, shows in _SHOWN:
        if any(shows(line) for line in entries):
            return name
    header = next((found for line in sample if (found := tables.header_of(line))), None)
    if header is not None:
        ours = {"scope", "simulated", "events_count"}.intersection(header)
        return "crowdsec" if ours else "csv"
    if entries and all(map(_COUNTED.fullmatch, entries)):
        return "ipsum"
    comments = " ".join(line for line in sample if line.lstrip().startswith(("#", ";"))).lower()
    if "spamhaus" in comments or any(_SBL.search(entry) for entry in entries):
        return "spamhaus"
    return (
        "firehol" if "firehol" in comments or re.search(r"\b(?:net|ip)set\b", comments) else "plain"
    )


_SBL: Final = re.compile(r";\s*SBL[0-9]+\s*$")
_COUNTED: Final = re.compile(r"\s*[0-9A-Fa-f.:/]+\s+[0-9]{1,9}\s*")
_SHOWN: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    ("fail2ban", plain.BANNED.match),
    ("nftables", firewalls.NFT.match),
    (
        "ipset",
        re.compile(r"\s*(?:create\s+\S+\s+(?:hash|bitmap|list):|(?:add|-A)\s+\S+\s+\S)").match,
    ),
    ("torrc", exit_policies.RULE.match),
    ("relayor", exit_policies.ITEM.match),
)
"""What a line of each format begins with; the first that matches counts."""


def _json_format(lines: Sequence[str], first: str) -> str:
    start = "\n".join(lines[:_SAMPLE])[:100_000]
    if first.startswith("{") and re.search(r'"blocks"\s*:', start):
        return "json"
    if first.startswith("{") and '"nftables"' in start:
        raise UsageError(
            "the list is nftables in JSON", hint="leave -j out: nft list set FAMILY TABLE SET"
        )
    return "spamhaus-json" if first.startswith("{") else "crowdsec-json"


def said_omitted(omitted: dict[str, int]) -> str:
    """Return `3 ended, 1 simulated`, the most frequent first."""
    found = Counter(omitted).most_common()
    return ", ".join(f"{count} {why}" for why, count in found)
