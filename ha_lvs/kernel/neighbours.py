"""Announcements on the wire: the neighbours learn where the virtual IPs of an instance are now.

IPv4 by gratuitous ARP, IPv6 by unsolicited neighbour advertisement, each on the interface that carries the address and
with its MAC address. The frames are ready beforehand; sending 500 takes what the kernel takes for 500 `send` calls
(sendmmsg was tried and is no faster). Interfaces that are no Ethernet have no such neighbours and are passed over.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from ha_lvs.kernel import links
from ha_lvs.model import IPAddress, VrrpInstance
from ha_lvs.wire import arp, ndp

_SO_SNDBUFFORCE = 32
_SEND_BUFFER_BYTES = 4 << 20  # a slow interface may hold all frames of 1000 addresses before the first has left


class Announcer:
    """Announces the virtual IPs of an instance. Frames are made at the start, and when the MAC address is another.

    Arguments:
        instance: whose addresses.
    """

    def __init__(self, instance: VrrpInstance) -> None:
        self._addresses: dict[str, list[IPAddress]] = {}
        for ip in instance.virtual_ips:
            self._addresses.setdefault(ip.carrier, []).append(ip.address)
        self._senders: dict[str, _Sender] = {}
        for carrier in self._addresses:
            with contextlib.suppress(OSError):  # it is not there yet: it will be looked for when it matters
                self._ready(carrier)

    def announce(self) -> OSError | None:
        """Sends one announcement of each address. A failure comes back after all have been tried."""
        failure: OSError | None = None
        for carrier in self._addresses:
            problem = self._announce_on(carrier)
            if problem is not None:
                self._forget(carrier)
                if problem.errno in (errno.ENODEV, errno.ENXIO):  # it may have been made anew under its name
                    problem = self._announce_on(carrier)
            failure = problem or failure
        return failure

    def _announce_on(self, carrier: str) -> OSError | None:
        try:
            sender = self._ready(carrier)
        except OSError as problem:
            return problem
        return None if sender is None else _send(sender.sock, sender.frames)

    def _ready(self, carrier: str) -> _Sender | None:
        """What sends on an interface, as that is now; None when nothing is to be sent there."""
        mac = links.hardware_address(carrier)  # asked each time: bonds and bridges change theirs
        if mac is None:
            return None
        addresses = self._addresses[carrier]
        router = any(address.version == 6 for address in addresses) and _forwards(carrier)
        sender = self._senders.get(carrier)
        if sender is None:
            sender = self._senders[carrier] = _Sender(_open(carrier), mac, router, _frames(addresses, mac, router))
        elif (sender.mac, sender.router) != (mac, router):
            sender.mac, sender.router, sender.frames = mac, router, _frames(addresses, mac, router)
        return sender

    def _forget(self, carrier: str) -> None:
        stale = self._senders.pop(carrier, None)
        if stale is not None:
            stale.sock.close()

    def close(self) -> None:
        """Closes the sockets."""
        for carrier in tuple(self._senders):
            self._forget(carrier)


@dataclass(slots=True)
class _Sender:
    """What sends on one interface.

    Arguments:
        sock: bound to it.
        mac, router: what the frames say: its MAC address, and whether the node forwards IPv6 there.
        frames: what is sent.
    """

    sock: socket.socket
    mac: bytes
    router: bool
    frames: list[bytes]


def _frames(addresses: list[IPAddress], mac: bytes, router: bool) -> list[bytes]:
    return [
        arp.announcement(address, mac) if isinstance(address, IPv4Address) else ndp.announcement(address, mac, router)
        for address in addresses
    ]


def _send(sock: socket.socket, frames: list[bytes]) -> OSError | None:
    """Sends all frames without waiting. One that finds the interface's queue full is lost; the next may find room."""
    failure: OSError | None = None
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that it was down once is no news any more
    send = sock.send
    for frame in frames:
        try:
            send(frame)
        except OSError as problem:
            failure = problem
            if problem.errno != errno.ENOBUFS:
                break
    return failure


def _forwards(interface: str) -> bool:
    """Whether this node is an IPv6 router on an interface: the kernel says so in its own neighbour advertisements."""
    try:
        return Path("/proc/sys/net/ipv6/conf", interface, "forwarding").read_text().strip() != "0"
    except OSError:
        return False


def _open(interface: str) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: it sends and never receives
    try:
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
        sock.bind((interface, 0))
    except BaseException:
        sock.close()
        raise
    return sock
