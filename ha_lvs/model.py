"""The frozen values that every room shares. No behaviour beyond identity, order and text.

Units stand last in the names. Addresses are `ipaddress` objects, never text, so that two spellings of one address
are one key. Everything here is light enough for the elector to import.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SYNC_GROUP = IPv4Address("224.0.0.81")
"""Where the kernel's connection sync goes unless told otherwise (net/netfilter/ipvs/ip_vs_sync.c)."""

# ----------------------------------------------------------------------------------------------- election


class Role(enum.Enum):
    """State of a virtual router (RFC 9568 section 6.4)."""

    INITIALIZE = "initialize"
    BACKUP = "backup"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class VirtualIp:
    """An address that moves with the role of its instance.

    Arguments:
        address: the address.
        prefix_length: in bits; that of a single host unless the operator wrote another.
        interface: name of the interface that carries it while the instance is active here.
        label: of the address in the kernel (``e0:web``); IPv4 only, empty for the interface's name.
        scope: of the address, a number out of /etc/iproute2/rt_scopes.
        mac_vlan: name of the interface with the virtual router's MAC address that carries it instead; empty for none.
    """

    address: IPAddress
    prefix_length: int
    interface: str
    label: str = ""
    scope: int = 0
    mac_vlan: str = ""

    @property
    def carrier(self) -> str:
        """The interface on which the address is put."""
        return self.mac_vlan or self.interface

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


@dataclass(frozen=True, slots=True)
class VirtualRoute:
    """A route that is there while the instance is active.

    Arguments:
        to: the destination; 0.0.0.0/0 or ::/0 for the default route.
        via: the gateway, or None for one that is reached directly.
        interface: by which it leaves; None lets the kernel find it by the gateway.
        source: the preferred source address, or None.
        table: routing table; 254 is the main one.
        metric: its priority among routes to the same destination; 0 is the kernel's default.
    """

    to: IPNetwork
    via: IPAddress | None = None
    interface: str | None = None
    source: IPAddress | None = None
    table: int = 254
    metric: int = 0

    def __str__(self) -> str:
        words = [str(self.to)]
        for word, value in (("via", self.via), ("dev", self.interface), ("src", self.source)):
            words += [word, str(value)] if value is not None else []
        return " ".join([*words, "table", str(self.table)])


@dataclass(frozen=True, slots=True)
class VirtualRule:
    """A routing rule that is there while the instance is active.

    Arguments:
        priority: its place among the rules, 1 to 32765.
        source, destination: networks that packets must come from or go to; None for any.
        fwmark: firewall mark of the packets; None for any.
        table: where matching packets are looked up.
        family: 4 or 6.
    """

    priority: int
    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    fwmark: int | None = None
    table: int = 254
    family: int = 4

    def __str__(self) -> str:
        words = [f"{self.priority}:"]
        for word, value in (("from", self.source), ("to", self.destination), ("fwmark", self.fwmark)):
            words += [word, str(value)] if value is not None else []
        return " ".join([*words, "lookup", str(self.table)])


@dataclass(frozen=True, slots=True)
class VrrpPath:
    """A way for advertisements: one virtual router id, in one address family, on one interface.

    An instance has one path of its own. Further paths of it carry the same role: those of the other members of its
    group, and further interfaces on which its heartbeat is to be heard.

    Arguments:
        member: name of the configured instance that it belongs to.
        interface: where advertisements are sent and heard.
        router_id: virtual router id, 1 to 255.
        source: this node's address there, the source of its advertisements; IPv6Address("::") means the interface's
            link-local one, which is looked up at the start.
        peers: unicast peers; empty means multicast to `group`.
        group: the multicast group.
        addresses: what is advertised: virtual IPs of the family of `group`.
        version: of VRRP, 3 or 2.
        min_ttl: the least TTL or hop limit of what is heard; below 255 with unicast over routers only.
        discover: whether the peers that discovery finds, and that have authenticated, are unicast peers too.
    """

    member: str
    interface: str
    router_id: int
    source: IPAddress
    peers: tuple[IPAddress, ...]
    group: IPAddress
    addresses: tuple[IPAddress, ...]
    version: int = 3
    min_ttl: int = 255
    discover: bool = False


