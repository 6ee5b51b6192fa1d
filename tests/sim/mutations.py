"""Rules taken away on purpose: the simulation must notice each. The product has no switches for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ha_lvs.election import active, backup
from ha_lvs.election.core import Core
from ha_lvs.election.eligibility import Eligibility
from ha_lvs.election.events import Action, Event, HandOver, SendAdvertisement
from ha_lvs.election.handover import Bearing
from ha_lvs.election.machine import Machine
from ha_lvs.election.watching import Watch
from ha_lvs.model import IPAddress, VrrpInstance

Patch = pytest.MonkeyPatch


def no_benefit_for_lateness(patch: Patch) -> None:
    """A late judge gives its verdict."""
    patch.setattr(Watch, "forgive", lambda _watch, _late_s, _benefit_s, _now: False)


def bearing_never_ends(patch: Patch) -> None:
    """Who has taken a role never listens to the giver again."""

    def endless(_until: float, window_s: float, sources: tuple[IPAddress, ...]) -> Bearing:
        return Bearing(1e12, window_s, sources)

    patch.setattr(backup, "Bearing", endless)


def no_witness_needed(patch: Patch) -> None:
    """Whoever sees no witness is promoted all the same."""
    barred = Eligibility.barred

    def blind(self: Eligibility, instance: VrrpInstance) -> str:
        return barred(self, instance) if self.must_yield() else ""

    patch.setattr(Eligibility, "barred", blind)


def no_deferring(patch: Patch) -> None:
    """Who has handed over takes the role back as soon as it can."""
    patch.setattr(Eligibility, "preempts", lambda _self, instance: instance.preempt)


def no_listening(patch: Patch) -> None:
    """Who has slept speaks at once."""
    patch.setattr(active, "wake", lambda _core, _ran_at, _now: [])


def no_resignation(patch: Patch) -> None:
    """Who yields or stops says nothing."""
    for name in ("handle", "handle_timer"):
        usual = getattr(Machine, name)

        def silent(self: Machine, *what: object, usual: Callable[..., list[Action]] = usual) -> list[Action]:
            return [each for each in usual(self, *what) if each != SendAdvertisement(resign=True)]

        patch.setattr(Machine, name, silent)


def no_yielding(patch: Patch) -> None:
    """An active does not see that another one is superior."""
    patch.setattr(Core, "is_superior", lambda _core, _event: False)


def faults_are_ignored(patch: Patch) -> None:
    """A fault bars from the role, but does not take it."""
    patch.setattr(Eligibility, "must_yield", lambda self: self.standby)


def no_startup_delay(patch: Patch) -> None:
    """A director that starts takes part at once."""
    patch.setattr(Eligibility, "starting_until", lambda _self, _instance: 0.0)


def break_before_make(patch: Patch) -> None:
    """A hand-over resigns on the spot instead of offering."""
    usual = Machine.handle

    def hasty(self: Machine, event: Event, now: float) -> list[Action]:
        actions = usual(self, event, now)
        if isinstance(event, HandOver) and self.offer is not None:
            self.offer.force = True
            actions += active.end_offer(self, now, "hasty")
        return actions

    patch.setattr(Machine, "handle", hasty)


def quick_listener_after_bar(patch: Patch) -> None:
    """Who was barred, perhaps cut off, takes over as soon as it is eligible again."""
    patch.setattr(backup, "eligible_again", lambda _core, _now: None)
