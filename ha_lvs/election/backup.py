"""What a backup makes of what happens: when the active is dead, when its place is taken, when a role is accepted."""

from __future__ import annotations

from ha_lvs.election.core import Core
from ha_lvs.election.eligibility import is_owner
from ha_lvs.election.events import (
    Action,
    Announce,
    Heard,
    HoldAddresses,
    Noted,
    Offered,
    Refuse,
    Remark,
    RoleChanged,
    SendAdvertisement,
)
from ha_lvs.election.handover import Bearing
from ha_lvs.election.timing import LATE_SHARE, LONGEST_OFFER_S, SHORTEST_OFFER_S
from ha_lvs.model import IPAddress, Role


def heard(core: Core, event: Heard, now: float) -> list[Action]:
    """RFC 9568 6.4.2, rows 415 to 470."""
    watch = core.watch
    if event.priority == 0:
        if watch.hears_active(now) and event.source not in watch.sources:
            return []
        watch.note_resigned(event.source)
        core.expect_by(now + core.skew_s(), now)
        return []
    core.watch.note_active(event.source, event.priority, core.down_interval_s(event.interval_s), now)
    dropped = core.drop()  # somebody else is active: what was adopted is not ours to hold
    if core.is_preemptible():
        watch.bear_inferior(core.down_interval_s(event.interval_s), now)
    else:
        watch.interval_s = event.interval_s
        core.await_active(now)
    return dropped


def tick(core: Core, now: float) -> list[Action]:
    """The verdict, when it is due."""
    verdict_at = core.verdict_at()
    if verdict_at is None or now < verdict_at:
        return []
    return core.become_active(now, *_why_active(core, now))


def allow_for_lateness(core: Core, now: float) -> list[Action]:
    """Moves the other's deadline by as much as our look at the clock comes late: a late judge gives no verdict."""
    watch = core.watch
    verdict_at = core.verdict_at()
    if watch.look_at is None or verdict_at is None:
        return []
    late_s = now - min(watch.look_at, verdict_at)
    if late_s >= SHORTEST_OFFER_S / 2:
        core.suspect_until = now + LONGEST_OFFER_S
    remarks: list[Action] = []
    if late_s > LATE_SHARE * watch.interval_s:
        benefit_s = watch.interval_s
        if late_s > core.instance.down_after * watch.interval_s:  # the other may have slept as well, and listens
            benefit_s = core.down_interval_s(watch.interval_s) + core.listening_s()
        if watch.forgive(late_s, benefit_s, now) and now >= verdict_at:
            core.late += 1
            remarks = [Noted(Remark.LATE, f"{late_s:.3f} s late; {watch.peer or 'the other'} gets more time")]
    if now >= watch.look_at:
        watch.look_again(now)
    return remarks


def _why_active(core: Core, now: float) -> tuple[str, bool]:
    """The reason for taking over, and whether it is a planned one."""
    watch = core.watch
    if watch.peer is None:
        return "no other router was heard", False  # the first of a pair, or one that is cut off from an active
    if watch.peer_priority == 0:
        return f"{watch.peer} resigned", True
    if core.is_preemptible() and watch.hears_active(now):
        return f"priority {core.effective_priority} is above {watch.peer}'s {watch.peer_priority}", True
    return f"{watch.peer} fell silent", False


def path_down(core: Core, peer: IPAddress, now: float) -> list[Action]:
    """The BFD session with `peer` has ended."""
    eligibility, watch = core.eligibility, core.watch
    was_up = str(peer) in eligibility.paths_up
    eligibility.paths_up = tuple(each for each in eligibility.paths_up if each != str(peer))
    if core.role is not Role.BACKUP or not was_up or not watch.hears_active(now):
        return []
    still_up = any(str(source) in eligibility.paths_up for source in watch.sources)
    if still_up or (peer not in watch.sources and not _is_only_peer(core, peer)):
        return []
    watch.alive_until = now
    core.expect_by(now, now)
    verdict_at = core.verdict_at()
    if verdict_at is None or now < verdict_at:
        return []  # barred, or starting: it counts when that is over
    return core.become_active(now, f"BFD to {peer} went down", planned=False)


def _is_only_peer(core: Core, peer: IPAddress) -> bool:
    """Whether there is one other router, so that whatever address BFD knows it by, it is the active."""
    sessions = {session.peer for session in core.instance.bfd}
    return sessions == {peer} and all(len(path.peers) <= 1 for path in core.instance.paths)


def eligible_again(core: Core, now: float) -> None:
    """Nothing bars the node any more. It may have been cut off, and must not take what it hears nothing of for dead."""
    watch = core.watch
    watch.look_again(now)
    if watch.inferior_since is not None:
        watch.inferior_since = now  # it has to be borne by one that could preempt it
    if watch.down_at is None or watch.hears_active(now) or is_owner(core.instance):
        return
    core.expect_by(max(watch.down_at, now + core.listening_s()), now)


def witness(core: Core, enough: bool, now: float) -> None:
    """What is known of the witnesses, in either role."""
    eligibility = core.eligibility
    if enough:
        eligibility.alone_since = None
    elif eligibility.alone_since is None:
        eligibility.alone_since = now
    eligibility.witnessed = enough


def reconsider(core: Core, before_s: float, now: float) -> None:
    """Sees a backup's timers in the light of what its priority, or whether it preempts, has become."""
    watch, down_s = core.watch, core.down_interval_s()
    watch.shift(down_s - before_s)
    if not watch.hears_active(now) or watch.heard_at is None or watch.down_at is None:
        return
    if core.is_preemptible():
        if watch.inferior_since is None:
            watch.inferior_since, watch.silent_at = now, watch.heard_at + down_s
    elif watch.inferior_since is not None:
        core.expect_by(max(now, watch.heard_at + down_s), now)


def offered(core: Core, event: Offered, now: float) -> list[Action]:
    """Takes the role from a live active, or says why not; see `handover`."""
    reason = _why_refuse(core, event, now)
    if reason:
        return [Refuse(reason)]
    if core.role is Role.ACTIVE:
        return []
    watch = core.watch
    giver = watch.peer if watch.peer in event.sources else event.sources[0] if event.sources else "the active"
    core.enter_active(now)
    window_s = min(event.window_s, LONGEST_OFFER_S)  # whoever asks for more is none of ours
    core.bearing = Bearing(now + window_s, window_s, event.sources)
    core.speech.begin(core.instance, core.cadence_s(), now)
    return [
        HoldAddresses(),
        Announce(),
        SendAdvertisement(),
        RoleChanged(Role.ACTIVE, f"{giver} handed over", planned=True),
        Noted(Remark.TOOK_OFFER, f"from {giver}"),
    ]


def _why_refuse(core: Core, event: Offered, now: float) -> str:
    if core.role is Role.INITIALIZE:
        return "is not running"
    if core.role is Role.ACTIVE:
        taken = core.bearing is not None and core.bearing.sources == event.sources
        return "" if taken else "is active already"
    if core.barred:
        return core.barred
    if core.suspect_until is not None and now < core.suspect_until:
        return "did not run a moment ago, the offer may be an old one"
    if core.watch.hears_active(now) and not set(core.watch.sources) & set(event.sources):
        return f"hears {core.watch.peer} as the active"
    return ""
