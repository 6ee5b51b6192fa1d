"""A simulated cluster: pure machines, a clock, a lossy network, a kernel that honours leases, a neighbour's ARP table.

Everything follows from a seed. Faults: crash (no resignation), freeze, cut (a router hears and is heard by nobody),
deafness (one way: it does not hear the others, who hear it), loss and delay of packets.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Heard,
    HoldAddresses,
    RoleChanged,
    SendAdvertisement,
    Start,
    Stop,
)
from ha_lvs.election.machine import Machine
from ha_lvs.model import Role, VirtualIp, VrrpInstance

GROUP = IPv4Address("224.0.0.18")
VIP = VirtualIp(IPv4Address("10.9.0.100"), 32, "e0")


def instance(
    number: int, priority: int, *, interval_s: float = 1.0, preempt: bool = True, refresh_s: float = 5.0
) -> VrrpInstance:
    """The configuration of router `number` (1, 2, ...)."""
    return VrrpInstance(
        name="edge",
        interface="e0",
        router_id=51,
        priority=priority,
        interval_s=interval_s,
        preempt=preempt,
        source=IPv4Address(f"10.9.0.{10 + number}"),
        peers=(),
        group=GROUP,
        virtual_ips=(VIP,),
        lease_s=max(1, int(3 * interval_s)),
        announce_repeat=2,
        announce_interval_s=1.0,
        announce_refresh_s=refresh_s,
    )


@dataclass
class Router:
    """A router of the world: its machine, its kernel and what is wrong with it."""

    config: VrrpInstance
    machine: Machine
    alive: bool = True
    frozen: bool = False
    cut: bool = False
    deaf: bool = False
    held_until: float = -1.0
    inbox: list[Heard] = field(default_factory=list)
    roles: list[tuple[float, Role, str]] = field(default_factory=list)

    def holds(self, now: float) -> bool:
        """Whether its kernel has the address now: until the lease ends, whatever became of the daemon."""
        return self.held_until > now


class World:
    """The routers and what lies between them.

    Arguments:
        configs: one per router.
        seed: of everything random.
        loss: probability that a packet does not arrive.
        delay_s: the most that a packet takes.
    """

    def __init__(self, configs: list[VrrpInstance], seed: int, loss: float = 0.0, delay_s: float = 0.002) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        self.loss = loss
        self.delay_s = delay_s
        self.routers = [Router(config, Machine(config)) for config in configs]
        self.arp: Router | None = None
        self.shared_since: float | None = None
        self.longest_shared_s = 0.0
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []

    # ----------------------------------------------------------------------------------------- driving

    def start(self) -> None:
        """Starts every router, a moment apart."""
        for router in self.routers:
            self.at(self.random.random() * 0.1, functools.partial(self._begin, router))

    def _begin(self, router: Router) -> None:
        self._do(router, router.machine.handle(Start(), self.now))

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        """Lets something happen later."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), what))

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        while True:
            timers = [r.machine.deadline for r in self.routers if self._runs(r) and r.machine.deadline is not None]
            leases = [r.held_until for r in self.routers if r.held_until > self.now]
            upcoming = [*timers, *leases, end]
            if self._queue:
                upcoming.append(self._queue[0][0])
            self.now = max(self.now, min(upcoming))
            self._watch_holders()
            if self.now >= end:
                return
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for router in self.routers:
                self._turn(router)

    def _turn(self, router: Router) -> None:
        """One turn of a router's loop: packets before timers."""
        if not self._runs(router):
            return
        heard, router.inbox = router.inbox, []
        for event in heard:
            self._do(router, router.machine.handle(event, self.now))
        deadline = router.machine.deadline
        if deadline is not None and deadline <= self.now:
            self._do(router, router.machine.handle_timer(self.now))

    def _runs(self, router: Router) -> bool:
        return router.alive and not router.frozen

    def _watch_holders(self) -> None:
        if len(self.holders()) > 1:
            self.shared_since = self.now if self.shared_since is None else self.shared_since
            self.longest_shared_s = max(self.longest_shared_s, self.now - self.shared_since)
        else:
            self.shared_since = None

    # ----------------------------------------------------------------------------------------- effects

    def _do(self, router: Router, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendAdvertisement():
                    self._send(router, 0 if action.resign else router.config.priority)
                case HoldAddresses():
                    lease_s = router.config.lease_s
                    router.held_until = self.now + (float("inf") if lease_s is None else lease_s)
                case DropAddresses():
                    router.held_until = -1.0
                case Announce():
                    if not router.cut:
                        self.arp = router
                case RoleChanged():
                    router.roles.append((self.now, action.role, action.reason))

    def _send(self, sender: Router, priority: int) -> None:
        event = Heard(sender.config.source, priority, sender.config.interval_s)
        for receiver in self.routers:
            if receiver is sender or sender.cut or self.random.random() < self.loss:
                continue
            self.at(self.random.random() * self.delay_s, functools.partial(self._deliver, receiver, event))

    def _deliver(self, receiver: Router, event: Heard) -> None:
        if receiver.alive and not receiver.cut and not receiver.deaf:
            receiver.inbox.append(event)

    # ------------------------------------------------------------------------------------------ faults

    def crash(self, router: Router) -> None:
        """The daemon is gone without a word; the kernel and its lease stay."""
        router.alive = False
        router.inbox = []

    def restart(self, router: Router) -> None:
        """The daemon starts anew and finds what its kernel still has."""
        router.machine = Machine(router.config)
        router.alive = True
        found = Start(holding=router.holds(self.now), leased=router.held_until < float("inf"))
        self._do(router, router.machine.handle(found, self.now))

    def stop(self, router: Router) -> None:
        """A planned stop."""
        self._do(router, router.machine.handle(Stop(), self.now))
        router.alive = False

    def heal(self) -> None:
        """Every fault ends."""
        self.loss = 0.0
        for router in self.routers:
            router.cut = router.deaf = router.frozen = False
            if not router.alive:
                self.restart(router)

    # --------------------------------------------------------------------------------------- questions

    def holders(self) -> list[Router]:
        """Routers whose kernel has the address now."""
        return [router for router in self.routers if router.holds(self.now)]

    def active(self) -> list[Router]:
        """Running routers that believe themselves active."""
        return [router for router in self.routers if router.alive and router.machine.role is Role.ACTIVE]


def pair(seed: int = 1, *, interval_s: float = 1.0, preempt: bool = True) -> World:
    """Two directors of priority 150 and 100, started."""
    world = World(
        [
            instance(1, 150, interval_s=interval_s, preempt=preempt),
            instance(2, 100, interval_s=interval_s, preempt=preempt),
        ],
        seed,
    )
    world.start()
    return world


def without_lease(config: VrrpInstance) -> VrrpInstance:
    """The same router, whose addresses stay for ever: what a fault does when nothing guards against it."""
    return replace(config, lease_s=None)
