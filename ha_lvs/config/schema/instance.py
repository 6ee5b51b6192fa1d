"""What a config file says of a virtual router."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import (
    EVERY_NODE,
    LEASE_AUTO,
    SWITCH,
    Address,
    AnyGroup,
    Checked,
    Family,
    FileModel,
    Flag,
    InterfaceName,
    Lease,
    Name,
    Priority,
    Shorthand,
    Switch,
)
from ha_lvs.config.schema.addresses import Announce, VirtualIpEntry
from ha_lvs.config.schema.routing import RouteEntry, RuleEntry
from ha_lvs.config.schema.tracking import BfdEntry, Tracking, WitnessesEntry
from ha_lvs.model import MAX_ADVERTISED, IPAddress

GROUP, GROUP6 = IPv4Address("224.0.0.18"), IPv6Address("ff02::12")
"""The multicast groups of VRRP (RFC 9568 section 5.1)."""

MOST_VIRTUAL_IPS = 4096


class Preempt(Switch):
    """When a node takes over from a live active of lower priority."""

    delay: Annotated[Duration, fields.duration("0s", "24h")] = Field(
        default=Duration(0), description="How long it waits before it does.", examples=["30s"]
    )
    in_sync: Flag = Field(
        default=False,
        description="Whether it also waits until it holds the peer's connection table.",
        examples=[True],
    )


class Unicast(Switch):
    """Advertisements to the other nodes' addresses."""

    min_ttl: Annotated[int, fields.number(1, 255)] = Field(
        default=255,
        description="The least TTL or hop limit of what is heard: 255 on one network, one less for each router "
        "between the nodes.",
        examples=[254],
    )
    discover: Flag | None = Field(
        default=None,
        description="Whether peers that discovery finds count too; by default where a node has no address in the file.",
        examples=[True],
    )


class Heartbeat(FileModel):
    """A further interface on which the nodes hear each other."""

    interface: InterfaceName = Field(description="The interface.", examples=["e1"])
    address: dict[Name, Address] = Field(
        default={},
        description="Each node's address there, of the advertisements' family. Only IPv6 multicast needs none.",
        examples=[{"lb1": "10.8.0.11", "lb2": "10.8.0.12"}],
    )


def _virtual_mac(value: object) -> str | bool:
    """Whether, or the name of the interface. A word for yes or no is no name."""
    if isinstance(value, str) and value.lower() not in ("yes", "on", "no", "off"):
        return values.interface(value)
    return values.flag(value)


def _version(value: object) -> int:
    return values.whole_number(value, 2, 3)


def _accept(value: object) -> bool:
    if values.flag(value):
        return True
    raise ValueError(
        "the active node always accepts packets to its virtual IPs, because services listen on them;"
        " write true or remove it, and drop packets with a firewall"
    )


