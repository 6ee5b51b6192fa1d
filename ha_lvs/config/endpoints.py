"""Single values of the config file that say where traffic goes: addresses with ports, ranges of both, what a service
listens on.

The rules are those of `values`: a function takes what stands in the file and gives the value, or raises ValueError
with a sentence that has the value found and the remedy.
"""

from __future__ import annotations

import re

from ha_lvs.config import networks, values
from ha_lvs.model import AddressRange, IPAddress, PortRange, Protocol, ServiceKey
from ha_lvs.model.addresses import endpoint

PROTOCOLS = tuple(each.value for each in Protocol)
EXAMPLE = "10.9.0.100:80/tcp or [fd00:9::100]:80/tcp"

_PORT = re.compile(r"[0-9]{1,5}")
_MARK = re.compile(r"mark +(\S+)(?: +(\S+))?")
_HIGHEST_PORT = 65535


def address_port(value: object) -> tuple[IPAddress, int | None]:
    """An address with or without a port; the port is None if not given.

    ``10.9.0.21``, ``10.9.0.21:8080``, ``fd00:9::21``, ``[fd00:9::21]:8080``.
    """
    return _address_port(value, 1)


def _address_port(value: object, least: int) -> tuple[IPAddress, int | None]:
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is not an address; write one like 10.9.0.21 or 10.9.0.21:8080")
    if value.startswith("["):
        address, bracket, rest = value[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{values.shown(value)} is not an address and port; write them like [fd00:9::21]:8080")
        if ":" not in address:
            raise ValueError(f"{values.shown(value)}: only IPv6 addresses stand in brackets; remove them")
        return networks.address(address), _port(rest[1:], value, least) if rest else None
    if value.count(":") > 1:
        return networks.address(value), None
    address, colon, port = value.partition(":")
    return networks.address(address), _port(port, value, least) if colon else None


def _port(text: str, value: str, least: int) -> int:
    if not _PORT.fullmatch(text) or not least <= int(text) <= _HIGHEST_PORT:
        raise ValueError(
            f"{values.shown(text)} in {values.shown(value)} is not a port; write a whole number from 1 to 65535"
        )
    return int(text)


def listen(value: object) -> ServiceKey:
    """What a service listens on: ``10.9.0.100:80/tcp``, ``[fd00:9::100]:80/tcp``, ``mark 5``, ``mark 5 ipv6``."""
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is no address, port and protocol; write them like {EXAMPLE}")
    if value.startswith("mark"):
        return _mark(value)
    where, slash, protocol = value.rpartition("/")
    if not slash:
        raise ValueError(f"{values.shown(value)} names no protocol; write {value[:50]}/tcp, or udp or sctp")
    word = values.choice(protocol, "protocol", PROTOCOLS)
    address, port = _address_port(where, 0)
    if port is None:
        hint = f"[{address}]:80/{word}" if address.version == 6 else EXAMPLE
        raise ValueError(f"{values.shown(value)} names no port; write it like {hint}")
    return ServiceKey(address, port, Protocol(word))


def _mark(value: str) -> ServiceKey:
    match = _MARK.fullmatch(value)
    if match is None:
        raise ValueError(f"{values.shown(value)} is no firewall mark; write it like 'mark 5' or 'mark 0x10 ipv6'")
    number: object = int(match[1]) if match[1].isascii() and match[1].isdigit() and len(match[1]) < 12 else match[1]
    return ServiceKey.of_mark(networks.mark(number), networks.family(match[2] or "ipv4"))


def protocols(value: object) -> tuple[Protocol, ...]:
    """One transport protocol or several: ``tcp``, ``[tcp, udp]``."""
    words = [values.choice(each, "protocol", PROTOCOLS) for each in (value if isinstance(value, list) else [value])]
    if not words:
        raise ValueError("the list of protocols is empty; write tcp, udp or sctp")
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"protocol {word} is listed twice; remove one")
    return tuple(each for each in Protocol if each.value in words)


def address_range(value: object) -> AddressRange:
    """Addresses: ``10.9.0.100``, ``10.9.0.110-10.9.0.120``, ``10.20.0.0/24``."""
    if not isinstance(value, str):
        raise ValueError(
            f"{values.shown(value)} is no address; write one like 10.9.0.100, a range like 10.9.0.110-10.9.0.120, or a"
            " network like 10.20.0.0/24"
        )
    if "/" in value:
        network = networks.network(value)
        return AddressRange(network[0], network[-1])
    low, dash, high = (part.strip() for part in value.partition("-"))
    first = networks.address(low)
    last = networks.address(high) if dash else first
    if first.version != last.version:
        raise ValueError(f"{values.shown(value)} goes from one address family to another; write a range for each")
    if int(first) > int(last):
        raise ValueError(f"{values.shown(value)} runs backwards; write {last}-{first}")
    return AddressRange(first, last)


def port_range(value: object) -> PortRange:
    """Ports: ``80``, ``8000-8100``."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value == 0:
            raise ValueError("0 is not a port; leave `ports` out for every port")
        port = values.whole_number(value, 1, _HIGHEST_PORT)
        return PortRange(port, port)
    match = re.fullmatch(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})", value) if isinstance(value, str) else None
    if match is None or not (1 <= int(match[1]) <= _HIGHEST_PORT and 1 <= int(match[2]) <= _HIGHEST_PORT):
        raise ValueError(
            f"{values.shown(value)} is no port from 1 to 65535; write one like 80, or a range like 8000-8100"
        )
    low, high = int(match[1]), int(match[2])
    if low > high:
        raise ValueError(f"{values.shown(value)} runs backwards; write {high}-{low}")
    return PortRange(low, high)


def shown(address: IPAddress, port: int | None) -> str:
    """An address as people write it, with its port if it has one."""
    return str(address) if port is None else endpoint(address, port)
