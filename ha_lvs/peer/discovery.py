"""Directors announce themselves on the network and find each other: DNS-SD over multicast DNS (RFC 6763, RFC 6762).

Service ``_ha-lvs._tcp``, instance ``CLUSTER.NODE``; its TXT record has cluster, node, version, digest and port.

Rules that hold here:
* What is found is where one may look, never who somebody is.
* A failure to announce is told once and tried again; it never ends anything else. `browsing` has the other rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from ha_lvs.model import IPAddress
from ha_lvs.peer.browsing import Browser

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

SERVICE_TYPE = "_ha-lvs._tcp.local."
MOST_FOUND = 256
MOST_ADDRESSES = 8
_LONGEST_LABEL = 63


@dataclass(frozen=True, slots=True)
class Announced:
    """A director as it announces itself.

    Arguments:
        cluster, node: its names.
        version: of its program.
        config_digest: of its config file.
        port: where its peer link listens.
        addresses: its own, as text; link-local ones with their interface behind a ``%``.
    """

    cluster: str
    node: str
    version: str
    config_digest: str
    port: int
    addresses: tuple[str, ...] = ()


class Discovery(Browser[Announced]):
    """Announces a director, and knows those that others announce.

    Arguments:
        found: is called with all that are known, after each change.
        failed: is called with what is wrong, once for each different failure.
        interface: the one to work on; empty for every one.
        announced: what to announce, or None to look only. Without addresses it gets those of the interface.
        excluded: addresses that move, and belong to no director.
    """

    LACKS = "has no address to announce"

    def __init__(
        self,
        found: Callable[[tuple[Announced, ...]], None],
        failed: Callable[[str], None],
        *,
        interface: str = "",
        announced: Announced | None = None,
        excluded: Collection[IPAddress] = (),
    ) -> None:
        interfaces = [interface] if interface else []
        super().__init__([SERVICE_TYPE], read, found, failed, interfaces=interfaces, excluded=excluded, most=MOST_FOUND)
        self._own = announced
        self._registered = False

    def _looks(self, looks: bool) -> None:  # noqa: ARG002  (either way it is not announced)
        self._registered = False

    async def _meanwhile(self, zeroconf: AsyncZeroconf, addresses: list[str]) -> None:
        if self._own is not None and not self._registered:
            own = self._own if self._own.addresses else replace(self._own, addresses=tuple(addresses))
            self._registered = await self._register(zeroconf, own)

    async def _register(self, zeroconf: AsyncZeroconf, own: Announced) -> bool:
        from zeroconf import Error

        try:
            announcing = await zeroconf.async_register_service(service_info(own))
            await announcing
        except Error as problem:
            name = f"{own.cluster}.{own.node}"
            self._complain(
                f"{name} cannot be announced, does another machine use this name? ({type(problem).__name__})"
            )
            return False
        self._told = ""
        return True


def read(info: AsyncServiceInfo) -> Announced | None:
    """What a service says, or None when it is none of ha-lvs."""
    said = {
        key.decode(errors="replace"): (value or b"").decode(errors="replace") for key, value in info.properties.items()
    }
    words = cluster, node, version, digest = [said.get(key, "") for key in ("cluster", "node", "version", "digest")]
    if not all(word and len(word) <= 255 and word.isascii() and word.isprintable() for word in words):
        return None
    port = said.get("port", "")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return None
    usable = [text for text in info.parsed_scoped_addresses() if _can_be_dialed(text)]
    return Announced(cluster, node, version, digest, int(port), tuple(usable[:MOST_ADDRESSES]))


def service_info(own: Announced) -> Any:
    """The DNS-SD records of a director, for zeroconf."""
    from zeroconf.asyncio import AsyncServiceInfo

    return AsyncServiceInfo(
        SERVICE_TYPE,
        f"{_label(f'{own.cluster}.{own.node}')}.{SERVICE_TYPE}",
        port=own.port,
        properties={
            "cluster": own.cluster,
            "node": own.node,
            "version": own.version,
            "digest": own.config_digest,
            "port": str(own.port),
        },
        server=f"{_label(f'ha-lvs-{own.cluster}-{own.node}'.replace('.', '-'))}.local.",
        parsed_addresses=[address.partition("%")[0] for address in own.addresses],
    )


def _can_be_dialed(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.is_link_local and not address.scope_id:
        return False
    return not (address.is_loopback or address.is_multicast or address.is_unspecified)


def _label(text: str) -> str:
    """Text that fits a DNS label, the same for the same text."""
    if len(text) <= _LONGEST_LABEL:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{text[: _LONGEST_LABEL - 13]}-{digest}"
