"""Gratuitous ARP on the wire: the neighbours learn where the virtual IPs of an instance are now."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from ha_lvs.kernel import links
from ha_lvs.model import VrrpInstance
from ha_lvs.wire import arp


class Announcer:
    """Announces the virtual IPs of an instance, each on its interface. Frames are made when the MAC address is new.

    Interfaces that are no Ethernet have no ARP and are passed over.

    Arguments:
        instance: whose addresses.
    """

    def __init__(self, instance: VrrpInstance) -> None:
        self._virtual_ips = instance.virtual_ips
        self._senders: dict[str, _Sender] = {}

    def announce(self) -> OSError | None:
        """Sends one announcement of each address. A failure comes back after all have been tried."""
        failure: OSError | None = None
        for interface in dict.fromkeys(ip.interface for ip in self._virtual_ips):
            try:
                self._announce_on(interface)
            except OSError as problem:
                failure = problem
                stale = self._senders.pop(
                    interface, None
                )  # the interface may have been made anew: next time, a new socket
                if stale is not None:
                    stale.sock.close()
        return failure

    def _announce_on(self, interface: str) -> None:
        mac = links.hardware_address(interface)  # asked each time: bonds and bridges change theirs
        if mac is None:
            return
        sender = self._senders.get(interface)
        if sender is None:
            sender = self._senders[interface] = _Sender(_open(interface), b"", [])
        if sender.mac != mac:
            own = [ip.address for ip in self._virtual_ips if ip.interface == interface]
            sender.mac, sender.frames = mac, [arp.announcement(address, mac) for address in own]
        for frame in sender.frames:
            sender.sock.send(frame)

    def close(self) -> None:
        """Closes the sockets."""
        for sender in self._senders.values():
            sender.sock.close()
        self._senders.clear()


@dataclass(slots=True)
class _Sender:
    sock: socket.socket
    mac: bytes
    frames: list[bytes]


def _open(interface: str) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: it sends and never receives
    sock.bind((interface, 0))
    return sock
