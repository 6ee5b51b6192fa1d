"""ARP over Ethernet: announcing an address, asking who has one, reading what others say (RFC 826, RFC 5227).

Rules that hold here:
* A MAC address is 6 bytes. A frame is whole, Ethernet header included, as an AF_PACKET raw socket takes and gives it.
* An ARP Announcement (RFC 5227 section 3) is a request whose sender and target address are both the announced one. It
  is broadcast, so that every neighbour with an entry updates it and every switch learns the port.
* An ARP Probe (section 2.1.1) has the sender address 0.0.0.0, so that asking changes nobody's entries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from ha_lvs.errors import WireError

ETHERTYPE_ARP = 0x0806
BROADCAST = b"\xff" * 6
REQUEST = 1
REPLY = 2

_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_HARDWARE_ETHERNET = 1
_PROTOCOL_IPV4 = 0x0800
_KIND = (ETHERTYPE_ARP, _HARDWARE_ETHERNET, _PROTOCOL_IPV4, 6, 4)
_NOBODY = IPv4Address(0)
_MAC_BYTES = 6


@dataclass(frozen=True, slots=True)
class ArpPacket:
    """What somebody said.

    Arguments:
        operation: `REQUEST` or `REPLY`.
        sender_mac: the sender's hardware address as ARP has it.
        sender: its address; 0.0.0.0 in a probe.
        target: the address asked for, or the address of whoever is answered.
    """

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target: IPv4Address


def announcement(address: IPv4Address, mac: bytes) -> bytes:
    """The frame that announces that `address` is at `mac`."""
    return _broadcast(address, mac, address)


def probe(address: IPv4Address, mac: bytes) -> bytes:
    """The frame that asks whether anybody has `address` already, for whoever is at `mac` and may take it."""
    return _broadcast(_NOBODY, mac, address)


def request(target: IPv4Address, mac: bytes, source: IPv4Address) -> bytes:
    """The frame that asks who has `target`, and tells that `source` is at `mac`."""
    return _broadcast(source, mac, target)


def _broadcast(sender: IPv4Address, mac: bytes, target: IPv4Address) -> bytes:
    if len(mac) != _MAC_BYTES:
        raise ValueError(f"{mac.hex(':')} is no Ethernet address")
    return _FRAME.pack(BROADCAST, mac, *_KIND, REQUEST, mac, sender.packed, b"\0" * _MAC_BYTES, target.packed)


def decode(frame: bytes) -> ArpPacket:
    """What an Ethernet frame says; padding behind it means nothing.

    Errors: WireError with one of the reasons `truncated`, `kind` (no ARP for IPv4 over Ethernet), `operation`.
    """
    if len(frame) < _FRAME.size:
        raise WireError("truncated", f"{len(frame)} bytes are no ARP frame")
    fields = _FRAME.unpack_from(frame)
    kind, operation, sender_mac, sender, target = fields[2:7], fields[7], fields[8], fields[9], fields[11]
    if kind != _KIND:
        raise WireError("kind", "no ARP for IPv4 over Ethernet")
    if operation not in (REQUEST, REPLY):
        raise WireError("operation", f"ARP operation {operation}")
    return ArpPacket(operation, sender_mac, IPv4Address(sender), IPv4Address(target))
