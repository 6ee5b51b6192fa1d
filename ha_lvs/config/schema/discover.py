"""What a config file says of real servers that are found on the network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields, networks, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import Checked, FileModel, Flag
from ha_lvs.model import IPNetwork

MOST_DISCOVERED = 1024
"""Servers of one service that may be found on the network."""

_NETWORKS_JSON = {"type": "array", "items": fields.STRING, "minItems": 1}
_INTERFACES_JSON = {"type": "array", "items": {"type": "string", "pattern": values.INTERFACE_PATTERN}}


def _networks(value: object) -> tuple[IPNetwork, ...]:
    """At least one network: without that anybody who is heard could become a server."""
    found = tuple(dict.fromkeys(networks.network(each) for each in _listed(value)))
    if not found:
        raise ValueError("the list of networks is empty; write those in which servers may be, like [10.9.0.0/24]")
    return found


def _interfaces(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values.interface(each) for each in _listed(value)))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


class Discover(FileModel):
    """Servers that announce themselves on the network by DNS-SD (zeroconf)."""

    type: Annotated[str, Checked(values.dns_sd_type, {"type": "string", "pattern": values.DNS_SD_PATTERN})] = Field(
        description="The service type that they announce.", examples=["_http._tcp"]
    )
    networks: Annotated[tuple[IPNetwork, ...], Checked(_networks, _NETWORKS_JSON)] = Field(
        description="In which networks their addresses must be. Announcements prove nothing: whoever is in these "
        "networks and passes the check gets traffic.",
        examples=[["10.9.0.0/24"]],
    )
    interfaces: Annotated[tuple[str, ...], Checked(_interfaces, _INTERFACES_JSON)] = Field(
        default=(), description="On which interfaces to look; on every one by default.", examples=[["e0"]]
    )
    weight: Annotated[int, fields.number(0, 65535)] = Field(default=1, description="The weight of each.", examples=[1])
    trust_weight: Flag = Field(
        default=False,
        description="Whether a weight in an announcement (TXT record `weight=`) counts in place of that.",
        examples=[True],
    )
    most: Annotated[int, fields.number(1, MOST_DISCOVERED)] = Field(
        default=64, description="So many of them at most; who was found first stays.", examples=[64]
    )
    forget_after: Annotated[Duration, fields.duration("1s", "24h")] = Field(
        default=Duration(60_000),
        description="How long a server stays whose announcement is gone; it goes at once when its check fails.",
        examples=["60s"],
    )
