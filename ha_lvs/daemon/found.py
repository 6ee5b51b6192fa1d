"""Servers that announce themselves on the network, in the director process: looked for, remembered, told of.

Rules that hold here:
* Who is taken in and who goes is decided by `ha_lvs.plan.found`. Here are the sockets, the clock and the file.
* What was found is remembered in a file, so that a director that starts anew neither empties a pool nor forgets whom
  it was to forget: what is in the file stays as if it had just ceased to be announced.
* The services of the config go in, and come out with more servers. Everything else takes them for services.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import files
from ha_lvs.model import Announcement, DestinationKey, DirectorPart, FoundServer, IPAddress, VirtualService
from ha_lvs.peer.servers import ServerBrowser
from ha_lvs.plan.found import changes_at, settled, with_found

log = structlog.get_logger()

FILE = "found.json"
SETTLE_S = 0.25
"""What is announced within this time is taken in at once."""

Interfaces = tuple[str, ...]
Look = tuple[Interfaces, frozenset[str], frozenset[IPAddress]]
"""Where to look, for which types, and without which addresses."""


class FoundServers:
    """The servers that the services of a director have found.

    Arguments:
        part: the director's part of the config.
        runtime_dir: where they are remembered.

    Until `start` it only knows what was remembered, and writes nothing.
    """

    def __init__(self, part: DirectorPart, runtime_dir: Path) -> None:
        self._file = runtime_dir / FILE
        self._services: dict[str, VirtualService] = {}
        self._virtual: frozenset[IPAddress] = frozenset()
        self._found = _read(self._file)
        self._announced: dict[Interfaces, tuple[Announcement, ...] | None] = {}
        self._looks: dict[Interfaces, tuple[Look, asyncio.Task[None]]] = {}
        self._ended: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._changed: Callable[[], object] | None = None
        self._down: Callable[[str], Collection[DestinationKey]] = _nobody
        self.follow(part)

    def on(self, part: DirectorPart) -> DirectorPart:
        """The part with the servers that were found among those of its services."""
        if not self._services:
            return part
        services = tuple(with_found(each, self._found.get(each.name, {})) for each in part.services)
        return replace(part, services=services)

    def start(self, changed: Callable[[], object], down: Callable[[str], Collection[DestinationKey]]) -> None:
        """Begins to look, in the running loop.

        Arguments:
            changed: is called when `on` gives something else.
            down: tells the servers of a service, by its name, whose check fails.
        """
        self._changed, self._down = changed, down
        self._look()

    def follow(self, part: DirectorPart) -> None:
        """Follows another config. What was found and still fits stays; `on` gives it at once."""
        self._services = {each.name: each for each in part.services if each.discovery is not None}
        self._virtual = frozenset(
            [ip.address for instance in part.instances for ip in instance.virtual_ips]
            + [each.service.key.address for each in part.services if not each.service.key.mark]
        )
        self._settle()
        if self._changed is not None:
            self._look()

    def look_again(self) -> None:
        """A check has failed, or something else has happened that may concern who stays."""
        if self._services and self._changed is not None:
            self._in(SETTLE_S)

    async def close(self) -> None:
        """Ends looking; what was found stays remembered."""
        self._changed = None
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._ended, *(task for _, task in self._looks.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._looks.clear()

    # ------------------------------------------------------------------------------------------------- looking

    def _look(self) -> None:
        """Looks for what the services want, and for nothing else."""
        wanted: dict[Interfaces, Look] = {}
        for each in self._services.values():
            assert each.discovery is not None
            at = each.discovery.interfaces
            types = wanted[at][1] if at in wanted else frozenset[str]()
            wanted[at] = (at, types | {each.discovery.type}, self._virtual)
        self._ended = [task for task in self._ended if not task.done()]
        for at, (look, task) in list(self._looks.items()):
            if wanted.get(at) != look:
                task.cancel()
                self._ended.append(task)
                del self._looks[at]
                self._announced.pop(at, None)
        for at, look in wanted.items():
            if at not in self._looks:
                self._looks[at] = look, asyncio.get_running_loop().create_task(self._browse(look))

    async def _browse(self, look: Look) -> None:
        at, types, virtual = look
        running = asyncio.current_task()

        def heard(announced: tuple[Announcement, ...] | None) -> None:
            if at in self._looks and self._looks[at][1] is running:  # not one that another has followed
                self._announced[at] = announced
                self._in(SETTLE_S)

        def failed(detail: str) -> None:
            log.warning("servers cannot be discovered", detail=detail)

        await ServerBrowser(types, heard, failed, interfaces=at, excluded=virtual).run()

    # ------------------------------------------------------------------------------------------------- settling

    def _in(self, seconds: float) -> None:
        """Settles after so many seconds at the latest."""
        if self._changed is None:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._settle_and_tell)

    def _settle_and_tell(self) -> None:
        self._timer = None
        if self._settle() and self._changed is not None:
            self._changed()

    def _settle(self) -> bool:
        """Brings what is found up to date; says whether the services have other servers now."""
        now = time.monotonic()
        before, self._found = self._found, {}
        moments = []
        for name, service in self._services.items():
            assert service.discovery is not None
            announced = self._announced.get(service.discovery.interfaces)
            was = before.get(name, {})
            down = self._down(name)
            found = settled(service, was, announced, now, down=down, virtual=self._virtual)
            if found:
                self._found[name] = found
            if self._changed is not None:
                _tell(name, was, found, down)
            moments.append(changes_at(service, found, down))
        changed = _weights(before) != _weights(self._found)
        if changed and self._changed is not None:
            self._remember()
        next_at = min((each for each in moments if each is not None), default=None)
        if next_at is not None:
            self._in(max(0.0, next_at - now) + SETTLE_S)
        return changed

    def _remember(self) -> None:
        content = {
            name: [[str(key.address), key.port, weight] for key, weight in servers.items()]
            for name, servers in _weights(self._found).items()
        }
        with contextlib.suppress(OSError):  # it is known while this process lives
            files.replace(self._file, json.dumps({"services": content}))


Servers = dict[DestinationKey, FoundServer]


def _nobody(_service: str) -> Collection[DestinationKey]:
    return ()


def _weights(found: dict[str, Servers]) -> dict[str, dict[DestinationKey, int]]:
    return {name: {key: each.weight for key, each in servers.items()} for name, servers in found.items()}


def _tell(service: str, before: Servers, found: Servers, down: Collection[DestinationKey]) -> None:
    for key, each in found.items():
        if key not in before:
            log.notice("server discovered", service=service, server=str(key), weight=each.weight)
    for key, each in before.items():
        if key not in found:
            reason = "the config does not admit it any more"
            if each.gone_s is not None:
                reason = f"its announcement is gone{' and its check fails' if key in down else ''}"
            log.notice("discovered server is gone", service=service, server=str(key), reason=reason)


def _read(file: Path) -> dict[str, Servers]:
    """What was remembered; nothing where there is nothing that can be understood."""
    try:
        content: dict[str, Any] = json.loads(file.read_text())["services"]
        found: dict[str, Servers] = {}
        for name, servers in content.items():
            for address, port, weight in servers:
                key = DestinationKey(ip_address(address), int(port))
                found.setdefault(str(name), {})[key] = FoundServer(key, int(weight))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found
