"""One virtual router: the state machine of RFC 9568 section 6.4, and what ha-lvs adds to it.

Rules beyond the RFC, each for something that has gone wrong in the field. Those of single parts stand in the parts:
`watching` (when a backup believes the active dead, and why a late judge gives no verdict), `speaking` (what an active
does by the clock), `eligibility` (who may become active), `handover` (make before break).

* **Who was silent for as long as it takes to be declared dead, yields.** An active that hears another active after it
  has not spoken for `down_after` intervals steps back to backup, whatever the priorities; preemption then follows its
  usual path.
* **Who did not run listens before it speaks.** An active that slept for longer than any backup waits assumes that it
  has been replaced. It stays active for those who ask, but advertises, renews and announces nothing for an
  interval and the skew. Whoever speaks meanwhile is active now, and it steps back; if nobody does, the whole machine
  was stopped, and it goes on. The owner of the addresses (priority 255) yields to no lower priority and so has nothing
  to listen for.
* **A survivor announces again.** An active that hears an inferior active, or one that resigns, answers at once with an
  advertisement and a gratuitous ARP, since neighbours may have learned the loser's MAC.
* **Who yields says so.** An active that steps back drops its addresses and then sends a resignation: the one that stays
  may never have heard it (it yields to the first packet after a split has healed), and has to announce again.
* **Only the active resigns.** A backup that hears somebody else resign than the active heard last, while that is alive,
  ignores it: among three, the loser of a split and the giver of a role resign while another is active.
* **A changed standing is told at once.** An active whose priority changes advertises the new one without waiting.
* **Adoption.** Addresses found at the start stay until it is clear who is active, but no longer than their lease: one
  that has none is given it, one that has is not renewed before we are active. Who has left by request does not
  keep them; who has a fault does, since at the start that may be a check that was not made yet.
* **Who was barred listens first.** With no witness in sight, or an interface down, it may have been cut off and have
  heard nothing of an active that is there. When it is eligible again, promotion follows at once if it hears an active
  whose place is its, and else not before an interval and the skew.
* **BFD** is believed about the active only, and once: a session must have come up before its end counts, and it does
  not count while another session with the same router is up.
* **An offer** is taken only from the active that is heard, if one is heard, and not by one that may have read it late.
* **The start-up delay** holds back timers, resignations and BFD, not offers; what happened meanwhile counts at its end.
"""

from __future__ import annotations

from typing import Any

from ha_lvs.election import active, backup, estate
from ha_lvs.election.core import Core
from ha_lvs.election.eligibility import Eligibility, is_owner
from ha_lvs.election.events import (
    Action,
    Duplicate,
    Enable,
    Event,
    HandOver,
    Heard,
    HoldAddresses,
    Offered,
    PathDown,
    PathUp,
    Refused,
    RoleChanged,
    SendAdvertisement,
    Standing,
    Start,
    Stop,
    Synced,
    Witnessed,
)
from ha_lvs.election.handover import Bearing, Offering
from ha_lvs.election.speaking import Speech
from ha_lvs.election.watching import Watch
from ha_lvs.model import Role, VrrpInstance


