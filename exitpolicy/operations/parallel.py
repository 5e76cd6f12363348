"""Run one function for every relay in parallel."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call `function` with each item in a thread of its own; return the results in order.

    The threads are daemons: an interrupted command ends at once, even if a Tor does not answer.
    """
    if len(items) == 1:
        return [function(items[0])]
    results: list[Future[R]] = [Future() for _ in items]

    def run(item: T, result: Future[R]) -> None:
        try:
            result.set_result(function(item))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is read
            result.set_exception(error)

    for item, result in zip(items, results, strict=True):
        Thread(target=run, args=(item, result), daemon=True).start()
    return [result.result() for result in results]
