"""The Exit flag: whether the authorities give it to a relay with a policy.

Follows exit_policy_is_general_exit in src/core/or/policies.c of Tor 0.4.9.11. The flag is given in
src/feature/dirauth/voteflags.c.
"""

from collections.abc import Iterable
from typing import Final

from exitpolicy.policy.rule import Rule

EXIT_PORTS: Final = (80, 443)
"""The ports on which a relay must accept some /8."""

_INTERNAL_SLASH_8: Final = frozenset({0, 10, 127})


def free_networks(rules: Iterable[Rule], port: int) -> int:
    """Return how many /8s count for the Exit flag on a port; one is enough.

    A /8 counts if one rule accepts all of it before any rule rejects a part of it, and if its
    first address is not internal (exit_policy_is_general_exit_helper).
    """
    touched, free = set(_INTERNAL_SLASH_8), set[int]()
    for rule in rules:
        if rule.family == 4 and rule.low <= port <= rule.high:
            networks = range(rule.network >> 24, (rule.last >> 24) + 1)
            if not rule.accept:
                touched.update(i for i in networks if i not in free)
            elif rule.prefix <= 8:
                free.update(i for i in networks if i not in touched)
    return len(free)
