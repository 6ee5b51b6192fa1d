"""Single values of the config file that are of IPv4 or IPv6: addresses, prefixes, networks, groups, scopes, tables.

The rules are those of `values`: a function takes what stands in the file and gives the value, or raises ValueError
with a sentence that has the value found and the remedy.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TypeVar

from ha_lvs.config import values
from ha_lvs.model import IPAddress, IPNetwork

IPInterface = IPv4Interface | IPv6Interface

FAMILIES = {"ipv4": 4, "ipv6": 6}
"""Address families by their words in the file."""

SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254}
"""Scopes of addresses by name (linux/rtnetlink.h rt_scope_t)."""

TABLES = {"main": 254, "default": 253, "local": 255}
"""Routing tables by name (linux/rtnetlink.h rt_class_t)."""

EXAMPLE = "10.9.0.11 or fd00:9::11"
_HIGHEST = 2**32 - 1
_BITS = {4: 32, 6: 128}
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def family_name(version: int) -> str:
    """The family as people write it: ``IPv4`` or ``IPv6``."""
    return f"IPv{version}"


def address(value: object) -> IPAddress:
    """An address of one host, IPv4 or IPv6."""
    if isinstance(value, str) and ":" not in value:
        return values.ipv4(value)
    return ipv6(value, EXAMPLE)


def ipv6(value: object, example: str = "fd00:9::11") -> IPv6Address:
    """An IPv6 address of one host."""
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is not an address; write one like {example}")
    return _host(value, example)


@functools.lru_cache(maxsize=values.REMEMBERED)
def _host(value: str, example: str) -> IPv6Address:
    found = _ipv6(value, example)
    if found.is_multicast or found.is_unspecified or found.is_loopback:
        raise ValueError(f"{found} is not the address of one host; write one like {example}")
    return found


def node_address(value: object) -> IPAddress:
    """An address of a node, which is the same whatever the interface."""
    return _routed(address(value))


def node_ipv6(value: object) -> IPv6Address:
    """An IPv6 address of a node, which is the same whatever the interface."""
    return _routed(ipv6(value))


def multicast_group(value: object) -> IPAddress:
    """A multicast group, IPv4 or IPv6."""
    if isinstance(value, str) and ":" in value:
        found = _ipv6(value, "ff02::12")
        if not found.is_multicast:
            raise ValueError(f"{found} is not a multicast group; write one like ff02::12")
        return found
    return values.multicast_group(value)


def prefix(value: object) -> IPInterface:
    """An address with or without its prefix length, which is that of a single host unless given."""
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is not an address; write one like 10.9.0.100/32 or fd00:9::100/128")
    if ":" not in value:
        return values.ipv4_prefix(value)
    text, slash, length = value.partition("/")
    if slash and not (re.fullmatch(r"[0-9]{1,3}", length) and 1 <= int(length) <= 128):
        raise ValueError(
            f"{values.shown(value)} has no prefix length from 1 to 128 after the '/'; write {text[:40]}/128"
        )
    return IPv6Interface((ipv6(text, "fd00:9::100/128"), int(length) if slash else 128))


def network(value: object) -> IPNetwork:
    """A network, or a single address for itself."""
    example = "10.8.0.0/16 or fd00:8::/32"
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is not a network; write one like {example}")
    text, slash, length = value.partition("/")
    host = _ipv6(text, "fd00:8::/32") if ":" in text else _ipv4(text)
    most = _BITS[host.version]
    if slash and not (re.fullmatch(r"[0-9]{1,3}", length) and int(length) <= most):
        raise ValueError(f"{values.shown(value)} has no prefix length from 0 to {most} after the '/'")
    bits = int(length) if slash else most
    found: IPNetwork = ipaddress.ip_network((host, bits), strict=False)
    if found.network_address != host:
        raise ValueError(f"{host}/{bits} has bits set after its prefix; write {found}, or {host} for the host alone")
    return found


def destination(value: object) -> IPNetwork | None:
    """Where a route leads: a network, or None for ``default``, whose family follows from the rest."""
    return None if value == "default" else network(value)


def selector(value: object) -> IPNetwork | None:
    """What packets a rule is for: a network, or None for ``all``."""
    return None if value == "all" else network(value)


def family(value: object) -> int:
    """An address family, 4 or 6."""
    return FAMILIES[values.choice(value, "address family", tuple(FAMILIES))]


def scope(value: object) -> int:
    """The scope of an address, by its name or its number from 0 to 254."""
    if isinstance(value, int) and not isinstance(value, bool):
        return values.whole_number(value, 0, 254)
    return SCOPES[values.choice(value, "scope", tuple(SCOPES))]


def table(value: object) -> int:
    """A routing table, by its name or its number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return values.whole_number(value, 1, _HIGHEST)
    return TABLES[values.choice(value, "routing table", tuple(TABLES))]


def mark(value: object) -> int:
    """A firewall mark, decimal or like ``0x10``."""
    if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", value):
        return values.whole_number(int(value, 16), 1, _HIGHEST)
    return values.whole_number(value, 1, _HIGHEST)


def label(value: object) -> str:
    """The label of an address (the kernel's rule: at most 15 bytes, no space or '/')."""
    word = values.text(value)
    if len(word.encode(errors="replace")) > 15 or not word.isprintable() or re.search(r"[\s/]", word):
        raise ValueError(f"{values.shown(word)} cannot be a label; write one like e0:web (at most 15 characters)")
    return word


A = TypeVar("A", IPAddress, IPv6Address)


def _routed(found: A) -> A:
    if found.is_link_local:
        raise ValueError(
            f"{found} is link-local, so it means nothing without an interface; give the node an address that is routed"
        )
    return found


def _ipv4(value: str) -> IPv4Address:
    try:
        return IPv4Address(value)
    except ValueError:
        raise ValueError(f"{values.shown(value)} is not an address; write one like 10.8.0.0/16") from None


def _ipv6(value: str, example: str) -> IPv6Address:
    try:
        found = IPv6Address(value)
    except ValueError:
        reason = " (no prefix length belongs here)" if "/" in value else ""
        raise ValueError(f"{values.shown(value)} is not an address{reason}; write one like {example}") from None
    if found.scope_id is not None:
        raise ValueError(f"{values.shown(value)} names an interface after the '%'; remove it")
    if found in _MAPPED:
        raise ValueError(f"{values.shown(value)} is an IPv4 address in IPv6's clothes; write {found.ipv4_mapped}")
    return found
