"""VRRP version 3 advertisements for IPv4 (RFC 9568 section 5).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Version| Type  | Virtual Rtr ID|   Priority    |IPvX Addr Count|
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Reserve| Max Advertise Interval|          Checksum             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                 IPv4 addresses, 4 bytes each                  |

The checksum covers a pseudo-header of source, destination, protocol and length. What a receiver has to verify
(section 7.1) stands in `decode`, one reason for each way to fail, so that drops can be counted by cause.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from ha_lvs.errors import WireError

PROTOCOL_NUMBER = 112
HOP_LIMIT = 255
VERSION = 3
TYPE_ADVERTISEMENT = 1
MULTICAST_GROUP = IPv4Address("224.0.0.18")
MAX_ADDRESSES = 255

_HEADER = struct.Struct("!BBBBHH")
_PSEUDO_HEADER = struct.Struct("!4s4sBBH")
_IPV4_MIN_HEADER = 20


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One advertisement.

    Arguments:
        router_id: 1 to 255.
        priority: 0 when the active resigns, else 1 to 255.
        interval_cs: the sender's advertisement interval in centiseconds, 1 to 4095.
        addresses: the virtual IPs, in the sender's order.
    """

    router_id: int
    priority: int
    interval_cs: int
    addresses: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """An advertisement with where it came from."""

    advertisement: Advertisement
    source: IPv4Address
    destination: IPv4Address


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`, as it goes into a zeroed checksum field."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    return _PSEUDO_HEADER.pack(source, destination, 0, PROTOCOL_NUMBER, length)


def encode(advertisement: Advertisement, source: IPv4Address, destination: IPv4Address) -> bytes:
    """The VRRP packet, without IP header, ready for a raw socket.

    Arguments:
        source, destination: of the IP packet; the checksum covers them.
    """
    body = b"".join(address.packed for address in advertisement.addresses)
    fields = (
        VERSION << 4 | TYPE_ADVERTISEMENT,
        advertisement.router_id,
        advertisement.priority,
        len(advertisement.addresses),
        advertisement.interval_cs & 0x0FFF,
    )
    packet = _HEADER.pack(*fields, 0) + body
    pseudo = _pseudo_header(source.packed, destination.packed, len(packet))
    return _HEADER.pack(*fields, checksum(pseudo + packet)) + body


def router_id_of(packet: bytes) -> int:
    """The virtual router id in a packet as a raw socket delivers it, in any version of VRRP; 0 when it has none."""
    at = (packet[0] & 0x0F) * 4 + 1 if packet else 0
    return packet[at] if len(packet) > at else 0


def decode(packet: bytes) -> Received:
    """The advertisement in an IPv4 packet as a raw socket delivers it, IP header included.

    Errors: WireError with one of the reasons `truncated`, `ttl`, `version`, `type`, `checksum`, `length`,
    `router_id`, `interval`. The addresses are not compared with anybody's config here (section 7.1 leaves that to
    the receiver).
    """
    if len(packet) < _IPV4_MIN_HEADER:
        raise WireError("truncated", f"{len(packet)} bytes are no IPv4 packet")
    header_length = (packet[0] & 0x0F) * 4
    payload = packet[header_length:]
    source, destination = packet[12:16], packet[16:20]
    if header_length < _IPV4_MIN_HEADER or len(payload) < _HEADER.size:
        raise WireError("truncated", f"{len(payload)} bytes of VRRP")
    if packet[8] != HOP_LIMIT:
        raise WireError("ttl", f"TTL {packet[8]} from {IPv4Address(source)}, must be 255")
    version_type, router_id, priority, count, interval, _ = _HEADER.unpack_from(payload)
    if version_type >> 4 != VERSION:
        raise WireError("version", f"version {version_type >> 4} from {IPv4Address(source)}")
    if version_type & 0x0F != TYPE_ADVERTISEMENT:
        raise WireError("type", f"type {version_type & 0x0F} from {IPv4Address(source)}")
    if len(payload) != _HEADER.size + 4 * count or count == 0:
        raise WireError("length", f"{len(payload)} bytes for {count} addresses from {IPv4Address(source)}")
    if checksum(_pseudo_header(source, destination, len(payload)) + payload):
        raise WireError("checksum", f"wrong checksum from {IPv4Address(source)}")
    if router_id == 0:
        raise WireError("router_id", f"virtual router id 0 from {IPv4Address(source)}")
    interval_cs = interval & 0x0FFF
    if interval_cs == 0:
        raise WireError("interval", f"advertisement interval 0 from {IPv4Address(source)}")
    addresses = tuple(IPv4Address(payload[offset : offset + 4]) for offset in range(_HEADER.size, len(payload), 4))
    advertisement = Advertisement(router_id, priority, interval_cs, addresses)
    return Received(advertisement, IPv4Address(source), IPv4Address(destination))
