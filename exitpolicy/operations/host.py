"""The host that an operation works on: its files, its relays, its clock."""

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from exitpolicy.core.block import Blocks, checked_text
from exitpolicy.core.clock import Time, judge_clock
from exitpolicy.core.errors import ExitpolError, InvalidFileError, UsageError
from exitpolicy.storage import ledger_file, observed
from exitpolicy.storage.config import Config, Relay
from exitpolicy.tor.connections import Connections

if TYPE_CHECKING:
    from exitpolicy.tor.readings import Readings


@dataclass(frozen=True, slots=True)
class Host:
    """A host as its config describes it, and the person or timer that runs the command."""

    config: Config
    relays: tuple[Relay, ...]
    who: str
    """For the history: the login name, or `timer`."""
    clock: Callable[[], datetime]
    """Returns the current time, in UTC."""
    readings: "Readings" = field(default_factory=dict, compare=False, repr=False)
    """What Tor read in the relays' files since the command began."""
    connections: Connections = field(default_factory=Connections, compare=False, repr=False)

    @classmethod
    def of(cls, config: Config, *, who: str, clock: Callable[[], datetime]) -> "Host":
        """Return the host of a config: with its relays, or else those at the usual places.

        Raises ExitpolError on a system that is not Linux.
        """
        system = os.uname().sysname
        if system != "Linux":
            raise ExitpolError(
                f"exitpol runs on Linux only, and this is {system}: it needs /proc and the kernel's"
                " word on who answers at a control port",
            )
        return cls(config, config.relays or _usual_relays(config), who, clock).refreshed()

    def refreshed(self) -> "Host":
        """Return the host with the fragment of each relay as its torrc includes it now.

        That is the relay's own, or the former single one as long as `init` has not changed the
        torrc.
        """
        if self.config.former is None:
            return self
        former = self.config.former
        return replace(
            self,
            relays=tuple(
                with_included(relay._replace(fragment=self.config.fragment_of(relay.name)), former)
                for relay in self.relays
            ),
        )

    @property
    def state_path(self) -> Path:
        """The file that keeps the last observation."""
        return observed.path_beside(self.config.ledger)

    @property
    def last_read_path(self) -> Path:
        """The file that keeps what Tors without a control port have read."""
        # Imported here, because `list` does not need it.
        from exitpolicy.storage import last_read  # noqa: PLC0415

        return last_read.path_beside(self.config.ledger)

    @property
    def health_path(self) -> Path:
        """The file that keeps what the last ticks found wrong."""
        return self.config.ledger.with_name("health.json")

    @property
    def complaints_path(self) -> Path:
        """The file that keeps which complaints were dealt with."""
        return self.config.ledger.with_name("complaints.json")

    @property
    def history_path(self) -> Path:
        """The file that keeps the history."""
        return self.config.ledger.with_name("history.jsonl")

    def time(self) -> Time:
        """Return the current time and how far the clock is trusted."""
        last = observed.load(self.state_path)
        if last is None:
            return judge_clock(self.clock(), None, None)
        trusted, jumped_to = (
            None if moment is None else datetime.fromtimestamp(moment, UTC)
            for moment in (last.trusted, last.jumped_to)
        )
        return judge_clock(self.clock(), trusted, jumped_to)

    def ledger(self) -> ledger_file.Ledger:
        """Read the ledger. Raises InvalidFileError."""
        return ledger_file.load(self.config.ledger)

    def last_valid_ledger(self) -> ledger_file.Ledger | None:
        """Return what the ledger said when it was last valid; None if that is not known."""
        try:
            return ledger_file.load(ledger_file.last_valid_path(self.config.ledger))
        except InvalidFileError:
            return None

    def best_known_ledger(self) -> ledger_file.Ledger:
        """Return the ledger, or what it said when it was last valid. Raises InvalidFileError."""
        try:
            return self.ledger()
        except InvalidFileError:
            last_valid = self.last_valid_ledger()
            if last_valid is None:
                raise
            return last_valid

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its relays."""
        return tuple(relay.name for relay in self.relays)

    def known_relays(self, words: Iterable[str]) -> frozenset[str]:
        """Return the names of the relays of this host that words of an operator select.

        A word that selects only relays of other hosts stays as it is. Raises UsageError for one
        that selects none, and for one that the ledger cannot hold.
        """
        fleet, names = self.config.fleet, self.names
        found: set[str] = set()
        for word in words:
            checked_text("relay", word)
            here = fleet.named_here([word], names)
            if not here and not fleet.is_elsewhere(word):
                raise self._no_such_relay(word)
            found.update(here or [word])
        return frozenset(found)

    def relays_here(self, words: Iterable[str]) -> frozenset[str]:
        """Return the relays of this host that words select. Raises UsageError for any other."""
        found = self.known_relays(words)
        if elsewhere := sorted(found.difference(self.names)):
            raise UsageError(
                f"no relay of this host is {', '.join(elsewhere)}",
                hint="type the command on the host of the relay",
            )
        return found

    def _no_such_relay(self, word: str) -> UsageError:
        names = self.names
        if self.config.fleet.members:
            source = self.config.fleet_file or self.config.source
            return UsageError(
                f"neither this host nor the fleet has a relay {word!r}",
                hint=f"the relays of the fleet are in {source}",
            )
        return UsageError(
            f"this host has no relay {word!r}",
            hint=f"its relays are: {', '.join(names)}"
            if names
            else "to see why no relay is found: exitpol doctor",
        )

    def here(self, blocks: Blocks) -> Blocks:
        """Return blocks with the names of those relays of this host that they are for."""
        return self.config.fleet.here(blocks, self.names)

    @property
    def is_set_up(self) -> bool:
        """Whether there is a fragment, or a torrc that includes one.

        True also where that cannot be told, and where no relay is known: both are errors elsewhere.
        """
        if not self.relays or any(os.path.lexists(relay.fragment) for relay in self.relays):
            return True
        # A relay may have another name in the config than at `init`.
        folder = self.config.fragments
        is_left = folder is not None and _may_hold_fragments(folder)
        return is_left or any(map(_may_include, self.relays))

    def set_up(self) -> "Host":
        """Return this host. Raises InvalidFileError if exitpol is not set up on it."""
        if self.is_set_up:
            return self
        ledger = self.config.ledger
        kept = f"; {ledger} is kept, and nothing enforces its blocks" if ledger.exists() else ""
        raise InvalidFileError(
            f"exitpol is not set up on this host: no torrc includes a fragment of its rules{kept}",
            hint="exitpol init",
        )

    def each_relay(self, words: Collection[str]) -> tuple[str, ...]:
        """Return a word for each relay, of any host, that words select; of all for no words."""
        fleet = self.config.fleet
        return fleet.spelled_out(words, self.names) if words else fleet.everywhere(self.names)

    def of_relays(self, blocks: Blocks, words: Collection[str]) -> Blocks:
        """Return the blocks that are for one of the relays, of any host, that words select."""
        chosen = set(self.each_relay(words))
        known = {
            words: not words or not chosen.isdisjoint(self.each_relay(words))
            for words in {block.relays for block in blocks}
        }
        return Blocks.of(block for block in blocks if known[block.relays])

    @property
    def keeps_ledger_only(self) -> bool:
        """Whether it runs no relay, and has the ledger of a fleet: it enforces nothing."""
        fleet = self.config.fleet
        return not self.relays and bool(fleet.members) and not fleet.host

    def some_relays(self) -> tuple[Relay, ...]:
        """Return the relays. Raises InvalidFileError if the host has none."""
        if self.keeps_ledger_only:
            raise InvalidFileError(
                "no relay of the fleet runs here: this host only keeps the ledger",
                hint="type the command on the host of a relay",
            )
        if not self.relays:
            raise InvalidFileError(
                "no relay is set up here: the config names none, and neither /etc/tor/torrc nor a"
                " torrc in /etc/tor/instances opens an ORPort",
                hint="exitpol init; or, for a torrc elsewhere: exitpol init --torrc PATH",
            )
        return self.relays


def _usual_relays(config: Config) -> tuple[Relay, ...]:
    # Imported here, as below: a recorded set of relays does not need it, and `list` is to be quick.
    from exitpolicy.tor import layout  # noqa: PLC0415

    return tuple(
        relay._replace(fragment=config.fragment_of(relay.name)) for relay in layout.relays()
    )


def _may_hold_fragments(folder: Path) -> bool:
    """Tell whether a folder has a file of rules, or cannot be read."""
    try:
        return any(folder.glob("*.conf"))
    except PermissionError:
        return True


def _may_include(relay: Relay) -> bool:
    """Tell whether a torrc includes the relay's fragment, or cannot be read."""
    from exitpolicy.tor import fragment_include  # noqa: PLC0415 - `list` rarely needs it

    try:
        return fragment_include.include_place(relay.torrc, relay.fragment) is not None
    except InvalidFileError:
        return True


def with_included(relay: Relay, former: Path) -> Relay:
    """Return a relay with the `former` fragment if its torrc includes only that one."""
    from exitpolicy.tor import fragment_include  # noqa: PLC0415

    try:
        if fragment_include.include_place(relay.torrc, relay.fragment) is not None:
            return relay
        place = fragment_include.include_place(relay.torrc, former)
    except InvalidFileError:
        # It is reported where Tor reads the torrc.
        return relay
    return relay if place is None else relay._replace(fragment=former)
