"""How many file descriptors a test's process holds, without those that earlier tests left to the garbage collector."""

from __future__ import annotations

import gc
from pathlib import Path


def open_descriptors() -> int:
    """The open file descriptors of this process.

    Sockets in reference cycles close whenever the collector comes by; without a collection first, a count falls by
    what another test of the same worker left. Compare with `<=`: what is gone is no leak.
    """
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))
