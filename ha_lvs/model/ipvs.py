"""What the kernel's IPVS keeps: virtual services, destinations, sync daemons, time-outs (linux/ip_vs.h)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.model.addresses import IPAddress, endpoint

SYNC_GROUP = IPv4Address("224.0.0.81")
"""Where the kernel's connection sync goes unless told otherwise (net/netfilter/ipvs/ip_vs_sync.c)."""


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


class Tunnel(enum.Enum):
    """What a packet to a real server is wrapped in with `Forwarding.TUN`; the value is the name in config files."""

    IPIP = "ipip"
    GUE = "gue"
    GRE = "gre"


class TunnelChecksum(enum.Enum):
    """The checksum of a GUE or GRE header; the value is the name in config files."""

    NONE = "none"
    FULL = "full"
    REMOTE = "remote"


SCHEDULERS = (
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
)  # fmt: skip
"""Every scheduler of the kernel by its name (net/netfilter/ipvs/ip_vs_*.c)."""

HASHING_SCHEDULERS = ("sh", "mh")
"""Those that have the flags `Service.fallback` and `Service.hash_port`."""

FULL_PREFIX = {4: 32, 6: 128}
"""Bits of a whole address, by address family."""

_NOWHERE: dict[int, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Identity of a virtual service: the address, port and protocol that clients talk to, or a firewall mark.

    Arguments:
        address: the virtual IP; of a mark the unspecified address of its family.
        port: 0 for every port, which the kernel allows for persistent services only.
        protocol: of a mark always TCP, which means nothing: a mark takes packets of any protocol.
        mark: the firewall mark that packets carry; 0 for none.
    """

    address: IPAddress
    port: int
    protocol: Protocol
    mark: int = 0

    @classmethod
    def of_mark(cls, mark: int, family: int = 4) -> ServiceKey:
        """The identity of a service that takes the packets of a firewall mark.

        Arguments:
            mark: 1 to 2**32 - 1.
            family: 4 or 6.
        """
        return cls(_NOWHERE[family], 0, Protocol.TCP, mark)

    @property
    def family(self) -> int:
        """Its address family, 4 or 6."""
        return self.address.version

    def __str__(self) -> str:
        if self.mark:
            return f"mark {self.mark}" if self.family == 4 else f"mark {self.mark} ipv6"
        return f"{endpoint(self.address, self.port)}/{self.protocol.value}"


@dataclass(frozen=True, slots=True)
class Service:
    """What the kernel keeps of a virtual service, apart from its destinations.

    Arguments:
        key: its identity.
        scheduler: a name out of `SCHEDULERS`.
        persistence_timeout_s: seconds for which a client stays with its server; 0 for none.
        extra: what else was found set on it in the kernel and is never set by us (``flags 0x40``), for people; empty
            in whatever is desired, so that such drift is seen and written over.
        persistence_prefix: how many bits of a client's address tell it from another; None for all.
        persistence_engine: ``sip`` or empty.
        one_packet: whether every datagram is scheduled on its own; UDP only.
        fallback: whether a hashing scheduler takes another server when the one hashed to is down or full.
        hash_port: whether a hashing scheduler hashes the client's port too.
    """

    key: ServiceKey
    scheduler: str
    persistence_timeout_s: int = 0
    extra: str = ""
    persistence_prefix: int | None = None
    persistence_engine: str = ""
    one_packet: bool = False
    fallback: bool = False
    hash_port: bool = False


@dataclass(frozen=True, slots=True)
class DestinationKey:
    """Identity of a real server within its service."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        return endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """How packets to a real server are wrapped, other than as plain IP in IP.

    Arguments:
        tunnel: the header.
        port: UDP port of the server's GUE; 0 for the others.
        checksum: of the header.
    """

    tunnel: Tunnel
    port: int = 0
    checksum: TunnelChecksum = TunnelChecksum.NONE

    def __str__(self) -> str:
        port = f" port {self.port}" if self.port else ""
        checksum = "" if self.checksum is TunnelChecksum.NONE else f" checksum {self.checksum.value}"
        return f"{self.tunnel.value}{port}{checksum}"


@dataclass(frozen=True, slots=True)
class Destination:
    """What the kernel keeps of a real server within a service.

    Arguments:
        key: its identity.
        forwarding: how packets reach it.
        weight: 0 means no new connections.
        extra: what else was found set on it, as for `Service`.
        upper_threshold: connections from which it gets no new ones; 0 for no limit.
        lower_threshold: connections below which it gets new ones again; 0 for three quarters of the upper.
        encapsulation: of `Forwarding.TUN`; None for IP in IP.
    """

    key: DestinationKey
    forwarding: Forwarding
    weight: int = 1
    extra: str = ""
    upper_threshold: int = 0
    lower_threshold: int = 0
    encapsulation: Encapsulation | None = None


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


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long IPVS remembers a silent connection, in seconds. As desired, 0 leaves the kernel's as it is.

    Arguments:
        tcp: an established one.
        tcp_fin: one of which a FIN was seen.
        udp: one of UDP.
    """

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0

    def over(self, found: Timeouts) -> Timeouts:
        """What the kernel has after these were set on what was found."""
        return Timeouts(self.tcp or found.tcp, self.tcp_fin or found.tcp_fin, self.udp or found.udp)

    def __str__(self) -> str:
        words = (("tcp", self.tcp), ("tcpfin", self.tcp_fin), ("udp", self.udp))
        return " ".join(f"{word} {value} s" for word, value in words if value)
