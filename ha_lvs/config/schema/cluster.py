"""What a config file says of the directors, of what they say to each other, and of whom they tell."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import (
    Command,
    FileModel,
    FilePath,
    Flag,
    InterfaceName,
    Name,
    NodeAddress,
    NodeAddress6,
    Port,
    Switch,
    User,
)
from ha_lvs.config.programs import DEFAULT_USER
from ha_lvs.model import IPAddress

ENFORCE, PERMISSIVE = "enforce", "permissive"
ROLE, QUORUM = "role", "quorum"


class Node(FileModel):
    """One of the directors."""

    address: NodeAddress | None = Field(
        default=None,
        description="This node's own address, IPv4 or IPv6: the source of its advertisements and its end of the peer "
        "link. Only with discovery may it be left out.",
        examples=["10.9.0.11", "fd00:9::11"],
    )
    address6: NodeAddress6 | None = Field(
        default=None,
        description="The IPv6 address of a node whose address is IPv4, for unicast and BFD over IPv6.",
        examples=["fd00:9::11"],
    )

    def address_of(self, family: int) -> IPAddress | None:
        """Its address in a family, 4 or 6; None where it has none."""
        return next((each for each in (self.address, self.address6) if each and each.version == family), None)


class KeyEntry(FileModel):
    """A secret that the directors share."""

    id: Annotated[int, fields.number(0, 255)] = Field(
        description="The number that names it on the wire, the same on both directors.", examples=[1]
    )
    file: FilePath = Field(
        description="The file that holds it: at least 16 bytes on one line, owned by root or by the daemon's user, "
        "mode 0600.",
        examples=["/etc/ha-lvs/keys/1.key"],
    )


class AuthenticationEntry(FileModel):
    """How the directors prove to each other who they are (HMAC-SHA256 over each message)."""

    mode: Annotated[str, fields.choice("mode", (ENFORCE, PERMISSIVE))] = Field(
        default=ENFORCE,
        description="enforce drops what is not authenticated; permissive counts and logs it, and obeys it: while "
        "authentication is being brought in.",
        examples=["enforce"],
    )
    send_key: Annotated[int, fields.number(0, 255)] | None = Field(
        default=None,
        description="The id of the key that signs, by default the highest. All keys are believed, so that a new one "
        "can be made known to both directors before either signs with it.",
        examples=[2],
    )
    keys: list[KeyEntry] = Field(
        min_length=1,
        max_length=16,
        description="The keys that are believed.",
        examples=[[{"id": 1, "file": "/etc/ha-lvs/keys/1.key"}]],
    )

    @property
    def send(self) -> int:
        """The id of the key that signs."""
        return max(key.id for key in self.keys) if self.send_key is None else self.send_key


class PeerLinkEntry(Switch):
    """The link between the directors."""

    enabled: Flag | None = Field(  # type: ignore[assignment]  # "not said" is a third state: it depends on the nodes
        default=None,
        description="Whether there is one; by default with two nodes that have addresses, or with discovery.",
        examples=[True],
    )
    port: Port = Field(default=8849, description="TCP port.", examples=[8849])


class DiscoveryEntry(Switch):
    """How the directors find each other (DNS-SD over multicast DNS)."""

    interface: InterfaceName | None = Field(
        default=None, description="Where they look; every interface by default.", examples=["e0"]
    )


class Notify(FileModel):
    """A program that is told of changes of role, or of quorum."""

    command: Command = Field(
        description="Program and arguments, as a list or as one string; no shell. It gets the event as JSON on its "
        "standard input.",
        examples=[["/usr/local/bin/on-role-change"], "/usr/local/bin/on-role-change --mail"],
    )
    timeout: Annotated[Duration, fields.duration("100ms", "1h")] = Field(
        default=Duration(10_000), description="A slower run is killed.", examples=["10s"]
    )
    user: User = Field(
        default=DEFAULT_USER, description="Who runs it; root only where root is written.", examples=["nobody"]
    )
    instances: list[Name] = Field(
        default=[],
        description="The instances and groups whose role it is told of; all by default.",
        examples=[["edge"]],
    )
    events: list[Annotated[str, fields.choice("kind of event", (ROLE, QUORUM))]] = Field(
        default=[ROLE],
        min_length=1,
        description="What it is told of: changes of `role` of instances, of `quorum` of services, or both.",
        examples=[["role", "quorum"]],
    )
    services: list[Name] = Field(
        default=[],
        description="The services whose quorum it is told of; all by default.",
        examples=[["web"]],
    )


class Watch(Switch):
    """Whether the config file is followed without being asked to."""

    interval: Annotated[Duration, fields.duration("200ms", "1h")] = Field(
        default=Duration(2000),
        description="How often the files are looked at. One that changes is followed when it has been the same at two "
        "looks.",
        examples=["2s"],
    )


class Log(FileModel):
    """What is logged."""

    level: Annotated[str, fields.choice("log level", ("debug", "info", "notice", "warning", "error"))] = Field(
        default="info", description="The least important level that is logged.", examples=["info"]
    )
