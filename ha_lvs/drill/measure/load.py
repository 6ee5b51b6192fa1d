"""The load generator: a light process of its own, so that what it measures is the network and not itself.

    python -m ha_lvs.drill.measure.load --target 10.9.0.100:80 --connections 200 --rate 50

It keeps long-lived connections with a request on each now and then, and sends a steady stream of requests on new
connections (`load_ring`, `load_stream`). The servers' answers must be their names. The target may also be a name, for
a service without any director:

    python -m ha_lvs.drill.measure.load --target web.lab:80 --resolver 10.9.0.31 --caches 10

Then so many clients with a DNS cache of their own take turns, each connecting to what its cache holds (`names`,
`resolver`). Rules that hold here:

* Bare epoll, no asyncio, garbage collector frozen and off, real-time priority where allowed.
* Standard output gets one JSON object a line and never blocks the loop. Each has ``event`` and ``t``, seconds of
  CLOCK_MONOTONIC, which is one clock for all processes of a machine:

  - ``started``: ``realtime``, ``pid``
  - ``opened``: every long-lived connection was answered once or failed: ``connections``, ``lost``, ``servers``,
    ``ports``
  - ``report``, each `--report-every` seconds: ``requests`` (rows of `tally.Request` that are over since the last),
    ``sent`` in all, ``under_way``, ``connections`` (`Ring.state`), ``worst_lateness_ms`` of a beat since the start
  - ``verified``: answer to the command ``verify``: ``name``, ``kept``, ``of``, ``lost``, ``servers``, ``took_ms``
  - ``summary``, the last: `tally.summarise` of the stream, ``outage_ms`` and ``outage_from``, ``connections``

* Standard input takes commands, one a line: ``verify NAME SECONDS`` has every long-lived connection answer once more
  within so many seconds; ``stop`` or the end of the input ends the process.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import select
import signal
import stat
import sys
import time
from typing import Any

from ha_lvs.drill.measure.http_client import Address
from ha_lvs.drill.measure.load_ring import Ring
from ha_lvs.drill.measure.load_stream import NEVER, Poller, Stream
from ha_lvs.drill.measure.names import Caches, always, is_address, server_argument
from ha_lvs.drill.measure.tally import Request, biggest_gap, summarise

REALTIME_PRIORITY = 1
"""Below everything of the directors: load must not keep them from running."""


class Output:
    """Lines to a file descriptor, without ever waiting for a slow reader of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._backlog = b""
        # Only a pipe is ours alone; O_NONBLOCK on a terminal would reach everybody who shares it.
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)

    def send(self, event: dict[str, Any]) -> None:
        """Writes an event, stamped with the time, or keeps it for the next turn."""
        event = {"event": event["event"], "t": round(time.monotonic(), 4), **event}
        self._backlog += json.dumps(event, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Writes what can be written."""
        try:
            while self._backlog:
                self._backlog = self._backlog[os.write(self._fd, self._backlog) :]
        except BlockingIOError:
            pass

    def finish(self) -> None:
        """Writes the rest, waiting for the reader."""
        os.set_blocking(self._fd, True)
        self.flush()


class Load:
    """The loop that drives both kinds of traffic, reports and obeys commands."""

    def __init__(self, options: argparse.Namespace, output: Output, caches: Caches | None) -> None:
        start = time.monotonic()
        request = f"GET {options.path} HTTP/1.1\r\nHost: {options.target[0]}\r\n".encode()
        self._poller = Poller()
        self._output = output
        if caches is not None:
            caches.watch(self._poller)
        self._stream = Stream(
            self._poller,
            caches.taking_turns() if caches else always(options.target),
            request + b"Connection: close\r\n\r\n",
            options.rate,
            options.timeout,
            start,
        )
        self._ring = Ring(
            self._poller,
            caches.taking_turns() if caches else always(options.target),
            request + b"\r\n",
            options.connections,
            options.open_rate,
            options.every,
            start,
            output.send,
        )
        self._report_s: float = options.report_every
        self._report_at = start + self._report_s
        self._end = start + options.duration if options.duration else NEVER
        self._commands = b""
        self._all: list[Request] = []
        self._stopping = False

    def run(self) -> None:
        """Until told to stop."""
        self._watch_commands()
        while not self._stopping:
            now = time.monotonic()
            due = min(self._stream.next_at, self._ring.next_at, self._report_at, self._end)
            calls = self._poller.wait(due - now)
            now = time.monotonic()
            self._stream.turn(now)
            for call in calls:
                call(time.monotonic())
            self._ring.turn(now)
            if now >= self._report_at:
                self._report(now)
            if now >= self._end:
                self.stop()
        self._stream.stop()
        self._report(time.monotonic())
        gap = biggest_gap(request.sent_s for request in self._all if request.ok)
        self._output.send(
            {
                "event": "summary",
                **summarise(self._all),
                "outage_ms": round(gap.length_ms, 1),
                "outage_from": round(gap.from_s, 4),
                "connections": self._ring.state(),
                "worst_lateness_ms": round(self._stream.worst_lateness_ms, 2),
            }
        )

    def stop(self) -> None:
        """Ends `run` after the present turn."""
        self._stopping = True

    def _report(self, now: float) -> None:
        self._report_at = now + self._report_s
        finished, self._stream.finished = self._stream.finished, []
        self._all += finished
        self._output.send(
            {
                "event": "report",
                "requests": [request.to_row() for request in finished],
                "sent": self._stream.sent,
                "under_way": self._stream.sent - len(self._all),
                "connections": self._ring.state(),
                "worst_lateness_ms": round(self._stream.worst_lateness_ms, 2),
            }
        )

    def _watch_commands(self) -> None:
        try:
            self._poller.watch(0, select.EPOLLIN, self._command_ready)
        except PermissionError:
            return  # a plain file or /dev/null: no commands will come, --duration or a signal ends the run
        os.set_blocking(0, False)

    def _command_ready(self, now: float) -> None:
        try:
            data = os.read(0, 4096)
        except BlockingIOError:
            return
        if not data:
            self.stop()
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            words = line.decode("latin-1").split()
            if words[:1] == ["stop"]:
                self.stop()
            elif words[:1] == ["verify"] and len(words) == 3:
                self._ring.verify(words[1], now, float(words[2]))
            elif words:
                print(f"load: no such command: {' '.join(words)}", file=sys.stderr)


def be_prompt() -> bool:
    """Freezes the garbage collector and asks for real-time priority; says whether that was granted."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    except OSError:
        return False
    return True


def address_argument(text: str) -> Address:
    """ADDRESS:PORT as argparse wants it taken apart."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host, int(port)


def parser() -> argparse.ArgumentParser:
    """The command line; argparse, because typer takes longer to import than this process to start."""
    options = argparse.ArgumentParser(prog="python -m ha_lvs.drill.measure.load", description="HTTP load, measured.")
    options.add_argument("--target", type=address_argument, required=True, metavar="ADDRESS:PORT or NAME:PORT")
    options.add_argument(
        "--resolver", type=server_argument, metavar="ADDRESS[:PORT]", help="DNS server, for a NAME:PORT"
    )
    options.add_argument("--caches", type=int, default=10, help="clients that resolve the name (default 10)")
    options.add_argument("--path", default="/", help="what to ask for (default /)")
    options.add_argument("--connections", type=int, default=200, help="long-lived connections (default 200)")
    options.add_argument("--open-rate", type=float, default=50, help="of them opened a second (default 50)")
    options.add_argument("--every", type=float, default=1, help="seconds between two requests on one (default 1)")
    options.add_argument("--rate", type=float, default=50, help="requests a second on new connections (default 50)")
    options.add_argument("--timeout", type=float, default=1, help="of such a request in seconds, at most 1")
    options.add_argument("--report-every", type=float, default=1, help="seconds between reports (default 1)")
    options.add_argument("--duration", type=float, default=0, help="seconds to run; 0 means until told to stop")
    return options


def caches_for(options: argparse.Namespace) -> Caches | None:
    """The clients' DNS caches, where the target is a name.

    Errors: SystemExit when name and resolver do not go together.
    """
    host, port = options.target
    if is_address(host) and not options.resolver:
        return None
    if is_address(host) or not options.resolver or options.caches < 1:
        parser().error("a --target of NAME:PORT, a --resolver and at least one of --caches go together")
    return Caches(host, port, options.resolver, options.caches)


def main(arguments: list[str] | None = None) -> None:
    """Runs until told to stop."""
    options = parser().parse_args(arguments)
    output = Output(sys.stdout.fileno())
    # The resolving process begins before real-time priority is asked for: it must not inherit that.
    with caches_for(options) or contextlib.nullcontext() as caches:
        if caches is not None:
            caches.fill()
        load = Load(options, output, caches)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: load.stop())
        output.send({"event": "started", "pid": os.getpid(), "realtime": be_prompt()})
        load.run()
    output.finish()


if __name__ == "__main__":
    main()
