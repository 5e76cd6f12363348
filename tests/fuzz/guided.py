"""Coverage-guided fuzzing with atheris: python -m tests.fuzz.guided TARGET SECONDS."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["exitpolicy"]):
    from tests.fuzz import targets

from tests.evidence import Thing, record

SLOW_SECONDS = 5
"""No input of at most 4,096 bytes may take so much of the processor."""

ENDLESS_SECONDS = 60
"""One that takes so long is ended by libFuzzer, which otherwise waits for it 20 minutes."""


def main() -> None:
    """Fuzz one target for some time; a crash or a hang ends it with an error and its input."""
    name, seconds = sys.argv[1], int(sys.argv[2])
    tried = 0
    begun = time.monotonic()

    def one(data: bytes) -> None:
        nonlocal tried
        started = time.process_time()
        targets.try_one(name, data)
        took = time.process_time() - started
        assert took < SLOW_SECONDS, f"an input of {len(data)} bytes took {took:.1f} s"
        tried += 1
        if time.monotonic() - begun > seconds:
            record(Thing.FUZZ, tried)
            shutil.rmtree(corpus)
            # libFuzzer has no way to be told to stop from inside.
            os._exit(0)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.SEEDS[name]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], corpus, "-max_len=4096", f"-timeout={ENDLESS_SECONDS}", "-verbosity=0"],
            one,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
