"""File checks: real files with weights, and things that are none. And what counts as a weight."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.health.speech import weight
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, ServerState
from tests.descriptors import open_descriptors
from tests.unit.test_probes import Watch

UP, DOWN = ServerState.UP, ServerState.DOWN


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


def endpoint(path: Path) -> Endpoint:
    return Endpoint(ip_address("127.0.0.1"), 80, Check(CheckType.FILE, 0.05, 1.0, rise=2, fall=2, file=str(path)))


@pytest.mark.parametrize(
    ("text", "percent"),
    [("50", 50), ("50%", 50), (" 7 %\n", 7), ("0\n", 0), ("1000", 1000), ("", 100), ("\n", 100), ("007", 7)],
)
def test_the_file_gives_the_weight(watch: Watch, tmp_path: Path, text: str, percent: int) -> None:
    path = tmp_path / "weight"
    path.write_text(text)
    assert watch.first_verdict(endpoint(path)) == Verdict(UP, 0, f"weight {percent}%", percent=percent)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"fast", "'fast' is no weight; write a whole number of percent from 0 to 1000"),
        (b"-1", "'-1' is no weight"),
        (b"1001", "'1001' is no weight"),
        (b"50.5", "'50.5' is no weight"),
        (b"1e2", "'1e2' is no weight"),
        (b"50 60", "'50 60' is no weight"),
        (b"\xff\xfe", "is no weight"),
        ("٥٠".encode(), "is no weight"),
        (b"\0", r"'\x00' is no weight"),
        (b"1" * 65, "more than 64 bytes"),
    ],
)
def test_nonsense_is_down_with_what_was_found(watch: Watch, tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "weight"
    path.write_bytes(content)
    verdict = watch.first_verdict(endpoint(path))
    assert (verdict.state, verdict.percent) == (DOWN, None)
    assert verdict.reason.startswith(f"{path}: ")
    assert reason in verdict.reason


def test_without_the_file_the_server_is_down(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "weight"
    assert watch.first_verdict(endpoint(path)) == Verdict(DOWN, 0, f"{path}: no such file or directory")


def test_a_file_that_is_too_long_is_not_read_to_its_end(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "weight"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "more than 64 bytes" in watch.first_verdict(endpoint(path)).reason


def test_what_is_no_regular_file_is_refused_and_nothing_waits_for_it(watch: Watch, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("fifo", "directory", "link", "socket"):
            path = tmp_path / name
            assert watch.first_verdict(endpoint(path)) == Verdict(DOWN, 0, f"{path}: no regular file")
    assert watch.first_verdict(endpoint(Path("/dev/zero"))).reason == "/dev/zero: no regular file"
    assert "symbolic links" in watch.first_verdict(endpoint(tmp_path / "loop")).reason


def test_a_weight_that_changes_is_told_at_once_and_one_that_stays_is_not(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "weight"
    path.write_text("50")
    watched = endpoint(path)
    watch.first_verdict(watched)
    for text in ("0", "0 ", "20"):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(path)
        number = int(text)
        watch.run_until(lambda number=number: watch.verdict(watched).percent == number, text)  # type: ignore[misc]
    assert [(verdict.state, verdict.percent) for _, verdict in watch.reports] == [(UP, 50), (UP, 0), (UP, 20)]


def test_a_file_that_goes_and_comes_back(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "weight"
    path.touch()
    watched = endpoint(path)
    watch.first_verdict(watched)
    path.unlink()
    watch.run_until_state(watched, DOWN)
    path.write_text("30")
    watch.run_until_state(watched, UP)
    assert [(verdict.state, verdict.percent) for _, verdict in watch.reports] == [(UP, 100), (DOWN, None), (UP, 30)]


def test_no_descriptor_stays_open(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "weight"
    path.touch()
    watched = endpoint(path)
    before = open_descriptors()
    watch.first_verdict(watched)
    path.write_text("x")
    watch.run_until_state(watched, DOWN)
    assert open_descriptors() <= before


@given(st.text(max_size=80))
def test_whatever_is_written_is_a_share_in_bounds_or_an_error_that_is_short(text: str) -> None:
    found: int | str
    try:
        found = weight.percent(text)
    except ValueError as problem:
        found = str(problem)
    if isinstance(found, int):
        assert 0 <= found <= weight.MOST_PERCENT
        assert str(found) in text
    else:
        assert len(found) < 500
