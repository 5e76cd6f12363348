# Copyright (c) 2026, the exitpol authors
# SPDX-License-Identifier: BSD-3-Clause
"""Options that the modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The options, in the form that ansible-doc reads."""

    DOCUMENTATION = r"""
options:
  config:
    description: The config file of exitpol. If left out, exitpol's own default.
    type: path
  executable:
    description:
      - The program. If left out, C(exitpol) is searched for in C(/usr/local/sbin),
        C(/usr/local/bin), C(/usr/sbin), C(/usr/bin) and C(/opt/exitpol/bin), and for users other
        than root in E(PATH) too.
    type: path
"""

    PENDING = r"""
options:
  fail_on_pending:
    description:
      - Fail if a change is recorded, and a Tor does not enforce it yet (exit codes 3 and 6 of
        exitpol).
      - By default this is a warning. The timer on the host completes what is recorded as soon as it
        can, and a failure would stop the play on a host that heals itself.
    type: bool
    default: false
"""

    CHECKS = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return the changes without making them.
    support: full
  diff_mode:
    description: Returns the lines of the ledger that change.
    support: full
"""
