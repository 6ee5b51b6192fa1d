"""What a config file says of a virtual IP, and of how the neighbours hear of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import FileModel, Flag, InterfaceName, Label, Prefix, Scope


class Announce(FileModel):
    """How the virtual IPs are announced (gratuitous ARP, unsolicited neighbour advertisement): after a take-over, and
    every now and then."""

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
        description="The address, IPv4 or IPv6; its prefix length is that of a single host (32 or 128) unless given.",
        examples=["10.9.0.100/32", "10.9.0.100", "fd00:9::100/64"],
    )
    interface: InterfaceName | None = Field(
        default=None, description="The interface that carries it; the instance's by default.", examples=["e0"]
    )
    label: Label | None = Field(
        default=None,
        description="Its label in the kernel, IPv4 only; begins with the name of the interface that carries it.",
        examples=["e0:web"],
    )
    scope: Scope = Field(
        default=0, description="Its scope, IPv4 only: global, site, link, host or a number.", examples=["global", 0]
    )
    advertise: Flag = Field(
        default=True,
        description="Whether advertisements name it, where it is of their family and there is room.",
        examples=[True],
    )
