"""A router of the simulated cluster: its configuration, clock, kernel, and what is wrong with it. See `world`."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from ha_lvs.election.events import (
    Enable,
    Event,
    HandOver,
    HandOverEnded,
    Noted,
    Standing,
    Witnessed,
)
from ha_lvs.election.machine import Machine
from ha_lvs.model import Role, VirtualIp, VrrpInstance, Witnesses

GROUP = IPv4Address("224.0.0.18")
VIP = VirtualIp(IPv4Address("10.9.0.100"), 32, "e0")
GATEWAY = Witnesses((IPv4Address("10.9.0.1"),), 1, "e0", 0.1, 3, "arp", yield_alone=False)
NEVER = float("inf")


def instance(
    number: int, priority: int, *, interval_s: float = 1.0, preempt: bool = True, refresh_s: float = 5.0, **more: Any
) -> VrrpInstance:
    """The configuration of router `number` (1, 2, ...); `more` are further fields."""
    return VrrpInstance(
        name="edge",
        interface="e0",
        router_id=51,
        priority=priority,
        interval_s=interval_s,
        preempt=preempt,
        source=IPv4Address(f"10.9.0.{10 + number}"),
        peers=(),
        group=GROUP,
        virtual_ips=(VIP,),
        lease_s=max(1, int(more.get("down_after", 3) * interval_s)),
        announce_repeat=2,
        announce_interval_s=min(1.0, 2 * interval_s),
        announce_refresh_s=refresh_s,
        **more,
    )


@dataclass(eq=False)
class Router:
    """A router of the world: its machine, its clock, its kernel and what is wrong with it.

    Arguments:
        config, machine: what it is.
        rate, offset_s: its clock shows `offset_s + rate * t`.
        stopping: whether it stops as soon as its hand-over has ended.
        fault, witnessed, left: what its machine has been told last of its eligibility, kept apart from the machine.
        handed_over: whether it has given its role away and not had it again.
        started_at: when it started.
    """

    config: VrrpInstance
    machine: Machine
    rate: float = 1.0
    offset_s: float = 0.0
    alive: bool = True
    frozen: bool = False
    cut: bool = False
    deaf: bool = False
    stopping: bool = False
    fault: str = ""
    witnessed: bool | None = None
    leaving: bool = False
    left: bool = False
    handed_over: bool = False
    started_at: float = 0.0
    held_until: float = -1.0
    due: float = NEVER
    inbox: list[Event] = field(default_factory=list)
    roles: list[tuple[float, Role, str]] = field(default_factory=list)
    ended: list[HandOverEnded] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Whether its elector gets its turns."""
        return self.alive and not self.frozen

    @property
    def is_active(self) -> bool:
        """Whether it runs and believes itself active."""
        return self.alive and not self.frozen and self.machine.role is Role.ACTIVE

    @property
    def is_barred(self) -> bool:
        """Whether it must not become active."""
        return self.left or bool(self.fault) or (self.config.witnesses is not None and not self.witnessed)

    def note(self, event: Event) -> None:
        """Writes down what the machine is being told."""
        match event:
            case Standing():
                self.fault = event.fault
            case Witnessed():
                self.witnessed = event.enough
            case HandOver():
                self.leaving |= event.leave
            case Enable():
                self.left = self.leaving = self.handed_over = False

    def holds(self, now: float) -> bool:
        """Whether its kernel has the address now: until the lease ends, whatever became of the daemon."""
        return self.held_until > now

    def clock(self, now: float) -> float:
        """What its clock shows."""
        return self.offset_s + self.rate * now
