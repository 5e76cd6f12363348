"""Exchange two names for ever, as fast as the kernel does it; run as another user.

Started as `python swap.py ONE OTHER`, with any Python: it needs the standard library only.
"""

import ctypes
import os
import sys

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def main(one: str, other: str) -> None:
    """Exchange the names until the process is killed; a name that is missing is waited for."""
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE)


if __name__ == "__main__":
    main(*sys.argv[1:])
