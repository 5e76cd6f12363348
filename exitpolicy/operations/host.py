"""What every operation works on: the files and relays of this host."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import ledger_file, observed
from exitpolicy.storage.config import Config, Relay
from exitpolicy.tor import discovery


@dataclass(frozen=True, slots=True)
class Host:
    """A host as its config describes it, and who is asking."""

    config: Config
    relays: tuple[Relay, ...]
    who: str
    """For the history: the login name, or `timer`."""
    clock: Callable[[], datetime]
    """Gives the present time, in UTC."""

    @classmethod
    def of(cls, config: Config, *, who: str, clock: Callable[[], datetime]) -> "Host":
        """Return the host, with the relays found on it if the config names none."""
        found = config.relays or tuple(
            replace(relay, fragment=config.fragment_of(relay.name)) for relay in discovery.relays()
        )
        return cls(config, found, who, clock)

    @property
    def state_path(self) -> Path:
        """Where the last observation is kept."""
        return observed.path_beside(self.config.ledger)

    @property
    def history_path(self) -> Path:
        """Where the history is kept."""
        return self.config.ledger.with_name("history.jsonl")

    def ledger(self) -> ledger_file.Ledger:
        """Return the ledger as it stands. Raises InvalidFileError."""
        return ledger_file.load(self.config.ledger)

    def some_relays(self) -> tuple[Relay, ...]:
        """Return the relays. Raises InvalidFileError if there is none."""
        if not self.relays:
            raise InvalidFileError(
                "there is no relay on this host: no /etc/tor/torrc, nothing in /etc/tor/instances",
                hint="name its torrc: exitpol init --torrc PATH",
            )
        return self.relays
