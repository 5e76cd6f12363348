"""Letters that say that a block has ended: which are still to be written, and which were.

The ledger keeps the record: the key `told` of an ended block. It goes with the block's line.
"""

from collections.abc import Iterable
from dataclasses import replace

from exitpolicy.core.block import Block
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.retention import Retention
from exitpolicy.operations.host import Host
from exitpolicy.storage import ledger_file, observed
from exitpolicy.storage.ledger_file import Ledger


def retention_of(host: Host) -> Retention:
    """Return the running time of this host since blocks ended, as last observed."""
    last = observed.load(host.state_path)
    return Retention() if last is None else last.retention


def has_ended(block: Block, time: Time) -> bool:
    """Tell whether the end of a block is on record, and the clock agrees with it."""
    return block.ended is not None and block.has_ended(time.now) and not time.enforces(block)


def due(host: Host, ledger: Ledger) -> tuple[Block, ...]:
    """Return the ended blocks with a reference of which no letter says that they have ended.

    A block that a wrong clock may have ended is not among them, nor one of a list, which nobody
    reported, nor one of an address that a followed name has left: what the reference is about is
    still blocked.
    """
    ended = [b for b in ledger.blocks if b.ended and not b.told and not b.source]
    if not ended:
        return ()
    lasting = {
        (reference, name)
        for block in ledger.blocks
        if block.ended is None
        for reference in block.all_references
        for name in block.followed
    }
    time, retention = host.time(), retention_of(host)
    return tuple(
        block
        for block in ended
        if block.all_references and has_ended(block, time) and retention.is_certain(block)
        if lasting.isdisjoint((r, n) for r in block.all_references for n in block.names)
    )


def contradicted(ledger: Ledger) -> tuple[Block, ...]:
    """Return the blocks that are in force again, although a letter says that they have ended."""
    return tuple(block for block in ledger.blocks if block.told and not block.ended)


def record(host: Host, destinations: Iterable[Destination]) -> None:
    """Record that a letter says that blocks have ended, in the ledger and in the history.

    Raises InvalidFileError, LockTimeoutError.
    """
    # Imported here, because `list` does not need them.
    from exitpolicy.storage import history  # noqa: PLC0415
    from exitpolicy.storage.locks import WAIT_SECONDS, ledger_lock_path, lock  # noqa: PLC0415

    chosen = frozenset(destinations)
    path = ledger_lock_path(host.config.ledger)
    with lock(path, seconds=WAIT_SECONDS, doing="changing the ledger"):
        ledger = host.ledger()
        blocks = ledger.blocks.told(chosen, host.clock())
        told = [block for block in blocks if block.destination in chosen and block.told]
        if told:
            ledger_file.save(host.config.ledger, replace(ledger, blocks=blocks))
            history.append(host.history_path, "told", told, host.clock(), host.who)
