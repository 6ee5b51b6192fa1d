"""One datagram a millisecond to an echo behind the virtual IP: the finest measure of an outage.

    python -m ha_lvs.drill.measure.udp_stream --target 10.9.0.100:7000 --duration 10

The `echo` sends each datagram back. At the end one JSON line goes to standard output: ``sent``,
``lost``, ``outage_ms`` and ``outage_from`` (the biggest gap between the send times of two answered datagrams, nothing
taken off; it also counts from the first and until the last that was sent, if those were not answered), ``gaps`` (those
longer than 5 intervals, in order: send time of the last answered one in seconds, length in ms), ``refused`` (ICMP
errors that came back) and ``worst_lateness_ms`` of a beat, below which no outage means anything. Times are
CLOCK_MONOTONIC. It ends after `--duration`, at the end of standard input or on SIGTERM. A line on standard input has it
write such a line at once and count from nothing again; datagrams still under way then are in neither count.

Real-time priority where allowed, garbage collector off: without, the gap of an undisturbed stream is 2.5 to 8.6 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from ha_lvs.drill.measure.load import address_argument, be_prompt
from ha_lvs.drill.measure.tally import gaps_between

_NUMBER = struct.Struct("!Q")
GRACE_S = 0.3
"""How long answers are waited for after the last datagram."""

NOTABLE_INTERVALS = 5
"""A gap of more intervals than this is worth a line of its own."""


@dataclass(slots=True)
class Result:
    """What came of a stream.

    Arguments:
        interval_s: between two datagrams.
        first: number of the first datagram that counts.

    The rest grows: when each datagram was sent, and which were answered (by number).
    """

    interval_s: float
    first: int = 0
    sent_s: list[float] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)
    refused: int = 0
    worst_lateness_ms: float = 0.0

    @property
    def next_number(self) -> int:
        """The number of the next datagram."""
        return self.first + len(self.sent_s)

    def to_json(self, *, under_way_s: float = 0.0) -> dict[str, Any]:
        """The figures, as the header of this module describes them.

        Arguments:
            under_way_s: how long a datagram without an answer may still be under way, and is left out then.
        """
        sent_s = self.sent_s
        if under_way_s and sent_s:
            known = [s for n, s in enumerate(sent_s, self.first) if n in self.answered or s < sent_s[-1] - under_way_s]
            sent_s = known
        answered = (self.sent_s[number - self.first] for number in self.answered)
        gaps = gaps_between([*sent_s[:1], *answered, *sent_s[-1:]])
        worst = max(gaps, key=lambda gap: gap.length_ms, default=None)
        notable_ms = NOTABLE_INTERVALS * self.interval_s * 1000
        return {
            "sent": len(sent_s),
            "lost": len(sent_s) - len(self.answered),
            "outage_ms": round(worst.length_ms, 2) if worst else 0.0,
            "outage_from": round(worst.from_s, 5) if worst else 0.0,
            "gaps": [[round(gap.from_s, 5), round(gap.length_ms, 2)] for gap in gaps if gap.length_ms > notable_ms],
            "refused": self.refused,
            "worst_lateness_ms": round(self.worst_lateness_ms, 2),
        }


class UdpStream:
    """The stream's loop.

    Arguments:
        target: address and port of the echo.
        interval_s: between two datagrams.
    """

    def __init__(self, target: tuple[str, int], interval_s: float) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.connect(target)
        self._interval_s = interval_s
        self.result = Result(interval_s)
        self.stopping = False

    def run(self, duration_s: float) -> None:
        """Until `stopping`, or for so many seconds."""
        interval_s = self._interval_s
        watched: list[Any] = [self._sock]
        if not os.isatty(0):
            watched.append(0)
        beat = time.monotonic()
        end = beat + duration_s
        while not self.stopping and beat < end:
            now = time.monotonic()
            if now >= beat:
                result = self.result
                result.worst_lateness_ms = max(result.worst_lateness_ms, (now - beat) * 1000)
                # Beats that were slept through are left out rather than sent in a burst.
                beat += interval_s * (1 + int((now - beat) / interval_s))
                self._send(now)
            ready, _, _ = select.select(watched, (), (), max(0.0, beat - time.monotonic()))
            if self._sock in ready:
                self._receive()
            if 0 in ready:
                if not os.read(0, 4096):
                    break
                self._count_anew()
        result = self.result
        until = time.monotonic() + GRACE_S
        while len(result.answered) < len(result.sent_s) and time.monotonic() < until:
            if select.select([self._sock], (), (), until - time.monotonic())[0]:
                self._receive()

    def _count_anew(self) -> None:
        write_line(self.result.to_json(under_way_s=GRACE_S))
        self.result = Result(self._interval_s, self.result.next_number)

    def _send(self, now: float) -> None:
        number = self.result.next_number
        self.result.sent_s.append(now)
        try:
            self._sock.send(_NUMBER.pack(number))
        except OSError:
            self.result.refused += 1  # an earlier ICMP error, or no route; this datagram counts as lost

    def _receive(self) -> None:
        try:
            while True:
                data = self._sock.recv(64)
                if len(data) == _NUMBER.size:
                    (number,) = _NUMBER.unpack(data)
                    if number >= self.result.first:
                        self.result.answered.add(number)
        except BlockingIOError:
            pass
        except OSError:
            self.result.refused += 1


def write_line(figures: dict[str, Any]) -> None:
    """Figures to standard output, now."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Runs the stream and prints its result."""
    parser = argparse.ArgumentParser(
        prog="python -m ha_lvs.drill.measure.udp_stream", description="UDP outage, measured."
    )
    parser.add_argument("--target", type=address_argument, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--interval-ms", type=float, default=1.0, help="between two datagrams (default 1)")
    parser.add_argument("--duration", type=float, default=float("inf"), help="seconds (default: until told to stop)")
    options = parser.parse_args(arguments)
    stream = UdpStream(options.target, options.interval_ms / 1000)

    def stop(*_: object) -> None:
        stream.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    be_prompt()
    stream.run(options.duration)
    write_line(stream.result.to_json())


if __name__ == "__main__":
    main()
