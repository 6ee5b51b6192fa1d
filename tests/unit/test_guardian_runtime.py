"""The runtime directory: one daemon at a time, and the note of what it may hold."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ha_lvs.daemon.runtime import (
    NOTE,
    STANDBY,
    locked,
    read_note,
    read_standby,
    vacant,
    write_note,
    write_standby,
)
from ha_lvs.errors import PlatformError
from ha_lvs.model import ElectorPart, VirtualIp, VrrpInstance

PART = ElectorPart(
    "lb1",
    (
        VrrpInstance(
            "edge", "e0", 51, 150, 0.25, True, IPv4Address("10.9.0.11"), (), IPv4Address("224.0.0.18"),
            (VirtualIp(IPv4Address("10.9.0.100"), 32, "e0"),), None, 5, 1.0,
        ),
    ),
)  # fmt: skip


def test_the_note_comes_back_as_it_was(tmp_path: Path) -> None:
    write_note(tmp_path, PART)
    assert read_note(tmp_path) == PART


def test_the_note_is_replaced_and_always_private(tmp_path: Path) -> None:
    (tmp_path / (NOTE + ".new")).write_text("left by a crash")
    (tmp_path / NOTE).write_text("old")
    before = os.umask(0)
    try:
        write_note(tmp_path, PART)
    finally:
        os.umask(before)
    assert read_note(tmp_path) == PART
    assert (tmp_path / NOTE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NOTE]


def test_without_a_run_there_is_no_note(tmp_path: Path) -> None:
    assert read_note(tmp_path) is None
    assert read_note(tmp_path / "missing") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"node": "lb1"}', '{"node": "lb1", "instances": [{}]}'])
def test_a_damaged_note_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    with pytest.raises(PlatformError, match=r"instances\.json is damaged"):
        read_note(tmp_path)


def test_a_second_daemon_is_kept_out_and_told_the_pid(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(PlatformError, match=rf"another ha-lvs \(pid {os.getpid()}\)"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_the_directory_is_made_but_never_changed(tmp_path: Path) -> None:
    with locked(tmp_path / "run" / "ha-lvs"):
        assert (tmp_path / "run" / "ha-lvs").stat().st_mode & 0o022 == 0
    (tmp_path / "ours").mkdir(mode=0o700)
    with locked(tmp_path / "ours"):
        assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o700


def test_vacant_refuses_beside_a_daemon_and_says_how_to_stop_it(tmp_path: Path) -> None:
    refusal = rf"pid {os.getpid()}.*systemctl stop"
    with locked(tmp_path), pytest.raises(PlatformError, match=refusal), vacant(tmp_path):
        pass
    with vacant(tmp_path), pytest.raises(PlatformError, match="another ha-lvs"), locked(tmp_path):
        pass


def test_vacant_makes_nothing(tmp_path: Path) -> None:
    with vacant(tmp_path / "missing"):
        pass
    assert not (tmp_path / "missing").exists()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="--runtime-dir"), locked(tmp_path / "file"):
        pass


def test_the_lock_goes_on_in_another_program_of_the_process(tmp_path: Path) -> None:
    with locked(tmp_path) as fd:
        inherited = os.dup(fd)
    with pytest.raises(PlatformError, match="another ha-lvs"), locked(tmp_path):
        pass  # the descriptor that was left to the next program holds it
    with locked(tmp_path, inherited), pytest.raises(PlatformError, match="another ha-lvs"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_is_on_standby_is_noted_for_root_only(tmp_path: Path) -> None:
    assert read_standby(tmp_path) == frozenset()
    write_standby(tmp_path, {"edge", "rim"})
    assert read_standby(tmp_path) == {"edge", "rim"}
    assert (tmp_path / STANDBY).stat().st_mode & 0o777 == 0o600
    write_standby(tmp_path, ())
    assert read_standby(tmp_path) == frozenset()


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null"])
def test_a_damaged_note_of_the_standby_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / STANDBY).write_text(text)
    with pytest.raises(PlatformError, match=r"standby\.json is damaged"):
        read_standby(tmp_path)
