"""`python -m tests.transcripts` shows every transcript; with `--write` it writes the files anew, for review."""

from __future__ import annotations

import sys

from tests.transcripts.play import HERE
from tests.transcripts.scripts import SCRIPTS

for name, script in SCRIPTS.items():
    text = script().text()
    if "--write" in sys.argv[1:]:
        (HERE / f"{name}.txt").write_text(text)
    else:
        print(f"==== {name}\n{text}")
