"""What a config file may hold, as pydantic models. `ha-lvs schema` prints their JSON Schema.

Rules that hold here:
* Unknown keys are refused, and nothing is coerced: a value either is what it should be or is a problem.
* A field's check is a function of `values`, which raises a sentence that an operator can act on. What
  concerns several fields at once is in `crosscheck`, which also works when fields are wrong.
* Every field has a description and examples: they become the JSON Schema and the text for a missing key.
"""

from __future__ import annotations

import hashlib
import json
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from ha_lvs.config import fields, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import (
    EVERY_NODE,
    LEASE_AUTO,
    Checked,
    FileModel,
    Flag,
    ForwardingMethod,
    Group,
    Host,
    InterfaceName,
    Lease,
    Listen,
    Name,
    Port,
    Prefix,
    Priority,
    Shorthand,
    Status,
)
from ha_lvs.model import SCHEDULERS, CheckType, OnStop


class Node(FileModel):
    """One of the directors."""

    address: Host = Field(
        description="This node's own address: the source of its advertisements.", examples=["10.9.0.11"]
    )


class Announce(FileModel):
    """How the virtual IPs are announced (gratuitous ARP): after a take-over, and every now and then."""

    repeat: Annotated[int, fields.number(0, 100)] = Field(
        default=5, description="How many times the announcement is repeated after the first.", examples=[5]
    )
    interval: Annotated[Duration, fields.duration("10ms", "1h")] = Field(
        default=Duration(1000), description="Time between two announcements.", examples=["1s"]
    )
    refresh: Annotated[Duration, fields.duration("1s", "24h")] = Field(
        default=Duration(30_000),
        description="Time between two announcements after the repeated ones, for as long as the node is active.",
        examples=["30s"],
    )


class VirtualIpEntry(FileModel):
    """An address that moves with the role of its instance."""

    address: Prefix = Field(
        description="The address; its prefix length is 32 unless given.",
        examples=["10.9.0.100/32", "10.9.0.100"],
    )
    interface: InterfaceName | None = Field(
        default=None, description="The interface that carries it; the instance's by default.", examples=["e0"]
    )


