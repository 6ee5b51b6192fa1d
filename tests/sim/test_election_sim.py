"""The election under faults, simulated from seeds: first safety while they last, then liveness after healing."""

from __future__ import annotations

import pytest

from ha_lvs.election.events import Remark
from ha_lvs.election.timing import active_down_interval_s
from ha_lvs.model import Role
from tests.sim.scenarios import heal_cut, pause_whole_machine
from tests.sim.world import Router, World, instance, pair, without_lease

SEEDS = range(20)
INTERVALS = (0.01, 0.1, 1.0)
LEASE_S = 3  # of routers with one second between advertisements


def settle(world: World) -> None:
    world.heal()
    longest = max(active_down_interval_s(r.config.priority, r.config.interval_s) for r in world.routers)
    world.run(3 * longest + 6)


def assert_one_director(world: World, expected: Router | None = None) -> None:
    active = world.active()
    assert len(active) == 1, [(r.config.priority, r.roles[-3:]) for r in world.routers]
    if expected is not None:
        assert active[0] is expected
    assert world.holders() == active
    assert world.arp is active[0], "the neighbours must know the survivor"


def torment(world: World, steps: int) -> None:
    """Random faults, each for a random while."""
    for _ in range(steps):
        router = world.random.choice(world.routers)
        match world.random.choice(["crash", "freeze", "cut", "deaf", "loss", "stop", "heal"]):
            case "crash":
                world.crash(router)
            case "freeze":
                router.frozen = True
            case "cut":
                router.cut = True
            case "deaf":
                router.deaf = True
            case "loss":
                world.loss = world.random.random() * 0.6
            case "stop":
                if router.alive and not router.frozen:
                    world.stop(router)
            case "heal":
                world.heal()
        world.run(world.random.random() * 6 * router.config.interval_s)


