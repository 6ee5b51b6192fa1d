"""What the guardian does in the elector's place when that has died: resign, and take the virtual IPs away.

Sockets and bytes are ready from the start; there is nothing to allocate, look up or open when it matters.
"""

from __future__ import annotations

from collections.abc import Collection

from ha_lvs.errors import PlatformError
from ha_lvs.kernel.addresses import HeldAddresses
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.model import VrrpInstance


class Withdrawal:
    """The last will of the instances of this node.

    Arguments:
        instances: whose addresses to withdraw.

    Errors: PlatformError when an interface is missing or a socket is not allowed: the same that the elector would meet.
    """

    def __init__(self, instances: tuple[VrrpInstance, ...]) -> None:
        self._each = [
            (instance, AdvertSocket(instance, listen=False), HeldAddresses(instance)) for instance in instances
        ]

    def execute(self, active: Collection[str]) -> list[str]:
        """Resigns for the instances that were active, and withdraws the virtual IPs of all.

        Arguments:
            active: names of the instances that were active when last heard of.

        Returns what went wrong, in words. It may be done any number of times.
        """
        problems: list[str] = []
        for instance, adverts, addresses in self._each:
            problems.extend(str(failure) for failure in addresses.drop())
            if instance.name not in active:
                continue
            try:
                resign(instance, adverts)
            except (OSError, PlatformError) as problem:
                problems.append(f"resignation of {instance.name} not sent: {problem}")
        return problems

    def close(self) -> None:
        """Closes the sockets."""
        for _, adverts, addresses in self._each:
            adverts.close()
            addresses.close()


def resign(instance: VrrpInstance, adverts: AdvertSocket) -> None:
    """Tells the peers that this node is not active any more, so that they need not wait for its silence.

    Arguments:
        adverts: a socket for the instance, which may have been made before its interface was made anew.

    Errors: OSError or PlatformError when it cannot be sent.
    """
    try:
        adverts.send(resign=True)
    except OSError:  # the interface may have been made anew since the start: a socket for the new one
        fresh = AdvertSocket(instance, listen=False)
        try:
            fresh.send(resign=True)
        finally:
            fresh.close()
