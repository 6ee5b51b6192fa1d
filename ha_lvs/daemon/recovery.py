"""When an elector has died: whether the next one may go on where it stopped, or the role has to be given away at once.

Rules that hold here:
* The addresses stay only where it is certain that no two directors hold them: under a lease that ends before any peer's
  patience does. The lease is renewed with advertisements only, so both count from the same moment.
* What the dead one knew must be known, and be of just now: the elector tells it with every change and each second.
* One attempt. If the next one does not speak in time, or dies before it has, the role is given away: it is resigned and
  the addresses are withdrawn. So is that of one that died soon after its start: what killed it may be what it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ha_lvs.daemon.channel import Estate, InstanceState
from ha_lvs.daemon.patience import ESTATE_FRESH_S, RECOVERY_AFTER_S, RECOVERY_MOST_S
from ha_lvs.model import Role, VrrpInstance


@dataclass(slots=True)
class Recovery:
    """What is known for the case that the elector dies.

    Attributes:
        estate: what it was last known to know; None before the first.
        estate_at: when that was told, monotonic seconds.
        under_way: whether an elector has been started on it and has not spoken yet.
    """

    estate: Estate | None = None
    estate_at: float = 0.0
    under_way: bool = False

    def told(self, estate: Estate, now: float) -> None:
        """The elector says what it knows."""
        self.estate, self.estate_at = estate, now

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
        if self.under_way or self.estate is None or now - self.estate_at > ESTATE_FRESH_S:
            return None
        if lived_s < RECOVERY_AFTER_S:
            return None
        if not active or not all(_lapses_in_time(instance) for instance in active):
            return None
        return min(RECOVERY_MOST_S, *(instance.lease_s / 2 for instance in active if instance.lease_s is not None))


def _lapses_in_time(instance: VrrpInstance) -> bool:
    """Whether the addresses are gone before anybody takes over, if nobody renews them."""
    return instance.lease_s is not None and instance.lease_s <= instance.down_after * instance.interval_s
