"""The little of systemd's notification protocol that the guardian speaks (sd_notify(3)). Silent elsewhere."""

from __future__ import annotations

import os
import socket
import time

_PATIENCE_S = 0.1
"""systemd that does not read must not hold up a guardian that has an elector to replace."""


def notify(*assignments: str) -> None:
    """Tells systemd `READY=1`, `STOPPING=1`, `STATUS=...`; nothing happens when it did not start us."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_PATIENCE_S)
            sock.sendto("\n".join(assignments).encode(), address)
    except OSError:
        pass  # whoever started us does not listen; it is not worth a failure


def feed_watchdog() -> None:
    """Tells systemd that all is well."""
    notify("WATCHDOG=1")


def reloading() -> None:
    """Tells systemd that a reload has begun; `READY=1` ends it. The time is what `Type=notify-reload` asks for."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
