"""One virtual router: the state machine of RFC 9568 section 6.4, and what ha-lvs adds to it.

Rules beyond the RFC, each for something that has gone wrong in the field:

* **The lease is renewed right after an advertisement, never apart from it.** An elector that stops, stops both in the
  same moment; the kernel then removes the addresses before, or about when, the backup's timer runs out.
* **Time in which we did not run is no silence of the other.** A backup looks at its clock twice an interval; by as much
  as a look comes late, the other's deadline moves, at most by one Active_Down_Interval. When a hypervisor stops both
  directors at once, nobody is declared dead on waking.
* **Who was silent for as long as it takes to be declared dead, yields.** An active that wakes and hears another active
  steps back to backup, whatever the priorities; preemption then follows its usual path. One that must not preempt
  steps back unheard.
* **A survivor announces again.** An active that hears an inferior active, or one that resigns, answers at once with an
  advertisement and a gratuitous ARP, since neighbours may have learned the loser's MAC. It also announces every now and
  then while it is active: it may have been cut off without noticing while another was active for a while.
* **Who yields says so.** An active that steps back drops its addresses and then sends a resignation: the one that stays
  may never have heard it (it yields to the first packet after a split has healed), and has to announce again.
* **Adoption.** Addresses found at the start stay until it is clear who is active, but no longer than their lease: one
  that has none is given it, one that has is not renewed before we are active.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Event,
    Heard,
    HoldAddresses,
    RoleChanged,
    SendAdvertisement,
    Start,
    Stop,
)
from ha_lvs.election.timing import MISSED_INTERVALS, active_down_interval_s, skew_time_s
from ha_lvs.model import Role, VrrpInstance

OWNER_PRIORITY = 255
RENEWALS_PER_LEASE = 4
UNLEASED_HOLD_S = 5.0
"""How often addresses without a lease are looked after, in seconds: somebody may have deleted them."""
LOOKS_PER_INTERVAL = 2


class Machine:
    """The virtual router `instance` on this node.

    Arguments:
        instance: its configuration; never changes in the life of a machine.

    Attributes to read:
        role: where it stands.
        holding: whether it wants the virtual IPs on their interfaces.
        peer, peer_priority: the sender of the last advertisement heard, None and 0 before the first.
    """

    __slots__ = (
        "_active_interval_s",
        "_advertise_at",
        "_announce_at",
        "_announcements_left",
        "_down_at",
        "_down_extension_left_s",
        "_held_at",
        "_look_at",
        "_sent_at",
        "holding",
        "instance",
        "peer",
        "peer_priority",
        "role",
    )

    def __init__(self, instance: VrrpInstance) -> None:
        self.instance = instance
        self.role = Role.INITIALIZE
        self.holding = False
        self.peer: IPv4Address | None = None
        self.peer_priority = 0
        self._active_interval_s = instance.interval_s  # Active_Adver_Interval
        self._down_at: float | None = None  # Active_Down_Timer
        self._down_extension_left_s = 0.0
        self._look_at: float | None = None
        self._advertise_at: float | None = None  # Adver_Timer
        self._announce_at: float | None = None
        self._announcements_left = 0
        self._sent_at = 0.0
        self._held_at = 0.0

    # ------------------------------------------------------------------------------------- the contract

    @property
    def deadline(self) -> float | None:
        """When `handle_timer` has something to do, in monotonic seconds; None for never."""
        pending = (self._down_at, self._look_at, self._advertise_at, self._announce_at)
        return min((at for at in pending if at is not None), default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """What follows from an event.

        Arguments:
            event: what happened.
            now: monotonic seconds.
        """
        match event:
            case Heard():
                return self._heard(event, now)
            case Start():
                return self._start(event, now)
            case Stop():
                return self._stop()

    def handle_timer(self, now: float) -> list[Action]:
        """What follows from the time. Nothing when `deadline` is still ahead.

        Arguments:
            now: monotonic seconds.
        """
        if self.role is Role.ACTIVE:
            return self._tick_active(now)
        if self.role is Role.BACKUP:
            return self._tick_backup(now)
        return []

    # --------------------------------------------------------------------------------------- by state

    def _start(self, event: Start, now: float) -> list[Action]:
        if self.role is not Role.INITIALIZE:
            return []
        self.holding = event.holding
        if self.instance.priority == OWNER_PRIORITY:
            return self._become_active(now, "owner of the addresses", planned=True)
        adoption: list[Action] = [HoldAddresses()] if event.holding and not event.leased else []
        return [*adoption, *self._become_backup(now, "started", planned=True)]

    def _stop(self) -> list[Action]:
        if self.role is Role.INITIALIZE:
            return []
        actions: list[Action] = [SendAdvertisement(resign=True)] if self.role is Role.ACTIVE else []
        actions += self._drop()
        self._disarm()
        self.role = Role.INITIALIZE
        return [*actions, RoleChanged(Role.INITIALIZE, "stopped", planned=True)]

    def _heard(self, event: Heard, now: float) -> list[Action]:
        if self.role is Role.INITIALIZE or event.source == self.instance.source:
            return []
        self.peer, self.peer_priority = event.source, event.priority
        return self._heard_active(event, now) if self.role is Role.ACTIVE else self._heard_backup(event, now)

    def _heard_backup(self, event: Heard, now: float) -> list[Action]:
        """RFC 9568 6.4.2, rows 415 to 470."""
        if event.priority == 0:
            self._expect_by(now + skew_time_s(self.instance.priority, self._active_interval_s))
            return []
        dropped = self._drop()  # somebody else is active: what was adopted is not ours to hold
        if not self.instance.preempt or event.priority >= self.instance.priority:
            self._active_interval_s = event.interval_s
            self._await_active(now)
        return dropped

    def _heard_active(self, event: Heard, now: float) -> list[Action]:
        """RFC 9568 6.4.3, rows 700 to 765."""
        if event.priority == 0:
            return [*self._advertise(now), Announce()]
        own = self.instance
        silent_s = now - self._sent_at
        overslept = silent_s > MISSED_INTERVALS * own.interval_s
        if (event.priority, event.source) > (own.priority, own.source):
            self._active_interval_s = event.interval_s
            return self._become_backup(now, f"{event.source} has priority {event.priority}", planned=not overslept)
        if overslept:
            self._active_interval_s = event.interval_s
            return self._become_backup(now, f"silent for {silent_s:.3f} s, {event.source} took over", planned=False)
        return [*self._advertise(now), Announce()]

    # --------------------------------------------------------------------------------------- by timer

    def _tick_backup(self, now: float) -> list[Action]:
        self._allow_for_lateness(now)
        if self._down_at is not None and now >= self._down_at:
            return self._become_active(now, *self._why_active())
        return []

    def _tick_active(self, now: float) -> list[Action]:
        silent_s = now - self._sent_at
        own = self.instance
        if not own.preempt and silent_s > active_down_interval_s(own.priority, own.interval_s):
            return self._become_backup(now, f"did not run for {silent_s:.3f} s and may not preempt", planned=False)
        actions: list[Action] = []
        if self._advertise_at is not None and now >= self._advertise_at:
            actions += self._advertise(now)
        if self._announce_at is not None and now >= self._announce_at:
            actions.append(Announce())
            self._announcements_left -= 1
            self._arm_announcement(now)
        return actions

    def _allow_for_lateness(self, now: float) -> None:
        """Moves the other's deadline by as much as our look at the clock came late."""
        if self._look_at is None or now < self._look_at or self._down_at is None:
            return
        period_s = self._active_interval_s / LOOKS_PER_INTERVAL
        late_s = now - self._look_at
        if late_s > period_s / 2:
            extension_s = min(late_s, self._down_extension_left_s)
            self._down_extension_left_s -= extension_s
            self._down_at += extension_s
        self._look_at = now + period_s

    def _why_active(self) -> tuple[str, bool]:
        """The reason for taking over, and whether it is a planned one."""
        if self.peer is None:
            return "no other router was heard", False  # the first of a pair, or one that is cut off from an active
        if self.peer_priority == 0:
            return f"{self.peer} resigned", True
        if self.instance.preempt and self.peer_priority < self.instance.priority:
            return f"priority {self.instance.priority} is above {self.peer}'s {self.peer_priority}", True
        return f"{self.peer} fell silent", False

    # ----------------------------------------------------------------------------------- transitions

    def _become_active(self, now: float, reason: str, planned: bool) -> list[Action]:
        self._disarm()
        self.role = Role.ACTIVE
        self.holding = True
        self._sent_at = self._held_at = now
        self._advertise_at = now + self.instance.interval_s
        self._announcements_left = self.instance.announce_repeat
        self._arm_announcement(now)
        return [SendAdvertisement(), HoldAddresses(), Announce(), RoleChanged(Role.ACTIVE, reason, planned)]

    def _become_backup(self, now: float, reason: str, planned: bool) -> list[Action]:
        yielding: list[Action] = []
        if self.role is Role.ACTIVE:
            yielding = [*self._drop(), SendAdvertisement(resign=True)]
        self._disarm()
        self.role = Role.BACKUP
        self._await_active(now)
        return [*yielding, RoleChanged(Role.BACKUP, reason, planned)]

    def _drop(self) -> list[Action]:
        if not self.holding:
            return []
        self.holding = False
        return [DropAddresses()]

    # ----------------------------------------------------------------------------------------- timers

    def _disarm(self) -> None:
        self._down_at = self._look_at = self._advertise_at = self._announce_at = None

    def _await_active(self, now: float) -> None:
        self._expect_by(now + active_down_interval_s(self.instance.priority, self._active_interval_s))
        self._look_at = now + self._active_interval_s / LOOKS_PER_INTERVAL

    def _expect_by(self, at: float) -> None:
        self._down_at = at
        self._down_extension_left_s = active_down_interval_s(self.instance.priority, self._active_interval_s)

    def _arm_announcement(self, now: float) -> None:
        repeating = self._announcements_left > 0
        self._announce_at = now + (self.instance.announce_interval_s if repeating else self.instance.announce_refresh_s)

    def _advertise(self, now: float) -> list[Action]:
        """An advertisement and, when it is due, the renewal of the lease; keeps the cadence when a little late."""
        interval_s = self.instance.interval_s
        next_at = (self._advertise_at if self._advertise_at is not None else now) + interval_s
        self._advertise_at = next_at if now < next_at <= now + interval_s else now + interval_s
        self._sent_at = now
        return [SendAdvertisement(), *self._renew(now)]

    def _renew(self, now: float) -> list[Action]:
        lease_s = self.instance.lease_s
        period_s = UNLEASED_HOLD_S if lease_s is None else lease_s / RENEWALS_PER_LEASE
        if now - self._held_at < period_s:
            return []
        expired = lease_s is not None and now - self._held_at >= lease_s
        self._held_at = now
        return [HoldAddresses(), Announce()] if expired else [HoldAddresses()]
