"""The frozen values that every room shares. No behaviour beyond identity, order and text.

Units stand last in the names. Addresses are `ipaddress` objects, never text, so that two spellings of one address
are one key. Everything here is light enough for the elector to import.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address

SYNC_GROUP = IPv4Address("224.0.0.81")
"""Where the kernel's connection sync goes unless told otherwise (net/netfilter/ipvs/ip_vs_sync.c)."""

# ----------------------------------------------------------------------------------------------- election


class Role(enum.Enum):
    """State of a virtual router (RFC 9568 section 6.4)."""

    INITIALIZE = "initialize"
    BACKUP = "backup"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True, order=True)
class VirtualIp:
    """An address that moves with the role of its instance.

    Arguments:
        address: the address.
        prefix_length: in bits; 32 unless the operator wrote another.
        interface: name of the interface that carries it while the instance is active here.
    """

    address: IPv4Address
    prefix_length: int
    interface: str

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


@dataclass(frozen=True, slots=True)
class VrrpInstance:
    """One virtual router as this node takes part in it.

    Arguments:
        name: the operator's name for it.
        interface: where advertisements are sent and heard.
        router_id: virtual router id, 1 to 255.
        priority: of this node, 1 to 254, or 255 for the owner of the addresses.
        interval_s: advertisement interval in seconds, a multiple of 0.01.
        preempt: whether a higher priority takes over from a live active of lower priority.
        source: this node's address, the source of its advertisements.
        peers: unicast peers; empty means multicast to `group`.
        group: the multicast group.
        virtual_ips: what moves.
        lease_s: kernel lifetime of the virtual IPs in whole seconds, renewed while the elector lives; None for none.
        announce_repeat: how many times the virtual IPs are announced again after the first time.
        announce_interval_s: time between two announcements.
        announce_refresh_s: time between two announcements after those, for neighbours that were misled meanwhile.
    """

    name: str
    interface: str
    router_id: int
    priority: int
    interval_s: float
    preempt: bool
    source: IPv4Address
    peers: tuple[IPv4Address, ...]
    group: IPv4Address
    virtual_ips: tuple[VirtualIp, ...]
    lease_s: int | None
    announce_repeat: int
    announce_interval_s: float
    announce_refresh_s: float = 30.0


# --------------------------------------------------------------------------------------------------- IPVS


class Protocol(enum.Enum):
    """Transport protocols that IPVS balances; the value is the name in config files."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"

    @property
    def number(self) -> int:
        """The IP protocol number."""
        return _PROTOCOL_NUMBERS[self]


_PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


class Forwarding(enum.Enum):
    """How a packet reaches a real server; the value is the name in config files."""

    NAT = "nat"
    TUN = "tun"
    DR = "dr"


SCHEDULERS = (
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
)  # fmt: skip
"""Every scheduler of the kernel by its name (net/netfilter/ipvs/ip_vs_*.c)."""


def _endpoint(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Identity of a virtual service: the address, port and protocol that clients talk to."""

    address: IPAddress
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        return f"{_endpoint(self.address, self.port)}/{self.protocol.value}"


@dataclass(frozen=True, slots=True)
class Service:
    """What the kernel keeps of a virtual service, apart from its destinations.

    Arguments:
        key: its identity.
        scheduler: a name out of `SCHEDULERS`.
        persistence_timeout_s: seconds for which a client stays with its server; 0 for none.
        extra: what else was found set on it in the kernel and is never set by us (``one-packet``), for people;
            empty in whatever is desired, so that such drift is seen and written over.
    """

    key: ServiceKey
    scheduler: str
    persistence_timeout_s: int = 0
    extra: str = ""


@dataclass(frozen=True, slots=True)
class DestinationKey:
    """Identity of a real server within its service."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        return _endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Destination:
    """What the kernel keeps of a real server within a service.

    Arguments:
        key: its identity.
        forwarding: how packets reach it.
        weight: 0 means no new connections.
        extra: what else was found set on it, as for `Service`.
    """

    key: DestinationKey
    forwarding: Forwarding
    weight: int = 1
    extra: str = ""


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A virtual service with its destinations, as desired or as found in a kernel."""

    service: Service
    destinations: tuple[Destination, ...] = ()


class SyncState(enum.Enum):
    """Which of the kernel's connection sync daemons; the value is the kernel's (linux/ip_vs.h IP_VS_STATE_*)."""

    MASTER = 1
    BACKUP = 2


@dataclass(frozen=True, slots=True)
class SyncDaemon:
    """A sync daemon as desired or as found in a kernel.

    Arguments:
        state: master sends, backup receives.
        interface: the interface that carries the sync datagrams.
        sync_id: 0 to 255; a receiver drops other ids.
        group: multicast group.
        port: UDP port.
        ttl: of the datagrams.
    """

    state: SyncState
    interface: str
    sync_id: int
    group: IPAddress = SYNC_GROUP
    port: int = 8848
    ttl: int = 1


# ------------------------------------------------------------------------------------------------- health


class ServerState(enum.Enum):
    """What is known of a real server. Unknown servers get no traffic unless the kernel already sends them some."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class CheckType(enum.Enum):
    """Kinds of health check; the value is the name in config files."""

    NONE = "none"
    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Check:
    """How a real server is probed. Two servers' equal checks of one endpoint share one probe.

    Arguments:
        type: what is tried; NONE means that the server always counts as up.
        interval_s: seconds between the starts of two probes.
        timeout_s: seconds after which a probe has failed.
        rise: successes in a row that bring a server that was down back.
        fall: failures in a row that take a server that was up out.
        path, host: of the HTTP request; an empty host means the endpoint's address.
        status_min, status_max: the HTTP status codes that count as success, both included.
    """

    type: CheckType
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 2
    path: str = "/"
    host: str = ""
    status_min: int = 200
    status_max: int = 399


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something to probe, and how. Equal endpoints are one probe."""

    address: IPAddress
    port: int
    check: Check


@dataclass(frozen=True, slots=True)
class RealServer:
    """A real server of a service, as configured: its destination when it is up, and where it is probed."""

    destination: Destination
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class VirtualService:
    """A virtual service as configured.

    Arguments:
        name: the operator's name for it.
        service: what the kernel keeps of it.
        servers: its real servers, in the file's order.
    """

    name: str
    service: Service
    servers: tuple[RealServer, ...]


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


# ------------------------------------------------------- what the guardian hands to the other processes


@dataclass(frozen=True, slots=True)
class ElectorPart:
    """All that the elector needs of the config file."""

    node: str
    instances: tuple[VrrpInstance, ...]


@dataclass(frozen=True, slots=True)
class DirectorPart:
    """All that the director needs of the config file.

    Arguments:
        cluster, node, config_digest: for status.
        instances: for status.
        services: to program and to probe; empty means that no IPVS is needed.
        sync: connection sync, or None.
        on_stop: what to leave behind.
        reconcile_interval_s: seconds between two looks at the kernel for drift.
    """

    cluster: str
    node: str
    config_digest: str
    instances: tuple[VrrpInstance, ...]
    services: tuple[VirtualService, ...]
    sync: ConnectionSync | None
    on_stop: OnStop
    reconcile_interval_s: float
