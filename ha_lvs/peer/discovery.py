"""Directors announce themselves on the network and find each other: DNS-SD over multicast DNS (RFC 6763, RFC 6762).

Service ``_ha-lvs._tcp``, instance ``CLUSTER.NODE``; its TXT record has cluster, node, version, digest and port.

Rules that hold here:
* Anybody on the network may announce anything. What is found is where one may look, never who somebody is.
* The addresses at work are chosen explicitly, so that a virtual IP is neither announced nor used, and looked at again
  every few seconds: an interface may get its address after we have started.
* zeroconf takes a tenth of a second and 10 MB to import, so it is imported where discovery is on, and in a thread.
* A failure to announce or to listen is told once and tried again; it never ends anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from ha_lvs.model import IPAddress

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

SERVICE_TYPE = "_ha-lvs._tcp.local."
LOOK_EVERY_S = 5.0
ASK_MS = 3000
GOODBYE_S = 1.0
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


class Discovery:
    """Announces a director, and knows those that others announce.

    Arguments:
        found: is called with all that are known, after each change.
        failed: is called with what is wrong, once for each different failure.
        interface: the one to work on; empty for every one.
        announced: what to announce, or None to look only. Without addresses it gets those of the interface.
        excluded: addresses that move, and belong to no director.
    """

    def __init__(
        self,
        found: Callable[[tuple[Announced, ...]], None],
        failed: Callable[[str], None],
        *,
        interface: str = "",
        announced: Announced | None = None,
        excluded: Collection[IPAddress] = (),
    ) -> None:
        self._found = found
        self._failed = failed
        self._interface = interface
        self._announced = announced
        self._excluded = frozenset(excluded)
        self._known: dict[str, Announced] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._told = ""

    async def run(self) -> None:
        """Works until it is cancelled, and says goodbye then."""
        names = ("zeroconf", "zeroconf.asyncio", "ifaddr")
        await asyncio.to_thread(lambda: [importlib.import_module(name) for name in names])
        while True:
            addresses = own_addresses(self._interface, self._excluded)
            if addresses:
                await self._work(addresses)
            else:
                self._complain(f"{self._interface or 'this machine'} has no address to announce")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _work(self, addresses: list[str]) -> None:
        """Announces and looks for as long as these are the addresses."""
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        try:
            zeroconf = AsyncZeroconf(interfaces=list(addresses))
        except (OSError, RuntimeError) as problem:
            self._complain(f"multicast DNS cannot be used: {problem}")
            return
        browser: AsyncServiceBrowser | None = None
        try:
            await zeroconf.zeroconf.async_wait_for_start()
            browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._on_change])
            registered = self._announced is None
            while own_addresses(self._interface, self._excluded) == addresses:
                registered = registered or await self._register(zeroconf, addresses)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await self._goodbye(zeroconf, browser)

    async def _register(self, zeroconf: AsyncZeroconf, addresses: list[str]) -> bool:
        from zeroconf import Error

        assert self._announced is not None
        own = self._announced if self._announced.addresses else replace(self._announced, addresses=tuple(addresses))
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

    async def _goodbye(self, zeroconf: AsyncZeroconf, browser: AsyncServiceBrowser | None) -> None:
        for task in self._asking.values():
            task.cancel()
        self._asking.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                if browser is not None:
                    await browser.async_cancel()
                await zeroconf.async_close()
        if self._known:
            self._known.clear()
            self._found(())

    def _complain(self, detail: str) -> None:
        if detail != self._told:
            self._told = detail
            self._failed(detail)

    # ------------------------------------------------------------------------------------- what others announce

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if task := self._asking.pop(name, None):
            task.cancel()
        if state_change.name == "Removed":
            if self._known.pop(name, None) is not None:
                self._found(tuple(self._known.values()))
        elif name in self._known or len(self._known) + len(self._asking) < MOST_FOUND:
            self._asking[name] = asyncio.get_running_loop().create_task(self._ask(zeroconf, service_type, name))

    async def _ask(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(service_type, name)
        told = await info.async_request(zeroconf, ASK_MS)
        self._asking.pop(name, None)
        found = announced(info) if told else None
        if found is not None and self._known.get(name) != found:
            self._known[name] = found
            self._found(tuple(self._known.values()))


def announced(info: AsyncServiceInfo) -> Announced | None:
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


def own_addresses(interface: str, excluded: Collection[IPAddress]) -> list[str]:
    """The addresses of this machine on which to announce and to look, as text, in a fixed order.

    Arguments:
        interface: its name; empty for every interface but loopback.
        excluded: addresses that are left out.

    An interface with IPv4 is worked with by IPv4; others by IPv6.
    """
    import ifaddr

    chosen: list[str] = []
    for adapter in ifaddr.get_adapters():
        if adapter.name != interface if interface else adapter.name == "lo":
            continue
        here = [ip_address(each.ip if isinstance(each.ip, str) else each.ip[0]) for each in adapter.ips]
        own = [each for each in here if each not in excluded and not each.is_loopback]
        chosen += [str(each) for each in own if each.version == 4] or [str(each) for each in own][:1]
    return sorted(chosen)


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
