"""The file of shared fronts: the one that comes with exitpol, or the one that the config names."""

from pathlib import Path
from typing import Final

from exitpolicy.core import shared_fronts
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shared_fronts import SharedFronts
from exitpolicy.storage import files
from exitpolicy.storage.config import Config

SHIPPED: Final = Path(__file__).resolve().parents[1] / "data" / "shared-fronts.txt"
MAX_BYTES: Final = 4_000_000


def load(config: Config) -> SharedFronts:
    """Read the shared fronts. Raises InvalidFileError."""
    path = config.shared_fronts or SHIPPED
    try:
        content = files.read(path, "list of shared fronts", limit=MAX_BYTES)
    except FileNotFoundError as error:
        named = config.shared_fronts is not None
        raise InvalidFileError(
            f"{path}: there is no such list of shared fronts",
            hint=f"correct shared_fronts: in {config.source}" if named else "install exitpol again",
        ) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidFileError(f"{path}: the list of shared fronts is not UTF-8 text") from error
    return shared_fronts.parse(str(path), text)
