"""Looking at what is announced by DNS-SD over multicast DNS (RFC 6763, RFC 6762).

Rules that hold here:
* Anybody on the network may announce anything: what is known is bounded, and read by whoever knows what it should be.
* The addresses at work are chosen explicitly, so that a virtual IP is never used, and looked at again every few
  seconds: an interface may get its address after we have started.
* zeroconf takes a tenth of a second and 10 MB to import, so it is imported where something is looked for, in a thread.
* A failure to look is told once and tried again; it never ends anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import TYPE_CHECKING, Generic, TypeVar

from ha_lvs.model import IPAddress

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

LOOK_EVERY_S = 5.0
ASK_MS = 3000
GOODBYE_S = 1.0

T = TypeVar("T")


class Browser(Generic[T]):
    """Knows what is announced, for as long as it is.

    Arguments:
        types: of the services, as in ``_http._tcp.local.``.
        read: what a service says, or None when that is of no use.
        found: is called with all that is known, after each change.
        failed: is called with what is wrong, once for each different failure.
        interfaces: those to work on; empty for every one.
        excluded: addresses that move, and are not to be used.
        most: so many are known at a time.
    """

    LACKS = "has no address to look from"
    """What is wrong with a machine, or an interface, where nothing can be done."""

    def __init__(
        self,
        types: Collection[str],
        read: Callable[[AsyncServiceInfo], T | None],
        found: Callable[[tuple[T, ...]], None],
        failed: Callable[[str], None],
        *,
        interfaces: Collection[str] = (),
        excluded: Collection[IPAddress] = (),
        most: int,
    ) -> None:
        self._types = list(types)
        self._read = read
        self._found = found
        self._failed = failed
        self._interfaces = tuple(interfaces)
        self._excluded = frozenset(excluded)
        self._most = most
        self._known: dict[str, T] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._silent: dict[str, str] = {}  # names that are announced and did not answer, with their types
        self._told = ""

    async def run(self) -> None:
        """Works until it is cancelled, and says goodbye then."""
        names = ("zeroconf", "zeroconf.asyncio", "ifaddr")
        await asyncio.to_thread(lambda: [importlib.import_module(name) for name in names])
        while True:
            addresses = own_addresses(self._interfaces, self._excluded)
            if addresses:
                await self._work(addresses)
            else:
                self._complain(f"{' and '.join(self._interfaces) or 'this machine'} {self.LACKS}")
            await asyncio.sleep(LOOK_EVERY_S)

    # ------------------------------------------------------------------------------------------ what may be added

    async def _meanwhile(self, zeroconf: AsyncZeroconf, addresses: list[str]) -> None:
        """Is called every few seconds while it works."""

    def _looks(self, looks: bool) -> None:
        """Is called when it begins to look, and when it ends."""

    # --------------------------------------------------------------------------------------------------- the work

    async def _work(self, addresses: list[str]) -> None:
        """Looks for as long as these are the addresses."""
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        try:
            zeroconf = AsyncZeroconf(interfaces=list(addresses))
        except (OSError, RuntimeError) as problem:
            self._complain(f"multicast DNS cannot be used: {problem}")
            return
        browser: AsyncServiceBrowser | None = None
        try:
            await zeroconf.zeroconf.async_wait_for_start()
            self._looks(True)
            browser = AsyncServiceBrowser(zeroconf.zeroconf, self._types, handlers=[self._on_change])
            while own_addresses(self._interfaces, self._excluded) == addresses:
                await self._meanwhile(zeroconf, addresses)
                for name, service_type in list(self._silent.items()):
                    self._begin_to_ask(zeroconf.zeroconf, service_type, name)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._looks(False)
            await self._goodbye(zeroconf, browser)

    async def _goodbye(self, zeroconf: AsyncZeroconf, browser: AsyncServiceBrowser | None) -> None:
        for task in self._asking.values():
            task.cancel()
        self._asking.clear()
        self._silent.clear()
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
            self._silent.pop(name, None)
            if self._known.pop(name, None) is not None:
                self._found(tuple(self._known.values()))
        elif name in self._known or len(self._known) + len(self._asking) + len(self._silent) < self._most:
            self._begin_to_ask(zeroconf, service_type, name)

    def _begin_to_ask(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        self._silent.pop(name, None)
        self._asking[name] = asyncio.get_running_loop().create_task(self._ask(zeroconf, service_type, name))

    async def _ask(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(service_type, name)
        told = await info.async_request(zeroconf, ASK_MS)
        self._asking.pop(name, None)
        if not told:
            self._silent[name] = service_type
            return
        found = self._read(info)
        if found is not None and self._known.get(name) != found:
            self._known[name] = found
            self._found(tuple(self._known.values()))


def own_addresses(interfaces: Collection[str], excluded: Collection[IPAddress]) -> list[str]:
    """The addresses of this machine on which to announce and to look, as text, in a fixed order.

    Arguments:
        interfaces: their names; empty for every interface but loopback.
        excluded: addresses that are left out.

    An interface with IPv4 is worked with by IPv4; others by IPv6.
    """
    import ifaddr

    chosen: list[str] = []
    for adapter in ifaddr.get_adapters():
        if adapter.name not in interfaces if interfaces else adapter.name == "lo":
            continue
        here = [ip_address(each.ip if isinstance(each.ip, str) else each.ip[0]) for each in adapter.ips]
        own = [each for each in here if each not in excluded and not each.is_loopback]
        chosen += [str(each) for each in own if each.version == 4] or [str(each) for each in own][:1]
    return sorted(chosen)
