"""Probes over UDP: one datagram is sent, and what comes back is judged.

Rules that hold here:
* The socket is connected, so that the kernel drops answers from elsewhere and gives us the ICMP errors that belong to
  what we have sent. Each probe has a socket and so a port of its own: a late answer to an earlier one gets nowhere.
* Nothing is sent twice: whether one lost datagram takes a server out is for `fall` to say.
"""

from __future__ import annotations

import errno
import select
import socket

from ha_lvs.health.probes.base import Driver, Probe, family_of, prepare, reason
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.model import Endpoint

DATAGRAM = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
MOST_BYTES = 4096
"""So much of a datagram is read."""

_AT_ONCE = 16  # datagrams read in one go, so that a flood does not keep other probes waiting
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, in6.h: errors of the way there are told too, not only of the port
_REFUSED = "port unreachable"


class DatagramProbe(Probe):
    """One probe is socket, connect, send, one epoll registration, recv, close."""

    __slots__ = ("family", "fd", "sock", "sockaddr")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self.family = family_of(endpoint)
        self.sockaddr = (str(endpoint.address), endpoint.port)
        self.sock: socket.SocketType | None = None
        self.fd = -1

    def ask(self) -> bytes:
        """What the probe that begins now sends."""
        raise NotImplementedError

    def hear(self, answer: bytes) -> Outcome | None:
        """What an answer means; None when it is none to what was asked, so that the probe waits on."""
        raise NotImplementedError

    def start(self, now: float) -> None:
        """See `Probe`."""
        sock = self.sock = socket.SocketType(self.family, DATAGRAM)
        if self.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        prepare(sock, self.endpoint)
        sock.connect(self.sockaddr)
        sock.send(self.ask())
        self.fd = sock.fileno()
        self.engine.follow(self.fd, self, select.EPOLLIN)

    def advance(self, event: int, now: float) -> None:
        """See `Probe`."""
        sock = self.sock
        assert sock is not None
        for _ in range(_AT_ONCE):
            try:
                answer = sock.recv(MOST_BYTES)
            except BlockingIOError:
                return
            except OSError as problem:
                self.failed(problem.errno or 0, now)
                return
            outcome = self.hear(answer)
            if outcome is not None:
                self.engine.end(self, outcome.success, outcome.reason, now)
                return

    def failed(self, code: int, now: float) -> None:
        """The kernel has told of an error of the server or the way to it."""
        self.engine.end(self, False, _REFUSED if code == errno.ECONNREFUSED else reason(code), now)

    def close(self) -> None:
        """See `Probe`."""
        if self.sock is not None:
            if self.fd >= 0:
                self.engine.unfollow(self.fd)
            self.sock.close()
            self.sock = None
            self.fd = -1

    def overdue(self) -> str:
        """See `Probe`."""
        return "timed out waiting for an answer"
