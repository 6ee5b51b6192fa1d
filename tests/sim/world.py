"""A simulated cluster: pure machines, clocks that differ, a bad network, kernels that honour leases, a neighbour.

Everything follows from a seed. What can go wrong: a director crashes (no resignation), freezes, is cut off, is deaf
(one way: it does not hear the others, who hear it), any single direction between two is cut; packets are lost, late,
doubled and overtake each other; the peer link loses and delays what it carries. `referee.Referee` watches all of it.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Event,
    HandOver,
    HandOverEnded,
    Heard,
    HoldAddresses,
    Noted,
    Offer,
    Offered,
    Refuse,
    Refused,
    RoleChanged,
    SendAdvertisement,
    Start,
    Stop,
)
from ha_lvs.election.machine import Machine
from ha_lvs.model import Role, VrrpInstance
from tests.sim.router import GATEWAY, NEVER, Router, instance

__all__ = ["GATEWAY", "Router", "World", "instance", "pair", "without_lease"]


class World:
    """The routers and what lies between them.

    Arguments:
        configs: one per router.
        seed: of everything random.
        loss, doubling: probability that a packet does not arrive, or arrives twice.
        delay_s: the most that a packet takes.
        drift: the most by which a clock is wrong.
    """

    def __init__(
        self, configs: list[VrrpInstance], seed: int, loss: float = 0.0, delay_s: float = 0.002, drift: float = 0.0
    ) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        self.loss = loss
        self.doubling = 0.0
        self.delay_s = delay_s
        self.linked = True
        self.link_loss = 0.0
        self.routers = [Router(config, Machine(config)) for config in configs]
        for router in self.routers:
            router.rate = 1 + drift * (2 * self.random.random() - 1)
            router.offset_s = 1000 * self.random.random() if drift else 0.0
        self.severed: set[tuple[int, int]] = set()  # (from, to), by index
        self.arp: Router | None = None
        self.shared_since: float | None = None
        self.longest_shared_s = 0.0
        self.observe: Callable[[Router | None, str], None] = lambda _router, _what: None
        self.trace: Callable[[str], None] | None = None
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []

    # ----------------------------------------------------------------------------------------- driving

    def start(self) -> None:
        """Starts every router, a moment apart."""
        for router in self.routers:
            self.at(self.random.random() * 0.1, functools.partial(self._begin, router))

    def _begin(self, router: Router) -> None:
        router.started_at = self.now
        self.tell(router, Start())

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        """Lets something happen later."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), what))

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        queue, routers = self._queue, self.routers
        while True:
            upcoming = end
            if queue and queue[0][0] < upcoming:
                upcoming = queue[0][0]
            for router in routers:
                if router.due < upcoming and router.alive and not router.frozen:
                    upcoming = router.due
                if self.now < router.held_until < upcoming:
                    upcoming = router.held_until
            if upcoming > self.now:
                self.now = upcoming
            self._watch_holders()
            if self.now >= end:
                return
            while queue and queue[0][0] <= self.now:
                heapq.heappop(queue)[2]()
            for router in routers:
                if router.alive and not router.frozen and (router.inbox or router.due <= self.now):
                    self._turn(router)

    def _turn(self, router: Router) -> None:
        """One turn of a router's loop: packets before timers."""
        clock = router.clock(self.now)
        heard, router.inbox = router.inbox, []
        for event in heard:
            router.note(event)
            self._do(router, router.machine.handle(event, clock))
        deadline = router.machine.deadline
        if deadline is not None and (deadline <= clock or (not heard and router.due <= self.now)):
            self._do(router, router.machine.handle_timer(max(clock, deadline)))
        self._arm(router)

    def _arm(self, router: Router) -> None:
        deadline = router.machine.deadline
        router.due = NEVER if deadline is None else (deadline - router.offset_s) / router.rate

    def _watch_holders(self) -> None:
        holders = 0
        for router in self.routers:
            holders += router.held_until > self.now
        if holders > 1:
            self.shared_since = self.now if self.shared_since is None else self.shared_since
            self.longest_shared_s = max(self.longest_shared_s, self.now - self.shared_since)
        else:
            self.shared_since = None

    # ----------------------------------------------------------------------------------------- effects

    def tell(self, router: Router, event: Event) -> None:
        """Lets something happen to a router: at once, or on waking."""
        if not router.alive:
            return
        if router.frozen:
            router.inbox.append(event)
            return
        router.note(event)
        self._do(router, router.machine.handle(event, router.clock(self.now)))
        self._arm(router)

    def _do(self, router: Router, actions: list[Action]) -> None:
        for action in actions:
            if self.trace is not None:
                self.trace(f"{self.now:10.4f} {router.config.source} {action}")
            match action:
                case SendAdvertisement():
                    self.observe(router, "resigns" if action.resign else "speaks")
                    self._send(router, 0 if action.resign else router.machine.effective_priority)
                case HoldAddresses():
                    self.observe(router, "renewal")
                    lease_s = router.config.lease_s
                    router.held_until = self.now + (NEVER if lease_s is None else lease_s)
                case DropAddresses():
                    router.held_until = -1.0
                case Announce():
                    if not router.cut:
                        self.arp = router
                case RoleChanged():
                    router.roles.append((self.now, action.role, action.reason))
                    self.observe(router, action.reason)
                    if action.role is Role.ACTIVE:
                        router.handed_over = False
                case Offer():
                    self._offer(router, action)
                case Refuse():
                    self._answer(router, action)
                case HandOverEnded():
                    router.ended.append(action)
                    router.handed_over |= action.ok and router.machine.deferring
                    router.left, router.leaving = router.left or (router.leaving and action.ok), False
                    if router.stopping:
                        self.at(0.0, functools.partial(self._stop_after_hand_over, router))
                case Noted():
                    router.noted.append(action)

    # ----------------------------------------------------------------------------------------- network

    def hears(self, receiver: Router, sender: Router) -> bool:
        """Whether advertisements get through, in this direction."""
        if receiver.cut or sender.cut or receiver.deaf:
            return False
        return not self.severed or (self.routers.index(sender), self.routers.index(receiver)) not in self.severed

    def _send(self, sender: Router, priority: int) -> None:
        event = Heard(sender.config.source, priority, sender.config.interval_s)
        for receiver in self.routers:
            if receiver is sender:
                continue
            if self.loss and self.random.random() < self.loss:
                self.observe(sender, "lost")
                continue
            copies = 2 if self.doubling and self.random.random() < self.doubling else 1
            for _ in range(copies):
                self.at(self.random.random() * self.delay_s, functools.partial(self._deliver, receiver, sender, event))

    def _deliver(self, receiver: Router, sender: Router, event: Heard) -> None:
        if receiver.alive and self.hears(receiver, sender):
            receiver.inbox.append(event)

    def _offer(self, giver: Router, action: Offer) -> None:
        """The peer link: to one director that runs, by its priority; it knows at once when there is none."""
        others = [each for each in self.routers if each is not giver and each.alive]
        if not self.linked or not others:
            self.at(0.0, functools.partial(self.tell, giver, Refused("no peer is linked")))
            return
        taker = max(others, key=lambda each: each.config.priority)
        if self.random.random() >= self.link_loss:
            offered = Offered((giver.config.source,), action.window_s)
            self.at(self.random.random() * self.delay_s, functools.partial(self.tell, taker, offered))

    def _answer(self, taker: Router, action: Refuse) -> None:
        for giver in self.routers:
            if giver is not taker and giver.machine.offering and self.linked and self.random.random() >= self.link_loss:
                refused = Refused(action.reason)
                self.at(self.random.random() * self.delay_s, functools.partial(self.tell, giver, refused))

    # ------------------------------------------------------------------------------------------ faults

    def crash(self, router: Router) -> None:
        """The daemon is gone without a word; the kernel and its lease stay."""
        router.alive = router.stopping = router.frozen = False
        router.inbox = []

    def restart(self, router: Router) -> None:
        """The daemon starts anew and finds what its kernel still has."""
        router.machine = Machine(router.config)
        router.alive = True
        router.left = router.leaving = router.handed_over = False
        router.started_at = self.now
        router.fault, router.witnessed = "", None
        self.tell(router, Start(holding=router.holds(self.now), leased=router.held_until < NEVER))

    def succeed(self, router: Router) -> None:
        """Another elector succeeds the one at work, without a gap; what it is left goes through JSON."""
        left = json.loads(json.dumps(router.machine.snapshot()))
        router.machine = Machine.restore(router.config, left, router.clock(self.now))
        self._arm(router)

    def stop(self, router: Router) -> None:
        """A stop on the spot."""
        if router.alive:
            self._do(router, router.machine.handle(Stop(), router.clock(self.now)))
            router.alive = router.stopping = router.frozen = False

    def _stop_after_hand_over(self, router: Router) -> None:
        if router.stopping:
            self.stop(router)

    def stop_gently(self, router: Router) -> None:
        """A planned stop: hands over first."""
        router.stopping = True
        self.tell(router, HandOver(force=True, leave=True))

    def heal(self) -> None:
        """Every fault ends."""
        self.loss = self.doubling = self.link_loss = 0.0
        self.linked = True
        self.severed.clear()
        for router in self.routers:
            router.cut = router.deaf = router.frozen = False
            if not router.alive:
                self.restart(router)

    # --------------------------------------------------------------------------------------- questions

    def holders(self) -> list[Router]:
        """Routers whose kernel has the address now."""
        return [router for router in self.routers if router.holds(self.now)]

    def active(self) -> list[Router]:
        """Routers that believe themselves active, frozen ones too."""
        return [router for router in self.routers if router.alive and router.machine.role is Role.ACTIVE]


def pair(seed: int = 1, *, interval_s: float = 1.0, preempt: bool = True, **more: Any) -> World:
    """Two directors of priority 150 and 100, started."""
    configs = [
        instance(number, priority, interval_s=interval_s, preempt=preempt, **more)
        for number, priority in ((1, 150), (2, 100))
    ]
    world = World(configs, seed)
    world.start()
    return world


def without_lease(config: VrrpInstance) -> VrrpInstance:
    """The same router, whose addresses stay for ever: what a fault does when nothing guards against it."""
    return replace(config, lease_s=None)
