"""Lists of one entry a line: plain lists, Spamhaus DROP, FireHOL, counted hosts, fail2ban.

- Plain: an address, network or range a line; `#` and `;` begin a comment. FireHOL's .netset and
  .ipset files are such lists (iplists.firehol.org), and so is the text of Spamhaus DROP
  (spamhaus.org/drop/drop.txt): `CIDR ; SBL number`.
- Counted: an address, blanks, and on how many lists it stands (github.com/stamparm/ipsum).
- fail2ban: `fail2ban-client get JAIL banip --with-time` writes `ADDRESS <tab>FROM + SECONDS = END`
  with times of its host's zone (getBanList in fail2ban/server/banmanager.py).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import UsageError
from exitpolicy.lists.destinations import destination_of
from exitpolicy.lists.entry import Entry, Item, Moment, fault, reason_of
from exitpolicy.lists.times import UNTIL, end_of, local_time

_OCTETS: Final = {str(octet): octet for octet in range(256)}
"""Numbers from 0 to 255 as they stand in an address: without leading zeros."""
_COMMENT: Final = re.compile("[#;]")
_NUMBER: Final = re.compile("[0-9]+")
_COUNTED: Final = re.compile(r"(\S+)\s+([0-9]{1,9})")
_LOCAL: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"
BANNED: Final = re.compile(rf"(\S+)\s+{_LOCAL} \+ (-?[0-9]+) = ({_LOCAL})")


def read_plain(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of a plain list. A comment behind an entry becomes its reason.

    A comment `until TIME`, which exitpol writes, is the end instead.
    """
    for number, line in enumerate(lines, start=1):
        try:
            # Most lines of a long list are single addresses.
            one, two, three, four = line.split(".")
            host = _OCTETS[one] << 24 | _OCTETS[two] << 16 | _OCTETS[three] << 8 | _OCTETS[four]
            yield Entry(number, Destination(4, host, host))
            continue
        except (ValueError, KeyError):
            pass
        words, comment = line, ""
        if (mark := _COMMENT.search(line)) is not None:
            words, comment = line[: mark.start()], line[mark.end() :].strip()
        words = words.strip()
        if not words:
            continue
        try:
            destination = destination_of(words)
            if not comment:
                yield Entry(number, destination)
            elif end := UNTIL.fullmatch(comment):
                yield Entry(number, destination, end_of(end[1], moment))
            else:
                # A bare number is the time at which some program wrote the line.
                reason = "" if _NUMBER.fullmatch(comment) else reason_of(comment)
                yield Entry(number, destination, None, reason)
        except UsageError as error:
            yield fault(number, line, str(error))


def read_counted(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of a list with a count behind each address."""
    for number, line in enumerate(lines, start=1):
        words = _COMMENT.split(line, maxsplit=1)[0].strip()
        if not words:
            continue
        if (counted := _COUNTED.fullmatch(words)) is None:
            yield from (item._replace(number=number) for item in read_plain([line], moment))
            continue
        try:
            lists = "1 list" if int(counted[2]) == 1 else f"{int(counted[2])} lists"
            yield Entry(number, destination_of(counted[1]), None, f"on {lists}")
        except UsageError as error:
            yield fault(number, line, str(error))


def read_fail2ban(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of a jail's bans. A ban time below 0 is one without an end."""
    for number, line in enumerate(lines, start=1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        banned = BANNED.fullmatch(words)
        if banned is None:
            yield fault(number, line, "this is not a line of `get JAIL banip --with-time`")
            continue
        until = None if banned[2].startswith("-") else local_time(banned[3], moment)
        try:
            yield Entry(number, destination_of(banned[1]), until)
        except UsageError as error:
            yield fault(number, line, str(error))
