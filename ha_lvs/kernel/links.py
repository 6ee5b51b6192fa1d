"""Interfaces by name: their index and their hardware address. By ioctl, since /sys may show another namespace's."""

from __future__ import annotations

import fcntl
import socket
import struct

from ha_lvs.errors import PlatformError

SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1

_IFREQ_HWADDR = struct.Struct("16sH14s")


def index_of(interface: str) -> int:
    """The index of an interface.

    Errors: PlatformError when there is none of that name.
    """
    try:
        return socket.if_nametoindex(interface)
    except OSError as problem:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise PlatformError(
            f"interface {interface} does not exist on this machine (there are: {names}); "
            "correct the name in the config file or create the interface"
        ) from problem


def hardware_address(interface: str) -> bytes | None:
    """The 6 bytes of an interface's MAC address; None when it is no Ethernet and speaks no ARP."""
    request = _IFREQ_HWADDR.pack(interface.encode(), 0, b"")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _, family, address = _IFREQ_HWADDR.unpack(fcntl.ioctl(sock, SIOCGIFHWADDR, request))
    return bytes(address[:6]) if family == ARPHRD_ETHER else None