class Instance(FileModel):
    """A virtual router (RFC 9568): the virtual IPs in it move together."""

    interface: InterfaceName = Field(
        description="The interface where advertisements are sent and heard.", examples=["e0"]
    )
    router_id: Annotated[int, fields.number(1, 255)] = Field(
        description="Virtual router id, the same on both directors, unique on the network.", examples=[51]
    )
    version: Annotated[int, Checked(_version, {"enum": [2, 3]})] = Field(
        default=3,
        description="Version of VRRP: 3, or 2 for old peers (IPv4 only, whole seconds, no authentication).",
        examples=[3],
    )
    family: Family | None = Field(
        default=None,
        description="Address family of the advertisements; by default ipv4 if any virtual IP is IPv4, else ipv6.",
        examples=["ipv4", "ipv6"],
    )
    address: dict[Name, Address] = Field(
        default={},
        description="Each node's address on the interface, where it is not the one in `nodes`: the source of its "
        "advertisements, and what unicast and BFD of the others reach.",
        examples=[{"lb1": "10.8.0.11", "lb2": "10.8.0.12"}],
    )
    interval: Annotated[Duration, fields.duration("10ms", "40.95s", 10)] = Field(
        default=Duration(1000),
        description="Advertisement interval, a multiple of 10ms from 10ms to 40.95s. A dead active is "
        "replaced after three to four of them.",
        examples=["1s", "100ms"],
    )
    down_after: Annotated[int, fields.number(2, 10)] = Field(
        default=3,
        description="Intervals of silence after which the active counts as dead; the lower the priority, the later "
        "within the next one.",
        examples=[3],
    )
    priority: Annotated[
        dict[str, Priority],
        Shorthand(fields.expand_priority, {"type": "integer", "minimum": 1, "maximum": 255}),
    ] = Field(
        description="Priority of each node, 1 to 255, or one number for all; the highest becomes active. "
        "255 is for the owner of the addresses, and for one node only.",
        examples=[{"lb1": 150, "lb2": 100}, 100],
    )
    preempt: Annotated[Preempt, SWITCH] = Field(
        default=Preempt(),
        description="Whether, and when, a node takes over from a live active of lower priority.",
        examples=[True, {"delay": "30s"}],
    )
    startup_delay: Annotated[Duration, fields.duration("0s", "1h")] = Field(
        default=Duration(0),
        description="Time from the start during which silence does not make a node active.",
        examples=["10s"],
    )
    virtual_ips: list[
        Annotated[
            VirtualIpEntry,
            Shorthand(fields.expand_virtual_ip, {"type": "string", "examples": ["10.9.0.100/32"]}),
        ]
    ] = Field(
        min_length=1,
        max_length=MOST_VIRTUAL_IPS,
        description="The addresses that the active node holds, IPv4 and IPv6. An advertisement names those of its own "
        f"family, the first {MAX_ADVERTISED[4]} (IPv4) or {MAX_ADVERTISED[6]} (IPv6) of them: more do not fit in a "
        "packet, and move all the same.",
        examples=[["10.9.0.100/32"]],
    )
    virtual_mac: Annotated[
        str | bool,
        Checked(
            _virtual_mac, {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": values.INTERFACE_PATTERN}]}
        ),
    ] = Field(
        default=False,
        description="Whether the virtual IPs on the instance's interface have the virtual router's MAC address, on an "
        "interface of their own (macvlan) that is called ha-lvs.ROUTER_ID or as written here. IPv6 has another MAC "
        "address, hence an interface of its own, with -6 after the name.",
        examples=[True, "vr51"],
    )
    accept: Annotated[bool, Checked(_accept, {"const": True})] = Field(
        default=True,
        description="Accept_Mode of RFC 9568, always true: services listen on the virtual IPs.",
        examples=[True],
    )
    routes: list[RouteEntry] = Field(
        default=[],
        max_length=4096,
        description="Routes that are there while the node is active.",
        examples=[[{"to": "default", "via": "10.9.0.1"}]],
    )
    rules: list[RuleEntry] = Field(
        default=[],
        max_length=4096,
        description="Routing rules that are there while the node is active.",
        examples=[[{"priority": 1000, "from": "10.9.0.100", "table": 100}]],
    )
    unicast: Annotated[Unicast, SWITCH] = Field(
        default=Unicast(enabled=False),
        description="Send advertisements to the other nodes' addresses instead of the multicast group.",
        examples=[False, {"min_ttl": 254}],
    )
    group: AnyGroup = Field(
        default=GROUP,
        description="Multicast group, of the family of the advertisements; ff02::12 by default for IPv6.",
        examples=["224.0.0.18", "ff02::12"],
    )
    authenticate: Flag = Field(
        default=True,
        description="Whether advertisements are authenticated where the file has `authentication`; false for a peer "
        "that is not ha-lvs.",
        examples=[True],
    )
    heartbeats: list[Annotated[Heartbeat, Shorthand(fields.expand_interface("interface"), fields.STRING)]] = Field(
        default=[],
        max_length=16,
        description="Further interfaces on which the nodes hear each other, with the same router id: a node is dead "
        "when it is silent on all.",
        examples=[[{"interface": "e1", "address": {"lb1": "10.8.0.11", "lb2": "10.8.0.12"}}]],
    )
    track: Tracking = Field(
        default=Tracking(),
        description="What a node must have to be active, or what changes its priority.",
        examples=[{"interfaces": ["e1"], "services": {"web": {"weight": -20}}}],
    )
    witnesses: Annotated[WitnessesEntry, Shorthand(fields.expand_addresses, {"type": "array"})] | None = Field(
        default=None,
        description="Third parties that a node must see before it becomes active.",
        examples=[["10.9.0.1"], {"addresses": ["10.9.0.1"], "method": "arp"}],
    )
    bfd: Annotated[BfdEntry, SWITCH] = Field(
        default=BfdEntry(enabled=False),
        description="BFD with the other nodes: a dead one is noticed within some milliseconds.",
        examples=[True, {"interval": "10ms", "multiplier": 3}],
    )
    lease: Lease = Field(
        default=LEASE_AUTO,
        description="Kernel lifetime of the virtual IPs, renewed while the node lives, so that a frozen node "
        "loses them by itself: auto (as many intervals as `down_after`, in whole seconds, at least one), off, or whole "
        "seconds.",
        examples=["auto", "off", "3s"],
    )
    announce: Announce = Field(
        default=Announce(),
        description="How the virtual IPs are announced.",
        examples=[{"repeat": 5, "interval": "1s", "refresh": "30s"}],
    )

    def priority_of(self, node: str) -> int:
        """The priority of a node that the file names."""
        return self.priority.get(node, self.priority.get(EVERY_NODE, 100))

    @property
    def ip_version(self) -> int:
        """The address family of the advertisements, 4 or 6."""
        if self.family is not None:
            return self.family
        return min(entry.address.version for entry in self.virtual_ips)

    @property
    def multicast_group(self) -> IPAddress:
        """The group of the advertisements' family: the one that is not said for IPv6 is VRRP's own there."""
        return GROUP6 if self.ip_version == 6 and self.group == GROUP else self.group
