"""Virtual services as the operator configured them: what is to be programmed, probed and kept."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from ha_lvs.model.addresses import IPAddress
from ha_lvs.model.finding import ServerDiscovery
from ha_lvs.model.health import Endpoint
from ha_lvs.model.ipvs import SYNC_GROUP, Destination, DestinationKey, Protocol, Service

MOST_PORT = 0xFFFF
RANGES_TOLD = 8
"""So many ranges of a service are listed for people one by one."""


@dataclass(frozen=True, slots=True)
class RealServer:
    """A real server of a service, as configured: its destination when it is up, and how that is found out.

    Arguments:
        destination: what it is in the kernel while it is up.
        checks: what is probed; empty for a server that always counts as up.
        any_of: whether one good check is enough; else all must be good.
        discovered: whether it has announced itself and is not in the config; it then needs a good check at any rate.
    """

    destination: Destination
    checks: tuple[Endpoint, ...] = ()
    any_of: bool = False
    discovered: bool = False


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many servers a service needs, with hysteresis so that one flapping server does not flap the service.

    It is lost below ``least - hysteresis`` and regained at ``least + hysteresis``, and counts as there before the
    first verdicts.

    Arguments:
        least: servers, or weight, that must be up.
        by_weight: whether the configured weights of the servers that are up are counted, not the servers.
        hysteresis: in the same unit; less than `least`.
    """

    least: int = 1
    by_weight: bool = False
    hysteresis: int = 0


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses from the first to the last, both included and of one family."""

    first: IPAddress
    last: IPAddress

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from the first to the last, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What nftables gives the firewall mark of a service, of which the addresses and ports are ranges.

    Arguments:
        protocols: transport protocols.
        addresses: of one family.
        ports: empty for every port.
    """

    protocols: tuple[Protocol, ...]
    addresses: tuple[AddressRange, ...]
    ports: tuple[PortRange, ...] = ()

    def merged(self) -> Traffic:
        """The same in the one form by which traffic compares: in order, and no range touches another."""
        protocols = tuple(sorted(set(self.protocols), key=lambda each: each.number))
        runs = _merged((int(each.first), int(each.last)) for each in self.addresses)
        kind = type(self.addresses[0].first) if self.addresses else ip_address
        addresses = tuple(AddressRange(kind(first), kind(last)) for first, last in runs)
        ports = tuple(PortRange(first, last) for first, last in _merged((each.first, each.last) for each in self.ports))
        return Traffic(protocols, addresses, () if ports == (PortRange(0, MOST_PORT),) else ports)

    def __str__(self) -> str:
        protocols = ", ".join(each.value for each in self.protocols)
        ports = f" ports {_list(self.ports)}" if self.ports else ""
        return f"{protocols} to {_list(self.addresses)}{ports}"


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    return runs


def _list(ranges: tuple[AddressRange, ...] | tuple[PortRange, ...]) -> str:
    told = ", ".join(str(each) for each in ranges[:RANGES_TOLD])
    left = len(ranges) - RANGES_TOLD
    return f"{told} and {left} more" if left > 0 else told


@dataclass(frozen=True, slots=True)
class VirtualService:
    """A virtual service as configured.

    Arguments:
        name: the operator's name for it.
        service: what the kernel keeps of it.
        servers: its real servers, in the file's order.
        quorum: what it needs to count as up.
        sorry: where clients are sent while the quorum is lost, or None.
        inhibit: whether a server that is down stays with weight 0, so that its connections go on reaching it.
        expire: whether connections of a server that was taken out end at once. Otherwise they wait for it.
        alpha: whether a server gets traffic only after its first good verdict; else it counts as up until then.
        slow_start_s: seconds over which the weight of a server that came back grows to what is configured; 0 for none.
        panic: percentage of its servers; while fewer are up, no verdict is believed and all get traffic. 0 for never.
        traffic: what is given the firewall mark of `service`, or None where the operator does it or there is no mark.
        passive: whether servers whose handshakes remain unfinished in the connection table are probed at once.
        discovery: which servers that announce themselves it takes in beside those of the config; None for none.
    """

    name: str
    service: Service
    servers: tuple[RealServer, ...]
    quorum: Quorum = Quorum()
    sorry: Destination | None = None
    inhibit: bool = False
    expire: bool = False
    alpha: bool = True
    slow_start_s: float = 0.0
    panic: int = 0
    traffic: Traffic | None = None
    discovery: ServerDiscovery | None = None
    passive: bool = False


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator has said at run time of a service, or of a server of it, in place of the config.

    Arguments:
        service: name of the service.
        server: of which server, or None for the service as a whole.
        weight: in place of the configured one; 0 drains. None takes an earlier override back. A service as a whole
            knows only 0, which disables it, and None.
        since_s: when it was said, in seconds since 1970; of two about the same thing, the later one holds.
        node: where it was said.
    """

    service: str
    server: DestinationKey | None
    weight: int | None
    since_s: float
    node: str


@dataclass(frozen=True, slots=True)
class ConnectionSync:
    """The connection sync that the operator asked for; the state of the daemons follows the role."""

    interface: str
    sync_id: int
    group: IPv4Address = SYNC_GROUP
    port: int = 8848
    ttl: int = 1


class OnStop(enum.Enum):
    """What a planned stop does to the IPVS state that is ours; the value is the name in config files."""

    KEEP = "keep"
    REMOVE = "remove"
