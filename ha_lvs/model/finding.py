"""Real servers that announce themselves by DNS-SD, and the service that takes them in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ha_lvs.model.addresses import IPAddress, IPNetwork
from ha_lvs.model.health import Check, Endpoint, VirtualPath
from ha_lvs.model.ipvs import Destination, DestinationKey, Encapsulation, Forwarding


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """A check of a service, before it is known of which server.

    Arguments:
        check: how it is probed.
        address, port: what is probed; None for the server's own.
        virtual: the virtual IP that the probe goes to by the server's forwarding method; None for the server itself.
    """

    check: Check
    address: IPAddress | None = None
    port: int | None = None
    virtual: IPAddress | None = None

    def of(self, address: IPAddress, destination: Destination) -> Endpoint:
        """What is probed for a server.

        Arguments:
            address: the server's.
            destination: what it is in the kernel.
        """
        port = destination.key.port if self.port is None else self.port
        check = self.check
        if self.virtual is not None:
            path = VirtualPath(self.virtual, port, destination.forwarding, destination.encapsulation)
            check = replace(check, via=path)
        return Endpoint(address if self.address is None else self.address, port, check)


@dataclass(frozen=True, slots=True)
class ServerDiscovery:
    """Which servers that announce themselves a service takes in, and what becomes of them.

    Arguments:
        type: of DNS-SD, as in ``_http._tcp``.
        networks: in which their addresses must be; never empty.
        forwarding, encapsulation: how packets reach them.
        port: the service's, which they are reached at; None for the one that each announces (NAT).
        checks, any_of: how they are probed, and whether one good check is enough.
        interfaces: where they are looked for; empty for every interface.
        weight: of each.
        trust_weight: whether a weight that a server announces counts in place of that.
        most: of them at a time.
        forget_after_s: for so long a server that is no more announced stays while its check is good.
    """

    type: str
    networks: tuple[IPNetwork, ...]
    forwarding: Forwarding
    encapsulation: Encapsulation | None
    port: int | None
    checks: tuple[CheckPlan, ...]
    any_of: bool = False
    interfaces: tuple[str, ...] = ()
    weight: int = 1
    trust_weight: bool = False
    most: int = 64
    forget_after_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a server says of itself by DNS-SD. Anybody may say anything.

    Arguments:
        name: of the instance, with its type.
        type: of DNS-SD, as in ``_http._tcp``.
        addresses: as announced.
        port: 1 to 65535.
        weight: in its TXT record, 0 to 65535; None where there is none that is valid.
    """

    name: str
    type: str
    addresses: tuple[IPAddress, ...]
    port: int
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class FoundServer:
    """A server of a service that was found by its announcement.

    Arguments:
        key: its address and port in the kernel.
        weight: of it.
        gone_s: since when it is no more announced, in monotonic seconds; None while it is.
    """

    key: DestinationKey
    weight: int
    gone_s: float | None = None
