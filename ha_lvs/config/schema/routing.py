"""What a config file says of routes and routing rules that move with an instance."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields
from ha_lvs.config.fields import Address, Destination, Family, FileModel, InterfaceName, Mark, Selector, Table


class RouteEntry(FileModel):
    """A route that is there while the instance is active."""

    to: Destination = Field(description="Where it leads: a network, or default.", examples=["default", "10.8.0.0/16"])
    via: Address | None = Field(
        default=None, description="The gateway; none for what is reached directly.", examples=["10.9.0.1"]
    )
    interface: InterfaceName | None = Field(
        default=None, description="By which it leaves; by default the kernel finds it by the gateway.", examples=["e0"]
    )
    source: Address | None = Field(default=None, description="The preferred source address.", examples=["10.9.0.100"])
    table: Table = Field(
        default=254, description="Routing table: main, default, local or a number.", examples=["main", 100]
    )
    metric: Annotated[int, fields.number(0, 2**32 - 1)] = Field(
        default=0, description="Its priority among routes to the same network.", examples=[100]
    )


class RuleEntry(FileModel):
    """A routing rule that is there while the instance is active."""

    priority: Annotated[int, fields.number(1, 32765)] = Field(
        description="Its place among the rules; the lowest is asked first.", examples=[1000]
    )
    source: Selector = Field(
        default=None,
        alias="from",
        description="The network that packets come from, or all.",
        examples=["10.9.0.100", "all"],
    )
    to: Selector = Field(default=None, description="The network that packets go to, or all.", examples=["10.8.0.0/16"])
    fwmark: Mark | None = Field(default=None, description="The firewall mark of packets.", examples=[16, "0x10"])
    table: Table = Field(description="Where such packets are looked up.", examples=[100])
    family: Family | None = Field(
        default=None,
        description="ipv4 or ipv6; by default that of its networks, or else of the instance.",
        examples=["ipv4"],
    )
