"""The sockets of BFD sessions on a single hop (RFC 5881): UDP to port 3784, TTL or hop limit 255 both ways.

Rules that hold here:
* One socket receives for all sessions of an interface and address of ours, since the kernel would give a packet to one
  of several at its own choice. Packets are told apart by our discriminator, and before the far end knows that, by its
  address (RFC 5880 section 6.3). Whoever reads puts what is another session's into that one's inbox.
* Neither port is shared with anybody: no SO_REUSEADDR, by which any user of the machine could steal the packets. Who
  succeeds another process therefore opens its sockets after that one has closed its own.
* A packet that has passed a router is dropped whatever it says (GTSM, RFC 5881 section 5).
* The source port is one of 49152 to 65535, the same for the life of a session; a successor is told which it was.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from pathlib import Path

from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel import links
from ha_lvs.model import BfdSession, IPAddress
from ha_lvs.socket_options import (
    DSCP_CS6,
    IP_FREEBIND,
    IP_RECVTTL,
    IPV6_FREEBIND,
    SO_BINDTOIFINDEX,
    SO_PRIORITY_CONTROL,
)
from ha_lvs.wire import bfd

RECEIVE_BUFFER_BYTES = 1 << 18
PACKET_BYTES = 512
PORT_ATTEMPTS = 64

_HOPS = struct.Struct("=i")
_HOPS_SPACE = socket.CMSG_SPACE(_HOPS.size)
_ports: dict[tuple[int, str, IPAddress], _Port] = {}
"""What is open in this process, by network namespace, interface and address."""


class BfdSocket:
    """Sends and receives the packets of one session.

    Arguments:
        session: whose.
        discriminator: ours.
        source_port: that of a predecessor, taken again if it is free; None for any.

    Attributes to read:
        source_port: where its packets come from.

    Errors: PlatformError when the interface does not exist, the port is taken, or this is not allowed.
    """

    def __init__(self, session: BfdSession, discriminator: int, source_port: int | None = None) -> None:
        self.session = session
        self.discriminator = discriminator
        self.inbox: deque[bytes] = deque()
        self._index = links.index_of(session.interface)
        self._sender, self.source_port = self._open_sender(source_port)
        try:
            self._port = _port_of(session, self._index)
        except BaseException:
            self._sender.close()
            raise
        self._port.sessions.append(self)
        self._destination = _endpoint(session.peer, bfd.PORT, self._index)

    def fileno(self) -> int:
        """For select; sessions of one interface and address have the same."""
        return self._port.sock.fileno()

    def send(self, payload: bytes) -> None:
        """Sends a packet to the far end.

        Errors: OSError when the kernel does not take it.
        """
        self._sender.sendto(payload, self._destination)

    def receive(self) -> bytes | None:
        """The payload of the next packet of this session; None when there is none.

        Errors: WireError with a reason `ttl`, `discriminator` or `stranger` for one that is to be dropped; OSError, for
        example ENETDOWN once after the interface went down.
        """
        while not self.inbox:
            try:
                payload, ancillary, _, sender = self._port.sock.recvmsg(PACKET_BYTES, _HOPS_SPACE)
            except BlockingIOError:
                return None
            _check_hops(ancillary, sender)
            receiver = self._port.receiver_of(payload, sender[0])
            if receiver is self:
                return payload
            receiver.inbox.append(payload)
        return self.inbox.popleft()

    def close(self) -> None:
        """Closes the sockets; the receiving one with the last session that uses it. Can be called again."""
        self._sender.close()
        if self in self._port.sessions:
            self._port.sessions.remove(self)
            if not self._port.sessions:
                self._port.close()

    def _open_sender(self, wanted: int | None) -> tuple[socket.socket, int]:
        start = int.from_bytes(os.urandom(2), "big")
        tried = [wanted] if wanted is not None and wanted in bfd.SOURCE_PORTS else []
        tried += (bfd.SOURCE_PORTS[(start + step) % len(bfd.SOURCE_PORTS)] for step in range(PORT_ATTEMPTS))
        for port in tried:
            try:
                sender = _bound(self.session, port, self._index)
            except OSError as problem:
                if problem.errno != errno.EADDRINUSE:
                    raise _refused(self.session, problem) from problem
                continue
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # nothing is ever read from it
            if self.session.source.version == 4:
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, bfd.HOP_LIMIT)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS6)
            else:
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, bfd.HOP_LIMIT)
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_CS6)
            # After TOS, which sets it too.
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, SO_PRIORITY_CONTROL)
            return sender, port
        raise PlatformError(
            f"no UDP port from {bfd.SOURCE_PORTS.start} to {bfd.SOURCE_PORTS.stop - 1} is free for BFD with "
            f"{self.session.peer}; see who holds them with 'ss -ulnp'"
        )


class _Port:
    """UDP port 3784 of one address on one interface.

    Arguments:
        key: under which it stands in `_ports`.
        sock: bound and not blocking; the port owns it.
    """

    def __init__(self, key: tuple[int, str, IPAddress], sock: socket.socket) -> None:
        self.sock = sock
        self.sessions: list[BfdSocket] = []
        self._key = key

    def receiver_of(self, payload: bytes, sender: str) -> BfdSocket:
        """Whose a packet is.

        Errors: WireError with the reason `discriminator` or `stranger`.
        """
        wanted = bfd.your_discriminator_of(payload)
        if wanted:
            for session in self.sessions:
                if session.discriminator == wanted:
                    return session
            raise WireError("discriminator", f"{sender} speaks to a session that does not exist: {wanted:#010x}")
        address = sender.partition("%")[0]
        for session in self.sessions:
            if str(session.session.peer) == address:
                return session
        raise WireError("stranger", f"{sender} is the far end of no session")

    def close(self) -> None:
        """Closes the socket."""
        self.sock.close()
        if _ports.get(self._key) is self:
            del _ports[self._key]


def new_discriminator() -> int:
    """A discriminator that no session of this process has; random, so that a new life is told from an earlier one."""
    taken = {session.discriminator for port in _ports.values() for session in port.sessions}
    while (number := int.from_bytes(os.urandom(4), "big")) in {0, *taken}:
        pass
    return number


def _port_of(session: BfdSession, index: int) -> _Port:
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    key = (namespace, session.interface, session.source)
    port = _ports.get(key)
    if port is not None and _is_bound_to(port.sock, index):
        return port
    try:
        sock = _bound(session, bfd.PORT, index)
    except OSError as problem:
        raise _refused(session, problem) from problem
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    if session.source.version == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    _ports[key] = _Port(key, sock)
    return _ports[key]


def _is_bound_to(sock: socket.socket, index: int) -> bool:
    """Whether that is still the interface of the name: one that was deleted and made anew is another one."""
    return sock.getsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX) == index


def _bound(session: BfdSession, port: int, index: int) -> socket.socket:
    """A socket on our address and the interface. The address may be missing: nothing can be sent until it is there.

    Errors: OSError.
    """
    family = socket.AF_INET if session.source.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, index)
        if session.source.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.bind(_endpoint(session.source, port, index))
    except BaseException:
        sock.close()
        raise
    return sock


def _endpoint(address: IPAddress, port: int, index: int) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.version == 4:
        return str(address), port
    return str(address), port, 0, index if address.is_link_local else 0


def _refused(session: BfdSession, problem: OSError) -> PlatformError:
    if problem.errno == errno.EADDRINUSE:
        return PlatformError(
            f"UDP port {bfd.PORT} of {session.source} is taken, perhaps by another BFD daemon: stop that, "
            "or take the BFD session out of the config file; 'ss -ulnp' shows who it is"
        )
    if problem.errno in (errno.EPERM, errno.EACCES):
        return PlatformError("BFD needs sockets bound to an interface: run ha-lvs as root, or give it CAP_NET_RAW")
    return PlatformError(f"no BFD socket for {session.source} on {session.interface}: {problem.strerror}")


def _check_hops(ancillary: list[tuple[int, int, bytes]], sender: tuple[str, int]) -> None:
    """Errors: WireError when the packet has, or may have, passed a router."""
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            (hops,) = _HOPS.unpack(data[: _HOPS.size])
            if hops == bfd.HOP_LIMIT:
                return
            raise WireError("ttl", f"TTL {hops} from {sender[0]}, must be {bfd.HOP_LIMIT}")
    raise WireError("ttl", f"a packet of unknown TTL from {sender[0]}")
