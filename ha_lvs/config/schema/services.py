"""What a config file says of virtual services."""

from __future__ import annotations

import enum
import json
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from ha_lvs.config import fields, probing, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import Checked, FileModel, Flag, ForwardingMethod, Name, Shorthand
from ha_lvs.config.schema.checks import Check
from ha_lvs.config.schema.discover import Discover
from ha_lvs.config.schema.listen import LISTEN, Listen
from ha_lvs.config.schema.servers import SERVER, TUNNEL, Server, Sorry, TunnelEntry
from ha_lvs.model import SCHEDULERS

PERSISTENCE_LOW, PERSISTENCE_HIGH = "1s", "744h"
_MOST_QUORUM = 2**31 - 1
_PERCENT_JSON = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9]{1,3} *%$"},
        {"type": "integer", "minimum": 0, "maximum": 100},
    ]
}


class OnDown(enum.Enum):
    """What becomes of the connections of a server that is taken out; the value is the name in config files."""

    KEEP = "keep"
    EXPIRE = "expire"


class SchedulerEntry(FileModel):
    """The kernel's scheduler with its flags."""

    name: Annotated[str, fields.choice("scheduler", SCHEDULERS)] = Field(description="Its name.", examples=["mh"])
    fallback: Flag = Field(
        default=False,
        description="sh and mh: whether another server is taken where the one hashed to is down or full.",
        examples=[True],
    )
    hash_port: Flag = Field(
        default=False, description="sh and mh: whether the client's port is hashed too.", examples=[True]
    )

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The short spelling where it says all: old files keep their digest."""
        return handler(self) if self.fallback or self.hash_port else self.name


class Persistence(FileModel):
    """How long a client stays with its server, and who counts as one client."""

    timeout: Annotated[Duration, fields.duration(PERSISTENCE_LOW, PERSISTENCE_HIGH, 1000)] = Field(
        description="How long, in whole seconds.", examples=["5m"]
    )
    prefix: Annotated[int, fields.number(1, 128)] | None = Field(
        default=None,
        description="How many bits of a client's address tell it from another; all by default.",
        examples=[24, 64],
    )
    engine: Annotated[str, fields.choice("persistence engine", ("sip",))] | None = Field(
        default=None, description="sip: a call (its Call-ID) is the client; UDP only.", examples=["sip"]
    )

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The short spelling where it says all: old files keep their digest."""
        return str(self.timeout) if self.prefix is None and self.engine is None else handler(self)


