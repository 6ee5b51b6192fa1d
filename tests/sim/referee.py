"""Watches a simulated cluster all the time and says when a rule is broken; see `bounds` for how long things may take.

A pair of directors counts as hearing each other while both run, no direction between them is cut, and since the last
packet between them that was lost. Only then can a rule about both be demanded of them.
"""

from __future__ import annotations

import itertools

from ha_lvs.election.timing import OWNER_PRIORITY
from ha_lvs.model import Role
from tests.sim import bounds
from tests.sim.world import Router, World

SLACK_S = 1e-6


def world_index(world: World, router: Router) -> int:
    """Which of the routers it is."""
    return world.routers.index(router)


class Violation(AssertionError):
    """A rule is broken."""


class Referee:
    """Watches `world`.

    Arguments:
        world: with its configurations as they will stay.
        way_s: the longest way of a packet there will be.
    """

    def __init__(self, world: World, way_s: float) -> None:
        self.world = world
        configs = [router.config for router in world.routers]
        self.both_active_s = bounds.both_active_s(configs, way_s)
        self.lease_s = max(config.lease_s or 0 for config in configs)
        self.longest_both_active_s = 0.0
        self.longest_idle_hold_s = 0.0
        self.promotions = 0
        self._disturbed_at = world.now
        self._together_since: dict[tuple[int, int], float] = {}
        self._idle_since: dict[int, float] = {}
        self._frozen_since: dict[int, float] = {}
        self._listens_until: dict[int, float] = {}
        self._fault_at = world.now
        self._longest_interval_s = bounds.longest_interval_s(configs)
        self._longest_down_s = bounds.longest_down_s(configs)
        world.observe = self._observe

    def _observe(self, router: Router | None, what: str) -> None:
        """A change of role, a renewal that is about to be, or a lost packet."""
        if what == "lost" or router is None:
            self._disturbed_at = self.world.now
            return
        if what == "speaks":
            until = self._listens_until.get(world_index(self.world, router), 0.0)
            if self.world.now < until and router.is_active:
                self._fail(f"{router.config.source} slept, and spoke without listening")
            return
        self.look()
        if what in ("renewal", "resigns") or not router.is_active:
            return
        self.promotions += 1
        self._judge_promotion(router, what)

    def _judge_promotion(self, router: Router, reason: str) -> None:
        config, now = router.config, self.world.now
        if router.is_barred:
            why = "has left" if router.left else router.fault or "sees no witness"
            self._fail(f"{config.source} became active although it {why}")
        if "handed over" in reason or config.priority == OWNER_PRIORITY:
            return
        if now - router.started_at < config.startup_delay_s * (1 - bounds.DRIFT) - SLACK_S:
            self._fail(f"{config.source} became active before its start-up delay was over")
        calm_since = max(self._disturbed_at, self._fault_at)
        for other in self.world.routers:
            if other is router or not (other.is_active and self.world.hears(router, other)):
                continue
            calm_s = now - max(calm_since, other.roles[-1][0])
            if router.handed_over and calm_s > 2 * self._longest_interval_s:  # it has heard the other since
                self._fail(f"{config.source} had handed over and took the role back from a live active")

    def fault(self) -> None:
        """To be called after each fault."""
        self._fault_at = self.world.now
        self.look()

    def look(self) -> None:
        """To be called after each fault and after each change: takes the times."""
        world = self.world
        for (i, one), (j, two) in itertools.combinations(enumerate(world.routers), 2):
            together = one.is_active and two.is_active and world.hears(one, two) and world.hears(two, one)
            self._time_pair((i, j), together)
        for number, router in enumerate(world.routers):
            self._time_idle(number, router)
            self._time_sleep(number, router)
            if router.is_active and router.fault and not router.inbox:
                self._fail(f"{router.config.source} is active although it has a fault: {router.fault}")

    def _time_pair(self, pair: tuple[int, int], together: bool) -> None:
        now = self.world.now
        since = self._together_since.get(pair)
        if since is not None:
            since = max(since, min(self._disturbed_at, now))
            self.longest_both_active_s = max(self.longest_both_active_s, now - since)
            if now - since > self.both_active_s + SLACK_S:
                names = " and ".join(str(self.world.routers[each].config.source) for each in pair)
                self._fail(f"{names} both active for {now - since:.4f} s, bound {self.both_active_s:.4f} s")
        if not together:
            self._together_since.pop(pair, None)
        elif since is None:
            self._together_since[pair] = now

    def _time_idle(self, number: int, router: Router) -> None:
        now = self.world.now
        if router.is_active or not router.holds(now):
            since = self._idle_since.pop(number, None)
            held_s = 0.0 if since is None else min(now, max(router.held_until, since)) - since
        else:
            held_s = now - self._idle_since.setdefault(number, now)
        self.longest_idle_hold_s = max(self.longest_idle_hold_s, held_s)
        if held_s > self.lease_s + SLACK_S:
            self._fail(f"{router.config.source} held the address for {held_s:.3f} s without being an active that runs")

    def _time_sleep(self, number: int, router: Router) -> None:
        """Notes when one that is active has slept for so long that it has to listen first."""
        now = self.world.now
        if router.alive and router.frozen:
            self._frozen_since.setdefault(number, now)
            return
        since = self._frozen_since.pop(number, None)
        active = router.alive and router.machine.role is Role.ACTIVE
        if since is not None and active and router.config.priority != OWNER_PRIORITY:
            if now - since > self._longest_down_s * bounds.STRETCH:
                self._listens_until[number] = now + router.config.interval_s * (1 - bounds.DRIFT)
        elif not active:
            self._listens_until.pop(number, None)

    def _fail(self, what: str) -> None:
        raise Violation(f"at {self.world.now:.4f} s: {what}")
