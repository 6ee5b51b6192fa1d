"""What can happen to a virtual router, and what it may want done about it. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from ha_lvs.model import Role

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
    """A valid advertisement of this virtual router has arrived.

    Arguments:
        source: address of its sender.
        priority: 0 when the sender resigns.
        interval_s: the sender's advertisement interval in seconds.
    """

    source: IPv4Address
    priority: int
    interval_s: float


Event = Start | Stop | Heard

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
    """Tell the neighbours where the virtual IPs are (gratuitous ARP)."""


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


Action = SendAdvertisement | HoldAddresses | DropAddresses | Announce | RoleChanged
