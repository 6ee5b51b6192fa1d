"""The stream of datagrams against an echo that can be told to fall silent, over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

DEADLINE_S = 30.0


class Echo:
    """Sends datagrams back; leaves out those whose count is in `silent`."""

    def __init__(self, silent: range = range(0)) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.port: int = self._sock.getsockname()[1]
        self._silent = silent
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while True:
                data, sender = self._sock.recvfrom(64)
                if count not in self._silent:
                    self._sock.sendto(data, sender)
                count += 1


@pytest.fixture
def options() -> tuple[str, ...]:
    return ("--interval-ms", "5", "--duration", "1")


def stream(port: int, *options: str) -> Any:
    """A stream whose standard input stays open until it ends by itself."""
    command = [sys.executable, "-m", "ha_lvs.drill.measure.udp_stream", "--target", f"127.0.0.1:{port}", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        return json.loads(process.stdout.readline())


def test_nothing_is_lost_without_a_fault(options: tuple[str, ...]) -> None:
    result = stream(Echo().port, *options)
    assert result["sent"] > 20
    assert result["lost"] == 0
    assert result["outage_ms"] >= 5


def test_datagrams_without_an_answer_are_lost_and_make_the_outage(options: tuple[str, ...]) -> None:
    result = stream(Echo(silent=range(20, 60)).port, *options)
    assert result["lost"] == 40
    assert result["outage_ms"] >= 41 * 5 - 5


def test_where_nobody_listens_all_are_lost(options: tuple[str, ...]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = stream(port, *options)
    assert result["lost"] == result["sent"] > 0
    assert result["refused"] > 0


def test_gaps_worth_a_line_are_listed_and_nothing_else(options: tuple[str, ...]) -> None:
    result = stream(Echo(silent=range(20, 60)).port, *options)
    lengths = [length_ms for _, length_ms in result["gaps"]]
    assert max(lengths) == result["outage_ms"]
    assert all(length_ms > 25 for length_ms in lengths)


def test_an_outage_that_never_ends_counts_until_the_last_datagram(options: tuple[str, ...]) -> None:
    result = stream(Echo(silent=range(20, 100_000)).port, *options)
    assert result["lost"] == result["sent"] - 20
    assert result["outage_ms"] > 300


def test_a_line_has_it_count_anew() -> None:
    command = [sys.executable, "-m", "ha_lvs.drill.measure.udp_stream", "--interval-ms", "5"]
    command += ["--target", f"127.0.0.1:{Echo(silent=range(120)).port}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        counts: list[dict[str, Any]] = []
        deadline = time.monotonic() + DEADLINE_S
        # What is lost at the beginning must not be in the count that comes last.
        while (not counts or counts[-1]["lost"] or not counts[-1]["sent"]) and time.monotonic() < deadline:
            time.sleep(0.4)
            process.stdin.write(b"anew\n")
            process.stdin.flush()
            counts.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        last = json.loads(process.stdout.readline())
    assert any(count["lost"] for count in counts)
    assert counts[-1]["lost"] == last["lost"] == 0
    assert last["sent"] < counts[-1]["sent"]


def test_it_ends_with_its_standard_input() -> None:
    command = [sys.executable, "-m", "ha_lvs.drill.measure.udp_stream", "--target", f"127.0.0.1:{Echo().port}"]
    done = subprocess.run(command, input=b"", stdout=subprocess.PIPE, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0
    assert "outage_ms" in json.loads(done.stdout)
