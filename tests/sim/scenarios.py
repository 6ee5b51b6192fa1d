"""Courses of events that must end well, each for any seed. The tests use them, and so does the check of the tests."""

from __future__ import annotations

from ha_lvs.election.events import HandOver, Witnessed
from tests.sim.world import GATEWAY, Router, World, instance, pair


def pause_whole_machine(seed: int, *, interval_s: float = 0.01, preempt: bool = True) -> None:
    """A hypervisor stops both directors for however long, and whoever wakes first: nobody changes its role.

    Errors: AssertionError.
    """
    world = pair(seed, interval_s=interval_s, preempt=preempt)
    world.run(0.1 + 10 * interval_s)
    changes = [len(router.roles) for router in world.routers]
    for _ in range(10):
        world.run(world.random.random() * 3 * interval_s)
        order = world.routers[:] if world.random.random() < 0.5 else world.routers[::-1]
        for router in order:
            router.frozen = True
        world.run(world.random.choice([1, 4, 12]) * world.random.random() * interval_s)
        for router in order:
            router.frozen = False
            world.run(world.random.random() * 0.2 * interval_s)
        world.run(6 * interval_s)
        assert [len(router.roles) for router in world.routers] == changes, "a pause has cost a change of role"
    assert len(world.active()) == 1


def heal_cut(seed: int) -> None:
    """After a cut has healed the neighbours know the survivor at once, with no slow refresh to put it right.

    Errors: AssertionError.
    """
    world = World([instance(1, 150, refresh_s=1e9), instance(2, 100, refresh_s=1e9)], seed)
    world.start()
    world.run(10 + world.random.random())
    first, second = world.routers
    first.cut = True
    world.run(10 + world.random.random())
    assert world.arp is second
    first.cut = False
    world.run(1.1)
    assert world.active() == [first]
    assert world.holders() == [first]
    assert world.arp is first, "the neighbours must know the survivor"


def hand_over_without_a_gap(seed: int) -> None:
    """A planned hand-over, or stop, at which the address is held at every moment, and soon by the other alone.

    Errors: AssertionError.
    """
    world = pair(seed)
    world.run(10 + world.random.random())
    first, second = world.routers
    gaps: list[float] = []

    def look(_router: Router | None, _what: str) -> None:
        if not world.holders():
            gaps.append(world.now)

    world.observe = look
    if world.random.random() < 0.5:
        world.stop_gently(first)
    else:
        world.tell(first, HandOver(force=False))
    world.run(0.1)
    assert not gaps, "the address was held by nobody"
    assert world.holders() == [second]
    world.run(10)
    assert world.active() == [second], "who has handed over does not preempt"
    assert world.arp is second


def listen_before_taking(seed: int) -> None:
    """One that was cut off, and saw no witness, does not take the role from a live active when the cable is back.

    Errors: AssertionError.
    """
    configs = [instance(n, p, preempt=False, witnesses=GATEWAY) for n, p in ((1, 100), (2, 150))]
    world = World(configs, seed)
    world.start()
    world.run(0.2)
    first, second = world.routers
    world.tell(first, Witnessed(enough=True))
    world.run(6)
    world.tell(second, Witnessed(enough=True))
    world.run(2)
    second.cut = True
    world.tell(second, Witnessed(enough=False))
    world.run(10 + world.random.random())
    second.cut = False
    world.tell(second, Witnessed(enough=True))
    world.run(10)
    assert world.active() == [first], "the role was taken from a live active"
    assert len(first.roles) == 2
