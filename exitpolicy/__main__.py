"""The `exitpol` command: `python -m exitpolicy` does the same."""

import gc
import sys


def main() -> int:
    """Run the command line and return its exit code."""
    # A short life that makes many small objects, and no cycles worth finding.
    gc.disable()
    # Imported here, so that importing this module costs nothing.
    from exitpolicy.cli.app import run  # noqa: PLC0415

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
