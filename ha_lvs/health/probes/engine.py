"""The probe engine: many checks of every kind in one thread, on bare sockets.

Rules that hold here:
* A probe has no stream objects and no tasks: at scale the cost of a check is the director's load.
* Sockets are looked at before timers. A process that was stopped or starved finds the answers that came
  meanwhile, and a timeout is judged by the time of the last look (`Schedule.due`), so nobody is down because
  we were late.
* Whatever goes wrong is the outcome of a probe, with a reason for people; only a bug raises.
* All calls come from one thread. `report` and watchers may call `add` and `remove`.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from ha_lvs.health.lateness import Lateness
from ha_lvs.health.probes.base import Probe, local_reason
from ha_lvs.health.probes.kinds import KINDS
from ha_lvs.health.schedule import LATE_S, Schedule
from ha_lvs.health.verdict import LATELY_DOWN, SERVING, UNKNOWN, Verdict, counting, judge
from ha_lvs.model import Endpoint

T = TypeVar("T")
Report = Callable[[Endpoint, Verdict, float], None]
"""Told of each change of state: the endpoint, its verdict, and how long the last probe took, in seconds."""

_MAX_EVENTS = 1024
_LOOK_S = 0.1
"""While probes run, the loop turns so often, so that it can tell when it was kept from looking."""


class Engine:
    """Probes endpoints and reports each change of their state.

    Arguments:
        report: called on each change of state, from within `run_once`.
        clock: monotonic seconds.

    Attributes:
        lateness: how late probes began, each measured from the one before; whoever reads it may begin a new one.
    """

    def __init__(self, report: Report, clock: Callable[[], float]) -> None:
        self._report = report
        self.clock = clock
        self.lateness = Lateness()
        self._schedule: Schedule[Probe] = Schedule()
        self._probes: dict[Endpoint, Probe] = {}
        self._by_fd: dict[int, Probe] = {}
        self._watchers: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._shared: dict[object, Any] = {}
        self._turned = clock()  # when the last look ended
        self._looked = self._turned  # what had arrived by then has been handled

    def __len__(self) -> int:
        return len(self._probes)

    def __contains__(self, endpoint: Endpoint) -> bool:
        return endpoint in self._probes

    def add(self, endpoint: Endpoint, serving: bool = False, down: bool = False) -> None:
        """Probes `endpoint` from now on; one that is known is left as it is, unless it has come to serve unprobed.

        Arguments:
            endpoint: what to probe.
            serving: whether it gets traffic already, so that a single failure must not take it away.
            down: whether it was down by the last that was known of it, so that a single success must not bring it back.
        """
        known = self._probes.get(endpoint)
        if known is not None:
            if serving and known.verdict is UNKNOWN:
                known.verdict = SERVING
            return
        probe = self._probes[endpoint] = KINDS[endpoint.check.type](endpoint, self)
        probe.verdict = SERVING if serving else LATELY_DOWN if down else UNKNOWN
        self._schedule.add(probe, self.clock())

    def remove(self, endpoint: Endpoint) -> None:
        """Stops probing `endpoint` and forgets its verdict; one that is not known is ignored."""
        probe = self._probes.pop(endpoint, None)
        if probe is not None:
            self._schedule.remove(probe)
            probe.close()
            probe.release()

    def hurry(self, endpoint: Endpoint) -> None:
        """Probes `endpoint` now, unless a probe runs; one that is not known is ignored."""
        probe = self._probes.get(endpoint)
        if probe is not None:
            self._schedule.hurry(probe, self.clock())

    def standing(self, endpoint: Endpoint) -> tuple[Verdict, float] | None:
        """The verdict on `endpoint` and the seconds that its last probe took; None when it is not known."""
        probe = self._probes.get(endpoint)
        return None if probe is None else (probe.verdict, probe.took_s)

    def endpoints(self) -> Iterator[Endpoint]:
        """All that are probed."""
        return iter(self._probes)

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Calls `readable` in `run_once` as long as `fd` has something to read or its other side is gone.

        A descriptor that is followed for a probe may be handed over so; it is not followed any more.
        """
        self._watchers[fd] = readable
        if self._by_fd.pop(fd, None) is None:
            self._epoll.register(fd, select.EPOLLIN)
        else:
            self._epoll.modify(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Ends `watch`; to be called before `fd` is closed."""
        del self._watchers[fd]
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Ends all running probes without a verdict."""
        for probe in self._probes.values():
            probe.close()
            probe.release()
        for each in self._shared.values():
            each.close()
        self._shared.clear()
        self._epoll.close()

    def run_once(self, max_wait_s: float) -> None:
        """Waits for sockets and timers, `max_wait_s` at most, and deals with what has come."""
        before = self.clock()
        deadline = self._schedule.deadline
        wait_s = max_wait_s if deadline is None else max(0.0, min(max_wait_s, deadline - before))
        if self._schedule.running:
            wait_s = min(wait_s, _LOOK_S)
        events = self._epoll.poll(wait_s, _MAX_EVENTS)
        now = self.clock()
        if now - self._turned > wait_s + LATE_S:
            self._schedule.stalled(now)
        self._turned = now
        for fd, event in events:
            probe = self._by_fd.get(fd)
            if probe is not None:
                if probe.running:
                    probe.advance(event, now)
            elif fd in self._watchers:
                self._watchers[fd]()
        if len(events) < _MAX_EVENTS:
            self._looked = before
        deadline = self._schedule.deadline
        if deadline is not None and deadline <= now:
            due = self._schedule.due(now, self._looked)
            # A report on the way may remove any of them.
            for probe in due.give_up:
                if probe.entry:
                    outcome = probe.expired(now)
                    self._settle(probe, outcome.success, outcome.reason, now)
            for probe in due.start:
                if probe.entry:
                    self._start(probe)

    def _start(self, probe: Probe) -> None:
        now = self.clock()
        self.lateness.note(now - probe.started - probe.interval_s if probe.started else 0.0)
        probe.started = now
        try:
            probe.start(now)
        except OSError as problem:
            self.end(probe, False, local_reason(problem.errno or errno.EIO), now)

    # -------------------------------------------------------------------------------------- what probes call

    def follow(self, fd: int, probe: Probe, events: int) -> None:
        """See `Driver`."""
        self._by_fd[fd] = probe
        self._epoll.register(fd, events)

    def renew(self, fd: int, events: int) -> None:
        """See `Driver`."""
        self._epoll.modify(fd, events)  # which tells again of what an edge has told of

    def unfollow(self, fd: int) -> None:
        """See `Driver`."""
        self._by_fd.pop(fd, None)

    def shared(self, key: object, make: Callable[[], T]) -> T:
        """See `Driver`."""
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = make()
        return cast("T", found)

    def hold(self, probe: Probe) -> None:
        """See `Driver`."""
        self._schedule.hold(probe)

    def begun(self, probe: Probe, now: float) -> None:
        """See `Driver`."""
        probe.started = now
        self._schedule.begun(probe, now)

    def end(self, probe: Probe, success: bool, reason: str, now: float) -> None:
        """See `Driver`."""
        self._schedule.finished(probe, now)
        self._settle(probe, success, reason, now)

    def _settle(self, probe: Probe, success: bool, reason: str, now: float) -> None:
        """Closes a probe that has an outcome, and reports it where it changes anything."""
        probe.close()
        probe.took_s = max(0.0, now - probe.started)
        probe.verdict, changed = judge(
            probe.verdict, probe.endpoint.check, success, reason, probe.percent, probe.warning
        )
        if probe.endpoint.check.fast_s:
            self._schedule.pace(probe, counting(probe.verdict), now)
        if changed:
            self._report(probe.endpoint, probe.verdict, probe.took_s)
