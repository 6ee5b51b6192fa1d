"""File probes: a file holds the server's weight, in percent of the configured one.

Rules that hold here:
* 0 drains: the server stays up, and gets no new connections. An empty file means 100.
* What is missing, unreadable or nonsense is down, with the reason.
* Only regular files are read, `MOST_BYTES` of them at most, and nothing is waited for. (A file on a server that hangs
  can make any read wait; operators keep these files on this machine.)
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ha_lvs.health.probes.base import Driver, Probe
from ha_lvs.health.speech import weight
from ha_lvs.model import Endpoint

MOST_BYTES = 64


class FileProbe(Probe):
    """One probe is open, read, close."""

    __slots__ = ("_path",)

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self._path = endpoint.check.file

    def start(self, now: float) -> None:
        """See `Probe`."""
        self.percent = None
        try:
            text = _read(self._path)
            found = weight.percent(text) if text.strip() else 100
        except OSError as problem:
            self.engine.end(self, False, f"{self._path}: {os.strerror(problem.errno or 0).lower()}", now)
        except ValueError as problem:
            self.engine.end(self, False, f"{self._path}: {problem}", now)
        else:
            self.percent = found
            self.engine.end(self, True, f"weight {found}%", now)


def _read(path: str) -> str:
    """What a file holds.

    Errors: OSError; ValueError where it is no file to be read, or holds too much.
    """
    _expect_regular(Path(path).stat())  # to open some devices does something
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _expect_regular(os.fstat(fd))
        data = os.read(fd, MOST_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes; write a whole number of percent")
    return data.decode("ascii", errors="replace")


def _expect_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("no regular file")
