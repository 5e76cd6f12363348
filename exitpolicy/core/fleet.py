"""The relays of a fleet: which of them a block is for, and which of them have an address.

The key `relays` of a block holds words. A word is the name of a relay; `HOST/NAME`, where relays of
two hosts have one name; a pattern of either with `*`, `?` or `[...]`; or the name of a group, which
stands for other words. The hosts of a fleet share one ledger: a word may select no relay of this
host.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final, NamedTuple

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination

_PATTERN: Final = frozenset("*?[")
"""The characters that make a word a pattern."""


class Reach(StrEnum):
    """Where a block for a complaint goes."""

    ACCUSED = "accused"
    """To the relays that the complaint accuses."""
    EVERYWHERE = "everywhere"
    """To all relays."""


# A named tuple is made faster than a dataclass, and a fleet may have thousands of relays.
class Member(NamedTuple):
    """A relay of the fleet."""

    name: str
    """Its name in the config of its host, and in the ledger."""
    host: str = ""
    """The name of its host; empty if it is not known."""
    addresses: tuple[Destination, ...] = ()
    """The addresses that its exit connections come from, each a single one with all ports."""
    nickname: str = ""
    """Its nickname in the network, for letters; empty for the name."""
    fingerprint: str = ""
    """Its identity fingerprint, 40 hexadecimal digits; empty if it is not known."""
    word: str = ""
    """The word that selects it and no other relay of the fleet: see `told_apart`."""

    def __str__(self) -> str:
        """Return `exit1 (host web1)`."""
        return f"{self.name} (host {self.host})" if self.host else self.name


class Fleet(NamedTuple):
    """The relays of all hosts that share a ledger; empty if the config names none."""

    members: tuple[Member, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """The words that the name of each group stands for; they name no other group."""
    host: str = ""
    """The name of this host in the fleet; empty for a host that runs none of its relays."""
    reach: Reach = Reach.ACCUSED
    """Where a block for a complaint goes, if the command does not say it."""

    def selects(self, words: Iterable[str], name: str, host: str) -> bool:
        """Tell whether one of the words selects the relay `name` of `host`."""
        return any(
            _is_one(word, name, host)
            or any(_is_one(one, name, host) for one in self.groups.get(word, ()))
            for word in words
        )

    def here(self, blocks: Blocks, names: Sequence[str]) -> Blocks:
        """Return blocks with the names of those relays of this host that their words select.

        `names` are all relays of this host. The words stay behind them: a block whose words select
        no relay of this host has no name of one, and is not one for all relays.
        """
        known: dict[tuple[str, ...], tuple[str, ...]] = {}
        changed: dict[Destination, Block] = {}
        for block in blocks:
            words = block.relays
            if not words:
                continue
            found = known.get(words)
            if found is None:
                found = known[words] = self._here(words, names)
            if found is not words:
                changed[block.destination] = block._replace(relays=found)
        return Blocks({**blocks.by_destination, **changed}) if changed else blocks

    def _here(self, words: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
        if not any(is_open(word) or word in self.groups for word in words):
            return words
        return tuple(dict.fromkeys((*self.named_here(words, names), *words)))

    def named_here(self, words: Collection[str], names: Iterable[str]) -> tuple[str, ...]:
        """Return those relays of this host that words select, in their order."""
        return tuple(name for name in names if self.selects(words, name, self.host))

    def everywhere(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return a word for each known relay: those of this host by their `names`, then others."""
        others = (
            member.word
            for member in self.members
            if not (member.name in names and member.host in {"", self.host})
        )
        return tuple(dict.fromkeys((*names, *others)))

    def spelled_out(self, words: Collection[str], names: Sequence[str]) -> tuple[str, ...]:
        """Return a word for each relay that words select, on any host.

        A word that selects no known relay stays: without it, the block would be one for all relays.
        """
        if not any(is_open(word) or word in self.groups for word in words):
            return tuple(words)
        here = self.named_here(words, names)
        others = (m for m in self.members if self.selects(words, m.name, m.host))
        left = (
            word
            for word in words
            if not (is_open(word) or word in self.groups)
            or not (
                self.named_here([word], names)
                or any(self.selects([word], m.name, m.host) for m in self.members)
            )
        )
        known = set(self.everywhere(names))
        found = (*here, *(m.word for m in others if m.word in known), *left)
        return tuple(dict.fromkeys(found))

    def is_elsewhere(self, word: str) -> bool:
        """Tell whether a word can select relays of other hosts."""
        is_pattern = not _PATTERN.isdisjoint(word)
        return (
            is_pattern
            or word in self.groups
            or any(_is_one(word, member.name, member.host) for member in self.members)
        )

    def is_for(self, block: Block, member: Member) -> bool:
        """Tell whether a relay of the fleet is to enforce a block."""
        return not block.relays or self.selects(block.relays, member.name, member.host)

    def accused(self, addresses: Iterable[str]) -> tuple[Member, ...]:
        """Return the relays that have one of the addresses, given as canonical texts."""
        chosen = set(addresses)
        return tuple(m for m in self.members if any(str(one) in chosen for one in m.addresses))

    @property
    def addresses(self) -> frozenset[Destination]:
        """The addresses of all relays."""
        return frozenset(address for member in self.members for address in member.addresses)


def told_apart(members: Sequence[Member]) -> tuple[Member, ...]:
    """Return relays with the word for each: its name, or HOST/NAME if others have its name."""
    count = Counter(member.name for member in members)
    return tuple(
        m._replace(word=m.name if count[m.name] == 1 else f"{m.host}/{m.name}") for m in members
    )


def is_open(word: str) -> bool:
    """Tell whether a word is more than a name: a pattern, or with a host."""
    return "/" in word or not _PATTERN.isdisjoint(word)


def _is_one(word: str, name: str, host: str) -> bool:
    """Tell whether a word that is no group selects a relay. A `*` stands for no `/`."""
    if word == name:
        return True
    if "/" not in word:
        return not _PATTERN.isdisjoint(word) and fnmatchcase(name, word)
    of_host, _, of_name = word.partition("/")
    return bool(host) and fnmatchcase(host, of_host) and fnmatchcase(name, of_name)
