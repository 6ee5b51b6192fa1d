"""How a real server leaves a pool without harm to those that it serves: by weight 0 first, gone when nobody is left.

What leaves so is a server that the config has no more, and a sorry server that is not needed any more. One that is
down leaves at once: nobody is served by it. The kernel drops packets of a connection whose destination is gone.

The rules:
* It stays for `SETTLES_S` at least: a connection that is being made counts as established only afterwards.
* Then it goes as soon as it has no established connection, and at the latest when the operator's patience is over.
* If it is wanted again meanwhile, it is as if it had never left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ha_lvs.model import Destination, DestinationKey, ServiceEntry

SETTLES_S = 1.0
LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Farewell:
    """Who is still leaving a service.

    Arguments:
        destinations: with weight 0.
        since: when each began to leave, in monotonic seconds.
        look_at: when it is time to look again, in monotonic seconds.
    """

    destinations: tuple[Destination, ...]
    since: Mapping[DestinationKey, float]
    look_at: float


def candidates(wanted: ServiceEntry, found: ServiceEntry | None, down: Collection[DestinationKey]) -> list[Destination]:
    """Destinations that the kernel has, that are not wanted, and that are not down."""
    if found is None:
        return []
    stays = {each.key for each in wanted.destinations}
    return [each for each in found.destinations if each.key not in stays and each.key not in down]


def farewell(
    leaving: Collection[Destination],
    active: Mapping[DestinationKey, int],
    since: Mapping[DestinationKey, float],
    patience_s: float,
    now: float,
) -> Farewell:
    """Who of those that leave must stay for now.

    Arguments:
        leaving: as `candidates` gave them.
        active: established connections of each.
        since: who was leaving before, and since when.
        patience_s: after which one goes whatever it still serves; 0 lets all go at once.
        now: monotonic seconds.
    """
    stays: list[Destination] = []
    moments: dict[DestinationKey, float] = {}
    for each in leaving:
        began = since.get(each.key, now)
        for_s = now - began
        settled = for_s >= min(SETTLES_S, patience_s)
        if not settled or (for_s < patience_s and active.get(each.key, 0)):
            stays.append(replace(each, weight=0, extra=""))
            moments[each.key] = began
    return Farewell(tuple(stays), moments, now + LOOK_AGAIN_S)
