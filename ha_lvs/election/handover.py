"""Giving the role away while still having it, and taking it. Parts of the machine.

The one that gives (`Offering`): asks its peer, and goes on as active. The first advertisement of anybody is the answer:
it drops the addresses and resigns, and the taker announces once more. A refusal, or no answer within the window: it
resigns all the same where it must go (`force`), else it stays.

The one that takes (`Bearing`): holds and announces the addresses first, then advertises, all while the other still
holds them too; a packet finds a holder at every moment. Until the window is over it bears the other's advertisements,
which are higher as a rule and would make it yield. A resignation ends that, and is answered like any other.

Both have the same length, and the taker's begins later: whatever the giver decides at its end, the taker still bears.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_lvs.election.timing import ADVERTS_PER_OFFER
from ha_lvs.model import IPAddress


@dataclass(slots=True)
class Offering:
    """An offer under way.

    Arguments:
        until: when it ends.
        window_s: how long it lasts.
        force: whether to resign where nobody takes it.
        leave: whether to stay out of the election then.
    """

    until: float
    window_s: float
    force: bool
    leave: bool


@dataclass(slots=True)
class Bearing:
    """A role that was taken from a live active.

    Arguments:
        until: how long its advertisements mean nothing.
        window_s: the same from the beginning.
        sources: its addresses.
    """

    until: float
    window_s: float
    sources: tuple[IPAddress, ...]

    def interval_s(self, usual_s: float) -> float:
        """How often to advertise until the giver has heard."""
        return min(usual_s, self.window_s / ADVERTS_PER_OFFER)