@dataclass(frozen=True, slots=True)
class Track:
    """Something that the eligibility of this node depends on.

    Arguments:
        name: as `kind:name`: ``interface:e1``, ``script:chk``, ``file:maint``, ``process:haproxy``, ``service:web``.
        weight: added to the priority: while it is down when negative, while it is up when positive. None means fault:
            while it is down this node is not active, whatever the priorities.
    """

    name: str
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Third parties that a director must see before it believes that the other one, not itself, is cut off.

    Arguments:
        addresses: of gateways and the like, probed all the time.
        required: how many of them must answer.
        interface: where the probes leave.
        interval_s: seconds between two probes of one.
        fall: probes in a row without an answer after which one counts as not seen.
        method: ``arp`` (or neighbour discovery) or ``icmp``.
        yield_alone: whether an active that sees neither enough of them nor a peer steps down.
    """

    addresses: tuple[IPAddress, ...]
    required: int
    interface: str
    interval_s: float
    fall: int
    method: str
    yield_alone: bool


@dataclass(frozen=True, slots=True)
class BfdSession:
    """A BFD session with the other director (RFC 5880 asynchronous mode, RFC 5881 single hop).

    Arguments:
        interface: where it runs.
        source, peer: addresses of its ends.
        interval_s: both Desired Min TX Interval and Required Min RX Interval.
        multiplier: Detect Mult.
    """

    interface: str
    source: IPAddress
    peer: IPAddress
    interval_s: float
    multiplier: int


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A shared secret; its text never shows the secret.

    Arguments:
        number: key id on the wire, 0 to 255.
        secret: hexadecimal.
    """

    number: int
    secret: str

    def __repr__(self) -> str:
        return f"Key({self.number})"

    def __str__(self) -> str:
        return f"key {self.number}"


@dataclass(frozen=True, slots=True)
class Authentication:
    """How directors prove to each other who they are.

    Arguments:
        keys: those that are believed.
        send: number of the one that signs.
        enforce: whether what is not authenticated is dropped; else it is counted, logged and obeyed.
    """

    keys: tuple[Key, ...]
    send: int
    enforce: bool


@dataclass(frozen=True, slots=True)
class VrrpInstance:
    """One virtual router as this node takes part in it, or a group of them that moves together.

    The first fields are its own path, as for `VrrpPath`; `paths` has all.

    Arguments:
        name: the operator's name for it: the group's, where it is one.
        priority: of this node, 1 to 254, or 255 for the owner of the addresses.
        interval_s: advertisement interval in seconds, a multiple of 0.01.
        preempt: whether a higher priority takes over from a live active of lower priority.
        virtual_ips: what moves, on whatever interface.
        lease_s: kernel lifetime of the virtual IPs in whole seconds, renewed while the elector lives; None for none.
        announce_repeat: how many times the virtual IPs are announced again after the first time.
        announce_interval_s: time between two announcements.
        announce_refresh_s: time between two announcements after those, for neighbours that were misled meanwhile.
        version, min_ttl, discover: of its own path.
        advertised: addresses that its own path advertises; None for all virtual IPs of its family, up to the most
            that a packet holds.
        companions: further paths of the same role.
        members: names of the configured instances; empty for itself alone.
        preempt_delay_s: how long a higher priority waits before it takes over from a live active of lower priority.
        preempt_in_sync: whether it also waits until it holds the peer's connection table.
        startup_delay_s: seconds from the start during which it does not become active by a timer.
        down_after: intervals of silence, without the skew time, after which the active counts as dead.
        routes, rules: what else is there while it is active.
        tracks: what the eligibility of this node depends on.
        witnesses: third parties to be seen, or None.
        bfd: sessions whose end means that the active is dead.
        authentication: of the advertisements, or None.
    """

    name: str
    interface: str
    router_id: int
    priority: int
    interval_s: float
    preempt: bool
    source: IPAddress
    peers: tuple[IPAddress, ...]
    group: IPAddress
    virtual_ips: tuple[VirtualIp, ...]
    lease_s: int | None
    announce_repeat: int
    announce_interval_s: float
    announce_refresh_s: float = 30.0
    version: int = 3
    min_ttl: int = 255
    discover: bool = False
    advertised: tuple[IPAddress, ...] | None = None
    companions: tuple[VrrpPath, ...] = ()
    members: tuple[str, ...] = ()
    preempt_delay_s: float = 0.0
    preempt_in_sync: bool = False
    startup_delay_s: float = 0.0
    down_after: int = 3
    routes: tuple[VirtualRoute, ...] = ()
    rules: tuple[VirtualRule, ...] = ()
    tracks: tuple[Track, ...] = ()
    witnesses: Witnesses | None = None
    bfd: tuple[BfdSession, ...] = ()
    authentication: Authentication | None = None

    @property
    def paths(self) -> tuple[VrrpPath, ...]:
        """Every way for its advertisements, its own first."""
        family = self.group.version
        advertised = self.advertised
        if advertised is None:
            most = MAX_ADVERTISED[family]
            advertised = tuple(ip.address for ip in self.virtual_ips if ip.address.version == family)[:most]
        own = VrrpPath(
            member=self.members[0] if self.members else self.name,
            interface=self.interface,
            router_id=self.router_id,
            source=self.source,
            peers=self.peers,
            group=self.group,
            addresses=advertised,
            version=self.version,
            min_ttl=self.min_ttl,
            discover=self.discover,
        )
        return (own, *self.companions)


