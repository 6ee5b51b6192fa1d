"""Requests about routes: add, delete, list (linux/rtnetlink.h; net/ipv4/fib_trie.c, net/ipv6/route.c).

Rules that hold here:
* Ours are known by their protocol number, `PROTOCOL`; only such are ever deleted (`ip route show proto 112`).
* Nobody else's route is replaced. An IPv4 route is put in front of others to the same destination with the same metric
  and hides them while it is there. IPv6 cannot do that: there the same destination and metric is refused with EEXIST.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress, IPNetwork, VirtualRoute
from ha_lvs.wire.rtnetlink.message import (
    ADDRESS_BYTES,
    AF_INET,
    AF_INET6,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_COMPAT,
    attribute,
    attribute_u32,
    attributes,
    request,
    u32,
)

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_PREFSRC = 7
RTA_TABLE = 15
RTA_VIA = 18
RTA_EXPIRES = 23
RTN_UNICAST = 1

PROTOCOL = 112
"""VRRP's protocol number; free in iproute2's rt_protos, where keepalived has 18."""

IPV6_METRIC = 1024
"""What the kernel takes for an IPv6 route that comes without a metric."""

_RTMSG = struct.Struct("=BBBBBBBBI")
_FAMILY = struct.Struct("=H")


@dataclass(frozen=True, slots=True)
class Route:
    """A route as the kernel lists it.

    Arguments:
        to, via, source, table, metric: as for `VirtualRoute`; the kernel's metric is never 0 for IPv6.
        index: of the interface by which it leaves; 0 when there are several or none.
        protocol: who made it.
    """

    to: IPNetwork
    via: IPAddress | None
    index: int
    source: IPAddress | None
    table: int
    metric: int
    protocol: int


def add_route(route: VirtualRoute, index: int | None, sequence: int) -> bytes:
    """The request that adds a route; EEXIST says that it is there (IPv4), or that one like it is (IPv6).

    Arguments:
        index: of its interface; None when the kernel is to find it by the gateway.
        sequence: comes back in the answer.
    """
    flags = NLM_F_CREATE if route.to.version == 4 else NLM_F_CREATE | NLM_F_EXCL
    return _request(RTM_NEWROUTE, flags, sequence, route, index)


def delete_route(route: VirtualRoute, index: int | None, sequence: int) -> bytes:
    """The request that removes a route of ours; ESRCH says that there is none."""
    return _request(RTM_DELROUTE, 0, sequence, route, index)


def add_on_link(network: IPv6Network, index: int, metric: int, lease_s: int | None, sequence: int) -> bytes:
    """The request that makes a network reachable directly on an interface, or renews that.

    Arguments:
        metric: a worse one than the kernel's own (256), so that it hides nothing, and one that is only ours.
        lease_s: seconds after which the kernel removes it, None for never.
    """
    route = VirtualRoute(network, metric=metric)
    more = b"" if lease_s is None else attribute_u32(RTA_EXPIRES, lease_s)
    return _request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sequence, route, index, more)


def delete_on_link(network: IPv6Network, index: int, metric: int, sequence: int) -> bytes:
    """The request that undoes `add_on_link`."""
    return delete_route(VirtualRoute(network, metric=metric), index, sequence)


def list_routes(family: int, sequence: int) -> bytes:
    """The request for our routes of one family in all tables.

    The kernel leaves out the others only for a socket with strict checking, so whoever asks looks at `protocol` too.
    """
    return request(RTM_GETROUTE, NLM_F_DUMP, sequence, _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, 0, 0))


def _request(kind: int, flags: int, sequence: int, route: VirtualRoute, index: int | None, more: bytes = b"") -> bytes:
    family = AF_INET if route.to.version == 4 else AF_INET6
    # An IPv4 network that is reached directly has no wider scope than its link; IPv6 routes have no scope.
    scope = RT_SCOPE_LINK if family == AF_INET and route.via is None else RT_SCOPE_UNIVERSE
    table = route.table if route.table < 256 else RT_TABLE_COMPAT
    head = _RTMSG.pack(family, route.to.prefixlen, 0, 0, table, PROTOCOL, scope, RTN_UNICAST, 0)
    body = attribute(RTA_DST, route.to.network_address.packed) + attribute_u32(RTA_TABLE, route.table)
    if index is not None:
        body += attribute_u32(RTA_OIF, index)
    if route.via is not None:
        body += _gateway(route.via, family)
    if route.source is not None:
        body += attribute(RTA_PREFSRC, route.source.packed)
    if route.metric or family == AF_INET6:
        body += attribute_u32(RTA_PRIORITY, route.metric or IPV6_METRIC)
    return request(kind, flags, sequence, head + body + more)


def _gateway(via: IPAddress, family: int) -> bytes:
    own = AF_INET if via.version == 4 else AF_INET6
    if own == family:
        return attribute(RTA_GATEWAY, via.packed)
    return attribute(RTA_VIA, _FAMILY.pack(own) + via.packed)  # an IPv4 network behind an IPv6 router (RFC 5549)


def decode_route(body: bytes) -> Route | None:
    """The route in a message of type RTM_NEWROUTE or RTM_DELROUTE; None when it is of neither family.

    Errors: WireError when it is not whole.
    """
    if len(body) < _RTMSG.size:
        raise WireError("truncated", "rtmsg")
    family, length, _, _, table, protocol, _, _, _ = _RTMSG.unpack_from(body)
    size = ADDRESS_BYTES.get(family)
    if size is None:
        return None
    found = attributes(body, _RTMSG.size)
    destination = found.get(RTA_DST, bytes(size))
    if len(destination) != size or length > size * 8:
        raise WireError("length", f"destination of {len(destination)} bytes, /{length}")
    if family == AF_INET:
        to: IPNetwork = IPv4Network((destination, length), strict=False)
    else:
        to = IPv6Network((destination, length), strict=False)
    via = found.get(RTA_GATEWAY)
    if via is None and RTA_VIA in found:
        via = found[RTA_VIA][_FAMILY.size :]
    return Route(
        to=to,
        via=_address(via),
        index=u32(found.get(RTA_OIF)),
        source=_address(found.get(RTA_PREFSRC)),
        table=u32(found.get(RTA_TABLE), table),
        metric=u32(found.get(RTA_PRIORITY)),
        protocol=protocol,
    )


def _address(packed: bytes | None) -> IPAddress | None:
    if packed is None or len(packed) not in (4, 16):
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
