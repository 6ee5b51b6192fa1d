"""Fuzzes one decoder for as long as you like, guided by coverage: `python -m tests.fuzz.target DECODER [OPTION ...]`.

It needs atheris, which is not among the tools of development because it is not built for every platform. Options are
those of libFuzzer, for example `-max_total_time=600`; what it finds interesting is kept in `build/fuzz/DECODER` and
used again the next time. A failing input is written beside that as `crash-...`; give its path as an option to replay
it, and put it into `test_decoders.py` once it is understood.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

CORPUS = Path("build/fuzz")
INSTALL = """\
Coverage-guided fuzzing needs atheris, which is not installed here. Install it into the environment that runs this:

    pip install atheris

For a platform without a built package, clang has to be there too: see https://github.com/google/atheris.
Without it, `pytest tests/fuzz` fuzzes every decoder by hypothesis."""


def main(arguments: Sequence[str]) -> int:
    """Runs the fuzzer; the exit code is 2 for a usage error, 1 without atheris."""
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        atheris = None
    if atheris is None:
        from tests.fuzz.decoders import DECODERS
    else:
        with atheris.instrument_imports(include=["ha_lvs"]):
            from tests.fuzz.decoders import DECODERS

    if not arguments or arguments[0] not in DECODERS:
        print("usage: python -m tests.fuzz.target DECODER [LIBFUZZER OPTION ...]", file=sys.stderr)
        print("decoders: " + ", ".join(sorted(DECODERS)), file=sys.stderr)
        return 2
    if atheris is None:
        print(INSTALL, file=sys.stderr)
        return 1
    name, *options = arguments
    decoder = DECODERS[name]

    def once(data: bytes) -> None:
        try:
            decoder.feed(data)
        except decoder.error:
            return

    corpus = prepare_corpus(name, decoder.seeds)
    replaying = any(not option.startswith("-") for option in options)
    where = [] if replaying else [str(corpus)]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={CORPUS / name}-", *options, *where], once)
    atheris.Fuzz()
    return 0


def prepare_corpus(name: str, seeds: Sequence[bytes]) -> Path:
    """The directory with what to start from, the messages that the decoder accepts among it."""
    directory = CORPUS / name
    directory.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (directory / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return directory


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
