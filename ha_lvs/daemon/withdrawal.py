"""What the guardian does in the elector's place when that has died: resign, and take the virtual IPs away.

Sockets and bytes are ready from the start; there is nothing to allocate, look up or open when it matters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ha_lvs.daemon.elect.paths import open_paths
from ha_lvs.daemon.elect.signing import increasing
from ha_lvs.errors import PlatformError
from ha_lvs.kernel.addresses import HeldAddresses
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.kernel.routes import HeldRoutes
from ha_lvs.model import VrrpInstance
from ha_lvs.wire.auth import Signer


class Withdrawal:
    """The last will of the instances of this node.

    Arguments:
        instances: whose addresses and routes to withdraw.

    Errors: PlatformError when an interface is missing or a socket is not allowed: the same that the elector would meet.
    """

    def __init__(self, instances: tuple[VrrpInstance, ...]) -> None:
        self._each = [_Will(instance) for instance in instances]

    def execute(self, active: Collection[str]) -> list[str]:
        """Resigns for the instances that were active, and withdraws the virtual IPs of all.

        Arguments:
            active: names of the instances that were active when last heard of.

        Returns what went wrong, in words. It may be done any number of times.
        """
        problems: list[str] = []
        for will in self._each:
            problems += map(str, will.routes.drop())
            problems += map(str, will.addresses.drop())
            if will.instance.name not in active:
                continue
            try:
                resign(will.instance, will.sockets)
            except (OSError, PlatformError) as problem:
                problems.append(f"resignation of {will.instance.name} not sent: {problem}")
        return problems

    def close(self) -> None:
        """Closes the sockets."""
        for will in self._each:
            for sock in will.sockets:
                sock.close()
            will.routes.close()
            will.addresses.close()


class _Will:
    """What is ready for one instance."""

    def __init__(self, instance: VrrpInstance) -> None:
        self.instance = instance
        self.sockets = mute_sockets(instance)
        self.addresses = HeldAddresses(instance)
        self.routes = HeldRoutes(instance)


def mute_sockets(instance: VrrpInstance) -> list[AdvertSocket]:
    """Sockets on all paths of an instance that only ever resign.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """
    signer = None if instance.authentication is None else Signer(instance.authentication)
    sockets = open_paths(instance, signer, increasing(), listen=False)
    for sock in sockets:
        sock.prepare(0)
    return sockets


def resign(instance: VrrpInstance, sockets: Sequence[AdvertSocket]) -> None:
    """Tells the peers that this node is not active any more, so that they need not wait for its silence.

    Arguments:
        sockets: for the instance's paths, which may have been made before its interfaces were made anew.

    Errors: OSError or PlatformError when it can be sent on none of them.
    """
    failed = 0
    for sock in sockets:
        try:
            sock.send(0)
        except OSError:
            failed += 1
    if failed < len(sockets):
        return
    fresh = mute_sockets(instance)  # the interface may have been made anew since the start: sockets for the new one
    try:
        for sock in fresh:
            sock.send(0)
    finally:
        for sock in fresh:
            sock.close()
