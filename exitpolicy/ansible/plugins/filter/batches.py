# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""How many hosts may change at once, by the number of their relays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DOCUMENTATION = r"""
name: batches
short_description: Divide hosts into batches by the number of their relays
version_added: "0.1.0"
author: the exitpol authors (@exitpol)
description:
  - Returns the sizes of the batches in which a rolling play may change hosts, as C(serial) takes
    them. No batch has more relays than the bound, unless it is a single host with more.
positional: _input, most
options:
  _input:
    description: The number of relays of each host, in the order of the play.
    type: list
    elements: int
    required: true
  most:
    description: The most relays that may change at once.
    type: int
    required: true
"""

EXAMPLES = r"""
serial: "{{ [1, 1, 3, 1] | exitpol.exitpol.batches(3) }}"  # 2, 1, 1
"""

RETURN = r"""
_value:
  description: The number of hosts in each batch.
  type: list
  elements: int
"""


def batches(counts: Iterable[int], most: int) -> list[int]:
    """Return the number of hosts in each batch."""
    sizes: list[int] = []
    relays = 0
    for count in counts:
        if sizes and relays + count <= int(most):
            sizes[-1] += 1
            relays += count
        else:
            sizes.append(1)
            relays = count
    # A play without hosts wants a size as well.
    return sizes or [1]


class FilterModule:
    """The filter, in the form that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by its name."""
        return {"batches": batches}
