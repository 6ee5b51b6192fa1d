"""Real servers that announce themselves by DNS-SD, as directors look for them.

What a server says is data of strangers: it is read here into an `Announcement`, or into nothing, and never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ha_lvs.model import Announcement, IPAddress
from ha_lvs.peer.browsing import Browser

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo

DOMAIN = ".local."
MOST_FOUND = 4096
MOST_ADDRESSES = 32
MOST_WEIGHT = 65535


class ServerBrowser(Browser[Announcement]):
    """Knows the servers that announce themselves.

    Arguments:
        types: of DNS-SD, as in ``_http._tcp``.
        found: is called with all that are announced after each change, and with None when nobody can look any more.
        failed: is called with what is wrong, once for each different failure.
        interfaces: where to look; empty for everywhere.
        excluded: addresses that move, and are not to be used.
    """

    def __init__(
        self,
        types: Collection[str],
        found: Callable[[tuple[Announcement, ...] | None], None],
        failed: Callable[[str], None],
        *,
        interfaces: Collection[str] = (),
        excluded: Collection[IPAddress] = (),
    ) -> None:
        self._tell = found
        self._looking = False
        super().__init__(
            [f"{each}{DOMAIN}" for each in sorted(types)],
            read,
            self._known_changed,
            failed,
            interfaces=interfaces,
            excluded=excluded,
            most=MOST_FOUND,
        )

    def _looks(self, looks: bool) -> None:
        self._looking = looks
        self._told = ""
        self._tell(() if looks else None)

    def _known_changed(self, known: tuple[Announcement, ...]) -> None:
        if self._looking:  # what is forgotten at the end of looking is not gone
            self._tell(known)


def read(info: AsyncServiceInfo) -> Announcement | None:
    """What a server says of itself, or None where it is of no use."""
    return announcement(info.name, info.type, info.parsed_scoped_addresses(), info.port, info.properties)


def announcement(
    name: str, service_type: str, addresses: Collection[str], port: int | None, txt: Mapping[bytes, bytes | None]
) -> Announcement | None:
    """An announcement from what is in its records, or None where there is no address or no port to connect to.

    Arguments:
        name, service_type: of the instance, with their domain.
        addresses: as text; link-local ones of IPv6, which mean nothing elsewhere, are left out.
        port: of the SRV record.
        txt: the TXT record.
    """
    usable = [each for text in list(addresses)[:MOST_ADDRESSES] if (each := _address(text)) is not None]
    if not usable or port is None or not 0 < port < 65536:
        return None
    kind = service_type.removesuffix(DOMAIN)
    return Announcement(name, kind, tuple(dict.fromkeys(usable)), port, _weight(txt.get(b"weight")))


def _address(text: str) -> IPAddress | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    odd = found.is_loopback or found.is_multicast or found.is_unspecified
    return None if odd or (found.version == 6 and found.is_link_local) else found


def _weight(value: bytes | None) -> int | None:
    if value is None or not value.isdigit() or len(value) > 5:
        return None
    return int(value) if int(value) <= MOST_WEIGHT else None
