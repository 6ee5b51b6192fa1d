"""Servers of the lab that announce themselves by DNS-SD, with the real zeroconf in the server's namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from ha_lvs.drill.lab.hosts import Host
from tests.kernel.peers import InNamespace

TYPE = "_http._tcp"


class Announcer:
    """A server that announces itself until it is closed.

    Arguments:
        host: where it is.
        addresses: as announced; its own one comes first, and is what it speaks from.
        port, txt: as announced.
    """

    def __init__(self, host: Host, addresses: Sequence[str], port: int = 80, txt: dict[str, Any] | None = None) -> None:
        self.place = InNamespace(host)
        self._info = AsyncServiceInfo(
            f"{TYPE}.local.",
            f"{host.name}.{TYPE}.local.",
            port=port,
            properties=txt or {},
            server=f"{host.name}.local.",
            parsed_addresses=list(addresses),
        )
        self.place.do(self._announce(addresses[0]))

    async def _announce(self, own: str) -> None:
        self._zeroconf = AsyncZeroconf(interfaces=[own])
        await (await self._zeroconf.async_register_service(self._info))

    def close(self) -> None:
        """Says goodbye; again, it does nothing."""
        if not self.place.loop.is_closed():
            self.place.do(self._goodbye())
            self.place.stop()

    async def _goodbye(self) -> None:
        await (await self._zeroconf.async_unregister_service(self._info))
        await asyncio.wait_for(self._zeroconf.async_close(), 5.0)
