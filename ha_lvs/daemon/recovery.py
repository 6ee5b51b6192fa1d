"""When an elector has died: whether the next one may go on where it stopped, or the role has to be given away at once.

Rules that hold here:
* The addresses stay only where it is certain that no two directors hold them: under a lease that ends before any peer's
  patience does. The lease is renewed with advertisements only, so both count from the same moment. With BFD the peer's
  patience is the detection time, which no lease ends within.
* What the dead one knew must be known, and be of just now: the elector tells it with every change and each second.
* One attempt. If the next one does not speak in time, or dies before it has, the role is given away: it is resigned and
  the addresses are withdrawn. So is that of one that died soon after its start: what killed it may be what it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ha_lvs.daemon.channel import Estate, InstanceEstate, InstanceState
from ha_lvs.daemon.patience import ESTATE_FRESH_S, RECOVERY_AFTER_S, RECOVERY_MOST_S
from ha_lvs.model import Role, VrrpInstance


@dataclass(slots=True)
class Recovery:
    """What is known for the case that the elector dies.

    Attributes:
        under_way: whether an elector has been started on what is known, and has not spoken yet.
    """

    under_way: bool = False
    _shared: dict[str, Any] = field(default_factory=dict)
    _instances: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def told(self, frame: InstanceEstate, now: float) -> None:
        """The elector says what it knows of an instance, or of what is none's."""
        if frame.instance:
            self._instances[frame.instance] = now, frame.estate
        else:
            self._shared = frame.estate

    def estate(self) -> Estate:
        """What the next elector is told: of replays always, of the roles only where it may go on in them."""
        if not self.under_way:
            return Estate({}, {"seen": self._shared["seen"]} if "seen" in self._shared else {})
        return Estate({name: estate for name, (_, estate) in self._instances.items()}, self._shared)

    def patience_s(
        self, instances: Iterable[VrrpInstance], states: Mapping[str, InstanceState], lived_s: float, now: float
    ) -> float | None:
        """How long the next elector may take to go on in the role; None when the role has to be given away at once.

        Arguments:
            instances: as configured.
            states: as the dead one told them.
            lived_s: how long it lived.
            now: monotonic seconds.
        """
        active = [
            instance for instance in instances if instance.name in states and states[instance.name].role is Role.ACTIVE
        ]
        if self.under_way or lived_s < RECOVERY_AFTER_S:
            return None
        if not active or not all(_lapses_in_time(instance) and self._is_fresh(instance, now) for instance in active):
            return None
        return min(RECOVERY_MOST_S, *(instance.lease_s / 2 for instance in active if instance.lease_s is not None))

    def _is_fresh(self, instance: VrrpInstance, now: float) -> bool:
        told_at, _ = self._instances.get(instance.name, (-ESTATE_FRESH_S, {}))
        return now - told_at < ESTATE_FRESH_S


def _lapses_in_time(instance: VrrpInstance) -> bool:
    """Whether the addresses are gone before anybody takes over, if nobody renews them."""
    if instance.bfd:
        return False
    return instance.lease_s is not None and instance.lease_s <= instance.down_after * instance.interval_s
