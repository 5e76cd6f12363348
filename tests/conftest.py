"""Fixtures of all tests."""

import gc
from collections.abc import Iterator

import pytest

from tests.exit_host import make_host

__all__ = ["make_host"]


@pytest.fixture(autouse=True)
def _garbage_is_collected() -> Iterator[None]:
    """Turn the collector on again, which a command run in this process turns off."""
    yield
    gc.enable()
