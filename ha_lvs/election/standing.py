"""What is tracked, made into a standing: the effective priority of this node, and whether it may be active at all.

Rules that hold here:
* A track without a weight is a fault: while it is down this node is not active, whatever the priorities.
* A negative weight counts while its track is down, a positive one while it is up; the sum stays within 1 and 254.
* What has not been judged yet counts as down: nobody becomes active on the strength of a check that was never made.
* The owner of the addresses (priority 255) has no effective priority other than that, but it has faults.
* The interfaces that an instance cannot do without are tracked unasked: those of its own path and of its group's
  members, and those that carry its virtual IPs. A further heartbeat interface is one more chance and no condition.
"""

from __future__ import annotations

from collections.abc import Mapping

from ha_lvs.election.eligibility import is_owner
from ha_lvs.election.events import Standing
from ha_lvs.election.timing import LOWEST_PRIORITY, OWNER_PRIORITY
from ha_lvs.model import Track, VrrpInstance

LEAST, MOST = LOWEST_PRIORITY, OWNER_PRIORITY - 1
INTERFACE = "interface:"


def tracks_of(instance: VrrpInstance) -> tuple[Track, ...]:
    """All that the standing of this node depends on, what goes without saying included."""
    said = {track.name: track for track in instance.tracks}
    own = instance.paths[0].member
    needed = [path.interface for path in instance.paths if path.member != own]
    needed += [instance.interface, *(ip.interface for ip in instance.virtual_ips)]
    unasked = {INTERFACE + name: Track(INTERFACE + name) for name in needed}
    return tuple({**unasked, **said}.values())


def standing(instance: VrrpInstance, up: Mapping[str, bool]) -> Standing:
    """The standing that follows from what is known.

    Arguments:
        instance: whose.
        up: for each track's name whether it is up; what is missing has not been judged yet.
    """
    priority = instance.priority
    faults = []
    for track in tracks_of(instance):
        is_up = up.get(track.name)
        if track.weight is None:
            if not is_up:
                faults.append(f"{track.name} is {'down' if is_up is False else 'not judged yet'}")
        elif bool(is_up) == (track.weight > 0):
            priority += track.weight
    priority = OWNER_PRIORITY if is_owner(instance) else max(LEAST, min(MOST, priority))
    return Standing(priority, ", ".join(faults))
