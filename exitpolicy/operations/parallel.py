"""Doing the same to all relays at the same time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from exitpolicy.storage.config import Relay

T = TypeVar("T")


def at_once(do: Callable[[Relay], T], relays: Sequence[Relay]) -> list[T]:
    """Return what `do` returns for each relay, all at the same time, in their order."""
    if len(relays) == 1:
        return [do(relays[0])]
    with ThreadPoolExecutor(max_workers=min(32, len(relays) or 1)) as pool:
        return list(pool.map(do, relays))
