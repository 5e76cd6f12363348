"""What Tor read in a relay's files, kept for as long as a command lasts.

A command plans a change twice: before it is recorded, and when it is applied. Tor reads files that
have not changed in between once. What a reading depends on is in its key: the content, the owner
and the mode of each file, the rules in place of the fragment, and how and as whom Tor read them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """What Tor read, after it verified it."""

    own: tuple[tuple[str, str], ...]
    """The options without those that equal the defaults-torrc: name and value."""
    options: Mapping[str, Sequence[str]]
    """The exit options and Sandbox, with those of the defaults-torrc."""


Readings = dict[str, Reading]
"""The readings of one command by their key, a digest."""
