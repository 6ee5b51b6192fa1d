"""The socket of one path on which a VRRP instance speaks and listens: protocol 112, IPv4 or IPv6, multicast or unicast.

Rules that hold here:
* What goes out has TTL or hop limit 255 always, also to unicast peers that are routers away; what a receiver accepts is
  the decoder's business.
* Advertisements are bytes made before they are needed, with the ancillary data that picks source address and interface.
  Signed ones are made as far as they go; only the counter and what depends on it is added when they are sent.
* The kernel passes on the path's own virtual router id and drops the rest, so that other routers on the LAN, of which
  there can be hundreds, do not wake us (SO_ATTACH_FILTER, linux/filter.h). The filter is in force before anything is
  read. A socket that does not listen is given nothing at all.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel import links
from ha_lvs.model import IPAddress, VrrpPath
from ha_lvs.socket_options import (
    DSCP_CS6,
    INSTRUCTION,
    IP_MULTICAST_ALL,
    IP_PKTINFO,
    IPV6_FREEBIND,
    IPV6_MULTICAST_ALL,
    SO_PRIORITY_CONTROL,
    attach_filter,
)
from ha_lvs.wire import vrrp
from ha_lvs.wire.auth import Signer

RECEIVE_BUFFER_BYTES = 1 << 18
PACKET_BYTES = 2048
ANCILLARY_BYTES = 256

_IP_MREQN = struct.Struct("=4s4si")
_IN_PKTINFO = struct.Struct("=i4s4s")
_IPV6_MREQ = struct.Struct("=16sI")
_IN6_PKTINFO = struct.Struct("=16sI")
_INT = struct.Struct("=i")

# Instructions of the filter. An IPv4 socket's sees the IP header, IPv6's does not.
_LOAD_X_IPV4_HEADER_LENGTH = INSTRUCTION.pack(0xB1, 0, 0, 0)
_LOAD_BYTE_BEHIND_X = INSTRUCTION.pack(0x50, 0, 0, 1)
_LOAD_BYTE = INSTRUCTION.pack(0x30, 0, 0, 1)
_ACCEPT = INSTRUCTION.pack(0x06, 0, 0, 0xFFFFFFFF)
_REJECT = INSTRUCTION.pack(0x06, 0, 0, 0)

Ancillary = list[tuple[int, int, bytes]]


class AdvertSocket:
    """Sends and receives the advertisements of one path.

    Arguments:
        path: interface, addresses, router id and so on.
        interval_s: the advertisement interval that is told, in seconds.
        signer: signs what is sent, or None.
        counter: gives the counter of the next signature; needed with a signer.
        listen: False for a socket that only ever sends.

    Errors: PlatformError when the interface does not exist, has no link-local address though the path needs it, or
        raw sockets are not allowed.
    """

    def __init__(
        self,
        path: VrrpPath,
        interval_s: float,
        signer: Signer | None = None,
        counter: Callable[[], int] | None = None,
        *,
        listen: bool = True,
    ) -> None:
        if signer is not None and counter is None:
            raise ValueError("signatures need a counter")
        self.path = path
        self._interval_cs = round(interval_s * 100)
        self._signer, self._counter = signer, counter
        self._index = links.index_of(path.interface)
        self.source: IPAddress = _source(path)
        self._discovered: tuple[IPAddress, ...] = ()
        self._prepared: dict[int, list[_Packet]] = {}
        self._ipv6 = path.group.version == 6
        self._ancillary = _ancillary(self.source, self._index)
        self.sock = _open(path)
        try:
            attach_filter(self.sock, _router_filter(path) if listen else _REJECT)
            _configure(self.sock, path, self.source, self._index, listen)
            self._drain()
        except OSError as problem:
            self.sock.close()
            raise PlatformError(
                f"VRRP over IPv{path.group.version} on {path.interface} is not possible ({problem.strerror})"
            ) from problem
        except BaseException:
            self.sock.close()
            raise

    def _drain(self) -> None:
        """Forgets what came before the filter was in force."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.recv(PACKET_BYTES)

    def is_stale(self) -> bool:
        """Whether the interface is another one by now under its name: nothing is heard on this socket any more."""
        try:
            return links.index_of(self.path.interface) != self._index
        except PlatformError:  # it is gone; when it comes again it is another one
            return False

    def fileno(self) -> int:
        """For select."""
        return self.sock.fileno()

    # ----------------------------------------------------------------------------------------------- sending

    def set_peers(self, peers: Sequence[IPAddress]) -> None:
        """Discovered unicast peers, in the place of the earlier discovered ones; configured ones stay.

        While none at all is known, the multicast group is told.
        """
        self._discovered = tuple(peers)
        for priority in tuple(self._prepared):
            del self._prepared[priority]
            self.prepare(priority)

    def prepare(self, priority: int) -> None:
        """Makes the bytes of an advertisement with this priority, to be sent any number of times.

        Errors: ValueError for what VRRP cannot express.
        """
        if priority not in self._prepared:
            self._prepared[priority] = [self._packet(priority, to) for to in self._destinations()]

    def _destinations(self) -> tuple[IPAddress, ...]:
        return tuple(dict.fromkeys((*self.path.peers, *self._discovered))) or (self.path.group,)

    def _packet(self, priority: int, to: IPAddress) -> _Packet:
        path = self.path
        advertisement = vrrp.Advertisement(
            router_id=path.router_id,
            priority=priority,
            interval_cs=self._interval_cs,
            addresses=path.addresses,
            version=path.version,
        )
        address: tuple[str, int] | tuple[str, int, int, int] = (str(to), 0)
        if isinstance(to, IPv6Address):
            address = (str(to), 0, 0, self._index if to.is_multicast or to.is_link_local else 0)
        if self._signer is not None:
            return _Packet(address, b"", vrrp.Prepared(advertisement, self.source, to))
        return _Packet(address, vrrp.encode(advertisement, self.source, to), None)

    def send(self, priority: int) -> None:
        """Sends an advertisement to the group or to each peer.

        Arguments:
            priority: 0 resigns.

        Errors: OSError when the kernel takes it for none of the destinations.
        """
        self.prepare(priority)
        packets = self._prepared[priority]
        failed: OSError | None = None
        failures = 0
        for packet in packets:
            try:
                self.sock.sendmsg([self._bytes(packet)], self._ancillary, 0, packet.address)
            except OSError as problem:  # the other peers are told all the same
                failed = problem
                failures += 1
        if failed is not None and failures == len(packets):
            raise failed

    def _bytes(self, packet: _Packet) -> bytes:
        if packet.unsigned is None or self._signer is None or self._counter is None:
            return packet.whole
        return packet.unsigned.bytes(self._signer, self._counter())

    # --------------------------------------------------------------------------------------------- receiving

    def receive(self) -> vrrp.Datagram | None:
        """The next message that has arrived; None when there is none.

        Errors: OSError, for example ENETDOWN once after the interface went down.
        """
        while True:
            try:
                datagram = self._receive_ipv6() if self._ipv6 else vrrp.strip_ipv4(self.sock.recv(PACKET_BYTES))
            except BlockingIOError:
                return None
            except WireError:  # longer than any advertisement, so cut off here
                continue
            if datagram is not None:
                return datagram

    def _receive_ipv6(self) -> vrrp.Datagram | None:
        payload, ancillary, _, sender = self.sock.recvmsg(PACKET_BYTES, ANCILLARY_BYTES)
        destination: IPv6Address | None = None
        hop_limit: int | None = None
        for level, kind, data in ancillary:
            if level != socket.IPPROTO_IPV6:
                continue
            if kind == socket.IPV6_PKTINFO and len(data) == _IN6_PKTINFO.size:
                destination = IPv6Address(_IN6_PKTINFO.unpack(data)[0])
            elif kind == socket.IPV6_HOPLIMIT and len(data) == _INT.size:
                (hop_limit,) = _INT.unpack(data)
        if destination is None or hop_limit is None:
            return None
        source = ip_address(str(sender[0]).partition("%")[0])
        return vrrp.Datagram(payload, source, destination, hop_limit)

    def close(self) -> None:
        """Closes the socket; nothing is sent."""
        self.sock.close()


