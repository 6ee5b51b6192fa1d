"""IPv6 neighbour discovery over Ethernet: announcing an address, asking who has one, reading the answers (RFC 4861).

Rules that hold here:
* A MAC address is 6 bytes. A frame is whole, Ethernet header included, as an AF_PACKET raw socket takes and gives it.
* An unsolicited advertisement goes to all nodes with the override flag, so that every neighbour with an entry updates
  it and every switch learns the port (section 7.2.6).
* A solicitation from `::` is a duplicate address probe (RFC 4862 section 5.4.2): asking changes nobody's entries.
* What is read is verified as section 7.1.2 demands. Extension headers are not looked behind: neighbour discovery has
  none in practice, and fragments of it must be ignored (RFC 6980).
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import NamedTuple

from ha_lvs.errors import WireError
from ha_lvs.wire.vrrp import checksum

ETHERTYPE_IPV6 = 0x86DD
ICMPV6 = 58
HOP_LIMIT = 255
NEIGHBOUR_SOLICITATION = 135
NEIGHBOUR_ADVERTISEMENT = 136
ALL_NODES = IPv6Address("ff02::1")

_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_PSEUDO_HEADER = struct.Struct("!16s16sI3xB")
_MESSAGE = struct.Struct("!BBHI16s")
_LINK_OPTION = struct.Struct("!BB6s")
_CHECKSUM = struct.Struct("!H")
_CHECKSUM_AT = 2
_VERSION_6 = 6 << 28
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29
_SOURCE_LINK, _TARGET_LINK = 1, 2
_OPTION_UNIT_BYTES = 8
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]
_UNSPECIFIED = IPv6Address(0)
_MAC_BYTES = 6


class Neighbour(NamedTuple):
    """Where an address is, as a neighbour says; `mac` is 6 bytes."""

    address: IPv6Address
    mac: bytes


def announcement(address: IPv6Address, mac: bytes, router: bool = False) -> bytes:
    """The frame that announces to all nodes that `address` is at `mac`: an unsolicited neighbour advertisement.

    Arguments:
        router: whether the neighbours are to take its owner for a router (the R flag). It has to be what the kernel
            says when it is asked, that is whether the interface forwards: a router that calls itself a host is taken
            out of its neighbours' lists of routers (section 7.2.5).
    """
    flags = _OVERRIDE | (_ROUTER if router else 0)
    return _frame(NEIGHBOUR_ADVERTISEMENT, flags, address, mac, address, ALL_NODES, _TARGET_LINK)


def solicitation(target: IPv6Address, mac: bytes, source: IPv6Address | None = None) -> bytes:
    """The frame that asks who has `target`.

    Arguments:
        mac: of the interface that asks.
        source: its address, where the answer goes; None for a duplicate address probe, answered to all nodes.
    """
    group = IPv6Address(_SOLICITED_NODE + target.packed[13:])
    option = None if source is None else _SOURCE_LINK
    return _frame(NEIGHBOUR_SOLICITATION, 0, target, mac, source or _UNSPECIFIED, group, option)


def _frame(
    kind: int,
    flags: int,
    target: IPv6Address,
    mac: bytes,
    source: IPv6Address,
    destination: IPv6Address,
    link_option: int | None,
) -> bytes:
    """A frame to a multicast group; its link-layer destination is made of the group (RFC 2464 section 7)."""
    if len(mac) != _MAC_BYTES:
        raise ValueError(f"{mac.hex(':')} is no Ethernet address")
    option = b"" if link_option is None else _LINK_OPTION.pack(link_option, 1, mac)
    message = _MESSAGE.pack(kind, 0, 0, flags, target.packed) + option
    pseudo = _PSEUDO_HEADER.pack(source.packed, destination.packed, len(message), ICMPV6)
    value = _CHECKSUM.pack(checksum(pseudo + message))
    return (
        _ETHERNET.pack(b"\x33\x33" + destination.packed[-4:], mac, ETHERTYPE_IPV6)
        + _IPV6.pack(_VERSION_6, len(message), ICMPV6, HOP_LIMIT, source.packed, destination.packed)
        + message[:_CHECKSUM_AT] + value + message[_CHECKSUM_AT + _CHECKSUM.size :]
    )  # fmt: skip


def decode(frame: bytes) -> Neighbour:
    """The address and the MAC in a neighbour advertisement, solicited or not.

    The MAC is that of the target link-layer option; without one, which an answer to a single node may lack, it is the
    frame's source. Padding behind the packet means nothing.

    Errors: WireError with one of the reasons `truncated`, `kind` (no neighbour advertisement), `ttl`, `length`,
    `checksum`, `code`, `target`, `flags`, `option`.
    """
    start = _ETHERNET.size + _IPV6.size
    if len(frame) < start:
        raise WireError("truncated", f"{len(frame)} bytes are no IPv6 frame")
    _, frame_source, ethertype = _ETHERNET.unpack_from(frame)
    version_flow, length, next_header, hop_limit, source, destination = _IPV6.unpack_from(frame, _ETHERNET.size)
    if ethertype != ETHERTYPE_IPV6 or version_flow >> 28 != 6 or next_header != ICMPV6:
        raise WireError("kind", "no ICMPv6")
    message = frame[start : start + length]
    if len(message) < length:
        raise WireError("truncated", f"{len(message)} bytes of an ICMPv6 message of {length}")
    if not message or message[0] != NEIGHBOUR_ADVERTISEMENT:
        raise WireError("kind", "no neighbour advertisement")
    if hop_limit != HOP_LIMIT:
        raise WireError("ttl", f"hop limit {hop_limit} from {IPv6Address(source)}, must be 255")
    if length < _MESSAGE.size:
        raise WireError("length", f"{length} bytes are no neighbour advertisement")
    if checksum(_PSEUDO_HEADER.pack(source, destination, length, ICMPV6) + message):
        raise WireError("checksum", f"wrong checksum from {IPv6Address(source)}")
    _, code, _, flags, packed = _MESSAGE.unpack_from(message)
    target = IPv6Address(packed)
    if code:
        raise WireError("code", f"ICMPv6 code {code} from {IPv6Address(source)}")
    if target.is_multicast:
        raise WireError("target", f"{target} cannot be anybody's address")
    if flags & _SOLICITED and destination[0] == 0xFF:
        raise WireError("flags", f"an answer to all from {IPv6Address(source)}")
    return Neighbour(target, _target_link(message) or frame_source)


def _target_link(message: bytes) -> bytes | None:
    """The MAC in the first target link-layer option; every option has to be whole."""
    found: bytes | None = None
    at = _MESSAGE.size
    while at < len(message):
        size = message[at + 1] * _OPTION_UNIT_BYTES if at + 1 < len(message) else 0
        if size == 0 or at + size > len(message):
            raise WireError("option", f"neighbour discovery option of {size} bytes")
        if message[at] == _TARGET_LINK and found is None:
            if size != _LINK_OPTION.size:
                raise WireError("option", f"link-layer address of {size - 2} bytes")
            found = message[at + 2 : at + size]
        at += size
    return found
