"""How long to wait for a Tor's answers: one that has very many rules is busy for seconds.

Tor does nothing else while it reads its files, and a second later while it makes its policy. Its
time for that grows with the square of the number of rules.
"""

import contextlib
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import torrc, verify

ANSWER_SECONDS: Final = 4.0
"""The longest wait for all answers of one conversation with nearly any Tor.

Tor answers in milliseconds; while it loads 10,000 rules it is busy for two seconds. A command talks
to Tor twice, before and after it records something, and must end within ten seconds.
"""
_USUAL_BYTES: Final = 300_000
"""The files of a Tor that is not busy for longer: about 10,000 rules."""
_BYTES_A_SECOND: Final = 15_000
"""Of larger files. 19,700 rules have 700 kB: Tor needs 6 s for them, and 30 s on a busy host."""


def answer_seconds(relay: Relay) -> float:
    """Return the longest wait for all answers of one conversation with the Tor of a relay.

    Its torrc may be its own user's, who can make it long: the wait has an upper bound.
    """
    size = _size(relay.torrc)
    if size <= _USUAL_BYTES:
        with contextlib.suppress(InvalidFileError):
            size += sum({path: _size(path) for _, path in torrc.includes(relay.torrc)}.values())
    more = max(0, size - _USUAL_BYTES) / _BYTES_A_SECOND
    return min(ANSWER_SECONDS + more, verify.SECONDS)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
