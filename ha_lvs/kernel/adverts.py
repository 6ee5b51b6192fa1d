"""The socket on which one VRRP instance speaks and listens: protocol 112, TTL 255, multicast or unicast.

Both advertisements that can ever be sent, the usual one and the resignation, are bytes made at the start, together with
the ancillary data that picks source address and interface.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

from ha_lvs.errors import PlatformError
from ha_lvs.kernel import links
from ha_lvs.model import VrrpInstance
from ha_lvs.wire import vrrp

IP_PKTINFO = 8  # linux/in.h; the socket module has no name for it
DSCP_CS6 = 0xC0
SO_PRIORITY_CONTROL = 7
RECEIVE_BUFFER_BYTES = 1 << 18
PACKET_BYTES = 2048

_IP_MREQN = struct.Struct("=4s4si")
_IN_PKTINFO = struct.Struct("=i4s4s")


class AdvertSocket:
    """Sends and receives the advertisements of one instance.

    Arguments:
        instance: whose.
        listen: False for a socket that only ever sends; what arrives is then not kept.

    Errors: PlatformError when the interface does not exist or raw sockets are not allowed.
    """

    def __init__(self, instance: VrrpInstance, *, listen: bool = True) -> None:
        index = links.index_of(instance.interface)
        try:
            self.sock = socket.socket(
                socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, vrrp.PROTOCOL_NUMBER
            )
        except PermissionError as problem:
            raise PlatformError(
                "VRRP needs raw sockets: run ha-lvs as root, or give it CAP_NET_RAW and CAP_NET_ADMIN"
            ) from problem
        self._configure(instance, index, listen)
        destinations = instance.peers or (instance.group,)
        ancillary = [
            (socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(index, instance.source.packed, b"\0" * 4)),
        ]
        self._usual = [(packet, ancillary, to) for packet, to in _packets(instance, instance.priority, destinations)]
        self._resign = [(packet, ancillary, to) for packet, to in _packets(instance, 0, destinations)]

    def _configure(self, instance: VrrpInstance, index: int, listen: bool) -> None:
        sock = self.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, instance.interface.encode() + b"\0")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES if listen else 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, SO_PRIORITY_CONTROL)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS6)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, vrrp.HOP_LIMIT)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, vrrp.HOP_LIMIT)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        if not instance.peers:
            member = _IP_MREQN.pack(instance.group.packed, instance.source.packed, index)
            if listen:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, member)

    def fileno(self) -> int:
        """For select."""
        return self.sock.fileno()

    def send(self, resign: bool) -> None:
        """Sends an advertisement to the group or to each peer, with priority 0 when `resign`.

        Errors: OSError when the kernel takes it for none of the destinations.
        """
        failed: OSError | None = None
        packets = self._resign if resign else self._usual
        failures = 0
        for packet, ancillary, destination in packets:
            try:
                self.sock.sendmsg([packet], ancillary, 0, destination)
            except OSError as problem:  # the other peers are told all the same
                failed = problem
                failures += 1
        if failed is not None and failures == len(packets):
            raise failed

    def receive(self) -> bytes | None:
        """The next packet that has arrived, IP header included; None when there is none.

        Errors: OSError, for example ENETDOWN once after the interface went down.
        """
        try:
            return self.sock.recv(PACKET_BYTES)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Closes the socket; nothing is sent."""
        self.sock.close()


def _packets(
    instance: VrrpInstance, priority: int, destinations: tuple[IPv4Address, ...]
) -> list[tuple[bytes, tuple[str, int]]]:
    advertisement = vrrp.Advertisement(
        router_id=instance.router_id,
        priority=priority,
        interval_cs=round(instance.interval_s * 100),
        addresses=tuple(ip.address for ip in instance.virtual_ips),
    )
    return [(vrrp.encode(advertisement, instance.source, to), (str(to), 0)) for to in destinations]
