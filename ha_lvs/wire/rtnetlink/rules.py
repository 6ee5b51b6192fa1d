"""Requests about routing rules: add, delete, list (linux/fib_rules.h; net/core/fib_rules.c).

Rules carry the same protocol number as our routes (`ip rule show` prints `proto 112`), so that only ours are deleted.
One that is there already is refused with EEXIST, so ours is never there twice; whether somebody else's equal one counts
as the same depends on the kernel, and makes no difference to any packet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ha_lvs.errors import WireError
from ha_lvs.model import IPNetwork, VirtualRule
from ha_lvs.wire.rtnetlink.message import (
    ADDRESS_BYTES,
    AF_INET,
    AF_INET6,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RT_TABLE_COMPAT,
    attribute,
    attribute_u32,
    attributes,
    request,
    u32,
)
from ha_lvs.wire.rtnetlink.routes import PROTOCOL

RTM_NEWRULE = 32
RTM_DELRULE = 33
RTM_GETRULE = 34
FRA_DST = 1
FRA_SRC = 2
FRA_PRIORITY = 6
FRA_FWMARK = 10
FRA_TABLE = 15
FRA_FWMASK = 16
FRA_PROTOCOL = 21
FR_ACT_TO_TBL = 1
ALL_BITS = 0xFFFFFFFF

_RULE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as the kernel lists it, with the number of who made it."""

    rule: VirtualRule
    protocol: int


def add_rule(rule: VirtualRule, sequence: int) -> bytes:
    """The request that adds a rule; EEXIST says that it, or one just like it, is there."""
    return _request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, sequence, rule)


def delete_rule(rule: VirtualRule, sequence: int) -> bytes:
    """The request that removes a rule of ours; ENOENT says that there is none."""
    return _request(RTM_DELRULE, 0, sequence, rule)


def list_rules(family: int, sequence: int) -> bytes:
    """The request for all rules of one family."""
    return request(RTM_GETRULE, NLM_F_DUMP, sequence, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))


def _request(kind: int, flags: int, sequence: int, rule: VirtualRule) -> bytes:
    body = attribute_u32(FRA_PRIORITY, rule.priority) + attribute_u32(FRA_TABLE, rule.table)
    body += attribute(FRA_PROTOCOL, bytes([PROTOCOL]))
    lengths = []
    for number, network in ((FRA_DST, rule.destination), (FRA_SRC, rule.source)):
        lengths.append(0 if network is None else network.prefixlen)
        if network is not None and network.prefixlen:
            body += attribute(number, network.network_address.packed)
    if rule.fwmark is not None:
        body += attribute_u32(FRA_FWMARK, rule.fwmark) + attribute_u32(FRA_FWMASK, ALL_BITS)
    table = rule.table if rule.table < 256 else RT_TABLE_COMPAT
    family = AF_INET if rule.family == 4 else AF_INET6
    head = _RULE.pack(family, lengths[0], lengths[1], 0, table, 0, 0, FR_ACT_TO_TBL, 0)
    return request(kind, flags, sequence, head + body)


def decode_rule(body: bytes) -> Rule | None:
    """The rule in a message of type RTM_NEWRULE or RTM_DELRULE; None when it is of neither family.

    Errors: WireError when it is not whole.
    """
    if len(body) < _RULE.size:
        raise WireError("truncated", "fib_rule_hdr")
    family, destination_length, source_length, _, table, _, _, _, _ = _RULE.unpack_from(body)
    if family not in ADDRESS_BYTES:
        return None
    found = attributes(body, _RULE.size)
    rule = VirtualRule(
        priority=u32(found.get(FRA_PRIORITY)),
        source=_network(family, found.get(FRA_SRC), source_length),
        destination=_network(family, found.get(FRA_DST), destination_length),
        # The kernel leaves out a mark of 0 and tells its mask all the same.
        fwmark=u32(found.get(FRA_FWMARK)) if FRA_FWMARK in found or FRA_FWMASK in found else None,
        table=u32(found.get(FRA_TABLE), table),
        family=4 if family == AF_INET else 6,
    )
    protocol = found.get(FRA_PROTOCOL, b"\0")
    return Rule(rule, protocol[0] if protocol else 0)


def _network(family: int, packed: bytes | None, length: int) -> IPNetwork | None:
    if packed is None:
        return None
    if len(packed) != ADDRESS_BYTES[family] or length > len(packed) * 8:
        raise WireError("length", f"network of {len(packed)} bytes, /{length}")
    if family == AF_INET:
        return IPv4Network((packed, length), strict=False)
    return IPv6Network((packed, length), strict=False)