@dataclass(frozen=True, slots=True)
class _Packet:
    """An advertisement to one destination.

    Arguments:
        address: the destination as the socket wants it.
        whole: all of it, where it is not signed.
        unsigned: what is to be signed each time it is sent, or None.
    """

    address: tuple[str, int] | tuple[str, int, int, int]
    whole: bytes
    unsigned: vrrp.Prepared | None


def _source(path: VrrpPath) -> IPAddress:
    """The address that advertisements come from."""
    if not path.source.is_unspecified:
        return path.source
    if path.source.version == 4:
        own = links.own_address(path.interface)
        if own is None:
            raise PlatformError(
                f"interface {path.interface} has no IPv4 address that VRRP could speak from (yet): give it one, or "
                "write the node's address in the config file"
            )
        return own
    found = links.link_local(path.interface)
    if found is None:
        raise PlatformError(
            f"interface {path.interface} has no IPv6 link-local address that VRRP could speak from (yet): bring the "
            f"interface up, set net.ipv6.conf.{path.interface}.disable_ipv6 to 0, or write the node's IPv6 address "
            "in the config file"
        )
    return found


def _open(path: VrrpPath) -> socket.socket:
    family = socket.AF_INET if path.group.version == 4 else socket.AF_INET6
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        return socket.socket(family, kind, vrrp.PROTOCOL_NUMBER)
    except PermissionError as problem:
        raise PlatformError(
            "VRRP needs raw sockets: run ha-lvs as root, or give it CAP_NET_RAW and CAP_NET_ADMIN"
        ) from problem
    except OSError as problem:
        hint = "; is IPv6 switched off in this kernel (ipv6.disable=1)?" if problem.errno == errno.EAFNOSUPPORT else ""
        raise PlatformError(f"no VRRP over IPv{path.group.version} here: {problem.strerror}{hint}") from problem


