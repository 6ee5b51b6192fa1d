"""The generators of load as seen by who runs them: started, asked, stopped, their events passed on."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.drill.measure.events import Emitter, Event
from ha_lvs.drill.measure.tally import Request
from ha_lvs.errors import LabError

UDP_ANSWER_S = 10.0
"""Within how many seconds, on a real machine, the stream of datagrams gives its figures."""


class LoadProcess:
    """The running load generator: passes its events on and remembers what is waited for. A context manager.

    Arguments:
        start: starts it with pipes for standard input and output.
        emitter: where its events go.

    `requests` has all that are over, as far as it has reported them.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], emitter: Emitter) -> None:
        self._start = start
        self._emitter = emitter
        self._seen: dict[str, Event] = {}
        self.requests: list[Request] = []

    def __enter__(self) -> LoadProcess:
        self._process = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()

    def wait(self, event: str, timeout_s: float, what: str, condition: Callable[[Event], bool]) -> Event:
        """The latest event of its kind as soon as it meets the condition.

        Errors: LabError when that takes longer, or the load generator has ended before.
        """

        def look() -> Event | None:
            told = self._seen.get(event)
            if told is not None and condition(told):
                return told
            if event != "summary" and self._process.poll() is not None:
                raise LabError(f"the load generator ended with exit code {self._process.returncode}")
            return None

        found = wait_for(look, timeout_s, what, every_s=0.05)
        assert found is not None
        return found

    def verify(self, name: str, deadline_s: float) -> Event:
        """Has every connection answer once more.

        Arguments:
            name: under which the result is known.
            deadline_s: within how many seconds; a slow lab gets only a little more, as TCP's timers are not slower.
        """
        self._tell(f"verify {name} {deadline_s * min(PACE, 3):.1f}")
        return self.wait(
            "verified",
            2 * deadline_s + 5,
            f"the connections to be verified ({name})",
            lambda told: bool(told["name"] == name),
        )

    def wait_for_undisturbed(self, timeout_s: float) -> None:
        """Waits until a whole report has no failed request among those that were sent from now on.

        Arguments:
            timeout_s: real seconds, in a slow lab too.

        Errors: LabError when that does not come.
        """
        since_s = time.monotonic()

        def undisturbed(told: Event) -> bool:
            requests = [Request.from_row(row) for row in told["requests"] if row[0] > since_s]
            return bool(requests) and all(request.ok for request in requests)

        self.wait("report", timeout_s / PACE, "every new request to be answered", undisturbed)

    def stop(self) -> None:
        """Ends it and waits for its summary."""
        self._tell("stop")
        self.wait("summary", 10, "the load generator's summary", lambda _: True)

    def _tell(self, command: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as problem:
            raise LabError(f"the load generator takes no commands any more: {problem}") from problem

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            event: Event = json.loads(line)
            if event["event"] == "report":
                self.requests += [Request.from_row(row) for row in event["requests"]]
            self._seen[event["event"]] = event
            self._emitter.pass_on(line)


class UdpProcess:
    """The running stream of datagrams (`udp_stream`). A context manager.

    Arguments:
        start: starts it with pipes for standard input and output.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start

    def __enter__(self) -> UdpProcess:
        self._process = self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def count_anew(self) -> dict[str, Any]:
        """The figures so far, as of `udp_stream`; from now on it counts from nothing.

        Errors: LabError when it has ended.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(b"anew\n")
            self._process.stdin.flush()
        except OSError as problem:
            raise LabError(f"the stream of datagrams has ended: {problem}") from problem
        return self._figures()

    def stop(self) -> None:
        """Has it send no more; `result` is there a moment later."""
        assert self._process.stdin
        # It may be over already, which `result` tells.
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def result(self) -> dict[str, Any]:
        """The figures since counting began, after `stop`.

        Errors: LabError when it ended without.
        """
        return self._figures()

    def _figures(self) -> dict[str, Any]:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], (), (), UDP_ANSWER_S * PACE)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise LabError(f"the stream of datagrams gave no figures (exit code {self._process.poll()})")
        figures: dict[str, Any] = json.loads(line)
        return figures
