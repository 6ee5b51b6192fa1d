"""What can happen to a virtual router, and what it may want done about it. Frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ha_lvs.model import IPAddress, Role

# --------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Start:
    """The router starts (RFC 9568 6.4.1, Startup event).

    Arguments:
        holding: whether some of the virtual IPs are on their interfaces already, left by an earlier life.
        leased: whether all of those will be removed by the kernel if nobody renews them.
    """

    holding: bool = False
    leased: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The router ends on purpose (Shutdown event)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A valid advertisement of this virtual router has arrived, on whichever of its paths.

    Arguments:
        source: address of its sender.
        priority: 0 when the sender resigns.
        interval_s: the sender's advertisement interval in seconds.
        own_source: our own address on that path, to break a tie of priorities; None for the instance's.
    """

    source: IPAddress
    priority: int
    interval_s: float
    own_source: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is tracked gives this node another standing; the last one counts.

    Arguments:
        priority: the effective one, 1 to 255.
        fault: why this node cannot be active now, in words; empty when it can.
    """

    priority: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Enough witnesses are seen, or not any more.

    Only instances with witnesses are told; unknown counts as not seen.
    """

    enough: bool


@dataclass(frozen=True, slots=True)
class Synced:
    """Whether this node holds the peer's connection table; only `preempt_in_sync` asks for it."""

    in_sync: bool


@dataclass(frozen=True, slots=True)
class PathDown:
    """A BFD session has ended for want of packets: its far end is dead or cut off.

    Arguments:
        peer: address of the far end.
    """

    peer: IPAddress


@dataclass(frozen=True, slots=True)
class PathUp:
    """A BFD session is up."""

    peer: IPAddress


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give the role to the peer, make before break.

    Arguments:
        force: resign where nobody of ours takes it; otherwise stay active then.
        leave: then stay out of the election until `Enable`.
    """

    force: bool
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer does not take what was offered.

    Arguments:
        unreachable: whether there is no director of ours to be asked; RFC 9568's way is left: resigning.
    """

    reason: str
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Offered:
    """The active offers its role: take it while it still holds it.

    Arguments:
        sources: the offering router's addresses: its advertisements mean nothing meanwhile.
        window_s: for how long.
    """

    sources: tuple[IPAddress, ...]
    window_s: float


@dataclass(frozen=True, slots=True)
class Enable:
    """Take part in the election again after `HandOver`, and preempt again."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another machine answers for a virtual IP."""

    address: IPAddress
    mac: str


Event = (
    Start | Stop | Heard | Standing | Witnessed | Synced | PathDown | PathUp
    | HandOver | Refused | Offered | Enable | Duplicate
)  # fmt: skip

# -------------------------------------------------------------------------------------------- actions


@dataclass(frozen=True, slots=True)
class SendAdvertisement:
    """Send an advertisement with our own priority, or with priority 0 to resign."""

    resign: bool = False


@dataclass(frozen=True, slots=True)
class HoldAddresses:
    """Add the virtual IPs, or renew their lease where they are there already."""


@dataclass(frozen=True, slots=True)
class DropAddresses:
    """Remove the virtual IPs."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours where the virtual IPs are (gratuitous ARP, unsolicited neighbour advertisement)."""


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """For observers: the role is another one now.

    Arguments:
        role: the new one.
        reason: why, in words.
        planned: whether it goes as people have arranged it (a start, a stop, a resignation, a higher priority), rather
            than because somebody fell silent.
    """

    role: Role
    reason: str
    planned: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """Ask the peer to become active while we still are.

    Arguments:
        window_s: for how long we wait; afterwards the offer means nothing.
    """

    window_s: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the peer that its offer is not taken.

    Arguments:
        reason: in words.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class HandOverEnded:
    """For whoever asked for the hand-over: how it ended.

    Arguments:
        ok: whether this node is not active any more.
        detail: in words.
    """

    ok: bool
    detail: str


class Remark(enum.Enum):
    """What observers should know of and what changes nothing; the value is the phrase of the log event."""

    LATE = "late timer gives no verdict"
    OVERSLEPT = "did not run; listening before speaking"
    BARRED = "not eligible"
    CLEARED = "eligible again"
    TOOK_OFFER = "taking the role over from a live active"
    DUPLICATE = "virtual IP is answered by another machine"


@dataclass(frozen=True, slots=True)
class Noted:
    """For observers.

    Arguments:
        remark: what.
        detail: more of it, in words.
    """

    remark: Remark
    detail: str


Action = (
    SendAdvertisement | HoldAddresses | DropAddresses | Announce | RoleChanged
    | Offer | Refuse | HandOverEnded | Noted
)  # fmt: skip
