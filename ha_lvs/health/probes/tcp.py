"""TCP probes: a connection that opens is success, and is reset at once.

Rules that hold here:
* A socket is used again after a success. To disconnect it (connect(2) with AF_UNSPEC) resets the connection, frees the
  port and forgets the route, as a close would; what it saves is the making of sockets, a third of a probe's cost.
* After anything else the next probe begins with a new socket, so that no failure can be one of an old socket.
* epoll tells of a socket as it is when it is asked. What it tells of one that has been disconnected finds no probe
  running, or is about the next connection.
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
from pathlib import Path

from ha_lvs.health.probes.base import Driver, Probe, family_of, prepare, reason
from ha_lvs.model import Endpoint

EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER 0: no TIME_WAIT piles up on the director."""


_TROUBLE = select.EPOLLERR | select.EPOLLHUP
_UNSPEC = bytes(16)
"""A sockaddr of AF_UNSPEC, which Python's own connect cannot make."""
_connect = ctypes.PyDLL(None).connect
_connect.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


class TcpProbe(Probe):
    """One probe is connect, a look at what epoll tells, disconnect."""

    __slots__ = ("ephemeral", "family", "fd", "plain", "sock", "sockaddr", "spent")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        check = endpoint.check
        self.family = family_of(endpoint)
        self.sockaddr = (str(endpoint.address), endpoint.port)
        self.plain = not (check.mark or check.interface or check.source)
        self.ephemeral = endpoint.port in engine.shared("ephemeral ports", _Ephemeral).ports
        self.sock: socket.SocketType | None = None
        self.fd = -1
        self.spent = True  # whether the socket is not to be used again

    def start(self, now: float) -> None:
        """See `Probe`."""
        sock = self.sock
        self.spent = True
        if sock is None:
            sock = self.sock = self._open()
        code = sock.connect_ex(self.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def _open(self) -> socket.SocketType:
        sock = self.sock = socket.SocketType(self.family, STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        if not self.plain:
            prepare(sock, self.endpoint)
        self.fd = sock.fileno()
        self.engine.follow(self.fd, self, EDGES)  # before it connects: what an idle one tells of finds no probe running
        return sock

    def advance(self, event: int, now: float) -> None:
        """See `Probe`."""
        sock = self.sock
        assert sock is not None
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if event & _TROUBLE else 0
        if code:
            self.engine.end(self, False, reason(code), now)
        elif self.ephemeral and is_own_mirror(sock):
            self.engine.end(self, False, "connection refused", now)  # nobody listens: we met ourselves
        else:
            self.spent = False
            self.engine.end(self, True, "connected", now)

    def close(self) -> None:
        """See `Probe`."""
        if self.spent or _connect(self.fd, _UNSPEC, len(_UNSPEC)):
            self.release()
        self.spent = True

    def release(self) -> None:
        """See `Probe`."""
        if self.sock is not None:
            if self.fd >= 0:
                self.engine.unfollow(self.fd)
            self.sock.close()  # which ends its registration, too
            self.sock = None
            self.fd = -1

    def overdue(self) -> str:
        """See `Probe`."""
        return "timed out while connecting"


def is_own_mirror(sock: socket.SocketType) -> bool:
    """Whether a socket is connected to itself.

    On a local address, a free port out of the ephemeral range can be chosen as the source of the connection to it,
    and TCP then opens simultaneously from both ends, which are one (RFC 9293 section 3.5).
    """
    return bool(sock.getsockname() == sock.getpeername())


class _Ephemeral:
    """The ports that the kernel takes as sources of connections (ip-sysctl, ip_local_port_range)."""

    def __init__(self) -> None:
        try:
            first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        except (OSError, ValueError):
            self.ports = range(1, 65536)
        else:
            self.ports = range(int(first), int(last) + 1)

    def close(self) -> None:
        """Nothing to close."""
