"""Read complaints in a child process without privileges.

A complaint is hostile input. The child loads the whole program, gives up the network, the file
system and all privileges, accepts limits of memory, time and files, and only then reads the
complaint. Its answer is JSON, which is validated strictly (`exitpolicy.complaint.wire`).
"""

import contextlib
import encodings
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Collection
from enum import IntEnum
from typing import Final

from exitpolicy import confinement
from exitpolicy.complaint import wire
from exitpolicy.complaint.model import Complaint
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError

BASE_MEMORY: Final = 300 << 20
"""Bytes of address space of the child, in addition to four times the complaint."""
BASE_SECONDS: Final = 10
"""Seconds of processor time of the child, in addition to two for each megabyte."""
PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from exitpolicy.operations import sandbox; sandbox.serve()"
)
"""What the child runs; its argument is the folder of the package."""
_LAZY_MODULES: Final = (
    *("charset_normalizer", "csv", "email.header", "email.headerregistry", "email.utils"),
    *("ipaddress", "python_calamine", "quopri", "zipfile"),
)
"""Modules that reading imports at first use."""


class _Exit(IntEnum):
    """The exit codes of the child."""

    DONE = 0
    OUT_OF_MEMORY = 10
    PRIVILEGED = 11


def read_complaint(
    data: bytes, *, own: Collection[Destination], protected: Collection[Destination]
) -> Complaint:
    """Read a complaint in a child process. The arguments are those of `pipeline.read_complaint`.

    Raises InvalidFileError if the child fails or exceeds a limit.
    """
    seconds = BASE_SECONDS + 2 * (len(data) >> 20)
    request: dict[str, object] = {
        "own": [str(destination) for destination in own],
        "protected": [str(destination) for destination in protected],
        "seconds": seconds,
        "memory": BASE_MEMORY + 4 * len(data),
    }
    try:
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryDirectory() as empty:
            request["root"] = empty
            stdin.write(json.dumps(request).encode("ascii") + b"\n" + data)
            stdin.seek(0)
            answer, code = confinement.run(
                PROGRAM, stdin.fileno(), patience=2 * seconds, limit=wire.MAX_SIZE
            )
    except OSError as error:
        raise _failure(f"its reader cannot be started ({error.strerror})") from error
    if code == _Exit.DONE:
        try:
            return wire.decode(answer)
        except ValueError as error:
            raise _failure("its reader gave an invalid answer") from error
    if code == _Exit.OUT_OF_MEMORY:
        raise _failure("reading it needs too much memory")
    if code == _Exit.PRIVILEGED:
        raise _failure("its reader could not give up its privileges")
    if code in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise _failure(f"reading it takes more than {seconds} s")
    raise _failure("its reader failed")


def _failure(reason: str) -> InvalidFileError:
    return InvalidFileError(
        f"the complaint cannot be read: {reason}; nothing was blocked",
        hint="copy the part with the addresses into a text file, and read that",
    )


def serve() -> None:
    """Be the child: read a request and a complaint from stdin, write the answer to stdout."""
    from exitpolicy.complaint import pipeline  # noqa: PLC0415 - only the child needs it
    from exitpolicy.complaint.language.word_files import vocabularies  # noqa: PLC0415

    vocabularies()
    _load_all()
    with os.fdopen(os.dup(0), "rb") as stdin:
        request = json.loads(stdin.readline())
        confinement.leave_network()
        confinement.see_only(request["root"])
        try:
            confinement.confine(memory=request["memory"], seconds=request["seconds"])
        except OSError:
            os._exit(_Exit.PRIVILEGED)
        try:
            complaint = pipeline.read_complaint(
                stdin.read(),
                own=[parse_destination(text) for text in request["own"]],
                protected=[parse_destination(text) for text in request["protected"]],
            )
            answer = wire.encode(complaint)
        except MemoryError:
            os._exit(_Exit.OUT_OF_MEMORY)
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()


def _load_all() -> None:
    """Load what reading may import later: the program's files cannot be opened then."""
    charsets = [f"encodings.{found.name}" for found in pkgutil.iter_modules(encodings.__path__)]
    for name in (*_LAZY_MODULES, *charsets):
        with contextlib.suppress(ImportError):  # charsets of other systems
            importlib.import_module(name)
