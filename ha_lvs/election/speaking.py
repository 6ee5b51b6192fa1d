"""What an active does by the clock: advertise, renew the lease, announce. A part of the machine.

* The lease is renewed right after an advertisement, never apart from it. An elector that stops, stops both in the same
  moment; the kernel then removes the addresses before, or about when, the backup's timer runs out.
* The cadence is kept when a turn comes a little late, and begins anew when it comes later than an interval.
* Announcements: a few soon after becoming active, then one every now and then for as long as it lasts: this router may
  have been cut off without noticing while another was active for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_lvs.election.events import Action, Announce, HoldAddresses, SendAdvertisement
from ha_lvs.model import VrrpInstance

RENEWALS_PER_LEASE = 4
UNLEASED_HOLD_S = 5.0
"""How often addresses without a lease are looked after, in seconds: somebody may have deleted them."""


@dataclass(slots=True)
class Speech:
    """When an active spoke, and when it will.

    Arguments:
        advertise_at: Adver_Timer; None while it must not speak.
        announce_at: when to announce next.
        announcements_left: how many more of those that follow one another soon.
        sent_at: when it advertised last.
        held_at: when it renewed the lease last; None for never.
        defended_at: when it spoke up for an address that another machine answers for.
    """

    advertise_at: float | None = None
    announce_at: float | None = None
    announcements_left: int = 0
    sent_at: float = 0.0
    held_at: float | None = None
    defended_at: float | None = None

    def begin(self, instance: VrrpInstance, interval_s: float, now: float) -> None:
        """The first advertisement has gone out, the addresses are held and announced."""
        self.sent_at = self.held_at = now
        self.advertise_at = now + interval_s
        self.announcements_left = instance.announce_repeat
        self._arm_announcement(instance, now)

    def fall_silent(self) -> None:
        """Says nothing by itself any more."""
        self.advertise_at = self.announce_at = None

    def go_on(self, now: float) -> None:
        """Speaks again, at once: advertises, holds and announces."""
        self.advertise_at = self.announce_at = now
        self.held_at = None

    def due(self, instance: VrrpInstance, interval_s: float, now: float) -> list[Action]:
        """What is to be said or renewed now."""
        actions: list[Action] = []
        if self.advertise_at is not None and now >= self.advertise_at:
            actions += self.advertise(instance, interval_s, now)
        if self.announce_at is not None and now >= self.announce_at:
            if Announce() not in actions:
                actions.append(Announce())
            self.announcements_left -= 1
            self._arm_announcement(instance, now)
        return actions

    def advertise(self, instance: VrrpInstance, interval_s: float, now: float) -> list[Action]:
        """An advertisement and, when it is due, the renewal of the lease."""
        next_at = (self.advertise_at if self.advertise_at is not None else now) + interval_s
        self.advertise_at = next_at if now < next_at <= now + interval_s else now + interval_s
        self.sent_at = now
        return [SendAdvertisement(), *self._renew(instance, now)]

    def defend(self, instance: VrrpInstance, now: float) -> bool:
        """Whether to speak up for an address now; not again before `announce_interval_s` is over."""
        if self.defended_at is not None and now - self.defended_at < instance.announce_interval_s:
            return False
        self.defended_at = now
        return True

    def _renew(self, instance: VrrpInstance, now: float) -> list[Action]:
        lease_s = instance.lease_s
        period_s = UNLEASED_HOLD_S if lease_s is None else lease_s / RENEWALS_PER_LEASE
        if self.held_at is not None and now - self.held_at < period_s:
            return []
        gone = self.held_at is None or (lease_s is not None and now - self.held_at >= lease_s)
        self.held_at = now
        return [HoldAddresses(), Announce()] if gone else [HoldAddresses()]

    def _arm_announcement(self, instance: VrrpInstance, now: float) -> None:
        repeating = self.announcements_left > 0
        self.announce_at = now + (instance.announce_interval_s if repeating else instance.announce_refresh_s)
