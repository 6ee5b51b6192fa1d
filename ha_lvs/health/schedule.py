"""When to start a probe of what, and when to give one up.

Rules that hold here:
* Pure: `now` comes in, the next `deadline` goes out. The driver calls `due` no later than `deadline` and does
  what it says; it calls `finished` when a probe has ended by itself.
* An endpoint has exactly one valid entry in the heap, from `add` to `remove`: its next start or the end of
  its running probe. So two probes of one endpoint never run at once, and a probe costs two heap operations.
* First probes are spread over one second at most, by a hash of the endpoint: a start is quick and no burst,
  and the same from run to run. Afterwards probes keep their phase: the next is meant to start `pace_s`
  after the last was; that is `fast_s` while a verdict is being counted (`pace`), else `interval_s`.
* Whoever comes late gets no backlog. When `due` is called more than `LATE_S` after the deadline (the process
  was stopped or starved), the whole timetable moves by as much, so probes stay as far apart as they were.
* A probe is given up only by a time at which somebody has looked at its socket since (`looked`), and one that
  ran while nobody looked (`stalled`) gets its whole timeout again, `RENEWALS` times at most: we were late,
  not the server. What giving up means is the driver's affair: for some kinds of probe, silence is success.
* A probe that waits for its turn (`hold`) has no timeout until it really begins (`begun`).
"""

from __future__ import annotations

import heapq
import math
import zlib
from dataclasses import dataclass
from typing import Generic, TypeVar

from ha_lvs.model import Endpoint

AT_ONCE = 16
"""So many endpoints get their first probe at once; it takes more for a burst to matter."""

SPREAD_S = 1.0
"""The others' first probes are spread over this time, or over the interval when that is shorter."""

TICK_S = 0.01
"""Probes start on a grid of this width, so that the driver wakes up for several at a time."""

LATE_S = 0.05
"""A driver later than this has missed its time; below it, it is only as late as timers are."""

RENEWALS = 3
"""How often one probe may get its timeout again: a starved director still sees a dead server in the end."""