class QuorumEntry(FileModel):
    """How many servers a service needs. It is lost below `least` - `hysteresis`, and regained at their sum."""

    least: Annotated[int, fields.number(1, _MOST_QUORUM)] = Field(
        description="Servers, or weight, that must be up.", examples=[2]
    )
    of: Annotated[str, fields.choice("unit of a quorum", ("servers", "weight"))] = Field(
        default="servers", description="What is counted: servers, or their configured weights.", examples=["servers"]
    )
    hysteresis: Annotated[int, fields.number(0, _MOST_QUORUM)] = Field(
        default=0, description="By how many it may be missed, and must be exceeded; less than `least`.", examples=[1]
    )

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The short spelling where it says all."""
        return self.least if self == type(self)(least=self.least) else handler(self)


def _expand_scheduler(value: object) -> object:
    return value if isinstance(value, dict) else {"name": values.choice(value, "scheduler", SCHEDULERS)}


def _expand_persistence(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    low, high = (Duration(seconds * 1000) for seconds in (1, 744 * 3600))
    return {"timeout": str(values.duration(value, low, high, 1000))}


def _expand_quorum(value: object) -> object:
    return value if isinstance(value, dict) else {"least": values.whole_number(value, 1, _MOST_QUORUM)}


class Service(FileModel):
    """A virtual service: what clients talk to, and the real servers behind it."""

    name: Name = Field(description="Its name, unique in all files.", examples=["web"])
    listen: Annotated[Listen, LISTEN] = Field(
        description="Virtual IP, port (0 for every port, with persistence) and protocol (tcp, udp or sctp); or a "
        "firewall mark; or ranges of addresses and ports.",
        examples=[
            "10.9.0.100:80/tcp",
            "[fd00:9::100]:80/tcp",
            "mark 5",
            {"addresses": ["10.9.0.110-10.9.0.120"], "ports": [80, "8000-8100"], "protocol": "tcp"},
        ],
    )
    scheduler: Annotated[SchedulerEntry, Shorthand(_expand_scheduler, {"enum": list(SCHEDULERS)})] = Field(
        default=SchedulerEntry(name="wlc"),
        description="The kernel's scheduler that picks a server for a new connection.",
        examples=["wlc", {"name": "mh", "fallback": True}],
    )
    forwarding: ForwardingMethod = Field(
        description="How packets reach the servers: dr (direct routing), tun (a tunnel, see `tunnel`) or nat.",
        examples=["dr"],
    )
    tunnel: Annotated[TunnelEntry | None, TUNNEL] = Field(
        default=None,
        description="What packets are wrapped in with tun; IP in IP by default.",
        examples=["gre", {"type": "gue", "port": 6080}],
    )
    persistence: Annotated[
        Persistence | None, Shorthand(_expand_persistence, {"type": "string", "pattern": r"^[0-9.]+(ms|s|m|h)$"})
    ] = Field(
        default=None,
        description="How long a client stays with its server, in whole seconds; not at all by default.",
        examples=["5m", {"timeout": "5m", "prefix": 24}],
    )
    one_packet: Flag = Field(
        default=False,
        description="Whether every datagram is scheduled on its own, without a connection; UDP only.",
        examples=[True],
    )
    check: Check | None = Field(
        default=None,
        description="How its servers are probed.",
        examples=[{"type": "http", "path": "/healthz"}],
    )
    quorum: Annotated[QuorumEntry, Shorthand(_expand_quorum, {"type": "integer", "minimum": 1})] = Field(
        default=QuorumEntry(least=1),
        description="How many servers it needs to count as up.",
        examples=[2, {"least": 10, "of": "weight", "hysteresis": 2}],
    )
    sorry: Annotated[Sorry | None, SERVER] = Field(
        default=None,
        description="Where clients are sent while the quorum is lost; never probed, and none of the servers.",
        examples=["10.9.0.99"],
    )
    inhibit: Flag = Field(
        default=False,
        description="Whether a server that is down stays with weight 0, so that its connections go on reaching it.",
        examples=[True],
    )
    on_down: Annotated[OnDown, fields.choice("value of on_down", fields.words(OnDown), OnDown)] | None = Field(
        default=None,
        description="What becomes of the connections of a server that is taken out: keep (they wait for it), or expire "
        "(they end at their next packet). By default keep, or expire where `ipvs.sysctls` sets `expire_nodest_conn`. "
        "The kernel has one switch for all services: with expire in any, servers of the others stay with weight 0.",
        examples=["keep", "expire"],
    )
    alpha: Flag = Field(
        default=True,
        description="Whether a server gets traffic only after its first good check; else it counts as up until then.",
        examples=[True],
    )
    slow_start: Annotated[Duration, fields.duration("1s", "24h")] | None = Field(
        default=None,
        description="How long the weight of a server that came back takes to grow; needs a scheduler that shares by "
        "weight, and weights of at least 10.",
        examples=["30s"],
    )
    panic: Annotated[int, Checked(probing.percentage, _PERCENT_JSON)] = Field(
        default=0,
        description="While fewer of its servers than this percentage are up, verdicts are not believed and all get "
        "traffic: when everything fails at once, the fault is rarely the servers'. 0 for never.",
        examples=["50%"],
    )
    passive: Flag | None = Field(
        default=None,
        description="Whether a server whose handshakes remain unfinished in the connection table is probed at once; by "
        "default as `ipvs.passive` says.",
        examples=[True],
    )
    servers: list[Annotated[Server, SERVER]] = Field(
        default=[],
        description="The real servers.",
        examples=[["10.9.0.21", {"address": "10.9.0.22", "weight": 2}]],
    )
    discover: Discover | None = Field(
        default=None,
        description="Servers beside those that are found on the network; they get traffic only after a good check.",
        examples=[{"type": "_http._tcp", "networks": ["10.9.0.0/24"]}],
    )

    _made: object = PrivateAttr(default=None)
    _sound_beside: object = PrivateAttr(default=None)

    @property
    def made(self) -> object:
        """What `ha_lvs.config.parts` made of it last, kept with it for the next time; None before."""
        return self._made

    def remember(self, made: object) -> None:
        """Sets `made`."""
        self._made = made

    def is_sound(self, beside: object) -> bool:
        """Whether it was found to have no problem, with the rest of the file saying the same."""
        return self._sound_beside == beside

    def found_sound(self, beside: object) -> None:
        """Keeps with it that it has no problem; it is not looked at again until the file that it is in changes."""
        self._sound_beside = beside

    @cached_property
    def said(self) -> str:
        """What the file says of it, in the one spelling that counts for the digest."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))


class ServicesFile(FileModel):
    """A file that the config file includes."""

    services: list[Service] = Field(default=[], description="Virtual services.", examples=[[{"name": "web"}]])
