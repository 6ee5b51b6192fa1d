"""How a packet would leave: the route that the kernel takes, and the MAC address of a neighbour (linux/rtnetlink.h,
linux/neighbour.h; net/core/neighbour.c).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress
from ha_lvs.wire.rtnetlink.message import (
    ADDRESS_BYTES,
    AF_INET,
    AF_INET6,
    NLM_F_ACK,
    NLM_F_CREATE,
    attribute,
    attribute_u32,
    attributes,
    request,
    u32,
)
from ha_lvs.wire.rtnetlink.routes import (
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_VIA,
    RTM_GETROUTE,
    RTN_UNICAST,
)

RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30
RTMGRP_NEIGH = 4
RTA_SRC = 2
RTA_MARK = 16
RTN_LOCAL = 2
NDA_DST = 1
NDA_LLADDR = 2
NTF_USE = 0x01
NUD_STALE = 0x04
NUD_USABLE = 0xDE
"""REACHABLE, STALE, DELAY, PROBE, NOARP and PERMANENT: there is a MAC address that packets go to."""

_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_FAMILY_BYTES = 2


@dataclass(frozen=True, slots=True)
class Way:
    """The route that a packet takes.

    Arguments:
        index: of the interface by which it leaves; 0 where the kernel names none.
        gateway: the router that it goes to; None when the destination is on the link.
        source: the address that the kernel would send it from; None where it names none.
        local: whether the destination is this host itself.
    """

    index: int
    gateway: IPAddress | None
    source: IPAddress | None
    local: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the kernel knows of a neighbour.

    Arguments:
        index: of the interface.
        address: of the neighbour.
        mac: its hardware address, or empty.
        state: NUD_*.
    """

    index: int
    address: IPAddress
    mac: bytes
    state: int

    @property
    def usable(self) -> bool:
        """Whether packets can go there."""
        return bool(self.state & NUD_USABLE) and bool(self.mac)

    @property
    def stale(self) -> bool:
        """Whether it was not heard of for a while: the kernel makes sure of it when it is used."""
        return self.state == NUD_STALE


def find_way(to: IPAddress, sequence: int, *, source: IPAddress | None = None, index: int = 0, mark: int = 0) -> bytes:
    """The request for the route to an address.

    Arguments:
        source: of the packet; None for the kernel's choice.
        index: of the interface that it has to leave by; 0 for the kernel's choice.
        mark: its firewall mark.
    """
    family = AF_INET if to.version == 4 else AF_INET6
    body = attribute(RTA_DST, to.packed)
    if source is not None:
        body += attribute(RTA_SRC, source.packed)
    if index:
        body += attribute_u32(RTA_OIF, index)
    if mark:
        body += attribute_u32(RTA_MARK, mark)
    bits = to.max_prefixlen
    head = _RTMSG.pack(family, bits, 0 if source is None else bits, 0, 0, 0, 0, 0, 0)
    return request(RTM_GETROUTE, 0, sequence, head + body)


def find_neighbour(index: int, address: IPAddress, sequence: int) -> bytes:
    """The request for what is known of a neighbour; ENOENT says nothing (since Linux 5.0)."""
    return _about(RTM_GETNEIGH, 0, sequence, index, address, 0)


def use_neighbour(index: int, address: IPAddress, sequence: int) -> bytes:
    """The request after which the kernel asks for a neighbour, or makes sure of it, as when a packet goes there.

    Not for a permanent entry, which it would make an ordinary one (net/core/neighbour.c, __neigh_update).
    """
    return _about(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_ACK, sequence, index, address, NTF_USE)


def _about(kind: int, flags: int, sequence: int, index: int, address: IPAddress, use: int) -> bytes:
    family = AF_INET if address.version == 4 else AF_INET6
    return request(kind, flags, sequence, _NDMSG.pack(family, index, 0, use, 0) + attribute(NDA_DST, address.packed))


def decode_way(body: bytes) -> Way | None:
    """The answer to `find_way`, a message of type RTM_NEWROUTE; None when it leads to no single host.

    Errors: WireError when it is not whole.
    """
    if len(body) < _RTMSG.size:
        raise WireError("truncated", "rtmsg")
    kind = body[7]
    if kind not in (RTN_UNICAST, RTN_LOCAL):
        return None
    found = attributes(body, _RTMSG.size)
    gateway = found.get(RTA_GATEWAY)
    if gateway is None and RTA_VIA in found:
        gateway = found[RTA_VIA][_FAMILY_BYTES:]
    return Way(u32(found.get(RTA_OIF)), _address(gateway), _address(found.get(RTA_PREFSRC)), kind == RTN_LOCAL)


def decode_neighbour(body: bytes) -> Neighbour | None:
    """The neighbour in a message of type RTM_NEWNEIGH or RTM_DELNEIGH; None for those of bridges and the like.

    Errors: WireError when it is not whole.
    """
    if len(body) < _NDMSG.size:
        raise WireError("truncated", "ndmsg")
    family, index, state, _, _ = _NDMSG.unpack_from(body)
    found = attributes(body, _NDMSG.size)
    packed = found.get(NDA_DST, b"")
    if len(packed) != ADDRESS_BYTES.get(family):
        return None
    address = IPv4Address(packed) if family == AF_INET else IPv6Address(packed)
    return Neighbour(index, address, found.get(NDA_LLADDR, b""), state)


def _address(packed: bytes | None) -> IPAddress | None:
    if packed is None or len(packed) not in (4, 16):
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
