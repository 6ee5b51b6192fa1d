"""What a config file says of virtual services, their real servers and the kernel's IPVS."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import (
    Checked,
    FileModel,
    ForwardingMethod,
    Group,
    Host,
    InterfaceName,
    Listen,
    Name,
    Port,
    Shorthand,
    Status,
)
from ha_lvs.model import SCHEDULERS, CheckType, OnStop


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
