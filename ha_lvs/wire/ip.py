"""IPv4 and IPv6 headers in front of what we send ourselves (RFC 791, RFC 8200).

Rules that hold here:
* Headers have no options and no extensions, and nothing of ours is ever fragmented (DF is set, so IPv4's identification
  means nothing and stays 0, RFC 6864). Then the header of packets of one length is always the same.
* Addresses are packed where packets are read: an object for each would cost more than all the rest.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress
from ha_lvs.wire.vrrp import checksum

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
TCP, UDP = 6, 17
HOP_LIMIT = 64

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PSEUDO = {4: struct.Struct("!4s4sxBH"), 6: struct.Struct("!16s16sI3xB")}
_DONT_FRAGMENT = 0x4000
_MORE_AND_OFFSET = 0x3FFF
_VERSION_6 = 6 << 28


class Packet(NamedTuple):
    """What an IP packet carries.

    Arguments:
        source, destination: packed, 4 or 16 bytes.
        protocol: of the payload; in IPv6 the next header, whatever that is.
        payload: without padding behind the packet.
    """

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes


def header(source: IPAddress, destination: IPAddress, protocol: int, length: int, hop_limit: int = HOP_LIMIT) -> bytes:
    """The header of a packet.

    Arguments:
        source, destination: of one family.
        protocol: of what follows.
        length: of what follows, in bytes.
        hop_limit: TTL or hop limit.
    """
    if source.version == 6:
        return _IPV6.pack(_VERSION_6, length, protocol, hop_limit, source.packed, destination.packed)
    fields = (0x45, 0, _IPV4.size + length, 0, _DONT_FRAGMENT, hop_limit, protocol)
    value = checksum(_IPV4.pack(*fields, 0, source.packed, destination.packed))
    return _IPV4.pack(*fields, value, source.packed, destination.packed)


def pseudo_header(source: IPAddress, destination: IPAddress, protocol: int, length: int) -> bytes:
    """What checksums of TCP and UDP cover beside the segment (RFC 9293 section 3.1, RFC 8200 section 8.1).

    Arguments:
        length: of the segment, in bytes.
    """
    if source.version == 6:
        return _PSEUDO[6].pack(source.packed, destination.packed, length, protocol)
    return _PSEUDO[4].pack(source.packed, destination.packed, protocol, length)


def decode(packet: bytes) -> Packet:
    """What an IP packet of either version carries; what is behind its end means nothing.

    The header's checksum is the kernel's business, which has looked at it or will.

    Errors: WireError with one of the reasons `truncated`, `version`, `length`, `fragment`.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _decode_ipv4(packet)
    if version != 6:
        raise WireError("version", f"{len(packet)} bytes of IP version {version}")
    if len(packet) < _IPV6.size:
        raise WireError("truncated", f"{len(packet)} bytes are no IPv6 packet")
    _, length, protocol, _, source, destination = _IPV6.unpack_from(packet)
    end = _IPV6.size + length
    if len(packet) < end:
        raise WireError("length", f"{len(packet)} bytes of an IPv6 packet of {end}")
    return Packet(source, destination, protocol, packet[_IPV6.size : end])


def _decode_ipv4(packet: bytes) -> Packet:
    if len(packet) < _IPV4.size:
        raise WireError("truncated", f"{len(packet)} bytes are no IPv4 packet")
    version, _, length, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    start = (version & 0xF) * 4
    if not _IPV4.size <= start <= length <= len(packet):
        raise WireError("length", f"{len(packet)} bytes of an IPv4 packet of {length}, header {start}")
    if fragment & _MORE_AND_OFFSET:
        raise WireError("fragment", "a part of an IPv4 packet")
    return Packet(source, destination, protocol, packet[start:length])