class Slot:
    """An endpoint's place in the timetable. Drivers may inherit from it, to find their own things again.

    Arguments:
        endpoint: what is probed, and how often.

    Times are in the schedule's own seconds, which stand still while the driver is late.
    """

    __slots__ = (
        "armed", "deadline", "endpoint", "entry", "fast_s", "interval_s", "meant", "next_start", "pace_s", "renewals",
        "running", "timeout_s", "wake",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.interval_s = endpoint.check.interval_s
        self.fast_s = min(endpoint.check.fast_s or self.interval_s, self.interval_s)
        self.pace_s = self.fast_s  # nothing is known of it yet
        self.timeout_s = endpoint.check.timeout_s
        self.running = False
        self.next_start = 0.0
        self.meant = 0.0  # when the last probe was meant to start
        self.armed = 0.0  # when the timeout was set
        self.deadline = 0.0
        self.renewals = 0
        self.entry = 0  # number of the valid entry in the heap; 0 for none
        self.wake = 0.0  # its time


S = TypeVar("S", bound=Slot)


@dataclass(frozen=True, slots=True)
class Due(Generic[S]):
    """What has to be done now: first close the probes that took too long, then start the others."""

    give_up: list[S]
    start: list[S]


class Schedule(Generic[S]):
    """The timetable of all probes."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, S]] = []
        self._entries = 0  # ever made: tells valid ones from others and breaks ties, oldest first
        self._endpoints = 0
        self._running = 0
        self._shift_s = 0.0  # real time minus the schedule's own
        self._stalled_at = float("-inf")

    def __len__(self) -> int:
        """How many endpoints are probed."""
        return self._endpoints

    @property
    def running(self) -> int:
        """How many probes are running."""
        return self._running

    @property
    def deadline(self) -> float | None:
        """When `due` has something to say, in monotonic seconds; None while there is nothing to probe.

        It is infinite while everything that is left waits for its turn.
        """
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].entry:
            heapq.heappop(heap)
        return heap[0][0] + self._shift_s if heap else None

    def add(self, slot: S, now: float) -> None:
        """Takes an endpoint into the timetable.

        Arguments:
            slot: a new one; the caller sees to it that an endpoint is added once.
            now: monotonic seconds.
        """
        slot.next_start = self._own(now)
        if self._endpoints >= AT_ONCE:
            later = slot.next_start + spread(slot.endpoint) * min(slot.interval_s, SPREAD_S)
            slot.next_start = max(slot.next_start, later // TICK_S * TICK_S)
        self._endpoints += 1
        self._push(slot, slot.next_start)

    def remove(self, slot: S) -> None:
        """Takes an endpoint out again; a running probe is the caller's to close."""
        if not slot.entry:
            return
        if slot.running:
            slot.running = False
            self._running -= 1
        slot.entry = 0
        self._endpoints -= 1
        if len(self._heap) > 64 + 2 * self._endpoints:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].entry]
            heapq.heapify(self._heap)

    def hurry(self, slot: S, now: float) -> None:
        """Has the next probe of `slot` start now, unless one runs; those after it keep their distance from it."""
        own_now = self._own(now)
        if slot.entry and not slot.running and own_now < slot.next_start:
            slot.next_start = own_now
            self._push(slot, own_now)

    def finished(self, slot: S, now: float) -> None:
        """Notes that the running probe of `slot` has ended by itself."""
        slot.running = False
        self._running -= 1
        if slot.next_start < slot.wake:  # it outlived its interval, so its entry waits for the deadline
            self._push(slot, max(slot.next_start, self._own(now)))

    def pace(self, slot: S, fast: bool, now: float) -> None:
        """Sets the pace of a slot whose probe has just ended: the next comes so much after the last was meant to start.

        Arguments:
            slot: no probe of it runs.
            fast: whether a verdict is being counted, so that the next probe comes after `fast_s`.
            now: monotonic seconds.
        """
        pace_s = slot.fast_s if fast else slot.interval_s
        if pace_s == slot.pace_s or not slot.entry:
            return
        slot.pace_s = pace_s
        slot.next_start = slot.meant + pace_s
        self._push(slot, max(slot.next_start, self._own(now)))

    def hold(self, slot: S) -> None:
        """Notes that the probe of `slot`, which counts as running, waits for its turn: no timeout until `begun`."""
        slot.deadline = math.inf

    def begun(self, slot: S, now: float) -> None:
        """Notes that a probe that was held really begins now, and has its timeout from now on."""
        slot.armed = self._own(now)
        slot.deadline = slot.armed + slot.timeout_s
        self._push(slot, self._wake(slot, slot.armed))

    def stalled(self, now: float) -> None:
        """Notes that for a while before `now` nobody looked at the sockets."""
        self._stalled_at = self._own(now)

    def due(self, now: float, looked: float) -> Due[S]:
        """What has to be done at `now`.

        Arguments:
            now: monotonic seconds.
            looked: the time of the last look at the sockets: whatever had arrived by then has been handled.

        The probes to start count as running from now on, those to give up as finished.
        """
        deadline = self.deadline
        due: Due[S] = Due([], [])
        if deadline is None or deadline > now:
            return due
        own_now, heap = self._own(now), self._heap
        # Rounding must not keep back what is due: time may stand still for whoever waits for it.
        own_now = max(own_now, heap[0][0])
        own_looked = own_now - (now - looked)
        while heap and heap[0][0] <= own_now:
            _, entry, slot = heap[0]
            if entry != slot.entry:
                heapq.heappop(heap)
                continue
            if not slot.running and slot.next_start <= own_now:
                self._begin(slot, own_now)
                due.start.append(slot)
            elif slot.running and slot.deadline <= own_now:
                if slot.deadline > own_looked:
                    break  # the driver has to look first, which it does at once: `deadline` stays in the past
                if slot.armed <= self._stalled_at and slot.renewals < RENEWALS:
                    slot.renewals += 1
                    slot.armed = own_now
                    slot.deadline = own_now + slot.timeout_s
                else:
                    slot.running = False
                    self._running -= 1
                    due.give_up.append(slot)
                    heapq.heappop(heap)
                    continue
            heapq.heapreplace(heap, self._entry(slot, self._wake(slot, own_now)))
        for slot in due.give_up:  # not earlier: how soon the next is to come depends on what giving up means (`pace`)
            self._push(slot, max(slot.next_start, own_now))
        return due

    def _own(self, now: float) -> float:
        """The schedule's own time at `now`; it stood still from `deadline` until now if that is long ago."""
        deadline = self.deadline
        if deadline is not None and now - deadline > LATE_S:
            self._shift_s += now - deadline
            self._stalled_at = now - self._shift_s
        return now - self._shift_s

    def _push(self, slot: S, wake: float) -> None:
        heapq.heappush(self._heap, self._entry(slot, wake))

    def _entry(self, slot: S, wake: float) -> tuple[float, int, S]:
        self._entries += 1
        slot.entry, slot.wake = self._entries, wake
        return wake, self._entries, slot

    def _begin(self, slot: S, own_now: float) -> None:
        slot.running = True
        self._running += 1
        slot.armed = own_now
        slot.renewals = 0
        slot.deadline = own_now + slot.timeout_s
        # After a probe that outlived its interval the phase begins anew; nothing is caught up with.
        late = own_now - slot.next_start > LATE_S
        slot.meant = own_now if late else slot.next_start
        slot.next_start = slot.meant + slot.pace_s

    @staticmethod
    def _wake(slot: S, own_now: float) -> float:
        """When to look at the entry again: the next of its start and its deadline that is still to come."""
        if not slot.running:
            return max(slot.next_start, own_now)
        return slot.next_start if own_now < slot.next_start < slot.deadline else slot.deadline


def spread(endpoint: Endpoint) -> float:
    """A number from 0 up to 1 that is always the same for an endpoint and evenly spread over many."""
    return zlib.crc32(repr(endpoint).encode()) / 2**32
