"""Whether this node may become active, and whether it may take the role from somebody alive. A part of the machine.

* **Barred** is who has left by request, has a fault, or sees too few witnesses. A barred router is promoted by nothing:
  no timer, no resignation, no BFD, no offer. This holds for the owner of the addresses (priority 255) as well: an owner
  without a witness is as likely to be the one that is cut off as anybody else.
* Of witnesses nothing is known at the start, and unknown counts as not seen.
* A fault or a leave also takes the role from an active. Missing witnesses do not, since they say nothing about the
  other director; unless the operator wants it so (`yield_alone`), see `Eligibility.yields_at`.
* **Deferring** is who has handed over: it takes the place of a dead or resigned active, but not of a live one, until it
  has become active again or a person enables it.
* The start-up delay bars nothing; it holds back every promotion but one by an offer.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_lvs.election.events import Action, Noted, Remark
from ha_lvs.election.timing import OWNER_PRIORITY
from ha_lvs.model import VrrpInstance

STANDBY = "standby by request"


def is_owner(instance: VrrpInstance) -> bool:
    """Whether the node is the owner of the addresses (RFC 9568 5.2.4)."""
    return instance.priority == OWNER_PRIORITY


@dataclass(slots=True)
class Eligibility:
    """The standing of this node.

    Arguments:
        priority: the effective one.
        fault: what is wrong with the node, in words.
        standby: whether it has left by request.
        deferring: whether it has handed over.
        witnessed: whether enough witnesses are seen; None while nothing has been said.
        alone_since: since when they are not.
        in_sync: whether it holds the peer's connection table.
        started_at: when it started.
        told: the reason that observers have been told last.
        paths_up: far ends of BFD sessions that are up, as text.
    """

    priority: int
    fault: str = ""
    standby: bool = False
    deferring: bool = False
    witnessed: bool | None = None
    alone_since: float | None = None
    in_sync: bool = False
    started_at: float = 0.0
    told: str = ""
    paths_up: tuple[str, ...] = ()

    def barred(self, instance: VrrpInstance) -> str:
        """Why the node may not become active, in words; empty when it may."""
        if self.standby:
            return STANDBY
        if self.fault:
            return self.fault
        if instance.witnesses is None or self.witnessed:
            return ""
        if self.witnessed is None:
            return "has no word of its witnesses yet"
        return f"sees fewer than {instance.witnesses.required} of its witnesses"

    def must_yield(self) -> bool:
        """Whether what bars it also takes the role from it."""
        return self.standby or bool(self.fault)

    def preempts(self, instance: VrrpInstance) -> bool:
        """Whether it takes the role from a live active of lower priority."""
        return (instance.preempt or is_owner(instance)) and not self.deferring

    def starting_until(self, instance: VrrpInstance) -> float:
        """Until when no timer promotes it."""
        return self.started_at + (0.0 if is_owner(instance) else instance.startup_delay_s)

    def yields_at(self, instance: VrrpInstance, heard_at: float | None, down_interval_s: float) -> float | None:
        """When an active that is told to yield alone does so: one Active_Down_Interval after it last saw enough
        witnesses or heard another router; never while a BFD session with one is up.

        Arguments:
            heard_at: when an advertisement was heard last.
            down_interval_s: that interval.
        """
        if instance.witnesses is None or not instance.witnesses.yield_alone:
            return None
        if self.alone_since is None or self.paths_up:
            return None
        return max(self.alone_since, heard_at if heard_at is not None else self.alone_since) + down_interval_s

    def remarks(self, instance: VrrpInstance) -> list[Action]:
        """What observers do not know yet."""
        reason = self.barred(instance)
        if reason == self.told or (self.witnessed is None and not self.must_yield() and not self.told):
            return []
        before, self.told = self.told, reason
        if reason:
            return [Noted(Remark.BARRED, reason)]
        return [Noted(Remark.CLEARED, f"no more: {before}")]
