"""Virtual routers: their instances, what moves with their role, and what an election depends on."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ha_lvs.model.addresses import IPAddress, IPNetwork


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
