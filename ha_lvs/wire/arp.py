"""Gratuitous ARP: telling the neighbours that an address has a new home (RFC 826, RFC 5227 section 3).

An ARP Announcement is a request whose sender and target address are both the announced one. It is broadcast, so that
every neighbour with an entry updates it and every switch learns the port. `mac` is 6 bytes.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

ETHERTYPE_ARP = 0x0806
BROADCAST = b"\xff" * 6

_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_HARDWARE_ETHERNET = 1
_PROTOCOL_IPV4 = 0x0800
_REQUEST = 1


def announcement(address: IPv4Address, mac: bytes) -> bytes:
    """The Ethernet frame that announces that `address` is at `mac`."""
    return _FRAME.pack(
        BROADCAST, mac, ETHERTYPE_ARP,
        _HARDWARE_ETHERNET, _PROTOCOL_IPV4, 6, 4, _REQUEST,
        mac, address.packed, b"\0" * 6, address.packed,
    )  # fmt: skip
