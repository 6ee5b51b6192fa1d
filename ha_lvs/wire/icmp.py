"""ICMP and ICMPv6 echo.

Rules that hold here:
* Whatever comes from the network is checked as far as it is used; every problem is a WireError.
* The checksum of ICMPv6 covers addresses that the sender of a raw socket does not know: the kernel fills it in and
  verifies it (RFC 3542 section 3.1). That of ICMP is ours.

Source: RFC 792, RFC 4443 section 4, linux/icmp.h, linux/icmpv6.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ha_lvs.errors import WireError
from ha_lvs.wire.vrrp import checksum

MOST_BYTES = 2048
"""Of a packet that is read."""

_HEADER = struct.Struct("!BBHHH")
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_SOL_RAW, _ICMP_FILTER = 255, 1
_IPPROTO_ICMPV6, _ICMP6_FILTER = 58, 1
_LEAST_IPV4, _PROTOCOL_AT, _ICMP = 20, 9, 1


@dataclass(frozen=True, slots=True)
class Echo:
    """What a request and its reply have in common.

    Arguments:
        identifier: of the sender, from 0 to 65535.
        sequence: of the request, from 0 to 65535.
        payload: whatever the sender likes.
    """

    identifier: int
    sequence: int
    payload: bytes = b""


def request(version: int, echo: Echo) -> bytes:
    """An echo request, as a raw socket sends it.

    Arguments:
        version: of IP, 4 or 6.
        echo: what it says.
    """
    bare = _HEADER.pack(_REQUEST[version], 0, 0, echo.identifier, echo.sequence) + echo.payload
    if version == 6:
        return bare
    return bare[:2] + checksum(bare).to_bytes(2, "big") + bare[4:]


def strip_ipv4(packet: bytes) -> bytes:
    """The ICMP message in an IPv4 packet, as a raw socket hears it.

    Errors: WireError when it holds none.
    """
    length = (packet[0] & 0xF) * 4 if packet else 0
    if len(packet) < _LEAST_IPV4 or packet[0] >> 4 != 4 or not _LEAST_IPV4 <= length <= len(packet):
        raise WireError("truncated", f"{len(packet)} bytes are no IPv4 packet")
    if packet[_PROTOCOL_AT] != _ICMP:
        raise WireError("kind", f"protocol {packet[_PROTOCOL_AT]}, no ICMP")
    return packet[length:]


def decode_reply(message: bytes, version: int) -> Echo:
    """An echo reply.

    Arguments:
        message: of ICMP, or of ICMPv6 whose checksum the kernel has verified.
        version: of IP, 4 or 6.

    Errors: WireError when it is none.
    """
    if len(message) < _HEADER.size:
        raise WireError("truncated", f"{len(message)} bytes of an ICMP message")
    kind, code, _, identifier, sequence = _HEADER.unpack_from(message)
    if kind != _REPLY[version] or code:
        raise WireError("kind", f"type {kind} code {code}, no echo reply")
    if version == 4 and checksum(message):
        raise WireError("checksum", "of an echo reply")
    return Echo(identifier, sequence, message[_HEADER.size :])


def replies_only(version: int) -> tuple[int, int, bytes]:
    """The level, name and value of the socket option by which a raw socket hears echo replies and nothing else."""
    reply = _REPLY[version]
    if version == 4:
        return _SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << reply) & 0xFFFFFFFF)
    blocked = [0xFFFFFFFF] * 8  # a bit for each type
    blocked[reply >> 5] &= ~(1 << (reply & 31)) & 0xFFFFFFFF
    return _IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked)
