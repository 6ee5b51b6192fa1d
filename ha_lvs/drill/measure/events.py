"""Events: one JSON object a line, from the side that measures to the side that shows and judges.

Each has ``event``, its kind, and ``t``, seconds of CLOCK_MONOTONIC of the machine under test.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any, Protocol

Event = dict[str, Any]


class Emit(Protocol):
    """Where events go."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Takes an event of this kind with these fields; adds the time, unless ``t`` is one of them."""


class Emitter:
    """Events as JSON lines on a file descriptor, from any thread.

    Arguments:
        fd: where to.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: Any) -> None:
        self.pass_on(json.dumps({"event": event, "t": round(time.monotonic(), 4), **fields}).encode() + b"\n")

    def pass_on(self, line: bytes) -> None:
        """Writes a line that is an event already."""
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]


def parse_event(line: bytes) -> Event | None:
    """The event in a line of the measuring side's output, or None when the line is something else."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event and "t" in event else None