class Machine(Core):
    """The virtual router `instance` on this node. To be read from it: what `Core` lists first.

    Arguments:
        instance: its configuration; never changes in the life of a machine.
    """

    __slots__ = ()

    @property
    def deadline(self) -> float | None:
        """When `handle_timer` has something to do, in monotonic seconds; None for never."""
        if self.role is Role.ACTIVE:
            pending: tuple[float | None, ...] = (self.listen_until,)
            if self.listen_until is None:
                offer_until = None if self.offer is None else self.offer.until
                bear_until = None if self.bearing is None else self.bearing.until
                speech = self.speech
                pending = (speech.advertise_at, speech.announce_at, offer_until, bear_until, self.yields_at())
        elif self.role is Role.BACKUP:
            verdict_at = self.verdict_at()
            pending = () if verdict_at is None else (verdict_at, self.watch.look_at)
        else:
            return None
        return min((at for at in pending if at is not None), default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """What follows from an event.

        Arguments:
            event: what happened.
            now: monotonic seconds.
        """
        if isinstance(event, Start):
            return self._start(event, now)
        if isinstance(event, Stop):
            return self._stop()
        actions = self._wake(now)
        before, before_s = self.barred, self.down_interval_s()
        match event:
            case Heard():
                return [*actions, *self._heard(event, now)]
            case Offered():
                return [*actions, *backup.offered(self, event, now)]
            case HandOver():
                return [*actions, *active.hand_over(self, event, now)]
            case Refused():
                return [*actions, *active.end_offer(self, now, event.reason, unreachable=event.unreachable)]
            case Duplicate():
                return [*actions, *active.duplicate(self, event, now)]
        match event:
            case Standing():
                actions += self._stand(event, now)
            case Witnessed():
                backup.witness(self, event.enough, now)
            case Synced():
                self.eligibility.in_sync = event.in_sync
            case PathUp():
                others = tuple(each for each in self.eligibility.paths_up if each != str(event.peer))
                self.eligibility.paths_up = (*others, str(event.peer))
            case PathDown():
                actions += backup.path_down(self, event.peer, now)
            case Enable():
                self.eligibility.standby = self.eligibility.deferring = False
                if self.offer is not None:
                    self.offer.leave = False
        return [*actions, *self._settle(before, before_s, now)]

    def handle_timer(self, now: float) -> list[Action]:
        """What follows from the time. Nothing when `deadline` is still ahead.

        Arguments:
            now: monotonic seconds.
        """
        if self.role is Role.ACTIVE:
            return [*self._wake(now), *active.tick(self, now)]
        if self.role is Role.BACKUP:
            return [*self._wake(now), *backup.tick(self, now)]
        return []

    def snapshot(self) -> dict[str, Any]:
        """All that a successor needs, as JSON shapes; times are monotonic seconds of this machine."""
        return {
            "version": estate.VERSION,
            "role": self.role.value,
            "holding": self.holding,
            "late": self.late,
            "listen_until": self.listen_until,
            "ran_at": self.ran_at,
            "suspect_until": self.suspect_until,
            "configured_priority": self.instance.priority,
            "down_interval_s": self.down_interval_s(),
            "eligibility": estate.freeze(self.eligibility),
            "watch": estate.freeze(self.watch),
            "speech": estate.freeze(self.speech),
            "offering": estate.freeze(self.offer),
            "bearing": estate.freeze(self.bearing),
        }

    @classmethod
    def restore(cls, instance: VrrpInstance, snapshot: dict[str, Any], now: float) -> Machine:
        """The machine of an elector that succeeds another without a gap: same role, same timers.

        An active advertises, holds and announces in its first turn, whatever has changed. The standing in the snapshot
        counts until the next `Standing`, unless the configured priority has changed.

        Arguments:
            instance: the configuration from now on, perhaps a new one.
            snapshot: what `snapshot` of the predecessor gave.
            now: monotonic seconds.

        Errors: ValueError when the snapshot is of another version or none.
        """
        if snapshot.get("version") != estate.VERSION:
            raise ValueError(f"the state left by the predecessor has version {snapshot.get('version')!r}")
        machine = cls(instance)
        try:
            machine._take_over_estate(snapshot, now)
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"the state left by the predecessor is incomplete: {problem}") from problem
        return machine

    def _take_over_estate(self, snapshot: dict[str, Any], now: float) -> None:
        self.role, self.holding, self.late = Role(snapshot["role"]), snapshot["holding"], snapshot["late"]
        self.listen_until, self.ran_at = snapshot["listen_until"], snapshot["ran_at"]
        self.suspect_until = snapshot["suspect_until"]
        self.eligibility = estate.thaw(Eligibility, snapshot["eligibility"])
        self.watch = estate.thaw(Watch, snapshot["watch"])
        self.speech = estate.thaw(Speech, snapshot["speech"])
        if snapshot["offering"] is not None:
            self.offer = estate.thaw(Offering, snapshot["offering"])
        if snapshot["bearing"] is not None:
            self.bearing = estate.thaw(Bearing, snapshot["bearing"])
        if snapshot["configured_priority"] != self.instance.priority:
            self.eligibility.priority = self.instance.priority
        if self.role is Role.ACTIVE and self.listen_until is None:
            self.speech.go_on(now)
        elif self.role is Role.BACKUP:
            backup.reconsider(self, snapshot["down_interval_s"], now)

    def _wake(self, now: float) -> list[Action]:
        """What it means that this turn comes late."""
        ran_at, self.ran_at = self.ran_at, now
        if self.role is Role.ACTIVE:
            return active.wake(self, ran_at, now)
        return backup.allow_for_lateness(self, now) if self.role is Role.BACKUP else []

    def _start(self, event: Start, now: float) -> list[Action]:
        if self.role is not Role.INITIALIZE:
            return []
        self.ran_at = self.eligibility.started_at = now
        if self.eligibility.alone_since is not None:
            self.eligibility.alone_since = now
        self.holding = event.holding
        if is_owner(self.instance) and not self.barred:
            return self.become_active(now, "owner of the addresses", planned=True)
        adoption: list[Action] = [HoldAddresses()] if event.holding and not event.leased else []
        if self.eligibility.standby:
            adoption = self.drop()
        return [*adoption, *self.become_backup(now, "started", planned=True), *self.remarks()]

    def _stop(self) -> list[Action]:
        if self.role is Role.INITIALIZE:
            return []
        actions: list[Action] = [SendAdvertisement(resign=True)] if self.role is Role.ACTIVE else []
        actions += [*self.drop(), *self.conclude(ok=True, detail="stopped")]
        self.disarm()
        self.role = Role.INITIALIZE
        return [*actions, RoleChanged(Role.INITIALIZE, "stopped", planned=True)]

    def _heard(self, event: Heard, now: float) -> list[Action]:
        if self.role is Role.INITIALIZE or event.source in (self.instance.source, event.own_source):
            return []
        if self.role is Role.BACKUP:
            return backup.heard(self, event, now)
        if event.priority == 0:
            return active.heard_resignation(self, event.source, now)
        self.watch.note_active(event.source, event.priority, self.down_interval_s(event.interval_s), now)
        return active.heard(self, event, now)

    def _stand(self, event: Standing, now: float) -> list[Action]:
        eligibility = self.eligibility
        changed = eligibility.priority != event.priority
        eligibility.priority, eligibility.fault = event.priority, event.fault
        speaks = self.role is Role.ACTIVE and self.listen_until is None
        return self.advertise(now) if changed and speaks and not event.fault else []

    def _settle(self, before: str, before_s: float, now: float) -> list[Action]:
        """What follows when our standing may be another one.

        Arguments:
            before, before_s: what barred us, and Active_Down_Interval, as they were.
            now: monotonic seconds.
        """
        if self.role is Role.INITIALIZE:
            return []
        remarks = self.remarks()
        if self.eligibility.must_yield():
            if self.role is Role.ACTIVE:
                return [*self.become_backup(now, self.barred, planned=self.eligibility.standby), *remarks]
            return [*(self.drop() if self.eligibility.standby else []), *remarks]
        if self.role is Role.ACTIVE:
            return remarks
        backup.reconsider(self, before_s, now)
        if before and not self.barred:
            backup.eligible_again(self, now)
        return [*remarks, *backup.tick(self, now)]
