"""What an active makes of what happens: who else is active, how it gives its role away, when it must not speak."""

from __future__ import annotations

from ha_lvs.election.core import Core
from ha_lvs.election.eligibility import is_owner
from ha_lvs.election.events import (
    Action,
    Announce,
    Duplicate,
    HandOver,
    HandOverEnded,
    Heard,
    Noted,
    Offer,
    Remark,
)
from ha_lvs.election.handover import Offering
from ha_lvs.election.timing import LOWEST_PRIORITY, active_down_interval_s, listening_s, offer_window_s
from ha_lvs.model import IPAddress, Role


def heard(core: Core, event: Heard, now: float) -> list[Action]:
    """RFC 9568 6.4.3, rows 700 to 765."""
    source = event.source
    silent_s = now - core.speech.sent_at
    slept = silent_s > core.instance.down_after * core.instance.interval_s and not is_owner(core.instance)
    if core.listen_until is None:
        if core.offer is not None:
            return _hand_on(core, now, f"handed over to {source}", f"{source} is active now")
        if core.bearing is not None and source in core.bearing.sources:
            return []
    if core.is_superior(event) or slept or core.listen_until is not None:
        core.watch.interval_s = event.interval_s
        reason = f"{source} has priority {event.priority}"
        if slept and not core.is_superior(event):
            reason = f"silent for {silent_s:.3f} s, {source} took over"
        return core.become_backup(now, reason, planned=not slept)
    return [*core.advertise(now), Announce()]


def heard_resignation(core: Core, source: IPAddress, now: float) -> list[Action]:
    """RFC 9568 6.4.3: who resigns may have been believed by the neighbours."""
    core.watch.note_resigned(source)
    if core.listen_until is not None:
        return []
    if core.bearing is not None and source in core.bearing.sources:
        core.bearing = None
    return [*core.advertise(now), Announce()]


def tick(core: Core, now: float) -> list[Action]:
    """What is due by the clock."""
    if core.listen_until is not None:
        if now < core.listen_until:
            return []
        core.listen_until = None  # nobody else has spoken
        if core.eligibility.alone_since is not None:
            core.eligibility.alone_since = now
        core.speech.go_on(now)
    yields_at = core.yields_at()
    if yields_at is not None and now >= yields_at:
        return [*core.become_backup(now, f"{core.barred}, and hears no peer", planned=False), *core.remarks()]
    if core.offer is not None and now >= core.offer.until:
        ended = end_offer(core, now, f"nobody took it within {core.offer.window_s:g} s")
        if core.role is not Role.ACTIVE:
            return ended
    else:
        ended = []
    if core.bearing is not None and now >= core.bearing.until:
        core.bearing = None
        core.speech.announce_at = now  # the giver may have announced after us, and then never resigned
    return [*ended, *core.speech.due(core.instance, core.cadence_s(), now)]


def wake(core: Core, ran_at: float, now: float) -> list[Action]:
    """Listens before it speaks, if it did not run since `ran_at` and that is longer than any backup waits.

    Anew, if it slept while it listened.
    """
    own = core.instance
    slept_s = now - ran_at
    if slept_s <= active_down_interval_s(LOWEST_PRIORITY, own.interval_s, own.down_after, own.version) or is_owner(own):
        return []
    core.bearing = None
    core.speech.fall_silent()
    core.listen_until = now + listening_s(core.effective_priority, own.interval_s, own.version)
    detail = f"did not run for {slept_s:.3f} s; somebody else may be active now"
    return [Noted(Remark.OVERSLEPT, detail), *core.conclude(ok=False, detail=detail)]


def hand_over(core: Core, event: HandOver, now: float) -> list[Action]:
    """Offers the role to the peer; see `handover`."""
    if core.role is not Role.ACTIVE:
        left: list[Action] = []
        if event.leave:
            core.eligibility.standby = True
            left = [*core.drop(), *core.remarks()]
        return [HandOverEnded(ok=True, detail="is not active here"), *left]
    if core.listen_until is not None:
        return [HandOverEnded(ok=False, detail="did not run for a while and is listening who is active; try again")]
    if core.offer is not None:  # one end will answer both
        core.offer.force |= event.force
        core.offer.leave |= event.leave
        return []
    window_s = offer_window_s(core.instance.interval_s)
    core.offer = Offering(now + window_s, window_s, event.force, event.leave)
    return [Offer(window_s)]


def end_offer(core: Core, now: float, reason: str, *, unreachable: bool = False) -> list[Action]:
    """Nobody takes it. Where nobody of ours could be asked, a foreign peer takes what is resigned."""
    if core.offer is None:
        return []
    if core.offer.force or unreachable:
        return _hand_on(core, now, f"resigned: {reason}", f"resigned: {reason}")
    return core.conclude(ok=False, detail=reason)


def _hand_on(core: Core, now: float, reason: str, detail: str) -> list[Action]:
    """Lets go."""
    assert core.offer is not None
    core.eligibility.deferring = True
    core.eligibility.standby |= core.offer.leave
    ended = HandOverEnded(ok=True, detail=detail)
    core.offer = None
    return [*core.become_backup(now, reason, planned=True), ended, *core.remarks()]


def duplicate(core: Core, event: Duplicate, now: float) -> list[Action]:
    """Somebody else answers for one of our addresses, or for one that we may come to hold."""
    if not core.speech.defend(core.instance, now):
        return []
    defends = core.role is Role.ACTIVE and core.listen_until is None
    noted: Action = Noted(Remark.DUPLICATE, f"{event.address} is at {event.mac}")
    return [noted, Announce()] if defends else [noted]
