"""The timetable of probes, driven by hand: simulated time, simulated servers, a driver that may come late."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.health.schedule import AT_ONCE, LATE_S, RENEWALS, SPREAD_S, TICK_S, Schedule, Slot, spread
from ha_lvs.model import Check, CheckType, Endpoint

SLACK_S = LATE_S + TICK_S


def endpoint(number: int, interval_s: float = 1.0, timeout_s: float = 0.5, fast_s: float = 0.0) -> Endpoint:
    check = Check(CheckType.TCP, interval_s=interval_s, timeout_s=timeout_s, fast_s=fast_s)
    return Endpoint(ip_address("10.0.0.0") + number, 80, check)


@dataclass
class Driver:
    """A driver in simulated time.

    Arguments:
        answer_s: how long the servers take to answer; None for never.
        now: the time.
        counting: says of a slot whose probe has ended whether a verdict is being counted.
    """

    answer_s: float | None = 0.01
    now: float = 1000.0
    schedule: Schedule[Slot] = field(default_factory=Schedule)
    running: dict[Slot, float] = field(default_factory=dict)
    starts: list[tuple[float, Slot]] = field(default_factory=list)
    given_up: list[tuple[float, Slot]] = field(default_factory=list)
    late_s: float = 0.0
    counting: Callable[[Slot], bool] = lambda _: False

    def add(self, *endpoints: Endpoint) -> list[Slot]:
        slots = [Slot(each) for each in endpoints]
        for slot in slots:
            self.schedule.add(slot, self.now)
        return slots

    def turn(self) -> None:
        """Sleeps until something is due or answered, looks at the sockets, then asks the schedule."""
        times = [self.schedule.deadline] if self.schedule.deadline is not None else []
        if self.answer_s is not None:
            times += [started + self.answer_s for started in self.running.values()]
        looked = self.now = max(self.now, min(times, default=self.now)) + self.late_s
        for slot, started in list(self.running.items()):
            if self.answer_s is not None and started + self.answer_s <= self.now:
                del self.running[slot]
                self.schedule.finished(slot, self.now)
                self.schedule.pace(slot, self.counting(slot), self.now)
        due = self.schedule.due(self.now, looked)
        for slot in due.give_up:
            del self.running[slot]
            self.given_up.append((self.now, slot))
            self.schedule.pace(slot, self.counting(slot), self.now)
        for slot in due.start:
            assert slot not in self.running, "two probes of one endpoint at once"
            self.running[slot] = self.now
            self.starts.append((self.now, slot))
        assert self.schedule.running == len(self.running)

    def turn_until(self, time: float) -> None:
        for _ in range(1_000_000):
            if self.now >= time:
                return
            self.turn()
        raise AssertionError(f"time stands still at {self.now}")

    def starts_of(self, slot: Slot) -> list[float]:
        return [time for time, started in self.starts if started is slot]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


times_s = st.sampled_from([0.05, 0.1, 0.35, 0.5, 1.0, 2.0, 3.0])


@given(
    st.lists(st.tuples(times_s, times_s), min_size=1, max_size=40),
    st.sampled_from([None, 0.0, 0.02, 0.4, 1.5]),
    st.sampled_from([0.0, 0.001, 0.03]),
)
@settings(max_examples=60, deadline=None)
def test_probes_of_an_endpoint_never_overlap_and_keep_their_distance(
    checks: list[tuple[float, float]], answer_s: float | None, late_s: float
) -> None:
    driver = Driver(answer_s, late_s=late_s)
    slots = driver.add(*(endpoint(n, interval, timeout) for n, (interval, timeout) in enumerate(checks)))
    driver.turn_until(1020.0)
    for slot in slots:
        distances = gaps(driver.starts_of(slot))
        assert len(distances) >= 4
        # An endpoint that answers late or never is probed again when its probe has ended.
        held_s = slot.timeout_s if answer_s is None else min(answer_s, slot.timeout_s)
        longest = max(slot.interval_s, held_s) + 3 * SLACK_S
        assert min(distances) >= slot.interval_s - SLACK_S
        assert late_s > 0 or max(distances) <= longest


@given(st.integers(AT_ONCE + 20, 300), st.sampled_from([0.2, 1.0, 10.0]))
@settings(max_examples=20, deadline=None)
def test_every_endpoint_is_probed_soon_but_not_all_at_once(count: int, interval_s: float) -> None:
    driver = Driver()
    driver.add(*(endpoint(n, interval_s) for n in range(count)))
    driver.turn_until(1000.0 + SPREAD_S + TICK_S)
    first = {slot: time for time, slot in reversed(driver.starts)}
    assert len(first) == count
    assert max(first.values()) <= 1000.0 + min(interval_s, SPREAD_S) + TICK_S
    at_one_time = Counter(time for time in first.values() if time > 1000.0 + TICK_S).most_common(1)[0][1]
    assert at_one_time <= max(10, count // 3)


def test_a_few_endpoints_start_at_once() -> None:
    driver = Driver()
    driver.add(*(endpoint(n) for n in range(AT_ONCE)))
    driver.turn()
    assert [time for time, _ in driver.starts] == [1000.0] * AT_ONCE


def test_the_spread_is_even_and_the_same_every_time() -> None:
    shares = Counter(int(spread(endpoint(n)) * 10) for n in range(2000))
    assert set(shares) == set(range(10))
    assert max(shares.values()) < 2 * min(shares.values())
    assert spread(endpoint(7)) == spread(endpoint(7))


def test_a_driver_that_was_stopped_finds_no_backlog() -> None:
    driver = Driver()
    slots = driver.add(*(endpoint(n) for n in range(400)))
    driver.turn_until(1005.0)
    before = Counter(slot for _, slot in driver.starts)
    driver.now += 10.0
    resumed = driver.now
    driver.turn_until(resumed + 1.0 + SLACK_S)
    late = [(time, slot) for time, slot in driver.starts if time >= resumed]
    assert max(Counter(slot for _, slot in late).values()) <= 2
    within_first_tenth = [slot for time, slot in late if time < resumed + 0.1]
    assert len(within_first_tenth) < 120, "the overdue probes came in a burst"
    assert {slot for _, slot in late} == set(slots) == set(before)


@given(st.lists(st.sampled_from(["turn", "add", "remove", "stop"]), max_size=120))
@settings(max_examples=60, deadline=None)
def test_endpoints_come_and_go(steps: list[str]) -> None:
    driver = Driver(answer_s=0.3)
    here: list[Slot] = []
    for number, step in enumerate(steps):
        if step == "add":
            here += driver.add(endpoint(number, interval_s=0.5))
        elif step == "remove" and here:
            slot = here.pop(number % len(here))
            driver.schedule.remove(slot)
            driver.running.pop(slot, None)
        elif step == "stop":
            driver.now += 7.0
        elif here:
            driver.turn()
        assert len(driver.schedule) == len(here)
    gone, start = driver.now, len(driver.starts)
    driver.turn_until(gone + 3.0) if here else driver.turn()
    assert {slot for _, slot in driver.starts[start:]} == set(here)


def test_memory_does_not_grow_with_endpoints_that_come_and_go() -> None:
    driver = Driver()
    driver.add(endpoint(0, interval_s=300.0))
    for _ in range(5000):
        (slot,) = driver.add(endpoint(1, interval_s=300.0))
        driver.schedule.remove(slot)
    assert len(driver.schedule._heap) < 200


def test_nothing_to_probe_means_no_deadline() -> None:
    schedule: Schedule[Slot] = Schedule()
    deadlines = [schedule.deadline]
    slot = Slot(endpoint(1))
    schedule.add(slot, 5.0)
    deadlines.append(schedule.deadline)
    schedule.remove(slot)
    deadlines.append(schedule.deadline)
    assert deadlines == [None, 5.0, None]


def test_a_silent_probe_is_given_up_after_its_timeout() -> None:
    driver = Driver(answer_s=None)
    driver.add(endpoint(1, interval_s=2.0, timeout_s=0.7))
    driver.turn_until(1001.0)
    assert [round(time, 3) for time, _ in driver.given_up] == [1000.7]


def test_a_probe_is_not_given_up_before_somebody_has_looked() -> None:
    schedule: Schedule[Slot] = Schedule()
    slot = Slot(endpoint(1, timeout_s=0.5))
    schedule.add(slot, 0.0)
    assert schedule.due(0.0, 0.0).start == [slot]
    assert schedule.due(0.51, looked=0.4).give_up == []
    assert schedule.deadline is not None
    assert schedule.deadline <= 0.51
    assert schedule.due(0.52, looked=0.515).give_up == [slot]


def test_a_probe_over_a_stall_gets_its_timeout_again_but_not_for_ever() -> None:
    schedule: Schedule[Slot] = Schedule()
    slot = Slot(endpoint(1, interval_s=60.0, timeout_s=1.0))
    schedule.add(slot, 0.0)
    schedule.due(0.0, 0.0)
    now = 0.0
    for _ in range(RENEWALS):
        now += 0.9
        schedule.stalled(now)
        now += 0.11
        assert schedule.due(now, now).give_up == []
        assert schedule.deadline is not None
        assert schedule.deadline > now + 0.9
    now += 0.9
    schedule.stalled(now)
    now += 0.11
    assert schedule.due(now, now).give_up == [slot]


# ------------------------------------------------------------------------------------------ the faster interval


@given(
    st.lists(st.tuples(times_s, times_s, times_s), min_size=1, max_size=20),
    st.sampled_from([None, 0.0, 0.02, 0.4, 1.5]),
    st.sampled_from([0.0, 0.001, 0.03]),
    st.lists(st.booleans(), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_the_next_probe_comes_at_the_pace_that_holds_when_the_last_has_ended(
    checks: list[tuple[float, float, float]], answer_s: float | None, late_s: float, counted: list[bool]
) -> None:
    ended: Counter[Slot] = Counter()
    asked: dict[Slot, list[bool]] = {}

    def counting(slot: Slot) -> bool:
        ended[slot] += 1
        asked.setdefault(slot, []).append(counted[ended[slot] % len(counted)])
        return asked[slot][-1]

    driver = Driver(answer_s, late_s=late_s, counting=counting)
    slots = driver.add(*(endpoint(n, interval, timeout, fast) for n, (interval, timeout, fast) in enumerate(checks)))
    driver.turn_until(1020.0)
    for slot in slots:
        held_s = slot.timeout_s if answer_s is None else min(answer_s, slot.timeout_s)
        distances = gaps(driver.starts_of(slot))
        assert len(distances) >= 4
        for distance, fast in zip(distances, asked[slot], strict=False):
            meant_s = min(slot.endpoint.check.fast_s, slot.interval_s) if fast else slot.interval_s
            assert distance >= meant_s - SLACK_S
            assert late_s > 0 or distance <= max(meant_s, held_s) + 3 * SLACK_S


def test_the_faster_interval_begins_with_the_first_failure_and_ends_with_the_count() -> None:
    fails = range(3, 6)  # the third to the fifth probe
    number = [0]

    def counting(_: Slot) -> bool:
        number[0] += 1
        return number[0] in fails

    driver = Driver(answer_s=0.01, counting=counting)
    (slot,) = driver.add(endpoint(1, interval_s=1.0, fast_s=0.2))
    driver.turn_until(1005.5)
    assert [round(time - 1000.0, 3) for time in driver.starts_of(slot)] == [0, 1, 2, 2.2, 2.4, 2.6, 3.6, 4.6, 5.6]


def test_without_a_faster_interval_counting_changes_nothing() -> None:
    fast, plain = Driver(counting=lambda _: True), Driver()
    for driver in (fast, plain):
        driver.add(*(endpoint(n) for n in range(40)))
        driver.turn_until(1005.0)
    assert [(time, slot.endpoint) for time, slot in fast.starts] == [
        (time, slot.endpoint) for time, slot in plain.starts
    ]


def test_one_of_which_nothing_is_known_is_probed_at_the_faster_pace() -> None:
    driver = Driver(answer_s=0.01, counting=lambda _: True)
    (slot,) = driver.add(endpoint(1, interval_s=10.0, fast_s=0.5))
    driver.turn_until(1001.6)
    assert [round(time - 1000.0, 3) for time in driver.starts_of(slot)] == [0, 0.5, 1.0, 1.5, 2.0]


def test_a_stop_leaves_no_backlog_of_fast_probes() -> None:
    driver = Driver(answer_s=0.01, counting=lambda _: True)
    slots = driver.add(*(endpoint(n, interval_s=5.0, fast_s=0.5) for n in range(100)))
    driver.turn_until(1010.0)
    driver.now += 30.0
    resumed = driver.now
    driver.turn_until(resumed + 0.5 + SLACK_S)
    late = Counter(slot for time, slot in driver.starts if time >= resumed)
    assert set(late) == set(slots)
    assert max(late.values()) <= 2


def test_the_pace_of_one_that_was_removed_brings_it_not_back() -> None:
    schedule: Schedule[Slot] = Schedule()
    slot = Slot(endpoint(1, fast_s=0.1))
    schedule.add(slot, 0.0)
    schedule.due(0.0, 0.0)
    schedule.remove(slot)
    schedule.pace(slot, False, 0.01)
    assert schedule.deadline is None


# ------------------------------------------------------------------------------------------ waiting for a turn


def test_one_that_waits_for_its_turn_is_not_given_up_and_has_its_whole_timeout_then() -> None:
    schedule: Schedule[Slot] = Schedule()
    slot = Slot(endpoint(1, interval_s=2.0, timeout_s=0.5))
    schedule.add(slot, 0.0)
    assert schedule.due(0.0, 0.0).start == [slot]
    schedule.hold(slot)
    now = 0.0
    while now < 10.0:
        now += 0.04
        due = schedule.due(now, now)
        assert (due.start, due.give_up) == ([], [])
    assert schedule.deadline == math.inf
    assert schedule.running == 1
    schedule.begun(slot, 10.0)
    assert schedule.deadline == 10.5
    assert schedule.due(10.49, 10.49).give_up == []
    assert schedule.due(10.51, 10.51).give_up == [slot]
    assert schedule.due(10.51, 10.51).start == [slot], "the time of its next start is over"


def test_one_that_waits_keeps_nobody_else_from_being_probed() -> None:
    driver = Driver(answer_s=0.01)
    held, other = driver.add(endpoint(1), endpoint(2))
    driver.turn()
    driver.schedule.hold(held)
    del driver.running[held]
    before = len(driver.starts_of(other))
    for _ in range(200):
        deadline = driver.schedule.deadline
        assert deadline is not None
        driver.now += 0.04
        due = driver.schedule.due(driver.now, driver.now)
        assert due.give_up in ([], [other])
        driver.starts += [(driver.now, slot) for slot in due.start]
    assert len(driver.starts_of(other)) > before + 3
    assert len(driver.starts_of(held)) == 1


def test_one_that_ends_while_it_waits_is_probed_again_in_its_time() -> None:
    schedule: Schedule[Slot] = Schedule()
    slot = Slot(endpoint(1, interval_s=2.0, timeout_s=0.5))
    schedule.add(slot, 0.0)
    schedule.due(0.0, 0.0)
    schedule.hold(slot)
    schedule.due(0.52, 0.52)
    schedule.finished(slot, 0.53)
    assert schedule.deadline == 2.0
    schedule.remove(slot)
    assert schedule.running == 0


def test_who_is_hurried_starts_now_and_keeps_its_interval_from_there() -> None:
    driver = Driver()
    [slot] = driver.add(endpoint(1, interval_s=100.0))
    driver.turn()
    driver.turn()
    assert not driver.running
    driver.now += 10.0
    driver.schedule.hurry(slot, driver.now)
    for _ in range(4):
        driver.turn()
    assert [round(at - driver.starts[0][0]) for at, _ in driver.starts] == [0, 10, 110]


def test_who_is_probed_already_is_not_hurried_nor_who_is_gone() -> None:
    driver = Driver(answer_s=None)
    [slot] = driver.add(endpoint(1, interval_s=100.0, timeout_s=50.0))
    driver.turn()
    driver.schedule.hurry(slot, driver.now)
    assert driver.schedule.deadline is not None
    assert driver.schedule.deadline > driver.now
    driver.schedule.remove(slot)
    driver.schedule.hurry(slot, driver.now)
    assert driver.schedule.deadline is None


def test_hurrying_again_and_again_leaves_one_place_in_the_timetable() -> None:
    driver = Driver()
    slots = driver.add(*(endpoint(n, interval_s=100.0) for n in range(3)))
    for _ in range(12):
        driver.turn()
    before = len(driver.starts)
    for _ in range(50):
        driver.schedule.hurry(slots[0], driver.now)
    driver.turn()
    driver.turn()
    assert [slot for _, slot in driver.starts[before:]].count(slots[0]) == 1