@pytest.mark.parametrize("interval_s", INTERVALS)
@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_faults_the_highest_priority_is_the_one_holder(seed: int, interval_s: float) -> None:
    world = World(
        [instance(n, p, interval_s=interval_s) for n, p in ((1, 150), (2, 100), (3, 50))], seed, delay_s=0.001
    )
    world.start()
    torment(world, 30)
    settle(world)
    assert_one_director(world, world.routers[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_faults_there_is_one_holder_without_preemption(seed: int) -> None:
    world = pair(seed, preempt=False)
    torment(world, 30)
    settle(world)
    assert_one_director(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_priorities_settle_on_one(seed: int) -> None:
    world = World([instance(1, 100), instance(2, 100)], seed)
    world.start()
    torment(world, 20)
    settle(world)
    assert_one_director(world)


def crash_or_freeze(world: World, router: Router, seconds: float) -> None:
    """Silences a router for a while."""
    if world.random.random() < 0.5:
        world.crash(router)
        world.run(seconds)
        world.restart(router)
    else:
        router.frozen = True
        world.run(seconds)
        router.frozen = False


@pytest.mark.parametrize("seed", SEEDS)
def test_a_steady_pair_never_shares_the_address_for_longer_than_a_packet_takes(seed: int) -> None:
    """With one second between advertisements the lease ends before a backup's timer does."""
    world = pair(seed)
    for _ in range(10):
        world.run(10)
        crash_or_freeze(world, world.random.choice(world.routers), world.random.random() * 8)
    assert world.longest_shared_s <= 2 * world.delay_s


@pytest.mark.parametrize("seed", SEEDS)
def test_even_an_unsteady_pair_shares_the_address_no_longer_than_the_lease(seed: int) -> None:
    """A preemption under way does not wait for the one that falls silent during it; the lease bounds what follows."""
    world = pair(seed)
    for _ in range(20):
        world.run(world.random.random() * 8)
        crash_or_freeze(world, world.random.choice(world.routers), world.random.random() * 8)
    assert world.longest_shared_s <= LEASE_S


def test_without_a_lease_a_frozen_active_keeps_the_address() -> None:
    """What the lease guards against; this is the incumbent's behaviour."""
    world = World([without_lease(instance(1, 150)), without_lease(instance(2, 100))], seed=1)
    world.start()
    world.run(10)
    world.routers[0].frozen = True
    world.run(30)
    assert len(world.holders()) == 2
    assert world.longest_shared_s > 20


def test_first_takeover_comes_after_the_down_interval_of_the_higher_priority() -> None:
    world = pair()
    world.run(3.3)
    assert world.active() == []
    world.run(0.4)
    assert world.active() == [world.routers[0]]


def test_cut_active_is_replaced_after_three_intervals_and_skew() -> None:
    world = pair()
    world.run(10)
    cut_at = world.now
    world.routers[0].cut = True
    world.run(10)
    taken_at = next(at for at, role, _ in world.routers[1].roles if role is Role.ACTIVE)
    assert taken_at - cut_at <= active_down_interval_s(100, 1.0) + world.delay_s


def test_planned_stop_takes_only_the_skew_time() -> None:
    world = pair()
    world.run(10)
    stopped_at = world.now
    world.stop(world.routers[0])
    assert world.holders() == []
    world.run(2)
    taken_at = next(at for at, role, _ in world.routers[1].roles if role is Role.ACTIVE)
    assert taken_at - stopped_at == pytest.approx(156 / 256, abs=0.01)


def test_a_thawed_active_yields_first_and_preempts_by_the_usual_path() -> None:
    world = pair()
    world.run(10)
    first, second = world.routers
    first.frozen = True
    world.run(10)
    assert world.active() == [first, second]  # the frozen one still believes
    assert world.holders() == [second]
    first.frozen = False
    world.run(1.5)
    assert world.active() == [second]
    assert "took over" in first.roles[-1][2]
    world.run(5)
    assert_one_director(world, first)


def test_without_preemption_a_thawed_active_stays_backup() -> None:
    world = pair(preempt=False)
    world.run(10)
    first, second = world.routers
    first.frozen = True
    world.run(10)
    first.frozen = False
    world.run(20)
    assert_one_director(world, second)


def test_without_preemption_an_active_that_slept_unheard_steps_back() -> None:
    """Nothing is left in its socket to tell it of the other: it has to listen before it speaks."""
    world = pair(preempt=False)
    world.run(10)
    first, second = world.routers
    first.frozen = True
    world.run(10)
    first.inbox.clear()
    first.frozen = False
    world.run(10)
    assert_one_director(world, second)
    assert "took over" in first.roles[-1][2]
    assert any(noted.remark is Remark.OVERSLEPT for noted in first.noted)


def test_both_directors_stopped_together_change_nothing() -> None:
    """A hypervisor that takes the processors away from both must not cause a fail-over on waking."""
    for seed in SEEDS:
        world = pair(seed, interval_s=0.01)
        world.run(1)
        changes = [len(router.roles) for router in world.routers]
        for _ in range(20):
            for router in world.routers:
                router.frozen = True
            world.run(world.random.random() * 0.03)
            order = world.routers[:] if world.random.random() < 0.5 else world.routers[::-1]
            for router in order:
                router.frozen = False
                world.run(world.random.random() * 0.002)
            world.run(0.2)
        assert [len(router.roles) for router in world.routers] == changes, seed


def test_a_deaf_active_that_was_replaced_nowhere_keeps_its_role() -> None:
    """It is heard, so nobody else has reason to move."""
    world = pair()
    world.run(10)
    world.routers[0].deaf = True
    world.run(20)
    assert_one_director(world, world.routers[0])


def test_the_survivor_of_a_split_announces_again() -> None:
    world = pair()
    world.run(10)
    first, second = world.routers
    second.deaf = True
    world.run(10)
    assert set(map(id, world.active())) == {id(first), id(second)}
    world.arp = second  # the neighbours listened to the wrong one last
    second.deaf = False
    world.run(3)
    assert_one_director(world, first)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_cut_has_healed_the_neighbours_know_the_survivor_at_once(seed: int) -> None:
    """The one that yields may do so before the other has heard it; no slow refresh may be needed to put that right."""
    heal_cut(seed)


def test_a_restart_adopts_the_address_until_it_is_clear_who_is_active() -> None:
    world = pair()
    world.run(10)
    first, second = world.routers
    world.crash(second)
    world.crash(first)
    world.run(0.2)
    world.restart(first)
    assert first.holds(world.now)
    world.run(1.0)
    assert first.holds(world.now)
    world.run(6)
    assert_one_director(world, first)


def test_an_adopted_address_is_dropped_as_soon_as_another_active_speaks() -> None:
    world = pair()
    world.run(10)
    first, second = world.routers
    world.stop(first)
    world.run(3)
    assert world.active() == [second]
    first.held_until = float("inf")  # somebody left the address there
    world.restart(first)
    world.run(1.2)
    assert world.holders() == [second]


@pytest.mark.parametrize("interval_s", INTERVALS)
@pytest.mark.parametrize("preempt", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_a_pause_of_the_whole_machine_costs_no_role_change(seed: int, preempt: bool, interval_s: float) -> None:
    """However long it is, and whoever wakes first."""
    pause_whole_machine(seed, interval_s=interval_s, preempt=preempt)
