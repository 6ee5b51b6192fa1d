"""Gratuitous ARP on the wire: the neighbours learn where the virtual IPs of an instance are now."""

from __future__ import annotations

import socket

from ha_lvs.kernel import links
from ha_lvs.model import VrrpInstance
from ha_lvs.wire import arp


class Announcer:
    """Announces the virtual IPs of an instance, each on its interface. Frames are prepared at the start.

    Interfaces that are no Ethernet have no ARP and are passed over.

    Arguments:
        instance: whose addresses.
    """

    def __init__(self, instance: VrrpInstance) -> None:
        self._frames: list[tuple[socket.socket, list[bytes]]] = []
        for interface in dict.fromkeys(ip.interface for ip in instance.virtual_ips):
            mac = links.hardware_address(interface)
            if mac is None:
                continue
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            sock = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: it sends and never receives
            sock.bind((interface, 0))
            own = [ip for ip in instance.virtual_ips if ip.interface == interface]
            self._frames.append((sock, [arp.announcement(ip.address, mac) for ip in own]))

    def announce(self) -> OSError | None:
        """Sends one announcement of each address. A failure comes back after all have been tried."""
        failure: OSError | None = None
        for sock, frames in self._frames:
            for frame in frames:
                try:
                    sock.send(frame)
                except OSError as problem:
                    failure = problem
        return failure

    def close(self) -> None:
        """Closes the sockets."""
        for sock, _ in self._frames:
            sock.close()
