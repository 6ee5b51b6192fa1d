"""Single rules of the machine, each by the shortest course that shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Duplicate,
    Enable,
    Event,
    HandOver,
    HandOverEnded,
    Heard,
    HoldAddresses,
    Noted,
    Offer,
    Offered,
    PathDown,
    PathUp,
    Refuse,
    Refused,
    Remark,
    RoleChanged,
    SendAdvertisement,
    Standing,
    Start,
    Stop,
    Synced,
    Witnessed,
)
from ha_lvs.election.machine import Machine
from ha_lvs.election.timing import active_down_interval_s, offer_window_s, skew_time_s
from ha_lvs.model import BfdSession, IPAddress, Role
from tests.sim.world import GATEWAY, instance

OTHER, THIRD = IPv4Address("10.9.0.12"), IPv4Address("10.9.0.13")
RESIGN = SendAdvertisement(resign=True)


def backup(*events: Event, priority: int = 100, **more: Any) -> Machine:
    """Started at 0, then told `events` at 0."""
    machine = Machine(instance(1, priority, **more))
    for event in (Start(), *events):
        machine.handle(event, 0.0)
    return machine


def active(*, priority: int = 100, **more: Any) -> Machine:
    """Active since 4."""
    machine = backup(priority=priority, **more)
    until(machine, 4.0)
    assert is_in(machine, Role.ACTIVE)
    return machine


def until(machine: Machine, end: float) -> list[Action]:
    """All that happens by the clock."""
    actions: list[Action] = []
    while machine.deadline is not None and machine.deadline <= end:
        actions += machine.handle_timer(machine.deadline)
    return actions


def is_in(machine: Machine, role: Role) -> bool:
    """Whether that is its role; asked anew each time, as the type checker cannot know that it changes."""
    return machine.role is role


def heard(priority: int, source: IPAddress = OTHER) -> Heard:
    return Heard(source, priority, 1.0)


def role_at(machine: Machine) -> float:
    """When it becomes active, if nothing more happens."""
    while machine.deadline is not None and machine.deadline < 1000:
        at = machine.deadline
        if any(isinstance(each, RoleChanged) for each in machine.handle_timer(at)):
            return at
    raise AssertionError("nothing happens")


def test_down_after_and_the_whole_seconds_of_version_2() -> None:
    assert role_at(backup(down_after=5)) == pytest.approx(5 + 156 / 256)
    assert active_down_interval_s(100, 0.01, 3) == pytest.approx(0.03 + 0.01 * 156 / 256)
    assert skew_time_s(100, 5.0, version=2) == pytest.approx(156 / 256)
    assert role_at(backup(version=2, interval_s=2.0)) == pytest.approx(6 + 156 / 256)


def test_a_resignation_counts_only_when_it_is_the_actives() -> None:
    machine = backup(heard(200), heard(0, THIRD))
    assert machine.peer == OTHER
    assert role_at(machine) > 3
    assert role_at(backup(heard(200), heard(0))) < 1


def test_addresses_break_ties_by_the_path_on_which_they_are_heard() -> None:
    machine = active()
    low, high = IPv6Address("fe80::1"), IPv6Address("fe80::2")
    machine.handle(Heard(low, 100, 1.0, own_source=high), 4.1)
    assert is_in(machine, Role.ACTIVE)
    machine.handle(Heard(high, 100, 1.0, own_source=low), 4.2)
    assert is_in(machine, Role.BACKUP)


def test_the_own_packet_changes_nothing() -> None:
    machine = backup()
    before = machine.snapshot()
    machine.handle(heard(255, machine.instance.source), 0.0)
    assert machine.snapshot() == before


def test_the_owner_is_active_at_once_and_yields_to_nobody_lower() -> None:
    machine = backup(priority=255, startup_delay_s=60.0)
    assert is_in(machine, Role.ACTIVE)
    assert machine.handle(heard(254), 20.0)[0] == SendAdvertisement()
    assert is_in(machine, Role.ACTIVE)
    machine.handle(heard(255), 20.1)
    assert is_in(machine, Role.BACKUP)


def test_an_owner_without_a_witness_waits_for_it_alone() -> None:
    machine = backup(priority=255, witnesses=GATEWAY)
    assert is_in(machine, Role.BACKUP)
    machine.handle(Witnessed(enough=True), 0.3)
    assert is_in(machine, Role.ACTIVE)


def test_a_preempt_delay_counts_from_the_first_inferior_and_not_for_the_silent() -> None:
    assert role_at(backup(heard(50), preempt_delay_s=2.0)) == pytest.approx(3 + 156 / 256)
    machine = backup(preempt_delay_s=30.0)
    for second in range(20):
        until(machine, second)
        machine.handle(heard(50), float(second))
    assert role_at(machine) == pytest.approx(19 + 3 + 156 / 256)
    machine = backup(preempt_delay_s=5.0)
    for second in range(5):
        machine.handle(heard(50 if second != 2 else 150), float(second))
    for second in range(5, 12):
        changes = [each for each in until(machine, second) if isinstance(each, RoleChanged)]
        assert bool(changes) == (second == 8), "five seconds from the inferior after the superior"
        if changes:
            return
        machine.handle(heard(50), float(second))


def test_preemption_waits_for_the_connection_table() -> None:
    machine = backup(preempt_in_sync=True)
    for second in range(10):
        until(machine, second)
        machine.handle(heard(50), float(second))
    assert is_in(machine, Role.BACKUP)
    machine.handle(Synced(in_sync=True), 9.1)
    assert is_in(machine, Role.ACTIVE)


def test_the_startup_delay_holds_back_resignation_and_bfd_but_not_an_offer() -> None:
    machine = backup(heard(200), PathUp(OTHER), PathDown(OTHER), startup_delay_s=30.0)
    assert role_at(machine) == 30.0
    machine = backup(heard(200), heard(0), startup_delay_s=30.0)
    assert role_at(machine) == 30.0
    machine = backup(heard(200), startup_delay_s=30.0)
    machine.handle(Offered((OTHER,), 1.0), 0.5)
    assert is_in(machine, Role.ACTIVE)


def test_a_changed_standing_is_told_at_once_and_a_fault_takes_the_role() -> None:
    machine = active()
    assert machine.handle(Standing(80), 4.1)[0] == SendAdvertisement()
    assert machine.effective_priority == 80
    actions = machine.handle(Standing(80, "e1 is down"), 4.2)
    assert actions[:2] == [DropAddresses(), RESIGN]
    assert Noted(Remark.BARRED, "e1 is down") in actions
    assert (machine.role, machine.barred) == (Role.BACKUP, "e1 is down")
    assert machine.deadline is None
    assert machine.handle(Offered((OTHER,), 1.0), 4.3) == [Refuse("e1 is down")]


def test_an_active_alone_without_a_witness_yields_only_where_it_is_told_to() -> None:
    for yields in (True, False):
        machine = backup(Witnessed(enough=True), witnesses=replace(GATEWAY, yield_alone=yields))
        until(machine, 4.0)
        machine.handle(Witnessed(enough=False), 4.0)
        until(machine, 20.0)
        assert (machine.role is Role.BACKUP) == yields


def test_an_active_that_bfd_tells_of_its_peer_is_not_alone() -> None:
    machine = backup(Witnessed(enough=True), PathUp(OTHER), witnesses=replace(GATEWAY, yield_alone=True))
    until(machine, 4.0)
    machine.handle(Witnessed(enough=False), 4.0)
    until(machine, 20.0)
    assert is_in(machine, Role.ACTIVE)
    machine.handle(PathDown(OTHER), 20.0)
    until(machine, 20.0)
    assert is_in(machine, Role.BACKUP)


def test_bfd_counts_for_the_active_only_and_once() -> None:
    machine = backup(heard(200), PathUp(OTHER), PathUp(THIRD))
    assert machine.handle(PathDown(THIRD), 0.1) == []
    actions = machine.handle(PathDown(OTHER), 0.1)
    assert actions[:3] == [SendAdvertisement(), HoldAddresses(), Announce()]
    machine.handle(heard(200), 0.2)
    assert is_in(machine, Role.BACKUP)
    machine.handle(PathDown(OTHER), 0.3)
    assert is_in(machine, Role.BACKUP)


def test_bfd_knows_the_only_peer_by_another_address() -> None:
    elsewhere = IPv4Address("10.8.0.2")
    session = BfdSession("e1", IPv4Address("10.8.0.1"), elsewhere, 0.003, 3)
    for peers, role in (((OTHER,), Role.ACTIVE), ((OTHER, THIRD), Role.BACKUP)):
        machine = Machine(replace(instance(1, 100, bfd=(session,)), peers=peers))
        for event in (Start(), heard(200), PathUp(elsewhere), PathDown(elsewhere)):
            machine.handle(event, 0.0)
        assert machine.role is role


def test_a_session_that_is_still_up_says_that_the_active_lives() -> None:
    machine = backup(heard(200), heard(200, THIRD), PathUp(OTHER), PathUp(THIRD), PathDown(OTHER))
    assert is_in(machine, Role.BACKUP), "both addresses are the active's"
    machine.handle(PathDown(THIRD), 0.1)
    assert is_in(machine, Role.ACTIVE)


def test_a_hand_over_that_is_refused_or_taken() -> None:
    machine = active()
    assert machine.handle(HandOver(force=False), 4.0) == [Offer(offer_window_s(1.0))]
    assert machine.handle(Refused("no"), 4.1) == [HandOverEnded(ok=False, detail="no")]
    machine.handle(HandOver(force=False), 4.2)
    actions = machine.handle(heard(50), 4.3)
    assert actions[:2] == [DropAddresses(), RESIGN]
    assert isinstance(actions[-1], HandOverEnded)
    assert machine.deferring


def test_enabling_ends_the_deferring() -> None:
    machine = active()
    for event in (HandOver(force=False), heard(50), Enable()):
        machine.handle(event, 4.3)
    assert not machine.deferring


def test_a_hand_over_with_force_resigns_where_nobody_takes_the_role() -> None:
    machine = active()
    machine.handle(HandOver(force=True, leave=True), 4.0)
    assert machine.offering
    ended = [each for each in until(machine, 5.1) if isinstance(each, HandOverEnded)]
    assert [each.ok for each in ended] == [True]
    assert machine.barred == "standby by request"
    assert machine.handle(HandOver(force=False), 6.0) == [HandOverEnded(ok=True, detail="is not active here")]


def test_an_offer_is_taken_from_the_active_that_is_heard_alone() -> None:
    machine = backup(heard(200))
    assert isinstance(machine.handle(Offered((THIRD,), 1.0), 0.1)[0], Refuse)
    actions = machine.handle(Offered((OTHER,), 1.0), 0.1)
    assert actions[:3] == [HoldAddresses(), Announce(), SendAdvertisement()]
    assert machine.handle(Offered((OTHER,), 1.0), 0.2) == []
    assert machine.handle(heard(200), 0.3) == []
    assert machine.handle(heard(0), 0.4) == [SendAdvertisement(), Announce()]
    assert isinstance(machine.handle(Offered((THIRD,), 1.0), 0.5)[0], Refuse)
    machine.handle(heard(200), 0.6)
    assert is_in(machine, Role.BACKUP)


def test_the_taker_advertises_four_times_in_the_window() -> None:
    machine = backup(heard(200))
    machine.handle(Offered((OTHER,), 1.0), 0.0)
    assert until(machine, 0.99).count(SendAdvertisement()) == 3


def test_an_offer_that_may_be_an_old_one_is_refused() -> None:
    machine = backup(heard(200))
    machine.handle(heard(200), 9.0)
    assert isinstance(machine.handle(Offered((OTHER,), 1.0), 9.0)[0], Refuse)


def test_who_listens_hands_nothing_over_and_takes_nothing() -> None:
    machine = active()
    [noted, *_] = machine.handle(HandOver(force=True), 20.0)
    assert isinstance(noted, Noted)
    assert noted.remark is Remark.OVERSLEPT
    assert not machine.offering
    assert isinstance(machine.handle(Offered((OTHER,), 1.0), 20.1)[0], Refuse)
    assert machine.handle(Standing(90), 20.2) == []
    assert until(machine, 21.0) == []
    assert SendAdvertisement() in until(machine, 22.0)


def test_a_late_judge_gives_more_time_and_says_so() -> None:
    machine = backup(heard(200))
    [noted] = machine.handle_timer(6.0)
    assert isinstance(noted, Noted)
    assert (noted.remark, machine.late) == (Remark.LATE, 1)
    assert role_at(machine) > 6.0 + 3


def test_a_judge_that_is_always_late_judges_at_last() -> None:
    machine, now = backup(heard(200)), 0.0
    while is_in(machine, Role.BACKUP):
        now += 2.0
        machine.handle_timer(now)
        assert now < 40.0


def test_a_duplicate_address_is_defended_no_more_often_than_announcements_come() -> None:
    machine = active()
    double = Duplicate(IPv4Address("10.9.0.100"), "02:00:00:00:00:01")
    assert Announce() in machine.handle(double, 4.0)
    assert machine.handle(double, 4.5) == []
    assert Announce() in machine.handle(double, 5.1)
    assert [type(each) for each in backup().handle(double, 0.1)] == [Noted]


@pytest.mark.parametrize("more", [{}, {"interval_s": 2.0}, {"preempt": False}], ids=str)
def test_a_successor_has_the_same_role_and_speaks_at_once(more: dict[str, Any]) -> None:
    for machine in (active(), backup(heard(200))):
        left = json.loads(json.dumps(machine.snapshot()))
        successor = Machine.restore(replace(machine.instance, **more), left, 4.2)
        assert (successor.role, successor.peer) == (machine.role, machine.peer)
        assert successor.deadline is not None
        if machine.role is Role.ACTIVE:
            assert successor.handle_timer(4.2)[:2] == [SendAdvertisement(), HoldAddresses()]


def test_a_successor_with_another_priority_waits_as_long_as_that_one_does() -> None:
    left = backup(heard(50)).snapshot()
    successor = Machine.restore(instance(1, 200), left, 0.2)
    assert successor.effective_priority == 200
    assert role_at(successor) == pytest.approx(3 + 56 / 256)
    successor = Machine.restore(instance(1, 20), left, 0.2)
    assert role_at(successor) == pytest.approx(3 + 236 / 256)


def test_a_stranger_leaves_nothing() -> None:
    with pytest.raises(ValueError, match="version 7"):
        Machine.restore(instance(1, 100), {"version": 7}, 0.0)
    with pytest.raises(ValueError, match="incomplete"):
        Machine.restore(instance(1, 100), {"version": 1}, 0.0)


def test_a_stop_ends_an_offer() -> None:
    machine = active()
    machine.handle(HandOver(force=False), 4.0)
    actions = machine.handle(Stop(), 4.1)
    assert actions[:2] == [RESIGN, DropAddresses()]
    assert HandOverEnded(ok=True, detail="stopped") in actions
