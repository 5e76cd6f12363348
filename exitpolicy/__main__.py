"""The `exitpol` command: `python -m exitpolicy` does the same."""

import contextlib
import gc
import io
import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and end the process with its exit code."""
    code = run()
    # What cannot be written has been reported, or its reader has gone.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # Not sys.exit, which frees every object: with 100,000 blocks that takes half a second.
    os._exit(code)


def run() -> int:
    """Run the command line and return its exit code."""
    # A short-lived process that makes many small objects and no cycles worth collecting.
    gc.disable()
    # Imported here, so that importing this module costs nothing.
    from exitpolicy.core.errors import Interruption  # noqa: PLC0415

    try:
        _handle_signals()
        from exitpolicy.cli import output  # noqa: PLC0415

        output.replace_closed_streams()
        if isinstance(sys.stdin, io.TextIOWrapper):
            # A list of destinations may hold comments in any encoding.
            sys.stdin.reconfigure(errors="surrogateescape")
        from exitpolicy.cli import app  # noqa: PLC0415

        return app.run(sys.argv[1:])
    except Interruption as stopped:
        # Before the command began, or after it ended: there is nothing to say.
        return stopped.kind.exit_code


def _handle_signals() -> None:
    """Let SIGINT and SIGTERM stop the command with a message, unless they are ignored."""
    from exitpolicy.core import errors  # noqa: PLC0415

    kinds = {
        signal.SIGINT: errors.InterruptedByUserError,
        signal.SIGTERM: errors.TerminatedError,
    }

    def stop(number: int, _frame: object) -> None:
        for known in kinds:
            # A second one would interrupt the message about the first.
            signal.signal(known, signal.SIG_IGN)
        raise errors.Interruption(kinds[signal.Signals(number)])

    for number in kinds:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


if __name__ == "__main__":
    main()
