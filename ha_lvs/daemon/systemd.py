"""The little of systemd's notification protocol that the guardian speaks (sd_notify(3)). Silent elsewhere."""

from __future__ import annotations

import os
import socket


def notify(*assignments: str) -> None:
    """Tells systemd `READY=1`, `STOPPING=1`, `STATUS=...`; nothing happens when it did not start us."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(assignments).encode(), address)
    except OSError:
        pass  # whoever started us does not listen; it is not worth a failure
