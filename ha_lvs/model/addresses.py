"""Internet addresses as every room writes them: `ipaddress` objects, never text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def endpoint(address: IPAddress, port: int) -> str:
    """An address with a port as people write it: ``192.0.2.10:80``, ``[2001:db8::10]:80``."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
