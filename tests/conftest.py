"""Fixtures of all tests."""

from tests.exit_host import make_host

__all__ = ["make_host"]
