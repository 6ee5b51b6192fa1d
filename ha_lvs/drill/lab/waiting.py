"""Waiting for a condition with a deadline, in the pace of the lab."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from ha_lvs.errors import HaLvsError, LabError

T = TypeVar("T")

PACE = float(os.environ.get("HA_LVS_PACE", "1"))
"""How many times slower than a real machine the lab is: 1 natively, larger under emulation. Deadlines are multiples."""


def wait_for(condition: Callable[[], T], timeout_s: float, what: str, *, every_s: float = 0.01) -> T:
    """Polls until `condition()` is true and returns what it gave.

    Arguments:
        condition: called again and again; a `HaLvsError`, `OSError` or `AssertionError` out of it counts as "not yet".
        timeout_s: seconds on a real machine; the lab's pace is multiplied in here.
        what: completes "waited for": ``lb2 to hold 10.9.0.100``.
        every_s: pause between two looks.

    Errors: LabError when the time is over, with the last value or error seen.
    """
    start = time.monotonic()
    deadline = start + timeout_s * PACE
    while True:
        try:
            value = condition()
            if value:
                return value
            last = f"the last look gave {value!r}"
        except (HaLvsError, OSError, AssertionError) as problem:
            last = f"the last look failed: {type(problem).__name__}: {problem}"
        if time.monotonic() >= deadline:
            raise LabError(f"waited {time.monotonic() - start:.1f} s for {what}; {last}")
        time.sleep(every_s)


def lasting(condition: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """A condition that is true when the given one has been true for so long without a break."""
    since: float | None = None

    def lasts() -> bool:
        nonlocal since
        now = time.monotonic()
        since = (since if since is not None else now) if condition() else None
        return since is not None and now - since >= seconds

    return lasts
