"""Run one function for every relay in parallel."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MAX_THREADS = 32


def in_parallel(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call `function` with each item in a thread of its own; return the results in order."""
    if len(items) == 1:
        return [function(items[0])]
    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, len(items) or 1)) as pool:
        return list(pool.map(function, items))
