"""Shared fronts: addresses behind which many unrelated sites stand, such as those of CDNs.

A block of such an address also blocks every other site behind it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from exitpolicy.core.addresses import AddressRange, Family, parse_addresses
from exitpolicy.core.destination import BOTH, Destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.ports import ALL_PORTS, Ports, overlap

WEB_PORTS: Final[Ports] = ((80, 80), (443, 443), (8080, 8080), (8443, 8443))
"""The ports at which a front serves its sites. At other ports a block affects no other site."""

_PROVIDER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}"
_SUFFIX: Final = r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?)+"


class SharedFronts:
    """The address ranges and the suffixes of canonical names of providers."""

    def __init__(
        self,
        ranges: Iterable[tuple[AddressRange, str]] = (),
        suffixes: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Take ranges, and suffixes in lower case with a leading dot, each with its provider."""
        self.ranges = tuple(sorted(ranges))
        self.suffixes = tuple(suffixes)
        self._starts = [(known.family, known.first) for known, _ in self.ranges]
        # Ranges may lie in others: the last address of each and of all before it.
        self._reach = list(accumulate(((r.family, r.last) for r, _ in self.ranges), max))

    def provider_of(self, destination: Destination) -> str | None:
        """Return whose front a destination is, wholly or in part, at a port of web sites."""
        family, first, last, ports = destination
        if ports != ALL_PORTS and not overlap(ports, WEB_PORTS):
            return None
        if family == BOTH:
            return next(
                (whose for part in destination.ranges if (whose := self._among(*part))), None
            )
        return self._among(family, first, last)

    def _among(self, family: Family, first: int, last: int) -> str | None:
        # A list of destinations is long: only ranges around the address are compared.
        index = bisect_right(self._starts, (family, last)) - 1
        while index >= 0 and self._reach[index] >= (family, first):
            known, provider = self.ranges[index]
            if known.family == family and known.first <= last and first <= known.last:
                return provider
            index -= 1
        return None

    def provider_of_name(self, name: str) -> str | None:
        """Return whose front a canonical name leads to: in lower case, without a final dot."""
        dotted = f".{name}"
        return next((whose for suffix, whose in self.suffixes if dotted.endswith(suffix)), None)


def parse(source: str, text: str) -> SharedFronts:
    """Read lines of `PROVIDER RANGE` and `PROVIDER .SUFFIX`; `#` begins a comment.

    `source` names the file in errors. Raises InvalidFileError.
    """
    ranges: list[tuple[AddressRange, str]] = []
    suffixes: list[tuple[str, str]] = []
    for number, provider, value in _entries(source, text):
        if value.startswith("."):
            if not re.fullmatch(_SUFFIX, value.lower()):
                raise _invalid(source, number, f"{value!r} is not the suffix of a name")
            suffixes.append((value.lower(), provider))
            continue
        try:
            ranges.append((parse_addresses(value), provider))
        except UsageError as error:
            raise InvalidFileError(f"{source}:{number}: {error}", hint=error.hint) from error
    return SharedFronts(ranges, suffixes)


def _entries(source: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each line that has an entry, its provider and its range or suffix."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not re.fullmatch(_PROVIDER, words[0]):
            raise _invalid(source, number, "not a provider and a range or suffix")
        yield number, words[0], words[1]


def _invalid(source: str, number: int, what: str) -> InvalidFileError:
    return InvalidFileError(
        f"{source}:{number}: {what}",
        hint="write a line as: cloudflare 104.16.0.0/13, or: amazon .cloudfront.net",
    )
