"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.daemon import systemd


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_assignments_travel_in_one_datagram(listening: socket.socket) -> None:
    systemd.notify("READY=1", "STATUS=edge active")
    assert listening.recv(1000) == b"READY=1\nSTATUS=edge active"


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")  # the kernel picks one
        sock.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + sock.getsockname()[1:].decode())
        systemd.feed_watchdog()
        assert sock.recv(1000) == b"WATCHDOG=1"


def test_a_reload_comes_with_the_time(listening: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    systemd.reloading()
    word, stamp = listening.recv(1000).decode().split("\n")
    assert word == "RELOADING=1"
    name, _, usec = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("path", ["", "relative", "/does/not/exist"])
def test_where_nobody_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    systemd.notify("READY=1")


def test_whoever_does_not_read_holds_nobody_up(listening: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(BlockingIOError):
        sock.setblocking(False)
        while True:  # until it is full
            sock.sendto(b"x", listening.getsockname())
    start = time.monotonic()
    systemd.feed_watchdog()
    assert time.monotonic() - start < 5
