"""Requests about interfaces: list, watch, settings, macvlan (linux/if_link.h; net/core/rtnetlink.c).

IPv4 settings of an interface, which people know as sysctls, can be set by route netlink too. That is done here, because
a service manager may have made /proc/sys read-only for us.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ha_lvs.errors import WireError
from ha_lvs.wire.rtnetlink.message import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    attribute,
    attribute_u32,
    attributes,
    request,
    u32,
)

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTMGRP_LINK = 1
IFF_UP = 0x1
IFF_RUNNING = 0x40
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_LINK = 5
IFLA_LINKINFO = 18
IFLA_AF_SPEC = 26
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_MACVLAN_MODE = 1
MACVLAN_MODE_PRIVATE = 1
IFLA_INET_CONF = 1
IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = 1
MACVLAN = "macvlan"

_IFINFOMSG = struct.Struct("=BxHiII")


class Ipv4Setting(enum.IntEnum):
    """IPv4 settings of an interface by their numbers (linux/ip.h IPV4_DEVCONF_*)."""

    RP_FILTER = 8
    ARP_FILTER = 13
    ARP_ANNOUNCE = 18
    ARP_IGNORE = 19
    PROMOTE_SECONDARIES = 20


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel lists it.

    Arguments:
        index, name: of the interface.
        flags: IFF_*.
        mac: its hardware address, or empty.
        parent: index of the interface it stands on, 0 for none.
        kind: ``macvlan``, ``veth``; empty for hardware.
        mode: of a macvlan, MACVLAN_MODE_*; 0 for others.
    """

    index: int
    name: str
    flags: int
    mac: bytes = b""
    parent: int = 0
    kind: str = ""
    mode: int = 0

    @property
    def up(self) -> bool:
        """Whether it is switched on and has a carrier."""
        return self.flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


@dataclass(frozen=True, slots=True)
class LinkGone:
    """An interface that was deleted, or has left this network namespace."""

    index: int
    name: str


def list_links(sequence: int) -> bytes:
    """The request for all interfaces of this network namespace."""
    return request(RTM_GETLINK, NLM_F_DUMP, sequence, _IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0))


def create_macvlan(name: str, parent: int, mac: bytes, sequence: int) -> bytes:
    """The request that makes a macvlan in private mode, still down: it never talks to its parent or its siblings.

    Arguments:
        name: of the new interface.
        parent: index of the one that it stands on.
        mac: its 6 bytes.
    """
    info = attribute(IFLA_INFO_KIND, MACVLAN.encode())
    info += attribute(IFLA_INFO_DATA, attribute_u32(IFLA_MACVLAN_MODE, MACVLAN_MODE_PRIVATE))
    body = (
        attribute(IFLA_IFNAME, name.encode() + b"\0")
        + attribute_u32(IFLA_LINK, parent)
        + attribute(IFLA_ADDRESS, mac)
        + attribute(IFLA_LINKINFO, info)
    )
    return request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sequence, _IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + body)


def delete_link(index: int, sequence: int) -> bytes:
    """The request that deletes an interface."""
    return request(RTM_DELLINK, 0, sequence, _IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0))


def switch_on(index: int, sequence: int) -> bytes:
    """The request that brings an interface up."""
    return request(RTM_NEWLINK, 0, sequence, _IFINFOMSG.pack(AF_UNSPEC, 0, index, IFF_UP, IFF_UP))


def switch_off(index: int, sequence: int) -> bytes:
    """The request that takes an interface down; its IPv6 addresses are gone then, its IPv4 addresses are silent."""
    return request(RTM_NEWLINK, 0, sequence, _IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, IFF_UP))


def set_ipv4(index: int, settings: Mapping[Ipv4Setting, int], sequence: int) -> bytes:
    """The request that sets IPv4 settings of an interface."""
    values = b"".join(attribute_u32(setting, value) for setting, value in settings.items())
    return _set_family(index, AF_INET, attribute(IFLA_INET_CONF, values), sequence)


def set_no_link_local(index: int, sequence: int) -> bytes:
    """The request after which an interface that comes up gets no IPv6 link-local address by itself."""
    return _set_family(index, AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE])), sequence)


def _set_family(index: int, family: int, settings: bytes, sequence: int) -> bytes:
    body = attribute(IFLA_AF_SPEC, attribute(family, settings))
    return request(RTM_NEWLINK, 0, sequence, _IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0) + body)


def decode_link(kind: int, body: bytes) -> Link | LinkGone | None:
    """The interface in a message of type RTM_NEWLINK or RTM_DELLINK.

    None for messages of a family, as those about the ports of a bridge: a port that leaves its bridge is not gone.

    Errors: WireError when it is not whole.
    """
    if len(body) < _IFINFOMSG.size:
        raise WireError("truncated", "ifinfomsg")
    family, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    if family != AF_UNSPEC:
        return None
    found = attributes(body, _IFINFOMSG.size)
    name = _text(found.get(IFLA_IFNAME, b""))
    if kind == RTM_DELLINK:
        return LinkGone(index, name)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    info_kind = _text(info.get(IFLA_INFO_KIND, b""))
    data = attributes(info.get(IFLA_INFO_DATA, b"")) if info_kind == MACVLAN else {}
    return Link(
        index=index,
        name=name,
        flags=flags,
        mac=found.get(IFLA_ADDRESS, b""),
        parent=u32(found.get(IFLA_LINK)),
        kind=info_kind,
        mode=u32(data.get(IFLA_MACVLAN_MODE)),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