def _configure(sock: socket.socket, path: VrrpPath, source: IPAddress, index: int, listen: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, path.interface.encode() + b"\0")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES if listen else 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, SO_PRIORITY_CONTROL)
    joins = listen and not path.peers
    if path.group.version == 4:
        member = _IP_MREQN.pack(path.group.packed, source.packed, index)
        options: list[tuple[int, int | bytes]] = [
            (socket.IP_TOS, DSCP_CS6),
            (socket.IP_TTL, vrrp.HOP_LIMIT),
            (socket.IP_MULTICAST_TTL, vrrp.HOP_LIMIT),
            (socket.IP_MULTICAST_LOOP, 0),
            (socket.IP_MULTICAST_IF, member),
            (IP_MULTICAST_ALL, 0),
            *([(socket.IP_ADD_MEMBERSHIP, member)] if joins else []),
        ]
        level = socket.IPPROTO_IP
    else:
        member = _IPV6_MREQ.pack(path.group.packed, index)
        options = [
            (socket.IPV6_TCLASS, DSCP_CS6),
            (socket.IPV6_UNICAST_HOPS, vrrp.HOP_LIMIT),
            (socket.IPV6_MULTICAST_HOPS, vrrp.HOP_LIMIT),
            (socket.IPV6_MULTICAST_LOOP, 0),
            (socket.IPV6_MULTICAST_IF, index),
            (IPV6_MULTICAST_ALL, 0),
            (socket.IPV6_RECVPKTINFO, 1),
            (socket.IPV6_RECVHOPLIMIT, 1),
            *([(socket.IPV6_JOIN_GROUP, member)] if joins else []),
        ]
        level = socket.IPPROTO_IPV6
    for option, value in options:
        sock.setsockopt(level, option, value)
    if path.group.version == 6 and listen:
        # Only a socket that is bound to an address is spared the groups that others on this machine have joined
        # (net/ipv6/raw.c). The address may still be on its way; nothing is sent from it before it is there.
        sock.setsockopt(level, IPV6_FREEBIND, 1)
        sock.bind((str(source), 0, 0, index if source.is_link_local else 0))
        sock.setsockopt(level, IPV6_FREEBIND, 0)


def _ancillary(source: IPAddress, index: int) -> Ancillary:
    if source.version == 4:
        return [(socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(index, source.packed, b"\0" * 4))]
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(source.packed, index))]


def _router_filter(path: VrrpPath) -> bytes:
    """Accepts what has the path's virtual router id in its second byte."""
    load = _LOAD_X_IPV4_HEADER_LENGTH + _LOAD_BYTE_BEHIND_X if path.group.version == 4 else _LOAD_BYTE
    jump_if_equal = INSTRUCTION.pack(0x15, 0, 1, path.router_id)
    return load + jump_if_equal + _ACCEPT + _REJECT
