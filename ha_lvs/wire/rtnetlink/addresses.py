"""Requests about addresses: add or renew with a lifetime, delete, list (linux/if_addr.h; net/ipv4/devinet.c,
net/ipv6/addrconf.c).

Rules that hold here:
* An IPv6 virtual IP is added without duplicate address detection: the other director may have had it a moment ago, and
  an address that is still tentative answers nobody. Looking for duplicates is the caller's business.
* It is deprecated from the start (preferred lifetime 0), so that the node never takes it for the source of its own
  traffic; whoever is connected to it is answered from it all the same (RFC 6724 section 5, rule 3; keepalived does so
  too). IPv4 knows no such thing: there the kernel takes the first address of an interface, and a virtual IP that comes
  later is not the first.
* It brings no route to its prefix (IFA_F_NOPREFIXROUTE). The kernel gives such a route the address's lifetime, also
  where a router's advertisement had made it before: the node's own network would vanish with the virtual IP.
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
    AF_UNSPEC,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    RT_SCOPE_UNIVERSE,
    attribute,
    attribute_u32,
    attributes,
    request,
    u32,
)

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_LABEL = 3
IFA_CACHEINFO = 6
IFA_FLAGS = 8
IFA_RT_PRIORITY = 9
IFA_F_NODAD = 0x02
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40
IFA_F_NOPREFIXROUTE = 0x200
INFINITY_LIFE_TIME = 0xFFFFFFFF

_IFADDRMSG = struct.Struct("=BBBBI")
_CACHEINFO = struct.Struct("=IIII")


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface as the kernel lists it.

    Arguments:
        index: of the interface.
        address, prefix_length: the address.
        valid_lft_s: seconds until the kernel removes it, or None for never.
        scope: its scope.
        flags: IFA_F_*.
        label: IPv4 only.
    """

    index: int
    address: IPAddress
    prefix_length: int
    valid_lft_s: int | None
    scope: int = RT_SCOPE_UNIVERSE
    flags: int = 0
    label: str = ""


def add_address(
    address: IPAddress,
    prefix_length: int,
    index: int,
    lease_s: int | None,
    sequence: int,
    *,
    label: str = "",
    scope: int = RT_SCOPE_UNIVERSE,
    metric: int = 0,
) -> bytes:
    """The request that adds an address, or renews its lifetime where it is there already.

    Arguments:
        index: of the interface.
        lease_s: seconds after which the kernel removes it by itself, None for never.
        sequence: comes back in the answer.
        label: IPv4 only; empty for the interface's name.
        scope: IPv4 only; the kernel knows an IPv6 address's by the address.
        metric: of the route to its prefix, IPv4 only; 0 for the best.
    """
    lifetime_s = INFINITY_LIFE_TIME if lease_s is None else lease_s
    body = attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)
    if address.version == 6:
        body += attribute(IFA_CACHEINFO, _CACHEINFO.pack(0, lifetime_s, 0, 0))
        body += attribute_u32(IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE)
        return _request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sequence, AF_INET6, prefix_length, 0, index, body)
    body += attribute(IFA_CACHEINFO, _CACHEINFO.pack(lifetime_s, lifetime_s, 0, 0))
    if label:
        body += attribute(IFA_LABEL, label.encode() + b"\0")
    if metric:
        body += attribute_u32(IFA_RT_PRIORITY, metric)
    return _request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sequence, AF_INET, prefix_length, scope, index, body)


def delete_address(address: IPAddress, prefix_length: int, index: int, sequence: int) -> bytes:
    """The request that removes an address; one with another prefix length is another address and stays."""
    body = attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)
    family = AF_INET if address.version == 4 else AF_INET6
    return _request(RTM_DELADDR, 0, sequence, family, prefix_length, 0, index, body)


def list_addresses(sequence: int, family: int = AF_UNSPEC) -> bytes:
    """The request for all addresses of this network namespace; of one family when one is given."""
    return _request(RTM_GETADDR, NLM_F_DUMP, sequence, family, 0, 0, 0, b"")


def _request(
    kind: int, flags: int, sequence: int, family: int, prefix_length: int, scope: int, index: int, body: bytes
) -> bytes:
    return request(kind, flags, sequence, _IFADDRMSG.pack(family, prefix_length, 0, scope, index) + body)


def decode_address(body: bytes) -> Address | None:
    """The address in a message of type RTM_NEWADDR or RTM_DELADDR; None when it is of neither family.

    Errors: WireError when it is not whole.
    """
    if len(body) < _IFADDRMSG.size:
        raise WireError("truncated", "ifaddrmsg")
    family, prefix_length, flags, scope, index = _IFADDRMSG.unpack_from(body)
    found = attributes(body, _IFADDRMSG.size)
    packed = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
    if packed is None or len(packed) != ADDRESS_BYTES.get(family):
        return None
    valid_lft_s: int | None = None
    cache = found.get(IFA_CACHEINFO)
    if cache is not None and len(cache) == _CACHEINFO.size:
        lifetime_s = _CACHEINFO.unpack(cache)[1]
        valid_lft_s = None if lifetime_s == INFINITY_LIFE_TIME else lifetime_s
    return Address(
        index=index,
        address=IPv4Address(packed) if family == AF_INET else IPv6Address(packed),
        prefix_length=prefix_length,
        valid_lft_s=valid_lft_s,
        scope=scope,
        flags=u32(found.get(IFA_FLAGS), flags),
        label=found.get(IFA_LABEL, b"").rstrip(b"\0").decode(errors="replace"),
    )
