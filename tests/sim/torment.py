"""One seed: a cluster drawn at random, random faults each for a random while, then healing. Safety, then liveness."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ha_lvs.election.events import Enable, HandOver, Offered, PathDown, PathUp, Standing, Synced, Witnessed
from ha_lvs.election.timing import offer_window_s
from ha_lvs.model import Role, VrrpInstance
from tests.sim import bounds
from tests.sim.referee import Referee, Violation
from tests.sim.world import GATEWAY, Router, World, instance

FAULTS = 30
FAULT_KINDS = (
    "crash", "crash", "freeze", "freeze", "freeze all", "cut", "deaf", "sever", "sever", "loss", "loss", "delay",
    "doubling", "link", "stop", "stop gently", "succeed", "hand over", "stand by", "enable", "bfd lies", "fault",
    "weight", "witness", "witness", "synced", "stale offer", "heal", "heal",
)  # fmt: skip


@dataclass
class Outcome:
    """What a seed has shown, for those who judge the simulation."""

    promotions: int
    longest_both_active_s: float
    both_active_bound_s: float
    longest_idle_hold_s: float
    settled_bound_s: float


def draw_configs(chance: random.Random) -> list[VrrpInstance]:
    """Two or three directors; all options at random, the same on each but for the priority."""
    count = 2 if chance.random() < 0.6 else 3
    priorities = chance.sample([200, 150, 101, 100, 50, 1], count)
    if chance.random() < 0.1:
        priorities = [100] * count
    if chance.random() < 0.1:
        priorities[0] = 255
    interval_s = chance.choice([0.01, 0.1, 1.0])
    witnesses = None
    if chance.random() < 0.3:
        witnesses = replace(GATEWAY, yield_alone=chance.random() < 0.5)
    return [
        instance(
            number,
            priority,
            interval_s=interval_s,
            preempt=preempt,
            refresh_s=10 * interval_s,
            down_after=down_after,
            preempt_delay_s=preempt_delay_s,
            preempt_in_sync=preempt_in_sync,
            startup_delay_s=startup_delay_s,
            witnesses=witnesses,
        )
        for preempt in [chance.random() < 0.75]
        for down_after in [chance.choice([2, 3, 3, 3, 5])]
        for preempt_delay_s in [chance.choice([0.0, 0.0, 0.0, 2 * interval_s, 10 * interval_s])]
        for preempt_in_sync in [chance.random() < 0.1]
        for startup_delay_s in [chance.choice([0.0, 0.0, 0.0, 6 * interval_s])]
        for number, priority in enumerate(priorities, start=1)
    ]


class Torment:
    """The life of one seed.

    Arguments:
        seed: of everything.
        trace: prints each action when given.
    """

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.chance = random.Random(seed)
        self.configs = draw_configs(self.chance)
        self.interval_s = self.configs[0].interval_s
        self.usual_way_s = 0.05 * self.interval_s
        self.longest_way_s = 0.4 * self.interval_s
        self.world = World(self.configs, seed, delay_s=self.usual_way_s, drift=bounds.DRIFT)
        self.referee = Referee(self.world, self.longest_way_s)
        self.trace = trace
        self.bfd = self.chance.random() < 0.4
        self.down_paths: set[tuple[int, int]] = set()
        if trace:
            self.world.trace = print
            print("\n".join(str(config) for config in self.configs))

    def run(self) -> Outcome:
        """Lives it.

        Errors: Violation when a rule is broken.
        """
        world = self.world
        world.start()
        world.run(0.11)
        for router in world.routers:
            self._welcome(router)
        self._pass(8)
        for _ in range(FAULTS):
            router = self.chance.choice(world.routers)
            kind = self.chance.choice(FAULT_KINDS)
            if self.trace:
                print(f"{world.now:10.4f} --- {kind} {router.config.source}")
            self._fault(kind, router)
            self._after_fault()
            self._pass(self.chance.random() * self.chance.choice([0.5, 3, 7, 7]))
        self._heal()
        return self._judge()

    def _pass(self, intervals: float) -> None:
        self.world.run(intervals * self.interval_s)
        self.referee.look()

    # ----------------------------------------------------------------------------------------- faults

    def _fault(self, kind: str, router: Router) -> None:
        world, chance = self.world, self.chance
        number = world.routers.index(router)
        match kind:
            case "crash":
                if router.alive:
                    world.crash(router)
                else:
                    self._restart(router)
            case "freeze":
                router.frozen = router.alive and not router.frozen
            case "freeze all":
                self._pause_machine()
            case "cut":
                router.cut = True
            case "deaf":
                router.deaf = True
            case "sever":
                world.severed.add((number, chance.choice([n for n in range(len(world.routers)) if n != number])))
            case "loss":
                world.loss = chance.random() * 0.6
            case "delay":
                world.delay_s = self.usual_way_s + chance.random() * (self.longest_way_s - self.usual_way_s)
            case "doubling":
                world.doubling = chance.random()
            case "link":
                world.linked, world.link_loss = chance.random() < 0.5, chance.random()
            case "heal":
                self._heal_network()
            case _:
                if router.runs:
                    self._act(kind, router)

    def _act(self, kind: str, router: Router) -> None:
        """Something that only befalls a director that runs."""
        world, chance = self.world, self.chance
        match kind:
            case "stop":
                world.stop(router)
            case "stop gently":
                world.stop_gently(router)
            case "succeed":
                world.succeed(router)
            case "hand over":
                world.tell(router, HandOver(force=chance.random() < 0.5))
            case "stand by":
                world.tell(router, HandOver(force=True, leave=True))
            case "enable":
                world.tell(router, Enable())
            case "bfd lies":
                for other in world.routers:
                    if self.bfd and other is not router:
                        world.tell(router, PathDown(other.config.source))
                        world.tell(router, PathUp(other.config.source))
            case "fault":
                world.tell(router, Standing(router.machine.effective_priority, chance.choice(["", "e0 is down"])))
            case "weight":
                own = router.config.priority
                priority = own if own == 255 else max(1, min(254, own + chance.choice([-60, -20, 0, 20])))
                world.tell(router, Standing(priority, router.fault))
            case "witness":
                if router.config.witnesses is not None:
                    world.tell(router, Witnessed(chance.random() < 0.4))
            case "stale offer":
                giver = chance.choice([each for each in world.routers if each is not router])
                window_s = offer_window_s(self.interval_s)
                world.tell(router, Offered((giver.config.source,), window_s))
            case "synced":
                world.tell(router, Synced(chance.random() < 0.5))

    def _pause_machine(self) -> None:
        """All directors stop in one moment, and wake within a packet's way of one another."""
        running = [router for router in self.world.routers if router.runs]
        for router in running:
            router.frozen = True
        self.referee.fault()
        self._pass(self.chance.random() * 8)
        self.chance.shuffle(running)
        for router in running:
            router.frozen = False
            self.referee.fault()
            self.world.run(self.chance.random() * self.usual_way_s)
        self.referee.fault()

    def _restart(self, router: Router) -> None:
        self.world.restart(router)
        self._welcome(router)

    def _welcome(self, router: Router) -> None:
        """What a director is told soon after its start."""
        if router.config.witnesses is not None:
            self.world.tell(router, Witnessed(self.chance.random() < 0.8))
        for other in self.world.routers:
            if other is not router and self._path_works(other, router):
                self.world.tell(router, PathUp(other.config.source))
        self.world.tell(router, Synced(self.chance.random() < 0.5))

    def _path_works(self, one: Router, two: Router) -> bool:
        return self.bfd and one.runs and two.runs and self.world.hears(one, two) and self.world.hears(two, one)

    def _after_fault(self) -> None:
        """BFD notices what has become of the paths, after a tenth of an interval."""
        if self.bfd:
            self.world.at(0.1 * self.interval_s, self._tell_paths)
        self.referee.fault()

    def _tell_paths(self) -> None:
        routers = self.world.routers
        for i, one in enumerate(routers):
            for j, two in enumerate(routers):
                if i == j or not one.runs:
                    continue
                works = self._path_works(one, two)
                if works == ((i, j) not in self.down_paths):
                    continue
                (self.down_paths.discard if works else self.down_paths.add)((i, j))
                self.world.tell(one, (PathUp if works else PathDown)(two.config.source))

    # ---------------------------------------------------------------------------------------- healing

    def _heal_network(self) -> None:
        world = self.world
        world.loss = world.doubling = world.link_loss = 0.0
        world.delay_s, world.linked = self.usual_way_s, True
        world.severed.clear()
        for router in world.routers:
            router.cut = router.deaf = False

    def _heal(self) -> None:
        if self.trace:
            print(f"{self.world.now:10.4f} --- heal everything")
        self._heal_network()
        for router in self.world.routers:
            router.frozen = router.stopping = False
            self.referee.fault()
            if not router.alive:
                self._restart(router)
            deferring = router.machine.deferring
            if router.left or router.leaving or (deferring and self.chance.random() < 0.5):
                self.world.tell(router, Enable())
            self.world.tell(router, Standing(router.config.priority, ""))
            self.world.tell(router, Synced(in_sync=True))
            if router.config.witnesses is not None:
                self.world.tell(router, Witnessed(enough=True))
        self._after_fault()

    def _judge(self) -> Outcome:
        world = self.world
        bound_s = bounds.settled_s(self.configs, self.usual_way_s)
        world.run(bound_s)
        self.referee.look()
        changes = [len(router.roles) for router in world.routers]
        self._assert_one()
        world.run(5 * self.interval_s)
        self.referee.look()
        if [len(router.roles) for router in world.routers] != changes:
            raise Violation(f"roles still change {bound_s:.3f} s after healing")
        self._assert_one()
        referee = self.referee
        return Outcome(
            referee.promotions,
            referee.longest_both_active_s,
            referee.both_active_s,
            referee.longest_idle_hold_s,
            bound_s,
        )

    def _assert_one(self) -> None:
        world = self.world
        names = [str(router.config.source) for router in world.routers]
        active = [router for router in world.routers if router.machine.role is Role.ACTIVE]
        if len(active) != 1:
            raise Violation(f"active are {[str(each.config.source) for each in active]} of {names}")
        if world.holders() != active:
            raise Violation(f"holders are {[str(each.config.source) for each in world.holders()]}, not the active")
        if world.arp is not active[0]:
            raise Violation("the neighbours know another one than the active")
        best = max(world.routers, key=lambda each: (each.machine.effective_priority, each.config.source))
        top = [each for each in world.routers if each.machine.effective_priority == best.machine.effective_priority]
        if best.config.preempt and len(top) == 1 and not best.machine.deferring and active[0] is not best:
            raise Violation(f"active is {active[0].config.source}, not {best.config.source} of the highest priority")


def live(seed: int, *, trace: bool = False) -> Outcome:
    """Lives one seed.

    Errors: Violation, which names the seed.
    """
    try:
        return Torment(seed, trace=trace).run()
    except Violation as problem:
        raise Violation(f"seed {seed}: {problem}; replay: python -m tests.sim --seed {seed}") from None
