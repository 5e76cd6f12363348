"""Fixtures of all tests."""

import gc
from collections.abc import Iterator

import pytest

from tests.exit_host import make_host

__all__ = ["make_host"]


@pytest.fixture(autouse=True)
def _garbage_is_collected() -> Iterator[None]:
    """A command run in this process turns the collector off; the next test wants it on."""
    yield
    gc.enable()
