"""Files that are replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ha_lvs.files import replace


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_file_has_its_content_and_its_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "note.json"
    before = os.umask(umask)
    try:
        replace(path, "first")
        assert path.stat().st_mode & 0o777 == 0o640
        replace(path, "second", 0o600)
    finally:
        os.umask(before)
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_crash_has_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "note.json.new").write_text("ha")
    replace(tmp_path / "note.json", "whole")
    assert (tmp_path / "note.json").read_text() == "whole"


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    replace(path, "first")
    (tmp_path / "note.json.new").mkdir()
    with pytest.raises(OSError, match=r"note\.json\.new"):
        replace(path, "second")
    assert path.read_text() == "first"
