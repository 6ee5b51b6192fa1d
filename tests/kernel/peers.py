"""Ends of the peer link on hosts of the lab: each in a thread of its own, which is in the host's namespace."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from ha_lvs.daemon.channel import Channel, pair
from ha_lvs.daemon.peering import Peering
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.model import (
    Authentication,
    DirectorPart,
    Endpoint,
    Key,
    OnStop,
    Peer,
    PeerLink,
    ServerState,
    VirtualIp,
    VirtualService,
    VrrpInstance,
)
from ha_lvs.observe import logs
from ha_lvs.peer.hub import Hub
from ha_lvs.peer.link import Link

T = TypeVar("T")

OLD, NEW, FORGED = Key(1, "11" * 32), Key(2, "22" * 32), Key(1, "99" * 32)
PORT = 8849
ADDRESSES = {"lb1": "10.9.0.11", "lb2": "10.9.0.12", "c1": "10.9.0.31"}
WITHIN_S = 20.0


def keys(*known: Key, send: int = 0, enforce: bool = True) -> Authentication:
    """Authentication with these keys; the first signs unless told otherwise."""
    return Authentication(known, send or known[0].number, enforce)


def link_config(node: str, peers: dict[str, str] | None = None, **changes: Any) -> PeerLink:
    """The config of a link between lb1 and lb2; `peers` are addresses by name."""
    others = {name: at for name, at in ADDRESSES.items() if name != node and name.startswith("lb")}
    fields: dict[str, Any] = {
        "node": node,
        "address": ip_address(ADDRESSES[node]) if node in ADDRESSES else None,
        "port": PORT,
        "peers": tuple(Peer(name, ip_address(at)) for name, at in (others if peers is None else peers).items()),
        "authentication": keys(OLD),
    }
    return PeerLink(**(fields | changes))


class InNamespace:
    """A loop in a thread on a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._host.inside():
            self.loop.run_forever()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine there and gives its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WITHIN_S * PACE)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls a function there and gives its result."""

        async def work() -> T:
            return function(*arguments)

        return self.do(work())

    def freeze(self, seconds: float) -> None:
        """Keeps the loop from turning for a while; returns at once."""
        self.loop.call_soon_threadsafe(time.sleep, seconds)

    def stop(self) -> None:
        """Ends the loop without a word to anybody; sockets are closed, as when a process is killed."""

        async def vanish() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        if self.loop.is_running():
            with contextlib.suppress(Exception):
                self.do(vanish())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(WITHIN_S * PACE)
        self.loop.close()


class Node:
    """A hub on a host, and what it has told."""

    def __init__(self, host: Host, config: PeerLink, cluster: str = "edge", digest: str = "d1") -> None:
        self.place = InNamespace(host)
        self.events: list[tuple[str, ...]] = []
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.hub = self.place.call(lambda: Hub(config, cluster, "1.0", digest, self))
        self.hub.handlers["text"] = lambda link, body: self.got.append((link.node, body))
        self.place.call(self.hub.start)

    # what the hub tells

    def linked(self, link: Link) -> None:
        self.events.append(("linked", link.node))

    def lost(self, link: Link, silent: bool) -> None:
        self.events.append(("lost", link.node, "silent" if silent else "closed", link.detail))

    def changed(self, link: Link) -> None:
        pass

    def refused(self, address: str, node: str, detail: str) -> None:
        self.events.append(("refused", address, node, detail))

    def cannot_listen(self, detail: str) -> None:
        self.events.append(("cannot listen", detail))

    # for tests

    def of(self, kind: str) -> list[tuple[str, ...]]:
        """Events of a kind."""
        return [event for event in self.events if event[0] == kind]

    def link(self, node: str) -> Link | None:
        """The link to a node."""
        return next((link for link in self.hub.links if link.node == node), None)

    def is_linked(self, node: str) -> bool:
        """Whether it is up."""
        link = self.link(node)
        return link is not None and link.linked

    def send(self, node: str, body: dict[str, Any]) -> bool:
        """Sends a message of the kind that `got` collects."""
        link = self.link(node)
        assert link is not None
        return self.place.call(link.send, "text", body)

    def close(self) -> None:
        """Stops in order; again, or after `vanish`, it does nothing."""
        if not self.place.loop.is_closed():
            self.place.do(self.hub.close())
            self.vanish()

    def vanish(self) -> None:
        """Is gone, as when it is killed: transports are closed by the kernel."""

        def drop() -> None:
            for server in self.hub._servers:
                server.close()
            for connection in (*self.hub._established, *self.hub._handshakes):
                if connection._transport is not None:
                    connection._transport.abort()

        if self.place.loop.is_running():
            self.place.call(drop)
        self.place.stop()


INSTANCE = VrrpInstance(
    name="edge",
    interface="e0",
    router_id=51,
    priority=100,
    interval_s=1.0,
    preempt=True,
    source=ip_address("10.9.0.11"),
    peers=(),
    group=ip_address("224.0.0.18"),
    virtual_ips=(VirtualIp(ip_address("10.9.0.100"), 32, "e0"),),
    lease_s=3,
    announce_repeat=5,
    announce_interval_s=1.0,
)


def part(
    node: str,
    link: PeerLink | None,
    *,
    digest: str = "d1",
    instances: tuple[VrrpInstance, ...] = (INSTANCE,),
    services: tuple[VirtualService, ...] = (),
) -> DirectorPart:
    """A director's part of a config."""
    return DirectorPart("edge", node, digest, instances, services, None, OnStop.KEEP, 30.0, link)


class PeeringNode:
    """A director's peering on a host; the test plays its elector."""

    def __init__(self, host: Host, given: DirectorPart, directory: Path) -> None:
        self.place = InNamespace(host)
        self.unready = ""
        logs.configure("info", by="director")  # as the process does; its loggers have a level of their own
        directory.mkdir(parents=True, exist_ok=True)
        self._ends = pair()
        self.elector, inner = map(Channel, self._ends)
        self._frames: list[Any] = []
        self.borrowed: dict[Endpoint, ServerState] = {}

        def make() -> Peering:
            made = Peering(
                given, inner, directory,
                unready=lambda: self.unready, serving=(), status=lambda _service: {"node": given.node},
                borrow=self.borrowed.update,
            )  # fmt: skip
            made.start()
            return made

        self.peering = self.place.call(make)

    def heard(self, kind: type[T]) -> list[T]:
        """All frames of a kind that the elector has got so far."""
        self._frames += self.elector.receive()
        return [frame for frame in self._frames if isinstance(frame, kind)]

    def peers(self) -> list[dict[str, Any]]:
        """Where its links stand, as people are told."""
        found: list[dict[str, Any]] = self.place.call(self.peering.status)["peers"]
        return found

    def close(self) -> None:
        """Stops in order; again, it does nothing."""
        if self.place.loop.is_closed():
            return
        self.place.do(self.peering.close())
        self.place.stop()
        for end in self._ends:
            end.close()
