"""What a router knows of the active one, and when, as a backup, it will believe it dead. A part of the machine.

* An advertisement of a superior active moves `down_at`, the Active_Down_Timer. One of an inferior active does not: the
  timer runs out, and that is preemption (RFC 9568 6.4.2). But it moves `silent_at`, since preemption may have to wait
  (for `preempt_delay_s`, for the connection table) and must not wait for one that has fallen silent meanwhile.
* Time in which we did not run is no silence of the other: by as much as we come late, both move. Whoever has slept
  for long enough to be replaced listens before it speaks, and when a hypervisor stops a whole machine, that is the
  other: it gets the whole Active_Down_Interval anew, and the time for which it listens. One that can only have been
  late gets at least one more interval.
* Patience ends: each lateness takes from it as long as it was, at most an interval, and it is one Active_Down_Interval
  until the active is heard again. So a backup that is always late judges late, but it does judge.
* A router is known by the addresses that send its priority: one on each of its paths.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_lvs.election.timing import LOOKS_PER_INTERVAL
from ha_lvs.model import IPAddress

MAX_SOURCES = 16


@dataclass(slots=True)
class Watch:
    """The active as it is seen from here.

    Arguments:
        interval_s: Active_Adver_Interval in seconds.
        peer, peer_priority: sender and priority of the advertisement heard last.
        heard_at: when somebody active was heard last.
        sources: the addresses from which that one was heard.
        alive_until: until when it counts as alive.
        down_at: Active_Down_Timer.
        inferior_since: since when an active that may be preempted is heard.
        silent_at: when that one counts as dead.
        look_at: when to look at the clock next, to notice that we come late.
        patience_s: how much lateness will still be forgiven.
    """

    interval_s: float
    peer: IPAddress | None = None
    peer_priority: int = 0
    heard_at: float | None = None
    sources: tuple[IPAddress, ...] = ()
    alive_until: float | None = None
    down_at: float | None = None
    inferior_since: float | None = None
    silent_at: float | None = None
    look_at: float | None = None
    patience_s: float = 0.0

    # --------------------------------------------------------------------------------- what is heard

    def note_active(self, source: IPAddress, priority: int, down_interval_s: float, now: float) -> None:
        """Somebody active has spoken."""
        if priority != self.peer_priority:
            self.sources = ()
        if source not in self.sources:
            self.sources = (*self.sources, source)[-MAX_SOURCES:]
        self.peer, self.peer_priority = source, priority
        self.heard_at = now
        self.alive_until = now + down_interval_s

    def note_resigned(self, source: IPAddress) -> None:
        """The active has resigned."""
        self.peer, self.peer_priority = source, 0
        self.sources = ()
        self.alive_until = None

    def hears_active(self, now: float) -> bool:
        """Whether somebody active counts as alive."""
        return self.alive_until is not None and now < self.alive_until

    # ------------------------------------------------------------------------------------ the timers

    def disarm(self) -> None:
        """Nothing is expected any more: we are active, or not running."""
        self.down_at = self.inferior_since = self.silent_at = self.look_at = None

    def expect_by(self, at: float, patience_s: float, now: float) -> None:
        """Somebody must be heard until `at`."""
        self.down_at = at
        self.inferior_since = self.silent_at = None
        self.patience_s = patience_s
        self.look_again(now)

    def bear_inferior(self, down_interval_s: float, now: float) -> None:
        """An active that may be preempted has spoken."""
        if self.inferior_since is None or (self.silent_at is not None and now >= self.silent_at):
            self.inferior_since = now
        self.silent_at = now + down_interval_s
        self.patience_s = down_interval_s

    def look_again(self, now: float) -> None:
        """Arms the next look."""
        self.look_at = now + self.interval_s / LOOKS_PER_INTERVAL

    def shift(self, by_s: float) -> None:
        """The Active_Down_Interval has changed by as much."""
        for name in ("down_at", "silent_at", "alive_until"):
            at = getattr(self, name)
            if at is not None:
                setattr(self, name, at + by_s)

    def verdict_at(self, preempt_delay_s: float, may_preempt: bool) -> float | None:
        """When the active's place is ours, if nothing more is heard.

        Arguments:
            preempt_delay_s: how long an inferior active is borne.
            may_preempt: whether it can be preempted now at all.
        """
        if self.down_at is None or self.inferior_since is None or self.silent_at is None:
            return self.down_at
        if not may_preempt:
            return max(self.down_at, self.silent_at)
        return max(self.down_at, min(self.inferior_since + preempt_delay_s, self.silent_at))

    def forgive(self, late_s: float, benefit_s: float, now: float) -> bool:
        """Moves the timers by as much as we come late, as far as patience goes; says whether it did.

        Arguments:
            late_s: how late.
            benefit_s: what the other has from now on at least.
            now: monotonic seconds.
        """
        if self.patience_s <= 0:
            return False
        self.patience_s -= min(late_s, self.interval_s)
        for name in ("down_at", "silent_at", "alive_until"):
            at = getattr(self, name)
            if at is not None:
                setattr(self, name, max(at + late_s, now + benefit_s))
        return True
