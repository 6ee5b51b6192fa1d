"""Route netlink messages for virtual IPs: add or renew with a lifetime, delete, list (linux/if_addr.h, rtnetlink.h).

The elector prepares these bytes once and sends them when the role changes; it is kept small, so no netlink library is
loaded for three messages. pyroute2 is the dumb twin in the tests. All fields are in host byte order, addresses in
network order; attributes are padded to 4 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from ha_lvs.errors import WireError

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_REPLACE = 0x100
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_CACHEINFO = 6
AF_INET = 2
INFINITY_LIFE_TIME = 0xFFFFFFFF
RT_SCOPE_UNIVERSE = 0

_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_CACHEINFO = struct.Struct("=IIII")
_ERROR = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address on an interface as the kernel lists it.

    Arguments:
        index: of the interface.
        address, prefix_length: the address.
        valid_lft_s: seconds until the kernel removes it, or None for never.
    """

    index: int
    address: IPv4Address
    prefix_length: int
    valid_lft_s: int | None


@dataclass(frozen=True, slots=True)
class Reply:
    """The kernel's acknowledgement of a request: `errno` is 0 or a positive error number."""

    sequence: int
    errno: int


def add_address(address: IPv4Address, prefix_length: int, index: int, lease_s: int | None, sequence: int) -> bytes:
    """The request that adds an address, or renews its lifetime where it is there already.

    Arguments:
        index: of the interface.
        lease_s: seconds after which the kernel removes it by itself, None for never.
        sequence: comes back in the acknowledgement.
    """
    lifetime_s = INFINITY_LIFE_TIME if lease_s is None else lease_s
    attributes = (
        _attribute(IFA_LOCAL, address.packed)
        + _attribute(IFA_ADDRESS, address.packed)
        + _attribute(IFA_CACHEINFO, _CACHEINFO.pack(lifetime_s, lifetime_s, 0, 0))
    )
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    return _message(RTM_NEWADDR, flags, sequence, prefix_length, index, attributes)


def delete_address(address: IPv4Address, prefix_length: int, index: int, sequence: int) -> bytes:
    """The request that removes an address."""
    attributes = _attribute(IFA_LOCAL, address.packed)
    return _message(RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK, sequence, prefix_length, index, attributes)


def list_addresses(sequence: int) -> bytes:
    """The request for all IPv4 addresses of this network namespace."""
    return _message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0, 0, b"")


def _attribute(kind: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + b"\0" * (-length % 4)


def _message(kind: int, flags: int, sequence: int, prefix_length: int, index: int, attributes: bytes) -> bytes:
    body = _IFADDRMSG.pack(AF_INET, prefix_length, 0, RT_SCOPE_UNIVERSE, index) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def decode(data: bytes) -> Iterator[Address | Reply]:
    """What one datagram from the kernel holds: addresses, acknowledgements, and a `Reply` with errno 0 at a dump's end.

    Errors: WireError on bytes that are no netlink.
    """
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise WireError("truncated", "netlink header")
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise WireError("length", f"netlink message of {length} bytes")
        body = data[offset + _HEADER.size : offset + length]
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            errno = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
            yield Reply(sequence, errno)
        elif kind == RTM_NEWADDR:
            found = _address(body)
            if found is not None:
                yield found
        offset += (length + 3) & ~3


def _address(body: bytes) -> Address | None:
    if len(body) < _IFADDRMSG.size:
        raise WireError("truncated", "ifaddrmsg")
    family, prefix_length, _, _, index = _IFADDRMSG.unpack_from(body)
    if family != AF_INET:
        return None
    local: bytes | None = None
    valid_lft_s: int | None = None
    offset = _IFADDRMSG.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size or offset + length > len(body):
            raise WireError("length", f"netlink attribute of {length} bytes")
        value = body[offset + _ATTRIBUTE.size : offset + length]
        if (kind == IFA_LOCAL or (kind == IFA_ADDRESS and local is None)) and len(value) == 4:
            local = value
        elif kind == IFA_CACHEINFO and len(value) == _CACHEINFO.size:
            lifetime_s = _CACHEINFO.unpack(value)[1]
            valid_lft_s = None if lifetime_s == INFINITY_LIFE_TIME else lifetime_s
        offset += (length + 3) & ~3
    return None if local is None else Address(index, IPv4Address(local), prefix_length, valid_lft_s)
