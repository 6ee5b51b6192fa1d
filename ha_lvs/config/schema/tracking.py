"""What a config file says of all that a node's eligibility depends on: what is tracked, witnesses, BFD."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import (
    Address,
    Command,
    FileModel,
    FilePath,
    Flag,
    InterfaceName,
    Name,
    Program,
    Shorthand,
    Switch,
    User,
    Weight,
)
from ha_lvs.config.programs import DEFAULT_USER

KINDS = {"scripts": "script", "files": "file", "processes": "process", "services": "service"}
"""What is tracked by name: the key in the file, and the kind in front of the names in `ha_lvs.model.Track`."""

DEFINING = {"scripts": "command", "files": "path", "processes": "program"}
"""The key that makes an entry a definition rather than a reference to one in the top-level `track`."""

NAMES = Shorthand(fields.expand_names, {"type": "array", "items": fields.STRING})


class Weighted(FileModel):
    """Something tracked, and what it does to the priority."""

    weight: Weight | None = Field(
        default=None,
        description="What it adds to the priority: a negative number while it is down, a positive one while it is up. "
        "Without a weight this node is not active while it is down.",
        examples=[-20],
    )


class TrackedInterface(Weighted):
    """An interface whose carrier counts."""

    name: InterfaceName = Field(description="The interface.", examples=["e1"])


class Script(FileModel):
    """A program that is run again and again; its exit code 0 means up."""

    command: Command = Field(
        description="Program and arguments, as a list or as one string that is split into words; no shell.",
        examples=[["/usr/local/bin/check-uplink"], "/usr/bin/ping -c1 -W1 192.0.2.1"],
    )
    interval: Annotated[Duration, fields.duration("100ms", "24h")] = Field(
        default=Duration(2000), description="Time between the starts of two runs.", examples=["2s"]
    )
    timeout: Annotated[Duration, fields.duration("10ms", "24h")] | None = Field(
        default=None,
        description="A slower run is killed and has failed; at most the interval, by default 1s or the shorter "
        "interval.",
        examples=["1s"],
    )
    rise: Annotated[int, fields.number(1, 1000)] = Field(
        default=2, description="Successes in a row that bring it up.", examples=[2]
    )
    fall: Annotated[int, fields.number(1, 1000)] = Field(
        default=2, description="Failures in a row that take it down.", examples=[2]
    )
    user: User = Field(
        default=DEFAULT_USER, description="Who runs it; root only where root is written.", examples=["nobody"]
    )


class File(FileModel):
    """A file whose presence counts."""

    path: FilePath = Field(description="The whole path of the file.", examples=["/etc/ha-lvs/maintenance"])
    absent: Flag = Field(
        default=False,
        description="Whether it is up while the file is not there: for a file that takes the node out.",
        examples=[True],
    )


class Process(FileModel):
    """Processes of a name whose number counts."""

    program: Program = Field(description="The name, as `ps -o comm` shows it.", examples=["haproxy"])
    quorum: Annotated[int, fields.number(1, 100_000)] = Field(
        default=1, description="How many of them must live.", examples=[1]
    )


class TrackedScript(Weighted, Script):
    """A script: defined here, or in the top-level `track` and named here."""

    command: Command | None = Field(  # type: ignore[assignment]  # a reference has none
        default=None,
        description="Program and arguments; left out for a script of the top-level `track`.",
        examples=[["/usr/local/bin/check-uplink"]],
    )


class TrackedFile(Weighted, File):
    """A file: defined here, or in the top-level `track` and named here."""

    path: FilePath | None = Field(  # type: ignore[assignment]  # a reference has none
        default=None,
        description="The whole path of the file; left out for a file of the top-level `track`.",
        examples=["/etc/ha-lvs/maintenance"],
    )


class TrackedProcess(Weighted, Process):
    """Processes: defined here, or in the top-level `track` and named here."""

    program: Program | None = Field(  # type: ignore[assignment]  # a reference has none
        default=None,
        description="The name, as `ps -o comm` shows it; left out for processes of the top-level `track`.",
        examples=["haproxy"],
    )


class Definitions(FileModel):
    """Scripts, files and processes by name, for the instances that refer to them."""

    scripts: dict[Name, Script] = Field(
        default={},
        description="Scripts by name.",
        examples=[{"uplink": {"command": ["/usr/local/bin/check-uplink"], "interval": "2s"}}],
    )
    files: dict[Name, File] = Field(
        default={},
        description="Files by name.",
        examples=[{"maint": {"path": "/etc/ha-lvs/maintenance", "absent": True}}],
    )
    processes: dict[Name, Process] = Field(
        default={}, description="Processes by name.", examples=[{"haproxy": {"program": "haproxy"}}]
    )


class Tracking(FileModel):
    """What the eligibility of a node for an instance depends on."""

    interfaces: list[Annotated[TrackedInterface, Shorthand(fields.expand_interface("name"), fields.STRING)]] = Field(
        default=[],
        description="Interfaces that must have a carrier.",
        examples=[["e1", {"name": "e2", "weight": -20}]],
    )
    scripts: Annotated[dict[Name, TrackedScript], NAMES] = Field(
        default={},
        description="Scripts that must succeed.",
        examples=[["uplink"], {"uplink": {"command": ["/usr/local/bin/check-uplink"], "weight": -20}}],
    )
    files: Annotated[dict[Name, TrackedFile], NAMES] = Field(
        default={},
        description="Files that must be there, or must not.",
        examples=[["maint"], {"maint": {"path": "/etc/ha-lvs/maintenance", "absent": True}}],
    )
    processes: Annotated[dict[Name, TrackedProcess], NAMES] = Field(
        default={},
        description="Processes that must live.",
        examples=[["haproxy"], {"haproxy": {"program": "haproxy", "weight": -20}}],
    )
    services: Annotated[dict[Name, Weighted], NAMES] = Field(
        default={},
        description="Virtual services that must have a server that is up.",
        examples=[["web"], {"web": {"weight": -20}}],
    )


class WitnessesEntry(FileModel):
    """Third parties that a node must see before it becomes active, and that are probed all the time."""

    addresses: list[Address] = Field(
        min_length=1,
        max_length=16,
        description="Their addresses: gateways and the like, neither of the directors nor virtual IPs.",
        examples=[["10.9.0.1"]],
    )
    required: Annotated[int, fields.number(1, 16)] = Field(
        default=1, description="How many of them must answer.", examples=[1]
    )
    interval: Annotated[Duration, fields.duration("10ms", "1h")] = Field(
        default=Duration(1000), description="Time between two probes of one.", examples=["1s"]
    )
    fall: Annotated[int, fields.number(1, 1000)] = Field(
        default=3, description="Probes in a row without an answer after which one is not seen.", examples=[3]
    )
    method: Annotated[str, fields.choice("method", ("arp", "icmp"))] = Field(
        default="arp",
        description="arp (neighbour discovery for IPv6) for those on the network, icmp (echo) for those behind "
        "routers.",
        examples=["arp", "icmp"],
    )
    yield_alone: Flag = Field(
        default=False,
        description="Whether an active node that sees neither enough of them nor its peer steps down.",
        examples=[False],
    )
    interface: InterfaceName | None = Field(
        default=None, description="Where the probes leave; the instance's interface by default.", examples=["e0"]
    )


class BfdEntry(Switch):
    """BFD between this node and each other one (RFC 5880 asynchronous, RFC 5881 single hop)."""

    interval: Annotated[Duration, fields.duration("3ms", "1s")] = Field(
        default=Duration(10), description="Time between two packets, each way.", examples=["10ms"]
    )
    multiplier: Annotated[int, fields.number(1, 50)] = Field(
        default=3, description="How many lost in a row mean that the other node is dead.", examples=[3]
    )
    interface: InterfaceName | None = Field(
        default=None,
        description="Where it runs: the instance's interface, by default, or one of its heartbeats'.",
        examples=["e0"],
    )