MAX_ADVERTISED = {4: 255, 6: 85}
"""Addresses that one advertisement holds, by address family: what its count, and an Ethernet frame, have room for."""


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
    """All that the elector needs of the config file, and of what people have asked for before it was started.

    Arguments:
        standby: names of instances that stay out of the election until they are enabled.
    """

    node: str
    instances: tuple[VrrpInstance, ...]
    standby: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScriptTrack:
    """A script that is run again and again; its exit code 0 means up.

    Arguments:
        name: as in `Track.name`, with its kind.
        command: program and arguments; no shell.
        interval_s: seconds between the starts of two runs.
        timeout_s: seconds after which a run is killed and has failed.
        rise, fall: successes that bring it up, failures that take it down.
        user: who runs it; never root unless the operator wrote so.
    """

    name: str
    command: tuple[str, ...]
    interval_s: float
    timeout_s: float
    rise: int
    fall: int
    user: str


@dataclass(frozen=True, slots=True)
class FileTrack:
    """A file whose presence counts: up while it is there, or while it is not with `absent`.

    Arguments:
        name: as in `Track.name`.
        path: of the file.
        absent: whether its absence means up: a file that an operator makes to take the node out.
    """

    name: str
    path: str
    absent: bool


@dataclass(frozen=True, slots=True)
class ProcessTrack:
    """Processes of a name: up while at least `quorum` of them live.

    Arguments:
        name: as in `Track.name`.
        program: the name in /proc/PID/comm.
        quorum: how many must live.
    """

    name: str
    program: str
    quorum: int


@dataclass(frozen=True, slots=True)
class NotifyScript:
    """A program that is told of changes of role.

    Arguments:
        command: program and arguments; it gets the event as JSON on its standard input and in variables.
        timeout_s: seconds after which it is killed.
        user: who runs it.
        instances: names of those it is told of; empty for all.
    """

    command: tuple[str, ...]
    timeout_s: float
    user: str
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttendantPart:
    """All that the attendant needs of the config file.

    Arguments:
        node: this one's name.
        instances: for their witnesses and virtual IPs.
        scripts, files, processes: what to track.
        notify: whom to tell.
    """

    node: str
    instances: tuple[VrrpInstance, ...]
    scripts: tuple[ScriptTrack, ...] = ()
    files: tuple[FileTrack, ...] = ()
    processes: tuple[ProcessTrack, ...] = ()
    notify: tuple[NotifyScript, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerLink:
    """The link between the directors of a cluster.

    Arguments:
        node: this one's name.
        address: where it listens; None for every address, where peers are found by discovery only.
        port: TCP port.
        peers: address of each other node by its name.
        authentication: the keys, or None: then only the addresses in `peers` are believed.
        discovery: whether peers are also looked for by DNS-SD.
        discovery_interface: where; empty for every interface.
    """

    node: str
    address: IPAddress | None
    port: int
    peers: tuple[Peer, ...]
    authentication: Authentication | None = None
    discovery: bool = False
    discovery_interface: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another director of the cluster."""

    node: str
    address: IPAddress


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
        peer_link: the link to the other director, or None.
    """

    cluster: str
    node: str
    config_digest: str
    instances: tuple[VrrpInstance, ...]
    services: tuple[VirtualService, ...]
    sync: ConnectionSync | None
    on_stop: OnStop
    reconcile_interval_s: float
    peer_link: PeerLink | None = None
