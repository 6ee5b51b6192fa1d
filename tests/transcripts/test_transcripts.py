"""Every transcript is what the machine does today. After a wanted change: `python -m tests.transcripts --write`."""

from __future__ import annotations

import pytest

from tests.transcripts.play import HERE
from tests.transcripts.scripts import SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_transcript_is_what_happens(name: str) -> None:
    assert SCRIPTS[name]().text() == (HERE / f"{name}.txt").read_text()


def test_every_file_has_a_script() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == set(SCRIPTS)