class Instance(FileModel):
    """A virtual router (RFC 9568): the virtual IPs in it move together."""

    interface: InterfaceName = Field(
        description="The interface where advertisements are sent and heard.", examples=["e0"]
    )
    router_id: Annotated[int, fields.number(1, 255)] = Field(
        description="Virtual router id, the same on both directors, unique on the network.", examples=[51]
    )
    interval: Annotated[Duration, fields.duration("10ms", "40.95s", 10)] = Field(
        default=Duration(1000),
        description="Advertisement interval, a multiple of 10ms from 10ms to 40.95s. A dead active is "
        "replaced after three to four of them.",
        examples=["1s", "100ms"],
    )
    priority: Annotated[
        dict[str, Priority],
        Shorthand(fields.expand_priority, {"type": "integer", "minimum": 1, "maximum": 255}),
    ] = Field(
        description="Priority of each node, 1 to 255, or one number for all; the highest becomes active. "
        "255 is for the owner of the addresses.",
        examples=[{"lb1": 150, "lb2": 100}, 100],
    )
    preempt: Flag = Field(
        default=True,
        description="Whether a node takes over from a live active of lower priority.",
        examples=[True],
    )
    virtual_ips: list[
        Annotated[
            VirtualIpEntry,
            Shorthand(fields.expand_virtual_ip, {"type": "string", "examples": ["10.9.0.100/32"]}),
        ]
    ] = Field(
        min_length=1,
        max_length=255,
        description="The addresses that the active node holds.",
        examples=[["10.9.0.100/32"]],
    )
    unicast: Flag = Field(
        default=False,
        description="Send advertisements to the other nodes' addresses instead of the multicast group.",
        examples=[False],
    )
    group: Group = Field(default=IPv4Address("224.0.0.18"), description="Multicast group.", examples=["224.0.0.18"])
    lease: Lease = Field(
        default=LEASE_AUTO,
        description="Kernel lifetime of the virtual IPs, renewed while the node lives, so that a frozen node "
        "loses them by itself: auto (three intervals), off, or whole seconds.",
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


class ConnectionSync(FileModel):
    """The kernel's connection sync between the directors, so that connections survive a take-over."""

    interface: InterfaceName = Field(description="The interface that carries the sync datagrams.", examples=["e0"])
    id: Annotated[int, fields.number(0, 255)] = Field(
        description="Sync id, the same on both directors; datagrams with another are dropped.", examples=[7]
    )
    group: Group = Field(default=IPv4Address("224.0.0.81"), description="Multicast group.", examples=["224.0.0.81"])
    port: Port = Field(default=8848, description="UDP port.", examples=[8848])
    ttl: Annotated[int, fields.number(1, 255)] = Field(default=1, description="TTL of the datagrams.", examples=[1])


class Check(FileModel):
    """How a real server is probed."""

    type: Annotated[CheckType, fields.choice("check type", fields.words(CheckType), CheckType)] | None = Field(
        default=None,
        description="What is tried; by default tcp for a tcp service and none for udp and sctp.",
        examples=["tcp", "http", "none"],
    )
    interval: Annotated[Duration, fields.duration("10ms", "24h")] = Field(
        default=Duration(2000), description="Time between the starts of two probes.", examples=["1s"]
    )
    timeout: Annotated[Duration, fields.duration("1ms", "24h")] | None = Field(
        default=None,
        description="A slower probe has failed; at most the interval, by default 1s or the shorter interval.",
        examples=["500ms"],
    )
    rise: Annotated[int, fields.number(1, 1000)] = Field(
        default=2, description="Successes in a row that bring a server back.", examples=[2]
    )
    fall: Annotated[int, fields.number(1, 1000)] = Field(
        default=2, description="Failures in a row that take a server out.", examples=[2]
    )
    path: Annotated[str, Checked(values.http_path, {"type": "string", "pattern": "^/"})] = Field(
        default="/", description="What an http check requests.", examples=["/healthz"]
    )
    host: Annotated[str, Checked(values.http_host, fields.STRING)] | None = Field(
        default=None,
        description="The Host header of an http check; by default the server's address.",
        examples=["www.example.org"],
    )
    port: Port | None = Field(default=None, description="The port to probe; by default the server's.", examples=[8080])
    status: Status = Field(
        default=values.StatusRange(200, 399),
        description="HTTP status codes that count as success.",
        examples=["200-399", 204],
    )


class Server(FileModel):
    """A real server of a service."""

    address: Host = Field(description="The server's address.", examples=["10.9.0.21"])
    port: Port | None = Field(
        default=None,
        description="The server's port, the service's by default; dr and tun cannot change it.",
        examples=[8080],
    )
    weight: Annotated[int, fields.number(0, 65535)] = Field(
        default=1, description="Its share of new connections; 0 for none.", examples=[1]
    )
    forwarding: ForwardingMethod | None = Field(
        default=None, description="How packets reach it; the service's method by default.", examples=["dr"]
    )
    check: Check | None = Field(
        default=None,
        description="How it is probed, in place of the whole check of the service.",
        examples=[{"type": "tcp"}],
    )


class Service(FileModel):
    """A virtual service: what clients talk to, and the real servers behind it."""

    name: Name = Field(description="Its name, unique in the file.", examples=["web"])
    listen: Listen = Field(
        description="Virtual IP, port and protocol (tcp, udp or sctp).", examples=["10.9.0.100:80/tcp"]
    )
    scheduler: Annotated[str, fields.choice("scheduler", SCHEDULERS)] = Field(
        default="wlc",
        description="The kernel's scheduler that picks a server for a new connection.",
        examples=["wlc"],
    )
    forwarding: ForwardingMethod = Field(
        description="How packets reach the servers: dr (direct routing), tun (IP in IP) or nat.",
        examples=["dr"],
    )
    persistence: Annotated[Duration, fields.duration("1s", "744h", 1000)] | None = Field(
        default=None,
        description="How long a client stays with its server, in whole seconds; not at all by default.",
        examples=["5m"],
    )
    check: Check | None = Field(
        default=None,
        description="How its servers are probed.",
        examples=[{"type": "http", "path": "/healthz"}],
    )
    servers: list[
        Annotated[
            Server,
            Shorthand(fields.expand_server, {"type": "string", "examples": ["10.9.0.21", "10.9.0.21:8080"]}),
        ]
    ] = Field(
        default=[],
        description="The real servers.",
        examples=[["10.9.0.21", {"address": "10.9.0.22", "weight": 2}]],
    )


class Ipvs(FileModel):
    """How the kernel's IPVS tables are kept."""

    on_stop: Annotated[OnStop, fields.choice("value of on_stop", fields.words(OnStop), OnStop)] = Field(
        default=OnStop.KEEP,
        description="What a planned stop does to our services.",
        examples=["keep", "remove"],
    )
    reconcile: Annotated[Duration, fields.duration("1s", "24h")] = Field(
        default=Duration(30_000),
        description="Time between two looks at the kernel for drift.",
        examples=["30s"],
    )


class Log(FileModel):
    """What is logged."""

    level: Annotated[str, fields.choice("log level", ("debug", "info", "notice", "warning", "error"))] = Field(
        default="info", description="The least important level that is logged.", examples=["info"]
    )


class Config(FileModel):
    """The config file of ha-lvs. It is the same file on both directors; the node's name picks its part."""

    cluster: Name = Field(description="The name of the pair.", examples=["edge"])
    nodes: dict[Name, Node] = Field(
        min_length=1, description="The directors by name.", examples=[{"lb1": {"address": "10.9.0.11"}}]
    )
    instances: dict[Name, Instance] = Field(
        min_length=1,
        description="The virtual routers by name.",
        examples=[{"edge": {"interface": "e0", "router_id": 51, "priority": 100, "virtual_ips": ["10.9.0.100/32"]}}],
    )
    connection_sync: ConnectionSync | None = Field(
        default=None,
        description="Connection sync; none when left out.",
        examples=[{"interface": "e0", "id": 7}],
    )
    services: list[Service] = Field(
        default=[],
        description="The virtual services; without any, no IPVS is needed.",
        examples=[[{"name": "web", "listen": "10.9.0.100:80/tcp", "forwarding": "dr", "servers": ["10.9.0.21"]}]],
    )
    ipvs: Ipvs = Field(default=Ipvs(), description="Upkeep of the IPVS tables.", examples=[{"on_stop": "keep"}])
    log: Log = Field(default=Log(), description="Logging.", examples=[{"level": "info"}])

    _source: str = PrivateAttr(default="(no file)")
    _nodes_at: tuple[int, int] = PrivateAttr(default=(1, 1))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the file says. Comments, spacing, the order of keys and the spelling of
        values do not count, nor does a default that is written out."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the config file."""
    return fields.json_schema(Config, "ha-lvs config file")
