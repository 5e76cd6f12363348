"""Run one function for every relay in parallel."""

from collections.abc import Callable, Sequence
from threading import Semaphore, Thread
from typing import Final, TypeVar

_PATIENCE: Final = 0.03
"""Seconds. By as much one relay that does not answer delays the others."""

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    function: Callable[[T], R], items: Sequence[T], *, at_once: int | None = None
) -> list[R]:
    """Call `function` with each item in a thread of its own; return the results in order.

    With `at_once`, so many threads work at first, and each of the others begins when one has
    ended, or after a moment. Where a function computes and then waits for a program, the computing
    of some relays is done while the programs of others run.

    The threads are daemons: an interrupted command ends at once, even if a Tor does not answer.
    """
    if len(items) == 1:
        return [function(items[0])]
    # Imported here, because most hosts have one relay.
    from concurrent.futures import Future  # noqa: PLC0415

    results: list[Future[R]] = [Future() for _ in items]
    free = Semaphore(len(items) if at_once is None else at_once)

    def run(item: T, result: Future[R]) -> None:
        try:
            result.set_result(function(item))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is read
            result.set_exception(error)
        finally:
            free.release()

    for item, result in zip(items, results, strict=True):
        free.acquire(timeout=_PATIENCE)
        Thread(target=run, args=(item, result), daemon=True).start()
    return [result.result() for result in results]
