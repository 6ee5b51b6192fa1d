"""The socket of events: one JSON line an event, for any number of subscribers.

Rules that hold here:
* A subscriber first gets a line on where each instance stands, then every event from then on, in order.
* Nobody is waited for: who has not taken what was sent is dropped, and may connect again and begin anew. What a
  subscriber says is thrown away.
* The socket is for owner and group.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

SOCKET_NAME = "events.sock"
MODE = 0o660
SEND_BUFFER_BYTES = 1 << 18
TOO_MANY_PAUSE_S = 1.0


class Subscribers:
    """The listening socket and those who are connected.

    Arguments:
        runtime_dir: where the socket is made; a stale one is replaced.
        snapshot: gives the lines that a new subscriber gets first.

    Errors: OSError when the socket cannot be made.
    """

    def __init__(self, runtime_dir: Path, snapshot: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._path = runtime_dir / SOCKET_NAME
        self._snapshot = snapshot
        self._connected: set[socket.socket] = set()
        self._listener = _listener(self._path)
        self._inode = self._path.stat().st_ino
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def publish(self, event: Mapping[str, Any]) -> None:
        """Sends an event to all."""
        line = _line(event)
        for sock in list(self._connected):
            self._send(sock, line)

    def close(self) -> None:
        """Ends all connections and takes the socket away, if it still is ours."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for sock in list(self._connected):
            self._drop(sock)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # no descriptor left: the caller waits, and we must not spin
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(TOO_MANY_PAUSE_S, self._accept_again)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._connected.add(sock)
        self._loop.add_reader(sock.fileno(), self._hear, sock)
        self._send(sock, b"".join(_line(event) for event in self._snapshot()))

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _hear(self, sock: socket.socket) -> None:
        try:
            gone = not sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._drop(sock)

    def _send(self, sock: socket.socket, data: bytes) -> None:
        try:
            sent = sock.send(data, socket.MSG_NOSIGNAL) if data else 0
        except BlockingIOError:
            sent = -1
        except OSError:
            self._drop(sock)
            return
        if sent < len(data):  # a torn line is worse than none: it begins anew
            log.warning("subscriber dropped", connected=len(self._connected) - 1)
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        if sock in self._connected:
            self._connected.discard(sock)
            self._loop.remove_reader(sock.fileno())
            sock.close()


def _listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    umask = os.umask(0o177)  # nobody else before the mode is set
    try:
        sock.bind(str(path))
        path.chmod(MODE)
        sock.listen(64)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(umask)
    return sock


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
