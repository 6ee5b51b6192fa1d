"""Ping probes: ICMP echo, many over one raw socket.

Rules that hold here:
* Probes that leave alike (family, source, interface, mark) share a socket. It hears echo replies only; each of them
  is copied to every raw socket of this machine, so what is not ours is passed over.
* A reply counts if it comes from the address that was asked and has the identifier of the socket, the sequence number
  of the probe and its nonce, which nobody knows who has not seen the request.
* Errors that routers tell of are not heard: what is not reached is silent, and fails at its time-out.
"""

from __future__ import annotations

import errno
import os
import socket

from ha_lvs.errors import WireError
from ha_lvs.health.probes.base import Driver, Probe, family_of, prepare
from ha_lvs.model import Endpoint
from ha_lvs.wire import icmp

NONCE_BYTES = 8
_PACKETS_AT_ONCE = 256
"""So many are read in one go, so that a flood does not keep everything else waiting."""
_RECEIVE_BYTES = 1 << 20


class PingProbe(Probe):
    """One probe is one request and its reply."""

    __slots__ = ("_echo", "_pinger", "_sequence", "address", "nonce")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self.address = str(endpoint.address).partition("%")[0]
        self.nonce = b""
        self._sequence: int | None = None
        self._pinger: _Pinger | None = None

    def start(self, now: float) -> None:
        """See `Probe`."""
        check = self.endpoint.check
        key = ("ping", self.endpoint.address.version, check.source, check.interface, check.mark)
        pinger = self._pinger = self.engine.shared(key, lambda: _Pinger(self.endpoint, self.engine))
        self.nonce = os.urandom(NONCE_BYTES)
        self._sequence = pinger.ask(self)

    def answered(self, now: float) -> None:
        """The reply to the running probe has come."""
        self.engine.end(self, True, "answered", now)

    def close(self) -> None:
        """See `Probe`."""
        if self._pinger is not None and self._sequence is not None:
            self._pinger.asked.pop(self._sequence, None)
        self._sequence = None

    def overdue(self) -> str:
        """See `Probe`."""
        return "timed out waiting for an echo reply"


class _Pinger:
    """A raw socket, and who waits for a reply there.

    Arguments:
        endpoint: one of those that are asked from it.
        engine: that calls when something has come.

    Errors: OSError where the kernel refuses such a socket, or what the check asks of it.
    """

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._index = 0  # of the interface that it is bound to
        self._version = endpoint.address.version
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._sequence = 0
        self.asked: dict[int, PingProbe] = {}  # by sequence number
        self._sock = self._open()
        engine.watch(self._sock.fileno(), self._hear)

    def _open(self) -> socket.socket:
        protocol = socket.IPPROTO_ICMP if self._version == 4 else socket.IPPROTO_ICMPV6
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        sock = socket.socket(family_of(self._endpoint), kind, protocol)
        try:
            sock.setsockopt(*icmp.replies_only(self._version))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            prepare(sock, self._endpoint)
            if self._endpoint.check.interface:
                self._index = _index_of(self._endpoint.check.interface)
        except BaseException:
            sock.close()
            raise
        return sock

    def _follow_interface(self) -> None:
        """An interface that was made anew has another index, and the socket is bound to the old one."""
        interface = self._endpoint.check.interface
        if interface and _index_of(interface) != self._index:
            sock = self._open()
            self.close()
            self._sock = sock
            self._engine.watch(sock.fileno(), self._hear)

    def ask(self, probe: PingProbe) -> int:
        """Sends a request; returns its sequence number, under which `asked` has the probe from now on.

        Errors: OSError.
        """
        self._follow_interface()
        sequence = self._free()
        packet = icmp.request(self._version, icmp.Echo(self._identifier, sequence, probe.nonce))
        self._sock.sendto(packet, (probe.address, 0))
        self.asked[sequence] = probe
        return sequence

    def _free(self) -> int:
        """The next sequence number that nobody waits for."""
        for _ in range(1 << 16):
            self._sequence = (self._sequence + 1) & 0xFFFF
            if self._sequence not in self.asked:
                return self._sequence
        raise OSError(errno.ENOBUFS, "all sequence numbers are in use")

    def _hear(self) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            try:
                packet, sender = self._sock.recvfrom(icmp.MOST_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of the way to one of them, who stays silent then
            try:
                message = icmp.strip_ipv4(packet) if self._version == 4 else packet
                echo = icmp.decode_reply(message, self._version)
            except WireError:
                continue
            self._match(echo, sender[0].partition("%")[0])

    def _match(self, echo: icmp.Echo, sender: str) -> None:
        probe = self.asked.get(echo.sequence) if echo.identifier == self._identifier else None
        if probe is not None and echo.payload == probe.nonce and sender == probe.address:
            probe.answered(self._engine.clock())

    def close(self) -> None:
        """Closes the socket."""
        self._engine.unwatch(self._sock.fileno())
        self._sock.close()


def _index_of(interface: str) -> int:
    """The number of an interface. Errors: OSError, with a number, which Python gives none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError as problem:
        raise OSError(errno.ENODEV, f"there is no interface {interface}") from problem
