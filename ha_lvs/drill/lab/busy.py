"""Something else that wants the processors: plain busy loops, to see whether a director still gets its turn.

The loops run with the normal policy (SCHED_OTHER), on the machine that carries the lab, since processors belong to no
namespace. Each ends by itself when its time is over, so that none outlives a lab that was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from ha_lvs.errors import LabError

_LOOP = ("sh", "-c", "while :; do :; done")
"""No Python: that would take a while to start, many at once on one processor."""


class BusyLoops:
    """Processes that do nothing, as fast as they can. A context manager: all of them are ended with it."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> BusyLoops:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._started.clear()

    @property
    def running(self) -> int:
        """How many loops run now."""
        return sum(process.poll() is None for process in self._started)

    def start(self, loops: int, duration_s: float) -> None:
        """Starts loops.

        Arguments:
            loops: how many.
            duration_s: after which each of them ends.

        Errors: LabError when they cannot be started.
        """
        command: Sequence[str] = ("timeout", "--signal=KILL", f"{duration_s:g}", *_LOOP)
        try:
            for _ in range(loops):
                self._started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True))
        except OSError as problem:
            raise LabError(f"a busy loop cannot be started: {problem}") from problem
