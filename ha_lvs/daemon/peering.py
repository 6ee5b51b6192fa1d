"""The other directors' place in the director process: what is told to them, to our elector, and to people.

    config     {digest}                              message on the link: of the config file from now on
    pools      {n, services: {name: servers up}}     message on the link: of services that an election depends on

Rules that hold here:
* Without a peer link in the config everything is as with a peer that is never there.
* The elector is told of changes, and of everything when it was started anew.
* What the elector was told by the process that we replace holds until we know better: nothing is told before it is
  known, and nothing is taken back because a link is not there yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import __version__
from ha_lvs.daemon.channel import (
    Channel,
    InstanceState,
    OfferRole,
    PeersFound,
    RefuseRole,
    SyncState,
    TrackState,
)
from ha_lvs.daemon.offers import Offers
from ha_lvs.daemon.overrides import Overrides
from ha_lvs.daemon.sharing import Sharing
from ha_lvs.daemon.spreading import Spreading
from ha_lvs.daemon.telling import Told
from ha_lvs.model import DirectorPart, Endpoint, Override, PeerLink, ServerState
from ha_lvs.peer.acquaintances import Acquaintances
from ha_lvs.peer.discovery import Announced, Discovery
from ha_lvs.peer.exchange import StatusExchange
from ha_lvs.peer.hub import Candidate, Hub, address_of
from ha_lvs.peer.insync import InSync
from ha_lvs.peer.link import Link
from ha_lvs.peer.pools import SERVICE, Pools

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
UNLINKED_S = 10.0
MOST_DISCOVERED = 64
MOST_DIGEST = 64


class Peering:
    """The links to other directors, as the director process uses them.

    Arguments:
        part: the director's part of the config.
        elector: the channel to it.
        runtime_dir: where acquaintances are remembered.
        unready: why IPVS is not as it should be, in words; empty when it is.
        serving: endpoints that get traffic although no probe has told of them yet.
        status: what is answered to a peer that asks; it is given the name of the one service that matters, or nothing.
        overrides: what operators have said; None where there are no services.
        heard: takes in what they have said at a peer, and returns what was news.
        borrow: takes in what the peers think of servers.
    """

    def __init__(
        self,
        part: DirectorPart,
        elector: Channel,
        runtime_dir: Path,
        *,
        unready: Callable[[], str],
        serving: Iterable[Endpoint],
        status: Callable[[str], dict[str, Any]],
        overrides: Overrides | None = None,
        heard: Callable[[list[Override]], list[Override]] = list,
        borrow: Callable[[Mapping[Endpoint, ServerState]], None] = lambda _: None,
    ) -> None:
        now = time.monotonic()
        self._part = part
        self._config = part.peer_link
        self._to_elector = Told(elector)
        self._ipvs_unready = unready
        self._serving = frozenset(serving)
        tracks = [track for instance in part.instances for track in instance.tracks]
        self._pools = Pools(part.services, tracks, now)
        self._said_pools: dict[str, int] = {}
        self._newest_pools: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._in_sync = InSync(part.sync is not None, now)
        self._acquaintances = Acquaintances(runtime_dir, part.cluster)
        self._differing: set[str] = set()
        self._missed: set[str] = set()
        self._discovered: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._discovering: asyncio.Task[None] | None = None
        self._closing = False
        self._hub: Hub | None = None
        self._exchange: StatusExchange | None = None
        if self._config is not None:
            self._hub = Hub(self._config, part.cluster, __version__, part.config_digest, self)
            self._hub.handlers["pools"] = self._on_pools
            self._hub.handlers["config"] = self._on_config
            self._exchange = StatusExchange(self._hub, status)
        self.overrides = Spreading(self._hub, overrides, heard)
        self.verdicts = Sharing(self._hub, borrow)
        instances = frozenset(instance.name for instance in part.instances)
        self._offers = Offers(part.node, instances, elector, self._hub, self._unready)

    # ---------------------------------------------------------------------------------- for the director

    def start(self) -> None:
        """Begins to listen, to dial and to look, in the running loop."""
        self._tasks = [asyncio.create_task(self._watch())]
        if self._hub is None or self._config is None:
            return
        self._hub.start()
        for link in self._hub.links:
            self.changed(link)
        self._tell_found()
        if self._config.discovery:
            self._discover(self._config)

    async def close(self) -> None:
        """Says goodbye to the peers."""
        self._closing = True
        self.verdicts.close()
        tasks = [*self._tasks, *([] if self._discovering is None else [self._discovering])]
        for task in tasks:
            task.cancel()
        if self._hub is not None:
            await self._hub.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, part: DirectorPart) -> None:
        """Follows other services: tells the peers of another config file, and judges by its pools."""
        same_file = part.config_digest == self._part.config_digest
        self._part = part
        self._pools.follow(part.services)
        if same_file:  # only servers were found, or are gone
            return
        if self._hub is not None:
            self._hub.identity = replace(self._hub.identity, config_digest=part.config_digest)
            for link in self._links():
                self._send_config(link)
                self.changed(link)
        if self._discovering is not None and self._config is not None:
            self._discovering.cancel()
            self._discover(self._config)

    def elector_started(self) -> None:
        """The elector knows nothing: tells it everything."""
        self._to_elector.all_again()

    def beat_now(self) -> None:
        """A sign of life amid work that keeps the loop from turning."""
        if self._hub is not None:
            self._hub.beat_now()

    def from_elector(self, frame: OfferRole | RefuseRole | InstanceState) -> None:
        """The elector offers a role, does not take one, or tells where an instance stands."""
        match frame:
            case OfferRole():
                self._offers.offer(frame)
            case RefuseRole():
                self._offers.refuse(frame)
            case InstanceState():
                self._offers.instance_changed(frame)

    def verdict(self, endpoint: Endpoint, state: ServerState) -> None:
        """A prober has told of a server."""
        self.verdicts.verdict(endpoint, state)
        self._pools.verdict(endpoint, state)
        own = self._pools.own()
        if own != self._said_pools:
            self._said_pools = own
            for link in self._links():
                self._send_pools(link)
            self._judge()

    def status(self) -> dict[str, Any]:
        """The `peers`, `peer_link` and `disagreements` of `ha-lvs status --json`."""
        return {
            "disagreements": self.verdicts.disagreements,
            "peers": [self._peer_status(link) for link in self._links()],
            "peer_link": None
            if self._hub is None
            else {"listening": self._hub.listening, "refused": dict(sorted(self._hub.refusals.items()))},
        }

    async def both(self, own: dict[str, Any]) -> dict[str, Any]:
        """Our status beside the peer's, for `ha-lvs status --peer`.

        Arguments:
            own: our status.

        `peer` is None where none answers, and `problem` says why. With several peers `others` has the rest by name.
        """
        answers: dict[str, Any] = {}
        problems = [] if self._links() else ["no peer: the config file has no peer link, and none was found"]
        for link in self._links():
            try:
                assert self._exchange is not None
                answers[link.node] = await self._exchange.ask(link)
            except TimeoutError:
                problems.append(f"{link.node} does not answer")
            except ConnectionError as problem:
                problems.append(f"{link.node} is not linked: {problem}")
        peer = answers.pop(next(iter(answers), ""), None)
        found = {"self": own, "peer": peer, "problem": "; ".join(problems)}
        return found | ({"others": answers} if answers else {})

    async def service(self, name: str) -> dict[str, Any]:
        """One service as the other directors have it, by their names; None for one that is not there to tell.

        Arguments:
            name: of the service.
        """
        found: dict[str, Any] = {}
        for link in self._links():
            found[link.node] = None
            with contextlib.suppress(TimeoutError, ConnectionError):
                assert self._exchange is not None
                found[link.node] = (await self._exchange.ask(link, name)).get("services", {}).get(name)
        return found

    def _peer_status(self, link: Link) -> dict[str, Any]:
        state = link.state()
        configured = self._config is not None and any(peer.node == link.node for peer in self._config.peers)
        return {
            "node": state.node,
            "address": state.address,
            "linked": state.linked,
            "authenticated": state.authenticated,
            "version": state.version,
            "config_digest": state.config_digest,
            "same_config": state.config_digest == self._part.config_digest if state.linked else None,
            "since": datetime.fromtimestamp(link.since_s, UTC).isoformat(),
            "detail": state.detail,
            "discovered": not configured,
        }

    def _unready(self) -> str:
        if reason := self._ipvs_unready():
            return f"{self._part.node} is not ready: {reason}"
        unprobed = self._pools.unprobed(self._serving)
        return f"{self._part.node} is not ready: {unprobed} servers have yet to be checked" if unprobed else ""

    # ------------------------------------------------------------------------------------- for the hub

    def linked(self, link: Link) -> None:
        """A director is there that knows nothing of us yet."""
        assert link.peer is not None
        now = time.monotonic()
        self._missed.discard(link.node)
        self._newest_pools.pop(link.node, None)
        self._pools.peer_linked(link.node, now)
        self._in_sync.linked(now)
        self._offers.linked(link)
        self.overrides.linked(link)
        self._send_pools(link)
        self.verdicts.linked(link)
        log.notice(
            "peer linked",
            node=link.node,
            address=link.address,
            version=link.peer.version,
            authenticated=link.authenticated,
        )
        if link.authenticated and self._config is not None and self._config.discovery:
            known = any(peer.node == link.node for peer in self._config.peers)
            address = address_of(link)
            if not known and address is not None and self._acquaintances.meet(link.node, address):
                self._tell_found()

    def lost(self, link: Link, silent: bool) -> None:
        """A director is gone."""
        if self._closing:
            return  # it is we who go
        now = time.monotonic()
        self._pools.peer_lost(link.node, now)
        if not any(each.linked for each in self._links()):
            self._in_sync.lost(now)
        self._offers.lost(link)
        self.verdicts.lost(link)
        if self._exchange is not None:
            self._exchange.lost(link)
        if silent:
            log.warning("peer link lost", node=link.node, address=link.address, detail=link.detail)
        else:
            log.notice("peer link lost", node=link.node, address=link.address, detail=link.detail)

    def changed(self, link: Link) -> None:
        """Something of a link's state is different."""
        state = link.state()
        ours = self._part.config_digest
        if state.linked and state.config_digest != ours and state.node not in self._differing:
            self._differing.add(state.node)
            log.warning("config differs from the peer's", node=state.node, ours=ours, theirs=state.config_digest)
        elif state.linked and state.config_digest == ours and state.node in self._differing:
            self._differing.discard(state.node)
            log.notice("config is the peer's again", node=state.node, ours=ours)

    def refused(self, address: str, node: str, detail: str) -> None:
        """Something was refused, or we were."""
        log.warning("peer refused", address=address, node=node, detail=detail)

    def cannot_listen(self, detail: str) -> None:
        """Peers cannot reach us (yet)."""
        log.warning("peer link cannot listen", detail=detail)

    def _links(self) -> list[Link]:
        return [] if self._hub is None else self._hub.links

    # ----------------------------------------------------------------------------------- pools, and in time

    def _on_pools(self, link: Link, body: dict[str, Any]) -> None:
        number, services = int(body["n"]), dict(body["services"])
        if number > self._newest_pools.get(link.node, 0):
            self._newest_pools[link.node] = number
            self._pools.peer_told(link.node, services)
            self._judge()

    def _on_config(self, link: Link, body: dict[str, Any]) -> None:
        link.follows(str(body["digest"])[:MOST_DIGEST])
        self.changed(link)

    def _send_config(self, link: Link) -> None:
        link.send("config", {"digest": self._part.config_digest})

    def _send_pools(self, link: Link) -> None:
        link.send("pools", {"n": next(self._numbers), "services": self._said_pools})

    def _judge(self) -> None:
        for name, (up, detail) in self._pools.changes(time.monotonic()).items():
            self._to_elector.tell(SERVICE + name, TrackState(SERVICE + name, up, detail))

    async def _watch(self) -> None:
        while True:
            self._look(time.monotonic())
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self, now: float) -> None:
        self._judge()
        in_sync = self._in_sync.value(now)
        if in_sync is not None:
            self._to_elector.tell("in sync", SyncState(in_sync))
        self._to_elector.catch_up()
        self.overrides.look(now)
        self.verdicts.look(now)
        for link in self._links():
            missed = not link.linked and not link.planned and now - link.changed_at >= UNLINKED_S
            if missed and link.node not in self._missed:
                self._missed.add(link.node)
                log.warning("peer is not linked", node=link.node, address=link.address, detail=link.detail)

    # ----------------------------------------------------------------------------------------- discovery

    def _discover(self, config: PeerLink) -> None:
        self._discovering = asyncio.create_task(self._discovery(config).run())

    def _discovery(self, config: PeerLink) -> Discovery:
        own = Announced(
            cluster=self._part.cluster,
            node=config.node,
            version=__version__,
            config_digest=self._part.config_digest,
            port=config.port,
            addresses=() if config.address is None else (str(config.address),),
        )
        return Discovery(
            self._found,
            lambda detail: log.warning("discovery does not work", detail=detail),
            interface=config.discovery_interface,
            announced=own,
            excluded={ip.address for instance in self._part.instances for ip in instance.virtual_ips},
        )

    def _found(self, found: tuple[Announced, ...]) -> None:
        assert self._hub is not None
        ours = [each for each in found if each.cluster == self._part.cluster and each.node != self._part.node]
        for each in ours:
            if each.node not in self._discovered and len(self._discovered) < MOST_DISCOVERED:
                self._discovered.add(each.node)
                log.info("director discovered", node=each.node, addresses=", ".join(each.addresses))
        self._hub.found({each.node: Candidate(each.addresses, each.port) for each in ours})

    def _tell_found(self) -> None:
        if self._config is not None and self._config.discovery and self._acquaintances.addresses:
            found = sorted(self._acquaintances.addresses.values(), key=str)
            self._to_elector.tell("found", PeersFound(tuple(found)))
