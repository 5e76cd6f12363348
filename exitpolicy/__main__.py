"""The `exitpol` command: `python -m exitpolicy` does the same."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    # Imported here, so that importing this module costs nothing.
    from exitpolicy.cli.app import run  # noqa: PLC0415

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
