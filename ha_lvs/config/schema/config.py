"""The whole config file."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from ha_lvs.config import fields, values
from ha_lvs.config.fields import SWITCH, Checked, FileModel, Name, Shorthand
from ha_lvs.config.schema.cluster import AuthenticationEntry, DiscoveryEntry, Log, Node, Notify, PeerLinkEntry, Watch
from ha_lvs.config.schema.instance import Instance
from ha_lvs.config.schema.ipvs import ConnectionSync, Ipvs
from ha_lvs.config.schema.services import Service
from ha_lvs.config.schema.tracking import Definitions
from ha_lvs.config.tree import Path, Place, Tree


class Config(FileModel):
    """The config file of ha-lvs. It is the same file on both directors; the node's name picks its part."""

    cluster: Name = Field(description="The name of the pair.", examples=["edge"])
    nodes: dict[Name, Node] = Field(
        min_length=1, description="The directors by name.", examples=[{"lb1": {"address": "10.9.0.11"}}]
    )
    authentication: AuthenticationEntry | None = Field(
        default=None,
        description="How the directors prove to each other who they are; not at all when left out.",
        examples=[{"keys": [{"id": 1, "file": "/etc/ha-lvs/keys/1.key"}]}],
    )
    peer_link: Annotated[PeerLinkEntry, SWITCH] = Field(
        default=PeerLinkEntry(),
        description="The link between the directors, for planned hand-over and status; on where the file knows at "
        "least two nodes with addresses, or with discovery.",
        examples=[{"port": 8849}, False],
    )
    discovery: Annotated[DiscoveryEntry, SWITCH] = Field(
        default=DiscoveryEntry(enabled=False),
        description="Whether the directors find each other by DNS-SD; needs authentication. Nodes then need no "
        "address.",
        examples=[True, {"interface": "e0"}],
    )
    track: Definitions = Field(
        default=Definitions(),
        description="Scripts, files and processes that `track` of several instances refers to by name.",
        examples=[{"files": {"maint": {"path": "/etc/ha-lvs/maintenance", "absent": True}}}],
    )
    instances: dict[Name, Instance] = Field(
        min_length=1,
        description="The virtual routers by name.",
        examples=[{"edge": {"interface": "e0", "router_id": 51, "priority": 100, "virtual_ips": ["10.9.0.100/32"]}}],
    )
    groups: dict[Name, Annotated[list[Name], Field(min_length=1)]] = Field(
        default={},
        description="Instances that move together, by the group's name. All advertise, and one role holds for all; "
        "they must agree in priority and timing.",
        examples=[{"gw": ["inside", "outside"]}],
    )
    notify: list[Annotated[Notify, Shorthand(fields.expand_command, fields.COMMAND_JSON)]] = Field(
        default=[],
        description="Programs that are told of changes of role or of quorum, one at a time.",
        examples=[[{"command": ["/usr/local/bin/on-role-change"], "timeout": "10s"}]],
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
    include: list[Annotated[str, Checked(values.pattern, fields.STRING)]] = Field(
        default=[],
        description="Further files, each with `services` only: names or patterns, relative to this file. A pattern may "
        "match nothing.",
        examples=[["services.d/*.yml"]],
    )
    ipvs: Ipvs = Field(default=Ipvs(), description="Upkeep of the IPVS tables.", examples=[{"on_stop": "keep"}])
    watch: Annotated[Watch, SWITCH] = Field(
        default=Watch(enabled=False),
        description="Whether this file and those that it includes are followed by themselves when they change, as "
        "by `ha-lvs reload`. Key files are not watched.",
        examples=[True, {"interval": "10s"}],
    )
    log: Log = Field(default=Log(), description="Logging.", examples=[{"level": "info"}])

    _source: str = PrivateAttr(default="(no file)")
    _tree: Tree | None = PrivateAttr(default=None)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what the file and those that it includes say. Comments, spacing, the order of keys and the
        spelling of values do not count, nor does a default that is written out, nor which file a service stands in.
        Secrets are in files of their own and do not count either: a digest is told to whoever asks."""
        content = self.model_dump(mode="json", exclude_defaults=True, exclude={"services", "include"})
        said = {key: json.dumps(value, sort_keys=True, separators=(",", ":")) for key, value in content.items()}
        if self.services:
            said["services"] = f"[{','.join(service.said for service in self.services)}]"
        text = ",".join(f'"{key}":{said[key]}' for key in sorted(said))
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()

    def place_of(self, path: Path) -> Place:
        """Line and column of a value that is wrong only when seen from this machine; the file's start if unknown."""
        return (1, 1) if self._tree is None else self._tree.place_of(path, key=len(path) == 1)[1]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the config file."""
    return fields.json_schema(Config, "ha-lvs config file")
