"""Folders and users of the attacks."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that other users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="exitpol-safety-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
